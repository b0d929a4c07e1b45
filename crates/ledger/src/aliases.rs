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
