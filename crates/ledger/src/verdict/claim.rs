//! When a use of a key would have been seen.
//!
//! A claim is about every operation of a key at once: the intersection, over its operations, of what their witnesses
//! cover. KMS is a witness of its own: it remembers all operations but a few, so that a claim is
//! *(spans of the place ∪ KMS) ∩ spans of the place for what KMS does not remember*. Both spans of the place are known
//! per place, so that judging a key costs a few comparisons; only the spans at the end of a claim are ever looked for.

use std::borrow::Cow;

use dormouse_model::{EventTime, Place, UsageWitness};

use super::Rules;
use super::operations::Class;
use crate::coverage::filter::is_usual;
use crate::coverage::{common, with, without};
use crate::{Coverage, Gap, Inventory, PlaceProof, Span};

/// In seconds: KMS's own word is an hour late at the most; a clock that is a little fast must not make it more.
pub const KMS_LAG: u32 = 3_600 + 300;

/// What can be claimed about a place, for all its keys.
#[derive(Debug, Default)]
pub(super) struct PlaceClaim {
    /// By whom, and what takes it away.
    pub(super) proof: PlaceProof,
    /// Whether KMS tells of last uses there.
    pub(super) usage: UsageWitness,
    /// By class of key.
    seen: [SeenOfClass; 6],
}

/// When a use of the keys of a class would have been seen at their place.
#[derive(Debug, Default)]
struct SeenOfClass {
    /// By every operation that KMS remembers, too.
    tracked: Vec<Span>,
    /// By every other.
    untracked: Vec<Span>,
}

impl PlaceClaim {
    /// What can be claimed about a place as of `now`.
    pub(super) fn of(
        place: Place,
        now: EventTime,
        rules: &Rules,
        coverage: &Coverage,
        inventory: &Inventory,
    ) -> Self {
        let usage = inventory.place(place).map(|known| known.usage).unwrap_or_default();
        // What is on its way at `now` is nowhere yet.
        let arrived = now.minus(coverage.options().delivery_delay_seconds);
        Self::new(coverage.proof(place, now, &rules.declared), usage, arrived, rules)
    }

    /// From what was proven already; events from before `arrived` are no longer on their way.
    pub(super) fn new(mut proof: PlaceProof, usage: UsageWitness, arrived: EventTime, rules: &Rules) -> Self {
        let later = Span { from: arrived, until: EventTime::from_seconds(u32::MAX) };
        let claims = [&mut proof.stream, &mut proof.digests, &mut proof.declared];
        for spans in claims.into_iter().chain(proof.seen.values_mut()) {
            *spans = without(spans, later);
        }
        let sure = proof.declared.iter().fold(proof.digests.clone(), |spans, &more| with(spans, more));
        let seen_of = |name: &str| {
            let streamed = proof.seen.get(name).cloned().unwrap_or_default();
            // One that only the configuration calls a use was read over wherever it was read before.
            let sure: &[Span] = if is_usual(name) { &sure } else { &[] };
            sure.iter().fold(streamed, |spans, &more| with(spans, more))
        };
        let seen_of_all = |names: &[Box<str>]| {
            let whole = Span { from: EventTime::default(), until: arrived };
            names.iter().fold(vec![whole], |spans, name| common(&spans, &seen_of(name)))
        };
        let seen = Class::ALL.map(|class| {
            let of_class = rules.operations.of_class(class);
            SeenOfClass {
                tracked: seen_of_all(&of_class.tracked),
                untracked: seen_of_all(&of_class.untracked),
            }
        });
        Self { proof, usage, seen }
    }

    /// When each operation of a key would have been seen. `kms` is the span that KMS remembers.
    pub(super) fn of_key<'a>(&'a self, key: &KeyWitness, rules: &Rules, holes: &[Gap]) -> Claim<'a> {
        let of_class = rules.operations.of_class(key.class);
        let seen = &self.seen[key.class as usize];
        let less_holes = |spans: &'a [Span]| {
            if holes.is_empty() {
                return Cow::Borrowed(spans);
            }
            let cut =
                |spans: Vec<Span>, hole: &Gap| without(&spans, Span { from: hole.from, until: hole.until });
            Cow::Owned(holes.iter().fold(spans.to_vec(), cut))
        };
        if of_class.tracked.is_empty() && of_class.untracked.is_empty() {
            // Where nothing counts as a use, its absence says nothing.
            return Claim { tracked: Cow::Borrowed(&[]), kms: None, untracked: None };
        }
        Claim {
            tracked: less_holes(&seen.tracked),
            kms: key.kms.filter(|_| !of_class.tracked.is_empty()),
            untracked: (!of_class.untracked.is_empty()).then(|| less_holes(&seen.untracked)),
        }
    }
}

