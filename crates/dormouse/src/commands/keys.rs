//! `dormouse keys` and `dormouse key`: what is known of keys.

use std::process::ExitCode;

use dormouse_ledger::KeyDocument;
use dormouse_ledger::query::SortBy;
use dormouse_model::{Clock, KeyArn, WallClock};

use crate::ask::{Asked, Question};
use crate::cli::{KeyArgs, KeysArgs, Output};
use crate::exit::{NoSuch, Usage};
use crate::show::{self, Screen};

/// What a terminal shows if nobody says how many.
const USUAL_LIMIT: usize = 50;
/// So many keys of the same name are listed.
const MOST_CANDIDATES: usize = 100;

/// Lists keys.
pub(crate) fn keys(args: &KeysArgs, asked: &Asked, screen: Screen) -> anyhow::Result<ExitCode> {
    let is_table = args.output == Output::Table;
    let question = Question::of(&args.filter, if is_table { SortBy::LastUse } else { SortBy::Arn })?;
    let most = match args.limit {
        _ if args.all => usize::MAX,
        Some(0) => usize::MAX,
        Some(limit) => limit,
        None if is_table && screen.is_terminal() => USUAL_LIMIT,
        None => usize::MAX,
    };
    match args.output {
        Output::Json => json(asked, &question, most)?,
        Output::Csv => csv(asked, &question, most)?,
        Output::Table => table(asked, &question, most, screen)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn json(asked: &Asked, question: &Question, most: usize) -> anyhow::Result<()> {
    let mut walk = asked.keys(question, most)?;
    let mut page = walk.next()?;
    // Begun late, so that nothing is printed where nothing answers.
    let mut out = show::json::Keys::begin()?;
    let mut total = 0;
    while let Some(some) = page {
        some.keys.iter().try_for_each(|key| out.add(key))?;
        total = some.total;
        page = walk.next()?;
    }
    Ok(out.end(total)?)
}

fn csv(asked: &Asked, question: &Question, most: usize) -> anyhow::Result<()> {
    let mut walk = asked.keys(question, most)?;
    let mut page = walk.next()?;
    let mut out = show::csv::Keys::begin()?;
    while let Some(some) = page {
        some.keys.iter().try_for_each(|key| out.add(key))?;
        page = walk.next()?;
    }
    Ok(out.end()?)
}

fn table(asked: &Asked, question: &Question, most: usize, screen: Screen) -> anyhow::Result<()> {
    let now = WallClock.now_seconds();
    let mut table = if question.query().filter.wanted == Some(true) {
        show::keys::Keys::wanted(now, screen)
    } else {
        show::keys::Keys::new(now, screen)
    };
    let mut walk = asked.keys(question, most)?;
    let mut total = 0;
    while let Some(page) = walk.next()? {
        page.keys.iter().for_each(|key| table.add(key));
        total = page.total;
    }
    Ok(table.print(total, "; --limit N for more, --all for all")?)
}

/// Shows one key.
pub(crate) fn key(args: &KeyArgs, asked: &Asked, screen: Screen) -> anyhow::Result<ExitCode> {
    let details = asked.key(find(&args.name, asked)?)?;
    match args.output {
        Output::Json => show::json::print(&details)?,
        Output::Csv => show::csv::keys(&[details.key])?,
        Output::Table => show::key::print(&details, WallClock.now_seconds(), screen)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The one key of this name: an ARN of a key or an alias, an id, or an alias.
fn find(name: &str, asked: &Asked) -> anyhow::Result<KeyArn> {
    if name.starts_with("arn:") && !name.contains(":alias/") {
        return name.parse().map_err(|error| Usage(format!("{name:?}: {error}")).into());
    }
    let found = match alias_arn(name) {
        Some((account, region, alias)) => {
            by_alias(alias, &[("account", account), ("region", region)], asked)?
        }
        None if name.starts_with("alias/") => by_alias(name, &[], asked)?,
        None => {
            let mut found = by_id(name, asked)?;
            if found.is_empty() {
                found = by_alias(&format!("alias/{name}"), &[], asked)?;
            }
            // A whole name goes before the beginning of one.
            if found.is_empty() { asked.by_id_prefix(name)? } else { found }
        }
    };
    match found.as_slice() {
        [] => Err(NoSuch(format!(
            "no key with the id or alias {:?} is known; `dormouse keys --search TEXT` looks for parts of names",
            show::printable(name)
        ))
        .into()),
        [key] => Ok(key.arn),
        several => Err(NoSuch(show::key::candidates(name, several)).into()),
    }
}

/// Account, Region and alias of `arn:aws:kms:REGION:ACCOUNT:alias/NAME`.
fn alias_arn(name: &str) -> Option<(&str, &str, &str)> {
    let parts: Vec<&str> = name.splitn(6, ':').collect();
    match parts.as_slice() {
        ["arn", _, "kms", region, account, alias] if alias.starts_with("alias/") => {
            Some((account, region, alias))
        }
        _ => None,
    }
}

fn by_alias(alias: &str, place: &[(&'static str, &str)], asked: &Asked) -> anyhow::Result<Vec<KeyDocument>> {
    let mut question = Question::default();
    // Where a list is taken, a comma would part it; no alias has one.
    if alias.contains(',') {
        return Ok(Vec::new());
    }
    question.set("alias", alias)?;
    for (name, value) in place {
        question.set(name, value)?;
    }
    collect(asked, &question, |_| true)
}

fn by_id(id: &str, asked: &Asked) -> anyhow::Result<Vec<KeyDocument>> {
    let mut question = Question::default();
    question.set("q", id)?;
    collect(asked, &question, |key| key.id == id)
}

fn collect(
    asked: &Asked,
    question: &Question,
    is_it: impl Fn(&KeyDocument) -> bool,
) -> anyhow::Result<Vec<KeyDocument>> {
    let mut found = Vec::new();
    let mut walk = asked.keys(question, usize::MAX)?;
    while let Some(page) = walk.next()? {
        found.extend(page.keys.into_iter().filter(&is_it));
        if found.len() > MOST_CANDIDATES {
            break;
        }
    }
    found.sort_unstable_by_key(|key| key.arn);
    Ok(found)
}
