//! Which key an alias points to.
//!
//! An alias moves from key to key, so it is one register for the account and Region, not one a key. Where it pointed
//! before is kept for a while, because records that name only an alias arrive late and in any order.
//!
//! Its moves arrive late, too, or never: that the latest write we heard of is earlier than an event does not make it the
//! last one before it. Only KMS's own list of aliases says since when each has pointed where it points, so a write is
//! believed up to the last list that was asked for after it was known and while it was the latest. What no list speaks of
//! stays unknown.

use dashmap::DashMap;
use dormouse_model::{AccountId, Effect, EventId, EventTime, KeyArn, Observation, Place, Region};
use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

use crate::{Register, Registers};

/// An alias by where it lives and its name (`alias/…`).
pub type AliasName = (AccountId, Region, Box<str>);

/// What was written to an alias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasWrites {
    /// Last.
    #[serde(flatten)]
    latest: Register<Option<KeyArn>>,
    /// When all aliases of the place had last been listed when the latest write became known: that list does not speak of
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    listed_before: Option<EventTime>,
    /// Before that, one a second, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    earlier: Vec<EarlierWrite>,
}

/// A write that another came after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct EarlierWrite {
    #[serde(flatten)]
    write: Register<Option<KeyArn>>,
    /// When KMS was last asked and it still was the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<EventTime>,
}

/// So many earlier writes of an alias are kept.
const MOST_EARLIER: usize = 16;

impl AliasWrites {
    /// Written once; `listed` is when all aliases of the place were last listed, if they ever were.
    fn new(write: Register<Option<KeyArn>>, listed: Option<EventTime>) -> Self {
        Self { latest: write, listed_before: listed, earlier: Vec::new() }
    }

    /// Where the alias points now.
    pub fn latest(&self) -> &Register<Option<KeyArn>> {
        &self.latest
    }

    /// Takes another write of the same alias.
    fn take(&mut self, write: Register<Option<KeyArn>>, listed: Option<EventTime>) {
        if write.at() == self.latest.at() {
            let before = self.latest.clone();
            self.latest.merge(write);
            if self.latest != before {
                self.listed_before = listed;
            }
            return;
        }
        let earlier = if write.at() > self.latest.at() {
            let until = self.confirmed(listed);
            self.listed_before = listed;
            EarlierWrite { write: std::mem::replace(&mut self.latest, write), until }
        } else {
            EarlierWrite { write, until: None }
        };
        match self.earlier.binary_search_by_key(&earlier.write.at(), |known| known.write.at()) {
            Ok(known) => self.earlier[known].write.merge(earlier.write),
            Err(at) => self.earlier.insert(at, earlier),
        }
        let excess = self.earlier.len().saturating_sub(MOST_EARLIER);
        self.earlier.drain(..excess);
    }

    /// Up to when a list says that the latest write is the latest.
    fn confirmed(&self, listed: Option<EventTime>) -> Option<EventTime> {
        listed.filter(|_| listed > self.listed_before)
    }

    /// Where the alias pointed at this time; none unless KMS was asked more than `margin` seconds later and knew of no
    /// move in between, or if it was written in that very second.
    fn at(&self, time: EventTime, listed: Option<EventTime>, margin: u32) -> Option<KeyArn> {
        let earlier = self.earlier.iter().rev().map(|earlier| (&earlier.write, earlier.until));
        let mut writes = std::iter::once((&self.latest, self.confirmed(listed))).chain(earlier);
        let (write, until) = writes.find(|(write, _)| write.at() <= time)?;
        let is_sure =
            !write.conflict() && write.at() < time && until.is_some_and(|until| until > time.plus(margin));
        (*write.value()).filter(|_| is_sure)
    }
}

/// All aliases ever seen, with the key each points to now, if any.
#[derive(Default)]
pub struct Aliases {
    registers: DashMap<AliasName, AliasWrites, RandomState>,
    /// When all aliases of a place were last listed.
    listed: DashMap<Place, EventTime, RandomState>,
}

impl Aliases {
    /// Applies a change's alias effects and returns the names it wrote.
    pub fn apply(&self, observation: &Observation<'_>) -> Vec<AliasName> {
        let mut written = Vec::new();
        for effect in &observation.effects {
            let (name, key) = match *effect {
                Effect::AliasSet(name) => (name, Some(observation.key)),
                Effect::AliasDeleted(name) => (name, None),
                _ => continue,
            };
            let name: AliasName = (observation.key.account(), observation.key.region(), name.into());
            let event_id = EventId::from(observation.event_id);
            self.merge(name.clone(), Register::new(observation.time, event_id, key));
            written.push(name);
        }
        written
    }

    /// Takes a write.
    pub fn merge(&self, name: AliasName, write: Register<Option<KeyArn>>) {
        let listed = self.listed_at(Place { account: name.0, region: name.1 });
        match self.registers.entry(name) {
            dashmap::Entry::Occupied(mut known) => known.get_mut().take(write, listed),
            dashmap::Entry::Vacant(place) => {
                place.insert(AliasWrites::new(write, listed));
            }
        }
    }

    /// Takes what was stored.
    pub fn restore(&self, name: AliasName, writes: AliasWrites) {
        self.registers.insert(name, writes);
    }

    /// All aliases of a place were listed: KMS was asked at this time, and what it said that was not known is taken.
    pub fn note_listed(&self, place: Place, asked_at: EventTime) {
        let mut listed = self.listed.entry(place).or_insert(asked_at);
        *listed = asked_at.max(*listed);
    }

    fn listed_at(&self, place: Place) -> Option<EventTime> {
        self.listed.get(&place).map(|at| *at)
    }

    /// What was written to an alias.
    pub fn writes(&self, name: &AliasName) -> Option<AliasWrites> {
        self.registers.get(name).map(|writes| writes.clone())
    }

