//! One shard: records in the order in which they came.
//!
//! A record is made ready for the wire when it is put, so that a read is a search for the first one and a copy of those
//! that follow. What is older than the stream keeps is dropped whenever somebody looks.

use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::lock;
use super::token::{self, Position};

/// What one `GetRecords` brings at most: of records, and of their data and partition keys in bytes.
pub(super) const MOST_RECORDS: usize = 10_000;
const MOST_BYTES: usize = 10 << 20;
/// What may be read from a shard in a second, by all its readers together.
const READS_PER_SECOND: u32 = 5;
const BYTES_PER_SECOND: u64 = 2 << 20;

/// Keys whose hash is in this range go to the shard; both ends are in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HashRange {
    pub(super) first: u128,
    pub(super) last: u128,
}

pub(super) struct Shard {
    pub(super) stream: u32,
    pub(super) number: u32,
    pub(super) parent: Option<u32>,
    /// The other parent of a shard that two were merged into.
    pub(super) adjacent_parent: Option<u32>,
    pub(super) range: HashRange,
    /// Milliseconds.
    pub(super) created: i64,
    log: Mutex<Log>,
}

struct Log {
    /// The position of the oldest record that is left.
    first: Position,
    records: VecDeque<Record>,
    /// Milliseconds. A closed shard takes no more records.
    closed: Option<i64>,
    /// When the newest record came, in milliseconds. Later ones do not come before it, whatever the clock says.
    newest: i64,
    spent: Spent,
}

struct Record {
    arrived: i64,
    /// Data and partition key together, in bytes.
    size: usize,
    /// The record as `GetRecords` shows it.
    json: Box<[u8]>,
}

/// What was read in the second that began at `since`.
#[derive(Default)]
struct Spent {
    since: i64,
    reads: u32,
    /// With what earlier seconds took in advance.
    bytes: u64,
}

/// What a read brings.
pub(super) struct Handed {
    /// The records as JSON, with commas between them.
    pub(super) json: Vec<u8>,
    pub(super) count: usize,
    /// Where the next read begins.
    pub(super) next: Position,
    pub(super) behind_ms: i64,
    /// The shard is closed and nothing comes after this.
    pub(super) ended: bool,
}

/// More was read than the shard gives in a second.
pub(super) struct OverQuota;

/// A read of one shard.
#[derive(Clone, Copy)]
pub(super) struct Read {
    pub(super) from: Position,
    pub(super) most: usize,
    pub(super) quota: bool,
    /// Bring nothing, whatever there is.
    pub(super) empty: bool,
    /// Records that came before it are gone, in milliseconds.
    pub(super) horizon: i64,
    pub(super) now: i64,
}

impl Shard {
    pub(super) fn new(stream: u32, number: u32, range: HashRange, created: i64) -> Self {
        let log = Log {
            first: 1,
            records: VecDeque::new(),
            closed: None,
            newest: created,
            spent: Spent::default(),
        };
        Self { stream, number, parent: None, adjacent_parent: None, range, created, log: Mutex::new(log) }
    }

    pub(super) fn id(&self) -> String {
        id_of(self.number)
    }

    pub(super) fn sequence_number(&self, position: Position) -> String {
        token::sequence_number(self.stream, self.number, position)
    }

    /// Takes a record and returns its position.
    pub(super) fn put(&self, now: i64, partition_key: &str, data: &[u8]) -> Position {
        let mut log = lock(&self.log);
        let arrived = now.max(log.newest);
        let position = log.end();
        let json = written(&self.sequence_number(position), arrived, partition_key, data);
        log.newest = arrived;
        log.records.push_back(Record { arrived, size: data.len() + partition_key.len(), json });
        position
    }

    pub(super) fn close(&self, now: i64) {
        lock(&self.log).closed = Some(now);
    }

    /// When it was closed, in milliseconds.
    pub(super) fn closed(&self) -> Option<i64> {
        lock(&self.log).closed
    }

    /// Where a closed shard ends: behind its last record.
    pub(super) fn ending(&self) -> Option<Position> {
        let log = lock(&self.log);
        log.closed.map(|_| log.end())
    }

    /// Whether a closed shard is so old that all its records are gone, and it with them.
    pub(super) fn expired(&self, horizon: i64) -> bool {
        self.closed().is_some_and(|closed| closed < horizon)
    }

