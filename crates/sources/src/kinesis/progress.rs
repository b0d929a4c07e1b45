//! How far the shards that are being read have come in time.
//!
//! Two things are derived: how far the slowest shard is behind (a gauge), and the time before which everything that
//! reached the stream was handed over. With an answer that was asked for at `asked` and is `behind` the newest record,
//! everything of its shard that arrived before `asked - behind` was handed over; the least of these times over all shards
//! that are being read holds for the stream, once each of them has answered. Two bounds, kept by the coordinator, belong
//! to it: what arrived since the last list was asked for may be in shards that nobody knows of yet; and a closed shard
//! that is behind nothing says nothing about its children, which may have records already and wait for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dormouse_model::EventTime;

use super::stats::KinesisStats;

type Shards = HashMap<Arc<str>, Option<Reached>, foldhash::fast::RandomState>;

#[derive(Debug)]
pub(crate) struct Progress {
    shards: Mutex<Shards>,
    stats: Arc<KinesisStats>,
}

#[derive(Clone, Copy, Debug)]
struct Reached {
    behind_millis: u64,
    at: EventTime,
}

impl Progress {
    pub(crate) fn new(stats: Arc<KinesisStats>) -> Self {
        Self { shards: Mutex::default(), stats }
    }

    /// A shard is going to be read.
    pub(crate) fn enter(&self, shard: &Arc<str>) {
        self.lock().insert(Arc::clone(shard), None);
    }

    /// A shard is no longer read.
    pub(crate) fn remove(&self, shard: &str) {
        let mut shards = self.lock();
        shards.remove(shard);
        self.stats.behind_millis.set(slowest(&shards));
    }

    /// What an answer held was handed over; it was asked for at `asked_millis` since 1970.
    pub(crate) fn reached(&self, shard: &str, asked_millis: i64, behind_millis: u64) {
        let millis = asked_millis.saturating_sub(i64::try_from(behind_millis).unwrap_or(i64::MAX)).max(0);
        let at = EventTime::from_seconds(u32::try_from(millis / 1_000).unwrap_or(u32::MAX));
        let mut shards = self.lock();
        let Some(place) = shards.get_mut(shard) else {
            return;
        };
        let before = place.map_or(0, |reached| reached.behind_millis);
        *place = Some(Reached { behind_millis, at });
        let slowest_so_far = self.stats.behind_millis.get();
        // The walk over all shards is needed only when the slowest one has come on.
        if behind_millis >= slowest_so_far {
            self.stats.behind_millis.set(to_count(behind_millis));
        } else if before >= slowest_so_far {
            self.stats.behind_millis.set(slowest(&shards));
        }
    }

    /// Everything in these shards from before this time was handed over. `None` if that cannot be said: a shard has not
    /// answered yet, or is behind nothing although `may_be_past` (it has children that wait for it), or none is read.
    pub(crate) fn caught_up(&self, may_be_past: impl Fn(&str) -> bool) -> Option<EventTime> {
        let shards = self.lock();
        let mut least = None;
        for (shard, reached) in &*shards {
            let reached = (*reached)?;
            if reached.behind_millis == 0 && may_be_past(shard) {
                return None;
            }
            least = Some(least.map_or(reached.at, |least: EventTime| least.min(reached.at)));
        }
        least
    }

    /// A task that panicked under the lock can at worst have left a shard where it was before.
    fn lock(&self) -> MutexGuard<'_, Shards> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn slowest(shards: &Shards) -> usize {
    to_count(shards.values().flatten().map(|reached| reached.behind_millis).max().unwrap_or(0))
}

fn to_count(millis: u64) -> usize {
    usize::try_from(millis).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_shard_decides_and_none_does_before_all_have_answered() {
        let stats = Arc::<KinesisStats>::default();
        let progress = Progress::new(Arc::clone(&stats));
        let [a, b] = ["a", "b"].map(Arc::<str>::from);
        assert_eq!(progress.caught_up(|_| false), None);
        progress.enter(&a);
        progress.enter(&b);
        progress.reached("a", 100_500, 0);
        assert_eq!(progress.caught_up(|_| false), None);
        progress.reached("b", 100_900, 40_000);
        assert_eq!(
            (progress.caught_up(|_| false), stats.behind_millis.get()),
            (Some(EventTime::from_seconds(60)), 40_000)
        );
        progress.reached("b", 101_000, 2_000);
        progress.reached("a", 101_000, 1_000);
        assert_eq!(
            (progress.caught_up(|_| false), stats.behind_millis.get()),
            (Some(EventTime::from_seconds(99)), 2_000)
        );
        progress.reached("c", 1, 9_999_999);
        progress.remove("b");
        assert_eq!(
            (progress.caught_up(|_| false), stats.behind_millis.get()),
            (Some(EventTime::from_seconds(100)), 1_000)
        );
        progress.reached("a", 102_000, 0);
        assert_eq!(progress.caught_up(|_| true), None);
        assert_eq!(progress.caught_up(|_| false), Some(EventTime::from_seconds(102)));
        progress.reached("a", 5, u64::MAX);
        assert_eq!(progress.caught_up(|_| false), Some(EventTime::from_seconds(0)));
    }
}
