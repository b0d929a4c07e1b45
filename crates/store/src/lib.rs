//! dormouse-store
