//! dormouse-pipeline
