//! What can be configured about a Kinesis source.

use std::sync::Arc;
use std::time::Duration;

use dormouse_model::{AccountId, EventTime, Region};

use super::budget::MOST_BYTES_A_CALL;
use crate::SourceError;

/// An answer of `GetRecords` holds at most so many records.
const MOST_RECORDS: u32 = 10_000;
/// An iterator is good for 5 minutes; a shard in slow times must be read well within that.
const LONGEST_POLL_INTERVAL: Duration = Duration::from_mins(1);
const LONGEST_NAME: usize = 128;

/// Where a stream is read from when no position in it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// From now on.
    #[default]
    Latest,
    /// From the oldest record that the stream still has.
    TrimHorizon,
    /// From the first record that arrived at this time or later.
    Timestamp(EventTime),
}

/// A Kinesis source's configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct KinesisOptions {
    /// The source's name in logs, metrics and positions.
    pub name: Arc<str>,
    /// The stream's name, or its ARN, which may be another account's.
    pub stream: String,
    /// Where to start while no position in this stream is known; of no effect afterwards.
    pub start: Start,
    /// How many bytes of records may be held at the same time, over all shards (at least 10 MiB).
    pub in_flight_bytes: usize,
    /// How often a shard is read at most (0.2 to 1,000 times a second). Kinesis allows five reads a second and shard,
    /// to all consumers together; when it refuses, a shard is read less often by itself.
    pub reads_per_second: f64,
    /// How long a shard of which everything is read is left alone (at most a minute).
    pub poll_interval: Duration,
    /// How many records one read may bring (1 to 10,000).
    pub max_records: u32,
}

impl KinesisOptions {
    /// The defaults: from now on, 64 MiB in flight, five reads a second and shard, one a second when all is read.
    pub fn new(name: impl Into<Arc<str>>, stream: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            stream: stream.into(),
            start: Start::Latest,
            in_flight_bytes: 64 * 1024 * 1024,
            reads_per_second: 5.0,
            poll_interval: Duration::from_secs(1),
            max_records: MOST_RECORDS,
        }
    }

    /// Whether the values can work.
    ///
    /// # Errors
    /// [`SourceError::Options`] for the first value that cannot.
    pub fn validate(&self) -> Result<(), SourceError> {
        let is_stream = if self.is_arn() { self.arn().is_some() } else { is_name(&self.stream) };
        let reason = if !is_stream {
            format!(
                "stream {:?} is neither a stream's name nor its ARN \
                 (arn:aws:kinesis:eu-west-1:111122223333:stream/NAME)",
                self.stream
            )
        } else if self.in_flight_bytes < MOST_BYTES_A_CALL {
            "in_flight_bytes must be at least 10 MiB, which is what one read can bring".to_owned()
        } else if !(0.2..=1_000.0).contains(&self.reads_per_second) {
            "reads_per_second must be 0.2 to 1000".to_owned()
        } else if self.poll_interval.is_zero() || self.poll_interval > LONGEST_POLL_INTERVAL {
            "poll_interval must be more than nothing, and at most 1 min".to_owned()
        } else if !(1..=MOST_RECORDS).contains(&self.max_records) {
            format!("max_records must be 1 to {MOST_RECORDS}")
        } else {
            return Ok(());
        };
        Err(SourceError::Options { name: Arc::clone(&self.name), reason })
    }

    /// The Region that the stream's ARN names. Requests go to the client's Region, so a client for another Region finds
    /// no such stream.
    pub fn region(&self) -> Option<Region> {
        self.arn().map(|(region, _)| region)
    }

    /// The account that the stream's ARN names.
    pub fn account(&self) -> Option<AccountId> {
        self.arn().map(|(_, account)| account)
    }

    pub(crate) fn is_arn(&self) -> bool {
        self.stream.starts_with("arn:")
    }

    fn arn(&self) -> Option<(Region, AccountId)> {
        let mut parts = self.stream.splitn(6, ':');
        let ("arn", partition, "kinesis") = (parts.next()?, parts.next()?, parts.next()?) else {
            return None;
        };
        let (region, account) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let is_whole =
            partition.starts_with("aws") && parts.next()?.strip_prefix("stream/").is_some_and(is_name);
        is_whole.then_some((region, account))
    }
}

fn is_name(text: &str) -> bool {
    (1..=LONGEST_NAME).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:kinesis:eu-west-1:111122223333:stream/dormouse";

    #[test]
    fn a_name_and_an_arn_are_valid_and_the_arn_names_its_place() {
        KinesisOptions::new("bus", "dormouse-1.x_y").validate().unwrap();
        let options = KinesisOptions::new("bus", ARN);
        options.validate().unwrap();
        assert_eq!(options.region().unwrap().to_string(), "eu-west-1");
        assert_eq!(options.account().unwrap().to_string(), "111122223333");
        assert_eq!(KinesisOptions::new("bus", "dormouse").region(), None);
    }

    #[test]
    fn what_cannot_work_is_refused_with_a_reason() {
        let good = || KinesisOptions::new("bus", "dormouse");
        let long = "x".repeat(129);
        let cases: [(&str, KinesisOptions); 13] = [
            ("stream", KinesisOptions::new("bus", "")),
            ("stream", KinesisOptions::new("bus", "a b")),
            ("stream", KinesisOptions::new("bus", long.as_str())),
            ("stream", KinesisOptions::new("bus", ARN.replace("kinesis", "sqs"))),
            ("stream", KinesisOptions::new("bus", ARN.replace("1111", "11"))),
            ("stream", KinesisOptions::new("bus", ARN.replace("stream/", "stream/a/"))),
            ("in_flight_bytes", KinesisOptions { in_flight_bytes: 10 * 1024 * 1024 - 1, ..good() }),
            ("reads_per_second", KinesisOptions { reads_per_second: 0.1, ..good() }),
            ("reads_per_second", KinesisOptions { reads_per_second: f64::NAN, ..good() }),
            ("poll_interval", KinesisOptions { poll_interval: Duration::ZERO, ..good() }),
            ("poll_interval", KinesisOptions { poll_interval: Duration::from_secs(61), ..good() }),
            ("max_records", KinesisOptions { max_records: 0, ..good() }),
            ("max_records", KinesisOptions { max_records: 10_001, ..good() }),
        ];
        for (word, options) in cases {
            let text = options.validate().unwrap_err().to_string();
            assert!(text.starts_with("source bus: ") && text.contains(word), "{text}");
        }
    }
}
