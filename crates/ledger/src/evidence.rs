//! The order among uses of a key (and among attempts), and what is kept of the last one.
//!
//! CloudTrail times are whole seconds, so "last" needs more: event second, then "has a principal", then "has an
//! encryption context", then event id. The owner's copy of a cross-account call often lacks the caller; this order
//! prefers the copy that knows more. An event id names one event, so equal ranks are equal uses.

use std::cmp::Ordering;

use dormouse_model::{EventId, EventTime, Observation};
use serde::{Deserialize, Serialize};

/// Where a use stands in the order among uses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// The event's second.
    pub time: EventTime,
    knows: u8,
    /// The event's id.
    pub event_id: EventId,
}

const KNOWS_PRINCIPAL: u8 = 2;
const KNOWS_CONTEXT: u8 = 1;

/// What an observation knows beside its time, in the order that decides.
fn knows(principal: bool, context: bool) -> u8 {
    u8::from(principal) * KNOWS_PRINCIPAL + u8::from(context) * KNOWS_CONTEXT
}

impl Rank {
    /// The rank of a use or attempt with these properties.
    pub fn new(time: EventTime, has_principal: bool, has_context: bool, event_id: EventId) -> Self {
        Self { time, knows: knows(has_principal, has_context), event_id }
    }

    /// Whether the principal is known.
    pub fn has_principal(&self) -> bool {
        self.knows & KNOWS_PRINCIPAL != 0
    }

    /// Whether an encryption context is known.
    pub fn has_context(&self) -> bool {
        self.knows & KNOWS_CONTEXT != 0
    }

    /// How the observation's rank compares with this one, without building it.
    fn compare(&self, observation: &Observation<'_>) -> Ordering {
        let knows = knows(observation.principal.is_some(), !observation.context.is_empty());
        (observation.time, knows)
            .cmp(&(self.time, self.knows))
            .then_with(|| EventId::from(observation.event_id).cmp(&self.event_id))
    }
}

/// What is kept of the last use or attempt: its rank alone, or the rank with its texts.
pub trait Trace: Clone + Send + Sync + 'static {
    /// What to keep of this observation.
    fn of(observation: &Observation<'_>) -> Self;

    /// Where it stands in the order.
    fn rank(&self) -> &Rank;
}

impl Trace for Rank {
    fn of(observation: &Observation<'_>) -> Self {
        let (principal, context) = (observation.principal.is_some(), !observation.context.is_empty());
        Self::new(observation.time, principal, context, EventId::from(observation.event_id))
    }

    fn rank(&self) -> &Rank {
        self
    }
}

/// A use or an attempt with everything the record says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence(Box<Inner>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    rank: Rank,
    texts: EvidenceTexts,
}

/// The texts of a use or an attempt, as they are stored and shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceTexts {
    /// The operation.
    pub operation: Box<str>,
    /// The stable principal.
    pub principal: Option<Box<str>>,
    /// The session's name.
    pub session: Option<Box<str>>,
    /// The service that called on somebody's behalf.
    pub invoked_by: Option<Box<str>>,
    /// IP address or service name.
    pub source_ip: Option<Box<str>>,
    /// Why it failed; attempts only.
    pub error_code: Option<Box<str>>,
    /// The encryption context.
    pub context: Vec<(Box<str>, Box<str>)>,
}

impl Evidence {
    /// Evidence from its stored parts.
    pub fn new(time: EventTime, event_id: EventId, texts: EvidenceTexts) -> Self {
        let rank = Rank::new(time, texts.principal.is_some(), !texts.context.is_empty(), event_id);
        Self(Box::new(Inner { rank, texts }))
    }

    /// The texts.
    pub fn texts(&self) -> &EvidenceTexts {
        &self.0.texts
    }
}

impl Trace for Evidence {
    fn of(observation: &Observation<'_>) -> Self {
        let owned = |text: Option<&str>| text.map(Box::from);
        Self(Box::new(Inner {
            rank: Rank::of(observation),
            texts: EvidenceTexts {
                operation: observation.operation.into(),
                principal: owned(observation.principal),
                session: owned(observation.session),
                invoked_by: owned(observation.invoked_by),
                source_ip: owned(observation.source_ip),
                error_code: owned(observation.error_code),
                context: observation.context.iter().map(|&(k, v)| (k.into(), v.into())).collect(),
            },
        }))
    }

    fn rank(&self) -> &Rank {
        &self.0.rank
    }
}

/// Keeps the later of what is known and the observation.
pub(crate) fn keep_later<T: Trace>(known: &mut Option<T>, observation: &Observation<'_>) {
    let is_later = known.as_ref().is_none_or(|known| known.rank().compare(observation) == Ordering::Greater);
    if is_later {
        *known = Some(T::of(observation));
    }
}

/// Keeps the later of two.
pub(crate) fn merge_later<T: Trace>(known: &mut Option<T>, other: Option<T>) {
    if let Some(other) = other
        && known.as_ref().is_none_or(|known| *known.rank() < *other.rank())
    {
        *known = Some(other);
    }
}
