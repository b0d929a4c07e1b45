//! A store with a guard at its door: for tests of what stands before it when commits are refused.

use dormouse_ledger::Unread;
use dormouse_model::{Cell, EventTime, Place};

use crate::{CellCounts, Commit, EachKey, Epoch, Fold, Loaded, Store, StoreError, StoredQuarantined};

/// Says which commits are refused, and sees those that were made.
pub trait Guard: Send + Sync + 'static {
    /// Why this commit is refused now; `None` lets it through.
    fn refuse(&self, epoch: &Epoch<'_>) -> Option<String>;

    /// The epoch is durable.
    fn committed(&self, _epoch: &Epoch<'_>) {}
}

/// The store behind the guard. Everything but commits passes freely.
#[derive(Debug)]
pub struct GuardedStore<S, G> {
    /// The store itself.
    pub inner: S,
    /// The guard.
    pub guard: G,
}

impl<S: Store, G: Guard> Store for GuardedStore<S, G> {
    fn commit(&self, epoch: &Epoch<'_>) -> Result<Commit, StoreError> {
        if let Some(reason) = self.guard.refuse(epoch) {
            return Ok(Commit::Retry(reason));
        }
        let outcome = self.inner.commit(epoch)?;
        if matches!(outcome, Commit::Committed) {
            self.guard.committed(epoch);
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

    fn kept_days(&self) -> u32 {
        self.inner.kept_days()
    }

    fn cell(&self, cell: Cell) -> Result<(u64, CellCounts), StoreError> {
        self.inner.cell(cell)
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

    fn unread(&self) -> Result<Vec<Unread>, StoreError> {
        self.inner.unread()
    }

    fn retry_at(&self, reason: &str, place: Place, at: EventTime) -> Result<(), StoreError> {
        self.inner.retry_at(reason, place, at)
    }
}
