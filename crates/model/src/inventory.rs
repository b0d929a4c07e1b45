//! What AWS says when it is asked: about a key, about a Region of an account, about an account.
//!
//! Answers enter the journal like events do, each at the time at which its request was sent: what happened later may
//! not be in it. Texts are cut to the bounds here by whoever makes an answer.

use serde::{Deserialize, Serialize};

use crate::{AccountId, EventId, EventTime, KeyArn, LifecycleState, Place};

/// An answer, or that there was none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// About a key.
    Key(KeyAnswer),
    /// About a Region of an account.
    Place(PlaceAnswer),
    /// About an account.
    Account(AccountAnswer),
}

/// What KMS said of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyAnswer {
    /// The key.
    pub key: KeyArn,
    /// When the request was sent.
    pub asked_at: EventTime,
    /// The request's id, which takes the place of an event's.
    pub request_id: EventId,
    /// What was said.
    pub said: KeySaid,
}

/// What KMS said of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeySaid {
    /// `DescribeKey`.
    Described(Described),
    /// `DescribeKey`: there is no such key, and a complete `ListKeys` did not list it either. It is gone for good.
    Gone,
    /// `ListResourceTags`: all tags, by name.
    Tags(Vec<(Box<str>, Box<str>)>),
    /// `ListGrants`, all pages.
    Grants(Grants),
    /// `GetKeyRotationStatus`.
    Rotation(Rotation),
    /// `GetKeyLastUsage`.
    LastUsage(LastUsage),
    /// A call about the key failed; what was known before stays.
    Failed(Failure),
}

/// What `DescribeKey` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Described {
    /// `CUSTOMER` or `AWS`.
    pub manager: Box<str>,
    /// The key's state.
    pub state: LifecycleState,
    /// When it was created.
    pub created: EventTime,
    /// Its description.
    pub description: Box<str>,
    /// E.g. `SYMMETRIC_DEFAULT`, `HMAC_256`, `RSA_2048`.
    pub spec: Box<str>,
    /// `ENCRYPT_DECRYPT`, `SIGN_VERIFY`, `GENERATE_VERIFY_MAC` or `KEY_AGREEMENT`.
    pub usage: Box<str>,
    /// `AWS_KMS`, `EXTERNAL`, `AWS_CLOUDHSM` or `EXTERNAL_KEY_STORE`.
    pub origin: Box<str>,
    /// When it will be deleted, while it is pending deletion.
    pub deletion_date: Option<EventTime>,
    /// How many days it will wait for its deletion once its last replica is gone.
    pub pending_window_days: Option<u16>,
    /// When imported key material expires.
    pub material_expires: Option<EventTime>,
    /// The custom key store that holds its material.
    pub custom_key_store: Option<Box<str>>,
    /// Its relations, if it is a multi-Region key.
    pub multi_region: Option<MultiRegion>,
}

/// How a multi-Region key is related to others of its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MultiRegion {
    /// Whether it is the primary key itself.
    pub is_primary: bool,
    /// All keys of the id but this one, by name.
    pub siblings: Vec<KeyArn>,
}

/// The live grants of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grants {
    /// How many there are.
    pub count: u32,
    /// The AWS services among the grantees and retiring principals, e.g. `rds.amazonaws.com`, by name.
    pub services: Vec<Box<str>>,
    /// Other grantees, by name; the first [`Grants::MOST_GRANTEES`].
    pub grantees: Vec<Box<str>>,
}

impl Grants {
    /// So many grantees are kept by name.
    pub const MOST_GRANTEES: usize = 16;
}

/// How the key material of a key is rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// Automatic rotation is on.
    pub enabled: bool,
    /// Every so many days.
    pub period_days: Option<u16>,
    /// The next time.
    pub next: Option<EventTime>,
}

/// What KMS itself remembers of the use of a key. Up to an hour late; knows no `GetPublicKey`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastUsage {
    /// From when on KMS remembers uses of this key.
    pub tracked_from: EventTime,
    /// When the key was created.
    pub created: EventTime,
    /// The last use; absent if there was none since `tracked_from`.
    pub last: Option<KmsUse>,
}

/// A use that KMS remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KmsUse {
    /// When.
    pub at: EventTime,
    /// The operation.
    pub operation: Box<str>,
    /// The CloudTrail event that tells of it.
    pub event_id: Option<EventId>,
}

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// When the request was sent.
    pub at: EventTime,
    /// The service's operation, e.g. `ListKeys` or `AssumeRole`.
    pub operation: Box<str>,
    /// The class of the error, e.g. `denied`, `throttled`, `transient`.
    pub class: Box<str>,
    /// What was said, with what to do, at most [`Failure::LONGEST`] bytes.
    pub message: Box<str>,
}

impl Failure {
    /// The longest message in bytes.
    pub const LONGEST: usize = 512;
}

/// What was said of a Region of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceAnswer {
    /// Where.
    pub place: Place,
    /// When the request, of several the first, was sent.
    pub asked_at: EventTime,
    /// What was said.
    pub said: PlaceSaid,
}

/// What was said of a Region of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlaceSaid {
    /// `ListKeys`, all pages: so many keys.
    Keys {
        /// How many keys there are.
        total: u32,
    },
    /// `ListAliases`, all pages, as the difference to what was known.
    Aliases {
        /// How many aliases there are.
        total: u32,
        /// Those that point elsewhere than was known.
        set: Vec<AliasSaid>,
        /// Those that are gone.
        gone: Vec<Box<str>>,
    },
    /// A `ListKeys` request that must come back as an event: a heartbeat.
    Beat {
        /// The request's id.
        request_id: [u8; 16],
    },
    /// A whole pass has ended well: everything that was due in it is answered.
    PassDone,
    /// The Region is not enabled in the account. No error: there are no keys.
    NotEnabled,
    /// Whether KMS tells of last uses there.
    LastUsage(UsageWitness),
    /// A call failed; what was known before stays.
    Failed(Failure),
}

/// An alias, as `ListAliases` has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasSaid {
    /// Its name, `alias/…`.
    pub name: Box<str>,
    /// The key that it points to.
    pub key: KeyArn,
    /// Since when it does: its `LastUpdatedDate`, else its creation, else when the list was asked for.
    pub since: EventTime,
}

/// Whether KMS tells of last uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UsageWitness {
    /// Nobody has asked yet.
    #[default]
    Unasked,
    /// It does.
    Available,
    /// `GetKeyLastUsage` is denied to us.
    Denied,
    /// The Region or partition has no such API.
    Absent,
    /// The configuration says not to ask.
    Off,
}

/// What was said of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountAnswer {
    /// The account.
    pub account: AccountId,
    /// When the request was sent.
    pub asked_at: EventTime,
    /// What was said.
    pub said: AccountSaid,
}

/// What was said of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountSaid {
    /// It is one of those to be watched.
    Listed {
        /// Its name, if anybody told it.
        name: Option<Box<str>>,
        /// Organizations' word, e.g. `ACTIVE` or `SUSPENDED`; absent if nobody said.
        state: Option<Box<str>>,
    },
    /// It is no longer one of them: it left the organisation, or the configuration.
    Left,
    /// Its role was assumed.
    Assumed,
    /// Its role could not be assumed.
    Failed(Failure),
}
