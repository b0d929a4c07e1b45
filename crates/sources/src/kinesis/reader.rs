//! Reads one shard, from a position to its end.
//!
//! Iterator → read → hand over, one batch an answer, so the position of an answer is in the epoch of its effects. The
//! reader goes on without waiting for the commit. Only when something of an answer could be neither applied nor kept
//! does it stand still: the intake then returns after the batch was left, and the reader reads again from where it was.
//!
//! Everything that goes wrong ends in a wait and another try from the same position:
//!
//! | what | then |
//! |---|---|
//! | the iterator is too old | a new one behind the last record handed over |
//! | throttled | half the pace, with jitter ([`Pace`]) |
//! | passing trouble | 200 ms to 20 s |
//! | denied | 30 s |
//! | no such stream, shard or position | another look at the stream first: it may be a new one by the same name |
//!
//! On stop, a read on its way is abandoned: nothing has moved yet. What is being handed over is handed over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dormouse_aws::{Backoff, ErrorClass, Failure};
use dormouse_model::{Checkpoint, ShardPosition};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::budget::Reservation;
use super::pace::Pace;
use super::source::Shared;
use super::stream::{Answer, RECORDS, Record, Stream, is_expired, is_not_found};
use crate::health::Work;
use crate::{Acknowledge, Batch, Intake, Message, Receipt};

/// How often something is tried that only a person can repair.
pub(crate) const SLOW_RETRY: Duration = Duration::from_secs(30);
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(20);
const FIRST_STANDSTILL: Duration = Duration::from_secs(1);
const LAST_STANDSTILL: Duration = Duration::from_secs(30);
/// What a record costs beside its data.
const RECORD_OVERHEAD: usize = 128;

const STANDSTILL_ADVICE: &str = "the quarantine is full: inspect it or raise store.quarantine_bytes";

/// How a reader ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// The shard's end was handed over.
    Finished(Arc<str>),
    /// The source is to stop.
    Stopped,
}

pub(crate) struct Reader<S, I> {
    shared: Arc<Shared<S>>,
    intake: Arc<I>,
    stop: CancellationToken,
    life: Arc<str>,
    shard: Arc<str>,
    /// Behind everything that was handed over.
    position: ShardPosition,
    /// Continues at `position`, if there is one.
    iterator: Option<String>,
    pace: Pace,
    backoff: Backoff,
    standstill: Backoff,
    /// Failures since the last answer.
    failures: u32,
    /// Whether the newest answer was handed over without anything of it being left.
    moves: bool,
}

/// An answer, and what it took.
struct Read {
    answer: Answer,
    reservation: Reservation,
    /// When it was asked for: by wall time, in milliseconds since 1970, and by tokio's clock.
    asked_millis: i64,
    begun: Instant,
}

impl<S: Stream, I: Intake> Reader<S, I> {
    pub(crate) fn new(
        shared: &Arc<Shared<S>>,
        intake: &Arc<I>,
        stop: &CancellationToken,
        life: &str,
        shard: Arc<str>,
        position: ShardPosition,
    ) -> Self {
        Self {
            shared: Arc::clone(shared),
            intake: Arc::clone(intake),
            stop: stop.clone(),
            life: life.into(),
            shard,
            position,
            iterator: None,
            pace: Pace::new(shared.options.reads_per_second, fastrand::Rng::new()),
            backoff: Backoff::new(FIRST_RETRY, LAST_RETRY),
            standstill: Backoff::new(FIRST_STANDSTILL, LAST_STANDSTILL),
            failures: 0,
            moves: true,
        }
    }

    pub(crate) async fn run(mut self) -> Ending {
        let stop = self.stop.clone();
        loop {
            match stop.run_until_cancelled(self.read()).await {
                None => return Ending::Stopped,
                Some(Ok(read)) => {
                    if self.hand_over(read).await {
                        return Ending::Finished(self.shard);
                    }
                }
                Some(Err(failure)) => {
                    if stop.run_until_cancelled(self.wait_after(&failure)).await.is_none() {
                        return Ending::Stopped;
                    }
                }
            }
        }
    }

    async fn read(&mut self) -> Result<Read, Failure> {
        self.pace.wait().await;
        let iterator = match self.iterator.take() {
            Some(iterator) => iterator,
            None => self.shared.stream.iterator(&self.shard, &self.position).await?,
        };
        let mut reservation = self.shared.budget.reserve().await;
        let asked_millis = self.shared.clock.now().as_millisecond();
        let begun = Instant::now();
        self.pace.begin();
        let answer = match self.shared.stream.read(&iterator).await {
            Ok(answer) => answer,
            Err(failure) => {
                // The same iterator reads the same records again.
                self.iterator = failure.class.is_passing().then_some(iterator);
                return Err(failure);
            }
        };
        reservation.shrink_to(size_of(&answer.records));
        Ok(Read { answer, reservation, asked_millis, begun })
    }

