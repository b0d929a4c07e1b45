//! The walk through a message: which text is a record, which an envelope, and which neither.
//!
//! Shapes decide, never the order of members. The name that an object begins with is a hint at which struct to try
//! first, so that the common shapes are parsed in one pass; whatever does not fit is outlined and looked at member by
//! member. Precedence, where an object could be several things: a list of `Records` or of `logEvents`, a record, a
//! notification, an event, and then what carries none.
//!
//! Envelopes nest. What the outermost one vouches for (EventBridge stamps the true account on an event) binds
//! everything inside, so that nobody can smuggle in a record of another account by wrapping it once more.

use std::fmt;
use std::sync::Arc;

use dormouse_model::{EventTime, KeyArn, OperationTable};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::aggregate::{self, AggregateError, UserRecords};
use crate::announce::{self, announced};
use crate::direct::{DirectEvent, Told};
use crate::gzip::{self, GzipError};
use crate::keys::{NameResolver, only_listed_key};
use crate::observe::{Refusal, Rules, Vouched, observe};
use crate::pipe::observe_pipe;
use crate::reason::quoted;
use crate::recovery::{Cursor, Found};
use crate::scan::{end_of_value, is_deeper_than, next_line, skip_blanks, skip_separators};
use crate::shape::{
    Bridge, KMS, ListKind, LogEvent, Members, Named, Notification, Outline, PipeCall, Record, S3Detail,
    S3Record, first_name, leading_list, text_of,
};
use crate::text::Text;
use crate::{Bad, BadClass, Control, Limits, Outcome, PipeService, Reason};

/// UTF-8's byte order mark.
const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];
/// The `source` of S3's EventBridge events, which nobody else may use.
const S3_EVENTS: &str = "aws.s3";

