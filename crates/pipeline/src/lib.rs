//! From batches to durable epochs, and from there to everything that reads them.
//!
//! ```text
//! source ─► intake (decode, observe) ─► seal ─► commit ─► apply ─► acknowledge
//!           in the source's own task     └────── one epoch at a time ──────┘
//!                                                  │ later, in the background
//!                                                  └─► fold into the key tables
//! ```
//!
//! What it promises: nothing is acknowledged before the epoch that holds its effect is durable; epochs commit in order;
//! a crash at any instant loses nothing and counts nothing twice. Its ceiling is one sealing task, which does a look-up in
//! the id window and two map updates an observation.
//!
//! * [`intake`]: messages become encoded observations, in the task of the source that received them
//! * [`seal`]: decides what counts, and puts an epoch together
//! * [`epoch`]: the bytes of an epoch
//! * [`apply`]: a committed epoch enters the ledger and the delta
//! * [`fold`]: the delta becomes rows
//! * [`recover`]: a start from the store
//! * [`run`]: the loop that does all this in order
//! * [`history`]: cells of a trail's history come in
//! * [`InventoryIntake`]: what AWS says when it is asked comes in
//! * [`checkpoints`]: how far sources have come
//! * [`control`]: what a person can have done meanwhile
//! * [`Metrics`]: what is measured
//! * [`view`]: what is known, read from the running pipeline or from a store that another process may be writing

pub mod apply;
pub mod checkpoints;
pub mod control;
pub mod epoch;
pub mod fold;
pub mod history;
pub mod intake;
mod inventory;
mod metrics;
mod recent;
pub mod recover;
pub mod run;
pub mod seal;
#[cfg(test)]
mod tests;
pub mod view;

pub use control::{Control, QuarantineAction, QuarantineOutcome};
pub use history::{CellEvidence, HistoryIntake};
pub use intake::{AllowedObjects, NotABucketName, ObjectIntake, OnPoison, PipelineIntake};
pub use inventory::InventoryIntake;
pub use metrics::Metrics;
pub use run::{CheckpointView, Pipeline, PipelineError, PipelineOptions, Progress};
pub use view::{LiveView, StoreView, read_store};
