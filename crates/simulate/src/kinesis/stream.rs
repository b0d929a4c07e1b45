//! A stream: its shards, who descends from whom, and which of them a key belongs to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::protocol::Operation;
use super::shard::{self, HashRange, Shard};
use super::token::Position;

/// How a stream behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamOptions {
    /// How long records are kept, in hours. AWS has 24 to 8,760.
    pub retention_hours: u32,
    /// The account that owns the stream, if it is not the double's own. Such a stream is reached by its ARN alone.
    pub account: Option<String>,
    /// Whether the last answer of a closed shard names the shards that come after it (`ChildShards`). AWS does; others
    /// that speak the protocol do not, and a reader should find its way without.
    pub child_shards: bool,
    /// Whether a shard refuses more than 5 reads and 2 MiB in a second, by the double's clock.
    pub quota: bool,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self { retention_hours: 24, account: None, child_shards: false, quota: false }
    }
}

/// A stream's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamCounters {
    /// Records that were put.
    pub put: u64,
    /// Records that were handed out, each time that they were.
    pub handed_out: u64,
    requests: [u64; Operation::ALL.len()],
}

impl StreamCounters {
    /// Requests of the operation for this stream, those that met a fault included.
    pub fn requests(&self, operation: Operation) -> u64 {
        self.requests[operation.index()]
    }
}

/// A shard as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardView {
    /// Its id.
    pub id: String,
    /// The shards it came from: none, one after a split, two after a merge.
    pub parents: Vec<String>,
    /// The hashes of the partition keys that it takes, both ends included.
    pub hashes: (u128, u128),
    /// Whether it takes records.
    pub open: bool,
}

/// Why shards cannot be split or merged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReshardError {
    /// No such stream.
    #[error(transparent)]
    UnknownStream(#[from] super::UnknownStream),
    /// No such shard.
    #[error("the stream has no shard {0:?}")]
    UnknownShard(String),
    /// The shard was split or merged before.
    #[error("the shard {0} is closed")]
    Closed(String),
    /// The two do not lie side by side.
    #[error("the shards {0} and {1} are not adjacent")]
    NotAdjacent(String, String),
    /// The shard takes one hash alone, or the new starting hash key leaves one part empty.
    #[error("the shard {0} cannot be split there")]
    Indivisible(String),
}

/// What names a stream.
pub(super) struct Identity {
    pub(super) number: u32,
    pub(super) name: String,
    pub(super) arn: String,
    /// Milliseconds.
    pub(super) created: i64,
}

pub(super) struct Stream {
    pub(super) identity: Identity,
    pub(super) options: StreamOptions,
    shards: RwLock<Shards>,
    put: AtomicU64,
    pub(super) handed_out: AtomicU64,
    pub(super) requests: [AtomicU64; Operation::ALL.len()],
}

#[derive(Default)]
struct Shards {
    /// All that ever were, by number.
    all: Vec<Arc<Shard>>,
    /// The numbers of the open ones, by their hashes.
    open: Vec<u32>,
}

/// Which shards a list shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    /// All that have not expired.
    All,
    /// Those that were open when the oldest record came that is left.
    AtTrimHorizon,
    /// The open ones.
    AtLatest,
    /// Those that were open then, in milliseconds.
    At(i64),
    /// Those that were open then or later.
    From(i64),
}

impl Filter {
    pub(super) fn encoded(self) -> (u32, i64) {
        match self {
            Self::All => (0, 0),
            Self::AtTrimHorizon => (1, 0),
            Self::AtLatest => (2, 0),
            Self::At(time) => (3, time),
            Self::From(time) => (4, time),
        }
    }

    pub(super) fn decoded(encoded: (u32, i64)) -> Option<Self> {
        Some(match encoded {
            (0, _) => Self::All,
            (1, _) => Self::AtTrimHorizon,
            (2, _) => Self::AtLatest,
            (3, time) => Self::At(time),
            (4, time) => Self::From(time),
            _ => return None,
        })
    }

