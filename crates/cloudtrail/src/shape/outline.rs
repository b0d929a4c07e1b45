//! The members of an object, each as the text it is written in.
//!
//! The slow way for all that the fast structs do not fit: rare envelopes, members in an odd order, values of wrong
//! types, objects that break off. An outline is had without parsing a value, so that one bad member hides no other.

use std::borrow::Cow;

use crate::scan::{end_of_value, skip_blanks, skip_separators};
use crate::text::{Name, Text};

/// One member of an object: its name, and where its value begins and ends.
pub(crate) struct Member<'a> {
    pub(crate) name: Cow<'a, [u8]>,
    pub(crate) begin: usize,
    /// `None` if the value does not end.
    pub(crate) end: Option<usize>,
}

/// Walks the members of an object as far as they can be told apart.
pub(crate) struct Members<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Members<'a> {
    /// The members from `at` on, which is a place between two of them, or behind the object's opening bracket.
    pub(crate) fn at(text: &'a [u8], at: usize) -> Self {
        Self { text, at }
    }

    /// The place behind the last member that was told apart.
    pub(crate) fn position(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        let name_begin = skip_separators(self.text, self.at);
        if *self.text.get(name_begin)? != b'"' {
            return None;
        }
        let name_end = end_of_value(self.text, name_begin)?;
        let colon = skip_blanks(self.text, name_end);
        if *self.text.get(colon)? != b':' {
            return None;
        }
        let begin = skip_blanks(self.text, colon + 1);
        self.text.get(begin)?;
        let end = end_of_value(self.text, begin);
        self.at = end.unwrap_or(self.text.len());
        let plain = &self.text[name_begin + 1..name_end - 1];
        let name = if plain.contains(&b'\\') {
            serde_json::from_slice::<Name<'_>>(&self.text[name_begin..name_end]).ok()?.0
        } else {
            Cow::Borrowed(plain)
        };
        Some(Member { name, begin, end })
    }
}

/// The name that an object begins with, if it is written plainly.
pub(crate) fn first_name(object: &[u8]) -> Option<&[u8]> {
    let begin = skip_blanks(object, 1);
    if *object.get(begin)? != b'"' {
        return None;
    }
    let rest = &object[begin + 1..];
    let length = memchr::memchr(b'"', rest.get(..rest.len().min(64))?)?;
    Some(&rest[..length])
}

/// If an object begins with its list of records: where the list begins, behind its bracket.
pub(crate) fn leading_records(object: &[u8]) -> Option<usize> {
    if first_name(object)? != b"Records" {
        return None;
    }
    let name = skip_blanks(object, 1);
    let colon = skip_blanks(object, name + br#""Records""#.len());
    if *object.get(colon)? != b':' {
        return None;
    }
    let bracket = skip_blanks(object, colon + 1);
    (*object.get(bracket)? == b'[').then_some(bracket + 1)
}

/// What the elements of a list are that makes an object an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListKind {
    /// Records, of CloudTrail or of S3, or what they are wrapped in.
    Records,
    /// Events of CloudWatch Logs, each with a record in its text.
    LogEvents,
}

impl ListKind {
    /// The list that a member of this text is, if it is one.
    pub(crate) fn of(member: &Member<'_>, text: &[u8]) -> Option<Self> {
        let is_list = text.get(member.begin) == Some(&b'[');
        match &*member.name {
            b"Records" if is_list => Some(Self::Records),
            b"logEvents" if is_list => Some(Self::LogEvents),
            _ => None,
        }
    }
}

/// If an object begins as the common envelopes around a list do: where the list begins, behind its bracket.
pub(crate) fn leading_list(object: &[u8]) -> Option<(ListKind, usize)> {
    match first_name(object)? {
        b"Records" => return leading_records(object).map(|begin| (ListKind::Records, begin)),
        b"messageType" => {}
        _ => return None,
    }
    let mut members = Members::at(object, 1);
    let message_type = members.next()?;
    if object[message_type.begin..message_type.end?] != *DATA {
        return None;
    }
    members.find_map(|member| Some((ListKind::of(&member, object)?, member.begin + 1)))
}

/// The `messageType` of a batch of CloudWatch Logs.
const DATA: &[u8] = br#""DATA_MESSAGE""#;
/// The `messageType` of what CloudWatch Logs sends to see whether it arrives.
const CONTROL: &str = "CONTROL_MESSAGE";

