//! Everything about one key, and how it takes an observation or another state of the same key.

use dormouse_model::{EventTime, KeyAnswer, KeySaid, Kind, KmsUse, LifecycleState, Observation};
use serde::{Deserialize, Serialize};

use crate::cells::KeyShift;
use crate::evidence::{Trace, keep_later, merge_later};
use crate::registers::Registers;
use crate::shift::{DayCounts, Shift};

/// What the id window said about an observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// Not seen before: it counts.
    Counted,
    /// Seen before: its evidence merges, its count does not.
    Duplicate,
    /// Older than what the window keeps: nobody can say. Its evidence merges; it is told as uncounted.
    Late,
    /// It never counts: KMS's own event beside the one in CloudTrail.
    StateOnly,
    /// Its day's history was read, and that counts: its evidence merges.
    History,
}

impl Counting {
    /// A number that means the same in every process.
    pub const fn number(self) -> u8 {
        match self {
            Self::Counted => 0,
            Self::Duplicate => 1,
            Self::Late => 2,
            Self::StateOnly => 3,
            Self::History => 4,
        }
    }

    /// The counting with this number.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Counted,
            1 => Self::Duplicate,
            2 => Self::Late,
            3 => Self::StateOnly,
            4 => Self::History,
            _ => return None,
        })
    }
}

/// How many uses, attempts and changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Uses.
    pub uses: u64,
    /// Attempts.
    pub attempts: u64,
    /// Changes.
    pub changes: u64,
}

impl Counts {
    /// One more of this kind.
    pub fn add_one(&mut self, kind: Kind) {
        match kind {
            Kind::Use => self.uses += 1,
            Kind::Attempt => self.attempts += 1,
            Kind::Change => self.changes += 1,
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            uses: self.uses + other.uses,
            attempts: self.attempts + other.attempts,
            changes: self.changes + other.changes,
        }
    }

    /// With more, or fewer, of each.
    #[must_use]
    fn shifted(self, by: Shift) -> Self {
        Self {
            uses: self.uses.saturating_add_signed(by.uses),
            attempts: self.attempts.saturating_add_signed(by.attempts),
            changes: self.changes.saturating_add_signed(by.changes),
        }
    }
}

/// Failed calls that show that somebody still needs the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The first one.
    pub since: EventTime,
    /// The last one.
    pub last: EventTime,
    /// How many, logged in the key's own account.
    pub own: u64,
    /// How many second copies, logged in the caller's account.
    pub foreign: u64,
}

/// What is known of one key. `T` is what is kept of the last use and attempt: a [`crate::Rank`] where memory counts,
/// [`crate::Evidence`] where the texts are wanted.
///
/// Small for the common key, which has uses and nothing else.
#[derive(Clone, Debug)]
pub struct KeyState<T> {
    last_use: Option<T>,
    uses: u64,
    rare: Option<Box<Rare<T>>>,
    /// The row, and in the highest bit whether the key exists.
    row_and_existence: u32,
    /// The epoch if nothing was counted yet: no event is that old.
    counts_from: EventTime,
}

const EXISTS: u32 = 1 << 31;

#[derive(Clone, Debug)]
struct Rare<T> {
    last_attempt: Option<T>,
    wanted: Option<Wanted>,
    attempts: u64,
    changes: u64,
    foreign: Counts,
    registers: Registers,
}

impl<T> Default for Rare<T> {
    fn default() -> Self {
        Self {
            last_attempt: None,
            wanted: None,
            attempts: 0,
            changes: 0,
            foreign: Counts::default(),
            registers: Registers::default(),
        }
    }
}

impl<T> Default for KeyState<T> {
    fn default() -> Self {
        Self { last_use: None, uses: 0, rare: None, row_and_existence: 0, counts_from: EventTime::default() }
    }
}

impl<T: Trace> KeyState<T> {
    /// Nothing known yet, with a row for it in the tables.
    pub fn in_row(row: u32) -> Self {
        Self { row_and_existence: row & !EXISTS, ..Self::default() }
    }

    /// The row of the key in the tables of the store; 0 while it has none.
    pub fn row(&self) -> u32 {
        self.row_and_existence & !EXISTS
    }

