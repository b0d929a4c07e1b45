//! What the doubles' faults have in common: when they strike, and how a request then ends.
//!
//! The faults of an operation can be set, added, replaced and cleared while clients are at work. All chances
//! of a double are rolled from one seeded generator, so the same requests in the same order meet the same faults.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What every fault says of a request as a whole.
pub(crate) struct Trouble<'a> {
    pub(crate) latency: &'a RangeInclusive<Duration>,
    pub(crate) throttled: f64,
    pub(crate) internal_error: f64,
    pub(crate) unavailable: f64,
    pub(crate) dropped: f64,
    pub(crate) answer_lost: f64,
}

/// A fault of a double.
pub(crate) trait Troublesome {
    /// What it says of a request as a whole.
    fn trouble(&self) -> Trouble<'_>;

    /// How many requests are left until it is over.
    fn requests_left(&mut self) -> &mut Option<u64>;

    /// How many requests are spared before it begins.
    fn requests_spared(&mut self) -> u64 {
        0
    }

    /// One request was spared.
    fn spare(&mut self) {}
}

/// How a request that does not go well ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mishap {
    Throttled,
    InternalError,
    Unavailable,
    Dropped,
}

/// What was rolled for one request.
#[derive(Default)]
pub(crate) struct Roll {
    pub(crate) latency: Duration,
    pub(crate) mishap: Option<Mishap>,
    pub(crate) answer_lost: bool,
}

/// The faults of a double by operation. Clones share them.
pub(crate) struct Switchboard<K, F> {
    board: Arc<Mutex<Board<K, F>>>,
}

struct Board<K, F> {
    random: fastrand::Rng,
    /// Of several that concern a request the first strikes.
    faults: HashMap<K, Vec<F>>,
}

impl<K, F> Clone for Switchboard<K, F> {
    fn clone(&self) -> Self {
        Self { board: self.board.clone() }
    }
}

impl<K: Eq + Hash, F: Troublesome + Clone> Switchboard<K, F> {
    pub(crate) fn new(seed: u64) -> Self {
        let board = Board { random: fastrand::Rng::with_seed(seed), faults: HashMap::new() };
        Self { board: Arc::new(Mutex::new(board)) }
    }

    fn lock(&self) -> MutexGuard<'_, Board<K, F>> {
        // Whoever panicked while holding it: faults and chances are plain values and stay usable.
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, operation: K, fault: F) {
        self.lock().faults.insert(operation, vec![fault]);
    }

    /// Adds a fault behind those that the operation has.
    pub(crate) fn add(&self, operation: K, fault: F) {
        self.lock().faults.entry(operation).or_default().push(fault);
    }

    pub(crate) fn clear(&self, operation: &K) {
        self.lock().faults.remove(operation);
    }

    pub(crate) fn clear_all(&self) {
        self.lock().faults.clear();
    }

    /// The operation's first fault, if it has one.
    pub(crate) fn get(&self, operation: &K) -> Option<F> {
        self.lock().faults.get(operation).and_then(|faults| faults.first()).cloned()
    }

    /// Rolls for one request of `operation` by the first of its faults that concerns the request and does not spare it;
    /// not for how it ends if that is certain (`is_certain`). Returns the fault with the roll.
    pub(crate) fn roll(
        &self,
        operation: &K,
        concerns: impl Fn(&F) -> bool,
        is_certain: impl Fn(&F) -> bool,
    ) -> Option<(F, Roll)> {
        let mut board = self.lock();
        let Board { random, faults } = &mut *board;
        let faults = faults.get_mut(operation)?;
        faults.retain_mut(|fault| *fault.requests_left() != Some(0));
        let fault = faults.iter_mut().filter(|fault| concerns(fault)).find_map(|fault| {
            if fault.requests_spared() > 0 {
                fault.spare();
                return None;
            }
            Some(fault)
        })?;
        if let Some(left) = fault.requests_left() {
            *left -= 1;
        }
        let trouble = fault.trouble();
        let roll = Roll {
            latency: roll_latency(random, trouble.latency),
            mishap: if is_certain(fault) { None } else { roll_mishap(random, &trouble) },
            answer_lost: happens(random, trouble.answer_lost),
        };
        Some((fault.clone(), roll))
    }

    /// Whether something with this chance happens.
    pub(crate) fn happens(&self, chance: f64) -> bool {
        chance > 0.0 && happens(&mut self.lock().random, chance)
    }

    /// One or the other.
    pub(crate) fn coin(&self) -> bool {
        self.lock().random.bool()
    }
}

pub(crate) fn happens(random: &mut fastrand::Rng, chance: f64) -> bool {
    chance > 0.0 && random.f64() < chance
}

fn roll_latency(random: &mut fastrand::Rng, range: &RangeInclusive<Duration>) -> Duration {
    let (shortest, longest) = (*range.start(), *range.end());
    shortest + longest.saturating_sub(shortest).mul_f64(random.f64())
}

fn roll_mishap(random: &mut fastrand::Rng, trouble: &Trouble<'_>) -> Option<Mishap> {
    let chances = [
        (trouble.dropped, Mishap::Dropped),
        (trouble.throttled, Mishap::Throttled),
        (trouble.internal_error, Mishap::InternalError),
        (trouble.unavailable, Mishap::Unavailable),
    ];
    chances.into_iter().find(|&(chance, _)| happens(random, chance)).map(|(_, mishap)| mishap)
}
