//! Everything about one key.

use dormouse_ledger::{KeyDocument, KmsDocument, RotationDocument, Verdict, VerdictKind, WantedDocument};
use dormouse_model::{EventTime, LifecycleState};
use dormouse_pipeline::view::{DayDocument, KeyDetails};

use super::lines::{Lines, sentence};
use super::screen::{Paint, Screen};
use super::sheet::{Cell, Column, Sheet};
use super::words::{ago, count, counted, size};
use super::{printable, say, who};

/// How many users, days and changes are shown.
const MOST_LINES: usize = 20;
/// Room for the names of values.
const NAMES: usize = 14;
/// Marks a user of whom only copies of calls were seen.
const COPY: &str = "* ";

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
    let lines = Lines::new(NAMES, screen);
    let plain = |name: &str, value: &str| lines.plain(name, value);
    lines.painted("key", &key.arn.to_string(), Paint::Bold)?;
    plain("aliases", &aliases(key))?;
    plain("state", key.state.map_or("unknown", |state| state.name()))?;
    let created = |at: EventTime| format!("{at} ({})", ago(at, now));
    plain("created", &key.created.map_or("unknown".into(), created))?;
    for (tag, value) in key.tags.iter().flatten() {
        plain("tag", &format!("{tag} = {value}"))?;
    }
    nature(key, now, &plain)?;
    verdict(key, lines)?;
    last_use(key, now, &plain)?;
    if let Some(kms) = &key.kms {
        plain("KMS's word", &kms_word(kms, now))?;
    }
    if let Some(attempt) = &key.last_attempt {
        let error = attempt.error_code.as_deref().unwrap_or("failed");
        let age = ago(attempt.at, now);
        plain("last attempt", &format!("{} ({age}) {}: {error}", attempt.at, attempt.operation))?;
        plain("  by", &who::caller(attempt.principal.as_deref(), None, key.account))?;
    }
    if let Some(wanted) = key.wanted {
        let (name, text, paint) = need(wanted, key.state, now);
        lines.painted(name, &text, paint)?;
    }
    let since = key.counts_from.map(|at| format!(" since {at}")).unwrap_or_default();
    let (uses, attempts) = (counted(key.uses, "use"), counted(key.attempts, "attempt"));
    plain("counted", &format!("{uses}, {attempts}, {}{since}", counted(key.changes, "change")))?;
    users(details, now, screen)?;
    days(details, screen)?;
    changes(details, now, screen)
}

/// What failures say that showed a need: a key that is usable again is wanted no longer, but it was.
fn need(
    wanted: WantedDocument,
    state: Option<LifecycleState>,
    now: EventTime,
) -> (&'static str, String, Paint) {
    let calls = counted(wanted.count, "failed call");
    let calls = format!("{calls} from {} to {} ({})", wanted.since, wanted.last, ago(wanted.last, now));
    match state {
        None
        | Some(
            LifecycleState::Disabled
            | LifecycleState::PendingDeletion
            | LifecycleState::PendingReplicaDeletion
            | LifecycleState::Unavailable,
        ) => ("still wanted", format!("{calls}: somebody needs this key as it was"), Paint::Warning),
        Some(LifecycleState::Enabled) => (
            "was wanted",
            format!("{calls} while it was disabled or pending; it is Enabled now"),
            Paint::Plain,
        ),
        Some(other) => (
            "was wanted",
            format!("{calls} while it could not be used; it is {} now", other.name()),
            Paint::Plain,
        ),
    }
}

/// What the key is, as far as KMS was asked.
fn nature(
    key: &KeyDocument,
    now: EventTime,
    line: &impl Fn(&str, &str) -> std::io::Result<()>,
) -> std::io::Result<()> {
    if let Some(description) = key.description.as_deref().filter(|text| !text.is_empty()) {
        line("description", description)?;
    }
    if let (Some(spec), Some(usage)) = (&key.spec, &key.usage) {
        let origin = key.origin.as_deref().unwrap_or("unknown");
        let store = key.custom_key_store.as_ref().map(|store| format!(" in {store}")).unwrap_or_default();
        let asked = key.described_at.map(|at| format!(" (asked {})", ago(at, now))).unwrap_or_default();
        line("type", &format!("{spec}, {usage}, material from {origin}{store}{asked}"))?;
    }
    if let Some(manager) = &key.manager {
        line("managed by", manager)?;
    }
    if let Some(at) = key.deletion_date {
        line("deleted on", &at.to_string())?;
    }
    if let Some(at) = key.material_expires {
        line("expires", &format!("{at}: the imported key material"))?;
    }
    if let Some(rotation) = &key.rotation {
        line("rotation", &self::rotation(rotation))?;
    }
    if let Some(grants) = &key.grants {
        let others = grants.services.iter().chain(&grants.grantees).cloned().collect::<Vec<_>>();
        let to = if others.is_empty() { String::new() } else { format!(": {}", others.join(", ")) };
        line("grants", &format!("{}{to}", counted(grants.count.into(), "live grant")))?;
    }
    for sibling in key.multi_region_siblings.iter().flatten() {
        line("sibling", &sibling.to_string())?;
    }
    for dependent in &key.dependents {
        line("dependent", dependent)?;
    }
    if let Some(cost) = key.monthly_cost_usd {
        line("cost", &format!("${cost:.2} a month"))?;
    }
    Ok(())
}

