//! Reading the tables back at a start.

use std::path::Path;

use dormouse_ledger::{AliasName, KeyState, Register};
use dormouse_model::{AccountId, EventTime, KeyArn};
use rusqlite::{Connection, OptionalExtension};

use super::rows::{self, KEY_COLUMNS, StoredTrace};
use super::{explain, fold};
use crate::{Loaded, StoreError, Totals};

/// Every key, tried ones included.
pub(super) fn keys<T: StoredTrace>(
    connection: &Connection,
    path: &Path,
    each: &mut dyn FnMut(KeyArn, KeyState<T>),
) -> Result<(), StoreError> {
    let (texts, tables) = T::TEXTS;
    let columns = KEY_COLUMNS.replacen("row", "keys.row", 1);
    let sql = format!("SELECT {columns}, {texts} FROM keys {tables} ORDER BY keys.row");
    let broken = |error: rusqlite::Error| explain(path, &error);
    let mut statement = connection.prepare(&sql).map_err(broken)?;
    let mut rows = statement.query([]).map_err(broken)?;
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
    let last: i64 = connection.query_row("SELECT coalesce(max(seq), 0) FROM journal", [], |row| row.get(0))?;
    Ok(Loaded {
        folded,
        last_seq: folded.max(last.cast_unsigned()),
        floor,
        ids,
        aliases: aliases(connection)?,
        received: received(connection)?,
        totals: totals(connection)?,
    })
}

fn meta<V: rusqlite::types::FromSql>(connection: &Connection, name: &str) -> rusqlite::Result<Option<V>> {
    connection.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0)).optional()
}

fn totals(connection: &Connection) -> rusqlite::Result<Totals> {
    let Some(json) = meta::<String>(connection, "totals")? else { return Ok(Totals::default()) };
    serde_json::from_str(&json).map_err(|error| rows::not_json(0, error))
}

fn received(connection: &Connection) -> rusqlite::Result<Vec<AccountId>> {
    let mut statement = connection.prepare("SELECT account FROM received")?;
    let accounts = statement.query_map([], |row| Ok(row.get_ref(0)?.as_str()?.parse().ok()))?;
    accounts.filter_map(Result::transpose).collect()
}

fn aliases(connection: &Connection) -> rusqlite::Result<Vec<(AliasName, Register<Option<KeyArn>>)>> {
    let mut statement = connection.prepare("SELECT account, region, name, register FROM aliases")?;
    let mut rows = statement.query([])?;
    let mut aliases = Vec::new();
    while let Some(row) = rows.next()? {
        let account = row.get_ref(0)?.as_str()?.parse();
        let region = row.get_ref(1)?.as_str()?.parse();
        let register = serde_json::from_str(row.get_ref(3)?.as_str()?).map_err(|error| rows::not_json(3, error))?;
        if let (Ok(account), Ok(region)) = (account, region) {
            aliases.push(((account, region, row.get_ref(2)?.as_str()?.into()), register));
        }
    }
    Ok(aliases)
}
