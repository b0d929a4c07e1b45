//! A double of Amazon Kinesis Data Streams on loopback.
//!
//! A reader of a stream keeps its own place, and what goes wrong goes wrong with that place: an iterator that aged, a
//! shard that was split while nobody read, a record that was trimmed before it was read, an answer that never came.
//! [`KinesisDouble`] speaks the JSON protocol that the official SDK speaks, lets a test set [`KinesisFaults`] by
//! operation while it runs, split and merge shards at any moment, and keeps its own count of what happened
//! ([`StreamCounters`]).
//!
//! It behaves as a stream with provisioned shards does where a polling reader can see it: sequence numbers with more
//! digits than 128 bits hold, iterators that expire five minutes after they were given out, closed shards that stay
//! until their retention has passed, trimming, `MillisBehindLatest`, and if wanted the quota of each shard. All of these
//! are judged by an injected clock. Splits, merges and new streams are there at once.
//!
//! Not in here: consumers with enhanced fan-out, tags, policies, signatures, encryption, limits on names and on what is
//! put. What is in here is held against the documentation and somebody else's emulator in `tests/tests/e2e/contracts`.
//!
//! A read costs a search and a copy: records are encoded once, when they are put. It all lies in memory, at some four
//! thirds of the data's size.

mod faults;
mod protocol;
mod service;
mod shard;
mod stream;
#[cfg(test)]
mod tests;
mod token;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use dormouse_model::{Clock, WallClock};

use crate::wire::{self, Server};
use stream::{Identity, Stream};

pub use faults::{KinesisFault, KinesisFaults};
pub use protocol::Operation;
pub use stream::{ReshardError, ShardView, StreamCounters, StreamOptions};

/// How a double behaves.
#[derive(Clone)]
pub struct KinesisOptions {
    /// Judges iterators, retention, quotas and the time that records came.
    pub clock: Arc<dyn Clock>,
    /// Seeds all chances.
    pub seed: u64,
    /// The account of streams that do not say otherwise.
    pub account: String,
    /// The Region in ARNs.
    pub region: String,
}

impl Default for KinesisOptions {
    fn default() -> Self {
        Self {
            clock: Arc::new(WallClock),
            seed: 0,
            account: "111122223333".to_owned(),
            region: "eu-west-1".to_owned(),
        }
    }
}

/// No stream has this name or ARN.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the double has no stream {0:?}")]
pub struct UnknownStream(pub String);

/// Where a record went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The shard's id.
    pub shard_id: String,
    /// The record's sequence number.
    pub sequence_number: String,
}

/// A running double. Ends when it is stopped or dropped.
///
/// Streams are named by ARN; a name means the stream of the double's own account.
pub struct KinesisDouble {
    core: Arc<Core>,
    endpoint: String,
    server: Server,
}

/// What requests and the test's own calls share.
struct Core {
    options: KinesisOptions,
    streams: RwLock<Streams>,
    faults: KinesisFaults,
    /// How often all iterators were made to expire.
    generation: AtomicU32,
    requests: [AtomicU64; Operation::ALL.len()],
}

#[derive(Default)]
struct Streams {
    by_arn: HashMap<String, Arc<Stream>>,
    /// Streams are numbered for life, so that the iterators of a deleted one fit no other.
    by_number: HashMap<u32, Arc<Stream>>,
    made: u32,
}

impl KinesisDouble {
    /// Starts a double on a free port of loopback, on the current runtime. Fails if no port can be had.
    pub async fn start(options: KinesisOptions) -> io::Result<Self> {
        let (listener, endpoint) = wire::bind().await?;
        let core = Arc::new(Core {
            faults: KinesisFaults::new(options.seed),
            options,
            streams: RwLock::default(),
            generation: AtomicU32::new(0),
            requests: [const { AtomicU64::new(0) }; Operation::ALL.len()],
        });
        let server = Server::start(listener, core.clone());
        Ok(Self { core, endpoint, server })
    }

    /// What to give the SDK as endpoint URL.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Makes a stream with so many shards (one at least) and returns its ARN. A stream that exists stays as it is.
    pub fn create_stream(&self, name: &str, shards: u32, options: StreamOptions) -> String {
        self.core.create_stream(name, shards, options).0.identity.arn.clone()
    }

    /// Takes the stream away; requests for it hear that it does not exist.
    pub fn delete_stream(&self, stream: &str) -> Result<(), UnknownStream> {
        self.core.delete_stream(stream)
    }

