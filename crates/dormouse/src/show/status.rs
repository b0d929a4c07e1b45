//! How an instance or a store is doing.

use dormouse_pipeline::view::{RecordsDocument, StatusDocument};

use super::words::{bytes, count, counted, size};
use super::{printable, say};

/// A line of a status: a name, and what is to be said.
pub(super) fn line(name: &str, value: &str) -> std::io::Result<()> {
    say(&format!("{name:<22} {}", printable(value)))
}

/// Prints what was read, and what became of it.
pub(crate) fn print(status: &StatusDocument) -> std::io::Result<()> {
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
