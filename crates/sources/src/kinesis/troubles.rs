//! Which shards have trouble, so that one shard that works does not hide another one that does not.
//!
//! [`Monitor`] knows the source as a whole: a success of a kind of work ends its trouble. With many readers that would
//! flicker, so a reader's success counts only when no other shard fails at the same work; and a passing error is told
//! only when the same shard has had a few in a row.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dormouse_aws::Failure;

use crate::health::{Monitor, Work};

/// So many passing errors of one shard in a row are told.
const PASSING_ERRORS: u32 = 3;

#[derive(Debug)]
pub(crate) struct Troubles {
    monitor: Monitor,
    failing: Mutex<HashSet<(Work, Arc<str>), foldhash::fast::RandomState>>,
}

impl Troubles {
    pub(crate) fn new(monitor: Monitor) -> Self {
        Self { monitor, failing: Mutex::default() }
    }

    /// A read of this shard was answered, or it was moved on in.
    pub(crate) fn succeeded(&self, work: Work, shard: &Arc<str>) {
        let mut failing = self.lock();
        if !failing.is_empty() {
            failing.remove(&(work, Arc::clone(shard)));
        }
        let others_fail = failing.iter().any(|(failed, _)| *failed == work);
        drop(failing);
        if !others_fail {
            self.monitor.succeeded(work);
        } else if work == Work::Receive {
            self.monitor.answered();
        }
    }

    /// A read of this shard failed, for so many times in a row.
    pub(crate) fn failed(&self, shard: &Arc<str>, failure: &Failure, in_a_row: u32) {
        if failure.class.is_passing() && in_a_row < PASSING_ERRORS {
            return;
        }
        self.lock().insert((Work::Receive, Arc::clone(shard)));
        self.monitor.failed(Work::Receive, failure);
    }

    /// This shard stands still before something that can neither be applied nor kept.
    pub(crate) fn stands_still(&self, shard: &Arc<str>, failure: &Failure, advice: &'static str) {
        self.lock().insert((Work::MoveOn, Arc::clone(shard)));
        self.monitor.failed_with(Work::MoveOn, failure, Cow::Borrowed(advice));
    }

    /// This shard is no longer read.
    pub(crate) fn forget(&self, shard: &Arc<str>) {
        for work in [Work::Receive, Work::MoveOn] {
            let mut failing = self.lock();
            let was_last =
                failing.remove(&(work, Arc::clone(shard))) && failing.iter().all(|(w, _)| *w != work);
            drop(failing);
            if was_last {
                self.monitor.succeeded(work);
            }
        }
    }

    /// A task that panicked under the lock can at worst have left out a shard.
    fn lock(&self) -> MutexGuard<'_, HashSet<(Work, Arc<str>), foldhash::fast::RandomState>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use dormouse_aws::ErrorClass;

    use super::*;

    fn failure(class: ErrorClass) -> Failure {
        Failure { class, ..Failure::transient("kinesis:GetRecords", "") }
    }

    #[test]
    fn a_shard_that_works_does_not_hide_one_that_does_not() {
        let monitor = Monitor::new("bus".into(), |_, _| "wait");
        let health = monitor.subscribe();
        let troubles = Troubles::new(monitor);
        let [a, b] = ["a", "b"].map(Arc::<str>::from);
        troubles.failed(&a, &failure(ErrorClass::Denied), 1);
        troubles.stands_still(&b, &failure(ErrorClass::Poison), "inspect it");
        troubles.succeeded(Work::Receive, &b);
        assert_eq!(health.borrow().troubles.len(), 2);
        assert_eq!(health.borrow().phase, crate::health::Phase::Running);
        troubles.succeeded(Work::Receive, &a);
        assert!(health.borrow().failure(Work::Receive).is_none());
        troubles.forget(&b);
        assert!(health.borrow().is_well());
    }

    #[test]
    fn passing_errors_of_many_shards_are_no_trouble() {
        let monitor = Monitor::new("bus".into(), |_, _| "wait");
        let health = monitor.subscribe();
        let troubles = Troubles::new(monitor);
        for shard in 0..50 {
            troubles.failed(&shard.to_string().into(), &failure(ErrorClass::Throttled), 2);
        }
        assert!(health.borrow().troubles.is_empty());
        for in_a_row in 1..6 {
            troubles.failed(&"a".into(), &failure(ErrorClass::Throttled), in_a_row);
        }
        assert!(health.borrow().failure(Work::Receive).is_some());
    }
}
