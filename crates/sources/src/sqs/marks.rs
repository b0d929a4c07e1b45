//! What the source says of its own completeness.
//!
//! A queue forgets what nobody takes within its retention, and gives what was taken too often to another queue. So a mark
//! holds three things: when the queue was last seen drained, how long it keeps messages, and how many messages its
//! dead-letter queue holds. Marks are noted at the start, every 60 s, and when the last poller has ended.
//!
//! A long poll asks all of SQS's servers, so an answer with room left says that there was no more. A short poll
//! (`wait_time` 0) asks a few and proves nothing; with it, no time is said.
//!
//! What was received and is still being worked on, or was left to come again, has not been taken: no mark says a time behind
//! it.
//!
//! The questions need `sqs:GetQueueAttributes` and `sqs:GetQueueUrl`, which receiving does not. A denial is said once in
//! the log and in the marks, and is no trouble of the source.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dormouse_aws::Failure;
use dormouse_model::{Clock, DeadLetters, EventTime, SourceMark};
use tokio::time::Instant;

use super::queue::{BATCH, Queue};
use super::source::{QueueFacts, Shared};
use crate::Intake;

const MARK_INTERVAL: Duration = Duration::from_mins(1);
/// How often the queue's attributes are read again.
const FACTS_INTERVAL: Duration = Duration::from_mins(10);

/// When the queue was last seen drained.
pub(crate) struct Drained {
    clock: Arc<dyn Clock>,
    polls_long: bool,
    /// Seconds since 1970; 0 if never.
    at: AtomicU32,
}

impl std::fmt::Debug for Drained {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Drained").field("at", &self.at).finish_non_exhaustive()
    }
}

impl Drained {
    pub(crate) fn new(clock: Arc<dyn Clock>, wait_time: Duration) -> Self {
        Self { clock, polls_long: !wait_time.is_zero(), at: AtomicU32::new(0) }
    }

    /// The time now, to be given to [`received`](Self::received) when the receive is answered.
    pub(crate) fn now(&self) -> EventTime {
        self.clock.now_seconds()
    }

    /// A receive that was begun at `before` brought so many messages, and they were handed over.
    pub(crate) fn received(&self, before: EventTime, messages: usize) {
        if self.polls_long && messages < BATCH {
            self.at.fetch_max(before.seconds(), Ordering::Relaxed);
        }
    }

    fn at(&self) -> Option<EventTime> {
        match self.at.load(Ordering::Relaxed) {
            0 => None,
            seconds => Some(EventTime::from_seconds(seconds)),
        }
    }
}

/// Notes marks.
pub(crate) struct Marker<Q, I> {
    shared: Arc<Shared<Q>>,
    intake: Arc<I>,
    facts: Option<QueueFacts>,
    facts_are_due: Instant,
    dead_letters: DeadLetters,
    /// How many messages had been left, and when that last changed.
    left: (u64, Option<Instant>),
    /// What the last mark said.
    caught_up: Option<EventTime>,
    /// What was denied, as it was told.
    told: HashSet<String>,
}

impl<Q: Queue, I: Intake> Marker<Q, I> {
    pub(crate) fn new(shared: &Arc<Shared<Q>>, intake: &Arc<I>) -> Self {
        Self {
            shared: Arc::clone(shared),
            intake: Arc::clone(intake),
            facts: None,
            facts_are_due: Instant::now(),
            // Until the queue has said that there is none.
            dead_letters: DeadLetters::Unreadable,
            left: (shared.stats.left.get(), None),
            caught_up: None,
            told: HashSet::new(),
        }
    }

    /// Notes marks for ever. Dropping the future abandons the calls that are on their way.
    pub(crate) async fn run(&mut self) {
        loop {
            let begun = Instant::now();
            self.ask().await;
            self.note();
            tokio::time::sleep_until(begun + MARK_INTERVAL).await;
        }
    }

    /// Notes what is known now.
    pub(crate) fn note(&mut self) {
        self.caught_up = self.caught_up.max(self.taken_until());
        let mark = SourceMark {
            at: self.shared.drained.now(),
            caught_up: self.caught_up,
            retention_seconds: self.facts.as_ref().and_then(|facts| facts.retention_seconds),
            dead_letters: self.dead_letters,
            lost: None,
            of: Some(self.shared.url.clone()),
        };
        self.intake.note(&self.shared.name, mark);
    }

    /// The time before which everything that reached the queue was taken; `None` if no more can be said than before.
    fn taken_until(&mut self) -> Option<EventTime> {
        let Shared { drained, stats, tracker, visibility, .. } = &*self.shared;
        let left = stats.left.get();
        if left != self.left.0 {
            self.left = (left, Some(Instant::now()));
        }
        // What was left comes again when its visibility timeout has passed, and is in nobody's hands until then.
        let comes_again = |at: &Instant| at.elapsed() < *visibility * 2 + MARK_INTERVAL;
        if self.left.1.is_some_and(|at| comes_again(&at)) {
            return None;
        }
        let in_hand = tracker.oldest().map(|since| {
            let seconds = u32::try_from(since.elapsed().as_secs() + 1).unwrap_or(u32::MAX);
            drained.now().minus(seconds)
        });
        let at = drained.at()?;
        Some(in_hand.map_or(at, |oldest| at.min(oldest)))
    }

    async fn ask(&mut self) {
        if self.facts_are_due <= Instant::now() {
            match self.shared.queue.facts().await {
                Ok(facts) => {
                    self.facts = Some(facts);
                    self.facts_are_due = Instant::now() + FACTS_INTERVAL;
                }
                Err(failure) => self.tell(&failure),
            }
        }
        self.dead_letters = self.ask_dead_letters().await;
    }

    async fn ask_dead_letters(&mut self) -> DeadLetters {
        let Some(facts) = &self.facts else {
            return DeadLetters::Unreadable;
        };
        if !facts.has_redrive_policy {
            return DeadLetters::None;
        }
        let Some(arn) = &facts.dead_letter_arn else {
            return DeadLetters::Unreadable;
        };
        match self.shared.queue.waiting_in(arn).await {
            Ok(Some(messages)) => DeadLetters::Messages(messages),
            Ok(None) => DeadLetters::Unreadable,
            Err(failure) => {
                self.tell(&failure);
                DeadLetters::Unreadable
            }
        }
    }

    fn tell(&mut self, failure: &Failure) {
        let source = &*self.shared.name;
        let is_news = !failure.class.is_passing()
            && self.told.insert(format!("{} {}", failure.action, failure.code.as_deref().unwrap_or("")));
        if is_news {
            tracing::warn!(
                source,
                "whether messages were lost cannot be told: {failure}; give Dormouse's role sqs:GetQueueAttributes on the \
                 queue, and that and sqs:GetQueueUrl on its dead-letter queue"
            );
        } else {
            tracing::debug!(source, "{failure}");
        }
    }
}
