//! The sources of events, each with the settings of its type.
//!
//! The file has one table a source; which settings it may have depends on its `type`. All of them are read as one set, so
//! that a wrong value is told with its line, and a setting of another type is found before, by [`refuse_misplaced`].

use std::time::Duration;

use anyhow::{Context, bail};
use dormouse_model::EventTime;
use dormouse_pipeline::AllowedObjects;
use dormouse_sources::kinesis::{KinesisOptions, Start};
use serde::{Deserialize, Deserializer};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::values::{some_bytes, some_duration};

/// One source of events.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Settings")]
pub(crate) struct SourceConfig {
    /// Its name in logs and metrics.
    pub(crate) name: String,
    /// The Region of the queue or stream; by default the one in its URL or ARN.
    pub(crate) region: Option<String>,
    /// Another endpoint than AWS's own, for tests and private links.
    pub(crate) endpoint_url: Option<String>,
    /// What it is.
    pub(crate) kind: SourceKind,
}

/// The sorts of sources, with what only they have.
#[derive(Clone, Debug)]
pub(crate) enum SourceKind {
    /// An SQS queue.
    Sqs(QueueConfig),
    /// A Kinesis stream.
    Kinesis(StreamConfig),
}

/// An SQS queue.
#[derive(Clone, Debug)]
pub(crate) struct QueueConfig {
    /// The queue, `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`.
    pub(crate) queue_url: String,
    /// How many receives run at once at the most.
    pub(crate) max_pollers: usize,
    /// How long a received message stays hidden from others; extended while it is worked on.
    pub(crate) visibility_timeout: Duration,
    /// How long a receive waits for messages.
    pub(crate) wait_time: Duration,
    /// What happens to a message that cannot be decoded.
    pub(crate) on_poison: OnPoison,
    /// The buckets, or parts of them, whose announced objects are read; none if empty.
    pub(crate) buckets: Vec<String>,
    /// Another endpoint of S3 than AWS's own, for tests and private links.
    pub(crate) s3_endpoint_url: Option<String>,
}

/// A Kinesis stream.
#[derive(Clone, Debug)]
pub(crate) struct StreamConfig {
    /// The stream's name or ARN.
    pub(crate) stream: String,
    /// Where to start while no position is known.
    pub(crate) start: Start,
    /// How many bytes of records may be held, over all shards.
    pub(crate) in_flight_bytes: u64,
    /// How often a shard is read at most.
    pub(crate) reads_per_second: f64,
    /// How long a shard of which everything is read is left alone.
    pub(crate) poll_interval: Duration,
}

/// What happens to a message that cannot be decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnPoison {
    /// It is kept in the quarantine and deleted from the queue.
    #[default]
    Quarantine,
    /// It is left to the queue's redrive policy.
    Redrive,
}

/// The types by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Type {
    Sqs,
    Kinesis,
}

/// What sources of all types may have.
const COMMON: &[&str] = &["name", "type", "region", "endpoint_url", "on_poison"];
/// What only queues have.
const OF_QUEUES: &[&str] =
    &["queue_url", "max_pollers", "visibility_timeout", "wait_time", "buckets", "s3_endpoint_url"];
/// What only streams have.
const OF_STREAMS: &[&str] = &["stream", "start", "in_flight_bytes", "reads_per_second", "poll_interval"];

impl Type {
    const ALL: [Self; 2] = [Self::Sqs, Self::Kinesis];

    const fn name(self) -> &'static str {
        match self {
            Self::Sqs => "sqs",
            Self::Kinesis => "kinesis",
        }
    }

    const fn own(self) -> &'static [&'static str] {
        match self {
            Self::Sqs => OF_QUEUES,
            Self::Kinesis => OF_STREAMS,
        }
    }
}

