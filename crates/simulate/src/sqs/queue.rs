//! One queue: which messages are visible, who holds which, and until when.
//!
//! No I/O and no waiting in here; the time is an argument. Handing out, hiding and deleting a message each cost a hash
//! lookup and at most one step in the ordered set of deadlines, whatever the queue holds, and a body is copied as it
//! is: the double shares two cores with the client that a bench measures.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::log::{Log, MessageEvent};
use super::message::{Attributes, Body, Handle, Message, MessageId, Place};
use super::{LONGEST_VISIBILITY_SECONDS, lock};
use crate::faults::happens;

/// How a queue behaves. The defaults are those of SQS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueOptions {
    /// How long a received message stays invisible, unless the receiver says otherwise.
    pub visibility_seconds: u32,
    /// How long a message stays invisible after it was sent, unless the sender says otherwise.
    pub delay_seconds: u32,
    /// How old a message may become.
    pub retention_seconds: u32,
    /// How long a receive waits for messages, unless the receiver says otherwise.
    pub wait_seconds: u32,
    /// The dead-letter queue (name, URL or ARN), and how often a message may be received before it goes there.
    pub redrive: Option<(String, u32)>,
    /// How many messages may be in flight before a receive is answered with `OverLimit`.
    pub in_flight_limit: usize,
    /// Messages are handed out in random order within a window of so many; 0 and 1 keep the order of arrival.
    pub reorder_window: usize,
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self {
            visibility_seconds: 30,
            delay_seconds: 0,
            retention_seconds: 4 * 86_400,
            wait_seconds: 0,
            redrive: None,
            in_flight_limit: 120_000,
            reorder_window: 0,
        }
    }
}

/// The numbers of one queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueCounters {
    /// Messages that a receive would hand out now.
    pub visible: usize,
    /// Messages that somebody received and neither deleted nor lost to the visibility timeout.
    pub in_flight: usize,
    /// Messages that are not visible yet.
    pub delayed: usize,
    /// The most messages that were in flight at once.
    pub most_in_flight: usize,
    /// Messages that came in, redriven ones included.
    pub sent: u64,
    /// Deliveries: each time a message was handed out.
    pub received: u64,
    /// Deliveries of a message that was handed out before.
    pub redelivered: u64,
    /// Deliveries of a message that was in flight.
    pub duplicated: u64,
    /// Messages deleted by a receiver.
    pub deleted: u64,
    /// Deletes that were accepted and did nothing, because of an old handle or a fault.
    pub deletes_ignored: u64,
    /// Deletes of messages that were gone already.
    pub deletes_repeated: u64,
    /// Successful changes of a visibility timeout.
    pub visibility_changes: u64,
    /// Messages that went to the dead-letter queue.
    pub redriven: u64,
    /// Messages that became too old.
    pub expired: u64,
    /// Receives that found nothing.
    pub empty_receives: u64,
}

/// What a queue is for life.
pub(super) struct Identity {
    /// Its place among all queues that were ever made.
    pub(super) number: u32,
    pub(super) name: Arc<str>,
    pub(super) url: String,
    pub(super) arn: String,
    /// Milliseconds of the double's clock.
    pub(super) created: i64,
}

pub(super) struct Queue {
    pub(super) identity: Identity,
    pub(super) options: QueueOptions,
    /// Told once for every ten messages that become visible.
    pub(super) arrivals: Notify,
    old_handles_delete: bool,
    log: Arc<Log>,
    state: Mutex<State>,
}

struct State {
    random: fastrand::Rng,
    next: u64,
    messages: HashMap<u64, Message>,
    /// The visible messages in order, and some that were deleted meanwhile.
    visible: VecDeque<u64>,
    /// Messages in flight that are to be handed out once more.
    duplicates: VecDeque<u64>,
    /// In flight and delayed messages by the time when they become visible.
    hidden: BTreeSet<(i64, u64)>,
    counters: QueueCounters,
}

/// A receive, without the waiting.
#[derive(Clone, Copy)]
pub(super) struct ReceiveOrder {
    pub(super) most: usize,
    pub(super) visibility_ms: Option<i64>,
    pub(super) attributes: Attributes,
    pub(super) duplicate_chance: f64,
    /// Whether there is a dead-letter queue to take what was received too often.
    pub(super) may_redrive: bool,
}

