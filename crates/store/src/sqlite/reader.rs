//! Reading a store beside its writer: one consistent moment, nothing written.

use std::path::{Path, PathBuf};

use dormouse_ledger::{DayCounts, Evidence, KeyState, Unread};
use dormouse_model::{EventTime, KeyArn};
use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};

use super::{explain, fold, journal, load, open_read_only, places, quarantine};
use crate::{Loaded, StoreError, StoredQuarantined};

/// A view of the store as it was when it was opened.
pub struct Reader {
    path: PathBuf,
    connection: Connection,
}

/// What was counted on one day, in the key's own account and in second copies elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDay {
    /// Days since 1970.
    pub day: u32,
    /// What was counted.
    pub counts: DayCounts,
}

/// A user of a key, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredUser {
    /// The stable principal; null if unknown.
    pub principal: Option<String>,
    /// The operation.
    pub operation: String,
    /// The service that called on the principal's behalf; null if none.
    pub service: Option<String>,
    /// Seen from the caller's account.
    pub foreign: bool,
    /// The first time.
    pub first: EventTime,
    /// The last time.
    pub last: EventTime,
    /// Uses.
    pub uses: u64,
    /// Attempts.
    pub attempts: u64,
}

/// A change of a key, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredChange {
    /// When.
    pub at: EventTime,
    /// Which event.
    pub event_id: String,
    /// The operation or service event.
    pub operation: String,
    /// Who, if the record says.
    pub principal: Option<String>,
}

/// The history of one key up to the last fold.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Counts by day, the oldest first.
    pub days: Vec<StoredDay>,
    /// Users, the most recent first.
    pub users: Vec<StoredUser>,
    /// Observations by users for which there was no room.
    pub users_overflow: u64,
    /// Changes, the oldest first.
    pub changes: Vec<StoredChange>,
}

