//! What is known of every key, and the law by which it merges.
//!
//! Events arrive in any order, twice, from several places, and again after a crash. So that none of this can matter,
//! what is kept per key is a merge: commutative, associative, idempotent. Only counting needs to know whether an
//! observation was seen before; that is the [`IdWindow`]'s business, and what it cannot know it says.
//!
//! * [`KeyState`]: everything about one key; `apply` takes an observation, `merge` another state of the same key
//! * [`Rank`] and [`Evidence`]: the order among uses, without and with its texts
//! * [`Registers`]: state, tags and the like: the last writer wins
//! * [`Aliases`]: which key an alias points to
//! * [`IdWindow`]: which observations were counted already
//! * [`decide`]: what counts, record by record
//! * [`Ledger`]: all keys, read while it is written
//! * [`Delta`]: what changed since the key tables were last written
//! * [`CellHistory`], [`CellShift`]: what history counted of a day, and what that changes
//! * [`Coverage`]: what was received, and what history proves
//! * [`Facts`], [`Inventory`]: what AWS said when it was asked
//! * [`Judge`], [`Verdict`]: what may be said about a key's use, and what it rests on
//! * [`query`]: which keys are asked for, and in what order
//! * [`KeyDocument`]: a key as every surface shows it

mod aliases;
mod cells;
mod counting;
pub mod coverage;
mod delta;
mod document;
mod evidence;
mod facts;
mod identity;
mod inventory;
mod key_state;
#[cfg(test)]
mod laws;
mod ledger;
mod proof;
pub mod query;
mod recency;
mod registers;
mod shift;
mod verdict;
mod window;

pub use aliases::{AliasName, AliasWrites, Aliases};
pub use cells::{CellHistory, CellShift, Days, FinishedCells, KeyHistory, KeyShift};
pub use counting::{Decision, Mark, Record, Remembered, decide};
pub use coverage::missed::MissedUse;
pub use coverage::options::CoverageOptions;
pub use coverage::unread::Unread;
pub use coverage::{
    Coverage, CoverageRows, Gap, LeavesOut, PipeChange, Received, Seen, SourceCoverage, Span,
};
pub use delta::{Activity, ChangeLine, Delta, DeltaKey, User, UserStats};
pub use document::{
    AttemptDocument, GrantsDocument, KeyDocument, KmsDocument, KmsUseDocument, RotationDocument, Source,
    UseDocument, WantedDocument,
};
pub use evidence::{Evidence, EvidenceTexts, Rank, Trace};
pub use facts::{Facts, Nature, Stamped};
pub use identity::Identity;
pub use inventory::{AccountInventory, Inventory, InventoryRows, PlaceInventory, Trouble};
pub use key_state::{Counting, Counts, KeyState, Wanted};
pub use ledger::{Bounds, Ledger, Tally};
pub use proof::{Blind, Declared, PlaceProof, Reach};
pub use recency::Order;
pub use registers::{Register, Registers};
pub use shift::{DayCounts, Shift};
pub use verdict::{
    Case, Judge, KMS_LAG, Look, Override, Rules, TagThreshold, Threshold, ThresholdError, ThresholdSource,
    Thresholds, Verdict, VerdictKind, Witnesses, age_in_words,
};
pub use window::{Copies, Entered, IdWindow};
