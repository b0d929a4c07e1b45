//! Messages and what names them.

use std::fmt;
use std::io::Write as _;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::uuid::Uuid;

/// The id of a message: a UUID, the same at every delivery and in the dead-letter queue.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(Uuid);

/// The text is no message id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message id is a UUID in lower case")]
pub struct ParseMessageIdError;

impl MessageId {
    pub(super) fn random(random: &mut fastrand::Rng) -> Self {
        Self(Uuid::from_random(random.u128(..)))
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MessageId {
    type Err = ParseMessageIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse(text).map(Self).ok_or(ParseMessageIdError)
    }
}

impl Serialize for MessageId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A body as it goes over the wire, made once when the message is sent.
#[derive(Clone)]
pub(super) struct Body {
    /// The body as a JSON string, quotes included.
    json: Box<str>,
    md5: md5::Digest,
}

impl Body {
    pub(super) fn new(text: &str) -> Self {
        // A string always serialises.
        let json = serde_json::to_string(text).unwrap_or_default();
        Self { json: json.into(), md5: md5::compute(text) }
    }

    pub(super) fn md5(&self) -> String {
        format!("{:x}", self.md5)
    }

    pub(super) fn text(&self) -> String {
        serde_json::from_str(&self.json).unwrap_or_default()
    }
}

/// Where a message is. Times are milliseconds of the double's clock.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Visible,
    InFlight { until: i64 },
    Delayed { until: i64 },
}

pub(super) struct Message {
    pub(super) id: MessageId,
    pub(super) body: Body,
    pub(super) sent: i64,
    pub(super) first_received: i64,
    pub(super) last_received: i64,
    /// How often it was handed out. Also says which receipt handle is the newest.
    pub(super) receives: u32,
    pub(super) place: Place,
    /// In a dead-letter queue: the ARN of the queue it came from.
    pub(super) redriven_from: Option<Box<str>>,
}

/// What a receipt handle says, in a text that says nothing to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handle {
    pub(super) queue: u32,
    pub(super) sequence: u64,
    pub(super) receive: u32,
}

const HANDLE_PREFIX: &str = "AQEB";

impl Handle {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(HANDLE_PREFIX)?;
        let well_formed = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !well_formed {
            return None;
        }
        Some(Self {
            queue: u32::from_str_radix(&digits[..8], 16).ok()?,
            sequence: u64::from_str_radix(&digits[8..24], 16).ok()?,
            receive: u32::from_str_radix(&digits[24..], 16).ok()?,
        })
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { queue, sequence, receive } = self;
        write!(f, "{HANDLE_PREFIX}{queue:08x}{sequence:016x}{receive:08x}")
    }
}

/// The system attributes that a receiver asked for.
#[derive(Clone, Copy, Default)]
pub(super) struct Attributes {
    pub(super) sent: bool,
    pub(super) first_received: bool,
    pub(super) receives: bool,
    pub(super) sender: bool,
    pub(super) redriven_from: bool,
}

impl Attributes {
    pub(super) fn named<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut asked = Self::default();
        for name in names {
            let all = name == "All";
            asked.sent |= all || name == "SentTimestamp";
            asked.first_received |= all || name == "ApproximateFirstReceiveTimestamp";
            asked.receives |= all || name == "ApproximateReceiveCount";
            asked.sender |= all || name == "SenderId";
            asked.redriven_from |= all || name == "DeadLetterQueueSourceArn";
        }
        asked
    }
}

impl Message {
    /// Appends the message as `ReceiveMessage` shows it. Nothing in it needs escaping but the body, which is escaped.
    pub(super) fn write(&self, out: &mut Vec<u8>, handle: Handle, asked: Attributes) {
        // Writing to a Vec cannot fail.
        let _ = write!(
            out,
            r#"{{"MessageId":"{}","ReceiptHandle":"{handle}","MD5OfBody":"{:x}","Body":"#,
            self.id, self.body.md5
        );
        out.extend_from_slice(self.body.json.as_bytes());
        let attributes_start = out.len();
        out.extend_from_slice(br#","Attributes":{"#);
        let first = out.len();
        let mut attribute = |asked: bool, name: &str, value: &dyn fmt::Display| {
            if asked {
                let comma = if out.len() > first { "," } else { "" };
                let _ = write!(out, r#"{comma}"{name}":"{value}""#);
            }
        };
        attribute(asked.receives, "ApproximateReceiveCount", &self.receives);
        attribute(asked.sent, "SentTimestamp", &self.sent);
        attribute(asked.first_received, "ApproximateFirstReceiveTimestamp", &self.first_received);
        attribute(asked.sender, "SenderId", &"AIDAEXAMPLESENDER0000");
        if let Some(arn) = &self.redriven_from {
            attribute(asked.redriven_from, "DeadLetterQueueSourceArn", arn);
        }
        if out.len() > first {
            out.push(b'}');
        } else {
            out.truncate(attributes_start);
        }
        out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_handles_come_back_from_their_texts() {
        let id = MessageId::random(&mut fastrand::Rng::with_seed(1));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(&id.to_string()[14..15], "4");
        assert_eq!("x".parse::<MessageId>(), Err(ParseMessageIdError));

        let handle = Handle { queue: 3, sequence: 1 << 40, receive: 7 };
        assert_eq!(Handle::parse(&handle.to_string()), Some(handle));
        assert_eq!(Handle::parse("AQEBnonsense"), None);
    }
}
