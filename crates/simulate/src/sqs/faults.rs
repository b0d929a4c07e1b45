//! What can go wrong, on request.
//!
//! Each operation has at most one [`Fault`], which can be set, replaced and cleared while clients are at work. All
//! chances are rolled from one seeded generator, so the same requests in the same order meet the same faults.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::Operation;
use crate::faults::{self, Switchboard, Trouble, Troublesome};

/// What goes wrong with the requests of one operation. Chances are from 0 (never) to 1 (always).
///
/// The default does no harm, so a fault is written as the difference:
/// `Fault { throttled: 0.2, ..Fault::default() }`.
#[derive(Clone, Debug)]
pub struct Fault {
    /// How long the answer is held back before the request is looked at.
    pub latency: RangeInclusive<Duration>,
    /// Chance of a `RequestThrottled` or `ThrottlingException` (HTTP 400).
    pub throttled: f64,
    /// Chance of an `InternalFailure` (HTTP 500); nothing was done.
    pub internal_error: f64,
    /// Chance of a `ServiceUnavailable` (HTTP 503); nothing was done.
    pub unavailable: f64,
    /// Chance that the connection is closed without an answer, and nothing was done.
    pub dropped: f64,
    /// Chance that the request is carried out and the connection closed without an answer.
    pub answer_lost: f64,
    /// Batches: the chance, for each entry, that it comes back under `Failed` and was not carried out.
    pub entry_failed: f64,
    /// `ReceiveMessage`: the chance, for each message handed out, that it is handed out again although in flight.
    pub duplicated: f64,
    /// `SendMessage`, and with it all other ways to send: the chance that a message becomes visible only after
    /// [`Fault::lateness`].
    pub late: f64,
    /// How late a late message is, by the double's clock.
    pub lateness: Duration,
    /// `DeleteMessage(Batch)`: the chance that a delete is accepted and forgotten, as standard queues may.
    pub delete_forgotten: f64,
    /// Every request is refused with `AccessDenied` (HTTP 403).
    pub access_denied: bool,
    /// Every request hears that the queue does not exist.
    pub queue_gone: bool,
    /// After so many requests of the operation the fault is over. `None`: until it is cleared.
    pub requests: Option<u64>,
}

impl Default for Fault {
    fn default() -> Self {
        Self {
            latency: Duration::ZERO..=Duration::ZERO,
            throttled: 0.0,
            internal_error: 0.0,
            unavailable: 0.0,
            dropped: 0.0,
            answer_lost: 0.0,
            entry_failed: 0.0,
            duplicated: 0.0,
            late: 0.0,
            lateness: Duration::ZERO,
            delete_forgotten: 0.0,
            access_denied: false,
            queue_gone: false,
            requests: None,
        }
    }
}

/// The switchboard of the faults. Clones share it.
#[derive(Clone)]
pub struct Faults {
    board: Switchboard<Operation, Fault>,
}

/// How a request that does not go well ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mishap {
    AccessDenied,
    QueueGone,
    Common(faults::Mishap),
}

/// What was rolled for one request.
#[derive(Default)]
pub(super) struct Roll {
    pub(super) latency: Duration,
    pub(super) mishap: Option<Mishap>,
    pub(super) answer_lost: bool,
    /// The chances that concern single messages and entries.
    pub(super) entries: EntryChances,
}

#[derive(Clone, Copy, Default)]
pub(super) struct EntryChances {
    pub(super) failed: f64,
    pub(super) duplicated: f64,
    pub(super) late: f64,
    pub(super) lateness: Duration,
    pub(super) delete_forgotten: f64,
}

impl Faults {
    pub(super) fn new(seed: u64) -> Self {
        Self { board: Switchboard::new(seed) }
    }

    /// From now on `operation` suffers from `fault` and from no other.
    pub fn set(&self, operation: Operation, fault: Fault) {
        self.board.set(operation, fault);
    }

    /// All operations suffer from `fault`.
    pub fn set_all(&self, fault: &Fault) {
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

    /// Rolls for one request of `operation`.
    pub(super) fn roll(&self, operation: Operation) -> Roll {
        let rolled = self.board.roll(&operation, |_| true, |fault| fault.certain_end().is_some());
        let Some((fault, roll)) = rolled else {
            return Roll::default();
        };
        Roll {
            latency: roll.latency,
            mishap: fault.certain_end().or(roll.mishap.map(Mishap::Common)),
            answer_lost: roll.answer_lost,
            entries: fault.entry_chances(),
        }
    }

    /// The chances for single messages, without a request.
    pub(super) fn entries(&self, operation: Operation) -> EntryChances {
        self.board.get(&operation).map(|fault| fault.entry_chances()).unwrap_or_default()
    }

    /// Whether something with this chance happens.
    pub(super) fn happens(&self, chance: f64) -> bool {
        self.board.happens(chance)
    }

    /// A throttled client hears one code or the other.
    pub(super) fn coin(&self) -> bool {
        self.board.coin()
    }
}

impl Troublesome for Fault {
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

impl Fault {
    /// How every request ends, without a chance.
    fn certain_end(&self) -> Option<Mishap> {
        let gone = self.queue_gone.then_some(Mishap::QueueGone);
        if self.access_denied { Some(Mishap::AccessDenied) } else { gone }
    }

    fn entry_chances(&self) -> EntryChances {
        EntryChances {
            failed: self.entry_failed,
            duplicated: self.duplicated,
            late: self.late,
            lateness: self.lateness,
            delete_forgotten: self.delete_forgotten,
        }
    }
}
