//! What may be said about a key's use.
//!
//! "Unused" needs proof that a use would have been seen, and nothing proves that yet: without coverage a key is either
//! in use or unknown, never idle.

use dormouse_model::EventTime;
use serde::{Deserialize, Serialize};

/// What may be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictKind {
    /// Used within the threshold.
    InUse,
    /// Coverage is too short to say.
    Unknown,
}

impl VerdictKind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::InUse, Self::Unknown];

    /// Its name, as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InUse => "in_use",
            Self::Unknown => "unknown",
        }
    }
}

/// Judges keys at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Judge {
    /// The moment.
    pub now: EventTime,
    /// A key used within so many seconds is in use.
    pub idle_after_seconds: u32,
}

impl Judge {
    /// What may be said of a key that was last used then.
    pub fn kind(self, last_use: Option<EventTime>) -> VerdictKind {
        match last_use {
            Some(at) if self.now.seconds_since(at) < self.idle_after_seconds => VerdictKind::InUse,
            _ => VerdictKind::Unknown,
        }
    }

    /// The verdict on a key that was last used then, with what it rests on.
    pub fn verdict(self, last_use: Option<EventTime>) -> Verdict {
        let kind = self.kind(last_use);
        if let (VerdictKind::InUse, Some(at)) = (kind, last_use) {
            return Verdict {
                kind,
                since: Some(at),
                evidence_from: None,
                evidence: vec![format!("used at {at}")],
            };
        }
        let seen = last_use.map_or("no use was seen".to_owned(), |at| format!("no use was seen after {at}"));
        let evidence = vec![seen, "nothing proves yet that a use would have been seen".to_owned()];
        Verdict { kind, since: None, evidence_from: None, evidence }
    }
}

/// A verdict with what it rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// What may be said.
    pub kind: VerdictKind,
    /// Since when it holds; null where that is not known.
    pub since: Option<EventTime>,
    /// From when on a use would have been seen; null where nothing proves it.
    pub evidence_from: Option<EventTime>,
    /// What it rests on, in words.
    pub evidence: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_in_use_within_the_threshold_and_unknown_beyond_it() {
        let used = EventTime::from_seconds(1_000_000);
        let after = |seconds| Judge { now: used.plus(seconds), idle_after_seconds: 100 };
        assert_eq!(after(99).verdict(Some(used)).kind, VerdictKind::InUse);
        assert_eq!(after(100).verdict(Some(used)).kind, VerdictKind::Unknown);
        assert_eq!(after(0).verdict(None).kind, VerdictKind::Unknown);
    }
}
