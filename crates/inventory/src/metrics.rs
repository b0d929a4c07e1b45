//! The inventory's metrics, defined once: names, units, labels.
//!
//! Counters start at zero with the process. No account, Region or key is a label: a thousand accounts have twenty
//! thousand places. How old the inventory of each place is can be asked of the API.

use std::time::Duration;

use dormouse_aws::{CountRequests, ErrorClass};
use dormouse_model::EventTime;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use crate::report::{KeyCounts, PassOutcome, PlaceCounts};

/// What the inventory measures.
#[derive(Debug)]
pub struct Metrics {
    requests: IntCounterVec,
    throttled: IntCounter,
    passes: IntCounterVec,
    pass_seconds: Histogram,
    last_success: IntGauge,
    due_keys: IntGauge,
    keys: IntCounterVec,
    places: IntGaugeVec,
    accounts: IntGaugeVec,
    heartbeats: IntCounterVec,
    usage_due: IntGauge,
}

/// Seconds that a pass takes: pages of a few accounts, or a first pass through a large organisation.
const PASS_BUCKETS: [f64; 10] = [1.0, 5.0, 15.0, 60.0, 180.0, 600.0, 1_200.0, 1_800.0, 3_600.0, 14_400.0];

impl Metrics {
    /// All at zero.
    pub fn new() -> prometheus::Result<Self> {
        let opts = |name: &str, help: &str| Opts::new(name, help).namespace("dormouse");
        let gauge = |name: &str, help: &str| IntGauge::with_opts(opts(name, help));
        let counters = |name: &str, help: &str, labels: &[&str]| IntCounterVec::new(opts(name, help), labels);
        let gauges = |name: &str, help: &str, labels: &[&str]| IntGaugeVec::new(opts(name, help), labels);
        let metrics = Self {
            requests: counters(
                "aws_requests_total",
                "Requests to KMS, STS and Organizations by what came of them: ok, transient, throttled, denied, poison, fatal.",
                &["service", "operation", "outcome"],
            )?,
            throttled: IntCounter::with_opts(opts(
                "reconcile_throttled_total",
                "Requests that were throttled; each halved the pace of its operation in its account and Region.",
            ))?,
            passes: counters(
                "reconcile_passes_total",
                "Passes by how they ended: done, incomplete, failed, stopped.",
                &["outcome"],
            )?,
            pass_seconds: Histogram::with_opts(
                HistogramOpts::new("reconcile_pass_seconds", "Time that a pass took.")
                    .namespace("dormouse")
                    .buckets(PASS_BUCKETS.to_vec()),
            )?,
            last_success: gauge(
                "reconcile_last_success_timestamp_seconds",
                "When the last pass through everything began that ended with nothing left unanswered.",
            )?,
            due_keys: gauge(
                "reconcile_due_keys",
                "Keys that were due to be described when the last pass ended.",
            )?,
            keys: counters(
                "reconcile_keys_total",
                "Keys looked at, by why or with what result: new, changed, gone, redescribed, refused, unanswered.",
                &["outcome"],
            )?,
            places: gauges(
                "inventory_places",
                "Accounts' Regions by what the last pass through them came to: done, not_enabled, incomplete, failed, left.",
                &["outcome"],
            )?,
            accounts: gauges(
                "inventory_accounts",
                "Accounts to be watched: active ones, and those that are not, such as suspended ones.",
                &["state"],
            )?,
            heartbeats: counters(
                "heartbeats_sent_total",
                "Heartbeats by whether KMS answered: ok, failed. A reconcile's own lists are heartbeats, too.",
                &["outcome"],
            )?,
            usage_due: gauge(
                "last_usage_due_keys",
                "Keys for which KMS was due to be asked for their last use when that was last reckoned.",
            )?,
        };
        // Series that are there from the start can be alerted on.
        for outcome in PassOutcome::ALL {
            metrics.passes.with_label_values(&[outcome.name()]);
        }
        for outcome in ["ok", "failed"] {
            metrics.heartbeats.with_label_values(&[outcome]);
        }
        Ok(metrics)
    }

    /// Shows them in this registry.
    pub fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.requests.clone()))?;
        registry.register(Box::new(self.throttled.clone()))?;
        registry.register(Box::new(self.passes.clone()))?;
        registry.register(Box::new(self.pass_seconds.clone()))?;
        registry.register(Box::new(self.last_success.clone()))?;
        registry.register(Box::new(self.due_keys.clone()))?;
        registry.register(Box::new(self.keys.clone()))?;
        registry.register(Box::new(self.places.clone()))?;
        registry.register(Box::new(self.accounts.clone()))?;
        registry.register(Box::new(self.heartbeats.clone()))?;
        registry.register(Box::new(self.usage_due.clone()))
    }

    pub(crate) fn note_pass(&self, outcome: PassOutcome, took: Duration) {
        self.passes.with_label_values(&[outcome.name()]).inc();
        self.pass_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn note_success(&self, began: EventTime) {
        self.last_success.set(i64::from(began.seconds()));
    }

    pub(crate) fn note_due(&self, keys: u64) {
        self.due_keys.set(i64::try_from(keys).unwrap_or(i64::MAX));
    }

    pub(crate) fn note_usage_due(&self, keys: usize) {
        self.usage_due.set(i64::try_from(keys).unwrap_or(i64::MAX));
    }

    pub(crate) fn note_keys(&self, keys: &KeyCounts) {
        for (outcome, count) in [
            ("new", keys.new),
            ("changed", keys.changed),
            ("gone", keys.gone),
            ("redescribed", keys.redescribed),
            ("refused", keys.refused),
            ("unanswered", keys.unanswered),
        ] {
            self.keys.with_label_values(&[outcome]).inc_by(count);
        }
    }

    pub(crate) fn note_places(&self, places: &PlaceCounts) {
        for (outcome, count) in [
            ("done", places.done),
            ("not_enabled", places.not_enabled),
            ("incomplete", places.incomplete),
            ("failed", places.failed),
            ("left", places.left),
        ] {
            self.places.with_label_values(&[outcome]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    pub(crate) fn note_accounts(&self, active: usize, inactive: usize) {
        for (state, count) in [("active", active), ("inactive", inactive)] {
            self.accounts.with_label_values(&[state]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    pub(crate) fn note_heartbeat(&self, answered: bool) {
        self.heartbeats.with_label_values(&[if answered { "ok" } else { "failed" }]).inc();
    }
}

impl CountRequests for Metrics {
    fn count(&self, action: &'static str, class: Option<ErrorClass>) {
        let (service, operation) = action.split_once(':').unwrap_or(("", action));
        let outcome = class.map_or("ok", ErrorClass::name);
        self.requests.with_label_values(&[service, operation, outcome]).inc();
        if class == Some(ErrorClass::Throttled) {
            self.throttled.inc();
        }
    }
}
