//! What was received, and what history proves, per account and Region.
//!
//! Received is not proven: that a source was drained without a break says nothing about whether everything was put into
//! it. What is kept here are the two things that can be known from this end: the spans in which a source had taken all
//! that reached it (and the holes between them, with the reason), and the spans for which a trail's digest files show
//! that no log file is missing.
//!
//! All of it is derived from journaled statements, by functions of the state before and the statement alone, so that
//! reading the journal again gives the same. Lists that grow with time are bounded; what is dropped makes a claim
//! smaller, never larger.

use std::collections::{BTreeMap, HashMap, HashSet};

use dormouse_model::{DeadLetters, EventTime, Place, SourceMark};
use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

use crate::cells::{CellShift, Days, FinishedCells};

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

/// What arrived from one place through one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The time of the earliest event.
    pub first: EventTime,
    /// The time of the latest event.
    pub last: EventTime,
    /// Records of KMS.
    pub records: u64,
}

impl Seen {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            first: self.first.min(other.first),
            last: self.last.max(other.last),
            records: self.records + other.records,
        }
    }
}

/// Somebody altered what delivers events: a trail, or an EventBridge rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipeChange {
    /// When.
    pub at: EventTime,
    /// Which event.
    pub event_id: Box<str>,
    /// The service whose operation it is, e.g. `cloudtrail.amazonaws.com`.
    pub service: Box<str>,
    /// The operation, e.g. `StopLogging`.
    pub operation: Box<str>,
    /// Who did it, if the record says.
    pub principal: Option<Box<str>>,
    /// The trail or rule, if the record says.
    pub subject: Option<Box<str>>,
    /// Why it failed; absent if it was done.
    pub error_code: Option<Box<str>>,
}

/// What is known of one place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlaceCoverage {
    /// What arrived, by source.
    pub received: BTreeMap<Box<str>, Seen>,
    /// The days whose history was read.
    pub finished: Days,
    /// Of these, the ones of which some part is missing.
    pub incomplete: Days,
    /// The spans for which digest files prove that nothing is missing, in order, apart from each other.
    pub covered: Vec<Span>,
    /// Why other parts of the finished days are not proven, in order.
    pub gaps: Vec<Gap>,
    /// The latest changes of what delivers events, in order.
    pub pipe: Vec<PipeChange>,
}

/// What is known of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceCoverage {
    /// When it first said anything.
    pub since: EventTime,
    /// Everything that reached it before this time was taken, but for the holes; absent while nobody can say.
    pub until: Option<EventTime>,
    /// What it said last.
    pub last: SourceMark,
    /// Where something may have been lost, in order.
    pub holes: Vec<Gap>,
}

/// The spans that a source received without a break from a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The spans, in order.
    pub spans: Vec<Span>,
    /// The holes between them.
    pub holes: Vec<Gap>,
}

/// Everything that is known.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    places: HashMap<Place, PlaceCoverage, RandomState>,
    sources: BTreeMap<Box<str>, SourceCoverage>,
    finished: FinishedCells,
    changed_places: HashSet<Place, RandomState>,
    changed_sources: HashSet<Box<str>, RandomState>,
}

/// Between two marks of a source that was at work lies less than this; marks come every minute.
const LONGEST_SILENCE_SECONDS: u32 = 600;
const MOST_HOLES: usize = 1_000;
const MOST_GAPS: usize = 1_000;
const MOST_SPANS: usize = 10_000;
const MOST_PIPE_CHANGES: usize = 32;
/// A hostile sender can name places that do not exist.
const MOST_PLACES: usize = 100_000;

impl Coverage {
    /// Events of a place arrived through a source.
    pub fn note_seen(&mut self, source: &str, place: Place, seen: Seen) {
        let Some(known) = self.place_mut(place) else { return };
        match known.received.get_mut(source) {
            Some(before) => *before = before.plus(seen),
            None => {
                known.received.insert(source.into(), seen);
            }
        }
    }

