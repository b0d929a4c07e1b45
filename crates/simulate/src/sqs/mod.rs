//! A double of Amazon SQS on loopback.
//!
//! It exists because a consumer's promises are about what goes wrong between it and the queue: an answer that never
//! comes, a delete that half succeeds, a message that comes twice, a handle that has aged. [`SqsDouble`] speaks the JSON
//! protocol that the official SDK speaks, lets a test set [`Faults`] by operation while it runs, and keeps its own
//! account of what happened ([`QueueCounters`], [`LogEntry`], [`SqsDouble::on_delete`]) to hold the consumer's against.
//!
//! It behaves as a *standard* queue does where a consumer can see it: long polls, visibility timeouts, a fresh receipt
//! handle at each receive, redrive to a dead-letter queue, retention. All of these are judged by an injected clock;
//! only the length of a long poll is the runtime's. A waiting receive looks again every few milliseconds while
//! anything is in flight or delayed, because an injected clock moves without telling.
//!
//! Not in here: FIFO queues, message attributes, tags, permissions, signatures, limits on names and characters,
//! `SetQueueAttributes`, `DeleteQueue`. What is in here is held against the documentation and somebody else's emulator in
//! `tests/tests/e2e/contracts`.

mod faults;
mod log;
mod message;
mod protocol;
mod queue;
mod service;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use dormouse_model::{Clock, WallClock};
use hyper::Request;
use hyper::body::Bytes;

use crate::wire::{self, Answer, Server, Service};
use log::Log;
use message::Body;
use queue::{Identity, Queue};

pub use faults::{Fault, Faults};
pub use log::{LogEntry, MessageEvent};
pub use message::{MessageId, ParseMessageIdError};
pub use protocol::Operation;
pub use queue::{QueueCounters, QueueOptions};

/// The longest visibility timeout, counted from the receive.
const LONGEST_VISIBILITY_SECONDS: i64 = 12 * 3_600;

/// How a double behaves.
#[derive(Clone)]
pub struct SqsOptions {
    /// Judges visibility, delays and age.
    pub clock: Arc<dyn Clock>,
    /// Seeds all chances and ids.
    pub seed: u64,
    /// The account in URLs and ARNs.
    pub account: String,
    /// The Region in ARNs.
    pub region: String,
    /// Whether a delete with a handle from before the newest receive deletes. Real standard queues accept it and
    /// promise nothing; by default it does not.
    pub old_handles_delete: bool,
    /// Whether the log starts switched on.
    pub log: bool,
}

impl Default for SqsOptions {
    fn default() -> Self {
        Self {
            clock: Arc::new(WallClock),
            seed: 0,
            account: "111122223333".to_owned(),
            region: "eu-west-1".to_owned(),
            old_handles_delete: false,
            log: false,
        }
    }
}

/// No queue has this URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the double has no queue {0:?}")]
pub struct UnknownQueue(pub String);

/// A running double. Ends when it is stopped or dropped.
///
/// Queues are named by URL; a name alone will do, and so will the URL that the queue has at AWS, because only the last
/// two segments count.
pub struct SqsDouble {
    core: Arc<Core>,
    /// `None` if the requests come through another double's port.
    server: Option<Server>,
}

type DeleteHook = dyn Fn(&MessageId, &str) + Send + Sync;

/// What requests and the test's own calls share.
struct Core {
    options: SqsOptions,
    endpoint: String,
    queues: RwLock<HashMap<Arc<str>, Arc<Queue>>>,
    /// Queues are numbered for life, so that the handles of a removed one fit no other.
    queues_made: AtomicU32,
    faults: Faults,
    log: Arc<Log>,
    on_delete: RwLock<Option<Arc<DeleteHook>>>,
    requests: [AtomicU64; Operation::ALL.len()],
}

impl SqsDouble {
    /// Starts a double on a free port of loopback, on the current runtime. Fails if no port can be had.
    pub async fn start(options: SqsOptions) -> io::Result<Self> {
        let (listener, endpoint) = wire::bind().await?;
        let mut double = Self::behind(endpoint, options);
        double.server = Some(Server::start(listener, double.core.clone()));
        Ok(double)
    }

    /// A double without a port of its own: whoever listens at `endpoint` hands it the requests.
    pub(crate) fn behind(endpoint: String, options: SqsOptions) -> Self {
        let core = Arc::new(Core {
            faults: Faults::new(options.seed),
            log: Arc::new(Log::new(options.log)),
            options,
            endpoint,
            queues: RwLock::default(),
            queues_made: AtomicU32::new(0),
            on_delete: RwLock::default(),
            requests: [const { AtomicU64::new(0) }; Operation::ALL.len()],
        });
        Self { core, server: None }
    }

    /// Answers a request that came through another port.
    pub(crate) async fn answer(&self, request: Request<Bytes>) -> Answer {
        self.core.answer(request).await
    }

    /// What to give the SDK as endpoint URL.
    pub fn endpoint(&self) -> &str {
        &self.core.endpoint
    }

