//! What a person may say about the inventory. The defaults suit an organisation of a thousand accounts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dormouse_model::{AccountId, Region};

/// Which accounts there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Accounts {
    /// The one that our own credentials belong to.
    #[default]
    Local,
    /// These. Our own is read with our own credentials, the others by assuming a role.
    List(BTreeSet<AccountId>),
    /// Those of the organisation.
    Organization(OrganizationFilter),
}

/// Which accounts of the organisation are wanted: all, unless something is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrganizationFilter {
    /// Only those below these organisational units or roots (`ou-…`, `r-…`), at any depth.
    pub units: BTreeSet<String>,
    /// Only those with all of these tags.
    pub tags: BTreeMap<String, String>,
}

/// Which Regions there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Regions {
    /// Those of our own partition that this build has heard of. That an account has not enabled one is no error.
    #[default]
    All,
    /// These.
    List(Vec<Region>),
}

/// How the inventory is taken.
#[derive(Clone, Debug)]
pub struct InventoryOptions {
    /// Which accounts.
    pub accounts: Accounts,
    /// But not these.
    pub exclude_accounts: BTreeSet<AccountId>,
    /// Which Regions.
    pub regions: Regions,
    /// From the start of a pass to the start of the next; shortened by up to a tenth, so that replicas do not meet.
    pub interval: Duration,
    /// From our start to the first pass.
    pub first_pass_after: Duration,
    /// A pass ends after so long; what is left is due in the next.
    pub deadline: Duration,
    /// Every key is described anew within so long, changed or not.
    pub redescribe_every: Duration,
    /// So many places are read at the same time.
    pub places_at_once: usize,
    /// In each place so many requests are on their way at the same time.
    pub requests_at_once: usize,
    /// A request that is not answered within so long is given up.
    pub attempt_timeout: Duration,
    /// The share of AWS's quotas that we allow ourselves, from 0 to 1. `GetKeyLastUsage` has a pace of its own.
    pub share_of_quotas: f64,
    /// Every place is sent a heartbeat within so long; none if absent.
    pub heartbeat_every: Option<Duration>,
    /// How keys are looked at that events say have changed.
    pub look_out_every: Duration,
    /// How KMS is asked for last uses; it is not if absent.
    pub usage: Option<UsageOptions>,
    /// Makes intervals repeat in tests; `None`: random.
    pub seed: Option<u64>,
}

/// How KMS is asked for last uses.
#[derive(Clone, Debug)]
pub struct UsageOptions {
    /// Every key is asked about within so long, candidates sooner.
    pub every: Duration,
    /// So many places are asked at the same time.
    pub places_at_once: usize,
    /// Requests a second in each place; the quota is 5.
    pub per_second: f64,
}

impl Default for InventoryOptions {
    fn default() -> Self {
        Self {
            accounts: Accounts::default(),
            exclude_accounts: BTreeSet::new(),
            regions: Regions::default(),
            interval: Duration::from_hours(1),
            first_pass_after: Duration::from_secs(5),
            deadline: Duration::from_mins(55),
            redescribe_every: Duration::from_hours(7 * 24),
            places_at_once: 16,
            requests_at_once: 8,
            attempt_timeout: Duration::from_secs(10),
            share_of_quotas: 0.2,
            heartbeat_every: Some(Duration::from_mins(15)),
            look_out_every: Duration::from_mins(1),
            usage: Some(UsageOptions::default()),
            seed: None,
        }
    }
}

impl Default for UsageOptions {
    fn default() -> Self {
        Self { every: Duration::from_hours(7 * 24), places_at_once: 64, per_second: 4.0 }
    }
}
