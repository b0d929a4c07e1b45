//! A world: what really happens, what of it is heard, and when.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use dormouse_model::{
    DeadLetters, Described, EventId, EventTime, KeyAnswer, KeyArn, KeySaid, Kind, KmsUse, LastUsage,
    LifecycleState, Lost, Observation, OperationTable, Place, PlaceAnswer, PlaceSaid, SourceMark,
    UsageWitness,
};

use super::random::Random;
use crate::coverage::LeavesOut;
use crate::verdict::{Judge, Rules, Thresholds, VerdictKind, Witnesses};
use crate::{
    Aliases, Counting, Coverage, CoverageOptions, Declared, Inventory, KeyState, PipeChange, Rank, Span,
    Unread,
};

/// How long a world lives.
pub(super) const STEPS: u32 = 400;

const MINUTE: u32 = 60;
const HOUR: u32 = 3_600;
/// When worlds begin.
const BEGIN: u32 = 1_793_491_200;
const KEYS: usize = 6;
/// Heartbeats are sent as often as this.
const BEAT: u32 = 15 * MINUTE;
/// No event is later than this, unless that is planted.
const LATEST: u32 = 2 * HOUR;
/// A clock that is fast is fast by less than this, unless that is planted.
const FAST: u32 = 4 * MINUTE;

/// One kind of hole that the world does not tell of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plant {
    /// A heartbeat that did not come back is told as one that did.
    Beats,
    /// A source does not say that it lost messages.
    Source,
    /// A message in the quarantine that names its key is kept quiet.
    QuarantineOfKey,
    /// Likewise one that names no key: an alias that nobody can resolve.
    QuarantineOfPlace,
    /// Successful calls of operations that nobody knows are kept quiet.
    UnknownCalls,
    /// That a rule was narrowed is kept quiet.
    Switch,
    /// Operations are told to pass that were never seen.
    Operations,
    /// KMS's answer is told to be an hour younger than it is.
    KmsLag,
    /// KMS is told to keep track since the key was created.
    Tracking,
    /// Events are later than is reckoned with.
    Late,
    /// A declaration is not true.
    Declaration,
    /// Our clock is fast by hours when KMS is asked.
    Clock,
    /// Digests are told to prove hours for which a file is missing.
    Digests,
    /// KMS is told to be out of reach, so that its later answer is not waited for, while services drop events.
    Witness,
    /// What one source lets through is told of the other as well.
    Vouch,
    /// A source that ends is told to have taken what was still on its way to it.
    Arrival,
}

impl Plant {
    pub(super) const ALL: [Self; 16] = [
        Self::Beats,
        Self::Source,
        Self::QuarantineOfKey,
        Self::QuarantineOfPlace,
        Self::UnknownCalls,
        Self::Switch,
        Self::Operations,
        Self::KmsLag,
        Self::Tracking,
        Self::Late,
        Self::Declaration,
        Self::Clock,
        Self::Digests,
        Self::Witness,
        Self::Vouch,
        Self::Arrival,
    ];
}

/// What was said, for knowing that the test is not empty.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) kinds: BTreeMap<&'static str, u64>,
    /// Uses that services dropped.
    pub(super) missed: u64,
    /// Verdicts of unused that no word of KMS was needed for.
    pub(super) by_stream: u64,
    /// Those that KMS confirmed.
    pub(super) by_kms: u64,
}

/// A use that really happened.
#[derive(Clone, Debug)]
struct Use {
    at: u32,
    operation: &'static str,
    /// A service dropped it on its way to CloudTrail: nobody but KMS can know.
    is_dropped: bool,
    /// It reached the trail, so that history has it.
    is_logged: bool,
}

/// A key and what is known of it.
struct Key {
    arn: KeyArn,
    created: u32,
    operations: &'static [&'static str],
    spec: (&'static str, &'static str),
    /// Nobody uses it from this time on.
    sleeps_from: u32,
    /// It is used about once in so many steps while it is awake.
    used_one_in: u32,
    uses: Vec<Use>,
    state: KeyState<Rank>,
    is_denied: bool,
}

