//! Filters and orders against a slow and obvious look at all documents.

use dormouse_ledger::KeyDocument;
use dormouse_ledger::query::{PARAMETERS, SortBy};
use dormouse_model::EventTime;
use dormouse_pipeline::view::KeysPage;
use proptest::prelude::*;

use super::house::{House, now};

fn page(house: &House, question: &str) -> KeysPage {
    let answer = house.get(&format!("/api/v1/keys?limit=1000&{question}"));
    assert_eq!(answer.status, 200, "{question}: {answer:?}");
    serde_json::from_slice(&answer.body).unwrap()
}

/// Whether all of `text` fits, tried in every way there is.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|from| fits(rest, &text[from..])),
        Some((first, rest)) => {
            text.split_first().is_some_and(|(head, text)| head == first && fits(rest, text))
        }
    }
}

fn is_in(list: &str, value: Option<String>) -> bool {
    value.is_some_and(|value| list.split(',').any(|one| one == value))
}

fn takes(key: &KeyDocument, name: &str, value: &str) -> bool {
    let aliases = || key.aliases.iter().flatten();
    match name {
        "verdict" => is_in(value, Some(key.verdict.kind.name().into())),
        "account" => is_in(value, Some(key.account.to_string())),
        "region" => is_in(value, Some(key.region.to_string())),
        "state" => is_in(value, key.state.map(|state| state.name().into())),
        "manager" => is_in(value, key.manager.clone()),
        "alias" => aliases().any(|alias| fits(value.as_bytes(), alias.as_bytes())),
        "tag" => key.tags.iter().flatten().any(|(tag, text)| {
            let (wanted, wanted_text) = value.split_once('=').unwrap_or((value, "*"));
            fits(wanted.as_bytes(), tag.as_bytes()) && fits(wanted_text.as_bytes(), text.as_bytes())
        }),
        "q" => key.arn.to_string().contains(value) || aliases().any(|alias| alias.contains(value)),
        "idle_for" => {
            let days: u32 = value.trim_end_matches('d').parse().unwrap();
            key.last_use.as_ref().is_none_or(|last| now().seconds_since(last.at) >= days * 86_400)
        }
        "wanted" => key.wanted.is_some() == (value == "true"),
        _ => true,
    }
}

/// What keys are sorted by, as text that sorts the same.
fn sorted_by(key: &KeyDocument, sort: &str) -> Option<String> {
    let time = |at: EventTime| at.to_string();
    match sort {
        "last_use" => key.last_use.as_ref().map(|last| time(last.at)),
        "last_attempt" => key.last_attempt.as_ref().map(|last| time(last.at)),
        "wanted" => key.wanted.map(|wanted| time(wanted.last)),
        "created" => key.created.map(time),
        "uses" => Some(format!("{:020}", key.uses)),
        "attempts" => Some(format!("{:020}", key.attempts)),
        _ => Some(key.arn.to_string()),
    }
}

