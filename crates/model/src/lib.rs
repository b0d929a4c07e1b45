//! The words of the house as types.
//!
//! Everything above this crate speaks of keys, operations, observations and time in these types. They are small
//! (a [`KeyArn`] is 24 bytes and `Copy`), do no I/O and know nothing of async, so that the same words serve the
//! decoder's hot path, the journal, the tables and the pages.
//!
//! * [`AccountId`], [`Region`], [`KeyArn`]: which key
//! * [`OperationTable`]: what a KMS API operation means for the key
//! * [`Observation`]: what one CloudTrail record says about one key
//! * [`Place`], [`Cell`]: where it was logged, and on which day
//! * [`EventTime`], [`EventId`]: when, and which event
//! * [`Checkpoint`], [`SourceMark`]: what a source says of itself
//! * [`Answer`]: what AWS says when it is asked
//! * [`Clock`]: the only door to wall time
//! * [`printable`]: hostile text, made harmless for people

mod account;
mod clock;
mod event;
mod inventory;
mod key;
mod names;
mod observation;
mod operation;
mod place;
mod printable;
mod region;
mod source;

pub use account::{AccountId, ParseAccountError};
pub use clock::{Clock, ManualClock, WallClock};
pub use event::{EventId, EventTime, ParseTimeError};
pub use inventory::{
    AccountAnswer, AccountSaid, AliasSaid, Answer, Described, Failure, Grants, KeyAnswer, KeySaid, KmsUse,
    LastUsage, MultiRegion, PlaceAnswer, PlaceSaid, Rotation, UsageWitness,
};
pub use key::{KeyArn, ParseKeyError};
pub use observation::{Effect, Kind, LifecycleState, Observation};
pub use operation::{Change, Meaning, OperationTable, OverrideError, is_read_only_name};
pub use place::{Cell, Place};
pub use printable::{is_harmless, printable};
pub use region::{ParseRegionError, Region};
pub use source::{Checkpoint, DeadLetters, Lost, ShardPosition, SourceMark};
