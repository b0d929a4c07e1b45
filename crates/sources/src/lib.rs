//! dormouse-sources
