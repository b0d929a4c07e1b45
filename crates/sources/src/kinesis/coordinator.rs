//! Keeps a reader at every shard that may be read, and says how complete the source is.
//!
//! It looks at the stream (which life, which retention, which shards) at the start, every 60 s, when a shard has ended,
//! and when a reader is told that something does not exist. A look that fails changes nothing: what is known stays, the
//! readers go on, and the look is repeated. Marks are noted at the start, every 60 s, and when the last reader has ended.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dormouse_aws::{Backoff, Failure};
use dormouse_model::{Checkpoint, DeadLetters, EventTime, Lost, SourceMark};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::lineage::{Lineage, life_of};
use super::reader::{Ending, Reader, SLOW_RETRY};
use super::source::Shared;
use super::stream::{LIST, ListedShard, Stream, Summary, is_expired};
use crate::health::Work;
use crate::{Acknowledge, Batch, Intake, SourceError};

/// How often the stream is looked at when nothing calls for it.
const LOOK_INTERVAL: Duration = Duration::from_mins(1);
/// Looks are at least so far apart, whatever calls for them: `DescribeStreamSummary` is allowed 20 times a second in an
/// account.
const LOOK_SPACING: Duration = Duration::from_secs(1);
const MARK_INTERVAL: Duration = Duration::from_mins(1);
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(30);
/// A list with more parts than this has no end.
const MOST_PAGES: usize = 1_000;

pub(crate) struct Coordinator<S, I> {
    shared: Arc<Shared<S>>,
    intake: Arc<I>,
    stop: CancellationToken,
    /// What was known at the start; used up by the first look.
    checkpoints: Vec<Checkpoint>,
    lineage: Option<Lineage>,
    readers: JoinSet<Ending>,
    handles: HashMap<Arc<str>, AbortHandle>,
    backoff: Backoff,
    next_look: Instant,
    next_mark: Instant,
    is_looking_well: bool,
    seen: Seen,
}

/// What the last looks have shown.
#[derive(Default)]
struct Seen {
    retention_seconds: Option<u64>,
    /// When the newest look began.
    at: EventTime,
    /// Everything before it was handed over: the latest time of which that was ever known.
    caught_up: Option<EventTime>,
}

