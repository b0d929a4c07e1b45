//! Receive → track → submit, by as many tasks as the load needs.
//!
//! One poller starts. A receive that comes back full (ten messages) asks for one more poller, so a backlog doubles them
//! from round to round up to the bound. A poller ends itself, unless it is the last one, when a long poll brought
//! nothing, when several receives in a row brought less than half of what they could (fewer pollers would get fuller
//! answers for less money), or when its receives keep failing. A poller waits for the intake (which waits while too many
//! bytes are in flight), and never for a commit.
//!
//! Receiving pauses while [`UNDELETED_BOUND`] acknowledged messages wait for their delete. The intake's bound does not
//! cover those: under full load receives would outrun the deletes, and without a permission to delete what is in flight
//! would grow without end.
//!
//! On stop, a poller hands over what it holds and ends. A long poll that is on its way is waited for up to
//! [`STOP_PATIENCE`] and then abandoned. It was waiting because the queue was empty, so it very likely carries nothing;
//! a message that it does carry was never acknowledged and comes again after the visibility timeout.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dormouse_aws::{Backoff, Failure};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::queue::{BATCH, Delivery, Queue};
use super::source::Shared;
use crate::health::Work;
use crate::{Acknowledge, Batch, Intake, SourceError};

/// How often something is tried that only a person can repair.
pub(crate) const SLOW_RETRY: Duration = Duration::from_secs(30);
/// How long a stop waits for a receive that is on its way.
pub(crate) const STOP_PATIENCE: Duration = Duration::from_secs(1);
/// Receiving pauses while so many acknowledged messages wait for their delete.
pub(crate) const UNDELETED_BOUND: u64 = 10_000;

const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(20);
const FIRST_UNDELETED_PAUSE: Duration = Duration::from_millis(5);
const LAST_UNDELETED_PAUSE: Duration = Duration::from_millis(20);
/// So many receives in a row with fewer than half of the messages they could bring end a poller.
const SPARSE_RECEIVES: u32 = 4;
/// So many failures in a row end a poller.
const FAILURES: u32 = 3;

/// How many pollers there should be: at least one.
#[derive(Debug)]
struct Scale {
    wanted: AtomicUsize,
    bound: usize,
    grown: Notify,
}

impl Scale {
    fn new(bound: usize) -> Self {
        Self { wanted: AtomicUsize::new(1), bound: bound.max(1), grown: Notify::new() }
    }

    fn grow(&self) {
        let more = |wanted| (wanted < self.bound).then_some(wanted + 1);
        if self.wanted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok() {
            self.grown.notify_one();
        }
    }

    /// Whether the calling poller may end.
    fn shrink(&self) -> bool {
        let fewer = |wanted| (wanted > 1).then(|| wanted - 1);
        self.wanted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer).is_ok()
    }
}

/// Runs pollers until `stop` is cancelled and each of them has handed over what it held. Dropping the future abandons
/// what they hold; it stays in the tracker.
pub(crate) async fn run<Q: Queue, I: Intake>(
    shared: Arc<Shared<Q>>,
    intake: Arc<I>,
    stop: CancellationToken,
) -> Result<(), SourceError> {
    let scale = Arc::new(Scale::new(shared.max_pollers));
    let mut pollers = JoinSet::new();
    loop {
        while !stop.is_cancelled() && pollers.len() < scale.wanted.load(Ordering::Relaxed) {
            let poller = Poller::new(&shared, &intake, &scale, &stop);
            pollers.spawn(poller.run());
        }
        shared.stats.pollers.set(pollers.len());
        tokio::select! {
            () = scale.grown.notified() => {}
            ended = pollers.join_next() => match ended {
                Some(Ok(())) => {}
                Some(Err(_)) => return Err(SourceError::Panicked { name: Arc::clone(&shared.name), task: "poller" }),
                None => return Ok(()),
            },
        }
    }
}

struct Poller<Q, I> {
    shared: Arc<Shared<Q>>,
    intake: Arc<I>,
    scale: Arc<Scale>,
    stop: CancellationToken,
    backoff: Backoff,
    sparse_receives: u32,
}

/// What a receive came to.
enum Received {
    Answer(Result<Vec<Delivery>, Failure>),
    /// Abandoned, because the source is to stop.
    Nothing,
}

