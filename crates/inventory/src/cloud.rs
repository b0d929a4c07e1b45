//! AWS as the inventory sees it: a few questions with typed answers.
//!
//! What asks is written against these traits, so that it can be tested in paused time, and measured, against an AWS in
//! memory. [`SdkCloud`](crate::SdkCloud) is the real one. Nothing is retried behind them, and nothing waits for a
//! budget: that is the asker's business, once.

use dormouse_aws::Failure;
use dormouse_model::{AccountId, Described, EventTime, KeyArn, LastUsage, Place, Region, Rotation};

/// An answer with the id of its request.
#[derive(Clone, Debug)]
pub struct Told<T> {
    /// The request's id, if the answer had one.
    pub request_id: Option<Box<str>>,
    /// What was said.
    pub said: T,
}

/// What a question comes to.
pub type Answered<T> = Result<Told<T>, Failure>;

/// Whose credentials these are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The account.
    pub account: AccountId,
    /// The principal.
    pub arn: Box<str>,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// What is on it; it may be nothing although more pages follow.
    pub items: Vec<T>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

/// An account of the organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrganizationAccount {
    /// Its id.
    pub account: AccountId,
    /// Its name.
    pub name: Option<Box<str>>,
    /// E.g. `ACTIVE`, `SUSPENDED`; the older `Status` where there is no `State`.
    pub state: Option<Box<str>>,
}

/// An alias as `ListAliases` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedAlias {
    /// Its name, `alias/…`.
    pub name: Box<str>,
    /// The key that it points to; AWS's predefined aliases may point to none.
    pub target: Option<KeyArn>,
    /// Since when: its last update, else its creation.
    pub since: Option<EventTime>,
}

/// A grant as `ListGrants` has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedGrant {
    /// Who may use the key.
    pub grantee: Option<Box<str>>,
    /// The services among grantee and retiring principal.
    pub services: Vec<Box<str>>,
}

/// Who reads an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Our own credentials: it is our own account.
    Own,
    /// The role that is assumed in it.
    Role,
}

/// AWS.
pub trait Cloud: Send + Sync + 'static {
    /// KMS in one place.
    type Kms: Kms;

    /// The Region that we are at home in, and so the partition.
    fn home(&self) -> Region;

    /// `GetCallerIdentity`.
    fn identify(&self) -> impl Future<Output = Answered<Identity>> + Send;

    /// A page of `ListAccounts`, or of `ListAccountsForParent` if a root or unit is named.
    fn list_accounts(
        &self,
        parent: Option<&str>,
        from: Option<&str>,
    ) -> impl Future<Output = Answered<Page<OrganizationAccount>>> + Send;

    /// A page of `ListOrganizationalUnitsForParent`: the ids of the units right below.
    fn list_units(
        &self,
        parent: &str,
        from: Option<&str>,
    ) -> impl Future<Output = Answered<Page<String>>> + Send;

    /// A page of `ListTagsForResource`: an account's tags.
    fn list_account_tags(
        &self,
        account: AccountId,
        from: Option<&str>,
    ) -> impl Future<Output = Answered<Page<(String, String)>>> + Send;

    /// Makes sure that the account can be read, by assuming its role unless that was done lately.
    fn enter(&self, account: AccountId, access: Access) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Forgets the credentials of an account, and what was refused.
    fn leave(&self, account: AccountId);

    /// The ARN of the role that is assumed in an account, for people.
    fn role_arn(&self, account: AccountId) -> String;

    /// KMS in a place. Cheap, and sends nothing.
    fn kms(&self, place: Place, access: Access) -> Self::Kms;
}

/// KMS in one place.
pub trait Kms: Send + Sync + 'static {
    /// A page of `ListKeys`, with at most `limit` keys.
    fn list_keys(
        &self,
        limit: u16,
        from: Option<&str>,
    ) -> impl Future<Output = Answered<Page<KeyArn>>> + Send;

    /// A page of `ListAliases`.
    fn list_aliases(&self, from: Option<&str>) -> impl Future<Output = Answered<Page<ListedAlias>>> + Send;

    /// `DescribeKey`.
    fn describe_key(&self, key: KeyArn) -> impl Future<Output = Answered<Described>> + Send;

    /// A page of `ListResourceTags`.
    fn list_tags(
        &self,
        key: KeyArn,
        from: Option<&str>,
    ) -> impl Future<Output = Answered<Page<(Box<str>, Box<str>)>>> + Send;

    /// A page of `ListGrants`.
    fn list_grants(
        &self,
        key: KeyArn,
        from: Option<&str>,
    ) -> impl Future<Output = Answered<Page<ListedGrant>>> + Send;

    /// `GetKeyRotationStatus`.
    fn rotation(&self, key: KeyArn) -> impl Future<Output = Answered<Rotation>> + Send;

    /// `GetKeyLastUsage`.
    fn last_usage(&self, key: KeyArn) -> impl Future<Output = Answered<LastUsage>> + Send;
}
