//! The laws of the ledger, each against a slow and obvious model: shuffles, duplicates, splits over writers.

use std::collections::{BTreeMap, BTreeSet};

use dormouse_model::{Change, Effect, EventTime, KeyArn, Kind, LifecycleState, Observation};
use proptest::prelude::*;

use crate::{
    Bounds, Counting, Counts, Evidence, IdWindow, Identity, KeyState, Ledger, Mark, Rank, Record, Registers,
    Trace, decide,
};

/// An observation with texts of its own.
#[derive(Clone, Debug)]
struct Event {
    key: KeyArn,
    kind: Kind,
    time: u32,
    id: String,
    shared: Option<String>,
    recipient: &'static str,
    principal: Option<&'static str>,
    context: bool,
    wanted: bool,
    effect: Option<Effect<'static>>,
}

impl Event {
    fn observation(&self) -> Observation<'_> {
        Observation {
            key: self.key,
            kind: self.kind,
            time: EventTime::from_seconds(self.time),
            operation: "Decrypt",
            event_id: &self.id,
            shared_id: self.shared.as_deref(),
            recipient: self.recipient.parse().ok(),
            logged_region: None,
            from_history: false,
            principal: self.principal,
            session: None,
            invoked_by: None,
            source_ip: None,
            error_code: (self.kind == Kind::Attempt).then_some("DisabledException"),
            wanted: self.wanted,
            context: if self.context { vec![("k", "v")] } else { Vec::new() },
            change: (self.kind == Kind::Change).then_some(Change::Enabled),
            effects: self.effect.into_iter().collect(),
            counted: true,
        }
    }

    fn is_foreign(&self) -> bool {
        self.observation().is_foreign_copy()
    }
}

const OWNER: &str = "111122223333";
const CALLER: &str = "444455556666";

fn key(number: usize) -> KeyArn {
    format!("arn:aws:kms:eu-west-1:{OWNER}:key/00000000-0000-0000-0000-00000000000{number}").parse().unwrap()
}

fn effect() -> impl Strategy<Value = Effect<'static>> {
    prop_oneof![
        Just(Effect::State(LifecycleState::Enabled)),
        Just(Effect::State(LifecycleState::Disabled)),
        Just(Effect::State(LifecycleState::PendingDeletion)),
        Just(Effect::State(LifecycleState::Deleted)),
        Just(Effect::Created),
        Just(Effect::AliasSet("alias/a")),
        Just(Effect::AliasDeleted("alias/a")),
        Just(Effect::AliasSet("alias/b")),
        Just(Effect::TagSet("team", "pay")),
        Just(Effect::TagSet("team", "ops")),
        Just(Effect::TagRemoved("team")),
    ]
}

/// Events with times that collide, shared ids that pair up, and every kind. Each has an id of its own.
fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = (
        0usize..3,
        0u8..3,
        100u32..112,
        any::<bool>(),
        prop_oneof![Just(None), (0u32..6).prop_map(Some)],
        prop_oneof![Just(None), Just(Some("arn:aws:iam::111122223333:role/app"))],
        any::<bool>(),
        any::<bool>(),
        effect(),
    );
    proptest::collection::vec(event, 1..40).prop_map(|parts| {
        let made = parts.into_iter().enumerate();
        made.map(|(place, (number, kind, time, in_caller, shared, principal, context, wanted, effect))| {
            let kind = Kind::ALL[usize::from(kind)];
            // Both copies of one call are of the same second: the shared id decides the time.
            let time = shared.map_or(time, |shared| 100 + shared);
            Event {
                key: key(number),
                kind,
                time,
                id: format!("event-{:02}", (place * 7) % 50),
                shared: shared.map(|shared| format!("shared-{shared}-{number}-{}", kind.number())),
                recipient: if in_caller && shared.is_some() { CALLER } else { OWNER },
                principal,
                context,
                wanted: wanted && kind == Kind::Attempt,
                effect: (kind == Kind::Change).then_some(effect),
            }
        })
        .collect()
    })
}

