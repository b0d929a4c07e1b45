//! What a trail's history proves, and how it is read.
