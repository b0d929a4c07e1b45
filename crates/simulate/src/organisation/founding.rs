//! How the organisation comes to be: accounts, keys, who uses them, and what will be done to them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use dormouse_model::{AccountId, EventTime, KeyArn, LifecycleState, Region};
use serde_json::{Value, json};

use super::cadence::{DAY, Habit, Rhythm, millis};
use super::director::{Actor, Bystander, Director, Step};
use super::kms::{new_key, policy};
use super::names::{ACCOUNTS, APPLICATIONS, Data, FORMER, SERVICES};
use super::state::{Alias, Caller, Grant, Grantee, KeyState, Member, Remembered, Rotation, State};
use super::{Cadence, OrganisationOptions};
use crate::records::catalogue::KeyClass;
use crate::records::parameters::grant_id;
use crate::records::principals::{Principal, assumed_role, iam_user, infrastructure, service};
use crate::records::world::account_at;
use crate::uuid::Uuid;

/// The fewest keys that have every cadence, a multi-Region key and its replica among them.
const FEWEST_KEYS: usize = 12;
const DAY_SECONDS: u32 = 86_400;
/// An account that does not belong to the organisation, as ARNs begin.
const FOREIGN: &str = "arn:aws:iam::999988887777";

/// Everything at the start of history.
pub(super) fn found(options: &OrganisationOptions) -> (State, Director) {
    let mut random = fastrand::Rng::with_seed(options.seed);
    let mut regions = options.regions.clone();
    if regions.is_empty() {
        regions.extend("eu-west-1".parse::<Region>());
    }
    let members = members(&mut random, options);
    let rhythm = Rhythm {
        live_from: millis(options.live_from),
        history_rate: options.history_rate,
        live_rate: options.live_rate,
    };
    let mut state = State::new(members, regions, options.start, options.last_usage_lag_seconds);
    state.recorded.clone_from(&options.recorded);
    let director = Director::new(rhythm, random.fork());
    let homes = homes(&state.members);
    let mut founder = Founder {
        random,
        start: options.start,
        live_from: options.live_from,
        still: options.still,
        homes,
        state,
        director,
    };
    let mut place = 0;
    while founder.state.keys.len() < options.keys.max(FEWEST_KEYS) {
        founder.add_key(place);
        place += 1;
    }
    if options.still {
        founder.state.take_shapes(&mut founder.random);
    } else {
        founder.share_traffic();
        founder.choose_successors();
        founder.add_bystanders();
    }
    if options.predefined_aliases {
        founder.state.add_predefined_aliases();
    }
    let Founder { state, mut director, start, .. } = founder;
    director.begin(&state, start);
    (state, director)
}

fn members(random: &mut fastrand::Rng, options: &OrganisationOptions) -> Vec<Member> {
    let count = options.accounts.max(1);
    let former = if count >= 8 { 2 } else { usize::from(count >= 4) };
    let member = |place: usize| {
        let (name, state) = match (place + former).checked_sub(count) {
            Some(place) => (FORMER[place].0.to_owned(), FORMER[place].1),
            None => (
                ACCOUNTS.get(place).map_or_else(|| format!("workload-{place:02}"), |&name| name.to_owned()),
                "ACTIVE",
            ),
        };
        let joined = options.start.minus(DAY_SECONDS * (1_500 - u32::try_from(place % 100).unwrap_or(0) * 9));
        Member { state, ..new_member(random, place, name, joined, options.start) }
    };
    (0..count).map(member).collect()
}

/// An active account at this place, with those who administer it.
pub(super) fn new_member(
    random: &mut fastrand::Rng,
    place: usize,
    name: String,
    joined: EventTime,
    start: EventTime,
) -> Member {
    let id = account_at(place);
    let session = start.minus(1_800);
    let mut role = |name: &str, session_name: &str| {
        Arc::new(assumed_role(random, id, name, session_name, session, None))
    };
    let operators = vec![
        role("AWSReservedSSO_PlatformAdmin_0a1b2c3d4e5f6071", "mona.keeper@example.com"),
        role("terraform", "apply-main"),
        role("AWSReservedSSO_ReadOnly_7f6e5d4c3b2a1908", "otto.reader@example.com"),
    ];
    let outsider = role("contractor", "li.guest@example.net");
    let unit = match &*name {
        name if name.contains("security") => 2,
        "management" | "shared-services" => 0,
        name if FORMER.iter().any(|(former, _)| *former == name) => 3,
        _ => 1,
    };
    Member {
        id,
        email: format!("aws+{name}@example.com"),
        name,
        state: "ACTIVE",
        has_left: false,
        unit,
        joined,
        operators,
        outsider,
    }
}

