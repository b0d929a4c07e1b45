//! Tables for people, fitted to the terminal.

use comfy_table::{ContentArrangement, Table, presets};
use dormouse_ledger::KeyDocument;
use dormouse_model::EventTime;
use dormouse_pipeline::view::{DayDocument, KeyDetails, RecordsDocument};
use dormouse_store::StoredQuarantined;

use super::{printable, say};

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

/// Keys, in the order in which they come.
pub(crate) fn keys(keys: &[KeyDocument], total: usize, now: EventTime) -> std::io::Result<()> {
    let mut table =
        new_table(&["KEY", "LAST USE", "OPERATION", "BY", "USES", "ATTEMPTS", "STATE", "VERDICT"]);
    for key in keys {
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
            key.verdict.kind.name().to_owned(),
        ]);
    }
    print(&table)?;
    say(&if keys.len() == total {
        format!("{total} keys")
    } else {
        format!("{} of {total} keys", keys.len())
    })
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
pub(crate) fn key(details: &KeyDetails, now: EventTime) -> std::io::Result<()> {
    let key = &details.key;
    let line = |name: &str, value: &str| say(&format!("{name:<14} {}", printable(value)));
    line("key", &key.arn.to_string())?;
    line("aliases", &key.aliases.as_ref().map_or("unknown".into(), |aliases| aliases.join(", ")))?;
    line("state", key.state.map_or("unknown", |state| state.name()))?;
    line("created", &key.created.map_or("unknown".into(), |at| at.to_string()))?;
    for (tag, value) in key.tags.iter().flatten() {
        line("tag", &format!("{tag} = {value}"))?;
    }
    line("verdict", &format!("{}: {}", key.verdict.kind.name(), key.verdict.evidence.join("; ")))?;
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
    principals(details)?;
    days(details)?;
    changes(details)
}

fn principals(details: &KeyDetails) -> std::io::Result<()> {
    if details.principals.is_empty() {
        return Ok(());
    }
    let mut table = new_table(&["USED BY", "OPERATION", "USES", "ATTEMPTS", "FIRST", "LAST"]);
    for user in details.principals.iter().take(MOST_LINES) {
        let mut by = caller(user.principal.as_deref(), user.service.as_deref());
        if user.seen_from_caller {
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
    let more = details.principals.len().saturating_sub(MOST_LINES);
    if more > 0 || details.principals_overflow > 0 {
        say(&format!(
            "and {more} more; {} observations by others that are not kept",
            details.principals_overflow
        ))?;
    }
    Ok(())
}

fn days(details: &KeyDetails) -> std::io::Result<()> {
    if details.daily.is_empty() {
        return Ok(());
    }
    let mut table = new_table(&["DAY", "USES", "ATTEMPTS", "CHANGES"]);
    for DayDocument { day, counts } in details.daily.iter().rev().take(MOST_LINES) {
        table.add_row([
            day.clone(),
            counts.uses.to_string(),
            counts.attempts.to_string(),
            counts.changes.to_string(),
        ]);
    }
    say("")?;
    print(&table)
}

fn changes(details: &KeyDetails) -> std::io::Result<()> {
    if details.history.is_empty() {
        return Ok(());
    }
    let mut table = new_table(&["CHANGED", "OPERATION", "BY"]);
    for change in details.history.iter().rev().take(MOST_LINES) {
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
