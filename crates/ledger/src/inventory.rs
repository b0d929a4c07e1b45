//! What is known of accounts and their Regions by asking AWS: which there are, what was listed when, and what failed.
//!
//! Nothing is silently empty: an account that cannot be read keeps what was last known of it, with since when that is
//! so and why.

use std::collections::{BTreeMap, HashMap, HashSet};

use dormouse_model::{
    AccountAnswer, AccountId, AccountSaid, EventTime, Failure, Place, PlaceAnswer, PlaceSaid, UsageWitness,
};
use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

/// A call that fails again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// The first time in a row.
    pub since: EventTime,
    /// How often in a row.
    pub count: u64,
    /// The last time.
    pub last: Failure,
}

impl Trouble {
    fn note(slot: &mut Option<Self>, failure: &Failure) {
        match slot {
            Some(known) if known.last.at > failure.at => {}
            Some(known) => {
                known.count += 1;
                known.last = failure.clone();
            }
            None => *slot = Some(Self { since: failure.at, count: 1, last: failure.clone() }),
        }
    }
}

/// What is known of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccountInventory {
    /// Its name, if anybody told it.
    pub name: Option<Box<str>>,
    /// Organizations' word, e.g. `ACTIVE`; absent if nobody said.
    pub state: Option<Box<str>>,
    /// When it was first listed.
    pub joined: Option<EventTime>,
    /// When it was last listed.
    pub listed_at: Option<EventTime>,
    /// When it was no longer listed; absent while it is.
    pub left: Option<EventTime>,
    /// When its role was last assumed.
    pub assumed_at: Option<EventTime>,
    /// Why its role cannot be assumed.
    pub trouble: Option<Trouble>,
}

/// What is known of a Region of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlaceInventory {
    /// When the last complete list of keys was asked for.
    pub listed_at: Option<EventTime>,
    /// How many keys it had.
    pub keys: u32,
    /// When the last complete list of aliases was asked for.
    pub aliases_at: Option<EventTime>,
    /// How many aliases it had.
    pub aliases: u32,
    /// When the last pass ended in which nothing that was due stayed unanswered.
    pub done_at: Option<EventTime>,
    /// When KMS said that the Region is not enabled; absent if it is.
    pub not_enabled: Option<EventTime>,
    /// Whether KMS tells of last uses.
    pub usage: UsageWitness,
    /// What fails, by operation.
    pub troubles: BTreeMap<Box<str>, Trouble>,
}

/// Everything that is known.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    accounts: BTreeMap<AccountId, AccountInventory>,
    places: HashMap<Place, PlaceInventory, RandomState>,
    changed_accounts: HashSet<AccountId, RandomState>,
    changed_places: HashSet<Place, RandomState>,
}

/// What is stored of the inventory, or a part of it.
#[derive(Clone, Debug, Default)]
pub struct InventoryRows {
    /// By account.
    pub accounts: Vec<(AccountId, AccountInventory)>,
    /// By account and Region.
    pub places: Vec<(Place, PlaceInventory)>,
}

impl Inventory {
    /// Takes an answer about an account.
    pub fn note_account(&mut self, answer: &AccountAnswer) {
        self.changed_accounts.insert(answer.account);
        let at = answer.asked_at;
        let known = self.accounts.entry(answer.account).or_default();
        match &answer.said {
            AccountSaid::Listed { name, state } => {
                if known.left.is_some() {
                    (known.left, known.joined) = (None, Some(at));
                }
                known.joined.get_or_insert(at);
                known.listed_at = known.listed_at.max(Some(at));
                known.name = name.clone().or(known.name.take());
                known.state.clone_from(state);
            }
            AccountSaid::Left => known.left = known.left.or(Some(at)),
            AccountSaid::Assumed => {
                known.assumed_at = known.assumed_at.max(Some(at));
                known.trouble = None;
            }
            AccountSaid::Failed(failure) => Trouble::note(&mut known.trouble, failure),
        }
    }