/// The places of the accounts that have keys.
fn homes(members: &[Member]) -> Vec<usize> {
    let active: Vec<usize> = (0..members.len()).filter(|&place| members[place].is_active()).collect();
    // The management account of a larger organisation runs nothing.
    if active.len() > 3 { active[1..].to_vec() } else { active }
}

struct Founder {
    random: fastrand::Rng,
    start: EventTime,
    live_from: EventTime,
    /// Nobody does anything: keys have no actors.
    still: bool,
    /// The places of the accounts that have keys.
    homes: Vec<usize>,
    state: State,
    director: Director,
}

/// What a key is to be.
struct Design {
    place: usize,
    cadence: Cadence,
    class: KeyClass,
    member: usize,
    region: Region,
    data: Data,
    name: String,
    /// When it is made; before history for most.
    created: EventTime,
    multi_region: bool,
}

impl Founder {
    /// The moment at this share of history, from 0 to 1.
    fn moment(&self, share: f64) -> EventTime {
        let length = self.live_from.seconds_since(self.start);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a u32")]
        let passed = (f64::from(length) * share) as u32;
        self.start.plus(passed)
    }

    fn add_key(&mut self, place: usize) {
        let homes = &self.homes;
        let cadence = Cadence::at(place);
        let regions = &self.state.regions;
        let (member, region) = if self.still {
            // By chance, so that of many keys some are everywhere.
            (homes[self.random.usize(..homes.len())], regions[self.random.usize(..regions.len())])
        } else {
            let member = homes[(place * 7 + place / homes.len()) % homes.len()];
            (member, regions[(place * 5 + place / 3) % regions.len()])
        };
        let (name, data) = APPLICATIONS[(place * 5 + place / 20) % APPLICATIONS.len()];
        let class = match place % 20 {
            14 => KeyClass::Mac,
            16 => KeyClass::Signing,
            18 => KeyClass::Asymmetric,
            _ => KeyClass::Symmetric,
        };
        let multi_region = place % 20 == 10 && self.state.regions.len() > 1;
        // Made during history: some, but not those whose story begins before it, and none with replicas.
        let is_old = matches!(cadence, Cadence::Seasonal | Cadence::Dead | Cadence::Service);
        let is_young = place % 7 == 6 && !is_old && !multi_region && !self.still;
        let age = self.random.u32(120..1_300) * DAY_SECONDS;
        let young = self.random.f64() * 0.3 + 0.02;
        let created = if is_young { self.moment(young) } else { self.start.minus(age) };
        let design = Design {
            place,
            cadence,
            class,
            member,
            region,
            data,
            name: name.to_owned(),
            created,
            multi_region,
        };
        if cadence == Cadence::Service {
            self.add_managed_key(design);
            return;
        }
        let primary = self.add(&design);
        if multi_region {
            let elsewhere: Vec<Region> =
                self.state.regions.iter().copied().filter(|&other| other != region).collect();
            for (other, cadence) in elsewhere.into_iter().zip([Cadence::Weekly, Cadence::NeverUsed]) {
                self.add_replica(
                    primary,
                    Design { cadence, region: other, name: design.name.clone(), ..design },
                );
            }
        }
    }

    /// The next AWS managed key that an account does not have in the Region yet.
    fn add_managed_key(&mut self, design: Design) {
        let account = self.state.members[design.member].id;
        let shelf = self.state.shelf(account, design.region);
        let missing =
            |&&(name, _, _): &&(&str, Data, &str)| !shelf.aliases.contains_key(&format!("alias/aws/{name}"));
        let Some(&(name, data, description)) = SERVICES.iter().find(missing) else {
            // It has them all: it becomes a key like others.
            self.add(&Design { cadence: Cadence::Daily, ..design });
            return;
        };
        let place = self.add(&Design { data, name: name.to_owned(), ..design });
        self.state.keys[place].description = description.to_owned();
    }

    fn add(&mut self, design: &Design) -> usize {
        let bits = self.random.u128(..);
        let id = if design.multi_region {
            format!("mrk-{bits:032x}")
        } else {
            Uuid::from_random(bits).to_string()
        };
        self.add_named(design, &id)
    }

    fn add_replica(&mut self, primary: usize, design: Design) {
        let id = self.state.keys[primary].arn.id();
        let replica = self.add_named(&Design { created: design.created.plus(DAY_SECONDS), ..design }, &id);
        self.state.keys[replica].primary = false;
    }

