//! How a key is used, and when next.

use dormouse_model::EventTime;

/// How a key is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cadence {
    /// All the time. Thinned during history, by day and night.
    Busy,
    /// A job once a day.
    Daily,
    /// A job once a week.
    Weekly,
    /// Once a year: its last use lies before history, or falls into it.
    Seasonal,
    /// Used early in history at most, and by nobody since. Some are deleted.
    Dead,
    /// Never used.
    NeverUsed,
    /// Disabled during history; those who used it keep failing with `DisabledException`.
    DisabledButWanted,
    /// Its deletion was scheduled during history and lies ahead of history's end; those who used it keep failing with
    /// `KMSInvalidStateException`.
    PendingDeletionButWanted,
    /// An AWS managed key (`alias/aws/…`), used by its service now and then.
    Service,
}

impl Cadence {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Busy,
        Self::Daily,
        Self::Weekly,
        Self::Seasonal,
        Self::Dead,
        Self::NeverUsed,
        Self::DisabledButWanted,
        Self::PendingDeletionButWanted,
        Self::Service,
    ];

    /// The cadence of the key at this place; the first ten places have them all.
    pub(super) fn at(place: usize) -> Self {
        match place % 20 {
            0 | 10 | 16 => Self::Busy,
            2 | 17 => Self::NeverUsed,
            3 | 9 | 15 => Self::Dead,
            4 | 13 => Self::Weekly,
            5 | 19 => Self::Seasonal,
            6 if (place / 20).is_multiple_of(2) => Self::DisabledButWanted,
            8 if (place / 20).is_multiple_of(2) => Self::PendingDeletionButWanted,
            7 | 12 => Self::Service,
            _ => Self::Daily,
        }
    }
}

/// Times in milliseconds since 1970, so that many events fit into a second.
pub(super) type Millis = u64;

pub(super) const SECOND: Millis = 1_000;
pub(super) const HOUR: Millis = 3_600 * SECOND;
pub(super) const DAY: Millis = 24 * HOUR;

pub(super) fn millis(time: EventTime) -> Millis {
    u64::from(time.seconds()) * SECOND
}

pub(super) fn event_time(at: Millis) -> EventTime {
    EventTime::from_seconds(u32::try_from(at / SECOND).unwrap_or(u32::MAX))
}

/// How busy each hour of the day is, in percent of the busiest.
const HOURS: [u8; 24] =
    [22, 18, 16, 15, 16, 20, 34, 52, 78, 94, 100, 98, 92, 95, 100, 97, 90, 80, 66, 58, 50, 42, 34, 27];
/// The mean of the hours over weekdays and weekends, in percent.
const MEAN_HOUR: f64 = 49.6;

/// The rhythm of the whole organisation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rhythm {
    pub(super) live_from: Millis,
    /// Records per second of all busy keys during history, on average.
    pub(super) history_rate: f64,
    /// The same from then on.
    pub(super) live_rate: f64,
}

/// What a key's next use depends on, besides its own chances.
#[derive(Clone, Copy, Debug)]
pub(super) struct Habit {
    pub(super) cadence: Cadence,
    /// A busy key's share of all busy keys' traffic.
    pub(super) share: f64,
    /// When in the day or week the job runs.
    pub(super) slot: Millis,
    /// How many calls of the running job are still to come.
    pub(super) left: u32,
}

impl Rhythm {
    /// When the key is used next after `now`; `None` if not at all.
    pub(super) fn next_use(
        self,
        random: &mut fastrand::Rng,
        habit: &mut Habit,
        now: Millis,
    ) -> Option<Millis> {
        match habit.cadence {
            Cadence::Busy => self.next_busy(random, habit.share, now),
            Cadence::Daily => Some(next_job(random, habit, now, DAY)),
            Cadence::Weekly => Some(next_job(random, habit, now, 7 * DAY)),
            Cadence::Service => Some(self.next_of(random, now, 8 * HOUR, HOUR / 4)),
            Cadence::DisabledButWanted | Cadence::PendingDeletionButWanted => {
                Some(self.next_of(random, now, 3 * HOUR, HOUR / 15))
            }
            Cadence::Seasonal | Cadence::Dead | Cadence::NeverUsed => None,
        }
    }

    /// The next of events that are so far apart on average, during history and from then on.
    pub(super) fn next_of(
        self,
        random: &mut fastrand::Rng,
        now: Millis,
        history: Millis,
        live: Millis,
    ) -> Millis {
        if now < self.live_from {
            let next = now + wait(random, history);
            if next < self.live_from {
                return next;
            }
        }
        now.max(self.live_from) + wait(random, live)
    }

    fn next_busy(self, random: &mut fastrand::Rng, share: f64, now: Millis) -> Option<Millis> {
        let mut at = now;
        let peak = self.history_rate * share * 100.0 / MEAN_HOUR;
        while at < self.live_from {
            at = at.saturating_add(wait_at_rate(random, peak)?);
            if at < self.live_from && random.u8(..100) < business(at) {
                return Some(at);
            }
        }
        Some(now.max(self.live_from).saturating_add(wait_at_rate(random, self.live_rate * share)?))
    }
}

/// How busy this hour is, in percent.
fn business(at: Millis) -> u8 {
    let hour = usize::try_from(at / HOUR % 24).unwrap_or(0);
    // 1970-01-01 was a Thursday.
    let is_weekend = matches!((at / DAY + 3) % 7, 5 | 6);
    if is_weekend { HOURS[hour] / 2 + 5 } else { HOURS[hour] }
}

fn next_job(random: &mut fastrand::Rng, habit: &mut Habit, now: Millis, period: Millis) -> Millis {
    if habit.left > 0 {
        habit.left -= 1;
        return now + random.u64(SECOND..20 * SECOND);
    }
    habit.left = random.u32(0..3);
    let run = now / period * period + habit.slot % period;
    let run = if run > now { run } else { run + period };
    run + random.u64(..600 * SECOND)
}

/// A random wait with this mean.
fn wait(random: &mut fastrand::Rng, mean: Millis) -> Millis {
    #[expect(clippy::cast_precision_loss, reason = "means are hours")]
    let rate = 1_000.0 / mean as f64;
    wait_at_rate(random, rate).unwrap_or(mean)
}

/// A random wait for events that come so often per second; `None` if they never come.
fn wait_at_rate(random: &mut fastrand::Rng, rate: f64) -> Option<Millis> {
    if rate <= 0.0 {
        return None;
    }
    let seconds = -(1.0 - random.f64()).ln() / rate;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturating, and never negative"
    )]
    let wait = (seconds * 1_000.0) as u64;
    Some(wait.clamp(1, 400 * 366 * DAY))
}
