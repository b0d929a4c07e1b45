//! Which accounts, Regions and keys there are: what AWS says when it is asked, at a pace it can bear.
