//! What a source of events says of itself: how far it has come, and whether anything can have passed it by.

use serde::{Deserialize, Serialize};

use crate::EventTime;

/// How far a source has come in one shard of a stream. Journaled in the epoch that holds the effect of what was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Which life of which stream: a stream that was deleted and made again has another one.
    pub stream: Box<str>,
    /// The shard's id.
    pub shard: Box<str>,
    /// How far.
    pub at: ShardPosition,
}

/// From where a shard is to be read on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShardPosition {
    /// From the oldest record that the stream still has.
    TrimHorizon,
    /// From the first record that arrived at this time or later.
    Time(EventTime),
    /// From behind the record with this sequence number.
    After(Box<str>),
    /// The shard is closed and was read to its end.
    End,
    /// The shard is forgotten: it was read to its end and its stream no longer lists it.
    Forgotten,
}

/// What a source knows of its completeness at one moment. Journaled now and then, so that a start after a downtime can
/// tell whether anything was lost meanwhile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceMark {
    /// The moment, by our clock.
    pub at: EventTime,
    /// Everything that reached the source before this time has been handed over; absent while nobody can say.
    pub caught_up: Option<EventTime>,
    /// For how many seconds the service keeps what nobody has taken, if it says.
    pub retention_seconds: Option<u64>,
    /// What is known of the messages that the service gave up delivering to us.
    pub dead_letters: DeadLetters,
    /// Something was lost for certain, and why; e.g. the stream was made anew.
    pub lost: Option<Lost>,
    /// Which queue or stream this is said of: the same name may be given to another one.
    #[serde(default)]
    pub of: Option<Box<str>>,
}

/// What is known of a dead-letter queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeadLetters {
    /// There is none: nothing is given up before its retention ends.
    #[default]
    None,
    /// It holds so many messages.
    Messages(u64),
    /// There is one, and it cannot be asked.
    Unreadable,
}

/// A span in which a source may have missed something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// Its first second.
    pub from: EventTime,
    /// The first second behind it.
    pub until: EventTime,
    /// Why, in words.
    pub reason: Box<str>,
}
