//! What KMS does with a call: the one place that carries it out, whoever makes it.
//!
//! The organisation's own callers and the clients of the double come through the same door, so a key that one of them
//! disables refuses the others. Checks come in KMS's order as far as a client can tell: the request's form, the key's
//! existence and whether the caller may, the key's state, its usage.

mod crypto;
mod manage;
mod material;
mod paging;
mod read;
mod replicas;
mod stores;

use dormouse_model::{AccountId, KeyArn, LifecycleState, Region};
use serde_json::Value;

use super::log::{Call, Outcome, Refused};
use super::state::State;
use crate::records::catalogue::{KeyClass, Sort};
use crate::records::failure::Failure;

pub(crate) use crypto::seal;
pub(crate) use manage::{new_key, policy};
pub(crate) use paging::{Limits, page};

/// Why a call failed, before any key was found.
pub(crate) struct Refusal(pub(crate) Failure);

impl Refusal {
    /// The same about keys that were found.
    fn about(self, keys: impl Into<Vec<usize>>) -> Refused {
        Refused { failure: self.0, keys: keys.into() }
    }
}

pub(crate) fn refuse(code: &'static str, message: impl Into<String>) -> Refusal {
    Refusal(Failure { code, message: message.into() })
}

/// A text that the request must have.
fn required<'a>(call: &Call<'a>, field: &str) -> Result<&'a str, Refusal> {
    let request: &'a Value = call.request;
    request[field].as_str().ok_or_else(|| {
        let mut name = field.to_owned();
        name[..1].make_ascii_lowercase();
        refuse(
            "ValidationException",
            format!(
                "1 validation error detected: Value null at '{name}' failed to satisfy constraint: Member must not be \
                 null"
            ),
        )
    })
}

/// Operations that another account may be allowed to use on a key.
const CROSS_ACCOUNT: &[&str] =
    &["CreateGrant", "DescribeKey", "GetKeyRotationStatus", "ListGrants", "RetireGrant", "RevokeGrant"];

/// Management operations that take an alias where others want a key.
const TAKES_ALIAS: &[&str] = &["DescribeKey"];

/// The algorithms of a class, under the name that metadata have for them.
fn algorithms(class: KeyClass) -> Option<(&'static str, Vec<&'static str>)> {
    Some(match class {
        KeyClass::Symmetric => ("EncryptionAlgorithms", vec!["SYMMETRIC_DEFAULT"]),
        KeyClass::Asymmetric => ("EncryptionAlgorithms", vec!["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"]),
        KeyClass::Signing => ("SigningAlgorithms", vec!["ECDSA_SHA_256"]),
        KeyClass::Mac => ("MacAlgorithms", vec!["HMAC_SHA_256"]),
        KeyClass::Agreement => ("KeyAgreementAlgorithms", vec!["ECDH"]),
        KeyClass::Encapsulation => ("EncapsulationAlgorithms", vec!["ML_KEM_768"]),
    })
}

