//! The same state, read from a store that another process may be writing: the tables, and the journal's tail on top.

use std::path::Path;

use dormouse_ledger::{Bounds, ChangeLine, Counts, Delta, DeltaKey, Evidence, Ledger, User};
use dormouse_model::{EventTime, KeyArn};
use dormouse_store::{History, Reader, StoredChange, StoredDay, StoredUser, Totals};

use crate::apply::apply;
use crate::run::PipelineError;

/// A store as it was at one moment.
pub struct StoreView {
    /// All keys with their evidence.
    pub ledger: Ledger<Evidence>,
    /// The counters.
    pub totals: Totals,
    /// The quarantine and the history of single keys are read on demand.
    pub reader: Reader,
    /// What the tables lack.
    tail: Delta,
}

/// Reads the store at `path` without writing to it.
pub fn read_store(path: &Path) -> Result<StoreView, PipelineError> {
    let reader = Reader::open(path)?;
    let loaded = reader.rest()?;
    // No bound here: what is stored is bounded already, and a view takes nothing new.
    let ledger = Ledger::new(Bounds { tried_keys: usize::MAX });
    reader.keys(&mut |key, state| ledger.restore(key, state))?;
    ledger.restore_unattributed(loaded.totals.unattributed_attempts);
    for (name, register) in loaded.aliases {
        ledger.aliases().merge(name, register);
    }
    for account in loaded.received {
        ledger.note_received(account);
    }
    let mut totals = loaded.totals;
    let mut tail = Delta::default();
    let mut outcome = Ok(());
    reader.journal_after(loaded.folded, &mut |_, body| {
        if outcome.is_ok() {
            outcome = apply(body, &ledger, &mut tail, &mut totals.unknowns);
        }
    })?;
    outcome?;
    totals.tally = totals.tally.plus(tail.tally);
    totals.unattributed_attempts = ledger.unattributed_attempts();
    Ok(StoreView { ledger, totals, reader, tail })
}

/// The history of one key as it is told: second copies only where the owner's account is not received.
#[derive(Clone, Debug, Default)]
pub struct KeyHistory {
    /// Days since 1970 and what was counted on them, the oldest first.
    pub days: Vec<(u32, Counts)>,
    /// Who used the key how, the most recent first.
    pub users: Vec<StoredUser>,
    /// Observations by users for which there was no room.
    pub users_overflow: u64,
    /// The changes, the oldest first.
    pub changes: Vec<StoredChange>,
}

impl StoreView {
    /// The history of a key; empty if it is not known.
    pub fn history(&self, key: KeyArn) -> Result<KeyHistory, PipelineError> {
        let Some(state) = self.ledger.get(key) else {
            return Ok(KeyHistory::default());
        };
        let mut history = self.reader.history(state.row())?;
        if let Some(tail) = self.tail.keys.get(&key) {
            add_tail(&mut history, tail);
        }
        let is_received = self.ledger.is_received(key.account());
        Ok(as_told(history, is_received))
    }
}

fn add_tail(history: &mut History, tail: &DeltaKey) {
    for (&day, counts) in &tail.activity.days {
        match history.days.iter_mut().find(|known| known.day == day) {
            Some(known) => {
                known.counts.own = known.counts.own.plus(counts.own);
                known.counts.foreign = known.counts.foreign.plus(counts.foreign);
            }
            None => history.days.push(StoredDay { day, counts: *counts }),
        }
    }
    history.days.sort_unstable_by_key(|known| known.day);
    for user in tail.activity.users.values() {
        add_user(&mut history.users, user);
    }
    history.users.sort_by_key(|user| std::cmp::Reverse(user.last));
    history.users_overflow += tail.activity.users_overflow;
    for change in &tail.changes {
        add_change(&mut history.changes, change);
    }
    history.changes.sort_by(|a, b| (a.at, &a.event_id).cmp(&(b.at, &b.event_id)));
}

fn add_user(users: &mut Vec<StoredUser>, new: &User) {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let (principal, service) = (text(&new.principal), text(&new.service));
    let is_same = |known: &&mut StoredUser| {
        (&known.principal, &*known.operation, &known.service, known.foreign)
            == (&principal, &*new.operation, &service, new.foreign)
    };
    if let Some(known) = users.iter_mut().find(is_same) {
        known.first = known.first.min(new.stats.first);
        known.last = known.last.max(new.stats.last);
        known.uses += new.stats.uses;
        known.attempts += new.stats.attempts;
        return;
    }
    users.push(StoredUser {
        principal,
        operation: new.operation.as_ref().into(),
        service,
        foreign: new.foreign,
        first: new.stats.first,
        last: new.stats.last,
        uses: new.stats.uses,
        attempts: new.stats.attempts,
    });
}

fn add_change(changes: &mut Vec<StoredChange>, new: &ChangeLine) {
    let event_id = new.event_id.to_string();
    if changes.iter().any(|known| known.at == new.at && known.event_id == event_id) {
        return;
    }
    changes.push(StoredChange {
        at: new.at,
        event_id,
        operation: new.operation.as_ref().into(),
        principal: new.principal.as_deref().map(str::to_owned),
    });
}

fn as_told(history: History, is_received: bool) -> KeyHistory {
    let told = |counts: dormouse_ledger::DayCounts| {
        if is_received { counts.own } else { counts.own.plus(counts.foreign) }
    };
    KeyHistory {
        days: history.days.into_iter().map(|day| (day.day, told(day.counts))).collect(),
        users: history.users,
        users_overflow: history.users_overflow,
        changes: history.changes,
    }
}

/// Midnight at the beginning of a day since 1970.
pub fn start_of_day(day: u32) -> EventTime {
    EventTime::from_seconds(day.saturating_mul(86_400))
}
