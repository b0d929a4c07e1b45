//! What happened to which message, in order.
//!
//! A test that wants to know whether something was deleted before it was durable needs an account that the code under
//! test did not write. The log is that account. It is off by default because it grows with every message.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use dormouse_model::EventTime;

use super::{MessageId, lock};

/// What happened to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageEvent {
    /// It came into the queue.
    Sent,
    /// It was handed to a receiver.
    Received,
    /// It was handed to a receiver although in flight.
    Duplicated,
    /// It was deleted.
    Deleted,
    /// A delete was accepted and did not delete: an old handle, or one that the queue forgot.
    DeleteIgnored,
    /// Its visibility timeout was changed by a receiver.
    VisibilityChanged,
    /// It was received too often and went to the dead-letter queue.
    Redriven,
    /// It was older than the queue keeps messages.
    Expired,
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Its place in the log of all queues, from 0 without a gap.
    pub sequence: u64,
    /// When, by the double's clock.
    pub time: EventTime,
    /// The queue's name.
    pub queue: Arc<str>,
    /// The message.
    pub message: MessageId,
    /// What happened.
    pub event: MessageEvent,
}

pub(super) struct Log {
    on: AtomicBool,
    entries: Mutex<Vec<LogEntry>>,
}

impl Log {
    pub(super) fn new(on: bool) -> Self {
        Self { on: AtomicBool::new(on), entries: Mutex::default() }
    }

    pub(super) fn switch(&self, on: bool) {
        self.on.store(on, Ordering::Relaxed);
    }

    /// Called while the queue is locked, so that the order here is the order there.
    pub(super) fn note(&self, now: i64, queue: &Arc<str>, message: MessageId, event: MessageEvent) {
        if !self.on.load(Ordering::Relaxed) {
            return;
        }
        let time = EventTime::from_seconds(u32::try_from(now / 1_000).unwrap_or(0));
        let mut entries = lock(&self.entries);
        let sequence = entries.len() as u64;
        entries.push(LogEntry { sequence, time, queue: queue.clone(), message, event });
    }

    pub(super) fn entries(&self) -> Vec<LogEntry> {
        lock(&self.entries).clone()
    }
}
