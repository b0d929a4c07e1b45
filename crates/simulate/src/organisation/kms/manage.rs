//! Operations that alter keys.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use dormouse_model::{AccountId, KeyArn, LifecycleState};
use serde_json::{Value, json};

use super::super::log::{Call, Done, Refused};
use super::super::state::{Alias, Deletion, Grant, Grantee, KeyState, Origin, Rotation, State};
use super::super::truth::Tally;
use super::{invalid_state, out_of_use, refuse, required};
use crate::records::catalogue::KeyClass;
use crate::records::parameters::grant_id;
use crate::uuid::Uuid;

const DAY: u32 = 86_400;

/// The policy that a key has if nobody says otherwise; these other accounts may use the key.
pub(crate) fn policy(owner: AccountId, shared_with: &BTreeSet<AccountId>) -> String {
    let statement = |sid: &str, principals: Value, action: Value| json!({ "Sid": sid, "Effect": "Allow", "Principal": { "AWS": principals }, "Action": action, "Resource": "*" });
    let root = |account: &AccountId| format!("arn:aws:iam::{account}:root");
    let mut statements = vec![statement("Enable IAM User Permissions", json!(root(&owner)), json!("kms:*"))];
    if !shared_with.is_empty() {
        let actions = json!([
            "kms:Decrypt",
            "kms:DescribeKey",
            "kms:Encrypt",
            "kms:GenerateDataKey*",
            "kms:ReEncrypt*"
        ]);
        let others: Vec<String> = shared_with.iter().map(root).collect();
        statements.push(statement("Use by other accounts", json!(others), actions));
    }
    json!({ "Version": "2012-10-17", "Id": "key-default-1", "Statement": statements }).to_string()
}

/// The other accounts that a policy names.
pub(super) fn accounts_in(policy: &str, owner: AccountId) -> BTreeSet<AccountId> {
    let named = policy.split("arn:aws:iam::").skip(1).filter_map(|rest| rest.get(..12)?.parse().ok());
    named.filter(|&account| account != owner).collect()
}

fn class_of(call: &Call<'_>) -> Result<KeyClass, Refused> {
    let asked = |field: &str| call.request[field].as_str();
    let spec = asked("KeySpec").or_else(|| asked("CustomerMasterKeySpec")).unwrap_or("SYMMETRIC_DEFAULT");
    let usage = asked("KeyUsage").unwrap_or("ENCRYPT_DECRYPT");
    KeyClass::ALL.into_iter().find(|class| class.spec_and_usage() == (spec, usage)).ok_or_else(|| {
        refuse(
            "UnsupportedOperationException",
            format!("KeySpec {spec} is not supported for KeyUsage {usage}."),
        )
        .into()
    })
}

/// Names and values of a list of tags.
pub(super) fn tags(request: &Value) -> Result<BTreeMap<String, String>, Refused> {
    let malformed = || Refused::from(refuse("TagException", "Tags need a TagKey and a TagValue."));
    let list = request["Tags"].as_array().map_or(&[][..], Vec::as_slice);
    let pair = |tag: &Value| Some((tag["TagKey"].as_str()?.to_owned(), tag["TagValue"].as_str()?.to_owned()));
    list.iter().map(|tag| pair(tag).ok_or_else(malformed)).collect()
}

impl State {
    pub(super) fn create_key(
        &mut self,
        call: &Call<'_>,
        random: &mut fastrand::Rng,
    ) -> Result<Done, Refused> {
        let class = class_of(call)?;
        let caller = call.caller;
        let origin = self.origin_of(call, class)?;
        let multi_region = call.request["MultiRegion"].as_bool().unwrap_or(false);
        let bits = random.u128(..);
        let id = if multi_region { format!("mrk-{bits:032x}") } else { Uuid::from_random(bits).to_string() };
        let arn = KeyArn::from_parts(caller.region, caller.account, &id)
            .map_err(|error| refuse("KMSInternalException", error.to_string()))?;
        let given = call.request["Policy"].as_str();
        let policy = given.map_or_else(|| policy(caller.account, &BTreeSet::new()), str::to_owned);
        let key = KeyState {
            shared_with: accounts_in(&policy, caller.account),
            policy,
            description: call.request["Description"].as_str().unwrap_or_default().to_owned(),
            tags: tags(call.request)?,
            state: self.first_state(caller.account, caller.region, &origin),
            origin,
            ..new_key(arn, class, call.time)
        };
        self.keys.push(key);
        let place = self.keys.len() - 1;
        self.shelve(place);
        Ok(self.created(place))
    }

