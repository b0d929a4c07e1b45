//! Who does what when.
//!
//! Each key has an actor with chances of its own: it uses the key in the key's cadence and follows a script of changes.
//! Each account has a bystander who looks around and now and then tries what it may not. What is due next stands in one
//! heap, so that the order of events, and with it every record, does not depend on how far the organisation is advanced
//! at a time. An actor's calls go through KMS's own door: whether they succeed depends on the key's state then.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use dormouse_model::{EventTime, LifecycleState};
use serde_json::{Value, json};

use super::cadence::{HOUR, Habit, Millis, Rhythm, SECOND, event_time, millis};
use super::kms::{policy, refuse, seal};
use super::log::{Call, Ids, OtherCall, Refused};
use super::names::Data;
use super::state::{Caller, State};
use crate::records::catalogue::{self, KeyClass};
use crate::records::failure::Failure;

/// One line of a key's script.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// The key comes to be.
    Create,
    /// An operation by the key's administrator, with its request but for the key.
    Administer(&'static str, Value),
    /// A use outside the cadence.
    Use,
    /// KMS rotates the key.
    Rotate,
    /// Retires the oldest grant, if there is one.
    EndGrant,
}

/// What uses and alters one key.
pub(super) struct Actor {
    pub(super) random: fastrand::Rng,
    pub(super) habit: Habit,
    pub(super) data: Data,
    /// What the application is called.
    pub(super) name: String,
    /// Those who use the key; at least one.
    pub(super) users: Vec<Caller>,
    pub(super) administrator: Caller,
    /// In the order of time.
    pub(super) script: Vec<(EventTime, Step)>,
    /// Another busy key to which this one's ciphertexts are re-encrypted.
    pub(super) successor: Option<usize>,
    /// An alias by which users name the key.
    pub(super) alias: Option<String>,
    pub(super) is_silent: bool,
}

/// Someone in an account who looks around.
pub(super) struct Bystander {
    pub(super) random: fastrand::Rng,
    pub(super) member: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// The actor's line of its script.
    Step(usize, usize),
    /// KMS deletes the key if it still is to be deleted now.
    Delete(usize),
    /// The actor's next use.
    Use(usize),
    /// The bystander's next look.
    Look(usize),
    /// The key's imported material expires if it still is to expire now.
    Expire(usize),
}

pub(super) struct Director {
    pub(super) rhythm: Rhythm,
    pub(super) actors: Vec<Actor>,
    pub(super) bystanders: Vec<Bystander>,
    due: BinaryHeap<Reverse<(Millis, What)>>,
    /// Ids of what KMS does by itself.
    pub(super) random: fastrand::Rng,
}

impl Director {
    pub(super) fn new(rhythm: Rhythm, random: fastrand::Rng) -> Self {
        Self { rhythm, actors: Vec::new(), bystanders: Vec::new(), due: BinaryHeap::new(), random }
    }

    /// Puts everybody's first event on the heap.
    pub(super) fn begin(&mut self, state: &State, start: EventTime) {
        for place in 0..self.actors.len() {
            let born = if self.actors[place].is_to_be_created() { None } else { Some(millis(start)) };
            if let Some((time, _)) = self.actors[place].script.first() {
                self.due.push(Reverse((millis(*time), What::Step(place, 0))));
            }
            if let Some(now) = born {
                self.plan_use(place, now);
            }
        }
        // What KMS does by itself needs no actor.
        for place in 0..state.keys.len() {
            self.plan_deletion(state, place);
            self.plan_expiry(state, place);
        }
        for place in 0..self.bystanders.len() {
            self.plan_look(place, millis(start));
        }
    }

    fn plan_use(&mut self, place: usize, now: Millis) {
        let rhythm = self.rhythm;
        let actor = &mut self.actors[place];
        if let Some(next) = rhythm.next_use(&mut actor.random, &mut actor.habit, now) {
            self.due.push(Reverse((next, What::Use(place))));
        }
    }

    fn plan_look(&mut self, place: usize, now: Millis) {
        let next = self.rhythm.next_of(&mut self.bystanders[place].random, now, 3 * HOUR, HOUR / 60);
        self.due.push(Reverse((next, What::Look(place))));
    }

