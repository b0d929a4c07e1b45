//! All keys, read while they are written.
//!
//! A concurrent map from key to [`KeyState`]. It is a read view: what is committed is the journal, never a scan of this.
//! Anyone may read at any time; in a running instance one task applies committed epochs, in a replay all cores do.
//!
//! ARNs that somebody merely tried are attacker-chosen: they share the map, so that their attempts are there when the
//! key turns out to exist, but only up to a bound, and no surface shows them as keys.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use dashmap::{DashMap, DashSet};
use dormouse_model::{
    AccountId, AliasSaid, EventId, EventTime, KeyAnswer, KeyArn, KeySaid, Kind, Observation, Place,
};
use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

use crate::aliases::{AliasName, Aliases};
use crate::cells::KeyShift;
use crate::evidence::Trace;
use crate::key_state::{Counting, Counts, KeyState};
use crate::recency::{Order, Recency};
use crate::registers::Register;

/// How much of what an attacker can invent is kept.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How many ARNs that were only tried, and never seen to exist, are kept.
    pub tried_keys: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { tried_keys: 10_000 }
    }
}

/// How many records were read and what became of them. The last five kinds are disjoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Well-formed records of any service.
    pub read: u64,
    /// Records of KMS.
    pub kms: u64,
    /// Records whose observations an earlier record had made already.
    pub duplicates: u64,
    /// Records of KMS that could not be applied.
    pub quarantined: u64,
    /// What was no record.
    pub malformed: u64,
    /// Observations too old for the id window: evidence merged, not counted.
    pub late_uncounted: Counts,
}

impl Tally {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            read: self.read + other.read,
            kms: self.kms + other.kms,
            duplicates: self.duplicates + other.duplicates,
            quarantined: self.quarantined + other.quarantined,
            malformed: self.malformed + other.malformed,
            late_uncounted: self.late_uncounted.plus(other.late_uncounted),
        }
    }
}

/// What a write makes of a key that is not known yet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Makes {
    AKey,
    /// An ARN that somebody tried, if there is room for one more.
    ATriedKey,
    Nothing,
}

/// The state of all keys.
pub struct Ledger<T> {
    keys: DashMap<KeyArn, KeyState<T>, RandomState>,
    aliases: Aliases,
    received: DashSet<AccountId, RandomState>,
    bounds: Bounds,
    tried: AtomicUsize,
    last_row: AtomicU32,
    unattributed: AtomicU64,
    /// Which key is in which row; row 0 has none.
    rows: RwLock<Vec<KeyArn>>,
    recency: Recency,
    /// Keys that events made known or altered since somebody asked; bounded.
    altered: Mutex<HashSet<KeyArn, RandomState>>,
}

/// So many altered keys are noted; more are found by whoever looks through all.
const MOST_ALTERED: usize = 10_000;

impl<T: Trace> Ledger<T> {
    /// An empty ledger.
    pub fn new(bounds: Bounds) -> Self {
        Self::with_capacity(bounds, 0)
    }

    /// An empty ledger with room for so many keys, so that filling it moves nothing.
    pub fn with_capacity(bounds: Bounds, keys: usize) -> Self {
        Self {
            keys: DashMap::with_capacity_and_hasher(keys, RandomState::default()),
            aliases: Aliases::default(),
            received: DashSet::default(),
            bounds,
            tried: AtomicUsize::new(0),
            last_row: AtomicU32::new(0),
            unattributed: AtomicU64::new(0),
            rows: RwLock::new(Vec::with_capacity(keys)),
            recency: Recency::default(),
            altered: Mutex::default(),
        }
    }

    /// Takes an observation and returns the aliases it wrote.
    pub fn apply(&self, observation: &Observation<'_>, counting: Counting) -> Vec<AliasName> {
        let makes = if observation.kind == Kind::Attempt { Makes::ATriedKey } else { Makes::AKey };
        if !self.write(observation.key, makes, |state| state.apply(observation, counting)) {
            self.unattributed.fetch_add(u64::from(counting == Counting::Counted), Ordering::Relaxed);
            return Vec::new();
        }
        if observation.kind != Kind::Change {
            return Vec::new();
        }
        self.note_altered(observation.key);
        self.aliases.apply(observation)
    }

