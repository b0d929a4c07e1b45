//! Cells: what one account logged in one Region on one UTC day, counted from its history.
//!
//! The stream counts event by event and needs the ids of all it counted; history is read day by day and needs none
//! that are older than the day. So where a day's history was read, its counts *replace* what the stream counted of that
//! day, key by key, and never add to it: what is journaled is the difference. An event of a finished cell that arrives
//! later merges its evidence and counts nowhere.
//!
//! Counts are taken away only where history has proof: the trail's digest files cover the whole day. Of any other cell
//! (a log file is missing, there are no digests, the bucket was thinned, the trail does not carry KMS) neither side is
//! known to have everything, and both have only what happened: the larger count of each kind is taken.

use std::collections::HashMap;

use dormouse_model::{Cell, EventTime, KeyArn, Place};
use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

use crate::coverage::{Gap, Span};
use crate::delta::User;
use crate::shift::DayCounts;

/// What the history of one cell came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellHistory {
    /// Which cell.
    pub cell: Cell,
    /// Everything that the trail delivered of it was read, as far as can be told.
    pub whole: bool,
    /// Records of KMS that were read.
    pub records: u64,
    /// KMS read-only records were among them: the trail carries them.
    pub read_only: bool,
    /// The parts of the day for which the trail's digest files prove that nothing is missing.
    pub covered: Vec<Span>,
    /// Why other parts are not proven.
    pub gaps: Vec<Gap>,
    /// What happened to each key.
    pub keys: Vec<KeyHistory>,
}

/// What happened to one key in one cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyHistory {
    /// The key.
    pub key: KeyArn,
    /// How often.
    pub counts: DayCounts,
    /// The earliest event that counts.
    pub from: EventTime,
    /// Who used it how.
    pub users: Vec<User>,
    /// Uses and attempts of users for whom there was no room.
    pub users_overflow: u64,
}

/// What finishing a cell changes. Journaled; applying it again from the same state gives the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellShift {
    /// Which cell.
    pub cell: Cell,
    /// Everything of it was read.
    pub whole: bool,
    /// Records of KMS that were read.
    pub records: u64,
    /// KMS read-only records were among them.
    pub read_only: bool,
    /// What is proven.
    pub covered: Vec<Span>,
    /// Why other parts are not.
    pub gaps: Vec<Gap>,
    /// How the counts of each key change.
    pub keys: Vec<KeyShift>,
}

/// How the counts of one key change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyShift {
    /// The key.
    pub key: KeyArn,
    /// By how much.
    pub by: DayCounts,
    /// The earliest event that counts, if history has any.
    pub from: Option<EventTime>,
    /// Who used it how. Their numbers are zero where the stream had counted some of them already: who they were is
    /// known then, how often each is not.
    pub users: Vec<User>,
    /// Uses and attempts that are counted and not attributed to a user.
    pub users_overflow: u64,
}

impl CellShift {
    /// What finishing a cell changes, where so much was counted of it before.
    pub fn new(history: CellHistory, mut before: HashMap<KeyArn, DayCounts, RandomState>) -> Self {
        let CellHistory { cell, whole, records, read_only, covered, gaps, keys } = history;
        let day = Span { from: cell.begin(), until: cell.end() };
        let replaces = whole && covered == [day];
        let mut shifts = Vec::with_capacity(keys.len());
        for KeyHistory { key, counts, from, users, users_overflow } in keys {
            let known = before.remove(&key).unwrap_or_default();
            let counts = if replaces { counts } else { counts.max(known) };
            let shift = KeyShift { key, by: counts.minus(known), from: Some(from), users, users_overflow };
            shifts.push(if known == DayCounts::default() { shift } else { shift.beside_the_stream() });
        }
        if replaces {
            let gone = before.into_iter().filter(|(_, known)| *known != DayCounts::default());
            shifts.extend(gone.map(|(key, known)| KeyShift {
                key,
                by: DayCounts::default().minus(known),
                from: None,
                users: Vec::new(),
                users_overflow: 0,
            }));
        }
        // The order must not depend on a hash map's.
        shifts.sort_by_cached_key(|shift| shift.key.to_string());
        Self { cell, whole, records, read_only, covered, gaps, keys: shifts }
    }
}

impl KeyShift {
    /// The stream attributed what it counted to users; which of them it missed nobody can say.
    fn beside_the_stream(mut self) -> Self {
        for user in &mut self.users {
            user.stats.uses = 0;
            user.stats.attempts = 0;
        }
        let Self { by: DayCounts { own, foreign }, .. } = self;
        let more = own.uses + own.attempts + foreign.uses + foreign.attempts;
        self.users_overflow = u64::try_from(more).unwrap_or(0);
        self
    }
}

/// Which days of each place are finished.
#[derive(Clone, Debug, Default)]
pub struct FinishedCells {
    places: HashMap<Place, Days, RandomState>,
}

/// Days since 1970 as ranges without gaps between them: first and last, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Days(Vec<(u32, u32)>);

impl Days {
    /// Whether the day is among them.
    pub fn has(&self, day: u32) -> bool {
        let behind = self.0.partition_point(|&(first, _)| first <= day);
        behind > 0 && self.0[behind - 1].1 >= day
    }

    /// Adds a day.
    pub fn add(&mut self, day: u32) {
        if self.has(day) {
            return;
        }
        let place = self.0.partition_point(|&(first, _)| first <= day);
        let joins_next = self.0.get(place).is_some_and(|&(first, _)| first == day + 1);
        let joins_last = place > 0 && self.0[place - 1].1 + 1 == day;
        match (joins_last, joins_next) {
            (true, true) => {
                self.0[place - 1].1 = self.0[place].1;
                self.0.remove(place);
            }
            (true, false) => self.0[place - 1].1 = day,
            (false, true) => self.0[place].0 = day,
            (false, false) => self.0.insert(place, (day, day)),
        }
    }

    /// Takes a day out.
    pub fn remove(&mut self, day: u32) {
        let Some(place) = self.0.iter().position(|&(first, last)| (first..=last).contains(&day)) else {
            return;
        };
        let (first, last) = self.0.remove(place);
        if day < last {
            self.0.insert(place, (day + 1, last));
        }
        if first < day {
            self.0.insert(place, (first, day - 1));
        }
    }

    /// First and last day of each range, in order.
    pub fn ranges(&self) -> &[(u32, u32)] {
        &self.0
    }

    /// How many days.
    pub fn len(&self) -> usize {
        self.0.iter().map(|(first, last)| (last - first + 1) as usize).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FinishedCells {
    /// Whether this cell is finished.
    pub fn has(&self, cell: Cell) -> bool {
        !self.places.is_empty() && self.places.get(&cell.place).is_some_and(|days| days.has(cell.day))
    }

    /// From now on it is.
    pub fn add(&mut self, cell: Cell) {
        self.places.entry(cell.place).or_default().add(cell.day);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn days_are_a_set(days in proptest::collection::vec(0u32..60, 0..60)) {
            let mut ranges = Days::default();
            let mut set = std::collections::BTreeSet::new();
            for day in days {
                ranges.add(day);
                set.insert(day);
                for day in 0..62 {
                    prop_assert_eq!(ranges.has(day), set.contains(&day));
                }
                prop_assert_eq!(ranges.len(), set.len());
                let apart = ranges.ranges().windows(2).all(|pair| pair[0].1 + 1 < pair[1].0);
                prop_assert!(apart, "{:?}", ranges);
            }
            for day in 0..62 {
                ranges.remove(day);
                prop_assert!(!ranges.has(day));
                prop_assert_eq!(ranges.len(), set.range(day + 1..).count());
            }
        }
    }
}
