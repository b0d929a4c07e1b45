//! What can be claimed about a place: when a use there would have been seen, by whose word, and what takes a claim away.

use std::collections::BTreeMap;

use dormouse_model::{AccountId, EventTime, Place, Region};
use serde::{Deserialize, Serialize};

use crate::coverage::{PlaceCoverage, SourceCoverage, add_gap, common, less, with, without};
use crate::{Coverage, Gap, Span};

/// A span that the configuration declares complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// For these accounts; all if empty.
    pub accounts: Vec<AccountId>,
    /// For these Regions; all if empty.
    pub regions: Vec<Region>,
    /// When.
    pub span: Span,
    /// How late an event may be: nothing is claimed of so many seconds before now.
    pub delay_seconds: u32,
}

impl Declared {
    /// When, as far as it has come to pass.
    pub fn span_by(&self, now: EventTime) -> Span {
        Span { from: self.span.from, until: self.span.until.min(now.minus(self.delay_seconds)) }
    }

    /// Whether it is said of this place.
    pub fn concerns(&self, place: Place) -> bool {
        (self.accounts.is_empty() || self.accounts.contains(&place.account))
            && (self.regions.is_empty() || self.regions.contains(&place.region))
    }
}

/// Nothing arrives from a place now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blind {
    /// Since when a use may have gone unseen.
    pub since: EventTime,
    /// Why, and by whom, in words.
    pub why: Box<str>,
}

/// What can be claimed about a place. The spans are in order and apart from each other; holes are taken away already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlaceProof {
    /// Heartbeats came back through a source that lost nothing. For people: what is claimed of uses is
    /// [`PlaceProof::seen`].
    pub stream: Vec<Span>,
    /// By in-use operation: when a use would have been seen by the stream. An operation is known to pass the source
    /// through which it arrived, since it did; what one source lets through says nothing of another.
    pub seen: BTreeMap<Box<str>, Vec<Span>>,
    /// A trail's digest files show that no log file is missing.
    pub digests: Vec<Span>,
    /// The configuration says so.
    pub declared: Vec<Span>,
    /// What was taken away, why; those of single keys are not among them.
    pub holes: Vec<Gap>,
    /// The in-use operations that are known to pass through what delivers events of this place, since that was last
    /// altered: when each last arrived.
    pub operations: BTreeMap<Box<str>, EventTime>,
    /// Those of the holes where an operation was called that nobody knows, so that nobody knows either whether KMS
    /// remembers it.
    pub unknown: Vec<Gap>,
    /// Nothing arrives from there now.
    pub blind: Option<Blind>,
}

impl Coverage {
    /// What can be claimed about a place as of `now`.
    pub fn proof(&self, place: Place, now: EventTime, declared: &[Declared]) -> PlaceProof {
        let mut proof = self.claimed(place, now);
        proof.declared = self.declared(place, now, declared);
        // What digests prove needs nobody's word; what heartbeats prove may not hold for every operation.
        for span in &proof.digests {
            proof.declared = without(&proof.declared, *span);
        }
        for hole in self.holes_of_place(place) {
            let span = Span { from: hole.from, until: hole.until };
            let claims = [&mut proof.stream, &mut proof.digests, &mut proof.declared];
            for claim in claims.into_iter().chain(proof.seen.values_mut()) {
                *claim = without(claim, span);
            }
            add_gap(&mut proof.holes, hole, usize::MAX);
        }
        proof.unknown = self.calls_of_place(place);
        proof.blind = self.blind(place, now);
        proof
    }

