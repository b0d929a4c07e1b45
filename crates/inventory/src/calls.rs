//! One request, from its budget to its answer: the only place where anything is tried again.
//!
//! A request waits for its budget, is given up after a while, and is counted. Throttled ones slow down the operation in
//! that place and are tried again, passing failures too, both a bounded number of times and with growing waits. An
//! expired token is renewed behind the cloud, so that the next try has a new one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dormouse_aws::requests::class_of;
use dormouse_aws::{Backoff, CountRequests, ErrorClass, Failure};
use dormouse_model::{Clock, EventId, EventTime, Place};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::cloud::Answered;
use crate::failures::Miss;
use crate::metrics::Metrics;
use crate::operation::{Budgets, Operation};

/// A request that is throttled is sent so often at most.
const MOST_THROTTLED: u32 = 6;
/// And one that fails otherwise.
const MOST_TRIES: u32 = 3;
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// An answer, and when its request was sent.
#[derive(Debug)]
pub(crate) struct Asked<T> {
    pub(crate) at: EventTime,
    pub(crate) request_id: Option<Box<str>>,
    pub(crate) said: T,
}

impl<T> Asked<T> {
    /// The request's id as that of an event; the operation's name if the answer had none.
    pub(crate) fn event_id(&self, operation: Operation) -> EventId {
        EventId::from(self.request_id.as_deref().unwrap_or(operation.name()))
    }

    /// The request's id as CloudTrail will have it, if it is one.
    pub(crate) fn beat(&self) -> Option<[u8; 16]> {
        match EventId::from(self.request_id.as_deref()?) {
            EventId::Uuid(id) => Some(id),
            EventId::Text(_) => None,
        }
    }
}

/// Requests of one pass.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    requests: [AtomicU64; Operation::ALL.len()],
    throttled: AtomicU64,
}

impl Tally {
    fn count(&self, operation: Operation, class: Option<ErrorClass>) {
        self.requests[operation as usize].fetch_add(1, Ordering::Relaxed);
        if class == Some(ErrorClass::Throttled) {
            self.throttled.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Requests by IAM action.
    pub(crate) fn requests(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let count = |operation: Operation| self.requests[operation as usize].load(Ordering::Relaxed);
        Operation::ALL.into_iter().map(move |operation| (operation.action(), count(operation)))
    }

    pub(crate) fn throttled(&self) -> u64 {
        self.throttled.load(Ordering::Relaxed)
    }
}

/// What all requests share.
pub(crate) struct Calls {
    pub(crate) budgets: Budgets,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) attempt_timeout: Duration,
}

/// Who asks.
#[derive(Clone)]
pub(crate) struct Asker {
    pub(crate) calls: Arc<Calls>,
    pub(crate) tally: Arc<Tally>,
    /// Where; nowhere for what concerns the whole.
    pub(crate) place: Option<Place>,
    /// Nothing is tried again once this is cancelled.
    pub(crate) halt: CancellationToken,
    /// Tries of what is not answered at all.
    pub(crate) patience: u32,
}

impl Asker {
    pub(crate) fn new(
        calls: &Arc<Calls>,
        tally: &Arc<Tally>,
        place: Option<Place>,
        halt: &CancellationToken,
    ) -> Self {
        Self {
            calls: Arc::clone(calls),
            tally: Arc::clone(tally),
            place,
            halt: halt.clone(),
            patience: MOST_TRIES,
        }
    }

    /// Sends a request until it is answered, or there is no point in trying again.
    pub(crate) async fn ask<T, F>(
        &self,
        operation: Operation,
        mut send: impl FnMut() -> F,
    ) -> Result<Asked<T>, Miss>
    where
        F: Future<Output = Answered<T>>,
    {
        let calls = &*self.calls;
        let budget = calls.budgets.of(operation);
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let mut tries = 0;
        loop {
            budget.take(&self.place).await;
            let at = calls.clock.now_seconds();
            let answer = match timeout(calls.attempt_timeout, send()).await {
                Ok(answer) => answer,
                Err(_) => Err(unanswered(operation, calls.attempt_timeout)),
            };
            let class = class_of(&answer);
            calls.metrics.count(operation.action(), class);
            self.tally.count(operation, class);
            if class == Some(ErrorClass::Throttled) {
                budget.throttled(&self.place);
            } else {
                budget.answered(&self.place);
            }
            let failure = match answer {
                Ok(told) => return Ok(Asked { at, request_id: told.request_id, said: told.said }),
                Err(failure) => failure,
            };
            tries += 1;
            if tries >= self.most_tries(&failure) || self.halt.is_cancelled() {
                return Err(Miss { at, failure });
            }
            let wait = if failure.is_expired() { Duration::ZERO } else { backoff.next_delay() };
            tokio::select! {
                () = sleep(wait) => {}
                () = self.halt.cancelled() => return Err(Miss { at, failure }),
            }
        }
    }

    fn most_tries(&self, failure: &Failure) -> u32 {
        match failure.class {
            ErrorClass::Throttled => MOST_THROTTLED,
            ErrorClass::Transient => self.patience,
            _ if failure.is_expired() => MOST_TRIES,
            _ => 1,
        }
    }
}

fn unanswered(operation: Operation, after: Duration) -> Failure {
    Failure::transient(operation.action(), &format!("no answer within {} s", after.as_secs_f64()))
}
