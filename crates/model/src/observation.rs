//! What one CloudTrail record says about one key.

use serde::{Deserialize, Serialize};

use crate::{AccountId, Cell, Change, EventTime, KeyArn, Place, Region};

/// What sort of observation this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// A successful call of an in-use operation.
    Use,
    /// The same call, failed.
    Attempt,
    /// A call or service event that altered the key.
    Change,
}

impl Kind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Use, Self::Attempt, Self::Change];

    /// A number from 0 to 2 that means the same in every process.
    pub const fn number(self) -> u8 {
        match self {
            Self::Use => 0,
            Self::Attempt => 1,
            Self::Change => 2,
        }
    }
}

/// A state of a key, as KMS names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(missing_docs, reason = "KMS's own words")]
pub enum LifecycleState {
    Creating,
    Enabled,
    Disabled,
    PendingDeletion,
    PendingImport,
    PendingReplicaDeletion,
    Unavailable,
    Updating,
    /// Not one of KMS's: the key is gone. Final.
    Deleted,
}

impl LifecycleState {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Creating,
        Self::Enabled,
        Self::Disabled,
        Self::PendingDeletion,
        Self::PendingImport,
        Self::PendingReplicaDeletion,
        Self::Unavailable,
        Self::Updating,
        Self::Deleted,
    ];

    /// The state with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "Creating" => Self::Creating,
            "Enabled" => Self::Enabled,
            "Disabled" => Self::Disabled,
            "PendingDeletion" => Self::PendingDeletion,
            "PendingImport" => Self::PendingImport,
            "PendingReplicaDeletion" => Self::PendingReplicaDeletion,
            "Unavailable" => Self::Unavailable,
            "Updating" => Self::Updating,
            "Deleted" => Self::Deleted,
            _ => return None,
        })
    }

    /// The state's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Creating => "Creating",
            Self::Enabled => "Enabled",
            Self::Disabled => "Disabled",
            Self::PendingDeletion => "PendingDeletion",
            Self::PendingImport => "PendingImport",
            Self::PendingReplicaDeletion => "PendingReplicaDeletion",
            Self::Unavailable => "Unavailable",
            Self::Updating => "Updating",
            Self::Deleted => "Deleted",
        }
    }
}

/// What a change does to one of the key's registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect<'a> {
    /// The key was created, at the time of the event.
    Created,
    /// The key is managed by `CUSTOMER` or `AWS`.
    Manager(&'a str),
    /// The key is in this state now.
    State(LifecycleState),
    /// The key is to be deleted at this time.
    DeletionDate(EventTime),
    /// This alias (`alias/…`) points at the key now.
    AliasSet(&'a str),
    /// This alias (`alias/…`) points nowhere now.
    AliasDeleted(&'a str),
    /// A tag has this value now.
    TagSet(&'a str, &'a str),
    /// A tag is gone.
    TagRemoved(&'a str),
    /// The description is this now.
    Description(&'a str),
    /// Automatic rotation is on or off.
    AutomaticRotation(bool),
    /// The key material was rotated, at the time of the event.
    Rotated,
}

/// What one CloudTrail record says about one distinct key. Borrows its texts from the record or the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation<'a> {
    /// The key it is about.
    pub key: KeyArn,
    /// Use, attempt or change.
    pub kind: Kind,
    /// When it happened.
    pub time: EventTime,
    /// The KMS API operation or service event, e.g. `Decrypt`.
    pub operation: &'a str,
    /// This copy of the event.
    pub event_id: &'a str,
    /// The same for both copies of a cross-account call; absent otherwise.
    pub shared_id: Option<&'a str>,
    /// The account that logged this copy, if the record says.
    pub recipient: Option<AccountId>,
    /// The Region that logged this copy, where it is not the key's.
    pub logged_region: Option<Region>,
    /// The stable principal: the role's ARN for a session, else the caller's own.
    pub principal: Option<&'a str>,
    /// What stands behind the role's name in the caller's ARN. Chosen by the caller.
    pub session: Option<&'a str>,
    /// The service that called on somebody's behalf.
    pub invoked_by: Option<&'a str>,
    /// An IP address or a service's name.
    pub source_ip: Option<&'a str>,
    /// Why the call failed; present for attempts only.
    pub error_code: Option<&'a str>,
    /// For attempts: the failure shows that somebody still needs the key.
    pub wanted: bool,
    /// The encryption context, in the record's order.
    #[serde(borrow)]
    pub context: Vec<(&'a str, &'a str)>,
    /// For changes: what changed.
    pub change: Option<Change>,
    /// For changes: what that does to the key's registers.
    pub effects: Vec<Effect<'a>>,
    /// It was read from a trail's history, and not as it happened.
    pub from_history: bool,
    /// Whether it takes part in counting. KMS's own events state what CloudTrail says, too, and do not.
    pub counted: bool,
}

impl<'a> Observation<'a> {
    /// What both copies of a cross-account call have in common: the shared id, else the event's own.
    pub fn identity_text(&self) -> &'a str {
        self.shared_id.unwrap_or(self.event_id)
    }

    /// Where it was logged: in the key's own account and Region where the record does not say.
    pub fn place(&self) -> Place {
        Place {
            account: self.recipient.unwrap_or(self.key.account()),
            region: self.logged_region.unwrap_or(self.key.region()),
        }
    }

    /// The cell it belongs to.
    pub fn cell(&self) -> Cell {
        Cell { place: self.place(), day: self.time.day() }
    }

    /// Whether this is a second copy, logged in the caller's account, of a call on another account's key.
    pub fn is_foreign_copy(&self) -> bool {
        self.shared_id.is_some() && self.recipient.is_some_and(|recipient| recipient != self.key.account())
    }
}
