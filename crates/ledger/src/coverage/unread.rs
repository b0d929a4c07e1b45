//! What was not understood, and may have been a use: a hole in every claim until it is resolved.
//!
//! It is a hole of the key that it names, else of its account and Region, else of what is known of these, else
//! everywhere. Where its time is known the hole is that second, else everything up to when it was received, and a while
//! longer: our clock may have been behind.

use std::collections::HashMap;

use dormouse_model::{AccountId, EventTime, KeyArn, Meaning, OperationTable, Place, Region};
use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

use super::spans::{Gap, Span, add_gap};

/// Messages that are kept because they were not understood, and that belong to the same key, or place, and hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// The account, if one can be read.
    pub account: Option<AccountId>,
    /// The Region, if one can be read.
    pub region: Option<Region>,
    /// The key, if one can be read and it is the only one.
    pub key: Option<KeyArn>,
    /// The times of the first and the last event; none if one of them cannot be read.
    pub events: Option<(EventTime, EventTime)>,
    /// When the last of them was received.
    pub received: EventTime,
    /// The stable code of the reason.
    pub reason: Box<str>,
}

impl Unread {
    fn gap(&self) -> Gap {
        let what = format!("a message that was not understood ({}) is in the quarantine", self.reason);
        let (from, until) = match self.events {
            Some((first, last)) => (first, last.plus(1)),
            None => (EventTime::default(), self.received.plus(CLOCK_BEHIND_SECONDS)),
        };
        Gap { from, until, reason: what.into() }
    }
}

/// By how much our clock may be behind when something is received of which nobody knows when it happened.
const CLOCK_BEHIND_SECONDS: u32 = 6 * 3_600;
const MOST_HOLES: usize = 100;
/// So many keys have holes of their own; what is beyond them is a hole of their place.
const MOST_KEYS: usize = 10_000;

/// The holes of all that was not understood. Not stored: it follows from what is kept.
#[derive(Clone, Debug, Default)]
pub(super) struct Holes {
    everywhere: Vec<Gap>,
    accounts: HashMap<AccountId, Vec<Gap>, RandomState>,
    regions: HashMap<Region, Vec<Gap>, RandomState>,
    places: HashMap<Place, Vec<Gap>, RandomState>,
    /// Those of the quarantine alone …
    unread_keys: HashMap<KeyArn, Vec<Gap>, RandomState>,
    /// … those of calls of operations that nobody knows …
    calls: HashMap<KeyArn, Vec<Gap>, RandomState>,
    /// … and both.
    keys: HashMap<KeyArn, Vec<Gap>, RandomState>,
}

impl Holes {
    pub(super) fn note(&mut self, unread: &Unread) {
        let has_room =
            |key: &KeyArn| self.unread_keys.len() < MOST_KEYS || self.unread_keys.contains_key(key);
        if let Some(key) = unread.key.filter(has_room) {
            add_gap(self.unread_keys.entry(key).or_default(), unread.gap(), MOST_HOLES);
            add_gap(self.keys.entry(key).or_default(), unread.gap(), MOST_HOLES);
            return;
        }
        let place = unread.key.map(|key| (Some(key.account()), Some(key.region())));
        let holes = match place.unwrap_or((unread.account, unread.region)) {
            (Some(account), Some(region)) => self.places.entry(Place { account, region }).or_default(),
            (Some(account), None) => self.accounts.entry(account).or_default(),
            (None, Some(region)) => self.regions.entry(region).or_default(),
            (None, None) => &mut self.everywhere,
        };
        add_gap(holes, unread.gap(), MOST_HOLES);
    }

    /// Adds calls of operations that nobody knows; those that name no key are of a whole place, and are known there.
    pub(super) fn add_calls(&mut self, calls: impl Iterator<Item = (Option<KeyArn>, Gap)>) {
        for (key, gap) in calls {
            if let Some(key) = key {
                add_gap(self.calls.entry(key).or_default(), gap.clone(), MOST_HOLES);
                add_gap(self.keys.entry(key).or_default(), gap, MOST_HOLES);
            }
        }
    }

