//! dormouse-cloudtrail
