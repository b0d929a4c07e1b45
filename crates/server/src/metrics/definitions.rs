//! Every metric of this crate: its name with its unit, what it says, and its labels, all of which are bounded.

use std::collections::HashMap;

use prometheus::core::Desc;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

/// One metric.
#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) labels: &'static [&'static str],
}

const fn define(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Definition {
    Definition { name, help, labels }
}

pub(crate) const BUILD_INFO: Definition =
    define("dormouse_build_info", "Always 1; the label says which version runs.", &["version"]);
pub(crate) const START_TIME: Definition =
    define("dormouse_start_time_seconds", "When the process started, in seconds since 1970.", &[]);
pub(crate) const READY: Definition =
    define("dormouse_ready", "1 if everything works, 0 if /readyz has reasons why not.", &[]);

pub(crate) const KEYS: Definition = define(
    "dormouse_keys",
    "Keys, by account, Region, state and verdict as of the last count; accounts for which there is no room are \"other\".",
    &["account", "region", "state", "verdict"],
);
pub(crate) const KEYS_BY_IDLE_AGE: Definition = define(
    "dormouse_keys_by_idle_age",
    "Keys without a use for so long or ever, and keys never used, as of the last count.",
    &["idle_over"],
);
pub(crate) const COUNT_AGE: Definition =
    define("dormouse_key_count_age_seconds", "How long ago the keys were counted.", &[]);
pub(crate) const COUNT_DURATION: Definition =
    define("dormouse_key_count_duration_seconds", "How long the last count of the keys took.", &[]);
pub(crate) const QUARANTINE_MESSAGES: Definition = define(
    "dormouse_quarantine_messages",
    "Messages in the quarantine, as of the last count of the keys.",
    &[],
);
pub(crate) const QUARANTINE_BYTES: Definition = define(
    "dormouse_quarantine_bytes",
    "Bytes of the messages in the quarantine, as of the last count of the keys.",
    &[],
);

pub(crate) const HTTP_REQUESTS: Definition = define(
    "dormouse_http_requests_total",
    "Answered HTTP requests, by route and class of status.",
    &["route", "status"],
);
pub(crate) const HTTP_REFUSED_TOKENS: Definition =
    define("dormouse_http_refused_tokens_total", "HTTP requests without the right token.", &[]);
pub(crate) const HTTP_CONNECTIONS: Definition =
    define("dormouse_http_connections", "Open HTTP connections.", &[]);

const SOURCE: &[&str] = &["source"];
const PLACE: &[&str] = &["account", "region"];

pub(crate) const SOURCE_UP: Definition =
    define("dormouse_source_up", "1 if the source receives and nothing is wrong with it.", SOURCE);
pub(crate) const SOURCE_RECEIVED: Definition = define(
    "dormouse_source_received_total",
    "Messages of a queue or records of a stream that were delivered, those that came again included.",
    SOURCE,
);
pub(crate) const SOURCE_SUBMITTED: Definition =
    define("dormouse_source_submitted_total", "Messages handed over to be decoded.", SOURCE);
pub(crate) const SOURCE_REDELIVERED: Definition = define(
    "dormouse_source_redelivered_total",
    "Messages that came again while an earlier copy was in flight.",
    SOURCE,
);
pub(crate) const SOURCE_DELETED: Definition =
    define("dormouse_source_deleted_total", "Messages deleted after their commit.", SOURCE);
pub(crate) const SOURCE_DELETE_RETRIES: Definition =
    define("dormouse_source_delete_retries_total", "Deletes of a message that had to be repeated.", SOURCE);
pub(crate) const SOURCE_DELETE_LOST: Definition = define(
    "dormouse_source_delete_lost_total",
    "Committed messages that the queue no longer knew when they were to be deleted.",
    SOURCE,
);
pub(crate) const SOURCE_LEFT: Definition = define(
    "dormouse_source_left_total",
    "Messages left to come back or to go to the redrive policy, and records left to be read again.",
    SOURCE,
);
pub(crate) const SOURCE_EXTENDED: Definition =
    define("dormouse_source_extended_total", "Extensions of a message's visibility timeout.", SOURCE);
pub(crate) const SOURCE_LAPSED: Definition = define(
    "dormouse_source_lapsed_total",
    "Messages that could not be kept invisible until their commit.",
    SOURCE,
);
pub(crate) const SOURCE_RELEASED: Definition =
    define("dormouse_source_released_total", "Messages made visible again at a stop.", SOURCE);
pub(crate) const SOURCE_EMPTY_RECEIVES: Definition =
    define("dormouse_source_empty_receives_total", "Receives that returned no message.", SOURCE);
pub(crate) const SOURCE_RECEIVE_ERRORS: Definition = define(
    "dormouse_source_receive_errors_total",
    "Failed receives from a queue, and failed calls of any kind to a stream, by class of error.",
    &["source", "class"],
);
pub(crate) const SOURCE_POLLERS: Definition =
    define("dormouse_source_pollers", "Tasks that receive now.", SOURCE);
pub(crate) const SOURCE_IN_FLIGHT: Definition =
    define("dormouse_source_in_flight_messages", "Messages received and neither deleted nor left.", SOURCE);
pub(crate) const SOURCE_UNDELETED: Definition =
    define("dormouse_source_undeleted_messages", "Messages committed and not yet deleted.", SOURCE);

pub(crate) const SOURCE_RECEIVED_BYTES: Definition = define(
    "dormouse_source_received_bytes_total",
    "Bytes of the records of a stream that were delivered, those that came again included.",
    SOURCE,
);
pub(crate) const SOURCE_ACKNOWLEDGED: Definition = define(
    "dormouse_source_acknowledged_total",
    "Records of a stream whose effect is durable, with the position behind them.",
    SOURCE,
);
pub(crate) const SOURCE_READS: Definition =
    define("dormouse_source_reads_total", "Answered reads of a stream's shards.", SOURCE);
pub(crate) const SOURCE_EMPTY_READS: Definition =
    define("dormouse_source_empty_reads_total", "Of these, reads that returned no record.", SOURCE);
pub(crate) const SOURCE_THROTTLED: Definition = define(
    "dormouse_source_throttled_total",
    "Reads of a stream that were refused for their pace, which all its consumers share.",
    SOURCE,
);
pub(crate) const SOURCE_EXPIRED_ITERATORS: Definition = define(
    "dormouse_source_expired_iterators_total",
    "Places in a stream's shards that had grown too old, and were asked for again.",
    SOURCE,
);
pub(crate) const SOURCE_IN_FLIGHT_BATCHES: Definition = define(
    "dormouse_source_in_flight_batches",
    "Batches of a stream's records handed over and neither committed nor left.",
    SOURCE,
);
pub(crate) const SOURCE_BEHIND: Definition = define(
    "dormouse_source_behind_seconds",
    "How far the slowest shard is behind its stream's newest records, as the stream says.",
    SOURCE,
);
pub(crate) const SOURCE_SHARDS: Definition = define(
    "dormouse_source_shards",
    "Shards of a stream that take records, that are being read, and that were read to their end.",
    &["source", "state"],
);

pub(crate) const OBJECTS: Definition = define(
    "dormouse_source_objects_total",
    "Announced objects by what became of them: fetched, control (no logs, unread), refused, missing, damaged.",
    &["source", "outcome"],
);
pub(crate) const OBJECT_BYTES: Definition = define(
    "dormouse_source_object_bytes_total",
    "Bytes of announced objects that were read: packed as they lie in their bucket, unpacked as text.",
    &["source", "form"],
);
pub(crate) const OBJECT_ERRORS: Definition = define(
    "dormouse_source_object_errors_total",
    "Failed tries to read an announced object, by class of error.",
    &["source", "class"],
);
pub(crate) const OBJECT_BAD_RECORDS: Definition = define(
    "dormouse_source_object_bad_records_total",
    "Records in announced objects that could not be applied.",
    SOURCE,
);
pub(crate) const OBJECTS_LEFT: Definition = define(
    "dormouse_source_objects_left_total",
    "Messages left to come back because an object that they announce stayed out of reach.",
    SOURCE,
);
pub(crate) const OBJECTS_IN_PROGRESS: Definition =
    define("dormouse_source_objects_in_progress", "Announced objects that are being read.", SOURCE);

/// Where there is no room for an account, `other` stands for it.
pub(crate) const RECEIVED: Definition = define(
    "dormouse_received_seconds",
    "For how long, up to now, everything that reached the source from there was taken without a hole; of \"other\", the least.",
    &["account", "region", "source"],
);

pub(crate) const COVERAGE: Definition = define(
    "dormouse_coverage_seconds",
    "For how long, up to the last good heartbeat, events are proven to have arrived without a hole; 0 if blind; of \"other\", the least.",
    PLACE,
);
pub(crate) const HEARTBEAT_LAG: Definition = define(
    "dormouse_heartbeat_lag_seconds",
    "How long ago the last good heartbeat was; of \"other\", the longest.",
    PLACE,
);
pub(crate) const REGION_BLIND: Definition = define(
    "dormouse_region_blind",
    "1 if no event arrives from there now, or if that cannot be told.",
    PLACE,
);
pub(crate) const INVENTORY_AGE: Definition = define(
    "dormouse_reconcile_age_seconds",
    "How long ago the last complete list of keys was asked for; of \"other\", the longest.",
    PLACE,
);
pub(crate) const INVENTORY_STALE: Definition = define(
    "dormouse_reconcile_stale",
    "1 if what is known of the keys there is of an earlier time, because something fails or was not read.",
    PLACE,
);
pub(crate) const MISSED_USES: Definition = define(
    "dormouse_missed_uses",
    "Uses that KMS knows and that never arrived, since the store was made.",
    &[],
);

/// On `/metrics/keys` only.
pub(crate) const KEY_LAST_USE: Definition = define(
    "dormouse_key_last_use_timestamp_seconds",
    "When the key was last used, in seconds since 1970.",
    &["arn", "account", "region", "alias"],
);
/// On `/metrics/keys` only.
pub(crate) const KEY_LAST_ATTEMPT: Definition = define(
    "dormouse_key_last_attempt_timestamp_seconds",
    "When a use of the key last failed, in seconds since 1970.",
    &["arn", "account", "region", "alias"],
);
/// On `/metrics/keys` only.
pub(crate) const KEY_SERIES_TRUNCATED: Definition = define(
    "dormouse_key_series_truncated",
    "How many series of keys were left out because of [http] max_key_series.",
    &[],
);

/// The values of a metric's labels, and its value.
pub(crate) type Row = (Vec<String>, f64);

impl Definition {
    /// Counters end in `_total`, and nothing else does.
    pub(crate) fn is_counter(&self) -> bool {
        self.name.ends_with("_total")
    }

    pub(crate) fn desc(&self) -> Result<Desc, prometheus::Error> {
        let labels = self.labels.iter().map(|&label| label.to_owned()).collect();
        Desc::new(self.name.to_owned(), self.help.to_owned(), labels, HashMap::new())
    }

    /// The series with these values.
    pub(crate) fn family(&self, rows: impl IntoIterator<Item = Row>) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(if self.is_counter() { MetricType::COUNTER } else { MetricType::GAUGE });
        family.set_metric(rows.into_iter().map(|(values, value)| self.metric(values, value)).collect());
        family
    }

    /// One series without labels.
    pub(crate) fn single(&self, value: f64) -> MetricFamily {
        self.family([(Vec::new(), value)])
    }

    fn metric(&self, values: Vec<String>, value: f64) -> Metric {
        let mut metric = Metric::default();
        let label = |(&name, value): (&&str, String)| {
            let mut label = LabelPair::default();
            label.set_name(name.to_owned());
            label.set_value(value);
            label
        };
        metric.set_label(self.labels.iter().zip(values).map(label).collect());
        if self.is_counter() {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        metric
    }
}

/// A count as Prometheus has numbers; exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "Prometheus knows no other numbers")]
pub(crate) fn number(count: u64) -> f64 {
    count as f64
}
