//! The accounts of the organisation: all pages, below some units, with some tags.

use std::collections::BTreeMap;
use std::time::Duration;

use dashmap::DashMap;
use dormouse_aws::Failure;
use dormouse_model::AccountId;
use tokio::time::Instant;

use super::Listed;
use crate::OrganizationFilter;
use crate::calls::Asker;
use crate::cloud::{Cloud, Page};
use crate::failures::Miss;
use crate::operation::Operation;

/// An organisation has at most some tens of thousands of accounts; a service that never ends its pages is not believed.
const MOST_PAGES: usize = 20_000;
/// Units nest five deep and number a few thousand.
const MOST_UNITS: usize = 10_000;
/// The tags of an account cost a request each, so they are asked for a few times a day.
const TAGS_FOR: Duration = Duration::from_hours(6);

/// Which accounts have the tags that are wanted, and when that was asked.
#[derive(Default)]
pub(crate) struct TagCache(DashMap<AccountId, (Instant, bool)>);

pub(super) async fn list<C: Cloud>(
    cloud: &C,
    asker: &Asker,
    filter: &OrganizationFilter,
    tags: &TagCache,
) -> Result<Listed, Miss> {
    let mut listed = Listed::new();
    if filter.units.is_empty() {
        accounts_below(cloud, asker, None, &mut listed).await?;
    } else {
        for unit in all_units(cloud, asker, filter).await? {
            accounts_below(cloud, asker, Some(&unit), &mut listed).await?;
        }
    }
    if !filter.tags.is_empty() {
        let mut wanted = Listed::new();
        for (account, known) in listed {
            if has_tags(cloud, asker, account, &filter.tags, tags).await? {
                wanted.insert(account, known);
            }
        }
        return Ok(wanted);
    }
    Ok(listed)
}

/// All accounts, or those right below a unit.
async fn accounts_below<C: Cloud>(
    cloud: &C,
    asker: &Asker,
    parent: Option<&str>,
    listed: &mut Listed,
) -> Result<(), Miss> {
    let operation = if parent.is_some() { Operation::ListAccountsForParent } else { Operation::ListAccounts };
    let mut from: Option<String> = None;
    for _ in 0..MOST_PAGES {
        let asked = asker.ask(operation, || cloud.list_accounts(parent, from.as_deref())).await?;
        let Page { items, next } = asked.said;
        listed.extend(items.into_iter().map(|account| (account.account, account)));
        match next {
            Some(next) => from = Some(next),
            None => return Ok(()),
        }
    }
    Err(endless(asker, operation))
}

/// The wanted units and all below them.
async fn all_units<C: Cloud>(
    cloud: &C,
    asker: &Asker,
    filter: &OrganizationFilter,
) -> Result<Vec<String>, Miss> {
    let operation = Operation::ListOrganizationalUnitsForParent;
    let mut units: Vec<String> = filter.units.iter().cloned().collect();
    let mut place = 0;
    while let Some(parent) = units.get(place).cloned() {
        place += 1;
        let mut from: Option<String> = None;
        loop {
            let asked = asker.ask(operation, || cloud.list_units(&parent, from.as_deref())).await?;
            let Page { items, next } = asked.said;
            for unit in items {
                if !units.contains(&unit) {
                    units.push(unit);
                }
            }
            if units.len() > MOST_UNITS {
                return Err(endless(asker, operation));
            }
            match next {
                Some(next) => from = Some(next),
                None => break,
            }
        }
    }
    Ok(units)
}

async fn has_tags<C: Cloud>(
    cloud: &C,
    asker: &Asker,
    account: AccountId,
    wanted: &BTreeMap<String, String>,
    cache: &TagCache,
) -> Result<bool, Miss> {
    if let Some(known) = cache.0.get(&account)
        && known.0.elapsed() < TAGS_FOR
    {
        return Ok(known.1);
    }
    let asked_at = Instant::now();
    let mut missing: Vec<_> = wanted.iter().collect();
    let mut from: Option<String> = None;
    for _ in 0..MOST_PAGES {
        let ask = || cloud.list_account_tags(account, from.as_deref());
        let Page { items, next } = asker.ask(Operation::ListTagsForResource, ask).await?.said;
        missing.retain(|(key, value)| !items.iter().any(|(k, v)| k == *key && v == *value));
        match next {
            Some(next) if !missing.is_empty() => from = Some(next),
            _ => break,
        }
    }
    cache.0.insert(account, (asked_at, missing.is_empty()));
    Ok(missing.is_empty())
}

fn endless(asker: &Asker, operation: Operation) -> Miss {
    let failure = Failure::transient(operation.action(), "the list does not end");
    Miss { at: asker.calls.clock.now_seconds(), failure }
}