/// What a receive found.
#[derive(Default)]
pub(super) struct Handed {
    /// The messages as JSON objects with commas between them.
    pub(super) json: Vec<u8>,
    pub(super) count: usize,
    /// Messages for the dead-letter queue.
    pub(super) redriven: Vec<Message>,
    /// More messages are visible.
    pub(super) more: bool,
    /// Too many messages are in flight already.
    pub(super) over_limit: bool,
    /// What the next receive gets again.
    to_duplicate: Vec<u64>,
}

/// What a delete met.
pub(super) enum Deletion {
    /// The message was there, and deleted unless this was an old handle or to be forgotten.
    Accepted(MessageId, Body),
    /// The message was gone.
    Repeated,
    /// No such handle was ever given out.
    InvalidHandle,
}

/// Why a visibility timeout was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VisibilityRefusal {
    InvalidHandle,
    Gone,
    NotInFlight,
    TooLong,
}

impl Queue {
    pub(super) fn new(
        identity: Identity,
        options: QueueOptions,
        seed: u64,
        old_handles_delete: bool,
        log: Arc<Log>,
    ) -> Self {
        let state = State {
            random: fastrand::Rng::with_seed(seed ^ u64::from(identity.number) << 32),
            next: 0,
            messages: HashMap::new(),
            visible: VecDeque::new(),
            duplicates: VecDeque::new(),
            hidden: BTreeSet::new(),
            counters: QueueCounters::default(),
        };
        Self { identity, options, arrivals: Notify::new(), old_handles_delete, log, state: Mutex::new(state) }
    }

    /// Puts a new message in, visible after `delay_ms`.
    pub(super) fn send(&self, now: i64, body: Body, delay_ms: i64) -> MessageId {
        let mut state = lock(&self.state);
        let id = MessageId::random(&mut state.random);
        let place = if delay_ms > 0 { Place::Delayed { until: now + delay_ms } } else { Place::Visible };
        let message = Message {
            id,
            body,
            sent: now,
            first_received: 0,
            last_received: 0,
            receives: 0,
            place,
            redriven_from: None,
        };
        self.insert(&mut state, now, message);
        id
    }

    /// Takes a message over from the queue `from`, whose dead-letter queue this is.
    pub(super) fn adopt(&self, now: i64, mut message: Message, from: &str) {
        message.place = Place::Visible;
        message.redriven_from = Some(from.into());
        self.insert(&mut lock(&self.state), now, message);
    }

    fn insert(&self, state: &mut State, now: i64, message: Message) {
        let sequence = state.next;
        state.next += 1;
        state.counters.sent += 1;
        match message.place {
            Place::Delayed { until } => {
                state.hidden.insert((until, sequence));
                state.counters.delayed += 1;
                // Somebody may be waiting for a later time.
                self.arrivals.notify_one();
            }
            _ => {
                state.visible.push_back(sequence);
                if state.visible.len() % 10 == 1 {
                    self.arrivals.notify_one();
                }
            }
        }
        self.log.note(now, &self.identity.name, message.id, MessageEvent::Sent);
        state.messages.insert(sequence, message);
    }

    /// Hands out what is visible.
    pub(super) fn receive(&self, now: i64, order: &ReceiveOrder) -> Handed {
        let mut state = lock(&self.state);
        state.release(now);
        let mut handed = Handed::default();
        if state.counters.in_flight >= self.options.in_flight_limit {
            handed.over_limit = true;
            return handed;
        }
        while handed.count < order.most {
            let Some(sequence) = state.next_candidate(self.options.reorder_window) else {
                break;
            };
            if !self.retire(&mut state, now, sequence, order.may_redrive, &mut handed.redriven) {
                self.hand_out(&mut state, now, sequence, order, &mut handed);
            }
        }
        state.duplicates.extend(handed.to_duplicate.drain(..));
        handed.more = !state.visible.is_empty() || !state.duplicates.is_empty();
        state.counters.most_in_flight = state.counters.most_in_flight.max(state.counters.in_flight);
        state.counters.empty_receives += u64::from(handed.count == 0);
        handed
    }

