//! Tables for people, fitted to the terminal.

use std::cmp::Reverse;

use comfy_table::{ContentArrangement, Table, presets};
use dormouse_ledger::{KeyDocument, VerdictKind};
use dormouse_model::EventTime;
use dormouse_pipeline::KeyHistory;
use dormouse_pipeline::view::start_of_day;
use dormouse_store::StoredQuarantined;

use super::{RecordsDocument, date, printable, say};

/// How many days, users and changes of one key are shown.
const MOST_LINES: usize = 20;

fn new_table(columns: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(columns.iter().copied());
    table
}

fn print(table: &Table) -> std::io::Result<()> {
    for line in table.lines() {
        say(line.trim_end())?;
    }
    Ok(())
}

/// Keys, the most recently used first.
pub(crate) fn keys(mut keys: Vec<KeyDocument>, now: EventTime) -> std::io::Result<()> {
    keys.sort_by_cached_key(|key| (Reverse(key.last_use.as_ref().map(|last| last.at)), key.arn.to_string()));
    let mut table =
        new_table(&["KEY", "LAST USE", "OPERATION", "BY", "USES", "ATTEMPTS", "STATE", "VERDICT"]);
    for key in &keys {
        let last_use = key.last_use.as_ref();
        table.add_row([
            name_of(key),
            last_use.map_or("never seen".to_owned(), |last| ago(last.at, now)),
            last_use.map(|last| printable(&last.operation).into_owned()).unwrap_or_default(),
            last_use
                .map(|last| caller(last.principal.as_deref(), last.invoked_by.as_deref()))
                .unwrap_or_default(),
            key.uses.to_string(),
            attempts_of(key),
            key.state.map_or("", |state| state.name()).to_owned(),
            verdict_name(key).to_owned(),
        ]);
    }
    print(&table)?;
    say(&format!("{} keys", keys.len()))
}

/// The first alias, if one is known, and always the key.
fn name_of(key: &KeyDocument) -> String {
    let alias = key.aliases.iter().flatten().next();
    let place = format!("{} {} {}", key.account, key.region, key.id);
    alias.map_or(place.clone(), |alias| format!("{} ({place})", printable(alias)))
}

fn attempts_of(key: &KeyDocument) -> String {
    match key.wanted {
        Some(wanted) if wanted.count > 0 => format!("{} ({} wanted)", key.attempts, wanted.count),
        _ => key.attempts.to_string(),
    }
}

/// The principal without the part that every ARN has.
fn caller(principal: Option<&str>, service: Option<&str>) -> String {
    let principal = principal.map(|arn| arn.splitn(5, ':').last().unwrap_or(arn));
    let text = match (principal, service) {
        (Some(principal), Some(service)) => format!("{principal} via {service}"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) => "unknown".to_owned(),
    };
    printable(&text).into_owned()
}

/// The verdict's name as in JSON.
pub(crate) fn verdict_name(key: &KeyDocument) -> &'static str {
    match key.verdict.kind {
        VerdictKind::InUse => "in_use",
        VerdictKind::Unknown => "unknown",
    }
}

