//! An AWS in memory: keys, aliases and accounts behind the traits of [`cloud`](crate::cloud), without a network.
//!
//! For tests in paused time and for benches. Every request takes a latency of tokio's time, is counted with the moment
//! it came, and may be made to fail. It knows nothing of permissions: what fails is what the test says.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dormouse_aws::{ErrorClass, Failure};
use dormouse_model::{
    AccountId, Clock, Described, EventTime, KeyArn, KmsUse, LastUsage, LifecycleState, Place, Region,
    Rotation,
};
use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use crate::cloud::{
    Access, Answered, Cloud, Identity, Kms, ListedAlias, ListedGrant, OrganizationAccount, Page, Told,
};
use crate::operation::Operation;

/// Wall time that goes with tokio's, which tests can pause.
#[derive(Clone, Copy, Debug)]
pub struct TokioClock {
    began: Instant,
    at: EventTime,
}

impl TokioClock {
    /// It is this time now.
    pub fn at(time: EventTime) -> Self {
        Self { began: Instant::now(), at: time }
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        let passed = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX);
        let millis = (i64::from(self.at.seconds()) * 1_000).saturating_add(passed);
        Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// A key.
#[derive(Clone, Debug)]
pub struct MemoryKey {
    /// What `DescribeKey` says.
    pub described: Described,
    /// Its tags.
    pub tags: Vec<(Box<str>, Box<str>)>,
    /// Its grants.
    pub grants: Vec<ListedGrant>,
    /// How it is rotated.
    pub rotation: Rotation,
    /// What KMS remembers of its use.
    pub last: Option<KmsUse>,
    /// From when on KMS does.
    pub tracked_from: EventTime,
}

impl MemoryKey {
    /// A customer's symmetric key, enabled, never used.
    pub fn new(created: EventTime) -> Self {
        Self {
            described: Described {
                manager: "CUSTOMER".into(),
                state: LifecycleState::Enabled,
                created,
                description: "".into(),
                spec: "SYMMETRIC_DEFAULT".into(),
                usage: "ENCRYPT_DECRYPT".into(),
                origin: "AWS_KMS".into(),
                deletion_date: None,
                pending_window_days: None,
                material_expires: None,
                custom_key_store: None,
                multi_region: None,
            },
            tags: Vec::new(),
            grants: Vec::new(),
            rotation: Rotation { enabled: false, period_days: None, next: None },
            last: None,
            tracked_from: created,
        }
    }
}

/// A request that came.
#[derive(Clone, Copy, Debug)]
pub struct Came {
    /// When.
    pub at: Instant,
    /// What was asked.
    pub operation: Operation,
    /// Where; nowhere for what belongs to no Region.
    pub place: Option<Place>,
    /// About which key, if about one.
    pub key: Option<KeyArn>,
}

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum Fate {
    /// It fails.
    Fails(Failure),
    /// It is never answered.
    Hangs,
}

/// Decides about requests; `None`: it is answered.
pub type Judge = dyn Fn(&Came) -> Option<Fate> + Send + Sync;

/// The AWS. Clones share it.
#[derive(Clone)]
pub struct MemoryCloud {
    state: Arc<Mutex<State>>,
    own: AccountId,
    home: Region,
    latency: Duration,
    page: usize,
}

struct State {
    keys: HashMap<Place, BTreeMap<KeyArn, MemoryKey>>,
    aliases: HashMap<Place, BTreeMap<Box<str>, ListedAlias>>,
    accounts: BTreeMap<AccountId, OrganizationAccount>,
    /// What came; none if it is not kept.
    came: Option<Vec<Came>>,
    counts: BTreeMap<&'static str, u64>,
    judge: Option<Arc<Judge>>,
    number: u64,
}

impl MemoryCloud {
    /// Empty but for our own account; requests take `latency`.
    pub fn new(own: AccountId, home: Region, latency: Duration) -> Self {
        let state = State {
            keys: HashMap::new(),
            aliases: HashMap::new(),
            accounts: BTreeMap::new(),
            came: Some(Vec::new()),
            counts: BTreeMap::new(),
            judge: None,
            number: 0,
        };
        let cloud = Self { state: Arc::new(Mutex::new(state)), own, home, latency, page: 1_000 };
        cloud.put_account(own, "ACTIVE");
        cloud
    }