    fn note_altered(&self, key: KeyArn) {
        let mut altered = self.altered.lock().unwrap_or_else(PoisonError::into_inner);
        if altered.len() < MOST_ALTERED {
            altered.insert(key);
        }
    }

    /// The keys that changes altered, or that are new, since this was last asked; at most 10,000, the others are not
    /// told.
    pub fn take_altered(&self) -> Vec<KeyArn> {
        let mut altered = self.altered.lock().unwrap_or_else(PoisonError::into_inner);
        altered.drain().collect()
    }

    /// Takes what KMS said of a key. False if nothing of it concerns a key that is known.
    pub fn answer(&self, answer: &KeyAnswer) -> bool {
        let makes = match answer.said {
            KeySaid::Gone | KeySaid::Failed(_) => Makes::Nothing,
            _ => Makes::AKey,
        };
        self.write(answer.key, makes, |state| state.answer(answer))
    }

    /// Takes where KMS says that an alias points, and returns its name.
    pub fn answer_alias(&self, alias: &AliasSaid, id: EventId) -> AliasName {
        let AliasSaid { name, key, since } = alias;
        self.write(*key, Makes::AKey, |state| state.note_alias(name));
        let name: AliasName = (key.account(), key.region(), name.clone());
        self.aliases.merge(name.clone(), Register::new(*since, id, Some(*key)));
        name
    }

    /// Takes that KMS no longer lists an alias, and returns its name.
    pub fn answer_alias_gone(&self, place: Place, name: &str, at: EventTime, id: EventId) -> AliasName {
        let name: AliasName = (place.account, place.region, name.into());
        self.aliases.merge(name.clone(), Register::new(at, id, None));
        name
    }

    /// Writes the state of a key, which is made first if need be. False if it is not known and may not be made.
    fn write(&self, key: KeyArn, makes: Makes, change: impl FnOnce(&mut KeyState<T>)) -> bool {
        match self.keys.entry(key) {
            dashmap::Entry::Occupied(mut known) => {
                let state = known.get_mut();
                let (existed, before) = (state.exists(), (state.is_live(), state.last_used()));
                change(state);
                if state.exists() && !existed {
                    self.tried.fetch_sub(1, Ordering::Relaxed);
                }
                if (state.is_live(), state.last_used()) != before {
                    self.recency.note(state.row());
                }
            }
            dashmap::Entry::Vacant(place) => {
                match makes {
                    Makes::Nothing => return false,
                    Makes::ATriedKey if !self.has_room_for_a_tried_key() => return false,
                    Makes::ATriedKey | Makes::AKey => {}
                }
                let mut state = KeyState::in_row(self.next_row());
                change(&mut state);
                self.put_in_row(state.row(), key);
                let row = state.row();
                place.insert(state);
                self.recency.note(row);
                if makes == Makes::AKey {
                    self.note_altered(key);
                }
            }
        }
        true
    }

    /// Takes what history changed about the counts of a key on one day. Its evidence comes as observations before.
    pub fn shift(&self, shift: &KeyShift) {
        if let Some(mut state) = self.keys.get_mut(&shift.key) {
            state.shift(shift);
        } else {
            // Attempts on an ARN for which there was no room.
            let attempts = shift.by.own.attempts + shift.by.foreign.attempts;
            let add = |known: u64| Some(known.saturating_add_signed(attempts));
            let _ = self.unattributed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        }
    }

