//! dormouse-simulate
