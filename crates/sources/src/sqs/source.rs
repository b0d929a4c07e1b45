//! The parts of an SQS source, put together.
//!
//! A source runs until it is asked to stop, and then drains in this order: the pollers end; the pipeline commits what it
//! holds and acknowledges it, which needs no word from here; the deletes are flushed; [`SqsSource::run`] returns. What
//! is not done within the grace period is abandoned: messages without an acknowledgement are made visible again at
//! once, for another replica, and acknowledged ones that could not be deleted come back by themselves. Both are counted
//! in the [`SourceSummary`]; neither is a loss, because delivery is at least once.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::QueueAttributeName;
use dormouse_aws::ErrorClass;
use dormouse_model::{Clock, WallClock};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::batches::in_tens;
use super::marks::{Drained, Marker};
use super::options::SqsOptions;
use super::queue::{Queue, SdkQueue, VisibilityChange};
use super::stats::SqsStats;
use super::tracker::Tracker;
use super::{deleter, extender, pollers};
use crate::health::{Monitor, Phase, SourceHealth, Work};
use crate::{Acknowledge, Intake, Receipt, SourceError};

/// How long the end of a drain may take to make messages visible again.
const RELEASE_LIMIT: Duration = Duration::from_secs(5);
const RELEASE_CALLS: usize = 16;

/// An SQS queue that messages are received from. Nothing happens before [`run`](Self::run).
#[derive(Debug)]
pub struct SqsSource {
    options: SqsOptions,
    parts: Parts<SdkQueue>,
}

/// What a run came to. Messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceSummary {
    /// Delivered by SQS, redeliveries included.
    pub received: u64,
    /// Handed over to the intake.
    pub submitted: u64,
    /// Acknowledged and deleted.
    pub deleted: u64,
    /// Left to come back or to go to the redrive policy.
    pub left: u64,
    /// Not acknowledged by the end of the grace period; SQS delivers them again.
    pub unacknowledged: u64,
    /// Of those, made visible again at once; the others come back after the visibility timeout.
    pub released: u64,
    /// Acknowledged, but not deleted by the end of the grace period; SQS delivers them again.
    pub undeleted: u64,
}

impl SourceSummary {
    /// Whether everything that was received had come to its end.
    pub fn is_drained(&self) -> bool {
        self.unacknowledged == 0 && self.undeleted == 0
    }
}

impl fmt::Display for SourceSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { received, submitted, deleted, left, unacknowledged, released, undeleted } = self;
        write!(f, "received {received}, submitted {submitted}, deleted {deleted}, left {left}")?;
        if !self.is_drained() {
            write!(f, ", not acknowledged in time {unacknowledged} (of these released at once {released})")?;
            write!(f, ", not deleted in time {undeleted}")?;
        }
        Ok(())
    }
}

/// What SQS says about a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueFacts {
    /// Whether messages that are left again and again go to another queue in the end. Without that they come back until
    /// their retention ends.
    pub has_redrive_policy: bool,
    /// The ARN of the queue that they go to.
    pub dead_letter_arn: Option<String>,
    /// Messages waiting, approximately.
    pub waiting: u64,
    /// Messages in flight at any consumer, approximately.
    pub in_flight: u64,
    /// How long the queue keeps a message, in seconds, if it says.
    pub retention_seconds: Option<u64>,
    /// The KMS key that encrypts the queue, as the queue names it: its use must be granted, too.
    pub kms_key: Option<String>,
}

impl SqsSource {
    /// A source that receives through `client`, whose Region must be the queue's. The client's own retries are not used.
    pub fn new(client: &Client, options: SqsOptions) -> Self {
        Self::with_clock(client, options, Arc::new(WallClock))
    }

    /// The same, with a clock that tells when the queue was drained.
    pub fn with_clock(client: &Client, options: SqsOptions, clock: Arc<dyn Clock>) -> Self {
        let parts = Parts::new(SdkQueue::new(client, &options), &options, clock);
        Self { options, parts }
    }

    /// The counters and gauges, to keep while the source runs.
    pub fn stats(&self) -> Arc<SqsStats> {
        Arc::clone(&self.parts.shared.stats)
    }

    /// What works and what does not, now and as it changes.
    pub fn health(&self) -> watch::Receiver<SourceHealth> {
        self.parts.shared.monitor.subscribe()
    }

    /// Collects what works and what does not, for those who work on the source's behalf.
    pub fn monitor(&self) -> Monitor {
        self.parts.shared.monitor.clone()
    }