    /// The key that an alias pointed to at this time, if KMS confirmed it by a list that was asked for more than `margin`
    /// seconds later.
    pub fn at(&self, name: &AliasName, time: EventTime, margin: u32) -> Option<KeyArn> {
        // First the time, then the writes: a list becomes known only after what it said.
        let listed = self.listed_at(Place { account: name.0, region: name.1 });
        self.registers.get(name)?.at(time, listed, margin)
    }

    /// The aliases that point at `key` now, sorted; `None` if no event ever spoke of an alias of it.
    pub fn of_key(&self, key: KeyArn, registers: &Registers) -> Option<Vec<String>> {
        let mut candidates = registers.alias_candidates().peekable();
        candidates.peek()?;
        let points_here = |name: &&str| {
            let name: AliasName = (key.account(), key.region(), (*name).into());
            self.registers.get(&name).is_some_and(|writes| *writes.latest().value() == Some(key))
        };
        Some(candidates.filter(points_here).map(str::to_owned).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(number: u32) -> KeyArn {
        format!("arn:aws:kms:eu-west-1:111122223333:key/{number:08x}-12ab-34cd-56ef-1234567890ab")
            .parse()
            .unwrap()
    }

    fn at(seconds: u32) -> EventTime {
        EventTime::from_seconds(seconds)
    }

    fn write(seconds: u32, to: Option<u32>) -> Register<Option<KeyArn>> {
        Register::new(at(seconds), EventId::from(format!("event-{seconds}-{to:?}").as_str()), to.map(key))
    }

    /// Listed for the last time at this second, if ever.
    fn listed(seconds: u32) -> Option<EventTime> {
        (seconds > 0).then(|| at(seconds))
    }

    fn written(writes: &[(u32, Option<u32>)]) -> AliasWrites {
        let mut writes = writes.iter().map(|&(seconds, to)| write(seconds, to));
        let mut alias = AliasWrites::new(writes.next().unwrap(), None);
        writes.for_each(|write| alias.take(write, None));
        alias
    }

    #[test]
    fn an_alias_is_the_key_to_which_it_pointed_then_up_to_the_last_list() {
        let mut alias = AliasWrites::new(write(10, Some(1)), None);
        assert_eq!(alias.at(at(15), None, 0), None, "nobody asked");
        let pointed = |alias: &AliasWrites, list: u32| {
            let times = (0..60).filter_map(|time| Some((time, alias.at(at(time), listed(list), 2)?)));
            let mut spans: Vec<(u32, u32, KeyArn)> = Vec::new();
            for (time, key) in times {
                match spans.last_mut() {
                    Some((_, until, known)) if *known == key && *until + 1 == time => *until = time,
                    _ => spans.push((time, time, key)),
                }
            }
            spans
        };
        assert_eq!(pointed(&alias, 20), [(11, 17, key(1))]);
        // It moves; what lies between the list and the move may hide other moves.
        alias.take(write(30, Some(2)), listed(20));
        assert_eq!(pointed(&alias, 20), [(11, 17, key(1))]);
        assert_eq!(pointed(&alias, 40), [(11, 17, key(1)), (31, 37, key(2))]);
        // Two moves that were never heard of: away and back again.
        alias.take(write(45, Some(2)), listed(40));
        assert_eq!(pointed(&alias, 50), [(11, 17, key(1)), (31, 37, key(2)), (46, 47, key(2))]);
        alias.take(write(50, None), listed(50));
        assert_eq!(pointed(&alias, 59).last(), Some(&(46, 47, key(2))));
        assert_eq!(*alias.latest().value(), None);
    }

    #[test]
    fn a_move_that_arrives_late_is_no_later_than_it_was() {
        let mut alias = AliasWrites::new(write(10, Some(1)), None);
        alias.take(write(20, Some(2)), None);
        assert_eq!(alias.at(at(15), listed(40), 0), None, "no list was asked for in between");
        assert_eq!(alias.at(at(25), listed(40), 0), Some(key(2)));
        // What a list was made before does not get known by it.
        alias.take(write(30, Some(3)), listed(40));
        assert_eq!(alias.at(at(35), listed(40), 0), None);
        assert_eq!(alias.at(at(35), listed(50), 0), Some(key(3)));
    }

    #[test]
    fn what_was_written_twice_within_a_second_is_not_known() {
        let alias = written(&[(10, Some(1)), (20, Some(2)), (20, Some(3))]);
        assert_eq!(alias.at(at(25), listed(50), 0), None);
        assert_eq!(written(&[(10, Some(1))]).at(at(10), listed(50), 0), None);
    }

    #[test]
    fn what_older_builds_stored_is_read() {
        let old = serde_json::to_string(&write(10, Some(1))).unwrap();
        assert_eq!(serde_json::from_str::<AliasWrites>(&old).unwrap(), written(&[(10, Some(1))]));
    }

    proptest! {
        #[test]
        fn the_order_of_writes_does_not_matter_and_few_are_kept(
            writes in proptest::collection::vec((0..60u32, proptest::option::of(0..3u32)), 1..60),
            swaps in proptest::collection::vec((0..60usize, 0..60usize), 0..60),
        ) {
            let mut shuffled = writes.clone();
            for (one, other) in swaps {
                shuffled.swap(one % writes.len(), other % writes.len());
            }
            let alias = written(&writes);
            prop_assert_eq!(&written(&shuffled), &alias);
            prop_assert!(alias.earlier.len() <= MOST_EARLIER);
            let stored = serde_json::to_string(&alias).unwrap();
            prop_assert_eq!(serde_json::from_str::<AliasWrites>(&stored).unwrap(), alias);
        }
    }
}
