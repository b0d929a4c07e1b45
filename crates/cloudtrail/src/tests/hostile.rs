//! Whatever comes in, every outcome is visited, once, and soon.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use super::*;
use crate::aggregate::tests::{aggregate, sealed};
use crate::gzip::tests::pack;

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
        log_batch(&[numbered(1), numbered(2)]).to_string(),
        json!({"messageType": "CONTROL_MESSAGE", "logEvents": [{"message": "checking"}]}).to_string(),
        json!({"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "b"}, "object": {"key": "a+%41", "size": 1}}}]}).to_string(),
        json!({"s3Bucket": "b", "s3ObjectKey": ["k", "l"]}).to_string(),
        record(json!({"eventSource": "cloudtrail.amazonaws.com", "eventName": "StopLogging"})).to_string(),
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
        "{\"messageType\":\"DATA_MESSAGE\",\"logEvents\":[",
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
        "messageType",
        "logEvents",
        "message",
        "s3Bucket",
        "s3ObjectKey",
        "s3",
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
        "events.amazonaws.com",
        "aws:s3",
        "ObjectCreated:Put",
        "PutRule",
        "DATA_MESSAGE",
        "CONTROL_MESSAGE",
        "Object Created",
        "aws.s3",
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

#[test]
fn an_announcement_of_nothing_is_told() {
    assert_eq!(visit(br#"{"s3Bucket":"b","s3ObjectKey":[ ]}"#), 1);
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

/// One way to wrap a message once more.
#[derive(Clone, Copy, Debug)]
enum Wrap {
    Topic,
    Bridge,
    BridgedText,
    List,
    Records,
    LogEvents,
}

impl Wrap {
    fn around(self, message: &str) -> String {
        let value = || serde_json::from_str::<Value>(message).unwrap();
        match self {
            Self::Topic => notification(message).to_string(),
            Self::Bridge => bridge(&value()).to_string(),
            Self::BridgedText => bridge(&json!(message)).to_string(),
            Self::List => json!([value()]).to_string(),
            Self::Records => json!({ "Records": [value()] }).to_string(),
            Self::LogEvents => log_batch(&[message]).to_string(),
        }
    }

    /// How many envelopes it counts as.
    fn depth(self) -> usize {
        if matches!(self, Self::LogEvents) { 2 } else { 1 }
    }
}

proptest! {
    #[test]
    fn wrapping_changes_nothing(
        wraps in prop::collection::vec(prop::sample::select(vec![
            Wrap::Topic, Wrap::Bridge, Wrap::BridgedText, Wrap::List, Wrap::Records, Wrap::LogEvents,
        ]), 0..6),
        packed: bool,
        aggregated: bool,
        which in any::<Index>(),
    ) {
        let bare = [
            numbered(1),
            record(json!({"errorCode": "DisabledException", "eventName": "Sign"})),
            record(json!({"eventSource": "s3.amazonaws.com"})),
            record(json!({"eventSource": "events.amazonaws.com", "eventName": "DisableRule"})),
            json!({"s3Bucket": "b", "s3ObjectKey": ["k", "l"]}),
            json!({"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "b"}, "object": {"key": "k"}}}]}),
        ];
        let bare = bare[which.index(bare.len())].to_string();
        let own = usize::from(bare.contains("Records"));
        let mut message = bare.clone();
        for &wrap in &wraps {
            message = wrap.around(&message);
        }
        let most = wraps.iter().map(|wrap| wrap.depth()).sum::<usize>() + own + usize::from(aggregated);
        let mut body = message.into_bytes();
        if packed {
            body = pack(&body);
        }
        if aggregated {
            body = aggregate(&[body]);
        }
        if most <= Limits::default().max_wraps {
            prop_assert_eq!(seen(body), seen(bare));
        } else {
            prop_assert_eq!(summary(body), ["too_many_wraps"]);
        }
    }

    #[test]
    fn mutated_bytes_of_an_aggregate_never_panic(at in any::<Index>(), byte: u8, cut in any::<Index>(), resealed: bool) {
        let good = aggregate(&[pack(log_batch(&[numbered(1)]).to_string().as_bytes()), numbered(2).to_string().into_bytes()]);
        let mut message = good[4..good.len() - 16].to_vec();
        let place = at.index(message.len());
        message[place] = byte;
        message.truncate(cut.index(message.len()) + 1);
        let body = if resealed { sealed(&message) } else { [&good[..4], &message].concat() };
        prop_assert!(visit(&body) > 0 || resealed);
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
        ("log events", "{\"messageType\":\"DATA_MESSAGE\",\"logEvents\":[".repeat(million / 8)),
        ("log events, by line", "{\"messageType\":\"DATA_MESSAGE\",\"logEvents\":[\n".repeat(million / 8)),
        ("batches without an end", "{\"messageType\":\"DATA_MESSAGE\",\"a\":\n".repeat(million / 8)),
        ("log events behind a member", "{\"a\":1,\"logEvents\":[\n".repeat(million / 8)),
        ("messages", format!("{{\"logEvents\":[{}", "{\"message\":".repeat(million / 4))),
        ("keys", format!("{{\"s3Bucket\":\"b\",\"s3ObjectKey\":[{}\"\"]}}", "\"k\",".repeat(million))),
        ("details", "{\"detail\":".repeat(million / 4)),
        ("broken at the end", "{\n[\n".repeat(million / 4) + "\"a\n"),
        ("unfinished records", "{\"eventSource\":\"kms.amazonaws.com\",\n".repeat(million / 8)),
    ] {
        let begin = std::time::Instant::now();
        visit(body.as_bytes());
        assert!(begin.elapsed() < Duration::from_secs(30), "{name}: {:?}", begin.elapsed());
    }
}
