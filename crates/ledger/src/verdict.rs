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

impl Verdict {
    /// The verdict on a key that was last used then, when only uses are known and no coverage is.
    pub fn without_coverage(last_use: Option<EventTime>, now: EventTime, idle_after_seconds: u32) -> Self {
        let in_use = last_use.filter(|&at| now.seconds_since(at) < idle_after_seconds);
        if let Some(at) = in_use {
            let evidence = vec![format!("used at {at}")];
            return Self { kind: VerdictKind::InUse, since: Some(at), evidence_from: None, evidence };
        }
        let seen = last_use.map_or("no use was seen".to_owned(), |at| format!("no use was seen after {at}"));
        let evidence = vec![seen, "nothing proves yet that a use would have been seen".to_owned()];
        Self { kind: VerdictKind::Unknown, since: None, evidence_from: None, evidence }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_in_use_within_the_threshold_and_unknown_beyond_it() {
        let used = EventTime::from_seconds(1_000_000);
        assert_eq!(Verdict::without_coverage(Some(used), used.plus(99), 100).kind, VerdictKind::InUse);
        assert_eq!(Verdict::without_coverage(Some(used), used.plus(100), 100).kind, VerdictKind::Unknown);
        assert_eq!(Verdict::without_coverage(None, used, 100).kind, VerdictKind::Unknown);
    }
}
