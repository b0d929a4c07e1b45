//! Credentials for other accounts, by assuming a role in each.
//!
//! [`Sessions`] keeps what it got until some minutes before it expires, asks once however many want it (single flight),
//! and remembers a refusal for a while, so that an account without the role costs one request every ten minutes and not
//! one for each of its keys. How long credentials last is reckoned from when they were asked for, on tokio's clock: the
//! machine's wall time may be wrong. Where a service says that a token is expired it is believed, and a new one got.

use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::{SharedCredentialsProvider, error::CredentialsError, future};
use dashmap::DashMap;
use dormouse_model::AccountId;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::requests::{CountRequests, class_of};
use crate::{Budget, ErrorClass, Failure};

/// The IAM action.
const ASSUME_ROLE: &str = "sts:AssumeRole";
/// Credentials are renewed so long before they expire; at the latest when three quarters of their time are over.
const AHEAD: Duration = Duration::from_mins(5);
/// A refusal is believed so long …
const REFUSED_FOR: Duration = Duration::from_mins(10);
/// … and a failure that may pass soon so long.
const FAILED_FOR: Duration = Duration::from_secs(5);
/// All roles together are assumed at most so often a second.
const RATE: f64 = 20.0;

/// Gets credentials for an account.
pub trait Roles: Send + Sync + 'static {
    /// Asks for new ones.
    fn assume(&self, account: AccountId) -> impl Future<Output = Result<Session, Failure>> + Send;
}

/// Credentials and how long they last.
#[derive(Clone, Debug)]
pub struct Session {
    /// The credentials.
    pub credentials: Credentials,
    /// For how long, from when they were asked for.
    pub lasts: Duration,
}

/// Credentials by account.
pub struct Sessions<R> {
    roles: R,
    slots: DashMap<AccountId, Arc<Mutex<Slot>>>,
}

#[derive(Default)]
struct Slot {
    held: Option<Held>,
    refused: Option<(Failure, Instant)>,
}

struct Held {
    credentials: Credentials,
    asked_at: Instant,
    renew_at: Instant,
    ends_at: Instant,
}

impl<R: Roles> Sessions<R> {
    /// Nothing held yet.
    pub fn new(roles: R) -> Self {
        Self { roles, slots: DashMap::new() }
    }

    /// Credentials for the account: those held, or new ones. A refusal is repeated without asking for a while.
    ///
    /// # Errors
    /// If the role cannot be assumed and no credentials are left from before.
    pub async fn credentials(&self, account: AccountId) -> Result<Credentials, Failure> {
        let slot = Arc::clone(&self.slots.entry(account).or_default());
        // Whoever else wants the same waits here until one has asked.
        let mut slot = slot.lock().await;
        let now = Instant::now();
        if let Some(held) = slot.held.as_ref().filter(|held| now < held.renew_at) {
            return Ok(held.credentials.clone());
        }
        let left = slot.held.as_ref().filter(|held| now < held.ends_at).map(|held| held.credentials.clone());
        if let Some((failure, _)) = slot.refused.as_ref().filter(|(_, until)| now < *until) {
            return left.ok_or_else(|| failure.clone());
        }
        match self.roles.assume(account).await {
            Ok(session) => {
                let credentials = session.credentials.clone();
                *slot = Slot { held: Some(Held::new(session, now)), refused: None };
                Ok(credentials)
            }
            Err(failure) => {
                let believed = if failure.class.is_passing() { FAILED_FOR } else { REFUSED_FOR };
                slot.refused = Some((failure.clone(), Instant::now() + believed));
                left.ok_or(failure)
            }
        }
    }

    /// A service said of a request, sent at this time, that its token is expired: it is not used again.
    pub async fn expired(&self, account: AccountId, sent: Instant) {
        let slot = self.slots.get(&account).map(|slot| Arc::clone(&slot));
        if let Some(slot) = slot {
            let mut slot = slot.lock().await;
            // One that was got since is not the one that the service meant.
            if slot.held.as_ref().is_some_and(|held| held.asked_at <= sent) {
                slot.held = None;
            }
        }
    }

    /// Forgets what is held for the account and what was refused: it left, or somebody asks for it to be tried now.
    pub fn forget(&self, account: AccountId) {
        self.slots.remove(&account);
    }
}

impl Held {
    fn new(session: Session, asked_at: Instant) -> Self {
        let Session { credentials, lasts } = session;
        let ahead = AHEAD.min(lasts / 4);
        Self { credentials, asked_at, renew_at: asked_at + (lasts - ahead), ends_at: asked_at + lasts }
    }
}

/// Which role is assumed, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleOptions {
    /// The role's name, the same in every account.
    pub name: String,
    /// Its path: `/`, or one that begins and ends with a slash.
    pub path: String,
    /// What the role's trust policy asks for, if it does.
    pub external_id: Option<String>,
    /// The name of the session, which CloudTrail shows.
    pub session_name: String,
    /// How long credentials last; 15 min to 12 h, and at most 1 h behind another role.
    pub duration: Duration,
    /// A role that is assumed first, by its ARN; the members' roles trust it.
    pub hub: Option<HubRole>,
}

