//! Whether a source works, for people: said once per change in the log, and readable at any time.
//!
//! Errors of passing kinds (transient, throttled) become trouble only after a few in a row, because a single lost
//! connection among thousands of calls is no news. Missing permissions and a missing queue are trouble at once.

use std::borrow::Cow;
use std::collections::BTreeMap;
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
    /// The service answers receives, or did before the present trouble.
    Running,
    /// No longer receiving; waiting for acknowledgements and deletes.
    Draining,
    /// Done.
    Stopped,
}

impl Phase {
    /// Its name on every surface.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
        }
    }
}

/// What a source does against AWS. Each kind of work fails and recovers by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Work {
    /// Receiving messages or records: while it fails, nothing arrives.
    Receive,
    /// Extending visibility timeouts: while it fails, slow commits let messages come back.
    Extend,
    /// Deleting acknowledged messages: while it fails, they come back, and receiving stops when they are many.
    Delete,
    /// Listing the shards of a stream: while it fails, new shards are not found.
    ListShards,
    /// Fetching announced objects: while it fails, their announcements wait.
    Fetch,
    /// Moving on: while it fails, a shard stands still before something that can neither be applied nor kept.
    MoveOn,
}

impl Work {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::Receive, Self::Extend, Self::Delete, Self::ListShards, Self::Fetch, Self::MoveOn];

    /// What it is, as the subject of a sentence.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Receive => "receiving",
            Self::Extend => "extending visibility timeouts",
            Self::Delete => "deleting acknowledged messages",
            Self::ListShards => "listing shards",
            Self::Fetch => "fetching announced objects",
            Self::MoveOn => "moving on in a shard",
        }
    }
}

/// Something that does not work at the moment, and what a person can do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What AWS said.
    pub failure: Failure,
    /// What a person can do.
    pub advice: Cow<'static, str>,
}

/// A source's phase, and what does not work at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceHealth {
    /// Where the source is in its life.
    pub phase: Phase,
    /// What does not work, by kind of work.
    pub troubles: BTreeMap<Work, Trouble>,
}

impl SourceHealth {
    /// Whether the source runs and nothing is wrong.
    pub fn is_well(&self) -> bool {
        self.phase == Phase::Running && self.troubles.is_empty()
    }

    /// Why this kind of work fails now; `None` if it does not.
    pub fn failure(&self, work: Work) -> Option<&Failure> {
        self.troubles.get(&work).map(|trouble| &trouble.failure)
    }
}

impl fmt::Display for SourceHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.phase.name())?;
        for trouble in self.troubles.values() {
            write!(f, "; {}", trouble.failure)?;
        }
        Ok(())
    }
}

/// What a person can do about a failure of this class at this kind of work.
pub type Advise = fn(Work, ErrorClass) -> &'static str;

/// Collects the successes and failures of a source's tasks. Clones share what they collect.
#[derive(Clone, Debug)]
pub struct Monitor(Arc<Collected>);

#[derive(Debug)]
struct Collected {
    name: Arc<str>,
    advise: Advise,
    health: watch::Sender<SourceHealth>,
    /// Failures since the last success, by [`Work`].
    in_a_row: [AtomicU32; Work::ALL.len()],
    /// Whether a receive was ever answered.
    answered: AtomicBool,
}

impl Monitor {
    /// A monitor of the source of this name.
    pub fn new(name: Arc<str>, advise: Advise) -> Self {
        Self(Arc::new(Collected {
            name,
            advise,
            health: watch::Sender::default(),
            in_a_row: Default::default(),
            answered: AtomicBool::new(false),
        }))
    }

    /// The health now and as it changes.
    pub fn subscribe(&self) -> watch::Receiver<SourceHealth> {
        self.0.health.subscribe()
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.0.health.send_modify(|health| health.phase = phase);
    }

