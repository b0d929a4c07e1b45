//! Messages that could not be applied.

use dormouse_model::EventTime;
use dormouse_pipeline::QuarantineOutcome;
use dormouse_store::StoredQuarantined;

use super::screen::Screen;
use super::sheet::{Cell, Column, Sheet};
use super::words::{ago, bytes, count, counted, size, span};
use super::{printable, say};

const COLUMNS: [Column; 9] = [
    Column::new("ID").number(),
    Column::new("REASON").rank(1),
    Column::new("DETAIL").rank(2).least(20),
    Column::new("LAST SEEN").rank(3),
    Column::new("TIMES").rank(7).number(),
    Column::new("SOURCE").rank(5).least(10),
    Column::new("ACCOUNT").rank(4).least(12),
    Column::new("SIZE").rank(8).number(),
    Column::new("AGAIN").rank(6),
];

/// Prints the messages, without their bodies.
pub(crate) fn print(messages: &[StoredQuarantined], now: EventTime, screen: Screen) -> std::io::Result<()> {
    let mut sheet = Sheet::new(&COLUMNS);
    for StoredQuarantined { id, message, last, seen, bytes: length } in messages {
        let again = message.retry_at.map(|at| format!("in {}", span(at.seconds_since(now))));
        sheet.add([
            Cell::from(id.to_string()),
            Cell::from(&message.reason),
            Cell::from(&message.detail),
            Cell::from(ago(*last, now)),
            Cell::from(count(*seen)),
            Cell::from(&message.source),
            Cell::from(message.account.as_deref().unwrap_or_default()),
            Cell::from(bytes(*length)),
            Cell::from(again.unwrap_or_default()),
        ]);
    }
    if !messages.is_empty() {
        sheet.print(screen)?;
    }
    say(&counted(size(messages.len()), "message"))
}

/// What became of a message.
pub(crate) fn outcome(outcome: &QuarantineOutcome) -> String {
    match outcome {
        QuarantineOutcome::NoSuchMessage => "there is no such message in the quarantine".to_owned(),
        QuarantineOutcome::Applied => "applied".to_owned(),
        QuarantineOutcome::Refused { reason, detail } => {
            format!("refused again: {}: {}", printable(reason), printable(detail))
        }
        QuarantineOutcome::Dropped => "dropped".to_owned(),
        QuarantineOutcome::NotNow => {
            "nothing can be committed now (the disk is full, say); nothing has changed".to_owned()
        }
    }
}