impl Default for RoleOptions {
    fn default() -> Self {
        Self {
            name: "dormouse-read".to_owned(),
            path: "/".to_owned(),
            external_id: None,
            session_name: "dormouse".to_owned(),
            duration: Duration::from_hours(1),
            hub: None,
        }
    }
}

/// A role between us and the members' roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubRole {
    /// Its ARN.
    pub arn: String,
    /// The account in it.
    pub account: AccountId,
    /// What its trust policy asks for, if it does.
    pub external_id: Option<String>,
}

impl RoleOptions {
    /// The ARN of the role in an account.
    pub fn arn(&self, partition: &str, account: AccountId) -> String {
        format!("arn:{partition}:iam::{account}:role{}{}", self.path, self.name)
    }
}

/// Roles of members, assumed through STS of the configuration's Region.
pub struct StsRoles {
    config: aws_sdk_sts::Config,
    partition: &'static str,
    role: RoleOptions,
    hub: Option<Sessions<StsHub>>,
    budget: Arc<Budget<()>>,
    counter: Arc<dyn CountRequests>,
}

/// The role in between.
struct StsHub {
    config: aws_sdk_sts::Config,
    role: HubRole,
    session_name: String,
    budget: Arc<Budget<()>>,
    counter: Arc<dyn CountRequests>,
}

/// STS at a session's credentials never lasts longer than this behind another role.
const LONGEST_CHAINED: Duration = Duration::from_hours(1);

impl StsRoles {
    /// With the credentials and the Region of this configuration.
    pub fn new(
        config: &SdkConfig,
        partition: &'static str,
        role: RoleOptions,
        counter: Arc<dyn CountRequests>,
    ) -> Self {
        let config = aws_sdk_sts::config::Builder::from(config).retry_config(RetryConfig::disabled()).build();
        let budget = Arc::new(Budget::per_second(RATE));
        let hub = role.hub.clone().map(|hub| {
            Sessions::new(StsHub {
                config: config.clone(),
                role: hub,
                session_name: role.session_name.clone(),
                budget: Arc::clone(&budget),
                counter: Arc::clone(&counter),
            })
        });
        Self { config, partition, role, hub, budget, counter }
    }

    /// The ARN of the role in an account.
    pub fn arn(&self, account: AccountId) -> String {
        self.role.arn(self.partition, account)
    }
}

impl Roles for StsRoles {
    async fn assume(&self, account: AccountId) -> Result<Session, Failure> {
        let mut config = self.config.clone();
        let mut lasts = self.role.duration;
        if let Some(hub) = &self.hub {
            let credentials = hub.credentials(hub.roles.role.account).await?;
            let provider = SharedCredentialsProvider::new(credentials);
            config = config.to_builder().credentials_provider(provider).build();
            lasts = lasts.min(LONGEST_CHAINED);
        }
        let wanted = Wanted {
            arn: self.arn(account),
            session_name: &self.role.session_name,
            external_id: self.role.external_id.as_deref(),
            lasts,
        };
        let asked_at = Instant::now();
        let answer = assume(config, wanted, &self.budget, &*self.counter).await;
        if let (Err(failure), Some(hub)) = (&answer, &self.hub)
            && failure.is_expired()
        {
            hub.expired(hub.roles.role.account, asked_at).await;
        }
        answer
    }
}

impl Roles for StsHub {
    async fn assume(&self, _: AccountId) -> Result<Session, Failure> {
        let wanted = Wanted {
            arn: self.role.arn.clone(),
            session_name: &self.session_name,
            external_id: self.role.external_id.as_deref(),
            lasts: LONGEST_CHAINED,
        };
        assume(self.config.clone(), wanted, &self.budget, &*self.counter).await
    }
}

struct Wanted<'a> {
    arn: String,
    session_name: &'a str,
    external_id: Option<&'a str>,
    lasts: Duration,
}

async fn assume(
    config: aws_sdk_sts::Config,
    wanted: Wanted<'_>,
    budget: &Budget<()>,
    counter: &dyn CountRequests,
) -> Result<Session, Failure> {
    budget.take(&()).await;
    let Wanted { arn, session_name, external_id, lasts } = wanted;
    let answer = aws_sdk_sts::Client::from_conf(config)
        .assume_role()
        .role_arn(arn)
        .role_session_name(session_name)
        .set_external_id(external_id.map(str::to_owned))
        .duration_seconds(i32::try_from(lasts.as_secs()).unwrap_or(i32::MAX))
        .send()
        .await
        .map_err(|error| Failure::of(ASSUME_ROLE, &error));
    counter.count(ASSUME_ROLE, class_of(&answer));
    match &answer {
        Err(failure) if failure.class == ErrorClass::Throttled => budget.throttled(&()),
        _ => budget.answered(&()),
    }
    let Some(given) = answer?.credentials else {
        return Err(Failure::transient(ASSUME_ROLE, "the answer holds no credentials"));
    };
    // No expiry on them: the SDK would judge it by the machine's wall time, and whoever holds them knows better.
    let credentials = Credentials::new(
        given.access_key_id,
        given.secret_access_key,
        Some(given.session_token),
        None,
        "AssumeRole",
    );
    Ok(Session { credentials, lasts })
}

