//! `dormouse status`: what was read, and what became of it.

use std::path::Path;
use std::process::ExitCode;

use dormouse_pipeline::read_store;
use dormouse_pipeline::view::StatusDocument;

use crate::cli::TableOrJson;
use crate::show::{self, say};

/// Shows the counters of a store.
pub(crate) fn status(output: TableOrJson, store: &Path) -> anyhow::Result<ExitCode> {
    let document = read_store(store)?.status()?;
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
