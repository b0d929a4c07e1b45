//! Uses that KMS knows and that never arrived although the stream was claimed to be whole: the claim was wrong, and ends.

use dormouse_model::{EventId, EventTime, KeyArn};
use serde::{Deserialize, Serialize};

use super::spans::{Gap, Span, add_gap};

/// A use that KMS knows and that did not arrive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissedUse {
    /// The key.
    pub key: KeyArn,
    /// When KMS says that it was used.
    pub at: EventTime,
    /// The last use that had arrived; null if none ever did.
    pub ours: Option<EventTime>,
    /// The operation.
    pub operation: Box<str>,
    /// The event that should have arrived.
    pub event_id: Option<EventId>,
    /// When this was found.
    pub found: EventTime,
}

const MOST_MISSED: usize = 20;
const MOST_ENDED: usize = 100;

/// All of one place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Missed {
    /// How many were found.
    pub total: u64,
    /// The latest.
    pub latest: Vec<MissedUse>,
    /// What is no longer claimed of the stream.
    pub(crate) stream: Vec<Gap>,
    /// What is no longer claimed by digests.
    pub(crate) digests: Vec<Gap>,
    /// What is no longer claimed by declaration.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) declared: Vec<Gap>,
}

/// The spans of each kind of claim in which something lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Claimed {
    pub(super) stream: Option<Span>,
    pub(super) digests: Option<Span>,
    pub(super) declared: Option<Span>,
}

impl Missed {
    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        self.total == 0
    }

    /// Takes a missed use, which lay in these spans of the claims.
    pub(super) fn note(&mut self, missed: MissedUse, claims: Claimed) {
        let MissedUse { key, at, found, ours, .. } = &missed;
        let ours = ours.map_or("none had arrived before".to_owned(), |ours| {
            format!("the last that had arrived was at {ours}")
        });
        let reason = format!("a use of {key} at {at} was missed, as KMS said at {found}; {ours}");
        let ended = |span: Span| Gap {
            from: span.from,
            until: (*found).max(span.from.plus(1)),
            reason: reason.as_str().into(),
        };
        let Claimed { stream, digests, declared } = claims;
        for (span, gaps) in
            [(stream, &mut self.stream), (digests, &mut self.digests), (declared, &mut self.declared)]
        {
            if let Some(span) = span {
                add_gap(gaps, ended(span), MOST_ENDED);
            }
        }
        self.total += 1;
        self.latest.push(missed);
        let excess = self.latest.len().saturating_sub(MOST_MISSED);
        self.latest.drain(..excess);
    }
}