    /// Puts a record without the network. Faults do not apply.
    pub fn put(
        &self,
        stream: &str,
        partition_key: &str,
        data: impl AsRef<[u8]>,
    ) -> Result<Placed, UnknownStream> {
        let stream = self.core.stream(stream)?;
        let (shard, position) = stream.put(self.core.now(), partition_key, None, data.as_ref());
        Ok(Placed { shard_id: shard.id(), sequence_number: shard.sequence_number(position) })
    }

    /// Puts records, each with its partition key, without the network, in order. Returns how many.
    pub fn put_many<K: AsRef<str>, D: AsRef<[u8]>>(
        &self,
        stream: &str,
        records: impl IntoIterator<Item = (K, D)>,
    ) -> Result<usize, UnknownStream> {
        let stream = self.core.stream(stream)?;
        let put = |(key, data): (K, D)| {
            stream.put(self.core.now(), key.as_ref(), None, data.as_ref());
        };
        Ok(records.into_iter().map(put).count())
    }

    /// Splits an open shard in the middle of its hashes and returns the ids of the two that it becomes.
    pub fn split(&self, stream: &str, shard_id: &str) -> Result<[String; 2], ReshardError> {
        let children = self.core.stream(stream)?.split(self.core.now(), shard_id, None)?;
        Ok(children.map(|shard| shard.id()))
    }

    /// Merges two open shards that lie side by side and returns the id of the one that they become.
    pub fn merge(&self, stream: &str, shard_id: &str, adjacent: &str) -> Result<String, ReshardError> {
        Ok(self.core.stream(stream)?.merge(self.core.now(), shard_id, adjacent)?.id())
    }

    /// The stream's shards that have not expired, open or closed, oldest first.
    pub fn shards(&self, stream: &str) -> Result<Vec<ShardView>, UnknownStream> {
        Ok(self.core.stream(stream)?.views(self.core.now()))
    }

    /// All iterators that were given out until now have expired.
    pub fn expire_iterators(&self) {
        self.core.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// The stream's numbers.
    pub fn counters(&self, stream: &str) -> Result<StreamCounters, UnknownStream> {
        Ok(self.core.stream(stream)?.counters())
    }

    /// How many requests of the operation arrived for any stream or none, those that met a fault included.
    pub fn requests(&self, operation: Operation) -> u64 {
        self.core.requests[operation.index()].load(Ordering::Relaxed)
    }

    /// The faults, to be changed at any time.
    pub fn faults(&self) -> &KinesisFaults {
        &self.core.faults
    }

    /// Closes the port and all connections. The numbers can still be read.
    pub async fn stop(&self) {
        self.server.stop().await;
    }
}

impl Core {
    /// Milliseconds by the injected clock.
    fn now(&self) -> i64 {
        self.options.clock.now().as_millisecond()
    }

    fn arn(&self, account: &str, name: &str) -> String {
        format!("arn:aws:kinesis:{}:{account}:stream/{name}", self.options.region)
    }

    /// The stream of a name or an ARN.
    fn stream(&self, stream: &str) -> Result<Arc<Stream>, UnknownStream> {
        let arn = if stream.starts_with("arn:") {
            stream.to_owned()
        } else {
            self.arn(&self.options.account, stream)
        };
        let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner);
        streams.by_arn.get(&arn).cloned().ok_or_else(|| UnknownStream(stream.to_owned()))
    }

    fn stream_of_number(&self, number: u32) -> Option<Arc<Stream>> {
        self.streams.read().unwrap_or_else(PoisonError::into_inner).by_number.get(&number).cloned()
    }

    /// The stream, and whether it was made just now.
    fn create_stream(&self, name: &str, shards: u32, options: StreamOptions) -> (Arc<Stream>, bool) {
        let arn = self.arn(options.account.as_ref().unwrap_or(&self.options.account), name);
        let streams = &mut *self.streams.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(stream) = streams.by_arn.get(&arn) {
            return (stream.clone(), false);
        }
        let number = streams.made;
        streams.made += 1;
        let identity = Identity { number, name: name.to_owned(), arn: arn.clone(), created: self.now() };
        let stream = Arc::new(Stream::new(identity, shards, options));
        streams.by_arn.insert(arn, stream.clone());
        streams.by_number.insert(number, stream.clone());
        (stream, true)
    }

    fn delete_stream(&self, stream: &str) -> Result<(), UnknownStream> {
        let stream = self.stream(stream)?;
        let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
        streams.by_arn.remove(&stream.identity.arn);
        streams.by_number.remove(&stream.identity.number);
        Ok(())
    }
}

/// The lock, whoever panicked while holding it: records are whole before they are put.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
