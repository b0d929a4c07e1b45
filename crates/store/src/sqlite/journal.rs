//! Appending epochs and reading them back.

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::quarantine;
use crate::Epoch;

/// What became of an append.
pub(super) enum Appended {
    Done { quarantine_grew: u64, quarantine_shrank: u64 },
    Fenced,
}

/// Takes over as the writer; whoever was it before is fenced.
pub(super) fn become_the_writer(connection: &Connection) -> rusqlite::Result<String> {
    let writer = format!("{:016x}", fastrand::u64(..));
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('writer', ?1)", [&writer])?;
    Ok(writer)
}

/// The store's own id, made when it is first asked for.
pub(super) fn id_of_store(connection: &Connection) -> rusqlite::Result<String> {
    let id = format!("{:016x}", fastrand::u64(..));
    connection.execute("INSERT OR IGNORE INTO meta VALUES ('id', ?1)", [&id])?;
    connection.query_row("SELECT value FROM meta WHERE name = 'id'", [], |row| row.get(0))
}

/// Appends one epoch with its quarantined messages, all or nothing, durable when it returns.
pub(super) fn append(
    connection: &mut Connection,
    writer: &str,
    epoch: &Epoch<'_>,
) -> rusqlite::Result<Appended> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if !is_the_writer(&transaction, writer)? {
        return Ok(Appended::Fenced);
    }
    let (mut quarantine_grew, mut quarantine_shrank) = (0, 0);
    if insert(&transaction, writer, epoch)? {
        for message in epoch.quarantine {
            quarantine_grew += quarantine::keep(&transaction, message)?;
        }
        for &id in epoch.released {
            quarantine_shrank += quarantine::remove(&transaction, id)?;
        }
    }
    transaction.commit()?;
    Ok(Appended::Done { quarantine_grew, quarantine_shrank })
}

fn is_the_writer(transaction: &Transaction<'_>, writer: &str) -> rusqlite::Result<bool> {
    let mut statement = transaction.prepare_cached("SELECT value FROM meta WHERE name = 'writer'")?;
    let current: Option<String> = statement.query_row([], |row| row.get(0)).optional()?;
    Ok(current.as_deref() == Some(writer))
}

/// False if the epoch is there already.
fn insert(transaction: &Transaction<'_>, writer: &str, epoch: &Epoch<'_>) -> rusqlite::Result<bool> {
    let sql = "INSERT INTO journal VALUES (?1, ?2, ?3, ?4) ON CONFLICT (seq) DO NOTHING";
    let mut statement = transaction.prepare_cached(sql)?;
    let rows =
        statement.execute(params![epoch.seq.cast_signed(), writer, epoch.sealed_at.seconds(), epoch.body])?;
    Ok(rows == 1)
}

/// The epochs after `seq`, in order.
pub(super) fn after(
    connection: &Connection,
    seq: u64,
    each: &mut dyn FnMut(u64, &[u8]),
) -> rusqlite::Result<()> {
    let mut statement =
        connection.prepare_cached("SELECT seq, body FROM journal WHERE seq > ?1 ORDER BY seq")?;
    let mut rows = statement.query([seq.cast_signed()])?;
    while let Some(row) = rows.next()? {
        let seq: i64 = row.get(0)?;
        each(seq.cast_unsigned(), row.get_ref(1)?.as_blob()?);
    }
    Ok(())
}
