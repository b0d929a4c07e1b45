//! Dormouse from the outside, one module a behaviour.
//!
//! See `dormouse_tests` for what they share. The program under test must have been built: `cargo build -p dormouse`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "the helpers of tests are no tests to clippy"
)]

mod accounts;
mod acks;
mod ask;
mod ask_wrong;
mod backfill;
mod config;
mod contracts;
mod demo;
mod faults;
mod history;
mod hostile;
mod http;
mod inventory;
mod kill;
mod kinesis_kill;
mod ministack;
mod objects;
mod paths;
mod poison;
mod prometheus;
mod replay;
mod stop;
mod store;
mod supervision;
mod witnesses;