    /// A source says how complete it is.
    pub fn note_mark(&mut self, source: &str, mark: &SourceMark) {
        self.changed_sources.insert(source.into());
        match self.sources.get_mut(source) {
            Some(known) => known.take(mark),
            None => {
                let mut new = SourceCoverage { since: mark.at, ..SourceCoverage::default() };
                new.begin(mark);
                self.sources.insert(source.into(), new);
            }
        }
    }

    /// Somebody altered what delivers events of a place.
    pub fn note_pipe_change(&mut self, place: Place, change: PipeChange) {
        let Some(known) = self.place_mut(place) else { return };
        let order = |change: &PipeChange| (change.at, change.event_id.clone());
        match known.pipe.binary_search_by_key(&order(&change), order) {
            Ok(_) => {}
            Err(at) => known.pipe.insert(at, change),
        }
        if known.pipe.len() > MOST_PIPE_CHANGES {
            known.pipe.remove(0);
        }
    }

    /// A cell is finished.
    pub fn note_cell(&mut self, shift: &CellShift) {
        let CellShift { cell, whole, covered, gaps, .. } = shift;
        // Finished is finished, also where there is no room to tell about it: its events must not count again.
        self.finished.add(*cell);
        let Some(known) = self.place_mut(cell.place) else { return };
        known.finished.add(cell.day);
        if *whole {
            known.incomplete.remove(cell.day);
        } else {
            known.incomplete.add(cell.day);
        }
        let span = Span { from: cell.begin(), until: cell.end() };
        known.covered = covered.iter().fold(without(&known.covered, span), |spans, &more| with(spans, more));
        known.gaps = cut(std::mem::take(&mut known.gaps), span);
        for gap in gaps {
            add_gap(&mut known.gaps, gap.clone(), MOST_GAPS);
        }
        let excess = known.covered.len().saturating_sub(MOST_SPANS);
        known.covered.drain(..excess);
    }

    fn place_mut(&mut self, place: Place) -> Option<&mut PlaceCoverage> {
        if self.places.len() >= MOST_PLACES && !self.places.contains_key(&place) {
            return None;
        }
        self.changed_places.insert(place);
        Some(self.places.entry(place).or_default())
    }

    /// The days whose history was read.
    pub fn finished(&self) -> &FinishedCells {
        &self.finished
    }

    /// All places, in no order.
    pub fn places(&self) -> impl Iterator<Item = (Place, &PlaceCoverage)> {
        self.places.iter().map(|(&place, known)| (place, known))
    }

    /// What is known of a place.
    pub fn place(&self, place: Place) -> Option<&PlaceCoverage> {
        self.places.get(&place)
    }

    /// All sources that ever said something, by name.
    pub fn sources(&self) -> impl Iterator<Item = (&str, &SourceCoverage)> {
        self.sources.iter().map(|(name, known)| (&**name, known))
    }

    /// What a source received of a place without a break: from the first event that arrived while somebody was there to
    /// receive it.
    pub fn received(&self, source: &str, seen: Seen) -> Received {
        let Some(known) = self.sources.get(source) else {
            return Received { spans: Vec::new(), holes: Vec::new() };
        };
        let whole = Span { from: seen.first.max(known.since), until: known.until.unwrap_or_default() };
        let mut spans = Vec::new();
        if whole.from < whole.until {
            spans.push(whole);
        }
        let mut holes = Vec::new();
        for hole in &known.holes {
            if hole.until > whole.from && hole.from < whole.until {
                spans = without(&spans, Span { from: hole.from, until: hole.until });
                holes.push(hole.clone());
            }
        }
        Received { spans, holes }
    }

    /// What changed since this was last asked, for the store.
    pub fn take_changed(&mut self) -> CoverageRows {
        let places = std::mem::take(&mut self.changed_places);
        let sources = std::mem::take(&mut self.changed_sources);
        CoverageRows {
            places: places
                .into_iter()
                .filter_map(|place| Some((place, self.places.get(&place)?.clone())))
                .collect(),
            sources: sources
                .into_iter()
                .filter_map(|name| {
                    let known = self.sources.get(&name)?.clone();
                    Some((name, known))
                })
                .collect(),
        }
    }

