//! A key as every surface shows it: API, command line, replay, exports. One shape, defined here.
//!
//! Times are RFC 3339 in UTC. What is not known is null: never missing, never invented.

use std::collections::BTreeMap;

use dormouse_model::{AccountId, EventTime, KeyArn, LifecycleState, Region};
use serde::{Deserialize, Serialize};

use crate::{Evidence, Judge, KeyState, Ledger, Registers, Trace, Verdict};

/// Where the evidence of a use comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Events as they happen.
    Stream,
    /// A trail's history, read by `dormouse backfill`.
    Backfill,
    /// Files given to `dormouse replay`.
    Replay,
}

/// A key with everything known about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyDocument {
    /// The key ARN.
    pub arn: KeyArn,
    /// The account that owns it.
    pub account: AccountId,
    /// The Region it lives in.
    pub region: Region,
    /// The key id.
    pub id: String,
    /// Whether it is one of several keys with the same `mrk-` id.
    pub multi_region: bool,
    /// `CUSTOMER` or `AWS`.
    pub manager: Option<String>,
    /// KMS's name for its state, or `Deleted`.
    pub state: Option<LifecycleState>,
    /// When it was created.
    pub created: Option<EventTime>,
    /// The aliases that point to it.
    pub aliases: Option<Vec<String>>,
    /// Its tags.
    pub tags: Option<BTreeMap<String, String>>,
    /// The last use.
    pub last_use: Option<UseDocument>,
    /// The last failed attempt.
    pub last_attempt: Option<AttemptDocument>,
    /// Failures that show that somebody still needs it.
    pub wanted: Option<WantedDocument>,
    /// Counted uses.
    pub uses: u64,
    /// Counted attempts.
    pub attempts: u64,
    /// Counted changes.
    pub changes: u64,
    /// The earliest of what was counted.
    pub counts_from: Option<EventTime>,
    /// What may be said about its use.
    pub verdict: Verdict,
    /// What it costs a month, in US dollars.
    pub monthly_cost_usd: Option<f64>,
}

/// A use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UseDocument {
    /// When.
    pub at: EventTime,
    /// The operation.
    pub operation: String,
    /// The stable principal.
    pub principal: Option<String>,
    /// The session's name.
    pub session: Option<String>,
    /// The service that called on somebody's behalf.
    pub invoked_by: Option<String>,
    /// IP address or service name.
    pub source_ip: Option<String>,
    /// The event.
    pub event_id: String,
    /// The encryption context: the best hint at what depends on the key.
    pub encryption_context: Option<BTreeMap<String, String>>,
    /// Where this is known from.
    pub source: Source,
}

/// A failed attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptDocument {
    /// When.
    pub at: EventTime,
    /// The operation.
    pub operation: String,
    /// The stable principal.
    pub principal: Option<String>,
    /// Why it failed.
    pub error_code: Option<String>,
    /// The event.
    pub event_id: String,
}

/// Failures that show that somebody still needs the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedDocument {
    /// The first.
    pub since: EventTime,
    /// The last.
    pub last: EventTime,
    /// How many.
    pub count: u64,
}

impl KeyDocument {
    /// The document of a key.
    pub fn new<T: Trace>(
        key: KeyArn,
        state: &KeyState<Evidence>,
        ledger: &Ledger<T>,
        source: Source,
        judge: Judge,
    ) -> Self {
        let is_received = ledger.is_received(key.account());
        let counts = state.counts(is_received);
        let registers = state.registers();
        let tags = registers.and_then(Registers::tags);
        let wanted = state.wanted().map(|wanted| WantedDocument {
            since: wanted.since,
            last: wanted.last,
            count: wanted.own + if is_received { 0 } else { wanted.foreign },
        });
        Self {
            arn: key,
            account: key.account(),
            region: key.region(),
            id: key.id(),
            multi_region: key.is_multi_region(),
            manager: registers.and_then(Registers::manager).map(str::to_owned),
            state: registers.and_then(Registers::state),
            created: registers.and_then(Registers::created),
            aliases: registers.and_then(|registers| ledger.aliases().of_key(key, registers)),
            tags: tags.map(|tags| owned_pairs(tags.into_iter())),
            last_use: state.last_use().map(|evidence| UseDocument::new(evidence, source)),
            last_attempt: state.last_attempt().map(AttemptDocument::new),
            wanted,
            uses: counts.uses,
            attempts: counts.attempts,
            changes: counts.changes,
            counts_from: state.counts_from(),
            verdict: judge.verdict(state.last_use().map(|evidence| evidence.rank().time)),
            monthly_cost_usd: None,
        }
    }
}

impl UseDocument {
    fn new(evidence: &Evidence, source: Source) -> Self {
        let texts = evidence.texts();
        let context = texts.context.into_iter().map(|(key, value)| (key.into(), value.into()));
        let context: BTreeMap<String, String> = context.collect();
        Self {
            at: evidence.rank().time,
            operation: texts.operation.into(),
            principal: texts.principal.map(String::from),
            session: texts.session.map(String::from),
            invoked_by: texts.invoked_by.map(String::from),
            source_ip: texts.source_ip.map(String::from),
            event_id: evidence.rank().event_id.to_string(),
            encryption_context: (!context.is_empty()).then_some(context),
            source: if texts.from_history { Source::Backfill } else { source },
        }
    }
}

impl AttemptDocument {
    fn new(evidence: &Evidence) -> Self {
        let texts = evidence.texts();
        Self {
            at: evidence.rank().time,
            operation: texts.operation.into(),
            principal: texts.principal.map(String::from),
            error_code: texts.error_code.map(String::from),
            event_id: evidence.rank().event_id.to_string(),
        }
    }
}

fn owned_pairs<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> BTreeMap<String, String> {
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