    /// KMS comes back when the key's waiting period ends.
    pub(super) fn plan_deletion(&mut self, state: &State, place: usize) {
        if let Some(deletion) = state.keys[place].deletion {
            self.due.push(Reverse((millis(deletion.date), What::Delete(place))));
        }
    }

    /// Everything up to `time` happens.
    pub(super) fn run(&mut self, state: &mut State, time: EventTime) {
        let end = millis(time) + SECOND;
        while let Some(&Reverse((at, what))) = self.due.peek().filter(|Reverse((at, _))| *at < end) {
            self.due.pop();
            state.now = event_time(at).max(state.now);
            match what {
                What::Use(place) => {
                    self.use_key(state, place, event_time(at));
                    self.plan_use(place, at);
                }
                What::Step(place, line) => self.follow_script(state, place, line, at),
                What::Delete(place) => self.delete(state, place, event_time(at)),
                What::Expire(place) => self.expire(state, place, event_time(at)),
                What::Look(place) => {
                    self.look(state, place, event_time(at));
                    self.plan_look(place, at);
                }
            }
        }
        state.now = state.now.max(time);
    }

    fn delete(&mut self, state: &mut State, place: usize, time: EventTime) {
        let is_due = state.keys[place].deletion.is_some_and(|deletion| deletion.date == time);
        if let Some(row) = catalogue::find("DeleteKey").filter(|_| is_due) {
            let ids = Ids::roll(&mut self.random);
            state.bury(place);
            state.log_service_event(row, place, time, ids);
            for primary in state.primaries_without_replicas(place, time) {
                self.plan_deletion(state, primary);
            }
        }
    }

    /// KMS comes back when the key's imported material expires.
    pub(super) fn plan_expiry(&mut self, state: &State, place: usize) {
        if let Some(valid_to) = state.keys[place].imported.and_then(|imported| imported.valid_to) {
            self.due.push(Reverse((millis(valid_to), What::Expire(place))));
        }
    }

    fn expire(&mut self, state: &mut State, place: usize, time: EventTime) {
        let is_due = state.keys[place].imported.is_some_and(|imported| imported.valid_to == Some(time));
        if let Some(row) = catalogue::find("DeleteExpiredKeyMaterial").filter(|_| is_due) {
            let ids = Ids::roll(&mut self.random);
            state.forget_material(place);
            state.log_service_event(row, place, time, ids);
        }
    }

    fn follow_script(&mut self, state: &mut State, place: usize, line: usize, at: Millis) {
        let Some((_, step)) = self.actors[place].script.get(line).cloned() else {
            return;
        };
        let time = event_time(at);
        match step {
            Step::Create => {
                self.create(state, place, time);
                self.plan_use(place, at);
            }
            Step::Administer(operation, request) => self.administer(state, place, operation, request, time),
            Step::Use => self.use_key(state, place, time),
            Step::Rotate => {
                let is_enabled = state.keys[place].state == LifecycleState::Enabled;
                if let Some(row) = catalogue::find("RotateKey").filter(|_| is_enabled) {
                    state.keys[place].rotations += 1;
                    let ids = Ids::roll(&mut self.actors[place].random);
                    state.log_service_event(row, place, time, ids);
                }
            }
            Step::EndGrant => {
                let oldest = state.keys[place].grants.values().min_by_key(|grant| grant.created);
                if let Some(id) = oldest.map(|grant| grant.id.clone()) {
                    self.administer(state, place, "RevokeGrant", json!({ "GrantId": id }), time);
                }
            }
        }
        if let Some((time, _)) = self.actors[place].script.get(line + 1) {
            self.due.push(Reverse((millis(*time), What::Step(place, line + 1))));
        }
    }

