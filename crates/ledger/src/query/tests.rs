//! Answers against a slow and obvious model: look at every key, keep what fits, sort.

use std::cmp::Ordering;
use std::sync::Arc;

use dormouse_model::{Effect, EventTime, KeyArn, Kind, LifecycleState, Observation};
use proptest::prelude::*;

use super::*;
use crate::{Bounds, Counting, Evidence, Judge, KeyDocument, Ledger, Rules, Source};

/// Everything but what KMS said is unproven, so that verdicts of each kind need their state looked at.
fn judge() -> Judge {
    Judge::without_witnesses(EventTime::from_seconds(1_000), Arc::new(Rules::idle_after(100)))
}

fn key(number: usize) -> KeyArn {
    let place = ["eu-west-1:111122223333", "us-east-1:111122223333", "eu-west-1:444455556666"][number % 3];
    format!("arn:aws:kms:{place}:key/00000000-0000-0000-0000-0000000000{number:02}").parse().unwrap()
}

/// A key's number, a kind of event, and when.
fn apply(ledger: &Ledger<Evidence>, place: usize, (number, kind, time): (usize, u8, u32)) {
    let id = format!("event-{place:03}");
    let effects = match kind {
        2 => vec![Effect::AliasSet(["alias/app", "alias/archive-1", "alias/Other"][number % 3])],
        3 => vec![Effect::State(LifecycleState::Disabled), Effect::TagSet("team", "Pay")],
        4 => vec![Effect::Created, Effect::Manager("CUSTOMER")],
        5 => vec![Effect::State(LifecycleState::Deleted)],
        _ => Vec::new(),
    };
    let observation = Observation {
        key: key(number),
        kind: match kind {
            0 => Kind::Use,
            1 => Kind::Attempt,
            _ => Kind::Change,
        },
        time: EventTime::from_seconds(time),
        operation: "Decrypt",
        event_id: &id,
        shared_id: None,
        recipient: Some(key(number).account()),
        logged_region: None,
        from_history: false,
        principal: None,
        session: None,
        invoked_by: None,
        source_ip: None,
        error_code: None,
        wanted: kind == 1 && time % 2 == 0,
        context: Vec::new(),
        change: None,
        effects,
        counted: true,
    };
    ledger.apply(&observation, Counting::Counted);
}

/// Whether a document is asked for, read off what people see.
fn fits(document: &KeyDocument, filter: &[(&str, &str)]) -> bool {
    let aliases = document.aliases.clone().unwrap_or_default();
    let tags = document.tags.clone().unwrap_or_default();
    filter.iter().all(|&(name, value)| match name {
        "verdict" => value.split(',').any(|verdict| verdict == document.verdict.kind.name()),
        "account" => document.account.to_string() == value,
        "region" => value.split(',').any(|region| region == document.region.name()),
        "state" => document.state.is_some_and(|state| state.name() == value),
        "manager" => document.manager.as_deref() == Some(value),
        "alias" => match value.strip_suffix('*') {
            Some(start) => aliases.iter().any(|alias| alias.starts_with(start)),
            None => aliases.iter().any(|alias| alias == value),
        },
        "tag" => tags.iter().any(|(key, tag)| value == key || value == format!("{key}={tag}")),
        "q" => [document.arn.to_string()]
            .iter()
            .chain(&aliases)
            .chain(tags.keys())
            .chain(tags.values())
            .any(|text| text.to_lowercase().contains(&value.to_lowercase())),
        "wanted" => document.wanted.is_some() == (value == "true"),
        "idle_for" => {
            document.last_use.as_ref().is_none_or(|last| 1_000 - last.at.seconds() >= value.parse().unwrap())
        }
        other => panic!("{other}"),
    })
}

/// The value that a document is sorted by, as people see it.
fn value_of(document: &KeyDocument, sort: SortBy) -> Option<u64> {
    let seconds = |at: EventTime| u64::from(at.seconds());
    match sort {
        SortBy::LastUse => document.last_use.as_ref().map(|last| seconds(last.at)),
        SortBy::LastAttempt => document.last_attempt.as_ref().map(|last| seconds(last.at)),
        SortBy::Wanted => document.wanted.map(|wanted| seconds(wanted.last)),
        SortBy::Created => document.created.map(seconds),
        SortBy::Uses => Some(document.uses),
        SortBy::Attempts => Some(document.attempts),
        SortBy::Arn => Some(0),
    }
}

fn is_in_order(pair: &[KeyDocument], query: &KeyQuery) -> bool {
    let (one, other) = (&pair[0], &pair[1]);
    let (first, second) = (value_of(one, query.sort), value_of(other, query.sort));
    let order = match query.sort {
        SortBy::Arn => one.arn.to_string().cmp(&other.arn.to_string()),
        _ => match (first, second) {
            (Some(first), Some(second)) => first.cmp(&second),
            (Some(_), None) => return true,
            (None, Some(_)) => return false,
            (None, None) => Ordering::Equal,
        },
    };
    match query.order() {
        SortOrder::Ascending => order.is_le(),
        SortOrder::Descending => order.is_ge(),
    }
}

