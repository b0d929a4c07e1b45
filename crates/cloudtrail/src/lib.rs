//! Bytes → records → observations.
//!
//! CloudTrail's KMS records arrive bare, in EventBridge envelopes, in SNS notifications, in trail objects, one a line,
//! packed or plain, and nothing outside says which. [`Decoder`] tells by shape and says of every record what it means
//! for the keys it names; [`files`] cuts files of any size into documents for it.
//!
//! It promises:
//!
//! * Every record of a message is visited once, as understood, as another service's, or as [`Bad`] with a reason. One
//!   bad record never hides its neighbours.
//! * Input is hostile: sizes, nesting, decompressed bytes and kept texts are bounded ([`Limits`]); nothing recurses
//!   along the input; text that is no Unicode is replaced, not refused.
//! * The common record is parsed once, into borrowed structs that skip what they do not name.
//!
//! Its ceiling is the JSON parser: about a gigabyte a second and core. Payloads of CloudWatch Logs subscriptions,
//! notifications about S3 objects and aggregated Kinesis records are recognised and refused by name, not unpacked.
//!
//! | file | what is there |
//! |---|---|
//! | `decoder.rs` | the walk through a message: which text is a record, which an envelope |
//! | `shape/` | the JSON shapes: record, envelopes, outlines of what is neither |
//! | `observe.rs`, `keys.rs`, `effects.rs`, `failures.rs`, `direct.rs`, `bounds.rs` | what a record says |
//! | `scan.rs`, `recovery.rs` | where a JSON value ends, and where to go on behind a broken one |
//! | `gzip.rs` | the only decompressor |
//! | `files/` | files of any size, in bounded memory |

mod bounds;
mod decoder;
mod direct;
mod effects;
mod failures;
pub mod files;
pub mod gzip;
mod keys;
mod limits;
mod observe;
mod outcome;
mod reason;
mod recovery;
mod scan;
mod shape;
mod text;

pub use decoder::{Decoder, parse_only};
pub use limits::Limits;
pub use outcome::{
    Announced, Bad, BadClass, Control, KmsRecord, Outcome, PipeRecord, PipeService, Unresolved,
};
pub use reason::Reason;

#[cfg(test)]
mod tests;
