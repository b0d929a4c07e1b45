//! One key in several Regions.

use dormouse_model::{KeyArn, Region};
use serde_json::{Value, json};

use super::super::log::{Call, Done, Refused};
use super::super::state::{KeyState, State};
use super::manage::{accounts_in, tags};
use super::{new_key, out_of_use, policy, refuse, required};

impl State {
    /// A primary that the request names and that can be used.
    fn primary_to_alter(&self, call: &Call<'_>) -> Result<usize, Refused> {
        let place = self.alterable(call)?;
        let key = &self.keys[place];
        if !key.arn.is_multi_region() || !key.primary {
            let message = format!("{} is not a multi-region primary key.", key.arn_text);
            return Err(refuse("UnsupportedOperationException", message).about([place]));
        }
        match out_of_use(&key.arn_text, key.state) {
            Some(refusal) => Err(refusal.about([place])),
            None => Ok(place),
        }
    }

    /// The Region that the request names.
    fn other_region(call: &Call<'_>, field: &str, place: usize) -> Result<Region, Refused> {
        let name = required(call, field).map_err(|refusal| refusal.about([place]))?;
        name.parse().map_err(|_| {
            refuse("ValidationException", format!("{name} is not a valid Region.")).about([place])
        })
    }

    pub(super) fn replicate_key(&mut self, call: &Call<'_>) -> Result<Done, Refused> {
        let primary = self.primary_to_alter(call)?;
        let region = Self::other_region(call, "ReplicaRegion", primary)?;
        let key = &self.keys[primary];
        let (account, id, class) = (key.arn.account(), key.arn.id(), key.class);
        let arn = KeyArn::from_parts(region, account, &id)
            .map_err(|error| refuse("KMSInternalException", error.to_string()).about([primary]))?;
        if self.shelves.get(&(account, region)).is_some_and(|shelf| shelf.keys.contains_key(&id)) {
            return Err(refuse("AlreadyExistsException", format!("{arn} already exists.")).about([primary]));
        }
        let (origin, shared_with) = (key.origin.clone(), std::collections::BTreeSet::new());
        let policy =
            call.request["Policy"].as_str().map_or_else(|| policy(account, &shared_with), str::to_owned);
        let replica = KeyState {
            shared_with: accounts_in(&policy, account),
            policy,
            description: call.request["Description"].as_str().unwrap_or_default().to_owned(),
            tags: tags(call.request)?,
            state: self.first_state(account, region, &origin),
            origin,
            rotation: key.rotation,
            primary: false,
            ..new_key(arn, class, call.time)
        };
        if !self.regions.contains(&region) && !self.more_regions.contains(&region) {
            self.more_regions.push(region);
        }
        self.keys.push(replica);
        let place = self.keys.len() - 1;
        self.shelve(place);
        let answer = json!({
            "ReplicaKeyMetadata": self.metadata(place),
            "ReplicaPolicy": self.keys[place].policy,
            "ReplicaTags": call.request["Tags"].as_array().cloned().unwrap_or_default(),
        });
        Ok(Done { answer, keys: vec![primary], alias: None })
    }

    pub(super) fn update_primary_region(&mut self, call: &Call<'_>) -> Result<Done, Refused> {
        let primary = self.primary_to_alter(call)?;
        let region = Self::other_region(call, "PrimaryRegion", primary)?;
        let siblings = self.siblings(primary);
        let mut others = siblings.into_iter().filter(|&other| other != primary);
        let Some(heir) = others.find(|&other| self.keys[other].arn.region() == region) else {
            let message = format!("{} has no replica in {region}.", self.keys[primary].arn_text);
            return Err(refuse("NotFoundException", message).about([primary]));
        };
        if let Some(refusal) = out_of_use(&self.keys[heir].arn_text, self.keys[heir].state) {
            return Err(refusal.about([primary]));
        }
        self.keys[primary].primary = false;
        self.keys[heir].primary = true;
        Ok(Done { answer: Value::Object(serde_json::Map::new()), keys: vec![primary], alias: None })
    }
}
