//! The reconciler against an AWS in memory, in paused time.

mod house;
mod passes;