    /// Asks SQS about the queue, to find wrong settings before anything runs. Needs `sqs:GetQueueAttributes`, which
    /// [`run`](Self::run) does not: a denial here does not say that receiving would fail.
    ///
    /// # Errors
    /// If an option cannot work, or with SQS's answer and what to do about it.
    pub async fn check(&self) -> Result<QueueFacts, SourceError> {
        self.options.validate()?;
        self.parts.shared.queue.facts().await.map_err(|failure| SourceError::Aws {
            name: Arc::clone(&self.options.name),
            advice: advice(Work::Receive, failure.class),
            failure: Box::new(failure),
        })
    }

    /// Receives until `stop` is cancelled, then drains for at most `grace` (and up to 6 s more to make the rest visible
    /// again). Errors of SQS do not end it; they are retried, and shown in [`health`](Self::health).
    ///
    /// # Errors
    /// If an option cannot work, or if a task panicked.
    pub async fn run<I: Intake>(
        self,
        intake: Arc<I>,
        stop: CancellationToken,
        grace: Duration,
    ) -> Result<SourceSummary, SourceError> {
        self.options.validate()?;
        self.parts.run(intake, stop, grace).await
    }
}

impl QueueFacts {
    pub(crate) fn from_attributes(attributes: &[(QueueAttributeName, String)]) -> Self {
        let value =
            |name: &QueueAttributeName| attributes.iter().find(|(n, _)| n == name).map(|(_, value)| value);
        let number = |name| value(&name).and_then(|text| text.parse().ok());
        let policy = value(&QueueAttributeName::RedrivePolicy).filter(|policy| !policy.is_empty());
        Self {
            has_redrive_policy: policy.is_some(),
            dead_letter_arn: policy.and_then(|policy| dead_letter_arn(policy)),
            waiting: number(QueueAttributeName::ApproximateNumberOfMessages).unwrap_or(0),
            in_flight: number(QueueAttributeName::ApproximateNumberOfMessagesNotVisible).unwrap_or(0),
            retention_seconds: number(QueueAttributeName::MessageRetentionPeriod),
            kms_key: value(&QueueAttributeName::KmsMasterKeyId).filter(|key| !key.is_empty()).cloned(),
        }
    }
}

/// The target in a redrive policy, which is a JSON text.
fn dead_letter_arn(policy: &str) -> Option<String> {
    let policy: serde_json::Value = serde_json::from_str(policy).ok()?;
    policy.get("deadLetterTargetArn")?.as_str().map(str::to_owned)
}

/// What a person can do about a failure of this class.
const fn advice(_work: Work, class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::Transient => "retrying by itself",
        ErrorClass::Throttled => "slowing down by itself",
        ErrorClass::Denied => "give Dormouse's role that permission on the queue; it is retried every 30 s",
        ErrorClass::Poison => "check the queue's type and the source's options; it is retried every 30 s",
        ErrorClass::Fatal => "check the source's queue_url and its Region; it is retried every 30 s",
    }
}

/// What all tasks of a source share.
#[derive(Debug)]
pub(crate) struct Shared<Q> {
    pub(crate) name: Arc<str>,
    pub(crate) url: Box<str>,
    pub(crate) visibility: Duration,
    pub(crate) max_pollers: usize,
    pub(crate) queue: Q,
    pub(crate) tracker: Arc<Tracker>,
    pub(crate) drained: Drained,
    pub(crate) stats: Arc<SqsStats>,
    pub(crate) monitor: Monitor,
    pub(crate) acks: Arc<Acks>,
}

/// The source's end of every batch's acknowledgements.
#[derive(Debug)]
pub(crate) struct Acks {
    tracker: Arc<Tracker>,
    stats: Arc<SqsStats>,
    acked: mpsc::UnboundedSender<Vec<Receipt>>,
}

impl Acknowledge for Acks {
    fn ack(&self, receipts: Vec<Receipt>) {
        let count = receipts.len();
        self.stats.undeleted.add(count);
        // After the end of the run nobody deletes any more; the messages come back.
        if self.acked.send(receipts).is_err() {
            self.stats.undeleted.subtract(count);
        }
    }

    fn leave(&self, receipts: Vec<Receipt>) {
        self.tracker.leave(&receipts);
    }
}

/// A source for any kind of queue, ready to run.
#[derive(Debug)]
pub(crate) struct Parts<Q> {
    pub(crate) shared: Arc<Shared<Q>>,
    acked: mpsc::UnboundedReceiver<Vec<Receipt>>,
}

