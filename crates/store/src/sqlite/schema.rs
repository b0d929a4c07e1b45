//! The tables, and how older files become current ones.
//!
//! Times are seconds since 1970; the views show them as text for people who open the file with `sqlite3`.

use std::path::Path;

use rusqlite::{Connection, Transaction};

use super::explain;
use crate::StoreError;

/// "DORM": tells the file from other people's databases.
const APPLICATION_ID: i64 = 0x444f_524d;

/// Each step takes a file from format N to N + 1. A released step is never edited.
const MIGRATIONS: &[&str] = &[FORMAT_1, FORMAT_2, FORMAT_3];

const FORMAT_1: &str = "
    -- One value a name: writer, floor, totals.
    CREATE TABLE meta (name TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;

    -- The spine: one row an epoch.
    CREATE TABLE journal (
        seq INTEGER PRIMARY KEY, writer TEXT NOT NULL, sealed_at INTEGER NOT NULL, body BLOB NOT NULL
    ) STRICT;

    -- Up to which epoch each reader of the journal has come.
    CREATE TABLE positions (reader TEXT PRIMARY KEY, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;

    -- One row a key; is_key = 0 for ARNs that were only tried.
    CREATE TABLE keys (
        row INTEGER PRIMARY KEY,
        arn TEXT NOT NULL UNIQUE,
        is_key INTEGER NOT NULL,
        uses INTEGER NOT NULL, attempts INTEGER NOT NULL, changes INTEGER NOT NULL,
        foreign_uses INTEGER NOT NULL, foreign_attempts INTEGER NOT NULL, foreign_changes INTEGER NOT NULL,
        counts_from INTEGER,
        use_at INTEGER, use_has_principal INTEGER, use_has_context INTEGER, use_event_id TEXT,
        attempt_at INTEGER, attempt_has_principal INTEGER, attempt_has_context INTEGER, attempt_event_id TEXT,
        wanted_since INTEGER, wanted_last INTEGER, wanted_own INTEGER, wanted_foreign INTEGER,
        registers TEXT,
        users_overflow INTEGER NOT NULL DEFAULT 0
    ) STRICT;

    -- The texts of the last use (kind 0) and the last attempt (kind 1) of a key, as JSON.
    CREATE TABLE evidence (
        row INTEGER NOT NULL, kind INTEGER NOT NULL, texts TEXT NOT NULL, PRIMARY KEY (row, kind)
    ) STRICT, WITHOUT ROWID;

    -- Counts by day (days since 1970).
    CREATE TABLE days (
        row INTEGER NOT NULL, day INTEGER NOT NULL,
        uses INTEGER NOT NULL, attempts INTEGER NOT NULL, changes INTEGER NOT NULL,
        foreign_uses INTEGER NOT NULL, foreign_attempts INTEGER NOT NULL, foreign_changes INTEGER NOT NULL,
        PRIMARY KEY (row, day)
    ) STRICT, WITHOUT ROWID;

    -- Who used a key how; is_foreign = 1 as seen from the caller's account.
    CREATE TABLE users (
        row INTEGER NOT NULL, principal TEXT NOT NULL, operation TEXT NOT NULL, service TEXT NOT NULL,
        is_foreign INTEGER NOT NULL,
        first INTEGER NOT NULL, last INTEGER NOT NULL, uses INTEGER NOT NULL, attempts INTEGER NOT NULL,
        PRIMARY KEY (row, principal, operation, service, is_foreign)
    ) STRICT, WITHOUT ROWID;

    -- The changes of a key.
    CREATE TABLE changes (
        row INTEGER NOT NULL, at INTEGER NOT NULL, event_id TEXT NOT NULL,
        operation TEXT NOT NULL, principal TEXT,
        PRIMARY KEY (row, at, event_id)
    ) STRICT, WITHOUT ROWID;

    -- Which key an alias points to (none: a tombstone), as a register in JSON.
    CREATE TABLE aliases (
        account TEXT NOT NULL, region TEXT NOT NULL, name TEXT NOT NULL, register TEXT NOT NULL,
        PRIMARY KEY (account, region, name)
    ) STRICT, WITHOUT ROWID;

    -- Accounts whose own records arrive here.
    CREATE TABLE received (account TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;

    -- Ids of counted observations, in chunks of 21 bytes each: identity, event time, copy.
    CREATE TABLE ids (chunk INTEGER PRIMARY KEY, latest INTEGER NOT NULL, count INTEGER NOT NULL, body BLOB NOT NULL) STRICT;

    -- Messages that could not be applied.
    CREATE TABLE quarantine (
        id INTEGER PRIMARY KEY AUTOINCREMENT, digest BLOB NOT NULL UNIQUE,
        source TEXT NOT NULL, at INTEGER NOT NULL, last INTEGER NOT NULL, seen INTEGER NOT NULL,
        reason TEXT NOT NULL, detail TEXT NOT NULL,
        event_id TEXT, account TEXT, region TEXT, retry_at INTEGER, body BLOB NOT NULL
    ) STRICT;
    CREATE INDEX quarantine_retry ON quarantine (retry_at) WHERE retry_at IS NOT NULL;

    CREATE VIEW key_usage AS
        SELECT arn, uses, attempts, changes, datetime(use_at, 'unixepoch') AS last_use,
               datetime(attempt_at, 'unixepoch') AS last_attempt
        FROM keys WHERE is_key ORDER BY use_at DESC;
    CREATE VIEW key_days AS
        SELECT arn, date(day * 86400, 'unixepoch') AS day, d.uses, d.attempts, d.changes
        FROM days AS d JOIN keys USING (row) ORDER BY arn, day;
";

const FORMAT_2: &str = "
    -- Accounts and Regions that log, by number.
    CREATE TABLE places (
        place INTEGER PRIMARY KEY, account TEXT NOT NULL, region TEXT NOT NULL, UNIQUE (account, region)
    ) STRICT;
    -- A key is named arn:PARTITION:kms:REGION:ACCOUNT:key/ID, and was logged there as far as format 1 knew.
    INSERT OR IGNORE INTO places (account, region)
        SELECT substr(rest, instr(rest, ':') + 1, 12), substr(rest, 1, instr(rest, ':') - 1)
        FROM (SELECT substr(arn, instr(arn, ':kms:') + 5) AS rest FROM keys);

    -- Counts by day (days since 1970) and by where it was logged.
    DROP VIEW key_days;
    ALTER TABLE days RENAME TO days_1;
    CREATE TABLE days (
        row INTEGER NOT NULL, day INTEGER NOT NULL, place INTEGER NOT NULL,
        uses INTEGER NOT NULL, attempts INTEGER NOT NULL, changes INTEGER NOT NULL, wanted INTEGER NOT NULL,
        foreign_uses INTEGER NOT NULL, foreign_attempts INTEGER NOT NULL, foreign_changes INTEGER NOT NULL,
        foreign_wanted INTEGER NOT NULL,
        PRIMARY KEY (row, day, place)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO days
        SELECT row, day, place, d.uses, d.attempts, d.changes, 0, d.foreign_uses, d.foreign_attempts, d.foreign_changes, 0
        FROM days_1 AS d
        JOIN (SELECT row, substr(arn, instr(arn, ':kms:') + 5) AS rest FROM keys) USING (row)
        JOIN places ON account = substr(rest, instr(rest, ':') + 1, 12) AND region = substr(rest, 1, instr(rest, ':') - 1);
    DROP TABLE days_1;
    CREATE INDEX days_of_cell ON days (place, day);
    CREATE VIEW key_days AS
        SELECT arn, date(day * 86400, 'unixepoch') AS day, sum(d.uses) AS uses, sum(d.attempts) AS attempts,
               sum(d.changes) AS changes
        FROM days AS d JOIN keys USING (row) GROUP BY arn, d.day ORDER BY arn, d.day;

    -- What was received from a place, and what history proves of it, as JSON.
    CREATE TABLE coverage (
        account TEXT NOT NULL, region TEXT NOT NULL, known TEXT NOT NULL, PRIMARY KEY (account, region)
    ) STRICT, WITHOUT ROWID;
    -- What a source said of its completeness, as JSON.
    CREATE TABLE sources (name TEXT PRIMARY KEY, known TEXT NOT NULL) STRICT, WITHOUT ROWID;
    -- How far a source has come in each shard of a stream, as JSON.
    CREATE TABLE checkpoints (
        source TEXT NOT NULL, stream TEXT NOT NULL, shard TEXT NOT NULL, position TEXT NOT NULL,
        PRIMARY KEY (source, stream, shard)
    ) STRICT, WITHOUT ROWID;
";

const FORMAT_3: &str = "
    -- What was heard of accounts (region is empty) and their Regions by asking AWS, as JSON.
    CREATE TABLE inventory (
        account TEXT NOT NULL, region TEXT NOT NULL, known TEXT NOT NULL, PRIMARY KEY (account, region)
    ) STRICT, WITHOUT ROWID;

    -- Which events a quarantined message holds that were not applied, as far as that can be read; they are looked at all
    -- together, without the bodies.
    ALTER TABLE quarantine ADD COLUMN first_event INTEGER;
    ALTER TABLE quarantine ADD COLUMN last_event INTEGER;
    ALTER TABLE quarantine ADD COLUMN key TEXT;
    CREATE INDEX quarantine_events ON quarantine (account, region, key, reason, first_event, last_event, last);
";

/// Brings an empty or older file to the current format.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let outcome = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate);
    let transaction = outcome.map_err(|error| explain(path, &error))?;
    let format = format_of(&transaction, path)?;
    run_from(&transaction, format).map_err(|error| explain(path, &error))?;
    transaction.commit().map_err(|error| explain(path, &error))
}

fn run_from(transaction: &Transaction<'_>, format: usize) -> rusqlite::Result<()> {
    for (sql, next_format) in MIGRATIONS.iter().zip(1i64..).skip(format) {
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "user_version", next_format)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)
}

/// Refuses a file that is not one of ours, or of a newer format.
pub(super) fn recognise(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    format_of(connection, path).map(|_| ())
}

/// Refuses a file that this build cannot read.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let format = format_of(connection, path)?;
    if format == MIGRATIONS.len() {
        return Ok(());
    }
    let detail = format!("the store has format {format}; `dormouse run` brings it to {}", MIGRATIONS.len());
    Err(StoreError::Other { path: path.into(), detail })
}

/// The file's format: 0 for a new one.
fn format_of(connection: &Connection, path: &Path) -> Result<usize, StoreError> {
    let read = || -> rusqlite::Result<(i64, i64, i64)> {
        let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get(0));
        let tables = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        Ok((pragma("application_id")?, pragma("user_version")?, tables))
    };
    let (application, version, tables) = read().map_err(|error| explain(path, &error))?;
    let is_new = application == 0 && version == 0 && tables == 0;
    if !is_new && application != APPLICATION_ID {
        return Err(StoreError::Foreign { path: path.into() });
    }
    let known = MIGRATIONS.len();
    usize::try_from(version).ok().filter(|&version| version <= known).ok_or_else(|| StoreError::Newer {
        path: path.into(),
        found: version,
        known: i64::try_from(known).unwrap_or(i64::MAX),
    })
}
