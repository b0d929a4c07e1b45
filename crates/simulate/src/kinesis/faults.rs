//! What can go wrong between a client and a stream, on request.
//!
//! Each operation has at most one [`KinesisFault`], which can be set, replaced and cleared while clients are at work.
//! All chances are rolled from one seeded generator, so the same requests in the same order meet the same faults.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::Operation;
use crate::faults::{self, Switchboard, Trouble, Troublesome};

/// What goes wrong with the requests of one operation. Chances are from 0 (never) to 1 (always).
///
/// The default does no harm, so a fault is written as the difference:
/// `KinesisFault { throttled: 0.2, ..KinesisFault::default() }`.
#[derive(Clone, Debug)]
pub struct KinesisFault {
    /// Only requests for streams of these names meet it; empty: those for all.
    pub streams: Vec<String>,
    /// How long the answer is held back before the request is looked at.
    pub latency: RangeInclusive<Duration>,
    /// Chance of a `ProvisionedThroughputExceededException` where shards are read and written, of a
    /// `LimitExceededException` elsewhere (both HTTP 400).
    pub throttled: f64,
    /// Chance of an `InternalFailure` (HTTP 500); nothing was done.
    pub internal_error: f64,
    /// Chance of a `ServiceUnavailable` (HTTP 503); nothing was done.
    pub unavailable: f64,
    /// Chance that the connection is closed without an answer, and nothing was done.
    pub dropped: f64,
    /// Chance that the request is carried out and the connection closed without an answer.
    pub answer_lost: f64,
    /// `GetRecords`: the chance that it brings nothing although there are records, as Kinesis does now and then. The
    /// next iterator stands where this one stood.
    pub empty: f64,
    /// Every request is refused with `AccessDeniedException` (HTTP 400).
    pub access_denied: bool,
    /// After so many requests that it concerned the fault is over. `None`: until it is cleared.
    pub requests: Option<u64>,
}

impl Default for KinesisFault {
    fn default() -> Self {
        Self {
            streams: Vec::new(),
            latency: Duration::ZERO..=Duration::ZERO,
            throttled: 0.0,
            internal_error: 0.0,
            unavailable: 0.0,
            dropped: 0.0,
            answer_lost: 0.0,
            empty: 0.0,
            access_denied: false,
            requests: None,
        }
    }
}

/// The switchboard of the faults. Clones share it.
#[derive(Clone)]
pub struct KinesisFaults {
    board: Switchboard<Operation, KinesisFault>,
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
    pub(super) empty: bool,
}

impl KinesisFaults {
    pub(super) fn new(seed: u64) -> Self {
        Self { board: Switchboard::new(seed) }
    }

    /// From now on `operation` suffers from `fault` and from no other.
    pub fn set(&self, operation: Operation, fault: KinesisFault) {
        self.board.set(operation, fault);
    }

    /// All operations suffer from `fault`.
    pub fn set_all(&self, fault: &KinesisFault) {
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

    /// Rolls for one request of `operation`; `stream` is the name of the stream it is for, as far as that can be told.
    pub(super) fn roll(&self, operation: Operation, stream: Option<&str>) -> Roll {
        let concerns = |fault: &KinesisFault| {
            fault.streams.is_empty()
                || stream.is_some_and(|stream| fault.streams.iter().any(|name| name == stream))
        };
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
            empty: self.board.happens(fault.empty),
        }
    }
}

impl Troublesome for KinesisFault {
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
