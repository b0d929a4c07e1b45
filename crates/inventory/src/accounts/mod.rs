//! Which accounts there are.
//!
//! The list is asked for at the start of every pass. Whoever is new has joined, whoever is missing in a complete list
//! has left; a list that fails changes nothing: the last good one stays, and that it is old is shown.

mod organization;

use std::collections::{BTreeMap, BTreeSet};

use dormouse_model::{AccountAnswer, AccountId, AccountSaid, Answer, EventTime, Region};

use crate::calls::Asker;
use crate::cloud::{Access, Cloud, Identity, OrganizationAccount};
use crate::failures::Miss;
use crate::house::House;
use crate::journal::Journal;
use crate::operation::Operation;
use crate::report::AccountCounts;
use crate::{Accounts, Regions};
pub(crate) use organization::TagCache;

/// An account to be watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) account: AccountId,
    pub(crate) access: Access,
    /// It can be read: it is neither suspended nor closed.
    pub(crate) is_active: bool,
}

/// Which accounts and Regions there are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listing {
    /// Who we are.
    pub(crate) identity: Option<Identity>,
    /// By account.
    pub(crate) members: Vec<Member>,
    pub(crate) regions: Vec<Region>,
}

/// What came of asking for the list.
pub(crate) struct Refreshed {
    pub(crate) answers: Vec<Answer>,
    pub(crate) counts: AccountCounts,
    /// Why the list is an old one.
    pub(crate) failed: Option<Miss>,
}

/// Asks which accounts there are. An error means that nobody knows: not even who we are.
pub(crate) async fn refresh<C: Cloud, J: Journal>(
    house: &House<C, J>,
    asker: &Asker,
    tags: &TagCache,
) -> Result<Refreshed, Miss> {
    let identity = identify(house, asker).await?;
    let at = house.now();
    let (listed, failed) = match list(house, asker, tags, &identity).await {
        Ok(listed) => (listed, None),
        Err(miss) => (last_good(house), Some(miss)),
    };
    let listed = without_excluded(house, listed);
    let refreshed = compare(house, at, &listed, failed);
    let member = |(account, listed): (AccountId, OrganizationAccount)| Member {
        account,
        access: if account == identity.account { Access::Own } else { Access::Role },
        is_active: is_active(listed.state.as_deref()),
    };
    let members: Vec<Member> = listed.into_iter().map(member).collect();
    let active = members.iter().filter(|member| member.is_active).count();
    house.metrics.note_accounts(active, members.len() - active);
    house.set_listing(Listing { identity: Some(identity), members, regions: regions(house) });
    Ok(refreshed)
}

/// Who we are. That does not change while we run.
async fn identify<C: Cloud, J: Journal>(house: &House<C, J>, asker: &Asker) -> Result<Identity, Miss> {
    if let Some(identity) = &house.listing().identity {
        return Ok(identity.clone());
    }
    let asked = asker.ask(Operation::GetCallerIdentity, || house.cloud.identify()).await?;
    Ok(asked.said)
}

type Listed = BTreeMap<AccountId, OrganizationAccount>;

async fn list<C: Cloud, J: Journal>(
    house: &House<C, J>,
    asker: &Asker,
    tags: &TagCache,
    identity: &Identity,
) -> Result<Listed, Miss> {
    let unnamed = |account: AccountId| (account, OrganizationAccount { account, name: None, state: None });
    match &house.options.accounts {
        Accounts::Local => Ok(Listed::from([unnamed(identity.account)])),
        Accounts::List(accounts) => Ok(accounts.iter().copied().map(unnamed).collect()),
        Accounts::Organization(filter) => organization::list(&house.cloud, asker, filter, tags).await,
    }
}

/// The accounts that were listed the last time, before a restart if need be.
fn last_good<C: Cloud, J: Journal>(house: &House<C, J>) -> Listed {
    house.journal.look(|inventory| {
        let known =
            inventory.accounts().filter(|(_, known)| known.left.is_none() && known.listed_at.is_some());
        known
            .map(|(account, known)| {
                let (name, state) = (known.name.clone(), known.state.clone());
                (account, OrganizationAccount { account, name, state })
            })
            .collect()
    })
}

fn without_excluded<C: Cloud, J: Journal>(house: &House<C, J>, mut listed: Listed) -> Listed {
    listed.retain(|account, _| !house.options.exclude_accounts.contains(account));
    listed
}

/// What is news about the accounts, against what is known.
fn compare<C: Cloud, J: Journal>(
    house: &House<C, J>,
    at: EventTime,
    listed: &Listed,
    failed: Option<Miss>,
) -> Refreshed {
    let mut counts = AccountCounts { listed: len(listed.len()), ..AccountCounts::default() };
    counts.inactive = len(listed.values().filter(|account| !is_active(account.state.as_deref())).count());
    let mut answers = Vec::new();
    if failed.is_some() {
        return Refreshed { answers, counts, failed };
    }
    let present: BTreeSet<AccountId> = house.journal.look(|inventory| {
        let present =
            inventory.accounts().filter(|(_, known)| known.left.is_none() && known.listed_at.is_some());
        present.map(|(account, _)| account).collect()
    });
    let mut say =
        |account, said| answers.push(Answer::Account(AccountAnswer { account, asked_at: at, said }));
    for account in listed.values() {
        counts.joined += u64::from(!present.contains(&account.account));
        let (name, state) = (account.name.clone(), account.state.clone());
        say(account.account, AccountSaid::Listed { name, state });
    }
    for &account in present.iter().filter(|account| !listed.contains_key(account)) {
        counts.left += 1;
        say(account, AccountSaid::Left);
        house.cloud.leave(account);
    }
    Refreshed { answers, counts, failed: None }
}

/// Of an account in no organisation nobody says what state it is in.
fn is_active(state: Option<&str>) -> bool {
    state.is_none_or(|state| state == "ACTIVE")
}

fn regions<C: Cloud, J: Journal>(house: &House<C, J>) -> Vec<Region> {
    match &house.options.regions {
        Regions::List(regions) => regions.clone(),
        Regions::All => {
            let partition = house.cloud.home().partition();
            Region::all().filter(|region| region.partition() == partition).collect()
        }
    }
}

fn len(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
