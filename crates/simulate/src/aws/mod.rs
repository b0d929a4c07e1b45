//! Doubles of AWS KMS, STS and Organizations on loopback, behind one endpoint.
//!
//! They show an [`Organisation`] to the official SDKs in the services' own protocols, so that a reader of many accounts
//! can be tested for what goes wrong there: a Region that is denied, a page that never comes, credentials that expire,
//! a quota, an answer that is an hour late. [`AwsDouble`] is strict where a reader can get it wrong: paging, limits,
//! who sees which account, what a key in which state refuses. Calls that reach a service become CloudTrail records with
//! the request id of the answer, to be had from [`Organisation::advance_to`], and enter the truth; calls that a fault
//! ends with an internal error, or before the service sees them, do not.
//!
//! Who calls follows from the access key in the signature's scope: twelve digits are that account's; keys that
//! `AssumeRole` gave are the role's; any other key is the management account's. Region and service come from the same
//! scope. Signatures are not verified, and identity policies do not exist: whoever belongs to an account may do
//! everything there, and another account what the key's policy says.
//!
//! Not in here: data key pairs, key agreement and encapsulation, what is inside of imported material, grant constraints
//! being enforced, and IAM.

mod faults;
mod organizations;
mod quota;
mod service;
mod sts;
#[cfg(test)]
mod tests;
mod traffic;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dormouse_model::{AccountId, Region};

use crate::organisation::Organisation;
use crate::sqs::{SqsDouble, SqsOptions};
use crate::wire::{self, Server};
use quota::Quotas;
use sts::Session;
use traffic::Traffic;

pub use faults::{AwsError, AwsFault, AwsFaults};

/// A service behind the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Service {
    /// Key Management Service.
    Kms,
    /// Security Token Service.
    Sts,
    /// Organizations.
    Organizations,
}

/// How the doubles behave.
#[derive(Clone, Default)]
pub struct AwsDoubleOptions {
    /// Seeds the chances of faults, and the credentials that are given out.
    pub seed: u64,
    /// Whether KMS takes requests without end. By default its quotas hold.
    pub unlimited: bool,
    /// The only role name that can be assumed; `None`: any.
    pub role_name: Option<String>,
    /// The path of that role, e.g. `/ops/`; `None`: any.
    pub role_path: Option<String>,
    /// The name of the role whose sessions alone may assume others. It can itself be assumed by anybody, without an
    /// external id. `None`: anybody may assume any.
    pub hub_role: Option<String>,
    /// Whether `AssumeRole` gives credentials for less than the 900 seconds that STS insists on.
    pub short_sessions: bool,
    /// What `AssumeRole` must bring as external id; `None`: it need not.
    pub external_id: Option<String>,
    /// Accounts in which the role does not exist. Can be changed later by [`AwsDouble::set_role`].
    pub accounts_without_role: Vec<AccountId>,
    /// Accounts other than the management account that may read the organisation.
    pub delegated_administrators: Vec<AccountId>,
    /// Regions that accounts have not enabled. Can be changed later by [`AwsDouble::set_region`].
    pub regions_not_enabled: Vec<(AccountId, Region)>,
    /// Regions in which KMS does not know `GetKeyLastUsage`. Can be changed later by [`AwsDouble::set_last_usage`].
    pub regions_without_last_usage: Vec<Region>,
    /// Whether Organizations tells of an account's `Status` alone, and not of its `State`.
    pub no_account_state: bool,
    /// Whether Organizations sends an empty page with a `NextToken` before each page with something on it.
    pub empty_pages: bool,
    /// Serves SQS, too, with queues that [`AwsDouble::sqs`] makes.
    pub sqs: Option<SqsOptions>,
}

/// What requests are counted by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestKind {
    /// The service.
    pub service: Service,
    /// The operation by its name in the API.
    pub operation: String,
    /// The account that called.
    pub account: AccountId,
    /// The Region that the request was signed for.
    pub region: Region,
}

/// The running doubles. End when they are stopped or dropped.
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// use dormouse_simulate::aws::{AwsDouble, AwsDoubleOptions};
/// use dormouse_simulate::organisation::{Organisation, OrganisationOptions};
///
/// let organisation = Organisation::new(OrganisationOptions::default());
/// let double = AwsDouble::start(organisation, AwsDoubleOptions::default()).await?;
/// println!("AWS_ENDPOINT_URL={}", double.endpoint());
/// # Ok(())
/// # }
/// ```
pub struct AwsDouble {
    core: Arc<Core>,
    server: Server,
}

/// What requests and the test's own calls share.
struct Core {
    organisation: Arc<Organisation>,
    endpoint: String,
    options: AwsDoubleOptions,
    faults: AwsFaults,
    quotas: Quotas,
    traffic: Traffic,
    without_role: Mutex<BTreeSet<AccountId>>,
    regions: Mutex<Regions>,
    sessions: Mutex<Sessions>,
    sqs: Option<SqsDouble>,
}

/// What is not to be had in which Region.
#[derive(Default)]
struct Regions {
    not_enabled: HashSet<(AccountId, Region)>,
    without_last_usage: HashSet<Region>,
}

/// Credentials that were given out, by access key.
struct Sessions {
    random: fastrand::Rng,
    by_access_key: HashMap<String, Session>,
}

