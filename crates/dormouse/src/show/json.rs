//! JSON: one document, sorted, unknown values null.

use std::io::{BufWriter, Write};

use dormouse_ledger::{Evidence, KeyDocument, KeyState, Ledger};
use dormouse_model::KeyArn;
use dormouse_pipeline::view::{KeysPage, RecordsDocument};
use serde::Serialize;

/// Prints a document on standard output.
pub(crate) fn print(document: &impl Serialize) -> anyhow::Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    serde_json::to_writer_pretty(&mut out, document)?;
    writeln!(out)?;
    out.flush()?;
    Ok(())
}

/// Prints keys, in the order in which they come.
pub(crate) fn keys(page: &KeysPage) -> anyhow::Result<()> {
    print(page)
}

/// Prints what a replay found: `{"keys":[…sorted by arn…],"records":{…}}`, a key a line. The keys are put into words by
/// several threads: with many of them this takes as long as a good part of the reading.
pub(crate) fn replay(
    ledger: &Ledger<Evidence>,
    records: RecordsDocument,
    threads: usize,
    document: impl Fn(KeyArn, &KeyState<Evidence>) -> KeyDocument + Sync,
) -> anyhow::Result<()> {
    let mut keys = Vec::with_capacity(ledger.len());
    ledger.for_each_key(|key, _| keys.push((key.to_string(), key)));
    keys.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    let write = |keys: &[(String, KeyArn)]| -> serde_json::Result<Vec<u8>> {
        let mut text = Vec::with_capacity(keys.len() * 1_024);
        for (_, key) in keys {
            let Some(document) = ledger.with(*key, |state| document(*key, state)) else {
                continue;
            };
            text.extend_from_slice(if text.is_empty() { b"" } else { b",\n" });
            serde_json::to_writer(&mut text, &document)?;
        }
        Ok(text)
    };
    let mut out = BufWriter::new(std::io::stdout().lock());
    out.write_all(b"{\"keys\":[\n")?;
    let mut is_first = true;
    // So many at a time that the texts held back stay small.
    for some in keys.chunks(threads * KEYS_A_THREAD) {
        let texts: Vec<_> = std::thread::scope(|scope| {
            let handles: Vec<_> =
                some.chunks(KEYS_A_THREAD).map(|part| scope.spawn(|| write(part))).collect();
            handles
                .into_iter()
                .map(|handle| handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        for text in texts {
            out.write_all(if is_first { b"" } else { b",\n" })?;
            out.write_all(&text?)?;
            is_first = false;
        }
    }
    out.write_all(b"\n],\"records\":")?;
    serde_json::to_writer(&mut out, &records)?;
    out.write_all(b"}\n")?;
    out.flush()?;
    Ok(())
}

const KEYS_A_THREAD: usize = 4_096;
