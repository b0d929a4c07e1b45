//! Operations that tell about keys.

use dormouse_model::{EventTime, LifecycleState};
use serde_json::{Value, json};

use super::super::log::{Call, Done, Refused, material_of};
use super::super::state::{Alias, Grant, State};
use super::paging::{Limits, answer, page};
use super::{algorithms, refuse, required};
use crate::records::catalogue::KeyClass;
use crate::uuid::Uuid;

/// 2026-04-23T00:00:00Z: KMS remembers uses from here on.
const TRACKING_START: EventTime = EventTime::from_seconds(1_776_902_400);

const fn limits(usual: usize, most: usize) -> Limits {
    Limits { usual, most }
}

fn told(answer: Value, keys: Vec<usize>) -> Done {
    Done { answer, keys, alias: None }
}

impl State {
    pub(super) fn list_keys(&self, call: &Call<'_>) -> Result<Done, Refused> {
        let shelf = self.shelves.get(&(call.caller.account, call.caller.region));
        let keys = shelf.into_iter().flat_map(|shelf| &shelf.keys);
        let page = page(call.request, limits(100, 1_000), keys, |(id, _)| (*id).clone())?;
        let entry =
            |(id, &place): (&String, &usize)| json!({ "KeyId": id, "KeyArn": &*self.keys[place].arn_text });
        Ok(told(answer("Keys", page.map(entry)), Vec::new()))
    }

    pub(super) fn list_aliases(&self, call: &Call<'_>) -> Result<Done, Refused> {
        let only = call.request["KeyId"].as_str().map(|name| self.found_key(call, name)).transpose()?;
        let shelf = self.shelves.get(&(call.caller.account, call.caller.region));
        let aliases = shelf.into_iter().flat_map(|shelf| &shelf.aliases);
        let aliases = aliases.filter(|(_, alias)| only.is_none_or(|place| alias.target == place));
        let page = page(call.request, limits(50, 100), aliases, |(name, _)| (*name).clone())?;
        let entry = |(name, alias): (&String, &Alias)| {
            json!({
                "AliasName": name,
                "AliasArn": format!("arn:aws:kms:{}:{}:{name}", call.caller.region, call.caller.account),
                "TargetKeyId": self.keys[alias.target].arn.id(),
                "CreationDate": alias.created.seconds(),
                "LastUpdatedDate": alias.updated.seconds(),
            })
        };
        Ok(told(answer("Aliases", page.map(entry)), only.into_iter().collect()))
    }

    pub(super) fn describe_key(&self, call: &Call<'_>) -> Result<Done, Refused> {
        let place = self.found_key(call, required(call, "KeyId")?)?;
        Ok(told(json!({ "KeyMetadata": self.metadata(place) }), vec![place]))
    }

    /// `KeyMetadata`.
    pub(super) fn metadata(&self, place: usize) -> Value {
        let key = &self.keys[place];
        let (spec, usage) = key.class.spec_and_usage();
        let mut metadata = json!({
            "AWSAccountId": key.arn.account().to_string(),
            "KeyId": key.arn.id(),
            "Arn": &*key.arn_text,
            "CreationDate": key.created.seconds(),
            "Enabled": key.state == LifecycleState::Enabled,
            "Description": key.description,
            "KeyUsage": usage,
            "KeyState": key.state.name(),
            "Origin": "AWS_KMS",
            "KeyManager": key.manager(),
            "CustomerMasterKeySpec": spec,
            "KeySpec": spec,
            "MultiRegion": key.arn.is_multi_region(),
        });
        if let Some((name, algorithms)) = algorithms(key.class) {
            metadata[name] = algorithms.into();
        }
        if key.class == KeyClass::Symmetric {
            metadata["CurrentKeyMaterialId"] = material_of(place, key.rotations).into();
        }
        if let Some(deletion) = key.deletion {
            metadata["DeletionDate"] = deletion.date.seconds().into();
        }
        if let Some(days) = key.window_after_replicas {
            metadata["PendingDeletionWindowInDays"] = days.into();
        }
        if key.arn.is_multi_region() {
            metadata["MultiRegionConfiguration"] = self.multi_region_configuration(place);
        }
        metadata
    }

    fn multi_region_configuration(&self, place: usize) -> Value {
        let siblings = self.siblings(place);
        let shown = |place: usize| {
            let key = &self.keys[place];
            json!({ "Arn": &*key.arn_text, "Region": key.arn.region().name() })
        };
        let (primary, replicas): (Vec<usize>, Vec<usize>) =
            siblings.into_iter().partition(|&sibling| self.keys[sibling].primary);
        let replicas: Vec<Value> = replicas.into_iter().map(shown).collect();
        json!({
            "MultiRegionKeyType": if self.keys[place].primary { "PRIMARY" } else { "REPLICA" },
            "PrimaryKey": primary.first().map(|&primary| shown(primary)),
            "ReplicaKeys": replicas,
        })
    }

    pub(super) fn list_resource_tags(&self, call: &Call<'_>) -> Result<Done, Refused> {
        let place = self.found_key(call, required(call, "KeyId")?)?;
        let page = page(call.request, limits(50, 50), &self.keys[place].tags, |(name, _)| (*name).clone());
        let page = page.map_err(|refusal| refusal.about([place]))?;
        let entry = |(name, value): (&String, &String)| json!({ "TagKey": name, "TagValue": value });
        Ok(told(answer("Tags", page.map(entry)), vec![place]))
    }