/// Something on its way to us.
enum Coming {
    Use {
        key: usize,
        at: u32,
        operation: &'static str,
    },
    Attempt {
        key: usize,
        at: u32,
        operation: &'static str,
    },
    Beat {
        id: [u8; 16],
        at: u32,
    },
    Change(PipeChange),
    UnknownCall {
        key: usize,
        at: u32,
    },
    Unread(Unread, usize),
    /// A person has the message with this number tried again: it is understood now.
    Retried {
        number: usize,
        key: usize,
        at: u32,
        operation: &'static str,
    },
    Answer(KeyAnswer),
}

struct Known(Mutex<(Coverage, Inventory)>);

impl Witnesses for Known {
    fn look(&self, look: &mut dyn FnMut(&Coverage, &Inventory)) {
        let known = self.0.lock().unwrap();
        look(&known.0, &known.1);
    }
}

pub(super) struct World {
    random: Random,
    plant: Option<Plant>,
    /// The true time, by which AWS's clocks go.
    time: u32,
    /// How far our clock is off.
    skew: i64,
    keys: Vec<Key>,
    known: Arc<Known>,
    rules: Arc<Rules>,
    coming: Vec<(u32, u64, Coming)>,
    quarantine: Vec<Option<Unread>>,
    /// Nothing is delivered from the account and Region.
    is_off: bool,
    /// A hiccup of the pipe, which loses everything, ends at this time.
    lossy_until: u32,
    lossy_from: u32,
    /// Our source loses what reaches it until then, and has said so.
    source_lost: Option<(u32, u32)>,
    /// The rule lets this operation through no more.
    narrowed: Option<&'static str>,
    /// There is a second source until this time, and it alone carries `GetPublicKey`.
    trail_until: Option<u32>,
    next_beat: u32,
    beats: u64,
    usage: UsageWitness,
    /// KMS keeps track from here on.
    tracking: u32,
    /// The whole pipe is what the configuration declares it to be: it loses nothing.
    is_declared: bool,
    /// The trail was off in these spans.
    off_spans: Vec<(u32, u32)>,
    off_since: Option<u32>,
    digested_until: u32,
    number: u64,
}

const SYMMETRIC: &[&str] = &["Decrypt", "Encrypt", "GenerateDataKey", "ReEncrypt"];
const SIGNING: &[&str] = &["Sign", "Verify", "GetPublicKey"];
/// What KMS does not remember.
const PUBLIC: &str = "GetPublicKey";
const MAC: &[&str] = &["GenerateMac", "VerifyMac"];
const IN_USE: &[&str] = &[
    "Decrypt",
    "Encrypt",
    "GenerateDataKey",
    "GenerateMac",
    "GetPublicKey",
    "ReEncrypt",
    "Sign",
    "Verify",
    "VerifyMac",
];

fn at(seconds: u32) -> EventTime {
    EventTime::from_seconds(seconds)
}

fn place() -> Place {
    Place { account: "111122223333".parse().unwrap(), region: "eu-west-1".parse().unwrap() }
}

