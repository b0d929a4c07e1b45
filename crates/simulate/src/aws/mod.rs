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
//! Not in here: data key pairs, key agreement and encapsulation, imported material, custom key stores, `ReplicateKey`,
//! `UpdatePrimaryRegion`, grant constraints being enforced, and IAM.

mod faults;
mod organizations;
mod quota;
mod service;
mod sts;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use dormouse_model::{AccountId, Region};

use crate::organisation::Organisation;
use crate::sqs::{SqsDouble, SqsOptions};
use crate::wire::{self, Server};
use quota::Quotas;
use sts::Session;

pub use faults::{AwsFault, AwsFaults};

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
    /// What `AssumeRole` must bring as external id; `None`: it need not.
    pub external_id: Option<String>,
    /// Accounts in which the role does not exist. Can be changed later by [`AwsDouble::set_role`].
    pub accounts_without_role: Vec<AccountId>,
    /// Accounts other than the management account that may read the organisation.
    pub delegated_administrators: Vec<AccountId>,
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
    counts: Mutex<HashMap<RequestKind, u64>>,
    without_role: Mutex<BTreeSet<AccountId>>,
    sessions: Mutex<Sessions>,
    sqs: Option<SqsDouble>,
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
            counts: Mutex::default(),
            without_role: Mutex::new(options.accounts_without_role.iter().copied().collect()),
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

    /// How many requests of each kind arrived, those that met a fault or a quota included. SQS counts its own.
    pub fn requests(&self) -> HashMap<RequestKind, u64> {
        self.core.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many requests of the operation arrived from all accounts and Regions.
    pub fn requests_of(&self, service: Service, operation: &str) -> u64 {
        let counts = self.core.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = counts.iter().filter(|(kind, _)| kind.service == service && kind.operation == operation);
        wanted.map(|(_, count)| count).sum()
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
