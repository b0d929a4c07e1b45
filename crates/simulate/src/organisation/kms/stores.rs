//! Custom key stores: where they are, and whether they can be reached.

use dormouse_model::{AccountId, LifecycleState, Region};
use serde_json::{Value, json};

use super::super::log::{Call, Done, Refused};
use super::super::state::{KeyStore, Origin, State};
use super::paging::{Limits, answer, page};
use super::{refuse, required};

const PAGE: Limits = Limits { usual: 1_000, most: 1_000 };

impl State {
    pub(super) fn create_custom_key_store(
        &mut self,
        call: &Call<'_>,
        random: &mut fastrand::Rng,
    ) -> Result<Done, Refused> {
        let name = required(call, "CustomKeyStoreName")?.to_owned();
        let external = match call.request["CustomKeyStoreType"].as_str().unwrap_or("AWS_CLOUDHSM") {
            "AWS_CLOUDHSM" => false,
            "EXTERNAL_KEY_STORE" => true,
            other => {
                let message = format!("There is no custom key store of type {other}.");
                return Err(refuse("ValidationException", message).into());
            }
        };
        let id = format!("cks-{:017x}", random.u64(..) >> 4);
        let store = KeyStore { name, external, connected: false, created: call.time };
        let shelf = self.shelf(call.caller.account, call.caller.region);
        if shelf.stores.values().any(|other| other.name == store.name) {
            let message = format!("The name {} is taken.", store.name);
            return Err(refuse("CustomKeyStoreNameInUseException", message).into());
        }
        shelf.stores.insert(id.clone(), store);
        Ok(Done { answer: json!({ "CustomKeyStoreId": id }), keys: Vec::new(), alias: None })
    }

    pub(super) fn describe_custom_key_stores(&self, call: &Call<'_>) -> Result<Done, Refused> {
        let field = |name: &str| call.request[name].as_str();
        let (id, name) = (field("CustomKeyStoreId"), field("CustomKeyStoreName"));
        let shelf = self.shelves.get(&(call.caller.account, call.caller.region));
        let stores = shelf.into_iter().flat_map(|shelf| &shelf.stores);
        let is_wanted = |(other, store): &(&String, &KeyStore)| {
            id.is_none_or(|id| id == *other) && name.is_none_or(|name| name == store.name)
        };
        let page = page(call.request, PAGE, stores.filter(is_wanted), |(id, _)| (*id).clone())?;
        if page.items.is_empty() && (id.is_some() || name.is_some()) {
            return Err(
                refuse("CustomKeyStoreNotFoundException", "There is no such custom key store.").into()
            );
        }
        let entry = |(id, store): (&String, &KeyStore)| shown(id, store);
        Ok(Done { answer: answer("CustomKeyStores", page.map(entry)), keys: Vec::new(), alias: None })
    }

    /// Connects or disconnects.
    pub(super) fn alter_custom_key_store(&mut self, call: &Call<'_>) -> Result<Done, Refused> {
        let id = required(call, "CustomKeyStoreId")?;
        let (account, region) = (call.caller.account, call.caller.region);
        if !self.connect_store(account, region, id, call.row.name == "ConnectCustomKeyStore") {
            let message = format!("The custom key store {id} is not found.");
            return Err(refuse("CustomKeyStoreNotFoundException", message).into());
        }
        Ok(Done { answer: json!({}), keys: Vec::new(), alias: None })
    }

    /// Makes a custom key store reachable or not, and with it its keys. Whether there is such a store.
    pub(crate) fn connect_store(
        &mut self,
        account: AccountId,
        region: Region,
        id: &str,
        connected: bool,
    ) -> bool {
        let shelf = self.shelf(account, region);
        let Some(store) = shelf.stores.get_mut(id) else {
            return false;
        };
        store.connected = connected;
        let places: Vec<usize> = shelf.keys.values().copied().collect();
        for place in places {
            let key = &mut self.keys[place];
            let is_inside = matches!(&key.origin, Origin::Store { id: inside, .. } if inside == id);
            match key.state {
                LifecycleState::Enabled if is_inside && !connected => key.state = LifecycleState::Unavailable,
                LifecycleState::Unavailable if is_inside && connected => key.state = LifecycleState::Enabled,
                _ => {}
            }
        }
        true
    }

    /// Whether KMS can get at the material of a key of this origin here.
    pub(super) fn is_within_reach(&self, account: AccountId, region: Region, origin: &Origin) -> bool {
        let Origin::Store { id, .. } = origin else {
            return true;
        };
        let shelf = self.shelves.get(&(account, region));
        shelf.and_then(|shelf| shelf.stores.get(id)).is_some_and(|store| store.connected)
    }
}

fn shown(id: &str, store: &KeyStore) -> Value {
    let mut shown = json!({
        "CustomKeyStoreId": id,
        "CustomKeyStoreName": store.name,
        "ConnectionState": if store.connected { "CONNECTED" } else { "DISCONNECTED" },
        "CreationDate": store.created.seconds(),
        "CustomKeyStoreType": if store.external { "EXTERNAL_KEY_STORE" } else { "AWS_CLOUDHSM" },
    });
    if !store.external {
        shown["CloudHsmClusterId"] = format!("cluster-{id}").into();
    }
    shown
}
