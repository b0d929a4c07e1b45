//! Somebody switched off, or altered, what delivers events: blind at once, not when the next heartbeat stays away.
//!
//! Whether a call really ended the delivery to us cannot be told from it (another trail may carry the events), so it
//! is taken for the worst until a heartbeat from after it has come back. What was told to leave out KMS or reads stays
//! so until that is undone, or heartbeats and uses come back all the same.

use dormouse_model::EventTime;
use serde::{Deserialize, Serialize};

use super::beats::Beats;
use super::options::CoverageOptions;
use super::spans::{Gap, Span};

/// What a change of a trail or rule may do to what is delivered, as far as the request says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeavesOut {
    /// Nothing that the request tells.
    #[default]
    Nothing,
    /// The events of KMS.
    Kms,
    /// Events of calls that only read, which all uses are.
    Reads,
}

/// Somebody altered what delivers events: a trail, or an EventBridge rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipeChange {
    /// When.
    pub at: EventTime,
    /// Which event.
    pub event_id: Box<str>,
    /// The service whose operation it is, e.g. `cloudtrail.amazonaws.com`.
    pub service: Box<str>,
    /// The operation, e.g. `StopLogging`.
    pub operation: Box<str>,
    /// Who did it, if the record says.
    pub principal: Option<Box<str>>,
    /// The trail or rule, if the record says.
    pub subject: Option<Box<str>>,
    /// Why it failed; absent if it was done.
    pub error_code: Option<Box<str>>,
    /// What the trail leaves out from now on.
    #[serde(default)]
    pub leaves_out: LeavesOut,
}

/// What becomes of the claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// None.
    Nothing,
    /// Nothing may be delivered until a heartbeat has come back.
    Off,
    /// Uses may not be delivered until both heartbeats and uses have come back, or it is undone.
    Hides,
    /// What passes may be another choice of operations from now on; what left out uses before may be over.
    Filter,
    /// A rule may let another choice of operations through.
    Rule,
}

impl PipeChange {
    pub(super) fn effect(&self, options: &CoverageOptions) -> Effect {
        if self.error_code.is_some() || !self.is_ours(options) {
            return Effect::Nothing;
        }
        match &*self.operation {
            "PutEventSelectors" if self.leaves_out != LeavesOut::Nothing => Effect::Hides,
            "StopLogging" | "DeleteTrail" | "UpdateTrail" | "DisableRule" | "DeleteRule"
            | "RemoveTargets" => Effect::Off,
            "PutEventSelectors" => Effect::Filter,
            // Rules are put by everyone who deploys; one that lets nothing through is found by the heartbeats.
            "PutRule" => Effect::Rule,
            _ => Effect::Nothing,
        }
    }

    /// Whether other operations may pass than before.
    pub(super) fn alters_the_filter(&self, options: &CoverageOptions) -> bool {
        self.effect(options) != Effect::Nothing
            && matches!(&*self.operation, "PutEventSelectors" | "UpdateTrail" | "PutRule")
    }

    pub(super) fn is_of_a_trail(&self) -> bool {
        *self.service == *"cloudtrail.amazonaws.com"
    }

    fn is_ours(&self, options: &CoverageOptions) -> bool {
        let ours = if self.is_of_a_trail() { &options.trails } else { &options.rules };
        // One that the record does not name may be ours.
        let Some(subject) = self.subject.as_deref() else { return true };
        ours.is_empty() || ours.iter().any(|ours| ours.fits(name_of(subject)) || ours.fits(subject))
    }

    fn in_words(&self) -> String {
        let who = self.principal.as_deref().unwrap_or("somebody");
        let what = self.subject.as_deref().unwrap_or("what delivers events");
        let how = match self.leaves_out {
            LeavesOut::Nothing => "",
            LeavesOut::Kms => ", which leaves out KMS",
            LeavesOut::Reads => ", which leaves out reads",
        };
        format!("{} on {what} by {who} at {}{how}", self.operation, self.at)
    }
}

/// The name in an ARN of a trail or rule; any other text as it is.
fn name_of(subject: &str) -> &str {
    if subject.starts_with("arn:") { subject.rsplit('/').next().unwrap_or(subject) } else { subject }
}

/// Whether uses have to come back, too. No option in an option: in JSON both of its emptinesses are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Uses {
    /// They need not.
    Any,
    /// None has.
    Awaited,
    /// The earliest that did is of this time.
    Back(EventTime),
}

/// A span in which events may not have been delivered because somebody turned a switch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// Since when.
    pub from: EventTime,
    /// Heartbeats from after this time show that events are delivered.
    after: EventTime,
    /// The earliest of those that came back.
    beat: Option<EventTime>,
    /// Whether uses have to come back, too.
    uses: Uses,
    /// The trail or rule.
    subject: Option<Box<str>>,
    /// Who did what, in words.
    pub why: Box<str>,
}

const MOST_SWITCHES: usize = 32;

impl Switch {
    fn new(change: &PipeChange, hides: bool) -> Self {
        Self {
            from: change.at,
            after: change.at,
            beat: None,
            uses: if hides { Uses::Awaited } else { Uses::Any },
            subject: change.subject.clone(),
            why: change.in_words().into(),
        }
    }

    /// Whether it is this change's.
    pub(super) fn is_of(&self, change: &PipeChange) -> bool {
        self.from == change.at && *self.why == *change.in_words()
    }

    /// When it was over; none while it is not.
    pub fn until(&self) -> Option<EventTime> {
        match self.uses {
            Uses::Any => self.beat,
            Uses::Awaited => None,
            Uses::Back(used) => Some(self.beat?.max(used)),
        }
    }

