//! Deletes what was acknowledged.
//!
//! Acknowledgements arrive in bursts, one burst per commit. They are deleted ten to a call, many calls at a time; a rest
//! of fewer than ten waits [`LINGER`] for company. A delete that fails is tried again with the message's newest handle,
//! after a delay that doubles, or every [`SLOW_RETRY`] while a permission or the queue is missing. Deleting is never
//! given up before the source ends: a message that comes again meanwhile is recognised and not handed over again.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use dormouse_aws::{Backoff, ErrorClass, Failure};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::batches::pass_panic_on;
use super::pollers::SLOW_RETRY;
use super::queue::{BATCH, EntryResults, Queue};
use super::source::Shared;
use super::tracker::{AfterDelete, DeleteOutcome, Lease};
use crate::Receipt;
use crate::health::Work;

const PARALLEL_CALLS: usize = 32;
const LINGER: Duration = Duration::from_millis(50);
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(10);

/// Deletes what arrives on `acked` until `work` is cancelled.
pub(crate) async fn run<Q: Queue>(
    shared: Arc<Shared<Q>>,
    acked: mpsc::UnboundedReceiver<Vec<Receipt>>,
    work: CancellationToken,
) {
    let mut deleter = Deleter {
        shared,
        acked,
        ready: VecDeque::new(),
        flush_at: None,
        later: BTreeSet::new(),
        calls: JoinSet::new(),
        backoff: Backoff::new(FIRST_RETRY, LAST_RETRY),
    };
    work.run_until_cancelled(deleter.run()).await;
}

struct Deleter<Q> {
    shared: Arc<Shared<Q>>,
    acked: mpsc::UnboundedReceiver<Vec<Receipt>>,
    /// To be deleted now.
    ready: VecDeque<Receipt>,
    /// When a rest in `ready` stops waiting for company.
    flush_at: Option<Instant>,
    /// To be deleted again at their time.
    later: BTreeSet<(Instant, Receipt)>,
    calls: JoinSet<Vec<Retry>>,
    backoff: Backoff,
}

/// A message that is to be deleted again.
struct Retry {
    receipt: Receipt,
    when: When,
}

enum When {
    AtOnce,
    AfterBackoff { failures: u32 },
    Slowly,
}

impl<Q: Queue> Deleter<Q> {
    async fn run(&mut self) {
        loop {
            self.start_calls();
            let wake_at = self.wake_at();
            tokio::select! {
                biased;
                Some(ended) = self.calls.join_next(), if !self.calls.is_empty() => {
                    let retries = pass_panic_on(ended).unwrap_or_default();
                    self.put_off(retries);
                }
                Some(receipts) = self.acked.recv() => self.take(receipts),
                () = sleep_until(wake_at) => self.take_what_is_due(),
            }
        }
    }

    fn start_calls(&mut self) {
        let now = Instant::now();
        while self.calls.len() < PARALLEL_CALLS && self.is_worth_a_call(now) {
            let count = self.ready.len().min(BATCH);
            let ten: Vec<Receipt> = self.ready.drain(..count).collect();
            self.calls.spawn(delete(Arc::clone(&self.shared), ten));
            self.flush_at = (!self.ready.is_empty()).then(|| now + LINGER);
        }
    }

    fn is_worth_a_call(&self, now: Instant) -> bool {
        self.ready.len() >= BATCH || self.flush_at.is_some_and(|flush_at| flush_at <= now)
    }

    /// When to look again although nothing arrives and no call ends.
    fn wake_at(&self) -> Option<Instant> {
        // While all calls are taken, the end of one is what to wait for.
        let flush_at = self.flush_at.filter(|_| self.calls.len() < PARALLEL_CALLS);
        let due_at = self.later.first().map(|(due_at, _)| *due_at);
        flush_at.into_iter().chain(due_at).min()
    }

