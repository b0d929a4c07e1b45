//! Reading the tables back at a start.

use std::ops::Range;
use std::panic::resume_unwind;
use std::path::Path;
use std::thread::available_parallelism;

use dormouse_ledger::{AliasName, AliasWrites, KeyState, Rank};
use dormouse_model::{AccountId, EventTime, KeyArn};
use rusqlite::{Connection, OptionalExtension};

use super::rows::{self, KEY_COLUMNS, StoredTrace};
use super::{explain, fold, open_read_only, places};
use crate::{EachKey, Loaded, StoreError, Totals};

/// So many keys are worth a thread of their own.
const KEYS_A_THREAD: u32 = 50_000;

/// Every key, tried ones included, read by several threads over a connection each.
pub(super) fn keys_in_parallel(path: &Path, each: &EachKey<'_>) -> Result<(), StoreError> {
    let last = open_read_only(path)
        .and_then(|connection| last_row(&connection).map_err(|error| explain(path, &error)))?;
    let cores = available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1));
    let threads = cores.min(last / KEYS_A_THREAD + 1);
    let span = last.div_ceil(threads).max(1);
    let read = |thread: u32| {
        let rows = thread * span..(thread + 1) * span;
        keys::<Rank>(&open_read_only(path)?, path, &rows, &mut |key, state| {
            each(key, state);
        })
    };
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|thread| scope.spawn(move || read(thread))).collect();
        handles.into_iter().try_for_each(|handle| handle.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

/// The highest row of a key.
fn last_row(connection: &Connection) -> rusqlite::Result<u32> {
    connection.query_row("SELECT coalesce(max(row), 0) FROM keys", [], |row| row.get(0))
}

/// The keys in the rows behind the range's start up to and with its end, tried ones included.
pub(super) fn keys<T: StoredTrace>(
    connection: &Connection,
    path: &Path,
    rows: &Range<u32>,
    each: &mut dyn FnMut(KeyArn, KeyState<T>),
) -> Result<(), StoreError> {
    let (texts, tables) = T::TEXTS;
    let columns = KEY_COLUMNS.replacen("row", "keys.row", 1);
    let sql = format!(
        "SELECT {columns}, {texts} FROM keys {tables} WHERE keys.row > ?1 AND keys.row <= ?2 ORDER BY keys.row"
    );
    let broken = |error: rusqlite::Error| explain(path, &error);
    let mut statement = connection.prepare_cached(&sql).map_err(broken)?;
    let mut rows = statement.query([rows.start, rows.end]).map_err(broken)?;
    while let Some(row) = rows.next().map_err(broken)? {
        let (key, state) = rows::key_from(row, path)?;
        each(key, state);
    }
    Ok(())
}

/// Everything but the keys and the journal.
pub(super) fn rest(connection: &Connection) -> rusqlite::Result<Loaded> {
    let floor = meta::<u32>(connection, "floor")?.map(EventTime::from_seconds).unwrap_or_default();
    let mut ids = Vec::new();
    fold::read_ids(connection, floor, &mut ids)?;
    let folded = fold::position(connection)?;
    let last: i64 =
        connection.query_row("SELECT coalesce(max(seq), 0) FROM journal", [], |row| row.get(0))?;
    Ok(Loaded {
        folded,
        keys: usize::try_from(last_row(connection)?).unwrap_or(0),
        last_seq: folded.max(last.cast_unsigned()),
        floor,
        ids,
        aliases: aliases(connection)?,
        received: received(connection)?,
        totals: totals(connection)?,
        coverage: places::coverage(connection)?,
        inventory: places::inventory(connection)?,
        checkpoints: places::checkpoints(connection)?,
    })
}

fn meta<V: rusqlite::types::FromSql>(connection: &Connection, name: &str) -> rusqlite::Result<Option<V>> {
    connection.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0)).optional()
}

fn totals(connection: &Connection) -> rusqlite::Result<Totals> {
    let Some(json) = meta::<String>(connection, "totals")? else {
        return Ok(Totals::default());
    };
    serde_json::from_str(&json).map_err(|error| rows::not_json(0, error))
}

fn received(connection: &Connection) -> rusqlite::Result<Vec<AccountId>> {
    let mut statement = connection.prepare("SELECT account FROM received")?;
    let accounts = statement.query_map([], |row| Ok(row.get_ref(0)?.as_str()?.parse().ok()))?;
    accounts.filter_map(Result::transpose).collect()
}

fn aliases(connection: &Connection) -> rusqlite::Result<Vec<(AliasName, AliasWrites)>> {
    let mut statement = connection.prepare("SELECT account, region, name, register FROM aliases")?;
    let mut rows = statement.query([])?;
    let mut aliases = Vec::new();
    while let Some(row) = rows.next()? {
        let account = row.get_ref(0)?.as_str()?.parse();
        let region = row.get_ref(1)?.as_str()?.parse();
        let register =
            serde_json::from_str(row.get_ref(3)?.as_str()?).map_err(|error| rows::not_json(3, error))?;
        if let (Ok(account), Ok(region)) = (account, region) {
            aliases.push(((account, region, row.get_ref(2)?.as_str()?.into()), register));
        }
    }
    Ok(aliases)
}
