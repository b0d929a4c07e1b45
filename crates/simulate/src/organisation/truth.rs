//! What really happened, kept from the outside.
//!
//! A test that asks Dormouse for a key's last use needs somebody else to know it. Every call that the organisation makes
//! or answers is entered here as it is carried out, never by reading records; nothing is taken back, lost or delayed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dormouse_model::{AccountId, EventTime, KeyArn, Kind, LifecycleState, Region};

use super::Cadence;
use super::state::Grant;

/// What there is to know about a use or an attempt.
///
/// Of several in one second the one counts that Dormouse's law prefers: one with a principal, then one with a context,
/// then the one with the greatest event id. A cross-account call has two copies, of which the preferred one is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// When it happened.
    pub time: EventTime,
    /// The KMS operation.
    pub operation: &'static str,
    /// The stable principal: the role's ARN for a session, else the caller's own; services have none.
    pub principal: Option<Arc<str>>,
    /// The event id of the preferred copy.
    pub event_id: String,
    /// The event ids of all copies.
    pub copies: Vec<String>,
    /// The encryption context, sorted by name.
    pub context: Vec<(String, String)>,
    /// Why the call failed; attempts only.
    pub error_code: Option<&'static str>,
}

impl Evidence {
    /// What decides between two of them.
    fn rank(&self) -> (EventTime, bool, bool, &str) {
        (self.time, self.principal.is_some(), !self.context.is_empty(), &self.event_id)
    }

    pub(super) fn is_preferred_to(&self, other: Option<&Self>) -> bool {
        other.is_none_or(|other| self.rank() > other.rank())
    }
}

/// Failures that show that somebody still needs the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// How many.
    pub count: u64,
    /// The first.
    pub since: EventTime,
    /// The latest.
    pub last: EventTime,
}

/// A grant on a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantTruth {
    /// Its id.
    pub id: String,
    /// Who may use the key: an ARN, or a service's name.
    pub grantee: String,
    /// Who may retire it.
    pub retiring: Option<String>,
    /// The account that made it.
    pub issuing: AccountId,
    /// What it allows, e.g. `Decrypt`.
    pub operations: Vec<String>,
    /// When it was made.
    pub created: EventTime,
}

impl GrantTruth {
    pub(super) fn of(grant: &Grant) -> Self {
        Self {
            id: grant.id.clone(),
            grantee: grant.grantee.name().to_owned(),
            retiring: grant.retiring.as_ref().map(|retiring| retiring.name().to_owned()),
            issuing: grant.issuing,
            operations: grant.operations.clone(),
            created: grant.created,
        }
    }
}

/// Automatic rotation that is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotationTruth {
    /// Days from one to the next.
    pub period_days: u32,
    /// When it comes next.
    pub next: EventTime,
}

/// Keys with one id in several Regions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiRegionTruth {
    /// The primary; `None` if it is deleted.
    pub primary: Option<KeyArn>,
    /// Its replicas.
    pub replicas: Vec<KeyArn>,
}

