//! The three events that KMS itself sends to EventBridge.
//!
//! They double what CloudTrail logs as `RotateKey`, `DeleteKey` and `DeleteExpiredKeyMaterial`, and may come first, so
//! they change the key's state and are never counted. Anybody may send an event with such a `detail-type` to a bus, but
//! only AWS one whose `source` is `aws.kms`.

use dormouse_model::{Change, Effect, EventTime, KeyArn, Kind, LifecycleState, Observation};

use crate::bounds;
use crate::observe::{Refusal, Vouched, event_time, refuse_future};
use crate::reason::quoted;
use crate::shape::{Outline, Some64, text_of};
use crate::text::Text;
use crate::{Limits, Reason};

/// What such an event tells.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DirectEvent {
    operation: &'static str,
    change: Change,
    effect: Effect<'static>,
}

impl DirectEvent {
    /// The event with this `detail-type`.
    pub(crate) fn of_type(detail_type: &str) -> Option<Self> {
        let (operation, change, effect) = match detail_type {
            "KMS CMK Rotation" => ("RotateKey", Change::Rotated, Effect::Rotated),
            "KMS CMK Deletion" => ("DeleteKey", Change::Deleted, Effect::State(LifecycleState::Deleted)),
            "KMS Imported Key Material Expiration" => (
                "DeleteExpiredKeyMaterial",
                Change::MaterialDeleted,
                Effect::State(LifecycleState::PendingImport),
            ),
            _ => return None,
        };
        Some(Self { operation, change, effect })
    }

    /// What an event of this type says of one key.
    pub(crate) fn observation<'a>(self, key: KeyArn, told: &'a Told) -> Observation<'a> {
        Observation {
            key,
            kind: Kind::Change,
            time: told.time,
            operation: self.operation,
            event_id: &told.event_id,
            shared_id: None,
            recipient: Some(key.account()),
            logged_region: None,
            from_history: false,
            principal: None,
            session: None,
            invoked_by: None,
            source_ip: None,
            error_code: None,
            wanted: false,
            context: Vec::new(),
            change: Some(self.change),
            effects: vec![self.effect],
            counted: false,
        }
    }
}

/// When an event of KMS's own happened, and to which keys.
#[derive(Debug)]
pub(crate) struct Told {
    event_id: String,
    time: EventTime,
    pub(crate) keys: Vec<KeyArn>,
}

impl Told {
    /// What the envelope of such an event tells.
    pub(crate) fn by(
        outline: &Outline<'_>,
        vouched: Vouched<'_>,
        now: EventTime,
        limits: &Limits,
    ) -> Result<Self, Refusal> {
        let event_id = required("id", outline.id)?;
        if event_id.len() > bounds::ID {
            return Err(Reason::LongId("id").into());
        }
        let time = event_time(&required("time", outline.time)?)?;
        refuse_future(time, now, limits)?;
        let keys = keys_of(outline, vouched)?;
        Ok(Self { event_id: event_id.to_string(), time, keys })
    }
}

fn required<'a>(name: &'static str, member: Option<&'a [u8]>) -> Result<Text<'a>, Reason> {
    let text = text_of(member).ok_or_else(|| Reason::WrongType(format!("{name} is no text")))?;
    if text.is_empty() { Err(Reason::Missing(name)) } else { Ok(text) }
}

/// The keys among the envelope's resources, else the one that its detail names.
fn keys_of(outline: &Outline<'_>, vouched: Vouched<'_>) -> Result<Vec<KeyArn>, Reason> {
    let mut keys: Vec<KeyArn> = Vec::new();
    let listed: Some64<Text<'_>> = match outline.resources {
        None => Some64::default(),
        Some(json) => serde_json::from_slice(json).map_err(|error| Reason::WrongType(error.to_string()))?,
    };
    for arn in listed.items.iter().filter(|arn| arn.contains(":key/")) {
        if let Ok(key) = arn.parse()
            && !keys.contains(&key)
        {
            keys.push(key);
        }
    }
    if keys.is_empty() {
        let detail = outline.detail.map(Outline::of).unwrap_or_default();
        keys.push(key_named(&required("key-id", detail.key_id)?, vouched)?);
    }
    // KMS tells the account that owns the key, and the envelope says which account was told.
    match keys.iter().find(|key| !vouched.account.is_empty() && key.account().to_string() != vouched.account)
    {
        None => Ok(keys),
        Some(foreign) => Err(Reason::AccountMismatch {
            envelope: quoted(vouched.account),
            inner: foreign.account().to_string(),
        }),
    }
}

fn key_named(id: &str, vouched: Vouched<'_>) -> Result<KeyArn, Reason> {
    if let Ok(key) = id.parse() {
        return Ok(key);
    }
    let account = vouched.account.parse().map_err(|_| Reason::Missing("account"))?;
    let region = vouched.region.parse().map_err(|_| Reason::Missing("region"))?;
    KeyArn::from_parts(region, account, id).map_err(|_| Reason::Missing("key-id"))
}