/// One table, as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    name: String,
    #[serde(rename = "type")]
    kind: Type,
    region: Option<String>,
    endpoint_url: Option<String>,
    on_poison: Option<OnPoison>,
    queue_url: Option<String>,
    max_pollers: Option<usize>,
    #[serde(default, deserialize_with = "some_duration")]
    visibility_timeout: Option<Duration>,
    #[serde(default, deserialize_with = "some_duration")]
    wait_time: Option<Duration>,
    buckets: Option<Vec<String>>,
    s3_endpoint_url: Option<String>,
    stream: Option<String>,
    #[serde(default, deserialize_with = "start")]
    start: Option<Start>,
    #[serde(default, deserialize_with = "some_bytes")]
    in_flight_bytes: Option<u64>,
    reads_per_second: Option<f64>,
    #[serde(default, deserialize_with = "some_duration")]
    poll_interval: Option<Duration>,
}

fn start<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Start>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let start = match text.as_str() {
        "latest" => Start::Latest,
        "trim_horizon" => Start::TrimHorizon,
        time => Start::Timestamp(time.parse::<EventTime>().map_err(|_| {
            serde::de::Error::custom(format!(
                "{text:?} is no start; use \"latest\", \"trim_horizon\" or a time like \"2026-01-31T08:00:00Z\""
            ))
        })?),
    };
    Ok(Some(start))
}

impl TryFrom<Settings> for SourceConfig {
    type Error = String;

    fn try_from(settings: Settings) -> Result<Self, String> {
        let missing = |key: &str| format!("a source of type {:?} needs {key}", settings.kind.name());
        let kind = match settings.kind {
            Type::Sqs => {
                let queue_url = settings.queue_url.ok_or_else(|| missing("queue_url"))?;
                let usual = QueueConfig::of(queue_url);
                SourceKind::Sqs(QueueConfig {
                    max_pollers: settings.max_pollers.unwrap_or(usual.max_pollers),
                    visibility_timeout: settings.visibility_timeout.unwrap_or(usual.visibility_timeout),
                    wait_time: settings.wait_time.unwrap_or(usual.wait_time),
                    on_poison: settings.on_poison.unwrap_or_default(),
                    buckets: settings.buckets.unwrap_or_default(),
                    s3_endpoint_url: settings.s3_endpoint_url,
                    ..usual
                })
            }
            Type::Kinesis => {
                if settings.on_poison == Some(OnPoison::Redrive) {
                    return Err("on_poison = \"redrive\" needs a queue: a stream has no redrive policy, so what is left \
                                there would hold its shard up for ever; use \"quarantine\""
                        .into());
                }
                let stream = settings.stream.ok_or_else(|| missing("stream"))?;
                let usual = StreamConfig::of(stream);
                SourceKind::Kinesis(StreamConfig {
                    start: settings.start.unwrap_or(usual.start),
                    in_flight_bytes: settings.in_flight_bytes.unwrap_or(usual.in_flight_bytes),
                    reads_per_second: settings.reads_per_second.unwrap_or(usual.reads_per_second),
                    poll_interval: settings.poll_interval.unwrap_or(usual.poll_interval),
                    ..usual
                })
            }
        };
        let Settings { name, region, endpoint_url, .. } = settings;
        Ok(Self { name, region, endpoint_url, kind })
    }
}

impl QueueConfig {
    fn of(queue_url: String) -> Self {
        Self {
            queue_url,
            max_pollers: 32,
            visibility_timeout: Duration::from_secs(60),
            wait_time: Duration::from_secs(20),
            on_poison: OnPoison::default(),
            buckets: Vec::new(),
            s3_endpoint_url: None,
        }
    }

    /// The buckets, or parts of them, whose announced objects are read.
    pub(crate) fn allowed(&self) -> anyhow::Result<AllowedObjects> {
        AllowedObjects::parse(self.buckets.iter().map(String::as_str)).context("buckets")
    }

