//! `dormouse status`: what was read, and what became of it.

use std::path::Path;
use std::process::ExitCode;

use dormouse_ledger::Counts;
use dormouse_pipeline::read_store;
use dormouse_store::Unknowns;
use serde::Serialize;

use crate::cli::TableOrJson;
use crate::show::{self, say};

#[derive(Serialize)]
struct StatusDocument {
    keys: usize,
    tried_keys: usize,
    records: show::RecordsDocument,
    late_uncounted: Counts,
    unattributed_attempts: u64,
    quarantine: QuarantineDocument,
    unknown: Unknowns,
}

#[derive(Serialize)]
struct QuarantineDocument {
    messages: u64,
    bytes: u64,
}

/// Shows the counters of a store.
pub(crate) fn status(output: TableOrJson, store: &Path) -> anyhow::Result<ExitCode> {
    let view = read_store(store)?;
    let (messages, bytes) = view.reader.quarantine_size()?;
    let document = StatusDocument {
        keys: view.ledger.len(),
        tried_keys: view.ledger.tried_keys(),
        records: show::RecordsDocument::new(view.totals.tally, view.ledger.total_counts()),
        late_uncounted: view.totals.tally.late_uncounted,
        unattributed_attempts: view.totals.unattributed_attempts,
        quarantine: QuarantineDocument { messages, bytes },
        unknown: view.totals.unknowns,
    };
    match output {
        TableOrJson::Json => show::json::print(&document)?,
        TableOrJson::Table => print(&document)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print(status: &StatusDocument) -> std::io::Result<()> {
    let records = &status.records;
    let late = status.late_uncounted;
    say(&format!("keys                   {}", status.keys))?;
    say(&format!("tried, not known       {} ARNs", status.tried_keys))?;
    say(&format!("records read           {}", records.read))?;
    say(&format!("  of KMS               {}", records.kms))?;
    say(&format!("  duplicates           {}", records.duplicates))?;
    say(&format!("  quarantined          {}", records.quarantined))?;
    say(&format!("  malformed            {}", records.malformed))?;
    say(&format!("uses                   {}", records.uses))?;
    say(&format!(
        "attempts               {} ({} on ARNs for which there was no room)",
        records.attempts, status.unattributed_attempts
    ))?;
    say(&format!("changes                {}", records.changes))?;
    say(&format!(
        "late, not counted      {} uses, {} attempts, {} changes",
        late.uses, late.attempts, late.changes
    ))?;
    say(&format!(
        "quarantine             {} messages, {} bytes",
        status.quarantine.messages, status.quarantine.bytes
    ))?;
    for (name, operation) in &status.unknown.operations {
        let name = show::printable(name);
        let holds = if operation.hold_back > 0 { ", holds \"unused\" back" } else { "" };
        say(&format!(
            "unknown operation      {name}: {} calls, last {}{holds}",
            operation.calls, operation.last
        ))?;
    }
    for (name, unresolved) in &status.unknown.unresolved {
        let name = show::printable(name);
        say(&format!("unresolved name        {name}: {} times, last {}", unresolved.count, unresolved.last))?;
    }
    Ok(())
}
