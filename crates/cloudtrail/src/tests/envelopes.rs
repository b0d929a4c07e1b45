//! What records come wrapped in.

use serde_json::{Value, json};

use super::*;
use crate::gzip::tests::pack;

fn lines(values: &[Value]) -> String {
    values.iter().map(|value| format!("{value}\n")).collect()
}

#[test]
fn every_envelope_gives_up_its_record() {
    let record = numbered(1);
    let plain = [
        record.clone(),
        bridge(&record),
        notification(&record.to_string()),
        notification(&bridge(&record).to_string()),
        notification(&notification(&record.to_string()).to_string()),
        json!({ "Records": [record] }),
        json!([record]),
        json!([bridge(&record)]),
        json!({ "Records": [bridge(&record)] }),
        notification(&json!({ "Records": [record] }).to_string()),
        bridge(&notification(&record.to_string())),
        bridge(&json!(record.to_string())),
        bridge(&json!({ "Records": [record] })),
        json!({"a": {"Records": 1}, "Records": [record], "b": []}),
        json!({"z": 1, "detail": record}),
    ];
    for envelope in plain {
        let text = envelope.to_string();
        assert_eq!(summary(&text), ["e-1"], "{text}");
        assert_eq!(summary(serde_json::to_string_pretty(&envelope).unwrap()), ["e-1"], "{text}");
        assert_eq!(summary(pack(text.as_bytes())), ["e-1"], "{text}");
        assert_eq!(summary(format!("\u{feff} \r\n{text}\n\n")), ["e-1"], "{text}");
        assert_eq!(summary(format!("{text}{text}")), ["e-1", "e-1"], "{text}");
    }
}

#[test]
fn several_documents_are_all_visited_in_order() {
    let all = [
        numbered(1),
        bridge(&numbered(2)),
        record(json!({"eventSource": "s3.amazonaws.com"})),
        json!({"Records": [numbered(3), numbered(4)]}),
    ];
    let expected = ["e-1", "e-2", "other", "e-3", "e-4"];
    assert_eq!(summary(lines(&all)), expected);
    assert_eq!(summary(lines(&all).replace('\n', "\r\n\r\n")), expected);
    assert_eq!(summary(json!(all).to_string()), expected);
    assert_eq!(summary(serde_json::to_string_pretty(&json!(all)).unwrap()), expected);
    assert_eq!(summary(all.map(|value| value.to_string()).concat()), expected);
}

#[test]
fn the_order_of_members_does_not_matter() {
    fn reversed(value: &Value) -> String {
        match value {
            Value::Object(members) => {
                let members: Vec<_> = members
                    .iter()
                    .rev()
                    .map(|(name, value)| format!("{}:{}", json!(name), reversed(value)))
                    .collect();
                format!("{{{}}}", members.join(","))
            }
            Value::Array(items) => format!("[{}]", items.iter().map(reversed).collect::<Vec<_>>().join(",")),
            other => other.to_string(),
        }
    }
    for envelope in [
        numbered(1),
        bridge(&numbered(1)),
        notification(&numbered(1).to_string()),
        json!({"a": 1, "Records": [numbered(1)]}),
    ] {
        assert_eq!(summary(reversed(&envelope)), ["e-1"]);
    }
    // Any member may come first, whatever it hints at.
    for envelope in [numbered(1), bridge(&numbered(1)), notification(&numbered(1).to_string())] {
        let expected = seen(envelope.to_string());
        for (name, value) in envelope.as_object().unwrap() {
            let body = envelope.to_string().replacen('{', &format!("{{{}:{value},", json!(name)), 1);
            if name != "eventSource" {
                assert_eq!(seen(&body).len(), expected.len(), "{name}");
                assert_eq!(summary(&body), ["e-1"], "{name}");
            }
        }
    }
}

#[test]
fn an_envelope_vouches_for_the_account() {
    let wrapped = |changes: Value| bridge(&record(changes));
    assert_eq!(
        kms(wrapped(json!({"recipientAccountId": null})).to_string()).recipient.as_deref(),
        Some(ACCOUNT)
    );
    let forged = wrapped(json!({"recipientAccountId": "444455556666"}));
    assert_eq!(bad(forged.to_string()), (BadClass::Quarantined, "envelope_account_mismatch"));
    // However deep it is wrapped, and whatever the envelopes in between say.
    let mut inner = forged.clone();
    inner["account"] = json!("444455556666");
    for smuggled in [
        bridge(&inner),
        bridge(&json!([inner])),
        bridge(&json!({ "Records": [inner] })),
        bridge(&notification(&inner.to_string())),
        bridge(&json!(record(json!({"recipientAccountId": "444455556666"})).to_string())),
    ] {
        assert_eq!(
            bad(smuggled.to_string()),
            (BadClass::Quarantined, "envelope_account_mismatch"),
            "{smuggled}"
        );
    }
    assert_eq!(summary(bridge(&bridge(&numbered(1))).to_string()), ["e-1"]);
    // Other services' records are none of our business.
    assert_eq!(
        seen(wrapped(json!({"eventSource": "s3.amazonaws.com", "recipientAccountId": "9"})).to_string()),
        [Seen::Other]
    );
    let mut unreadable = bridge(&numbered(1));
    unreadable["account"] = json!(111122223333u64);
    assert_eq!(bad(unreadable.to_string()), (BadClass::Quarantined, "wrong_type"));
}