    fn shows(self, shard: &Shard, horizon: i64) -> bool {
        let closed = shard.closed();
        let open_at = |time| shard.created <= time && closed.is_none_or(|closed| closed > time);
        match self {
            Self::All => true,
            Self::AtTrimHorizon => {
                // A stream that is younger than its retention begins with its first shards.
                open_at(horizon) || (shard.parent.is_none() && shard.created > horizon)
            }
            Self::AtLatest => closed.is_none(),
            Self::At(time) => open_at(time),
            Self::From(time) => closed.is_none_or(|closed| closed > time),
        }
    }
}

impl Stream {
    pub(super) fn new(identity: Identity, shards: u32, options: StreamOptions) -> Self {
        let count = u128::from(shards.max(1));
        let width = u128::MAX / count;
        let mut made = Shards::default();
        for number in 0..shards.max(1) {
            let first = width * u128::from(number) + u128::from(number);
            let last = if u128::from(number) + 1 == count { u128::MAX } else { first + width };
            let range = HashRange { first, last };
            made.add(Shard::new(identity.number, number, range, identity.created));
        }
        Self {
            identity,
            options,
            shards: RwLock::new(made),
            put: AtomicU64::new(0),
            handed_out: AtomicU64::new(0),
            requests: [const { AtomicU64::new(0) }; Operation::ALL.len()],
        }
    }

    // Whoever panicked while holding them: what can be seen of the shards is always whole.
    fn shards(&self) -> RwLockReadGuard<'_, Shards> {
        self.shards.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn shards_mut(&self) -> RwLockWriteGuard<'_, Shards> {
        self.shards.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that came before this are gone, in milliseconds.
    pub(super) fn horizon(&self, now: i64) -> i64 {
        now - i64::from(self.options.retention_hours) * 3_600_000
    }

    /// The shard of this number, unless it has expired.
    pub(super) fn shard(&self, number: u32, now: i64) -> Option<Arc<Shard>> {
        let shard = self.shards().all.get(number as usize)?.clone();
        (!shard.expired(self.horizon(now))).then_some(shard)
    }

    /// Puts a record into the open shard that its hash belongs to.
    pub(super) fn put(
        &self,
        now: i64,
        partition_key: &str,
        hash: Option<u128>,
        data: &[u8],
    ) -> (Arc<Shard>, Position) {
        let hash = hash.unwrap_or_else(|| u128::from_be_bytes(md5::compute(partition_key).0));
        // Held until the record is in, so that no shard closes under it.
        let shards = self.shards();
        let shard = shards.of_hash(hash).clone();
        let position = shard.put(now, partition_key, data);
        self.put.fetch_add(1, Ordering::Relaxed);
        (shard, position)
    }

    /// The shards behind number `after` that are not expired and that the filter shows, by number.
    pub(super) fn list(&self, after: Option<u32>, filter: Filter, now: i64) -> Vec<Arc<Shard>> {
        let horizon = self.horizon(now);
        let shards = self.shards();
        let start = after.map_or(0, |after| after as usize + 1);
        let behind = shards.all.get(start..).unwrap_or_default();
        let shown = |shard: &&Arc<Shard>| !shard.expired(horizon) && filter.shows(shard, horizon);
        behind.iter().filter(shown).cloned().collect()
    }

    /// The shards that came out of this one.
    pub(super) fn children(&self, number: u32) -> Vec<Arc<Shard>> {
        let shards = self.shards();
        let descends =
            |shard: &&Arc<Shard>| shard.parent == Some(number) || shard.adjacent_parent == Some(number);
        shards.all.iter().filter(descends).cloned().collect()
    }

    pub(super) fn open_shards(&self) -> usize {
        self.shards().open.len()
    }

