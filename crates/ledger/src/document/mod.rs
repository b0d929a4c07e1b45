//! A key as every surface shows it: API, command line, replay, exports. One shape, defined here.
//!
//! Times are RFC 3339 in UTC. What is not known is null: never missing, never invented.

mod cost;
mod dependents;

use std::collections::BTreeMap;

use dormouse_model::{AccountId, EventTime, Grants, KeyArn, LifecycleState, Region, Rotation};
use serde::{Deserialize, Serialize};

use crate::{Evidence, Facts, Judge, KeyState, Ledger, Look, Nature, Registers, Stamped, Trace, Verdict};

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
    /// KMS itself, which was asked; it does not tell who it was.
    Kms,
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
    /// Its description.
    pub description: Option<String>,
    /// E.g. `SYMMETRIC_DEFAULT`.
    pub spec: Option<String>,
    /// E.g. `ENCRYPT_DECRYPT`.
    pub usage: Option<String>,
    /// `AWS_KMS`, `EXTERNAL`, `AWS_CLOUDHSM` or `EXTERNAL_KEY_STORE`.
    pub origin: Option<String>,
    /// When it will be deleted, while it is pending deletion.
    pub deletion_date: Option<EventTime>,
    /// When its imported key material expires.
    pub material_expires: Option<EventTime>,
    /// The custom key store that holds its material.
    pub custom_key_store: Option<String>,
    /// How its material is rotated.
    pub rotation: Option<RotationDocument>,
    /// Its live grants, as of when KMS was asked.
    pub grants: Option<GrantsDocument>,
    /// The other keys of a multi-Region key; null if that is not known.
    pub multi_region_siblings: Option<Vec<KeyArn>>,
    /// When KMS was last asked what it is.
    pub described_at: Option<EventTime>,
    /// The aliases that point to it.
    pub aliases: Option<Vec<String>>,
    /// Its tags.
    pub tags: Option<BTreeMap<String, String>>,
    /// The last use.
    pub last_use: Option<UseDocument>,
    /// What KMS itself remembers of its use; null if it was not asked.
    pub kms: Option<KmsDocument>,
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
    /// What depends, or may depend, on it, though it does not show as a use, in words.
    pub dependents: Vec<String>,
    /// What it costs a month at the least, in US dollars; null if nobody said whose key it is.
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
    /// The event; null if KMS did not name it.
    pub event_id: Option<String>,
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

/// What KMS itself remembers of the use of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KmsDocument {
    /// When it was asked. Its answer may lack the last hour before.
    pub asked_at: EventTime,
    /// From when on it remembers uses of this key.
    pub tracked_from: EventTime,
    /// The last use; null if it remembers none.
    pub last_use: Option<KmsUseDocument>,
}

/// A use that KMS remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KmsUseDocument {
    /// When.
    pub at: EventTime,
    /// The operation.
    pub operation: String,
    /// The event that tells of it.
    pub event_id: Option<String>,
}

/// How the material of a key is rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotationDocument {
    /// Whether automatic rotation is on.
    pub enabled: bool,
    /// Every so many days.
    pub period_days: Option<u16>,
    /// The next time.
    pub next: Option<EventTime>,
    /// The last time that was seen.
    pub last: Option<EventTime>,
}

/// The live grants of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantsDocument {
    /// When KMS was asked.
    pub asked_at: EventTime,
    /// How many there are.
    pub count: u32,
    /// The AWS services among the grantees.
    pub services: Vec<String>,
    /// Other grantees; the first few.
    pub grantees: Vec<String>,
}