    /// The same with pages of at most so many keys.
    pub fn with_page(mut self, keys: usize) -> Self {
        self.page = keys.max(1);
        self
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an account to the organisation, or changes its state.
    pub fn put_account(&self, account: AccountId, state: &str) {
        let known = OrganizationAccount { account, name: None, state: Some(state.into()) };
        self.state().accounts.insert(account, known);
    }

    /// An account leaves.
    pub fn remove_account(&self, account: AccountId) {
        self.state().accounts.remove(&account);
    }

    /// Adds a key, or puts another in its place.
    pub fn put_key(&self, key: KeyArn, is: MemoryKey) {
        let place = Place { account: key.account(), region: key.region() };
        self.state().keys.entry(place).or_default().insert(key, is);
    }

    /// A key is gone, with its aliases.
    pub fn remove_key(&self, key: KeyArn) {
        let place = Place { account: key.account(), region: key.region() };
        let mut state = self.state();
        if let Some(keys) = state.keys.get_mut(&place) {
            keys.remove(&key);
        }
        if let Some(aliases) = state.aliases.get_mut(&place) {
            aliases.retain(|_, alias| alias.target != Some(key));
        }
    }

    /// Adds an alias, or points it elsewhere.
    pub fn put_alias(&self, name: &str, key: KeyArn, since: EventTime) {
        let place = Place { account: key.account(), region: key.region() };
        let alias = ListedAlias { name: name.into(), target: Some(key), since: Some(since) };
        self.state().aliases.entry(place).or_default().insert(name.into(), alias);
    }

    /// Removes an alias.
    pub fn remove_alias(&self, place: Place, name: &str) {
        if let Some(aliases) = self.state().aliases.get_mut(&place) {
            aliases.remove(name);
        }
    }

    /// From now on this decides about requests.
    pub fn set_judge(&self, judge: impl Fn(&Came) -> Option<Fate> + Send + Sync + 'static) {
        self.state().judge = Some(Arc::new(judge));
    }

    /// From now on everything is answered.
    pub fn clear_judge(&self) {
        self.state().judge = None;
    }

    /// What came since this was last asked.
    pub fn take_came(&self) -> Vec<Came> {
        self.state().came.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// From now on requests are counted, and not kept one by one.
    pub fn keep_no_requests(&self) {
        self.state().came = None;
    }

    /// How many requests came by IAM action.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.state().counts.clone()
    }

    /// A request comes; returns its id.
    async fn request(
        &self,
        operation: Operation,
        place: Option<Place>,
        key: Option<KeyArn>,
    ) -> Result<Option<Box<str>>, Failure> {
        let (fate, number) = {
            let mut state = self.state();
            let came = Came { at: Instant::now(), operation, place, key };
            if let Some(all) = &mut state.came {
                all.push(came);
            }
            *state.counts.entry(operation.action()).or_default() += 1;
            state.number += 1;
            let judge = state.judge.clone();
            let number = state.number;
            drop(state);
            (judge.and_then(|judge| judge(&came)), number)
        };
        if !self.latency.is_zero() {
            sleep(self.latency).await;
        }
        match fate {
            Some(Fate::Fails(failure)) => Err(failure),
            Some(Fate::Hangs) => std::future::pending().await,
            None => Ok(Some(format!("00000000-0000-4000-8000-{number:012x}").into())),
        }
    }
}

/// A refusal with this code, as AWS words them.
pub fn refusal(operation: Operation, code: &str) -> Failure {
    Failure {
        class: ErrorClass::of_code(code).unwrap_or(ErrorClass::Transient),
        code: Some(code.to_owned()),
        ..Failure::transient(operation.action(), "refused")
    }
}

/// A page of what is in order, from behind a marker.
fn page<K: Ord + ToString, T>(all: impl Iterator<Item = (K, T)>, from: Option<&str>, most: usize) -> Page<T> {
    let from: usize = from.and_then(|from| from.parse().ok()).unwrap_or(0);
    let mut items: Vec<T> = all.skip(from).take(most + 1).map(|(_, item)| item).collect();
    let next = (items.len() > most).then(|| (from + most).to_string());
    items.truncate(most);
    Page { items, next }
}

impl Cloud for MemoryCloud {
    type Kms = MemoryKms;

    fn home(&self) -> Region {
        self.home
    }

    async fn identify(&self) -> Answered<Identity> {
        let request_id = self.request(Operation::GetCallerIdentity, None, None).await?;
        let arn = format!("arn:aws:iam::{}:role/dormouse", self.own).into();
        Ok(Told { request_id, said: Identity { account: self.own, arn } })
    }

