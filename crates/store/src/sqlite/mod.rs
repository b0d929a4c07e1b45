//! SQLite: one file, one writer, readers beside it.
//!
//! WAL with `synchronous=FULL`: a commit is one appended row and one fsync. Upserting the key rows an epoch touches takes far
//! longer, which is why the tables are folded in the background. The ceiling is that one writer: while the tables are
//! written, commits wait, and the next epoch grows.

mod fold;
mod journal;
mod load;
mod lock;
mod places;
mod quarantine;
mod reader;
mod readers;
mod rows;
mod schema;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dormouse_ledger::Unread;
use dormouse_model::{Cell, EventTime, Place};
use rusqlite::{Connection, ErrorCode, OpenFlags};

pub use reader::{History, Reader, StoredChange, StoredDay, StoredUser};
pub use readers::Readers;

use crate::{CellCounts, Commit, EachKey, Epoch, Fold, Loaded, Store, StoreError, StoredQuarantined};
use lock::WriterLock;

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// The file; it and its folder are made if they do not exist.
    pub path: PathBuf,
    /// How many bytes of message bodies the quarantine keeps.
    pub quarantine_bytes: u64,
    /// How many days of counts by day are kept.
    pub keep_days: u32,
    /// How many users (principal × operation × service) are kept for one key.
    pub users_per_key: u32,
    /// How many changes are kept for one key.
    pub changes_per_key: u32,
}

impl SqliteOptions {
    /// The defaults for a store at `path`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            quarantine_bytes: 64 << 20,
            keep_days: 400,
            users_per_key: 200,
            changes_per_key: 1_000,
        }
    }
}

/// A store in one SQLite file, opened for writing.
pub struct SqliteStore {
    options: SqliteOptions,
    connection: Mutex<Connection>,
    quarantine_bytes: AtomicU64,
    writer: String,
    id: String,
    _lock: WriterLock,
}

impl SqliteStore {
    /// Opens the store, making or migrating it if need be, and keeps every other writer out.
    pub fn open(options: SqliteOptions) -> Result<Self, StoreError> {
        let path = options.path.clone();
        lock::prepare_folder(&path)?;
        refuse_what_is_not_ours(&path)?;
        let lock = WriterLock::take(&path)?;
        let mut connection = Connection::open(&path).map_err(|error| explain(&path, &error))?;
        configure(&connection).map_err(|error| explain(&path, &error))?;
        schema::migrate(&mut connection, &path)?;
        let writer = journal::become_the_writer(&connection).map_err(|error| explain(&path, &error))?;
        let id = journal::id_of_store(&connection).map_err(|error| explain(&path, &error))?;
        let bytes = quarantine::total_bytes(&connection).map_err(|error| explain(&path, &error))?;
        let quarantine_bytes = AtomicU64::new(bytes);
        Ok(Self { options, connection: Mutex::new(connection), quarantine_bytes, writer, id, _lock: lock })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.options.path
    }

    /// The store's own id, which it keeps wherever its file goes.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Caps the file's size in pages of 4 KiB, as a full disk would: commits beyond it ask to be retried.
    pub fn limit_pages(&self, pages: u32) -> Result<(), StoreError> {
        let limit = |connection: &Connection| connection.pragma_update(None, "max_page_count", pages);
        limit(&self.connection()).map_err(|error| self.explain(&error))
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic while the lock was held left a transaction that was rolled back: the connection is sound.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn explain(&self, error: &rusqlite::Error) -> StoreError {
        explain(&self.options.path, error)
    }

    /// A failed write: some failures pass by themselves.
    fn retry_or_fail(&self, error: &rusqlite::Error) -> Result<Commit, StoreError> {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => {
                Ok(Commit::Retry(format!("no room left for {}", self.options.path.display())))
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Ok(Commit::Retry(format!("{} is busy", self.options.path.display())))
            }
            Some(ErrorCode::SystemIoFailure) => {
                Ok(Commit::Retry(format!("{}: {error}", self.options.path.display())))
            }
            _ => Err(self.explain(error)),
        }
    }
}

impl Store for SqliteStore {
    fn commit(&self, epoch: &Epoch<'_>) -> Result<Commit, StoreError> {
        let outcome = journal::append(&mut self.connection(), &self.writer, epoch);
        match outcome {
            Ok(journal::Appended::Done { quarantine_grew, quarantine_shrank }) => {
                self.quarantine_bytes.fetch_add(quarantine_grew, Ordering::Relaxed);
                self.quarantine_bytes.fetch_sub(quarantine_shrank, Ordering::Relaxed);
                Ok(Commit::Committed)
            }
            Ok(journal::Appended::Fenced) => Ok(Commit::Fenced),
            Err(error) => self.retry_or_fail(&error),
        }
    }