fn rotation(rotation: &RotationDocument) -> String {
    let last = rotation.last.map(|at| format!(", last at {at}")).unwrap_or_default();
    if !rotation.enabled {
        return format!("not automatic{last}");
    }
    let period = rotation.period_days.map(|days| format!(" every {days} days")).unwrap_or_default();
    let next = rotation.next.map(|at| format!(", next at {at}")).unwrap_or_default();
    format!("automatic{period}{next}{last}")
}

/// The verdict, and what it rests on, a sentence a line.
fn verdict(key: &KeyDocument, lines: Lines) -> std::io::Result<()> {
    let Verdict { since, threshold, threshold_from, evidence, .. } = &key.verdict;
    let since = since.map(|at| format!(" since {at}")).unwrap_or_default();
    let text = format!("{}{since} (threshold {threshold}, {threshold_from})", key.verdict.in_words());
    lines.painted("verdict", &text, paint(&key.verdict))?;
    for sentence in evidence {
        lines.plain("  evidence", sentence)?;
    }
    Ok(())
}

fn paint(verdict: &Verdict) -> Paint {
    match verdict.kind {
        VerdictKind::InUse => Paint::Good,
        VerdictKind::Idle | VerdictKind::NeverUsed => Paint::Warning,
        VerdictKind::Unknown => Paint::Plain,
        VerdictKind::Blind => Paint::Bad,
    }
}

/// What KMS itself remembers.
fn kms_word(kms: &KmsDocument, now: EventTime) -> String {
    let asked = format!(
        "asked at {} ({}), it keeps track since {}",
        kms.asked_at,
        ago(kms.asked_at, now),
        kms.tracked_from
    );
    match &kms.last_use {
        Some(last) => format!("{} at {}; {asked}", last.operation, last.at),
        None => format!("no use; {asked}"),
    }
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
    line("  event", last.event_id.as_deref().unwrap_or("-"))?;
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
    let users = details.principals.iter().take(MOST_LINES);
    let has_copies = users.clone().any(|user| user.seen_from_caller);
    for user in users {
        let mut by = who::caller(user.principal.as_deref(), user.service.as_deref(), details.key.account);
        if user.seen_from_caller {
            // In front, where it is not cut off.
            by.insert_str(0, COPY);
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
    if has_copies {
        let text = "seen in the caller's account: second copies of calls above, not to be added";
        sentence(&format!("{COPY}{text}"), screen)?;
    }
    rest(details.principals.len(), screen)?;
    if details.principals_overflow > 0 {
        let others = counted(details.principals_overflow, "observation");
        sentence(&format!("and {others} by others that are not kept"), screen)?;
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
    rest(details.daily.len(), screen)
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
    rest(details.history.len(), screen)
}

/// That not all lines were shown.
fn rest(lines: usize, screen: Screen) -> std::io::Result<()> {
    match lines.saturating_sub(MOST_LINES) {
        0 => Ok(()),
        more => sentence(&format!("and {} more; --output json has them all", count(size(more))), screen),
    }
}

/// Several keys that a name fits, for somebody to choose from.
pub(crate) fn candidates(name: &str, found: &[KeyDocument]) -> String {
    let mut text = format!("{} fits {}; say which:", printable(name), counted(size(found.len()), "key"));
    for key in found {
        text.push_str(&format!("\n  {}", key.arn));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_key_that_cannot_be_used_is_still_wanted() {
        let now = EventTime::from_seconds(1_700_000_000);
        let wanted = WantedDocument { since: now.minus(900), last: now.minus(60), count: 3 };
        for state in LifecycleState::ALL.map(Some).into_iter().chain([None]) {
            let (name, text, _) = need(wanted, state, now);
            let is_out_of_use = matches!(
                state.map_or("Disabled", LifecycleState::name),
                "Disabled" | "PendingDeletion" | "PendingReplicaDeletion" | "Unavailable"
            );
            assert_eq!(name == "still wanted", is_out_of_use, "{state:?}: {text}");
            assert!(text.starts_with("3 failed calls") && text.contains("1 min ago"), "{text}");
        }
        let (_, text, _) = need(wanted, Some(LifecycleState::Enabled), now);
        assert!(text.ends_with("while it was disabled or pending; it is Enabled now"), "{text}");
    }
}