impl KeyDocument {
    /// The document of a key whose state was copied behind `look`. Looks up its multi-Region siblings in the ledger: not
    /// to be called with the key locked while others write.
    pub fn new<T: Trace>(
        key: KeyArn,
        state: &KeyState<Evidence>,
        ledger: &Ledger<T>,
        source: Source,
        judge: &Judge,
        look: Look,
    ) -> Self {
        let is_received = ledger.is_received(key.account());
        let counts = state.counts(is_received);
        let registers = state.registers();
        let facts = registers.and_then(Registers::facts);
        let nature = facts.and_then(|facts| facts.nature.as_ref());
        let of_nature = |text: fn(&Nature) -> &str| nature.map(|nature| text(&nature.said).to_owned());
        let wanted = state.wanted().map(|wanted| WantedDocument {
            since: wanted.since,
            last: wanted.last,
            count: wanted.own + if is_received { 0 } else { wanted.foreign },
        });
        let last_use = last_use(state, source);
        let last_attempt = state.last_attempt().map(AttemptDocument::new);
        let mut verdict = judge.verdict(&judge.case(look, key, state, ledger.aliases()));
        verdict
            .evidence
            .extend(last_attempt.as_ref().filter(|_| verdict.wanted).map(AttemptDocument::in_words));
        Self {
            arn: key,
            account: key.account(),
            region: key.region(),
            id: key.id(),
            multi_region: key.is_multi_region(),
            manager: registers.and_then(Registers::manager).map(str::to_owned),
            state: registers.and_then(Registers::state),
            created: registers.and_then(Registers::created),
            description: registers.and_then(Registers::description).map(str::to_owned),
            spec: of_nature(|nature| &nature.spec),
            usage: of_nature(|nature| &nature.usage),
            origin: of_nature(|nature| &nature.origin),
            deletion_date: registers.and_then(Registers::deletion_date),
            material_expires: nature.and_then(|nature| nature.said.material_expires),
            custom_key_store: nature
                .and_then(|nature| nature.said.custom_key_store.as_deref().map(str::to_owned)),
            rotation: registers.and_then(|registers| RotationDocument::new(registers, facts)),
            grants: facts.and_then(|facts| facts.grants.as_ref()).map(GrantsDocument::new),
            multi_region_siblings: siblings(key, nature),
            described_at: nature.map(|nature| nature.at),
            aliases: registers.and_then(|registers| ledger.aliases().of_key(key, registers)),
            tags: registers.and_then(Registers::tags).map(|tags| owned_pairs(tags.into_iter())),
            dependents: dependents::in_words(key, facts, last_use.as_ref(), ledger, judge),
            last_use,
            kms: facts.and_then(KmsDocument::new),
            last_attempt,
            wanted,
            uses: counts.uses,
            attempts: counts.attempts,
            changes: counts.changes,
            counts_from: state.counts_from(),
            verdict,
            monthly_cost_usd: registers.and_then(cost::monthly_usd),
        }
    }
}

/// The last use, whoever knows of it. KMS's own word never takes the place of a record of the same second or event.
fn last_use(state: &KeyState<Evidence>, source: Source) -> Option<UseDocument> {
    let seen = state.last_use();
    let Some(said) = state.kms_use() else {
        return seen.map(|evidence| UseDocument::new(evidence, source));
    };
    match seen {
        Some(evidence)
            if evidence.rank().time >= said.at
                || said.event_id.as_ref() == Some(&evidence.rank().event_id) =>
        {
            Some(UseDocument::new(evidence, source))
        }
        _ => Some(UseDocument {
            at: said.at,
            operation: said.operation.to_string(),
            principal: None,
            session: None,
            invoked_by: None,
            source_ip: None,
            event_id: said.event_id.as_ref().map(ToString::to_string),
            encryption_context: None,
            source: Source::Kms,
        }),
    }
}

/// The other keys of a multi-Region key; none if it is a key of one Region.
fn siblings(key: KeyArn, nature: Option<&Stamped<Nature>>) -> Option<Vec<KeyArn>> {
    if !key.is_multi_region() {
        return Some(Vec::new());
    }
    nature?.said.multi_region.as_ref().map(|relations| relations.siblings.clone())
}

impl KmsDocument {
    fn new(facts: &Facts) -> Option<Self> {
        let usage = facts.usage.as_ref()?;
        let last_use = usage.said.last.as_ref().map(|last| KmsUseDocument {
            at: last.at,
            operation: last.operation.to_string(),
            event_id: last.event_id.as_ref().map(ToString::to_string),
        });
        Some(Self { asked_at: usage.at, tracked_from: usage.said.tracked_from, last_use })
    }
}

impl RotationDocument {
    fn new(registers: &Registers, facts: Option<&Facts>) -> Option<Self> {
        let said: Option<Rotation> = facts.and_then(|facts| facts.rotation.as_ref()).map(|known| known.said);
        let enabled = registers.automatic_rotation()?;
        Some(Self {
            enabled,
            period_days: said.and_then(|said| said.period_days),
            next: said.and_then(|said| said.next).filter(|_| enabled),
            last: registers.rotated(),
        })
    }
}

impl GrantsDocument {
    fn new(grants: &Stamped<Grants>) -> Self {
        let owned = |names: &[Box<str>]| names.iter().map(ToString::to_string).collect();
        let Stamped { at, said } = grants;
        Self {
            asked_at: *at,
            count: said.count,
            services: owned(&said.services),
            grantees: owned(&said.grantees),
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
            event_id: Some(evidence.rank().event_id.to_string()),
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

    fn in_words(&self) -> String {
        let Self { at, operation, .. } = self;
        let principal = self.principal.as_deref().unwrap_or("somebody");
        let error = self.error_code.as_deref().unwrap_or("no reason was given");
        format!("the last failed attempt was {operation} at {at} by {principal}: {error}")
    }
}

fn owned_pairs<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> BTreeMap<String, String> {
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