#[test]
fn a_wrong_type_in_an_envelope_shows_what_is_inside() {
    let [Seen::Bad { class, code, event_id, account, .. }] =
        &*seen(bridge(&record(json!({"eventTime": 5}))).to_string())
    else {
        panic!()
    };
    assert_eq!((*class, *code), (BadClass::Quarantined, "wrong_type"));
    assert_eq!((event_id.as_deref(), account.as_deref()), (Some("e-1"), Some(ACCOUNT)));
}

#[test]
fn what_is_not_understood_is_named() {
    for (body, code) in [
        ("", "empty"),
        (" \n ", "empty"),
        ("garbage", "not_json"),
        ("\"text\"", "not_an_object"),
        ("5", "not_an_object"),
        ("[5]", "not_an_object"),
        ("{\"a\":tru}", "not_json"),
        ("{\"a\":", "cut_off"),
        ("{\"Records\":[", "cut_off"),
        ("[{\"eventID\":\"x\"", "cut_off"),
        ("{}", "unknown_shape"),
        ("{\"hello\":1}", "unknown_shape"),
        (
            "{\"Records\":[{\"eventSource\":\"aws:s3\",\"eventName\":\"ObjectCreated:Put\",\"s3\":{}}]}",
            "bad_announcement",
        ),
        ("{\"eventSource\":\"aws:s3\"}", "bad_announcement"),
        ("{\"eventSource\":\"aws:s3\",\"eventName\":\"ObjectCreated:Put\",\"s3\":5}", "wrong_type"),
        ("{\"s3Bucket\":\"b\",\"s3ObjectKey\":[\"\"]}", "bad_announcement"),
        ("{\"s3Bucket\":\"b\",\"s3ObjectKey\":[5]}", "bad_announcement"),
        ("{\"s3Bucket\":\"b\",\"s3ObjectKey\":\"k\"}", "bad_announcement"),
        ("{\"s3Bucket\":5,\"s3ObjectKey\":[\"k\"]}", "bad_announcement"),
        ("{\"messageType\":\"DATA_MESSAGE\",\"logEvents\":5}", "unknown_shape"),
        ("{\"messageType\":\"DATA_MESSAGE\",\"logEvents\":[{\"id\":\"1\"}]}", "unknown_shape"),
        ("{\"messageType\":\"DATA_MESSAGE\",\"logEvents\":[{\"id\":\"1\",\"message\":5}]}", "unknown_shape"),
        ("{\"messageType\":\"DATA_MESSAGE\",\"logEvents\":[", "cut_off"),
        ("{\"awsAccountId\":\"1\",\"digestS3Bucket\":\"b\"}", "trail_digest"),
        ("{\"Type\":\"SubscriptionConfirmation\",\"SubscribeURL\":\"u\"}", "unknown_shape"),
        ("{\"Type\":\"Invitation\",\"Message\":\"come\"}", "unknown_shape"),
        ("{\"Type\":\"Notification\",\"Message\":\"an alarm\"}", "not_json"),
        (
            "{\"version\":\"0\",\"detail-type\":\"Object Created\",\"source\":\"aws.s3\",\"detail\":{\"bucket\":{}}}",
            "bad_announcement",
        ),
        (
            "{\"version\":\"0\",\"detail-type\":\"Object Created\",\"source\":\"mine\",\"detail\":{\"bucket\":{}}}",
            "forged_event",
        ),
        (
            "{\"version\":\"0\",\"detail-type\":\"Object Deleted\",\"source\":\"mine\",\"detail\":{\"bucket\":{}}}",
            "other_event",
        ),
        ("{\"version\":\"0\",\"detail-type\":\"Odd\",\"detail\":5}", "other_event"),
    ] {
        assert_eq!(bad(body), (BadClass::Malformed, code), "{body}");
    }
    assert_eq!(bad(b"\xf3\x89\x9a\xc2\x0a{\"a\":1}\n{}").1, "aggregate_truncated");
    assert_eq!(bad(b"\xf3\x89\x9a\xc2\x0a{\"a\":1}\n{\"b\":2}").1, "aggregate_checksum");
}

