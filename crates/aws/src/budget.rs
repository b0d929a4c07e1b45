//! How many requests may be sent.
//!
//! A service's quotas belong to its account: whoever uses them up throttles programs that do real work there. A
//! [`Budget`] is the share of one operation's quota that Dormouse allows itself, apart for each key (an account and
//! Region, say). Within any one second no more requests are let through than the budget has.
//!
//! When the service throttles nonetheless, others use the quota, too: the pace under that key is halved, and comes back
//! by a twentieth an answer. Time is tokio's.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::time::Duration;

use dashmap::DashMap;
use governor::clock::Clock;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use tokio::time::{Instant, sleep, sleep_until};

/// No pace is slower than this for throttling alone.
const SLOWEST: Duration = Duration::from_secs(10);
/// What an answer makes of the interval between two requests.
const RECOVERY: f64 = 0.95;

/// Tokio's clock, which tests can pause.
#[derive(Clone, Debug)]
struct TokioClock;

impl Clock for TokioClock {
    type Instant = std::time::Instant;

    fn now(&self) -> Self::Instant {
        Instant::now().into_std()
    }
}

/// The pace under a key that was throttled.
struct Slow {
    interval: Duration,
    next: Instant,
}

/// The requests of one operation that may be sent in a second, apart for each key.
pub struct Budget<K: Hash + Eq + Clone> {
    limiter: RateLimiter<K, DashMapStateStore<K>, TokioClock>,
    interval: Duration,
    slow: DashMap<K, Slow>,
}

impl<K: Hash + Eq + Clone> Budget<K> {
    /// At most so many requests in any one second; less than one a second is possible. Bounded to sane numbers.
    pub fn per_second(rate: f64) -> Self {
        let rate = if rate.is_finite() { rate.clamp(0.001, 1e6) } else { 1.0 };
        // A tenth may come at once, so that a coarse timer does not slow down a fast pace; the rest is spread, so that
        // no second has more than the rate.
        let burst = burst_of(rate);
        let steady = rate - f64::from(burst.get() - 1);
        let interval = Duration::from_secs_f64(1.0 / steady);
        let quota =
            Quota::with_period(interval).unwrap_or(Quota::per_second(NonZeroU32::MIN)).allow_burst(burst);
        let limiter = RateLimiter::new(quota, DashMapStateStore::default(), TokioClock);
        Self { limiter, interval, slow: DashMap::new() }
    }

    /// Waits until one more request may be sent, which then is taken as sent.
    pub async fn take(&self, key: &K) {
        if let Some(turn) = self.slow_turn(key) {
            sleep_until(turn).await;
        }
        while let Err(not_until) = self.limiter.check_key(key) {
            sleep(not_until.wait_time_from(TokioClock.now())).await;
        }
    }

    /// The next turn at the slower pace, if the key was throttled.
    fn slow_turn(&self, key: &K) -> Option<Instant> {
        let mut slow = self.slow.get_mut(key)?;
        let turn = slow.next.max(Instant::now());
        slow.next = turn + slow.interval;
        Some(turn)
    }

    /// The service refused a request for its rate: they come at half the pace from now on.
    pub fn throttled(&self, key: &K) {
        let now = Instant::now();
        let new = || Slow { interval: self.interval, next: now };
        let mut slow = self.slow.entry(key.clone()).or_insert_with(new);
        slow.interval = slow.interval.saturating_mul(2).min(SLOWEST.max(self.interval));
        slow.next = slow.next.max(now + slow.interval);
    }

    /// The service answered.
    pub fn answered(&self, key: &K) {
        let Some(mut slow) = self.slow.get_mut(key) else { return };
        slow.interval = slow.interval.mul_f64(RECOVERY);
        let recovered = slow.interval <= self.interval;
        drop(slow);
        if recovered {
            self.slow.remove_if(key, |_, slow| slow.interval <= self.interval);
        }
    }

    /// The time between two requests at the key's present pace.
    pub fn interval(&self, key: &K) -> Duration {
        self.slow.get(key).map_or(self.interval, |slow| slow.interval)
    }

    /// Forgets the keys under which nothing was sent lately: they cost memory and have their whole budget anyway.
    pub fn forget_idle(&self) {
        self.limiter.retain_recent();
        let now = Instant::now();
        // What was throttled long ago says nothing about now.
        self.slow.retain(|_, slow| now.saturating_duration_since(slow.next) < Duration::from_mins(10));
    }
}

/// A tenth of the rate, at least one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between one and a hundred thousand"
)]
fn burst_of(rate: f64) -> NonZeroU32 {
    NonZeroU32::new((rate / 10.0) as u32).unwrap_or(NonZeroU32::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `count` times and returns when each was let through.
    async fn taken(budget: &Budget<u8>, key: u8, count: usize) -> Vec<Duration> {
        let started = Instant::now();
        let mut times = Vec::new();
        for _ in 0..count {
            budget.take(&key).await;
            times.push(started.elapsed());
        }
        times
    }

    fn most_in_a_second(times: &[Duration]) -> usize {
        let within = |from: &Duration| {
            times.iter().filter(|t| **t >= *from && **t < *from + Duration::from_secs(1)).count()
        };
        times.iter().map(within).max().unwrap_or(0)
    }

    #[tokio::test(start_paused = true)]
    async fn no_second_has_more_than_the_budget_and_the_budget_is_used() {
        for rate in [1_u16, 4, 20, 100, 400] {
            let budget = Budget::per_second(f64::from(rate));
            let times = taken(&budget, 1, usize::from(rate) * 10).await;
            let most = most_in_a_second(&times);
            assert!(most <= usize::from(rate), "{most} of {rate}");
            let took = times.last().unwrap().as_secs_f64();
            assert!((9.0..12.5).contains(&took), "{rate}: {took}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn keys_have_budgets_of_their_own() {
        let budget = Budget::per_second(1.0);
        let started = Instant::now();
        budget.take(&1).await;
        budget.take(&2).await;
        assert_eq!(started.elapsed(), Duration::ZERO);
        budget.take(&1).await;
        assert!(started.elapsed() >= Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn throttling_halves_the_pace_and_answers_bring_it_back() {
        let budget = Budget::per_second(4.0);
        budget.throttled(&1);
        budget.throttled(&1);
        assert_eq!(budget.interval(&1), Duration::from_secs(1));
        assert_eq!(budget.interval(&2), Duration::from_millis(250));
        let times = taken(&budget, 1, 4).await;
        assert!(times[3] - times[0] >= Duration::from_secs(3), "{times:?}");
        for _ in 0..100 {
            budget.throttled(&1);
        }
        assert_eq!(budget.interval(&1), SLOWEST);
        let mut answers = 0;
        while budget.interval(&1) > Duration::from_millis(250) {
            budget.answered(&1);
            answers += 1;
        }
        assert!((50..100).contains(&answers), "{answers}");
        assert!(budget.slow.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn idle_keys_are_forgotten() {
        let budget = Budget::per_second(100.0);
        for key in 0..100 {
            budget.take(&key).await;
        }
        budget.throttled(&1);
        sleep(Duration::from_mins(11)).await;
        budget.forget_idle();
        assert!(budget.limiter.is_empty() && budget.slow.is_empty());
    }
}
