//! Which keys KMS is asked about again.
//!
//! A pass costs pages, not keys, because only a key with a reason is described: it is new, an event says that it
//! changed, events contradict each other, or its turn has come. Turns are spread: a key has a phase of its own within
//! the interval, from its name, so that every pass has about the same share of them, however many keys were first
//! described at once.

use dormouse_ledger::{Facts, KeyState, Nature, Rank};
use dormouse_model::{EventTime, KeyArn, LifecycleState};

use crate::operation::Operation;

/// Why a key is described.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Why {
    /// It never was.
    New,
    /// An event altered it since, or events contradict each other.
    Changed,
    /// It is known, and not listed any more.
    Missing,
    /// Some of it was not answered the last time.
    Incomplete,
    /// It is its turn.
    Turn,
}

/// Clocks of AWS and ours may differ by so many seconds, and an answer may be so old when it is sent.
pub(crate) const MARGIN: u32 = 60;
/// Events that contradict each other are a reason again after so many seconds.
const CONFLICT_AGAIN: u32 = 3_600;
/// What was refused is tried again after so many seconds, for some keys up to twice as many.
const REFUSED_AGAIN: u32 = 12 * 3_600;

/// A number that is the same for the same key in every process.
pub(crate) fn hash_of(key: KeyArn) -> u64 {
    let (id, rest, region, ..) = key.stable_bytes();
    let half = |half: &[u8]| half.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    let region = region.bytes().fold(0_u64, |sum, byte| sum.rotate_left(5) ^ u64::from(byte));
    mix(half(&id[..8]) ^ mix(half(&id[8..]) ^ mix(rest ^ region)))
}

/// Spreads the bits of a number (the finalizer of SplitMix64).
pub(crate) fn mix(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

/// When the turn of something comes that was last done at `last`: in its own phase of the interval, and never before
/// half of it is over.
pub(crate) fn next_turn(hash: u64, last: EventTime, every: u32) -> EventTime {
    let every = every.max(1);
    let phase = u32::try_from(hash % u64::from(every)).unwrap_or(0);
    // From `last` to the next moment in phase, more than nothing and at most an interval.
    let past = (last.seconds() % every + every - phase) % every;
    let wait = every - past;
    // In the first half the next moment comes too soon. Half an interval later there are those of nobody.
    last.plus(if wait >= every / 2 { wait } else { wait + every / 2 })
}

/// Why a known key is to be described now, if it is.
pub(crate) fn why(key: KeyArn, state: &KeyState<Rank>, now: EventTime, every: u32) -> Option<Why> {
    let Some(registers) = state.registers() else { return Some(Why::New) };
    if registers.state() == Some(LifecycleState::Deleted) {
        return None;
    }
    let facts = registers.facts();
    if facts.is_some_and(|facts| is_refused(key, facts, Operation::DescribeKey, now)) {
        return None;
    }
    let Some((facts, nature)) = facts.and_then(|facts| Some((facts, facts.nature.as_ref()?))) else {
        return Some(Why::New);
    };
    let is_customers = registers.manager() != Some("AWS");
    let Some(answered) = answered_at(key, facts, nature.at, &nature.said, is_customers, now) else {
        return Some(Why::Incomplete);
    };
    let changed = registers.changed().is_some_and(|changed| changed.plus(MARGIN) > answered);
    let contradicted = registers.due_for_describe() && answered.plus(CONFLICT_AGAIN) <= now;
    if changed || contradicted {
        return Some(Why::Changed);
    }
    (next_turn(hash_of(key), answered, every) <= now).then_some(Why::Turn)
}

/// Since when all questions about the key are answered; `None` if one is not. A refusal is an answer for a while.
fn answered_at(
    key: KeyArn,
    facts: &Facts,
    described: EventTime,
    nature: &Nature,
    is_customers: bool,
    now: EventTime,
) -> Option<EventTime> {
    if !is_customers {
        return Some(described);
    }
    // Only the last refusal is remembered; those before it in the same turn are as old.
    let refused = [Operation::ListResourceTags, Operation::ListGrants, Operation::GetKeyRotationStatus]
        .into_iter()
        .any(|operation| is_refused(key, facts, operation, now));
    let mut oldest = described;
    let mut take = |at: Option<EventTime>| match at {
        Some(at) if at.plus(MARGIN) >= described => {
            oldest = oldest.min(at);
            true
        }
        _ => refused,
    };
    let tags = facts.tags_at;
    let grants = facts.grants.as_ref().map(|grants| grants.at);
    let rotation = facts.rotation.as_ref().map(|rotation| rotation.at);
    let mut complete = take(tags) && take(grants);
    if is_rotated_by_kms(&nature.spec, &nature.origin) {
        complete = complete && take(rotation);
    }
    complete.then_some(oldest)
}

/// Whether KMS refused this lately.
fn is_refused(key: KeyArn, facts: &Facts, operation: Operation, now: EventTime) -> bool {
    let Some(failed) = facts.failed.as_ref().filter(|failed| *failed.operation == *operation.name()) else {
        return false;
    };
    let is_refusal = matches!(&*failed.class, "denied" | "poison" | "fatal");
    is_refusal && now < refused_until(key, failed.at)
}

/// Until when a refusal is believed.
pub(crate) fn refused_until(key: KeyArn, at: EventTime) -> EventTime {
    let more = u32::try_from(hash_of(key) % u64::from(REFUSED_AGAIN)).unwrap_or(0);
    at.plus(REFUSED_AGAIN + more)
}

/// Whether KMS can rotate a customer's key of this nature by itself.
pub(crate) fn is_rotated_by_kms(spec: &str, origin: &str) -> bool {
    spec == "SYMMETRIC_DEFAULT" && origin == "AWS_KMS"
}
