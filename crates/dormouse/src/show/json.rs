//! JSON: one document, unknown values null.
//!
//! Characters that a terminal would obey, or that would reorder a line, are written as escapes: the document is the same,
//! and looking at it does no harm.

use std::io::{BufWriter, Write};

use dormouse_ledger::{Evidence, KeyDocument, KeyState, Ledger};
use dormouse_model::{KeyArn, is_harmless};
use dormouse_pipeline::view::RecordsDocument;
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};

/// Prints a document on standard output.
pub(crate) fn print(document: &impl Serialize) -> anyhow::Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    document.serialize(&mut Serializer::with_formatter(&mut out, Harmless(PrettyFormatter::new())))?;
    writeln!(out)?;
    out.flush()?;
    Ok(())
}

/// `{"keys":[…],"total":N,"next":null}`, a key a line, written as the keys come.
pub(crate) struct Keys<W: Write> {
    out: W,
    is_first: bool,
}

impl Keys<BufWriter<std::io::StdoutLock<'static>>> {
    /// On standard output.
    pub(crate) fn begin() -> std::io::Result<Self> {
        Self::on(BufWriter::new(std::io::stdout().lock()))
    }
}

impl<W: Write> Keys<W> {
    fn on(mut out: W) -> std::io::Result<Self> {
        out.write_all(b"{\"keys\":[\n")?;
        Ok(Self { out, is_first: true })
    }

    /// The next key.
    pub(crate) fn add(&mut self, key: &KeyDocument) -> anyhow::Result<()> {
        if !std::mem::take(&mut self.is_first) {
            self.out.write_all(b",\n")?;
        }
        compact(&mut self.out, key)?;
        Ok(())
    }

    /// The end.
    pub(crate) fn end(mut self, total: usize) -> std::io::Result<()> {
        writeln!(self.out, "\n],\"total\":{total},\"next\":null}}")?;
        self.out.flush()
    }
}

fn compact(out: &mut impl Write, document: &impl Serialize) -> serde_json::Result<()> {
    document.serialize(&mut Serializer::with_formatter(out, Harmless(CompactFormatter)))
}

/// Another formatter, but for what a terminal would obey.
struct Harmless<F>(F);

impl<F: Formatter> Formatter for Harmless<F> {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        text: &str,
    ) -> std::io::Result<()> {
        // Other control characters never come here: JSON itself wants them escaped.
        if text.is_ascii() && !text.contains('\u{7f}') {
            return writer.write_all(text.as_bytes());
        }
        let mut units = [0; 2];
        for piece in text.split_inclusive(|c| !is_harmless(c)) {
            let Some(last) = piece.chars().next_back().filter(|&c| !is_harmless(c)) else {
                writer.write_all(piece.as_bytes())?;
                continue;
            };
            writer.write_all(&piece.as_bytes()[..piece.len() - last.len_utf8()])?;
            for unit in last.encode_utf16(&mut units) {
                write!(writer, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }

    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.0.end_object_value(writer)
    }
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
            compact(&mut text, &document)?;
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
    compact(&mut out, &records)?;
    out.write_all(b"}\n")?;
    out.flush()?;
    Ok(())
}

const KEYS_A_THREAD: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped_and_the_document_is_the_same() {
        let document = serde_json::json!({
            "a\u{9b}31m": ["\u{1b}[31m", "日本 é", "x\u{202e}y\u{7f}", "\u{e0041}", "", {}, []],
            "b": null
        });
        let mut text = Vec::new();
        compact(&mut text, &document).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.chars().all(is_harmless), "{text}");
        assert!(
            text.contains("日本 é") && text.contains("\\u009b") && text.contains("\\udb40\\udc41"),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), document);
    }

    #[test]
    fn no_keys_are_a_document_too() {
        let mut out = Vec::new();
        Keys::on(&mut out).unwrap().end(0).unwrap();
        let document: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(document, serde_json::json!({ "keys": [], "total": 0, "next": null }));
    }
}
