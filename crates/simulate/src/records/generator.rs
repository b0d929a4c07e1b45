//! Makes one record after another.

use std::collections::VecDeque;

use dormouse_model::{AccountId, EventTime, KeyArn, Kind, LifecycleState, Region};

use super::catalogue::{self, KeyClass, ROWS, Row, Sort, UNKNOWN};
use super::draft::{Draft, Resource, Style};
use super::failure::{self, Failure};
use super::json::object_text;
use super::parameters::{Asked, Parameters, material_id, parameters};
use super::principals::Principal;
use super::world::{HOSTILE, Key, OPERATORS, World};
use super::{Generated, Mix, Said, Shape};
use crate::uuid::Uuid;

const KMS: &str = "kms.amazonaws.com";
/// Where nothing can be silenced or made any more, this happens instead.
const HARMLESS_CHANGE: &str = "UpdateKeyDescription";

/// An endless, seeded sequence of records.
///
/// ```
/// use dormouse_simulate::records::{Generator, Mix, Shape};
///
/// let mut generator = Generator::new(7, Shape::default(), Mix::busy());
/// let first = generator.next_record();
/// assert!(first.record.starts_with("{\"eventVersion\""));
/// ```
pub struct Generator {
    random: fastrand::Rng,
    shape: Shape,
    mix: Mix,
    world: World,
    /// The operations of the mix with the sums of their weights.
    operations: Vec<(u64, &'static Row)>,
    /// Second copies, to come next.
    waiting: VecDeque<Generated>,
    /// How many events there were, second copies not counted.
    events: u64,
}

/// A call that is being made up.
struct Call<'a> {
    row: &'static Row,
    key: usize,
    /// ReEncrypt.
    destination: Option<usize>,
    /// The account and the principal who call.
    caller: (usize, usize),
    /// Alias operations and operations that concern another Region.
    other: &'a str,
    failure: Option<Failure>,
}

/// The peculiarities of a record.
#[derive(Clone, Copy)]
struct Looks {
    style: Style,
    /// `resources` is missing, as only uses have it, which name their keys elsewhere.
    bare: bool,
    /// `awsRegion`, if not the key's.
    region: Option<Region>,
}

