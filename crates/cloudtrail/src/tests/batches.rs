//! Batches: of CloudWatch Logs, and of the Kinesis Producer Library.

use serde_json::{Value, json};

use super::*;
use crate::aggregate::tests::{aggregate, sealed};
use crate::gzip::tests::pack;

/// As CloudWatch Logs orders the members.
fn written(messages: &[Value]) -> String {
    let batch = log_batch(messages);
    let names = ["messageType", "owner", "logGroup", "logStream", "subscriptionFilters", "logEvents"];
    let members: Vec<_> = names.iter().map(|name| format!("\"{name}\":{}", batch[name])).collect();
    format!("{{{}}}", members.join(","))
}

#[test]
fn every_message_of_a_batch_is_a_record_of_its_own() {
    let other = record(json!({"eventSource": "s3.amazonaws.com"}));
    let messages = [numbered(1), other, json!("CREDENTIALS"), json!(5), numbered(2), json!({}), numbered(3)];
    let expected = ["e-1", "other", "not_an_object", "not_an_object", "e-2", "unknown_shape", "e-3"];
    let batch = written(&messages);
    assert_eq!(summary(&batch), expected);
    assert_eq!(summary(pack(batch.as_bytes())), expected);
    assert_eq!(summary(log_batch(&messages).to_string()), expected, "in any order");
    assert_eq!(summary(serde_json::to_string_pretty(&log_batch(&messages)).unwrap()), expected);
    assert_eq!(summary(written(&[])), Vec::<String>::new());
    assert_eq!(summary(written(&messages[..1]) + "\n" + &written(&messages[4..5])), ["e-1", "e-2"]);
    assert_eq!(
        summary(log_batch(&["", "not json", "{\"a\":"]).to_string()),
        ["unknown_shape", "not_json", "cut_off"]
    );
}

#[test]
fn a_batch_that_breaks_off_keeps_the_messages_before() {
    let batch = written(&[numbered(1), numbered(2), json!({"a": 1})]);
    let last = "\"timestamp\":1432826855000}";
    let ends: Vec<usize> = batch.match_indices(last).take(2).map(|(place, _)| place + last.len()).collect();
    for length in 1..batch.len() {
        let words = summary(&batch[..length]);
        let whole = ends.iter().filter(|&&end| length >= end).count();
        let kept = words.iter().filter(|word| word.starts_with("e-")).count();
        assert_eq!(kept, whole, "{length}: {words:?}");
        assert_ne!(words.last().map(String::as_str), Some("e-2"), "the cut is told: {length}");
    }
    // That a message within breaks off does not hide that the batch does, too.
    let cut = log_batch(&[&numbered(1).to_string()[..50]]).to_string();
    assert_eq!(summary(&cut[..cut.len() - 120]).last().unwrap(), "cut_off");
    let batch = written(&[json!(1)]).replace("\"1\"", "\"{\\\"a\\\":\"");
    assert_eq!(summary(&batch[..batch.len() - 2]), ["cut_off", "cut_off"]);
}

#[test]
fn lists_of_both_kinds_in_one_object_are_both_read() {
    let events = json!([{"message": numbered(2).to_string()}]).to_string();
    let records = json!([numbered(1)]).to_string();
    for body in [
        format!("{{\"Records\":{records},\"logEvents\":{events}}}"),
        format!("{{\"logEvents\":{events},\"Records\":{records}}}"),
        format!("{{\"messageType\":\"DATA_MESSAGE\",\"logEvents\":{events},\"Records\":{records}}}"),
        format!("{{\"eventID\":\"x\",\"logEvents\":{events},\"Records\":{records}}}"),
        format!(
            "{{\"Type\":\"Notification\",\"Message\":\"x\",\"logEvents\":{events},\"Records\":{records}}}"
        ),
        format!("{{\"messageType\":\"CONTROL_MESSAGE\",\"logEvents\":{events},\"Records\":{records}}}"),
    ] {
        let mut words = summary(&body);
        words.sort();
        assert_eq!(words, ["e-1", "e-2"], "{body}");
    }
}

#[test]
fn an_aggregate_holds_messages_of_any_kind() {
    let messages = [
        numbered(1).to_string().into_bytes(),
        bridge(&numbered(2)).to_string().into_bytes(),
        pack(written(&[numbered(3), json!("junk"), numbered(4)]).as_bytes()),
        b"junk".to_vec(),
        pack(b"packed")[..12].to_vec(),
        Vec::new(),
        format!("{}\n{}", numbered(5), numbered(6)).into_bytes(),
    ];
    let expected =
        ["e-1", "e-2", "e-3", "not_an_object", "e-4", "not_json", "gzip_truncated", "empty", "e-5", "e-6"];
    assert_eq!(summary(aggregate(&messages)), expected);
    let mut damaged = aggregate(&messages);
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(bad(damaged), (BadClass::Malformed, "aggregate_checksum"));
    let nested = aggregate(&[numbered(1).to_string().into_bytes(), aggregate(&messages)]);
    assert_eq!(summary(nested), ["e-1", "aggregate_nested"]);
    let packed_nest = aggregate(&[pack(&aggregate(&messages)), numbered(1).to_string().into_bytes()]);
    assert_eq!(summary(packed_nest), ["aggregate_nested", "e-1"]);
    assert_eq!(bad(sealed(&[0xff])), (BadClass::Malformed, "aggregate_malformed"));
    assert_eq!(summary(pack(&aggregate(&messages[..1]))), ["e-1"]);
}

#[test]
fn what_an_aggregate_unpacks_to_is_bounded_in_all() {
    let limits = Limits { max_decompressed: 3000, ..Limits::default() };
    let decoder = Decoder::new(OperationTable::default(), limits);
    let packed = pack(numbered(1).to_string().as_bytes());
    let bomb = pack(&vec![b' '; 3001]);
    let codes = |messages: &[&[u8]]| -> Vec<_> {
        let outcomes = seen_by(&decoder, &aggregate(messages));
        let code = |seen| match seen {
            Seen::Bad { code, .. } => code,
            _ => "good",
        };
        outcomes.into_iter().map(code).collect()
    };
    assert_eq!(codes(&[&packed, &packed]), ["good", "good"]);
    assert_eq!(codes(&[&packed, &packed, &packed, &packed]).last(), Some(&"gzip_too_large"));
    assert_eq!(codes(&[&bomb, &packed]), ["gzip_too_large", "gzip_too_large"]);
    assert_eq!(codes(&[&bomb, numbered(1).to_string().as_bytes()]), ["gzip_too_large", "good"]);
}
