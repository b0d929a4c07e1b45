//! What was received, and what can be claimed, per account and Region.
//!
//! Received is not proven: that a source was drained without a break says nothing about whether everything was put into
//! it. What is kept here is what can be known from this end:
//!
//! * [`source`]: the spans in which a source had taken all that reached it, and the holes between them;
//! * [`beats`]: heartbeats that came back, which prove that events were delivered meanwhile;
//! * [`filter`]: which operations are known to pass;
//! * [`switches`]: who switched off, or altered, what delivers events;
//! * the spans for which a trail's digest files show that no log file is missing;
//! * [`missed`]: uses that KMS knows and that never arrived;
//! * [`unread`]: what was not understood, and may have been a use.
//!
//! All of it but what follows from the quarantine is derived from journaled statements, by functions of the state
//! before and the statement alone, so that reading the journal again gives the same. Lists that grow with time are
//! bounded; what is dropped makes a claim smaller, never larger. What follows from all this together is said by
//! [`Coverage::proof`].

pub mod beats;
pub mod filter;
pub mod missed;
pub mod options;
pub mod source;
mod spans;
pub mod switches;
#[cfg(test)]
mod tests;
pub mod unread;

use std::collections::{BTreeMap, HashMap, HashSet};

use dormouse_model::{EventTime, KeyAnswer, KeyArn, KeySaid, LastUsage, Meaning, Place, SourceMark};
use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

use crate::cells::{CellShift, Days, FinishedCells};
use beats::Beats;
use filter::{Filter, Pass};
use missed::{Claimed, Missed, MissedUse};
use options::CoverageOptions;
pub use source::SourceCoverage;
pub(crate) use spans::add_gap;
use spans::cut;
pub use spans::{Gap, Span, with, without};
pub(crate) use spans::{common, less};
use switches::Switches;
pub use switches::{LeavesOut, PipeChange};
use unread::{Holes, UnknownCalls, Unread};

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
    /// Those that may have ended the delivery.
    #[serde(skip_serializing_if = "Switches::is_empty")]
    pub switches: Switches,
    /// The filter was altered, and what passed it since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// Heartbeats.
    pub beats: Beats,
    /// Uses that never arrived.
    #[serde(skip_serializing_if = "Missed::is_none")]
    pub missed: Missed,
    /// Calls of operations that nobody knows.
    #[serde(skip_serializing_if = "UnknownCalls::is_empty")]
    pub unknown: UnknownCalls,
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
    options: CoverageOptions,
    places: HashMap<Place, PlaceCoverage, RandomState>,
    sources: BTreeMap<Box<str>, SourceCoverage>,
    finished: FinishedCells,
    changed_places: HashSet<Place, RandomState>,
    changed_sources: HashSet<Box<str>, RandomState>,
    /// What was not understood. Follows from the quarantine, and from the unknown calls of places.
    holes: Holes,
}

const MOST_GAPS: usize = 1_000;
const MOST_SPANS: usize = 10_000;
const MOST_PIPE_CHANGES: usize = 32;
/// A hostile sender can name places that do not exist.
const MOST_PLACES: usize = 100_000;

