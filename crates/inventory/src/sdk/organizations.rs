//! Organizations by the SDK.

use aws_sdk_organizations::Client;
use aws_sdk_organizations::types::{Account, AccountState, AccountStatus};
use aws_types::request_id::RequestId;
use dormouse_aws::Failure;
use dormouse_model::AccountId;

use crate::cloud::{Answered, OrganizationAccount, Page, Told};
use crate::failures::cut;
use crate::operation::Operation;

/// Organizations' longest name of an account is 50 characters.
const LONGEST_NAME: usize = 200;

pub(super) async fn list_accounts(
    client: &Client,
    parent: Option<&str>,
    from: Option<&str>,
) -> Answered<Page<OrganizationAccount>> {
    let from = from.map(str::to_owned);
    let (accounts, next, request_id) = if let Some(parent) = parent {
        let action = Operation::ListAccountsForParent.action();
        let answer = client.list_accounts_for_parent().parent_id(parent).set_next_token(from).send().await;
        let answer = answer.map_err(|error| Failure::of(action, &error))?;
        let request_id = answer.request_id().map(Box::from);
        (answer.accounts.unwrap_or_default(), answer.next_token, request_id)
    } else {
        let action = Operation::ListAccounts.action();
        let answer = client.list_accounts().set_next_token(from).send().await;
        let answer = answer.map_err(|error| Failure::of(action, &error))?;
        let request_id = answer.request_id().map(Box::from);
        (answer.accounts.unwrap_or_default(), answer.next_token, request_id)
    };
    let items = accounts.iter().filter_map(account).collect();
    Ok(Told { request_id, said: Page { items, next } })
}

fn account(account: &Account) -> Option<OrganizationAccount> {
    let state = account.state().map(AccountState::as_str).or(account.status().map(AccountStatus::as_str));
    Some(OrganizationAccount {
        account: account.id()?.parse().ok()?,
        name: account.name().map(|name| cut(name, LONGEST_NAME).into()),
        state: state.map(|state| cut(state, LONGEST_NAME).into()),
    })
}

pub(super) async fn list_units(client: &Client, parent: &str, from: Option<&str>) -> Answered<Page<String>> {
    let action = Operation::ListOrganizationalUnitsForParent.action();
    let request = client.list_organizational_units_for_parent().parent_id(parent);
    let answer = request.set_next_token(from.map(str::to_owned)).send().await;
    let answer = answer.map_err(|error| Failure::of(action, &error))?;
    let request_id = answer.request_id().map(Box::from);
    let units = answer.organizational_units.unwrap_or_default();
    let items = units.into_iter().filter_map(|unit| unit.id).collect();
    Ok(Told { request_id, said: Page { items, next: answer.next_token } })
}

pub(super) async fn list_tags(
    client: &Client,
    account: AccountId,
    from: Option<&str>,
) -> Answered<Page<(String, String)>> {
    let action = Operation::ListTagsForResource.action();
    let request = client.list_tags_for_resource().resource_id(account.to_string());
    let answer = request.set_next_token(from.map(str::to_owned)).send().await;
    let answer = answer.map_err(|error| Failure::of(action, &error))?;
    let request_id = answer.request_id().map(Box::from);
    let tags = answer.tags.unwrap_or_default();
    let items = tags.into_iter().map(|tag| (tag.key, tag.value)).collect();
    Ok(Told { request_id, said: Page { items, next: answer.next_token } })
}