impl World {
    pub(super) fn new(seed: u64, plant: Option<Plant>) -> Self {
        let mut random = Random::new(seed.wrapping_mul(2).wrapping_add(1));
        let is_declared = plant == Some(Plant::Declaration) || plant.is_none() && random.one_in(8);
        let needs_trail = matches!(plant, Some(Plant::Vouch | Plant::Arrival));
        let has_trail = needs_trail || !is_declared && random.one_in(3);
        let trail_until = has_trail.then(|| BEGIN + random.within(10, 60) * HOUR);
        let declared = is_declared.then(|| Declared {
            accounts: Vec::new(),
            regions: Vec::new(),
            span: Span { from: at(BEGIN), until: at(u32::MAX) },
            delay_seconds: LATEST,
        });
        // Nobody uses the other operations in these worlds, and so they never pass.
        let mut table = OperationTable::default();
        for name in OperationTable::default().in_use_names() {
            table.override_in_use(name, IN_USE.contains(&name)).unwrap();
        }
        let thresholds = Thresholds {
            idle_after: random.within(3, 10) * HOUR,
            grace: HOUR,
            proof_max_age: 12 * HOUR,
            ..Thresholds::default()
        };
        let usage = *random.pick(&[
            UsageWitness::Available,
            UsageWitness::Available,
            UsageWitness::Denied,
            UsageWitness::Absent,
            UsageWitness::Unasked,
            UsageWitness::Off,
        ]);
        let asks_kms = usage == UsageWitness::Unasked && random.one_in(2);
        let rules = Arc::new(Rules::new(thresholds, &table, declared.into_iter().collect(), asks_kms));
        let options = CoverageOptions { operations: table, ..CoverageOptions::default() };
        let coverage = Coverage::default().with_options(options);
        let tracking = BEGIN - 20 * HOUR + random.within(0, 40) * HOUR;
        let mut world = Self {
            plant,
            time: BEGIN,
            skew: 0,
            keys: Vec::new(),
            known: Arc::new(Known(Mutex::new((coverage, Inventory::default())))),
            rules,
            coming: Vec::new(),
            quarantine: Vec::new(),
            is_off: false,
            lossy_until: 0,
            lossy_from: 0,
            source_lost: None,
            narrowed: None,
            trail_until,
            next_beat: BEGIN,
            beats: 0,
            usage,
            tracking,
            is_declared,
            off_spans: Vec::new(),
            off_since: None,
            digested_until: BEGIN - 48 * HOUR,
            number: 0,
            random,
        };
        for number in 0..KEYS {
            let key = world.make_key(number);
            world.keys.push(key);
        }
        world.tell_usage();
        world
    }

