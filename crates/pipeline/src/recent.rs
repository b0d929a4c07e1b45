//! What the key tables lack, shared between the task that applies epochs and everybody who reads.
//!
//! The ledger and the delta change together, under one lock, so that a reader who holds it sees both as of the same
//! epoch. While the tables are being written the delta that they are written from stays readable here; together with
//! the tables of epoch [`Recent::folded`] it is everything, at any moment.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use dormouse_ledger::{Delta, DeltaKey, Tally};
use dormouse_model::{Cell, KeyArn};
use dormouse_store::{CellCounts, Totals};

/// What changed since the tables were last written, and what they are being written from now.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// Since the latest fold began.
    pub delta: Delta,
    /// What the fold that is under way writes, and the epoch up to which the tables go with it.
    folding: Option<(u64, Arc<Delta>)>,
    /// The tables cover the epochs up to this one.
    folded: u64,
    /// As of when the latest fold began; the delta's tally comes on top.
    pub totals: Totals,
}

impl Recent {
    pub(crate) fn new(folded: u64, totals: Totals) -> Self {
        Self { folded, totals, ..Self::default() }
    }

    /// The epochs up to which the tables may go now: without the fold that is under way, and with it. A fold is visible
    /// in the tables some time before its end is known here: the store still tidies up.
    pub(crate) fn positions(&self) -> Positions {
        Positions { before: self.folded, after: self.folding.as_ref().map(|(upto, _)| *upto) }
    }

    /// Takes the delta away to be folded; it stays readable until [`Recent::end_fold`].
    pub(crate) fn begin_fold(&mut self, upto: u64) -> Arc<Delta> {
        let delta = Arc::new(std::mem::take(&mut self.delta));
        self.folding = Some((upto, Arc::clone(&delta)));
        delta
    }

    /// The tables are written up to this epoch. Returns what memory needs no longer: dropping it takes a while, so it is
    /// to be dropped when nobody waits.
    #[must_use]
    pub(crate) fn end_fold(&mut self, upto: u64) -> Option<Arc<Delta>> {
        self.folded = upto;
        self.folding.take().map(|(_, delta)| delta)
    }

    /// What changed about a key: what the fold that is under way writes, and what came since.
    pub(crate) fn of_key(&self, key: KeyArn) -> (Option<&DeltaKey>, Option<&DeltaKey>) {
        let folding = self.folding.as_ref().and_then(|(_, delta)| delta.keys.get(&key));
        (folding, self.delta.keys.get(&key))
    }

    /// Adds what the tables lack of a cell to what they have, if they go up to this epoch; false if they are of another
    /// moment.
    pub(crate) fn add_cell(&self, cell: Cell, tables: u64, counts: &mut CellCounts) -> bool {
        let Some(cover) = self.positions().cover(tables) else {
            return false;
        };
        let folding = self.folding.as_ref().filter(|_| cover == Cover::NotTheFold);
        for delta in folding.map(|(_, delta)| &**delta).into_iter().chain([&self.delta]) {
            for (key, changed) in &delta.keys {
                if let Some(more) = changed.activity.days.get(&(cell.day, cell.place)) {
                    let known = counts.entry(*key).or_default();
                    *known = known.plus(*more);
                }
            }
        }
        true
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

/// Up to which epoch the tables may go at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Positions {
    before: u64,
    after: Option<u64>,
}

/// What the tables cover, as far as memory can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cover {
    /// Neither what the fold under way writes nor what came since.
    NotTheFold,
    /// What the fold writes, not what came since.
    TheFold,
}

impl Positions {
    /// What tables that go up to this epoch cover; `None` if they are of another moment.
    pub(crate) fn cover(self, tables: u64) -> Option<Cover> {
        if tables == self.before {
            return Some(Cover::NotTheFold);
        }
        (Some(tables) == self.after).then_some(Cover::TheFold)
    }
}

/// [`Recent`], shared.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedRecent(Arc<RwLock<Recent>>);

impl SharedRecent {
    pub(crate) fn new(recent: Recent) -> Self {
        Self(Arc::new(RwLock::new(recent)))
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Recent> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Recent> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
