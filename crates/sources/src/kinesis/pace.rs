//! How often one shard is read.
//!
//! Kinesis allows five reads a second and shard, to all its consumers together, and nobody tells how many others there
//! are. So a reader starts at the pace that was configured, halves it whenever Kinesis refuses, and comes back to it by
//! a twentieth a read. The wait after a refusal has jitter, so that consumers that were refused together do not come
//! back together.

use std::time::Duration;

use tokio::time::Instant;

/// No shard is read less often than this for throttling alone.
const SLOWEST: Duration = Duration::from_secs(10);
const RECOVERY: f64 = 0.95;

#[derive(Debug)]
pub(crate) struct Pace {
    fastest: Duration,
    interval: Duration,
    next: Instant,
    random: fastrand::Rng,
}

impl Pace {
    pub(crate) fn new(reads_per_second: f64, random: fastrand::Rng) -> Self {
        let fastest = Duration::from_secs_f64(1.0 / reads_per_second.clamp(0.01, 10_000.0));
        Self { fastest, interval: fastest, next: Instant::now(), random }
    }

    /// Waits until the shard may be read.
    pub(crate) async fn wait(&self) {
        tokio::time::sleep_until(self.next).await;
    }

    /// A read begins now.
    pub(crate) fn begin(&mut self) {
        self.next = Instant::now() + self.interval;
    }

    /// A read that began at `begun` was answered; `pause` is how long the shard can wait, if there is no hurry.
    pub(crate) fn answered(&mut self, begun: Instant, pause: Duration) {
        self.interval = self.interval.mul_f64(RECOVERY).max(self.fastest);
        self.next = begun + self.interval.max(pause);
    }

    /// A read was refused: reads come at half the pace from now on.
    pub(crate) fn throttled(&mut self) {
        self.interval = self.interval.saturating_mul(2).min(SLOWEST.max(self.fastest));
        self.next = Instant::now() + self.interval.mul_f64(0.5 + self.random.f64() / 2.0);
    }

    #[cfg(test)]
    fn interval(&self) -> Duration {
        self.interval
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace() -> Pace {
        Pace::new(5.0, fastrand::Rng::with_seed(1))
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_halve_the_pace_down_to_a_bound_and_answers_bring_it_back_slowly() {
        let mut pace = pace();
        for doubled in [400, 800, 1_600] {
            pace.throttled();
            assert_eq!(pace.interval(), Duration::from_millis(doubled));
        }
        for _ in 0..10 {
            pace.throttled();
        }
        assert_eq!(pace.interval(), SLOWEST);
        let started = Instant::now();
        pace.wait().await;
        assert!(started.elapsed() >= SLOWEST / 2 && started.elapsed() <= SLOWEST);
        let mut answers = 0;
        while pace.interval() > pace.fastest {
            pace.answered(Instant::now(), Duration::ZERO);
            answers += 1;
        }
        assert!((50..100).contains(&answers), "{answers}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_lengthens_the_wait_and_does_not_shorten_it() {
        let mut pace = pace();
        let begun = Instant::now();
        pace.answered(begun, Duration::from_secs(1));
        pace.wait().await;
        assert_eq!(begun.elapsed(), Duration::from_secs(1));
        let begun = Instant::now();
        pace.answered(begun, Duration::ZERO);
        pace.wait().await;
        assert_eq!(begun.elapsed(), Duration::from_millis(200));
    }
}