    fn make_key(&mut self, number: usize) -> Key {
        let random = &mut self.random;
        let (operations, spec) = *random.pick(&[
            (SYMMETRIC, ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")),
            (SYMMETRIC, ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")),
            (SIGNING, ("ECC_NIST_P256", "SIGN_VERIFY")),
            (MAC, ("HMAC_256", "GENERATE_VERIFY_MAC")),
        ]);
        let created = BEGIN - random.within(0, 60) * HOUR + random.within(0, 30) * HOUR;
        // Some are never used, most fall asleep some time, some never do.
        let sleeps_from = match random.within(0, 4) {
            0 => 0,
            1 => u32::MAX,
            _ => BEGIN + random.within(0, 60) * HOUR,
        };
        let arn =
            format!("arn:aws:kms:eu-west-1:111122223333:key/00000000-0000-0000-0000-00000000000{number}");
        let mut key = Key {
            arn: arn.parse().unwrap(),
            created,
            operations,
            spec,
            sleeps_from,
            used_one_in: random.within(2, 80),
            uses: Vec::new(),
            state: KeyState::in_row(u32::try_from(number).unwrap() + 1),
            is_denied: random.one_in(12),
        };
        // What happened before anybody was there is known to KMS, if it kept track, and to the trail.
        if sleeps_from > BEGIN && created < BEGIN - HOUR {
            for _ in 0..random.within(0, 3) {
                let at = random.within(created, BEGIN);
                let operation = *random.pick(operations);
                key.uses.push(Use { at, operation, is_dropped: false, is_logged: true });
            }
            key.uses.sort_by_key(|one| one.at);
        }
        key
    }

    fn tell(&self, change: impl FnOnce(&mut Coverage, &mut Inventory)) {
        let (coverage, inventory) = &mut *self.known.0.lock().unwrap();
        change(coverage, inventory);
    }

    fn tell_usage(&self) {
        let said = PlaceSaid::LastUsage(match self.plant {
            Some(Plant::Witness) => UsageWitness::Denied,
            _ => self.usage,
        });
        let answer = PlaceAnswer { place: place(), asked_at: self.now(), said };
        self.tell(|_, inventory| inventory.note_place(&answer));
    }

    /// The time by our clock.
    fn now(&self) -> EventTime {
        at(u32::try_from(i64::from(self.time) + self.skew).unwrap())
    }

    fn send(&mut self, delay: u32, coming: Coming) {
        self.number += 1;
        self.coming.push((self.time + delay, self.number, coming));
    }

    /// Shortly before its second source ends, a world in which that matters has many uses, and late ones.
    fn has_much_on_its_way(&self) -> bool {
        let is_near = |until| self.time < until && until - self.time < HOUR;
        self.plant == Some(Plant::Arrival) && self.trail_until.is_some_and(is_near)
    }

    /// How long an event takes.
    fn delay(&mut self) -> u32 {
        if self.plant == Some(Plant::Late) && self.random.one_in(3) {
            return self.random.within(LATEST, 6 * LATEST);
        }
        if self.has_much_on_its_way() {
            return self.random.within(HOUR, LATEST - HOUR / 2);
        }
        if self.random.one_in(20) {
            self.random.within(0, LATEST - HOUR / 2)
        } else {
            self.random.within(0, 5 * MINUTE)
        }
    }

    /// One step; a violation if there is one.
    pub(super) fn step(&mut self, seen: &mut Seen) -> Option<String> {
        self.time += self.random.within(MINUTE, 20 * MINUTE);
        self.set_clock();
        self.break_things();
        self.beat();
        for key in 0..KEYS {
            self.live(key, seen);
        }
        self.ask_kms();
        self.read_history();
        self.arrive();
        self.mark();
        self.judge(seen)
    }

    /// Somebody sets our clock; it is never fast by much.
    fn set_clock(&mut self) {
        if self.plant == Some(Plant::Clock) {
            self.skew = if self.random.one_in(3) { i64::from(3 * HOUR) } else { 0 };
        } else if self.random.one_in(60) {
            self.skew = i64::from(self.random.within(0, FAST))
                - i64::from(self.random.within(0, 2) * self.random.within(0, 3 * HOUR));
        }
    }

    /// What keeps events from us begins and ends.
    fn break_things(&mut self) {
        if self.is_declared && self.plant != Some(Plant::Declaration) {
            return;
        }
        if self.is_off {
            if self.random.one_in(8) {
                self.is_off = false;
                let since = self.off_since.take().unwrap_or(self.time);
                self.off_spans.push((since, self.time));
            }
        } else if self.random.one_in(90) {
            self.is_off = true;
            self.off_since = Some(self.time);
            // Of a switch that another account turned nothing is heard: then only heartbeats tell.
            if !self.random.one_in(3) {
                self.change("cloudtrail.amazonaws.com", "StopLogging");
            }
        }
        // A hiccup takes at least one heartbeat with it: one that falls between two is for services to answer for.
        if self.time >= self.lossy_until && self.random.one_in(70) {
            self.lossy_from = self.time;
            self.lossy_until = self.next_beat.max(self.time) + 21 * MINUTE + self.random.within(0, 2 * HOUR);
        }
        if self.random.one_in(90) && self.source_lost.is_none() {
            self.source_lost = Some((self.time, self.time + self.random.within(10 * MINUTE, HOUR)));
        }
        if self.random.one_in(60) {
            let narrowed = if self.narrowed.is_some() { None } else { Some(*self.random.pick(IN_USE)) };
            self.narrowed = narrowed;
            if self.plant != Some(Plant::Switch) {
                self.change("events.amazonaws.com", "PutRule");
            }
        }
    }

    /// Somebody alters what delivers events; CloudTrail's own events take a way of their own.
    fn change(&mut self, service: &str, operation: &str) {
        let change = PipeChange {
            at: at(self.time),
            event_id: format!("change-{}", self.number).into(),
            service: service.into(),
            operation: operation.into(),
            principal: Some("arn:aws:iam::111122223333:role/ops".into()),
            subject: Some("the-one".into()),
            error_code: None,
            leaves_out: LeavesOut::Nothing,
        };
        let delay = self.random.within(0, 5 * MINUTE);
        self.send(delay, Coming::Change(change));
    }

    /// Whether an event of now is lost between CloudTrail and us.
    fn is_lost(&self) -> bool {
        self.is_off || (self.lossy_from <= self.time && self.time < self.lossy_until)
    }

    fn beat(&mut self) {
        if self.time < self.next_beat || self.random.one_in(40) {
            return;
        }
        self.next_beat = self.time + BEAT;
        self.beats += 1;
        let id = u128::from(self.beats).to_be_bytes();
        let sent = self.now();
        self.tell(|coverage, _| coverage.note_beat(place(), id, sent));
        if !self.is_lost() || self.plant == Some(Plant::Beats) {
            let (delay, time) = (self.random.within(0, 4 * MINUTE), self.time);
            self.send(delay, Coming::Beat { id, at: time });
        }
    }

    /// What a key does in this step.
    fn live(&mut self, number: usize, seen: &mut Seen) {
        if self.keys[number].created < self.time && self.random.one_in(30) {
            self.attempt(number);
        }
        let key = &self.keys[number];
        let is_awake = key.created < self.time && self.time < key.sleeps_from;
        // Sleepers wake up at times: those are the uses that must not be overlooked.
        let one_in = match (is_awake, self.has_much_on_its_way()) {
            (true, _) => key.used_one_in,
            (false, false) => 500,
            (false, true) => 6,
        };
        if key.created >= self.time || key.sleeps_from == 0 && one_in == 500 && !self.random.one_in(2) {
            return;
        }
        if !self.random.one_in(one_in) {
            if self.random.one_in(300) {
                self.describe(number);
            }
            return;
        }
        let mut operation = *self.random.pick(self.keys[number].operations);
        if self.has_much_on_its_way() && self.keys[number].operations.contains(&PUBLIC) {
            operation = PUBLIC;
        }
        let is_dropped = !self.is_declared && (self.plant == Some(Plant::Witness) || self.random.one_in(15));
        let is_logged = !is_dropped && !self.is_off;
        seen.missed += u64::from(is_dropped);
        let time = self.time;
        self.keys[number].uses.push(Use { at: time, operation, is_dropped, is_logged });
        let is_narrowed = self.narrowed == Some(operation);
        if is_dropped || self.is_lost() || is_narrowed {
            return;
        }
        let delay = self.delay();
        let unread_one_in = if self.plant == Some(Plant::QuarantineOfKey) { 3 } else { 12 };
        // What only the second source carries is understood.
        let is_of_the_trail = self.trail_until.is_some() && operation == PUBLIC;
        match if is_of_the_trail { 2 } else { self.random.within(0, unread_one_in) } {
            0 => self.send(delay, Coming::UnknownCall { key: number, at: time }),
            1 => {
                let names_key = self.plant == Some(Plant::QuarantineOfKey) || self.random.one_in(2);
                let knows_time = self.random.one_in(2);
                let account = Some(place().account).filter(|_| !self.random.one_in(4));
                let unread = Unread {
                    account,
                    region: Some(place().region).filter(|_| !self.random.one_in(4)),
                    key: names_key.then_some(self.keys[number].arn),
                    events: knows_time.then_some((at(time), at(time))),
                    received: at(0),
                    reason: "unresolved_alias".into(),
                };
                let at_number = self.quarantine.len();
                self.quarantine.push(None);
                self.send(delay, Coming::Unread(unread, at_number));
                if self.random.one_in(2) {
                    let later = delay + self.random.within(HOUR, 20 * HOUR);
                    self.send(later, Coming::Retried { number: at_number, key: number, at: time, operation });
                }
            }
            _ => self.send(delay, Coming::Use { key: number, at: time, operation }),
        }
    }

    /// Somebody fails to use a key, which is no use.
    fn attempt(&mut self, number: usize) {
        let operation = *self.random.pick(self.keys[number].operations);
        if !self.is_lost() {
            let (delay, time) = (self.delay(), self.time);
            self.send(delay, Coming::Attempt { key: number, at: time, operation });
        }
    }

    fn describe(&mut self, number: usize) {
        let key = &self.keys[number];
        let said = KeySaid::Described(Described {
            manager: "CUSTOMER".into(),
            state: LifecycleState::Enabled,
            created: at(key.created),
            description: "".into(),
            spec: key.spec.0.into(),
            usage: key.spec.1.into(),
            origin: "AWS_KMS".into(),
            deletion_date: None,
            pending_window_days: None,
            material_expires: None,
            custom_key_store: None,
            multi_region: None,
        });
        self.answer(number, said, 0);
    }

    fn answer(&mut self, number: usize, said: KeySaid, add: u32) {
        let answer = KeyAnswer {
            key: self.keys[number].arn,
            asked_at: self.now().plus(add),
            request_id: EventId::from(format!("request-{}", self.number).as_str()),
            said,
        };
        // An answer waits for its commit.
        let delay = if self.random.one_in(10) { self.random.within(0, 2 * HOUR) } else { 0 };
        self.send(delay, Coming::Answer(answer));
    }

    /// Some keys are asked about; KMS's word is up to an hour late.
    fn ask_kms(&mut self) {
        for number in 0..KEYS {
            if self.keys[number].created >= self.time || !self.random.one_in(25) {
                continue;
            }
            if self.random.one_in(3) {
                self.describe(number);
            }
            let key = &self.keys[number];
            if self.usage != UsageWitness::Available || key.is_denied {
                continue;
            }
            let tracked_from = self.tracking.max(key.created);
            let known_until = self.time - self.random.within(0, HOUR);
            let is_known = |one: &&Use| {
                one.operation != "GetPublicKey" && tracked_from <= one.at && one.at <= known_until
            };
            let last = key.uses.iter().filter(is_known).max_by_key(|one| one.at);
            let last =
                last.map(|one| KmsUse { at: at(one.at), operation: one.operation.into(), event_id: None });
            let (mut said_from, mut add) = (tracked_from, 0);
            if self.plant == Some(Plant::Tracking) {
                said_from = key.created;
            }
            if self.plant == Some(Plant::KmsLag) {
                add = HOUR + 5 * MINUTE;
            }
            let created = at(key.created);
            self.answer(
                number,
                KeySaid::LastUsage(LastUsage { tracked_from: at(said_from), created, last }),
                add,
            );
        }
    }

    /// History is read up to some hours ago: what the trail has is known then, and its digests prove where it was on.
    fn read_history(&mut self) {
        if !self.random.one_in(80) {
            return;
        }
        let day = 24 * HOUR;
        let end = (self.time - LATEST) / day * day;
        let begin = end - day;
        if begin <= self.digested_until || self.off_since.is_some_and(|since| since < end) {
            return;
        }
        self.digested_until = begin;
        let is_silent_about_off = self.plant == Some(Plant::Digests);
        let mut covered = vec![Span { from: at(begin), until: at(end) }];
        if !is_silent_about_off {
            for &(from, until) in &self.off_spans {
                covered = crate::coverage::without(&covered, Span { from: at(from), until: at(until + 1) });
            }
        }
        for number in 0..KEYS {
            let uses = self.keys[number].uses.clone();
            for one in uses.iter().filter(|one| one.is_logged && begin <= one.at && one.at < end) {
                self.apply(number, one.at, one.operation, Kind::Use, &[]);
            }
        }
        let cell = dormouse_model::Cell { place: place(), day: at(begin).day() };
        let shift = crate::CellShift {
            cell,
            whole: true,
            records: 1,
            read_only: true,
            covered,
            gaps: Vec::new(),
            keys: Vec::new(),
        };
        self.tell(|coverage, _| coverage.note_cell(&shift));
    }

    fn arrive(&mut self) {
        let time = self.time;
        let (mut here, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.coming).into_iter().partition(|(due, ..)| *due <= time);
        self.coming = rest;
        here.sort_by_key(|&(due, number, _)| (due, number));
        for (due, _, coming) in here {
            // While our source loses messages it loses some of them, and heartbeats come through all the same.
            let is_event =
                matches!(coming, Coming::Use { .. } | Coming::UnknownCall { .. } | Coming::Unread(..));
            let is_losing = self.source_lost.is_some_and(|(from, until)| from <= due && due < until);
            let gets_lost = is_event && is_losing && !self.random.one_in(4);
            let is_of_the_trail =
                self.trail_until.is_some() && matches!(coming, Coming::Use { operation: PUBLIC, .. });
            let by_bus = !gets_lost && !is_of_the_trail;
            let by_trail = self.trail_until.is_some_and(|until| due < until);
            let is_only_of_bus = matches!(coming, Coming::UnknownCall { .. } | Coming::Unread(..));
            match (by_bus, by_trail && !is_only_of_bus) {
                (false, false) => {}
                (true, false) => self.take(coming, &["bus"]),
                (false, true) => self.take(coming, &["trail"]),
                (true, true) => self.take(coming, &["bus", "trail"]),
            }
        }
    }

    /// What the quarantine holds, but for what a planted mistake ignores.
    fn tell_quarantine(&mut self) {
        let plant = self.plant;
        let held = self.quarantine.iter().flatten().filter(|unread| {
            let kind = if unread.key.is_some() { Plant::QuarantineOfKey } else { Plant::QuarantineOfPlace };
            plant != Some(kind)
        });
        let held: Vec<_> = held.cloned().collect();
        self.tell(|coverage, _| coverage.set_unread(held));
    }

    fn take(&mut self, coming: Coming, sources: &[&str]) {
        match coming {
            Coming::Use { key, at, operation } => self.apply(key, at, operation, Kind::Use, sources),
            Coming::Attempt { key, at, operation } => {
                self.apply(key, at, operation, Kind::Attempt, sources);
            }
            Coming::Beat { id, at: time } => {
                for source in sources {
                    self.tell(|coverage, _| coverage.note_returned(source, place(), id, at(time)));
                }
            }
            Coming::Change(change) => self.tell(|coverage, _| coverage.note_pipe_change(place(), change)),
            Coming::UnknownCall { key, at: time } => {
                let key = self.keys[key].arn;
                if self.plant != Some(Plant::UnknownCalls) {
                    self.tell(|coverage, _| {
                        coverage.note_unknown_call("bus", Some(place()), &[key], "Transmute", at(time));
                    });
                }
            }
            Coming::Unread(mut unread, number) => {
                unread.received = self.now();
                self.quarantine[number] = Some(unread);
                self.tell_quarantine();
            }
            Coming::Retried { number, key, at, operation } => {
                // A message that was lost on its way is not there to be tried again.
                if self.quarantine[number].take().is_some() {
                    self.apply(key, at, operation, Kind::Use, &["bus"]);
                    self.tell_quarantine();
                }
            }
            Coming::Answer(answer) => {
                let Some(key) = self.keys.iter_mut().find(|key| key.arn == answer.key) else { return };
                let ours = key.state.last_use().map(|last| last.time);
                key.state.answer(&answer);
                self.tell(|coverage, _| {
                    let is_unread = coverage.may_be_unread(&answer);
                    coverage.note_kms_use(&answer, ours, is_unread);
                });
            }
        }
    }

    /// A use, or an attempt, becomes known by these sources, or by history.
    fn apply(&mut self, number: usize, time: u32, operation: &'static str, kind: Kind, sources: &[&str]) {
        let key = &mut self.keys[number];
        let id = format!("event-{time}-{number}-{kind:?}");
        let has_failed = kind == Kind::Attempt;
        key.state.apply(
            &Observation {
                key: key.arn,
                kind,
                time: at(time),
                operation,
                event_id: &id,
                shared_id: None,
                recipient: Some(place().account),
                logged_region: None,
                from_history: sources.is_empty(),
                principal: None,
                session: None,
                invoked_by: None,
                source_ip: None,
                error_code: has_failed.then_some("DisabledException"),
                wanted: has_failed,
                context: Vec::new(),
                change: None,
                effects: Vec::new(),
                counted: true,
            },
            Counting::Counted,
        );
        let told: &[&str] =
            if self.plant == Some(Plant::Vouch) && !sources.is_empty() { &["bus", "trail"] } else { sources };
        for source in told.iter().filter(|_| !has_failed) {
            self.tell(|coverage, _| coverage.note_passed(source, place(), operation, (at(time), at(time))));
        }
    }

    /// Our source says how far it is, and what it lost.
    fn mark(&mut self) {
        let lost = match self.source_lost {
            Some((_, until)) if until <= self.time => self.source_lost.take(),
            _ => None,
        };
        let now = self.now();
        let told = lost.filter(|_| self.plant != Some(Plant::Source)).map(|(from, until)| {
            // What is lost reached the source in that time; it may have happened as long before as events take.
            let from = at(from.saturating_sub(LATEST));
            Lost { from, until: at(until).max(now), reason: "the stream was made anew".into() }
        });
        let is_losing = self.source_lost.is_some() && self.plant != Some(Plant::Source);
        let mark = SourceMark {
            at: now,
            caught_up: (!is_losing).then_some(now),
            retention_seconds: Some(u64::from(96 * HOUR)),
            dead_letters: DeadLetters::Messages(0),
            lost: told,
            of: None,
        };
        self.tell(|coverage, _| {
            coverage.note_mark("bus", &mark);
        });
        if self.trail_until.is_some_and(|until| self.time < until) {
            let ahead = if self.plant == Some(Plant::Arrival) { LATEST } else { 0 };
            let caught_up = Some(now.plus(ahead));
            let mark = SourceMark { caught_up, lost: None, ..mark.clone() };
            self.tell(|coverage, _| coverage.note_mark("trail", &mark));
        }
        if self.plant == Some(Plant::Operations) {
            for name in IN_USE {
                self.tell(|coverage, _| coverage.note_passed("bus", place(), name, (now, now)));
            }
        }
    }

    /// Asks for verdicts on all keys, and holds them against what happened.
    fn judge(&mut self, seen: &mut Seen) -> Option<String> {
        let witnesses: Arc<dyn Witnesses> = Arc::<Known>::clone(&self.known);
        let judge = Judge::new(self.now(), Arc::clone(&self.rules), witnesses);
        for key in self.keys.iter().filter(|key| key.created < self.time) {
            let case = judge.case(judge.look(key.arn), key.arn, &key.state, &Aliases::default());
            let kind = judge.kind(&case);
            *seen.kinds.entry(kind.name()).or_default() += 1;
            if !matches!(kind, VerdictKind::Idle | VerdictKind::NeverUsed) {
                continue;
            }
            let verdict = judge.verdict(&case);
            let (from, until) = (verdict.evidence_from.unwrap(), verdict.evidence_until.unwrap());
            let kms_is_there = self.usage == UsageWitness::Available && !key.is_denied;
            if kms_is_there {
                seen.by_kms += 1;
            } else {
                seen.by_stream += 1;
            }
            let known = key.state.last_used();
            let refutes = |one: &&Use| {
                let is_inside = from <= at(one.at) && at(one.at) < until && Some(at(one.at)) > known;
                // The only excuse: a service dropped it, and the one witness that would know could not be asked, or
                // was not there yet.
                let kms_would_know =
                    kms_is_there && one.operation != "GetPublicKey" && one.at >= self.tracking;
                is_inside && (!one.is_dropped || kms_would_know)
            };
            if let Some(refuting) = key.uses.iter().find(refutes) {
                let (clock, waiting) = (self.now(), self.quarantine.iter().flatten().count());
                return Some(format!(
                    "{kind:?} though {refuting:?} happened; by our clock it is {clock}, {waiting} messages in the \
                     quarantine; {verdict:#?}"
                ));
            }
        }
        None
    }
}
