//! A stream in memory and a pipeline that commits, for tests in paused time.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use dormouse_aws::{ErrorClass, Failure};
use dormouse_model::{Checkpoint, Clock, EventTime, ShardPosition, SourceMark};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use super::stream::{Answer, ListedShard, Page, Record, Stream, Summary};
use crate::{Batch, Intake, Receipt};

/// How long a call takes.
const LATENCY: Duration = Duration::from_millis(5);
const ITERATOR_LIFE: Duration = Duration::from_mins(5);
/// Between the arrival of a batch and its commit.
pub(super) const COMMIT: Duration = Duration::from_millis(200);
pub(super) const EPOCH: EventTime = EventTime::from_seconds(1_800_000_000);
pub(super) const ARN: &str = "arn:aws:kinesis:eu-west-1:111122223333:stream/dormouse";

/// Wall time that goes with tokio's.
#[derive(Clone, Copy)]
pub(super) struct PausedClock(Instant);

impl PausedClock {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    fn millis(self) -> i64 {
        i64::from(EPOCH.seconds()) * 1_000 + i64::try_from(self.0.elapsed().as_millis()).unwrap()
    }
}

impl Clock for PausedClock {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(self.millis()).unwrap()
    }
}

pub(super) struct MemoryStream {
    clock: PausedClock,
    state: Mutex<State>,
}

struct State {
    created: EventTime,
    retention: Duration,
    shards: BTreeMap<Arc<str>, Stored>,
    /// Shard, place and when it ends, by iterator.
    iterators: HashMap<String, (Arc<str>, u64, Instant)>,
    next_shard: u64,
    next_number: u64,
    next_iterator: u64,
    page: usize,
    ends_late: bool,
    behind_is_known: bool,
    reads_per_second: Option<u32>,
    faults: Faults,
    calls: Calls,
}

/// What goes wrong; each fault is used once, unless it says otherwise.
#[derive(Default)]
pub(super) struct Faults {
    pub(super) describes: VecDeque<Failure>,
    pub(super) lists: VecDeque<Failure>,
    pub(super) iterators: VecDeque<Failure>,
    pub(super) reads: VecDeque<Failure>,
    /// Every call, while it is set.
    pub(super) all: Option<Failure>,
    /// Tokens expire so many times.
    pub(super) expired_tokens: usize,
    /// So many of a thousand calls of each kind.
    pub(super) random: Option<(u32, fastrand::Rng)>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Calls {
    pub(super) describes: usize,
    pub(super) lists: usize,
    pub(super) iterators: usize,
    pub(super) reads: usize,
    pub(super) reading: usize,
    pub(super) most_reading: usize,
}

#[derive(Default)]
struct Stored {
    parents: Vec<Arc<str>>,
    is_closed: bool,
    records: Vec<Arrived>,
    reads: VecDeque<Instant>,
}

struct Arrived {
    number: u64,
    millis: i64,
    data: Vec<u8>,
}

impl MemoryStream {
    /// A stream with so many shards.
    pub(super) fn new(shards: usize) -> Arc<Self> {
        let state = State {
            created: EPOCH.minus(10_000),
            retention: Duration::from_hours(24),
            shards: BTreeMap::new(),
            iterators: HashMap::new(),
            next_shard: 0,
            next_number: 0,
            next_iterator: 0,
            page: 3,
            ends_late: false,
            behind_is_known: true,
            reads_per_second: None,
            faults: Faults::default(),
            calls: Calls::default(),
        };
        let stream = Arc::new(Self { clock: PausedClock::start(), state: Mutex::new(state) });
        for _ in 0..shards {
            stream.state().add_shard(vec![]);
        }
        stream
    }

    pub(super) fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(self.clock)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn life(&self) -> String {
        format!("{ARN}@{}", self.state().created.seconds())
    }

    /// Puts records with `data` of so many bytes into an open shard.
    pub(super) fn put_sized(&self, shard: &str, count: usize, bytes: usize) {
        let millis = self.clock.millis();
        let mut state = self.state();
        for _ in 0..count {
            state.next_number += 1;
            let number = state.next_number;
            let mut data = number.to_string().into_bytes();
            data.resize(data.len().max(bytes), b' ');
            let stored = state.shards.get_mut(shard).unwrap();
            assert!(!stored.is_closed);
            stored.records.push(Arrived { number, millis, data });
        }
    }

    pub(super) fn put(&self, shard: &str, count: usize) {
        self.put_sized(shard, count, 0);
    }

    pub(super) fn open_shards(&self) -> Vec<Arc<str>> {
        let state = self.state();
        state.shards.iter().filter(|(_, stored)| !stored.is_closed).map(|(id, _)| Arc::clone(id)).collect()
    }

