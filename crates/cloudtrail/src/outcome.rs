//! What a decoder tells of each record, and of each piece of a message that is none.

use std::borrow::Cow;

use dormouse_model::{AccountId, EventTime, KeyArn, Kind, Observation, Region};

use crate::Reason;

/// What became of one record, or of a piece of a message that is none.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// A well-formed record of another service.
    Other,
    /// A KMS record that was understood.
    Kms(&'a KmsRecord<'a>),
    /// A record about what delivers events to us.
    Pipe(&'a PipeRecord<'a>),
    /// An event that KMS itself sent to EventBridge. It changes the key's state and is never counted, because
    /// CloudTrail tells of it, too.
    Direct(&'a Observation<'a>),
    /// The message says that an object is there. Nothing vouches that it is a trail's: whoever fetches it decides from
    /// which buckets.
    Announced(Announced<'a>),
    /// A piece that carries no event and wants none. It is counted and acknowledged; what it asks for is not done.
    Control(Control),
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
    /// The record says that the call only read. A trail that was told to carry writes alone has no such record.
    pub read_only: bool,
    /// It tells of a call, and the operations table does not name the operation.
    pub unknown_operation: bool,
    /// The keys that the record of an unknown operation names; those of other records are in their observations.
    pub keys: Vec<KeyArn>,
    /// One for each distinct key.
    pub observations: Vec<Observation<'a>>,
    /// What should have been observations, but for the name of the key.
    pub unresolved: Vec<Unresolved<'a>>,
    /// The whole record, unpacked and unwrapped, as it came.
    pub excerpt: &'a [u8],
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

/// A call that changed, or was to change, what delivers events to us: a trail or an EventBridge rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PipeRecord<'a> {
    /// Whose API was called.
    pub service: PipeService,
    /// The API operation, e.g. `StopLogging`.
    pub operation: &'a str,
    /// This copy of the event.
    pub event_id: &'a str,
    /// When it happened.
    pub time: EventTime,
    /// The account that logged it: the record's word, else the envelope's.
    pub recipient: Option<AccountId>,
    /// The Region that logged it: the record's word, else the envelope's.
    pub region: Option<Region>,
    /// Who called, by the stable name.
    pub principal: Option<&'a str>,
    /// The record holds no error.
    pub succeeded: bool,
    /// The error, if there is one.
    pub error_code: Option<&'a str>,
    /// The name or ARN of the trail, or the name of the rule, as the caller wrote it.
    pub subject: Option<&'a str>,
    /// What the trail does not carry from now on, as the request says.
    pub left_out: Option<LeftOut>,
}

/// What a trail was told to leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeftOut {
    /// The events of KMS, or all management events.
    Kms,
    /// Events of calls that only read.
    Reads,
}

/// A service whose calls can end the delivery of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PipeService {
    /// `cloudtrail.amazonaws.com`: trails.
    CloudTrail,
    /// `events.amazonaws.com`: EventBridge rules.
    EventBridge,
}

impl PipeService {
    /// The service with this `eventSource`.
    pub(crate) fn of(event_source: &str) -> Option<Self> {
        match event_source {
            "cloudtrail.amazonaws.com" => Some(Self::CloudTrail),
            "events.amazonaws.com" => Some(Self::EventBridge),
            _ => None,
        }
    }

    /// Whether an operation of the service changes what is delivered.
    pub(crate) fn concerns_delivery(self, operation: &str) -> bool {
        match self {
            Self::CloudTrail => matches!(
                operation,
                "CreateTrail"
                    | "DeleteTrail"
                    | "PutEventSelectors"
                    | "StartLogging"
                    | "StopLogging"
                    | "UpdateTrail"
            ),
            Self::EventBridge => matches!(
                operation,
                "DeleteRule" | "DisableRule" | "EnableRule" | "PutRule" | "PutTargets" | "RemoveTargets"
            ),
        }
    }
}

/// An object that is there to be fetched, as a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced<'a> {
    /// The bucket's name, at most 255 bytes.
    pub bucket: &'a str,
    /// The object's key, as S3's API takes it: no longer URL-encoded, 1 to 1,024 bytes of any Unicode.
    pub key: Cow<'a, str>,
    /// Bytes of the object, where the message says.
    pub size: Option<u64>,
}

/// What a piece is that carries no event and wants none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Control {
    /// CloudWatch Logs checks whether a destination can be reached.
    LogsCheck,
    /// S3 checks whether a destination can be reached.
    S3Test,
    /// SNS asks to confirm a subscription.
    SubscriptionConfirmation,
    /// SNS says that a subscription has ended.
    UnsubscribeConfirmation,
    /// S3 tells of something else than a new object.
    S3Other,
}

impl Control {
    /// A code that stays the same from version to version.
    pub fn name(self) -> &'static str {
        match self {
            Self::LogsCheck => "logs_check",
            Self::S3Test => "s3_test",
            Self::SubscriptionConfirmation => "sns_subscription",
            Self::UnsubscribeConfirmation => "sns_unsubscription",
            Self::S3Other => "s3_other",
        }
    }
}

/// A record or piece of a message that was not applied.
#[derive(Clone, Debug)]
pub struct Bad<'a> {
    /// It can be told to be a record of KMS.
    pub is_kms: bool,
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
    /// When it happened, if that can be read.
    pub time: Option<EventTime>,
    /// The only key that it lists, if there is one and its name is known.
    pub key: Option<KeyArn>,
    /// The whole record or piece, unpacked and unwrapped, as it came.
    pub excerpt: &'a [u8],
}

/// What is to become of something that was not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadClass {
    /// No record, or none that can be told to be KMS's.
    Malformed,
    /// A record of KMS, or about what delivers events, that must not be applied as it is. KMS's holds "unused" back.
    Quarantined,
    /// Such a record from the future, to be tried again.
    Future {
        /// From when on it will be taken.
        due: EventTime,
    },
}
