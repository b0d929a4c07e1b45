//! KMS CloudTrail records as they really look, invented.
//!
//! Real logs hold other people's secrets, and hold rarely what matters most: a call that two accounts log differently, a
//! record without resources, a key wanted while it waits for deletion. A [`Generator`] makes all of them, from a seed,
//! and says with each record what it means ([`Generated::says`]), so that a test can add up for itself what the house
//! should find. [`Mix`] says what happens how often, [`Shape`] in what organisation.
//!
//! Promises: the same seed, shape and mix give the same records; every record is compact JSON in CloudTrail's order of
//! fields; a key that a record disabled refuses calls until a record enables it. Ids are invented throughout. The
//! wrapping for each way that records travel is in [`Generated`] and in the functions beside it; [`layout`] lays them
//! out as a trail does; [`deliveries`] repeats and shuffles as the ways do.
//!
//! Not in here: data events, insights, and the more than a hundred services besides KMS, of which a few
//! stand for all.

pub(crate) mod catalogue;
mod delivery;
pub(crate) mod draft;
mod envelope;
pub(crate) mod failure;
mod generator;
pub(crate) mod json;
pub mod layout;
mod mix;
pub(crate) mod parameters;
pub(crate) mod principals;
#[cfg(test)]
mod tests;
pub(crate) mod world;

use dormouse_model::{AccountId, EventTime, KeyArn, Kind, Region};

pub use catalogue::KeyClass;
pub use delivery::{DeliveryOptions, deliveries};
pub use envelope::{
    aggregate, cloudwatch_logs, control_message, direct_event, eventbridge, gzip, ndjson, s3_notification,
    s3_object_created, s3_object_removed, s3_test_event, sns, subscription_confirmation, trail,
    trail_notification,
};
pub use generator::Generator;
pub use mix::Mix;
pub use world::Key;

/// How the calls spread over the keys of a class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Popularity {
    /// Each key as often as every other.
    Uniform,
    /// The key of rank *n* in proportion to 1/*n*^exponent; about 1 is usual.
    Zipf(f64),
}

/// The organisation, and how its records are written.
#[derive(Clone, Debug)]
pub struct Shape {
    /// How many accounts. Their ids follow from their number alone, see [`Shape::account_ids`].
    pub accounts: usize,
    /// The Regions in which there are keys.
    pub regions: Vec<Region>,
    /// How many keys there are at the start. Records make up to as many again.
    pub keys: usize,
    /// How calls spread over keys.
    pub popularity: Popularity,
    /// The time of the first record.
    pub start: EventTime,
    /// How time passes from record to record.
    pub events_per_second: f64,
    /// TLS details and VPC endpoints, as newer records have them.
    pub rich: bool,
    /// Records are at least so many bytes long.
    pub pad_to: usize,
    /// Texts that a caller may choose are hostile now and then.
    pub hostile: bool,
}

impl Default for Shape {
    fn default() -> Self {
        let regions = ["eu-west-1", "us-east-1", "eu-central-1"];
        Self {
            accounts: 3,
            regions: regions.iter().filter_map(|region| region.parse().ok()).collect(),
            keys: 200,
            popularity: Popularity::Zipf(1.0),
            // 2026-11-01T00:00:00Z.
            start: EventTime::from_seconds(1_793_491_200),
            events_per_second: 10.0,
            rich: true,
            pad_to: 0,
            hostile: false,
        }
    }
}

impl Shape {
    /// The same shape with `events` records spread evenly over `seconds`.
    #[must_use]
    pub fn over(mut self, seconds: u32, events: u32) -> Self {
        self.events_per_second = f64::from(events) / f64::from(seconds.max(1));
        self
    }

    /// The ids of all accounts.
    pub fn account_ids(&self) -> Vec<AccountId> {
        (0..self.accounts.max(1)).map(world::account_at).collect()
    }
}

/// What a record says about one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Said {
    /// The key.
    pub key: KeyArn,
    /// Use, attempt or change.
    pub kind: Kind,
    /// For attempts: the error code says that somebody still needs the key.
    pub wanted: bool,
}

/// A record and what there is to know about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// The record as compact JSON.
    pub record: String,
    /// The account that logged it.
    pub account: AccountId,
    /// The Region that logged it.
    pub region: Region,
    /// When the event happened.
    pub time: EventTime,
    /// The service, `kms.amazonaws.com` for nearly all.
    pub source: &'static str,
    /// The operation or service event.
    pub operation: &'static str,
    /// The record's own id.
    pub event_id: String,
    /// What it has in common with the other account's copy.
    pub shared_id: Option<String>,
    /// Why the call failed.
    pub error_code: Option<&'static str>,
    /// `AwsApiCall`, `AwsServiceEvent` or `AwsVpceEvent`.
    pub event_type: &'static str,
    /// What it says about keys, going by the operation, the error code and the keys that it names in `resources` (in
    /// `requestParameters` if it has none there): in-use calls, and changes that succeeded. Empty for dry runs, for
    /// network activity, and for operations that are neither or unknown. The second copy of a call says the same again.
    pub says: Vec<Said>,
}
