//! The key's lifecycle: last-writer registers.
//!
//! A key's state is not a maximum: it goes from enabled to disabled and back. Each register holds the value of its
//! latest writer by (event time, event id); a tombstone is a value, too; deleted is final. Two writers within one
//! second that say different things cannot be put in order by event ids in earnest: the register remembers the
//! conflict, and the key is due for a look at what KMS itself says.

use std::collections::{BTreeMap, BTreeSet};

use dormouse_model::{
    Described, Effect, EventId, EventTime, KeyAnswer, KeySaid, LifecycleState, Observation,
};
use serde::{Deserialize, Serialize};

use crate::facts::{self, Facts, Nature};

/// A value and who wrote it last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register<V> {
    at: EventTime,
    event_id: EventId,
    value: V,
    /// Another event of the same second wrote another value.
    conflict: bool,
}

impl<V: PartialEq> Register<V> {
    /// A register written once.
    pub fn new(at: EventTime, event_id: EventId, value: V) -> Self {
        Self { at, event_id, value, conflict: false }
    }

    /// The value of the latest writer.
    pub fn value(&self) -> &V {
        &self.value
    }

    /// Whether the latest second had writers that disagree.
    pub fn conflict(&self) -> bool {
        self.conflict
    }

    /// When the latest writer wrote.
    pub fn at(&self) -> EventTime {
        self.at
    }

    /// Takes another write of the same register, or the state of a copy of it.
    pub fn merge(&mut self, other: Self) {
        if other.at < self.at {
            return;
        }
        if other.at > self.at {
            *self = other;
            return;
        }
        let conflict = self.conflict || other.conflict || self.value != other.value;
        if other.event_id > self.event_id {
            *self = other;
        }
        self.conflict = conflict;
    }
}

/// Merges into a register that may not have been written yet.
fn merge_into<V: PartialEq>(slot: &mut Option<Register<V>>, other: Option<Register<V>>) {
    match (slot.as_mut(), other) {
        (Some(register), Some(other)) => register.merge(other),
        (None, Some(other)) => *slot = Some(other),
        (_, None) => {}
    }
}

/// All registers of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Registers {
    created: Option<EventTime>,
    rotated: Option<EventTime>,
    manager: Option<Register<Box<str>>>,
    state: Option<Register<LifecycleState>>,
    deletion_date: Option<Register<EventTime>>,
    description: Option<Register<Box<str>>>,
    automatic_rotation: Option<Register<bool>>,
    tags: BTreeMap<Box<str>, Register<Option<Box<str>>>>,
    /// Every alias that ever pointed here; which still do, [`crate::Aliases`] knows.
    alias_candidates: BTreeSet<Box<str>>,
    /// More tags or aliases were seen than are kept.
    overflow: bool,
    /// The time of the latest event that altered the key.
    changed: Option<EventTime>,
    /// When KMS last described a multi-Region key that was there: a replica that is made again has the old name.
    described: Option<EventTime>,
    /// What KMS said beyond that.
    facts: Option<Box<Facts>>,
}

/// AWS allows 50 tags and 50 aliases a key; tombstones count here as well.
const MOST_TAGS: usize = 256;
const MOST_ALIASES: usize = 256;

impl Registers {
    /// Applies what a change does. Alias effects only note the name here.
    pub fn apply(&mut self, observation: &Observation<'_>) {
        let at = observation.time;
        self.changed = self.changed.max(Some(at));
        for effect in &observation.effects {
            let event_id = EventId::from(observation.event_id);
            match *effect {
                Effect::Created => self.created = earliest(self.created, Some(at)),
                Effect::Rotated => self.rotated = self.rotated.max(Some(at)),
                Effect::Manager(manager) => {
                    merge_into(&mut self.manager, Some(Register::new(at, event_id, manager.into())));
                }
                Effect::State(state) => self.merge_state(Some(Register::new(at, event_id, state))),
                Effect::DeletionDate(date) => {
                    merge_into(&mut self.deletion_date, Some(Register::new(at, event_id, date)));
                }
                Effect::Description(text) => {
                    merge_into(&mut self.description, Some(Register::new(at, event_id, text.into())));
                }
                Effect::AutomaticRotation(on) => {
                    merge_into(&mut self.automatic_rotation, Some(Register::new(at, event_id, on)));
                }
                Effect::TagSet(key, value) => {
                    self.merge_tag(key.into(), Register::new(at, event_id, Some(value.into())));
                }
                Effect::TagRemoved(key) => self.merge_tag(key.into(), Register::new(at, event_id, None)),
                Effect::AliasSet(name) | Effect::AliasDeleted(name) => self.note_alias(name.into()),
            }
        }
    }