    /// Puts back what was stored.
    pub fn restore(rows: CoverageRows) -> Self {
        let mut coverage = Self::default();
        for (place, known) in rows.places {
            for &(first, last) in known.finished.ranges() {
                (first..=last).for_each(|day| coverage.finished.add(dormouse_model::Cell { place, day }));
            }
            coverage.places.insert(place, known);
        }
        coverage.sources = rows.sources.into_iter().collect();
        coverage
    }
}

/// What is stored of the coverage, or a part of it.
#[derive(Clone, Debug, Default)]
pub struct CoverageRows {
    /// By place.
    pub places: Vec<(Place, PlaceCoverage)>,
    /// By source.
    pub sources: Vec<(Box<str>, SourceCoverage)>,
}

impl SourceCoverage {
    fn begin(&mut self, mark: &SourceMark) {
        self.until = mark.caught_up;
        self.last = mark.clone();
        if let Some(lost) = &mark.lost {
            self.add_hole(lost.from, lost.until, &lost.reason);
        }
    }

    fn take(&mut self, mark: &SourceMark) {
        let complete = self.until.unwrap_or(self.since);
        let silence = mark.at.seconds_since(self.last.at);
        if let Some(lost) = &mark.lost {
            // What was taken before is not lost, whatever the source can know of its beginning.
            self.add_hole(lost.from.max(complete), lost.until, &lost.reason);
        }
        let retention = mark.retention_seconds.or(self.last.retention_seconds);
        let retention = retention.map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX));
        match retention {
            Some(retention) if mark.at.minus(retention) > complete => {
                let reason = "nobody took it before the source's retention ended";
                self.add_hole(complete, mark.at.minus(retention), reason);
            }
            None if silence > LONGEST_SILENCE_SECONDS => {
                let reason = "nobody was there, and how long the source keeps messages cannot be read";
                self.add_hole(complete, mark.at, reason);
            }
            _ => {}
        }
        match (self.last.dead_letters, mark.dead_letters) {
            (DeadLetters::Messages(before), DeadLetters::Messages(now))
                if now > before || now != before && silence > LONGEST_SILENCE_SECONDS =>
            {
                // When they were sent nobody says; they may have been tried for as long as messages are kept.
                let sent = retention.map_or(self.since, |retention| mark.at.minus(retention));
                let reason = "messages went to the dead-letter queue";
                self.add_hole(sent.min(complete), mark.at, reason);
            }
            (DeadLetters::None, DeadLetters::Messages(now)) if now > 0 => {
                let reason = "a dead-letter queue that holds messages was attached";
                self.add_hole(complete, mark.at, reason);
            }
            (_, DeadLetters::Unreadable) if silence > LONGEST_SILENCE_SECONDS => {
                let reason =
                    "nobody was there, and whether messages went to the dead-letter queue cannot be read";
                self.add_hole(complete, mark.at, reason);
            }
            _ => {}
        }
        self.until = self.until.max(mark.caught_up);
        let retention_seconds = mark.retention_seconds.or(self.last.retention_seconds);
        // While the dead-letter queue cannot be read for a moment, what it held before stays the measure.
        let dead_letters = match (self.last.dead_letters, mark.dead_letters) {
            (before @ DeadLetters::Messages(_), DeadLetters::Unreadable)
                if silence <= LONGEST_SILENCE_SECONDS =>
            {
                before
            }
            (_, now) => now,
        };
        self.last = SourceMark { retention_seconds, dead_letters, lost: None, ..mark.clone() };
    }

    fn add_hole(&mut self, from: EventTime, until: EventTime, reason: &str) {
        if from < until {
            add_gap(&mut self.holes, Gap { from, until, reason: reason.into() }, MOST_HOLES);
        }
    }
}

