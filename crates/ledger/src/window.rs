//! Which observations were counted already.
//!
//! Exact counting needs to remember every id, which nobody can for ever. The window keeps ids by event hour up to a
//! bound; when it is full, the oldest event times leave, and the *floor* rises above them. An observation from below
//! the floor may or may not have been counted: it is told as late, and never counted.

use std::collections::{BTreeMap, HashMap};

use dormouse_model::EventTime;
use foldhash::fast::RandomState;

use crate::Identity;

/// What the window knows of an observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Never: it was entered now.
    New,
    /// Before.
    Before,
    /// It is from below the floor: nobody can say.
    TooOld,
}

/// What entering an id found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entered {
    /// What is known of this copy.
    pub seen: Seen,
    /// Some copy, this or the other, was entered before.
    pub any_copy_before: bool,
}

/// Ids of counted observations, by event hour, up to a bound.
#[derive(Debug)]
pub struct IdWindow {
    bound: usize,
    floor: EventTime,
    hours: BTreeMap<u32, Hour>,
    len: usize,
}

type Hour = HashMap<Identity, Slot, RandomState>;

#[derive(Clone, Copy, Debug)]
struct Slot {
    second: u16,
    copies: u8,
}

const OWN_COPY: u8 = 1;
const FOREIGN_COPY: u8 = 2;

fn copy_flag(foreign: bool) -> u8 {
    if foreign { FOREIGN_COPY } else { OWN_COPY }
}

impl IdWindow {
    /// A window that keeps at most `bound` ids (at least one).
    pub fn new(bound: usize) -> Self {
        Self { bound: bound.max(1), floor: EventTime::default(), hours: BTreeMap::new(), len: 0 }
    }

    /// Whether this copy (the owner's, or the second one in the caller's account) was seen; it is from now on.
    pub fn enter(&mut self, id: Identity, time: EventTime, foreign: bool) -> Entered {
        if time < self.floor {
            return Entered { seen: Seen::TooOld, any_copy_before: false };
        }
        let (hour, second) = hour_and_second(time);
        let flag = copy_flag(foreign);
        let mut is_new_id = false;
        let slot = self.hours.entry(hour).or_default().entry(id).or_insert_with(|| {
            is_new_id = true;
            Slot { second, copies: 0 }
        });
        if slot.copies & flag != 0 {
            return Entered { seen: Seen::Before, any_copy_before: true };
        }
        slot.copies |= flag;
        if is_new_id {
            self.len += 1;
            if self.len > self.bound {
                self.forget_oldest();
            }
        }
        Entered { seen: Seen::New, any_copy_before: !is_new_id }
    }

    /// Raises the floor until at most nine tenths of the bound are kept, so that this is not done for every id.
    fn forget_oldest(&mut self) {
        let target = self.bound - self.bound / 10;
        while self.len > target {
            let Some(mut oldest) = self.hours.first_entry() else {
                return;
            };
            let (hour, ids) = (*oldest.key(), oldest.get_mut());
            let excess = self.len - target;
            if ids.len() <= excess {
                self.len -= ids.len();
                self.floor = EventTime::from_seconds((hour + 1).saturating_mul(3_600));
                oldest.remove();
                continue;
            }
            // Part of the hour is enough: cut at the second below which `excess` ids lie.
            let mut seconds: Vec<u16> = ids.values().map(|slot| slot.second).collect();
            let (_, &mut cut, _) = seconds.select_nth_unstable(excess - 1);
            let before = ids.len();
            ids.retain(|_, slot| slot.second > cut);
            self.len -= before - ids.len();
            self.floor = EventTime::from_seconds(hour * 3_600 + u32::from(cut) + 1);
            if ids.is_empty() {
                oldest.remove();
            }
        }
    }

    /// Observations from before this time can no longer be counted.
    pub fn floor(&self) -> EventTime {
        self.floor
    }

    /// How many ids are kept.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no id is kept.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Raises the floor to where it was when the ids were stored.
    pub fn restore_floor(&mut self, floor: EventTime) {
        self.floor = self.floor.max(floor);
        let (hour, second) = hour_and_second(self.floor);
        while let Some(oldest) = self.hours.first_entry() {
            if *oldest.key() >= hour {
                break;
            }
            self.len -= oldest.get().len();
            oldest.remove();
        }
        if let Some(ids) = self.hours.get_mut(&hour) {
            let before = ids.len();
            ids.retain(|_, slot| slot.second >= second);
            self.len -= before - ids.len();
        }
    }

    /// All ids kept, each with its event time and whether its own and its foreign copy were counted.
    pub fn iter(&self) -> impl Iterator<Item = (Identity, EventTime, bool, bool)> {
        self.hours.iter().flat_map(|(hour, ids)| {
            ids.iter().map(move |(id, slot)| {
                let time = EventTime::from_seconds(hour * 3_600 + u32::from(slot.second));
                (*id, time, slot.copies & OWN_COPY != 0, slot.copies & FOREIGN_COPY != 0)
            })
        })
    }
}

fn hour_and_second(time: EventTime) -> (u32, u16) {
    let seconds = time.seconds();
    (seconds / 3_600, u16::try_from(seconds % 3_600).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> Identity {
        Identity::from_bytes(number.to_be_bytes())
    }

    fn at(seconds: u32) -> EventTime {
        EventTime::from_seconds(1_000_000 * 3_600 + seconds)
    }

    #[test]
    fn each_copy_is_new_once() {
        let mut window = IdWindow::new(10);
        assert_eq!(window.enter(id(1), at(0), false).seen, Seen::New);
        assert_eq!(window.enter(id(1), at(0), false).seen, Seen::Before);
        assert_eq!(window.enter(id(1), at(0), true).seen, Seen::New);
        assert_eq!(window.enter(id(1), at(0), true).seen, Seen::Before);
        assert_eq!(window.len(), 1);
    }

    #[test]
    fn within_one_hour_the_oldest_seconds_leave_first() {
        let mut window = IdWindow::new(100);
        for second in 0..101u32 {
            assert_eq!(window.enter(id(second.into()), at(second), false).seen, Seen::New);
        }
        assert_eq!(window.len(), 90);
        assert_eq!(window.floor(), at(11));
        assert_eq!(window.enter(id(3), at(3), false).seen, Seen::TooOld);
        assert_eq!(window.enter(id(50), at(50), false).seen, Seen::Before);
    }

    #[test]
    fn ids_of_one_second_leave_together() {
        let mut window = IdWindow::new(10);
        for number in 0..5 {
            window.enter(id(number), at(0), false);
        }
        for number in 5..11 {
            window.enter(id(number), at(7_200), false);
        }
        assert_eq!((window.floor(), window.len()), (at(1), 6));
        assert_eq!(window.enter(id(0), at(0), false).seen, Seen::TooOld);
    }

    #[test]
    fn a_restored_floor_drops_what_is_below_it() {
        let mut window = IdWindow::new(100);
        window.enter(id(1), at(0), false);
        window.enter(id(2), at(10), false);
        window.restore_floor(at(5));
        assert_eq!(window.len(), 1);
        assert_eq!(window.enter(id(1), at(0), false).seen, Seen::TooOld);
        assert_eq!(window.enter(id(2), at(10), false).seen, Seen::Before);
    }
}
