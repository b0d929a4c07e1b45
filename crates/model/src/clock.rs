//! Wall time, injected.
//!
//! Everything that asks what time it is asks a [`Clock`], so that tests decide. Intervals and deadlines go through
//! tokio's clock instead, which tests can pause. A lint forbids every other door to wall time.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;

use crate::EventTime;

/// Tells wall time.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// The time now, in whole seconds as events have it.
    fn now_seconds(&self) -> EventTime {
        EventTime::from_timestamp(self.now())
    }
}

/// The machine's own clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct WallClock;

impl Clock for WallClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one door to wall time")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A clock that stands still until it is set or moved.
#[derive(Debug)]
pub struct ManualClock {
    milliseconds: AtomicI64,
}

impl ManualClock {
    /// A clock that stands at `time`.
    pub fn at(time: EventTime) -> Self {
        Self { milliseconds: AtomicI64::new(i64::from(time.seconds()) * 1_000) }
    }

    /// Moves the clock on by so many seconds; back if negative.
    pub fn advance(&self, seconds: i64) {
        self.milliseconds.fetch_add(seconds * 1_000, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.milliseconds.load(Ordering::SeqCst)).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}
