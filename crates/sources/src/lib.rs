//! Where CloudTrail events come from.
//!
//! A source takes bodies from AWS or from disk and hands them on; what is in a body is no business of this crate. Its
//! one duty is the first law of the house: nothing is acknowledged before its effect is durable. So a source hands over
//! a [`Batch`] together with the means to acknowledge it ([`Acknowledge`]), goes on receiving without waiting for a
//! commit, and keeps what it handed over alive (invisible to other consumers) until the acknowledgement comes.
//!
//! * [`sqs`]: an SQS queue: pollers that follow the load, in-flight tracking, visibility extension, batched deletes
//! * [`kinesis`]: a Kinesis stream: one reader a shard, parents before children, positions instead of deletes
//! * [`objects`]: objects in buckets, for announcements and for history
//! * [`health`]: whether a source works, for people
//! * [`files`]: paths on a command line, as a list of files to read
//!
//! Delivery is at least once. A message that was handed over and not acknowledged before the process ended comes back,
//! here or at another replica.

use std::sync::Arc;

use dormouse_model::{Checkpoint, SourceMark};

mod calls;
mod count;
pub mod files;
pub mod health;
pub mod kinesis;
pub mod objects;
pub mod sqs;

pub use count::Count;

/// One message as it was delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The body as the source had it, packed or plain. Empty if it had none.
    pub body: Vec<u8>,
    /// What to acknowledge it with.
    pub receipt: Receipt,
    /// How often the source has delivered it, this time included; 1 if the source does not say.
    pub receive_count: u32,
    /// The source's own name for the message, for people who look for it.
    pub id: Arc<str>,
}

/// Names one delivery of one message to the source it came from, and to no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Receipt(u64);

impl Receipt {
    /// A receipt with a number that the source knows the delivery by.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number that the source knows the delivery by.
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// Messages that arrived together.
#[derive(Clone)]
pub struct Batch {
    /// The source's name in the configuration.
    pub source: Arc<str>,
    /// The messages, in the order of their arrival. None of them is being processed already.
    pub messages: Vec<Message>,
    /// Where their receipts go.
    pub acks: Arc<dyn Acknowledge>,
    /// How far the source has come with these messages, for sources that are read by position. It becomes durable in the
    /// epoch that holds the messages' last effect.
    pub checkpoint: Option<Checkpoint>,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch")
            .field("source", &self.source)
            .field("messages", &self.messages)
            .finish_non_exhaustive()
    }
}

/// How the fate of delivered messages is reported to their source.
///
/// Neither method waits for AWS: both only hand over to the source's own tasks, so a committer may call them. Receipts
/// that the source does not know (any more) are ignored.
pub trait Acknowledge: Send + Sync {
    /// The messages' effects are durable: delete them.
    fn ack(&self, receipts: Vec<Receipt>);

    /// The messages are not ours to delete: stop keeping them, so that they come back or go to the redrive policy.
    fn leave(&self, receipts: Vec<Receipt>);
}

/// Takes the batches of all sources.
pub trait Intake: Send + Sync + 'static {
    /// Takes a batch over. Decodes in the caller's task; waits only while too many bytes are in flight, never for a
    /// commit. Whoever takes a batch acknowledges or leaves each of its messages in the end, unless the process dies.
    ///
    /// A batch with a [checkpoint](Batch::checkpoint) of which something could not be applied is the exception: the
    /// call returns when the batch was acknowledged or left, so that nothing behind it can move the position on. If a
    /// receipt of it was left, its checkpoint did not become durable: the source has to read it again.
    fn submit(&self, batch: Batch) -> impl Future<Output = ()> + Send;

    /// Takes what the source says of its own completeness. Never waits.
    fn note(&self, _source: &Arc<str>, _mark: SourceMark) {}
}

/// Why a source cannot start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// An option has a value that cannot work.
    #[error("source {name}: {reason}")]
    Options {
        /// The source's name in the configuration.
        name: Arc<str>,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// AWS refused, or could not be reached.
    #[error("source {name}: {failure}; {advice}")]
    Aws {
        /// The source's name in the configuration.
        name: Arc<str>,
        /// What AWS said.
        failure: Box<dormouse_aws::Failure>,
        /// What a person can do about it.
        advice: &'static str,
    },
    /// One of the source's tasks panicked. What it held is not lost: it was never acknowledged.
    #[error("source {name}: the {task} ended with a panic")]
    Panicked {
        /// The source's name in the configuration.
        name: Arc<str>,
        /// Which task.
        task: &'static str,
    },
}