/// What a surface would show of a key, in a form that compares.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shown {
    exists: bool,
    last_use: Option<(u32, bool, bool, String)>,
    last_attempt: Option<(u32, bool, bool, String)>,
    own: Counts,
    foreign: Counts,
    wanted: Option<(u32, u32)>,
    created: Option<u32>,
    state: Option<LifecycleState>,
    tags: Option<BTreeMap<String, String>>,
    aliases: Option<Vec<String>>,
}

/// The slow model: everything from its definition, over the whole list.
fn model(events: &[Event], key: KeyArn) -> Shown {
    let of_key: Vec<&Event> = events.iter().filter(|event| event.key == key).collect();
    let last = |kind: Kind| {
        let of_kind = of_key.iter().filter(|event| event.kind == kind);
        of_kind.map(|event| (event.time, event.principal.is_some(), event.context, event.id.clone())).max()
    };
    let mut counted = BTreeSet::new();
    let (mut own, mut foreign) = (Counts::default(), Counts::default());
    for event in &of_key {
        let id = event.shared.clone().unwrap_or(event.id.clone());
        if counted.insert((id, event.kind, event.is_foreign())) {
            if event.is_foreign() { foreign.add_one(event.kind) } else { own.add_one(event.kind) }
        }
    }
    let wanted: Vec<u32> = of_key.iter().filter(|event| event.wanted).map(|event| event.time).collect();
    Shown {
        exists: of_key.iter().any(|event| event.kind != Kind::Attempt),
        last_use: last(Kind::Use),
        last_attempt: last(Kind::Attempt),
        own,
        foreign,
        wanted: wanted.iter().min().copied().zip(wanted.iter().max().copied()),
        created: of_key
            .iter()
            .filter(|event| event.effect == Some(Effect::Created))
            .map(|event| event.time)
            .min(),
        state: model_state(&of_key),
        tags: model_tags(&of_key),
        aliases: model_aliases(events, key),
    }
}

fn model_state(of_key: &[&Event]) -> Option<LifecycleState> {
    let mut writes: Vec<(u32, &str, LifecycleState)> = Vec::new();
    for event in of_key {
        if let Some(Effect::State(state)) = event.effect {
            writes.push((event.time, &event.id, state));
        }
    }
    if writes.iter().any(|(_, _, state)| *state == LifecycleState::Deleted) {
        return Some(LifecycleState::Deleted);
    }
    writes.sort_by_key(|(time, id, _)| (*time, *id));
    writes.last().map(|(_, _, state)| *state)
}

fn model_tags(of_key: &[&Event]) -> Option<BTreeMap<String, String>> {
    let mut writes: Vec<(u32, &str, Option<&str>)> = Vec::new();
    for event in of_key {
        match event.effect {
            Some(Effect::TagSet(_, value)) => writes.push((event.time, &event.id, Some(value))),
            Some(Effect::TagRemoved(_)) => writes.push((event.time, &event.id, None)),
            _ => {}
        }
    }
    writes.sort_by_key(|(time, id, _)| (*time, *id));
    let (_, _, value) = writes.last()?;
    Some(value.iter().map(|value| ("team".to_owned(), (*value).to_owned())).collect())
}

fn model_aliases(events: &[Event], key: KeyArn) -> Option<Vec<String>> {
    let mut ever = BTreeSet::new();
    let mut here = Vec::new();
    for name in ["alias/a", "alias/b"] {
        let mut writes: Vec<(u32, &str, Option<KeyArn>)> = Vec::new();
        for event in events {
            let target = match event.effect {
                Some(Effect::AliasSet(set)) if set == name => Some(event.key),
                Some(Effect::AliasDeleted(deleted)) if deleted == name => None,
                _ => continue,
            };
            writes.push((event.time, &event.id, target));
            if event.key == key {
                ever.insert(name);
            }
        }
        writes.sort_by_key(|(time, id, _)| (*time, *id));
        if writes.last().is_some_and(|(_, _, target)| *target == Some(key)) {
            here.push(name.to_owned());
        }
    }
    (!ever.is_empty()).then_some(here)
}

