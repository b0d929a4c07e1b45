//! Which key an alias points to.
//!
//! An alias moves from key to key, so it is one register for the account and Region, not one a key. Where it pointed
//! before is kept for a while, because records that name only an alias arrive late and in any order.

use dashmap::DashMap;
use dormouse_model::{AccountId, Effect, EventId, EventTime, KeyArn, Observation, Region};
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
    /// Before that, one a second, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    earlier: Vec<Register<Option<KeyArn>>>,
}

/// So many earlier writes of an alias are kept.
const MOST_EARLIER: usize = 16;

impl AliasWrites {
    /// Written once.
    pub fn new(write: Register<Option<KeyArn>>) -> Self {
        Self { latest: write, earlier: Vec::new() }
    }

    /// Where the alias points now.
    pub fn latest(&self) -> &Register<Option<KeyArn>> {
        &self.latest
    }

    /// Takes other writes of the same alias.
    pub fn merge(&mut self, other: Self) {
        for write in other.earlier.into_iter().chain([other.latest]) {
            self.take(write);
        }
    }

    fn take(&mut self, write: Register<Option<KeyArn>>) {
        if write.at() == self.latest.at() {
            return self.latest.merge(write);
        }
        let earlier =
            if write.at() > self.latest.at() { std::mem::replace(&mut self.latest, write) } else { write };
        match self.earlier.binary_search_by_key(&earlier.at(), Register::at) {
            Ok(known) => self.earlier[known].merge(earlier),
            Err(at) => self.earlier.insert(at, earlier),
        }
        let excess = self.earlier.len().saturating_sub(MOST_EARLIER);
        self.earlier.drain(..excess);
    }

    /// Where the alias pointed at this time; none if that is not known, or if it was written in that very second.
    pub fn at(&self, time: EventTime) -> Option<KeyArn> {
        let mut before =
            self.earlier.iter().chain([&self.latest]).rev().skip_while(|write| write.at() > time);
        let write = before.next().filter(|write| !write.conflict())?;
        let key = (*write.value())?;
        let is_sure = write.at() < time
            || before.next().is_some_and(|earlier| !earlier.conflict() && *earlier.value() == Some(key));
        is_sure.then_some(key)
    }
}

/// All aliases ever seen, with the key each points to now, if any.
#[derive(Default)]
pub struct Aliases {
    registers: DashMap<AliasName, AliasWrites, RandomState>,
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
        self.restore(name, AliasWrites::new(write));
    }

    /// Takes what was stored.
    pub fn restore(&self, name: AliasName, writes: AliasWrites) {
        match self.registers.entry(name) {
            dashmap::Entry::Occupied(mut known) => known.get_mut().merge(writes),
            dashmap::Entry::Vacant(place) => {
                place.insert(writes);
            }
        }
    }

    /// What was written to an alias.
    pub fn writes(&self, name: &AliasName) -> Option<AliasWrites> {
        self.registers.get(name).map(|writes| writes.clone())
    }

    /// The key that an alias pointed to at this time, if that is known.
    pub fn at(&self, name: &AliasName, time: EventTime) -> Option<KeyArn> {
        self.registers.get(name)?.at(time)
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

    fn written(writes: &[(u32, Option<u32>)]) -> AliasWrites {
        let mut writes = writes.iter().map(|&(seconds, to)| AliasWrites::new(write(seconds, to)));
        let first = writes.next().unwrap();
        writes.fold(first, |mut known, more| {
            known.merge(more);
            known
        })
    }

    #[test]
    fn an_alias_is_the_key_to_which_it_pointed_at_that_time() {
        let alias = written(&[(30, None), (10, Some(1)), (20, Some(2)), (40, Some(2)), (50, Some(2))]);
        for (seconds, expected) in [
            (9, None),
            (10, None),
            (11, Some(1)),
            (19, Some(1)),
            (20, None),
            (25, Some(2)),
            (30, None),
            (35, None),
            (40, None),
            (41, Some(2)),
            (50, Some(2)),
            (99, Some(2)),
        ] {
            assert_eq!(alias.at(at(seconds)), expected.map(key), "{seconds}");
        }
        assert_eq!(*alias.latest().value(), Some(key(2)));
    }

    #[test]
    fn what_was_written_twice_within_a_second_is_not_known() {
        let alias = written(&[(10, Some(1)), (20, Some(2)), (20, Some(3))]);
        assert_eq!((alias.at(at(15)), alias.at(at(25))), (Some(key(1)), None));
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
