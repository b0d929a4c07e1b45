//! Which key an alias points to.
//!
//! An alias moves from key to key, so it is one register for the account and Region, not one a key.

use dashmap::DashMap;
use dormouse_model::{AccountId, Effect, EventId, KeyArn, Observation, Region};
use foldhash::fast::RandomState;

use crate::{Register, Registers};

/// An alias by where it lives and its name (`alias/…`).
pub type AliasName = (AccountId, Region, Box<str>);

/// All aliases ever seen, with the key each points to now, if any.
#[derive(Default)]
pub struct Aliases {
    registers: DashMap<AliasName, Register<Option<KeyArn>>, RandomState>,
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

    /// Takes a write, or a stored register.
    pub fn merge(&self, name: AliasName, register: Register<Option<KeyArn>>) {
        match self.registers.entry(name) {
            dashmap::Entry::Occupied(mut known) => known.get_mut().merge(register),
            dashmap::Entry::Vacant(place) => {
                place.insert(register);
            }
        }
    }

    /// The register of an alias.
    pub fn register(&self, name: &AliasName) -> Option<Register<Option<KeyArn>>> {
        self.registers.get(name).map(|register| register.clone())
    }

    /// The aliases that point at `key` now, sorted; `None` if no event ever spoke of an alias of it.
    pub fn of_key(&self, key: KeyArn, registers: &Registers) -> Option<Vec<String>> {
        let mut candidates = registers.alias_candidates().peekable();
        candidates.peek()?;
        let points_here = |name: &&str| {
            let name: AliasName = (key.account(), key.region(), (*name).into());
            self.registers.get(&name).is_some_and(|register| *Register::value(&register) == Some(key))
        };
        Some(candidates.filter(points_here).map(str::to_owned).collect())
    }
}