    fn create(&mut self, state: &mut State, place: usize, time: EventTime) {
        let Some(row) = catalogue::find("CreateKey") else {
            return;
        };
        state.keys[place].created = time;
        state.shelve(place);
        let key = &state.keys[place];
        let (spec, usage) = key.class.spec_and_usage();
        let tags: Vec<Value> =
            key.tags.iter().map(|(name, value)| json!({ "TagKey": name, "TagValue": value })).collect();
        let request = json!({
            "Policy": policy(key.arn.account(), &key.shared_with),
            "Description": key.description,
            "CustomerMasterKeySpec": spec,
            "KeySpec": spec,
            "KeyUsage": usage,
            "Origin": "AWS_KMS",
            "MultiRegion": key.arn.is_multi_region(),
            "BypassPolicyLockoutSafetyCheck": false,
            "Tags": tags,
        });
        let outcome = Ok(state.created(place));
        let actor = &mut self.actors[place];
        let ids = Ids::roll(&mut actor.random);
        state.log(&Call { row, request: &request, caller: &actor.administrator, time }, &outcome, ids);
    }

    fn administer(
        &mut self,
        state: &mut State,
        place: usize,
        operation: &'static str,
        mut request: Value,
        time: EventTime,
    ) {
        let Some(row) = catalogue::find(operation) else {
            return;
        };
        match operation {
            "CreateAlias" | "UpdateAlias" if request["TargetKeyId"].is_null() => {
                request["TargetKeyId"] = state.keys[place].arn.id().into();
            }
            "CreateAlias" | "UpdateAlias" | "DeleteAlias" => {}
            _ => request["KeyId"] = state.keys[place].arn.id().into(),
        }
        let actor = &mut self.actors[place];
        let call = Call { row, request: &request, caller: &actor.administrator, time };
        state.carry_out(&call, &mut actor.random);
        if operation == "ScheduleKeyDeletion" {
            self.plan_deletion(state, place);
        }
    }

    fn use_key(&mut self, state: &mut State, place: usize, time: EventTime) {
        let actor = &mut self.actors[place];
        if actor.is_silent || actor.users.is_empty() {
            return;
        }
        let random = &mut actor.random;
        let user = actor.users[random.usize(..actor.users.len())].clone();
        let successor = actor.successor.filter(|&other| state.keys[other].state == LifecycleState::Enabled);
        let reference = reference(state, place, actor.alias.as_deref(), &user, random);
        let context = context(actor.data, &actor.name, state, place, random);
        let (operation, request) = match state.keys[place].class {
            KeyClass::Symmetric => {
                symmetric_use(state, place, actor.data, successor, &reference, &context, random)
            }
            _ => other_use(state, place, &reference, random),
        };
        if let Some(row) = catalogue::find(operation) {
            state.carry_out(&Call { row, request: &request, caller: &user, time }, random);
        }
    }