/// Adds a gap where it belongs; one that begins where, or before, one with the same reason ends makes that one longer.
/// Where there is no room, the two oldest become one: what lies between them is not claimed either.
fn add_gap(gaps: &mut Vec<Gap>, new: Gap, most: usize) {
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
fn cut(gaps: Vec<Gap>, span: Span) -> Vec<Gap> {
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

#[cfg(test)]
mod tests {
    use dormouse_model::Cell;

    use super::*;

    fn at(seconds: u32) -> EventTime {
        EventTime::from_seconds(1_793_491_200 + seconds)
    }

    fn place() -> Place {
        Place { account: "111122223333".parse().unwrap(), region: "eu-west-1".parse().unwrap() }
    }

    const DAY: u32 = 86_400;

    fn mark(seconds: u32, dead: u64) -> SourceMark {
        SourceMark {
            at: at(seconds),
            caught_up: Some(at(seconds)),
            retention_seconds: Some(u64::from(4 * DAY)),
            dead_letters: DeadLetters::Messages(dead),
            lost: None,
        }
    }

    fn received(coverage: &Coverage) -> Vec<(u32, u32)> {
        let seen = coverage.place(place()).unwrap().received["bus"];
        let origin = at(0);
        let spans = coverage.received("bus", seen).spans;
        spans.iter().map(|s| (s.from.seconds_since(origin), s.until.seconds_since(origin))).collect()
    }

    fn started() -> Coverage {
        let mut coverage = Coverage::default();
        coverage.note_mark("bus", &mark(100, 0));
        coverage.note_seen("bus", place(), Seen { first: at(0), last: at(150), records: 3 });
        coverage.note_mark("bus", &mark(200, 0));
        coverage
    }

    #[test]
    fn nothing_is_claimed_from_before_somebody_was_there() {
        assert_eq!(received(&started()), [(100, 200)]);
    }

    #[test]
    fn a_downtime_within_the_retention_leaves_no_hole_and_a_longer_one_does() {
        let mut coverage = started();
        coverage.note_mark("bus", &mark(200 + 3 * DAY, 0));
        assert_eq!(received(&coverage), [(100, 200 + 3 * DAY)]);
        coverage.note_mark("bus", &mark(200 + 8 * DAY, 0));
        assert_eq!(received(&coverage), [(100, 200 + 3 * DAY), (200 + 4 * DAY, 200 + 8 * DAY)]);
    }

    #[test]
    fn what_went_to_the_dead_letter_queue_is_a_hole_for_as_long_as_messages_are_kept() {
        let mut coverage = started();
        coverage.note_mark("bus", &mark(260, 2));
        coverage.note_mark("bus", &mark(320, 2));
        assert_eq!(received(&coverage), [(260, 320)], "they may have been sent long before");
    }

    #[test]
    fn what_cannot_be_read_is_a_hole_only_over_a_downtime() {
        let unreadable = |seconds| SourceMark { dead_letters: DeadLetters::Unreadable, ..mark(seconds, 0) };
        let mut coverage = started();
        coverage.note_mark("bus", &unreadable(260));
        assert_eq!(received(&coverage), [(100, 260)]);
        coverage.note_mark("bus", &unreadable(DAY));
        assert_eq!(received(&coverage), [(100, 260)]);
        coverage.note_mark("bus", &unreadable(DAY + 60));
        assert_eq!(received(&coverage), [(100, 260), (DAY, DAY + 60)]);
    }

    #[test]
    fn a_cell_that_is_read_again_replaces_what_was_proven() {
        let cell = Cell { place: place(), day: at(0).day() };
        let shift = |covered: &[(u32, u32)]| CellShift {
            cell,
            whole: true,
            records: 1,
            read_only: true,
            covered: covered.iter().map(|&(from, until)| Span { from: at(from), until: at(until) }).collect(),
            gaps: Vec::new(),
            keys: Vec::new(),
        };
        let mut coverage = Coverage::default();
        coverage.note_cell(&shift(&[(0, DAY)]));
        assert!(coverage.finished().has(cell));
        coverage.note_cell(&shift(&[(0, 100), (200, DAY)]));
        let spans = coverage.place(place()).unwrap().covered.clone();
        assert_eq!(spans, [Span { from: at(0), until: at(100) }, Span { from: at(200), until: at(DAY) }]);
        let restored = Coverage::restore(coverage.take_changed());
        assert!(restored.finished().has(cell));
        assert_eq!(restored.place(place()), coverage.place(place()));
    }
}
