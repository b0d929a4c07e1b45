//! What is stored by account and Region: the cells of the counts, the coverage; and how far sources have come.

use std::collections::HashMap;

use dormouse_ledger::{CoverageRows, DayCounts, InventoryRows, Shift};
use dormouse_model::{AccountId, Cell, Checkpoint, Place, Region, ShardPosition};
use foldhash::fast::RandomState;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde::de::DeserializeOwned;

use super::{fold, rows};
use crate::CellCounts;

/// The numbers of places, looked up once a transaction.
#[derive(Default)]
pub(super) struct Numbers(HashMap<Place, i64, RandomState>);

impl Numbers {
    /// The number of a place, which is made if it is new.
    pub(super) fn number(&mut self, transaction: &Transaction<'_>, place: Place) -> rusqlite::Result<i64> {
        if let Some(&number) = self.0.get(&place) {
            return Ok(number);
        }
        let (account, region) = (place.account.to_string(), place.region.name());
        let make = "INSERT OR IGNORE INTO places (account, region) VALUES (?1, ?2)";
        transaction.prepare_cached(make)?.execute(params![account, region])?;
        let number = number_of(transaction, place)?.unwrap_or_default();
        self.0.insert(place, number);
        Ok(number)
    }
}

fn number_of(connection: &Connection, place: Place) -> rusqlite::Result<Option<i64>> {
    let find = "SELECT place FROM places WHERE account = ?1 AND region = ?2";
    let mut find = connection.prepare_cached(find)?;
    find.query_row(params![place.account.to_string(), place.region.name()], |row| row.get(0)).optional()
}

/// What the tables have of a cell, and the last epoch that they cover.
pub(super) fn cell(connection: &mut Connection, cell: Cell) -> rusqlite::Result<(u64, CellCounts)> {
    let moment = connection.transaction()?;
    let folded = fold::position(&moment)?;
    let mut counts = CellCounts::default();
    let Some(place) = number_of(&moment, cell.place)? else {
        return Ok((folded, counts));
    };
    let sql = "SELECT d.uses, d.attempts, d.changes, d.wanted, d.foreign_uses, d.foreign_attempts, d.foreign_changes,
                      d.foreign_wanted, arn
               FROM days AS d JOIN keys USING (row) WHERE d.place = ?1 AND d.day = ?2";
    let mut statement = moment.prepare_cached(sql)?;
    let mut found = statement.query(params![place, cell.day])?;
    while let Some(row) = found.next()? {
        if let Ok(key) = row.get_ref(8)?.as_str()?.parse() {
            counts.insert(key, DayCounts { own: shift_at(row, 0)?, foreign: shift_at(row, 4)? });
        }
    }
    Ok((folded, counts))
}

/// Four columns from `first` on: uses, attempts, changes, wanted.
pub(super) fn shift_at(row: &Row<'_>, first: usize) -> rusqlite::Result<Shift> {
    Ok(Shift {
        uses: row.get(first)?,
        attempts: row.get(first + 1)?,
        changes: row.get(first + 2)?,
        wanted: row.get(first + 3)?,
    })
}

/// Writes what is known of places and sources, as it is.
pub(super) fn write(
    transaction: &Transaction<'_>,
    coverage: &CoverageRows,
    checkpoints: &[(Box<str>, Checkpoint)],
) -> rusqlite::Result<()> {
    let mut place = transaction.prepare_cached("INSERT OR REPLACE INTO coverage VALUES (?1, ?2, ?3)")?;
    for (Place { account, region }, known) in &coverage.places {
        place.execute(params![account.to_string(), region.name(), rows::to_json(known)])?;
    }
    let mut source = transaction.prepare_cached("INSERT OR REPLACE INTO sources VALUES (?1, ?2)")?;
    for (name, known) in &coverage.sources {
        source.execute(params![name, rows::to_json(known)])?;
    }
    let mut keep =
        transaction.prepare_cached("INSERT OR REPLACE INTO checkpoints VALUES (?1, ?2, ?3, ?4)")?;
    let forget = "DELETE FROM checkpoints WHERE source = ?1 AND stream = ?2 AND shard = ?3";
    let mut forget = transaction.prepare_cached(forget)?;
    for (source, Checkpoint { stream, shard, at }) in checkpoints {
        if *at == ShardPosition::Forgotten {
            forget.execute(params![source, stream, shard])?;
        } else {
            keep.execute(params![source, stream, shard, rows::to_json(at)])?;
        }
    }
    Ok(())
}

/// Writes what was heard of accounts and their Regions, as it is.
pub(super) fn write_inventory(
    transaction: &Transaction<'_>,
    inventory: &InventoryRows,
) -> rusqlite::Result<()> {
    let mut write = transaction.prepare_cached("INSERT OR REPLACE INTO inventory VALUES (?1, ?2, ?3)")?;
    for (account, known) in &inventory.accounts {
        write.execute(params![account.to_string(), "", rows::to_json(known)])?;
    }
    for (Place { account, region }, known) in &inventory.places {
        write.execute(params![account.to_string(), region.name(), rows::to_json(known)])?;
    }
    Ok(())
}

/// What was heard of accounts and their Regions.
pub(super) fn inventory(connection: &Connection) -> rusqlite::Result<InventoryRows> {
    let mut stored = InventoryRows::default();
    let mut statement = connection.prepare("SELECT account, region, known FROM inventory")?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        let Ok(account) = row.get_ref(0)?.as_str()?.parse::<AccountId>() else { continue };
        let region = row.get_ref(1)?.as_str()?;
        if region.is_empty() {
            stored.accounts.push((account, json_at(row, 2)?));
        } else if let Ok(region) = region.parse::<Region>() {
            stored.places.push((Place { account, region }, json_at(row, 2)?));
        }
    }
    Ok(stored)
}

/// What is known of places and sources.
pub(super) fn coverage(connection: &Connection) -> rusqlite::Result<CoverageRows> {
    let mut stored = CoverageRows::default();
    let mut statement = connection.prepare("SELECT account, region, known FROM coverage")?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        let account: Result<AccountId, _> = row.get_ref(0)?.as_str()?.parse();
        let region: Result<Region, _> = row.get_ref(1)?.as_str()?.parse();
        if let (Ok(account), Ok(region)) = (account, region) {
            stored.places.push((Place { account, region }, json_at(row, 2)?));
        }
    }
    let mut statement = connection.prepare("SELECT name, known FROM sources")?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        stored.sources.push((row.get::<_, Box<str>>(0)?, json_at(row, 1)?));
    }
    Ok(stored)
}

/// How far sources have come.
pub(super) fn checkpoints(connection: &Connection) -> rusqlite::Result<Vec<(Box<str>, Checkpoint)>> {
    let mut statement = connection.prepare("SELECT source, stream, shard, position FROM checkpoints")?;
    let found = statement.query_map([], |row| {
        Ok((row.get(0)?, Checkpoint { stream: row.get(1)?, shard: row.get(2)?, at: json_at(row, 3)? }))
    })?;
    found.collect()
}

fn json_at<V: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<V> {
    serde_json::from_str(row.get_ref(column)?.as_str()?).map_err(|error| rows::not_json(column, error))
}