    async fn list_accounts(
        &self,
        parent: Option<&str>,
        from: Option<&str>,
    ) -> Answered<Page<OrganizationAccount>> {
        let operation =
            if parent.is_some() { Operation::ListAccountsForParent } else { Operation::ListAccounts };
        let request_id = self.request(operation, None, None).await?;
        let state = self.state();
        let all = state.accounts.iter().map(|(account, known)| (*account, known.clone()));
        Ok(Told { request_id, said: page(all, from, 20) })
    }

    async fn list_units(&self, _: &str, _: Option<&str>) -> Answered<Page<String>> {
        let request_id = self.request(Operation::ListOrganizationalUnitsForParent, None, None).await?;
        Ok(Told { request_id, said: Page { items: Vec::new(), next: None } })
    }

    async fn list_account_tags(&self, _: AccountId, _: Option<&str>) -> Answered<Page<(String, String)>> {
        let request_id = self.request(Operation::ListTagsForResource, None, None).await?;
        Ok(Told { request_id, said: Page { items: Vec::new(), next: None } })
    }

    async fn enter(&self, _: AccountId, _: Access) -> Result<(), Failure> {
        Ok(())
    }

    fn leave(&self, _: AccountId) {}

    fn role_arn(&self, account: AccountId) -> String {
        format!("arn:aws:iam::{account}:role/dormouse-read")
    }

    fn kms(&self, place: Place, _: Access) -> MemoryKms {
        MemoryKms { cloud: self.clone(), place }
    }
}

/// KMS in one place of it.
pub struct MemoryKms {
    cloud: MemoryCloud,
    place: Place,
}

impl MemoryKms {
    async fn of_key<T>(
        &self,
        operation: Operation,
        key: KeyArn,
        look: impl FnOnce(&MemoryKey) -> T,
    ) -> Answered<T> {
        let request_id = self.cloud.request(operation, Some(self.place), Some(key)).await?;
        let state = self.cloud.state();
        let known = state.keys.get(&self.place).and_then(|keys| keys.get(&key));
        match known {
            Some(known) => Ok(Told { request_id, said: look(known) }),
            None => Err(Failure {
                request_id: request_id.map(String::from),
                ..refusal(operation, "NotFoundException")
            }),
        }
    }
}

impl Kms for MemoryKms {
    async fn list_keys(&self, limit: u16, from: Option<&str>) -> Answered<Page<KeyArn>> {
        let request_id = self.cloud.request(Operation::ListKeys, Some(self.place), None).await?;
        let state = self.cloud.state();
        let all = state.keys.get(&self.place).into_iter().flatten().map(|(key, _)| (*key, *key));
        Ok(Told { request_id, said: page(all, from, self.cloud.page.min(usize::from(limit))) })
    }

    async fn list_aliases(&self, from: Option<&str>) -> Answered<Page<ListedAlias>> {
        let request_id = self.cloud.request(Operation::ListAliases, Some(self.place), None).await?;
        let state = self.cloud.state();
        let all = state.aliases.get(&self.place).into_iter().flatten();
        let all = all.map(|(name, alias)| (name.clone(), alias.clone()));
        Ok(Told { request_id, said: page(all, from, 100) })
    }

    async fn describe_key(&self, key: KeyArn) -> Answered<Described> {
        self.of_key(Operation::DescribeKey, key, |known| known.described.clone()).await
    }

    async fn list_tags(&self, key: KeyArn, _: Option<&str>) -> Answered<Page<(Box<str>, Box<str>)>> {
        let tags = |known: &MemoryKey| Page { items: known.tags.clone(), next: None };
        self.of_key(Operation::ListResourceTags, key, tags).await
    }

    async fn list_grants(&self, key: KeyArn, from: Option<&str>) -> Answered<Page<ListedGrant>> {
        let grants = |known: &MemoryKey| page(known.grants.iter().cloned().enumerate(), from, 100);
        self.of_key(Operation::ListGrants, key, grants).await
    }

    async fn rotation(&self, key: KeyArn) -> Answered<Rotation> {
        self.of_key(Operation::GetKeyRotationStatus, key, |known| known.rotation).await
    }

    async fn last_usage(&self, key: KeyArn) -> Answered<LastUsage> {
        let usage = |known: &MemoryKey| LastUsage {
            tracked_from: known.tracked_from,
            created: known.described.created,
            last: known.last.clone(),
        };
        self.of_key(Operation::GetKeyLastUsage, key, usage).await
    }
}
