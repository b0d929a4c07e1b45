//! Looks at the stream: who wants one, and which have been had.
//!
//! A reader that is told that its stream or shard does not exist must not go on with its position before somebody has
//! made sure that the stream is still the same. It asks for a look, and waits for one that was begun afterwards.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

#[derive(Debug, Default)]
pub(crate) struct Looks {
    begun: AtomicU64,
    done: watch::Sender<u64>,
    wanted: Notify,
    /// Shards that Kinesis said it does not have, since the last look.
    missed: Mutex<HashSet<Arc<str>>>,
}

impl Looks {
    /// Asks for a look at the stream; returns its number.
    pub(crate) fn ask(&self) -> u64 {
        self.wanted.notify_one();
        self.begun.load(Ordering::SeqCst) + 1
    }

    /// Waits until the look with this number, or a later one, is done.
    pub(crate) async fn wait_for(&self, number: u64) {
        // The sender is here, so waiting cannot fail.
        let _ = self.done.subscribe().wait_for(|done| *done >= number).await;
    }

    /// Waits until somebody asks.
    pub(crate) async fn asked(&self) {
        self.wanted.notified().await;
    }

    /// A look begins; returns its number.
    pub(crate) fn begin(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// The look with this number succeeded.
    pub(crate) fn end(&self, number: u64) {
        self.done.send_modify(|done| *done = number.max(*done));
    }

    /// Kinesis said that it has no such shard.
    pub(crate) fn miss(&self, shard: &Arc<str>) {
        self.lock().insert(Arc::clone(shard));
    }

    /// The shards that were missed since the last time.
    pub(crate) fn take_missed(&self) -> HashSet<Arc<str>> {
        std::mem::take(&mut *self.lock())
    }

    /// A task that panicked under the lock can at worst have left out a shard, which is missed again.
    fn lock(&self) -> MutexGuard<'_, HashSet<Arc<str>>> {
        self.missed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_look_that_was_under_way_when_it_was_asked_for_does_not_count() {
        let looks = Looks::default();
        let under_way = looks.begin();
        let wanted = looks.ask();
        looks.end(under_way);
        let second = std::time::Duration::from_secs(1);
        assert!(tokio::time::timeout(second, looks.wait_for(wanted)).await.is_err());
        let next = looks.begin();
        looks.end(next);
        looks.wait_for(wanted).await;
        looks.asked().await;
    }
}
