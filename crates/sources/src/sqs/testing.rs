//! An SQS queue in memory, for tests in paused time. Standard queue: a delete with an old handle succeeds and does
//! nothing, and every delivery has a handle of its own.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dormouse_aws::{ErrorClass, Failure};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::queue::{BATCH, Delivery, EntryResults, Queue, VisibilityChange};
use super::source::QueueFacts;

/// How long a call takes.
const LATENCY: Duration = Duration::from_millis(5);

const DEAD: &str = "arn:aws:sqs:eu-west-1:111122223333:dead";

pub(super) struct MemoryQueue {
    wait: Duration,
    visibility: Duration,
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Default)]
struct State {
    messages: Vec<Stored>,
    next: u64,
    faults: Faults,
    calls: Calls,
}

/// What goes wrong; each fault is used once.
#[derive(Default)]
pub(super) struct Faults {
    pub(super) receives: VecDeque<Failure>,
    pub(super) deletes: VecDeque<Failure>,
    /// The entry at this place of the next delete fails.
    pub(super) delete_entries: VecDeque<(usize, Failure)>,
    pub(super) changes: VecDeque<Failure>,
    pub(super) dead_letters: VecDeque<Failure>,
}

/// How often each call was made.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Calls {
    pub(super) receives: usize,
    pub(super) deletes: usize,
    pub(super) changes: usize,
}

struct Stored {
    id: Arc<str>,
    body: String,
    visible_at: Instant,
    handle: String,
    receives: u32,
}

impl MemoryQueue {
    pub(super) fn new(wait: Duration, visibility: Duration) -> Arc<Self> {
        Arc::new(Self { wait, visibility, state: Mutex::default(), arrived: Notify::new() })
    }

    pub(super) fn send(&self, count: usize) {
        let mut state = self.state.lock().unwrap();
        for _ in 0..count {
            state.next += 1;
            let id = format!("m{}", state.next);
            let body = format!("body of {id}");
            let visible_at = Instant::now();
            let stored = Stored { id: id.into(), body, visible_at, handle: String::new(), receives: 0 };
            state.messages.push(stored);
        }
        drop(state);
        self.arrived.notify_waiters();
    }

    pub(super) fn fail(&self, set: impl FnOnce(&mut Faults)) {
        set(&mut self.state.lock().unwrap().faults);
    }

    /// Makes a message in flight visible, as if its visibility timeout were over.
    pub(super) fn expire(&self, id: &str) {
        let mut state = self.state.lock().unwrap();
        let stored = state.messages.iter_mut().find(|m| &*m.id == id).unwrap();
        stored.visible_at = Instant::now();
        drop(state);
        self.arrived.notify_waiters();
    }

    pub(super) fn calls(&self) -> Calls {
        self.state.lock().unwrap().calls
    }

    /// Messages that were not deleted.
    pub(super) fn len(&self) -> usize {
        self.state.lock().unwrap().messages.len()
    }

    /// Messages that a receive would return now.
    pub(super) fn visible(&self) -> usize {
        let now = Instant::now();
        self.state.lock().unwrap().messages.iter().filter(|m| m.visible_at <= now).count()
    }

    fn take(&self) -> Vec<Delivery> {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap();
        let State { messages, next, .. } = &mut *state;
        let visible = messages.iter_mut().filter(|m| m.visible_at <= now).take(BATCH);
        visible
            .map(|stored| {
                *next += 1;
                stored.receives += 1;
                stored.visible_at = now + self.visibility;
                stored.handle = format!("{}-h{next}", stored.id);
                Delivery {
                    id: Arc::clone(&stored.id),
                    handle: stored.handle.clone(),
                    body: stored.body.clone().into_bytes(),
                    receive_count: stored.receives,
                }
            })
            .collect()
    }

    /// When a message that is in flight becomes visible.
    fn next_visible(&self) -> Option<Instant> {
        self.state.lock().unwrap().messages.iter().map(|m| m.visible_at).min()
    }
}

impl Queue for Arc<MemoryQueue> {
    async fn receive(&self) -> Result<Vec<Delivery>, Failure> {
        tokio::time::sleep(LATENCY).await;
        let fault = {
            let mut state = self.state.lock().unwrap();
            state.calls.receives += 1;
            state.faults.receives.pop_front()
        };
        if let Some(failure) = fault {
            return Err(failure);
        }
        let end = Instant::now() + self.wait;
        loop {
            let arrived = self.arrived.notified();
            let deliveries = self.take();
            if !deliveries.is_empty() || Instant::now() >= end {
                return Ok(deliveries);
            }
            let wake_at = self.next_visible().map_or(end, |visible_at| visible_at.min(end));
            tokio::select! {
                () = arrived => {}
                () = tokio::time::sleep_until(wake_at) => {}
            }
        }
    }

    async fn delete(&self, handles: Vec<String>) -> Result<EntryResults, Failure> {
        tokio::time::sleep(LATENCY).await;
        let mut state = self.state.lock().unwrap();
        state.calls.deletes += 1;
        if let Some(failure) = state.faults.deletes.pop_front() {
            return Err(failure);
        }
        let broken = state.faults.delete_entries.pop_front();
        let mut results = Vec::new();
        for (place, handle) in handles.iter().enumerate() {
            match &broken {
                Some((at, failure)) if *at == place => results.push(Err(failure.clone())),
                _ => {
                    state.messages.retain(|m| m.handle != *handle);
                    results.push(Ok(()));
                }
            }
        }
        Ok(results)
    }

    async fn change_visibility(&self, changes: Vec<VisibilityChange>) -> Result<EntryResults, Failure> {
        tokio::time::sleep(LATENCY).await;
        let now = Instant::now();
        let mut state = self.state.lock().unwrap();
        state.calls.changes += 1;
        if let Some(failure) = state.faults.changes.pop_front() {
            return Err(failure);
        }
        let results = changes
            .iter()
            .map(|change| {
                let in_flight = |m: &&mut Stored| m.handle == change.handle && m.visible_at > now;
                let Some(stored) = state.messages.iter_mut().find(in_flight) else {
                    return Err(failure(ErrorClass::Poison));
                };
                stored.visible_at = now + Duration::from_secs(u64::try_from(change.seconds).unwrap());
                Ok(())
            })
            .collect();
        drop(state);
        self.arrived.notify_waiters();
        Ok(results)
    }

    async fn facts(&self) -> Result<QueueFacts, Failure> {
        tokio::time::sleep(LATENCY).await;
        Ok(QueueFacts {
            has_redrive_policy: true,
            dead_letter_arn: Some(DEAD.to_owned()),
            retention_seconds: Some(345_600),
            ..QueueFacts::default()
        })
    }

    async fn waiting_in(&self, arn: &str) -> Result<Option<u64>, Failure> {
        tokio::time::sleep(LATENCY).await;
        assert_eq!(arn, DEAD);
        self.state.lock().unwrap().faults.dead_letters.pop_front().map_or(Ok(Some(3)), Err)
    }
}

pub(super) fn failure(class: ErrorClass) -> Failure {
    Failure { class, ..Failure::transient("sqs:Test", "injected") }
}

pub(super) fn failures(class: ErrorClass, count: usize) -> Vec<Failure> {
    vec![failure(class); count]
}
