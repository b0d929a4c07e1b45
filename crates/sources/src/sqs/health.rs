//! Whether a source works, for people: said once per change in the log, and readable at any time.
//!
//! Errors of passing kinds (transient, throttled) become trouble only after a few in a row, because a single lost
//! connection among thousands of calls is no news. Missing permissions and a missing queue are trouble at once.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use dormouse_aws::{ErrorClass, Failure};
use tokio::sync::watch;

/// So many passing errors in a row are trouble.
const PASSING_ERRORS_BOUND: u32 = 3;

/// Where a source is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Nothing was received yet, not even an empty answer.
    #[default]
    Starting,
    /// SQS answers receives, or did before the present trouble.
    Running,
    /// No longer receiving; waiting for acknowledgements and deletes.
    Draining,
    /// Done.
    Stopped,
}

/// What a source does against SQS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Receive,
    Extend,
    Delete,
}

impl Work {
    const ALL: [Self; 3] = [Self::Receive, Self::Extend, Self::Delete];
}

/// A source's phase, and what does not work at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceHealth {
    /// Where the source is in its life.
    pub phase: Phase,
    /// Why nothing can be received now.
    pub receive: Option<Failure>,
    /// Why deadlines cannot be extended now: slow commits would let messages come back.
    pub extend: Option<Failure>,
    /// Why nothing can be deleted now: acknowledged messages will come back, and receiving stops when they are many.
    pub delete: Option<Failure>,
}

impl SourceHealth {
    /// Whether the source runs and nothing is wrong.
    pub fn is_well(&self) -> bool {
        self.phase == Phase::Running
            && self.receive.is_none()
            && self.extend.is_none()
            && self.delete.is_none()
    }

    fn trouble_of(&mut self, work: Work) -> &mut Option<Failure> {
        match work {
            Work::Receive => &mut self.receive,
            Work::Extend => &mut self.extend,
            Work::Delete => &mut self.delete,
        }
    }
}

impl fmt::Display for SourceHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match self.phase {
            Phase::Starting => "starting",
            Phase::Running => "running",
            Phase::Draining => "draining",
            Phase::Stopped => "stopped",
        };
        f.write_str(phase)?;
        for failure in [&self.receive, &self.extend, &self.delete].into_iter().flatten() {
            write!(f, "; {failure}")?;
        }
        Ok(())
    }
}

/// What a person can do about a failure of this class.
pub(crate) const fn advice(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::Transient => "retrying by itself",
        ErrorClass::Throttled => "slowing down by itself",
        ErrorClass::Denied => "give Dormouse's role that permission on the queue; it is retried every 30 s",
        ErrorClass::Poison => "check the queue's type and the source's options; it is retried every 30 s",
        ErrorClass::Fatal => "check the source's queue_url and its Region; it is retried every 30 s",
    }
}

/// Collects the successes and failures of a source's tasks.
#[derive(Debug)]
pub(crate) struct Monitor {
    name: Arc<str>,
    health: watch::Sender<SourceHealth>,
    /// Failures since the last success, by [`Work`].
    in_a_row: [AtomicU32; Work::ALL.len()],
    /// Whether SQS has answered a receive.
    answered: AtomicBool,
}

impl Monitor {
    pub(crate) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            health: watch::Sender::default(),
            in_a_row: Default::default(),
            answered: AtomicBool::new(false),
        }
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<SourceHealth> {
        self.health.subscribe()
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.health.send_modify(|health| health.phase = phase);
    }

    /// A call succeeded. Costs two loads unless something was wrong before.
    pub(crate) fn succeeded(&self, work: Work) {
        if work == Work::Receive && !self.answered.load(Ordering::Relaxed) {
            self.first_answer();
        }
        let failures = &self.in_a_row[work as usize];
        if failures.load(Ordering::Relaxed) == 0 || failures.swap(0, Ordering::Relaxed) == 0 {
            return;
        }
        let recovered = self.health.send_if_modified(|health| health.trouble_of(work).take().is_some());
        if recovered {
            tracing::info!(source = &*self.name, "{} works again", verb(work));
        }
    }

    fn first_answer(&self) {
        self.answered.store(true, Ordering::Relaxed);
        self.health.send_if_modified(|health| {
            let is_first = health.phase == Phase::Starting;
            if is_first {
                health.phase = Phase::Running;
            }
            is_first
        });
    }

    /// A call failed.
    pub(crate) fn failed(&self, work: Work, failure: &Failure) {
        let in_a_row = self.in_a_row[work as usize].fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failure.class.is_passing() && in_a_row < PASSING_ERRORS_BOUND {
            tracing::debug!(source = &*self.name, "{failure}");
            return;
        }
        let is_news = self.health.send_if_modified(|health| {
            let trouble = health.trouble_of(work);
            let is_news = !trouble.as_ref().is_some_and(|known| is_same(known, failure));
            *trouble = Some(failure.clone());
            is_news
        });
        if is_news {
            let (source, class) = (&*self.name, failure.class.name());
            tracing::warn!(
                source,
                class,
                "{} does not work: {failure}; {}",
                verb(work),
                advice(failure.class)
            );
        }
    }
}

/// The request id and the wording differ from call to call; class and code are what a person acts on.
fn is_same(known: &Failure, failure: &Failure) -> bool {
    (known.class, &known.code) == (failure.class, &failure.code)
}

const fn verb(work: Work) -> &'static str {
    match work {
        Work::Receive => "receiving",
        Work::Extend => "extending visibility timeouts",
        Work::Delete => "deleting acknowledged messages",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(class: ErrorClass) -> Failure {
        Failure { class, ..Failure::transient("sqs:ReceiveMessage", "") }
    }

    #[test]
    fn passing_errors_become_trouble_only_in_a_row() {
        let monitor = Monitor::new("bus".into());
        let health = monitor.subscribe();
        for _ in 0..20 {
            monitor.failed(Work::Receive, &failure(ErrorClass::Transient));
            monitor.failed(Work::Receive, &failure(ErrorClass::Throttled));
            monitor.succeeded(Work::Receive);
        }
        assert_eq!(health.borrow().receive, None);
        for _ in 0..PASSING_ERRORS_BOUND {
            monitor.failed(Work::Receive, &failure(ErrorClass::Transient));
        }
        assert!(health.borrow().receive.is_some());
        monitor.succeeded(Work::Receive);
        assert_eq!(health.borrow().receive, None);
    }

    #[test]
    fn a_denial_is_trouble_at_once_and_news_only_once() {
        let monitor = Monitor::new("bus".into());
        let mut health = monitor.subscribe();
        monitor.succeeded(Work::Receive);
        assert!(health.borrow_and_update().is_well());
        monitor.failed(Work::Delete, &failure(ErrorClass::Denied));
        assert!(health.has_changed().unwrap());
        assert!(!health.borrow_and_update().is_well());
        monitor.failed(Work::Delete, &failure(ErrorClass::Denied));
        assert!(!health.has_changed().unwrap());
        monitor.succeeded(Work::Receive);
        assert!(health.borrow().delete.is_some(), "another kind of work says nothing about this one");
        monitor.succeeded(Work::Delete);
        assert!(health.borrow().is_well());
    }
}