impl<S: Stream, I: Intake> Coordinator<S, I> {
    pub(crate) fn new(
        shared: Arc<Shared<S>>,
        intake: Arc<I>,
        checkpoints: Vec<Checkpoint>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            shared,
            intake,
            stop,
            checkpoints,
            lineage: None,
            readers: JoinSet::new(),
            handles: HashMap::new(),
            backoff: Backoff::new(FIRST_RETRY, LAST_RETRY),
            next_look: Instant::now(),
            next_mark: Instant::now() + MARK_INTERVAL,
            is_looking_well: true,
            seen: Seen::default(),
        }
    }

    /// Runs until `stop` is cancelled and every reader has handed over what it held. Dropping the future abandons that.
    pub(crate) async fn run(mut self) -> Result<(), SourceError> {
        let stop = self.stop.clone();
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep_until(self.next_look) => self.look().await,
                () = self.shared.looks.asked() => self.hurry(),
                Some(ended) = self.readers.join_next() => self.take_leave(ended)?,
                () = tokio::time::sleep_until(self.next_mark) => self.mark(None),
            }
        }
        while let Some(ended) = self.readers.join_next().await {
            self.take_leave(ended)?;
        }
        self.mark(None);
        Ok(())
    }

    /// The next look comes soon, unless the last one failed: then it comes when it is repeated.
    fn hurry(&mut self) {
        if self.is_looking_well {
            self.next_look = self.next_look.min(Instant::now() + LOOK_SPACING);
        }
    }

    async fn look(&mut self) {
        let number = self.shared.looks.begin();
        let begun = self.shared.clock.now_seconds();
        let Some(found) = self.stop.clone().run_until_cancelled(find(&self.shared.stream)).await else {
            return;
        };
        self.is_looking_well = found.is_ok();
        match found {
            Ok((summary, list)) => {
                self.backoff.reset();
                self.next_look = Instant::now() + LOOK_INTERVAL;
                self.shared.monitor.succeeded(Work::ListShards);
                self.take_in(&summary, &list, begun).await;
                self.shared.looks.end(number);
            }
            Err(failure) => {
                self.shared.stats.errors[failure.class.number()].add(1);
                self.shared.monitor.failed(Work::ListShards, &failure);
                let passes = failure.class.is_passing();
                let delay = if passes { self.backoff.next_delay() } else { SLOW_RETRY };
                self.next_look = Instant::now() + delay;
            }
        }
    }

    async fn take_in(&mut self, summary: &Summary, list: &[ListedShard], begun: EventTime) {
        self.seen.retention_seconds = Some(summary.retention_seconds).filter(|&seconds| seconds > 0);
        let forgotten = match &mut self.lineage {
            Some(lineage) if *lineage.life() == *life_of(summary) => {
                self.seen.at = begun;
                let mut forgotten = lineage.update(list);
                forgotten.extend(self.forget_what_is_gone());
                forgotten
            }
            _ => self.begin_a_life(summary, list, begun).await,
        };
        self.start_readers();
        for checkpoint in forgotten {
            self.hand_over_position(checkpoint).await;
        }
    }

    /// A reader was told that its shard does not exist, and the list agrees: its records' retention is over.
    fn forget_what_is_gone(&mut self) -> Vec<Checkpoint> {
        let missed = self.shared.looks.take_missed();
        let Some(lineage) = &mut self.lineage else {
            return Vec::new();
        };
        let mut forgotten = Vec::new();
        for shard in &missed {
            if lineage.is_listed(shard) {
                continue;
            }
            // Only shards that are being read can be missed.
            let Some(reader) = self.handles.remove(shard) else {
                continue;
            };
            let (source, shard_id) = (&*self.shared.name, &**shard);
            tracing::warn!(source, shard = shard_id, "the shard is gone before it was read to its end");
            reader.abort();
            self.shared.progress.remove(shard);
            self.shared.troubles.forget(shard);
            forgotten.push(lineage.forget(shard));
        }
        forgotten
    }

    /// Hands over where every shard starts. Returns what is to be forgotten.
    async fn begin_a_life(
        &mut self,
        summary: &Summary,
        list: &[ListedShard],
        begun: EventTime,
    ) -> Vec<Checkpoint> {
        let mut known = std::mem::take(&mut self.checkpoints);
        if let Some(lineage) = self.lineage.take() {
            known.extend(lineage.remains());
            self.end_readers().await;
        }
        let now = self.shared.clock.now_seconds();
        let start = self.shared.options.start;
        let (lineage, beginning) = Lineage::begin(summary, list, &known, start, now);
        let lost = beginning.lost.map(|lost| self.narrowed(lost));
        if let Some(lost) = &lost {
            let (source, reason) = (&*self.shared.name, &*lost.reason);
            tracing::warn!(source, from = %lost.from, until = %lost.until, "{reason}");
        }
        self.seen.at = begun;
        self.lineage = Some(lineage);
        // Before the positions: once they are durable, nobody will know of the loss any more.
        self.mark(lost);
        for position in beginning.positions {
            self.hand_over_position(position).await;
        }
        beginning.forgotten
    }

    /// What was handed over in this run is not lost.
    fn narrowed(&self, lost: Lost) -> Lost {
        let from = self.seen.caught_up.map_or(lost.from, |caught_up| lost.from.max(caught_up));
        Lost { from: from.min(lost.until), ..lost }
    }

    async fn hand_over_position(&self, checkpoint: Checkpoint) {
        let (handed, _) = self.shared.flight.hand(0);
        let batch = Batch {
            source: Arc::clone(&self.shared.name),
            messages: Vec::new(),
            acks: handed as Arc<dyn Acknowledge>,
            checkpoint: Some(checkpoint),
        };
        self.intake.submit(batch).await;
    }

    fn start_readers(&mut self) {
        let Some(lineage) = &mut self.lineage else {
            return;
        };
        if !self.stop.is_cancelled() {
            for (shard, position) in lineage.take_readable() {
                self.shared.progress.enter(&shard);
                let (id, life) = (Arc::clone(&shard), lineage.life());
                let reader = Reader::new(&self.shared, &self.intake, &self.stop, life, shard, position);
                self.handles.insert(id, self.readers.spawn(reader.run()));
            }
        }
        self.show_census();
    }

    async fn end_readers(&mut self) {
        self.readers.shutdown().await;
        for (shard, _) in self.handles.drain() {
            self.shared.progress.remove(&shard);
            self.shared.troubles.forget(&shard);
        }
        self.shared.looks.take_missed();
    }

    fn take_leave(&mut self, ended: Result<Ending, JoinError>) -> Result<(), SourceError> {
        match ended {
            Ok(Ending::Finished(shard)) => {
                self.handles.remove(&shard);
                self.shared.progress.remove(&shard);
                self.shared.troubles.forget(&shard);
                if let Some(lineage) = &mut self.lineage {
                    lineage.finish(&shard);
                }
                self.hurry();
                self.start_readers();
            }
            Ok(Ending::Stopped) => {}
            Err(error) if error.is_cancelled() => {}
            Err(_) => {
                return Err(SourceError::Panicked {
                    name: Arc::clone(&self.shared.name),
                    task: "reader of a shard",
                });
            }
        }
        Ok(())
    }

    fn mark(&mut self, lost: Option<Lost>) {
        self.next_mark = Instant::now() + MARK_INTERVAL;
        let Some(lineage) = &self.lineage else {
            return;
        };
        let caught_up = self.shared.progress.caught_up(|shard| lineage.may_be_past(shard));
        // What arrived since the last look may be in shards that nobody knows of yet.
        let caught_up = caught_up.map(|time| time.min(self.seen.at));
        self.seen.caught_up = self.seen.caught_up.max(caught_up);
        let mark = SourceMark {
            at: self.shared.clock.now_seconds(),
            caught_up: self.seen.caught_up,
            retention_seconds: self.seen.retention_seconds,
            dead_letters: DeadLetters::None,
            lost,
            // Another life of the same stream is told as lost.
            of: lineage.life().rsplit_once('@').map(|(arn, _)| arn.into()),
        };
        self.intake.note(&self.shared.name, mark);
    }

    fn show_census(&self) {
        let census = self.lineage.as_ref().map(Lineage::census).unwrap_or_default();
        let stats = &self.shared.stats;
        stats.shards_known.set(census.known);
        stats.shards_open.set(census.open);
        stats.shards_reading.set(census.reading);
        stats.shards_finished.set(census.finished);
    }
}

/// Asks which life of the stream this is, and for its shards.
pub(crate) async fn find<S: Stream>(stream: &S) -> Result<(Summary, Vec<ListedShard>), Failure> {
    let summary = stream.describe().await?;
    let list = list_all(stream).await?;
    if list.is_empty() {
        return Err(Failure::transient(LIST, "the stream has no shards yet"));
    }
    Ok((summary, list))
}

async fn list_all<S: Stream>(stream: &S) -> Result<Vec<ListedShard>, Failure> {
    let mut list = Vec::new();
    let mut token = None;
    for _ in 0..MOST_PAGES {
        match stream.list(token.take()).await {
            Ok(page) => {
                list.extend(page.shards);
                token = page.next;
                if token.is_none() {
                    return Ok(list);
                }
            }
            // What was listed may have changed since: begin again.
            Err(failure) if is_expired(&failure) => list.clear(),
            Err(failure) => return Err(failure),
        }
    }
    Err(Failure::transient(LIST, "the list of shards has no end"))
}
