//! The organisation as it stands: accounts, keys, aliases, grants.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use dormouse_model::{AccountId, EventTime, KeyArn, LifecycleState, Region};

use super::Cadence;
use super::truth::{GrantTruth, KeyTruth, MultiRegionTruth, RotationTruth, Tally, Totals};
use crate::records::Generated;
use crate::records::catalogue::KeyClass;
use crate::records::principals::Principal;

/// A member account.
pub(crate) struct Member {
    pub(crate) id: AccountId,
    pub(crate) name: String,
    pub(crate) email: String,
    /// One of the five states that Organizations knows.
    pub(crate) state: &'static str,
    /// Whether it left the organisation. What is in it goes on.
    pub(crate) has_left: bool,
    /// The place of its organisational unit in [`super::names::UNITS`].
    pub(crate) unit: usize,
    pub(crate) joined: EventTime,
    /// Those who administer keys here.
    pub(crate) operators: Vec<Arc<Principal>>,
    /// One without permissions.
    pub(crate) outsider: Arc<Principal>,
}

impl Member {
    pub(crate) fn is_active(&self) -> bool {
        self.state == "ACTIVE"
    }

    /// Whether it is an account of the organisation now.
    pub(crate) fn belongs(&self) -> bool {
        !self.has_left
    }
}

/// Who calls, from which account, in which Region.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) account: AccountId,
    pub(crate) region: Region,
    pub(crate) principal: Arc<Principal>,
}

/// Who gets a grant, or may retire it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Grantee {
    /// As `GranteePrincipal` or `RetiringPrincipal`: an ARN or, for grants that services made, a service's name.
    Principal(String),
    /// As `GranteeServicePrincipal` or `RetiringServicePrincipal`.
    Service(String),
}

impl Grantee {
    /// By whichever field it is named.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Principal(name) | Self::Service(name) => name,
        }
    }
}

/// A grant on a key.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) id: String,
    pub(crate) token: String,
    pub(crate) name: String,
    pub(crate) created: EventTime,
    pub(crate) grantee: Grantee,
    pub(crate) retiring: Option<Grantee>,
    pub(crate) issuing: AccountId,
    pub(crate) operations: Vec<String>,
    /// As the request said it; `null` if it did not.
    pub(crate) constraints: serde_json::Value,
}

/// Automatic rotation, while it is on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rotation {
    pub(crate) period_days: u32,
    pub(crate) since: EventTime,
}

/// A scheduled deletion.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deletion {
    pub(crate) date: EventTime,
    pub(crate) window_days: u32,
}

/// Imported key material.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Imported {
    /// When it expires; `None`: never.
    pub(crate) valid_to: Option<EventTime>,
}

/// Where a key's material comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Kms,
    External,
    /// A custom key store: its id, and whether it is an external one.
    Store {
        id: String,
        external: bool,
    },
}

impl Origin {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Kms => "AWS_KMS",
            Self::External => "EXTERNAL",
            Self::Store { external: false, .. } => "AWS_CLOUDHSM",
            Self::Store { external: true, .. } => "EXTERNAL_KEY_STORE",
        }
    }
}

/// A custom key store.
#[derive(Clone, Debug)]
pub(crate) struct KeyStore {
    pub(crate) name: String,
    pub(crate) external: bool,
    pub(crate) connected: bool,
    pub(crate) created: EventTime,
}

/// A use as KMS itself remembers it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Remembered {
    pub(crate) time: EventTime,
    pub(crate) operation: &'static str,
    pub(crate) event_id: u128,
    pub(crate) request_id: u128,
}

/// A key.
pub(crate) struct KeyState {
    pub(crate) arn: KeyArn,
    pub(crate) arn_text: Arc<str>,
    pub(crate) class: KeyClass,
    pub(crate) aws_managed: bool,
    pub(crate) origin: Origin,
    /// Keys of external origin, while they have material.
    pub(crate) imported: Option<Imported>,
    pub(crate) created: EventTime,
    pub(crate) state: LifecycleState,
    pub(crate) deletion: Option<Deletion>,
    /// A multi-Region primary that is to be deleted after its replicas waits so many days from then.
    pub(crate) window_after_replicas: Option<u32>,
    pub(crate) description: String,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) rotation: Option<Rotation>,
    pub(crate) rotations: u32,
    pub(crate) policy: String,
    /// Other accounts that the policy lets use the key.
    pub(crate) shared_with: BTreeSet<AccountId>,
    /// Multi-Region: whether the others are this key's replicas.
    pub(crate) primary: bool,
    pub(crate) grants: BTreeMap<String, Grant>,
    /// Oldest first; no more than fit the lag with which KMS tells of them.
    pub(crate) remembered: VecDeque<Remembered>,
    pub(crate) cadence: Option<Cadence>,
    pub(crate) used_before: Option<EventTime>,
    pub(super) tally: Tally,
}