    fn add_named(&mut self, design: &Design, id: &str) -> usize {
        let account = self.state.members[design.member].id;
        // The id was made for this; another key stands in where even so it is none.
        let Ok(arn) = KeyArn::from_parts(design.region, account, id) else {
            return 0;
        };
        let place = self.state.keys.len();
        let partner = self.partner(design);
        let shared_with: BTreeSet<AccountId> =
            partner.iter().map(|&partner| self.state.members[partner].id).collect();
        let is_managed = design.cadence == Cadence::Service;
        let used_before = self.used_before(design);
        let is_old = design.created < self.start;
        let rotates = !is_managed && design.class == KeyClass::Symmetric && design.place.is_multiple_of(3);
        let mut key = KeyState {
            aws_managed: is_managed,
            description: format!("{} at rest", design.name),
            tags: if is_managed { BTreeMap::new() } else { self.tags(design) },
            rotation: (rotates && is_old).then_some(Rotation { period_days: 365, since: design.created }),
            policy: policy(account, &shared_with),
            shared_with,
            cadence: Some(design.cadence),
            used_before,
            ..new_key(arn, design.class, design.created)
        };
        if let Some(time) = used_before {
            let (event_id, request_id) = (self.random.u128(..), self.random.u128(..));
            key.remembered.push_back(Remembered { time, operation: "Decrypt", event_id, request_id });
        }
        if matches!(design.data, Data::Volume | Data::Database) && is_old && !is_managed {
            let grant = self.first_grant(design);
            key.grants.insert(grant.id.clone(), grant);
        }
        self.state.keys.push(key);
        let alias = self.alias_name(design);
        if is_old {
            self.state.shelve(place);
            if let Some(name) = &alias {
                let made = design.created.plus(40);
                let set = Alias { target: Some(place), dates: Some((made, made)) };
                self.state.shelf(account, design.region).aliases.insert(name.clone(), set);
            }
        }
        if !self.still {
            let actor = self.actor(design, place, alias, partner);
            self.director.actors.push(actor);
        }
        place
    }

    /// The other account that uses the key, too.
    fn partner(&self, design: &Design) -> Option<usize> {
        let homes = &self.homes;
        let is_shared = design.place.is_multiple_of(20) && design.cadence == Cadence::Busy;
        let mut others = homes.iter().copied().filter(|&other| other != design.member);
        let count = homes.len().saturating_sub(1);
        (is_shared && count > 0).then(|| others.nth(design.place / 20 % count)).flatten()
    }

    fn used_before(&mut self, design: &Design) -> Option<EventTime> {
        let days =
            |random: &mut fastrand::Rng, from: u32, to: u32| random.u32(from * DAY_SECONDS..to * DAY_SECONDS);
        let random = &mut self.random;
        let ago = match design.cadence {
            Cadence::Busy => random.u32(1..900),
            Cadence::Daily
            | Cadence::Service
            | Cadence::DisabledButWanted
            | Cadence::PendingDeletionButWanted => days(random, 0, 1) + 1,
            Cadence::Weekly => days(random, 0, 7) + 1,
            Cadence::Seasonal => days(random, 30, 330),
            Cadence::Dead => days(random, 60, 700),
            Cadence::NeverUsed => return None,
        };
        let is_old = design.created < self.start;
        is_old.then(|| self.start.minus(ago).max(design.created.plus(3_600)))
    }

