//! What can be claimed about one Region of an account, as a document.

use std::collections::BTreeMap;

use dormouse_ledger::coverage::beats::Beats;
use dormouse_ledger::{Blind, Coverage, Declared, Gap, MissedUse, Span};
use dormouse_model::{EventTime, Place};
use serde::{Deserialize, Serialize};

use super::CoveredDocument;

/// When a use would have been seen, by whose word, and what takes a claim away. What is not known is null.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoverageDocument {
    /// The spans in which a use would have been seen, in order. `by` is `heartbeats`, `digests` or `declared`.
    pub spans: Vec<CoveredDocument>,
    /// The time of the last heartbeat that came back and that waits for none sent before it.
    pub proven_until: Option<EventTime>,
    /// How many seconds ago that was.
    pub lag_seconds: Option<u32>,
    /// For how many seconds the stream has been proven up to there without a hole; 0 if nothing arrives now.
    pub coverage_seconds: u32,
    /// When the last heartbeat was sent.
    pub last_beat_sent: Option<EventTime>,
    /// The time of the last heartbeat that came back.
    pub last_beat_returned: Option<EventTime>,
    /// Nothing arrives from there now; null if something does, or if nobody can say.
    pub blind: Option<Blind>,
    /// The latest holes in the claims, in order.
    pub holes: Vec<Gap>,
    /// How many earlier ones there are.
    pub more_holes: usize,
    /// The in-use operations that are known to pass through what delivers events, and when each last arrived.
    pub operations: BTreeMap<Box<str>, EventTime>,
    /// How many uses were found that never arrived.
    pub missed_uses: u64,
    /// The latest of them.
    pub missed: Vec<MissedUse>,
}

/// So many holes are told.
const MOST_HOLES: usize = 20;

/// What can be claimed about a place as of `now`.
pub(super) fn coverage(
    coverage: &Coverage,
    place: Place,
    declared: &[Declared],
    now: EventTime,
) -> CoverageDocument {
    let proof = coverage.proof(place, now, declared);
    let reach = coverage.reach(place, now, declared);
    let by = |spans: &[Span], by: &'static str| {
        let document =
            move |span: &Span| CoveredDocument { from: span.from, until: span.until, by: by.into() };
        spans.iter().map(document).collect::<Vec<_>>()
    };
    let mut spans = by(&proof.stream, "heartbeats");
    spans.extend(by(&proof.digests, "digests"));
    spans.extend(by(&proof.declared, "declared"));
    spans.sort_by_key(|span| span.from);
    let mut holes = proof.holes;
    let more_holes = holes.len().saturating_sub(MOST_HOLES);
    holes.drain(..more_holes);
    let known = coverage.place(place);
    let beats = known.map(|known| &known.beats);
    CoverageDocument {
        spans,
        proven_until: coverage.proven_until(place, now),
        lag_seconds: reach.heartbeat_lag_seconds,
        coverage_seconds: reach.coverage_seconds,
        last_beat_sent: beats.and_then(Beats::last_sent),
        last_beat_returned: beats.and_then(Beats::last_returned),
        blind: proof.blind,
        holes,
        more_holes,
        operations: proof.operations,
        missed_uses: known.map_or(0, |known| known.missed.total),
        missed: known.map_or_else(Vec::new, |known| known.missed.latest.clone()),
    }
}
