//! One file a command.

pub(crate) mod accounts;
pub(crate) mod backfill;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod demo;
pub(crate) mod keys;
pub(crate) mod man;
pub(crate) mod quarantine;
pub(crate) mod reconcile;
pub(crate) mod replay;
pub(crate) mod run;
pub(crate) mod status;

use std::time::Duration;

/// Whole seconds, as many as can be said.
pub(crate) fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}
