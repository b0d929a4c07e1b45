//! What is told about more than one key, or more than a key's own state. What is not known is null.

use dormouse_ledger::{Counts, KeyDocument, Tally};
use dormouse_model::EventTime;
use dormouse_store::{StoredChange, Unknowns};
use serde::{Deserialize, Serialize};

/// Some of the keys that a question is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeysPage {
    /// These keys, in the order asked for.
    pub keys: Vec<KeyDocument>,
    /// How many there are on all pages.
    pub total: usize,
    /// What to ask for the next page with; null on the last.
    pub next: Option<String>,
}

/// A key with its history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyDetails {
    /// The key.
    #[serde(flatten)]
    pub key: KeyDocument,
    /// What was counted on each day, the oldest first.
    pub daily: Vec<DayDocument>,
    /// Who used the key how, the most recent first.
    pub principals: Vec<PrincipalDocument>,
    /// Uses and attempts of principals for whom there was no room.
    pub principals_overflow: u64,
    /// The changes, the oldest first.
    pub history: Vec<StoredChange>,
}

/// What was counted on one day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayDocument {
    /// The day in UTC, `YYYY-MM-DD`.
    pub day: String,
    /// What was counted.
    #[serde(flatten)]
    pub counts: Counts,
}

/// Somebody who used, or tried to use, a key with one operation through one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrincipalDocument {
    /// The stable principal.
    pub principal: Option<String>,
    /// The operation.
    pub operation: String,
    /// The service that called on the principal's behalf.
    pub service: Option<String>,
    /// Seen in the copies that the caller's account logged, which know the caller better than the owner's.
    pub seen_from_caller: bool,
    /// The first time.
    pub first: EventTime,
    /// The last time.
    pub last: EventTime,
    /// Uses.
    pub uses: u64,
    /// Attempts.
    pub attempts: u64,
}

/// What became of the records. `uses`, `attempts` and `changes` are observations after duplicates are dropped; the
/// others are records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordsDocument {
    /// Well-formed records of any service.
    pub read: u64,
    /// Those of KMS.
    pub kms: u64,
    /// Uses.
    pub uses: u64,
    /// Attempts.
    pub attempts: u64,
    /// Changes.
    pub changes: u64,
    /// Records whose observations an earlier record had made already.
    pub duplicates: u64,
    /// Records of KMS that could not be applied.
    pub quarantined: u64,
    /// What was no record.
    pub malformed: u64,
}

impl RecordsDocument {
    /// From what was read and what was counted.
    pub fn new(tally: Tally, counts: Counts) -> Self {
        Self {
            read: tally.read,
            kms: tally.kms,
            uses: counts.uses,
            attempts: counts.attempts,
            changes: counts.changes,
            duplicates: tally.duplicates,
            quarantined: tally.quarantined,
            malformed: tally.malformed,
        }
    }
}

/// The counters since the store was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusDocument {
    /// Keys that exist; those that were deleted do not.
    pub keys: usize,
    /// ARNs that somebody tried, and that never showed to be keys.
    pub tried_keys: usize,
    /// What became of the records.
    pub records: RecordsDocument,
    /// Observations that were too old to tell whether they had been counted.
    pub late_uncounted: Counts,
    /// Counted attempts on ARNs for which there was no room.
    pub unattributed_attempts: u64,
    /// The quarantine's size.
    pub quarantine: QuarantineDocument,
    /// What was not understood but is no error.
    pub unknown: Unknowns,
}

/// The quarantine's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineDocument {
    /// Messages.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}
