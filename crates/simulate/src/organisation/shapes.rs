//! The states and kinds of keys that an organisation in which nothing happens has from the beginning.
//!
//! In one that lives they come about by calls, or not at all. Which key gets which follows from its place, so that every
//! shape occurs in every organisation of a few hundred keys.

use dormouse_model::{AccountId, EventTime, LifecycleState, Region};
use serde_json::Value;

use super::Cadence;
use super::names::SERVICES;
use super::state::{Alias, Deletion, Grant, Grantee, Imported, KeyStore, Origin, State};
use crate::records::catalogue::KeyClass;
use crate::records::parameters::grant_id;

const DAY: u32 = 86_400;

/// Services that have an alias of their own in every account, whether or not it has a key.
const MORE_SERVICES: &[&str] = &["acm", "backup", "elasticfilesystem", "es", "fsx", "kinesis", "sns", "sqs"];

impl State {
    /// Gives keys that nobody uses any more, or whose cadence says so, all the shapes there are.
    pub(super) fn take_shapes(&mut self, random: &mut fastrand::Rng) {
        let mut quiet = 0;
        let mut primaries = 0;
        for place in 0..self.keys.len() {
            let key = &self.keys[place];
            if key.aws_managed {
                continue;
            }
            if key.arn.is_multi_region() {
                if key.primary {
                    primaries += 1;
                    self.shape_primary(place, primaries);
                }
                continue;
            }
            match key.cadence {
                Some(Cadence::DisabledButWanted) => self.keys[place].state = LifecycleState::Disabled,
                Some(Cadence::PendingDeletionButWanted) => self.schedule(place),
                Some(Cadence::NeverUsed | Cadence::Dead) => {
                    self.shape_quiet(place, quiet, random);
                    quiet += 1;
                }
                _ => {}
            }
        }
    }

    fn schedule(&mut self, place: usize) {
        let window_days = 7 + u32::try_from(place % 24).unwrap_or(0);
        let key = &mut self.keys[place];
        key.state = LifecycleState::PendingDeletion;
        key.deletion = Some(Deletion { date: self.now.plus(window_days * DAY), window_days });
    }

    /// Every third waits for its replicas to be deleted.
    fn shape_primary(&mut self, place: usize, number: usize) {
        if number.is_multiple_of(3) {
            let key = &mut self.keys[place];
            key.state = LifecycleState::PendingReplicaDeletion;
            key.window_after_replicas = Some(14);
        }
    }

    fn shape_quiet(&mut self, place: usize, number: usize, random: &mut fastrand::Rng) {
        let (arn, class) = (self.keys[place].arn, self.keys[place].class);
        let (account, region) = (arn.account(), arn.region());
        let expires = (number % 8 == 2).then(|| self.now.plus(90 * DAY));
        match number % 8 {
            0 if class == KeyClass::Symmetric => {
                self.set_origin(place, Origin::External);
                self.keys[place].state = LifecycleState::PendingImport;
            }
            1 | 2 if class == KeyClass::Symmetric => {
                self.set_origin(place, Origin::External);
                self.keys[place].imported = Some(Imported { valid_to: expires });
            }
            3 | 4 if class == KeyClass::Symmetric => {
                let external = number % 8 == 4;
                let id = self.store(account, region, external);
                self.set_origin(place, Origin::Store { id, external });
                if external {
                    self.keys[place].state = LifecycleState::Unavailable;
                }
            }
            5 => self.keys[place].state = LifecycleState::Disabled,
            6 => {
                for grant in grants(account, region, self.keys[place].created.plus(DAY), random) {
                    self.keys[place].grants.insert(grant.id.clone(), grant);
                }
            }
            _ => {}
        }
    }

    fn set_origin(&mut self, place: usize, origin: Origin) {
        let key = &mut self.keys[place];
        key.origin = origin;
        key.rotation = None;
    }

    /// The account's custom key store in the Region; the external one cannot be reached.
    fn store(&mut self, account: AccountId, region: Region, external: bool) -> String {
        let id = format!("cks-{:08x}{:09x}", u8::from(external), account.number() % (1 << 36));
        let name = if external { "vault-outside" } else { "hsm-cluster" }.to_owned();
        let created = self.now.minus(500 * DAY);
        let store = KeyStore { name, external, connected: !external, created };
        self.shelf(account, region).stores.entry(id.clone()).or_insert(store);
        id
    }

    /// AWS's own aliases that have no key yet, wherever there are keys.
    pub(super) fn add_predefined_aliases(&mut self) {
        let names = SERVICES.iter().map(|(name, _, _)| *name).chain(MORE_SERVICES.iter().copied());
        let names: Vec<String> = names.map(|name| format!("alias/aws/{name}")).collect();
        for shelf in self.shelves.values_mut() {
            for name in &names {
                shelf.aliases.entry(name.clone()).or_insert(Alias { target: None, dates: None });
            }
        }
    }
}

/// To a service, to another account and to a role.
fn grants(account: AccountId, region: Region, created: EventTime, random: &mut fastrand::Rng) -> Vec<Grant> {
    let grantees = [
        format!("ec2.{region}.amazonaws.com"),
        "arn:aws:iam::999988887777:root".to_owned(),
        format!("arn:aws:iam::{account}:role/backup"),
    ];
    let grant = |grantee: String| Grant {
        id: grant_id(random),
        token: grant_id(random),
        name: String::new(),
        created,
        grantee: Grantee::Principal(grantee),
        retiring: None,
        issuing: account,
        operations: ["Decrypt", "DescribeKey"].map(str::to_owned).to_vec(),
        constraints: Value::Null,
    };
    grantees.map(grant).into()
}
