//! Which accounts, Regions and keys there are: what AWS says when it is asked, at a pace it can bear.
//!
//! Events tell what happens; they do not tell of keys that nobody touches. So every account is asked, in every Region,
//! once an hour which keys and aliases it has, and what is new or changed is described. In steady state a pass costs
//! pages, not keys. What is said goes into the journal like events do; what fails is said, too, and never taken for
//! "there is nothing". Between the passes KMS is asked for last uses, and heartbeats are sent.
//!
//! * [`Reconciler`]: the running whole; [`Parts`] is what it needs
//! * [`InventoryOptions`]: which accounts and Regions, and how often
//! * [`Cloud`] and [`Kms`]: AWS, so that it can be another's; [`SdkCloud`]: AWS
//! * [`Journal`]: where answers go
//! * [`memory`]: an AWS and a journal in memory, for tests and benches
//! * [`Candidates`]: which keys KMS's word is wanted for first
//! * [`PassReport`], [`Status`]: what it did, and what it is about
//! * [`Metrics`]: what is measured
//!
//! Its ceiling is AWS's quotas, of which it takes a fifth: `DescribeKey` at 400 a second in each account and Region, 16
//! places at the same time. Memory grows with the places (some hundred bytes each) and with the largest list.

mod accounts;
mod calls;
pub mod cloud;
mod describe;
mod due;
mod failures;
mod heartbeat;
mod house;
mod journal;
mod look_out;
pub mod memory;
mod metrics;
mod operation;
mod options;
mod pass;
mod place;
mod reconciler;
mod report;
mod sdk;
#[cfg(test)]
mod tests;
mod usage;

pub use cloud::{Access, Cloud, Kms};
pub use journal::{Journal, MemoryJournal};
pub use metrics::Metrics;
pub use operation::Operation;
pub use options::{Accounts, InventoryOptions, OrganizationFilter, Regions, UsageOptions};
pub use reconciler::{Parts, Reconciler};
pub use report::{
    AccountCounts, KeyCounts, PassFailure, PassOutcome, PassReport, PlaceCounts, Scope, Status,
};
pub use sdk::{SdkCloud, SdkKms};
pub use usage::{ByAge, Candidates};
