//! What is in flight.
//!
//! A message is known by its SQS message id, and every delivery that was handed over by a [`Receipt`]. Two facts change
//! while a message is in flight and are kept here: its newest receipt handle (SQS may ignore a delete with an older
//! one) and the time until which SQS keeps it from other consumers. That deadline counts from *before* the call that
//! set it, so it is never later than SQS's own.
//!
//! A message that comes again while its first copy is in flight only brings a newer handle and deadline. Whoever works
//! with a handle outside the lock remembers its generation; an outcome for an older generation says nothing.
//!
//! One lock guards it all. It is taken once per batch and held for the time of a few map operations; the extender's
//! walk over everything in flight happens every few seconds and takes about a millisecond per 100,000 messages.

use std::collections::HashMap;
use std::collections::hash_map;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::options::LONGEST_VISIBILITY;
use super::queue::{Delivery, VisibilityChange, whole_seconds};
use super::stats::SqsStats;
use crate::{Message, Receipt};

/// The messages in flight of one source.
#[derive(Debug)]
pub(crate) struct Tracker {
    visibility: Duration,
    stats: Arc<SqsStats>,
    inner: Mutex<Inner>,
    emptied: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    next_receipt: u64,
    receipts: HashMap<Arc<str>, Receipt, RandomState>,
    entries: HashMap<Receipt, Entry, RandomState>,
}

#[derive(Debug)]
struct Entry {
    id: Arc<str>,
    handle: String,
    generation: u32,
    /// Before the call that delivered the newest handle.
    received: Instant,
    /// SQS keeps the message from others at least until then.
    deadline: Instant,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Handed over, not acknowledged: to be kept.
    Held,
    /// Handed over, not acknowledged, and cannot be kept: its handle has expired, or its 12 hours are over.
    Lapsed,
    /// To be deleted, after so many failed tries.
    Acknowledged { failures: u32 },
}

/// A handle to work with outside the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) receipt: Receipt,
    pub(crate) handle: String,
    generation: u32,
}

/// What became of a try to delete a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeleteOutcome {
    Deleted,
    /// SQS does not know the handle.
    HandleLost,
    Failed,
}

/// What is to be done after a try to delete a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterDelete {
    Done,
    /// The message came again during the try: delete it with its newest handle now.
    AtOnce,
    /// After a wait; so many tries failed before this one.
    Later {
        failures: u32,
    },
}

impl Tracker {
    pub(crate) fn new(visibility: Duration, stats: Arc<SqsStats>) -> Self {
        Self { visibility, stats, inner: Mutex::default(), emptied: Notify::new() }
    }

    /// Enters what a receive that began at `before` has delivered. Returns the messages that are not in flight already.
    pub(crate) fn track(&self, before: Instant, deliveries: Vec<Delivery>) -> Vec<Message> {
        let received = deliveries.len();
        let mut fresh = Vec::with_capacity(received);
        let mut inner = self.lock();
        for delivery in deliveries {
            fresh.extend(inner.enter(before, before + self.visibility, delivery));
        }
        self.unlock(inner);
        self.stats.received.add(received);
        self.stats.redelivered.add(received - fresh.len());
        fresh
    }

    /// Forgets messages that are left to come back. Those already acknowledged stay.
    pub(crate) fn leave(&self, receipts: &[Receipt]) {
        let mut inner = self.lock();
        let left = receipts.iter().filter(|receipt| inner.forget_unacknowledged(**receipt).is_some()).count();
        self.unlock(inner);
        self.stats.left.add(left);
    }

    /// Marks messages as acknowledged and returns their newest handles. Unknown receipts are ignored.
    pub(crate) fn begin_delete(&self, receipts: &[Receipt]) -> Vec<Lease> {
        let mut inner = self.lock();
        let leases = receipts.iter().filter_map(|receipt| inner.acknowledge(*receipt)).collect();
        self.unlock(inner);
        leases
    }

    /// Takes down what became of tries to delete, and says what to do next, in the same order.
    pub(crate) fn end_delete(&self, outcomes: &[(Lease, DeleteOutcome)]) -> Vec<AfterDelete> {
        let mut inner = self.lock();
        let next = outcomes.iter().map(|(lease, outcome)| inner.after_delete(lease, *outcome)).collect();
        self.unlock(inner);
        next
    }