impl State {
    /// Carries out a call. Does not log it.
    pub(crate) fn perform(&mut self, call: &Call<'_>, random: &mut fastrand::Rng) -> Outcome {
        match call.row.name {
            "Encrypt" => self.encrypt(call),
            "Decrypt" => self.decrypt(call),
            "ReEncrypt" => self.re_encrypt(call),
            "GenerateDataKey" => self.generate_data_key(call, random, true),
            "GenerateDataKeyWithoutPlaintext" => self.generate_data_key(call, random, false),
            "GetPublicKey" => self.get_public_key(call),
            "Sign" => self.sign(call),
            "Verify" => self.verify(call),
            "GenerateMac" => self.generate_mac(call),
            "VerifyMac" => self.verify_mac(call),
            "CreateKey" => self.create_key(call, random),
            "ReplicateKey" => self.replicate_key(call),
            "UpdatePrimaryRegion" => self.update_primary_region(call),
            "GetParametersForImport" => self.get_parameters_for_import(call),
            "ImportKeyMaterial" => self.import_key_material(call),
            "DeleteImportedKeyMaterial" => self.delete_imported_key_material(call),
            "CreateCustomKeyStore" => self.create_custom_key_store(call, random),
            "DescribeCustomKeyStores" => self.describe_custom_key_stores(call),
            "ConnectCustomKeyStore" | "DisconnectCustomKeyStore" => self.alter_custom_key_store(call),
            "CreateAlias" => self.create_alias(call),
            "UpdateAlias" => self.update_alias(call),
            "DeleteAlias" => self.delete_alias(call),
            "CreateGrant" => self.create_grant(call, random),
            "RevokeGrant" | "RetireGrant" => self.end_grant(call),
            "EnableKey"
            | "DisableKey"
            | "ScheduleKeyDeletion"
            | "CancelKeyDeletion"
            | "EnableKeyRotation"
            | "DisableKeyRotation"
            | "RotateKeyOnDemand"
            | "TagResource"
            | "UntagResource"
            | "UpdateKeyDescription"
            | "PutKeyPolicy" => self.alter(call),
            "ListKeys" => self.list_keys(call),
            "ListAliases" => self.list_aliases(call),
            "DescribeKey" => self.describe_key(call),
            "ListResourceTags" => self.list_resource_tags(call),
            "ListGrants" => self.list_grants(call),
            "ListRetirableGrants" => self.list_retirable_grants(call),
            "GetKeyPolicy" => self.get_key_policy(call),
            "ListKeyPolicies" => self.list_key_policies(call),
            "GetKeyRotationStatus" => self.get_key_rotation_status(call),
            "GetKeyLastUsage" => self.get_key_last_usage(call),
            name => {
                Err(refuse("UnknownOperationException", format!("The double does not do {name}.")).into())
            }
        }
    }

    /// The keys that a call names as far as they exist, for calls that are refused before they are carried out.
    pub(crate) fn named_keys(&self, call: &Call<'_>) -> Vec<usize> {
        let named = call.request["KeyId"].as_str().map(str::to_owned);
        named.and_then(|name| self.find(call, &name).ok()).into_iter().collect()
    }

    /// The key that the request names, if the caller may know it.
    fn found_key(&self, call: &Call<'_>, name: &str) -> Result<usize, Refused> {
        let takes_alias =
            matches!(call.row.sort, Sort::Use(_) | Sort::ReEncrypt) || TAKES_ALIAS.contains(&call.row.name);
        if name.contains("alias/") && !takes_alias {
            return Err(refuse("NotFoundException", format!("Invalid keyId '{name}'")).into());
        }
        self.find(call, name)
    }

    /// The key that `name` means to this caller: an id, a key ARN, an alias or an alias ARN.
    fn find(&self, call: &Call<'_>, name: &str) -> Result<usize, Refused> {
        let caller = call.caller;
        if let Some(alias) = name.strip_prefix("alias/") {
            let alias = format!("alias/{alias}");
            return self.by_alias((caller.account, caller.region), &alias);
        }
        if !name.starts_with("arn:") {
            let found =
                KeyArn::from_parts(caller.region, caller.account, name).ok().and_then(|arn| self.living(arn));
            return found.ok_or_else(|| {
                let arn = format!("arn:aws:kms:{}:{}:key/{name}", caller.region, caller.account);
                let looks_like_an_id = name.len() == 36;
                let message = format!("Invalid keyId '{name}'");
                let failure = if looks_like_an_id {
                    Failure::not_found(&arn)
                } else {
                    refuse("NotFoundException", message).0
                };
                Refused { failure, keys: Vec::new() }
            });
        }
        let (region, account, is_alias) = arn_parts(name)
            .ok_or_else(|| refuse("InvalidArnException", format!("{name} is not a valid ARN")))?;
        if region != caller.region {
            return Err(refuse("NotFoundException", format!("Invalid arn {region}")).into());
        }
        let found = if is_alias {
            let alias = name.splitn(6, ':').nth(5).unwrap_or_default();
            self.by_alias((account, region), alias)
        } else {
            let arn = name.parse().ok().and_then(|arn| self.living(arn));
            arn.ok_or_else(|| Refused { failure: Failure::not_found(name), keys: Vec::new() })
        };
        if account == caller.account {
            return found;
        }
        match found {
            Ok(place) if self.is_shared(call, place) => Ok(place),
            found => Err(Refused { failure: foreign_denied(call, name), keys: found.into_iter().collect() }),
        }
    }

