//! What the key tables lack, shared between the task that applies epochs and everybody who reads.
//!
//! The ledger and the delta change together, under one lock, so that a reader who holds it sees both as of the same
//! epoch. While the tables are being written the delta that they are written from stays readable here; together with
//! the tables of epoch [`Recent::folded`] it is everything, at any moment.

use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use dormouse_ledger::{Delta, DeltaKey, Tally};
use dormouse_model::KeyArn;
use dormouse_store::Totals;

/// What changed since the tables were last written, and what they are being written from now.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// Since the latest fold began.
    pub delta: Delta,
    /// What the fold that is under way writes.
    folding: Option<Arc<Delta>>,
    /// The tables cover the epochs up to this one.
    folded: u64,
    /// As of when the latest fold began; the delta's tally comes on top.
    pub totals: Totals,
}

impl Recent {
    pub(crate) fn new(folded: u64, totals: Totals) -> Self {
        Self { folded, totals, ..Self::default() }
    }

    pub(crate) fn folded(&self) -> u64 {
        self.folded
    }

    /// Takes the delta away to be folded; it stays readable until [`SharedRecent::end_fold`].
    pub(crate) fn begin_fold(&mut self) -> Arc<Delta> {
        let delta = Arc::new(std::mem::take(&mut self.delta));
        self.folding = Some(Arc::clone(&delta));
        delta
    }

    /// What the tables lack of a key, the older part first.
    pub(crate) fn of_key(&self, key: KeyArn) -> impl Iterator<Item = &DeltaKey> {
        let folding = self.folding.as_ref().and_then(|delta| delta.keys.get(&key));
        folding.into_iter().chain(self.delta.keys.get(&key))
    }

    /// What became of the records since the store was made.
    pub(crate) fn tally(&self) -> Tally {
        self.totals.tally.plus(self.delta.tally)
    }

    /// The counters now, but for what the ledger counts.
    pub(crate) fn totals(&self) -> Totals {
        Totals { tally: self.tally(), ..self.totals.clone() }
    }
}

/// [`Recent`], shared.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedRecent(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    recent: RwLock<Recent>,
    /// [`Recent::folded`] once more, for those who wait for it to move.
    folded: Mutex<u64>,
    moved: Condvar,
}

impl SharedRecent {
    pub(crate) fn new(recent: Recent) -> Self {
        let folded = Mutex::new(recent.folded);
        Self(Arc::new(Shared { recent: RwLock::new(recent), folded, moved: Condvar::new() }))
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Recent> {
        self.0.recent.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Recent> {
        self.0.recent.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tables are written up to this epoch.
    pub(crate) fn end_fold(&self, upto: u64) {
        {
            let mut recent = self.write();
            recent.folding = None;
            recent.folded = upto;
        }
        *self.0.folded.lock().unwrap_or_else(PoisonError::into_inner) = upto;
        self.0.moved.notify_all();
    }

    /// Waits until the tables cover other epochs than those up to `known`, but no longer than this.
    pub(crate) fn wait_for_fold(&self, known: u64, longest: Duration) {
        let folded = self.0.folded.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever waited too long looks again anyway.
        let _ = self.0.moved.wait_timeout_while(folded, longest, |folded| *folded == known);
    }
}
