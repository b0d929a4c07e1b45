//! AWS by its SDK: one HTTP client for all, a client a place that is built when it is needed and dropped after, no
//! retries.

mod convert;
mod kms;
mod organizations;

use std::sync::Arc;

use aws_config::SdkConfig;
use aws_config::identity::IdentityCache;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_types::request_id::RequestId;
use dormouse_aws::{
    AccountCredentials, ConfigError, CountRequests, Failure, RoleOptions, Sessions, StsRoles,
    config_for_region,
};
use dormouse_model::{AccountId, Place, Region};

use crate::cloud::{Access, Answered, Cloud, Identity, OrganizationAccount, Page, Told};
use crate::operation::Operation;
pub use kms::SdkKms;

/// AWS.
pub struct SdkCloud {
    config: SdkConfig,
    home: Region,
    sts: aws_sdk_sts::Client,
    organizations: aws_sdk_organizations::Client,
    sessions: Arc<Sessions<StsRoles>>,
    roles: RoleOptions,
}

impl SdkCloud {
    /// With the credentials, the Region and the HTTP client of this configuration. `counter` counts the roles assumed,
    /// usually the reconciler's metrics.
    ///
    /// # Errors
    /// If the configuration names no Region.
    pub fn new(
        config: &SdkConfig,
        roles: RoleOptions,
        counter: Arc<dyn CountRequests>,
    ) -> Result<Self, ConfigError> {
        let region = config.region().ok_or(ConfigError::NoRegion)?;
        let home: Region =
            region.as_ref().parse().map_err(|_| ConfigError::Region(region.as_ref().to_owned()))?;
        // Who asks gives up by its own watch, and tries again itself. Nothing but the attempt is timed there.
        let config = config
            .to_builder()
            .retry_config(RetryConfig::disabled())
            .timeout_config(
                TimeoutConfig::builder().connect_timeout(std::time::Duration::from_secs(5)).build(),
            )
            .build();
        let sessions = Sessions::new(StsRoles::new(&config, home.partition(), roles.clone(), counter));
        Ok(Self {
            sts: aws_sdk_sts::Client::new(&config),
            organizations: aws_sdk_organizations::Client::new(&config),
            sessions: Arc::new(sessions),
            roles,
            home,
            config,
        })
    }
}

impl Cloud for SdkCloud {
    type Kms = SdkKms;

    fn home(&self) -> Region {
        self.home
    }

    async fn identify(&self) -> Answered<Identity> {
        let action = Operation::GetCallerIdentity.action();
        let answer = self.sts.get_caller_identity().send().await;
        let answer = answer.map_err(|error| Failure::of(action, &error))?;
        let account = answer.account().and_then(|account| account.parse().ok());
        let (Some(account), Some(arn)) = (account, answer.arn()) else {
            return Err(Failure::transient(action, "the answer names no account"));
        };
        let request_id = answer.request_id().map(Box::from);
        Ok(Told { request_id, said: Identity { account, arn: arn.into() } })
    }

    async fn list_accounts(
        &self,
        parent: Option<&str>,
        from: Option<&str>,
    ) -> Answered<Page<OrganizationAccount>> {
        organizations::list_accounts(&self.organizations, parent, from).await
    }

    async fn list_units(&self, parent: &str, from: Option<&str>) -> Answered<Page<String>> {
        organizations::list_units(&self.organizations, parent, from).await
    }

    async fn list_account_tags(
        &self,
        account: AccountId,
        from: Option<&str>,
    ) -> Answered<Page<(String, String)>> {
        organizations::list_tags(&self.organizations, account, from).await
    }

    async fn enter(&self, account: AccountId, access: Access) -> Result<(), Failure> {
        match access {
            Access::Own => Ok(()),
            Access::Role => self.sessions.credentials(account).await.map(drop),
        }
    }

    fn leave(&self, account: AccountId) {
        self.sessions.forget(account);
    }

    fn role_arn(&self, account: AccountId) -> String {
        self.roles.arn(self.home.partition(), account)
    }

    fn kms(&self, place: Place, access: Access) -> SdkKms {
        let config = config_for_region(&self.config, place.region.name());
        let mut builder = aws_sdk_kms::config::Builder::from(&config);
        let sessions = match access {
            Access::Own => None,
            Access::Role => {
                let credentials = AccountCredentials::new(Arc::clone(&self.sessions), place.account);
                builder = builder
                    .credentials_provider(SharedCredentialsProvider::new(credentials))
                    // The sessions are the cache.
                    .identity_cache(IdentityCache::no_cache());
                Some(Arc::clone(&self.sessions))
            }
        };
        SdkKms::new(aws_sdk_kms::Client::from_conf(builder.build()), place, sessions)
    }
}