    /// What is claimed about a place by journaled statements alone: without what anybody declares, and without the holes
    /// of what is in the quarantine.
    pub(crate) fn claimed(&self, place: Place, now: EventTime) -> PlaceProof {
        let mut proof = PlaceProof::default();
        let Some(known) = self.place(place) else { return proof };
        proof.digests = less(known.covered.clone(), &known.missed.digests);
        proof.operations = self.operations(known);
        let delay = self.options().delivery_delay_seconds;
        let mut holes = Vec::new();
        for (name, beats) in known.beats.proven(self.options().blind_after_seconds) {
            // What came back through a source that never said how far it is proves nothing yet.
            let Some(source) = self.source(name) else { continue };
            holes.extend(known.beats.gaps(&beats));
            let taken = Span { from: source.since, until: source.until.unwrap_or_default() };
            let line = within(&beats, taken);
            let (Some(first), Some(last)) = (line.first(), line.last()) else { continue };
            let whole = Span { from: first.from, until: last.until };
            let concerns = |hole: &&Gap| hole.until > whole.from && hole.from < whole.until;
            holes.extend(source.holes.iter().filter(concerns).cloned());
            // When something happened that a source had not taken yet is known by how late it may be.
            let settled = Span { from: source.since, until: taken.until.minus(delay) };
            let mut sure = within(&line, settled);
            for hole in source.holes_by_event(delay) {
                sure = without(&sure, hole);
            }
            for (operation, passes) in passes(known, name, source) {
                let seen = proof.seen.entry(operation.into()).or_default();
                *seen = common(&sure, &passes).into_iter().fold(std::mem::take(seen), with);
            }
            for span in less(line, &source.holes) {
                proof.stream = with(proof.stream, span);
            }
        }
        // What one source lacks another may have.
        holes.retain(|hole| !is_within(hole, &proof.stream));
        for claim in [&mut proof.stream].into_iter().chain(proof.seen.values_mut()) {
            for span in known.switches.spans(now) {
                *claim = without(claim, span);
            }
            *claim = less(std::mem::take(claim), &known.missed.stream);
        }
        holes.extend(known.switches.iter().map(|switch| switch.gap(now)));
        let missed = known.missed.stream.iter().chain(&known.missed.digests).chain(&known.missed.declared);
        holes.extend(missed.cloned());
        for hole in holes {
            add_gap(&mut proof.holes, hole, usize::MAX);
        }
        proof
    }

    /// What is declared of a place, without what is known to be lost. Only what is in the quarantine is left in it.
    pub(crate) fn declared(&self, place: Place, now: EventTime, declared: &[Declared]) -> Vec<Span> {
        let mut spans = Vec::new();
        for declared in declared.iter().filter(|declared| declared.concerns(place)) {
            spans = with(spans, declared.span_by(now));
        }
        if spans.is_empty() {
            return spans;
        }
        let delay = self.options().delivery_delay_seconds;
        let known = self.place(place);
        let carries = |name: &str| {
            known.is_some_and(|known| known.received.contains_key(name) || known.beats.came_through(name))
        };
        let is_known = self.sources().any(|(name, _)| carries(name));
        let carriers: Vec<&SourceCoverage> =
            self.sources().filter(|(name, _)| !is_known || carries(name)).map(|(_, source)| source).collect();
        for hole in carriers.iter().flat_map(|source| source.holes_by_event(delay)) {
            spans = without(&spans, hole);
        }
        // What waits in a source is not known yet. One that was taken out of the configuration waits for nothing.
        if let Some(taken) = carriers.iter().filter_map(|source| source.until).max() {
            spans =
                without(&spans, Span { from: taken.minus(delay), until: EventTime::from_seconds(u32::MAX) });
        }
        if let Some(known) = known {
            for span in known.switches.spans(now) {
                spans = without(&spans, span);
            }
            spans = less(spans, &known.missed.declared);
        }
        spans
    }

    /// The operations that are known to pass through the sources that carry the heartbeats of a place.
    fn operations(&self, known: &PlaceCoverage) -> BTreeMap<Box<str>, EventTime> {
        let mut operations: BTreeMap<Box<str>, EventTime> = BTreeMap::new();
        for (name, _) in known.beats.proven(self.options().blind_after_seconds) {
            let passed = match &known.filter {
                Some(filter) => filter.passed(name),
                None => self.source(name).map(|source| &source.operations),
            };
            for (operation, pass) in passed.into_iter().flatten() {
                let known = operations.entry(operation.clone()).or_insert(pass.last);
                *known = pass.last.max(*known);
            }
        }
        operations
    }

