//! A call becomes records, and enters the truth.

use std::sync::Arc;

use dormouse_model::{AccountId, EventTime, KeyArn, Kind};
use serde_json::Value;

use super::state::{Caller, KeyState, Origin, Remembered, State};
use super::truth::Evidence;
use crate::records::catalogue::{KeyClass, Row};
use crate::records::draft::{Draft, Resource, Style};
use crate::records::failure::{Failure, said_kind};
use crate::records::json::object_text;
use crate::records::parameters::{Parameters, Prose, material_id, metadata};
use crate::records::{Generated, Said};
use crate::uuid::Uuid;

const KMS: &str = "kms.amazonaws.com";

/// A call of a KMS operation.
pub(crate) struct Call<'a> {
    pub(crate) row: &'static Row,
    /// As it came over the wire, in KMS's own names.
    pub(crate) request: &'a Value,
    pub(crate) caller: &'a Caller,
    pub(crate) time: EventTime,
}

/// A call that succeeded.
pub(crate) struct Done {
    /// What KMS answers.
    pub(crate) answer: Value,
    /// The places of the keys that it concerned, each once: a ReEncrypt's source first.
    pub(crate) keys: Vec<usize>,
    /// The ARN of the alias that it concerned, if its operation is about aliases.
    pub(crate) alias: Option<String>,
}

/// A call that failed.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) failure: Failure,
    /// The places of the keys that it named, as far as they exist.
    pub(crate) keys: Vec<usize>,
}

pub(crate) type Outcome = Result<Done, Refused>;

/// The ids of a call that were rolled before it was logged.
#[derive(Clone, Copy)]
pub(crate) struct Ids {
    pub(crate) request: u128,
    pub(crate) event: u128,
    pub(crate) second_event: u128,
    pub(crate) shared: u128,
}

impl Ids {
    pub(crate) fn roll(random: &mut fastrand::Rng) -> Self {
        let mut next = || random.u128(..);
        Self { request: next(), event: next(), second_event: next(), shared: next() }
    }
}

/// A call of another service, which says nothing about keys.
pub(crate) struct OtherCall<'a> {
    pub(crate) source: &'static str,
    pub(crate) operation: &'static str,
    pub(crate) request: Value,
    pub(crate) caller: &'a Caller,
    pub(crate) time: EventTime,
    pub(crate) failure: Option<&'a Failure>,
}

/// One account's copy of a call.
struct OneCopy<'a> {
    identity: &'a str,
    event_id: u128,
    shared_id: Option<u128>,
    recipient: AccountId,
    parameters: Parameters,
}

impl State {
    /// Writes the call's records (two if another account owns a key of a call that succeeded) and enters the truth.
    pub(crate) fn log(&mut self, call: &Call<'_>, outcome: &Outcome, ids: Ids) {
        let is_recorded = self.is_recorded(call.row.name);
        let (keys, failure) = match outcome {
            Ok(done) => (&done.keys, None),
            Err(refused) => (&refused.keys, Some(&refused.failure)),
        };
        let caller = call.caller;
        let owners = keys.iter().map(|&key| self.keys[key].arn.account());
        let foreign_owner = owners.rev().find(|&owner| owner != caller.account && failure.is_none());
        let said = self.said(call, keys, failure);
        self.enter(call, &said, failure, ids, foreign_owner.is_some());
        if !is_recorded {
            return;
        }

        let parameters = self.parameters(call, outcome.as_ref().ok());
        let repeated = Parameters { request: parameters.request.clone(), ..Parameters::default() };
        let first = OneCopy {
            identity: &caller.principal.identity,
            event_id: ids.event,
            shared_id: foreign_owner.map(|_| ids.shared),
            recipient: caller.account,
            parameters,
        };
        let second = foreign_owner.map(|owner| OneCopy {
            identity: &caller.principal.foreign_identity,
            event_id: ids.second_event,
            shared_id: Some(ids.shared),
            recipient: owner,
            parameters: repeated,
        });
        let copies: Vec<Generated> = [Some(first), second]
            .into_iter()
            .flatten()
            .map(|copy| self.write(call, outcome, ids.request, copy).finish(said.clone()))
            .collect();
        copies.into_iter().for_each(|copy| self.send(copy));
    }

    /// Whether calls of the operation become records.
    fn is_recorded(&self, operation: &str) -> bool {
        self.recorded.as_ref().is_none_or(|recorded| recorded.iter().any(|other| other == operation))
    }

