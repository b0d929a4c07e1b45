//! At the end the demo holds what Dormouse says against what really happened: every key, every count.

use std::collections::BTreeMap;

use dormouse_ledger::query::{KeyFilter, KeyQuery};
use dormouse_ledger::{Counts, KeyDocument};
use dormouse_model::{KeyArn, LifecycleState};
use dormouse_pipeline::{LiveView, PipelineError};
use dormouse_simulate::organisation::{KeyTruth, Truth};

/// The outcome of the comparison.
pub(super) struct Account {
    /// What Dormouse counted.
    pub(super) told: Counts,
    /// What really happened.
    pub(super) happened: Counts,
    /// How many keys were compared.
    pub(super) keys: usize,
    /// Every difference, in words.
    pub(super) differences: Vec<String>,
}

/// Compares what is told of every key with what happened to it.
pub(super) fn settle(view: &LiveView, truth: &Truth) -> Result<Account, PipelineError> {
    // Those that are deleted are told to whoever asks for them.
    let deleted = KeyFilter { states: vec![LifecycleState::Deleted], ..KeyFilter::default() };
    let mut documents = Vec::new();
    for filter in [KeyFilter::default(), deleted] {
        let selection = view.select(&KeyQuery { filter, ..KeyQuery::default() });
        documents.extend(view.documents(&selection.rows(0, usize::MAX))?);
    }
    let mut told: BTreeMap<KeyArn, KeyDocument> = documents.into_iter().map(|key| (key.arn, key)).collect();
    let mut account =
        Account { told: Counts::default(), happened: Counts::default(), keys: 0, differences: Vec::new() };
    for key in &truth.keys {
        let happened = Counts { uses: key.uses, attempts: key.attempts, changes: key.changes };
        account.happened = account.happened.plus(happened);
        match told.remove(&key.key) {
            Some(document) => account.compare(key, &document),
            // A key that was only tried, or of which nothing happened at all, is none that events can show.
            None if key.uses + key.changes > 0 => {
                account.differences.push(format!("{}: not known, but used or changed", key.key));
            }
            None => account.told.attempts += view.attempts_on(key.key).unwrap_or(0),
        }
    }
    for key in told.keys() {
        account.differences.push(format!("{key}: known, but there is no such key"));
    }
    if account.told != account.happened {
        account.differences.push(format!("counted {:?}, happened {:?}", account.told, account.happened));
    }
    Ok(account)
}

impl Account {
    fn compare(&mut self, key: &KeyTruth, told: &KeyDocument) {
        let counts = Counts { uses: told.uses, attempts: told.attempts, changes: told.changes };
        self.told = self.told.plus(counts);
        self.keys += 1;
        if counts != (Counts { uses: key.uses, attempts: key.attempts, changes: key.changes }) {
            self.differences.push(format!("{}: counted {counts:?}, happened otherwise", key.key));
        }
        let told_last = told.last_use.as_ref().map(|last| last.at);
        let last = key.last_use.as_ref().map(|last| last.time);
        // Of uses from before its history KMS knows alone, as soon as it is asked.
        let is_from_before = last.is_none() && told_last == key.used_before;
        if told_last != last && !is_from_before {
            self.differences.push(format!("{}: last used {last:?}, but told {told_last:?}", key.key));
        }
        if told.state.is_some_and(|state| state != key.state) {
            self.differences.push(format!("{}: is {:?}, but told {:?}", key.key, key.state, told.state));
        }
    }
}