    /// Something that uses no key: reads, a new tag, and seldom a call that may not be.
    fn look(&mut self, state: &mut State, place: usize, time: EventTime) {
        let Bystander { random, member } = &mut self.bystanders[place];
        let member = &state.members[*member];
        if !member.is_active() {
            return;
        }
        let region = state.regions[random.usize(..state.regions.len())];
        let operator = member.operators[random.usize(..member.operators.len())].clone();
        let caller = Caller { account: member.id, region, principal: operator };
        let outsider = Caller { principal: member.outsider.clone(), ..caller.clone() };
        let shelf = state.shelves.get(&(caller.account, region));
        let keys: Vec<usize> = shelf.map(|shelf| shelf.keys.values().copied().collect()).unwrap_or_default();
        let key = (!keys.is_empty()).then(|| keys[random.usize(..keys.len())]);
        let id = key.map(|key| state.keys[key].arn.id());
        let choice = random.u8(..100);
        let by_key =
            ["DescribeKey", "GetKeyRotationStatus", "ListResourceTags", "ListGrants", "GetKeyPolicy"];
        let (operation, request) = match (id, choice) {
            (_, ..20) => ("ListAliases", json!({ "Limit": 100 })),
            (_, 20..30) => ("ListKeys", json!({ "Limit": 1_000 })),
            (_, 30..40) => {
                let caller = &caller;
                let request = json!({ "RoleArn": format!("arn:aws:iam::{}:role/deploy", caller.account), "RoleSessionName": "pipeline" });
                let ids = Ids::roll(random);
                let source = "sts.amazonaws.com";
                state.log_other(
                    &OtherCall { source, operation: "AssumeRole", request, caller, time, failure: None },
                    ids,
                );
                return;
            }
            (Some(id), 40..85) => (by_key[random.usize(..by_key.len())], json!({ "KeyId": id })),
            (Some(id), 85..90) => {
                let tag = json!({ "TagKey": "last-review", "TagValue": time.to_string()[..10].to_owned() });
                ("TagResource", json!({ "KeyId": id, "Tags": [tag] }))
            }
            (Some(id), 90..94) => {
                let request =
                    json!({ "KeyId": id, "DryRun": true, "GranteePrincipal": caller.principal.arn });
                let failure = refuse(
                    "DryRunOperationException",
                    "The request would have succeeded, but the DryRun option is set.",
                );
                return log_refused(state, "CreateGrant", &request, &caller, time, failure.0, key, random);
            }
            (Some(_), _) => {
                let arn = key.map(|key| state.keys[key].arn_text.to_string()).unwrap_or_default();
                let request = json!({ "EncryptionAlgorithm": "SYMMETRIC_DEFAULT" });
                let failure = Failure::denied(random, &outsider.principal.arn, "Decrypt", &arn);
                return log_refused(state, "Decrypt", &request, &outsider, time, failure, key, random);
            }
            (None, _) => ("ListAliases", json!({})),
        };
        if let Some(row) = catalogue::find(operation) {
            state.carry_out(&Call { row, request: &request, caller: &caller, time }, random);
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "a call and how it failed")]
fn log_refused(
    state: &mut State,
    operation: &str,
    request: &Value,
    caller: &Caller,
    time: EventTime,
    failure: Failure,
    key: Option<usize>,
    random: &mut fastrand::Rng,
) {
    if let Some(row) = catalogue::find(operation) {
        let outcome = Err(Refused { failure, keys: key.into_iter().collect() });
        let ids = Ids::roll(random);
        state.log(&Call { row, request, caller, time }, &outcome, ids);
    }
}

impl Actor {
    fn is_to_be_created(&self) -> bool {
        matches!(self.script.first(), Some((_, Step::Create)))
    }
}

impl State {
    /// Carries a call out and logs it.
    pub(super) fn carry_out(&mut self, call: &Call<'_>, random: &mut fastrand::Rng) {
        let ids = Ids::roll(random);
        let outcome = self.perform(call, random);
        self.log(call, &outcome, ids);
    }
}

/// How a user names the key.
fn reference(
    state: &State,
    place: usize,
    alias: Option<&str>,
    user: &Caller,
    random: &mut fastrand::Rng,
) -> String {
    let key = &state.keys[place];
    let is_own = user.account == key.arn.account();
    let shelf = state.shelves.get(&(key.arn.account(), key.arn.region()));
    let alias = alias.filter(|alias| {
        shelf.and_then(|shelf| shelf.aliases.get(*alias)).is_some_and(|alias| alias.target == Some(place))
    });
    match (random.u8(..4), alias) {
        (0 | 1, Some(alias)) if is_own => alias.to_owned(),
        (2, _) if is_own => key.arn.id(),
        _ => key.arn_text.to_string(),
    }
}

/// What the key protects in this call.
fn context(data: Data, name: &str, state: &State, place: usize, random: &mut fastrand::Rng) -> Value {
    let arn = state.keys[place].arn;
    let (region, account) = (arn.region().name(), arn.account());
    let thing = random.u32(1..8);
    match data {
        Data::Volume => {
            json!({ "aws:ebs:id": format!("vol-{:017x}", place as u64 * 4_096 + u64::from(thing)) })
        }
        Data::Object => {
            json!({ "aws:s3:arn": format!("arn:aws:s3:::{name}-{account}/2026/{thing:02}.parquet") })
        }
        Data::Secret => json!({
            "SecretARN": format!("arn:aws:secretsmanager:{region}:{account}:secret:{name}/{thing}-Dm0uSe"),
            "SecretVersionId": format!("00000000-0000-4000-8000-{:012x}", place * 8 + thing as usize),
        }),
        Data::Parameter => {
            json!({ "PARAMETER_ARN": format!("arn:aws:ssm:{region}:{account}:parameter/{name}/{thing}") })
        }
        Data::Table => json!({
            "aws:dynamodb:tableName": format!("{name}-{thing}"),
            "aws:dynamodb:subscriberId": account.to_string(),
        }),
        Data::Logs => {
            json!({ "aws:logs:arn": format!("arn:aws:logs:{region}:{account}:log-group:/{name}/{thing}:*") })
        }
        Data::Database => {
            json!({ "aws:rds:db-id": format!("db-DORMOUSE{:016X}", place * 8 + thing as usize) })
        }
        Data::Function => {
            json!({ "aws:lambda:FunctionArn": format!("arn:aws:lambda:{region}:{account}:function:{name}-{thing}") })
        }
        Data::Own => json!({ "application": name, "tenant": format!("tenant-{thing}") }),
    }
}

fn symmetric_use(
    state: &State,
    place: usize,
    data: Data,
    successor: Option<usize>,
    reference: &str,
    context: &Value,
    random: &mut fastrand::Rng,
) -> (&'static str, Value) {
    let arn = &state.keys[place].arn_text;
    let cipher = || seal(arn, context, "");
    match random.u8(..100) {
        ..64 => {
            let mut request = json!({
                "CiphertextBlob": cipher(),
                "EncryptionContext": context,
                "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
            });
            if random.u8(..4) == 0 {
                request["KeyId"] = reference.into();
            }
            ("Decrypt", request)
        }
        64..92 => {
            let operation = match data {
                Data::Volume | Data::Database => "GenerateDataKeyWithoutPlaintext",
                _ => "GenerateDataKey",
            };
            (operation, json!({ "KeyId": reference, "EncryptionContext": context, "KeySpec": "AES_256" }))
        }
        92..98 => {
            let request = json!({
                "KeyId": reference,
                "Plaintext": "",
                "EncryptionContext": context,
                "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
            });
            ("Encrypt", request)
        }
        _ => {
            let destination = &state.keys[successor.unwrap_or(place)].arn_text;
            let request = json!({
                "CiphertextBlob": cipher(),
                "SourceEncryptionContext": context,
                "DestinationKeyId": &**destination,
                "DestinationEncryptionContext": context,
                "SourceEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
                "DestinationEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
            });
            ("ReEncrypt", request)
        }
    }
}

fn other_use(
    state: &State,
    place: usize,
    reference: &str,
    random: &mut fastrand::Rng,
) -> (&'static str, Value) {
    let arn = &state.keys[place].arn_text;
    let mark = state.mark(place, "");
    match (state.keys[place].class, random.u8(..8)) {
        (KeyClass::Mac, ..4) => {
            ("GenerateMac", json!({ "KeyId": reference, "Message": "", "MacAlgorithm": "HMAC_SHA_256" }))
        }
        (KeyClass::Mac, _) => {
            let request =
                json!({ "KeyId": reference, "Message": "", "Mac": mark, "MacAlgorithm": "HMAC_SHA_256" });
            ("VerifyMac", request)
        }
        (_, 7) => ("GetPublicKey", json!({ "KeyId": reference })),
        (KeyClass::Signing, ..5) => (
            "Sign",
            json!({ "KeyId": reference, "Message": "", "MessageType": "DIGEST", "SigningAlgorithm": "ECDSA_SHA_256" }),
        ),
        (KeyClass::Signing, _) => (
            "Verify",
            json!({
                "KeyId": reference, "Message": "", "Signature": mark, "MessageType": "DIGEST",
                "SigningAlgorithm": "ECDSA_SHA_256",
            }),
        ),
        (_, ..3) => (
            "Encrypt",
            json!({ "KeyId": reference, "Plaintext": "", "EncryptionAlgorithm": "RSAES_OAEP_SHA_256" }),
        ),
        _ => (
            "Decrypt",
            json!({
                "KeyId": reference, "CiphertextBlob": seal(arn, &Value::Null, ""),
                "EncryptionAlgorithm": "RSAES_OAEP_SHA_256",
            }),
        ),
    }
}