    /// Takes what KMS said of the key, at the time at which it was asked.
    pub fn answer(&mut self, answer: &KeyAnswer) {
        let at = answer.asked_at;
        match &answer.said {
            KeySaid::Described(described) => self.describe(at, &answer.request_id, described),
            KeySaid::Gone => {
                let gone = Register::new(at, answer.request_id.clone(), LifecycleState::Deleted);
                self.merge_state(Some(gone));
            }
            KeySaid::Tags(tags) => {
                self.take_tags(at, &answer.request_id, tags);
                let facts = self.facts_mut();
                facts.tags_at = facts.tags_at.max(Some(at));
                facts.note_success("ListResourceTags", at);
            }
            KeySaid::Grants(grants) => {
                let facts = self.facts_mut();
                facts::keep_later(&mut facts.grants, at, grants.clone());
                facts.note_success("ListGrants", at);
            }
            KeySaid::Rotation(rotation) => {
                let on = Register::new(at, answer.request_id.clone(), rotation.enabled);
                merge_into(&mut self.automatic_rotation, Some(on));
                let facts = self.facts_mut();
                facts::keep_later(&mut facts.rotation, at, *rotation);
                facts.note_success("GetKeyRotationStatus", at);
            }
            KeySaid::LastUsage(usage) => {
                self.created = earliest(self.created, Some(usage.created));
                let facts = self.facts_mut();
                facts::keep_later(&mut facts.usage, at, usage.clone());
                facts.note_success("GetKeyLastUsage", at);
            }
            KeySaid::Failed(failure) => self.facts_mut().note_failure(failure),
        }
    }

    fn describe(&mut self, at: EventTime, id: &EventId, described: &Described) {
        self.created = earliest(self.created, Some(described.created));
        merge_into(&mut self.manager, Some(Register::new(at, id.clone(), described.manager.clone())));
        if described.multi_region.is_some() {
            self.described = self.described.max(Some(at));
        }
        self.merge_state(Some(Register::new(at, id.clone(), described.state)));
        if let Some(date) = described.deletion_date {
            merge_into(&mut self.deletion_date, Some(Register::new(at, id.clone(), date)));
        }
        let description = Register::new(at, id.clone(), described.description.clone());
        merge_into(&mut self.description, Some(description));
        let facts = self.facts_mut();
        facts::keep_later(&mut facts.nature, at, Nature::of(described));
        facts.note_success("DescribeKey", at);
    }

    /// All tags at once: others are gone.
    fn take_tags(&mut self, at: EventTime, id: &EventId, tags: &[(Box<str>, Box<str>)]) {
        let is_listed = |name: &str| tags.iter().any(|(listed, _)| **listed == *name);
        for (name, register) in &mut self.tags {
            if !is_listed(name) {
                register.merge(Register::new(at, id.clone(), None));
            }
        }
        for (name, value) in tags {
            self.merge_tag(name.clone(), Register::new(at, id.clone(), Some(value.clone())));
        }
    }

    fn facts_mut(&mut self) -> &mut Facts {
        self.facts.get_or_insert_default()
    }

    /// Takes another copy of the same key's registers.
    pub fn merge(&mut self, other: Self) {
        self.created = earliest(self.created, other.created);
        self.rotated = self.rotated.max(other.rotated);
        self.described = self.described.max(other.described);
        merge_into(&mut self.manager, other.manager);
        self.merge_state(other.state);
        merge_into(&mut self.deletion_date, other.deletion_date);
        merge_into(&mut self.description, other.description);
        merge_into(&mut self.automatic_rotation, other.automatic_rotation);
        for (key, register) in other.tags {
            self.merge_tag(key, register);
        }
        for name in other.alias_candidates {
            self.note_alias(name);
        }
        self.overflow |= other.overflow;
        self.changed = self.changed.max(other.changed);
        if let Some(facts) = other.facts {
            self.facts_mut().merge(*facts);
        }
    }

