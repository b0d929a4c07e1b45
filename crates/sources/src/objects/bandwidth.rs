//! How many bytes a second are taken from S3, over all objects together.
//!
//! A backfill would otherwise take all there is, from a link that others use. Each chunk books its share of time behind
//! those before it and waits for its turn; what was not used is not saved up, but for a quarter of a second.

use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// So much unused time may be made up for.
const BURST: Duration = Duration::from_millis(250);

/// A bound on bytes a second that several tasks share.
#[derive(Debug)]
pub struct Bandwidth {
    bytes_per_second: NonZeroU64,
    /// When everything that was booked has passed.
    free: Mutex<Option<Instant>>,
}

impl Bandwidth {
    /// So many bytes a second.
    pub const fn new(bytes_per_second: NonZeroU64) -> Self {
        Self { bytes_per_second, free: Mutex::new(None) }
    }

    /// Books so many bytes and waits for their turn.
    pub async fn take(&self, bytes: usize) {
        sleep_until(self.book(bytes)).await;
    }

    fn book(&self, bytes: usize) -> Instant {
        let nanos = u128::try_from(bytes).unwrap_or(u128::MAX).saturating_mul(1_000_000_000)
            / u128::from(self.bytes_per_second.get());
        let share = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let now = Instant::now();
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let turn = free.map_or(now, |free| free.max(earliest));
        *free = Some(turn + share);
        turn
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn several_tasks_together_keep_to_the_rate() {
        let bandwidth = Arc::new(Bandwidth::new(NonZeroU64::new(1_000_000).unwrap()));
        let began = Instant::now();
        let tasks: Vec<_> = (0..4)
            .map(|_| {
                let bandwidth = Arc::clone(&bandwidth);
                tokio::spawn(async move {
                    for _ in 0..25 {
                        bandwidth.take(100_000).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let seconds = began.elapsed().as_secs_f64();
        assert!((9.8..10.1).contains(&seconds), "10 MB took {seconds} s");
    }

    #[tokio::test(start_paused = true)]
    async fn idle_time_is_not_saved_up() {
        let bandwidth = Bandwidth::new(NonZeroU64::new(1_000_000).unwrap());
        bandwidth.take(1).await;
        tokio::time::advance(Duration::from_secs(3_600)).await;
        let began = Instant::now();
        for _ in 0..20 {
            bandwidth.take(100_000).await;
        }
        assert!(began.elapsed() >= Duration::from_millis(1_600), "{:?}", began.elapsed());
    }
}
