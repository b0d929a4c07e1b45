//! What can go wrong, on request.
//!
//! Each operation has at most one [`Fault`], which can be set, replaced and cleared while clients are at work. All
//! chances are rolled from one seeded generator, so the same requests in the same order meet the same faults.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Operation, lock};

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
    board: Arc<Mutex<Board>>,
}

struct Board {
    random: fastrand::Rng,
    faults: [Option<Fault>; Operation::ALL.len()],
}

/// How a request that does not go well ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mishap {
    Throttled,
    InternalError,
    Unavailable,
    Dropped,
    AccessDenied,
    QueueGone,
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
        let board =
            Board { random: fastrand::Rng::with_seed(seed), faults: [const { None }; Operation::ALL.len()] };
        Self { board: Arc::new(Mutex::new(board)) }
    }

    /// From now on `operation` suffers from `fault` and from no other.
    pub fn set(&self, operation: Operation, fault: Fault) {
        lock(&self.board).faults[operation.index()] = Some(fault);
    }

    /// All operations suffer from `fault`.
    pub fn set_all(&self, fault: &Fault) {
        for operation in Operation::ALL {
            self.set(operation, fault.clone());
        }
    }

    /// `operation` works again.
    pub fn clear(&self, operation: Operation) {
        lock(&self.board).faults[operation.index()] = None;
    }

    /// Everything works again.
    pub fn clear_all(&self) {
        lock(&self.board).faults = [const { None }; Operation::ALL.len()];
    }

    /// Rolls for one request of `operation`.
    pub(super) fn roll(&self, operation: Operation) -> Roll {
        let mut board = lock(&self.board);
        let Board { random, faults } = &mut *board;
        let place = &mut faults[operation.index()];
        let Some(fault) = place else {
            return Roll::default();
        };
        if let Some(left) = &mut fault.requests {
            if *left == 0 {
                *place = None;
                return Roll::default();
            }
            *left -= 1;
        }
        Roll {
            latency: roll_latency(random, &fault.latency),
            mishap: roll_mishap(random, fault),
            answer_lost: happens(random, fault.answer_lost),
            entries: fault.entry_chances(),
        }
    }

    /// The chances for single messages, without a request.
    pub(super) fn entries(&self, operation: Operation) -> EntryChances {
        let board = lock(&self.board);
        board.faults[operation.index()].as_ref().map(Fault::entry_chances).unwrap_or_default()
    }

    /// Whether something with this chance happens.
    pub(super) fn happens(&self, chance: f64) -> bool {
        chance > 0.0 && happens(&mut lock(&self.board).random, chance)
    }

    /// A throttled client hears one code or the other.
    pub(super) fn coin(&self) -> bool {
        lock(&self.board).random.bool()
    }
}

impl Fault {
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

pub(super) fn happens(random: &mut fastrand::Rng, chance: f64) -> bool {
    chance > 0.0 && random.f64() < chance
}

fn roll_latency(random: &mut fastrand::Rng, range: &RangeInclusive<Duration>) -> Duration {
    let (shortest, longest) = (*range.start(), *range.end());
    shortest + longest.saturating_sub(shortest).mul_f64(random.f64())
}

fn roll_mishap(random: &mut fastrand::Rng, fault: &Fault) -> Option<Mishap> {
    if fault.access_denied {
        return Some(Mishap::AccessDenied);
    }
    if fault.queue_gone {
        return Some(Mishap::QueueGone);
    }
    let chances = [
        (fault.dropped, Mishap::Dropped),
        (fault.throttled, Mishap::Throttled),
        (fault.internal_error, Mishap::InternalError),
        (fault.unavailable, Mishap::Unavailable),
    ];
    chances.into_iter().find(|&(chance, _)| happens(random, chance)).map(|(_, mishap)| mishap)
}
