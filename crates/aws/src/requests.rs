//! Requests, counted by whoever measures.

use crate::{ErrorClass, Failure};

/// Counts requests to AWS.
pub trait CountRequests: Send + Sync {
    /// One request of this IAM action (`kms:ListKeys`) was answered: well, or with an error of this class.
    fn count(&self, action: &'static str, class: Option<ErrorClass>);
}

/// The class of what went wrong, if anything did.
pub fn class_of<T>(answer: &Result<T, Failure>) -> Option<ErrorClass> {
    answer.as_ref().err().map(|failure| failure.class)
}
