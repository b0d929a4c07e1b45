//! What changed since the key tables were last written.
//!
//! The tables are folded from the journal in the background. A delta gathers, for the epochs since the last fold, what
//! the tables need and memory does not keep: the texts of the latest use and attempt, counts by day, and who used the
//! key how. With Zipf-like traffic thousands of observations become a few rows.

use std::collections::{BTreeMap, HashMap, HashSet};

use dormouse_model::{AccountId, Change, EventId, EventTime, KeyArn, Kind, Observation, Place};
use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use crate::aliases::AliasName;
use crate::cells::KeyShift;
use crate::evidence::{Evidence, keep_later};
use crate::key_state::Counting;
use crate::shift::DayCounts;
use crate::{Remembered, Tally};

/// Everything that changed.
#[derive(Debug, Default)]
pub struct Delta {
    /// The keys that were observed.
    pub keys: HashMap<KeyArn, DeltaKey, RandomState>,
    /// The aliases that were written.
    pub aliases: HashSet<AliasName, RandomState>,
    /// The ids that were entered into the window.
    pub ids: Vec<Remembered>,
    /// Accounts whose records arrived for the first time.
    pub received: Vec<AccountId>,
    /// What became of the records.
    pub tally: Tally,
}

/// What changed about one key.
#[derive(Debug, Default)]
pub struct DeltaKey {
    /// The latest use of the span; the key's last use only if no earlier span had a later one.
    pub last_use: Option<Evidence>,
    /// Likewise for attempts.
    pub last_attempt: Option<Evidence>,
    /// Counts by day and user.
    pub activity: Activity,
    /// The changes, in the order in which they arrived.
    pub changes: Vec<ChangeLine>,
}

/// Counts of one key by day and by user.
#[derive(Debug, Default)]
pub struct Activity {
    /// By day since 1970 and by where it was logged: how much was counted. History may have taken some away.
    pub days: BTreeMap<(u32, Place), DayCounts>,
    /// Who used the key how, by a digest of the three texts.
    pub users: HashMap<u128, User, RandomState>,
    /// Observations by users for which there was no room.
    pub users_overflow: u64,
}

/// Somebody who used, or tried to use, the key with one operation through one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The stable principal; empty if unknown.
    pub principal: Box<str>,
    /// The operation.
    pub operation: Box<str>,
    /// The service that called on the principal's behalf; empty if none.
    pub service: Box<str>,
    /// Seen in second copies, logged in the caller's account: they know the caller that the owner's copy often lacks.
    pub foreign: bool,
    /// When and how often.
    pub stats: UserStats,
}

/// When and how often somebody used a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserStats {
    /// The first time.
    pub first: EventTime,
    /// The last time.
    pub last: EventTime,
    /// Uses.
    pub uses: u64,
    /// Attempts.
    pub attempts: u64,
}

impl UserStats {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            first: self.first.min(other.first),
            last: self.last.max(other.last),
            uses: self.uses + other.uses,
            attempts: self.attempts + other.attempts,
        }
    }
}

/// One change of a key, for its history.
#[derive(Clone, Debug)]
pub struct ChangeLine {
    /// When.
    pub at: EventTime,
    /// Which event.
    pub event_id: EventId,
    /// The operation or service event.
    pub operation: Box<str>,
    /// What changed.
    pub change: Option<Change>,
    /// Who did it, if the record says.
    pub principal: Option<Box<str>>,
}

/// How many users of one key one delta takes.
const MOST_USERS: usize = 256;
/// How many changes of one key one delta takes: KMS allows fewer than this in any span between two folds.
const MOST_CHANGES: usize = 1_024;

impl Delta {
    /// Takes an observation.
    pub fn apply(&mut self, observation: &Observation<'_>, counting: Counting) {
        let key = self.keys.entry(observation.key).or_default();
        match observation.kind {
            Kind::Use => keep_later(&mut key.last_use, observation),
            Kind::Attempt => keep_later(&mut key.last_attempt, observation),
            Kind::Change => key.note_change(observation, counting),
        }
        key.activity.apply(observation, counting);
    }

