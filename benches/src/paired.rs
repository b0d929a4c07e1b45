//! Two ways of doing the same, in turn, and the ratio of their medians.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a bench measures real time and prints it"
)]

use std::time::{Duration, Instant};

/// A second that is over wherever this runs: a record from the future would be held back instead of applied.
pub(crate) const PAST: u32 = 1_767_225_600;

/// How long something took.
pub(crate) fn time<R>(work: impl FnOnce() -> R) -> (Duration, R) {
    let start = Instant::now();
    let result = work();
    (start.elapsed(), result)
}

/// The middle one of several times.
pub(crate) fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// A comparison: ours, and what it is held against, over the same amount of work.
pub(crate) struct Comparison {
    pub what: &'static str,
    pub against: &'static str,
    /// What one round does, e.g. records.
    pub amount: f64,
    pub unit: &'static str,
    pub aim: f64,
    pub ours: Vec<Duration>,
    pub theirs: Vec<Duration>,
}

impl Comparison {
    /// Prints both rates, their ratio and the aim.
    pub(crate) fn print(mut self) {
        let (ours, theirs) = (median(&mut self.ours), median(&mut self.theirs));
        let rate = |time: Duration| self.amount / time.as_secs_f64();
        let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
        let met = if ratio >= self.aim { "met" } else { "MISSED" };
        println!(
            "{:<42} {:>12.0} {unit}/s   {:<38} {:>12.0} {unit}/s   ratio {ratio:.2}   aim {:.2} {met}",
            self.what,
            rate(ours),
            self.against,
            rate(theirs),
            self.aim,
            unit = self.unit,
        );
    }
}

/// Prints a figure that has an upper bound.
pub(crate) fn print_bounded(what: &str, figure: f64, unit: &str, most: f64) {
    let met = if figure <= most { "met" } else { "MISSED" };
    println!("{what:<42} {figure:>12.2} {unit}   aim at most {most} {met}");
}
