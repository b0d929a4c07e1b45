//! How many requests arrived, and how close together.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::RequestKind;

const SECOND: i64 = 1_000;

/// The requests of all kinds.
#[derive(Default)]
pub(super) struct Traffic {
    kinds: Mutex<HashMap<RequestKind, Flow>>,
}

/// The requests of one kind.
#[derive(Default)]
pub(super) struct Flow {
    pub(super) requests: u64,
    /// The most that arrived within one second.
    pub(super) peak: u64,
    /// Those that a quota refused.
    pub(super) throttled: u64,
    /// Those of the last second: each millisecond with how many arrived in it, the oldest first.
    recent: VecDeque<(i64, u64)>,
    in_recent: u64,
}

impl Flow {
    /// One arrives at this millisecond.
    fn arrive(&mut self, now: i64) {
        self.requests += 1;
        // A clock that was put back is taken to stand still.
        let now = self.recent.back().map_or(now, |&(last, _)| now.max(last));
        while let Some(&(_, count)) = self.recent.front().filter(|(oldest, _)| *oldest <= now - SECOND) {
            self.recent.pop_front();
            self.in_recent -= count;
        }
        match self.recent.back_mut() {
            Some((last, count)) if *last == now => *count += 1,
            _ => self.recent.push_back((now, 1)),
        }
        self.in_recent += 1;
        self.peak = self.peak.max(self.in_recent);
    }
}

impl Traffic {
    fn lock(&self) -> MutexGuard<'_, HashMap<RequestKind, Flow>> {
        // Counts are plain values and stay usable whoever panicked while holding them.
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request arrives at this millisecond.
    pub(super) fn arrive(&self, kind: RequestKind, now: i64) {
        self.lock().entry(kind).or_default().arrive(now);
    }

    /// A request was refused by a quota.
    pub(super) fn throttle(&self, kind: RequestKind) {
        self.lock().entry(kind).or_default().throttled += 1;
    }

    /// What `of` says of each kind.
    pub(super) fn each(&self, of: impl Fn(&Flow) -> u64) -> HashMap<RequestKind, u64> {
        self.lock().iter().map(|(kind, flow)| (kind.clone(), of(flow))).collect()
    }

    /// What `of` says of the kinds that are wanted.
    pub(super) fn of(&self, wanted: impl Fn(&RequestKind) -> bool, of: impl Fn(&Flow) -> u64) -> Vec<u64> {
        self.lock().iter().filter(|(kind, _)| wanted(kind)).map(|(_, flow)| of(flow)).collect()
    }

    /// Counts from nothing again.
    pub(super) fn forget(&self) {
        self.lock().clear();
    }
}