    pub(super) fn split(&self, shard: &str) -> [Arc<str>; 2] {
        let mut state = self.state();
        let parent = state.close(shard);
        [state.add_shard(vec![Arc::clone(&parent)]), state.add_shard(vec![parent])]
    }

    pub(super) fn merge(&self, one: &str, other: &str) -> Arc<str> {
        let mut state = self.state();
        let parents = vec![state.close(one), state.close(other)];
        state.add_shard(parents)
    }

    /// The shard's retention is over: it is listed no more, and nobody can read it.
    pub(super) fn expire(&self, shard: &str) {
        self.state().shards.remove(shard);
    }

    pub(super) fn expire_iterators(&self) {
        self.state().iterators.clear();
    }

    pub(super) fn delete_and_make_anew(&self, shards: usize) {
        let now = self.clock.now_seconds();
        let mut state = self.state();
        state.created = now;
        state.shards.clear();
        state.iterators.clear();
        state.next_shard = 0;
        for _ in 0..shards {
            state.add_shard(vec![]);
        }
    }

    pub(super) fn fail(&self, set: impl FnOnce(&mut Faults)) {
        set(&mut self.state().faults);
    }

    pub(super) fn calls(&self) -> Calls {
        self.state().calls.clone()
    }

    /// An end comes in an answer of its own, not with the last records.
    pub(super) fn end_late(&self) {
        self.state().ends_late = true;
    }

    pub(super) fn say_nothing_of_being_behind(&self) {
        self.state().behind_is_known = false;
    }

    pub(super) fn allow_reads_per_second(&self, reads: u32) {
        self.state().reads_per_second = Some(reads);
    }

    /// The numbers of all records, by shard.
    pub(super) fn numbers(&self) -> BTreeMap<Arc<str>, Vec<u64>> {
        let state = self.state();
        let numbers = |stored: &Stored| stored.records.iter().map(|arrived| arrived.number).collect();
        state.shards.iter().map(|(id, stored)| (Arc::clone(id), numbers(stored))).collect()
    }

    pub(super) fn parents(&self) -> HashMap<Arc<str>, Vec<Arc<str>>> {
        let state = self.state();
        state.shards.iter().map(|(id, stored)| (Arc::clone(id), stored.parents.clone())).collect()
    }

    fn enter_call(
        &self,
        count: impl FnOnce(&mut Calls),
        fault: impl FnOnce(&mut Faults) -> &mut VecDeque<Failure>,
    ) -> Result<(), Failure> {
        let mut state = self.state();
        count(&mut state.calls);
        if let Some(failure) = &state.faults.all {
            return Err(failure.clone());
        }
        if let Some((per_mille, random)) = &mut state.faults.random
            && random.u32(..1_000) < *per_mille
        {
            let class = if random.bool() { ErrorClass::Transient } else { ErrorClass::Throttled };
            return Err(failure(class));
        }
        fault(&mut state.faults).pop_front().map_or(Ok(()), Err)
    }
}

impl State {
    fn add_shard(&mut self, parents: Vec<Arc<str>>) -> Arc<str> {
        let id: Arc<str> = format!("shardId-{:012}", self.next_shard).into();
        self.next_shard += 1;
        self.shards.insert(Arc::clone(&id), Stored { parents, ..Stored::default() });
        id
    }

    fn close(&mut self, shard: &str) -> Arc<str> {
        let (id, _) = self.shards.get_key_value(shard).unwrap();
        let id = Arc::clone(id);
        let stored = self.shards.get_mut(shard).unwrap();
        assert!(!stored.is_closed);
        stored.is_closed = true;
        id
    }

    /// An iterator for the first record with this number or a later one.
    fn iterator_at(&mut self, shard: &Arc<str>, number: u64) -> String {
        self.next_iterator += 1;
        let iterator = format!("i{}", self.next_iterator);
        let ends = Instant::now() + ITERATOR_LIFE;
        self.iterators.insert(iterator.clone(), (Arc::clone(shard), number, ends));
        iterator
    }
}

impl Stream for Arc<MemoryStream> {
    async fn describe(&self) -> Result<Summary, Failure> {
        sleep(LATENCY).await;
        self.enter_call(|calls| calls.describes += 1, |faults| &mut faults.describes)?;
        let state = self.state();
        Ok(Summary {
            arn: ARN.to_owned(),
            created: state.created,
            retention_seconds: state.retention.as_secs(),
            status: "ACTIVE".to_owned(),
            open_shards: 0,
            kms_key: None,
        })
    }

