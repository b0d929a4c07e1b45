//! What is known, asked of the running pipeline.
//!
//! Which keys there are, in what order, and how they are judged is answered from memory alone. The texts of a last use
//! are in what the tables lack or, if nothing happened to the key since, in its rows. A question that needs both looks
//! at memory first and at the tables then, and asks the tables up to which epoch they go: so nothing is seen twice or not
//! at all. Only if a whole fold began and ended between the two looks is it asked again.

use std::collections::HashMap;
use std::sync::Arc;

use dormouse_ledger::query::{KeyQuery, Selection, select};
use dormouse_ledger::{
    Coverage, Declared, Evidence, Inventory, Judge, KeyDocument, KeyState, Ledger, Look, Rank, Rules, Source,
    Trace, Witnesses,
};
use dormouse_model::{Clock, KeyArn, Place};
use dormouse_store::{History, Reader, Readers, StoredQuarantined};

use super::{
    AccountsDocument, KeyDetails, QuarantineDocument, RecordsDocument, StatusDocument, accounts, history,
};
use crate::recent::{Cover, Positions, SharedRecent};
use crate::recover::Shared;
use crate::run::PipelineError;

/// What is known now. Every call but [`LiveView::select`] may block on the disk, and all may take a while with many keys.
pub struct LiveView {
    ledger: Arc<Ledger<Rank>>,
    recent: SharedRecent,
    coverage: Shared<Coverage>,
    inventory: Shared<Inventory>,
    readers: Readers,
    clock: Arc<dyn Clock>,
    rules: Arc<Rules>,
}

/// What judges look at: locked for one look at a time, in the order in which the committing task locks.
struct Beside {
    coverage: Shared<Coverage>,
    inventory: Shared<Inventory>,
}

impl Witnesses for Beside {
    fn look(&self, look: &mut dyn FnMut(&Coverage, &Inventory)) {
        let coverage = self.coverage.read();
        look(&coverage, &self.inventory.read());
    }
}

/// A key as memory has it.
struct Known {
    key: KeyArn,
    state: KeyState<Rank>,
    last_use: Option<Evidence>,
    last_attempt: Option<Evidence>,
    /// What the fold under way adds to the history, and what came since; empty where the history is not wanted.
    folding: History,
    since: History,
}

/// How often a question is asked again because a whole fold passed between its two looks. Folds take longer than looks.
const MOST_TRIES: u32 = 20;

impl LiveView {
    pub(crate) fn new(
        ledger: Arc<Ledger<Rank>>,
        recent: SharedRecent,
        coverage: Shared<Coverage>,
        inventory: Shared<Inventory>,
        readers: Readers,
        clock: Arc<dyn Clock>,
        rules: Arc<Rules>,
    ) -> Self {
        Self { ledger, recent, coverage, inventory, readers, clock, rules }
    }

    /// The state of all keys.
    pub fn ledger(&self) -> &Ledger<Rank> {
        &self.ledger
    }

    /// Judges keys as of now.
    pub fn judge(&self) -> Judge {
        let beside = Beside { coverage: self.coverage.clone(), inventory: self.inventory.clone() };
        Judge::new(self.clock.now_seconds(), Arc::clone(&self.rules), Arc::new(beside))
    }

    /// The keys that a question is about.
    pub fn select(&self, query: &KeyQuery) -> Selection {
        select(&self.ledger, query, &self.judge())
    }

    /// The documents of the keys in these rows, in the same order.
    pub fn documents(&self, rows: &[u32]) -> Result<Vec<KeyDocument>, PipelineError> {
        let judge = self.judge();
        let keys = self.ledger.keys_in_rows(rows.iter().copied());
        // What can be claimed is looked at before the keys are, so that no claim is newer than what is known of its key.
        let mut looks: HashMap<KeyArn, Look> = keys.iter().map(|&key| (key, judge.look(key))).collect();
        let known = self.complete(&keys, false)?;
        let document = |known: Known| {
            let look = looks.remove(&known.key)?;
            Some(self.document(known, &judge, look))
        };
        Ok(known.into_iter().filter_map(document).collect())
    }

    /// A key with its history; `None` if no such key is known.
    pub fn details(&self, key: KeyArn) -> Result<Option<KeyDetails>, PipelineError> {
        let judge = self.judge();
        let look = judge.look(key);
        let Some(mut known) = self.complete(&[key], true)?.pop() else {
            return Ok(None);
        };
        let history = std::mem::take(&mut known.since);
        let document = self.document(known, &judge, look);
        Ok(Some(history::details(document, history, self.ledger.is_received(key.account()))))
    }

    /// Counted attempts on an ARN that never showed to be a key; `None` if there was none.
    pub fn attempts_on(&self, key: KeyArn) -> Option<u64> {
        self.ledger.with(key, |state| self.ledger.counts_of(key, state).attempts)
    }

    /// The counters. Looks at all keys.
    pub fn status(&self) -> Result<StatusDocument, PipelineError> {
        let (messages, bytes) = self.readers.read(Reader::quarantine_size)?;
        // Those who commit do not wait while all keys are looked at.
        let totals = self.recent.read().totals();
        Ok(StatusDocument {
            keys: self.ledger.by_last_use().len(),
            tried_keys: self.ledger.tried_keys(),
            records: RecordsDocument::new(totals.tally, self.ledger.total_counts()),
            late_uncounted: totals.tally.late_uncounted,
            unattributed_attempts: self.ledger.unattributed_attempts(),
            quarantine: QuarantineDocument { messages, bytes },
            unknown: totals.unknowns,
        })
    }