    /// Makes a queue and returns its URL. A queue that exists stays as it is.
    pub fn create_queue(&self, name: &str, options: QueueOptions) -> String {
        self.core.create_queue(name, options).identity.url.clone()
    }

    /// The queue's ARN.
    pub fn queue_arn(&self, url: &str) -> Result<String, UnknownQueue> {
        Ok(self.core.queue(url)?.identity.arn.clone())
    }

    /// Takes the queue away; requests for it hear that it does not exist.
    pub fn remove_queue(&self, url: &str) -> Result<(), UnknownQueue> {
        let queue = self.core.queue(url)?;
        self.core.queues.write().unwrap_or_else(PoisonError::into_inner).remove(&queue.identity.name);
        Ok(())
    }

    /// Sends a message without the network. Late-delivery faults apply, others do not.
    pub fn send(&self, url: &str, body: &str) -> Result<MessageId, UnknownQueue> {
        Ok(self.core.send(&*self.core.queue(url)?, Body::new(body), None))
    }

    /// Sends messages without the network, in order.
    pub fn send_many<S: AsRef<str>>(
        &self,
        url: &str,
        bodies: impl IntoIterator<Item = S>,
    ) -> Result<Vec<MessageId>, UnknownQueue> {
        let queue = self.core.queue(url)?;
        Ok(bodies.into_iter().map(|body| self.core.send(&queue, Body::new(body.as_ref()), None)).collect())
    }

    /// The queue's numbers now.
    pub fn counters(&self, url: &str) -> Result<QueueCounters, UnknownQueue> {
        Ok(self.core.queue(url)?.counters(self.core.now()))
    }

    /// The ids and bodies of all messages still in the queue, visible or not, oldest first.
    pub fn remaining(&self, url: &str) -> Result<Vec<(MessageId, String)>, UnknownQueue> {
        Ok(self.core.queue(url)?.remaining())
    }

    /// How many requests of the operation arrived, those that met a fault included.
    pub fn requests(&self, operation: Operation) -> u64 {
        self.core.requests[operation.index()].load(Ordering::Relaxed)
    }

    /// The faults, to be changed at any time.
    pub fn faults(&self) -> &Faults {
        &self.core.faults
    }

    /// Switches the log on or off; what it holds stays.
    pub fn switch_log(&self, on: bool) {
        self.core.log.switch(on);
    }

    /// What the log holds, in order.
    pub fn log(&self) -> Vec<LogEntry> {
        self.core.log.entries()
    }

    /// Calls `hook` with id and body for each delete that is accepted for a message that is still there, before the
    /// client hears of it, also if the delete does nothing because its handle is old or a fault forgets it: the client
    /// has said that it is done. Replaces the hook before it. The queue is not locked meanwhile; the hook may block.
    pub fn on_delete(&self, hook: impl Fn(&MessageId, &str) + Send + Sync + 'static) {
        *self.core.on_delete.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(hook));
    }

    /// Closes the port and all connections. The account of what happened can still be read.
    pub async fn stop(&self) {
        if let Some(server) = &self.server {
            server.stop().await;
        }
    }
}

impl Core {
    /// Milliseconds by the injected clock.
    fn now(&self) -> i64 {
        self.options.clock.now().as_millisecond()
    }

    fn queue(&self, url: &str) -> Result<Arc<Queue>, UnknownQueue> {
        let mut segments = url.rsplit('/');
        let name = segments.next().unwrap_or(url);
        let right_account = segments.next().is_none_or(|account| account == self.options.account);
        let queues = self.queues.read().unwrap_or_else(PoisonError::into_inner);
        let queue = queues.get(name).filter(|_| right_account);
        queue.cloned().ok_or_else(|| UnknownQueue(url.to_owned()))
    }

    fn create_queue(&self, name: &str, options: QueueOptions) -> Arc<Queue> {
        let mut queues = self.queues.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = queues.get(name) {
            return queue.clone();
        }
        let SqsOptions { account, region, seed, old_handles_delete, .. } = &self.options;
        let identity = Identity {
            number: self.queues_made.fetch_add(1, Ordering::Relaxed),
            name: name.into(),
            url: format!("{}/{account}/{name}", self.endpoint),
            arn: format!("arn:aws:sqs:{region}:{account}:{name}"),
            created: self.now(),
        };
        let queue = Arc::new(Queue::new(identity, options, *seed, *old_handles_delete, self.log.clone()));
        queues.insert(queue.identity.name.clone(), queue.clone());
        queue
    }

    fn send(&self, queue: &Queue, body: Body, delay_seconds: Option<u32>) -> MessageId {
        let chances = self.faults.entries(Operation::SendMessage);
        let mut delay = i64::from(delay_seconds.unwrap_or(queue.options.delay_seconds)) * 1_000;
        if self.faults.happens(chances.late) {
            delay += i64::try_from(chances.lateness.as_millis()).unwrap_or(i64::MAX / 2);
        }
        queue.send(self.now(), body, delay)
    }
}

/// The lock, whoever panicked while holding it: the counters are plain numbers and stay usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
