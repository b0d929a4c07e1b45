//! What may be said about a key's use.
//!
//! "Unused" is proven or not said. A [`Judge`] looks at one moment: at what is known of a key (its [`Case`]), at what can
//! be claimed about the place that it lives in, and at what KMS itself answered. A key is `idle` only if, for every
//! operation that a key of its type has, a witness would have seen a use during the whole of the threshold, and none did;
//! what was not understood, what is too old and what nobody can know makes it `unknown` or `blind`, in words.
//!
//! * `thresholds.rs`: how long a key may be unused, and who says so
//! * `operations.rs`: which operations a key of a type has, and which of them KMS remembers
//! * `claim.rs`: spans, and which of them hold for a key
//! * `case.rs`: what a verdict looks at
//! * `judge.rs`: the verdict; `words.rs`: what it rests on, for people

mod case;
mod claim;
mod judge;
mod operations;
mod thresholds;
mod words;

#[cfg(test)]
mod property;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use dormouse_model::{EventTime, OperationTable};
use serde::{Deserialize, Serialize};

use crate::{Coverage, Declared, Inventory};
use operations::Operations;

pub use case::{Case, Look};
pub use claim::KMS_LAG;
pub use judge::Judge;
pub use thresholds::{
    Override, TagThreshold, Threshold, ThresholdError, ThresholdSource, Thresholds, age_in_words,
};

/// What may be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictKind {
    /// Used within the threshold.
    InUse,
    /// Not used for the threshold, and that is proven.
    Idle,
    /// Not used since it was created, and that is proven.
    NeverUsed,
    /// Nobody can say.
    Unknown,
    /// Nobody can say because nothing arrives from its account and Region now.
    Blind,
}

impl VerdictKind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::InUse, Self::Idle, Self::NeverUsed, Self::Unknown, Self::Blind];

    /// Its name, as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InUse => "in_use",
            Self::Idle => "idle",
            Self::NeverUsed => "never_used",
            Self::Unknown => "unknown",
            Self::Blind => "blind",
        }
    }
}

/// A verdict with what it rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// What may be said.
    pub kind: VerdictKind,
    /// Since when it holds: the last use, or the creation of a key that was never used. Null where that is not known.
    pub since: Option<EventTime>,
    /// From when on a use would have been seen, as of what is said here; null where nothing proves it.
    pub evidence_from: Option<EventTime>,
    /// Proven until: a use before this would have been seen; null where nothing proves it.
    pub evidence_until: Option<EventTime>,
    /// How long a key may be unused before it is called idle, e.g. `90d`.
    pub threshold: String,
    /// Who says so: `default`, `override: …` or `tag …`.
    pub threshold_from: String,
    /// Somebody tried, and failed, to use the key after its last use.
    pub wanted: bool,
    /// What it rests on and what is missing, in words.
    pub evidence: Vec<String>,
}

impl Verdict {
    /// The verdict in a word or three.
    pub fn in_words(&self) -> &'static str {
        match (self.kind, self.wanted) {
            (VerdictKind::Idle, true) => "idle, but wanted",
            (VerdictKind::NeverUsed, true) => "never used, but wanted",
            (kind, _) => kind.name(),
        }
    }
}

/// By what keys are judged: settings, the same for all.
#[derive(Clone, Debug)]
pub struct Rules {
    /// How long keys may be unused.
    pub thresholds: Thresholds,
    /// What the configuration declares complete.
    pub declared: Vec<Declared>,
    /// Whether KMS is asked for its last uses, so that its word has to be waited for.
    pub asks_kms: bool,
    operations: Operations,
}

impl Rules {
    /// Rules for these operations.
    pub fn new(
        thresholds: Thresholds,
        table: &OperationTable,
        declared: Vec<Declared>,
        asks_kms: bool,
    ) -> Self {
        Self { thresholds, declared, asks_kms, operations: Operations::of(table) }
    }

    /// The usual operations, nothing declared, KMS not asked.
    pub fn idle_after(seconds: u32) -> Self {
        let thresholds = Thresholds { idle_after: seconds, ..Thresholds::default() };
        Self::new(thresholds, &OperationTable::default(), Vec::new(), false)
    }
}

/// Lets a judge look at what is known of places. An implementation takes locks for one look and no longer.
pub trait Witnesses: Send + Sync {
    /// Shows what is known as of now.
    fn look(&self, look: &mut dyn FnMut(&Coverage, &Inventory));
}

impl Witnesses for (Coverage, Inventory) {
    fn look(&self, look: &mut dyn FnMut(&Coverage, &Inventory)) {
        look(&self.0, &self.1);
    }
}

impl Witnesses for (Arc<Coverage>, Arc<Inventory>) {
    fn look(&self, look: &mut dyn FnMut(&Coverage, &Inventory)) {
        look(&self.0, &self.1);
    }
}