impl Reader {
    /// Opens the store without writing to it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let reader = Self { path: path.into(), connection: open_read_only(path)? };
        reader.begin()?;
        Ok(reader)
    }

    /// One read transaction from here to [`Reader::end`]: tables and journal are of the same moment.
    pub(super) fn begin(&self) -> Result<(), StoreError> {
        self.connection
            .execute_batch("BEGIN; SELECT count(*) FROM meta;")
            .map_err(|error| self.explain(&error))
    }

    /// Lets go of the moment: while it is held, the writer's log cannot be shortened.
    pub(super) fn end(&self) -> Result<(), StoreError> {
        self.connection.execute_batch("COMMIT;").map_err(|error| self.explain(&error))
    }

    /// The store's own id; `None` if nobody has opened it for writing since stores have one.
    pub fn id(&self) -> Result<Option<String>, StoreError> {
        let sql = "SELECT value FROM meta WHERE name = 'id'";
        let id = self.connection.query_row(sql, [], |row| row.get(0)).optional();
        id.map_err(|error| self.explain(&error))
    }

    /// The last epoch that the tables cover.
    pub fn folded(&self) -> Result<u64, StoreError> {
        fold::position(&self.connection).map_err(|error| self.explain(&error))
    }

    /// The key in this row with its texts, as of the last fold.
    pub fn key(&self, row: u32) -> Result<Option<KeyState<Evidence>>, StoreError> {
        let mut found = None;
        let one = row.saturating_sub(1)..row;
        load::keys::<Evidence>(&self.connection, &self.path, &one, &mut |_, state| found = Some(state))?;
        Ok(found)
    }

    /// Every stored key with its texts, as of the last fold.
    pub fn keys(&self, each: &mut dyn FnMut(KeyArn, KeyState<Evidence>)) -> Result<(), StoreError> {
        load::keys::<Evidence>(&self.connection, &self.path, &(0..u32::MAX), each)
    }

    /// Everything else as of the last fold.
    pub fn rest(&self) -> Result<Loaded, StoreError> {
        load::rest(&self.connection).map_err(|error| self.explain(&error))
    }

    /// The epochs since the last fold, in order.
    pub fn journal_after(&self, seq: u64, each: &mut dyn FnMut(u64, &[u8])) -> Result<(), StoreError> {
        journal::after(&self.connection, seq, each).map_err(|error| self.explain(&error))
    }

    /// The history of the key in this row, as of the last fold.
    pub fn history(&self, row: u32) -> Result<History, StoreError> {
        self.read_history(row).map_err(|error| self.explain(&error))
    }

    /// Quarantined messages after number `after`, in the order in which they came, without their bodies.
    pub fn quarantine(&self, after: i64, most: usize) -> Result<Vec<StoredQuarantined>, StoreError> {
        quarantine::list(&self.connection, after, most).map_err(|error| self.explain(&error))
    }

    /// The quarantined message with this number.
    pub fn quarantined(&self, id: i64) -> Result<Option<StoredQuarantined>, StoreError> {
        quarantine::one(&self.connection, id).map_err(|error| self.explain(&error))
    }

    /// What the quarantine holds, summed up. All of it, whatever the reason.
    pub fn unread(&self) -> Result<Vec<Unread>, StoreError> {
        quarantine::unread(&self.connection).map_err(|error| self.explain(&error))
    }

    /// How many messages are in the quarantine, and their bytes.
    pub fn quarantine_size(&self) -> Result<(u64, u64), StoreError> {
        let size = || -> rusqlite::Result<(u64, u64)> {
            let sql = "SELECT count(*) FROM quarantine";
            let count = self.connection.query_row(sql, [], |row| row.get(0)).map(i64::cast_unsigned)?;
            Ok((count, quarantine::total_bytes(&self.connection)?))
        };
        size().map_err(|error| self.explain(&error))
    }

    fn explain(&self, error: &rusqlite::Error) -> StoreError {
        explain(&self.path, error)
    }

    fn read_history(&self, row: u32) -> rusqlite::Result<History> {
        let sql = "SELECT users_overflow FROM keys WHERE row = ?1";
        let overflow: Option<i64> = self.connection.query_row(sql, [row], |row| row.get(0)).optional()?;
        Ok(History {
            days: self.days(row)?,
            users: self.users(row)?,
            users_overflow: overflow.unwrap_or(0).cast_unsigned(),
            changes: self.changes(row)?,
        })
    }

    fn days(&self, row: u32) -> rusqlite::Result<Vec<StoredDay>> {
        let sql = "SELECT sum(uses), sum(attempts), sum(changes), sum(wanted), sum(foreign_uses), sum(foreign_attempts),
                          sum(foreign_changes), sum(foreign_wanted), day
                   FROM days WHERE row = ?1 GROUP BY day ORDER BY day";
        let mut statement = self.connection.prepare(sql)?;
        let days = statement.query_map([row], |row| {
            let counts = DayCounts { own: places::shift_at(row, 0)?, foreign: places::shift_at(row, 4)? };
            Ok(StoredDay { day: row.get(8)?, counts })
        })?;
        days.collect()
    }

    fn users(&self, row: u32) -> rusqlite::Result<Vec<StoredUser>> {
        let sql = "SELECT nullif(principal, ''), operation, nullif(service, ''), is_foreign, first, last, uses, attempts
                   FROM users WHERE row = ?1 ORDER BY last DESC, uses DESC, principal, operation, service";
        let mut statement = self.connection.prepare(sql)?;
        let users = statement.query_map([row], |row| {
            Ok(StoredUser {
                principal: row.get(0)?,
                operation: row.get(1)?,
                service: row.get(2)?,
                foreign: row.get(3)?,
                first: EventTime::from_seconds(row.get(4)?),
                last: EventTime::from_seconds(row.get(5)?),
                uses: row.get::<_, i64>(6)?.cast_unsigned(),
                attempts: row.get::<_, i64>(7)?.cast_unsigned(),
            })
        })?;
        users.collect()
    }

    fn changes(&self, row: u32) -> rusqlite::Result<Vec<StoredChange>> {
        let sql =
            "SELECT at, event_id, operation, principal FROM changes WHERE row = ?1 ORDER BY at, event_id";
        let mut statement = self.connection.prepare(sql)?;
        let changes = statement.query_map([row], |row| {
            Ok(StoredChange {
                at: EventTime::from_seconds(row.get(0)?),
                event_id: row.get(1)?,
                operation: row.get(2)?,
                principal: row.get(3)?,
            })
        })?;
        changes.collect()
    }
}
