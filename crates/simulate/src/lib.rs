//! A synthetic organisation, for the demo, benches and fault tests.
//!
//! Nobody lends us an AWS organisation with a hundred accounts in which to lose messages, delete keys and turn the
//! clock, so this crate invents one. Its parts:
//!
//! * [`records`]: a seeded generator of KMS CloudTrail records as they really look, together with what each of them
//!   says, so that a test can hold the answer of the whole house against an account kept from the outside;
//! * [`organisation`]: an organisation that lives: keys with a story, those who use and alter them, the records of it
//!   in the order of time, and the truth about each key;
//! * [`aws`]: doubles of KMS, STS and Organizations on loopback that show this organisation to the official SDKs, and
//!   turn calls into its records;
//! * [`sqs`]: a double of Amazon SQS on loopback, alone or behind the endpoint of the others;
//! * [`kinesis`]: a double of Amazon Kinesis Data Streams on loopback, with shards that split and merge;
//! * [`s3`]: a double of Amazon S3 on loopback, with objects to list and read.
//!
//! The doubles' faults can be switched on and off while they run.
//!
//! Everything is deterministic by seed as far as the order of the requests is. Account ids, key ids and names are
//! invented. Nothing here knows Dormouse: the crate shares the words of the model, and the text it makes is AWS's.
//! The doubles promise the behaviour that a consumer can see, not AWS's limits on names, policies or signatures.

pub mod aws;
mod faults;
pub mod kinesis;
pub mod organisation;
pub mod records;
pub mod s3;
pub mod sqs;
mod uuid;
mod wire;
