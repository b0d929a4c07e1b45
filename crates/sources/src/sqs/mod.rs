//! An SQS queue as a source.
//!
//! Why so many parts: SQS hides a received message for a while (its *visibility timeout*) and delivers it again unless
//! it was deleted in time. Dormouse deletes only what is durable, so a message stays in flight from its receive until
//! some commit later, and everything that can happen meanwhile has a place of its own:
//!
//! | file | mechanism |
//! |---|---|
//! | [`source`] | puts the parts together, and drains them in order when asked to stop |
//! | `pollers` | receive → track → submit, by as many tasks as the load needs; never waits for a commit |
//! | `tracker` | what is in flight: the newest receipt handle and the deadline of every message |
//! | `extender` | asks for more time before a deadline comes |
//! | `deleter` | deletes what was acknowledged, in tens, several calls at a time |
//! | `marks` | says when the queue was last drained, how long it keeps messages, what its dead-letter queue holds |
//! | `batches` | work on many messages, ten to a call |
//! | `queue` | the calls of SQS behind a trait, so that all of the above can be tested in paused time |
//! | [`stats`] | what metrics see; whether it works: [`crate::health`] |
//! | [`options`] | what can be configured |
//!
//! What it promises:
//!
//! * a message is deleted only after [`Acknowledge::ack`](crate::Acknowledge::ack), and always with its newest handle
//! * a message that comes again while its first copy is being processed is not handed over twice
//! * errors end nothing: throttling and outages are waited out, missing permissions and a missing queue are retried
//!   every 30 seconds, said once, and shown in [`SourceHealth`](crate::health::SourceHealth)
//! * a stop deletes what is acknowledged within the grace period and makes the rest visible again at once
//!
//! Its ceilings: the SDK's own decoding (some 15,000 messages a second and core), SQS's 120,000 messages in flight and
//! 12 hours per delivery. A message that is not acknowledged in 12 hours comes back. Retries are this module's own; the
//! SDK's are switched off, so that an error is counted once and waited for once.

mod batches;
mod deleter;
mod extender;
mod marks;
pub mod options;
mod pollers;
mod queue;
#[cfg(test)]
mod sdk_tests;
pub mod source;
pub mod stats;
#[cfg(test)]
mod testing;
mod tracker;

pub use options::SqsOptions;
pub use source::{QueueFacts, SourceSummary, SqsSource};
pub use stats::SqsStats;
