//! All keys in the order of their last use.
//!
//! "Which key was used last?" is asked every few seconds of a million keys that change thousands of times a second, so
//! neither sorting on each question nor keeping a tree for each change will do. Instead an immutable, sorted [`Order`]
//! is shared with whoever reads it, and the rows that changed since it was made are noted; the next reader merges them
//! in, one pass over eight bytes a key. Nobody who reads holds up those who write, and a page asked for later can still
//! be cut from the same order as the first.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dormouse_model::EventTime;

/// The rows of all keys at one moment, those used longest ago first, those never used before them.
#[derive(Debug, Default)]
pub struct Order {
    entries: Box<[Entry]>,
}

/// The time of the last use, the epoch if there was none; and the key's row.
type Entry = (EventTime, u32);

impl Order {
    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The rows, and when each key was last used; `None` if never.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (u32, Option<EventTime>)> + ExactSizeIterator {
        self.entries.iter().map(|&(time, row)| (row, (time != EventTime::default()).then_some(time)))
    }

    /// The row at this place.
    pub fn row(&self, place: usize) -> Option<u32> {
        self.entries.get(place).map(|&(_, row)| row)
    }

    /// How many keys were last used before `time`, or never.
    pub fn used_before(&self, time: EventTime) -> usize {
        self.entries.partition_point(|&(at, _)| at < time)
    }

    /// How many keys have never been used.
    pub fn never_used(&self) -> usize {
        self.used_before(EventTime::from_seconds(1))
    }
}

/// Makes orders.
#[derive(Debug, Default)]
pub(crate) struct Recency {
    /// Nobody has asked yet: nothing needs to be noted.
    is_asked: AtomicBool,
    changed: Mutex<Changed>,
    latest: Mutex<Option<Arc<Order>>>,
}

/// Rows whose last use is later than in the latest order, or that are new.
#[derive(Debug, Default)]
struct Changed {
    rows: Vec<u32>,
    /// When there are so many, repetitions are dropped: nobody may ask for days.
    tidy_at: usize,
}

const TIDY_AT_LEAST: usize = 1 << 16;

impl Recency {
    /// The last use of the key in this row is another one now, or the key is new.
    pub(crate) fn note(&self, row: u32) {
        if !self.is_asked.load(Ordering::Acquire) {
            return;
        }
        let mut changed = lock(&self.changed);
        changed.rows.push(row);
        if changed.rows.len() >= changed.tidy_at.max(TIDY_AT_LEAST) {
            changed.rows.sort_unstable();
            changed.rows.dedup();
            changed.tidy_at = changed.rows.len() * 2;
        }
    }

    /// The order now. `scan` gives all entries; `look_up` gives a row's, `None` if it is no key.
    pub(crate) fn current(
        &self,
        scan: impl FnOnce(&mut Vec<Entry>),
        look_up: impl FnMut(u32) -> Option<Entry>,
    ) -> Arc<Order> {
        let mut latest = lock(&self.latest);
        // From here on changes are noted, so that none between the scan and the next question is missed.
        self.is_asked.store(true, Ordering::Release);
        let mut rows = std::mem::take(&mut lock(&self.changed).rows);
        let order = match &*latest {
            Some(order) if rows.is_empty() => return Arc::clone(order),
            Some(order) => {
                rows.sort_unstable();
                rows.dedup();
                merge(order, &rows, look_up)
            }
            None => {
                let mut entries = Vec::new();
                scan(&mut entries);
                entries.sort_unstable();
                Order { entries: entries.into() }
            }
        };
        let order = Arc::new(order);
        *latest = Some(Arc::clone(&order));
        order
    }
}

/// The order with the entries of these rows, which are sorted, replaced.
fn merge(order: &Order, rows: &[u32], look_up: impl FnMut(u32) -> Option<Entry>) -> Order {
    let mut is_replaced = Bits::new(rows.last().copied().unwrap_or(0));
    rows.iter().for_each(|&row| is_replaced.set(row));
    let mut new: Vec<Entry> = rows.iter().copied().filter_map(look_up).collect();
    new.sort_unstable();
    let mut entries = Vec::with_capacity(order.len() + new.len());
    let mut new = new.into_iter().peekable();
    for &kept in order.entries.iter().filter(|(_, row)| !is_replaced.get(*row)) {
        while let Some(entry) = new.next_if(|entry| *entry < kept) {
            entries.push(entry);
        }
        entries.push(kept);
    }
    entries.extend(new);
    Order { entries: entries.into() }
}

/// A set of small numbers.
struct Bits(Vec<u64>);

impl Bits {
    fn new(largest: u32) -> Self {
        Self(vec![0; largest as usize / 64 + 1])
    }

    fn set(&mut self, number: u32) {
        self.0[number as usize / 64] |= 1 << (number % 64);
    }

    fn get(&self, number: u32) -> bool {
        self.0.get(number as usize / 64).is_some_and(|word| word & 1 << (number % 64) != 0)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn current(recency: &Recency, keys: &BTreeMap<u32, u32>) -> Vec<(u32, u32)> {
        let entry = |(&row, &time): (&u32, &u32)| (EventTime::from_seconds(time), row);
        let order = recency.current(
            |entries| entries.extend(keys.iter().map(entry)),
            |row| keys.get_key_value(&row).map(entry),
        );
        order.entries.iter().map(|&(time, row)| (time.seconds(), row)).collect()
    }

    proptest! {
        /// However changes and questions mix, the order is what sorting everything gives.
        #[test]
        fn an_order_is_what_sorting_gives(steps in prop::collection::vec((1u32..40, 0u32..50, any::<bool>()), 0..200)) {
            let recency = Recency::default();
            let mut keys = BTreeMap::new();
            for (row, time, ask) in steps {
                keys.insert(row, time);
                recency.note(row);
                if ask {
                    let mut sorted: Vec<_> = keys.iter().map(|(&row, &time)| (time, row)).collect();
                    sorted.sort_unstable();
                    prop_assert_eq!(current(&recency, &keys), sorted);
                }
            }
        }
    }

    #[test]
    fn an_order_tells_how_many_are_idle_and_never_used() {
        let entries =
            [(0, 4), (10, 2), (20, 1), (20, 3)].map(|(time, row)| (EventTime::from_seconds(time), row));
        let order = Order { entries: entries.into() };
        assert_eq!(order.never_used(), 1);
        assert_eq!(order.used_before(EventTime::from_seconds(20)), 2);
        assert_eq!(order.iter().next(), Some((4, None)));
    }

    #[test]
    fn changes_that_nobody_asks_for_stay_bounded() {
        let recency = Recency::default();
        current(&recency, &BTreeMap::new());
        for n in 0..1_000_000 {
            recency.note(n % 100);
        }
        assert!(lock(&recency.changed).rows.len() <= TIDY_AT_LEAST);
    }
}