    fn fold(&self, fold: &Fold) -> Result<Commit, StoreError> {
        let outcome = fold::write(&mut self.connection(), &self.options, fold);
        match outcome {
            Ok(()) => Ok(Commit::Committed),
            Err(error) => self.retry_or_fail(&error),
        }
    }

    fn load_keys(&self, each: &EachKey<'_>) -> Result<(), StoreError> {
        load::keys_in_parallel(&self.options.path, each)
    }

    fn load(&self) -> Result<Loaded, StoreError> {
        load::rest(&self.connection()).map_err(|error| self.explain(&error))
    }

    fn journal_after(&self, seq: u64, each: &mut dyn FnMut(u64, &[u8])) -> Result<(), StoreError> {
        journal::after(&self.connection(), seq, each).map_err(|error| self.explain(&error))
    }

    fn kept_days(&self) -> u32 {
        self.options.keep_days
    }

    fn cell(&self, cell: Cell) -> Result<(u64, CellCounts), StoreError> {
        places::cell(&mut self.connection(), cell).map_err(|error| self.explain(&error))
    }

    fn quarantine_room(&self) -> u64 {
        self.options.quarantine_bytes.saturating_sub(self.quarantine_bytes.load(Ordering::Relaxed))
    }

    fn quarantined(&self, id: i64) -> Result<Option<StoredQuarantined>, StoreError> {
        quarantine::one(&self.connection(), id).map_err(|error| self.explain(&error))
    }

    fn due_for_retry(&self, now: EventTime, most: usize) -> Result<Vec<StoredQuarantined>, StoreError> {
        quarantine::due(&self.connection(), now, most).map_err(|error| self.explain(&error))
    }

    fn unread(&self) -> Result<Vec<Unread>, StoreError> {
        quarantine::unread(&self.connection()).map_err(|error| self.explain(&error))
    }

    fn retry_at(&self, reason: &str, place: Place, at: EventTime) -> Result<(), StoreError> {
        quarantine::retry_at(&self.connection(), reason, place, at).map_err(|error| self.explain(&error))
    }
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Epochs of a megabyte would otherwise force a checkpoint every few commits.
    connection.pragma_update(None, "wal_autocheckpoint", 16_384)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    connection.pragma_update(None, "cache_size", -8_192)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// SQLite takes any short file for an empty database and would overwrite it.
fn refuse_what_is_no_database(path: &Path) -> Result<(), StoreError> {
    use std::io::Read;
    let Ok(mut file) = std::fs::File::open(path) else {
        return Ok(());
    };
    let mut head = Vec::new();
    let read = file.by_ref().take(16).read_to_end(&mut head);
    if let Err(error) = read {
        return Err(StoreError::Other { path: path.into(), detail: error.to_string() });
    }
    if head.is_empty() || head == *b"SQLite format 3\0" {
        return Ok(());
    }
    Err(StoreError::Corrupt { path: path.into(), detail: "it does not begin like an SQLite file".into() })
}

/// Looks at a file that is there already without changing a byte of it.
fn refuse_what_is_not_ours(path: &Path) -> Result<(), StoreError> {
    refuse_what_is_no_database(path)?;
    let is_empty = std::fs::metadata(path).map_or(true, |metadata| metadata.len() == 0);
    if is_empty {
        return Ok(());
    }
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY);
    schema::recognise(&connection.map_err(|error| explain(path, &error))?, path)
}

fn open_read_only(path: &Path) -> Result<Connection, StoreError> {
    if !path.exists() {
        return Err(StoreError::Missing { path: path.into() });
    }
    refuse_what_is_no_database(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| explain(path, &error))?;
    let wait = connection.busy_timeout(std::time::Duration::from_secs(5));
    wait.map_err(|error| explain(path, &error))?;
    schema::check(&connection, path)?;
    Ok(connection)
}

fn explain(path: &Path, error: &rusqlite::Error) -> StoreError {
    let path = path.to_owned();
    let detail = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => StoreError::Corrupt { path, detail },
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            StoreError::NotWritable { path, detail }
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            StoreError::Locked { path, holder: String::new() }
        }
        _ => StoreError::Other { path, detail },
    }
}
