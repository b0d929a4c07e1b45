//! The envelopes worth a struct of their own: what is in them is read in the same pass.
//!
//! The first two also note whether the object holds members that would make it something else, so that what an object is taken
//! for never depends on the order of its members.

use super::object::{Present, object};
use super::record::Record;
use crate::text::Text;

object! {
    /// An EventBridge event whose `detail` is a record.
    Bridge<'a> {
        b"account" => account: Text<'a>,
        b"region" => region: Text<'a>,
        b"detail" => detail: Record<'a>,
        b"Records" | b"logEvents" => records: Present,
        b"eventSource" => event_source: Present,
        b"eventType" => event_type: Present,
        b"eventID" => event_id: Present,
        b"Type" => notification: Present,
    }
}

impl Bridge<'_> {
    /// Whether this object is such an event, and nothing else.
    pub(crate) fn has_shape(&self) -> bool {
        let others = [self.records, self.event_source, self.event_type, self.event_id, self.notification];
        self.detail.has_shape() && !others.iter().any(|present| present.0)
    }
}

object! {
    /// An SNS notification.
    Notification<'a> {
        b"Type" => kind: Text<'a>,
        b"Message" => message: Text<'a>,
        b"Records" | b"logEvents" => records: Present,
        b"eventSource" => event_source: Present,
        b"eventType" => event_type: Present,
        b"eventID" => event_id: Present,
    }
}

impl Notification<'_> {
    /// Whether this object is a notification with a message, and nothing else.
    pub(crate) fn has_shape(&self) -> bool {
        let others = [self.records, self.event_source, self.event_type, self.event_id];
        &*self.kind == "Notification" && !self.message.is_empty() && !others.iter().any(|present| present.0)
    }
}

object! {
    /// One of the events in a batch of CloudWatch Logs.
    LogEvent<'a> {
        b"message" => message: Text<'a>,
    }
}
