//! The parts of a Kinesis source, put together.
//!
//! A source runs until it is asked to stop: no shard is read any more; what was read is handed over; the pipeline commits
//! it, which needs no word from here; [`KinesisSource::run`] returns. What is not committed within the grace period is
//! read again after the next start, because its position did not become durable.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use aws_sdk_kinesis::Client;
use dormouse_aws::{ErrorClass, Failure};
use dormouse_model::{Checkpoint, Clock, EventTime, ShardPosition};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::budget::Budget;
use super::coordinator::{Coordinator, find};
use super::flight::Flight;
use super::looks::Looks;
use super::options::KinesisOptions;
use super::progress::Progress;
use super::stats::KinesisStats;
use super::stream::{SdkStream, Stream};
use super::troubles::Troubles;
use crate::health::{Monitor, Phase, SourceHealth, Work};
use crate::{Intake, SourceError};

/// A Kinesis stream that records are read from. Nothing happens before [`run`](Self::run).
#[derive(Debug)]
pub struct KinesisSource {
    parts: Parts<SdkStream>,
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KinesisSummary {
    /// Records that were read, those read again included.
    pub received: u64,
    /// Batches handed over to the intake.
    pub submitted: u64,
    /// Records that were acknowledged.
    pub acknowledged: u64,
    /// Records that were left, and read again or to be read again.
    pub left: u64,
    /// Batches that were neither acknowledged nor left by the end of the grace period; they are read again.
    pub unsettled: u64,
}

impl KinesisSummary {
    /// Whether everything that was handed over had come to its end.
    pub fn is_drained(&self) -> bool {
        self.unsettled == 0
    }
}

impl fmt::Display for KinesisSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { received, submitted, acknowledged, left, unsettled } = self;
        write!(
            f,
            "received {received}, submitted {submitted} batches, acknowledged {acknowledged}, left {left}"
        )?;
        if !self.is_drained() {
            write!(f, ", batches not acknowledged in time {unsettled}")?;
        }
        Ok(())
    }
}

/// What Kinesis says about a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamFacts {
    /// The stream's ARN.
    pub arn: String,
    /// Its status in Kinesis' words, e.g. `ACTIVE`.
    pub status: String,
    /// When it was created.
    pub created: EventTime,
    /// For how many seconds it keeps a record.
    pub retention_seconds: u64,
    /// How many shards take records now.
    pub open_shards: u64,
    /// How many shards are listed, those included that are closed and still hold records.
    pub listed_shards: usize,
    /// The KMS key that encrypts the stream, as the stream names it: its use must be granted, too.
    pub kms_key: Option<String>,
}

impl KinesisSource {
    /// A source that reads through `client`, whose Region must be the stream's, on from `checkpoints`: all that were
    /// durable for this source. The client's own retries are not used. `clock` tells what is now for a start at the latest
    /// records, and how far the source has come.
    pub fn new(
        client: &Client,
        options: KinesisOptions,
        checkpoints: Vec<Checkpoint>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let stream = SdkStream::new(client, &options);
        Self { parts: Parts::new(stream, options, checkpoints, clock) }
    }

    /// The counters and gauges, to keep while the source runs.
    pub fn stats(&self) -> Arc<KinesisStats> {
        Arc::clone(&self.parts.shared.stats)
    }

    /// What works and what does not, now and as it changes.
    pub fn health(&self) -> watch::Receiver<SourceHealth> {
        self.parts.shared.monitor.subscribe()
    }

    /// Asks Kinesis about the stream, to find wrong settings and missing permissions before anything runs. Reads nothing.
    ///
    /// # Errors
    /// If an option cannot work, or with Kinesis' answer and what to do about it.
    pub async fn check(&self) -> Result<StreamFacts, SourceError> {
        let shared = &self.parts.shared;
        shared.options.validate()?;
        look_through(&shared.stream).await.map_err(|(work, failure)| SourceError::Aws {
            name: Arc::clone(&shared.name),
            advice: advice(work, failure.class),
            failure: Box::new(failure),
        })
    }

    /// Reads until `stop` is cancelled, then waits for at most `grace` for what was handed over. Errors of Kinesis do not
    /// end it; they are retried, and shown in [`health`](Self::health).
    ///
    /// # Errors
    /// If an option cannot work, or if a task panicked.
    pub async fn run<I: Intake>(
        self,
        intake: Arc<I>,
        stop: CancellationToken,
        grace: Duration,
    ) -> Result<KinesisSummary, SourceError> {
        self.parts.shared.options.validate()?;
        self.parts.run(intake, stop, grace).await
    }
}