    fn write<'a>(
        &'a self,
        call: &'a Call<'_>,
        outcome: &'a Outcome,
        request_id: u128,
        copy: OneCopy<'a>,
    ) -> Draft<'a> {
        let principal = &call.caller.principal;
        Draft {
            identity: copy.identity,
            time: call.time,
            source: KMS,
            name: call.row.name,
            region: call.caller.region,
            source_ip: &principal.source_ip,
            user_agent: &principal.user_agent,
            failure: outcome.as_ref().err().map(|refused| &refused.failure),
            parameters: copy.parameters,
            request_id,
            event_id: copy.event_id,
            shared_id: copy.shared_id,
            read_only: call.row.read_only(),
            resources: self.resources(outcome, copy.event_id),
            event_type: "AwsApiCall",
            recipient: copy.recipient,
            service_details: None,
            direct: !principal.is_service,
            style: Style { rich: true, ..Style::default() },
        }
    }

    /// The keys that the record names, with the alias before or behind them.
    fn resources<'a>(&'a self, outcome: &'a Outcome, event_id: u128) -> Option<Vec<Resource<'a>>> {
        let (keys, alias) = match outcome {
            Ok(done) => (&done.keys, done.alias.as_deref()),
            Err(refused) => (&refused.keys, None),
        };
        let resource = |&key: &usize| {
            let KeyState { arn, arn_text, .. } = &self.keys[key];
            Resource { arn: arn_text, account: arn.account() }
        };
        let mut resources: Vec<Resource<'_>> = keys.iter().map(resource).collect();
        if let (Some(arn), Some(&key)) = (alias, keys.first()) {
            let place = if event_id.is_multiple_of(2) { 0 } else { resources.len() };
            resources.insert(place, Resource { arn, account: self.keys[key].arn.account() });
        }
        (!resources.is_empty()).then_some(resources)
    }

    /// What the call says about keys: about those it concerned or, if it failed before any was found, about the one
    /// that its request names.
    fn said(&self, call: &Call<'_>, keys: &[usize], failure: Option<&Failure>) -> Vec<Said> {
        let Some(kind) = said_kind(call.row, failure) else {
            return Vec::new();
        };
        let wanted = failure.is_some_and(Failure::shows_need);
        let mut named: Vec<KeyArn> = keys.iter().map(|&key| self.keys[key].arn).collect();
        if named.is_empty() {
            named.extend(named_key(call));
        }
        named.into_iter().map(|key| Said { key, kind, wanted }).collect()
    }

    /// Enters what the call says into the truth, and into KMS's own memory.
    fn enter(
        &mut self,
        call: &Call<'_>,
        said: &[Said],
        failure: Option<&Failure>,
        ids: Ids,
        has_second_copy: bool,
    ) {
        let count = said.len();
        for (position, said) in said.iter().enumerate() {
            match said.kind {
                Kind::Use => self.totals.uses += 1,
                Kind::Change => self.totals.changes += 1,
                Kind::Attempt if self.place_of(said.key).is_some() => self.totals.attempts += 1,
                Kind::Attempt => self.totals.phantom_attempts += 1,
            }
            let Some(place) = self.place_of(said.key) else {
                continue;
            };
            let event_ids = [Some(ids.event), has_second_copy.then_some(ids.second_event)];
            let copies: Vec<String> =
                event_ids.into_iter().flatten().map(|bits| Uuid::from_random(bits).to_string()).collect();
            let stable = call.caller.principal.stable_arn.as_deref();
            // The owner's copy knows no principal, so where there is one, the caller's copy is preferred.
            let preferred = if stable.is_some() { copies.first() } else { copies.iter().max() };
            let evidence = Evidence {
                time: call.time,
                operation: call.row.name,
                principal: stable.map(Arc::from),
                event_id: preferred.cloned().unwrap_or_default(),
                context: context_of(call, position, count),
                error_code: failure.map(|failure| failure.code),
                copies,
            };
            self.keys[place].tally.enter(said.kind, said.wanted, evidence);
            if said.kind == Kind::Use && call.row.name != "GetPublicKey" {
                // KMS names the event as the key's owner knows it.
                let is_own = said.key.account() == call.caller.account;
                let event_id = if has_second_copy && !is_own { ids.second_event } else { ids.event };
                let (time, operation, request_id) = (call.time, call.row.name, ids.request);
                self.remember(place, Remembered { time, operation, event_id, request_id });
            }
        }
    }

    /// Keeps at most some sixty uses within the lag: as many as it takes to be late by hardly more than the lag.
    fn remember(&mut self, place: usize, used: Remembered) {
        let grain = (self.lag_seconds / 60).max(1);
        let settled = used.time.minus(self.lag_seconds);
        let remembered = &mut self.keys[place].remembered;
        while remembered.len() > 1 && remembered[1].time <= settled {
            remembered.pop_front();
        }
        let same_grain = |other: &Remembered| {
            other.time > settled && other.time.seconds() / grain == used.time.seconds() / grain
        };
        if remembered.back().is_some_and(same_grain) {
            remembered.pop_back();
        }
        remembered.push_back(used);
    }

    /// A KMS event of its own accord: `DeleteKey` or `RotateKey`.
    pub(crate) fn log_service_event(&mut self, row: &'static Row, place: usize, time: EventTime, ids: Ids) {
        let key = &self.keys[place];
        let identity = object_text(|identity| {
            identity.shown("accountId", key.arn.account());
            identity.text("invokedBy", "AWS Internal");
        });
        let details = object_text(|details| {
            details.shown("keyId", key.arn.id());
            if row.name == "RotateKey" {
                details.text("rotationType", "AUTOMATIC");
                details.text("keyOrigin", "AWS_KMS");
                details.shown("previousKeyMaterialId", material_of(place, key.rotations.saturating_sub(1)));
                details.shown("currentKeyMaterialId", material_of(place, key.rotations));
            }
        });
        let draft = Draft {
            identity: &identity,
            time,
            source: KMS,
            name: row.name,
            region: key.arn.region(),
            source_ip: "AWS Internal",
            user_agent: "AWS Internal",
            failure: None,
            parameters: Parameters::default(),
            request_id: ids.request,
            event_id: ids.event,
            shared_id: None,
            read_only: false,
            resources: Some(vec![Resource { arn: &key.arn_text, account: key.arn.account() }]),
            event_type: "AwsServiceEvent",
            recipient: key.arn.account(),
            service_details: Some(details),
            direct: false,
            style: Style::default(),
        };
        let record = draft.finish(vec![Said { key: key.arn, kind: Kind::Change, wanted: false }]);
        self.keys[place].tally.changes += 1;
        self.totals.changes += 1;
        if self.is_recorded(row.name) {
            self.send(record);
        }
    }

    /// A call of another service.
    pub(crate) fn log_other(&mut self, other: &OtherCall<'_>, ids: Ids) {
        if !self.is_recorded(other.operation) {
            return;
        }
        let principal = &other.caller.principal;
        let draft = Draft {
            identity: &principal.identity,
            time: other.time,
            source: other.source,
            name: other.operation,
            region: other.caller.region,
            source_ip: &principal.source_ip,
            user_agent: &principal.user_agent,
            failure: other.failure,
            parameters: Parameters { request: logged_request(&other.request), ..Parameters::default() },
            request_id: ids.request,
            event_id: ids.event,
            shared_id: None,
            read_only: true,
            resources: None,
            event_type: "AwsApiCall",
            recipient: other.caller.account,
            service_details: None,
            direct: !principal.is_service,
            style: Style { rich: true, ..Style::default() },
        };
        let record = draft.finish(Vec::new());
        self.send(record);
    }

    fn send(&mut self, record: Generated) {
        self.totals.records += 1;
        self.totals.kms_records += u64::from(record.source == KMS);
        self.outbox.push_back(record);
    }

    fn parameters(&self, call: &Call<'_>, done: Option<&Done>) -> Parameters {
        let request = logged_request(call.request);
        let Some((done, &place)) = done.and_then(|done| Some((done, done.keys.first()?))) else {
            return Parameters { request, ..Parameters::default() };
        };
        Parameters {
            request,
            response: self.logged_answer(call, done, place),
            additional: self.additional(call, done),
        }
    }

    /// The answers that CloudTrail shows: those of changes.
    fn logged_answer(&self, call: &Call<'_>, done: &Done, place: usize) -> Option<String> {
        let key = &self.keys[place];
        if call.row.read_only() {
            return None;
        }
        Some(object_text(|response| match call.row.name {
            "CreateKey" => {
                let shown = made(key, call.time);
                response.raw("keyMetadata", shown);
            }
            "ReplicateKey" => {
                let replica = &done.answer["ReplicaKeyMetadata"]["Arn"];
                let replica = replica.as_str().and_then(|arn| self.place_of(arn.parse().ok()?));
                if let Some(replica) = replica {
                    response.raw("replicaKeyMetadata", made(&self.keys[replica], call.time));
                    response.text("replicaPolicy", &self.keys[replica].policy);
                }
            }
            "ScheduleKeyDeletion" => {
                response.text("keyId", &key.arn_text);
                response.text("keyState", key.state.name());
                if let Some(deletion) = key.deletion {
                    response.shown("deletionDate", Prose(deletion.date));
                    response.raw("pendingWindowInDays", deletion.window_days);
                } else if let Some(days) = key.window_after_replicas {
                    response.raw("pendingWindowInDays", days);
                }
            }
            "CreateGrant" => {
                response.text("grantId", done.answer["GrantId"].as_str().unwrap_or_default());
                response.text("keyId", &key.arn_text);
            }
            _ => response.text("keyId", &key.arn_text),
        }))
    }

    fn additional(&self, call: &Call<'_>, done: &Done) -> Option<String> {
        let shows_material = |&&place: &&usize| self.keys[place].class == KeyClass::Symmetric;
        let material = |place: &usize| material_of(*place, self.keys[*place].rotations);
        let mut materials = done.keys.iter().filter(shows_material).map(material);
        let first = materials.next()?;
        match call.row.name {
            "ReEncrypt" => Some(object_text(|additional| {
                additional.text("sourceKeyMaterialId", &first);
                additional
                    .text("destinationKeyMaterialId", &materials.next().unwrap_or_else(|| first.clone()));
            })),
            "Decrypt" | "Encrypt" | "GenerateDataKey" | "GenerateDataKeyWithoutPlaintext" => {
                Some(object_text(|additional| additional.text("keyMaterialId", &first)))
            }
            _ => None,
        }
    }
}