    /// A use, a change or the inventory showed that the key exists. Others are ARNs that somebody tried.
    pub fn exists(&self) -> bool {
        self.row_and_existence & EXISTS != 0
    }

    /// It exists, and was not deleted: one of the live set.
    pub fn is_live(&self) -> bool {
        self.exists() && !self.is_deleted()
    }

    /// It is gone for good; what is known of it stays as history.
    pub fn is_deleted(&self) -> bool {
        self.registers().and_then(Registers::state) == Some(LifecycleState::Deleted)
    }

    /// From now on the key exists.
    pub fn set_exists(&mut self) {
        self.row_and_existence |= EXISTS;
    }

    /// Takes an observation of this key. Evidence always merges; `counting` says what its count does.
    pub fn apply(&mut self, observation: &Observation<'_>, counting: Counting) {
        match observation.kind {
            Kind::Use => {
                self.set_exists();
                keep_later(&mut self.last_use, observation);
            }
            Kind::Attempt => keep_later(&mut self.rare().last_attempt, observation),
            Kind::Change => {
                self.set_exists();
                self.rare().registers.apply(observation);
            }
        }
        if observation.wanted {
            self.note_wanted(observation, counting);
        }
        if counting == Counting::Counted {
            self.count(observation);
        }
    }

    /// Takes what KMS said of this key. That it exists is said by every answer but a failure.
    pub fn answer(&mut self, answer: &KeyAnswer) {
        if !matches!(answer.said, KeySaid::Failed(_) | KeySaid::Gone) {
            self.set_exists();
        }
        self.rare().registers.answer(answer);
    }

    /// Notes an alias that points, or pointed, to this key.
    pub fn note_alias(&mut self, name: &str) {
        self.set_exists();
        self.rare().registers.note_alias(name.into());
    }

    fn count(&mut self, observation: &Observation<'_>) {
        self.note_counted_from(Some(observation.time));
        if observation.is_foreign_copy() {
            self.rare().foreign.add_one(observation.kind);
            return;
        }
        match observation.kind {
            Kind::Use => self.uses += 1,
            Kind::Attempt => self.rare().attempts += 1,
            Kind::Change => self.rare().changes += 1,
        }
    }

    /// Takes what history changed about the counts of one day.
    pub fn shift(&mut self, shift: &KeyShift) {
        let DayCounts { own, foreign } = shift.by;
        self.uses = self.uses.saturating_add_signed(own.uses);
        self.note_counted_from(shift.from);
        let is_rare = own.attempts != 0 || own.changes != 0 || foreign != Shift::default();
        if is_rare {
            let rare = self.rare();
            rare.attempts = rare.attempts.saturating_add_signed(own.attempts);
            rare.changes = rare.changes.saturating_add_signed(own.changes);
            rare.foreign = rare.foreign.shifted(foreign);
            if let Some(wanted) = &mut rare.wanted {
                wanted.own = wanted.own.saturating_add_signed(own.wanted);
                wanted.foreign = wanted.foreign.saturating_add_signed(foreign.wanted);
            }
        }
    }

    fn note_counted_from(&mut self, time: Option<EventTime>) {
        let known = self.counts_from();
        self.counts_from = known.into_iter().chain(time).min().unwrap_or_default();
    }

    fn note_wanted(&mut self, observation: &Observation<'_>, counting: Counting) {
        let one = u64::from(counting == Counting::Counted);
        let (own, foreign) = if observation.is_foreign_copy() { (0, one) } else { (one, 0) };
        self.merge_wanted(Some(Wanted { since: observation.time, last: observation.time, own, foreign }));
    }

    fn merge_wanted(&mut self, other: Option<Wanted>) {
        let Some(other) = other else { return };
        let wanted = &mut self.rare().wanted;
        *wanted = Some(wanted.map_or(other, |known| Wanted {
            since: known.since.min(other.since),
            last: known.last.max(other.last),
            own: known.own + other.own,
            foreign: known.foreign + other.foreign,
        }));
    }