#[test]
fn one_bad_record_never_hides_its_neighbours() {
    let [one, two] = [numbered(1).to_string(), numbered(2).to_string()];
    let cut = &one[..one.len() - 20];
    let cut_in_text = &one[..one.find("an agent").unwrap() + 3];
    for (body, expected) in [
        (format!("{one}\n{{\"a\":tru}}\n{two}"), vec!["e-1", "not_json", "e-2"]),
        (format!("{one}\ngarbage\nmore\n{two}"), vec!["e-1", "not_json", "e-2"]),
        (format!("{one}\n{cut}\n{two}"), vec!["e-1", "cut_off", "e-2"]),
        (format!("{one}\n{cut_in_text}\n{two}"), vec!["e-1", "cut_off", "e-2"]),
        (format!("{cut}\n{one}\n{two}\n"), vec!["cut_off", "e-1", "e-2"]),
        (format!("{one}\n{two}\n{cut}"), vec!["e-1", "e-2", "cut_off"]),
        (format!("[{one},{{\"a\":tru}},{two}]"), vec!["e-1", "not_json", "e-2"]),
        (format!("[{one},5,\"x{{\",{two}]"), vec!["e-1", "not_an_object", "not_an_object", "e-2"]),
        (format!("{{\"Records\":[{one},{{}},{two}]}}"), vec!["e-1", "unknown_shape", "e-2"]),
        (format!("{{\"Records\":[{one},{two},{cut}"), vec!["e-1", "e-2", "cut_off"]),
        (format!("{{\"Records\":[{one},{two}"), vec!["e-1", "e-2", "cut_off"]),
        (format!("{{\"Records\":[{one},{two}]"), vec!["e-1", "e-2", "cut_off"]),
        (format!("{{\"a\":1,\"Records\":[{one},{two},{cut}"), vec!["e-1", "e-2", "cut_off"]),
        (format!("{{\"Records\":[\n{one},\n{cut},\n{two}\n]}}\n{one}"), vec!["e-1", "cut_off", "e-2", "e-1"]),
        (format!("{{\"Records\":[{one}],\"Records\":[{two}]}}"), vec!["e-1", "e-2"]),
    ] {
        assert_eq!(summary(&body), expected, "{body}");
    }
}

#[test]
fn depth_and_wraps_are_bounded_for_each_record_alone() {
    let nested = |depth: usize| {
        record(json!({"userAgent": "HERE"}))
            .to_string()
            .replace("\"HERE\"", &format!("{}{}", "[".repeat(depth), "]".repeat(depth)))
    };
    assert_eq!(summary(nested(127)), ["e-1"]);
    assert_eq!(bad(nested(128)), (BadClass::Quarantined, "too_deep"));
    let foreign = nested(128).replace("kms.amazonaws", "s3.amazonaws");
    assert_eq!(bad(foreign), (BadClass::Malformed, "too_deep"));
    let list = format!("[{},{},{}]", numbered(2), nested(100_000), numbered(3));
    assert_eq!(summary(list), ["e-2", "too_deep", "e-3"]);
    let very_deep =
        format!("{}\n{}{}\n{}", numbered(1), "[".repeat(100_000), "]".repeat(100_000), numbered(2));
    assert_eq!(summary(very_deep), ["e-1", "too_many_wraps", "e-2"]);

    let mut wrapped = numbered(1).to_string();
    for _ in 0..Limits::default().max_wraps {
        wrapped = notification(&wrapped).to_string();
    }
    assert_eq!(summary(&wrapped), ["e-1"]);
    assert_eq!(summary(notification(&wrapped).to_string()), ["too_many_wraps"]);
    assert_eq!(summary(bridge(&json!(wrapped)).to_string()), ["too_many_wraps"]);
}

#[test]
fn sizes_are_bounded() {
    let limits = Limits { max_decompressed: 3000, max_record: 2000, ..Limits::default() };
    let decoder = Decoder::new(OperationTable::default(), limits);
    let large = record(json!({"userAgent": "x".repeat(2000)})).to_string();
    let codes = |body: &[u8]| -> Vec<_> {
        seen_by(&decoder, body)
            .into_iter()
            .map(|seen| match seen {
                Seen::Bad { class, code, .. } => Some((class, code)),
                _ => None,
            })
            .collect()
    };
    assert_eq!(
        codes(format!("{large}\n{}", numbered(1)).as_bytes()),
        [Some((BadClass::Quarantined, "too_large")), None]
    );
    assert_eq!(codes(&pack(&vec![b' '; 3001])), [Some((BadClass::Malformed, "gzip_too_large"))]);
    assert_eq!(codes(&pack(b"")), [Some((BadClass::Malformed, "empty"))]);
    let packed = pack(numbered(1).to_string().as_bytes());
    assert_eq!(codes(&packed[..packed.len() - 1]), [Some((BadClass::Malformed, "gzip_truncated"))]);
    assert_eq!(
        codes(&pack(&packed)),
        [Some((BadClass::Malformed, "not_json"))],
        "packed twice is not unpacked twice"
    );
}

#[test]
fn a_bad_piece_is_handed_on_as_it_came() {
    let body = record(json!({"eventID": null})).to_string();
    let [Seen::Bad { excerpt, .. }] = &*seen(notification(&body).to_string()) else { panic!() };
    assert_eq!(*excerpt, body.as_bytes());
}