    /// Splits a shard, in the middle unless `at` says where the second part begins, and returns the parts.
    pub(super) fn split(
        &self,
        now: i64,
        id: &str,
        at: Option<u128>,
    ) -> Result<[Arc<Shard>; 2], ReshardError> {
        let mut shards = self.shards_mut();
        let parent = shards.open_shard(id)?;
        let HashRange { first, last } = parent.range;
        let at = at.unwrap_or(first + (last - first).div_ceil(2));
        if at <= first || at > last {
            return Err(ReshardError::Indivisible(parent.id()));
        }
        parent.close(now);
        let ranges = [HashRange { first, last: at - 1 }, HashRange { first: at, last }];
        Ok(ranges.map(|range| {
            let mut child = shards.next(self.identity.number, range, now);
            child.parent = Some(parent.number);
            shards.add(child)
        }))
    }

    /// Merges two adjacent shards and returns what they became.
    pub(super) fn merge(&self, now: i64, id: &str, adjacent: &str) -> Result<Arc<Shard>, ReshardError> {
        let mut shards = self.shards_mut();
        let (one, other) = (shards.open_shard(id)?, shards.open_shard(adjacent)?);
        let (low, high) = if one.range.first < other.range.first { (&one, &other) } else { (&other, &one) };
        if low.range.last.checked_add(1) != Some(high.range.first) {
            return Err(ReshardError::NotAdjacent(one.id(), other.id()));
        }
        one.close(now);
        other.close(now);
        let range = HashRange { first: low.range.first, last: high.range.last };
        let mut child = shards.next(self.identity.number, range, now);
        child.parent = Some(one.number);
        child.adjacent_parent = Some(other.number);
        Ok(shards.add(child))
    }

    pub(super) fn views(&self, now: i64) -> Vec<ShardView> {
        let view = |shard: &Arc<Shard>| ShardView {
            id: shard.id(),
            parents: shard.parent.into_iter().chain(shard.adjacent_parent).map(shard::id_of).collect(),
            hashes: (shard.range.first, shard.range.last),
            open: shard.closed().is_none(),
        };
        self.list(None, Filter::All, now).iter().map(view).collect()
    }

    pub(super) fn counters(&self) -> StreamCounters {
        let mut counters = StreamCounters {
            put: self.put.load(Ordering::Relaxed),
            handed_out: self.handed_out.load(Ordering::Relaxed),
            ..StreamCounters::default()
        };
        for (count, counter) in counters.requests.iter_mut().zip(&self.requests) {
            *count = counter.load(Ordering::Relaxed);
        }
        counters
    }
}

impl Shards {
    /// The open shards cover all hashes, so that there is always one.
    fn of_hash(&self, hash: u128) -> &Arc<Shard> {
        let behind = self.open.partition_point(|&number| self.all[number as usize].range.first <= hash);
        &self.all[self.open[behind.saturating_sub(1)] as usize]
    }

    fn open_shard(&self, id: &str) -> Result<Arc<Shard>, ReshardError> {
        let shard = shard::number_of(id).and_then(|number| self.all.get(number as usize));
        let shard = shard.ok_or_else(|| ReshardError::UnknownShard(id.to_owned()))?;
        if shard.closed().is_some() {
            return Err(ReshardError::Closed(shard.id()));
        }
        Ok(shard.clone())
    }

    /// A shard with the next number, without parents.
    fn next(&self, stream: u32, range: HashRange, now: i64) -> Shard {
        Shard::new(stream, u32::try_from(self.all.len()).unwrap_or(u32::MAX), range, now)
    }

    /// Takes an open shard in, and closed ones out of the open.
    fn add(&mut self, shard: Shard) -> Arc<Shard> {
        let shard = Arc::new(shard);
        self.all.push(shard.clone());
        self.open.retain(|&number| self.all[number as usize].closed().is_none());
        self.open.push(shard.number);
        self.open.sort_by_key(|&number| self.all[number as usize].range.first);
        shard
    }
}