    /// What is known of accounts and Regions. What the configuration declares complete is told as such.
    pub fn accounts(&self, declared: &[Declared]) -> AccountsDocument {
        let now = self.clock.now_seconds();
        accounts::accounts(&self.coverage.read(), &self.inventory.read(), declared, now)
    }

    /// The accounts' Regions that the inventory has heard of, in accounts that are watched and active.
    pub fn watched(&self) -> Vec<Place> {
        let inventory = self.inventory.read();
        let is_watched = |place: &Place| {
            inventory.account(place.account).is_some_and(|known| {
                known.left.is_none() && known.state.as_deref().is_none_or(|state| state == "ACTIVE")
            })
        };
        inventory.places().map(|(place, _)| place).filter(is_watched).collect()
    }

    /// The quarantine's size.
    pub fn quarantine_size(&self) -> Result<QuarantineDocument, PipelineError> {
        let (messages, bytes) = self.readers.read(Reader::quarantine_size)?;
        Ok(QuarantineDocument { messages, bytes })
    }

    /// Quarantined messages behind number `after`, without their bodies, at most so many.
    pub fn quarantine(&self, after: i64, most: usize) -> Result<Vec<StoredQuarantined>, PipelineError> {
        Ok(self.readers.read(|reader| reader.quarantine(after, most))?)
    }

    /// A quarantined message with its body.
    pub fn quarantined(&self, id: i64) -> Result<Option<StoredQuarantined>, PipelineError> {
        Ok(self.readers.read(|reader| reader.quarantined(id))?)
    }

    /// Lets go of the store between questions from now on: for the end of a process, before the writer closes it.
    pub fn close(&self) {
        self.readers.close();
    }

    fn document(&self, known: Known, judge: &Judge, look: Look) -> KeyDocument {
        let Known { key, state, last_use, last_attempt, .. } = known;
        let state = state.with_traces(last_use, last_attempt);
        KeyDocument::new(key, &state, &self.ledger, Source::Stream, judge, look)
    }

    /// Those of the keys that exist, with their texts, and with their history if it is wanted.
    fn complete(&self, keys: &[KeyArn], with_history: bool) -> Result<Vec<Known>, PipelineError> {
        for _ in 0..MOST_TRIES {
            let (known, positions) = self.look_at_memory(keys, with_history);
            let complete =
                self.readers.read(|reader| look_at_tables(reader, positions, known, with_history))?;
            if let Some(known) = complete {
                return Ok(known);
            }
        }
        Err(PipelineError::Moving)
    }

    /// What memory knows of the keys, all as of the same epoch, and which epochs the tables may cover.
    fn look_at_memory(&self, keys: &[KeyArn], with_history: bool) -> (Vec<Known>, Positions) {
        let recent = self.recent.read();
        let known = keys.iter().filter_map(|&key| {
            let state = self.ledger.get(key).filter(KeyState::exists)?;
            let mut known = Known {
                key,
                state,
                last_use: None,
                last_attempt: None,
                folding: History::default(),
                since: History::default(),
            };
            let (folding, since) = recent.of_key(key);
            for changed in [folding, since].into_iter().flatten() {
                keep_last(&mut known.last_use, changed.last_use.as_ref(), known.state.last_use());
                keep_last(&mut known.last_attempt, changed.last_attempt.as_ref(), known.state.last_attempt());
            }
            if with_history {
                folding.into_iter().for_each(|changed| history::add(&mut known.folding, changed));
                since.into_iter().for_each(|changed| history::add(&mut known.since, changed));
            }
            Some(known)
        });
        (known.collect(), recent.positions())
    }
}

/// Keeps the evidence if it is that of the last use or attempt.
fn keep_last(kept: &mut Option<Evidence>, evidence: Option<&Evidence>, last: Option<&Rank>) {
    if let Some(evidence) = evidence
        && Some(evidence.rank()) == last
    {
        *kept = Some(evidence.clone());
    }
}

/// Adds what the tables know; `None` if they are of another moment than memory. The history is then in [`Known::since`].
fn look_at_tables(
    reader: &Reader,
    positions: Positions,
    mut known: Vec<Known>,
    with_history: bool,
) -> Result<Option<Vec<Known>>, PipelineError> {
    let Some(cover) = positions.cover(reader.folded()?) else {
        return Ok(None);
    };
    for known in &mut known {
        let row = known.state.row();
        let lacks_texts = known.last_use.is_none() && known.state.last_use().is_some()
            || known.last_attempt.is_none() && known.state.last_attempt().is_some();
        if lacks_texts && let Some(stored) = reader.key(row)? {
            keep_last(&mut known.last_use, stored.last_use(), known.state.last_use());
            keep_last(&mut known.last_attempt, stored.last_attempt(), known.state.last_attempt());
        }
        if with_history {
            let mut whole = reader.history(row)?;
            if cover == Cover::NotTheFold {
                history::join(&mut whole, std::mem::take(&mut known.folding));
            }
            history::join(&mut whole, std::mem::take(&mut known.since));
            known.since = whole;
        }
    }
    Ok(Some(known))
}
