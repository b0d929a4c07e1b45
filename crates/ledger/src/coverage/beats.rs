//! Heartbeats: `ListKeys` calls of ours that must come back as events.
//!
//! What lies between two heartbeats that came back through the same source, one behind the other and not too far apart,
//! is proven to have been delivered; so a span ends at the last one before one that did not come back. Events arrive in
//! any order, so the latest heartbeats are kept with what is known of each, and spans are a function of that: one that
//! comes back late joins what it had parted. What is older than a few hours is kept as spans alone.
//!
//! Heartbeats stand in the order in which they were journaled, which a clock that is set back does not change; only
//! neighbours that were sent within two minutes of each other are put in the order of their sending, because whoever
//! asks several things at once may journal them in any.

use dormouse_model::EventTime;
use serde::{Deserialize, Serialize};

use super::spans::{Gap, Span, with, without};

/// How long a heartbeat that has not come back is waited for, to join what it parted …
const KEPT_SECONDS: u32 = 3 * 3_600;
/// … and how many are kept …
const MOST_BEATS: usize = 24;
/// … or, if some of the oldest may well come back, at most.
const MOST_WAITED_FOR: usize = 256;
/// Heartbeats sent within so many seconds of each other may be journaled in any order.
const RACE_SECONDS: u32 = 120;
/// `ListKeys` calls that came back and that nobody announced yet: mostly other people's.
const MOST_STRANGERS: usize = 8;
const STRANGERS_SECONDS: u32 = 3_600;
const MOST_LINES: usize = 8;
const MOST_SPANS: usize = 1_000;
const MOST_LOST: usize = 16;

/// One heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "BeatRow", try_from = "BeatRow")]
struct Beat {
    id: [u8; 16],
    /// When it was sent, by our clock.
    sent: EventTime,
    /// The time of the event as which it came back.
    at: Option<EventTime>,
    /// Through which lines, one bit each.
    by: u8,
}

/// Id, seconds, seconds, lines: there are many, so their text is short.
type BeatRow = (String, u32, Option<u32>, u8);

impl From<Beat> for BeatRow {
    fn from(beat: Beat) -> Self {
        (to_text(beat.id), beat.sent.seconds(), beat.at.map(EventTime::seconds), beat.by)
    }
}

impl TryFrom<BeatRow> for Beat {
    type Error = std::num::ParseIntError;

    fn try_from((id, sent, at, by): BeatRow) -> Result<Self, Self::Error> {
        let id = of_text(&id)?;
        Ok(Self { id, sent: EventTime::from_seconds(sent), at: at.map(EventTime::from_seconds), by })
    }
}

fn to_text(id: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(id))
}

fn of_text(text: &str) -> Result<[u8; 16], std::num::ParseIntError> {
    u128::from_str_radix(text, 16).map(u128::to_be_bytes)
}

/// A `ListKeys` call that came back before anybody said that it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "StrangerRow", try_from = "StrangerRow")]
struct Stranger {
    id: [u8; 16],
    at: EventTime,
    by: u8,
}

type StrangerRow = (String, u32, u8);

impl From<Stranger> for StrangerRow {
    fn from(stranger: Stranger) -> Self {
        (to_text(stranger.id), stranger.at.seconds(), stranger.by)
    }
}

impl TryFrom<StrangerRow> for Stranger {
    type Error = std::num::ParseIntError;

    fn try_from((id, at, by): StrangerRow) -> Result<Self, Self::Error> {
        Ok(Self { id: of_text(&id)?, at: EventTime::from_seconds(at), by })
    }
}

/// What came back through one source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    source: Box<str>,
    /// What is proven by heartbeats that are no longer kept.
    spans: Vec<Span>,
}

/// The heartbeats of one place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Beats {
    /// The latest, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    open: Vec<Beat>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    strangers: Vec<Stranger>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lines: Vec<Line>,
    /// When those were sent that never came back and are no longer kept; the latest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lost: Vec<EventTime>,
    /// The time of the latest that came back.
    last_returned: Option<EventTime>,
    /// When the first was sent.
    first_sent: Option<EventTime>,
}