    /// Where the next record will be.
    pub(super) fn latest(&self) -> Position {
        lock(&self.log).end()
    }

    /// Where the first record is that did not come before `time`.
    pub(super) fn at_timestamp(&self, time: i64) -> Position {
        let log = lock(&self.log);
        log.first + log.records.partition_point(|record| record.arrived < time) as u64
    }

    pub(super) fn read(&self, read: &Read) -> Result<Handed, OverQuota> {
        let log = &mut *lock(&self.log);
        log.trim(read.horizon);
        if read.quota {
            log.spent.admit(read.now)?;
        }
        let from = read.from.clamp(log.first, log.end());
        let most = if read.empty { 0 } else { read.most.min(MOST_RECORDS) };
        let start = usize::try_from(from - log.first).unwrap_or(usize::MAX);
        let mut json = Vec::new();
        let (mut count, mut bytes) = (0, 0);
        let fits = log.records.iter().skip(start).take(most).take_while(|record| {
            bytes += record.size;
            count += 1;
            count == 1 || bytes <= MOST_BYTES
        });
        json.reserve(fits.map(|record| record.json.len() + 1).sum());
        // The one that did not fit was looked at as well.
        if count > 1 && bytes > MOST_BYTES {
            count -= 1;
        }
        for record in log.records.iter().skip(start).take(count) {
            if !json.is_empty() {
                json.push(b',');
            }
            json.extend_from_slice(&record.json);
        }
        let next = from + count as u64;
        log.spent.bytes +=
            log.records.iter().skip(start).take(count).map(|record| record.size as u64).sum::<u64>();
        Ok(Handed {
            json,
            count,
            next,
            behind_ms: log.behind_ms(next, read.now),
            ended: log.closed.is_some() && next == log.end(),
        })
    }
}

impl Log {
    fn end(&self) -> Position {
        self.first + self.records.len() as u64
    }

    fn trim(&mut self, horizon: i64) {
        while self.records.front().is_some_and(|record| record.arrived < horizon) {
            self.records.pop_front();
            self.first += 1;
        }
    }

    /// How long ago the next record came that was not read; 0 if all were.
    fn behind_ms(&self, next: Position, now: i64) -> i64 {
        let place = usize::try_from(next - self.first).unwrap_or(usize::MAX);
        self.records.get(place).map_or(0, |record| (now - record.arrived).max(1))
    }
}

impl Spent {
    /// Counts a read. One that takes more bytes than a second gives uses up the seconds after it.
    fn admit(&mut self, now: i64) -> Result<(), OverQuota> {
        let seconds = (now - self.since).max(0) / 1_000;
        if seconds > 0 {
            let regained = BYTES_PER_SECOND.saturating_mul(seconds.unsigned_abs());
            *self = Self { since: now, reads: 0, bytes: self.bytes.saturating_sub(regained) };
        }
        if self.reads >= READS_PER_SECOND || self.bytes >= BYTES_PER_SECOND {
            return Err(OverQuota);
        }
        self.reads += 1;
        Ok(())
    }
}

/// The id of the shard of this number in its stream.
pub(super) fn id_of(number: u32) -> String {
    format!("shardId-{number:012}")
}

/// The number of the shard of this id.
pub(super) fn number_of(id: &str) -> Option<u32> {
    let number = id.strip_prefix("shardId-")?.parse().ok()?;
    (id_of(number) == id).then_some(number)
}

/// A record as `GetRecords` shows it.
fn written(sequence_number: &str, arrived: i64, partition_key: &str, data: &[u8]) -> Box<[u8]> {
    let mut out = Vec::with_capacity(data.len() / 3 * 4 + partition_key.len() + 192);
    // Writing to a Vec cannot fail, and a string always serialises.
    let _ = write!(
        out,
        r#"{{"SequenceNumber":"{sequence_number}","ApproximateArrivalTimestamp":{}.{:03},"PartitionKey":"#,
        arrived / 1_000,
        arrived % 1_000
    );
    let _ = serde_json::to_writer(&mut out, partition_key);
    out.extend_from_slice(br#","Data":""#);
    let start = out.len();
    out.resize(start + data.len().div_ceil(3) * 4, 0);
    let encoded = STANDARD.encode_slice(data, &mut out[start..]).unwrap_or(0);
    out.truncate(start + encoded);
    out.extend_from_slice(br#""}"#);
    out.into_boxed_slice()
}
