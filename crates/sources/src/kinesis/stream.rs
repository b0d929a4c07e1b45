//! The four calls of Kinesis, behind a trait.
//!
//! Everything above speaks to a [`Stream`]: the real one ([`SdkStream`]) here, one in memory in the tests, where time is
//! paused. The SDK's types end in this file. The SDK's own retries are switched off: a read that is repeated out of turn
//! costs one of the five that all consumers of a shard share.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::StalledStreamProtectionConfig;
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{self, EncryptionType, ShardIteratorType, StreamStatus};
use dormouse_aws::Failure;
use dormouse_model::{EventTime, ShardPosition};

use super::options::KinesisOptions;
use crate::calls::within;

/// How long a call may take. An answer of 10 MiB needs a while on a slow line.
const READ_LIMIT: Duration = Duration::from_secs(30);
const CALL_LIMIT: Duration = Duration::from_secs(10);

pub(crate) const DESCRIBE: &str = "kinesis:DescribeStreamSummary";
pub(crate) const LIST: &str = "kinesis:ListShards";
pub(crate) const ITERATOR: &str = "kinesis:GetShardIterator";
pub(crate) const RECORDS: &str = "kinesis:GetRecords";

/// What Kinesis says about the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) arn: String,
    /// When this life of the stream began.
    pub(crate) created: EventTime,
    pub(crate) retention_seconds: u64,
    pub(crate) status: String,
    pub(crate) open_shards: u64,
    pub(crate) kms_key: Option<String>,
}

/// A shard as the list has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListedShard {
    pub(crate) id: Arc<str>,
    /// One after a split, two after a merge. They may no longer be listed.
    pub(crate) parents: Vec<Arc<str>>,
    /// It takes no more records.
    pub(crate) is_closed: bool,
}

/// A part of the list of shards.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    pub(crate) shards: Vec<ListedShard>,
    /// Where the next part is to be had; absent at the end.
    pub(crate) next: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) sequence_number: String,
    pub(crate) data: Vec<u8>,
}

/// What a read brought.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) records: Vec<Record>,
    /// Absent at the shard's end.
    pub(crate) next: Option<String>,
    /// How far the answer is behind the newest record; `None` if Kinesis does not say.
    pub(crate) behind_millis: Option<u64>,
}

/// A stream as the source's tasks see it. Dropping a call's future abandons the call, which changes nothing.
pub(crate) trait Stream: Send + Sync + 'static {
    /// Asks which life of the stream this is, and for how long it keeps records.
    fn describe(&self) -> impl Future<Output = Result<Summary, Failure>> + Send;

    /// The first part of the list of shards, or the one behind `token`.
    fn list(&self, token: Option<String>) -> impl Future<Output = Result<Page, Failure>> + Send;

    /// An iterator for reading a shard on from a position.
    fn iterator(
        &self,
        shard: &str,
        position: &ShardPosition,
    ) -> impl Future<Output = Result<String, Failure>> + Send;

    /// Reads; an empty answer is no failure, and not the end.
    fn read(&self, iterator: &str) -> impl Future<Output = Result<Answer, Failure>> + Send;
}

/// Whether an iterator, or a token of the list, had grown too old.
pub(crate) fn is_expired(failure: &Failure) -> bool {
    has_code(failure, "ExpiredIteratorException") || has_code(failure, "ExpiredNextTokenException")
}

/// Whether Kinesis knows no such stream or shard.
pub(crate) fn is_not_found(failure: &Failure) -> bool {
    has_code(failure, "ResourceNotFoundException")
}

fn has_code(failure: &Failure, code: &str) -> bool {
    failure.code.as_deref().is_some_and(|text| text.rsplit('#').next() == Some(code))
}

/// A stream of Kinesis.
#[derive(Debug)]
pub(crate) struct SdkStream {
    client: Client,
    name: Option<String>,
    arn: Option<String>,
    max_records: i32,
}

impl SdkStream {
    pub(crate) fn new(client: &Client, options: &KinesisOptions) -> Self {
        let stream = options.stream.clone();
        let (name, arn) = if options.is_arn() { (None, Some(stream)) } else { (Some(stream), None) };
        let max_records = i32::try_from(options.max_records).unwrap_or(i32::MAX);
        Self { client: without_second_guesses(client), name, arn, max_records }
    }
}

