//! How long to wait before the next try.
//!
//! Exponential, so that a service in trouble is asked less and less; with jitter, so that the pollers of all replicas
//! that failed together do not come back together. A delay lies between half of its ceiling and the ceiling: never
//! near zero, so a failing loop cannot spin. Nothing here sleeps; the caller does, on tokio's clock.

use std::time::Duration;

/// Delays that double from try to try, up to a bound, each shortened by a random part of up to one half.
#[derive(Clone, Debug)]
pub struct Backoff {
    base: Duration,
    bound: Duration,
    failures: u32,
    random: fastrand::Rng,
}

impl Backoff {
    /// The first delay is at most `base`, every delay at most `bound`.
    pub fn new(base: Duration, bound: Duration) -> Self {
        Self::with_random(base, bound, fastrand::Rng::new())
    }

    /// The same, with delays that repeat for the same seed.
    pub fn seeded(base: Duration, bound: Duration, seed: u64) -> Self {
        Self::with_random(base, bound, fastrand::Rng::with_seed(seed))
    }

    fn with_random(base: Duration, bound: Duration, random: fastrand::Rng) -> Self {
        Self { base, bound, failures: 0, random }
    }

    /// Counts one failure and says how long to wait after it.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.delay_after(self.failures);
        self.failures = self.failures.saturating_add(1);
        delay
    }

    /// How long to wait after a failure that was preceded by `earlier` others, for callers that count themselves.
    pub fn delay_after(&mut self, earlier: u32) -> Duration {
        let factor = 1_u32 << earlier.min(30);
        let ceiling = self.base.saturating_mul(factor).min(self.bound);
        ceiling.mul_f64(0.5 + self.random.f64() / 2.0)
    }

    /// Starts over: the last try succeeded.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// How many failures there were since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_millis(100);
    const BOUND: Duration = Duration::from_secs(10);

    #[test]
    fn delays_double_up_to_the_bound_and_never_fall_below_half() {
        let mut backoff = Backoff::seeded(BASE, BOUND, 7);
        for failures in 0..60_u32 {
            let ceiling = BASE.saturating_mul(2_u32.saturating_pow(failures)).min(BOUND);
            let delay = backoff.next_delay();
            assert!(delay <= ceiling && delay >= ceiling / 2, "{failures}: {delay:?} of {ceiling:?}");
        }
        assert_eq!(backoff.failures(), 60);
    }

    #[test]
    fn a_success_starts_over() {
        let mut backoff = Backoff::seeded(BASE, BOUND, 7);
        for _ in 0..8 {
            backoff.next_delay();
        }
        backoff.reset();
        assert!(backoff.next_delay() <= BASE);
    }

    #[test]
    fn the_same_seed_gives_the_same_delays_and_another_gives_others() {
        let delays = |seed| {
            let mut backoff = Backoff::seeded(BASE, BOUND, seed);
            std::array::from_fn::<_, 6, _>(|_| backoff.next_delay())
        };
        assert_eq!(delays(1), delays(1));
        assert_ne!(delays(1), delays(2));
    }
}
