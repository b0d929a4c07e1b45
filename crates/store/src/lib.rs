//! What survives a crash.
//!
//! The spine is the journal: an epoch is one row, and once [`Store::commit`] says [`Commit::Committed`] it is on disk
//! and its messages may be acknowledged. Behind it, [`Store::fold`] writes the key tables in the background, in the
//! transaction that moves the fold's position, so that a crash between two folds loses nothing: the journal's tail is
//! applied again at the next start.
//!
//! No SQL in the types here: SQLite ([`SqliteStore`]) keeps one file for one process; other stores may follow.
//! Commits are idempotent by (writer, sequence number), so an answer that got lost may be asked for again.

mod error;
mod guarded;
mod quarantine;
mod sqlite;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use dormouse_ledger::{
    AliasName, AliasWrites, CoverageRows, DayCounts, Delta, InventoryRows, KeyState, Rank, Remembered, Tally,
    Unread,
};
use dormouse_model::{AccountId, Cell, Checkpoint, EventTime, KeyArn, Place, Region};
use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

pub use error::StoreError;
pub use guarded::{Guard, GuardedStore};
pub use quarantine::{Quarantined, StoredQuarantined};
pub use sqlite::{History, Reader, Readers, SqliteOptions, SqliteStore, StoredChange, StoredDay, StoredUser};

/// The unit of commit, as the store sees it: bytes with a number, and what has to be durable with them.
#[derive(Debug)]
pub struct Epoch<'a> {
    /// Consecutive, from 1.
    pub seq: u64,
    /// When it was sealed.
    pub sealed_at: EventTime,
    /// Observations and what was counted; the pipeline's format.
    pub body: &'a [u8],
    /// Messages to keep for inspection.
    pub quarantine: &'a [Quarantined],
    /// Quarantined messages that were applied after all.
    pub released: &'a [i64],
}

/// What became of a commit.
#[derive(Debug)]
#[must_use]
pub enum Commit {
    /// Durable.
    Committed,
    /// Another writer has taken over: stop.
    Fenced,
    /// Not now (the disk is full, the file is busy): nothing was written; try again.
    Retry(String),
}

/// One key's row.
#[derive(Debug)]
pub struct FoldedKey {
    /// The key.
    pub key: KeyArn,
    /// Its whole state, to be written as it is.
    pub state: KeyState<Rank>,
}

/// What the tables take over from the journal in one transaction.
#[derive(Debug)]
pub struct Fold {
    /// The last epoch it covers.
    pub upto: u64,
    /// What is to be added: counts by day and user, changes, ids to be remembered, accounts that are received; and the
    /// texts of uses and attempts. Shared with those who read meanwhile.
    pub delta: Arc<Delta>,
    /// The rows of the keys in the delta.
    pub keys: Vec<FoldedKey>,
    /// What was written to aliases, to be written as they are.
    pub aliases: Vec<(AliasName, AliasWrites)>,
    /// Ids of older events need not be remembered.
    pub floor: EventTime,
    /// How many ids the window holds, so that the store can tell when most of what it keeps is waste.
    pub window: usize,
    /// The counters, to be written as they are.
    pub totals: Totals,
    /// What changed about sources and places, to be written as it is.
    pub coverage: CoverageRows,
    /// What changed about accounts and their Regions, to be written as it is.
    pub inventory: InventoryRows,
    /// How far sources have come, to be written as it is.
    pub checkpoints: Vec<(Box<str>, Checkpoint)>,
}

/// Counters over everything since the store was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// What became of the records.
    pub tally: Tally,
    /// Counted attempts on ARNs for which there was no room.
    pub unattributed_attempts: u64,
    /// What was not understood but is no error.
    pub unknowns: Unknowns,
}

/// What was not understood: operations the table does not name, names that are no key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Unknowns {
    /// Operations that no row of the table names.
    pub operations: BTreeMap<String, UnknownOperation>,
    /// Calls of operations for whose names there was no room.
    pub operations_overflow: u64,
    /// Aliases and ids that could not be resolved to a key, as `ACCOUNT REGION NAME`.
    pub unresolved: BTreeMap<String, Unresolved>,
    /// Observations on names for which there was no room.
    pub unresolved_overflow: u64,
}

/// An operation that no row of the table names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnknownOperation {
    /// Calls, failed ones included.
    pub calls: u64,
    /// Successful ones that may have used a key: they hold "unused" back.
    pub hold_back: u64,
    /// The last call.
    pub last: EventTime,
}

/// A name that stands for a key nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unresolved {
    /// How many uses, attempts or changes named it.
    pub count: u64,
    /// The first one.
    pub first: EventTime,
    /// The last one.
    pub last: EventTime,
}

/// How many names of each sort are kept.
const MOST_UNKNOWN_OPERATIONS: usize = 256;
const MOST_UNRESOLVED: usize = 1_000;

impl Unknowns {
    /// Notes a call of an operation that the table does not name.
    pub fn note_operation(&mut self, name: &str, at: EventTime, holds_back: bool) {
        if !self.operations.contains_key(name) && self.operations.len() >= MOST_UNKNOWN_OPERATIONS {
            self.operations_overflow += 1;
            return;
        }
        let new = UnknownOperation { calls: 0, hold_back: 0, last: at };
        let operation = self.operations.entry(name.to_owned()).or_insert(new);
        operation.calls += 1;
        operation.hold_back += u64::from(holds_back);
        operation.last = operation.last.max(at);
    }