fn questions(all: &[KeyDocument]) -> impl Strategy<Value = Vec<(&'static str, String)>> + use<> {
    let texts = |of: fn(&KeyDocument) -> Vec<String>| {
        let mut texts: Vec<String> = all.iter().flat_map(of).collect();
        texts.sort();
        texts.dedup();
        texts.push("none-of-these".into());
        prop::sample::select(texts)
    };
    let accounts = texts(|key| vec![key.account.to_string(), "999999999999".into()])
        .prop_filter("an account", |text| text.len() == 12);
    let two_accounts = (accounts.clone(), accounts.clone()).prop_map(|(a, b)| format!("{a},{b}"));
    let named = |text: &String| {
        text.starts_with("alias/") && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-_".contains(&b))
    };
    let alias = texts(|key| key.aliases.clone().unwrap_or_default()).prop_filter("plain", named);
    let pattern =
        (alias.clone(), 6usize..12).prop_map(|(alias, cut)| format!("{}*", &alias[..cut.min(alias.len())]));
    let id = texts(|key| vec![key.id.clone()]).prop_map(|id| id.chars().skip(4).take(6).collect::<String>());
    let one = |name: &'static str, values: &'static [&'static str]| {
        prop::sample::select(values).prop_map(move |value| (name, value.to_owned())).boxed()
    };
    let part = prop_oneof![
        one("verdict", &["in_use", "unknown", "in_use,unknown", "idle,never_used,blind"]),
        accounts.prop_map(|value| ("account", value)),
        two_accounts.prop_map(|value| ("account", value)),
        one("region", &["eu-west-1", "us-east-1,eu-central-1", "ap-south-1"]),
        one("state", &["Enabled", "Disabled,PendingDeletion", "Deleted"]),
        one("manager", &["CUSTOMER", "AWS"]),
        alias.prop_map(|value| ("alias", value)),
        pattern.prop_map(|value| ("alias", value)),
        one("tag", &["team", "te*=*", "*=*a*", "none=*"]),
        id.prop_map(|value| ("q", value)),
        one("idle_for", &["1d", "3d", "9d", "400d"]),
        one("wanted", &["true", "false"]),
        prop::sample::select(SortBy::ALL.map(SortBy::name).to_vec())
            .prop_map(|sort| ("sort", sort.to_owned())),
        one("order", &["asc", "desc"]),
    ];
    let unique = |parts: Vec<(&'static str, String)>| {
        let mut names = std::collections::HashSet::new();
        parts.into_iter().filter(|(name, _)| names.insert(*name)).collect::<Vec<_>>()
    };
    prop::collection::vec(part, 0..4).prop_map(unique)
}

/// Whether a key meets every condition; one that was deleted has to be asked for.
fn is_asked_for(key: &KeyDocument, question: &[(&'static str, String)]) -> bool {
    let asks_for_deleted = question.iter().any(|(name, value)| *name == "state" && value.contains("Deleted"));
    let is_deleted = key.state.is_some_and(|state| state.name() == "Deleted");
    (asks_for_deleted || !is_deleted) && question.iter().all(|(name, value)| takes(key, name, value))
}

#[test]
fn every_filter_and_order_is_what_a_look_at_all_documents_gives() {
    let house = House::filled(3_000);
    let all = [page(&house, "").keys, page(&house, "state=Deleted").keys].concat();
    assert!(all.len() > 100, "{} keys", all.len());
    let config = ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(question in questions(&all))| {
        let text: Vec<String> = question.iter().map(|(name, value)| format!("{name}={}", value.replace('*', "%2A"))).collect();
        let page = page(&house, &text.join("&"));
        let expected: Vec<&KeyDocument> =
            all.iter().filter(|key| is_asked_for(key, &question)).collect();
        prop_assert_eq!(page.total, expected.len());
        prop_assert_eq!(page.keys.len(), expected.len());
        prop_assert!(expected.iter().all(|key| page.keys.contains(key)));

        let of = |name| question.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());
        let sort = of("sort").unwrap_or("last_use");
        let is_ascending = of("order").map_or(sort == "arn", |order| order == "asc");
        for pair in page.keys.windows(2) {
            match (sorted_by(&pair[0], sort), sorted_by(&pair[1], sort)) {
                (Some(a), Some(b)) => prop_assert!(a == b || (a < b) == is_ascending),
                (first, second) => prop_assert!(first.is_some() || second.is_none()),
            }
        }
    });
}

#[test]
fn whatever_is_asked_is_answered_or_refused() {
    let house = House::filled(100);
    let names = prop::sample::select([&PARAMETERS[..], &["limit", "cursor", "x"]].concat());
    let known = (names, prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(name, value)| {
        let value: String = value.iter().map(|byte| format!("%{byte:02X}")).collect();
        format!("{name}={value}")
    });
    let wild = "[!-~&&[^#]]{0,60}";
    let config = ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(known in prop::collection::vec(known, 0..4), wild in wild)| {
        for path in ["/api/v1/keys", "/metrics/keys", "/api/v1/quarantine"] {
            for query in [known.join("&"), wild.clone()] {
                let answer = house.get(&format!("{path}?{query}"));
                prop_assert!(matches!(answer.status, 200 | 400 | 410), "{path}?{query}: {answer:?}");
                if answer.status == 400 && answer.header("content-type").is_some() {
                    answer.code();
                }
            }
        }
    });
    assert_eq!(house.get("/healthz").status, 200);
}
