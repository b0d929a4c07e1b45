//! Kinesis' JSON protocol: what requests and answers look like.
//!
//! `GetRecords` answers are put together from records that are ready; all others are small and go through serde.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

macro_rules! operations {
    ($($name:ident),+ $(,)?) => {
        /// The operations that the double knows, by their names in the API.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "Kinesis' own words")]
        pub enum Operation { $($name),+ }

        impl Operation {
            /// All of them.
            pub const ALL: [Self; [$(Self::$name),+].len()] = [$(Self::$name),+];

            /// The operation's name in the API.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }
        }
    };
}

operations!(
    GetRecords,
    GetShardIterator,
    ListShards,
    DescribeStreamSummary,
    PutRecord,
    PutRecords,
    CreateStream,
    DeleteStream,
    SplitShard,
    MergeShards,
);

impl Operation {
    pub(super) const fn index(self) -> usize {
        self as usize
    }

    /// The operation that an `x-amz-target` header names.
    pub(super) fn from_target(target: &str) -> Option<Self> {
        let name = target.strip_prefix("Kinesis_20131202.")?;
        Self::ALL.into_iter().find(|operation| operation.name() == name)
    }

    /// Whether it uses up what a shard takes and gives in a second.
    pub(super) fn is_of_shards(self) -> bool {
        matches!(self, Self::GetRecords | Self::GetShardIterator | Self::PutRecord | Self::PutRecords)
    }
}

/// An error answer.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) message: String,
}

macro_rules! refusals {
    ($($name:ident = $status:literal $code:literal;)+) => {
        impl Refusal {
            $(
                pub(super) fn $name(message: impl Into<String>) -> Self {
                    Self { status: $status, code: $code, message: message.into() }
                }
            )+
        }
    };
}

refusals! {
    not_found = 400 "ResourceNotFoundException";
    in_use = 400 "ResourceInUseException";
    invalid_argument = 400 "InvalidArgumentException";
    invalid = 400 "ValidationException";
    expired_iterator = 400 "ExpiredIteratorException";
    expired_token = 400 "ExpiredNextTokenException";
    throughput_exceeded = 400 "ProvisionedThroughputExceededException";
    limit_exceeded = 400 "LimitExceededException";
    access_denied = 400 "AccessDeniedException";
    malformed = 400 "SerializationException";
    unknown_operation = 400 "UnknownOperationException";
    internal = 500 "InternalFailure";
    unavailable = 503 "ServiceUnavailable";
}

impl Refusal {
    pub(super) fn body(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Shape<'a> {
            #[serde(rename = "__type")]
            code: &'a str,
            message: &'a str,
        }
        to_json(&Shape { code: self.code, message: &self.message })
    }
}

/// The answer as JSON. What is answered here always serialises.
pub(super) fn to_json(answer: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(answer).unwrap_or_default()
}

pub(super) fn from_json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::malformed(error.to_string()))
}

/// What tells for which stream a request is.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Aim<'a> {
    #[serde(borrow)]
    pub(super) stream_name: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "StreamARN")]
    pub(super) stream_arn: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) shard_iterator: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) next_token: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetRecordsRequest {
    pub(super) limit: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct IteratorRequest<'a> {
    #[serde(borrow)]
    pub(super) shard_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) shard_iterator_type: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) starting_sequence_number: Option<Cow<'a, str>>,
    /// Seconds.
    pub(super) timestamp: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListShardsRequest<'a> {
    #[serde(borrow)]
    pub(super) exclusive_start_shard_id: Option<Cow<'a, str>>,
    pub(super) max_results: Option<i64>,
    pub(super) stream_creation_timestamp: Option<f64>,
    #[serde(borrow)]
    pub(super) shard_filter: Option<ShardFilter<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ShardFilter<'a> {
    #[serde(borrow, rename = "Type")]
    pub(super) kind: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) shard_id: Option<Cow<'a, str>>,
    /// Seconds.
    pub(super) timestamp: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PutEntry<'a> {
    /// In base64.
    #[serde(borrow)]
    pub(super) data: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) partition_key: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) explicit_hash_key: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PutRecordsRequest<'a> {
    #[serde(borrow)]
    pub(super) records: Vec<PutEntry<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateRequest {
    pub(super) shard_count: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SplitRequest<'a> {
    #[serde(borrow)]
    pub(super) shard_to_split: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) new_starting_hash_key: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct MergeRequest<'a> {
    #[serde(borrow)]
    pub(super) shard_to_merge: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) adjacent_shard_to_merge: Cow<'a, str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct IteratorAnswer {
    pub(super) shard_iterator: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListShardsAnswer {
    pub(super) shards: Vec<ShardAnswer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ShardAnswer {
    pub(super) shard_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parent_shard_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) adjacent_parent_shard_id: Option<String>,
    pub(super) hash_key_range: HashKeyRange,
    pub(super) sequence_number_range: SequenceNumberRange,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct HashKeyRange {
    pub(super) starting_hash_key: String,
    pub(super) ending_hash_key: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SequenceNumberRange {
    pub(super) starting_sequence_number: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ending_sequence_number: Option<String>,
}

/// A shard that a closed one became, as `GetRecords` names it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ChildShard {
    pub(super) shard_id: String,
    pub(super) parent_shards: Vec<String>,
    pub(super) hash_key_range: HashKeyRange,
}

/// The end of a `GetRecords` answer. Its records are written in front of it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetRecordsTail {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_shard_iterator: Option<String>,
    pub(super) millis_behind_latest: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) child_shards: Option<Vec<ChildShard>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Put {
    pub(super) shard_id: String,
    pub(super) sequence_number: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PutRecordsAnswer {
    pub(super) failed_record_count: u32,
    pub(super) records: Vec<Put>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SummaryAnswer<'a> {
    pub(super) stream_description_summary: Summary<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Summary<'a> {
    pub(super) stream_name: &'a str,
    #[serde(rename = "StreamARN")]
    pub(super) stream_arn: &'a str,
    pub(super) stream_status: &'static str,
    pub(super) stream_mode_details: Mode,
    pub(super) retention_period_hours: u32,
    /// Seconds.
    pub(super) stream_creation_timestamp: f64,
    pub(super) enhanced_monitoring: [Monitoring; 1],
    pub(super) encryption_type: &'static str,
    pub(super) open_shard_count: usize,
    pub(super) consumer_count: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Mode {
    pub(super) stream_mode: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Monitoring {
    pub(super) shard_level_metrics: [&'static str; 0],
}
