//! Which observations were counted already.
//!
//! Exact counting needs to remember every id, which nobody can for ever. The window keeps ids by event hour up to a
//! bound; when it is full, the oldest event times leave, and the *floor* rises above them. An observation from below
//! the floor may or may not have been counted: it is told as late, and never counted.

use std::collections::{BTreeMap, HashMap};

use dormouse_model::EventTime;
use foldhash::fast::RandomState;

use crate::Identity;

/// In which copies an id was entered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copies(u8);

impl Copies {
    /// None.
    pub const NONE: Self = Self(0);
    /// Logged in the key's own account.
    pub const OWN: Self = Self(1);
    /// The second copy, logged in the caller's account.
    pub const FOREIGN: Self = Self(2);
    /// By a record that says exactly this: only then is another such record its duplicate.
    pub const RECORD: Self = Self(4);

    /// The copy that an observation is.
    pub fn of(foreign: bool) -> Self {
        if foreign { Self::FOREIGN } else { Self::OWN }
    }

    /// Those of both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that the other has not.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of the other are among these.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// A number that means the same in every process.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The copies with this number.
    pub const fn from_number(number: u8) -> Self {
        Self(number & 7)
    }
}

/// What entering an id found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    /// It had been entered in these copies before, and is now in those as well.
    Before(Copies),
    /// It is from below the floor: nobody can say.
    TooOld,
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
    copies: Copies,
}

impl IdWindow {
    /// A window that keeps at most `bound` ids (at least one).
    pub fn new(bound: usize) -> Self {
        Self { bound: bound.max(1), floor: EventTime::default(), hours: BTreeMap::new(), len: 0 }
    }

    /// Enters an id in these copies, and tells in which it was before.
    pub fn enter(&mut self, id: Identity, time: EventTime, copies: Copies) -> Entered {
        if time < self.floor {
            return Entered::TooOld;
        }
        let (hour, second) = hour_and_second(time);
        let mut is_new_id = false;
        let slot = self.hours.entry(hour).or_default().entry(id).or_insert_with(|| {
            is_new_id = true;
            Slot { second, copies: Copies::NONE }
        });
        let before = slot.copies;
        slot.copies = before.and(copies);
        if is_new_id {
            self.len += 1;
            if self.len > self.bound {
                self.forget_oldest();
            }
        }
        Entered::Before(before)
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
        assert_eq!(window.enter(id(1), at(0), Copies::OWN), Entered::Before(Copies::NONE));
        assert_eq!(window.enter(id(1), at(0), Copies::OWN), Entered::Before(Copies::OWN));
        assert_eq!(window.enter(id(1), at(0), Copies::FOREIGN), Entered::Before(Copies::OWN));
        assert_eq!(
            window.enter(id(1), at(0), Copies::FOREIGN),
            Entered::Before(Copies::OWN.and(Copies::FOREIGN))
        );
        assert_eq!(window.len(), 1);
    }

    #[test]
    fn within_one_hour_the_oldest_seconds_leave_first() {
        let mut window = IdWindow::new(100);
        for second in 0..101u32 {
            assert_eq!(
                window.enter(id(second.into()), at(second), Copies::OWN),
                Entered::Before(Copies::NONE)
            );
        }
        assert_eq!(window.len(), 90);
        assert_eq!(window.floor(), at(11));
        assert_eq!(window.enter(id(3), at(3), Copies::OWN), Entered::TooOld);
        assert_eq!(window.enter(id(50), at(50), Copies::OWN), Entered::Before(Copies::OWN));
    }

    #[test]
    fn ids_of_one_second_leave_together() {
        let mut window = IdWindow::new(10);
        for number in 0..5 {
            window.enter(id(number), at(0), Copies::OWN);
        }
        for number in 5..11 {
            window.enter(id(number), at(7_200), Copies::OWN);
        }
        assert_eq!((window.floor(), window.len()), (at(1), 6));
        assert_eq!(window.enter(id(0), at(0), Copies::OWN), Entered::TooOld);
    }

    #[test]
    fn a_restored_floor_drops_what_is_below_it() {
        let mut window = IdWindow::new(100);
        window.enter(id(1), at(0), Copies::OWN);
        window.enter(id(2), at(10), Copies::OWN);
        window.restore_floor(at(5));
        assert_eq!(window.len(), 1);
        assert_eq!(window.enter(id(1), at(0), Copies::OWN), Entered::TooOld);
        assert_eq!(window.enter(id(2), at(10), Copies::OWN), Entered::Before(Copies::OWN));
    }
}