    /// The outcome of a call that made a key.
    pub(crate) fn created(&self, place: usize) -> Done {
        Done { answer: json!({ "KeyMetadata": self.metadata(place) }), keys: vec![place], alias: None }
    }

    /// A key of the caller's own account that is to be altered.
    pub(super) fn alterable(&self, call: &Call<'_>) -> Result<usize, Refused> {
        let place = self.found_key(call, required(call, "KeyId")?)?;
        if self.keys[place].aws_managed {
            let message = format!(
                "User: {} is not authorized to perform: kms:{} on resource: {} because AWS managed keys are managed by AWS",
                call.caller.principal.arn, call.row.name, self.keys[place].arn_text
            );
            return Err(refuse("AccessDeniedException", message).about([place]));
        }
        Ok(place)
    }

    pub(super) fn alter(&mut self, call: &Call<'_>) -> Result<Done, Refused> {
        let place = self.alterable(call)?;
        let answer = match call.row.name {
            "EnableKey" | "DisableKey" | "ScheduleKeyDeletion" | "CancelKeyDeletion" => {
                self.alter_state(call, place)?
            }
            "EnableKeyRotation" | "DisableKeyRotation" | "RotateKeyOnDemand" => {
                self.alter_rotation(call, place)?
            }
            "PutKeyPolicy" => {
                let policy = required(call, "Policy")?.to_owned();
                let key = &mut self.keys[place];
                key.shared_with = accounts_in(&policy, key.arn.account());
                key.policy = policy;
                json!({})
            }
            _ => self.alter_words(call, place)?,
        };
        Ok(Done { answer, keys: vec![place], alias: None })
    }

    fn alter_state(&mut self, call: &Call<'_>, place: usize) -> Result<Value, Refused> {
        let has_replicas = self.keys[place].primary && self.siblings(place).len() > 1;
        let key = &mut self.keys[place];
        if is_dying(key.state) != (call.row.name == "CancelKeyDeletion") {
            return Err(invalid_state(&key.arn_text, key.state).about([place]));
        }
        let has_no_material = key.origin == Origin::External && key.imported.is_none();
        if has_no_material && matches!(call.row.name, "EnableKey" | "DisableKey") {
            return Err(invalid_state(&key.arn_text, key.state).about([place]));
        }
        match call.row.name {
            "EnableKey" => {
                let key = &self.keys[place];
                let (account, region) = (key.arn.account(), key.arn.region());
                let is_within_reach = self.is_within_reach(account, region, &key.origin);
                let state =
                    if is_within_reach { LifecycleState::Enabled } else { LifecycleState::Unavailable };
                self.keys[place].state = state;
            }
            "DisableKey" => key.state = LifecycleState::Disabled,
            "CancelKeyDeletion" => {
                key.state =
                    if has_no_material { LifecycleState::PendingImport } else { LifecycleState::Disabled };
                key.deletion = None;
                key.window_after_replicas = None;
                return Ok(json!({ "KeyId": &*key.arn_text }));
            }
            _ => {
                let asked = &call.request["PendingWindowInDays"];
                let days = if asked.is_null() {
                    Some(30)
                } else {
                    asked.as_u64().filter(|days| (7..=30).contains(days))
                };
                let Some(days) = days.and_then(|days| u32::try_from(days).ok()) else {
                    let message =
                        format!("Value '{asked}' at 'pendingWindowInDays' must be between 7 and 30.");
                    return Err(refuse("ValidationException", message).about([place]));
                };
                if has_replicas {
                    key.state = LifecycleState::PendingReplicaDeletion;
                    key.window_after_replicas = Some(days);
                    return Ok(json!({
                        "KeyId": &*key.arn_text,
                        "KeyState": key.state.name(),
                        "PendingWindowInDays": days,
                    }));
                }
                let deletion = Deletion { date: call.time.plus(days * DAY), window_days: days };
                key.state = LifecycleState::PendingDeletion;
                key.deletion = Some(deletion);
                return Ok(json!({
                    "KeyId": &*key.arn_text,
                    "DeletionDate": deletion.date.seconds(),
                    "KeyState": key.state.name(),
                    "PendingWindowInDays": days,
                }));
            }
        }
        Ok(json!({}))
    }

