//! What KMS said of a key beyond what events tell: the last answer to each question.
//!
//! Each is a register of its own, written at the time its request was sent. What events tell, too (state, description,
//! tags), is in [`Registers`](crate::Registers), where both meet.

use dormouse_model::{Described, EventTime, Failure, Grants, LastUsage, MultiRegion, Rotation};
use serde::{Deserialize, Serialize};

/// An answer and when its request was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamped<V> {
    /// When the request was sent.
    pub at: EventTime,
    /// The answer.
    pub said: V,
}

/// What does not change in the life of a key, or only by what KMS does, of `DescribeKey`'s answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nature {
    /// E.g. `SYMMETRIC_DEFAULT`.
    pub spec: Box<str>,
    /// E.g. `ENCRYPT_DECRYPT`.
    pub usage: Box<str>,
    /// E.g. `AWS_KMS`.
    pub origin: Box<str>,
    /// How many days it will wait for its deletion once its last replica is gone.
    pub pending_window_days: Option<u16>,
    /// When imported key material expires.
    pub material_expires: Option<EventTime>,
    /// The custom key store that holds its material.
    pub custom_key_store: Option<Box<str>>,
    /// Its relations, if it is a multi-Region key.
    pub multi_region: Option<MultiRegion>,
}

impl Nature {
    pub(crate) fn of(described: &Described) -> Self {
        Self {
            spec: described.spec.clone(),
            usage: described.usage.clone(),
            origin: described.origin.clone(),
            pending_window_days: described.pending_window_days,
            material_expires: described.material_expires,
            custom_key_store: described.custom_key_store.clone(),
            multi_region: described.multi_region.clone(),
        }
    }
}

/// The last answers about a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// What it is.
    pub nature: Option<Stamped<Nature>>,
    /// When its tags were last listed.
    pub tags_at: Option<EventTime>,
    /// Its grants.
    pub grants: Option<Stamped<Grants>>,
    /// Its rotation.
    pub rotation: Option<Stamped<Rotation>>,
    /// What KMS remembers of its use. Kept apart from what events tell; the last use is derived from both.
    pub usage: Option<Stamped<LastUsage>>,
    /// The last call about it that failed, unless the same call went well since.
    pub failed: Option<Failure>,
}

/// Keeps the later of two answers.
pub(crate) fn keep_later<V>(slot: &mut Option<Stamped<V>>, at: EventTime, said: V) {
    if slot.as_ref().is_none_or(|known| known.at <= at) {
        *slot = Some(Stamped { at, said });
    }
}

impl Facts {
    /// A call went well: its failure is over.
    pub(crate) fn note_success(&mut self, operation: &str, at: EventTime) {
        if self.failed.as_ref().is_some_and(|failed| *failed.operation == *operation && failed.at <= at) {
            self.failed = None;
        }
    }

    /// A call failed.
    pub(crate) fn note_failure(&mut self, failure: &Failure) {
        if self.failed.as_ref().is_none_or(|known| known.at <= failure.at) {
            self.failed = Some(failure.clone());
        }
    }

    /// Takes another copy of the same key's facts.
    pub(crate) fn merge(&mut self, other: Self) {
        merge_later(&mut self.nature, other.nature);
        self.tags_at = self.tags_at.max(other.tags_at);
        merge_later(&mut self.grants, other.grants);
        merge_later(&mut self.rotation, other.rotation);
        merge_later(&mut self.usage, other.usage);
        if let Some(failed) = &other.failed {
            self.note_failure(failed);
        }
    }
}

fn merge_later<V>(slot: &mut Option<Stamped<V>>, other: Option<Stamped<V>>) {
    if let Some(Stamped { at, said }) = other {
        keep_later(slot, at, said);
    }
}
