//! A Kinesis stream as a source.
//!
//! A stream is a log in pieces (*shards*) that are split and merged while they are read. Nothing is deleted from it, so
//! what takes the place of SQS's acknowledgements is a position for every shard, and a position becomes durable in the
//! same epoch as the effects of what was read up to it. One process reads all shards.
//!
//! | file | mechanism |
//! |---|---|
//! | [`source`] | puts the parts together, and waits for what was handed over when asked to stop |
//! | `coordinator` | looks at the stream, keeps a reader at every shard that may be read, says how complete it is |
//! | `lineage` | which shard may be read and from where: parents before children, lives of a stream |
//! | `reader` | iterator → read → hand over, one batch an answer, from a position to the shard's end |
//! | `pace` | how often a shard is read: five times a second, less when Kinesis refuses |
//! | `budget` | how many bytes of records all readers hold together |
//! | `flight` | what was handed over and is not settled |
//! | `looks` | why and when the stream is looked at again |
//! | `progress` | how far behind the slowest shard is, and before when everything was handed over |
//! | `troubles` | one shard's success does not hide another one's failure |
//! | `stream` | the four calls of Kinesis behind a trait, so that all of the above can be tested in paused time |
//! | [`stats`] | what metrics see; whether it works: [`crate::health`] |
//! | [`options`] | what can be configured |
//!
//! What it promises:
//!
//! * every record behind a shard's durable position is handed over at least once, and once if nothing is interrupted
//! * no record of a shard is handed over before its parents were handed over to their end, however often the stream was
//!   split and merged, also while nobody was reading
//! * a start at the latest records is written down before anything is read, so that a crash cannot move it
//! * a stream that was deleted and made again is read from its beginning, and said to have lost what the old one held
//! * errors end nothing: throttling and outages are waited out, missing permissions and a missing stream are retried
//!   every 30 seconds, said once, and shown in [`SourceHealth`](crate::health::SourceHealth)
//!
//! Its ceilings: 2 MB a second and shard, which Kinesis allows to all consumers without a pipe of their own; a task and
//! an iterator for each shard; six reads at a time with the default budget, so that beyond some hundred idle shards each
//! is read less often than once a second. Retries are this module's own; the SDK's are switched off.

mod budget;
mod coordinator;
mod flight;
mod lineage;
mod looks;
pub mod options;
mod pace;
mod progress;
mod reader;
#[cfg(test)]
mod sdk_tests;
pub mod source;
pub mod stats;
mod stream;
#[cfg(test)]
mod testing;
mod troubles;

pub use options::{KinesisOptions, Start};
pub use source::{KinesisSource, KinesisSummary, StreamFacts};
pub use stats::KinesisStats;
