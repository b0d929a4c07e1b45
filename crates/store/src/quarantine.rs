//! Messages that could not be applied, kept whole for inspection and for another try.

use dormouse_model::EventTime;
use serde::{Deserialize, Serialize};

/// A message to be kept. What is not known is null.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Quarantined {
    /// The configured name of the source it came from.
    pub source: String,
    /// When it was received.
    pub at: EventTime,
    /// A stable code for the reason, e.g. `envelope_account_mismatch`.
    pub reason: String,
    /// The reason in words.
    pub detail: String,
    /// The record's event id, if it could be read.
    pub event_id: Option<String>,
    /// The account that the record names, if it could be read.
    pub account: Option<String>,
    /// The record's Region, if it could be read.
    pub region: Option<String>,
    /// The time of the earliest event in it that could not be applied, if the times of all can be read …
    pub first_event: Option<EventTime>,
    /// … and of the latest.
    pub last_event: Option<EventTime>,
    /// The ARN of the key that it is about, if it is about one alone and that can be read.
    pub key: Option<String>,
    /// When to try again; `None` if only a person can decide.
    pub retry_at: Option<EventTime>,
    /// The whole message.
    #[serde(skip)]
    pub body: Vec<u8>,
}

/// A message in the quarantine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredQuarantined {
    /// Its number.
    pub id: i64,
    /// The message as it was first received, with the reason as it was last found.
    #[serde(flatten)]
    pub message: Quarantined,
    /// When it was last received.
    pub last: EventTime,
    /// How often it was received.
    pub seen: u64,
    /// The size of the whole message in bytes.
    pub bytes: u64,
}