impl Coverage {
    /// Events of a place arrived through a source.
    pub fn note_seen(&mut self, source: &str, place: Place, seen: Seen) {
        let settle = self.options.settle_seconds;
        let Some(known) = self.place_mut(place) else { return };
        match known.received.get_mut(source) {
            Some(before) => *before = before.plus(seen),
            None => {
                known.received.insert(source.into(), seen);
            }
        }
        if known.beats.last_returned().is_none() {
            known.switches.note_events(seen.first, seen.last, settle);
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

    /// Successful calls of an in-use operation arrived from a place through a source, the first and the last at these
    /// times.
    pub fn note_passed(
        &mut self,
        source: &str,
        place: Place,
        operation: &str,
        (first, last): (EventTime, EventTime),
    ) {
        let mut floor = EventTime::default();
        if let Some(known) = self.sources.get_mut(source) {
            if !filter::is_usual(operation) {
                // Its calls count since it is configured, and what arrived before was not counted: when that was is known
                // by the source's marks.
                floor = known.last.at.plus(source::LONGEST_SILENCE_SECONDS);
            }
            let pass = Pass { since: first.max(floor), last };
            filter::note(&mut known.operations, operation, pass);
            self.changed_sources.insert(source.into());
        }
        let settle = self.options.settle_seconds;
        // All but a few places need no memory of their own of this.
        if let Some(known) = self.places.get_mut(&place)
            && (known.filter.is_some() || !known.switches.is_empty())
        {
            self.changed_places.insert(place);
            known.switches.note_uses(first, last, settle);
            if let Some(filter) = &mut known.filter {
                filter.note_passed(source, operation, (first, last), floor);
            }
        }
    }

    /// A heartbeat was sent to a place.
    pub fn note_beat(&mut self, place: Place, id: [u8; 16], sent: EventTime) {
        let (blind_after, settle) = (self.options.blind_after_seconds, self.options.settle_seconds);
        let Some(known) = self.place_mut(place) else { return };
        if let Some(at) = known.beats.note_sent(id, sent, blind_after) {
            known.switches.note_beat(at, settle);
        }
    }

    /// A `ListKeys` call came back as an event, through a source.
    pub fn note_returned(&mut self, source: &str, place: Place, id: [u8; 16], at: EventTime) {
        let settle = self.options.settle_seconds;
        let Some(known) = self.place_mut(place) else { return };
        if known.beats.note_returned(source, id, at) {
            known.switches.note_beat(at, settle);
        }
    }

    /// Whether a `ListKeys` call with this id is one of the latest heartbeats that were sent to a place.
    pub fn expects(&self, place: Place, id: &[u8; 16]) -> bool {
        self.places.get(&place).is_some_and(|known| known.beats.expects(id))
    }

    /// Somebody altered what delivers events of a place.
    pub fn note_pipe_change(&mut self, place: Place, change: PipeChange) {
        let effect = change.effect(&self.options);
        if effect != switches::Effect::Nothing {
            // One trail may deliver for all Regions of its account, a central one for all accounts.
            let is_central = self.options.central.contains(&place.account);
            let is_of_a_trail = change.is_of_a_trail();
            let concerned = self.places.keys().copied().filter(|other| {
                (is_central || other.account == place.account)
                    && (is_of_a_trail || other.region == place.region)
                    && *other != place
            });
            for other in concerned.collect::<Vec<_>>() {
                self.note_switch(other, &change, effect);
            }
            self.note_switch(place, &change, effect);
        }
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

    fn note_switch(&mut self, place: Place, change: &PipeChange, effect: switches::Effect) {
        let settle = self.options.settle_seconds;
        let alters = change.alters_the_filter(&self.options);
        let is_first = alters && self.places.get(&place).is_none_or(|known| known.filter.is_none());
        let passed = self.sources.iter().map(|(name, source)| (&**name, &source.operations));
        let first = is_first.then(|| Filter::new(change.at, passed));
        let Some(known) = self.place_mut(place) else { return };
        let is_known = known.switches.iter().any(|switch| switch.is_of(change));
        if !is_known {
            known.switches.note(change, effect, &known.beats, &known.pipe, settle);
            if known.beats.last_returned().is_none() {
                for seen in known.received.values() {
                    known.switches.note_events(seen.last, seen.last, settle);
                }
            }
        }
        match &mut known.filter {
            Some(filter) if alters => filter.note_change(change.at),
            Some(_) => {}
            none => *none = first,
        }
    }

    /// A successful call of an operation that the table does not name, and that may have used a key: one of these, or
    /// any of the place if it names none. It came through this source.
    pub fn note_unknown_call(
        &mut self,
        source: &str,
        place: Option<Place>,
        keys: &[KeyArn],
        operation: &str,
        at: EventTime,
    ) {
        let table = self.options.operations.clone();
        let keys_or_none = keys.iter().map(|&key| Some(key)).chain(keys.is_empty().then_some(None));
        for key in keys_or_none {
            let place = key.map(|key| Place { account: key.account(), region: key.region() }).or(place);
            let Some(known) = place.and_then(|place| self.place_mut(place)) else {
                // Nobody knows whose it is.
                if let Some(source) = self.sources.get_mut(source) {
                    source.add_hole(at, at.plus(1), "a call of an operation that is not known succeeded");
                }
                self.changed_sources.insert(source.into());
                continue;
            };
            known.unknown.note(key, operation, at);
            if let Some(key) = key {
                let calls = known.unknown.holes(&table).filter(|(of, _)| *of == Some(key));
                let calls: Vec<Gap> = calls.map(|(_, gap)| gap).collect();
                self.holes.set_calls(key, calls);
            }
        }
    }

    /// KMS said when a key was last used; `ours` is the last use that had arrived. True if a use was missed: it lies in
    /// what was claimed, and should have arrived long before KMS was asked. One that may have arrived and was not
    /// understood (`is_unread`, as [`Coverage::may_be_unread`] said when the answer was journaled) is not missed.
    pub fn note_kms_use(&mut self, answer: &KeyAnswer, ours: Option<EventTime>, is_unread: bool) -> bool {
        let KeySaid::LastUsage(usage) = &answer.said else { return false };
        let Some(used) = &usage.last else { return false };
        let delay = self.options.delivery_delay_seconds;
        let is_later = ours.is_none_or(|ours| used.at.seconds_since(ours) > delay);
        // GetPublicKey is never in it: KMS does not track it.
        if is_unread || !is_later || answer.asked_at.seconds_since(used.at) < delay {
            return false;
        }
        let key = answer.key;
        let place = Place { account: key.account(), region: key.region() };
        let claimed = self.claimed(place, answer.asked_at);
        let holds = |span: &&Span| span.from <= used.at && used.at < span.until;
        let seen = claimed.seen.get(&used.operation).map_or(&[][..], Vec::as_slice);
        let claims = Claimed {
            stream: seen.iter().find(holds).copied(),
            digests: claimed.digests.iter().find(holds).copied(),
            declared: self
                .declared(place, answer.asked_at, &self.options.declared)
                .iter()
                .find(holds)
                .copied(),
        };
        if claims == Claimed::default() {
            return false;
        }
        let missed = MissedUse {
            key,
            at: used.at,
            ours,
            operation: used.operation.clone(),
            event_id: used.event_id.clone(),
            found: answer.asked_at,
        };
        let Some(known) = self.place_mut(place) else { return false };
        known.missed.note(missed, claims);
        true
    }

    /// Whether the use that KMS speaks of may be among what arrived and was not understood. The quarantine is not
    /// journaled: whoever journals the answer journals this with it.
    pub fn may_be_unread(&self, answer: &KeyAnswer) -> bool {
        let KeySaid::LastUsage(LastUsage { last: Some(used), .. }) = &answer.said else { return false };
        let place = Place { account: answer.key.account(), region: answer.key.region() };
        let of_place = self.holes_of_place(place);
        let mut holes = self.holes_of_key(answer.key).iter().chain(&of_place);
        holes.any(|hole| hole.from <= used.at && used.at < hole.until)
    }

    /// Takes what the quarantine holds, instead of what it held before.
    pub fn set_unread(&mut self, unread: impl IntoIterator<Item = Unread>) {
        self.holes = Holes::default();
        for unread in unread {
            self.holes.note(&unread);
        }
        let table = &self.options.operations;
        for known in self.places.values().filter(|known| !known.unknown.is_empty()) {
            self.holes.add_calls(known.unknown.holes(table));
        }
    }

    /// Where something that may have been a use of this very key was not understood.
    pub fn holes_of_key(&self, key: KeyArn) -> &[Gap] {
        self.holes.of_key(key)
    }

    /// Those of them where an operation was called that nobody knows.
    pub(crate) fn calls_of_key(&self, key: KeyArn) -> &[Gap] {
        self.holes.calls_of(key)
    }

    /// Those of a place, whatever the key.
    pub(crate) fn holes_of_place(&self, place: Place) -> Vec<Gap> {
        let mut holes: Vec<Gap> = self.holes.of_place(place).cloned().collect();
        holes.extend(self.calls_of_place(place));
        holes
    }

    /// Those of them where an operation was called that nobody knows.
    pub(crate) fn calls_of_place(&self, place: Place) -> Vec<Gap> {
        let Some(known) = self.places.get(&place) else { return Vec::new() };
        let calls = known.unknown.holes(&self.options.operations);
        calls.filter(|(key, _)| key.is_none()).map(|(_, gap)| gap).collect()
    }

    /// What is configured.
    pub fn options(&self) -> &CoverageOptions {
        &self.options
    }

    /// The same with other options. Operations whose calls do not count any more have to be seen again when they do.
    #[must_use]
    pub fn with_options(mut self, options: CoverageOptions) -> Self {
        let counts = |name: &str| options.operations.meaning(name) == Some(Meaning::InUse);
        for (name, source) in &mut self.sources {
            let before = source.operations.len();
            source.operations.retain(|name, _| counts(name));
            if source.operations.len() < before {
                self.changed_sources.insert(name.clone());
            }
        }
        for (&place, known) in &mut self.places {
            if known.filter.as_mut().is_some_and(|filter| filter.keep(counts)) {
                self.changed_places.insert(place);
            }
        }
        self.options = options;
        self
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

    /// What is known of a source.
    pub fn source(&self, name: &str) -> Option<&SourceCoverage> {
        self.sources.get(name)
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
