//! dormouse-aws