fn filters() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    let one = prop::sample::select(vec![
        ("verdict", "in_use"),
        ("verdict", "unknown"),
        ("verdict", "in_use,unknown"),
        ("verdict", "idle,never_used,blind"),
        ("account", "111122223333"),
        ("region", "eu-west-1"),
        ("region", "us-east-1,xx-none-1"),
        ("state", "Disabled"),
        ("state", "Deleted"),
        ("manager", "CUSTOMER"),
        ("alias", "alias/app"),
        ("alias", "alias/a*"),
        ("tag", "team"),
        ("tag", "team=Pay"),
        ("tag", "team=Ops"),
        ("q", "PAY"),
        ("q", "alias/o"),
        ("q", "key/00000000-0000-0000-0000-000000000003"),
        ("wanted", "true"),
        ("wanted", "false"),
        ("idle_for", "50"),
        ("idle_for", "100"),
    ]);
    prop::collection::btree_map(one.clone().prop_map(|(name, _)| name), one, 0..3).prop_map(|some| {
        let mut filter: Vec<_> = some.into_values().collect();
        filter.sort_unstable();
        filter.dedup_by_key(|(name, _)| *name);
        filter
    })
}

proptest! {
    /// Whatever is asked, whenever: the same keys that looking at every document finds, in the order asked for; and in
    /// pages they are the same.
    #[test]
    fn an_answer_is_what_looking_at_every_key_gives(
        events in prop::collection::vec((0usize..12, 0u8..6, 880u32..1_000), 0..60),
        filter in filters(),
        sort in prop::sample::select(SortBy::ALL.to_vec()),
        order in prop::sample::select(vec![None, Some("asc"), Some("desc")]),
        page in 1usize..5,
    ) {
        let mut query = KeyQuery::default();
        for (name, value) in &filter {
            prop_assert_eq!(query.set(name, value), Ok(true));
        }
        query.set("sort", sort.name()).unwrap();
        if let Some(order) = order {
            query.set("order", order).unwrap();
        }
        let ledger = Ledger::<Evidence>::new(Bounds::default());
        for (place, &event) in events.iter().enumerate() {
            apply(&ledger, place, event);
            if place % 7 == 0 {
                // Somebody else asks in between.
                select(&ledger, &query, &judge());
            }
        }
        let document = |key, state: &_| {
            let judge = judge();
            KeyDocument::new(key, state, &ledger, Source::Stream, &judge, judge.look(key))
        };
        let mut expected = Vec::new();
        let asks_for_deleted = filter.contains(&("state", "Deleted"));
        ledger.for_each_key(|key, state| {
            let document = document(key, state);
            let is_left_out = document.state == Some(LifecycleState::Deleted) && !asks_for_deleted;
            if !is_left_out && fits(&document, &filter) {
                expected.push(document.arn);
            }
        });
        let selection = select(&ledger, &query, &judge());
        let found = ledger.keys_in_rows(selection.rows(0, usize::MAX));
        let documents: Vec<_> =
            found.iter().map(|&key| ledger.with(key, |state| document(key, state)).unwrap()).collect();
        for pair in documents.windows(2) {
            prop_assert!(is_in_order(pair, &query), "{pair:#?}");
        }
        let pages = (0..selection.len()).step_by(page).flat_map(|from| selection.rows(from, page));
        prop_assert_eq!(ledger.keys_in_rows(pages), found.clone());
        let mut found = found;
        found.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(found, expected);
    }

    /// No text makes a question fail otherwise than with an error that names what is allowed.
    #[test]
    fn any_text_is_taken_or_refused_with_what_is_allowed(
        name in prop::sample::select(PARAMETERS.to_vec()),
        value in any::<String>(),
    ) {
        let mut query = KeyQuery::default();
        if let Err(error) = query.set(name, &value) {
            prop_assert_eq!(error.parameter, name);
            prop_assert!(!error.allowed.is_empty());
        }
        let ledger = Ledger::<Evidence>::new(Bounds::default());
        (0..20).for_each(|place| apply(&ledger, place, (place, [2, 3, 4][place % 3], 900)));
        select(&ledger, &query, &judge());
    }
}

#[test]
fn pages_stay_the_same_whatever_is_written_meanwhile() {
    let ledger = Ledger::<Evidence>::new(Bounds::default());
    (0..10).zip(900..).for_each(|(number, time)| apply(&ledger, number, (number, 0, time)));
    for sort in SortBy::ALL {
        let selection = select(&ledger, &KeyQuery { sort, ..KeyQuery::default() }, &judge());
        let before = selection.rows(0, 100);
        (0..10)
            .zip((940..950).rev())
            .for_each(|(number, time)| apply(&ledger, 100 + number, (number, 0, time)));
        apply(&ledger, 200, (11, 0, 990));
        assert_eq!(selection.rows(0, 100), before);
    }
}

#[test]
fn times_are_read_as_people_write_them() {
    for (text, seconds) in
        [("90d", Some(7_776_000)), ("1h 30m", Some(5_400)), ("45", Some(45)), ("2w", Some(1_209_600))]
    {
        assert_eq!(parse_age(text), seconds, "{text}");
    }
    for text in ["", "d", "90x", "1 2", "-1d", "1.5d", "99999999999d", "4294967295d"] {
        assert_eq!(parse_age(text), None, "{text}");
    }
}