    async fn list(&self, token: Option<String>) -> Result<Page, Failure> {
        sleep(LATENCY).await;
        self.enter_call(|calls| calls.lists += 1, |faults| &mut faults.lists)?;
        let mut state = self.state();
        if token.is_some() && state.faults.expired_tokens > 0 {
            state.faults.expired_tokens -= 1;
            return Err(coded(ErrorClass::Transient, "ExpiredNextTokenException"));
        }
        let skip: usize = token.map_or(0, |token| token.parse().unwrap());
        let listed = |(id, stored): (&Arc<str>, &Stored)| ListedShard {
            id: Arc::clone(id),
            parents: stored.parents.clone(),
            is_closed: stored.is_closed,
        };
        let shards: Vec<ListedShard> = state.shards.iter().skip(skip).take(state.page).map(listed).collect();
        let next = skip + shards.len();
        Ok(Page { shards, next: (next < state.shards.len()).then(|| next.to_string()) })
    }

    async fn iterator(&self, shard: &str, position: &ShardPosition) -> Result<String, Failure> {
        sleep(LATENCY).await;
        self.enter_call(|calls| calls.iterators += 1, |faults| &mut faults.iterators)?;
        let mut state = self.state();
        let Some((id, stored)) = state.shards.get_key_value(shard) else {
            return Err(coded(ErrorClass::Fatal, "ResourceNotFoundException"));
        };
        let number = match position {
            ShardPosition::TrimHorizon => 0,
            ShardPosition::After(number) => number.parse::<u64>().unwrap() + 1,
            ShardPosition::Time(time) if i64::from(time.seconds()) * 1_000 > self.clock.millis() => {
                return Err(coded(ErrorClass::Poison, "InvalidArgumentException"));
            }
            ShardPosition::Time(time) => stored
                .records
                .iter()
                .find(|arrived| arrived.millis >= i64::from(time.seconds()) * 1_000)
                .map_or(u64::MAX, |arrived| arrived.number),
            ShardPosition::End | ShardPosition::Forgotten => panic!("nobody reads from {position:?}"),
        };
        let number = number.min(state.next_number + 1);
        let id = Arc::clone(id);
        Ok(state.iterator_at(&id, number))
    }

    async fn read(&self, iterator: &str) -> Result<Answer, Failure> {
        {
            let mut state = self.state();
            state.calls.reading += 1;
            state.calls.most_reading = state.calls.most_reading.max(state.calls.reading);
        }
        sleep(LATENCY).await;
        self.state().calls.reading -= 1;
        self.enter_call(|calls| calls.reads += 1, |faults| &mut faults.reads)?;
        let now_millis = self.clock.millis();
        let mut state = self.state();
        let Some((shard, from, ends)) = state.iterators.get(iterator).cloned() else {
            return Err(coded(ErrorClass::Transient, "ExpiredIteratorException"));
        };
        if ends < Instant::now() {
            return Err(coded(ErrorClass::Transient, "ExpiredIteratorException"));
        }
        let State { shards, reads_per_second, .. } = &mut *state;
        let Some(stored) = shards.get_mut(&shard) else {
            return Err(coded(ErrorClass::Fatal, "ResourceNotFoundException"));
        };
        if let Some(bound) = *reads_per_second {
            let now = Instant::now();
            stored.reads.retain(|read| now - *read < Duration::from_secs(1));
            if stored.reads.len() >= usize::try_from(bound).unwrap() {
                return Err(coded(ErrorClass::Throttled, "ProvisionedThroughputExceededException"));
            }
            stored.reads.push_back(now);
        }
        let mut rest = stored.records.iter().filter(|arrived| arrived.number >= from);
        let mut bytes = 0;
        let records: Vec<Record> = rest
            .by_ref()
            .take(1_000)
            .take_while(|arrived| {
                bytes += arrived.data.len();
                bytes <= 10 * 1024 * 1024
            })
            .map(|arrived| Record { sequence_number: arrived.number.to_string(), data: arrived.data.clone() })
            .collect();
        let last = records.last().map(|record| record.sequence_number.parse::<u64>().unwrap());
        let place = last.map_or(from, |number| number + 1);
        let has_all = stored.records.last().is_none_or(|newest| newest.number < place);
        let at = |number: u64| stored.records.iter().find(|arrived| arrived.number == number);
        let behind = if has_all { 0 } else { last.and_then(at).map_or(0, |a| now_millis - a.millis).max(1) };
        let is_end = stored.is_closed && has_all && (records.is_empty() || !state.ends_late);
        let next = (!is_end).then(|| state.iterator_at(&shard, place));
        let behind_millis = state.behind_is_known.then(|| u64::try_from(behind).unwrap());
        Ok(Answer { records, next, behind_millis })
    }
}

pub(super) fn failure(class: ErrorClass) -> Failure {
    Failure { class, ..Failure::transient("kinesis:Test", "injected") }
}

pub(super) fn coded(class: ErrorClass, code: &str) -> Failure {
    Failure { code: Some(code.to_owned()), ..failure(class) }
}

/// Commits everything in the order of its arrival, `COMMIT` later, while commits are allowed.
#[derive(Clone)]
pub(super) struct Pipeline {
    ledger: Arc<Mutex<Ledger>>,
    arriving: mpsc::UnboundedSender<Batch>,
    commits: watch::Sender<bool>,
}

/// What a pipeline has seen, and what is durable.
#[derive(Default)]
pub(super) struct Ledger {
    /// Everything that was handed over, in order.
    pub(super) handed: Vec<Handed>,
    pub(super) durable: BTreeMap<(String, String), ShardPosition>,
    pub(super) committed: HashSet<String>,
    pub(super) marks: Vec<SourceMark>,
    /// Messages with these numbers can be neither applied nor kept.
    pub(super) unkeepable: HashSet<u64>,
    /// How long taking a batch over takes.
    pub(super) submit_takes: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Handed {
    pub(super) numbers: Vec<u64>,
    pub(super) ids: Vec<String>,
    pub(super) checkpoint: Checkpoint,
}

impl Pipeline {
    /// A pipeline on top of what is durable already.
    pub(super) fn on(durable: BTreeMap<(String, String), ShardPosition>) -> Self {
        let ledger = Arc::new(Mutex::new(Ledger { durable, ..Ledger::default() }));
        let (arriving, mut batches) = mpsc::unbounded_channel::<Batch>();
        let (commits, mut allowed) = watch::channel(true);
        let committing = Arc::clone(&ledger);
        tokio::spawn(async move {
            let mut epoch = Vec::new();
            while batches.recv_many(&mut epoch, 1_000).await > 0 {
                sleep(COMMIT).await;
                if allowed.wait_for(|allowed| *allowed).await.is_err() {
                    return;
                }
                for batch in epoch.drain(..) {
                    committing.lock().unwrap().commit(batch);
                }
            }
        });
        Self { ledger, arriving, commits }
    }