    fn take(&mut self, receipts: Vec<Receipt>) {
        self.ready.extend(receipts);
        if self.flush_at.is_none() && !self.ready.is_empty() {
            self.flush_at = Some(Instant::now() + LINGER);
        }
    }

    fn put_off(&mut self, retries: Vec<Retry>) {
        let now = Instant::now();
        for retry in retries {
            let delay = match retry.when {
                When::AtOnce => Duration::ZERO,
                When::AfterBackoff { failures } => self.backoff.delay_after(failures),
                When::Slowly => SLOW_RETRY,
            };
            self.later.insert((now + delay, retry.receipt));
        }
    }

    fn take_what_is_due(&mut self) {
        let now = Instant::now();
        while let Some(&(due_at, receipt)) = self.later.first()
            && due_at <= now
        {
            self.later.pop_first();
            self.take(vec![receipt]);
        }
    }
}

async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Tries to delete at most ten messages; returns those to try again.
async fn delete<Q: Queue>(shared: Arc<Shared<Q>>, receipts: Vec<Receipt>) -> Vec<Retry> {
    let leases = shared.tracker.begin_delete(&receipts);
    let retries = if leases.is_empty() { Vec::new() } else { delete_leases(&shared, leases).await };
    shared.stats.undeleted.subtract(receipts.len() - retries.len());
    retries
}

async fn delete_leases<Q: Queue>(shared: &Shared<Q>, mut leases: Vec<Lease>) -> Vec<Retry> {
    let handles = leases.iter_mut().map(|lease| std::mem::take(&mut lease.handle)).collect();
    let (outcomes, trouble) = match shared.queue.delete(handles).await {
        Ok(results) => outcomes_of(results),
        Err(failure) => (vec![DeleteOutcome::Failed; leases.len()], Some(failure)),
    };
    match &trouble {
        Some(failure) => shared.monitor.failed(Work::Delete, failure),
        None => shared.monitor.succeeded(Work::Delete),
    }
    let is_passing = trouble.is_none_or(|failure| failure.class.is_passing());
    let outcomes: Vec<(Lease, DeleteOutcome)> = leases.into_iter().zip(outcomes).collect();
    settle(shared, &outcomes, is_passing)
}

/// What became of each entry, and one of the failures that were not about a handle.
fn outcomes_of(results: EntryResults) -> (Vec<DeleteOutcome>, Option<Failure>) {
    let mut trouble = None;
    let outcomes = results
        .into_iter()
        .map(|result| match result {
            Ok(()) => DeleteOutcome::Deleted,
            Err(failure) if failure.class == ErrorClass::Poison => DeleteOutcome::HandleLost,
            Err(failure) => {
                trouble = Some(failure);
                DeleteOutcome::Failed
            }
        })
        .collect();
    (outcomes, trouble)
}

/// Takes the outcomes down, in the tracker and in numbers.
fn settle<Q: Queue>(shared: &Shared<Q>, outcomes: &[(Lease, DeleteOutcome)], is_passing: bool) -> Vec<Retry> {
    let (mut deleted, mut lost) = (0, 0);
    let mut retries = Vec::new();
    for ((lease, outcome), after) in outcomes.iter().zip(shared.tracker.end_delete(outcomes)) {
        let when = match (after, outcome) {
            (AfterDelete::Done, DeleteOutcome::Deleted) => {
                deleted += 1;
                continue;
            }
            (AfterDelete::Done, _) => {
                lost += 1;
                continue;
            }
            (AfterDelete::AtOnce, _) => When::AtOnce,
            (AfterDelete::Later { failures }, _) if is_passing => When::AfterBackoff { failures },
            (AfterDelete::Later { .. }, _) => When::Slowly,
        };
        retries.push(Retry { receipt: lease.receipt, when });
    }
    shared.stats.deleted.add(deleted);
    shared.stats.delete_lost.add(lost);
    shared.stats.delete_retries.add(retries.len());
    retries
}