    /// A call succeeded. Costs two atomic operations unless something was wrong before.
    pub fn succeeded(&self, work: Work) {
        let Collected { name, health, in_a_row, .. } = &*self.0;
        if work == Work::Receive {
            self.answered();
        }
        let failures = &in_a_row[work as usize];
        if failures.load(Ordering::Relaxed) == 0 || failures.swap(0, Ordering::Relaxed) == 0 {
            return;
        }
        let recovered = health.send_if_modified(|health| health.troubles.remove(&work).is_some());
        if recovered {
            tracing::info!(source = &**name, "{} works again", work.name());
        }
    }

    /// A receive was answered, whatever may be wrong with others: the first answer says that the source runs.
    pub(crate) fn answered(&self) {
        if self.0.answered.swap(true, Ordering::Relaxed) {
            return;
        }
        self.0.health.send_if_modified(|health| {
            let is_first = health.phase == Phase::Starting;
            if is_first {
                health.phase = Phase::Running;
            }
            is_first
        });
    }

    /// A call failed.
    pub fn failed(&self, work: Work, failure: &Failure) {
        self.failed_with(work, failure, Cow::Borrowed((self.0.advise)(work, failure.class)));
    }

    /// A call failed, and this is what a person can do about it.
    pub fn failed_with(&self, work: Work, failure: &Failure, advice: Cow<'static, str>) {
        let Collected { name, health, in_a_row, .. } = &*self.0;
        let in_a_row = in_a_row[work as usize].fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failure.class.is_passing() && in_a_row < PASSING_ERRORS_BOUND {
            tracing::debug!(source = &**name, "{failure}");
            return;
        }
        let trouble = Trouble { failure: failure.clone(), advice };
        let is_news = health.send_if_modified(|health| {
            let is_news = !health.failure(work).is_some_and(|known| is_same(known, failure));
            health.troubles.insert(work, trouble.clone());
            is_news
        });
        if is_news {
            let (source, class) = (&**name, failure.class.name());
            tracing::warn!(source, class, "{} does not work: {failure}; {}", work.name(), trouble.advice);
        }
    }
}

/// The request id and the wording differ from call to call; class and code are what a person acts on.
fn is_same(known: &Failure, failure: &Failure) -> bool {
    (known.class, &known.code) == (failure.class, &failure.code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(class: ErrorClass) -> Failure {
        Failure { class, ..Failure::transient("sqs:ReceiveMessage", "") }
    }

    #[test]
    fn passing_errors_become_trouble_only_in_a_row() {
        let monitor = Monitor::new("bus".into(), |_, _| "wait");
        let health = monitor.subscribe();
        for _ in 0..20 {
            monitor.failed(Work::Receive, &failure(ErrorClass::Transient));
            monitor.failed(Work::Receive, &failure(ErrorClass::Throttled));
            monitor.succeeded(Work::Receive);
        }
        assert_eq!(health.borrow().failure(Work::Receive), None);
        for _ in 0..PASSING_ERRORS_BOUND {
            monitor.failed(Work::Receive, &failure(ErrorClass::Transient));
        }
        assert!(health.borrow().failure(Work::Receive).is_some());
        monitor.succeeded(Work::Receive);
        assert_eq!(health.borrow().failure(Work::Receive), None);
    }

    #[test]
    fn a_denial_is_trouble_at_once_and_news_only_once() {
        let monitor = Monitor::new("bus".into(), |_, _| "wait");
        let mut health = monitor.subscribe();
        monitor.succeeded(Work::Receive);
        assert!(health.borrow_and_update().is_well());
        monitor.failed(Work::Delete, &failure(ErrorClass::Denied));
        assert!(health.has_changed().unwrap());
        assert!(!health.borrow_and_update().is_well());
        monitor.failed(Work::Delete, &failure(ErrorClass::Denied));
        assert!(!health.has_changed().unwrap());
        monitor.succeeded(Work::Receive);
        assert!(
            health.borrow().failure(Work::Delete).is_some(),
            "another kind of work says nothing about this one"
        );
        monitor.succeeded(Work::Delete);
        assert!(health.borrow().is_well());
    }
}
