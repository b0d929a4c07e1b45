//! Which operations pass: heartbeats prove that a pipe is alive, not that its filter lets `Decrypt` through.
//!
//! That an operation passes is known by having seen it arrive, from anywhere. After somebody altered the filter of a
//! place, only what arrived from this very place since counts.

use std::collections::BTreeMap;

use dormouse_model::EventTime;
use serde::{Deserialize, Serialize};

/// Operations by name, with when the latest successful call was.
pub type Operations = BTreeMap<Box<str>, EventTime>;

/// More in-use operations than KMS has are not kept.
pub(super) const MOST_OPERATIONS: usize = 64;
const MOST_SOURCES: usize = 8;

/// The filter of a place was altered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// When, the last time.
    pub since: EventTime,
    /// What arrived since, by source.
    arrived: BTreeMap<Box<str>, Operations>,
}

impl Filter {
    /// Altered at this time.
    pub(super) fn note_change(slot: &mut Option<Self>, at: EventTime) {
        match slot {
            Some(known) if known.since >= at => {}
            Some(known) => {
                known.since = at;
                for operations in known.arrived.values_mut() {
                    operations.retain(|_, last| *last > at);
                }
            }
            None => *slot = Some(Self { since: at, arrived: BTreeMap::new() }),
        }
    }

    pub(super) fn note_passed(&mut self, source: &str, operation: &str, last: EventTime) {
        if last <= self.since || self.arrived.len() >= MOST_SOURCES && !self.arrived.contains_key(source) {
            return;
        }
        note(self.arrived.entry(source.into()).or_default(), operation, last);
    }

    /// What arrived through a source since.
    pub(crate) fn passed(&self, source: &str) -> Option<&Operations> {
        self.arrived.get(source)
    }
}

/// Notes when an operation arrived.
pub(super) fn note(operations: &mut Operations, operation: &str, last: EventTime) {
    if let Some(known) = operations.get_mut(operation) {
        *known = last.max(*known);
    } else if operations.len() < MOST_OPERATIONS {
        operations.insert(operation.into(), last);
    }
}