/// What happened to one key since history began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyTruth {
    /// The key.
    pub key: KeyArn,
    /// How it is used; `None` for keys that were made through the double.
    pub cadence: Option<Cadence>,
    /// `CUSTOMER` or `AWS`.
    pub manager: &'static str,
    /// The key spec as KMS names it, e.g. `SYMMETRIC_DEFAULT`.
    pub spec: &'static str,
    /// The key usage as KMS names it, e.g. `ENCRYPT_DECRYPT`.
    pub usage: &'static str,
    /// `AWS_KMS`, `EXTERNAL`, `AWS_CLOUDHSM` or `EXTERNAL_KEY_STORE`.
    pub origin: &'static str,
    /// The id of the custom key store that it lives in.
    pub custom_key_store: Option<String>,
    /// When its imported material expires.
    pub valid_to: Option<EventTime>,
    /// When it was made.
    pub created: EventTime,
    /// Its state now; `Deleted` stays on the list.
    pub state: LifecycleState,
    /// When it is to be deleted; pending keys only.
    pub deletion: Option<EventTime>,
    /// The keys with the same id in other Regions; multi-Region keys that are not deleted only.
    pub multi_region: Option<MultiRegionTruth>,
    /// The aliases (`alias/…`) that point at it now.
    pub aliases: BTreeSet<String>,
    /// Its tags now.
    pub tags: BTreeMap<String, String>,
    /// Its description now.
    pub description: String,
    /// The grants on it now, sorted by id.
    pub grants: Vec<GrantTruth>,
    /// Automatic rotation as KMS tells of it now; `None`: off, or not for such a key.
    pub rotation: Option<RotationTruth>,
    /// Successful calls of in-use operations. Both copies of a cross-account call are one.
    pub uses: u64,
    /// Failed calls of in-use operations, dry runs excepted.
    pub attempts: u64,
    /// Successful changes.
    pub changes: u64,
    /// The latest use since history began.
    pub last_use: Option<Evidence>,
    /// The latest attempt.
    pub last_attempt: Option<Evidence>,
    /// The attempts that failed because of the key's state or of throttling.
    pub wanted: Option<Wanted>,
    /// When it was used last before history began. No record says so; KMS may know.
    pub used_before: Option<EventTime>,
}

impl KeyTruth {
    /// The account that owns the key.
    pub fn account(&self) -> AccountId {
        self.key.account()
    }

    /// The Region in which it lives.
    pub fn region(&self) -> Region {
        self.key.region()
    }
}

/// Sums over all keys, and over records that concern none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records written, second copies included.
    pub records: u64,
    /// Of these, records of `kms.amazonaws.com`.
    pub kms_records: u64,
    /// Uses of keys. A ReEncrypt from one key to another is two.
    pub uses: u64,
    /// Attempts on keys that exist.
    pub attempts: u64,
    /// Attempts on keys that do not exist.
    pub phantom_attempts: u64,
    /// Changes of keys.
    pub changes: u64,
}

/// What really happened, up to a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truth {
    /// Everything up to this moment happened.
    pub until: EventTime,
    /// All keys, sorted by ARN. Keys that are to be made later in history are not among them.
    pub keys: Vec<KeyTruth>,
    /// Sums.
    pub totals: Totals,
}

impl Truth {
    /// The truth about one key.
    pub fn key(&self, key: KeyArn) -> Option<&KeyTruth> {
        self.keys.iter().find(|truth| truth.key == key)
    }

    /// The keys of one cadence.
    pub fn of(&self, cadence: Cadence) -> impl Iterator<Item = &KeyTruth> {
        self.keys.iter().filter(move |truth| truth.cadence == Some(cadence))
    }
}

/// The counting part of a key's truth.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) uses: u64,
    pub(super) attempts: u64,
    pub(super) changes: u64,
    pub(super) last_use: Option<Evidence>,
    pub(super) last_attempt: Option<Evidence>,
    pub(super) wanted: Option<Wanted>,
}

impl Tally {
    /// Enters what one event says about the key; `evidence` is that of the preferred copy.
    pub(super) fn enter(&mut self, kind: Kind, wanted: bool, evidence: Evidence) {
        match kind {
            Kind::Use => {
                self.uses += 1;
                if evidence.is_preferred_to(self.last_use.as_ref()) {
                    self.last_use = Some(evidence);
                }
            }
            Kind::Attempt => {
                self.attempts += 1;
                if wanted {
                    self.note_wanted(evidence.time);
                }
                if evidence.is_preferred_to(self.last_attempt.as_ref()) {
                    self.last_attempt = Some(evidence);
                }
            }
            Kind::Change => self.changes += 1,
        }
    }

    fn note_wanted(&mut self, time: EventTime) {
        let known = self.wanted.unwrap_or(Wanted { count: 0, since: time, last: time });
        self.wanted =
            Some(Wanted { count: known.count + 1, since: known.since.min(time), last: known.last.max(time) });
    }
}
