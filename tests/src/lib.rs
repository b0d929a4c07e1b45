//! dormouse-tests