impl<Q: Queue, I: Intake> Poller<Q, I> {
    fn new(shared: &Arc<Shared<Q>>, intake: &Arc<I>, scale: &Arc<Scale>, stop: &CancellationToken) -> Self {
        Self {
            shared: Arc::clone(shared),
            intake: Arc::clone(intake),
            scale: Arc::clone(scale),
            stop: stop.clone(),
            backoff: Backoff::new(FIRST_RETRY, LAST_RETRY),
            sparse_receives: 0,
        }
    }

    async fn run(mut self) {
        loop {
            self.wait_for_deletes().await;
            if self.stop.is_cancelled() {
                return;
            }
            // Before the call, so that the deadline derived from it is never later than SQS's own.
            let (before, begun) = (Instant::now(), self.shared.drained.now());
            let goes_on = match self.receive().await {
                Received::Answer(Ok(deliveries)) => {
                    let messages = deliveries.len();
                    let goes_on = self.hand_over(before, deliveries).await;
                    self.shared.drained.received(begun, messages);
                    goes_on
                }
                Received::Answer(Err(failure)) => self.wait_after(&failure).await,
                Received::Nothing => false,
            };
            if !goes_on {
                return;
            }
        }
    }

    async fn wait_for_deletes(&self) {
        let mut pause = FIRST_UNDELETED_PAUSE;
        while self.shared.stats.undeleted.get() >= UNDELETED_BOUND && !self.stop.is_cancelled() {
            self.pause(pause).await;
            pause = (pause * 2).min(LAST_UNDELETED_PAUSE);
        }
    }

    async fn receive(&self) -> Received {
        let mut receive = std::pin::pin!(self.shared.queue.receive());
        tokio::select! {
            answer = &mut receive => Received::Answer(answer),
            () = self.stop.cancelled() => {
                let answer = tokio::time::timeout(STOP_PATIENCE, receive).await;
                answer.map_or(Received::Nothing, Received::Answer)
            }
        }
    }

    /// Returns whether this poller goes on.
    async fn hand_over(&mut self, before: Instant, deliveries: Vec<Delivery>) -> bool {
        self.backoff.reset();
        self.shared.monitor.succeeded(Work::Receive);
        let goes_on = self.adapt_to(deliveries.len());
        if !deliveries.is_empty() {
            self.submit(before, deliveries).await;
        }
        goes_on
    }

    async fn submit(&self, before: Instant, deliveries: Vec<Delivery>) {
        let messages = self.shared.tracker.track(before, deliveries);
        if messages.is_empty() {
            return;
        }
        self.shared.stats.submitted.add(messages.len());
        let acks: Arc<dyn Acknowledge> = Arc::clone(&self.shared.acks) as _;
        let batch = Batch { source: Arc::clone(&self.shared.name), messages, acks, checkpoint: None };
        self.intake.submit(batch).await;
    }

    /// Asks for another poller, or ends this one. Returns whether this poller goes on.
    fn adapt_to(&mut self, count: usize) -> bool {
        if count >= BATCH {
            self.sparse_receives = 0;
            self.scale.grow();
            return true;
        }
        if count == 0 {
            self.shared.stats.empty_receives.add(1);
            return !self.scale.shrink();
        }
        self.sparse_receives = if count < BATCH / 2 { self.sparse_receives + 1 } else { 0 };
        if self.sparse_receives < SPARSE_RECEIVES {
            return true;
        }
        self.sparse_receives = 0;
        !self.scale.shrink()
    }

    /// Returns whether this poller goes on.
    async fn wait_after(&mut self, failure: &Failure) -> bool {
        self.shared.stats.receive_errors[failure.class.number()].add(1);
        self.shared.monitor.failed(Work::Receive, failure);
        let delay = if failure.class.is_passing() { self.backoff.next_delay() } else { SLOW_RETRY };
        let is_hopeless = !failure.class.is_passing() || self.backoff.failures() >= FAILURES;
        if is_hopeless && self.scale.shrink() {
            return false;
        }
        self.pause(delay).await;
        true
    }

    async fn pause(&self, duration: Duration) {
        self.stop.run_until_cancelled(tokio::time::sleep(duration)).await;
    }
}