impl AwsDouble {
    /// Starts the doubles on a free port of loopback, on the current runtime. Fails if no port can be had.
    pub async fn start(organisation: Arc<Organisation>, options: AwsDoubleOptions) -> io::Result<Self> {
        let (listener, endpoint) = wire::bind().await?;
        let random = fastrand::Rng::with_seed(options.seed ^ 0x5e55_1045);
        let core = Arc::new(Core {
            faults: AwsFaults::new(options.seed),
            quotas: Quotas::default(),
            traffic: Traffic::default(),
            without_role: Mutex::new(options.accounts_without_role.iter().copied().collect()),
            regions: Mutex::new(Regions {
                not_enabled: options.regions_not_enabled.iter().copied().collect(),
                without_last_usage: options.regions_without_last_usage.iter().copied().collect(),
            }),
            sessions: Mutex::new(Sessions { random, by_access_key: HashMap::new() }),
            sqs: options.sqs.clone().map(|sqs| SqsDouble::behind(endpoint.clone(), sqs)),
            organisation,
            endpoint,
            options,
        });
        let server = Server::start(listener, core.clone());
        Ok(Self { core, server })
    }

    /// What to give the SDK as endpoint URL, for all services.
    pub fn endpoint(&self) -> &str {
        &self.core.endpoint
    }

    /// The organisation that is shown.
    pub fn organisation(&self) -> &Arc<Organisation> {
        &self.core.organisation
    }

    /// The faults, to be changed at any time.
    pub fn faults(&self) -> &AwsFaults {
        &self.core.faults
    }

    /// SQS behind the same endpoint, if the options asked for it.
    pub fn sqs(&self) -> Option<&SqsDouble> {
        self.core.sqs.as_ref()
    }

    /// Makes the role exist in this account, or not. Sessions that there are go on.
    pub fn set_role(&self, account: AccountId, exists: bool) {
        let mut without = self.core.without_role.lock().unwrap_or_else(PoisonError::into_inner);
        if exists {
            without.remove(&account);
        } else {
            without.insert(account);
        }
    }

    /// Makes the account have this Region, or not. In a Region that is not enabled KMS and STS do not know the account's
    /// credentials, and STS does not let anybody assume a role in the account. What is there stays.
    pub fn set_region(&self, account: AccountId, region: Region, enabled: bool) {
        let not_enabled = &mut self.core.regions().not_enabled;
        if enabled {
            not_enabled.remove(&(account, region));
        } else {
            not_enabled.insert((account, region));
        }
    }

    /// Makes KMS know `GetKeyLastUsage` in this Region, or not.
    pub fn set_last_usage(&self, region: Region, known: bool) {
        let without = &mut self.core.regions().without_last_usage;
        if known {
            without.remove(&region);
        } else {
            without.insert(region);
        }
    }

    /// Ends the sessions in this account, or all: from now on they are expired, whatever was said when they were given
    /// out. Returns how many there were.
    pub fn expire_sessions(&self, account: Option<AccountId>) -> usize {
        let now = self.core.organisation.options().clock.now_seconds();
        let mut sessions = self.core.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let is_concerned =
            |session: &&mut Session| session.expires > now && account.is_none_or(|id| id == session.account);
        let concerned = sessions.by_access_key.values_mut().filter(is_concerned);
        concerned.map(|session| session.expires = now).count()
    }

    /// How many requests of each kind arrived, those that met a fault, a quota or expired credentials included. SQS
    /// counts its own.
    pub fn requests(&self) -> HashMap<RequestKind, u64> {
        self.core.traffic.each(|flow| flow.requests)
    }

    /// The largest number of requests of each kind that arrived within any one second: any span of 1,000 milliseconds
    /// (not a calendar second) by the organisation's clock. A clock that stands still makes all requests one moment's.
    pub fn peaks(&self) -> HashMap<RequestKind, u64> {
        self.core.traffic.each(|flow| flow.peak)
    }

    /// The largest of [`Self::peaks`] for the operation over all accounts and Regions, each by itself.
    pub fn peak_of(&self, service: Service, operation: &str) -> u64 {
        let wanted = |kind: &RequestKind| kind.service == service && kind.operation == operation;
        self.core.traffic.of(wanted, |flow| flow.peak).into_iter().max().unwrap_or(0)
    }

    /// How many requests of each kind a quota refused; those that a fault throttled are not among them.
    pub fn throttled(&self) -> HashMap<RequestKind, u64> {
        let mut throttled = self.core.traffic.each(|flow| flow.throttled);
        throttled.retain(|_, count| *count > 0);
        throttled
    }

    /// How many requests of a KMS operation one account may make per second in one Region; `None`: any number.
    pub fn quota(operation: &str) -> Option<u32> {
        quota::per_second(operation)
    }

    /// Makes all counts and peaks begin again at nothing, e.g. before a second pass.
    pub fn forget_requests(&self) {
        self.core.traffic.forget();
    }

    /// How many requests of the operation arrived from all accounts and Regions.
    pub fn requests_of(&self, service: Service, operation: &str) -> u64 {
        let wanted = |kind: &RequestKind| kind.service == service && kind.operation == operation;
        self.core.traffic.of(wanted, |flow| flow.requests).into_iter().sum()
    }

    /// The operations that were called and how often, over all accounts and Regions.
    pub fn operations(&self) -> BTreeMap<(Service, String), u64> {
        let mut sums = BTreeMap::new();
        for (kind, count) in self.requests() {
            *sums.entry((kind.service, kind.operation)).or_default() += count;
        }
        sums
    }

    /// Closes the port and all connections. Counts can still be read.
    pub async fn stop(&self) {
        self.server.stop().await;
    }
}

impl Core {
    fn regions(&self) -> MutexGuard<'_, Regions> {
        self.regions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_region(&self, account: AccountId, region: Region) -> bool {
        !self.regions().not_enabled.contains(&(account, region))
    }
}