impl Beats {
    /// A heartbeat was sent. Returns the time of its event, if it had come back already.
    pub(super) fn note_sent(&mut self, id: [u8; 16], sent: EventTime, blind_after: u32) -> Option<EventTime> {
        if self.open.iter().any(|beat| beat.id == id) {
            return None;
        }
        self.first_sent.get_or_insert(sent);
        let mut beat = Beat { id, sent, at: None, by: 0 };
        if let Some(known) = self.strangers.iter().position(|stranger| stranger.id == id) {
            let stranger = self.strangers.remove(known);
            (beat.at, beat.by) = (Some(stranger.at), stranger.by);
            self.last_returned = self.last_returned.max(beat.at);
        }
        let is_ahead = |other: &Beat| other.sent > sent && other.sent.seconds_since(sent) <= RACE_SECONDS;
        let behind = self.open.iter().rev().take_while(|other| is_ahead(other)).count();
        self.open.insert(self.open.len() - behind, beat);
        self.forget(blind_after);
        beat.at
    }

    /// A `ListKeys` call came back. True if it was one of ours, and news.
    pub(super) fn note_returned(&mut self, source: &str, id: [u8; 16], at: EventTime) -> bool {
        let Some(line) = self.line(source) else { return false };
        let bit = 1 << line;
        if let Some(beat) = self.open.iter_mut().find(|beat| beat.id == id) {
            let is_news = beat.at.is_none();
            beat.at.get_or_insert(at);
            beat.by |= bit;
            self.last_returned = self.last_returned.max(beat.at);
            return is_news;
        }
        match self.strangers.iter_mut().find(|stranger| stranger.id == id) {
            Some(known) => known.by |= bit,
            None => self.strangers.push(Stranger { id, at, by: bit }),
        }
        let latest = self.strangers.iter().map(|stranger| stranger.at).max().unwrap_or(at);
        self.strangers.retain(|stranger| latest.seconds_since(stranger.at) <= STRANGERS_SECONDS);
        let excess = self.strangers.len().saturating_sub(MOST_STRANGERS);
        self.strangers.drain(..excess);
        false
    }

    /// Whether a `ListKeys` call with this id is one of the latest heartbeats.
    pub(super) fn expects(&self, id: &[u8; 16]) -> bool {
        self.open.iter().any(|beat| beat.id == *id)
    }

    fn line(&mut self, source: &str) -> Option<usize> {
        if let Some(known) = self.lines.iter().position(|line| *line.source == *source) {
            return Some(known);
        }
        if self.lines.len() >= MOST_LINES {
            return self.replace_line(source);
        }
        self.lines.push(Line { source: source.into(), spans: Vec::new() });
        Some(self.lines.len() - 1)
    }

    /// Gives the place of the source through which nothing has come back for longest to a new one, with all that it
    /// proved; none if something came back through each of late.
    fn replace_line(&mut self, source: &str) -> Option<usize> {
        let is_carried = |number: usize| {
            let by = self.open.iter().map(|beat| beat.by);
            by.chain(self.strangers.iter().map(|stranger| stranger.by)).any(|by| by >> number & 1 == 1)
        };
        let proven_until = |number: &usize| self.lines[*number].spans.last().map(|span| span.until);
        let oldest = (0..self.lines.len()).filter(|&number| !is_carried(number)).min_by_key(proven_until)?;
        self.lines[oldest] = Line { source: source.into(), spans: Vec::new() };
        Some(oldest)
    }

    /// Turns what is too old into spans.
    fn forget(&mut self, blind_after: u32) {
        let latest = self.open.iter().map(|beat| beat.sent).max().unwrap_or_default();
        let is_old = |beat: &Beat| latest.seconds_since(beat.sent) > KEPT_SECONDS.max(blind_after);
        // One that may still come back is never dropped, nor the one before it, which it proves something with.
        let is_waited_for = |beat: &Beat| beat.at.is_none() && latest.seconds_since(beat.sent) <= blind_after;
        let is_over = |open: &[Beat]| {
            open.len() > MOST_WAITED_FOR || open.len() > MOST_BEATS && !open[..2].iter().any(is_waited_for)
        };
        while is_over(&self.open) || self.open.len() > 1 && is_old(&self.open[0]) {
            let (oldest, next) = (self.open[0], self.open[1]);
            for (number, line) in self.lines.iter_mut().enumerate() {
                if let Some(span) = proven(&oldest, &next, number, blind_after) {
                    line.spans = with(std::mem::take(&mut line.spans), span);
                    let excess = line.spans.len().saturating_sub(MOST_SPANS);
                    line.spans.drain(..excess);
                }
            }
            if oldest.at.is_none() {
                self.lost.push(oldest.sent);
                let excess = self.lost.len().saturating_sub(MOST_LOST);
                self.lost.drain(..excess);
            }
            self.open.remove(0);
        }
    }

