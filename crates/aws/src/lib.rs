//! How Dormouse speaks to AWS.
//!
//! Every crate that calls AWS needs the same few things, and each of them goes wrong when it exists twice:
//!
//! * [`config`]: one way to build an SDK configuration, with one HTTP client and so one pool of connections
//! * [`error`]: the one place that decides what an error means ([`ErrorClass`]) and how it reads ([`Failure`])
//! * [`backoff`]: how long to wait before the next try
//! * [`budget`]: how many requests may be sent
//! * [`sessions`]: credentials for other accounts, by assuming a role in each
//! * [`requests`]: requests, counted by whoever measures
//!
//! What it does not do: it retries nothing itself. A caller either leaves retries to the SDK or switches them off and
//! uses [`Backoff`]; two layers of retries multiply and hide each other.

pub mod backoff;
pub mod budget;
pub mod config;
pub mod error;
pub mod requests;
pub mod sessions;

pub use backoff::Backoff;
pub use budget::Budget;
pub use config::{AwsOptions, ConfigError, config_for_region, load_config};
pub use error::{ErrorClass, Failure};
pub use requests::CountRequests;
pub use sessions::{AccountCredentials, HubRole, RoleOptions, Session, Sessions, StsRoles};