/// Turns messages into outcomes. Holds no state between messages, so one serves any number of threads.
#[derive(Clone)]
pub struct Decoder {
    table: OperationTable,
    limits: Limits,
    names: Option<Arc<dyn NameResolver>>,
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder")
            .field("table", &self.table)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Decoder {
    /// A decoder that reads operations by this table.
    pub fn new(table: OperationTable, limits: Limits) -> Self {
        Self { table, limits, names: None }
    }

    /// The same decoder, which asks for what a use names only by an alias.
    #[must_use]
    pub fn with_names(self, names: Arc<dyn NameResolver>) -> Self {
        Self { names: Some(names), ..self }
    }

    /// The operations table by which it reads.
    pub fn table(&self) -> &OperationTable {
        &self.table
    }

    /// Visits every record of a message once, in the message's order.
    ///
    /// The body may be plain or gzip, and hold one record or many in any of the envelopes. What is from later than
    /// `now` and the tolerance is visited as [`BadClass::Future`].
    pub fn decode(&self, body: &[u8], now: EventTime, visit: &mut dyn FnMut(Outcome<'_>)) {
        Walk::new(self, now, visit).bytes(body, Wrapping::default());
    }

    /// Visits the records that a text within a list begins with, up to the first that is not whole or not plain, and
    /// returns how many bytes they are.
    pub fn decode_leading(&self, text: &[u8], now: EventTime, visit: &mut dyn FnMut(Outcome<'_>)) -> usize {
        let mut walk = Walk::new(self, now, visit);
        let mut at = 0;
        loop {
            let begin = skip_separators(text, at);
            let Some(b'{') = text.get(begin) else { return at };
            let Some(length) = walk.fast(&text[begin..], Wrapping::default()) else { return at };
            at = begin + length;
        }
    }
}

/// Parses a single record, bare or in an EventBridge envelope, and drops it: the measure that benches hold
/// [`Decoder::decode`] against.
#[doc(hidden)]
pub fn parse_only(body: &[u8]) -> bool {
    match guess(body) {
        Guess::Record => parse::<Record<'_>>(body).is_some_and(|(record, _)| record.has_shape()),
        Guess::Bridge => parse::<Bridge<'_>>(body).is_some_and(|(bridge, _)| bridge.has_shape()),
        Guess::Notification | Guess::Other => false,
    }
}

/// Which struct an object may fit.
enum Guess {
    Record,
    Bridge,
    Notification,
    Other,
}

fn guess(object: &[u8]) -> Guess {
    match first_name(object) {
        None => Guess::Other,
        Some(
            b"version" | b"id" | b"detail-type" | b"source" | b"account" | b"time" | b"region" | b"detail",
        ) => Guess::Bridge,
        Some(b"Type" | b"MessageId" | b"TopicArn" | b"Message") => Guess::Notification,
        Some(_) => Guess::Record,
    }
}

/// The value that a text begins with, and its length.
fn parse<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Option<(T, usize)> {
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<T>();
    let value = values.next()?.ok()?;
    Some((value, values.byte_offset()))
}

/// What is wrapped around a text.
#[derive(Clone, Copy, Debug, Default)]
struct Wrapping<'a> {
    wraps: usize,
    is_aggregated: bool,
    vouched: Vouched<'a>,
    /// Two envelopes vouch for different accounts: the outer is in `vouched`, this is the inner.
    contradicted_by: Option<&'a str>,
    /// An envelope names its account in something else than a text.
    is_unreadable: bool,
}

impl<'a> Wrapping<'a> {
    fn vouched_by(mut self, account: &'a str, region: &'a str) -> Self {
        if self.vouched.account.is_empty() {
            self.vouched.account = account;
        } else if !account.is_empty() && account != self.vouched.account {
            self.contradicted_by = Some(account);
        }
        if !region.is_empty() {
            self.vouched.region = region;
        }
        self
    }

    fn refuse_contradictions(&self) -> Result<(), Reason> {
        if self.is_unreadable {
            return Err(Reason::WrongType("the envelope's account is no text".to_owned()));
        }
        match self.contradicted_by {
            None => Ok(()),
            Some(inner) => {
                Err(Reason::AccountMismatch { envelope: quoted(self.vouched.account), inner: quoted(inner) })
            }
        }
    }
}

/// What can be read of a record that is not applied.
#[derive(Clone, Copy, Debug, Default)]
struct About<'a> {
    is_kms: bool,
    event_id: &'a str,
    account: &'a str,
    region: &'a str,
    time: &'a str,
    key: Option<KeyArn>,
}

/// One message on its way to the visitor.
struct Walk<'d> {
    decoder: &'d Decoder,
    now: EventTime,
    visit: &'d mut dyn FnMut(Outcome<'_>),
    /// The last outcome was about a piece that broke off: the list it ends needs no outcome of its own.
    ends_cut_off: bool,
    /// How many bytes may still be unpacked.
    room: usize,
}