    /// Takes an answer about a Region of an account. Aliases and heartbeats are others' business.
    pub fn note_place(&mut self, answer: &PlaceAnswer) {
        let at = answer.asked_at;
        if matches!(answer.said, PlaceSaid::Beat { .. }) {
            return;
        }
        self.changed_places.insert(answer.place);
        let known = self.places.entry(answer.place).or_default();
        match &answer.said {
            PlaceSaid::Keys { total } => {
                (known.listed_at, known.keys, known.not_enabled) = (Some(at), *total, None);
                known.troubles.remove("ListKeys");
            }
            PlaceSaid::Aliases { total, .. } => {
                (known.aliases_at, known.aliases) = (Some(at), *total);
                known.troubles.remove("ListAliases");
            }
            PlaceSaid::PassDone => {
                known.done_at = Some(at);
                // Last uses are asked for by themselves, not in passes.
                known.troubles.retain(|operation, _| &**operation == "GetKeyLastUsage");
            }
            PlaceSaid::NotEnabled => {
                known.not_enabled = Some(at);
                known.troubles.clear();
            }
            PlaceSaid::LastUsage(witness) => {
                known.usage = *witness;
                if *witness == UsageWitness::Available {
                    known.troubles.remove("GetKeyLastUsage");
                }
            }
            PlaceSaid::Failed(failure) => {
                let mut trouble = known.troubles.remove(&failure.operation);
                Trouble::note(&mut trouble, failure);
                known.troubles.extend(trouble.map(|trouble| (failure.operation.clone(), trouble)));
            }
            PlaceSaid::Beat { .. } => {}
        }
    }

    /// All accounts, by id.
    pub fn accounts(&self) -> impl Iterator<Item = (AccountId, &AccountInventory)> {
        self.accounts.iter().map(|(&account, known)| (account, known))
    }

    /// What is known of an account.
    pub fn account(&self, account: AccountId) -> Option<&AccountInventory> {
        self.accounts.get(&account)
    }

    /// All places, in no order.
    pub fn places(&self) -> impl Iterator<Item = (Place, &PlaceInventory)> {
        self.places.iter().map(|(&place, known)| (place, known))
    }

    /// What is known of a place.
    pub fn place(&self, place: Place) -> Option<&PlaceInventory> {
        self.places.get(&place)
    }

    /// What changed since this was last asked, for the store.
    pub fn take_changed(&mut self) -> InventoryRows {
        let accounts = std::mem::take(&mut self.changed_accounts);
        let places = std::mem::take(&mut self.changed_places);
        let account = |account: AccountId| Some((account, self.accounts.get(&account)?.clone()));
        let place = |place: Place| Some((place, self.places.get(&place)?.clone()));
        InventoryRows {
            accounts: accounts.into_iter().filter_map(account).collect(),
            places: places.into_iter().filter_map(place).collect(),
        }
    }

    /// Puts back what was stored.
    pub fn restore(rows: InventoryRows) -> Self {
        Self {
            accounts: rows.accounts.into_iter().collect(),
            places: rows.places.into_iter().collect(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(at: u32) -> Failure {
        Failure {
            at: EventTime::from_seconds(at),
            operation: "ListKeys".into(),
            class: "denied".into(),
            message: "no".into(),
        }
    }

    #[test]
    fn what_fails_keeps_what_was_known_and_says_since_when() {
        let place = Place { account: "111122223333".parse().unwrap(), region: "eu-west-1".parse().unwrap() };
        let mut inventory = Inventory::default();
        let note = |inventory: &mut Inventory, at: u32, said| {
            inventory.note_place(&PlaceAnswer { place, asked_at: EventTime::from_seconds(at), said });
        };
        note(&mut inventory, 1, PlaceSaid::Keys { total: 7 });
        note(&mut inventory, 2, PlaceSaid::Failed(failed(2)));
        note(&mut inventory, 3, PlaceSaid::Failed(failed(3)));
        let known = inventory.place(place).unwrap();
        assert_eq!((known.keys, known.listed_at), (7, Some(EventTime::from_seconds(1))));
        let trouble = &known.troubles["ListKeys"];
        assert_eq!((trouble.since, trouble.count), (EventTime::from_seconds(2), 2));
        note(&mut inventory, 4, PlaceSaid::Keys { total: 8 });
        assert!(inventory.place(place).unwrap().troubles.is_empty());
    }

    #[test]
    fn an_account_that_comes_back_has_joined_again() {
        let account: AccountId = "111122223333".parse().unwrap();
        let mut inventory = Inventory::default();
        let mut note = |at: u32, said| {
            inventory.note_account(&AccountAnswer { account, asked_at: EventTime::from_seconds(at), said });
            inventory.account(account).unwrap().clone()
        };
        let listed = |name: Option<&str>| AccountSaid::Listed { name: name.map(Box::from), state: None };
        note(1, listed(Some("pay")));
        assert_eq!(note(2, AccountSaid::Left).left, Some(EventTime::from_seconds(2)));
        let back = note(3, listed(None));
        assert_eq!((back.left, back.joined), (None, Some(EventTime::from_seconds(3))));
        assert_eq!(back.name.as_deref(), Some("pay"));
    }
}
