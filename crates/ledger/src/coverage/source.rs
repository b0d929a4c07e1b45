//! What a source says of its completeness, and the holes that follow from it.

use dormouse_model::{DeadLetters, EventTime, SourceMark};
use serde::{Deserialize, Serialize};

use super::filter::Operations;
use super::spans::{Gap, Span, add_gap};

/// Between two marks of a source that was at work lies less than this; marks come every minute.
pub(super) const LONGEST_SILENCE_SECONDS: u32 = 600;
const MOST_HOLES: usize = 1_000;

/// What is known of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceCoverage {
    /// When it first said anything.
    pub since: EventTime,
    /// Everything that reached it before this time was taken, but for the holes; absent while nobody can say.
    pub until: Option<EventTime>,
    /// What it said last.
    pub last: SourceMark,
    /// Where something may have been lost, in order.
    pub holes: Vec<Gap>,
    /// The in-use operations of which a successful call ever arrived, from anywhere.
    #[serde(default, skip_serializing_if = "Operations::is_empty")]
    pub operations: Operations,
}

impl SourceCoverage {
    pub(super) fn begin(&mut self, mark: &SourceMark) {
        self.until = mark.caught_up;
        self.last = mark.clone();
        if let Some(lost) = &mark.lost {
            self.add_hole(lost.from, lost.until, &lost.reason);
        }
    }

    pub(super) fn take(&mut self, mark: &SourceMark) {
        let complete = self.until.unwrap_or(self.since);
        let silence = mark.at.seconds_since(self.last.at);
        if let Some(lost) = &mark.lost {
            // What was taken before is not lost, whatever the source can know of its beginning.
            self.add_hole(lost.from.max(complete), lost.until, &lost.reason);
        }
        let retention = mark.retention_seconds.or(self.last.retention_seconds);
        let retention = retention.map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX));
        match retention {
            Some(retention) if mark.at.minus(retention) > complete => {
                let reason = "nobody took it before the source's retention ended";
                self.add_hole(complete, mark.at.minus(retention), reason);
            }
            None if silence > LONGEST_SILENCE_SECONDS => {
                let reason = "nobody was there, and how long the source keeps messages cannot be read";
                self.add_hole(complete, mark.at, reason);
            }
            _ => {}
        }
        match (self.last.dead_letters, mark.dead_letters) {
            (DeadLetters::Messages(before), DeadLetters::Messages(now))
                if now > before || now != before && silence > LONGEST_SILENCE_SECONDS =>
            {
                // When they were sent nobody says; they may have been tried for as long as messages are kept.
                let sent = retention.map_or(self.since, |retention| mark.at.minus(retention));
                let reason = "messages went to the dead-letter queue";
                self.add_hole(sent.min(complete), mark.at, reason);
            }
            (DeadLetters::None, DeadLetters::Messages(now)) if now > 0 => {
                let reason = "a dead-letter queue that holds messages was attached";
                self.add_hole(complete, mark.at, reason);
            }
            (_, DeadLetters::Unreadable) if silence > LONGEST_SILENCE_SECONDS => {
                let reason =
                    "nobody was there, and whether messages went to the dead-letter queue cannot be read";
                self.add_hole(complete, mark.at, reason);
            }
            _ => {}
        }
        if let (Some(before), Some(now)) = (&self.last.of, &mark.of)
            && before != now
        {
            self.add_hole(complete, mark.at, "the source was pointed at another queue or stream");
        }
        self.until = self.until.max(mark.caught_up);
        let retention_seconds = mark.retention_seconds.or(self.last.retention_seconds);
        // While the dead-letter queue cannot be read for a moment, what it held before stays the measure.
        let dead_letters = match (self.last.dead_letters, mark.dead_letters) {
            (before @ DeadLetters::Messages(_), DeadLetters::Unreadable)
                if silence <= LONGEST_SILENCE_SECONDS =>
            {
                before
            }
            (_, now) => now,
        };
        let of = mark.of.clone().or(self.last.of.take());
        self.last = SourceMark { retention_seconds, dead_letters, lost: None, of, ..mark.clone() };
    }

    /// The holes by the time of events: what got lost on its arrival may have happened so many seconds before.
    pub(crate) fn holes_by_event(&self, delay_seconds: u32) -> impl Iterator<Item = Span> {
        self.holes.iter().map(move |hole| Span { from: hole.from.minus(delay_seconds), until: hole.until })
    }

    pub(super) fn add_hole(&mut self, from: EventTime, until: EventTime, reason: &str) {
        if from < until {
            add_gap(&mut self.holes, Gap { from, until, reason: reason.into() }, MOST_HOLES);
        }
    }
}