    /// Deleted is final: it beats every other state, whenever either was written; but for a replica that KMS described
    /// later.
    fn merge_state(&mut self, other: Option<Register<LifecycleState>>) {
        let is_deleted = |register: &Option<Register<LifecycleState>>| {
            register.as_ref().is_some_and(|register| {
                register.value == LifecycleState::Deleted && self.described <= Some(register.at)
            })
        };
        match (is_deleted(&self.state), is_deleted(&other)) {
            (true, false) => {}
            (false, true) => {
                self.state = other.map(|deleted| Register { conflict: false, ..deleted });
            }
            _ => merge_into(&mut self.state, other),
        }
    }

    fn merge_tag(&mut self, key: Box<str>, register: Register<Option<Box<str>>>) {
        if let Some(known) = self.tags.get_mut(&key) {
            known.merge(register);
        } else if self.tags.len() < MOST_TAGS {
            self.tags.insert(key, register);
        } else {
            self.overflow = true;
        }
    }

    pub(crate) fn note_alias(&mut self, name: Box<str>) {
        if self.alias_candidates.len() < MOST_ALIASES || self.alias_candidates.contains(&name) {
            self.alias_candidates.insert(name);
        } else {
            self.overflow = true;
        }
    }

    /// When the key was created, if that was seen.
    pub fn created(&self) -> Option<EventTime> {
        self.created
    }

    /// When the key material was last rotated, if that was seen.
    pub fn rotated(&self) -> Option<EventTime> {
        self.rotated
    }

    /// `CUSTOMER` or `AWS`, if known.
    pub fn manager(&self) -> Option<&str> {
        self.manager.as_ref().map(|register| &**register.value())
    }

    /// The key's state, if any event told.
    pub fn state(&self) -> Option<LifecycleState> {
        self.state.as_ref().map(|register| *register.value())
    }

    /// When the key will be deleted, while it is pending deletion.
    pub fn deletion_date(&self) -> Option<EventTime> {
        let pending = self.state() == Some(LifecycleState::PendingDeletion);
        self.deletion_date.as_ref().filter(|_| pending).map(|register| *register.value())
    }

    /// The description, if any event told.
    pub fn description(&self) -> Option<&str> {
        self.description.as_ref().map(|register| &**register.value())
    }

    /// Whether automatic rotation is on, if any event told.
    pub fn automatic_rotation(&self) -> Option<bool> {
        self.automatic_rotation.as_ref().map(|register| *register.value())
    }

    /// The time of the latest event that altered the key; what KMS said does not count.
    pub fn changed(&self) -> Option<EventTime> {
        self.changed
    }

    /// What KMS said beyond what events tell.
    pub fn facts(&self) -> Option<&Facts> {
        self.facts.as_deref()
    }

    /// The tags set now; `None` if nobody ever spoke of tags.
    pub fn tags(&self) -> Option<BTreeMap<&str, &str>> {
        if self.tags.is_empty() && self.facts().is_none_or(|facts| facts.tags_at.is_none()) {
            return None;
        }
        let mut set = BTreeMap::new();
        for (key, register) in &self.tags {
            if let Some(value) = register.value() {
                set.insert(&**key, &**value);
            }
        }
        Some(set)
    }

    /// The value of a tag that is set now.
    pub fn tag(&self, name: &str) -> Option<&str> {
        self.tags.get(name)?.value().as_deref()
    }

    /// Every alias that ever pointed at the key.
    pub fn alias_candidates(&self) -> impl Iterator<Item = &str> {
        self.alias_candidates.iter().map(|name| &**name)
    }

    /// Whether events alone cannot tell what the key looks like, so that KMS should be asked.
    pub fn due_for_describe(&self) -> bool {
        let conflict = |register: Option<bool>| register.unwrap_or(false);
        self.overflow
            || conflict(self.state.as_ref().map(Register::conflict))
            || conflict(self.description.as_ref().map(Register::conflict))
            || conflict(self.automatic_rotation.as_ref().map(Register::conflict))
            || self.tags.values().any(Register::conflict)
    }
}

fn earliest(a: Option<EventTime>, b: Option<EventTime>) -> Option<EventTime> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}
