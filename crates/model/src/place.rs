//! Where and on which day something was logged.

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

impl Place {
    /// Account, then Region by name: an order that is the same in every process.
    pub fn by_name(self) -> (AccountId, &'static str) {
        (self.account, self.region.name())
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