/// "3 d ago".
fn ago(at: EventTime, now: EventTime) -> String {
    let seconds = now.seconds_since(at);
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..86_400 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

/// Everything about one key.
pub(crate) fn key(key: &KeyDocument, history: &KeyHistory, now: EventTime) -> std::io::Result<()> {
    let line = |name: &str, value: &str| say(&format!("{name:<14} {}", printable(value)));
    line("key", &key.arn.to_string())?;
    line("aliases", &key.aliases.as_ref().map_or("unknown".into(), |aliases| aliases.join(", ")))?;
    line("state", key.state.map_or("unknown", |state| state.name()))?;
    line("created", &key.created.map_or("unknown".into(), |at| at.to_string()))?;
    for (tag, value) in key.tags.iter().flatten() {
        line("tag", &format!("{tag} = {value}"))?;
    }
    line("verdict", &format!("{}: {}", verdict_name(key), key.verdict.evidence.join("; ")))?;
    match &key.last_use {
        None => line("last use", "none seen")?,
        Some(last) => {
            line("last use", &format!("{} ({}) {}", last.at, ago(last.at, now), last.operation))?;
            line("  by", &caller(last.principal.as_deref(), last.invoked_by.as_deref()))?;
            line("  session", last.session.as_deref().unwrap_or("-"))?;
            line("  from", last.source_ip.as_deref().unwrap_or("-"))?;
            line("  event", &last.event_id)?;
            for (name, value) in last.encryption_context.iter().flatten() {
                line("  for", &format!("{name} = {value}"))?;
            }
        }
    }
    if let Some(attempt) = &key.last_attempt {
        let error = attempt.error_code.as_deref().unwrap_or("failed");
        line(
            "last attempt",
            &format!("{} ({}) {}: {error}", attempt.at, ago(attempt.at, now), attempt.operation),
        )?;
        line("  by", &caller(attempt.principal.as_deref(), None))?;
    }
    if let Some(wanted) = key.wanted {
        line(
            "still wanted",
            &format!("{} failed calls from {} to {}", wanted.count, wanted.since, wanted.last),
        )?;
    }
    line("counted", &format!("{} uses, {} attempts, {} changes", key.uses, key.attempts, key.changes))?;
    users(history)?;
    days(history)?;
    changes(history)
}

fn users(history: &KeyHistory) -> std::io::Result<()> {
    if history.users.is_empty() {
        return Ok(());
    }
    let mut table = new_table(&["USED BY", "OPERATION", "USES", "ATTEMPTS", "FIRST", "LAST"]);
    for user in history.users.iter().take(MOST_LINES) {
        let mut by = caller(user.principal.as_deref(), user.service.as_deref());
        if user.foreign {
            by.push_str(" (seen in the caller's account)");
        }
        table.add_row([
            by,
            printable(&user.operation).into_owned(),
            user.uses.to_string(),
            user.attempts.to_string(),
            user.first.to_string(),
            user.last.to_string(),
        ]);
    }
    say("")?;
    print(&table)?;
    let more = history.users.len().saturating_sub(MOST_LINES);
    if more > 0 || history.users_overflow > 0 {
        say(&format!(
            "and {more} more; {} observations by others that are not kept",
            history.users_overflow
        ))?;
    }
    Ok(())
}

fn days(history: &KeyHistory) -> std::io::Result<()> {
    if history.days.is_empty() {
        return Ok(());
    }
    let mut table = new_table(&["DAY", "USES", "ATTEMPTS", "CHANGES"]);
    for (day, counts) in history.days.iter().rev().take(MOST_LINES) {
        let day = date(start_of_day(*day));
        table.add_row([
            day,
            counts.uses.to_string(),
            counts.attempts.to_string(),
            counts.changes.to_string(),
        ]);
    }
    say("")?;
    print(&table)
}

fn changes(history: &KeyHistory) -> std::io::Result<()> {
    if history.changes.is_empty() {
        return Ok(());
    }
    let mut table = new_table(&["CHANGED", "OPERATION", "BY"]);
    for change in history.changes.iter().rev().take(MOST_LINES) {
        let operation = printable(&change.operation).into_owned();
        table.add_row([change.at.to_string(), operation, caller(change.principal.as_deref(), None)]);
    }
    say("")?;
    print(&table)
}

/// What became of the records, in one line.
pub(crate) fn records(records: RecordsDocument) -> std::io::Result<()> {
    say(&format!(
        "{} records read, {} of KMS: {} uses, {} attempts, {} changes; {} duplicates, {} quarantined, {} malformed",
        records.read,
        records.kms,
        records.uses,
        records.attempts,
        records.changes,
        records.duplicates,
        records.quarantined,
        records.malformed
    ))
}

/// The quarantine's messages, without their bodies.
pub(crate) fn quarantine(messages: &[StoredQuarantined]) -> std::io::Result<()> {
    let mut table =
        new_table(&["ID", "LAST SEEN", "TIMES", "SOURCE", "ACCOUNT", "REASON", "BYTES", "AGAIN AT"]);
    for StoredQuarantined { id, message, last, seen, bytes } in messages {
        table.add_row([
            id.to_string(),
            last.to_string(),
            seen.to_string(),
            printable(&message.source).into_owned(),
            printable(message.account.as_deref().unwrap_or("-")).into_owned(),
            printable(&format!("{}: {}", message.reason, message.detail)).into_owned(),
            bytes.to_string(),
            message.retry_at.map_or("-".to_owned(), |at| at.to_string()),
        ]);
    }
    print(&table)?;
    say(&format!("{} messages", messages.len()))
}
