//! Which operations pass: heartbeats prove that a pipe is alive, not that its filter lets `Decrypt` through.
//!
//! That an operation passes is known by having seen it arrive, from anywhere, and from then on. After somebody altered
//! the filter of a place, only what arrived from this very place since counts for what comes behind.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use dormouse_model::{EventTime, Meaning, OperationTable};
use serde::{Deserialize, Serialize};

use super::spans::Span;

/// An operation that passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pass {
    /// Since when a use would have been seen.
    pub since: EventTime,
    /// When the latest successful call was.
    pub last: EventTime,
}

/// Operations by name.
pub type Operations = BTreeMap<Box<str>, Pass>;

/// More in-use operations than KMS has are not kept.
const MOST_OPERATIONS: usize = 64;
const MOST_SOURCES: usize = 8;
const MOST_SPANS: usize = 16;

/// Whether an operation is a use by the table that this build brings, not by the configuration alone. Earlier builds and
/// history count its calls whatever was configured when.
pub(crate) fn is_usual(operation: &str) -> bool {
    static USUAL: LazyLock<OperationTable> = LazyLock::new(OperationTable::default);
    USUAL.meaning(operation) == Some(Meaning::InUse)
}

/// By source and operation: when it passed before the filter was altered.
type Past = BTreeMap<Box<str>, BTreeMap<Box<str>, Vec<Span>>>;

/// The filter of a place was altered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// When, the last time.
    pub since: EventTime,
    /// What arrived since, by source.
    arrived: BTreeMap<Box<str>, Operations>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    past: Past,
}

impl Filter {
    /// Altered for the first time; these operations passed the sources until then.
    pub(super) fn new<'a>(at: EventTime, passed: impl Iterator<Item = (&'a str, &'a Operations)>) -> Self {
        let mut past = Past::new();
        for (source, operations) in passed.filter(|(_, operations)| !operations.is_empty()).take(MOST_SOURCES)
        {
            remember(past.entry(source.into()).or_default(), operations, at);
        }
        Self { since: at, arrived: BTreeMap::new(), past }
    }

    /// Altered once more at this time.
    pub(super) fn note_change(&mut self, at: EventTime) {
        if at < self.since {
            // What passed from before it until later may have been parted by it.
            for span in self.past.values_mut().flat_map(BTreeMap::values_mut).flatten() {
                if span.from < at && at < span.until {
                    span.until = at;
                }
            }
        }
        if at <= self.since {
            return;
        }
        self.since = at;
        for (source, operations) in &mut self.arrived {
            remember(self.past.entry(source.clone()).or_default(), operations, at);
            operations.retain(|_, pass| pass.last > at);
            operations.values_mut().for_each(|pass| pass.since = pass.since.max(pass.last));
        }
        while self.past.len() > MOST_SOURCES {
            self.past.pop_first();
        }
    }

    /// Calls arrived, the first and the last at these times. Nothing is known of the time before `floor`.
    pub(super) fn note_passed(
        &mut self,
        source: &str,
        operation: &str,
        (first, last): (EventTime, EventTime),
        floor: EventTime,
    ) {
        if last <= self.since {
            return;
        }
        if self.arrived.len() >= MOST_SOURCES && !self.arrived.contains_key(source) {
            // Of the others, the one that was silent for longest.
            let latest = |operations: &Operations| operations.values().map(|pass| pass.last).max();
            let silent = self.arrived.iter().min_by_key(|(_, operations)| latest(operations));
            if let Some(silent) = silent.map(|(name, _)| name.clone()) {
                self.arrived.remove(&silent);
            }
        }
        let first = if first > self.since { first } else { last };
        let pass = Pass { since: first.max(floor), last };
        note(self.arrived.entry(source.into()).or_default(), operation, pass);
    }

    /// What arrived through a source since.
    pub(crate) fn passed(&self, source: &str) -> Option<&Operations> {
        self.arrived.get(source)
    }

    /// When operations passed a source before.
    pub(crate) fn past(&self, source: &str) -> impl Iterator<Item = (&str, &[Span])> {
        self.past.get(source).into_iter().flatten().map(|(operation, spans)| (&**operation, &**spans))
    }

    /// Forgets operations; true if there were any.
    pub(super) fn keep(&mut self, is_kept: impl Fn(&str) -> bool) -> bool {
        let mut has_lost = false;
        for operations in self.arrived.values_mut() {
            let before = operations.len();
            operations.retain(|name, _| is_kept(name));
            has_lost |= operations.len() < before;
        }
        for operations in self.past.values_mut() {
            let before = operations.len();
            operations.retain(|name, _| is_kept(name));
            has_lost |= operations.len() < before;
        }
        has_lost
    }
}

/// What passed until `at` becomes the past.
fn remember(past: &mut BTreeMap<Box<str>, Vec<Span>>, operations: &Operations, at: EventTime) {
    for (operation, pass) in operations.iter().filter(|(_, pass)| pass.since < at) {
        if past.len() >= MOST_OPERATIONS && !past.contains_key(operation) {
            continue;
        }
        let spans = past.entry(operation.clone()).or_default();
        *spans = super::with(std::mem::take(spans), Span { from: pass.since, until: at });
        let excess = spans.len().saturating_sub(MOST_SPANS);
        spans.drain(..excess);
    }
}

/// Notes that an operation passes.
pub(super) fn note(operations: &mut Operations, operation: &str, pass: Pass) {
    if let Some(known) = operations.get_mut(operation) {
        known.since = known.since.min(pass.since);
        known.last = known.last.max(pass.last);
    } else if operations.len() < MOST_OPERATIONS {
        operations.insert(operation.into(), pass);
    }
}
