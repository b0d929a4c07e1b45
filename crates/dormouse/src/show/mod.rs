//! What people and programs see: tables, JSON, CSV. Hostile text is made harmless here, for where it goes.

pub(crate) mod csv;
pub(crate) mod json;
mod printable;
pub(crate) mod table;

use std::io::Write;

use dormouse_ledger::{Counts, Tally};
use dormouse_model::EventTime;
use dormouse_pipeline::KeyHistory;
use dormouse_pipeline::view::start_of_day;
use dormouse_store::{StoredChange, StoredUser};
use serde::Serialize;

pub(crate) use printable::printable;

/// A line on standard output.
pub(crate) fn say(line: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout().lock(), "{line}")
}

/// A line on standard error, with the program's name before it.
pub(crate) fn complain(line: &str) {
    // Nobody is left to be told if standard error is gone.
    let _ = writeln!(std::io::stderr().lock(), "dormouse: {line}");
}

/// What became of the records. `uses`, `attempts` and `changes` are observations after duplicates are dropped; the
/// others are records.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct RecordsDocument {
    pub(crate) read: u64,
    pub(crate) kms: u64,
    pub(crate) uses: u64,
    pub(crate) attempts: u64,
    pub(crate) changes: u64,
    pub(crate) duplicates: u64,
    pub(crate) quarantined: u64,
    pub(crate) malformed: u64,
}

impl RecordsDocument {
    pub(crate) fn new(tally: Tally, counts: Counts) -> Self {
        Self {
            read: tally.read,
            kms: tally.kms,
            uses: counts.uses,
            attempts: counts.attempts,
            changes: counts.changes,
            duplicates: tally.duplicates,
            quarantined: tally.quarantined,
            malformed: tally.malformed,
        }
    }
}

/// The history of a key, beside its document.
#[derive(Debug, Serialize)]
pub(crate) struct HistoryDocument {
    daily: Vec<DayDocument>,
    users: Vec<StoredUser>,
    users_overflow: u64,
    history: Vec<StoredChange>,
}

#[derive(Debug, Serialize)]
struct DayDocument {
    day: String,
    #[serde(flatten)]
    counts: Counts,
}

impl From<KeyHistory> for HistoryDocument {
    fn from(history: KeyHistory) -> Self {
        let day = |(day, counts)| DayDocument { day: date(start_of_day(day)), counts };
        Self {
            daily: history.days.into_iter().map(day).collect(),
            users: history.users,
            users_overflow: history.users_overflow,
            history: history.changes,
        }
    }
}

/// The date of a time, without the time of day.
fn date(at: EventTime) -> String {
    at.to_string().chars().take(10).collect()
}
