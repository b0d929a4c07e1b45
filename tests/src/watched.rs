//! A store that refuses commits when told to, and remembers what it made durable.
//!
//! It stands around the real one and reads every epoch that was committed, so that a test can ask of any event: was it
//! durable at this moment, and was it counted?

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dormouse_ledger::Counting;
use dormouse_model::EventTime;
use dormouse_pipeline::epoch;
use dormouse_store::{
    Commit, EachKey, Epoch, Fold, Loaded, SqliteStore, Store, StoreError, StoredQuarantined,
};

/// A store with a guard at its door.
pub struct WatchedStore {
    /// The store itself.
    pub inner: SqliteStore,
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

impl WatchedStore {
    /// A guard that refuses `at_first` commits, and `between` more after each one that it lets through.
    pub fn new(inner: SqliteStore, at_first: u64, between: u64) -> Self {
        Self {
            inner,
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

    fn must_refuse(&self) -> bool {
        let one_less = |left: u64| left.checked_sub(1);
        self.to_refuse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok()
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

impl Store for WatchedStore {
    fn commit(&self, epoch: &Epoch<'_>) -> Result<Commit, StoreError> {
        if self.must_refuse() {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Ok(Commit::Retry("the guard says no".to_owned()));
        }
        let outcome = self.inner.commit(epoch)?;
        if matches!(outcome, Commit::Committed) {
            self.note(epoch);
            self.committed.fetch_add(1, Ordering::SeqCst);
            self.to_refuse.fetch_add(self.refuse_between, Ordering::SeqCst);
        }
        Ok(outcome)
    }

    fn fold(&self, fold: &Fold) -> Result<Commit, StoreError> {
        self.inner.fold(fold)
    }

    fn load_keys(&self, each: &EachKey<'_>) -> Result<(), StoreError> {
        self.inner.load_keys(each)
    }

    fn load(&self) -> Result<Loaded, StoreError> {
        self.inner.load()
    }

    fn journal_after(&self, seq: u64, each: &mut dyn FnMut(u64, &[u8])) -> Result<(), StoreError> {
        self.inner.journal_after(seq, each)
    }

    fn quarantine_room(&self) -> u64 {
        self.inner.quarantine_room()
    }

    fn quarantined(&self, id: i64) -> Result<Option<StoredQuarantined>, StoreError> {
        self.inner.quarantined(id)
    }

    fn due_for_retry(&self, now: EventTime, most: usize) -> Result<Vec<StoredQuarantined>, StoreError> {
        self.inner.due_for_retry(now, most)
    }
}