    /// The sources through which any came back that was ours, with what that proves.
    pub fn proven(&self, blind_after: u32) -> impl Iterator<Item = (&str, Vec<Span>)> {
        self.lines.iter().enumerate().filter_map(move |(number, line)| {
            let carries = !line.spans.is_empty() || self.open.iter().any(|beat| beat.by >> number & 1 == 1);
            let pairs =
                self.open.windows(2).filter_map(|pair| proven(&pair[0], &pair[1], number, blind_after));
            carries.then(|| (&*line.source, pairs.fold(line.spans.clone(), with)))
        })
    }

    /// What lies between proven spans, with the reason.
    pub(crate) fn gaps(&self, spans: &[Span]) -> Vec<Gap> {
        let (Some(first), Some(last)) = (spans.first(), spans.last()) else { return Vec::new() };
        // The latest that came back may begin the next span.
        let until = last.until.max(self.last_returned.unwrap_or_default());
        let whole = vec![Span { from: first.from, until }];
        let between = spans.iter().fold(whole, |rest, &span| without(&rest, span));
        let gap = |span: Span| {
            let lost = self.lost_within(span);
            let reason = match (lost.len(), lost.first()) {
                (0, _) | (_, None) => "no heartbeat was sent for too long".to_owned(),
                (1, Some(sent)) => format!("the heartbeat sent at {sent} did not come back"),
                (count, Some(sent)) => format!("{count} heartbeats sent since {sent} did not come back"),
            };
            Gap { from: span.from, until: span.until, reason: reason.into() }
        };
        between.into_iter().map(gap).collect()
    }

    fn lost_within(&self, span: Span) -> Vec<EventTime> {
        let open = self.open.iter().filter(|beat| beat.at.is_none()).map(|beat| beat.sent);
        // Our clock and AWS's may differ a little.
        let (from, until) = (span.from.minus(RACE_SECONDS), span.until.plus(RACE_SECONDS));
        self.lost.iter().copied().chain(open).filter(|&sent| from <= sent && sent < until).collect()
    }

    /// The time of the last heartbeat that came back and that waits for none sent before it, as of `now`.
    pub fn proven_until(&self, now: EventTime, blind_after: u32) -> Option<EventTime> {
        let mut last = self.lines.iter().filter_map(|line| line.spans.last()).map(|span| span.until).max();
        for beat in &self.open {
            match beat.at {
                Some(at) => last = last.max(Some(at)),
                None if now.seconds_since(beat.sent) < blind_after => break,
                None => {}
            }
        }
        last
    }

    /// Whether one of ours came back through a source, as far as is known.
    pub(crate) fn came_through(&self, source: &str) -> bool {
        self.lines.iter().position(|line| *line.source == *source).is_some_and(|number| {
            !self.lines[number].spans.is_empty() || self.open.iter().any(|beat| beat.by >> number & 1 == 1)
        })
    }

    /// The time of the latest that came back.
    pub fn last_returned(&self) -> Option<EventTime> {
        self.last_returned
    }

    /// When the first was sent.
    pub fn first_sent(&self) -> Option<EventTime> {
        self.first_sent
    }

    /// When the latest was sent.
    pub fn last_sent(&self) -> Option<EventTime> {
        self.open.last().map(|beat| beat.sent)
    }

    /// The earliest event time, from this one on, at which one came back that is still kept.
    pub(super) fn first_from(&self, time: EventTime) -> Option<EventTime> {
        self.open.iter().filter_map(|beat| beat.at).filter(|&at| at >= time).min()
    }
}

/// What two heartbeats prove that follow each other, if anything.
fn proven(one: &Beat, next: &Beat, line: usize, blind_after: u32) -> Option<Span> {
    let both = (one.by & next.by) >> line & 1 == 1;
    let span = Span { from: one.at?, until: next.at? };
    (both && span.from < span.until && span.until.seconds_since(span.from) <= blind_after).then_some(span)
}