/// What a claim about a key depends on beside its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyWitness {
    pub(super) class: Class,
    /// When KMS would have remembered a use.
    pub(super) kms: Option<Span>,
}

/// When a use of a key would have been seen, whatever the operation.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    /// Where the place's witnesses would have seen an operation that KMS remembers.
    tracked: Cow<'a, [Span]>,
    /// Where KMS would have.
    kms: Option<Span>,
    /// Where the place's witnesses would have seen the others; `None` if the key has none.
    untracked: Option<Cow<'a, [Span]>>,
}

impl Claim<'_> {
    /// KMS's word is enough for this key: the span that it covers.
    pub(super) fn kms_alone(&self) -> Option<Span> {
        self.kms.filter(|_| self.untracked.is_none())
    }

    /// The last span that begins before `time`, and what of it lies before.
    pub(super) fn last_before(&self, mut time: EventTime) -> Option<Span> {
        loop {
            let tracked = self.last_tracked_before(time)?;
            let Some(untracked) = &self.untracked else {
                return Some(tracked);
            };
            let untracked = last_before(untracked, time)?;
            let both =
                Span { from: tracked.from.max(untracked.from), until: tracked.until.min(untracked.until) };
            if both.from < both.until {
                return Some(both);
            }
            time = both.until;
        }
    }

    /// Likewise, for what KMS remembers.
    fn last_tracked_before(&self, time: EventTime) -> Option<Span> {
        let kms = self.kms.and_then(|kms| last_before(&[kms], time));
        let place = last_before(&self.tracked, time);
        let until = kms.into_iter().chain(place).map(|span| span.until).max()?;
        let mut whole = Span { from: until, until };
        // The spans of a place do not touch each other, so this goes round three times at the most.
        loop {
            let before = whole.from;
            if let Some(kms) = kms.filter(|kms| kms.until >= whole.from) {
                whole.from = whole.from.min(kms.from);
            }
            let next = self.tracked.partition_point(|span| span.until < whole.from);
            if let Some(span) = self.tracked.get(next) {
                whole.from = whole.from.min(span.from);
            }
            if whole.from == before {
                return Some(whole);
            }
        }
    }
}

fn last_before(spans: &[Span], time: EventTime) -> Option<Span> {
    let behind = spans.partition_point(|span| span.from < time);
    let last = spans.get(behind.checked_sub(1)?)?;
    Some(Span { from: last.from, until: last.until.min(time) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const END: u32 = 40;

    fn at(seconds: u32) -> EventTime {
        EventTime::from_seconds(seconds)
    }

    fn spans() -> impl Strategy<Value = Vec<Span>> {
        prop::collection::vec((0..END, 1..9u32), 0..5).prop_map(|parts| {
            parts.into_iter().fold(Vec::new(), |spans, (from, long)| {
                with(spans, Span { from: at(from), until: at(from + long) })
            })
        })
    }

    fn has(spans: &[Span], second: u32) -> bool {
        spans.iter().any(|span| span.from <= at(second) && at(second) < span.until)
    }

    proptest! {
        /// The last span is what looking at every second gives.
        #[test]
        fn the_last_span_is_what_looking_at_every_second_gives(
            tracked in spans(), untracked in prop::option::of(spans()), kms in prop::option::of(spans()), time in 0..60u32,
        ) {
            let kms = kms.and_then(|spans| spans.first().copied());
            let holds = |second: u32| {
                second < time
                    && (has(&tracked, second) || kms.is_some_and(|kms| has(&[kms], second)))
                    && untracked.as_ref().is_none_or(|spans| has(spans, second))
            };
            let last = (0..60).rev().find(|&second| holds(second));
            let expected = last.map(|last| {
                let before = (0..last).rev().find(|&second| !holds(second));
                Span { from: at(before.map_or(0, |before| before + 1)), until: at(last + 1) }
            });
            let claim = Claim {
                tracked: Cow::Borrowed(&tracked),
                kms,
                untracked: untracked.as_ref().map(|spans| Cow::Borrowed(&spans[..])),
            };
            prop_assert_eq!(claim.last_before(at(time)), expected);
        }
    }
}