    fn alter_rotation(&mut self, call: &Call<'_>, place: usize) -> Result<Value, Refused> {
        let key = &mut self.keys[place];
        if let Some(refusal) = out_of_use(&key.arn_text, key.state) {
            return Err(refusal.about([place]));
        }
        if !key.can_rotate() {
            let message = format!("{} does not support rotation.", key.arn_text);
            return Err(refuse("UnsupportedOperationException", message).about([place]));
        }
        match call.row.name {
            "EnableKeyRotation" => {
                let days = call.request["RotationPeriodInDays"].as_u64().unwrap_or(365);
                let Some(period_days) = u32::try_from(days).ok().filter(|days| (90..=2_560).contains(days))
                else {
                    let message = "RotationPeriodInDays must be between 90 and 2560.";
                    return Err(refuse("ValidationException", message).about([place]));
                };
                key.rotation = Some(Rotation { period_days, since: call.time });
            }
            "DisableKeyRotation" => key.rotation = None,
            _ => {
                key.rotations += 1;
                return Ok(json!({ "KeyId": &*key.arn_text }));
            }
        }
        Ok(json!({}))
    }

    /// Tags and descriptions, which a key that waits for its deletion keeps.
    fn alter_words(&mut self, call: &Call<'_>, place: usize) -> Result<Value, Refused> {
        let key = &mut self.keys[place];
        if is_dying(key.state) {
            return Err(invalid_state(&key.arn_text, key.state).about([place]));
        }
        match call.row.name {
            "TagResource" => key.tags.extend(tags(call.request)?),
            "UntagResource" => {
                let names = call.request["TagKeys"].as_array().map_or(&[][..], Vec::as_slice);
                names.iter().filter_map(Value::as_str).for_each(|name| {
                    key.tags.remove(name);
                });
            }
            _ => required(call, "Description")?.clone_into(&mut key.description),
        }
        Ok(json!({}))
    }

    pub(super) fn create_alias(&mut self, call: &Call<'_>) -> Result<Done, Refused> {
        let name = alias_name(call)?;
        let target = self.alias_target(call)?;
        if self.shelf_of(call).aliases.contains_key(&name) {
            let message = format!("An alias with the name {} already exists", alias_arn(call, &name));
            return Err(refuse("AlreadyExistsException", message).about([target]));
        }
        let alias = Alias { target: Some(target), dates: Some((call.time, call.time)) };
        self.shelf_of(call).aliases.insert(name.clone(), alias);
        Ok(Done { answer: json!({}), keys: vec![target], alias: Some(alias_arn(call, &name)) })
    }

    pub(super) fn update_alias(&mut self, call: &Call<'_>) -> Result<Done, Refused> {
        let name = alias_name(call)?;
        let target = self.alias_target(call)?;
        let class = self.keys[target].class;
        let Some(alias) = self.shelf_of(call).aliases.get(&name).copied() else {
            let message = format!("Alias {} is not found.", alias_arn(call, &name));
            return Err(refuse("NotFoundException", message).about([target]));
        };
        if alias.target.is_some_and(|former| self.keys[former].class != class) {
            let message = "The target key must have the same key usage as the alias's present one.";
            return Err(refuse("ValidationException", message).about([target]));
        }
        let created = alias.dates.map_or(call.time, |(created, _)| created);
        let alias = Alias { target: Some(target), dates: Some((created, call.time)) };
        self.shelf_of(call).aliases.insert(name.clone(), alias);
        Ok(Done { answer: json!({}), keys: vec![target], alias: Some(alias_arn(call, &name)) })
    }

    pub(super) fn delete_alias(&mut self, call: &Call<'_>) -> Result<Done, Refused> {
        let name = alias_name(call)?;
        let Some(alias) = self.shelf_of(call).aliases.remove(&name) else {
            return Err(refuse(
                "NotFoundException",
                format!("Alias {} is not found.", alias_arn(call, &name)),
            )
            .into());
        };
        Ok(Done {
            answer: json!({}),
            keys: alias.target.into_iter().collect(),
            alias: Some(alias_arn(call, &name)),
        })
    }

    fn shelf_of(&mut self, call: &Call<'_>) -> &mut super::super::state::Shelf {
        self.shelf(call.caller.account, call.caller.region)
    }

    /// The key that an alias is to point at.
    fn alias_target(&self, call: &Call<'_>) -> Result<usize, Refused> {
        let target = self.found_key(call, required(call, "TargetKeyId")?)?;
        let key = &self.keys[target];
        if is_dying(key.state) {
            return Err(invalid_state(&key.arn_text, key.state).about([target]));
        }
        Ok(target)
    }