    fn living(&self, arn: KeyArn) -> Option<usize> {
        self.place_of(arn).filter(|&place| self.keys[place].state != LifecycleState::Deleted)
    }

    fn by_alias(&self, (account, region): (AccountId, Region), alias: &str) -> Result<usize, Refused> {
        let shelf = self.shelves.get(&(account, region));
        shelf.and_then(|shelf| shelf.aliases.get(alias)).and_then(|alias| alias.target).ok_or_else(|| {
            let message = format!("Alias arn:aws:kms:{region}:{account}:{alias} is not found.");
            refuse("NotFoundException", message).into()
        })
    }

    /// Whether the key's policy lets the caller's account make such calls.
    fn is_shared(&self, call: &Call<'_>, place: usize) -> bool {
        let can_cross =
            matches!(call.row.sort, Sort::Use(_) | Sort::ReEncrypt) || CROSS_ACCOUNT.contains(&call.row.name);
        can_cross && self.keys[place].shared_with.contains(&call.caller.account)
    }

    /// A key that can be used now, for one of these purposes.
    fn usable_key(&self, call: &Call<'_>, name: &str, classes: &[KeyClass]) -> Result<usize, Refused> {
        let place = self.found_key(call, name)?;
        let key = &self.keys[place];
        if let Some(refusal) = out_of_use(&key.arn_text, key.state) {
            return Err(refusal.about([place]));
        }
        if !classes.contains(&key.class) {
            let usage = key.class.spec_and_usage().1;
            let message =
                format!("{} key usage is {usage} which is not valid for {}.", key.arn_text, call.row.name);
            return Err(refuse("InvalidKeyUsageException", message).about([place]));
        }
        Ok(place)
    }
}

/// What a key in this state answers to those who want to use it.
fn out_of_use(arn: &str, state: LifecycleState) -> Option<Refusal> {
    match state {
        LifecycleState::Enabled => None,
        LifecycleState::Disabled => Some(refuse("DisabledException", format!("{arn} is disabled."))),
        _ => Some(invalid_state(arn, state)),
    }
}

fn invalid_state(arn: &str, state: LifecycleState) -> Refusal {
    let words = match state {
        LifecycleState::PendingDeletion => "pending deletion",
        LifecycleState::PendingReplicaDeletion => "pending replica deletion",
        LifecycleState::PendingImport => "pending import",
        LifecycleState::Disabled => "disabled",
        LifecycleState::Enabled => "enabled",
        _ => "unavailable",
    };
    refuse("KMSInvalidStateException", format!("{arn} is {words}."))
}

/// KMS does not tell strangers whether a key exists.
fn foreign_denied(call: &Call<'_>, arn: &str) -> Failure {
    let message = format!(
        "User: {} is not authorized to perform: kms:{} on resource: {arn} because the resource does not exist in this \
         Region, no resource-based policies allow access, or a resource-based policy explicitly denies access",
        call.caller.principal.arn, call.row.name
    );
    Failure { code: "AccessDeniedException", message }
}

/// Region, account, and whether it is an alias's ARN.
fn arn_parts(arn: &str) -> Option<(Region, AccountId, bool)> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", _, "kms", region, account, resource] = parts[..] else {
        return None;
    };
    let is_alias = resource.starts_with("alias/");
    (is_alias || resource.starts_with("key/")).then_some(())?;
    Some((region.parse().ok()?, account.parse().ok()?, is_alias))
}