    /// These are all such calls that name this key.
    pub(super) fn set_calls(&mut self, key: KeyArn, calls: Vec<Gap>) {
        let mut holes = self.unread_keys.get(&key).cloned().unwrap_or_default();
        for gap in &calls {
            add_gap(&mut holes, gap.clone(), MOST_HOLES);
        }
        self.keys.insert(key, holes);
        self.calls.insert(key, calls);
    }

    /// Those of calls of operations that nobody knows.
    pub(super) fn calls_of(&self, key: KeyArn) -> &[Gap] {
        self.calls.get(&key).map_or(&[], Vec::as_slice)
    }

    pub(super) fn of_key(&self, key: KeyArn) -> &[Gap] {
        self.keys.get(&key).map_or(&[], Vec::as_slice)
    }

    /// Those of a place, whatever the key.
    pub(super) fn of_place(&self, place: Place) -> impl Iterator<Item = &Gap> {
        let (account, region) = (self.accounts.get(&place.account), self.regions.get(&place.region));
        let known = [Some(&self.everywhere), account, region, self.places.get(&place)];
        known.into_iter().flatten().flatten()
    }
}

/// Successful calls of operations that the table does not name, and that may have used a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnknownCalls(Vec<UnknownCall>);

/// Calls of one operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct UnknownCall {
    /// The key, if the calls name one.
    key: Option<KeyArn>,
    operation: Box<str>,
    /// When.
    spans: Vec<Span>,
}

const MOST_UNKNOWN: usize = 256;
const MOST_SPANS: usize = 16;
const OVERFLOW: &str = "";

impl UnknownCalls {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn note(&mut self, key: Option<KeyArn>, operation: &str, at: EventTime) {
        let is_known = |call: &UnknownCall| call.key == key && *call.operation == *operation;
        let index = self.0.iter().position(is_known);
        let index = index.unwrap_or_else(|| {
            // What there is no room for is a hole of the whole place, whatever is configured later.
            let (key, operation) =
                if self.0.len() >= MOST_UNKNOWN { (None, OVERFLOW) } else { (key, operation) };
            let known = self.0.iter().position(|call| call.key == key && *call.operation == *operation);
            known.unwrap_or_else(|| {
                self.0.push(UnknownCall { key, operation: operation.into(), spans: Vec::new() });
                self.0.len() - 1
            })
        });
        if let Some(call) = self.0.get_mut(index) {
            call.note(at);
        }
    }

    /// The holes, each with the key that it is of, but for operations of which the table says that they use no key. One
    /// that it calls a use by now was not taken for one then.
    pub(super) fn holes(&self, table: &OperationTable) -> impl Iterator<Item = (Option<KeyArn>, Gap)> {
        let held = self
            .0
            .iter()
            .filter(|call| matches!(table.meaning(&call.operation), None | Some(Meaning::InUse)));
        held.flat_map(|call| {
            let reason = match &*call.operation {
                OVERFLOW => "calls of more operations that are not known succeeded than are kept".to_owned(),
                name => format!("{name}, which the operations table did not name, succeeded"),
            };
            let gap =
                move |span: &Span| Gap { from: span.from, until: span.until, reason: reason.as_str().into() };
            call.spans.iter().map(move |span| (call.key, gap(span)))
        })
    }
}

impl UnknownCall {
    /// Spans within an hour of each other are one; where there is no room the two oldest are.
    fn note(&mut self, at: EventTime) {
        let mut new = Span { from: at, until: at.plus(1) };
        self.spans.retain(|span| {
            let near = span.from <= new.until.plus(3_600) && new.from <= span.until.plus(3_600);
            if near {
                new = Span { from: new.from.min(span.from), until: new.until.max(span.until) };
            }
            !near
        });
        let index = self.spans.partition_point(|span| span.from < new.from);
        self.spans.insert(index, new);
        if self.spans.len() > MOST_SPANS {
            let oldest = self.spans.remove(0);
            if let Some(next) = self.spans.first_mut() {
                next.from = oldest.from;
            }
        }
    }
}
