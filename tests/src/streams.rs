//! Streams that are split and merged while they are read, whoever serves them.

use ::ferrokinesis::store::StoreOptions;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, Shard, StreamStatus};
use tokio_util::task::AbortOnDropHandle;

use crate::aws;
use crate::wait::eventually;

/// A call takes at most so many records.
const MOST_RECORDS: usize = 500;

/// ferrokinesis in this process. It numbers pages of shards wrongly (`NextToken`), always says that a reader is up to
/// date, and knows no `ChildShards`.
#[derive(Debug)]
pub struct Ferrokinesis {
    /// Where it is reached.
    pub endpoint: String,
    _server: AbortOnDropHandle<()>,
}

impl Ferrokinesis {
    /// Starts one without streams.
    pub async fn start() -> Self {
        let options = StoreOptions {
            create_stream_ms: 0,
            update_stream_ms: 0,
            shard_limit: 100,
            aws_account_id: "111122223333".to_owned(),
            aws_region: "eu-west-1".to_owned(),
            ..StoreOptions::default()
        };
        let (app, _store) = ::ferrokinesis::create_app(options);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            axum::serve(listener, app).await.unwrap();
        });
        Self { endpoint, _server: AbortOnDropHandle::new(server) }
    }
}

/// A stream as those see it who write into it and change it.
#[derive(Clone, Debug)]
pub struct Stream {
    /// A client for whoever serves it.
    pub client: Client,
    /// Its name.
    pub name: String,
}

impl Stream {
    /// Makes a stream.
    pub async fn create(endpoint: &str, name: &str, shards: i32) -> Self {
        let stream = Self { client: aws::kinesis(endpoint), name: name.to_owned() };
        stream.client.create_stream().stream_name(name).shard_count(shards).send().await.unwrap();
        stream.settled().await;
        stream
    }

    /// Waits until splits and merges are done.
    pub async fn settled(&self) {
        eventually("the stream is active", async || {
            let summary = self.client.describe_stream_summary().stream_name(&self.name).send().await;
            let status = summary.unwrap().stream_description_summary.unwrap().stream_status;
            if status == StreamStatus::Active { Ok(()) } else { Err(status) }
        })
        .await;
    }

    /// All shards that are listed, open or closed.
    pub async fn shards(&self) -> Vec<Shard> {
        self.client.list_shards().stream_name(&self.name).send().await.unwrap().shards.unwrap_or_default()
    }

    /// Puts records, each with its partition key.
    pub async fn put(&self, records: &[(String, Vec<u8>)]) {
        for some in records.chunks(MOST_RECORDS) {
            let entry = |(key, data): &(String, Vec<u8>)| {
                let entry =
                    PutRecordsRequestEntry::builder().partition_key(key).data(Blob::new(data.as_slice()));
                entry.build().unwrap()
            };
            let put = self.client.put_records().stream_name(&self.name);
            let put = put.set_records(Some(some.iter().map(entry).collect())).send().await.unwrap();
            assert_eq!(put.failed_record_count.unwrap_or(0), 0);
        }
    }

    /// Splits a shard in the middle of its hashes.
    pub async fn split(&self, shard: &Shard) {
        let (first, last) = hashes(shard);
        let split = self.client.split_shard().stream_name(&self.name).shard_to_split(&shard.shard_id);
        split.new_starting_hash_key((first + (last - first) / 2).to_string()).send().await.unwrap();
        self.settled().await;
    }

    /// Merges two open shards that lie side by side.
    pub async fn merge(&self, shard: &Shard, adjacent: &Shard) {
        let merge = self.client.merge_shards().stream_name(&self.name).shard_to_merge(&shard.shard_id);
        merge.adjacent_shard_to_merge(&adjacent.shard_id).send().await.unwrap();
        self.settled().await;
    }

    /// Splits or merges at random, so that there are one to `most` open shards.
    pub async fn reshard(&self, random: &mut fastrand::Rng, most: usize) {
        let mut open = self.shards().await;
        open.retain(|shard| shard.sequence_number_range().unwrap().ending_sequence_number.is_none());
        open.sort_by_key(hashes);
        let split = open.len() == 1 || open.len() < most && random.bool();
        let place = random.usize(..open.len() - usize::from(!split));
        if split {
            self.split(&open[place]).await;
        } else {
            self.merge(&open[place], &open[place + 1]).await;
        }
    }
}

/// The hashes of the partition keys that a shard takes, both ends included.
fn hashes(shard: &Shard) -> (u128, u128) {
    let range = shard.hash_key_range().unwrap();
    (range.starting_hash_key.parse().unwrap(), range.ending_hash_key.parse().unwrap())
}
