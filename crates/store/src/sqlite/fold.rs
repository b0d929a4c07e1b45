//! Writing what changed into the tables, in the transaction that moves the fold's position.
//!
//! States are written as they are, so writing them twice changes nothing; counts by day and user are added, which is
//! why the position moves in the same transaction.

use dormouse_ledger::{
    Activity, Copies, DayCounts, DeltaKey, Evidence, EvidenceTexts, Identity, Rank, Remembered, Trace, User,
};
use dormouse_model::EventTime;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::{SqliteOptions, places, rows};
use crate::{Fold, FoldedKey};

/// The name of the fold among the journal's readers.
const READER: &str = "tables";

pub(super) fn write(
    connection: &mut Connection,
    options: &SqliteOptions,
    fold: &Fold,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if position(&transaction)? >= fold.upto {
        return Ok(());
    }
    write_keys(&transaction, options, fold)?;
    write_aliases(&transaction, fold)?;
    for account in &fold.delta.received {
        let mut statement = transaction.prepare_cached("INSERT OR IGNORE INTO received VALUES (?1)")?;
        statement.execute([account.to_string()])?;
    }
    write_ids(&transaction, fold)?;
    places::write(&transaction, &fold.coverage, &fold.checkpoints)?;
    places::write_inventory(&transaction, &fold.inventory)?;
    let meta = "INSERT OR REPLACE INTO meta VALUES (?1, ?2)";
    transaction.execute(meta, params!["totals", rows::to_json(&fold.totals)])?;
    transaction.execute(meta, params!["floor", fold.floor.seconds()])?;
    let sql = "INSERT OR REPLACE INTO positions VALUES (?1, ?2)";
    transaction.execute(sql, params![READER, fold.upto.cast_signed()])?;
    // Pruned behind the slowest reader; the last row stays, because it knows the sequence number.
    let sql = "DELETE FROM journal WHERE seq <= (SELECT min(seq) FROM positions) AND seq < (SELECT max(seq) FROM journal)";
    transaction.execute(sql, [])?;
    transaction.commit()
}

/// Up to which epoch the tables are written.
pub(super) fn position(connection: &Connection) -> rusqlite::Result<u64> {
    let sql = "SELECT coalesce(max(seq), 0) FROM positions WHERE reader = ?1";
    connection.query_row(sql, [READER], |row| row.get(0)).map(i64::cast_unsigned)
}

fn write_keys(transaction: &Transaction<'_>, options: &SqliteOptions, fold: &Fold) -> rusqlite::Result<()> {
    let mut places = places::Numbers::default();
    let mut upsert = transaction.prepare_cached(rows::UPSERT_KEY)?;
    let mut evidence = transaction.prepare_cached("INSERT OR REPLACE INTO evidence VALUES (?1, ?2, ?3)")?;
    for FoldedKey { key, state } in &fold.keys {
        let row = state.row();
        rows::upsert_key(&mut upsert, *key, state)?;
        let Some(changed) = fold.delta.keys.get(key) else {
            continue;
        };
        let traces =
            [(0, &changed.last_use, state.last_use()), (1, &changed.last_attempt, state.last_attempt())];
        for (kind, latest, last) in traces {
            if let Some(texts) = texts_if_last(latest.as_ref(), last) {
                evidence.execute(params![row, kind, rows::to_json(&texts)])?;
            }
        }
        write_days(transaction, options, &mut places, row, &changed.activity)?;
        write_users(transaction, options, row, &changed.activity)?;
        write_changes(transaction, options, row, changed)?;
    }
    Ok(())
}

/// The texts of the latest use or attempt of the span, if it is the last of all.
fn texts_if_last(latest: Option<&Evidence>, last: Option<&Rank>) -> Option<EvidenceTexts> {
    latest.filter(|latest| Some(latest.rank()) == last).map(Evidence::texts)
}

fn write_days(
    transaction: &Transaction<'_>,
    options: &SqliteOptions,
    places: &mut places::Numbers,
    row: u32,
    activity: &Activity,
) -> rusqlite::Result<()> {
    let sql =
        "INSERT INTO days VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT DO UPDATE SET
               uses = uses + ?4, attempts = attempts + ?5, changes = changes + ?6, wanted = wanted + ?7,
               foreign_uses = foreign_uses + ?8, foreign_attempts = foreign_attempts + ?9,
               foreign_changes = foreign_changes + ?10, foreign_wanted = foreign_wanted + ?11";
    let mut add = transaction.prepare_cached(sql)?;
    for (&(day, place), DayCounts { own, foreign }) in &activity.days {
        let place = places.number(transaction, place)?;
        add.execute(params![
            row,
            day,
            place,
            own.uses,
            own.attempts,
            own.changes,
            own.wanted,
            foreign.uses,
            foreign.attempts,
            foreign.changes,
            foreign.wanted,
        ])?;
    }
    if let Some((&(latest, _), _)) = activity.days.last_key_value() {
        let sql = "DELETE FROM days WHERE row = ?1 AND day + ?2 < ?3";
        transaction.prepare_cached(sql)?.execute(params![row, options.keep_days, latest])?;
    }
    Ok(())
}