/// A new key's metadata as CloudTrail shows them.
fn made(key: &KeyState, time: EventTime) -> String {
    let first_state = if key.origin == Origin::External { "PendingImport" } else { "Enabled" };
    metadata(key.arn, &key.arn_text, key.class, &key.description, time, key.origin.name(), first_state)
}

/// The id of a key's material, another one after each rotation.
pub(crate) fn material_of(place: usize, rotations: u32) -> String {
    material_id(place * 64 + rotations as usize % 64)
}

/// The key that a request names clearly enough to be found without asking KMS.
fn named_key(call: &Call<'_>) -> Option<KeyArn> {
    let name = call.request["KeyId"].as_str()?;
    if name.contains("alias/") {
        return None;
    }
    name.parse().ok().or_else(|| KeyArn::from_parts(call.caller.region, call.caller.account, name).ok())
}

/// The encryption context that goes with the key at this position of the call.
fn context_of(call: &Call<'_>, position: usize, keys: usize) -> Vec<(String, String)> {
    let names: &[&str] = match (call.row.name, position) {
        ("ReEncrypt", 0) if keys > 1 => &["SourceEncryptionContext"],
        // From a key to itself: the source's counts, else the destination's.
        ("ReEncrypt", 0) => &["SourceEncryptionContext", "DestinationEncryptionContext"],
        ("ReEncrypt", _) => &["DestinationEncryptionContext"],
        _ => &["EncryptionContext"],
    };
    let pairs = names.iter().filter_map(|name| call.request[*name].as_object()).next();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    pairs.into_iter().flatten().map(|(name, value)| (name.clone(), text(value))).collect()
}

/// What CloudTrail never shows of a request.
const SECRET: &[&str] = &[
    "CiphertextBlob",
    "Plaintext",
    "Message",
    "Mac",
    "Signature",
    "PublicKey",
    "GrantTokens",
    "ImportToken",
    "EncryptedKeyMaterial",
];

/// The request as CloudTrail shows it: without secrets, and with names that begin in lower case.
fn logged_request(request: &Value) -> Option<String> {
    let logged = logged(request);
    let is_empty = logged.as_object().is_none_or(serde_json::Map::is_empty);
    (!is_empty).then(|| logged.to_string())
}

fn logged(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let shown = fields.iter().filter(|(name, _)| !SECRET.contains(&name.as_str()));
            let renamed = shown.map(|(name, value)| {
                // The names inside a context are the caller's.
                let value = if name.contains("EncryptionContext") { value.clone() } else { logged(value) };
                (lower_first(name), value)
            });
            Value::Object(renamed.collect())
        }
        Value::Array(values) => Value::Array(values.iter().map(logged).collect()),
        other => other.clone(),
    }
}

fn lower_first(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(letters).collect()
}