impl<Q: Queue> Parts<Q> {
    pub(crate) fn new(queue: Q, options: &SqsOptions, clock: Arc<dyn Clock>) -> Self {
        let stats = Arc::new(SqsStats::default());
        let tracker = Arc::new(Tracker::new(options.visibility_timeout, Arc::clone(&stats)));
        // Unbounded: what is in flight is bounded by the intake, and what is undeleted by the pollers.
        let (sender, acked) = mpsc::unbounded_channel();
        let acks = Acks { tracker: Arc::clone(&tracker), stats: Arc::clone(&stats), acked: sender };
        let shared = Shared {
            name: Arc::clone(&options.name),
            url: options.queue_url.as_str().into(),
            visibility: options.visibility_timeout,
            max_pollers: options.max_pollers,
            queue,
            tracker,
            drained: Drained::new(clock, options.wait_time),
            stats,
            monitor: Monitor::new(Arc::clone(&options.name), advice),
            acks: Arc::new(acks),
        };
        Self { shared: Arc::new(shared), acked }
    }

    pub(crate) async fn run<I: Intake>(
        self,
        intake: Arc<I>,
        stop: CancellationToken,
        grace: Duration,
    ) -> Result<SourceSummary, SourceError> {
        let Self { shared, acked } = self;
        let work = CancellationToken::new();
        let mut background = JoinSet::new();
        background.spawn(extender::run(Arc::clone(&shared), work.clone()));
        background.spawn(deleter::run(Arc::clone(&shared), acked, work.clone()));

        let outcome = tokio::select! {
            outcome = receive_and_drain(&shared, intake, stop.clone()) => outcome,
            _ = background.join_next() => {
                Err(SourceError::Panicked { name: Arc::clone(&shared.name), task: "extender or deleter" })
            }
            () = end_of_grace(&shared, &stop, grace) => Ok(()),
        };

        work.cancel();
        while background.join_next().await.is_some() {}
        let summary = abandon_the_rest(&shared).await;
        shared.monitor.enter(Phase::Stopped);
        outcome.map(|()| summary)
    }
}

async fn receive_and_drain<Q: Queue, I: Intake>(
    shared: &Arc<Shared<Q>>,
    intake: Arc<I>,
    stop: CancellationToken,
) -> Result<(), SourceError> {
    // The intake goes with the pollers: the pipeline sees that nothing more will come.
    let mut marker = Marker::new(shared, &intake);
    let pollers = pollers::run(Arc::clone(shared), intake, stop);
    let outcome = tokio::select! {
        outcome = pollers => outcome,
        () = marker.run() => Ok(()),
    };
    marker.note();
    drop(marker);
    shared.stats.pollers.set(0);
    outcome?;
    shared.tracker.wait_until_empty().await;
    Ok(())
}

async fn end_of_grace<Q>(shared: &Shared<Q>, stop: &CancellationToken, grace: Duration) {
    stop.cancelled().await;
    shared.monitor.enter(Phase::Draining);
    tokio::time::sleep(grace).await;
}

/// Forgets what is still in flight, and makes visible what was not acknowledged.
async fn abandon_the_rest<Q: Queue>(shared: &Arc<Shared<Q>>) -> SourceSummary {
    let (handles, undeleted) = shared.tracker.abandon();
    let unacknowledged = handles.len();
    shared.stats.pollers.set(0);
    if unacknowledged > 0 {
        let release = in_tens(handles, RELEASE_CALLS, |ten| release(Arc::clone(shared), ten));
        // What is not released in time comes back after its visibility timeout.
        let _ = tokio::time::timeout(RELEASE_LIMIT, release).await;
    }
    SourceSummary {
        received: shared.stats.received.get(),
        submitted: shared.stats.submitted.get(),
        deleted: shared.stats.deleted.get(),
        left: shared.stats.left.get(),
        unacknowledged: u64::try_from(unacknowledged).unwrap_or(u64::MAX),
        released: shared.stats.released.get(),
        undeleted: u64::try_from(undeleted).unwrap_or(u64::MAX),
    }
}

async fn release<Q: Queue>(shared: Arc<Shared<Q>>, handles: Vec<String>) {
    let changes = handles.into_iter().map(|handle| VisibilityChange { handle, seconds: 0 }).collect();
    match shared.queue.change_visibility(changes).await {
        Ok(results) => shared.stats.released.add(results.iter().filter(|result| result.is_ok()).count()),
        Err(failure) => tracing::debug!(source = &*shared.name, "{failure}"),
    }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