    fn tags(&mut self, design: &Design) -> BTreeMap<String, String> {
        let name = &self.state.members[design.member].name;
        let team = name.rsplit_once('-').map_or(&**name, |(team, _)| team);
        let environment = name.rsplit_once('-').map_or("prod", |(_, environment)| environment);
        let cost_centre = format!("{}", 4_100 + design.member * 10);
        let pairs = [
            ("team", team),
            ("env", environment),
            ("cost-centre", &*cost_centre),
            ("application", &*design.name),
        ];
        // Not everybody tags well.
        let count = if self.random.u8(..8) == 0 { 0 } else { self.random.usize(2..=pairs.len()) };
        pairs[..count].iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// A name that no alias in the account and Region has yet; some keys have none.
    fn alias_name(&mut self, design: &Design) -> Option<String> {
        if design.cadence == Cadence::Service {
            return Some(format!("alias/aws/{}", design.name));
        }
        if design.place % 9 == 5 {
            return None;
        }
        let member = &self.state.members[design.member];
        let taken = self.state.shelves.get(&(member.id, design.region));
        let is_free = |name: &String| !taken.is_some_and(|shelf| shelf.aliases.contains_key(name));
        let environment = member.name.rsplit_once('-').map_or("prod", |(_, environment)| environment);
        let first = format!("alias/{}-{environment}", design.name);
        let numbered = (2..).map(|number| format!("alias/{}-{environment}-{number}", design.name));
        std::iter::once(first).chain(numbered).find(is_free)
    }

    fn first_grant(&mut self, design: &Design) -> Grant {
        let account = self.state.members[design.member].id;
        let service = if design.data == Data::Volume { "ec2" } else { "rds" };
        Grant {
            id: grant_id(&mut self.random),
            token: grant_id(&mut self.random),
            name: String::new(),
            created: design.created.plus(7_200),
            grantee: match design.place % 4 {
                0 => Grantee::Principal(format!("{service}.{}.amazonaws.com", design.region)),
                1 => Grantee::Service(format!("{service}.amazonaws.com")),
                2 => Grantee::Principal(format!("{FOREIGN}:role/backup")),
                _ => Grantee::Principal(format!(
                    "arn:aws:sts::{account}:assumed-role/aws:{service}-infrastructure/i-{:017x}",
                    design.place
                )),
            },
            retiring: Some(Grantee::Principal(format!("{service}.{}.amazonaws.com", design.region))),
            issuing: account,
            operations: ["Decrypt", "GenerateDataKeyWithoutPlaintext", "CreateGrant"]
                .map(str::to_owned)
                .to_vec(),
            constraints: if design.place % 4 == 1 {
                let source =
                    format!("arn:aws:{service}:{}:{account}:resource/{}", design.region, design.name);
                json!({ "SourceArn": source })
            } else {
                Value::Null
            },
        }
    }

    fn actor(
        &mut self,
        design: &Design,
        place: usize,
        alias: Option<String>,
        partner: Option<usize>,
    ) -> Actor {
        let mut users = self.users(design.member, design);
        if let Some(partner) = partner {
            users.extend(self.users(partner, design).into_iter().take(1));
        }
        let member = &self.state.members[design.member];
        // Infrastructure as code most of the time, a person now and then.
        let administrator = member.operators[usize::from(!design.place.is_multiple_of(4))].clone();
        let administrator = Caller { account: member.id, region: design.region, principal: administrator };
        let script = self.script(design, alias.as_deref());
        Actor {
            random: self.random.fork(),
            habit: Habit { cadence: design.cadence, share: 0.0, slot: self.random.u64(..7 * DAY), left: 0 },
            data: design.data,
            name: design.name.clone(),
            users,
            administrator,
            script,
            successor: None,
            alias: alias.filter(|_| place < self.state.keys.len()),
            is_silent: false,
        }
    }

    /// Those who use the key from this account.
    fn users(&mut self, member: usize, design: &Design) -> Vec<Caller> {
        let account = self.state.members[member].id;
        let session = self.start.minus(1_800);
        let random = &mut self.random;
        let app = &*design.name;
        let instance = format!("i-{:017x}", random.u64(..) >> 4);
        let mut role = |name: &str, session_name: &str, on_behalf| {
            assumed_role(random, account, name, session_name, session, on_behalf)
        };
        let principals: Vec<Principal> = match (design.data, design.cadence) {
            (Data::Table, Cadence::Service) => vec![service(account, "dynamodb.amazonaws.com")],
            (Data::Logs, Cadence::Daily | Cadence::Weekly) => {
                vec![service(account, "cloudtrail.amazonaws.com")]
            }
            (Data::Volume, _) => vec![infrastructure(random, account, session)],
            (Data::Object, _) => vec![
                role(app, &instance, Some("AWS Internal")),
                role(&format!("{app}-export"), "nightly", Some("AWS Internal")),
            ],
            (Data::Secret, _) => vec![role(app, &instance, Some("secretsmanager.amazonaws.com"))],
            (Data::Parameter, _) => vec![role(app, &instance, Some("ssm.amazonaws.com"))],
            (Data::Table, _) => vec![role(app, &instance, Some("dynamodb.amazonaws.com"))],
            (Data::Logs, _) => vec![role(app, &instance, Some("logs.amazonaws.com"))],
            (Data::Database, _) => {
                vec![role("rds-monitoring", "RDSEnhancedMonitoring", Some("rds.amazonaws.com"))]
            }
            (Data::Function, _) => vec![role(&format!("{app}-lambda"), app, None)],
            (Data::Own, _) => {
                let mut own =
                    vec![role(app, &instance, None), role(app, "botocore-session-1793491200", None)];
                if design.place.is_multiple_of(3) {
                    own.push(iam_user(random, account, "ci/deployer"));
                }
                own
            }
        };
        let caller = |principal| Caller { account, region: design.region, principal: Arc::new(principal) };
        principals.into_iter().map(caller).collect()
    }

    /// What will be done to the key, in the order of time.
    fn script(&mut self, design: &Design, alias: Option<&str>) -> Vec<(EventTime, Step)> {
        let mut script = Vec::new();
        let mut administer =
            |time: EventTime, operation, request| script.push((time, Step::Administer(operation, request)));
        let place = design.place;
        if design.cadence == Cadence::Service {
            return script;
        }
        if design.created >= self.start {
            let born = design.created;
            if let Some(name) = alias {
                administer(born.plus(2), "CreateAlias", json!({ "AliasName": name }));
            }
            if design.class == KeyClass::Symmetric {
                administer(born.plus(4), "EnableKeyRotation", json!({ "RotationPeriodInDays": 365 }));
            }
            script.push((born, Step::Create));
        } else {
            self.old_key_script(design, alias, &mut script);
        }
        let mut administer =
            |time: EventTime, operation, request| script.push((time, Step::Administer(operation, request)));
        match design.cadence {
            Cadence::DisabledButWanted => {
                let share = 0.4 + 0.3 * self.random.f64();
                administer(self.moment(share), "DisableKey", json!({}));
            }
            Cadence::PendingDeletionButWanted => {
                let lately = self.live_from.seconds_since(self.start).min(20 * DAY_SECONDS);
                let ago = lately / 10 + self.random.u32(..=lately / 2);
                let time = self.live_from.minus(ago).max(self.start);
                administer(time, "ScheduleKeyDeletion", json!({ "PendingWindowInDays": 30 }));
            }
            _ => {}
        }
        if place % 9 == 2 {
            let tag = json!({ "TagKey": "cost-centre", "TagValue": "4711" });
            administer(self.moment(0.35), "TagResource", json!({ "Tags": [tag] }));
        }
        if place % 9 == 4 {
            administer(self.moment(0.37), "UntagResource", json!({ "TagKeys": ["cost-centre"] }));
        }
        if place % 9 == 7 {
            let words = format!("{}, owned by the platform team since the move", design.name);
            administer(self.moment(0.32), "UpdateKeyDescription", json!({ "Description": words }));
        }
        script.sort_by_key(|(time, _)| *time);
        script
    }

    /// What happens to keys that are older than history.
    fn old_key_script(&mut self, design: &Design, alias: Option<&str>, script: &mut Vec<(EventTime, Step)>) {
        let place = design.place;
        let symmetric = design.class == KeyClass::Symmetric;
        let mut add = |time: EventTime, step| script.push((time, step));
        let administer = |operation, request: Value| Step::Administer(operation, request);
        match design.cadence {
            Cadence::Dead if place % 20 == 3 => {
                for share in [0.01, 0.015, 0.04, 0.06] {
                    add(self.moment(share), Step::Use);
                }
            }
            // Found unused and deleted; if history is long enough, KMS gets to it within history.
            Cadence::Dead if place % 20 == 9 => {
                let time = self.moment(0.1);
                add(time, administer("DisableKey", json!({})));
                add(time.plus(3_600), administer("ScheduleKeyDeletion", json!({ "PendingWindowInDays": 7 })));
            }
            Cadence::NeverUsed if place % 20 == 17 => {
                let time = self.moment(0.2);
                add(time, administer("ScheduleKeyDeletion", json!({ "PendingWindowInDays": 7 })));
                add(time.plus(7_200), administer("CancelKeyDeletion", json!({})));
                add(time.plus(7_260), administer("EnableKey", json!({})));
            }
            Cadence::Seasonal if place % 20 == 5 => {
                let time = self.moment(0.25);
                for seconds in [0, 4, 9, 15, 60] {
                    add(time.plus(seconds), Step::Use);
                }
            }
            Cadence::Weekly if place % 20 == 13 => {
                add(self.moment(0.45), administer("DisableKey", json!({})));
                add(self.moment(0.45).plus(1_200), administer("EnableKey", json!({})));
            }
            _ => {}
        }
        if matches!(design.data, Data::Volume | Data::Database) && design.cadence != Cadence::Dead {
            let grantee =
                format!("arn:aws:iam::{}:role/{}", self.state.members[design.member].id, design.name);
            let request = json!({
                "GranteePrincipal": grantee,
                "RetiringPrincipal": format!("ec2.{}.amazonaws.com", design.region),
                "Operations": ["Decrypt", "GenerateDataKeyWithoutPlaintext", "CreateGrant"],
            });
            add(self.moment(0.15), administer("CreateGrant", request));
            add(self.moment(0.33), Step::EndGrant);
        }
        if symmetric && place.is_multiple_of(8) {
            add(self.moment(0.28), Step::Rotate);
        }
        let is_lively = matches!(design.cadence, Cadence::Busy | Cadence::Daily | Cadence::Weekly);
        if let Some(alias) = alias.filter(|_| is_lively && place.is_multiple_of(3)) {
            // The alias of the application moves away for a while, as when somebody tries another key.
            let current = format!("{alias}/current");
            add(self.moment(0.2), administer("CreateAlias", json!({ "AliasName": current })));
            if place.is_multiple_of(2) {
                add(self.moment(0.5), administer("DeleteAlias", json!({ "AliasName": current })));
            }
        }
    }

    /// Each busy key gets its share of the traffic.
    fn share_traffic(&mut self) {
        let busy = |actor: &&mut Actor| actor.habit.cadence == Cadence::Busy;
        let mut sum = 0.0;
        let mut rank = 0.0;
        for actor in self.director.actors.iter_mut().filter(busy) {
            rank += 1.0_f64;
            actor.habit.share = rank.powf(-0.8);
            sum += actor.habit.share;
        }
        for actor in self.director.actors.iter_mut().filter(busy) {
            actor.habit.share /= sum;
        }
    }

    /// Busy keys re-encrypt to another busy key beside them, and the alias of every other one moves there in the end.
    fn choose_successors(&mut self) {
        let is_candidate = |state: &State, director: &Director, place: usize| {
            let key = &state.keys[place];
            director.actors[place].habit.cadence == Cadence::Busy
                && key.class == KeyClass::Symmetric
                && key.created < self.start
                && key.state == LifecycleState::Enabled
        };
        let candidates: Vec<usize> = (0..self.state.keys.len())
            .filter(|&place| is_candidate(&self.state, &self.director, place))
            .collect();
        let home = |place: usize| {
            let arn = self.state.keys[place].arn;
            (arn.account(), arn.region())
        };
        let mut neighbours: HashMap<(AccountId, Region), Vec<usize>> = HashMap::new();
        for &place in &candidates {
            neighbours.entry(home(place)).or_default().push(place);
        }
        for &place in &candidates {
            let mut beside = neighbours.get(&home(place)).into_iter().flatten();
            let Some(&successor) = beside.find(|&&other| other != place) else {
                continue;
            };
            self.director.actors[place].successor = Some(successor);
        }
        self.move_an_alias();
    }

    /// One application's alias moves to another key of its account and Region.
    fn move_an_alias(&mut self) {
        let moment = self.moment(0.3);
        let mut moved = 0;
        for place in 0..self.state.keys.len() {
            let movable = |place: usize| {
                let key = &self.state.keys[place];
                let cadence = self.director.actors[place].habit.cadence;
                !key.aws_managed
                    && key.class == KeyClass::Symmetric
                    && key.created < self.start
                    && matches!(cadence, Cadence::Busy | Cadence::Daily | Cadence::Weekly)
            };
            let Some(alias) = self.director.actors[place].alias.clone().filter(|_| movable(place)) else {
                continue;
            };
            let arn = self.state.keys[place].arn;
            let beside = |&other: &usize| {
                let there = self.state.keys[other].arn;
                other != place
                    && movable(other)
                    && there.account() == arn.account()
                    && there.region() == arn.region()
            };
            let Some(target) = (0..self.state.keys.len()).find(beside) else {
                continue;
            };
            let request = json!({ "AliasName": alias, "TargetKeyId": self.state.keys[target].arn.id() });
            let script = &mut self.director.actors[place].script;
            script.push((moment, Step::Administer("UpdateAlias", request)));
            script.sort_by_key(|(time, _)| *time);
            moved += 1;
            if moved == 3 {
                return;
            }
        }
    }

    fn add_bystanders(&mut self) {
        let active = (0..self.state.members.len()).filter(|&member| self.state.members[member].is_active());
        let bystanders = active.map(|member| Bystander { random: self.random.fork(), member });
        self.director.bystanders.extend(bystanders);
    }
}