    fn has_room_for_a_tried_key(&self) -> bool {
        let take = |tried| (tried < self.bounds.tried_keys).then_some(tried + 1);
        self.tried.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    fn next_row(&self) -> u32 {
        self.last_row.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn put_in_row(&self, row: u32, key: KeyArn) {
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        let place = row as usize;
        if rows.len() <= place {
            // Rows between are filled when their keys come; nobody asks for them before.
            rows.resize(place + 1, key);
        }
        rows[place] = key;
    }

    /// Puts a stored key back.
    pub fn restore(&self, key: KeyArn, state: KeyState<T>) {
        self.last_row.fetch_max(state.row(), Ordering::Relaxed);
        self.put_in_row(state.row(), key);
        self.recency.note(state.row());
        if !state.exists() {
            self.tried.fetch_add(1, Ordering::Relaxed);
        }
        self.keys.insert(key, state);
    }

    /// Puts back how many attempts were not attributed before.
    pub fn restore_unattributed(&self, attempts: u64) {
        self.unattributed.store(attempts, Ordering::Relaxed);
    }

    /// Records of this account arrive here: second copies in other accounts no longer count. True if that is news.
    pub fn note_received(&self, account: AccountId) -> bool {
        !self.received.contains(&account) && self.received.insert(account)
    }

    /// Whether records of this account arrive here.
    pub fn is_received(&self, account: AccountId) -> bool {
        self.received.contains(&account)
    }

    /// The counts of a key as they are told.
    pub fn counts_of(&self, key: KeyArn, state: &KeyState<T>) -> Counts {
        state.counts(self.is_received(key.account()))
    }

    /// What is known of a key, tried or existing.
    pub fn get(&self, key: KeyArn) -> Option<KeyState<T>> {
        self.keys.get(&key).map(|state| state.clone())
    }

    /// Looks at a key without copying it.
    pub fn with<R>(&self, key: KeyArn, look: impl FnOnce(&KeyState<T>) -> R) -> Option<R> {
        self.keys.get(&key).map(|state| look(&state))
    }

    /// Looks at every key that exists. Keys written meanwhile may be seen before or after.
    pub fn for_each_key(&self, mut look: impl FnMut(KeyArn, &KeyState<T>)) {
        for entry in &self.keys {
            if entry.exists() {
                look(*entry.key(), entry.value());
            }
        }
    }

    /// The keys in these rows, in the same order; rows that hold none are passed over.
    pub fn keys_in_rows(&self, rows: impl IntoIterator<Item = u32>) -> Vec<KeyArn> {
        let keys = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        rows.into_iter().filter_map(|row| keys.get(row as usize).copied()).collect()
    }

    /// All keys but the deleted ones in the order of their last use.
    pub fn by_last_use(&self) -> Arc<Order> {
        let entry = |state: &KeyState<T>| (state.last_used().unwrap_or_default(), state.row());
        self.recency.current(
            |entries| {
                entries.reserve(self.len());
                self.for_each_key(|_, state| entries.extend(state.is_live().then(|| entry(state))));
            },
            |row| {
                let key = *self.keys_in_rows([row]).first()?;
                self.with(key, |state| state.is_live().then(|| entry(state)))?
            },
        )
    }

    /// How many keys exist.
    pub fn len(&self) -> usize {
        self.keys.len().saturating_sub(self.tried.load(Ordering::Relaxed))
    }

    /// Whether no key exists.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many ARNs were only tried.
    pub fn tried_keys(&self) -> usize {
        self.tried.load(Ordering::Relaxed)
    }

    /// Counted attempts on ARNs for which there was no room.
    pub fn unattributed_attempts(&self) -> u64 {
        self.unattributed.load(Ordering::Relaxed)
    }

    /// All observations counted, those on ARNs that were only tried included.
    pub fn total_counts(&self) -> Counts {
        let mut total = Counts { attempts: self.unattributed_attempts(), ..Counts::default() };
        for entry in &self.keys {
            total = total.plus(self.counts_of(*entry.key(), entry.value()));
        }
        total
    }

    /// Which key an alias points to.
    pub fn aliases(&self) -> &Aliases {
        &self.aliases
    }
}
