//! The pipeline's metrics, defined once: names, units, labels.
//!
//! Counters start at zero with the process, as Prometheus expects; what was counted since the store was made is in the
//! ledger and in the totals. The only label with free text is a source's configured name.

use std::sync::Arc;
use std::time::Duration;

use dormouse_cloudtrail::Control;
use dormouse_ledger::{Counts, Tally};
use dormouse_model::{EventTime, Kind};
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// What the pipeline measures.
#[derive(Debug)]
pub struct Metrics {
    pub(crate) events: IntCounterVec,
    pub(crate) controls: IntCounterVec,
    pub(crate) observations: IntCounterVec,
    pub(crate) late: IntCounterVec,
    pub(crate) lag: Histogram,
    pub(crate) last_event: IntGauge,
    pub(crate) epochs: IntCounter,
    pub(crate) commit_seconds: Histogram,
    pub(crate) commits_refused: IntCounter,
    pub(crate) fold_seconds: Histogram,
    pub(crate) paused: IntGauge,
}

/// Seconds from an event to its effect: CloudTrail alone takes minutes, a backlog hours.
const LAG_BUCKETS: [f64; 14] =
    [1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 21_600.0, 86_400.0, 604_800.0];
/// Seconds on the disk.
const DISK_BUCKETS: [f64; 11] = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

impl Metrics {
    pub(crate) fn new() -> prometheus::Result<Self> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(name, help).namespace("dormouse"), labels)
        };
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            Histogram::with_opts(
                HistogramOpts::new(name, help).namespace("dormouse").buckets(buckets.to_vec()),
            )
        };
        let counter =
            |name: &str, help: &str| IntCounter::with_opts(Opts::new(name, help).namespace("dormouse"));
        let gauge = |name: &str, help: &str| IntGauge::with_opts(Opts::new(name, help).namespace("dormouse"));
        Ok(Self {
            events: counters(
                "events_total",
                "Records by what became of them: applied, duplicate, quarantined, malformed, other_service.",
                &["source", "outcome"],
            )?,
            controls: counters(
                "control_messages_total",
                "Messages, or parts of them, that carry no event and were acknowledged, by what they are: logs_check, s3_test, s3_other, sns_subscription, sns_unsubscription.",
                &["source", "kind"],
            )?,
            observations: counters(
                "observations_total",
                "Uses, attempts and changes of keys that were counted; second copies, logged in the callers' accounts, apart.",
                &["kind", "copy"],
            )?,
            late: counters(
                "late_uncounted_total",
                "Uses, attempts and changes too old to tell whether they had been counted: their evidence was merged.",
                &["kind"],
            )?,
            lag: histogram(
                "event_lag_seconds",
                "Time from an event to the commit of its effect, for each observation.",
                &LAG_BUCKETS,
            )?,
            last_event: gauge(
                "last_event_timestamp_seconds",
                "Time of the latest event ever applied by this process.",
            )?,
            epochs: counter("epochs_total", "Epochs committed.")?,
            commit_seconds: histogram(
                "store_commit_seconds",
                "Time that a commit took on the disk.",
                &DISK_BUCKETS,
            )?,
            commits_refused: counter(
                "store_commits_refused_total",
                "Commits that the store refused for now; each was tried again.",
            )?,
            fold_seconds: histogram(
                "store_fold_seconds",
                "Time that writing the key tables took.",
                &DISK_BUCKETS,
            )?,
            paused: gauge(
                "store_paused",
                "1 while commits are refused (the disk is full, say), so that nothing is acknowledged.",
            )?,
        })
    }

    /// Shows them in this registry.
    pub fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.events.clone()))?;
        registry.register(Box::new(self.controls.clone()))?;
        registry.register(Box::new(self.observations.clone()))?;
        registry.register(Box::new(self.late.clone()))?;
        registry.register(Box::new(self.lag.clone()))?;
        registry.register(Box::new(self.last_event.clone()))?;
        registry.register(Box::new(self.epochs.clone()))?;
        registry.register(Box::new(self.commit_seconds.clone()))?;
        registry.register(Box::new(self.commits_refused.clone()))?;
        registry.register(Box::new(self.fold_seconds.clone()))?;
        registry.register(Box::new(self.paused.clone()))
    }

    /// What became of one source's records.
    pub(crate) fn note_events(&self, source: &str, tally: Tally) {
        let applied = tally.kms.saturating_sub(tally.duplicates + tally.quarantined);
        for (outcome, count) in [
            ("applied", applied),
            ("duplicate", tally.duplicates),
            ("quarantined", tally.quarantined),
            ("malformed", tally.malformed),
            ("other_service", tally.read.saturating_sub(tally.kms)),
        ] {
            self.events.with_label_values(&[source, outcome]).inc_by(count);
        }
    }

    /// What carried no event in one epoch.
    pub(crate) fn note_controls(&self, observed: &Observed) {
        for (source, control, count) in &observed.controls {
            self.controls.with_label_values(&[source, control.name()]).inc_by(*count);
        }
    }

    /// What was observed in one epoch.
    pub(crate) fn note_observations(&self, observed: &Observed, now: EventTime) {
        for kind in Kind::ALL {
            for (copy, counts) in [("own", observed.counted), ("second", observed.second_copies)] {
                self.observations.with_label_values(&[kind_name(kind), copy]).inc_by(of_kind(counts, kind));
            }
            self.late.with_label_values(&[kind_name(kind)]).inc_by(of_kind(observed.late, kind));
        }
        let lag = self.lag.local();
        for &time in &observed.times {
            lag.observe(f64::from(now.seconds_since(time)));
        }
        lag.flush();
        if let Some(latest) = observed.times.iter().max() {
            self.last_event.set(self.last_event.get().max(i64::from(latest.seconds())));
        }
    }
}

/// The observations of one epoch, for the metrics.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    /// When each event happened.
    pub times: Vec<EventTime>,
    /// Logged in the keys' own accounts.
    pub counted: Counts,
    /// Logged in the callers' accounts.
    pub second_copies: Counts,
    pub late: Counts,
    /// What became of the records, by source.
    pub sources: Vec<(Arc<str>, Tally)>,
    /// What carried no event, by source.
    pub controls: Vec<(Arc<str>, Control, u64)>,
}

const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Use => "use",
        Kind::Attempt => "attempt",
        Kind::Change => "change",
    }
}

const fn of_kind(counts: Counts, kind: Kind) -> u64 {
    match kind {
        Kind::Use => counts.uses,
        Kind::Attempt => counts.attempts,
        Kind::Change => counts.changes,
    }
}

/// Observes how long something took.
pub(crate) fn observe(histogram: &Histogram, took: Duration) {
    histogram.observe(took.as_secs_f64());
}
