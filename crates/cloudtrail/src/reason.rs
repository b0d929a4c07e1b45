//! Why something was not applied: a sentence for people, a code for metrics.

use dormouse_model::{EventTime, ParseKeyError};

use crate::AggregateError;
use crate::bounds::{QUOTED, cut};
use crate::gzip::GzipError;

/// Why a record or document was not applied. What it quotes of the input is short, and as hostile as the input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// Nothing but white space.
    #[error("the message is empty")]
    Empty,
    /// Text that is no JSON.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// An object or list without an end.
    #[error("the text breaks off before its end")]
    CutOff,
    /// JSON, but neither an object nor a list of them.
    #[error("neither an object nor a list of objects")]
    NotAnObject,
    /// The message cannot be unpacked.
    #[error("{0}")]
    Gzip(#[from] GzipError),
    /// Larger than [`Limits::max_record`](crate::Limits::max_record).
    #[error("a record of {0} bytes is too large")]
    TooLarge(usize),
    /// Nested deeper than [`Limits::max_depth`](crate::Limits::max_depth).
    #[error("nested deeper than {0} levels")]
    TooDeep(usize),
    /// More envelopes around each other than [`Limits::max_wraps`](crate::Limits::max_wraps).
    #[error("wrapped in more than {0} envelopes")]
    TooManyWraps(usize),
    /// An object of no known shape; the name it begins with.
    #[error("an object that is neither a record nor an envelope; its first member is {0:?}")]
    UnknownShape(String),
    /// An EventBridge event about something else; its `detail-type`.
    #[error("an EventBridge event that holds no record: {0:?}")]
    OtherEvent(String),
    /// An EventBridge event of KMS's or S3's own, but from somebody else; its `source`.
    #[error("an event that only AWS may send came from {0:?}")]
    ForgedEvent(String),
    /// A digest file of a trail.
    #[error("a digest file of a trail, not a log")]
    Digest,
    /// An aggregated Kinesis record that cannot be taken apart.
    #[error("{0}")]
    Aggregate(#[from] AggregateError),
    /// An announcement of an object that cannot be fetched by what it says; what is missing or impossible.
    #[error("an announcement of an object without a {0} that can be one")]
    Announcement(&'static str),
    /// A member has a value of another type than expected.
    #[error("a value of the wrong type: {0}")]
    WrongType(String),
    /// A record of KMS, or about what delivers events, without this member.
    #[error("a record without {0}")]
    Missing(&'static str),
    /// An id longer than any that AWS writes; the member's name.
    #[error("{0} is longer than 128 bytes")]
    LongId(&'static str),
    /// The time cannot be read.
    #[error("{0:?} is no event time")]
    UnreadableTime(String),
    /// The account that the envelope vouches for is not the one that the record names.
    #[error("the envelope's account {envelope:?} differs from {inner:?} inside")]
    AccountMismatch {
        /// What the envelope says.
        envelope: String,
        /// What the record, or the envelope inside, says.
        inner: String,
    },
    /// The event is from the future.
    #[error("the event time {0} is in the future")]
    Future(EventTime),
    /// More resources than KMS ever writes.
    #[error("a KMS record with more than 64 resources")]
    TooManyResources,
    /// A key cannot be named because too many odd names were seen.
    #[error("a key cannot be held: {0}")]
    NamesExhausted(ParseKeyError),
    /// A successful use that names its key only by an alias of which nobody knows where it pointed.
    #[error("no key is known that {0:?} stands for")]
    UnresolvedAlias(String),
    /// The Region cannot be named because too many odd names were seen.
    #[error("the Region {0:?} cannot be held: too many different Region names were seen")]
    RegionsExhausted(String),
}

impl Reason {
    /// For a successful use that names its key only by this.
    pub fn unresolved(name: &str) -> Self {
        Self::UnresolvedAlias(quoted(name))
    }

    /// A code that stays the same from version to version.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::NotJson(_) => "not_json",
            Self::CutOff => "cut_off",
            Self::NotAnObject => "not_an_object",
            Self::Gzip(error) => error.code(),
            Self::TooLarge(_) => "too_large",
            Self::TooDeep(_) => "too_deep",
            Self::TooManyWraps(_) => "too_many_wraps",
            Self::UnknownShape(_) => "unknown_shape",
            Self::OtherEvent(_) => "other_event",
            Self::ForgedEvent(_) => "forged_event",
            Self::Digest => "trail_digest",
            Self::Aggregate(error) => error.code(),
            Self::Announcement(_) => "bad_announcement",
            Self::WrongType(_) => "wrong_type",
            Self::Missing("eventID") => "no_event_id",
            Self::Missing("eventName") => "no_event_name",
            Self::Missing("eventTime") => "no_event_time",
            Self::Missing(_) => "missing_member",
            Self::LongId(_) => "long_id",
            Self::UnreadableTime(_) => "unreadable_time",
            Self::AccountMismatch { .. } => "envelope_account_mismatch",
            Self::Future(_) => "future",
            Self::TooManyResources => "too_many_resources",
            Self::NamesExhausted(_) => "names_exhausted",
            Self::UnresolvedAlias(_) => UNRESOLVED_ALIAS,
            Self::RegionsExhausted(_) => "regions_exhausted",
        }
    }
}

/// The code of [`Reason::UnresolvedAlias`].
pub const UNRESOLVED_ALIAS: &str = "unresolved_alias";

/// Whether something that is kept for the reason with this code may hold a use: then it holds "unused" back. What is
/// known not to be AWS's word, or to hold no record, does not.
pub fn may_hold_a_use(code: &str) -> bool {
    let is_forged = matches!(code, "envelope_account_mismatch" | "forged_event" | "foreign_object");
    let holds_no_record = matches!(code, "empty" | "other_event" | "trail_digest");
    !is_forged && !holds_no_record
}

/// As much of a text as a reason quotes.
pub(crate) fn quoted(text: &str) -> String {
    cut(text, QUOTED).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_aws_word_holds_nothing_back_and_all_else_does() {
        let mismatch = Reason::AccountMismatch { envelope: String::new(), inner: String::new() };
        for reason in [mismatch, Reason::ForgedEvent(String::new()), Reason::Empty, Reason::Digest] {
            assert!(!may_hold_a_use(reason.code()), "{reason:?}");
        }
        for reason in [
            Reason::NotJson(String::new()),
            Reason::CutOff,
            Reason::Missing("eventID"),
            Reason::Future(EventTime::default()),
            Reason::unresolved("alias/app"),
        ] {
            assert!(may_hold_a_use(reason.code()), "{reason:?}");
        }
        assert!(may_hold_a_use("object_missing") && !may_hold_a_use("foreign_object"));
    }
}
