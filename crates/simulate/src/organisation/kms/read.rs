//! Operations that tell about keys.

use dormouse_model::{EventTime, LifecycleState};
use serde_json::{Value, json};

use super::super::log::{Call, Done, Refused, material_of};
use super::super::state::{Alias, Grant, Grantee, Origin, State};
use super::paging::{Limits, answer, page, rest};
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
        let rest = rest(call.request)?;
        let keys = shelf.into_iter().flat_map(|shelf| shelf.keys.range::<str, _>(rest.bounds()));
        let page = page(call.request, limits(100, 1_000), keys, |(id, _)| (*id).clone())?;
        let entry =
            |(id, &place): (&String, &usize)| json!({ "KeyId": id, "KeyArn": &*self.keys[place].arn_text });
        Ok(told(answer("Keys", page.map(entry)), Vec::new()))
    }

    pub(super) fn list_aliases(&self, call: &Call<'_>) -> Result<Done, Refused> {
        let only = call.request["KeyId"].as_str().map(|name| self.found_key(call, name)).transpose()?;
        let shelf = self.shelves.get(&(call.caller.account, call.caller.region));
        let rest = rest(call.request)?;
        let aliases = shelf.into_iter().flat_map(|shelf| shelf.aliases.range::<str, _>(rest.bounds()));
        let aliases = aliases.filter(|(_, alias)| only.is_none() || alias.target == only);
        let page = page(call.request, limits(50, 100), aliases, |(name, _)| (*name).clone())?;
        let entry = |(name, alias): (&String, &Alias)| {
            let mut shown = json!({
                "AliasName": name,
                "AliasArn": format!("arn:aws:kms:{}:{}:{name}", call.caller.region, call.caller.account),
            });
            if let Some(target) = alias.target {
                shown["TargetKeyId"] = self.keys[target].arn.id().into();
            }
            if let Some((created, updated)) = alias.dates {
                shown["CreationDate"] = created.seconds().into();
                shown["LastUpdatedDate"] = updated.seconds().into();
            }
            shown
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
            "Origin": key.origin.name(),
            "KeyManager": key.manager(),
            "CustomerMasterKeySpec": spec,
            "KeySpec": spec,
            "MultiRegion": key.arn.is_multi_region(),
        });
        if let Some((name, algorithms)) = algorithms(key.class) {
            metadata[name] = algorithms.into();
        }
        if key.class == KeyClass::Symmetric && key.has_material() {
            metadata["CurrentKeyMaterialId"] = material_of(place, key.rotations).into();
        }
        if let Origin::Store { id, external } = &key.origin {
            metadata["CustomKeyStoreId"] = id.as_str().into();
            if *external {
                metadata["XksKeyConfiguration"] = json!({ "Id": format!("external-{place}") });
            } else {
                metadata["CloudHsmClusterId"] = format!("cluster-{id}").into();
            }
        }
        if let Some(imported) = key.imported {
            let expires = imported.valid_to.is_some();
            metadata["ExpirationModel"] =
                if expires { "KEY_MATERIAL_EXPIRES" } else { "KEY_MATERIAL_DOES_NOT_EXPIRE" }.into();
            if let Some(valid_to) = imported.valid_to {
                metadata["ValidTo"] = valid_to.seconds().into();
            }
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
            id.is_none_or(|id| grant.id == id)
                && grantee.is_none_or(|grantee| grant.grantee.name() == grantee)
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
                grant.issuing == call.caller.account
                    && grant.retiring.as_ref().map(Grantee::name) == Some(retiring)
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
            "IssuingAccount": format!("arn:aws:iam::{}:root", grant.issuing),
            "Operations": grant.operations,
        });
        let mut show = |who: &Grantee, role: &str| match who {
            Grantee::Principal(name) => shown[format!("{role}Principal")] = name.as_str().into(),
            Grantee::Service(name) => shown[format!("{role}ServicePrincipal")] = name.as_str().into(),
        };
        show(&grant.grantee, "Grantee");
        if let Some(retiring) = &grant.retiring {
            show(retiring, "Retiring");
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
        if !key.can_rotate() {
            let message = format!("{} does not support rotation.", key.arn_text);
            return Err(refuse("UnsupportedOperationException", message).about([place]));
        }
        let rotation = key.rotation_at(self.now);
        let mut answer = json!({ "KeyId": &*key.arn_text, "KeyRotationEnabled": rotation.is_some() });
        if let Some((rotation, next)) = rotation {
            answer["RotationPeriodInDays"] = rotation.period_days.into();
            answer["NextRotationDate"] = next.seconds().into();
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
