//! What the end-to-end tests share.
//!
//! The tests ask what a user of Dormouse would ask: is the answer right, is nothing lost, and is it said when something
//! is wrong? So they run the real program over real files and a queue that speaks SQS's protocol on loopback, and hold
//! its answers against an oracle that shares no line with it. The exception is the order of commits and deletes, which
//! cannot be seen from outside the process: those tests put the same parts together around a store that keeps watch.
//!
//! * [`program`]: the program as a process, started, asked, stopped and killed
//! * [`scene`]: a queue, a store and a configuration for one test
//! * [`ways`]: queues, streams and buckets together, and an instance that reads them all
//! * [`organisation`]: an organisation, the AWS that shows it, and an instance that asks and reads both
//! * [`streams`]: streams that are split and merged while they are read, ours and somebody else's
//! * [`traffic`]: bodies and files of a synthetic organisation
//! * [`oracle`]: the independent answer, and the comparison with it
//! * [`watched`]: a store that refuses commits when told to, and remembers what it made durable
//! * [`clock`]: wall time that can be pushed ahead
//! * [`wait`]: waiting for things without sleeping on a guess
//! * [`witness`], [`ministack`], [`prometheus`]: programs of others to hold ours against; [`http`] to ask them
//! * [`aws`]: the SDK's clients for them and for our doubles

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "helpers of tests fail the test, and talk to whoever reads its output"
)]

pub mod aws;
pub mod clock;
pub mod http;
pub mod ministack;
pub mod oracle;
pub mod organisation;
pub mod program;
pub mod prometheus;
pub mod scene;
pub mod streams;
pub mod traffic;
pub mod wait;
pub mod watched;
pub mod ways;
pub mod witness;
