//! How an instance or a store is doing.

use dormouse_pipeline::view::RecordsDocument;
use dormouse_server::api::{InstanceDocument, ObjectsDocument, SourceDocument, StreamDocument};

use super::lines::Lines;
use super::say;
use super::screen::{Paint, Screen};
use super::words::{ago, bytes, count, counted, size, span};
use crate::ask::Status;

/// Room for the names.
const NAMES: usize = 22;

/// Prints how the process is, what was read, and what became of it.
pub(crate) fn print(status: &Status, screen: Screen) -> std::io::Result<()> {
    let lines = Lines::new(NAMES, screen);
    let line = |name: &str, value: &str| lines.plain(name, value);
    if let Some(instance) = &status.instance {
        process(instance, screen)?;
    }
    let status = &status.known;
    let records = &status.records;
    let late = status.late_uncounted;
    line("keys", &count(size(status.keys)))?;
    line("tried, not known", &counted(size(status.tried_keys), "ARN"))?;
    line("records read", &count(records.read))?;
    line("  of KMS", &count(records.kms))?;
    line("  duplicates", &count(records.duplicates))?;
    line("  quarantined", &count(records.quarantined))?;
    line("  malformed", &count(records.malformed))?;
    line("uses", &count(records.uses))?;
    let homeless = match status.unattributed_attempts {
        0 => String::new(),
        number => format!(" ({} on ARNs for which there was no room)", count(number)),
    };
    line("attempts", &format!("{}{homeless}", count(records.attempts)))?;
    line("changes", &count(records.changes))?;
    let (uses, attempts) = (counted(late.uses, "use"), counted(late.attempts, "attempt"));
    line("late, not counted", &format!("{uses}, {attempts}, {}", counted(late.changes, "change")))?;
    let messages = counted(status.quarantine.messages, "message");
    line("quarantine", &format!("{messages}, {}", bytes(status.quarantine.bytes)))?;
    for (name, operation) in &status.unknown.operations {
        let holds = if operation.hold_back > 0 { ", holds \"unused\" back" } else { "" };
        let calls = counted(operation.calls, "call");
        line("unknown operation", &format!("{name}: {calls}, last {}{holds}", operation.last))?;
    }
    for (name, unresolved) in &status.unknown.unresolved {
        let times = counted(unresolved.count, "time");
        line("unresolved name", &format!("{name}: {times}, last {}", unresolved.last))?;
    }
    Ok(())
}

/// How the process is; what is wrong comes with what to do about it.
fn process(instance: &InstanceDocument, screen: Screen) -> std::io::Result<()> {
    let (text, paint) = if instance.ready { ("ready", Paint::Good) } else { ("not ready", Paint::Bad) };
    let lines = Lines::new(NAMES, screen);
    let line = |name: &str, value: &str| lines.plain(name, value);
    lines.painted("instance", text, paint)?;
    for reason in &instance.reasons {
        line("  because", &reason.detail)?;
    }
    line("version", &instance.version)?;
    let started = ago(instance.started, instance.now);
    line("started", &format!("{} ({started})", instance.started))?;
    line("lag", &instance.lag_seconds.map_or("unknown: no event came yet".to_owned(), lag))?;
    if instance.paused {
        line("commits", "refused by the store; make room on its disk, and see the log")?;
    }
    for source in &instance.sources {
        let SourceDocument { name, kind, state, .. } = source;
        line("source", &format!("{name} ({kind}): {state}"))?;
        for trouble in &source.trouble {
            line("  trouble", trouble)?;
        }
        let (name, value) = numbers(source);
        line(name, &value)?;
        if let Some(objects) = &source.objects {
            let ObjectsDocument { fetched, packed_bytes, in_progress, refused, missing, damaged } = *objects;
            let read = format!(
                "{} read ({}), {} being read",
                count(fetched),
                bytes(packed_bytes),
                count(in_progress)
            );
            let not =
                format!("{} refused, {} missing, {} damaged", count(refused), count(missing), count(damaged));
            line("  objects", &format!("{read}; {not}"))?;
        }
    }
    Ok(())
}

/// What a source has done, in one line.
fn numbers(source: &SourceDocument) -> (&'static str, String) {
    let SourceDocument { received, left, in_flight, .. } = *source;
    let (received, left, in_flight) = (count(received), count(left), count(in_flight));
    if let Some(stream) = &source.stream {
        let StreamDocument { acknowledged, shards_open, shards_reading, behind_seconds, .. } = stream;
        let value = format!(
            "{received} received, {} acknowledged, {left} left; {} open, {} being read, {behind_seconds:.0} s behind",
            count(*acknowledged),
            counted(*shards_open, "shard"),
            count(*shards_reading),
        );
        return ("  records", value);
    }
    let [again, deleted] = [source.redelivered, source.deleted].map(|number| count(number.unwrap_or(0)));
    let value =
        format!("{received} received ({again} again), {deleted} deleted, {left} left, {in_flight} in flight");
    ("  messages", value)
}

/// How far behind the latest events are.
fn lag(seconds: u32) -> String {
    if seconds == 0 { "less than 1 s".to_owned() } else { span(seconds) }
}

/// What became of the records, in one line.
pub(crate) fn records(records: RecordsDocument) -> std::io::Result<()> {
    say(&format!(
        "{} read, {} of KMS: {}, {}, {}; {}, {} quarantined, {} malformed",
        counted(records.read, "record"),
        count(records.kms),
        counted(records.uses, "use"),
        counted(records.attempts, "attempt"),
        counted(records.changes, "change"),
        counted(records.duplicates, "duplicate"),
        count(records.quarantined),
        count(records.malformed)
    ))
}