    pub(super) fn create_grant(
        &mut self,
        call: &Call<'_>,
        random: &mut fastrand::Rng,
    ) -> Result<Done, Refused> {
        let place = self.found_key(call, required(call, "KeyId")?)?;
        let grantee = match named(call, "Grantee") {
            Some(grantee) => grantee,
            None => Grantee::Principal(required(call, "GranteePrincipal")?.to_owned()),
        };
        let key = &mut self.keys[place];
        if let Some(refusal) = out_of_use(&key.arn_text, key.state) {
            return Err(refusal.about([place]));
        }
        let operations = call.request["Operations"].as_array().map_or(&[][..], Vec::as_slice);
        let grant = Grant {
            id: grant_id(random),
            token: grant_id(random),
            name: call.request["Name"].as_str().unwrap_or_default().to_owned(),
            created: call.time,
            grantee,
            retiring: named(call, "Retiring"),
            issuing: call.caller.account,
            operations: operations.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            constraints: call.request["Constraints"].clone(),
        };
        let answer = json!({ "GrantId": grant.id, "GrantToken": grant.token });
        key.grants.insert(grant.id.clone(), grant);
        Ok(Done { answer, keys: vec![place], alias: None })
    }

    /// RevokeGrant by key and id; RetireGrant so or by token.
    pub(super) fn end_grant(&mut self, call: &Call<'_>) -> Result<Done, Refused> {
        let by_token = call.request["GrantToken"].as_str().filter(|_| call.row.name == "RetireGrant");
        let found = if let Some(token) = by_token {
            let holds = |key: &KeyState| {
                key.grants.values().find(|grant| grant.token == token).map(|grant| grant.id.clone())
            };
            let mut keys = self.keys.iter().enumerate();
            keys.find_map(|(place, key)| holds(key).map(|id| (place, id)))
        } else {
            let place = self.found_key(call, required(call, "KeyId")?)?;
            Some((place, required(call, "GrantId")?.to_owned()))
        };
        let Some((place, id)) = found else {
            return Err(refuse("NotFoundException", "Grant token does not match any grant.").into());
        };
        if self.keys[place].grants.remove(&id).is_none() {
            let message = format!("Grant ID {id} not found");
            return Err(refuse("NotFoundException", message).about([place]));
        }
        Ok(Done { answer: json!({}), keys: vec![place], alias: None })
    }
}

/// Who is to be the grant's grantee or retire it, by one field or the other.
fn named(call: &Call<'_>, role: &str) -> Option<Grantee> {
    let field = |name: &str| call.request[format!("{role}{name}")].as_str().map(str::to_owned);
    field("ServicePrincipal").map(Grantee::Service).or_else(|| field("Principal").map(Grantee::Principal))
}

/// A key as it is when it has just been made, but for its policy, which is the caller's to set.
pub(crate) fn new_key(arn: KeyArn, class: KeyClass, created: dormouse_model::EventTime) -> KeyState {
    KeyState {
        arn,
        arn_text: arn.to_string().into(),
        class,
        aws_managed: false,
        origin: Origin::Kms,
        imported: None,
        created,
        state: LifecycleState::Enabled,
        deletion: None,
        window_after_replicas: None,
        description: String::new(),
        tags: BTreeMap::new(),
        rotation: None,
        rotations: 0,
        policy: String::new(),
        shared_with: BTreeSet::new(),
        primary: true,
        grants: BTreeMap::new(),
        remembered: VecDeque::new(),
        cadence: None,
        used_before: None,
        tally: Tally::default(),
    }
}

pub(super) fn is_dying(state: LifecycleState) -> bool {
    matches!(state, LifecycleState::PendingDeletion | LifecycleState::PendingReplicaDeletion)
}

fn alias_name(call: &Call<'_>) -> Result<String, Refused> {
    let name = required(call, "AliasName")?;
    let tail = name.strip_prefix("alias/").filter(|tail| !tail.is_empty());
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | ':');
    match tail {
        Some(tail) if tail.starts_with("aws/") => {
            Err(refuse("NotAuthorizedException", "Aliases that begin with alias/aws/ are AWS's own.").into())
        }
        Some(tail) if tail.len() <= 250 && tail.chars().all(is_plain) => Ok(name.to_owned()),
        _ => Err(refuse("InvalidAliasNameException", "Alias must start with the prefix \"alias/\".").into()),
    }
}

fn alias_arn(call: &Call<'_>, name: &str) -> String {
    format!("arn:aws:kms:{}:{}:{name}", call.caller.region, call.caller.account)
}