    /// Adds what somebody else noted.
    pub fn merge(&mut self, other: Self) {
        for (name, theirs) in other.operations {
            if !self.operations.contains_key(&name) && self.operations.len() >= MOST_UNKNOWN_OPERATIONS {
                self.operations_overflow += theirs.calls;
                continue;
            }
            let new = UnknownOperation { calls: 0, hold_back: 0, last: theirs.last };
            let mine = self.operations.entry(name).or_insert(new);
            mine.calls += theirs.calls;
            mine.hold_back += theirs.hold_back;
            mine.last = mine.last.max(theirs.last);
        }
        for (name, theirs) in other.unresolved {
            if !self.unresolved.contains_key(&name) && self.unresolved.len() >= MOST_UNRESOLVED {
                self.unresolved_overflow += theirs.count;
                continue;
            }
            let mine = self.unresolved.entry(name).or_insert(Unresolved { count: 0, ..theirs });
            mine.count += theirs.count;
            mine.first = mine.first.min(theirs.first);
            mine.last = mine.last.max(theirs.last);
        }
        self.operations_overflow += other.operations_overflow;
        self.unresolved_overflow += other.unresolved_overflow;
    }

    /// Notes an observation on a name that is no key.
    pub fn note_unresolved(
        &mut self,
        account: Option<AccountId>,
        region: Option<Region>,
        name: &str,
        at: EventTime,
    ) {
        let account = account.map_or("-".to_owned(), |account| account.to_string());
        let region = region.map_or("-", Region::name);
        let name = format!("{account} {region} {name}");
        if !self.unresolved.contains_key(&name) && self.unresolved.len() >= MOST_UNRESOLVED {
            self.unresolved_overflow += 1;
            return;
        }
        let unresolved = self.unresolved.entry(name).or_insert(Unresolved { count: 0, first: at, last: at });
        unresolved.count += 1;
        unresolved.first = unresolved.first.min(at);
        unresolved.last = unresolved.last.max(at);
    }
}

/// Everything a start needs beside the keys and the journal's tail.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The last epoch that the tables cover.
    pub folded: u64,
    /// How many keys are stored, or a little more.
    pub keys: usize,
    /// The last epoch in the journal, or that ever was.
    pub last_seq: u64,
    /// Below this event time no id is remembered.
    pub floor: EventTime,
    /// Ids of counted observations.
    pub ids: Vec<Remembered>,
    /// What was written to aliases.
    pub aliases: Vec<(AliasName, AliasWrites)>,
    /// Accounts that are received.
    pub received: Vec<AccountId>,
    /// The counters.
    pub totals: Totals,
    /// What is known of sources and places.
    pub coverage: CoverageRows,
    /// What was heard of accounts and their Regions.
    pub inventory: InventoryRows,
    /// How far sources have come.
    pub checkpoints: Vec<(Box<str>, Checkpoint)>,
}

/// What was counted of each key in one cell.
pub type CellCounts = HashMap<KeyArn, DayCounts, RandomState>;

/// What is told about each stored key.
pub type EachKey<'a> = dyn Fn(KeyArn, KeyState<Rank>) + Sync + 'a;

/// A durable place for epochs and tables. One writer; every call may block on the disk.
pub trait Store: Send + Sync + 'static {
    /// Appends an epoch. A second call with the same number changes nothing and is committed, too.
    fn commit(&self, epoch: &Epoch<'_>) -> Result<Commit, StoreError>;

    /// Writes the tables and moves the fold's position, all or nothing, and prunes the journal behind it.
    fn fold(&self, fold: &Fold) -> Result<Commit, StoreError>;

    /// Every stored key, in any order and on several threads.
    fn load_keys(&self, each: &EachKey<'_>) -> Result<(), StoreError>;

    /// Everything else but the journal's tail.
    fn load(&self) -> Result<Loaded, StoreError>;

    /// The epochs after `seq`, in order.
    fn journal_after(&self, seq: u64, each: &mut dyn FnMut(u64, &[u8])) -> Result<(), StoreError>;

    /// Of days this long before a key's latest, the counts may be gone from the tables.
    fn kept_days(&self) -> u32;

    /// What the tables have of a cell, and the last epoch that they cover.
    fn cell(&self, cell: Cell) -> Result<(u64, CellCounts), StoreError>;

    /// How many more bytes the quarantine takes.
    fn quarantine_room(&self) -> u64;

    /// The quarantined message with this number.
    fn quarantined(&self, id: i64) -> Result<Option<StoredQuarantined>, StoreError>;

    /// Quarantined messages whose time to be tried again has come.
    fn due_for_retry(&self, now: EventTime, most: usize) -> Result<Vec<StoredQuarantined>, StoreError>;

    /// What the quarantine holds, summed up. All of it, whatever the reason.
    fn unread(&self) -> Result<Vec<Unread>, StoreError>;

    /// Quarantined messages of this place that were kept for this reason, and wait for another try, are due at this time.
    fn retry_at(&self, reason: &str, place: Place, at: EventTime) -> Result<(), StoreError>;
}
