//! What a verdict looks at: little enough to be copied out of a key's state.
//!
//! Places are looked at first, and the key then. Between the two looks a use may enter, with the claim that covers it:
//! seen in this order, the use is there and its claim is not; in the other, the claim without the use would be proof of
//! what is not so.

use std::sync::Arc;

use dormouse_model::{EventTime, KeyArn, LifecycleState};

use super::claim::PlaceClaim;
use super::operations::Class;
use super::{Rules, Threshold};
use crate::{Aliases, Facts, Gap, KeyState, Registers, Trace};

/// What can be claimed about a key, from before its state was copied.
#[derive(Clone, Debug)]
pub struct Look {
    pub(super) place: Arc<PlaceClaim>,
    /// Where something that may have been a use of this very key was not understood.
    pub(super) holes: Vec<Gap>,
    /// Those of them where an operation was called that nobody knows.
    pub(super) calls: Vec<Gap>,
}

/// What is known of a key, as far as a verdict on it needs it.
#[derive(Clone, Debug)]
pub struct Case {
    pub(super) look: Look,
    /// The last use, whoever knows of it.
    pub(super) last_used: Option<EventTime>,
    /// Whether only KMS knows of it.
    pub(super) only_kms_knows: bool,
    pub(super) created: Option<EventTime>,
    pub(super) state: Option<LifecycleState>,
    pub(super) is_of_aws: bool,
    pub(super) class: Class,
    pub(super) threshold: Threshold,
    /// KMS's own answer.
    pub(super) kms: Option<KmsAnswer>,
    /// KMS does not tell us of this very key.
    pub(super) kms_is_denied: bool,
    /// The last time that somebody failed to use it, if that was after its last use; since when, and how often.
    pub(super) wanted: Option<(EventTime, EventTime, u64)>,
}

/// What KMS said of the last use of a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct KmsAnswer {
    pub(super) asked_at: EventTime,
    pub(super) tracked_from: EventTime,
    pub(super) last: Option<EventTime>,
}

impl Case {
    /// What is known of a key.
    pub(super) fn new<T: Trace>(
        look: Look,
        key: KeyArn,
        state: &KeyState<T>,
        aliases: &Aliases,
        rules: &Rules,
    ) -> Self {
        let registers = state.registers();
        let facts = registers.and_then(Registers::facts);
        let seen = state.last_use().map(|last| last.rank().time);
        let last_used = state.last_used();
        let usage = facts.and_then(|facts| facts.usage.as_ref());
        let wanted = state.wanted().filter(|wanted| Some(wanted.last) > last_used);
        Self {
            look,
            last_used,
            only_kms_knows: last_used.is_some() && seen != last_used,
            created: registers.and_then(Registers::created),
            state: registers.and_then(Registers::state),
            is_of_aws: registers.is_some_and(is_of_aws),
            class: Class::of(facts.and_then(|facts| facts.nature.as_ref()).map(|nature| &nature.said)),
            threshold: rules.thresholds.of(key, registers, aliases),
            kms: usage.map(|usage| KmsAnswer {
                asked_at: usage.at,
                tracked_from: usage.said.tracked_from,
                last: usage.said.last.as_ref().map(|last| last.at),
            }),
            kms_is_denied: facts.is_some_and(is_denied),
            wanted: wanted.map(|wanted| (wanted.since, wanted.last, wanted.own.max(wanted.foreign))),
        }
    }

    /// The key's state.
    pub fn state(&self) -> Option<LifecycleState> {
        self.state
    }
}

/// AWS managed keys are told by their manager and, before they are described, by an alias that only AWS may give.
fn is_of_aws(registers: &Registers) -> bool {
    match registers.manager() {
        Some(manager) => manager == "AWS",
        None => registers.alias_candidates().any(|name| name.starts_with("alias/aws/")),
    }
}

fn is_denied(facts: &Facts) -> bool {
    let asked = facts.usage.as_ref().map(|usage| usage.at);
    facts.failed.as_ref().is_some_and(|failed| {
        *failed.operation == *"GetKeyLastUsage" && *failed.class == *"denied" && Some(failed.at) > asked
    })
}