    /// Returns whether the shard's end was handed over.
    async fn hand_over(&mut self, read: Read) -> bool {
        let Read { answer, reservation, asked_millis, begun } = read;
        let Answer { records, next, behind_millis } = answer;
        self.note_answer(&records, behind_millis, begun);
        let is_end = next.is_none();
        let position = match records.last() {
            _ if is_end => ShardPosition::End,
            Some(record) => ShardPosition::After(record.sequence_number.as_str().into()),
            None => self.position.clone(),
        };
        if (is_end || !records.is_empty()) && !self.submit(records, position.clone()).await {
            drop(reservation);
            self.stand_still().await;
            return false;
        }
        drop(reservation);
        self.moved_on();
        self.position = position;
        self.iterator = next;
        // At its end a shard has no more to say: what arrived since is in its children.
        if !is_end {
            self.shared.progress.reached(&self.shard, asked_millis, behind_millis.unwrap_or(0));
        }
        is_end
    }

    fn note_answer(&mut self, records: &[Record], behind_millis: Option<u64>, begun: Instant) {
        let stats = &self.shared.stats;
        stats.reads.add(1);
        stats.received.add(records.len());
        stats.received_bytes.add(records.iter().map(|record| record.data.len()).sum());
        if records.is_empty() {
            stats.empty_reads.add(1);
        }
        self.failures = 0;
        self.backoff.reset();
        self.shared.troubles.succeeded(Work::Receive, &self.shard);
        // An answer that is full says that there is more, whatever it says beside that.
        let is_full = records.len() >= usize::try_from(self.shared.options.max_records).unwrap_or(usize::MAX);
        let is_all = behind_millis.map_or(records.is_empty(), |behind| behind == 0) && !is_full;
        let pause = if is_all { self.shared.options.poll_interval } else { Duration::ZERO };
        self.pace.answered(begun, pause);
    }

    /// Returns whether nothing of it was left.
    async fn submit(&self, records: Vec<Record>, position: ShardPosition) -> bool {
        let (handed, is_left) = self.shared.flight.hand(records.len());
        let messages = records.into_iter().map(|record| self.message(record)).collect();
        let checkpoint =
            Checkpoint { stream: (*self.life).into(), shard: (*self.shard).into(), at: position };
        let batch = Batch {
            source: Arc::clone(&self.shared.name),
            messages,
            acks: handed as Arc<dyn Acknowledge>,
            checkpoint: Some(checkpoint),
        };
        self.intake.submit(batch).await;
        !was_left(&is_left)
    }

    fn message(&self, record: Record) -> Message {
        Message {
            id: format!("{}:{}", self.shard, record.sequence_number).into(),
            body: record.data,
            receipt: self.shared.next_receipt(),
            receive_count: 1,
        }
    }

    async fn stand_still(&mut self) {
        self.iterator = None;
        self.moves = false;
        let words = format!("a record of shard {} can neither be applied nor kept", self.shard);
        let failure = Failure { class: ErrorClass::Poison, ..Failure::transient(RECORDS, &words) };
        self.shared.troubles.stands_still(&self.shard, &failure, STANDSTILL_ADVICE);
        let delay = self.standstill.next_delay();
        self.stop.run_until_cancelled(tokio::time::sleep(delay)).await;
    }

    fn moved_on(&mut self) {
        if !self.moves {
            self.moves = true;
            self.standstill.reset();
            self.shared.troubles.succeeded(Work::MoveOn, &self.shard);
        }
    }

    async fn wait_after(&mut self, failure: &Failure) {
        if is_expired(failure) {
            self.shared.stats.expired_iterators.add(1);
            self.iterator = None;
            return;
        }
        self.failures = self.failures.saturating_add(1);
        self.shared.stats.errors[failure.class.number()].add(1);
        self.shared.troubles.failed(&self.shard, failure, self.failures);
        match failure.class {
            ErrorClass::Throttled => {
                self.shared.stats.throttled.add(1);
                self.pace.throttled();
                self.pace.wait().await;
            }
            ErrorClass::Transient => tokio::time::sleep(self.backoff.next_delay()).await,
            ErrorClass::Denied => tokio::time::sleep(SLOW_RETRY).await,
            // E.g. a time that has not come yet for Kinesis, because this machine's clock is ahead.
            ErrorClass::Poison => {
                let delay = self.backoff.next_delay();
                self.wait_for_another_look(failure, delay).await;
            }
            ErrorClass::Fatal => self.wait_for_another_look(failure, SLOW_RETRY).await,
        }
    }

    /// The stream may be gone, or another one by now, in which a position of the old one means nothing.
    async fn wait_for_another_look(&self, failure: &Failure, at_least: Duration) {
        let looks = &self.shared.looks;
        let look = looks.ask();
        if is_not_found(failure) {
            looks.miss(&self.shard);
        }
        tokio::join!(tokio::time::sleep(at_least), looks.wait_for(look));
    }
}

fn was_left(is_left: &AtomicBool) -> bool {
    is_left.load(Ordering::Acquire)
}

fn size_of(records: &[Record]) -> usize {
    records.iter().map(|record| record.data.len() + record.sequence_number.len() + RECORD_OVERHEAD).sum()
}

impl<S> Shared<S> {
    fn next_receipt(&self) -> Receipt {
        Receipt::new(self.receipts.fetch_add(1, Ordering::Relaxed))
    }
}