impl<'d> Walk<'d> {
    fn new(decoder: &'d Decoder, now: EventTime, visit: &'d mut dyn FnMut(Outcome<'_>)) -> Self {
        Self { decoder, now, visit, ends_cut_off: false, room: decoder.limits.max_decompressed }
    }

    fn tell(&mut self, outcome: Outcome<'_>) {
        self.ends_cut_off = matches!(&outcome, Outcome::Bad(bad) if bad.reason == Reason::CutOff);
        (self.visit)(outcome);
    }

    fn bad(
        &mut self,
        class: BadClass,
        reason: Reason,
        about: About<'_>,
        wrapping: Wrapping<'_>,
        excerpt: &[u8],
    ) {
        let account = if about.account.is_empty() { wrapping.vouched.account } else { about.account };
        let region = if about.region.is_empty() { wrapping.vouched.region } else { about.region };
        self.tell(Outcome::Bad(Bad {
            is_kms: about.is_kms,
            class,
            reason,
            event_id: (!about.event_id.is_empty()).then_some(about.event_id),
            account: account.parse().ok(),
            region: region.parse().ok(),
            time: about.time.parse().ok(),
            key: about.key,
            excerpt,
        }));
    }

    fn malformed(&mut self, reason: Reason, wrapping: Wrapping<'_>, excerpt: &[u8]) {
        self.bad(BadClass::Malformed, reason, About::default(), wrapping, excerpt);
    }

    /// A message as it came, packed or plain.
    fn bytes(&mut self, body: &[u8], wrapping: Wrapping<'_>) {
        if !gzip::is_gzip(body) {
            return self.message(body, wrapping);
        }
        match gzip::inflate(body, self.room) {
            Ok(text) => {
                self.room -= text.len();
                self.message(&text, wrapping);
            }
            Err(GzipError::TooLarge(_)) => {
                // Nobody gets to try it again and again with what room is left.
                self.room = 0;
                let bound = self.decoder.limits.max_decompressed;
                self.malformed(GzipError::TooLarge(bound).into(), wrapping, body);
            }
            Err(error) => self.malformed(error.into(), wrapping, body),
        }
    }

    /// A Kinesis record that holds several messages.
    fn aggregate(&mut self, text: &[u8], wrapping: Wrapping<'_>) {
        if wrapping.is_aggregated {
            return self.malformed(AggregateError::Nested.into(), wrapping, text);
        }
        let Some(deeper) = self.wrapped(wrapping) else {
            return self.too_many_wraps(wrapping, text);
        };
        let deeper = Wrapping { is_aggregated: true, ..deeper };
        let records = match UserRecords::of(text) {
            Ok(records) => records,
            Err(error) => return self.malformed(error.into(), wrapping, text),
        };
        for record in records {
            match record {
                Ok(data) => self.bytes(&data, deeper),
                Err(error) => self.malformed(error.into(), wrapping, text),
            }
        }
    }

    /// A text that holds any number of documents, one behind the other.
    fn message(&mut self, text: &[u8], wrapping: Wrapping<'_>) {
        let text = text.strip_prefix(&BYTE_ORDER_MARK).unwrap_or(text);
        if text.starts_with(&aggregate::MAGIC) {
            return self.aggregate(text, wrapping);
        }
        let mut cursor = Cursor::new(text, skip_blanks(text, 0));
        if cursor.byte().is_none() {
            return self.malformed(Reason::Empty, wrapping, text);
        }
        while let Some(byte) = cursor.byte() {
            match byte {
                b'{' => self.object(&mut cursor, wrapping),
                b'[' => self.list(&mut cursor, wrapping),
                _ => self.junk_lines(&mut cursor, wrapping),
            }
            cursor.at = skip_separators(text, cursor.at);
        }
    }

    /// Lines on which nothing begins that could be a record.
    fn junk_lines(&mut self, cursor: &mut Cursor<'_>, wrapping: Wrapping<'_>) {
        let begin = cursor.at;
        while cursor.byte().is_some_and(|byte| !matches!(byte, b'{' | b'[')) {
            cursor.at = skip_blanks(cursor.text, next_line(cursor.text, cursor.at));
        }
        let junk = cursor.text[begin..cursor.at].trim_ascii_end();
        self.malformed(what_is_wrong_with(junk), wrapping, junk);
    }

    /// The list that the cursor is at.
    fn list(&mut self, cursor: &mut Cursor<'_>, wrapping: Wrapping<'_>) {
        if let Some(wrapping) = self.deeper(cursor, wrapping) {
            cursor.at += 1;
            self.elements(ListKind::Records, cursor, wrapping);
        }
    }

    /// One more envelope; none if there are too many, which moves behind what the cursor is at.
    fn deeper<'a>(&mut self, cursor: &mut Cursor<'_>, wrapping: Wrapping<'a>) -> Option<Wrapping<'a>> {
        let deeper = self.wrapped(wrapping);
        if deeper.is_none() {
            let begin = cursor.at;
            cursor.find();
            let skipped = &cursor.text[begin..cursor.at];
            self.malformed(Reason::TooManyWraps(self.decoder.limits.max_wraps), wrapping, skipped);
        }
        deeper
    }

    fn wrapped<'a>(&self, wrapping: Wrapping<'a>) -> Option<Wrapping<'a>> {
        let has_room = wrapping.wraps < self.decoder.limits.max_wraps;
        has_room.then_some(Wrapping { wraps: wrapping.wraps + 1, ..wrapping })
    }

    /// The elements of a list, and its closing bracket. Says whether there was one.
    fn elements(&mut self, kind: ListKind, cursor: &mut Cursor<'_>, wrapping: Wrapping<'_>) -> bool {
        loop {
            cursor.at = skip_separators(cursor.text, cursor.at);
            match cursor.byte() {
                Some(b'{') if kind == ListKind::LogEvents => self.log_event(cursor, wrapping),
                Some(b'{') => self.object(cursor, wrapping),
                Some(b'[') => self.list(cursor, wrapping),
                Some(b']') => {
                    cursor.at += 1;
                    return true;
                }
                Some(_) => self.junk_element(cursor, wrapping),
                None => {
                    if !self.ends_cut_off {
                        self.malformed(Reason::CutOff, wrapping, b"");
                    }
                    return false;
                }
            }
        }
    }

    /// An event of CloudWatch Logs: its text is a message of its own. One without a text is looked at as it is.
    fn log_event(&mut self, cursor: &mut Cursor<'_>, wrapping: Wrapping<'_>) {
        let rest = cursor.rest();
        match parse::<LogEvent<'_>>(rest) {
            Some((event, length)) if !event.message.is_empty() => {
                cursor.at += length;
                self.wrapped_text(event.message.as_bytes(), wrapping, &rest[..length]);
            }
            _ => self.object(cursor, wrapping),
        }
    }

    /// An element that is no object and no list: a word or a text, else all up to the next that could be one.
    fn junk_element(&mut self, cursor: &mut Cursor<'_>, wrapping: Wrapping<'_>) {
        let line = cursor.line();
        let may_begin_or_end = |byte: &u8| matches!(byte, b'{' | b'[' | b']' | b'\n');
        let junk = || line.iter().position(may_begin_or_end).unwrap_or(line.len()).max(1);
        let length = end_of_value(line, 0).unwrap_or_else(junk);
        cursor.at += length;
        self.malformed(what_is_wrong_with(&line[..length]), wrapping, &line[..length]);
    }

    /// The object that the cursor is at: a record or an envelope.
    fn object(&mut self, cursor: &mut Cursor<'_>, wrapping: Wrapping<'_>) {
        let begin = cursor.at;
        if let Some((kind, list)) = leading_list(cursor.rest()) {
            if let Some(wrapping) = self.deeper(cursor, wrapping) {
                cursor.at = begin + list;
                self.lists(kind, cursor, wrapping);
            }
            return;
        }
        if let Some(length) = self.fast(cursor.rest(), wrapping) {
            cursor.at += length;
            return;
        }
        match cursor.find() {
            Found::Balanced(object, depth) => self.outlined(object, depth, wrapping),
            Found::CutOff { seen, skipped } => match (Outline::of(seen).list(), self.wrapped(wrapping)) {
                (Some((kind, list)), Some(wrapping)) => {
                    cursor.at = begin + list;
                    self.lists(kind, cursor, wrapping);
                }
                _ => self.refuse(Reason::CutOff, &Outline::of(skipped), wrapping, skipped),
            },
        }
    }

    /// The list that the cursor is in, and the rest of the object around it, with what other lists there are.
    fn lists(&mut self, kind: ListKind, cursor: &mut Cursor<'_>, wrapping: Wrapping<'_>) {
        let mut kind = kind;
        while self.elements(kind, cursor, wrapping) {
            let text = cursor.text;
            let mut members = Members::at(text, cursor.at);
            let next_list = members.find_map(|member| Some((ListKind::of(&member, text)?, member.begin + 1)));
            let Some(next_list) = next_list else {
                return self.close_object(members.position(), cursor, wrapping);
            };
            (kind, cursor.at) = next_list;
        }
    }

    /// The closing bracket of an object whose members end here.
    fn close_object(&mut self, at: usize, cursor: &mut Cursor<'_>, wrapping: Wrapping<'_>) {
        let end = skip_separators(cursor.text, at);
        if cursor.text.get(end) == Some(&b'}') {
            cursor.at = end + 1;
            return;
        }
        let begin = cursor.at;
        cursor.at = next_line(cursor.text, begin);
        self.malformed(Reason::CutOff, wrapping, &cursor.text[begin..cursor.at]);
    }

    /// The common shapes, in one pass. The object's length, or nothing if it is to be looked at more closely.
    fn fast(&mut self, text: &[u8], wrapping: Wrapping<'_>) -> Option<usize> {
        match guess(text) {
            Guess::Record => {
                let (record, length) = parse::<Record<'_>>(text)?;
                let raw = self.within_bounds(&text[..length])?;
                record.has_shape().then(|| self.record(&record, wrapping, raw))?;
                Some(length)
            }
            Guess::Bridge => {
                let (bridge, length) = parse::<Bridge<'_>>(text)?;
                let raw = self.within_bounds(&text[..length])?;
                let wrapping = self.wrapped(wrapping)?.vouched_by(&bridge.account, &bridge.region);
                bridge.has_shape().then(|| self.record(&bridge.detail, wrapping, raw))?;
                Some(length)
            }
            Guess::Notification => {
                let (notification, length) = parse::<Notification<'_>>(text)?;
                let message = notification.message.as_bytes();
                notification.has_shape().then(|| self.wrapped_text(message, wrapping, &text[..length]))?;
                Some(length)
            }
            Guess::Other => None,
        }
    }

    fn within_bounds<'a>(&self, object: &'a [u8]) -> Option<&'a [u8]> {
        let limits = &self.decoder.limits;
        let fits = object.len() <= limits.max_record && !is_deeper_than(limits.max_depth, object);
        fits.then_some(object)
    }

    /// A record that fits its struct.
    fn record(&mut self, record: &Record<'_>, wrapping: Wrapping<'_>, raw: &[u8]) {
        if *record.event_source != *KMS {
            return self.other(&record.event_source, wrapping, raw);
        }
        let Decoder { table, limits, names } = self.decoder;
        let rules = Rules { table, names: names.as_deref(), now: self.now, limits };
        let consistent = wrapping.refuse_contradictions().map_err(Refusal::from);
        let observed = consistent.and_then(|()| observe(record, wrapping.vouched, raw, rules));
        match observed {
            Ok(kms) => self.tell(Outcome::Kms(&kms)),
            Err(refusal) => {
                let about = About {
                    is_kms: true,
                    event_id: &record.event_id,
                    account: &record.recipient,
                    region: &record.region,
                    time: &record.event_time,
                    key: only_listed_key(record),
                };
                self.bad(refusal.class, refusal.reason, about, wrapping, raw);
            }
        }
    }

    /// A record of another service; the records of notifications about S3 objects only look like one.
    fn other(&mut self, event_source: &str, wrapping: Wrapping<'_>, raw: &[u8]) {
        if let Some(service) = PipeService::of(event_source) {
            return self.pipe(service, wrapping, raw);
        }
        match event_source.strip_prefix("aws:") {
            None => self.tell(Outcome::Other),
            Some("s3") => self.s3_record(wrapping, raw),
            Some(_) => self.malformed(Reason::UnknownShape(quoted(event_source)), wrapping, raw),
        }
    }

    /// A record of a service that has to do with what delivers events.
    fn pipe(&mut self, service: PipeService, wrapping: Wrapping<'_>, raw: &[u8]) {
        let text = without_bridge(raw);
        let named = serde_json::from_slice::<Named<'_>>(text).unwrap_or_default();
        if !service.concerns_delivery(&named.event_name) {
            return self.tell(Outcome::Other);
        }
        let call = serde_json::from_slice::<PipeCall<'_>>(text);
        let limits = &self.decoder.limits;
        let observed = match &call {
            Ok(call) => wrapping
                .refuse_contradictions()
                .map_err(Refusal::from)
                .and_then(|()| observe_pipe(service, call, wrapping.vouched, self.now, limits)),
            Err(error) => Err(Reason::WrongType(error.to_string()).into()),
        };
        match observed {
            Ok(Some(pipe)) => self.tell(Outcome::Pipe(&pipe)),
            Ok(None) => self.tell(Outcome::Other),
            Err(Refusal { class, reason }) => {
                let outline = Outline::of(text);
                let [event_id, account, region, time] =
                    [outline.event_id, outline.recipient, outline.aws_region, outline.event_time]
                        .map(|member| text_of(member).unwrap_or_default());
                let about = About {
                    event_id: &event_id,
                    account: &account,
                    region: &region,
                    time: &time,
                    ..About::default()
                };
                self.bad(class, reason, about, wrapping, raw);
            }
        }
    }

    /// A record of a notification about an S3 object.
    fn s3_record(&mut self, wrapping: Wrapping<'_>, raw: &[u8]) {
        match serde_json::from_slice::<S3Record<'_>>(without_bridge(raw)) {
            Err(error) => self.malformed(Reason::WrongType(error.to_string()), wrapping, raw),
            Ok(record) => match announce::Told::by(&record) {
                Ok(announce::Told::There(announced)) => self.tell(Outcome::Announced(announced)),
                Ok(announce::Told::Nothing(control)) => self.tell(Outcome::Control(control)),
                Err(reason) => self.malformed(reason, wrapping, raw),
            },
        }
    }

    /// An EventBridge event of S3's that an object was created.
    fn object_created(&mut self, outline: &Outline<'_>, wrapping: Wrapping<'_>, object: &[u8]) {
        let source = text_of(outline.source).unwrap_or_default();
        if &*source != S3_EVENTS {
            return self.malformed(Reason::ForgedEvent(quoted(&source)), wrapping, object);
        }
        match serde_json::from_slice::<S3Detail<'_>>(outline.detail.unwrap_or_default()) {
            Err(error) => self.malformed(Reason::WrongType(error.to_string()), wrapping, object),
            Ok(S3Detail { bucket, object: created }) => {
                self.announce(&bucket.name, &created.key, created.size, wrapping, object);
            }
        }
    }

    /// CloudTrail's own notification about trail objects.
    fn trail_notification(&mut self, outline: &Outline<'_>, wrapping: Wrapping<'_>, object: &[u8]) {
        let bucket = text_of(outline.s3_bucket).unwrap_or_default();
        let Some(keys) = outline.s3_keys.filter(|keys| keys.starts_with(b"[")) else {
            return self.malformed(Reason::Announcement("list of keys"), wrapping, object);
        };
        let mut at = skip_separators(keys, 1);
        if keys.get(at) == Some(&b']') {
            return self.malformed(Reason::Announcement("key"), wrapping, object);
        }
        while let Some(end) = end_of_value(keys, at) {
            match text_of(Some(&keys[at..end])) {
                Some(key) => self.announce(&bucket, &key, None, wrapping, object),
                None => self.malformed(Reason::Announcement("key"), wrapping, object),
            }
            at = skip_separators(keys, end);
        }
    }

    fn announce(&mut self, bucket: &str, key: &str, size: Option<u64>, wrapping: Wrapping<'_>, raw: &[u8]) {
        match announced(bucket, key.into(), size) {
            Ok(announced) => self.tell(Outcome::Announced(announced)),
            Err(reason) => self.malformed(reason, wrapping, raw),
        }
    }

    /// An object that fits no struct, or that is too large or too deep, or that is no JSON.
    fn outlined(&mut self, object: &[u8], depth: usize, wrapping: Wrapping<'_>) {
        let outline = Outline::of(object);
        if let Some((kind, list)) = outline.list() {
            return match self.wrapped(wrapping) {
                Some(wrapping) => self.lists(kind, &mut Cursor::new(object, list), wrapping),
                None => self.too_many_wraps(wrapping, object),
            };
        }
        if let Err(reason) = self.check_text(object, depth) {
            return self.refuse(reason, &outline, wrapping, object);
        }
        if outline.is_record() {
            self.slow_record(&outline, wrapping, object);
        } else if outline.notification.is_some() {
            self.notification(&outline, wrapping, object);
        } else if outline.detail.is_some() {
            self.event(&outline, wrapping, object);
        } else if let Some(control) = control_of(&outline) {
            self.tell(Outcome::Control(control));
        } else if outline.s3_bucket.is_some() {
            self.trail_notification(&outline, wrapping, object);
        } else {
            self.malformed(unknown_shape(&outline, object), wrapping, object);
        }
    }

    fn check_text(&self, object: &[u8], depth: usize) -> Result<(), Reason> {
        let limits = &self.decoder.limits;
        if object.len() > limits.max_record {
            return Err(Reason::TooLarge(object.len()));
        }
        if depth > limits.max_depth {
            return Err(Reason::TooDeep(limits.max_depth));
        }
        match serde_json::from_slice::<IgnoredAny>(object) {
            Ok(_) => Ok(()),
            Err(error) => Err(Reason::NotJson(error.to_string())),
        }
    }

    fn too_many_wraps(&mut self, wrapping: Wrapping<'_>, piece: &[u8]) {
        self.malformed(Reason::TooManyWraps(self.decoder.limits.max_wraps), wrapping, piece);
    }

    /// Refuses an object as a whole, with what can be read of the record in it. If that can be told to be KMS's, it
    /// goes to quarantine, unless it is no JSON at all.
    fn refuse(&mut self, reason: Reason, outline: &Outline<'_>, wrapping: Wrapping<'_>, object: &[u8]) {
        let detail = outline.detail.filter(|detail| !outline.is_record() && detail.starts_with(b"{"));
        let inner = detail.map(Outline::of);
        let record = inner.as_ref().unwrap_or(outline);
        let [event_id, account, region, event_source, time] =
            [record.event_id, record.recipient, record.aws_region, record.event_source, record.event_time]
                .map(|member| text_of(member).unwrap_or_default());
        let (envelope_account, envelope_region) =
            (text_of(outline.account).unwrap_or_default(), text_of(outline.region).unwrap_or_default());
        let wrapping =
            if inner.is_some() { wrapping.vouched_by(&envelope_account, &envelope_region) } else { wrapping };
        let is_kms = *event_source == *KMS && !matches!(reason, Reason::NotJson(_) | Reason::CutOff);
        let class = if is_kms { BadClass::Quarantined } else { BadClass::Malformed };
        let about =
            About { is_kms, event_id: &event_id, account: &account, region: &region, time: &time, key: None };
        self.bad(class, reason, about, wrapping, object);
    }

    /// A record that did not fit its struct at first: mostly another service's, or one with a value of a wrong type.
    fn slow_record(&mut self, outline: &Outline<'_>, wrapping: Wrapping<'_>, object: &[u8]) {
        let Some(event_source) = text_of(outline.event_source) else {
            return self.refuse(
                Reason::WrongType("eventSource is no text".to_owned()),
                outline,
                wrapping,
                object,
            );
        };
        if *event_source != *KMS {
            return self.other(&event_source, wrapping, object);
        }
        match serde_json::from_slice::<Record<'_>>(object) {
            Ok(record) => self.record(&record, wrapping, object),
            Err(error) => self.refuse(Reason::WrongType(error.to_string()), outline, wrapping, object),
        }
    }

    /// A message of SNS.
    fn notification(&mut self, outline: &Outline<'_>, wrapping: Wrapping<'_>, object: &[u8]) {
        let control = match &*text_of(outline.notification).unwrap_or_default() {
            "Notification" => None,
            "SubscriptionConfirmation" if outline.message.is_some() => {
                Some(Control::SubscriptionConfirmation)
            }
            "UnsubscribeConfirmation" if outline.message.is_some() => Some(Control::UnsubscribeConfirmation),
            _ => return self.malformed(unknown_shape(outline, object), wrapping, object),
        };
        if let Some(control) = control {
            return self.tell(Outcome::Control(control));
        }
        match text_of(outline.message) {
            None => self.malformed(Reason::WrongType("Message is no text".to_owned()), wrapping, object),
            Some(message) => self.wrapped_text(message.as_bytes(), wrapping, object),
        }
    }

    fn wrapped_text(&mut self, text: &[u8], wrapping: Wrapping<'_>, object: &[u8]) {
        match self.wrapped(wrapping) {
            Some(wrapping) => self.message(text, wrapping),
            None => self.too_many_wraps(wrapping, object),
        }
        // What breaks off inside is no sign that what is around it does.
        self.ends_cut_off = false;
    }

    /// An EventBridge event whose detail is no record that fits.
    fn event(&mut self, outline: &Outline<'_>, wrapping: Wrapping<'_>, object: &[u8]) {
        let [account, region] = [outline.account, outline.region].map(text_of);
        let is_unreadable = wrapping.is_unreadable || account.is_none();
        let (account, region) = (account.unwrap_or_default(), region.unwrap_or_default());
        let wrapping = Wrapping { is_unreadable, ..wrapping }.vouched_by(&account, &region);

        let detail_type = text_of(outline.detail_type).unwrap_or_default();
        if let Some(event) = DirectEvent::of_type(&detail_type) {
            return self.direct_event(event, outline, wrapping, object);
        }
        let detail = outline.detail.unwrap_or_default();
        let text: Option<Text<'_>> = serde_json::from_slice(detail).ok();
        if let Some(text) = text {
            return self.wrapped_text(text.as_bytes(), wrapping, object);
        }
        let inner = Outline::of(detail);
        if detail.starts_with(b"[") || inner.is_record() || inner.is_envelope() {
            return self.wrapped_text(detail, wrapping, object);
        }
        if &*detail_type == "Object Created" {
            return self.object_created(outline, wrapping, object);
        }
        if &*text_of(outline.source).unwrap_or_default() == S3_EVENTS {
            return self.tell(Outcome::Control(Control::S3Other));
        }
        self.malformed(Reason::OtherEvent(quoted(&detail_type)), wrapping, object);
    }

    /// One of the events that KMS itself sends.
    fn direct_event(
        &mut self,
        event: DirectEvent,
        outline: &Outline<'_>,
        wrapping: Wrapping<'_>,
        object: &[u8],
    ) {
        let source = text_of(outline.source).unwrap_or_default();
        if &*source != "aws.kms" {
            return self.malformed(Reason::ForgedEvent(quoted(&source)), wrapping, object);
        }
        let consistent = wrapping.refuse_contradictions().map_err(Refusal::from);
        let limits = &self.decoder.limits;
        match consistent.and_then(|()| Told::by(outline, wrapping.vouched, self.now, limits)) {
            Ok(told) => {
                for &key in &told.keys {
                    self.tell(Outcome::Direct(&event.observation(key, &told)));
                }
            }
            Err(refusal) => {
                let event_id = text_of(outline.id).unwrap_or_default();
                let about = About { is_kms: true, event_id: &event_id, ..About::default() };
                self.bad(refusal.class, refusal.reason, about, wrapping, object);
            }
        }
    }
}

/// Why a piece that begins neither an object nor a list is not understood.
fn what_is_wrong_with(piece: &[u8]) -> Reason {
    match serde_json::from_slice::<IgnoredAny>(piece) {
        Ok(_) => Reason::NotAnObject,
        Err(error) => Reason::NotJson(error.to_string()),
    }
}

/// What an object is that carries no event and wants none.
fn control_of(outline: &Outline<'_>) -> Option<Control> {
    if outline.is_logs_check() {
        return Some(Control::LogsCheck);
    }
    let is_test = text_of(outline.s3_event).is_some_and(|event| &*event == "s3:TestEvent");
    is_test.then_some(Control::S3Test)
}

/// Why an object that is neither a record nor an envelope is not understood.
fn unknown_shape(outline: &Outline<'_>, object: &[u8]) -> Reason {
    if outline.digest.is_some() {
        return Reason::Digest;
    }
    Reason::UnknownShape(quoted(&String::from_utf8_lossy(first_name(object).unwrap_or_default())))
}

/// The record in the text of an EventBridge event; any other text as it is.
fn without_bridge(text: &[u8]) -> &[u8] {
    let outline = Outline::of(text);
    match outline.detail {
        Some(detail) if !outline.is_record() => detail,
        _ => text,
    }
}
