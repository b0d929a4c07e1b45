//! What can go wrong between a client and a bucket, on request.
//!
//! Each operation has at most one [`S3Fault`], which can be set, replaced and cleared while clients are at work. All
//! chances are rolled from one seeded generator, so the same requests in the same order meet the same faults.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::Operation;
use crate::faults::{self, Switchboard, Trouble, Troublesome};

/// What goes wrong with the requests of one operation. Chances are from 0 (never) to 1 (always).
///
/// The default does no harm, so a fault is written as the difference:
/// `S3Fault { throttled: 0.2, ..S3Fault::default() }`.
#[derive(Clone, Debug)]
pub struct S3Fault {
    /// Only requests for this bucket meet it. `None`: those for all.
    pub bucket: Option<String>,
    /// Only requests for keys that begin so meet it; of lists, those whose prefix begins so.
    pub prefix: String,
    /// How long the answer is held back before the request is looked at.
    pub latency: RangeInclusive<Duration>,
    /// Chance of a `SlowDown` (HTTP 503); nothing was done.
    pub throttled: f64,
    /// Chance of an `InternalError` (HTTP 500); nothing was done.
    pub internal_error: f64,
    /// Chance of a `ServiceUnavailable` (HTTP 503); nothing was done.
    pub unavailable: f64,
    /// Chance that the connection is closed without an answer, and nothing was done.
    pub dropped: f64,
    /// Chance that the request is carried out and the connection closed without an answer.
    pub answer_lost: f64,
    /// `GetObject`: the whole body is announced, so many bytes of it are sent at most, and the connection is closed.
    /// Bodies that are no longer come whole.
    pub cut_off_after: Option<usize>,
    /// Every request is refused with `AccessDenied` (HTTP 403).
    pub access_denied: bool,
    /// After so many requests that it concerned the fault is over. `None`: until it is cleared.
    pub requests: Option<u64>,
}

impl Default for S3Fault {
    fn default() -> Self {
        Self {
            bucket: None,
            prefix: String::new(),
            latency: Duration::ZERO..=Duration::ZERO,
            throttled: 0.0,
            internal_error: 0.0,
            unavailable: 0.0,
            dropped: 0.0,
            answer_lost: 0.0,
            cut_off_after: None,
            access_denied: false,
            requests: None,
        }
    }
}

impl S3Fault {
    fn concerns(&self, bucket: &str, key: &str) -> bool {
        self.bucket.as_ref().is_none_or(|name| name == bucket) && key.starts_with(&self.prefix)
    }
}

/// The switchboard of the faults. Clones share it.
#[derive(Clone)]
pub struct S3Faults {
    board: Switchboard<Operation, S3Fault>,
}

/// How a request that does not go well ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mishap {
    AccessDenied,
    Common(faults::Mishap),
}

/// What was rolled for one request.
#[derive(Default)]
pub(super) struct Roll {
    pub(super) latency: Duration,
    pub(super) mishap: Option<Mishap>,
    pub(super) answer_lost: bool,
    pub(super) cut_off_after: Option<usize>,
}

impl S3Faults {
    pub(super) fn new(seed: u64) -> Self {
        Self { board: Switchboard::new(seed) }
    }

    /// From now on `operation` suffers from `fault` and from no other.
    pub fn set(&self, operation: Operation, fault: S3Fault) {
        self.board.set(operation, fault);
    }

    /// All operations suffer from `fault`.
    pub fn set_all(&self, fault: &S3Fault) {
        for operation in Operation::ALL {
            self.set(operation, fault.clone());
        }
    }

    /// `operation` works again.
    pub fn clear(&self, operation: Operation) {
        self.board.clear(&operation);
    }

    /// Everything works again.
    pub fn clear_all(&self) {
        self.board.clear_all();
    }

    /// Whether requests of the operation for this bucket are refused whatever their key.
    pub(super) fn denies_bucket(&self, operation: Operation, bucket: &str) -> bool {
        self.board.get(&operation).is_some_and(|fault| fault.access_denied && fault.concerns(bucket, ""))
    }

    /// Rolls for one request. `key` is the prefix of a list.
    pub(super) fn roll(&self, operation: Operation, bucket: &str, key: &str) -> Roll {
        let concerns = |fault: &S3Fault| fault.concerns(bucket, key);
        let Some((fault, roll)) = self.board.roll(&operation, concerns, |fault| fault.access_denied) else {
            return Roll::default();
        };
        Roll {
            latency: roll.latency,
            mishap: if fault.access_denied {
                Some(Mishap::AccessDenied)
            } else {
                roll.mishap.map(Mishap::Common)
            },
            answer_lost: roll.answer_lost,
            cut_off_after: fault.cut_off_after,
        }
    }
}

impl Troublesome for S3Fault {
    fn trouble(&self) -> Trouble<'_> {
        Trouble {
            latency: &self.latency,
            throttled: self.throttled,
            internal_error: self.internal_error,
            unavailable: self.unavailable,
            dropped: self.dropped,
            answer_lost: self.answer_lost,
        }
    }

    fn requests_left(&mut self) -> &mut Option<u64> {
        &mut self.requests
    }
}
