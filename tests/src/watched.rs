//! A store that refuses commits when told to, and remembers what it made durable.
//!
//! It stands around the real one and reads every epoch that was committed, so that a test can ask of any event: was it
//! durable at this moment, and was it counted?

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dormouse_ledger::Counting;
use dormouse_pipeline::epoch;
use dormouse_store::{Epoch, Guard, GuardedStore, SqliteStore};

/// The real store, watched.
pub type WatchedStore = GuardedStore<SqliteStore, Watch>;

/// The guard at its door.
pub struct Watch {
    /// How many commits are still to be refused.
    to_refuse: AtomicU64,
    /// After each commit that was let through, so many are refused.
    refuse_between: u64,
    refused: AtomicU64,
    committed: AtomicU64,
    durable: Mutex<Durable>,
}

/// The events whose effects are durable.
#[derive(Debug, Default)]
pub struct Durable {
    /// All of them, by event id.
    pub events: HashSet<String>,
    /// Those of which a copy was counted.
    pub counted: HashSet<String>,
    last_seq: u64,
}

/// A store that refuses `at_first` commits, and `between` more after each one that it lets through.
pub fn watched(inner: SqliteStore, at_first: u64, between: u64) -> WatchedStore {
    GuardedStore { inner, guard: Watch::new(at_first, between) }
}

impl Watch {
    fn new(at_first: u64, between: u64) -> Self {
        Self {
            to_refuse: AtomicU64::new(at_first),
            refuse_between: between,
            refused: AtomicU64::new(0),
            committed: AtomicU64::new(0),
            durable: Mutex::default(),
        }
    }

    /// From now on nothing is refused.
    pub fn relent(&self) {
        self.to_refuse.store(0, Ordering::SeqCst);
    }

    /// Commits refused so far.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::SeqCst)
    }

    /// Commits made so far.
    pub fn committed(&self) -> u64 {
        self.committed.load(Ordering::SeqCst)
    }

    /// What is durable now.
    pub fn durable(&self) -> MutexGuard<'_, Durable> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, made: &Epoch<'_>) {
        let mut durable = self.durable();
        assert_eq!(made.seq, durable.last_seq + 1, "epochs commit in order");
        durable.last_seq = made.seq;
        let (_, observations) = epoch::decode(made.body).unwrap();
        for observation in observations {
            let (observation, counting) = observation.unwrap();
            let event = observation.event_id.to_string();
            if counting.counting == Counting::Counted {
                durable.counted.insert(event.clone());
            }
            durable.events.insert(event);
        }
    }
}

impl Guard for Watch {
    fn refuse(&self, _: &Epoch<'_>) -> Option<String> {
        let one_less = |left: u64| left.checked_sub(1);
        self.to_refuse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).ok()?;
        self.refused.fetch_add(1, Ordering::SeqCst);
        Some("the guard says no".to_owned())
    }

    fn committed(&self, epoch: &Epoch<'_>) {
        self.note(epoch);
        self.committed.fetch_add(1, Ordering::SeqCst);
        self.to_refuse.fetch_add(self.refuse_between, Ordering::SeqCst);
    }
}
