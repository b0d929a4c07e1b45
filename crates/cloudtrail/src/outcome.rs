//! What a decoder tells of each record.

use dormouse_model::{AccountId, EventTime, KeyArn, Kind, Observation, Region};

use crate::Reason;

/// What became of one record, or of a piece of a message that is none.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// A well-formed record of another service.
    Other,
    /// A KMS record that was understood.
    Kms(&'a KmsRecord<'a>),
    /// An event that KMS itself sent to EventBridge. It changes the key's state and is never counted, because
    /// CloudTrail tells of it, too.
    Direct(&'a Observation<'a>),
    /// A record or piece that was not applied.
    Bad(Bad<'a>),
}

/// A KMS record that was understood, and what it says of the keys that it names.
#[derive(Clone, Debug)]
pub struct KmsRecord<'a> {
    /// The KMS API operation or service event, e.g. `Decrypt`.
    pub operation: &'a str,
    /// This copy of the event.
    pub event_id: &'a str,
    /// The same for both copies of a cross-account call.
    pub shared_id: Option<&'a str>,
    /// The id of the request, the same that the caller was told.
    pub request_id: Option<&'a str>,
    /// When it happened.
    pub time: EventTime,
    /// The account that logged it: the record's word, else the envelope's.
    pub recipient: Option<AccountId>,
    /// The Region that logged it: the record's word, else the envelope's.
    pub region: Option<Region>,
    /// The record holds no error. A dry run holds one.
    pub succeeded: bool,
    /// The error, if there is one.
    pub error_code: Option<&'a str>,
    /// It tells of a call, and the operations table does not name the operation.
    pub unknown_operation: bool,
    /// The keys that the record of an unknown operation names; those of other records are in their observations.
    pub keys: Vec<KeyArn>,
    /// One for each distinct key.
    pub observations: Vec<Observation<'a>>,
    /// What should have been observations, but for the name of the key.
    pub unresolved: Vec<Unresolved<'a>>,
}

/// A use, attempt or change of a key that the record does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unresolved<'a> {
    /// The account whose key it is, as far as the record says.
    pub account: Option<AccountId>,
    /// The Region of the key, as far as the record says.
    pub region: Option<Region>,
    /// The alias, id or other text that stands where a key should; empty if nothing does.
    pub text: &'a str,
    /// What the observation would have been.
    pub kind: Kind,
}

/// A record or piece of a message that was not applied.
#[derive(Clone, Debug)]
pub struct Bad<'a> {
    /// What is to become of it.
    pub class: BadClass,
    /// Why.
    pub reason: Reason,
    /// The event id, if one can be read.
    pub event_id: Option<&'a str>,
    /// The account that logged it, if one can be read: the record's word, else the envelope's.
    pub account: Option<AccountId>,
    /// The Region that logged it, if one can be read.
    pub region: Option<Region>,
    /// The whole record or piece, unpacked and unwrapped, as it came.
    pub excerpt: &'a [u8],
}

/// What is to become of something that was not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadClass {
    /// No record, or none that can be told to be KMS's.
    Malformed,
    /// A KMS record that must not be applied as it is. It holds "unused" back.
    Quarantined,
    /// A KMS record from the future, to be tried again.
    Future {
        /// From when on it will be taken.
        due: EventTime,
    },
}