    /// As a gap, as of `now`.
    pub(crate) fn gap(&self, now: EventTime) -> Gap {
        let until = self.until().unwrap_or_else(|| now.max(self.from.plus(1)));
        Gap { from: self.from, until, reason: self.why.clone() }
    }

    fn note_beat(&mut self, at: EventTime, settle: u32) {
        if at >= self.after.plus(settle) {
            self.beat = Some(self.beat.map_or(at, |known| known.min(at)));
        }
    }

    fn undo(&mut self, at: EventTime, beats: &Beats, settle: u32) {
        (self.after, self.uses) = (self.after.max(at), Uses::Any);
        self.beat = beats.first_from(self.after.plus(settle));
    }
}

/// All that may still matter of one place, in the order in which they were turned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Switches(Vec<Switch>);

impl Switches {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &Switch> {
        self.0.iter()
    }

    /// Takes a change. `known` are the other changes of the place, which may have undone it already.
    pub(super) fn note(
        &mut self,
        change: &PipeChange,
        effect: Effect,
        beats: &Beats,
        known: &[PipeChange],
        settle: u32,
    ) {
        let is_same = |subject: Option<&str>| subject.map(name_of) == change.subject.as_deref().map(name_of);
        match effect {
            Effect::Nothing | Effect::Rule => {}
            Effect::Filter => {
                let undone = |switch: &&mut Switch| {
                    switch.uses != Uses::Any && switch.from <= change.at && is_same(switch.subject.as_deref())
                };
                self.0.iter_mut().filter(undone).for_each(|switch| switch.undo(change.at, beats, settle));
            }
            Effect::Off | Effect::Hides => {
                let mut new = Switch::new(change, effect == Effect::Hides);
                new.beat = beats.first_from(new.after.plus(settle));
                let undoes = |other: &&PipeChange| {
                    other.at > change.at
                        && other.error_code.is_none()
                        && *other.operation == *"PutEventSelectors"
                        && other.leaves_out == LeavesOut::Nothing
                        && is_same(other.subject.as_deref())
                };
                if let Some(undone) = known.iter().find(undoes).filter(|_| effect == Effect::Hides) {
                    new.undo(undone.at, beats, settle);
                }
                let at = self.0.partition_point(|switch| switch.from <= new.from);
                self.0.insert(at, new);
                self.make_room();
            }
        }
    }

    pub(super) fn note_beat(&mut self, at: EventTime, settle: u32) {
        self.0.iter_mut().for_each(|switch| switch.note_beat(at, settle));
    }

    /// Where heartbeats never come back, any events that arrive show that events are delivered: the earliest and the
    /// latest of some are of these times.
    pub(super) fn note_events(&mut self, first: EventTime, last: EventTime, settle: u32) {
        for switch in &mut self.0 {
            let at = if first >= switch.after.plus(settle) { first } else { last };
            switch.note_beat(at, settle);
        }
    }

    /// Uses came back, the earliest and the latest of some at these times.
    pub(super) fn note_uses(&mut self, first: EventTime, last: EventTime, settle: u32) {
        for switch in &mut self.0 {
            let from = switch.after.plus(settle);
            let at = if first >= from { first } else { last };
            if at >= from {
                switch.uses = match switch.uses {
                    Uses::Any => Uses::Any,
                    Uses::Awaited => Uses::Back(at),
                    Uses::Back(known) => Uses::Back(known.min(at)),
                };
            }
        }
    }

    /// Two that stand beside each other become one, which claims no more than both.
    fn make_room(&mut self) {
        if self.0.len() <= MOST_SWITCHES {
            return;
        }
        let oldest = self.0.remove(0);
        let Some(next) = self.0.first_mut() else { return };
        // What is not over keeps being so: the later conditions decide for both.
        let beat = match (oldest.until(), next.beat) {
            (Some(until), Some(beat)) => Some(until.max(beat)),
            _ => None,
        };
        next.after = next.after.max(oldest.after);
        next.uses = match (oldest.uses, next.uses) {
            (Uses::Any, one) | (one, Uses::Any) => one,
            (Uses::Back(one), Uses::Back(other)) => Uses::Back(one.max(other)),
            _ => Uses::Awaited,
        };
        (next.from, next.beat, next.why) = (oldest.from, beat, oldest.why);
    }

    /// What is taken away from the stream's claim.
    pub(crate) fn spans(&self, now: EventTime) -> impl Iterator<Item = Span> {
        self.0.iter().map(move |switch| {
            let Gap { from, until, .. } = switch.gap(now);
            Span {
                from,
                until: if switch.until().is_some() { until } else { EventTime::from_seconds(u32::MAX) },
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_uses_have_to_come_back_for_survives_a_restart() {
        let at = EventTime::from_seconds;
        let change = PipeChange {
            at: at(1_000),
            event_id: "e".into(),
            service: "cloudtrail.amazonaws.com".into(),
            operation: "PutEventSelectors".into(),
            principal: None,
            subject: None,
            error_code: None,
            leaves_out: LeavesOut::Kms,
        };
        let mut switches = Switches(vec![Switch::new(&change, true)]);
        switches.note_beat(at(2_000), 60);
        assert_eq!(switches.0[0].until(), None);
        let text = serde_json::to_string(&switches).unwrap();
        let mut restored: Switches = serde_json::from_str(&text).unwrap();
        assert_eq!(restored, switches);
        restored.note_uses(at(3_000), at(3_000), 60);
        assert_eq!(restored.0[0].until(), Some(at(3_000)));
    }
}
