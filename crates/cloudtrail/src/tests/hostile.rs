//! Whatever comes in, every outcome is visited, once, and soon.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use super::*;

fn valid() -> Vec<String> {
    let list =
        json!({"Records": [numbered(1), numbered(2), record(json!({"eventSource": "s3.amazonaws.com"}))]});
    vec![
        numbered(1).to_string(),
        bridge(&numbered(1)).to_string(),
        direct("KMS CMK Deletion").to_string(),
        notification(&bridge(&numbered(1)).to_string()).to_string(),
        list.to_string(),
        serde_json::to_string_pretty(&list).unwrap(),
        format!("{}\n{}\n{}\n", numbered(1), numbered(2), bridge(&numbered(3))),
        change("CreateAlias", json!({"aliasName": "alias/a", "targetKeyId": KEY}), Value::Null).to_string(),
        change(
            "CreateKey",
            json!({"tags": [{"tagKey": "a", "tagValue": "b"}]}),
            json!({"keyMetadata": {"arn": KEY}}),
        )
        .to_string(),
        change("ReEncrypt", json!({"sourceKeyId": KEY, "destinationKeyId": "alias/a"}), Value::Null)
            .to_string(),
    ]
}

/// Visits without keeping anything, as [`seen`] would leak.
fn visit(body: &[u8]) -> usize {
    let mut visits = 0;
    decoder().decode(body, now(), &mut |outcome| {
        visits += 1;
        if let Outcome::Bad(bad) = &outcome {
            assert!(!bad.reason.to_string().is_empty() && !bad.reason.code().is_empty());
        }
    });
    visits
}

#[derive(Clone, Debug)]
enum Mutation {
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Delete(Index, usize),
    Cut(Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let token = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        "\"",
        ",",
        ":",
        "\n",
        "null",
        "\\",
        "\\ud800",
        "{\"Records\":[",
        "\"detail\":",
        "5",
    ]);
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Flip(at, byte)),
        (any::<Index>(), token).prop_map(|(at, token)| Mutation::Insert(at, token.into())),
        (any::<Index>(), prop::collection::vec(any::<u8>(), 1..8))
            .prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        (any::<Index>(), 1usize..40).prop_map(|(at, length)| Mutation::Delete(at, length)),
        any::<Index>().prop_map(Mutation::Cut),
    ]
}

fn mutate(body: &mut Vec<u8>, mutation: &Mutation) {
    if body.is_empty() {
        return;
    }
    match mutation {
        Mutation::Flip(at, byte) => {
            let place = at.index(body.len());
            body[place] = *byte;
        }
        Mutation::Insert(at, bytes) => {
            let place = at.index(body.len());
            body.splice(place..place, bytes.iter().copied());
        }
        Mutation::Delete(at, length) => {
            let place = at.index(body.len());
            let end = (place + length).min(body.len());
            body.drain(place..end);
        }
        Mutation::Cut(at) => body.truncate(at.index(body.len())),
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec![
        "eventSource",
        "eventID",
        "eventTime",
        "eventName",
        "resources",
        "ARN",
        "detail",
        "detail-type",
        "account",
        "Records",
        "Type",
        "Message",
        "requestParameters",
        "responseElements",
        "keyMetadata",
        "tags",
        "userIdentity",
        "sessionContext",
        "x",
    ]);
    let text = prop::sample::select(vec![
        "kms.amazonaws.com",
        "Decrypt",
        "CreateKey",
        KEY,
        ACCOUNT,
        "Notification",
        "2026-10-01T12:00:00Z",
        "",
        "{}",
    ]);
    let leaf = prop_oneof![Just(Value::Null), any::<i64>().prop_map(Into::into), text.prop_map(Into::into)];
    leaf.prop_recursive(5, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..8).prop_map(|pairs| Value::Object(
                pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
            )),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn mutated_messages_never_panic(which in any::<Index>(), mutations in prop::collection::vec(mutation(), 1..6)) {
        let messages = valid();
        let mut body = messages[which.index(messages.len())].clone().into_bytes();
        for mutation in &mutations {
            mutate(&mut body, mutation);
        }
        prop_assert!(visit(&body) > 0);
    }

    #[test]
    fn any_json_is_visited(value in any_json()) {
        visit(value.to_string().as_bytes());
        visit(serde_json::to_string_pretty(&value).unwrap().as_bytes());
    }

    #[test]
    fn any_bytes_are_visited(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(visit(&bytes) > 0);
    }

    #[test]
    fn a_list_is_visited_element_by_element(values in prop::collection::vec(any_json().prop_filter("objects", Value::is_object), 1..6), pretty: bool) {
        let alone: usize = values.iter().map(|value| visit(value.to_string().as_bytes())).sum();
        let list = json!({ "Records": values });
        let text = if pretty { serde_json::to_string_pretty(&list) } else { serde_json::to_string(&list) }.unwrap();
        prop_assert_eq!(visit(text.as_bytes()), alone);
    }

    #[test]
    fn a_cut_message_keeps_the_records_before_the_cut(count in 1usize..6, cut in any::<Index>(), in_lines: bool) {
        let records: Vec<String> = (0..count).map(|number| numbered(number).to_string()).collect();
        let body = if in_lines { records.join("\n") } else { format!("{{\"Records\":[{}]}}", records.join(",")) };
        let cut = cut.index(body.len());
        let whole = (0..count).filter(|&number| body[..cut].contains(&*records[number])).count();
        let mut visited = 0;
        decoder().decode(&body.as_bytes()[..cut], now(), &mut |outcome| visited += usize::from(matches!(outcome, Outcome::Kms(_))));
        prop_assert_eq!(visited, whole);
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "what is tested is how long it takes")]
fn hostile_text_is_read_in_linear_time() {
    let million = 1_000_000;
    let nested = "{\"a\":\n".repeat(100) + &"[]\n".repeat(million);
    for (name, body) in [
        ("open objects", "{\n".repeat(million)),
        ("open lists", "[\n".repeat(million)),
        ("open names", "{\"a\":\n".repeat(million)),
        ("open names on one line", "{\"a\":".repeat(million)),
        ("open texts", "{\"eventID\":\"\n".repeat(million / 4)),
        ("quotes", "\"".repeat(million)),
        ("closing", "]}".repeat(million)),
        ("commas", "[,".repeat(million)),
        ("nested, then lists", nested),
        ("lists of records", "{\"Records\":[".repeat(million / 4)),
        ("lists of records, by line", "{\"Records\":[\n".repeat(million / 4)),
        ("lists behind a member", "{\"a\":1,\"Records\":[\n".repeat(million / 4)),
        ("details", "{\"detail\":".repeat(million / 4)),
        ("broken at the end", "{\n[\n".repeat(million / 4) + "\"a\n"),
        ("unfinished records", "{\"eventSource\":\"kms.amazonaws.com\",\n".repeat(million / 8)),
    ] {
        let begin = std::time::Instant::now();
        visit(body.as_bytes());
        assert!(begin.elapsed() < Duration::from_secs(30), "{name}: {:?}", begin.elapsed());
    }
}