    /// Whether nothing arrives from a place now.
    pub fn blind(&self, place: Place, now: EventTime) -> Option<Blind> {
        let known = self.place(place)?;
        let beats = &known.beats;
        let blind_after = self.options().blind_after_seconds;
        if let Some(switch) = known.switches.iter().find(|switch| switch.until().is_none()) {
            return Some(Blind { since: switch.from, why: switch.why.clone() });
        }
        match (beats.last_returned(), beats.first_sent()) {
            (Some(last), _) if now.seconds_since(last) > blind_after => {
                let since = beats.proven_until(now, blind_after).unwrap_or(last);
                let why = match beats.last_sent() {
                    Some(sent) if now.seconds_since(sent) > blind_after => {
                        format!("no heartbeat was sent since {sent}")
                    }
                    _ => format!("no heartbeat came back since the one of {last}"),
                };
                Some(Blind { since, why: why.into() })
            }
            (None, Some(sent)) if now.seconds_since(sent) > blind_after => {
                let why = format!("no heartbeat ever came back; the first was sent at {sent}");
                Some(Blind { since: sent, why: why.into() })
            }
            _ => None,
        }
    }

    /// How far the claim about a place reaches, for metrics.
    pub fn reach(&self, place: Place, now: EventTime, declared: &[Declared]) -> Reach {
        let proof = self.proof(place, now, declared);
        let until = self.proven_until(place, now);
        let current = proof.stream.last().filter(|_| proof.blind.is_none());
        Reach {
            coverage_seconds: current.map_or(0, |span| span.until.seconds_since(span.from)),
            heartbeat_lag_seconds: until.map(|until| now.seconds_since(until)),
        }
    }

    /// The time of the last heartbeat that came back and that waits for none sent before it.
    pub fn proven_until(&self, place: Place, now: EventTime) -> Option<EventTime> {
        self.place(place)?.beats.proven_until(now, self.options().blind_after_seconds)
    }
}

/// How far the claim about a place reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// For how many seconds the stream has been proven without a hole up to its last good heartbeat; 0 if the place is
    /// blind.
    pub coverage_seconds: u32,
    /// How many seconds ago the last good heartbeat was; none if there never was one.
    pub heartbeat_lag_seconds: Option<u32>,
}

/// The parts of spans that lie in another.
fn within(spans: &[Span], other: Span) -> Vec<Span> {
    let part = |span: &Span| Span { from: span.from.max(other.from), until: span.until.min(other.until) };
    spans.iter().map(part).filter(|span| span.from < span.until).collect()
}

/// When operations are known to pass a source on their way from a place.
fn passes<'a>(
    known: &'a PlaceCoverage,
    name: &str,
    source: &'a SourceCoverage,
) -> impl Iterator<Item = (&'a str, Vec<Span>)> {
    let filter = known.filter.as_ref();
    let current = match filter {
        Some(filter) => filter.passed(name),
        None => Some(&source.operations),
    };
    let since = |from: EventTime| Span { from, until: EventTime::from_seconds(u32::MAX) };
    let current = current.into_iter().flatten();
    let current = current.map(move |(operation, pass)| (&**operation, vec![since(pass.since)]));
    let past: Vec<_> = filter.into_iter().flat_map(|filter| filter.past(name)).collect();
    current.chain(past.into_iter().map(|(operation, spans)| (operation, spans.to_vec())))
}

fn is_within(gap: &Gap, spans: &[Span]) -> bool {
    let whole = vec![Span { from: gap.from, until: gap.until }];
    spans.iter().fold(whole, |rest, &span| without(&rest, span)).is_empty()
}