async fn look_through<S: Stream>(stream: &S) -> Result<StreamFacts, (Work, Failure)> {
    let (summary, list) = find(stream).await.map_err(|failure| (Work::ListShards, failure))?;
    if let Some(shard) = list.last() {
        let iterator = stream.iterator(&shard.id, &ShardPosition::TrimHorizon).await;
        iterator.map_err(|failure| (Work::Receive, failure))?;
    }
    Ok(StreamFacts {
        arn: summary.arn,
        status: summary.status,
        created: summary.created,
        retention_seconds: summary.retention_seconds,
        open_shards: summary.open_shards,
        listed_shards: list.len(),
        kms_key: summary.kms_key,
    })
}

/// What a person can do about a failure of this class.
const fn advice(work: Work, class: ErrorClass) -> &'static str {
    match (class, work) {
        (ErrorClass::Transient, _) => "retrying by itself",
        (ErrorClass::Throttled, _) => {
            "slowing down by itself; other consumers of the stream share its five reads a second and shard"
        }
        (ErrorClass::Denied, Work::ListShards) => {
            "give Dormouse's role kinesis:DescribeStreamSummary and kinesis:ListShards on the stream; it is retried \
             every 30 s"
        }
        (ErrorClass::Denied, _) => {
            "give Dormouse's role kinesis:GetShardIterator and kinesis:GetRecords on the stream, and kms:Decrypt on the \
             key that encrypts it; it is retried every 30 s"
        }
        (ErrorClass::Poison, Work::ListShards) => {
            "check the source's stream: it must be a stream's name or ARN; it is retried every 30 s"
        }
        (ErrorClass::Poison, _) => {
            "the position is none of this stream, or this machine's clock is ahead; it is retried by itself"
        }
        (ErrorClass::Fatal, _) => {
            "check the source's stream and its Region, and the state of the key that encrypts it; it is retried every \
             30 s"
        }
    }
}

/// What all tasks of a source share.
pub(crate) struct Shared<S> {
    pub(crate) name: Arc<str>,
    pub(crate) options: KinesisOptions,
    pub(crate) stream: S,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) budget: Budget,
    pub(crate) flight: Arc<Flight>,
    pub(crate) looks: Looks,
    pub(crate) progress: Progress,
    pub(crate) troubles: Troubles,
    pub(crate) monitor: Monitor,
    pub(crate) stats: Arc<KinesisStats>,
    /// The number of the next receipt.
    pub(crate) receipts: AtomicU64,
}

impl<S: fmt::Debug> fmt::Debug for Shared<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("options", &self.options)
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

/// A source for any kind of stream, ready to run.
#[derive(Debug)]
pub(crate) struct Parts<S> {
    pub(crate) shared: Arc<Shared<S>>,
    checkpoints: Vec<Checkpoint>,
}

impl<S: Stream> Parts<S> {
    pub(crate) fn new(
        stream: S,
        options: KinesisOptions,
        checkpoints: Vec<Checkpoint>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let stats = Arc::<KinesisStats>::default();
        let monitor = Monitor::new(Arc::clone(&options.name), advice);
        let shared = Shared {
            name: Arc::clone(&options.name),
            stream,
            clock,
            budget: Budget::new(options.in_flight_bytes),
            flight: Flight::new(Arc::clone(&stats)),
            looks: Looks::default(),
            progress: Progress::new(Arc::clone(&stats)),
            troubles: Troubles::new(monitor.clone()),
            monitor,
            stats,
            receipts: AtomicU64::new(0),
            options,
        };
        Self { shared: Arc::new(shared), checkpoints }
    }

    pub(crate) async fn run<I: Intake>(
        self,
        intake: Arc<I>,
        stop: CancellationToken,
        grace: Duration,
    ) -> Result<KinesisSummary, SourceError> {
        let Self { shared, checkpoints } = self;
        let coordinator = Coordinator::new(Arc::clone(&shared), intake, checkpoints, stop.clone());
        let outcome = tokio::select! {
            outcome = read_and_drain(&shared, coordinator) => outcome,
            () = end_of_grace(&shared, &stop, grace) => Ok(()),
        };
        shared.monitor.enter(Phase::Stopped);
        shared.stats.shards_reading.set(0);
        outcome.map(|()| KinesisSummary {
            received: shared.stats.received.get(),
            submitted: shared.stats.submitted.get(),
            acknowledged: shared.stats.acknowledged.get(),
            left: shared.stats.left.get(),
            unsettled: u64::try_from(shared.flight.len()).unwrap_or(u64::MAX),
        })
    }
}

async fn read_and_drain<S: Stream, I: Intake>(
    shared: &Shared<S>,
    coordinator: Coordinator<S, I>,
) -> Result<(), SourceError> {
    // The intake goes with the coordinator: the pipeline sees that nothing more will come.
    coordinator.run().await?;
    shared.flight.wait_until_empty().await;
    Ok(())
}

async fn end_of_grace<S>(shared: &Shared<S>, stop: &CancellationToken, grace: Duration) {
    stop.cancelled().await;
    shared.monitor.enter(Phase::Draining);
    tokio::time::sleep(grace).await;
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