    /// Notes that the row of a key has to be written.
    pub fn touch(&mut self, key: KeyArn) {
        self.keys.entry(key).or_default();
    }

    /// Takes what history changed about the counts of a key on one day.
    pub fn shift(&mut self, day: u32, place: Place, shift: &KeyShift) {
        let activity = &mut self.keys.entry(shift.key).or_default().activity;
        let known = activity.days.entry((day, place)).or_default();
        *known = known.plus(shift.by);
        activity.users_overflow += shift.users_overflow;
        for user in &shift.users {
            activity.add_user(user);
        }
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
            && self.aliases.is_empty()
            && self.ids.is_empty()
            && self.received.is_empty()
            && self.tally == Tally::default()
    }
}

impl DeltaKey {
    fn note_change(&mut self, observation: &Observation<'_>, counting: Counting) {
        if counting == Counting::Duplicate || self.changes.len() >= MOST_CHANGES {
            return;
        }
        self.changes.push(ChangeLine {
            at: observation.time,
            event_id: EventId::from(observation.event_id),
            operation: observation.operation.into(),
            change: observation.change,
            principal: observation.principal.map(Box::from),
        });
    }
}

impl Activity {
    fn apply(&mut self, observation: &Observation<'_>, counting: Counting) {
        let counts = counting == Counting::Counted;
        if counts {
            let day = self.days.entry((observation.time.day(), observation.place())).or_default();
            day.side(observation.is_foreign_copy()).add_one(observation.kind, observation.wanted);
        }
        if observation.kind != Kind::Change && counting != Counting::Duplicate {
            self.note_user(observation, u64::from(counts));
        }
    }

    fn add_user(&mut self, user: &User) {
        let User { principal, operation, service, foreign, stats } = user;
        let digest = user_digest(principal, operation, service, *foreign);
        if let Some(known) = self.users.get_mut(&digest) {
            known.stats = known.stats.plus(*stats);
        } else if self.users.len() >= MOST_USERS {
            self.users_overflow += stats.uses + stats.attempts;
        } else {
            self.users.insert(digest, user.clone());
        }
    }

    /// Notes who used, or tried to use, the key; `one` is 1 if the observation counts, else 0.
    pub fn note_user(&mut self, observation: &Observation<'_>, one: u64) {
        let principal = observation.principal.unwrap_or("");
        let service = observation.invoked_by.unwrap_or("");
        let foreign = observation.is_foreign_copy();
        let digest = user_digest(principal, observation.operation, service, foreign);
        if self.users.len() >= MOST_USERS && !self.users.contains_key(&digest) {
            self.users_overflow += 1;
            return;
        }
        let time = observation.time;
        let user = self.users.entry(digest).or_insert_with(|| User {
            principal: principal.into(),
            operation: observation.operation.into(),
            service: service.into(),
            foreign,
            stats: UserStats { first: time, last: time, uses: 0, attempts: 0 },
        });
        user.stats.first = user.stats.first.min(time);
        user.stats.last = user.stats.last.max(time);
        match observation.kind {
            Kind::Use => user.stats.uses += one,
            Kind::Attempt => user.stats.attempts += one,
            Kind::Change => {}
        }
    }
}

/// A digest of the three texts; a zero byte, which none of them holds, keeps them apart.
fn user_digest(principal: &str, operation: &str, service: &str, foreign: bool) -> u128 {
    let mut text = Vec::with_capacity(principal.len() + operation.len() + service.len() + 3);
    text.push(u8::from(foreign));
    text.extend_from_slice(principal.as_bytes());
    text.push(0);
    text.extend_from_slice(operation.as_bytes());
    text.push(0);
    text.extend_from_slice(service.as_bytes());
    xxh3_128(&text)
}
