//! The quarantine's table. The same message received again is one row that counts.

use dormouse_ledger::Unread;
use dormouse_model::{EventTime, Place};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use xxhash_rust::xxh3::xxh3_128;

use crate::{Quarantined, StoredQuarantined};

/// Keeps a message and returns by how many bytes the quarantine grew.
pub(super) fn keep(transaction: &Transaction<'_>, message: &Quarantined) -> rusqlite::Result<u64> {
    let digest = xxh3_128(&message.body).to_be_bytes();
    let again =
        "UPDATE quarantine SET seen = seen + 1, last = max(last, ?2), retry_at = ?3, reason = ?4, detail = ?5,
                                account = ?6, region = ?7, first_event = ?8, last_event = ?9, key = ?10
                 WHERE digest = ?1";
    let retry_at = message.retry_at.map(EventTime::seconds);
    let [first_event, last_event] =
        [message.first_event, message.last_event].map(|time| time.map(EventTime::seconds));
    let known = params![
        digest,
        message.at.seconds(),
        retry_at,
        message.reason,
        message.detail,
        message.account,
        message.region,
        first_event,
        last_event,
        message.key,
    ];
    if transaction.prepare_cached(again)?.execute(known)? == 1 {
        return Ok(0);
    }
    let new = "INSERT INTO quarantine
               (digest, source, at, last, seen, reason, detail, event_id, account, region, retry_at, body, first_event, last_event,
                key)
               VALUES (?1, ?2, ?3, ?3, 1, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
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
        first_event,
        last_event,
        message.key,
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
    "id, source, at, last, seen, reason, detail, event_id, account, region, retry_at, length(body), first_event,
     last_event, key";

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

/// So many groups are read one by one; what is beyond them holds for all accounts and Regions.
const MOST_GROUPS: i64 = 20_000;

/// What the messages hold that was not applied, those of the same key or place, reason and hour together.
pub(super) fn unread(connection: &Connection) -> rusqlite::Result<Vec<Unread>> {
    let sql = "SELECT account, region, key, reason, min(first_event), max(last_event), max(last),
                      count(*) = count(first_event) AND count(*) = count(last_event)
               FROM quarantine GROUP BY account, region, key, reason, first_event / 3600 LIMIT ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([MOST_GROUPS + 1])?;
    let mut unread: Vec<Unread> = Vec::new();
    while let Some(row) = rows.next()? {
        let text = |column: usize| row.get_ref(column)?.as_str_or_null().map_err(rusqlite::Error::from);
        let knows_times: bool = row.get(7)?;
        unread.push(Unread {
            account: text(0)?.and_then(|account| account.parse().ok()),
            region: text(1)?.and_then(|region| region.parse().ok()),
            key: text(2)?.and_then(|key| key.parse().ok()),
            events: time_at(row, 4)?.zip(time_at(row, 5)?).filter(|_| knows_times),
            received: time_at(row, 6)?.unwrap_or_default(),
            reason: row.get(3)?,
        });
    }
    if let Ok(most) = usize::try_from(MOST_GROUPS)
        && unread.len() > most
    {
        let sql = "SELECT max(last) FROM quarantine";
        let received: u32 = connection.query_row(sql, [], |row| row.get(0))?;
        let received = EventTime::from_seconds(received);
        let reason = "and more";
        unread.push(Unread {
            account: None,
            region: None,
            key: None,
            events: None,
            received,
            reason: reason.into(),
        });
    }
    Ok(unread)
}

/// Messages of this place that were kept for this reason are to be tried again at this time.
pub(super) fn retry_at(
    connection: &Connection,
    reason: &str,
    place: Place,
    at: EventTime,
) -> rusqlite::Result<()> {
    let sql = "UPDATE quarantine SET retry_at = ?4
               WHERE reason = ?1 AND account = ?2 AND region = ?3 AND retry_at > ?4";
    let place = (place.account.to_string(), place.region.name());
    connection.prepare_cached(sql)?.execute(params![reason, place.0, place.1, at.seconds()])?;
    Ok(())
}

fn time_at(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<EventTime>> {
    Ok(row.get::<_, Option<u32>>(column)?.map(EventTime::from_seconds))
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
        retry_at: time_at(row, 10)?,
        first_event: time_at(row, 12)?,
        last_event: time_at(row, 13)?,
        key: row.get(14)?,
        body: row.get(15)?,
    };
    Ok(StoredQuarantined {
        id: row.get(0)?,
        message,
        last: EventTime::from_seconds(row.get(3)?),
        seen: row.get::<_, i64>(4)?.cast_unsigned(),
        bytes: row.get::<_, i64>(11)?.cast_unsigned(),
    })
}
