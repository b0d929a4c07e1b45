//! `dormouse keys` and `dormouse key ARN`: what a store knows.

use std::process::ExitCode;

use anyhow::Context;
use dormouse_ledger::{KeyDocument, Source};
use dormouse_model::{AccountId, Clock, KeyArn, Region, WallClock};
use dormouse_pipeline::{KeyHistory, StoreView, read_store};
use serde::Serialize;

use super::{StoreChoice, judge_at};
use crate::cli::{KeyArgs, KeysArgs, Output};
use crate::show;

const EXIT_NO_SUCH_KEY: u8 = 3;

/// Lists keys.
pub(crate) fn keys(args: &KeysArgs, choice: &StoreChoice) -> anyhow::Result<ExitCode> {
    let account: Option<AccountId> =
        args.account.as_deref().map(str::parse).transpose().context("--account")?;
    let region: Option<Region> = args.region.as_deref().map(str::parse).transpose().context("--region")?;
    let view = read_store(&choice.store)?;
    let judge = judge_at(WallClock.now_seconds(), choice.idle_after);
    let mut documents = Vec::new();
    view.ledger.for_each_key(|key, state| {
        let is_wanted = account.is_none_or(|account| key.account() == account)
            && region.is_none_or(|region| key.region() == region);
        if is_wanted {
            documents.push(KeyDocument::new(key, state, &view.ledger, Source::Stream, judge));
        }
    });
    match args.output {
        Output::Json => show::json::keys(documents)?,
        Output::Csv => show::csv::keys(documents)?,
        Output::Table => show::table::keys(documents, WallClock.now_seconds())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A key with its history: what `dormouse key --output json` prints.
#[derive(Serialize)]
struct WithHistory {
    #[serde(flatten)]
    key: KeyDocument,
    #[serde(flatten)]
    history: show::HistoryDocument,
}

/// Shows one key.
pub(crate) fn key(args: &KeyArgs, choice: &StoreChoice) -> anyhow::Result<ExitCode> {
    let key: KeyArn = args.arn.parse().with_context(|| format!("{:?}", args.arn))?;
    let view = read_store(&choice.store)?;
    let judge = judge_at(WallClock.now_seconds(), choice.idle_after);
    let Some(state) = view.ledger.get(key).filter(dormouse_ledger::KeyState::exists) else {
        show::complain(&no_such_key(key, &view));
        return Ok(ExitCode::from(EXIT_NO_SUCH_KEY));
    };
    let document = KeyDocument::new(key, &state, &view.ledger, Source::Stream, judge);
    let history: KeyHistory = view.history(key)?;
    match args.output {
        Output::Json => {
            let history = show::HistoryDocument::from(history);
            show::json::print(&WithHistory { key: document, history })?;
        }
        Output::Csv => show::csv::keys(vec![document])?,
        Output::Table => show::table::key(&document, &history, WallClock.now_seconds())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn no_such_key(key: KeyArn, view: &StoreView) -> String {
    let attempts = view.ledger.with(key, |state| view.ledger.counts_of(key, state).attempts);
    match attempts {
        Some(attempts) => {
            format!("{key}: no use or change of it was ever seen, only failed attempts ({attempts})")
        }
        None => format!("{key}: nothing was ever seen of it"),
    }
}
