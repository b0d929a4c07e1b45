//! CSV for spreadsheets, which take a field that begins like a formula for one: such fields get a quote before them.

use std::borrow::Cow;

use dormouse_ledger::KeyDocument;

use super::printable;

const COLUMNS: [&str; 24] = [
    "arn",
    "account",
    "region",
    "id",
    "state",
    "aliases",
    "last_use",
    "operation",
    "principal",
    "session",
    "invoked_by",
    "source_ip",
    "event_id",
    "encryption_context",
    "last_attempt",
    "last_attempt_error",
    "wanted_since",
    "wanted_last",
    "wanted_count",
    "uses",
    "attempts",
    "changes",
    "created",
    "verdict",
];

/// One line a key, written as the keys come.
pub(crate) struct Keys(csv::Writer<std::io::StdoutLock<'static>>);

impl Keys {
    /// On standard output.
    pub(crate) fn begin() -> anyhow::Result<Self> {
        let mut out = csv::Writer::from_writer(std::io::stdout().lock());
        out.write_record(COLUMNS)?;
        Ok(Self(out))
    }

    /// The next key.
    pub(crate) fn add(&mut self, key: &KeyDocument) -> anyhow::Result<()> {
        Ok(self.0.write_record(fields(key).iter().map(|field| harmless(field).into_owned()))?)
    }

    /// The end.
    pub(crate) fn end(mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// Prints one line a key, in the order in which they come.
pub(crate) fn keys(keys: &[KeyDocument]) -> anyhow::Result<()> {
    let mut lines = Keys::begin()?;
    for key in keys {
        lines.add(key)?;
    }
    Ok(lines.end()?)
}

fn fields(key: &KeyDocument) -> [String; COLUMNS.len()] {
    let text = |text: Option<&String>| text.cloned().unwrap_or_default();
    let last_use = key.last_use.as_ref();
    let attempt = key.last_attempt.as_ref();
    let context = last_use.and_then(|last| last.encryption_context.as_ref());
    [
        key.arn.to_string(),
        key.account.to_string(),
        key.region.to_string(),
        key.id.clone(),
        key.state.map(|state| state.name().to_owned()).unwrap_or_default(),
        key.aliases.as_ref().map(|aliases| aliases.join(" ")).unwrap_or_default(),
        last_use.map(|last| last.at.to_string()).unwrap_or_default(),
        text(last_use.map(|last| &last.operation)),
        text(last_use.and_then(|last| last.principal.as_ref())),
        text(last_use.and_then(|last| last.session.as_ref())),
        text(last_use.and_then(|last| last.invoked_by.as_ref())),
        text(last_use.and_then(|last| last.source_ip.as_ref())),
        text(last_use.and_then(|last| last.event_id.as_ref())),
        context.map(|context| serde_json::to_string(context).unwrap_or_default()).unwrap_or_default(),
        attempt.map(|attempt| attempt.at.to_string()).unwrap_or_default(),
        text(attempt.and_then(|attempt| attempt.error_code.as_ref())),
        key.wanted.map(|wanted| wanted.since.to_string()).unwrap_or_default(),
        key.wanted.map(|wanted| wanted.last.to_string()).unwrap_or_default(),
        key.wanted.map_or(0, |wanted| wanted.count).to_string(),
        key.uses.to_string(),
        key.attempts.to_string(),
        key.changes.to_string(),
        key.created.map(|created| created.to_string()).unwrap_or_default(),
        key.verdict.kind.name().to_owned(),
    ]
}

fn harmless(field: &str) -> Cow<'_, str> {
    let field = printable(field);
    if field.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        return Cow::Owned(format!("'{field}"));
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulae_are_text() {
        assert_eq!(harmless("=HYPERLINK(\"x\")"), "'=HYPERLINK(\"x\")");
        assert_eq!(harmless("-1+1"), "'-1+1");
        assert_eq!(harmless("\tx"), "\\u{9}x");
        assert_eq!(harmless("arn:aws"), "arn:aws");
    }
}
