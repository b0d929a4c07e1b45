//! Everything about one key.

use dormouse_ledger::KeyDocument;
use dormouse_model::EventTime;
use dormouse_pipeline::view::{DayDocument, KeyDetails};

use super::screen::{Paint, Screen};
use super::sheet::{Cell, Column, Sheet};
use super::words::{ago, count, counted, size};
use super::{printable, say, who};

/// How many users, days and changes are shown.
const MOST_LINES: usize = 20;

const USERS: [Column; 6] = [
    Column::new("USED BY").least(20),
    Column::new("OPERATION").rank(1).least(12),
    Column::new("USES").rank(2).number(),
    Column::new("ATTEMPTS").rank(4).number(),
    Column::new("FIRST").rank(5),
    Column::new("LAST").rank(3),
];
const DAYS: [Column; 4] = [
    Column::new("DAY"),
    Column::new("USES").number(),
    Column::new("ATTEMPTS").number(),
    Column::new("CHANGES").number(),
];
const CHANGES: [Column; 4] = [
    Column::new("CHANGED"),
    Column::new("OPERATION").rank(1).least(12),
    Column::new("BY").rank(2).least(20),
    Column::new("AT").rank(3),
];

/// Prints everything about one key.
pub(crate) fn print(details: &KeyDetails, now: EventTime, screen: Screen) -> std::io::Result<()> {
    let key = &details.key;
    let line = |name: &str, value: &str, paint: Paint| {
        say(&format!("{name:<14} {}", paint.on(&printable(value), screen)))
    };
    let plain = |name: &str, value: &str| line(name, value, Paint::Plain);
    line("key", &key.arn.to_string(), Paint::Bold)?;
    plain("aliases", &aliases(key))?;
    plain("state", key.state.map_or("unknown", |state| state.name()))?;
    let created = |at: EventTime| format!("{at} ({})", ago(at, now));
    plain("created", &key.created.map_or("unknown".into(), created))?;
    for (tag, value) in key.tags.iter().flatten() {
        plain("tag", &format!("{tag} = {value}"))?;
    }
    plain("verdict", &format!("{}: {}", key.verdict.kind.name(), key.verdict.evidence.join("; ")))?;
    last_use(key, now, &plain)?;
    if let Some(attempt) = &key.last_attempt {
        let error = attempt.error_code.as_deref().unwrap_or("failed");
        let age = ago(attempt.at, now);
        plain("last attempt", &format!("{} ({age}) {}: {error}", attempt.at, attempt.operation))?;
        plain("  by", &who::caller(attempt.principal.as_deref(), None, key.account))?;
    }
    if let Some(wanted) = key.wanted {
        let calls = counted(wanted.count, "failed call");
        let text = format!(
            "{calls} from {} to {} ({}): somebody needs this key as it was",
            wanted.since,
            wanted.last,
            ago(wanted.last, now)
        );
        line("still wanted", &text, Paint::Warning)?;
    }
    let since = key.counts_from.map(|at| format!(" since {at}")).unwrap_or_default();
    let (uses, attempts) = (counted(key.uses, "use"), counted(key.attempts, "attempt"));
    plain("counted", &format!("{uses}, {attempts}, {}{since}", counted(key.changes, "change")))?;
    users(details, now, screen)?;
    days(details, screen)?;
    changes(details, now, screen)
}

fn aliases(key: &KeyDocument) -> String {
    match key.aliases.as_deref() {
        None => "unknown".to_owned(),
        Some([]) => "none".to_owned(),
        Some(aliases) => aliases.join(", "),
    }
}

fn last_use(
    key: &KeyDocument,
    now: EventTime,
    line: &impl Fn(&str, &str) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let Some(last) = &key.last_use else {
        return line("last use", "never seen");
    };
    line("last use", &format!("{} ({}) {}", last.at, ago(last.at, now), last.operation))?;
    line("  by", &who::caller(last.principal.as_deref(), last.invoked_by.as_deref(), key.account))?;
    line("  principal", last.principal.as_deref().unwrap_or("-"))?;
    line("  session", last.session.as_deref().unwrap_or("-"))?;
    line("  from", last.source_ip.as_deref().unwrap_or("-"))?;
    line("  event", &last.event_id)?;
    for (name, value) in last.encryption_context.iter().flatten() {
        line("  for", &format!("{name} = {value}"))?;
    }
    Ok(())
}

fn users(details: &KeyDetails, now: EventTime, screen: Screen) -> std::io::Result<()> {
    if details.principals.is_empty() {
        return Ok(());
    }
    let mut sheet = Sheet::new(&USERS);
    for user in details.principals.iter().take(MOST_LINES) {
        let mut by = who::caller(user.principal.as_deref(), user.service.as_deref(), details.key.account);
        if user.seen_from_caller {
            by.push_str(" (seen in the caller's account)");
        }
        sheet.add([
            Cell::from(by),
            Cell::from(&user.operation),
            Cell::from(count(user.uses)),
            Cell::from(count(user.attempts)),
            Cell::from(ago(user.first, now)),
            Cell::from(ago(user.last, now)),
        ]);
    }
    say("")?;
    sheet.print(screen)?;
    rest(details.principals.len())?;
    if details.principals_overflow > 0 {
        let others = counted(details.principals_overflow, "observation");
        say(&format!("and {others} by others that are not kept"))?;
    }
    Ok(())
}

fn days(details: &KeyDetails, screen: Screen) -> std::io::Result<()> {
    if details.daily.is_empty() {
        return Ok(());
    }
    let mut sheet = Sheet::new(&DAYS);
    for DayDocument { day, counts } in details.daily.iter().rev().take(MOST_LINES) {
        let counts = [counts.uses, counts.attempts, counts.changes].map(|number| Cell::from(count(number)));
        sheet.add(std::iter::once(Cell::from(day)).chain(counts));
    }
    say("")?;
    sheet.print(screen)?;
    rest(details.daily.len())
}

fn changes(details: &KeyDetails, now: EventTime, screen: Screen) -> std::io::Result<()> {
    if details.history.is_empty() {
        return Ok(());
    }
    let mut sheet = Sheet::new(&CHANGES);
    for change in details.history.iter().rev().take(MOST_LINES) {
        sheet.add([
            Cell::from(ago(change.at, now)),
            Cell::from(&change.operation),
            Cell::from(who::caller(change.principal.as_deref(), None, details.key.account)),
            Cell::from(change.at.to_string()),
        ]);
    }
    say("")?;
    sheet.print(screen)?;
    rest(details.history.len())
}

/// That not all lines were shown.
fn rest(lines: usize) -> std::io::Result<()> {
    match lines.saturating_sub(MOST_LINES) {
        0 => Ok(()),
        more => say(&format!("and {} more; --output json has them all", count(size(more)))),
    }
}

/// Several keys that a name fits, for somebody to choose from.
pub(crate) fn candidates(name: &str, found: &[KeyDocument]) -> String {
    let mut text =
        format!("{} is the name of {}; say which:", printable(name), counted(size(found.len()), "key"));
    for key in found {
        text.push_str(&format!("\n  {}", key.arn));
    }
    text
}
