//! The reconciler against an AWS in memory, in paused time.

mod beats;
mod house;
mod paces;
mod passes;
mod sdk;
mod troubles;
mod usage;