/// What an object holds of the members that tell its shape. All values are the text they are written in; `null` is
/// none.
#[derive(Debug, Default)]
pub(crate) struct Outline<'a> {
    pub(crate) event_source: Option<&'a [u8]>,
    pub(crate) event_type: Option<&'a [u8]>,
    pub(crate) event_id: Option<&'a [u8]>,
    pub(crate) event_time: Option<&'a [u8]>,
    pub(crate) recipient: Option<&'a [u8]>,
    pub(crate) aws_region: Option<&'a [u8]>,
    pub(crate) detail: Option<&'a [u8]>,
    pub(crate) detail_type: Option<&'a [u8]>,
    pub(crate) source: Option<&'a [u8]>,
    pub(crate) account: Option<&'a [u8]>,
    pub(crate) region: Option<&'a [u8]>,
    pub(crate) id: Option<&'a [u8]>,
    pub(crate) time: Option<&'a [u8]>,
    pub(crate) resources: Option<&'a [u8]>,
    pub(crate) key_id: Option<&'a [u8]>,
    pub(crate) notification: Option<&'a [u8]>,
    pub(crate) message: Option<&'a [u8]>,
    pub(crate) message_type: Option<&'a [u8]>,
    pub(crate) s3_bucket: Option<&'a [u8]>,
    pub(crate) s3_keys: Option<&'a [u8]>,
    pub(crate) s3_event: Option<&'a [u8]>,
    pub(crate) digest: Option<&'a [u8]>,
    /// Where the list of records begins, behind its opening bracket.
    pub(crate) records: Option<usize>,
    /// Where the list of log events begins, likewise.
    pub(crate) log_events: Option<usize>,
}

impl<'a> Outline<'a> {
    /// The outline of an object, or of its beginning if it breaks off.
    pub(crate) fn of(object: &'a [u8]) -> Self {
        let mut outline = Self::default();
        for member in Members::at(object, 1) {
            match ListKind::of(&member, object) {
                Some(ListKind::Records) => _ = outline.records.get_or_insert(member.begin + 1),
                Some(ListKind::LogEvents) => _ = outline.log_events.get_or_insert(member.begin + 1),
                None => {}
            }
            if let Some(end) = member.end {
                outline.note(&member.name, &object[member.begin..end]);
            }
        }
        outline
    }

    fn note(&mut self, name: &[u8], value: &'a [u8]) {
        let member = match name {
            b"eventSource" => &mut self.event_source,
            b"eventType" => &mut self.event_type,
            b"eventID" => &mut self.event_id,
            b"eventTime" => &mut self.event_time,
            b"recipientAccountId" => &mut self.recipient,
            b"awsRegion" => &mut self.aws_region,
            b"detail" => &mut self.detail,
            b"detail-type" => &mut self.detail_type,
            b"source" => &mut self.source,
            b"account" => &mut self.account,
            b"region" => &mut self.region,
            b"id" => &mut self.id,
            b"time" => &mut self.time,
            b"resources" => &mut self.resources,
            b"key-id" => &mut self.key_id,
            b"Type" => &mut self.notification,
            b"Message" => &mut self.message,
            b"messageType" => &mut self.message_type,
            b"s3Bucket" => &mut self.s3_bucket,
            b"s3ObjectKey" => &mut self.s3_keys,
            b"Event" => &mut self.s3_event,
            b"digestS3Bucket" => &mut self.digest,
            _ => return,
        };
        *member = (value != b"null").then_some(value);
    }

    /// The first list that makes the object an envelope. What CloudWatch Logs sends to see whether it arrives has one,
    /// too, and it holds nothing.
    pub(crate) fn list(&self) -> Option<(ListKind, usize)> {
        let log_events = self.log_events.filter(|_| self.records.is_some() || !self.is_logs_check());
        match (self.records, log_events) {
            (Some(records), Some(events)) if events < records => Some((ListKind::LogEvents, events)),
            (Some(records), _) => Some((ListKind::Records, records)),
            (None, events) => events.map(|events| (ListKind::LogEvents, events)),
        }
    }

    /// Whether CloudWatch Logs checks by this object whether it can be reached.
    pub(crate) fn is_logs_check(&self) -> bool {
        self.records.is_none() && text_of(self.message_type).is_some_and(|kind| &*kind == CONTROL)
    }

    /// Whether the object is a record.
    pub(crate) fn is_record(&self) -> bool {
        self.event_source.is_some() || self.event_type.is_some() || self.event_id.is_some()
    }

    /// Whether the object is an envelope around something, or announces something.
    pub(crate) fn is_envelope(&self) -> bool {
        let is_around_others = self.list().is_some() || self.notification.is_some() || self.detail.is_some();
        is_around_others || self.s3_bucket.is_some()
    }
}

/// The text that a member holds: empty if it is absent, `None` if it is something else than a text.
pub(crate) fn text_of(member: Option<&[u8]>) -> Option<Text<'_>> {
    member.map_or(Some(Text::default()), |json| serde_json::from_slice(json).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_told_apart_without_parsing_them() {
        let object =
            br#"{ "a" : tru , "\u0062":"}", "eventID":"x","Records" : [1,2 ] ,"eventSource": null, "id"#;
        let names: Vec<_> =
            Members::at(object, 1).map(|member| String::from_utf8_lossy(&member.name).into_owned()).collect();
        assert_eq!(names, ["a", "b", "eventID", "Records", "eventSource"]);
        let outline = Outline::of(object);
        assert_eq!(&object[outline.records.unwrap()..][..4], b"1,2 ");
        assert_eq!(text_of(outline.event_id).unwrap().given(), Some("x"));
        assert!(outline.event_source.is_none());
    }

    #[test]
    fn the_first_name_is_a_hint_at_the_shape() {
        assert_eq!(first_name(b"{ \"version\":0}"), Some(&b"version"[..]));
        assert_eq!(first_name(b"{}"), None);
        assert_eq!(first_name(b"{"), None);
    }
}
