//! Where and on which day something was logged.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::{AccountId, EventTime, Region};

/// An account and a Region: what CloudTrail logs apart, what inventories are taken of, and what coverage is claimed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The account that logs.
    pub account: AccountId,
    /// The Region in which it logs.
    pub region: Region,
}

impl Ord for Place {
    /// Account, then Region by name: the same in every process.
    fn cmp(&self, other: &Self) -> Ordering {
        let by_name = |place: &Self| (place.account, place.region.name());
        by_name(self).cmp(&by_name(other))
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What one account logged in one Region on one UTC day: the unit in which history replaces counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cell {
    /// Where.
    pub place: Place,
    /// Days since 1970.
    pub day: u32,
}

impl Cell {
    /// The first second of the cell.
    pub fn begin(self) -> EventTime {
        EventTime::from_seconds(self.day.saturating_mul(86_400))
    }

    /// The first second behind the cell.
    pub fn end(self) -> EventTime {
        self.begin().plus(86_400)
    }
}
