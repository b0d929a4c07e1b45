//! Key material from elsewhere. What it is like inside does not matter: any import token and any blob will do.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dormouse_model::{AccountId, EventTime, LifecycleState, Region};
use serde_json::{Value, json};

use super::super::log::{Call, Done, Refused, material_of};
use super::super::state::{Imported, Origin, State};
use super::manage::is_dying;
use super::{invalid_state, refuse, required};
use crate::records::catalogue::KeyClass;

const DAY: u32 = 86_400;

impl State {
    /// Where the material of a key that is to be made comes from.
    pub(super) fn origin_of(&self, call: &Call<'_>, class: KeyClass) -> Result<Origin, Refused> {
        let store = call.request["CustomKeyStoreId"].as_str();
        let origin = match call.request["Origin"].as_str().unwrap_or("AWS_KMS") {
            "AWS_KMS" if store.is_none() => return Ok(Origin::Kms),
            "EXTERNAL" if store.is_none() => return Ok(Origin::External),
            "AWS_CLOUDHSM" => store.map(|id| Origin::Store { id: id.to_owned(), external: false }),
            "EXTERNAL_KEY_STORE" => store.map(|id| Origin::Store { id: id.to_owned(), external: true }),
            _ => None,
        };
        let Some(Origin::Store { id, external }) = origin else {
            let message = "Origin and CustomKeyStoreId do not fit together.";
            return Err(refuse("ValidationException", message).into());
        };
        if class != KeyClass::Symmetric || call.request["MultiRegion"].as_bool() == Some(true) {
            let message = "Custom key stores hold symmetric single-Region keys alone.";
            return Err(refuse("UnsupportedOperationException", message).into());
        }
        let shelf = self.shelves.get(&(call.caller.account, call.caller.region));
        match shelf.and_then(|shelf| shelf.stores.get(&id)).filter(|store| store.external == external) {
            Some(store) if store.connected => Ok(Origin::Store { id, external }),
            Some(_) => {
                let message = format!("The custom key store {id} is not connected.");
                Err(refuse("CustomKeyStoreInvalidStateException", message).into())
            }
            None => {
                let message = format!("The custom key store {id} is not found.");
                Err(refuse("CustomKeyStoreNotFoundException", message).into())
            }
        }
    }

    /// The state of a key that has just been made.
    pub(super) fn first_state(&self, account: AccountId, region: Region, origin: &Origin) -> LifecycleState {
        match origin {
            Origin::External => LifecycleState::PendingImport,
            origin if self.is_within_reach(account, region, origin) => LifecycleState::Enabled,
            _ => LifecycleState::Unavailable,
        }
    }

    /// A key of external origin that the request names and that is not to be deleted.
    fn importing(&self, call: &Call<'_>) -> Result<usize, Refused> {
        let place = self.alterable(call)?;
        let key = &self.keys[place];
        if key.origin != Origin::External {
            let message = format!(
                "{} origin is {} which is not valid for this operation.",
                key.arn_text,
                key.origin.name()
            );
            return Err(refuse("UnsupportedOperationException", message).about([place]));
        }
        if is_dying(key.state) {
            return Err(invalid_state(&key.arn_text, key.state).about([place]));
        }
        Ok(place)
    }

    pub(super) fn get_parameters_for_import(&self, call: &Call<'_>) -> Result<Done, Refused> {
        let place = self.importing(call)?;
        let answer = json!({
            "KeyId": &*self.keys[place].arn_text,
            "ImportToken": STANDARD.encode("a token"),
            "PublicKey": STANDARD.encode("a public key"),
            "ParametersValidTo": call.time.plus(DAY).seconds(),
        });
        Ok(Done { answer, keys: vec![place], alias: None })
    }

    pub(super) fn import_key_material(&mut self, call: &Call<'_>) -> Result<Done, Refused> {
        let place = self.importing(call)?;
        required(call, "ImportToken")?;
        required(call, "EncryptedKeyMaterial")?;
        let model = call.request["ExpirationModel"].as_str().unwrap_or("KEY_MATERIAL_EXPIRES");
        let valid_to = match model {
            "KEY_MATERIAL_DOES_NOT_EXPIRE" => None,
            _ => Some(self.expiry(call, place)?),
        };
        let key = &mut self.keys[place];
        key.imported = Some(Imported { valid_to });
        if key.state == LifecycleState::PendingImport {
            key.state = LifecycleState::Enabled;
        }
        let answer = json!({ "KeyId": &*key.arn_text, "KeyMaterialId": material_of(place, key.rotations) });
        Ok(Done { answer, keys: vec![place], alias: None })
    }

    /// `ValidTo` in whole seconds; it must lie ahead, and not further than a year.
    fn expiry(&self, call: &Call<'_>, place: usize) -> Result<EventTime, Refused> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturating, and checked below"
        )]
        let seconds = call.request["ValidTo"].as_f64().map(|seconds| seconds as u32);
        let time = seconds.map(EventTime::from_seconds);
        time.filter(|time| *time > call.time && *time <= call.time.plus(366 * DAY)).ok_or_else(|| {
            refuse("ValidationException", "ValidTo must lie within the next 365 days.").about([place])
        })
    }

    pub(super) fn delete_imported_key_material(&mut self, call: &Call<'_>) -> Result<Done, Refused> {
        let place = self.importing(call)?;
        self.forget_material(place);
        let answer: Value = json!({ "KeyId": &*self.keys[place].arn_text });
        Ok(Done { answer, keys: vec![place], alias: None })
    }

    /// Imported material is gone. A key that is to be deleted stays so.
    pub(crate) fn forget_material(&mut self, place: usize) {
        let key = &mut self.keys[place];
        key.imported = None;
        if !is_dying(key.state) && key.state != LifecycleState::Deleted {
            key.state = LifecycleState::PendingImport;
        }
    }
}