fn shown<T: Trace>(ledger: &Ledger<T>, key: KeyArn) -> Shown {
    let Some(state) = ledger.get(key) else {
        return Shown::default();
    };
    let trace = |trace: &T| {
        let Rank { time, event_id, .. } = trace.rank();
        (time.seconds(), trace.rank().has_principal(), trace.rank().has_context(), event_id.to_string())
    };
    let registers = state.registers();
    let own_tags = |(tag, value): (&str, &str)| (tag.to_owned(), value.to_owned());
    Shown {
        exists: state.exists(),
        last_use: state.last_use().map(trace),
        last_attempt: state.last_attempt().map(trace),
        own: state.own_counts(),
        foreign: state.foreign_counts(),
        wanted: state.wanted().map(|wanted| (wanted.since.seconds(), wanted.last.seconds())),
        created: registers.and_then(Registers::created).map(EventTime::seconds),
        state: registers.and_then(Registers::state),
        tags: registers.and_then(Registers::tags).map(|tags| tags.into_iter().map(own_tags).collect()),
        aliases: registers.and_then(|registers| ledger.aliases().of_key(key, registers)),
    }
}

/// One writer: a window and a ledger, fed as the pipeline feeds them.
struct Writer<T> {
    window: IdWindow,
    ledger: Ledger<T>,
    late: Counts,
}

impl<T: Trace> Writer<T> {
    fn new(window: usize) -> Self {
        Self {
            window: IdWindow::new(window),
            ledger: Ledger::new(Bounds::default()),
            late: Counts::default(),
        }
    }

    fn take(&mut self, event: &Event) {
        let observation = event.observation();
        let mark = Mark::of(&observation);
        let record = Record { marks: &[mark], several: None, in_history: false };
        let (window, ledger, late) = (&mut self.window, &self.ledger, &mut self.late);
        decide(
            record,
            |id, time, copies| window.enter(id, time, copies),
            |mark, counting, _| {
                if counting == Counting::Late {
                    late.add_one(mark.kind);
                }
                ledger.apply(&observation, counting);
            },
        );
    }
}

/// The events in another order, some of them several times.
fn delivered() -> impl Strategy<Value = (Vec<Event>, Vec<Event>)> {
    events().prop_flat_map(|events| {
        let copies = proptest::collection::vec(0..events.len(), 0..events.len());
        let deliveries = copies.prop_map({
            let events = events.clone();
            move |copies| {
                let mut deliveries = events.clone();
                deliveries.extend(copies.into_iter().map(|place| events[place].clone()));
                deliveries
            }
        });
        (Just(events), deliveries.prop_shuffle())
    })
}

