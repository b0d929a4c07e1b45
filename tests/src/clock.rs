//! Wall time that can be pushed ahead.
//!
//! A visibility timeout is ten seconds at least, and tests that need several to pass should not take minutes. The
//! queue's clock runs with the wall's, so that a process under test agrees with it, until a test pushes it.

use std::sync::atomic::{AtomicI64, Ordering};

use dormouse_model::{Clock, WallClock};
use jiff::{SignedDuration, Timestamp};

/// The machine's clock and an offset that only grows.
#[derive(Debug, Default)]
pub struct PushedClock {
    ahead_seconds: AtomicI64,
}

impl PushedClock {
    /// From now on, it is so many seconds later.
    pub fn push(&self, seconds: i64) {
        self.ahead_seconds.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl Clock for PushedClock {
    fn now(&self) -> Timestamp {
        WallClock.now() + SignedDuration::from_secs(self.ahead_seconds.load(Ordering::Relaxed))
    }
}