impl Stream for SdkStream {
    async fn describe(&self) -> Result<Summary, Failure> {
        let call = self
            .client
            .describe_stream_summary()
            .set_stream_name(self.name.clone())
            .set_stream_arn(self.arn.clone())
            .send();
        let answer = within(CALL_LIMIT, DESCRIBE, call).await?.map_err(|e| Failure::of(DESCRIBE, &e))?;
        let description = answer
            .stream_description_summary
            .ok_or_else(|| Failure::transient(DESCRIBE, "the answer has no description"))?;
        Ok(summary(description))
    }

    async fn list(&self, token: Option<String>) -> Result<Page, Failure> {
        let call = self.client.list_shards();
        // A token says which stream it belongs to; Kinesis refuses to hear it twice.
        let call = match token {
            Some(token) => call.next_token(token),
            None => call.set_stream_name(self.name.clone()).set_stream_arn(self.arn.clone()),
        };
        let answer = within(CALL_LIMIT, LIST, call.send()).await?.map_err(|e| Failure::of(LIST, &e))?;
        let shards = answer.shards.unwrap_or_default().into_iter().map(listed).collect();
        Ok(Page { shards, next: answer.next_token.filter(|token| !token.is_empty()) })
    }

    async fn iterator(&self, shard: &str, position: &ShardPosition) -> Result<String, Failure> {
        let call = self
            .client
            .get_shard_iterator()
            .set_stream_name(self.name.clone())
            .set_stream_arn(self.arn.clone())
            .shard_id(shard);
        let call = match position {
            ShardPosition::Time(time) => call
                .shard_iterator_type(ShardIteratorType::AtTimestamp)
                .timestamp(DateTime::from_secs(i64::from(time.seconds()))),
            ShardPosition::After(number) => call
                .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
                .starting_sequence_number(&**number),
            ShardPosition::TrimHorizon | ShardPosition::End | ShardPosition::Forgotten => {
                call.shard_iterator_type(ShardIteratorType::TrimHorizon)
            }
        };
        let answer =
            within(CALL_LIMIT, ITERATOR, call.send()).await?.map_err(|e| Failure::of(ITERATOR, &e))?;
        answer.shard_iterator.ok_or_else(|| Failure::transient(ITERATOR, "the answer has no iterator"))
    }

    async fn read(&self, iterator: &str) -> Result<Answer, Failure> {
        let call = self
            .client
            .get_records()
            .set_stream_arn(self.arn.clone())
            .shard_iterator(iterator)
            .limit(self.max_records)
            .send();
        let answer = within(READ_LIMIT, RECORDS, call).await?.map_err(|e| Failure::of(RECORDS, &e))?;
        let record = |record: types::Record| Record {
            sequence_number: record.sequence_number,
            data: record.data.into_inner(),
        };
        Ok(Answer {
            records: answer.records.into_iter().map(record).collect(),
            next: answer.next_shard_iterator.filter(|iterator| !iterator.is_empty()),
            behind_millis: answer.millis_behind_latest.and_then(|millis| u64::try_from(millis).ok()),
        })
    }
}

/// The same client without the SDK's own retries and stall detection: this module waits and limits itself.
fn without_second_guesses(client: &Client) -> Client {
    let config = client
        .config()
        .to_builder()
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .build();
    Client::from_conf(config)
}

fn summary(description: types::StreamDescriptionSummary) -> Summary {
    let created = description.stream_creation_timestamp.secs().clamp(0, i64::from(u32::MAX));
    let is_encrypted = description.encryption_type == Some(EncryptionType::Kms);
    let status: &StreamStatus = &description.stream_status;
    Summary {
        created: EventTime::from_seconds(u32::try_from(created).unwrap_or(u32::MAX)),
        retention_seconds: u64::try_from(description.retention_period_hours).unwrap_or(0) * 3_600,
        status: status.as_str().to_owned(),
        open_shards: u64::try_from(description.open_shard_count).unwrap_or(0),
        kms_key: description.key_id.filter(|key| is_encrypted && !key.is_empty()),
        arn: description.stream_arn,
    }
}

fn listed(shard: types::Shard) -> ListedShard {
    let is_closed = shard
        .sequence_number_range
        .and_then(|range| range.ending_sequence_number)
        .is_some_and(|number| !number.is_empty());
    let parents = [shard.parent_shard_id, shard.adjacent_parent_shard_id];
    let parents = parents.into_iter().flatten().filter(|id| !id.is_empty()).map(Arc::from).collect();
    ListedShard { id: shard.shard_id.into(), parents, is_closed }
}
