//! `dormouse keys` and `dormouse key ARN`: what a store knows.

use std::process::ExitCode;

use anyhow::Context;
use dormouse_ledger::query::{KeyQuery, SortBy};
use dormouse_model::{AccountId, KeyArn, Region};
use dormouse_pipeline::{StoreView, read_store};

use super::{StoreChoice, judge_now};
use crate::cli::{KeyArgs, KeysArgs, Output};
use crate::show;

const EXIT_NO_SUCH_KEY: u8 = 3;

/// Lists keys.
pub(crate) fn keys(args: &KeysArgs, choice: &StoreChoice) -> anyhow::Result<ExitCode> {
    let account: Option<AccountId> =
        args.account.as_deref().map(str::parse).transpose().context("--account")?;
    let region: Option<Region> = args.region.as_deref().map(str::parse).transpose().context("--region")?;
    let mut query = KeyQuery::default();
    query.filter.accounts.extend(account);
    query.filter.regions.extend(region.map(|region| region.name().into()));
    if args.output != Output::Table {
        query.sort = SortBy::Arn;
    }
    let judge = judge_now(choice.idle_after);
    let page = read_store(&choice.store)?.keys(&query, usize::MAX, judge);
    match args.output {
        Output::Json => show::json::keys(&page)?,
        Output::Csv => show::csv::keys(&page.keys)?,
        Output::Table => show::table::keys(&page.keys, page.total, judge.now)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows one key.
pub(crate) fn key(args: &KeyArgs, choice: &StoreChoice) -> anyhow::Result<ExitCode> {
    let key: KeyArn = args.arn.parse().with_context(|| format!("{:?}", args.arn))?;
    let view = read_store(&choice.store)?;
    let judge = judge_now(choice.idle_after);
    let Some(details) = view.details(key, judge)? else {
        show::complain(&no_such_key(key, &view));
        return Ok(ExitCode::from(EXIT_NO_SUCH_KEY));
    };
    match args.output {
        Output::Json => show::json::print(&details)?,
        Output::Csv => show::csv::keys(&[details.key])?,
        Output::Table => show::table::key(&details, judge.now)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn no_such_key(key: KeyArn, view: &StoreView) -> String {
    match view.attempts_on(key) {
        Some(attempts) => {
            format!("{key}: no use or change of it was ever seen, only failed attempts ({attempts})")
        }
        None => format!("{key}: nothing was ever seen of it"),
    }
}