    pub(super) fn list_grants(&self, call: &Call<'_>) -> Result<Done, Refused> {
        let place = self.found_key(call, required(call, "KeyId")?)?;
        let (id, grantee) = (call.request["GrantId"].as_str(), call.request["GranteePrincipal"].as_str());
        let grants = self.keys[place].grants.values().filter(|grant| {
            id.is_none_or(|id| grant.id == id) && grantee.is_none_or(|grantee| grant.grantee == grantee)
        });
        let page = page(call.request, limits(50, 100), grants, |grant| grant.id.clone());
        let page = page.map_err(|refusal| refusal.about([place]))?;
        Ok(told(answer("Grants", page.map(|grant| self.grant(place, grant))), vec![place]))
    }

    pub(super) fn list_retirable_grants(&self, call: &Call<'_>) -> Result<Done, Refused> {
        let retiring = required(call, "RetiringPrincipal")?;
        let region = call.caller.region;
        let mut grants: Vec<(usize, &Grant)> = Vec::new();
        for (place, key) in self.keys.iter().enumerate().filter(|(_, key)| key.arn.region() == region) {
            let retirable = key.grants.values().filter(|grant| {
                grant.issuing == call.caller.account && grant.retiring.as_deref() == Some(retiring)
            });
            grants.extend(retirable.map(|grant| (place, grant)));
        }
        grants.sort_by(|(_, a), (_, b)| a.id.cmp(&b.id));
        let page = page(call.request, limits(50, 100), grants, |(_, grant)| grant.id.clone())?;
        Ok(told(answer("Grants", page.map(|(place, grant)| self.grant(place, grant))), Vec::new()))
    }

    fn grant(&self, place: usize, grant: &Grant) -> Value {
        let mut shown = json!({
            "KeyId": &*self.keys[place].arn_text,
            "GrantId": grant.id,
            "Name": grant.name,
            "CreationDate": grant.created.seconds(),
            "GranteePrincipal": grant.grantee,
            "IssuingAccount": format!("arn:aws:iam::{}:root", grant.issuing),
            "Operations": grant.operations,
        });
        if let Some(retiring) = &grant.retiring {
            shown["RetiringPrincipal"] = retiring.as_str().into();
        }
        if !grant.constraints.is_null() {
            shown["Constraints"] = grant.constraints.clone();
        }
        shown
    }

    pub(super) fn get_key_policy(&self, call: &Call<'_>) -> Result<Done, Refused> {
        let place = self.found_key(call, required(call, "KeyId")?)?;
        let name = call.request["PolicyName"].as_str().unwrap_or("default");
        if name != "default" {
            return Err(refuse("NotFoundException", format!("No such policy exists: {name}")).about([place]));
        }
        Ok(told(json!({ "Policy": self.keys[place].policy, "PolicyName": name }), vec![place]))
    }

    pub(super) fn list_key_policies(&self, call: &Call<'_>) -> Result<Done, Refused> {
        let place = self.found_key(call, required(call, "KeyId")?)?;
        let page = page(call.request, limits(100, 1_000), ["default"], |name| (*name).to_owned());
        let page = page.map_err(|refusal| refusal.about([place]))?;
        Ok(told(answer("PolicyNames", page.map(Value::from)), vec![place]))
    }

    pub(super) fn get_key_rotation_status(&self, call: &Call<'_>) -> Result<Done, Refused> {
        let place = self.found_key(call, required(call, "KeyId")?)?;
        let key = &self.keys[place];
        if !matches!(key.class, KeyClass::Symmetric) {
            let message = format!("{} does not support rotation.", key.arn_text);
            return Err(refuse("UnsupportedOperationException", message).about([place]));
        }
        let rotation = key
            .rotation
            .filter(|_| key.state == LifecycleState::Enabled || key.state == LifecycleState::Disabled);
        let mut answer = json!({ "KeyId": &*key.arn_text, "KeyRotationEnabled": rotation.is_some() });
        if let Some(rotation) = rotation {
            let period = rotation.period_days * 86_400;
            let rounds = self.now.seconds_since(rotation.since) / period + 1;
            answer["RotationPeriodInDays"] = rotation.period_days.into();
            answer["NextRotationDate"] = rotation.since.plus(rounds * period).seconds().into();
        }
        Ok(told(answer, vec![place]))
    }

    /// KMS's own memory of the last use, as late as it is.
    pub(super) fn get_key_last_usage(&self, call: &Call<'_>) -> Result<Done, Refused> {
        let place = self.found_key(call, required(call, "KeyId")?)?;
        let key = &self.keys[place];
        let settled = call.time.minus(self.lag_seconds);
        let tracked = TRACKING_START.max(key.created);
        let mut known = key.remembered.iter().filter(|used| used.time <= settled && used.time >= tracked);
        let usage = known.next_back().map_or_else(
            || json!({}),
            |used| {
                json!({
                    "Operation": used.operation,
                    "Timestamp": used.time.seconds(),
                    "CloudTrailEventId": Uuid::from_random(used.event_id).to_string(),
                    "KmsRequestId": Uuid::from_random(used.request_id).to_string(),
                })
            },
        );
        let answer = json!({
            "KeyId": key.arn.id(),
            "KeyLastUsage": usage,
            "TrackingStartDate": tracked.seconds(),
            "KeyCreationDate": key.created.seconds(),
        });
        Ok(told(answer, vec![place]))
    }
}