    pub(super) fn new() -> Self {
        Self::on(BTreeMap::new())
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    pub(super) fn commit(&self, allowed: bool) {
        self.commits.send_replace(allowed);
    }

    pub(super) fn numbers(&self) -> Vec<u64> {
        self.ledger().handed.iter().flat_map(|handed| handed.numbers.clone()).collect()
    }
}

impl Ledger {
    fn commit(&mut self, batch: Batch) {
        let numbers: Vec<u64> = batch.messages.iter().map(|message| number_of(&message.body)).collect();
        let receipts: Vec<Receipt> = batch.messages.iter().map(|message| message.receipt).collect();
        if numbers.iter().any(|number| self.unkeepable.contains(number)) {
            batch.acks.leave(receipts);
            return;
        }
        self.committed.extend(batch.messages.iter().map(|message| message.id.to_string()));
        let checkpoint = batch.checkpoint.unwrap();
        let place = (checkpoint.stream.to_string(), checkpoint.shard.to_string());
        if checkpoint.at == ShardPosition::Forgotten {
            self.durable.remove(&place);
        } else {
            self.durable.insert(place, checkpoint.at);
        }
        batch.acks.ack(receipts);
    }

    pub(super) fn checkpoints(&self) -> Vec<Checkpoint> {
        let checkpoint = |((stream, shard), at): (&(String, String), &ShardPosition)| Checkpoint {
            stream: stream.as_str().into(),
            shard: shard.as_str().into(),
            at: at.clone(),
        };
        self.durable.iter().map(checkpoint).collect()
    }
}

fn number_of(body: &[u8]) -> u64 {
    String::from_utf8(body.to_vec()).unwrap().trim().parse().unwrap()
}

impl Intake for Pipeline {
    async fn submit(&self, batch: Batch) {
        let numbers: Vec<u64> = batch.messages.iter().map(|message| number_of(&message.body)).collect();
        let (is_unkeepable, takes) = {
            let mut ledger = self.ledger();
            ledger.handed.push(Handed {
                numbers: numbers.clone(),
                ids: batch.messages.iter().map(|message| message.id.to_string()).collect(),
                checkpoint: batch.checkpoint.clone().unwrap(),
            });
            (numbers.iter().any(|number| ledger.unkeepable.contains(number)), ledger.submit_takes)
        };
        sleep(takes).await;
        let acks = Arc::downgrade(&batch.acks);
        // The pipeline's end may be gone in a test of stopping.
        let _ = self.arriving.send(batch);
        if is_unkeepable {
            while acks.strong_count() > 0 {
                sleep(Duration::from_millis(10)).await;
            }
        }
    }

    fn note(&self, source: &Arc<str>, mark: SourceMark) {
        assert_eq!(&**source, "bus");
        self.ledger().marks.push(mark);
    }
}