    fn check(&self) -> anyhow::Result<()> {
        if !self.queue_url.starts_with("https://") && !self.queue_url.starts_with("http://") {
            bail!(
                "queue_url: {:?} is no URL; it looks like https://sqs.eu-west-1.amazonaws.com/111122223333/dormouse",
                self.queue_url
            );
        }
        if !(1..=256).contains(&self.max_pollers) {
            bail!("max_pollers: 1 to 256");
        }
        if !(Duration::from_secs(10)..=Duration::from_secs(43_200)).contains(&self.visibility_timeout) {
            bail!("visibility_timeout: \"10s\" to \"12h\", which is the most that SQS allows");
        }
        if self.wait_time > Duration::from_secs(20) {
            bail!("wait_time: at most \"20s\", which is the most that SQS allows");
        }
        self.allowed().map(drop)
    }
}

impl StreamConfig {
    fn of(stream: String) -> Self {
        let usual = KinesisOptions::new("", "");
        Self {
            stream,
            start: usual.start,
            in_flight_bytes: u64::try_from(usual.in_flight_bytes).unwrap_or(u64::MAX),
            reads_per_second: usual.reads_per_second,
            poll_interval: usual.poll_interval,
        }
    }

    /// What the source is made with.
    pub(crate) fn options(&self, name: &str) -> KinesisOptions {
        KinesisOptions {
            start: self.start,
            in_flight_bytes: usize::try_from(self.in_flight_bytes).unwrap_or(usize::MAX),
            reads_per_second: self.reads_per_second,
            poll_interval: self.poll_interval,
            ..KinesisOptions::new(name, self.stream.as_str())
        }
    }
}

impl SourceConfig {
    /// The defaults for this queue.
    pub(super) fn for_queue(name: &str, queue_url: &str) -> Self {
        Self {
            name: name.to_owned(),
            region: None,
            endpoint_url: None,
            kind: SourceKind::Sqs(QueueConfig::of(queue_url.to_owned())),
        }
    }

    pub(super) fn check(&self) -> anyhow::Result<()> {
        let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if self.name.is_empty() || self.name.len() > 64 || !self.name.bytes().all(is_name) {
            bail!("name: 1 to 64 letters, digits, dashes, dots and underscores");
        }
        match &self.kind {
            SourceKind::Sqs(queue) => queue.check(),
            // The source knows best what can work; its words name the setting.
            SourceKind::Kinesis(stream) => Ok(stream.options(&self.name).validate()?),
        }
    }
}