/// Credentials of one account for the SDK, looked up for each request.
pub struct AccountCredentials<R> {
    sessions: Arc<Sessions<R>>,
    account: AccountId,
}

impl<R: Roles> AccountCredentials<R> {
    /// Those of this account.
    pub fn new(sessions: Arc<Sessions<R>>, account: AccountId) -> Self {
        Self { sessions, account }
    }
}

impl<R> std::fmt::Debug for AccountCredentials<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccountCredentials").field("account", &self.account).finish_non_exhaustive()
    }
}

impl<R: Roles> aws_credential_types::provider::ProvideCredentials for AccountCredentials<R> {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let credentials = self.sessions.credentials(self.account);
        future::ProvideCredentials::new(async { credentials.await.map_err(CredentialsError::provider_error) })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::time::sleep;

    use super::*;

    /// Gives out numbered credentials that last an hour; takes a second for it.
    #[derive(Default)]
    struct Numbered {
        given: AtomicU32,
        fails: std::sync::Mutex<Option<ErrorClass>>,
    }

    impl Roles for Numbered {
        async fn assume(&self, _: AccountId) -> Result<Session, Failure> {
            let number = self.given.fetch_add(1, Ordering::SeqCst);
            sleep(Duration::from_secs(1)).await;
            let fails = *self.fails.lock().unwrap();
            if let Some(class) = fails {
                return Err(Failure { class, ..Failure::transient(ASSUME_ROLE, "no") });
            }
            let credentials = Credentials::new(number.to_string(), "secret", None, None, "test");
            Ok(Session { credentials, lasts: Duration::from_hours(1) })
        }
    }

    fn account() -> AccountId {
        "111122223333".parse().unwrap()
    }

    async fn number(sessions: &Sessions<Numbered>) -> Result<u32, ErrorClass> {
        let credentials = sessions.credentials(account()).await.map_err(|failure| failure.class)?;
        Ok(credentials.access_key_id().parse().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn many_who_want_the_same_ask_once() {
        let sessions = Arc::new(Sessions::new(Numbered::default()));
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let sessions = Arc::clone(&sessions);
            all.spawn(async move { number(&sessions).await });
        }
        assert!(all.join_all().await.into_iter().all(|number| number == Ok(0)));
        assert_eq!(sessions.roles.given.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn credentials_are_renewed_before_they_expire() {
        let sessions = Sessions::new(Numbered::default());
        assert_eq!(number(&sessions).await, Ok(0));
        sleep(Duration::from_mins(54)).await;
        assert_eq!(number(&sessions).await, Ok(0));
        sleep(Duration::from_mins(2)).await;
        assert_eq!(number(&sessions).await, Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_renewal_leaves_what_is_still_valid() {
        let sessions = Sessions::new(Numbered::default());
        assert_eq!(number(&sessions).await, Ok(0));
        *sessions.roles.fails.lock().unwrap() = Some(ErrorClass::Denied);
        sleep(Duration::from_mins(56)).await;
        assert_eq!(number(&sessions).await, Ok(0));
        sleep(Duration::from_mins(5)).await;
        assert_eq!(number(&sessions).await, Err(ErrorClass::Denied));
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_a_service_calls_expired_is_replaced_once() {
        let sessions = Sessions::new(Numbered::default());
        assert_eq!(number(&sessions).await, Ok(0));
        let sent = Instant::now();
        sleep(Duration::from_secs(1)).await;
        sessions.expired(account(), sent).await;
        assert_eq!(number(&sessions).await, Ok(1));
        // The answer to another request of the same moment comes late.
        sessions.expired(account(), sent).await;
        assert_eq!(number(&sessions).await, Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_remembered_and_a_passing_failure_shortly() {
        let sessions = Sessions::new(Numbered::default());
        for (class, believed) in [(ErrorClass::Denied, REFUSED_FOR), (ErrorClass::Transient, FAILED_FOR)] {
            *sessions.roles.fails.lock().unwrap() = Some(class);
            let before = sessions.roles.given.load(Ordering::SeqCst);
            for _ in 0..10 {
                assert_eq!(number(&sessions).await, Err(class));
            }
            assert_eq!(sessions.roles.given.load(Ordering::SeqCst), before + 1);
            sleep(believed).await;
            assert_eq!(number(&sessions).await, Err(class));
            assert_eq!(sessions.roles.given.load(Ordering::SeqCst), before + 2);
            sleep(believed).await;
        }
        *sessions.roles.fails.lock().unwrap() = None;
        assert!(number(&sessions).await.is_ok());
    }
}
