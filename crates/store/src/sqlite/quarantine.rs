//! The quarantine's table. The same message received again is one row that counts.

use dormouse_model::EventTime;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use xxhash_rust::xxh3::xxh3_128;

use crate::{Quarantined, StoredQuarantined};

/// Keeps a message and returns by how many bytes the quarantine grew.
pub(super) fn keep(transaction: &Transaction<'_>, message: &Quarantined) -> rusqlite::Result<u64> {
    let digest = xxh3_128(&message.body).to_be_bytes();
    let again =
        "UPDATE quarantine SET seen = seen + 1, last = max(last, ?2), retry_at = ?3, reason = ?4, detail = ?5
                 WHERE digest = ?1";
    let retry_at = message.retry_at.map(EventTime::seconds);
    let known = params![digest, message.at.seconds(), retry_at, message.reason, message.detail];
    if transaction.prepare_cached(again)?.execute(known)? == 1 {
        return Ok(0);
    }
    let new = "INSERT INTO quarantine
               (digest, source, at, last, seen, reason, detail, event_id, account, region, retry_at, body)
               VALUES (?1, ?2, ?3, ?3, 1, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    transaction.prepare_cached(new)?.execute(params![
        digest,
        message.source,
        message.at.seconds(),
        message.reason,
        message.detail,
        message.event_id,
        message.account,
        message.region,
        retry_at,
        message.body,
    ])?;
    Ok(message.body.len() as u64)
}

/// Removes a message and returns by how many bytes the quarantine shrank.
pub(super) fn remove(transaction: &Transaction<'_>, id: i64) -> rusqlite::Result<u64> {
    let sql = "DELETE FROM quarantine WHERE id = ?1 RETURNING length(body)";
    let bytes: Option<i64> = transaction.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()?;
    Ok(bytes.unwrap_or(0).cast_unsigned())
}

/// How many bytes of bodies are kept.
pub(super) fn total_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let sql = "SELECT coalesce(sum(length(body)), 0) FROM quarantine";
    connection.query_row(sql, [], |row| row.get(0)).map(i64::cast_unsigned)
}

const COLUMNS: &str =
    "id, source, at, last, seen, reason, detail, event_id, account, region, retry_at, length(body)";

/// Messages whose time to be tried again has come, the longest waiting first.
pub(super) fn due(
    connection: &Connection,
    now: EventTime,
    most: usize,
) -> rusqlite::Result<Vec<StoredQuarantined>> {
    let sql =
        format!("SELECT {COLUMNS}, body FROM quarantine WHERE retry_at <= ?1 ORDER BY retry_at, id LIMIT ?2");
    let mut statement = connection.prepare_cached(&sql)?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    statement.query_map(params![now.seconds(), most], from_row)?.collect()
}

/// The message with this number.
pub(super) fn one(connection: &Connection, id: i64) -> rusqlite::Result<Option<StoredQuarantined>> {
    let sql = format!("SELECT {COLUMNS}, body FROM quarantine WHERE id = ?1");
    connection.prepare_cached(&sql)?.query_row([id], from_row).optional()
}

/// Messages behind `after`, in the order in which they came, without their bodies.
pub(super) fn list(
    connection: &Connection,
    after: i64,
    most: usize,
) -> rusqlite::Result<Vec<StoredQuarantined>> {
    let sql = format!("SELECT {COLUMNS}, x'' FROM quarantine WHERE id > ?1 ORDER BY id LIMIT ?2");
    let mut statement = connection.prepare(&sql)?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    statement.query_map(params![after, most], from_row)?.collect()
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<StoredQuarantined> {
    let message = Quarantined {
        source: row.get(1)?,
        at: EventTime::from_seconds(row.get(2)?),
        reason: row.get(5)?,
        detail: row.get(6)?,
        event_id: row.get(7)?,
        account: row.get(8)?,
        region: row.get(9)?,
        retry_at: row.get::<_, Option<u32>>(10)?.map(EventTime::from_seconds),
        body: row.get(12)?,
    };
    Ok(StoredQuarantined {
        id: row.get(0)?,
        message,
        last: EventTime::from_seconds(row.get(3)?),
        seen: row.get::<_, i64>(4)?.cast_unsigned(),
        bytes: row.get::<_, i64>(11)?.cast_unsigned(),
    })
}