    /// The messages to keep whose deadline comes within `margin`, with the timeouts to ask for. Messages that cannot be
    /// kept any longer because SQS's 12 hours are nearly over lapse instead.
    pub(crate) fn due(&self, now: Instant, margin: Duration) -> Vec<(Lease, VisibilityChange)> {
        let horizon = now + margin;
        let mut lapsed = 0;
        let mut due = Vec::new();
        let mut inner = self.lock();
        for (receipt, entry) in &mut inner.entries {
            if entry.state != State::Held || entry.deadline > horizon {
                continue;
            }
            let remaining = (entry.received + LONGEST_VISIBILITY).saturating_duration_since(now);
            if remaining <= margin {
                entry.state = State::Lapsed;
                lapsed += 1;
                continue;
            }
            let seconds = whole_seconds(self.visibility.min(remaining));
            let change = VisibilityChange { handle: entry.handle.clone(), seconds };
            due.push((entry.lease(*receipt), change));
        }
        self.unlock(inner);
        self.stats.lapsed.add(lapsed);
        due
    }

    /// SQS keeps the message until `deadline` now.
    pub(crate) fn extended(&self, lease: &Lease, deadline: Instant) {
        if let Some(entry) = self.lock().current(lease) {
            entry.deadline = deadline;
        }
        self.stats.extended.add(1);
    }

    /// SQS does not know the handle any more: the message will come again, unless it is deleted first.
    pub(crate) fn lapse(&self, lease: &Lease) {
        if let Some(entry) = self.lock().current(lease)
            && entry.state == State::Held
        {
            entry.state = State::Lapsed;
            self.stats.lapsed.add(1);
        }
    }

    /// Forgets everything, and returns the handles of what was not acknowledged, and how many messages were
    /// acknowledged but not deleted.
    pub(crate) fn abandon(&self) -> (Vec<String>, usize) {
        let mut inner = self.lock();
        inner.receipts.clear();
        let entries: Vec<Entry> = inner.entries.drain().map(|(_, entry)| entry).collect();
        self.unlock(inner);
        let all = entries.len();
        let held: Vec<String> =
            entries.into_iter().filter(|e| !e.is_acknowledged()).map(|e| e.handle).collect();
        let undeleted = all - held.len();
        (held, undeleted)
    }

    /// How many messages are in flight.
    /// When the oldest message was received that is neither acknowledged nor left.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        let inner = self.lock();
        let is_open = |entry: &&Entry| matches!(entry.state, State::Held | State::Lapsed);
        inner.entries.values().filter(is_open).map(|entry| entry.received).min()
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Waits until nothing is in flight.
    pub(crate) async fn wait_until_empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.len() == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// A task that panicked under the lock can at worst have left out a message, which then comes again.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unlock(&self, inner: MutexGuard<'_, Inner>) {
        let in_flight = inner.entries.len();
        self.stats.in_flight.set(in_flight);
        drop(inner);
        if in_flight == 0 {
            self.emptied.notify_waiters();
        }
    }
}

impl Inner {
    /// `None` if the message is in flight already.
    fn enter(&mut self, received: Instant, deadline: Instant, delivery: Delivery) -> Option<Message> {
        let Delivery { id, handle, body, receive_count } = delivery;
        let receipt = match self.receipts.entry(Arc::clone(&id)) {
            hash_map::Entry::Vacant(place) => {
                self.next_receipt += 1;
                *place.insert(Receipt::new(self.next_receipt))
            }
            hash_map::Entry::Occupied(place) => {
                if let Some(entry) = self.entries.get_mut(place.get()) {
                    entry.redelivered(received, deadline, handle);
                }
                return None;
            }
        };
        let entry =
            Entry { id: Arc::clone(&id), handle, generation: 0, received, deadline, state: State::Held };
        self.entries.insert(receipt, entry);
        Some(Message { body, receipt, receive_count, id })
    }

    fn acknowledge(&mut self, receipt: Receipt) -> Option<Lease> {
        let entry = self.entries.get_mut(&receipt)?;
        if !entry.is_acknowledged() {
            entry.state = State::Acknowledged { failures: 0 };
        }
        Some(entry.lease(receipt))
    }

    fn forget(&mut self, receipt: Receipt) -> Option<Entry> {
        let entry = self.entries.remove(&receipt)?;
        self.receipts.remove(&entry.id);
        Some(entry)
    }

