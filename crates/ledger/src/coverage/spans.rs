//! Spans of time, and gaps between them.

use dormouse_model::EventTime;
use serde::{Deserialize, Serialize};

/// A span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Its first second.
    pub from: EventTime,
    /// The first second behind it.
    pub until: EventTime,
}

/// A span for which something is not known or not proven.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Its first second.
    pub from: EventTime,
    /// The first second behind it.
    pub until: EventTime,
    /// Why, in words.
    pub reason: Box<str>,
}

/// Adds a gap where it belongs; one that begins where, or before, one with the same reason ends makes that one longer.
/// Where there is no room, the two oldest become one: what lies between them is not claimed either.
pub(crate) fn add_gap(gaps: &mut Vec<Gap>, new: Gap, most: usize) {
    let at = gaps.partition_point(|gap| gap.from <= new.from);
    if let Some(before) = at.checked_sub(1).and_then(|before| gaps.get_mut(before))
        && before.until >= new.from
        && before.reason == new.reason
    {
        before.until = before.until.max(new.until);
        return;
    }
    gaps.insert(at, new);
    if gaps.len() > most {
        let oldest = gaps.remove(0);
        if let Some(next) = gaps.first_mut() {
            next.from = oldest.from;
            next.until = next.until.max(oldest.until);
        }
    }
}

/// The gaps without what lies in `span`.
pub(crate) fn cut(gaps: Vec<Gap>, span: Span) -> Vec<Gap> {
    let rest = |gap: Gap| {
        let rest = without(&[Span { from: gap.from, until: gap.until }], span);
        rest.into_iter().map(move |Span { from, until }| Gap { from, until, reason: gap.reason.clone() })
    };
    gaps.into_iter().flat_map(rest).collect()
}

/// The spans without what lies in `hole`.
pub fn without(spans: &[Span], hole: Span) -> Vec<Span> {
    let mut rest = Vec::with_capacity(spans.len() + 1);
    for &span in spans {
        if hole.until <= span.from || hole.from >= span.until {
            rest.push(span);
            continue;
        }
        if span.from < hole.from {
            rest.push(Span { from: span.from, until: hole.from });
        }
        if hole.until < span.until {
            rest.push(Span { from: hole.until, until: span.until });
        }
    }
    rest
}

/// The spans with one more, in order and apart from each other.
pub fn with(mut spans: Vec<Span>, new: Span) -> Vec<Span> {
    if new.from >= new.until {
        return spans;
    }
    let first = spans.partition_point(|span| span.until < new.from);
    let behind = spans.partition_point(|span| span.from <= new.until);
    let mut joined = new;
    for span in &spans[first..behind] {
        joined = Span { from: joined.from.min(span.from), until: joined.until.max(span.until) };
    }
    spans.splice(first..behind, [joined]);
    spans
}

/// The parts of spans that lie in others, too.
pub(crate) fn common(some: &[Span], others: &[Span]) -> Vec<Span> {
    let (mut one, mut other) = (0, 0);
    let mut both = Vec::new();
    while let (Some(a), Some(b)) = (some.get(one), others.get(other)) {
        let span = Span { from: a.from.max(b.from), until: a.until.min(b.until) };
        if span.from < span.until {
            both.push(span);
        }
        if a.until <= b.until {
            one += 1;
        } else {
            other += 1;
        }
    }
    both
}

/// The spans without the gaps.
pub(crate) fn less(spans: Vec<Span>, gaps: &[Gap]) -> Vec<Span> {
    gaps.iter().fold(spans, |spans, gap| without(&spans, Span { from: gap.from, until: gap.until }))
}
