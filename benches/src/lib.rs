//! dormouse-benches
