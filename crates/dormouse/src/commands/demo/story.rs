//! What an administrator does while the demo runs, so that there is something to see: a busy key is disabled and its
//! users keep calling, a forgotten one wakes up, a deletion is scheduled and cancelled. Over and over, with other keys.

use std::collections::{HashSet, VecDeque};

use dormouse_model::{KeyArn, LifecycleState};
use dormouse_simulate::organisation::{Cadence, Organisation, Truth};
use serde_json::{Value, json};

/// A call that an administrator will make.
struct Step {
    /// Seconds after the demo is up.
    at: u64,
    key: KeyArn,
    operation: &'static str,
    request: Value,
}

/// The calls to come, the next one first.
pub(super) struct Story {
    steps: VecDeque<Step>,
}

/// How long one round of the story takes, in seconds.
const ROUND: u64 = 60;
/// With so many rounds the story ends; whoever watches longer has seen it.
const MOST_ROUNDS: usize = 20;

impl Story {
    /// A story about the keys of an organisation, first about those that Dormouse knows by a name.
    pub(super) fn about(truth: &Truth, named: &HashSet<KeyArn>) -> Self {
        let of = |cadence| {
            let enabled = truth.of(cadence).filter(|key| key.state == LifecycleState::Enabled);
            let mut keys: Vec<KeyArn> = enabled.map(|key| key.key).collect();
            keys.sort_by_key(|key| !named.contains(key));
            keys
        };
        let (busy, dead, unused) = (of(Cadence::Busy), of(Cadence::Dead), of(Cadence::NeverUsed));
        let mut steps = Vec::new();
        for round in 0..MOST_ROUNDS {
            let begin = round as u64 * ROUND;
            let mut plan = |after, keys: &[KeyArn], operation, request: fn(String) -> Value| {
                if let Some(&key) = keys.get(round) {
                    steps.push(Step { at: begin + after, key, operation, request: request(key.id()) });
                }
            };
            let by_id = |id| json!({ "KeyId": id });
            plan(6, &busy, "DisableKey", by_id);
            plan(12, &dead, "Encrypt", |id| json!({ "KeyId": id, "Plaintext": "d2FrZSB1cA==" }));
            plan(18, &unused, "ScheduleKeyDeletion", |id| json!({ "KeyId": id, "PendingWindowInDays": 7 }));
            plan(24, &busy, "EnableKey", by_id);
            plan(45, &unused, "CancelKeyDeletion", by_id);
        }
        Self { steps: steps.into() }
    }

    /// Makes the calls whose time has come. What KMS refuses, because somebody else has changed the key, is part of life.
    pub(super) fn tell(&mut self, seconds: u64, organisation: &Organisation) {
        while let Some(step) = self.steps.pop_front_if(|step| step.at <= seconds) {
            let (account, region) = (step.key.account(), step.key.region());
            if let Err(refused) = organisation.call(account, region, step.operation, &step.request) {
                tracing::debug!(key = %step.key, operation = step.operation, %refused, "the story goes on without it");
            }
        }
    }
}
