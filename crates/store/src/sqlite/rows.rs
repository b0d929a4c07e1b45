//! How the types of the ledger become columns and come back.

use std::path::Path;

use dormouse_ledger::{Counts, Evidence, EvidenceTexts, KeyState, Rank, Registers, Trace, Wanted};
use dormouse_model::{EventId, EventTime, KeyArn};
use rusqlite::types::Type;
use rusqlite::{Row, Statement, params};

use crate::StoreError;

/// The columns of a key's row, in the order in which [`key_from`] reads them.
pub(super) const KEY_COLUMNS: &str = "row, arn, is_key, uses, attempts, changes,
    foreign_uses, foreign_attempts, foreign_changes, counts_from,
    use_at, use_has_principal, use_has_context, use_event_id,
    attempt_at, attempt_has_principal, attempt_has_context, attempt_event_id,
    wanted_since, wanted_last, wanted_own, wanted_foreign, registers";

/// Writes a key's row as it is.
pub(super) const UPSERT_KEY: &str = "INSERT INTO keys (row, arn, is_key, uses, attempts, changes,
    foreign_uses, foreign_attempts, foreign_changes, counts_from,
    use_at, use_has_principal, use_has_context, use_event_id,
    attempt_at, attempt_has_principal, attempt_has_context, attempt_event_id,
    wanted_since, wanted_last, wanted_own, wanted_foreign, registers)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23)
    ON CONFLICT (row) DO UPDATE SET is_key = ?3, uses = ?4, attempts = ?5, changes = ?6,
    foreign_uses = ?7, foreign_attempts = ?8, foreign_changes = ?9, counts_from = ?10,
    use_at = ?11, use_has_principal = ?12, use_has_context = ?13, use_event_id = ?14,
    attempt_at = ?15, attempt_has_principal = ?16, attempt_has_context = ?17, attempt_event_id = ?18,
    wanted_since = ?19, wanted_last = ?20, wanted_own = ?21, wanted_foreign = ?22, registers = ?23";

pub(super) fn upsert_key(
    statement: &mut Statement<'_>,
    key: KeyArn,
    state: &KeyState<Rank>,
) -> rusqlite::Result<()> {
    let (own, foreign, wanted) = (state.own_counts(), state.foreign_counts(), state.wanted());
    let (last_use, last_attempt) = (state.last_use(), state.last_attempt());
    statement.execute(params![
        state.row(),
        key.to_string(),
        state.exists(),
        own.uses.cast_signed(),
        own.attempts.cast_signed(),
        own.changes.cast_signed(),
        foreign.uses.cast_signed(),
        foreign.attempts.cast_signed(),
        foreign.changes.cast_signed(),
        state.counts_from().map(EventTime::seconds),
        last_use.map(|rank| rank.time.seconds()),
        last_use.map(Rank::has_principal),
        last_use.map(Rank::has_context),
        last_use.map(|rank| rank.event_id.to_string()),
        last_attempt.map(|rank| rank.time.seconds()),
        last_attempt.map(Rank::has_principal),
        last_attempt.map(Rank::has_context),
        last_attempt.map(|rank| rank.event_id.to_string()),
        wanted.map(|wanted| wanted.since.seconds()),
        wanted.map(|wanted| wanted.last.seconds()),
        wanted.map(|wanted| wanted.own.cast_signed()),
        wanted.map(|wanted| wanted.foreign.cast_signed()),
        state.registers().filter(|registers| **registers != Registers::default()).map(to_json),
    ])?;
    Ok(())
}

/// JSON of something that always has one.
pub(super) fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// What a stored use or attempt is read back as.
pub(super) trait StoredTrace: Trace {
    /// The columns of the texts of last use and last attempt, and the tables they come from.
    const TEXTS: (&'static str, &'static str);

    fn read(rank: Rank, texts: Option<&str>) -> Result<Self, serde_json::Error>;
}

impl StoredTrace for Rank {
    const TEXTS: (&'static str, &'static str) = ("NULL, NULL", "");

    fn read(rank: Rank, _texts: Option<&str>) -> Result<Self, serde_json::Error> {
        Ok(rank)
    }
}

impl StoredTrace for Evidence {
    const TEXTS: (&'static str, &'static str) = (
        "u.texts, a.texts",
        "LEFT JOIN evidence AS u ON u.row = keys.row AND u.kind = 0
         LEFT JOIN evidence AS a ON a.row = keys.row AND a.kind = 1",
    );

    fn read(rank: Rank, texts: Option<&str>) -> Result<Self, serde_json::Error> {
        let texts: EvidenceTexts = serde_json::from_str(texts.unwrap_or("null"))?;
        Ok(Self::new(rank.time, rank.event_id, &texts))
    }
}

/// A key from its row: [`KEY_COLUMNS`], then the two texts.
pub(super) fn key_from<T: StoredTrace>(
    row: &Row<'_>,
    path: &Path,
) -> Result<(KeyArn, KeyState<T>), StoreError> {
    let arn = row.get_ref(1).and_then(|arn| Ok(arn.as_str()?));
    let arn = arn.map_err(|error| super::explain(path, &error))?;
    let key: KeyArn = arn.parse().map_err(|error| StoreError::Corrupt {
        path: path.into(),
        detail: format!("the table keys holds {arn:?}: {error}"),
    })?;
    let state = state_from(row).map_err(|error| super::explain(path, &error))?;
    Ok((key, state))
}

fn state_from<T: StoredTrace>(row: &Row<'_>) -> rusqlite::Result<KeyState<T>> {
    let mut state = KeyState::in_row(row.get(0)?);
    if row.get(2)? {
        state.set_exists();
    }
    state.restore_counts(counts_at(row, 3)?, counts_at(row, 6)?, time_at(row, 9)?);
    state.restore_traces(trace_at(row, 10, 23)?, trace_at(row, 14, 24)?);
    let registers = match row.get_ref(22)?.as_str_or_null()? {
        Some(json) => Some(serde_json::from_str(json).map_err(|error| not_json(22, error))?),
        None => None,
    };
    state.restore_rest(wanted_at(row, 18)?, registers);
    Ok(state)
}

fn counts_at(row: &Row<'_>, first: usize) -> rusqlite::Result<Counts> {
    let count = |column: usize| row.get::<_, i64>(column).map(i64::cast_unsigned);
    Ok(Counts { uses: count(first)?, attempts: count(first + 1)?, changes: count(first + 2)? })
}

fn time_at(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<EventTime>> {
    Ok(row.get::<_, Option<u32>>(column)?.map(EventTime::from_seconds))
}

fn trace_at<T: StoredTrace>(row: &Row<'_>, first: usize, texts: usize) -> rusqlite::Result<Option<T>> {
    let Some(time) = time_at(row, first)? else {
        return Ok(None);
    };
    let event_id = EventId::from(row.get_ref(first + 3)?.as_str()?);
    let rank = Rank::new(time, row.get(first + 1)?, row.get(first + 2)?, event_id);
    let texts_json = row.get_ref(texts)?.as_str_or_null()?;
    T::read(rank, texts_json).map(Some).map_err(|error| not_json(texts, error))
}

fn wanted_at(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<Wanted>> {
    let (Some(since), Some(last)) = (time_at(row, first)?, time_at(row, first + 1)?) else {
        return Ok(None);
    };
    let count = |column: usize| row.get::<_, i64>(column).map(i64::cast_unsigned);
    Ok(Some(Wanted { since, last, own: count(first + 2)?, foreign: count(first + 3)? }))
}

/// A column that should hold JSON and does not.
pub(super) fn not_json(column: usize, error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}