proptest! {
    #[test]
    fn order_and_duplicates_cannot_matter((events, deliveries) in delivered()) {
        let mut full = Writer::<Evidence>::new(1_000);
        let mut hot = Writer::<Rank>::new(1_000);
        for event in &deliveries {
            full.take(event);
            hot.take(event);
        }
        for number in 0..3 {
            let expected = model(&events, key(number));
            prop_assert_eq!(shown(&full.ledger, key(number)), model(&events, key(number)));
            prop_assert_eq!(shown(&hot.ledger, key(number)), expected);
        }
    }

    #[test]
    fn conflicts_within_a_second_are_seen_in_any_order((_, deliveries) in delivered()) {
        let mut forward = Writer::<Rank>::new(1_000);
        let mut backward = Writer::<Rank>::new(1_000);
        deliveries.iter().for_each(|event| forward.take(event));
        deliveries.iter().rev().for_each(|event| backward.take(event));
        let due = |writer: &Writer<Rank>, key| {
            writer.ledger.with(key, |state| state.registers().is_some_and(Registers::due_for_describe))
        };
        for number in 0..3 {
            prop_assert_eq!(due(&forward, key(number)), due(&backward, key(number)));
        }
    }

    #[test]
    fn writers_merge_to_what_one_would_have(
        (events, deliveries) in delivered(),
        writers in 1usize..4,
        backwards in any::<bool>(),
    ) {
        let mut split: Vec<Writer<Evidence>> = (0..writers).map(|_| Writer::new(1_000)).collect();
        for event in &deliveries {
            // All copies of one event reach the same writer, as they do when a stream is split by shards of its own.
            let id = Identity::of(&event.observation()).to_bytes();
            split[usize::from(id[15]) % writers].take(event);
        }
        if backwards {
            split.reverse();
        }
        for number in 0..3 {
            let mut merged = KeyState::default();
            for writer in &split {
                if let Some(state) = writer.ledger.get(key(number)) {
                    merged.merge(state);
                }
            }
            let whole = Ledger::new(Bounds::default());
            whole.restore(key(number), merged);
            let (shown, expected) = (shown(&whole, key(number)), model(&events, key(number)));
            prop_assert_eq!(
                (shown.exists, shown.last_use, shown.last_attempt, shown.own, shown.foreign, shown.wanted, shown.state, shown.tags),
                (expected.exists, expected.last_use, expected.last_attempt, expected.own, expected.foreign, expected.wanted, expected.state, expected.tags)
            );
        }
    }

    #[test]
    fn a_small_window_never_counts_twice_and_owns_up(
        (events, deliveries) in delivered(),
        window in 1usize..20,
    ) {
        let mut writer = Writer::<Rank>::new(window);
        deliveries.iter().for_each(|event| writer.take(event));
        let mut missing = Counts::default();
        for number in 0..3 {
            let (shown, expected) = (shown(&writer.ledger, key(number)), model(&events, key(number)));
            let (got, truth) = (shown.own.plus(shown.foreign), expected.own.plus(expected.foreign));
            prop_assert!(got.uses <= truth.uses && got.attempts <= truth.attempts && got.changes <= truth.changes);
            missing = missing.plus(Counts {
                uses: truth.uses - got.uses,
                attempts: truth.attempts - got.attempts,
                changes: truth.changes - got.changes,
            });
            prop_assert_eq!(shown.last_use, expected.last_use);
            prop_assert_eq!(shown.last_attempt, expected.last_attempt);
            prop_assert_eq!(shown.wanted, expected.wanted);
            prop_assert_eq!(shown.state, expected.state);
        }
        let late = writer.late;
        prop_assert!(missing.uses <= late.uses && missing.attempts <= late.attempts && missing.changes <= late.changes);
    }
}

#[test]
fn arns_that_were_only_tried_are_bounded_and_become_keys_when_they_exist() {
    let ledger = Ledger::<Rank>::new(Bounds { tried_keys: 2 });
    let attempt = |number| Event {
        key: key(number),
        kind: Kind::Attempt,
        time: 100,
        id: format!("a{number}"),
        shared: None,
        recipient: OWNER,
        principal: None,
        context: false,
        wanted: false,
        effect: None,
    };
    for number in 0..3 {
        ledger.apply(&attempt(number).observation(), Counting::Counted);
    }
    assert_eq!((ledger.len(), ledger.tried_keys(), ledger.unattributed_attempts()), (0, 2, 1));
    let used = Event { kind: Kind::Use, id: "u".into(), ..attempt(0) };
    ledger.apply(&used.observation(), Counting::Counted);
    assert_eq!((ledger.len(), ledger.tried_keys()), (1, 1));
    let counts = ledger.get(key(0)).unwrap().own_counts();
    assert_eq!(counts, Counts { uses: 1, attempts: 1, changes: 0 });
    assert_eq!(ledger.total_counts(), Counts { uses: 1, attempts: 3, changes: 0 });
}

#[test]
fn second_copies_count_only_where_the_owner_is_not_received() {
    let ledger = Ledger::<Rank>::new(Bounds::default());
    let copy = Event {
        key: key(1),
        kind: Kind::Use,
        time: 100,
        id: "caller".into(),
        shared: Some("s".into()),
        recipient: CALLER,
        principal: None,
        context: false,
        wanted: false,
        effect: None,
    };
    ledger.apply(&copy.observation(), Counting::Counted);
    let uses = |ledger: &Ledger<Rank>| ledger.with(key(1), |state| ledger.counts_of(key(1), state).uses);
    assert_eq!(uses(&ledger), Some(1));
    assert!(ledger.note_received(OWNER.parse().unwrap()));
    assert_eq!(uses(&ledger), Some(0), "the owner's own copy is the one that counts");
}