fn write_users(
    transaction: &Transaction<'_>,
    options: &SqliteOptions,
    row: u32,
    activity: &Activity,
) -> rusqlite::Result<()> {
    if activity.users.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO users VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO UPDATE SET
               first = min(first, ?6), last = max(last, ?7), uses = uses + ?8, attempts = attempts + ?9";
    let mut add = transaction.prepare_cached(sql)?;
    for User { principal, operation, service, foreign, stats } in activity.users.values() {
        let (first, last) = (stats.first.seconds(), stats.last.seconds());
        let (uses, attempts) = (stats.uses.cast_signed(), stats.attempts.cast_signed());
        add.execute(params![row, principal, operation, service, foreign, first, last, uses, attempts])?;
    }
    let dropped = drop_oldest_users(transaction, row, options.users_per_key)?;
    let overflow = dropped + activity.users_overflow.cast_signed();
    if overflow > 0 {
        let sql = "UPDATE keys SET users_overflow = users_overflow + ?2 WHERE row = ?1";
        transaction.prepare_cached(sql)?.execute([i64::from(row), overflow])?;
    }
    Ok(())
}

/// Keeps the users seen most recently, and returns how many observations the others stood for.
fn drop_oldest_users(transaction: &Transaction<'_>, row: u32, most: u32) -> rusqlite::Result<i64> {
    let sql = "SELECT count(*) FROM users WHERE row = ?1";
    let known: u32 = transaction.prepare_cached(sql)?.query_row([row], |row| row.get(0))?;
    if known <= most {
        return Ok(0);
    }
    let sql = "DELETE FROM users WHERE row = ?1 AND (principal, operation, service, is_foreign) IN
               (SELECT principal, operation, service, is_foreign FROM users WHERE row = ?1
                ORDER BY last DESC, principal, operation, service, is_foreign LIMIT -1 OFFSET ?2)
               RETURNING uses + attempts";
    let mut statement = transaction.prepare_cached(sql)?;
    let dropped = statement.query_map([row, most], |row| row.get::<_, i64>(0))?;
    dropped.sum()
}

fn write_changes(
    transaction: &Transaction<'_>,
    options: &SqliteOptions,
    row: u32,
    changed: &DeltaKey,
) -> rusqlite::Result<()> {
    if changed.changes.is_empty() {
        return Ok(());
    }
    let mut add = transaction.prepare_cached("INSERT OR IGNORE INTO changes VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for change in &changed.changes {
        let (at, event_id) = (change.at.seconds(), change.event_id.to_string());
        add.execute(params![row, at, event_id, change.operation, change.principal])?;
    }
    let sql = "DELETE FROM changes WHERE row = ?1 AND (at, event_id) IN
               (SELECT at, event_id FROM changes WHERE row = ?1 ORDER BY at DESC, event_id DESC LIMIT -1 OFFSET ?2)";
    transaction.prepare_cached(sql)?.execute(params![row, options.changes_per_key])?;
    Ok(())
}

fn write_aliases(transaction: &Transaction<'_>, fold: &Fold) -> rusqlite::Result<()> {
    let mut write = transaction.prepare_cached("INSERT OR REPLACE INTO aliases VALUES (?1, ?2, ?3, ?4)")?;
    for ((account, region, name), register) in &fold.aliases {
        write.execute(params![account.to_string(), region.name(), name, rows::to_json(register)])?;
    }
    Ok(())
}

/// Bytes of one id in a chunk: identity, event time, copy.
const ID_BYTES: usize = 16 + 4 + 1;

fn write_ids(transaction: &Transaction<'_>, fold: &Fold) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM ids WHERE latest < ?1", [fold.floor.seconds()])?;
    insert_chunk(transaction, &fold.delta.ids)?;
    let kept: i64 = transaction.query_row("SELECT coalesce(sum(count), 0) FROM ids", [], |row| row.get(0))?;
    // The copies of an id are kept one by one, hence more than the window; beyond that, most is from below the floor.
    let worth_rewriting = 4 * fold.window + 100_000;
    if usize::try_from(kept).unwrap_or(usize::MAX) > worth_rewriting {
        let mut ids = Vec::new();
        read_ids(transaction, fold.floor, &mut ids)?;
        transaction.execute("DELETE FROM ids", [])?;
        insert_chunk(transaction, &ids)?;
    }
    Ok(())
}

fn insert_chunk(transaction: &Transaction<'_>, ids: &[Remembered]) -> rusqlite::Result<()> {
    let Some(latest) = ids.iter().map(|(_, time, _)| time.seconds()).max() else {
        return Ok(());
    };
    let mut body = Vec::with_capacity(ids.len() * ID_BYTES);
    for (id, time, copies) in ids {
        body.extend_from_slice(&id.to_bytes());
        body.extend_from_slice(&time.seconds().to_be_bytes());
        body.push(copies.number());
    }
    let sql = "INSERT INTO ids (latest, count, body) VALUES (?1, ?2, ?3)";
    let count = i64::try_from(ids.len()).unwrap_or(i64::MAX);
    transaction.execute(sql, params![latest, count, body])?;
    Ok(())
}

/// All remembered ids from `floor` on.
pub(super) fn read_ids(
    connection: &Connection,
    floor: EventTime,
    ids: &mut Vec<Remembered>,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("SELECT body FROM ids ORDER BY chunk")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let body = row.get_ref(0)?.as_blob()?;
        let (entries, _) = body.as_chunks::<ID_BYTES>();
        for entry in entries {
            let [id @ .., a, b, c, d, copies] = *entry;
            let time = EventTime::from_seconds(u32::from_be_bytes([a, b, c, d]));
            if time >= floor {
                ids.push((Identity::from_bytes(id), time, Copies::from_number(copies)));
            }
        }
    }
    Ok(())
}
