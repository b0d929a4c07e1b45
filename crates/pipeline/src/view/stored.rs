//! What is known, read from a store that another process may be writing: the tables, and the journal's tail on top.

use std::path::Path;
use std::sync::Arc;

use dormouse_ledger::query::{KeyQuery, select};
use dormouse_ledger::{
    Bounds, Coverage, CoverageOptions, Declared, Delta, Evidence, Inventory, Judge, KeyDocument, KeyState,
    Ledger, Rules, Source,
};
use dormouse_model::{EventTime, KeyArn};
use dormouse_store::{Reader, StoredQuarantined, Totals};

use super::{
    AccountsDocument, KeyDetails, KeysPage, QuarantineDocument, RecordsDocument, StatusDocument, accounts,
    history,
};
use crate::apply::{Targets, apply};
use crate::checkpoints::Checkpoints;
use crate::recover::held_back;
use crate::run::PipelineError;

/// A store as it was at one moment.
pub struct StoreView {
    /// All keys with their evidence.
    pub ledger: Ledger<Evidence>,
    /// The counters.
    pub totals: Totals,
    /// What was received, and what history proves.
    pub coverage: Arc<Coverage>,
    /// What was heard of accounts and their Regions.
    pub inventory: Arc<Inventory>,
    /// The quarantine and the history of single keys are read on demand.
    reader: Reader,
    /// What the tables lack.
    tail: Delta,
}

/// Reads the store at `path` without writing to it. `options` are those of whoever writes it: they decide what is blind.
pub fn read_store(path: &Path, options: CoverageOptions) -> Result<StoreView, PipelineError> {
    let reader = Reader::open(path)?;
    let loaded = reader.rest()?;
    // No bound here: what is stored is bounded already, and a view takes nothing new.
    let ledger = Ledger::new(Bounds { tried_keys: usize::MAX });
    reader.keys(&mut |key, state| ledger.restore(key, state))?;
    ledger.restore_unattributed(loaded.totals.unattributed_attempts);
    for (name, writes) in loaded.aliases {
        ledger.aliases().restore(name, writes);
    }
    for account in loaded.received {
        ledger.note_received(account);
    }
    let mut totals = loaded.totals;
    let mut tail = Delta::default();
    let mut coverage = Coverage::restore(loaded.coverage).with_options(options);
    let mut inventory = Inventory::restore(loaded.inventory);
    let mut checkpoints = Checkpoints::restore(loaded.checkpoints);
    let mut outcome = Ok(());
    reader.journal_after(loaded.folded, &mut |_, body| {
        if outcome.is_ok() {
            let targets = Targets {
                ledger: &ledger,
                delta: &mut tail,
                unknowns: &mut totals.unknowns,
                coverage: &mut coverage,
                inventory: &mut inventory,
                checkpoints: &mut checkpoints,
            };
            outcome = apply(body, targets);
        }
    })?;
    outcome?;
    coverage.set_unread(held_back(reader.unread()?));
    totals.tally = totals.tally.plus(tail.tally);
    totals.unattributed_attempts = ledger.unattributed_attempts();
    let (coverage, inventory) = (Arc::new(coverage), Arc::new(inventory));
    Ok(StoreView { ledger, totals, coverage, inventory, reader, tail })
}

impl StoreView {
    /// Judges keys as of `now`, by `rules`.
    pub fn judge(&self, now: EventTime, rules: Arc<Rules>) -> Judge {
        Judge::new(now, rules, Arc::new((Arc::clone(&self.coverage), Arc::clone(&self.inventory))))
    }

    /// The keys that a question is about, from the first on, at most so many.
    pub fn keys(&self, query: &KeyQuery, most: usize, judge: &Judge) -> KeysPage {
        let selection = select(&self.ledger, query, judge);
        let keys = self.ledger.keys_in_rows(selection.rows(0, most));
        let keys = keys.into_iter().filter_map(|key| self.document(key, judge)).collect();
        KeysPage { keys, total: selection.len(), next: None }
    }

    /// A key as all surfaces show it; `None` if no such key is known.
    pub fn document(&self, key: KeyArn, judge: &Judge) -> Option<KeyDocument> {
        let look = judge.look(key);
        let state = self.ledger.get(key).filter(KeyState::exists)?;
        Some(KeyDocument::new(key, &state, &self.ledger, Source::Stream, judge, look))
    }

    /// A key with its history; `None` if no such key is known.
    pub fn details(&self, key: KeyArn, judge: &Judge) -> Result<Option<KeyDetails>, PipelineError> {
        let look = judge.look(key);
        let Some(state) = self.ledger.get(key).filter(KeyState::exists) else {
            return Ok(None);
        };
        let mut history = self.reader.history(state.row())?;
        if let Some(tail) = self.tail.keys.get(&key) {
            history::add(&mut history, tail);
        }
        let document = KeyDocument::new(key, &state, &self.ledger, Source::Stream, judge, look);
        Ok(Some(history::details(document, history, self.ledger.is_received(key.account()))))
    }

    /// Counted attempts on an ARN that never showed to be a key; `None` if there was none.
    pub fn attempts_on(&self, key: KeyArn) -> Option<u64> {
        self.ledger.with(key, |state| self.ledger.counts_of(key, state).attempts)
    }

    /// What is known of accounts and Regions as of `now`. What the configuration declares complete is told as such.
    pub fn accounts(&self, declared: &[Declared], now: EventTime) -> AccountsDocument {
        accounts::accounts(&self.coverage, &self.inventory, declared, now)
    }

    /// The counters.
    pub fn status(&self) -> Result<StatusDocument, PipelineError> {
        let (messages, bytes) = self.reader.quarantine_size()?;
        Ok(StatusDocument {
            keys: self.ledger.by_last_use().len(),
            tried_keys: self.ledger.tried_keys(),
            records: RecordsDocument::new(self.totals.tally, self.ledger.total_counts()),
            late_uncounted: self.totals.tally.late_uncounted,
            unattributed_attempts: self.totals.unattributed_attempts,
            quarantine: QuarantineDocument { messages, bytes },
            unknown: self.totals.unknowns.clone(),
        })
    }

    /// Quarantined messages behind number `after`, without their bodies, at most so many.
    pub fn quarantine(&self, after: i64, most: usize) -> Result<Vec<StoredQuarantined>, PipelineError> {
        Ok(self.reader.quarantine(after, most)?)
    }

    /// A quarantined message with its body.
    pub fn quarantined(&self, id: i64) -> Result<Option<StoredQuarantined>, PipelineError> {
        Ok(self.reader.quarantined(id)?)
    }
}