impl Generator {
    /// A generator for this organisation. The same arguments give the same records.
    pub fn new(seed: u64, shape: Shape, mix: Mix) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let world = World::new(&mut random, &shape);
        let mut sum = 0;
        let mut operations = Vec::new();
        for &(name, weight) in &mix.operations {
            if let Some(row) = catalogue::find(name)
                && weight > 0
            {
                sum += u64::from(weight);
                operations.push((sum, row));
            }
        }
        if operations.is_empty() {
            operations.push((1, &ROWS[0]));
        }
        Self { random, shape, mix, world, operations, waiting: VecDeque::new(), events: 0 }
    }

    /// The keys there are, in the states that the records so far left them in.
    pub fn keys(&self) -> &[Key] {
        &self.world.keys
    }

    /// The accounts there are.
    pub fn account_ids(&self) -> Vec<AccountId> {
        self.shape.account_ids()
    }

    /// The next record, at the time that the shape gives it.
    pub fn next_record(&mut self) -> Generated {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole seconds, saturating"
        )]
        let passed = (self.events as f64 / self.shape.events_per_second.max(1e-9)) as u32;
        self.next_record_at(self.shape.start.plus(passed))
    }

    /// The next record, at this time; the second copy of the call before it keeps the time of the call.
    pub fn next_record_at(&mut self, time: EventTime) -> Generated {
        if let Some(copy) = self.waiting.pop_front() {
            return copy;
        }
        self.events += 1;
        if self.happens(self.mix.other_services) {
            return self.other_service(time);
        }
        if self.happens(self.mix.unknown_operations) {
            return self.unknown_operation(time);
        }
        if self.happens(self.mix.network_activity) {
            return self.network_activity(time);
        }
        let row = self.choose_operation();
        match row.sort {
            Sort::Use(class) => self.use_of_one(row, class, time),
            Sort::ReEncrypt => self.re_encrypt(row, time),
            Sort::Change => self.change(row, time),
            Sort::ServiceEvent => self.service_event(row, time),
            Sort::Read => self.read(row, time),
            Sort::Keyless => {
                let failing = self.happens(self.mix.failed);
                self.keyless(row, failing, time)
            }
        }
    }

    /// The next so many records.
    pub fn take_records(&mut self, count: usize) -> Vec<Generated> {
        (0..count).map(|_| self.next_record()).collect()
    }

    fn happens(&mut self, chance: f64) -> bool {
        chance > 0.0 && self.random.f64() < chance
    }

    fn choose_operation(&mut self) -> &'static Row {
        let total = self.operations.last().map_or(1, |&(sum, _)| sum);
        let point = self.random.u64(..total);
        let place = self.operations.partition_point(|&(sum, _)| sum <= point);
        self.operations[place.min(self.operations.len() - 1)].1
    }

    fn choose_principal(&mut self, account: usize) -> usize {
        self.random.usize(..self.world.accounts[account].principals.len())
    }

    /// Somebody who administers keys: one of the roles that stand first.
    fn choose_operator(&mut self, account: usize) -> usize {
        self.random.usize(..OPERATORS.min(self.world.accounts[account].principals.len()))
    }

    /// The account that calls: the owner, or now and then another.
    fn choose_caller(&mut self, key: usize) -> (usize, usize) {
        let owner = self.world.account_of(key);
        let accounts = self.world.accounts.len();
        let foreign =
            accounts > 1 && !self.world.keys[key].aws_managed && self.happens(self.mix.cross_account);
        let account = if foreign { (owner + self.random.usize(1..accounts)) % accounts } else { owner };
        (account, self.choose_principal(account))
    }

    fn choose_looks(&mut self, row: &Row, key: usize) -> Looks {
        let old = self.happens(self.mix.old);
        let bare = old && row.is_use() && self.random.u8(..3) == 0;
        let internal_account = old && self.random.u8(..4) == 0;
        let misplaced = !bare && self.happens(self.mix.misplaced);
        let home = self.world.keys[key].arn.region();
        let region = self.world.regions.iter().copied().find(|&region| misplaced && region != home);
        let style = Style { old, internal_account, rich: self.shape.rich, pad_to: self.shape.pad_to };
        Looks { style, bare, region }
    }

    fn use_of_one(&mut self, row: &'static Row, usual: KeyClass, time: EventTime) -> Generated {
        if self.happens(self.mix.phantom) {
            return self.phantom(row, time);
        }
        let class = match row.name {
            "GetPublicKey" => {
                let classes =
                    [KeyClass::Asymmetric, KeyClass::Signing, KeyClass::Agreement, KeyClass::Encapsulation];
                classes[self.random.usize(..classes.len())]
            }
            "Encrypt" | "Decrypt" if self.random.u8(..16) == 0 => KeyClass::Asymmetric,
            _ => usual,
        };
        let failing = self.happens(self.mix.failed);
        let key = self.aim(failing).unwrap_or_else(|| self.world.choose(&mut self.random, class));
        let caller = self.choose_caller(key);
        let failure = self.fail(row, key, caller, failing);
        self.record_call(&Call { row, key, destination: None, caller, other: "", failure }, time)
    }

    /// A key that is out of use, for one in three of the calls that are to fail.
    fn aim(&mut self, failing: bool) -> Option<usize> {
        let out_of_use = self.world.disabled.len() + self.world.pending.len();
        if !failing || out_of_use == 0 || self.random.u8(..3) > 0 {
            return None;
        }
        let place = self.random.usize(..out_of_use);
        self.world.disabled.iter().chain(&self.world.pending).nth(place).copied()
    }

    /// Why the call fails, if it does: because of the key's state, or because it is to.
    fn fail(&mut self, row: &Row, key: usize, caller: (usize, usize), failing: bool) -> Option<Failure> {
        let Self { random, world, .. } = self;
        let Key { arn_text, state, class, .. } = &world.keys[key];
        let caller = &world.accounts[caller.0].principals[caller.1].arn;
        failure::by_state(random, *state, row, arn_text)
            .or_else(|| failing.then(|| failure::by_chance(random, row, Some(*class), caller, arn_text)))
    }

    fn re_encrypt(&mut self, row: &'static Row, time: EventTime) -> Generated {
        let failing = self.happens(self.mix.failed);
        let key =
            self.aim(failing).unwrap_or_else(|| self.world.choose(&mut self.random, KeyClass::Symmetric));
        let owner = self.world.account_of(key);
        let caller = (owner, self.choose_principal(owner));
        let crosses = self.happens(self.mix.cross_account);
        let same_key = self.random.u8(..8) == 0;
        let neighbour = self.world.neighbour(&mut self.random, key, !crosses);
        let destination = neighbour.filter(|_| !same_key).unwrap_or(key);
        let failure = self.fail(row, key, caller, failing);
        self.record_call(&Call { row, key, destination: Some(destination), caller, other: "", failure }, time)
    }

    /// Writes a call on a key: one record, and a second one that waits if another account owns a key.
    fn record_call(&mut self, call: &Call<'_>, time: EventTime) -> Generated {
        let Call { row, key, destination, caller, failure, .. } = call;
        let mut looks = self.choose_looks(row, *key);
        let hidden = looks.bare || (is_denied(failure.as_ref()) && self.random.bool());
        if hidden {
            // Nothing but the request names the key then, and it is read in the Region of the record.
            looks.region = None;
        }
        let key_id = self.reference(row, *key, caller.0, hidden);
        let destination_id = destination.map(|key| self.world.keys[key].arn_text.to_string());
        let asked = Asked {
            operation: row.name,
            key_id: key_id.as_deref(),
            key: Some(&self.world.keys[*key]),
            place: *key,
            destination: destination_id.as_deref(),
            other: call.other,
            dry_run: failure.as_ref().is_some_and(Failure::is_dry_run),
            hostile: self.shape.hostile,
            time,
        };
        let parameters = parameters(&mut self.random, &asked, failure.is_none());
        let keys: Vec<usize> =
            [Some(*key), destination.filter(|other| other != key)].into_iter().flatten().collect();
        let foreign_owner = keys
            .iter()
            .map(|&key| self.world.account_of(key))
            .find(|&owner| owner != caller.0 && failure.is_none());
        let Some(owner) = foreign_owner else {
            let ids = self.random_ids();
            let copy = OneCopy { call, keys: &keys, hidden, recipient: caller.0, shared: None, looks };
            return self.copy(&copy, parameters, time, ids);
        };

        // The owner's copy of a ReEncrypt, and the caller's, may name only their own account's key.
        let (request_id, event_id) = self.random_ids();
        let shared = Some(self.random.u128(..));
        let only_own = self.random.bool();
        let own = |account: usize| {
            keys.iter().copied().filter(|&key| self.world.account_of(key) == account).collect()
        };
        let partial = keys.len() > 1;
        let callers_keys: Vec<usize> = if partial && only_own { own(caller.0) } else { keys.clone() };
        let owners_keys: Vec<usize> = if partial { own(owner) } else { keys.clone() };
        let repeated = Parameters { request: parameters.request.clone(), ..Parameters::default() };
        let second = OneCopy { call, keys: &owners_keys, hidden: false, recipient: owner, shared, looks };
        let ids = (request_id, self.random.u128(..));
        let second = self.copy(&second, repeated, time, ids);
        self.waiting.push_back(second);
        let first = OneCopy { call, keys: &callers_keys, hidden: false, recipient: caller.0, shared, looks };
        self.copy(&first, parameters, time, (request_id, event_id))
    }

    fn random_ids(&mut self) -> (u128, u128) {
        (self.random.u128(..), self.random.u128(..))
    }

    /// Writes one account's copy of a call.
    fn copy(
        &self,
        copy: &OneCopy<'_>,
        parameters: Parameters,
        time: EventTime,
        ids: (u128, u128),
    ) -> Generated {
        let &OneCopy { call, keys, hidden, recipient, shared, looks } = copy;
        let caller = &self.world.accounts[call.caller.0].principals[call.caller.1];
        let identity = if recipient == call.caller.0 { &caller.identity } else { &caller.foreign_identity };
        let mut resources: Vec<Resource<'_>> = keys.iter().map(|&key| self.resource(key)).collect();
        if call.destination == Some(call.key) {
            // Source and destination are listed, even if they are the same.
            resources.extend(keys.iter().map(|&key| self.resource(key)));
        }
        let alias_arn = self.alias_arn(call);
        if let Some(arn) = &alias_arn {
            let place = if ids.1.is_multiple_of(2) { 0 } else { resources.len() };
            resources.insert(place, Resource { arn, account: self.world.keys[call.key].arn.account() });
        }
        let draft = Draft {
            parameters,
            failure: call.failure.as_ref(),
            shared_id: shared,
            resources: (!hidden).then_some(resources),
            region: looks.region.unwrap_or(self.world.keys[call.key].arn.region()),
            style: looks.style,
            ..self.draft(call.row, caller, identity, recipient, time, ids)
        };
        draft.finish(self.says(call, keys))
    }

    /// A record without anything about keys in it.
    fn draft<'a>(
        &'a self,
        row: &Row,
        caller: &'a Principal,
        identity: &'a str,
        recipient: usize,
        time: EventTime,
        (request_id, event_id): (u128, u128),
    ) -> Draft<'a> {
        Draft {
            identity,
            time,
            source: KMS,
            name: row.name,
            region: self.world.regions[0],
            source_ip: &caller.source_ip,
            user_agent: &caller.user_agent,
            failure: None,
            parameters: Parameters::default(),
            request_id,
            event_id,
            shared_id: None,
            read_only: row.read_only(),
            resources: None,
            event_type: "AwsApiCall",
            recipient: self.world.accounts[recipient].id,
            service_details: None,
            direct: !caller.is_service,
            style: Style { rich: self.shape.rich, pad_to: self.shape.pad_to, ..Style::default() },
        }
    }

    fn resource(&self, key: usize) -> Resource<'_> {
        let key = &self.world.keys[key];
        Resource { arn: &key.arn_text, account: key.arn.account() }
    }

    fn alias_arn(&self, call: &Call<'_>) -> Option<String> {
        let arn = self.world.keys[call.key].arn;
        let names_alias = matches!(call.row.name, "CreateAlias" | "UpdateAlias" | "DeleteAlias");
        names_alias.then(|| alias_arn(arn, call.other))
    }

    fn says(&self, call: &Call<'_>, keys: &[usize]) -> Vec<Said> {
        let failure = call.failure.as_ref();
        let Some(kind) = failure::said_kind(call.row, failure) else {
            return Vec::new();
        };
        let wanted = failure.is_some_and(Failure::shows_need);
        keys.iter().map(|&key| Said { key: self.world.keys[key].arn, kind, wanted }).collect()
    }

    /// How the caller names the key. If the record will not, then clearly enough to find it.
    fn reference(&mut self, row: &Row, key: usize, caller: usize, hidden: bool) -> Option<String> {
        let foreign = self.world.account_of(key) != caller;
        let key = &self.world.keys[key];
        if hidden || foreign {
            return Some(key.arn_text.to_string());
        }
        if matches!(row.name, "Decrypt" | "ReEncrypt") && self.random.u8(..4) > 0 {
            return None;
        }
        let takes_alias = row.is_use() || matches!(row.name, "DescribeKey");
        let alias = key.aliases.first().filter(|_| takes_alias);
        Some(match (self.random.u8(..4), alias) {
            (0, _) => key.arn_text.to_string(),
            (1, Some(alias)) => alias.to_string(),
            (2, Some(alias)) => alias_arn(key.arn, alias),
            _ => key.arn.id(),
        })
    }

    /// A call on a key that does not exist, in the caller's account or in one that nobody knows.
    fn phantom(&mut self, row: &'static Row, time: EventTime) -> Generated {
        let account = self.random.usize(..self.world.accounts.len());
        let principal = self.choose_principal(account);
        let (region, ids) =
            (self.world.regions[self.random.usize(..self.world.regions.len())], self.random_ids());
        let elsewhere = self.random.u8(..3) == 0;
        let owner = AccountId::from_number(999_988_887_777)
            .filter(|_| elsewhere)
            .unwrap_or(self.world.accounts[account].id);
        let key = KeyArn::from_parts(region, owner, &Uuid::from_random(self.random.u128(..)).to_string());
        let Ok(key) = key else {
            return self.other_service(time);
        };
        let arn = key.to_string();
        let caller = self.world.accounts[account].principals[principal].arn.clone();
        let failure = if elsewhere || self.random.bool() {
            Failure::denied(&mut self.random, &caller, row.name, &arn)
        } else {
            Failure::not_found(&arn)
        };
        let asked = self.asked_without_key(row, Some(&arn), time);
        let parameters = parameters(&mut self.random, &asked, false);
        let caller = &self.world.accounts[account].principals[principal];
        let shown = ids.0.is_multiple_of(2);
        let draft = Draft {
            region,
            parameters,
            failure: Some(&failure),
            resources: shown.then(|| vec![Resource { arn: &arn, account: owner }]),
            ..self.draft(row, caller, &caller.identity, account, time, ids)
        };
        draft.finish(vec![Said { key, kind: Kind::Attempt, wanted: false }])
    }

    fn asked_without_key<'a>(&self, row: &Row, key_id: Option<&'a str>, time: EventTime) -> Asked<'a> {
        Asked {
            operation: row.name,
            key_id,
            key: None,
            place: 1,
            destination: None,
            other: "alias/none",
            dry_run: false,
            hostile: self.shape.hostile,
            time,
        }
    }

    fn read(&mut self, row: &'static Row, time: EventTime) -> Generated {
        let class = KeyClass::ALL[self.random.usize(..KeyClass::ALL.len())];
        let key = self.world.choose(&mut self.random, class);
        let owner = self.world.account_of(key);
        let caller = (owner, self.choose_principal(owner));
        let failing = self.happens(self.mix.failed);
        let failure = self.fail(row, key, caller, failing);
        self.record_call(&Call { row, key, destination: None, caller, other: "", failure }, time)
    }

    fn keyless(&mut self, row: &'static Row, failing: bool, time: EventTime) -> Generated {
        let account = self.random.usize(..self.world.accounts.len());
        let principal = self.choose_operator(account);
        let (region, ids) =
            (self.world.regions[self.random.usize(..self.world.regions.len())], self.random_ids());
        let asked = self.asked_without_key(row, None, time);
        let parameters = parameters(&mut self.random, &asked, false);
        let caller = self.world.accounts[account].principals[principal].arn.clone();
        let failure = failing.then(|| Failure::denied(&mut self.random, &caller, row.name, "*"));
        let caller = &self.world.accounts[account].principals[principal];
        let draft = Draft {
            region,
            parameters,
            failure: failure.as_ref(),
            resources: (ids.0.is_multiple_of(2)).then(Vec::new),
            ..self.draft(row, caller, &caller.identity, account, time, ids)
        };
        draft.finish(Vec::new())
    }

    fn unknown_operation(&mut self, time: EventTime) -> Generated {
        let key = self.world.choose(&mut self.random, KeyClass::Symmetric);
        let owner = self.world.account_of(key);
        let principal = self.choose_principal(owner);
        let name = UNKNOWN[self.random.usize(..UNKNOWN.len())];
        let ids = self.random_ids();
        let row = Row { name, sort: if name.starts_with("Get") { Sort::Read } else { Sort::Keyless } };
        let caller = &self.world.accounts[owner].principals[principal];
        let request = object_text(|request| request.shown("keyId", self.world.keys[key].arn.id()));
        let draft = Draft {
            region: self.world.keys[key].arn.region(),
            parameters: Parameters { request: Some(request), ..Parameters::default() },
            resources: Some(vec![self.resource(key)]),
            ..self.draft(&row, caller, &caller.identity, owner, time, ids)
        };
        draft.finish(Vec::new())
    }

    /// What a VPC endpoint saw, which is no call that KMS carried out.
    fn network_activity(&mut self, time: EventTime) -> Generated {
        let key = self.world.choose(&mut self.random, KeyClass::Symmetric);
        let owner = self.world.account_of(key);
        let principal = self.choose_principal(owner);
        let (ids, shared) = (self.random_ids(), self.random.u128(..));
        let denied = Failure {
            code: "VpceAccessDenied",
            message: "The request was denied due to a VPC endpoint policy".into(),
        };
        let caller = &self.world.accounts[owner].principals[principal];
        let Some(row) = catalogue::find("Decrypt") else {
            return self.other_service(time);
        };
        let draft = Draft {
            region: self.world.keys[key].arn.region(),
            source_ip: "10.0.4.18",
            failure: (ids.0.is_multiple_of(2)).then_some(&denied),
            shared_id: Some(shared),
            resources: Some(vec![self.resource(key)]),
            event_type: "AwsVpceEvent",
            ..self.draft(row, caller, &caller.identity, owner, time, ids)
        };
        draft.finish(Vec::new())
    }

    /// What KMS does of its own accord.
    fn service_event(&mut self, row: &'static Row, time: EventTime) -> Generated {
        let Some(row) = self.feasible(row) else {
            return self.network_activity(time);
        };
        if row.sort != Sort::ServiceEvent {
            return self.change(row, time);
        }
        let Self { random, world, .. } = self;
        let key = match row.name {
            "DeleteKey" => world.pending[random.usize(..world.pending.len())],
            "SynchronizeMultiRegionKey" => world.choose_customer(random, |key| {
                key.arn.is_multi_region() && key.state == LifecycleState::Enabled
            }),
            _ => world.choose_customer(random, |key| {
                key.class == KeyClass::Symmetric && key.state == LifecycleState::Enabled
            }),
        };
        if row.name == "DeleteKey" {
            world.set_state(key, LifecycleState::Deleted);
        }
        let ids = self.random_ids();
        let owner = self.world.account_of(key);
        let identity = object_text(|identity| {
            identity.shown("accountId", self.world.accounts[owner].id);
            identity.text("invokedBy", "AWS Internal");
        });
        let details = object_text(|details| {
            details.shown("keyId", self.world.keys[key].arn.id());
            if row.name == "RotateKey" {
                details.text("rotationType", "AUTOMATIC");
                details.text("keyOrigin", "AWS_KMS");
                details.shown("previousKeyMaterialId", material_id(key));
                details.shown("currentKeyMaterialId", material_id(key + 1));
            }
        });
        let principal = &self.world.accounts[owner].principals[0];
        let draft = Draft {
            region: self.world.keys[key].arn.region(),
            source_ip: "AWS Internal",
            user_agent: "AWS Internal",
            resources: Some(vec![self.resource(key)]),
            event_type: "AwsServiceEvent",
            service_details: Some(details),
            direct: false,
            ..self.draft(row, principal, &identity, owner, time, ids)
        };
        let said = Said { key: self.world.keys[key].arn, kind: Kind::Change, wanted: false };
        draft.finish(vec![said])
    }

    /// The change itself or, where the organisation has nothing to do it to, one that leads there.
    fn feasible(&self, row: &'static Row) -> Option<&'static Row> {
        let world = &self.world;
        let otherwise = if world.may_silence() { "ScheduleKeyDeletion" } else { HARMLESS_CHANGE };
        let has_alias = |key: &Key| !key.aws_managed && !key.aliases.is_empty();
        let instead = match row.name {
            "CancelKeyDeletion" if world.pending.is_empty() => otherwise,
            "DeleteKey" if world.pending.is_empty() => otherwise,
            "DeleteKey" if !world.may_delete() => "CancelKeyDeletion",
            "DisableKey" if !world.may_silence() => "EnableKey",
            "ScheduleKeyDeletion" if !world.may_silence() && !world.pending.is_empty() => "CancelKeyDeletion",
            "ScheduleKeyDeletion" if !world.may_silence() => "EnableKey",
            "CreateKey" if !world.may_grow() => HARMLESS_CHANGE,
            "UpdateAlias" | "DeleteAlias" if !world.keys.iter().any(has_alias) => "CreateAlias",
            "UpdatePrimaryRegion" if world.replicas.is_empty() => HARMLESS_CHANGE,
            name => name,
        };
        catalogue::find(instead)
    }

    fn change(&mut self, row: &'static Row, time: EventTime) -> Generated {
        let Some(row) = self.feasible(row) else {
            return self.network_activity(time);
        };
        let failing = self.happens(self.mix.failed);
        if row.name == "CreateKey" {
            return if failing { self.keyless(row, true, time) } else { self.create_key(row, time) };
        }
        if row.name == "UpdatePrimaryRegion" && !failing {
            return self.update_primary_region(row, time);
        }
        let key = self.choose_for_change(row, failing);
        let owner = self.world.account_of(key);
        let caller = (owner, self.choose_operator(owner));
        let failure = self.fail(row, key, caller, failing);
        let (key, other) = self.prepare(row, key, failure.is_none(), time);
        let generated =
            self.record_call(&Call { row, key, destination: None, caller, other: &other, failure }, time);
        if generated.error_code.is_none() {
            self.apply(row, key);
        }
        generated
    }

    fn choose_for_change(&mut self, row: &Row, failing: bool) -> usize {
        let Self { random, world, .. } = self;
        if failing && !world.pending.is_empty() && random.bool() {
            return world.pending[random.usize(..world.pending.len())];
        }
        let enabled = |key: &Key| key.state == LifecycleState::Enabled;
        match row.name {
            "EnableKey" if !world.disabled.is_empty() => world.disabled[random.usize(..world.disabled.len())],
            "CancelKeyDeletion" if !world.pending.is_empty() => {
                world.pending[random.usize(..world.pending.len())]
            }
            "UpdateAlias" | "DeleteAlias" => {
                let has_alias = |key: &Key| enabled(key) && !key.aliases.is_empty();
                world.choose_customer(random, has_alias)
            }
            "ReplicateKey" | "UpdatePrimaryRegion" => {
                world.choose_customer(random, |key| enabled(key) && key.arn.is_multi_region())
            }
            name if name.contains("Rotat") || name.contains("Material") => {
                world.choose_customer(random, |key| enabled(key) && key.class == KeyClass::Symmetric)
            }
            _ => world.choose_customer(random, enabled),
        }
    }

    /// What else the change names (alias or Region), and the key it ends on. Moves aliases and makes replicas.
    fn prepare(&mut self, row: &Row, key: usize, succeeds: bool, time: EventTime) -> (usize, String) {
        let world = &mut self.world;
        match row.name {
            "CreateAlias" => {
                let alias = world.new_alias();
                if succeeds {
                    world.keys[key].aliases.push(alias.as_str().into());
                }
                (key, alias)
            }
            "UpdateAlias" | "DeleteAlias" => {
                let Some(alias) = world.keys[key].aliases.last().cloned() else {
                    return (key, "alias/none".to_owned());
                };
                let target =
                    world.neighbour(&mut self.random, key, true).filter(|_| row.name == "UpdateAlias");
                if succeeds {
                    world.keys[key].aliases.pop();
                    let new_home = target.or((row.name == "UpdateAlias").then_some(key));
                    new_home.into_iter().for_each(|home| world.keys[home].aliases.push(alias.clone()));
                }
                (target.filter(|_| succeeds).unwrap_or(key), alias.into())
            }
            "ReplicateKey" => {
                let replica = if succeeds && world.may_grow() { world.add_replica(key, time) } else { None };
                let elsewhere =
                    || world.regions.iter().copied().find(|&region| region != world.keys[key].arn.region());
                let region = replica.map(|replica| world.keys[replica].arn.region()).or_else(elsewhere);
                (key, region.map_or("eu-north-1", Region::name).to_owned())
            }
            "UpdatePrimaryRegion" => (key, "eu-north-1".to_owned()),
            _ => (key, String::new()),
        }
    }

    /// What the change does to the key's state.
    fn apply(&mut self, row: &Row, key: usize) {
        let state = match row.name {
            "DisableKey" | "CancelKeyDeletion" => LifecycleState::Disabled,
            "EnableKey" => LifecycleState::Enabled,
            "ScheduleKeyDeletion" => LifecycleState::PendingDeletion,
            _ => return,
        };
        self.world.set_state(key, state);
    }

    fn create_key(&mut self, row: &'static Row, time: EventTime) -> Generated {
        let account = self.random.usize(..self.world.accounts.len());
        let region = self.world.regions[self.random.usize(..self.world.regions.len())];
        let class = if self.random.u8(..8) == 0 { KeyClass::Signing } else { KeyClass::Symmetric };
        let multi_region = self.random.u8(..8) == 0;
        let place = (self.world.accounts[account].id, region);
        let Some(key) = self.world.add_young_key(&mut self.random, place, class, multi_region, time) else {
            return self.keyless(row, true, time);
        };
        let caller = (account, self.choose_operator(account));
        self.record_call(&Call { row, key, destination: None, caller, other: "", failure: None }, time)
    }

    /// Two records: one from the old primary Region, and one without resources from the new one.
    fn update_primary_region(&mut self, row: &'static Row, time: EventTime) -> Generated {
        let place = self.random.usize(..self.world.replicas.len());
        let (old, new) = self.world.replicas[place];
        self.world.replicas[place] = (new, old);
        let owner = self.world.account_of(old);
        let caller = (owner, self.choose_operator(owner));
        let ids = self.random_ids();
        let region = self.world.keys[new].arn.region();
        let request = object_text(|request| {
            request.shown("keyId", self.world.keys[new].arn.id());
            request.text("primaryRegion", region.name());
        });
        let principal = &self.world.accounts[owner].principals[caller.1];
        let draft = Draft {
            region,
            parameters: Parameters { request: Some(request), ..Parameters::default() },
            resources: Some(Vec::new()),
            ..self.draft(row, principal, &principal.identity, owner, time, ids)
        };
        let said = Said { key: self.world.keys[new].arn, kind: Kind::Change, wanted: false };
        let second = draft.finish(vec![said]);
        self.waiting.push_back(second);
        let call = Call { row, key: old, destination: None, caller, other: region.name(), failure: None };
        self.record_call(&call, time)
    }

    /// A record of another service, CloudTrail's own included.
    fn other_service(&mut self, time: EventTime) -> Generated {
        const OTHERS: [(&str, &str, bool); 8] = [
            ("ec2.amazonaws.com", "DescribeInstances", true),
            ("sts.amazonaws.com", "AssumeRole", true),
            ("s3.amazonaws.com", "ListBuckets", true),
            ("secretsmanager.amazonaws.com", "GetSecretValue", true),
            ("cloudtrail.amazonaws.com", "StopLogging", false),
            ("cloudtrail.amazonaws.com", "PutEventSelectors", false),
            ("cloudtrail.amazonaws.com", "DeleteTrail", false),
            ("events.amazonaws.com", "DisableRule", false),
        ];
        let (source, name, read_only) = OTHERS[self.random.usize(..OTHERS.len())];
        let account = self.random.usize(..self.world.accounts.len());
        let principal = self.choose_principal(account);
        let ids = self.random_ids();
        let row = Row { name, sort: Sort::Keyless };
        let caller = &self.world.accounts[account].principals[principal];
        let request = object_text(|request| match name {
            "PutEventSelectors" => {
                request.text("trailName", "organisation");
                request.raw("eventSelectors", r#"[{"readWriteType":"All","includeManagementEvents":true,"dataResources":[],"excludeManagementEventSources":["kms.amazonaws.com"]}]"#);
            }
            "AssumeRole" => {
                request.shown(
                    "roleArn",
                    format_args!("arn:aws:iam::{}:role/payments-api", self.world.accounts[account].id),
                );
                request.text("roleSessionName", if self.shape.hostile { HOSTILE[1] } else { "deploy" });
            }
            _ => request.text("name", "organisation"),
        });
        let draft = Draft {
            source,
            parameters: Parameters { request: Some(request), ..Parameters::default() },
            read_only,
            ..self.draft(&row, caller, &caller.identity, account, time, ids)
        };
        draft.finish(Vec::new())
    }
}

impl Iterator for Generator {
    type Item = Generated;

    fn next(&mut self) -> Option<Generated> {
        Some(self.next_record())
    }
}

/// One account's copy of a call.
struct OneCopy<'a> {
    call: &'a Call<'a>,
    /// The keys that it names.
    keys: &'a [usize],
    /// Whether it leaves out `resources`.
    hidden: bool,
    recipient: usize,
    shared: Option<u128>,
    looks: Looks,
}

/// The ARN of an alias of this key.
fn alias_arn(key: KeyArn, alias: &str) -> String {
    format!("arn:{}:kms:{}:{}:{alias}", key.partition(), key.region(), key.account())
}

fn is_denied(failure: Option<&Failure>) -> bool {
    failure.is_some_and(|failure| failure.code.starts_with("AccessDenied"))
}
