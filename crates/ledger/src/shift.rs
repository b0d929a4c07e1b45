//! How much counts change. History replaces what the stream counted, so a change may be downwards.

use serde::{Deserialize, Serialize};

use crate::key_state::Counts;
use dormouse_model::Kind;

/// A change of the counts of one key, upwards or downwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shift {
    /// Uses.
    pub uses: i64,
    /// Attempts.
    pub attempts: i64,
    /// Changes.
    pub changes: i64,
    /// Attempts that show that somebody needs the key; among the attempts.
    pub wanted: i64,
}

impl Shift {
    /// One more of this kind.
    pub fn add_one(&mut self, kind: Kind, wanted: bool) {
        match kind {
            Kind::Use => self.uses += 1,
            Kind::Attempt => self.attempts += 1,
            Kind::Change => self.changes += 1,
        }
        self.wanted += i64::from(wanted);
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            uses: self.uses + other.uses,
            attempts: self.attempts + other.attempts,
            changes: self.changes + other.changes,
            wanted: self.wanted + other.wanted,
        }
    }

    /// What takes the other to this one.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            uses: self.uses - other.uses,
            attempts: self.attempts - other.attempts,
            changes: self.changes - other.changes,
            wanted: self.wanted - other.wanted,
        }
    }

    /// The larger of each.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            uses: self.uses.max(other.uses),
            attempts: self.attempts.max(other.attempts),
            changes: self.changes.max(other.changes),
            wanted: self.wanted.max(other.wanted),
        }
    }

    /// The counts as numbers that are never negative, without what was wanted.
    pub fn counts(self) -> Counts {
        let count = |number: i64| u64::try_from(number).unwrap_or(0);
        Counts { uses: count(self.uses), attempts: count(self.attempts), changes: count(self.changes) }
    }
}

/// What was counted of one key in one cell, or how that changes: in the key's own account, and in second copies elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayCounts {
    /// Logged in the key's own account.
    pub own: Shift,
    /// Second copies, logged in the callers' accounts.
    pub foreign: Shift,
}

impl DayCounts {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { own: self.own.plus(other.own), foreign: self.foreign.plus(other.foreign) }
    }

    /// What takes the other to this one.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self { own: self.own.minus(other.own), foreign: self.foreign.minus(other.foreign) }
    }

    /// The larger of each.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self { own: self.own.max(other.own), foreign: self.foreign.max(other.foreign) }
    }

    /// How many observations.
    pub fn observations(self) -> i64 {
        let of = |shift: Shift| shift.uses + shift.attempts + shift.changes;
        of(self.own) + of(self.foreign)
    }

    /// The side that an observation counts on.
    pub fn side(&mut self, foreign: bool) -> &mut Shift {
        if foreign { &mut self.foreign } else { &mut self.own }
    }
}