    /// Takes another writer's state of the same key: evidence merges, counts add up.
    pub fn merge(&mut self, other: Self) {
        self.row_and_existence |= other.row_and_existence & EXISTS;
        self.note_counted_from(other.counts_from());
        self.uses += other.uses;
        merge_later(&mut self.last_use, other.last_use);
        if let Some(rare) = other.rare {
            self.merge_wanted(rare.wanted);
            let mine = self.rare();
            merge_later(&mut mine.last_attempt, rare.last_attempt);
            mine.attempts += rare.attempts;
            mine.changes += rare.changes;
            mine.foreign = mine.foreign.plus(rare.foreign);
            mine.registers.merge(rare.registers);
        }
    }

    fn rare(&mut self) -> &mut Rare<T> {
        self.rare.get_or_insert_default()
    }

    /// The last use.
    pub fn last_use(&self) -> Option<&T> {
        self.last_use.as_ref()
    }

    /// What KMS itself remembers of the last use.
    pub fn kms_use(&self) -> Option<&KmsUse> {
        self.registers()?.facts()?.usage.as_ref()?.said.last.as_ref()
    }

    /// When the key was last used, by whoever knows the later time.
    pub fn last_used(&self) -> Option<EventTime> {
        let seen = self.last_use.as_ref().map(|last| last.rank().time);
        seen.max(self.kms_use().map(|last| last.at))
    }

    /// The last attempt.
    pub fn last_attempt(&self) -> Option<&T> {
        self.rare.as_ref()?.last_attempt.as_ref()
    }

    /// The failures that show that somebody needs the key.
    pub fn wanted(&self) -> Option<Wanted> {
        self.rare.as_ref()?.wanted
    }

    /// The registers, if any was ever written.
    pub fn registers(&self) -> Option<&Registers> {
        self.rare.as_ref().map(|rare| &rare.registers)
    }

    /// The earliest counted observation.
    pub fn counts_from(&self) -> Option<EventTime> {
        Some(self.counts_from).filter(|from| *from != EventTime::default())
    }

    /// What was logged in the key's own account.
    pub fn own_counts(&self) -> Counts {
        let (attempts, changes) = self.rare.as_ref().map_or((0, 0), |rare| (rare.attempts, rare.changes));
        Counts { uses: self.uses, attempts, changes }
    }

    /// Second copies, logged in the callers' accounts.
    pub fn foreign_counts(&self) -> Counts {
        self.rare.as_ref().map_or(Counts::default(), |rare| rare.foreign)
    }

    /// The counts as they are told: second copies count only where the owner's account is not received.
    pub fn counts(&self, owner_is_received: bool) -> Counts {
        if owner_is_received { self.own_counts() } else { self.own_counts().plus(self.foreign_counts()) }
    }

    /// Sets the counts, when a stored state is put together again.
    pub fn restore_counts(&mut self, own: Counts, foreign: Counts, from: Option<EventTime>) {
        self.uses = own.uses;
        self.counts_from = from.unwrap_or_default();
        let has_rare = own.attempts > 0 || own.changes > 0 || foreign != Counts::default();
        if has_rare {
            let rare = self.rare();
            rare.attempts = own.attempts;
            rare.changes = own.changes;
            rare.foreign = foreign;
        }
    }

    /// Sets what was kept of the last use and attempt, when a stored state is put together again.
    pub fn restore_traces(&mut self, last_use: Option<T>, last_attempt: Option<T>) {
        self.last_use = last_use;
        if last_attempt.is_some() {
            self.rare().last_attempt = last_attempt;
        }
    }

    /// The same state with other traces of the last use and attempt.
    pub fn with_traces<U: Trace>(self, last_use: Option<U>, last_attempt: Option<U>) -> KeyState<U> {
        let rare = self.rare.map(|rare| {
            Box::new(Rare {
                last_attempt,
                wanted: rare.wanted,
                attempts: rare.attempts,
                changes: rare.changes,
                foreign: rare.foreign,
                registers: rare.registers,
            })
        });
        KeyState {
            last_use,
            uses: self.uses,
            rare,
            row_and_existence: self.row_and_existence,
            counts_from: self.counts_from,
        }
    }

    /// Sets the rest, when a stored state is put together again.
    pub fn restore_rest(&mut self, wanted: Option<Wanted>, registers: Option<Registers>) {
        if wanted.is_some() {
            self.rare().wanted = wanted;
        }
        if let Some(registers) = registers {
            self.rare().registers = registers;
        }
    }
}
