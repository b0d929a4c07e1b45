//! A start from the store: the tables, then the journal's tail.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use dormouse_cloudtrail::may_hold_a_use;
use dormouse_ledger::{
    Bounds, Copies, Coverage, CoverageOptions, IdWindow, Identity, Inventory, Ledger, Rank, Unread,
};
use dormouse_store::{Store, Totals};

use crate::apply::{Targets, apply};
use crate::checkpoints::Checkpoints;
use crate::epoch::{self, EpochError};
use crate::recent::{Recent, SharedRecent};
use crate::run::PipelineError;

/// Something that one task writes and others read.
#[derive(Debug, Default)]
pub(crate) struct Shared<T>(Arc<RwLock<T>>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Shared<T> {
    fn new(value: T) -> Self {
        Self(Arc::new(RwLock::new(value)))
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything the pipeline keeps in memory.
pub(crate) struct State {
    pub ledger: Arc<Ledger<Rank>>,
    pub window: IdWindow,
    /// What the tables lack.
    pub recent: SharedRecent,
    /// What was received, and what history proves.
    pub coverage: Shared<Coverage>,
    /// What was heard of accounts and their Regions.
    pub inventory: Shared<Inventory>,
    /// How far sources have come.
    pub checkpoints: Shared<Checkpoints>,
    pub last_seq: u64,
    /// Bytes of journal since the last fold.
    pub unfolded_bytes: usize,
}

impl State {
    /// Nothing: keeps the place of a state that another thread has.
    pub(crate) fn empty() -> Self {
        Self {
            ledger: Arc::new(Ledger::new(Bounds::default())),
            window: IdWindow::new(1),
            recent: SharedRecent::default(),
            coverage: Shared::default(),
            inventory: Shared::default(),
            checkpoints: Shared::default(),
            last_seq: 0,
            unfolded_bytes: 0,
        }
    }

    /// What the counters are now.
    pub(crate) fn current_totals(&self) -> Totals {
        let mut totals = self.recent.read().totals();
        totals.unattributed_attempts = self.ledger.unattributed_attempts();
        totals
    }
}

/// What the quarantine holds that may have been a use.
pub(crate) fn held_back(unread: Vec<Unread>) -> impl Iterator<Item = Unread> {
    unread.into_iter().filter(|unread| may_hold_a_use(&unread.reason))
}

pub(crate) fn recover(
    store: &dyn Store,
    bounds: Bounds,
    id_bound: usize,
    coverage: CoverageOptions,
) -> Result<State, PipelineError> {
    let loaded = store.load()?;
    let ledger = Ledger::with_capacity(bounds, loaded.keys);
    store.load_keys(&|key, state| ledger.restore(key, state))?;
    ledger.restore_unattributed(loaded.totals.unattributed_attempts);
    for (name, writes) in loaded.aliases {
        ledger.aliases().restore(name, writes);
    }
    for (place, known) in &loaded.inventory.places {
        if let Some(at) = known.aliases_at {
            ledger.aliases().note_listed(*place, at);
        }
    }
    for account in loaded.received {
        ledger.note_received(account);
    }
    let mut window = IdWindow::new(id_bound);
    window.restore_floor(loaded.floor);
    for (id, time, copies) in loaded.ids {
        window.enter(id, time, copies);
    }
    let mut state = State {
        ledger: Arc::new(ledger),
        window,
        recent: SharedRecent::new(Recent::new(loaded.folded, loaded.totals)),
        coverage: Shared::new(Coverage::restore(loaded.coverage).with_options(coverage)),
        inventory: Shared::new(Inventory::restore(loaded.inventory)),
        checkpoints: Shared::new(Checkpoints::restore(loaded.checkpoints)),
        last_seq: loaded.last_seq,
        unfolded_bytes: 0,
    };
    state.read_tail(store, loaded.folded)?;
    state.coverage.write().set_unread(held_back(store.unread()?));
    Ok(state)
}

impl State {
    fn read_tail(&mut self, store: &dyn Store, folded: u64) -> Result<(), PipelineError> {
        let mut outcome = Ok(());
        store.journal_after(folded, &mut |_, body| {
            if outcome.is_ok() {
                outcome = self.read_epoch(body);
            }
        })?;
        outcome.map_err(PipelineError::from)
    }

    /// A committed epoch becomes visible, all at once, with what the quarantine holds since, if that is new: nobody sees a
    /// claim without the hole that takes it away.
    pub(crate) fn apply(&mut self, body: &[u8], unread: Option<Vec<Unread>>) -> Result<(), EpochError> {
        let mut recent = self.recent.write();
        let mut coverage = self.coverage.write();
        let Recent { delta, totals, .. } = &mut *recent;
        let targets = Targets {
            ledger: &self.ledger,
            delta,
            unknowns: &mut totals.unknowns,
            coverage: &mut coverage,
            inventory: &mut self.inventory.write(),
            checkpoints: &mut self.checkpoints.write(),
        };
        apply(body, targets)?;
        if let Some(unread) = unread {
            coverage.set_unread(held_back(unread));
        }
        self.unfolded_bytes += body.len();
        Ok(())
    }

    fn read_epoch(&mut self, body: &[u8]) -> Result<(), EpochError> {
        self.apply(body, None)?;
        let (header, observations) = epoch::decode(body)?;
        for (id, time) in &header.records {
            self.window.enter(Identity::from_bytes(*id), *time, Copies::RECORD);
        }
        for observation in observations {
            let (observation, decided) = observation?;
            if let Some((id, time, copies)) = epoch::remembered(&observation, decided) {
                self.window.enter(id, time, copies);
            }
        }
        self.window.restore_floor(header.floor);
        Ok(())
    }
}