    /// Takes a visible message out of the queue if it is too old or was received too often.
    fn retire(
        &self,
        state: &mut State,
        now: i64,
        sequence: u64,
        may_redrive: bool,
        redriven: &mut Vec<Message>,
    ) -> bool {
        let Some(message) = state.messages.get(&sequence) else {
            return true;
        };
        if message.place != Place::Visible {
            return false;
        }
        let expired = now - message.sent > i64::from(self.options.retention_seconds) * 1_000;
        let exhausted =
            may_redrive && self.options.redrive.as_ref().is_some_and(|(_, most)| message.receives >= *most);
        let event = match (expired, exhausted) {
            (true, _) => MessageEvent::Expired,
            (_, true) => MessageEvent::Redriven,
            _ => return false,
        };
        self.log.note(now, &self.identity.name, message.id, event);
        let message = state.messages.remove(&sequence);
        if expired {
            state.counters.expired += 1;
        } else {
            state.counters.redriven += 1;
            redriven.extend(message);
        }
        true
    }

    fn hand_out(
        &self,
        state: &mut State,
        now: i64,
        sequence: u64,
        order: &ReceiveOrder,
        handed: &mut Handed,
    ) {
        let State { random, messages, hidden, counters, .. } = state;
        let Some(message) = messages.get_mut(&sequence) else {
            return;
        };
        let mut event = MessageEvent::Received;
        if let Place::InFlight { until } = message.place {
            hidden.remove(&(until, sequence));
            counters.duplicated += 1;
            event = MessageEvent::Duplicated;
        } else {
            counters.in_flight += 1;
        }
        let visibility = order.visibility_ms.unwrap_or(i64::from(self.options.visibility_seconds) * 1_000);
        let until = now + visibility;
        message.place = Place::InFlight { until };
        hidden.insert((until, sequence));

        counters.received += 1;
        counters.redelivered += u64::from(message.receives > 0);
        if message.receives == 0 {
            message.first_received = now;
        }
        message.receives += 1;
        message.last_received = now;
        // A duplicate is not duplicated again, and never comes in the answer that it is a duplicate of.
        if event == MessageEvent::Received && happens(random, order.duplicate_chance) {
            handed.to_duplicate.push(sequence);
        }
        self.log.note(now, &self.identity.name, message.id, event);

        if handed.count > 0 {
            handed.json.push(b',');
        }
        let handle = Handle { queue: self.identity.number, sequence, receive: message.receives };
        message.write(&mut handed.json, handle, order.attributes);
        handed.count += 1;
    }

    /// Deletes a message; if `forget`, only says so.
    pub(super) fn delete(&self, now: i64, handle: &str, forget: bool) -> Deletion {
        let mut state = lock(&self.state);
        let Some(handle) = self.parse_handle(&state, handle) else {
            return Deletion::InvalidHandle;
        };
        state.release(now);
        let Some(message) = state.messages.get(&handle.sequence) else {
            state.counters.deletes_repeated += 1;
            return Deletion::Repeated;
        };
        let old = handle.receive != message.receives && !self.old_handles_delete;
        if old || forget {
            let (id, body) = (message.id, message.body.clone());
            state.counters.deletes_ignored += 1;
            self.log.note(now, &self.identity.name, id, MessageEvent::DeleteIgnored);
            return Deletion::Accepted(id, body);
        }
        let Some(message) = state.messages.remove(&handle.sequence) else {
            return Deletion::Repeated;
        };
        state.unhide(handle.sequence, message.place);
        state.counters.deleted += 1;
        self.log.note(now, &self.identity.name, message.id, MessageEvent::Deleted);
        Deletion::Accepted(message.id, message.body)
    }

