//! A double of Amazon S3 on loopback, for those who list and read.
//!
//! What goes wrong with trail objects goes wrong between the list and the last byte: an object that is not there yet, a
//! key that must not be read, a body that ends in the middle. [`S3Double`] answers the REST requests that the official
//! SDK sends (with the bucket in the path), lets a test set [`S3Faults`] by operation while it runs, and counts what
//! was asked and how many bytes it sent.
//!
//! Not in here: versions, parts of uploads, checksums besides the ETag, policies, signatures, ACLs, limits on names and
//! sizes. What is in here is held against the documentation and somebody else's emulator in `tests/tests/e2e/contracts`.
//! Objects lie in memory, uncopied when they are sent; a list holds the only lock for as long as it takes to write.

mod bucket;
mod faults;
mod protocol;
mod service;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dormouse_model::{Clock, WallClock};
use hyper::body::Bytes;

use crate::wire::{self, Server};
use bucket::{Bucket, Object};

pub use faults::{S3Fault, S3Faults};
pub use protocol::Operation;

/// How a double behaves.
#[derive(Clone)]
pub struct S3Options {
    /// Says when objects were modified.
    pub clock: Arc<dyn Clock>,
    /// Seeds all chances.
    pub seed: u64,
    /// The largest object that can be put over the network, in bytes.
    pub largest_object: usize,
}

impl Default for S3Options {
    fn default() -> Self {
        Self { clock: Arc::new(WallClock), seed: 0, largest_object: 64 << 20 }
    }
}

/// No bucket has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the double has no bucket {0:?}")]
pub struct UnknownBucket(pub String);

/// A double's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct S3Counters {
    /// Bytes of objects that were sent, those of cut off bodies included.
    pub bytes_sent: u64,
    requests: [u64; Operation::ALL.len()],
}

impl S3Counters {
    /// Requests of the operation, those that met a fault included.
    pub fn requests(&self, operation: Operation) -> u64 {
        self.requests[operation.index()]
    }
}

/// A running double. Ends when it is stopped or dropped.
pub struct S3Double {
    core: Arc<Core>,
    endpoint: String,
    server: Server,
}

/// What requests and the test's own calls share.
struct Core {
    options: S3Options,
    buckets: Mutex<HashMap<String, Bucket>>,
    faults: S3Faults,
    requests: [AtomicU64; Operation::ALL.len()],
    bytes_sent: AtomicU64,
}

impl S3Double {
    /// Starts a double on a free port of loopback, on the current runtime. Fails if no port can be had.
    pub async fn start(options: S3Options) -> io::Result<Self> {
        let (listener, endpoint) = wire::bind().await?;
        let core = Arc::new(Core {
            faults: S3Faults::new(options.seed),
            options,
            buckets: Mutex::default(),
            requests: [const { AtomicU64::new(0) }; Operation::ALL.len()],
            bytes_sent: AtomicU64::new(0),
        });
        let server = Server::start(listener, core.clone());
        Ok(Self { core, endpoint, server })
    }

    /// What to give the SDK as endpoint URL. It must ask with the bucket in the path.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Makes a bucket. One that exists stays as it is.
    pub fn create_bucket(&self, name: &str) {
        self.core.create_bucket(name);
    }

    /// Puts an object without the network, in the place of the one that was there.
    pub fn put(&self, bucket: &str, key: &str, body: impl Into<Bytes>) -> Result<(), UnknownBucket> {
        let object = Object::new(body.into(), self.core.options.clock.now());
        self.in_bucket(bucket, |bucket| bucket.objects.insert(key.to_owned(), object)).map(|_| ())
    }

    /// Deletes an object, if it is there.
    pub fn delete(&self, bucket: &str, key: &str) -> Result<(), UnknownBucket> {
        self.in_bucket(bucket, |bucket| bucket.objects.remove(key)).map(|_| ())
    }

    /// The object's bytes, if it is there.
    pub fn get(&self, bucket: &str, key: &str) -> Result<Option<Vec<u8>>, UnknownBucket> {
        self.in_bucket(bucket, |bucket| bucket.objects.get(key).map(|object| object.body.to_vec()))
    }

    /// All keys of the bucket, in order.
    pub fn keys(&self, bucket: &str) -> Result<Vec<String>, UnknownBucket> {
        self.in_bucket(bucket, |bucket| bucket.objects.keys().cloned().collect())
    }

    /// The numbers.
    pub fn counters(&self) -> S3Counters {
        let mut counters =
            S3Counters { bytes_sent: self.core.bytes_sent.load(Ordering::Relaxed), ..S3Counters::default() };
        for (count, counter) in counters.requests.iter_mut().zip(&self.core.requests) {
            *count = counter.load(Ordering::Relaxed);
        }
        counters
    }

    /// The faults, to be changed at any time.
    pub fn faults(&self) -> &S3Faults {
        &self.core.faults
    }

    /// Closes the port and all connections. Objects and numbers can still be read.
    pub async fn stop(&self) {
        self.server.stop().await;
    }

    fn in_bucket<T>(&self, name: &str, act: impl FnOnce(&mut Bucket) -> T) -> Result<T, UnknownBucket> {
        self.core.with_bucket(name, act).ok_or_else(|| UnknownBucket(name.to_owned()))
    }
}

impl Core {
    // Whoever panicked while holding them: objects are whole before they are put.
    fn buckets(&self) -> MutexGuard<'_, HashMap<String, Bucket>> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_bucket<T>(&self, name: &str, act: impl FnOnce(&mut Bucket) -> T) -> Option<T> {
        self.buckets().get_mut(name).map(act)
    }

    /// Whether it was made just now.
    fn create_bucket(&self, name: &str) -> bool {
        let mut buckets = self.buckets();
        let made = !buckets.contains_key(name);
        buckets.entry(name.to_owned()).or_default();
        made
    }
}