/// Refuses settings of another type than the source's, with the line: left to the types, the error would have none.
pub(super) fn refuse_misplaced(text: &str) -> anyhow::Result<()> {
    // What is wrong with a file that cannot be read at all is told by whoever reads it.
    let Ok(file) = DeTable::parse(text) else { return Ok(()) };
    let sources = file.get_ref().get("sources").and_then(|sources| sources.get_ref().as_array());
    let tables = sources
        .into_iter()
        .flat_map(|sources| sources.iter())
        .filter_map(|source| source.get_ref().as_table());
    for table in tables {
        let named = table.get("type").map(Spanned::get_ref).and_then(DeValue::as_str);
        let Some(kind) = Type::ALL.into_iter().find(|kind| Some(kind.name()) == named) else { continue };
        for key in table.keys() {
            let name = key.get_ref().as_ref();
            let other = Type::ALL.into_iter().find(|other| *other != kind && other.own().contains(&name));
            if let Some(other) = other {
                let line = 1 + text[..key.span().start].bytes().filter(|&b| b == b'\n').count();
                let allowed = [COMMON, kind.own()].concat().join(", ");
                bail!(
                    "line {line}: {name} is a setting of sources of type {:?}; one of type {:?} has {allowed}",
                    other.name(),
                    kind.name()
                );
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    const QUEUE: &str = "name = \"bus\"\ntype = \"sqs\"\nqueue_url = \"https://sqs.eu-west-1.amazonaws.com/111122223333/q\"\n";
    const STREAM: &str = "name = \"flow\"\ntype = \"kinesis\"\nstream = \"dormouse\"\n";

    fn parse(source: &str) -> Result<SourceConfig, String> {
        let text = format!("[[sources]]\n{source}");
        let config = Config::parse(&text, std::iter::empty()).map_err(|error| format!("{error:#}"))?;
        Ok(config.sources.into_iter().next().unwrap())
    }

    #[track_caller]
    fn assert_refused(source: &str, words: &[&str]) {
        let error = parse(source).unwrap_err();
        for word in words {
            assert!(error.contains(word), "{word:?} is not in: {error}");
        }
    }

    #[test]
    fn both_types_have_defaults() {
        let SourceKind::Sqs(queue) = parse(QUEUE).unwrap().kind else { panic!() };
        assert_eq!((queue.max_pollers, queue.buckets.len()), (32, 0));
        let SourceKind::Kinesis(stream) = parse(STREAM).unwrap().kind else { panic!() };
        assert_eq!((stream.start, stream.in_flight_bytes), (Start::Latest, 64 << 20));
    }

    #[test]
    fn a_stream_starts_where_it_is_told() {
        let start = |start: &str| match parse(&format!("{STREAM}start = {start:?}\n"))?.kind {
            SourceKind::Kinesis(stream) => Ok(stream.start),
            SourceKind::Sqs(_) => Err("a queue".to_owned()),
        };
        assert_eq!(start("latest"), Ok(Start::Latest));
        assert_eq!(start("trim_horizon"), Ok(Start::TrimHorizon));
        let time = "2026-01-31T08:00:00Z".parse().unwrap();
        assert_eq!(start("2026-01-31T08:00:00Z"), Ok(Start::Timestamp(time)));
        let error = start("yesterday").unwrap_err();
        assert!(error.contains("line 5") && error.contains("trim_horizon"), "{error}");
    }

    #[test]
    fn a_setting_of_the_other_type_is_told_with_its_line_and_what_is_allowed() {
        assert_refused(
            &format!("{STREAM}wait_time = \"1s\"\n"),
            &["line 5", "wait_time", "\"sqs\"", "poll_interval"],
        );
        assert_refused(
            &format!("{QUEUE}start = \"latest\"\n"),
            &["line 5", "start", "\"kinesis\"", "buckets"],
        );
        // The type may stand behind it.
        assert_refused(
            "name = \"x\"\nbuckets = []\ntype = \"kinesis\"\nstream = \"s\"\n",
            &["line 3", "buckets", "reads_per_second"],
        );
    }

    #[test]
    fn every_setting_is_one_of_a_type_or_of_all() {
        let error = parse(&format!("{QUEUE}no_such_key = 1\n")).unwrap_err();
        for key in [COMMON, OF_QUEUES, OF_STREAMS].concat() {
            assert!(error.contains(&format!("`{key}`")), "{key} is not in: {error}");
        }
        assert_eq!(
            error.matches('`').count() / 2,
            1 + COMMON.len() + OF_QUEUES.len() + OF_STREAMS.len(),
            "{error}"
        );
        assert!(error.contains("line 5"), "{error}");
    }

    #[test]
    fn wrong_values_are_told() {
        assert_refused("name = \"x\"\ntype = \"sqs\"\n", &["line 1", "queue_url"]);
        assert_refused("name = \"x\"\ntype = \"kinesis\"\n", &["line 1", "needs stream"]);
        assert_refused("name = \"x\"\ntype = \"kafka\"\n", &["line 3", "sqs", "kinesis"]);
        assert_refused(&format!("{STREAM}poll_interval = \"soon\"\n"), &["line 5", "no duration"]);
        assert_refused(&format!("{STREAM}poll_interval = \"5m\"\n"), &["poll_interval", "1 min"]);
        assert_refused(&format!("{STREAM}in_flight_bytes = \"1MiB\"\n"), &["in_flight_bytes", "10 MiB"]);
        assert_refused(
            &format!("{STREAM}on_poison = \"redrive\"\n"),
            &["redrive", "no redrive policy", "quarantine"],
        );
        assert_refused(&format!("{QUEUE}buckets = [\"a b\"]\n"), &["buckets", "trail-logs"]);
        assert!(parse(&format!("{STREAM}on_poison = \"quarantine\"\n")).is_ok());
        assert!(parse(&format!("{QUEUE}buckets = [\"trail-logs/AWSLogs/\"]\n")).is_ok());
    }
}
