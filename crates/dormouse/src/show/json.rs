//! JSON: one document, sorted, unknown values null.

use std::io::{BufWriter, Write};

use dormouse_ledger::KeyDocument;
use serde::Serialize;

/// Prints a document on standard output.
pub(crate) fn print(document: &impl Serialize) -> anyhow::Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    serde_json::to_writer_pretty(&mut out, document)?;
    writeln!(out)?;
    out.flush()?;
    Ok(())
}

/// Keys by ARN.
pub(crate) fn sort_by_arn(keys: &mut [KeyDocument]) {
    keys.sort_by_cached_key(|key| key.arn.to_string());
}

#[derive(Serialize)]
struct KeysDocument {
    keys: Vec<KeyDocument>,
    total: usize,
    next: Option<String>,
}

/// Prints all keys, sorted by ARN.
pub(crate) fn keys(mut keys: Vec<KeyDocument>) -> anyhow::Result<()> {
    sort_by_arn(&mut keys);
    print(&KeysDocument { total: keys.len(), keys, next: None })
}