    fn forget_unacknowledged(&mut self, receipt: Receipt) -> Option<Entry> {
        if self.entries.get(&receipt)?.is_acknowledged() {
            return None;
        }
        self.forget(receipt)
    }

    fn after_delete(&mut self, lease: &Lease, outcome: DeleteOutcome) -> AfterDelete {
        let Some(entry) = self.entries.get_mut(&lease.receipt) else {
            return AfterDelete::Done;
        };
        // A delete with an old handle may succeed and do nothing.
        if entry.generation != lease.generation {
            return AfterDelete::AtOnce;
        }
        match (outcome, entry.state) {
            (DeleteOutcome::Failed, State::Acknowledged { failures }) => {
                entry.state = State::Acknowledged { failures: failures.saturating_add(1) };
                AfterDelete::Later { failures }
            }
            _ => {
                self.forget(lease.receipt);
                AfterDelete::Done
            }
        }
    }

    /// The lease's entry, if its handle is still the newest.
    fn current(&mut self, lease: &Lease) -> Option<&mut Entry> {
        self.entries.get_mut(&lease.receipt).filter(|entry| entry.generation == lease.generation)
    }
}

impl Entry {
    fn is_acknowledged(&self) -> bool {
        matches!(self.state, State::Acknowledged { .. })
    }

    fn lease(&self, receipt: Receipt) -> Lease {
        Lease { receipt, handle: self.handle.clone(), generation: self.generation }
    }

