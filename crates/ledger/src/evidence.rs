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

    /// Keeps this observation instead.
    fn replace(&mut self, observation: &Observation<'_>) {
        *self = Self::of(observation);
    }

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
///
/// A busy key's last use changes with every event, so the texts lie packed in one buffer that is written over, and are
/// taken apart only when somebody looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence(Box<Inner>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    rank: Rank,
    texts: PackedTexts,
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
    /// It was read from a trail's history.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub from_history: bool,
    /// The encryption context.
    pub context: Vec<(Box<str>, Box<str>)>,
}

impl Evidence {
    /// Evidence from its stored parts.
    pub fn new(time: EventTime, event_id: EventId, texts: &EvidenceTexts) -> Self {
        let rank = Rank::new(time, texts.principal.is_some(), !texts.context.is_empty(), event_id);
        let context = texts.context.iter().map(|(key, value)| (&**key, &**value));
        let mut packed = PackedTexts::default();
        let fixed = [
            Some(&*texts.operation),
            texts.principal.as_deref(),
            texts.session.as_deref(),
            texts.invoked_by.as_deref(),
            texts.source_ip.as_deref(),
            texts.error_code.as_deref(),
            texts.from_history.then_some(""),
        ];
        packed.pack(fixed, context);
        Self(Box::new(Inner { rank, texts: packed }))
    }

    /// The texts.
    pub fn texts(&self) -> EvidenceTexts {
        self.0.texts.unpack()
    }
}

impl Trace for Evidence {
    fn of(observation: &Observation<'_>) -> Self {
        let mut texts = PackedTexts::default();
        texts.pack_observation(observation);
        Self(Box::new(Inner { rank: Rank::of(observation), texts }))
    }

    fn replace(&mut self, observation: &Observation<'_>) {
        self.0.rank = Rank::of(observation);
        self.0.texts.pack_observation(observation);
    }

    fn rank(&self) -> &Rank {
        &self.0.rank
    }
}

/// The six fixed texts, an empty one as a mark of history, and the pairs of the context, one behind the other, and where each ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct PackedTexts {
    text: String,
    /// Where each text ends; [`ABSENT`] for one that is not there.
    ends: Vec<u32>,
}

const ABSENT: u32 = u32::MAX;

impl PackedTexts {
    fn pack_observation(&mut self, observation: &Observation<'_>) {
        let fixed = [
            Some(observation.operation),
            observation.principal,
            observation.session,
            observation.invoked_by,
            observation.source_ip,
            observation.error_code,
            observation.from_history.then_some(""),
        ];
        self.pack(fixed, observation.context.iter().copied());
    }

    fn pack<'a>(&mut self, fixed: [Option<&str>; 7], context: impl Iterator<Item = (&'a str, &'a str)>) {
        self.text.clear();
        self.ends.clear();
        for text in fixed {
            self.push(text);
        }
        for (key, value) in context {
            self.push(Some(key));
            self.push(Some(value));
        }
    }

    fn push(&mut self, text: Option<&str>) {
        let Some(text) = text else {
            return self.ends.push(ABSENT);
        };
        self.text.push_str(text);
        // The decoder bounds every text; together they are far below 4 GiB.
        self.ends.push(u32::try_from(self.text.len()).unwrap_or(ABSENT));
    }

    fn unpack(&self) -> EvidenceTexts {
        let mut from = 0;
        let mut texts = self.ends.iter().map(|&end| {
            let end = usize::try_from(end).ok().filter(|_| end != ABSENT)?;
            let text = self.text.get(from..end)?;
            from = end;
            Some(Box::<str>::from(text))
        });
        let mut next = || texts.next().flatten();
        EvidenceTexts {
            operation: next().unwrap_or_default(),
            principal: next(),
            session: next(),
            invoked_by: next(),
            source_ip: next(),
            error_code: next(),
            from_history: next().is_some(),
            context: std::iter::from_fn(|| next().zip(next())).collect(),
        }
    }
}

/// Keeps the later of what is known and the observation.
pub(crate) fn keep_later<T: Trace>(known: &mut Option<T>, observation: &Observation<'_>) {
    match known {
        None => *known = Some(T::of(observation)),
        Some(known) => {
            if known.rank().compare(observation) == Ordering::Greater {
                known.replace(observation);
            }
        }
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