impl KeyState {
    pub(crate) fn manager(&self) -> &'static str {
        if self.aws_managed { "AWS" } else { "CUSTOMER" }
    }

    /// Whether there is anything to encrypt with in KMS itself.
    pub(crate) fn has_material(&self) -> bool {
        match self.origin {
            Origin::Kms => true,
            Origin::External => self.imported.is_some(),
            Origin::Store { .. } => false,
        }
    }

    /// Whether KMS can rotate it by itself.
    pub(crate) fn can_rotate(&self) -> bool {
        self.class == KeyClass::Symmetric && self.origin == Origin::Kms
    }

    /// Rotation as `GetKeyRotationStatus` shows it, with the date of the next one.
    pub(crate) fn rotation_at(&self, now: EventTime) -> Option<(Rotation, EventTime)> {
        let is_on = matches!(self.state, LifecycleState::Enabled | LifecycleState::Disabled);
        let rotation = self.rotation.filter(|_| is_on)?;
        let period = rotation.period_days * 86_400;
        let rounds = now.seconds_since(rotation.since) / period + 1;
        Some((rotation, rotation.since.plus(rounds * period)))
    }
}

/// An alias.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alias {
    /// AWS's own aliases stand there before they have a key.
    pub(crate) target: Option<usize>,
    /// When it was made and when it was last pointed at a key; `None`: KMS does not say.
    pub(crate) dates: Option<(EventTime, EventTime)>,
}

/// What one account has in one Region, by id and by name.
#[derive(Default)]
pub(crate) struct Shelf {
    pub(crate) keys: BTreeMap<String, usize>,
    pub(crate) aliases: BTreeMap<String, Alias>,
    pub(crate) stores: BTreeMap<String, KeyStore>,
}

/// Everything that can change.
pub(crate) struct State {
    /// Also those that have left.
    pub(crate) members: Vec<Member>,
    by_account: HashMap<AccountId, usize>,
    pub(crate) regions: Vec<Region>,
    /// Regions besides into which keys were replicated.
    pub(crate) more_regions: Vec<Region>,
    /// The operations of which there are records; `None`: all.
    pub(crate) recorded: Option<Vec<String>>,
    /// Keys that are to be made later in history are in here and on no shelf.
    pub(crate) keys: Vec<KeyState>,
    pub(crate) shelves: HashMap<(AccountId, Region), Shelf>,
    by_arn: HashMap<KeyArn, usize>,
    pub(crate) lag_seconds: u32,
    /// Everything up to here happened.
    pub(crate) now: EventTime,
    /// Records that nobody has taken yet, in the order of time.
    pub(crate) outbox: VecDeque<Generated>,
    pub(super) totals: Totals,
}

impl State {
    pub(super) fn new(
        members: Vec<Member>,
        regions: Vec<Region>,
        start: EventTime,
        lag_seconds: u32,
    ) -> Self {
        let by_account = members.iter().enumerate().map(|(place, member)| (member.id, place)).collect();
        Self {
            members,
            by_account,
            regions,
            more_regions: Vec::new(),
            recorded: None,
            keys: Vec::new(),
            shelves: HashMap::new(),
            by_arn: HashMap::new(),
            lag_seconds,
            now: start,
            outbox: VecDeque::new(),
            totals: Totals::default(),
        }
    }

    pub(crate) fn member(&self, id: AccountId) -> Option<&Member> {
        self.by_account.get(&id).map(|&place| &self.members[place])
    }

    pub(super) fn member_mut(&mut self, id: AccountId) -> Option<&mut Member> {
        self.by_account.get(&id).map(|&place| &mut self.members[place])
    }

    pub(super) fn add_member(&mut self, member: Member) {
        self.by_account.insert(member.id, self.members.len());
        self.members.push(member);
    }

    pub(crate) fn management(&self) -> Option<&Member> {
        self.members.first()
    }

    /// Puts a key on its shelf, where calls find it.
    pub(crate) fn shelve(&mut self, place: usize) {
        let arn = self.keys[place].arn;
        self.by_arn.insert(arn, place);
        self.shelf(arn.account(), arn.region()).keys.insert(arn.id(), place);
    }

    /// Takes a deleted key off its shelf, with its aliases; its truth stays.
    pub(crate) fn bury(&mut self, place: usize) {
        let arn = self.keys[place].arn;
        let key = &mut self.keys[place];
        key.state = LifecycleState::Deleted;
        key.deletion = None;
        key.grants.clear();
        let shelf = self.shelf(arn.account(), arn.region());
        shelf.keys.remove(&arn.id());
        shelf.aliases.retain(|_, alias| alias.target != Some(place));
    }