    fn redelivered(&mut self, received: Instant, deadline: Instant, handle: String) {
        self.handle = handle;
        self.generation = self.generation.wrapping_add(1);
        self.received = received;
        self.deadline = deadline;
        if self.state == State::Lapsed {
            self.state = State::Held;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VISIBILITY: Duration = Duration::from_secs(60);
    const MARGIN: Duration = Duration::from_secs(20);

    fn tracker() -> Tracker {
        Tracker::new(VISIBILITY, Arc::default())
    }

    fn delivery(id: &str, handle: &str) -> Delivery {
        Delivery { id: id.into(), handle: handle.into(), body: "{}".into(), receive_count: 1 }
    }

    fn one(tracker: &Tracker, id: &str, handle: &str) -> Receipt {
        let messages = tracker.track(Instant::now(), vec![delivery(id, handle)]);
        assert_eq!(messages.len(), 1);
        messages[0].receipt
    }

    fn delete(tracker: &Tracker, receipt: Receipt, outcome: DeleteOutcome) -> AfterDelete {
        let lease = tracker.begin_delete(&[receipt]).remove(0);
        tracker.end_delete(&[(lease, outcome)])[0]
    }

    #[tokio::test(start_paused = true)]
    async fn a_redelivery_brings_a_newer_handle_and_no_second_message() {
        let tracker = tracker();
        let receipt = one(&tracker, "m1", "old");
        assert_eq!(tracker.track(Instant::now(), vec![delivery("m1", "new"), delivery("m1", "newest")]), []);
        let leases = tracker.begin_delete(&[receipt]);
        assert_eq!(leases[0].handle, "newest");
        assert_eq!((tracker.stats.redelivered.get(), tracker.len()), (2, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_delete_the_same_message_is_a_new_delivery() {
        let tracker = tracker();
        let first = one(&tracker, "m1", "h1");
        assert_eq!(delete(&tracker, first, DeleteOutcome::Deleted), AfterDelete::Done);
        assert_eq!(tracker.len(), 0);
        let second = one(&tracker, "m1", "h2");
        assert_ne!(first, second);
        assert!(
            tracker.begin_delete(&[first]).is_empty(),
            "an old receipt says nothing about a new delivery"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_acknowledged_message_that_comes_again_is_deleted_with_the_new_handle() {
        let tracker = tracker();
        let receipt = one(&tracker, "m1", "old");
        for outcome in [DeleteOutcome::Deleted, DeleteOutcome::HandleLost, DeleteOutcome::Failed] {
            let lease = tracker.begin_delete(&[receipt]).remove(0);
            assert_eq!(tracker.track(Instant::now(), vec![delivery("m1", "new")]), []);
            assert_eq!(tracker.end_delete(&[(lease, outcome)]), [AfterDelete::AtOnce]);
            assert_eq!(tracker.begin_delete(&[receipt])[0].handle, "new");
        }
        assert_eq!(delete(&tracker, receipt, DeleteOutcome::Deleted), AfterDelete::Done);
    }

    #[tokio::test(start_paused = true)]
    async fn failed_deletes_are_counted_and_lost_handles_end_it() {
        let tracker = tracker();
        let receipt = one(&tracker, "m1", "h");
        for failures in 0..3 {
            assert_eq!(delete(&tracker, receipt, DeleteOutcome::Failed), AfterDelete::Later { failures });
        }
        assert_eq!(delete(&tracker, receipt, DeleteOutcome::HandleLost), AfterDelete::Done);
        assert_eq!(tracker.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn only_held_messages_near_their_deadline_are_due() {
        let tracker = tracker();
        let before = Instant::now();
        let messages = tracker.track(before, ["a", "b", "c", "d"].map(|id| delivery(id, id)).into());
        tracker.begin_delete(&[messages[1].receipt]);
        tracker.leave(&[messages[2].receipt, messages[2].receipt]);
        assert_eq!(tracker.stats.left.get(), 1);
        assert!(tracker.due(before + VISIBILITY - MARGIN - Duration::from_millis(1), MARGIN).is_empty());

        let due = tracker.due(before + VISIBILITY - MARGIN, MARGIN);
        let mut handles: Vec<&str> = due.iter().map(|(_, change)| &*change.handle).collect();
        handles.sort_unstable();
        assert_eq!(handles, ["a", "d"]);
        assert!(due.iter().all(|(_, change)| change.seconds == 60));

        let (kept, lost) = (&due[0].0, &due[1].0);
        tracker.extended(kept, before + VISIBILITY * 2);
        tracker.lapse(lost);
        assert!(tracker.due(before + VISIBILITY, MARGIN).is_empty());
        let again = tracker.due(before + VISIBILITY * 2, MARGIN);
        assert_eq!(again.len(), 1, "what has lapsed is not due");
        assert_eq!(again[0].0, *kept);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lapsed_message_is_kept_again_once_it_comes_again() {
        let tracker = tracker();
        let before = Instant::now();
        one(&tracker, "m1", "old");
        let (lease, _) = tracker.due(before + VISIBILITY, MARGIN).remove(0);
        tracker.lapse(&lease);
        tracker.track(before + VISIBILITY, vec![delivery("m1", "new")]);
        tracker.lapse(&lease);
        let due = tracker.due(before + VISIBILITY * 2, MARGIN);
        assert_eq!(due[0].1.handle, "new", "the old handle's end says nothing about the new one");
    }

    #[tokio::test(start_paused = true)]
    async fn twelve_hours_are_the_end_of_it() {
        let tracker = tracker();
        let before = Instant::now();
        one(&tracker, "m1", "h");
        let late = before + LONGEST_VISIBILITY - Duration::from_secs(30);
        assert_eq!(tracker.due(late, MARGIN)[0].1.seconds, 30, "no more than what SQS allows");
        assert!(tracker.due(before + LONGEST_VISIBILITY - MARGIN, MARGIN).is_empty());
        assert_eq!(tracker.stats.lapsed.get(), 1);
        assert_eq!(tracker.len(), 1, "it can still be acknowledged");
    }

    #[tokio::test(start_paused = true)]
    async fn an_acknowledged_message_is_not_left() {
        let tracker = tracker();
        let receipt = one(&tracker, "m1", "h");
        tracker.begin_delete(&[receipt]);
        tracker.leave(&[receipt]);
        assert_eq!((tracker.len(), tracker.stats.left.get()), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_when_the_last_message_is_gone() {
        let tracker = Arc::new(tracker());
        let receipt = one(&tracker, "m1", "h");
        let waiter = tokio::spawn({
            let tracker = Arc::clone(&tracker);
            async move { tracker.wait_until_empty().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        tracker.leave(&[receipt]);
        waiter.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn abandoning_tells_held_from_acknowledged() {
        let tracker = tracker();
        let receipt = one(&tracker, "m1", "h1");
        one(&tracker, "m2", "h2");
        tracker.begin_delete(&[receipt]);
        assert_eq!(tracker.abandon(), (vec!["h2".to_owned()], 1));
        assert_eq!(tracker.len(), 0);
    }
}
