//! Bytes → records → observations.
//!
//! CloudTrail's KMS records arrive bare, in EventBridge envelopes, in SNS notifications, in batches of CloudWatch Logs
//! subscriptions, in aggregated Kinesis records, in trail objects, one a line, packed or plain, in each other, and
//! nothing outside says which. [`Decoder`] tells by shape and says of every record what it means
//! for the keys it names; [`files`] cuts files of any size into documents for it.
//!
//! It promises:
//!
//! * Every record of a message is visited once, as understood, as another service's, or as [`Bad`] with a reason. One
//!   bad record never hides its neighbours.
//! * A message may say that an object is there ([`Announced`]) or nothing at all ([`Control`]). That is told; nothing is
//!   fetched, confirmed or followed here.
//! * Input is hostile: sizes, nesting, decompressed bytes and kept texts are bounded ([`Limits`]); nothing recurses
//!   along the input; text that is no Unicode is replaced, not refused.
//! * The common record is parsed once, into borrowed structs that skip what they do not name.
//!
//! Its ceiling is the JSON parser: about a gigabyte a second and core. A message that is packed is unpacked whole, into
//! at most [`Limits::max_decompressed`] bytes.
//!
//! | file | what is there |
//! |---|---|
//! | `decoder.rs` | the walk through a message: which text is a record, which an envelope |
//! | `shape/` | the JSON shapes: record, envelopes, announcements, outlines of what is none |
//! | `aggregate.rs` | Kinesis records that hold several |
//! | `observe.rs`, `keys.rs`, `effects.rs`, `failures.rs`, `direct.rs`, `bounds.rs` | what a record says |
//! | `pipe.rs` | what a record says about what delivers events |
//! | `scan.rs`, `recovery.rs` | where a JSON value ends, and where to go on behind a broken one |
//! | `gzip.rs` | the only decompressor |
//! | `files/` | files of any size, in bounded memory |
//! | `trail_key.rs`, `digest.rs` | what a trail's bucket says about its objects |

mod aggregate;
mod announce;
mod bounds;
mod decoder;
mod digest;
mod direct;
mod effects;
mod failures;
pub mod files;
pub mod gzip;
mod keys;
mod limits;
mod observe;
mod outcome;
mod pipe;
mod reason;
mod recovery;
mod scan;
mod shape;
mod text;
mod trail_key;

pub use aggregate::AggregateError;
pub use decoder::{Decoder, parse_only};
pub use digest::{Digest, DigestError, DigestLogFile, PreviousDigest};
pub use keys::NameResolver;
pub use limits::Limits;
pub use outcome::{
    Announced, Bad, BadClass, Control, KmsRecord, LeftOut, Outcome, PipeRecord, PipeService, Unresolved,
};
pub use reason::{Reason, UNRESOLVED_ALIAS, may_hold_a_use};
pub use trail_key::{TrailKey, TrailKeyKind};

#[cfg(test)]
mod tests;