    /// Multi-Region primaries that waited for this replica to be gone and whose own waiting period begins now.
    pub(crate) fn primaries_without_replicas(&mut self, gone: usize, time: EventTime) -> Vec<usize> {
        let siblings = self.siblings(gone);
        let [primary] = siblings[..] else {
            return Vec::new();
        };
        let key = &mut self.keys[primary];
        let Some(window_days) = key.window_after_replicas.take() else {
            return Vec::new();
        };
        key.state = LifecycleState::PendingDeletion;
        key.deletion = Some(Deletion { date: time.plus(window_days * 86_400), window_days });
        vec![primary]
    }

    pub(crate) fn shelf(&mut self, account: AccountId, region: Region) -> &mut Shelf {
        self.shelves.entry((account, region)).or_default()
    }

    /// The key with this ARN, deleted or not.
    pub(crate) fn place_of(&self, arn: KeyArn) -> Option<usize> {
        self.by_arn.get(&arn).copied()
    }

    /// The places of all keys with this key's id in its account, itself included, by Region name.
    pub(crate) fn siblings(&self, place: usize) -> Vec<usize> {
        let arn = self.keys[place].arn;
        let id = arn.id();
        let in_region = |region: &Region| {
            let shelf = self.shelves.get(&(arn.account(), *region))?;
            shelf.keys.get(&id).copied()
        };
        self.regions.iter().chain(&self.more_regions).filter_map(in_region).collect()
    }

    fn aliases_of(&self, place: usize) -> BTreeSet<String> {
        let arn = self.keys[place].arn;
        let shelf = self.shelves.get(&(arn.account(), arn.region()));
        let aliases = shelf.into_iter().flat_map(|shelf| &shelf.aliases);
        aliases.filter(|(_, alias)| alias.target == Some(place)).map(|(name, _)| name.clone()).collect()
    }

    pub(super) fn truth_of(&self, place: usize) -> KeyTruth {
        self.truth_with(place, self.aliases_of(place))
    }

    fn truth_with(&self, place: usize, aliases: BTreeSet<String>) -> KeyTruth {
        let key = &self.keys[place];
        let Tally { uses, attempts, changes, last_use, last_attempt, wanted } = key.tally.clone();
        let (spec, usage) = key.class.spec_and_usage();
        let rotation = key.rotation_at(self.now);
        KeyTruth {
            key: key.arn,
            cadence: key.cadence,
            manager: key.manager(),
            spec,
            usage,
            origin: key.origin.name(),
            custom_key_store: match &key.origin {
                Origin::Store { id, .. } => Some(id.clone()),
                _ => None,
            },
            valid_to: key.imported.and_then(|imported| imported.valid_to),
            created: key.created,
            state: key.state,
            deletion: key.deletion.map(|deletion| deletion.date),
            multi_region: self.relation_of(place),
            aliases,
            tags: key.tags.clone(),
            description: key.description.clone(),
            grants: key.grants.values().map(GrantTruth::of).collect(),
            rotation: rotation
                .map(|(rotation, next)| RotationTruth { period_days: rotation.period_days, next }),
            uses,
            attempts,
            changes,
            last_use,
            last_attempt,
            wanted,
            used_before: key.used_before,
        }
    }

    /// What the key's metadata say of its siblings.
    fn relation_of(&self, place: usize) -> Option<MultiRegionTruth> {
        let key = &self.keys[place];
        if !key.arn.is_multi_region() || key.state == LifecycleState::Deleted {
            return None;
        }
        let (primary, replicas): (Vec<usize>, Vec<usize>) =
            self.siblings(place).into_iter().partition(|&sibling| self.keys[sibling].primary);
        let primary = primary.first().map(|&primary| self.keys[primary].arn);
        let replicas = replicas.into_iter().map(|replica| self.keys[replica].arn).collect();
        Some(MultiRegionTruth { primary, replicas })
    }

    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    /// The truth about all keys that exist or existed, sorted by ARN.
    pub(super) fn all_truths(&self) -> Vec<KeyTruth> {
        let mut aliases: HashMap<usize, BTreeSet<String>> = HashMap::new();
        for (name, alias) in self.shelves.values().flat_map(|shelf| &shelf.aliases) {
            if let Some(target) = alias.target {
                aliases.entry(target).or_default().insert(name.clone());
            }
        }
        let mut places: Vec<usize> = self.by_arn.values().copied().collect();
        places.sort_by(|&a, &b| self.keys[a].arn_text.cmp(&self.keys[b].arn_text));
        let truth = |place| self.truth_with(place, aliases.remove(&place).unwrap_or_default());
        places.into_iter().map(truth).collect()
    }
}