    /// Sets the visibility timeout of a message in flight to end `timeout_ms` from now.
    pub(super) fn change_visibility(
        &self,
        now: i64,
        handle: &str,
        timeout_ms: i64,
    ) -> Result<(), VisibilityRefusal> {
        let mut state = lock(&self.state);
        let handle = self.parse_handle(&state, handle).ok_or(VisibilityRefusal::InvalidHandle)?;
        state.release(now);
        let message = state.messages.get_mut(&handle.sequence).ok_or(VisibilityRefusal::Gone)?;
        let Place::InFlight { until } = message.place else {
            return Err(VisibilityRefusal::NotInFlight);
        };
        if handle.receive != message.receives {
            return Err(VisibilityRefusal::NotInFlight);
        }
        let new_until = now + timeout_ms;
        if new_until - message.last_received > LONGEST_VISIBILITY_SECONDS * 1_000 {
            return Err(VisibilityRefusal::TooLong);
        }
        message.place = Place::InFlight { until: new_until };
        self.log.note(now, &self.identity.name, message.id, MessageEvent::VisibilityChanged);
        state.hidden.remove(&(until, handle.sequence));
        state.hidden.insert((new_until, handle.sequence));
        state.counters.visibility_changes += 1;
        // Somebody may be waiting for a later time.
        self.arrivals.notify_one();
        Ok(())
    }

    fn parse_handle(&self, state: &State, text: &str) -> Option<Handle> {
        Handle::parse(text)
            .filter(|handle| handle.queue == self.identity.number && handle.sequence < state.next)
    }

    /// Whether some message becomes visible by waiting.
    pub(super) fn has_hidden(&self) -> bool {
        !lock(&self.state).hidden.is_empty()
    }

    /// The numbers as they are `now`.
    pub(super) fn counters(&self, now: i64) -> QueueCounters {
        let mut state = lock(&self.state);
        state.release(now);
        let counters = state.counters;
        QueueCounters { visible: state.messages.len() - counters.in_flight - counters.delayed, ..counters }
    }

    /// Forgets all messages.
    pub(super) fn purge(&self) {
        let mut state = lock(&self.state);
        state.messages.clear();
        state.visible.clear();
        state.duplicates.clear();
        state.hidden.clear();
        state.counters.in_flight = 0;
        state.counters.delayed = 0;
    }

    /// The ids and bodies of all messages that were neither deleted nor taken away, oldest first.
    pub(super) fn remaining(&self) -> Vec<(MessageId, String)> {
        let state = lock(&self.state);
        let mut sequences: Vec<&u64> = state.messages.keys().collect();
        sequences.sort_unstable();
        let messages = sequences.into_iter().filter_map(|sequence| state.messages.get(sequence));
        messages.map(|message| (message.id, message.body.text())).collect()
    }
}

impl State {
    /// Makes visible what has waited long enough.
    fn release(&mut self, now: i64) {
        while let Some(&(until, sequence)) = self.hidden.first()
            && until <= now
        {
            self.hidden.pop_first();
            let Some(message) = self.messages.get_mut(&sequence) else {
                continue;
            };
            match message.place {
                Place::InFlight { .. } => self.counters.in_flight -= 1,
                Place::Delayed { .. } => self.counters.delayed -= 1,
                Place::Visible => {}
            }
            message.place = Place::Visible;
            self.visible.push_back(sequence);
        }
    }

    /// The next message to hand out: one that is to be duplicated and still in flight, else a visible one.
    fn next_candidate(&mut self, window: usize) -> Option<u64> {
        while let Some(sequence) = self.duplicates.pop_front() {
            let message = self.messages.get(&sequence);
            if message.is_some_and(|message| matches!(message.place, Place::InFlight { .. })) {
                return Some(sequence);
            }
        }
        let window = window.min(self.visible.len());
        if window > 1 {
            let chosen = self.random.usize(..window);
            self.visible.swap(0, chosen);
        }
        self.visible.pop_front()
    }

    /// Undoes the bookkeeping of a message that was taken out of `messages`.
    fn unhide(&mut self, sequence: u64, place: Place) {
        match place {
            Place::Visible => {}
            Place::InFlight { until } => {
                self.hidden.remove(&(until, sequence));
                self.counters.in_flight -= 1;
            }
            Place::Delayed { until } => {
                self.hidden.remove(&(until, sequence));
                self.counters.delayed -= 1;
            }
        }
    }
}
