//! Messages that say that an object is there, and messages that say nothing.

use serde_json::{Value, json};

use super::*;

fn s3_record(event: &str, bucket: &str, key: &str) -> Value {
    json!({
        "eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "eu-west-1", "eventTime": "2026-10-01T12:00:00.123Z",
        "eventName": event, "userIdentity": {"principalId": "AWS:AIDAEXAMPLE"},
        "requestParameters": {"sourceIPAddress": "192.0.2.10"}, "responseElements": {"x-amz-request-id": "r"},
        "s3": {
            "s3SchemaVersion": "1.0", "configurationId": "to-dormouse",
            "bucket": {"name": bucket, "ownerIdentity": {"principalId": "A1"}, "arn": format!("arn:aws:s3:::{bucket}")},
            "object": {"key": key, "size": 1234, "eTag": "e", "sequencer": "0055AED6DCD90281E5"}
        }
    })
}

fn s3_event(detail_type: &str, key: &str) -> Value {
    let mut event = bridge(&json!({
        "version": "0", "bucket": {"name": "trails"}, "object": {"key": key, "size": 5, "etag": "e", "sequencer": "00"},
        "request-id": "r", "requester": "cloudtrail.amazonaws.com", "source-ip-address": "192.0.2.10", "reason": "PutObject"
    }));
    event["source"] = json!("aws.s3");
    event["detail-type"] = json!(detail_type);
    event
}

fn announced(key: &str, size: Option<u64>) -> Seen {
    Seen::Announced { bucket: "trails".to_owned(), key: key.to_owned(), size }
}

#[test]
fn every_notification_tells_which_objects_are_there() {
    let records = json!({"Records": [
        s3_record("ObjectCreated:Put", "trails", "a+b/%C3%A9%2B.json.gz"),
        s3_record("ObjectCreated:CompleteMultipartUpload", "trails", "c"),
    ]});
    let both = [announced("a b/é+.json.gz", Some(1234)), announced("c", Some(1234))];
    let event = s3_event("Object Created", "a+b/%C3%A9.json.gz");
    let trail = json!({"s3Bucket": "trails", "s3ObjectKey": ["AWSLogs/a+%20", "b"]});
    for (body, expected) in [
        (records, &both[..]),
        (s3_record("s3:ObjectCreated:Copy", "trails", "c"), &both[1..]),
        (event, &[announced("a+b/%C3%A9.json.gz", Some(5))]),
        (trail, &[announced("AWSLogs/a+%20", None), announced("b", None)]),
    ] {
        let once = notification(&body.to_string());
        let twice = notification(&once.to_string());
        for wrapped in [body.clone(), once, twice, json!([body]), json!({"Records": [body]})] {
            assert_eq!(seen(wrapped.to_string()), expected, "{wrapped}");
            assert_eq!(seen(serde_json::to_string_pretty(&wrapped).unwrap()), expected, "{wrapped}");
        }
    }
}

#[test]
fn records_and_announcements_are_told_apart_one_by_one() {
    let mixed = json!({"Records": [
        numbered(1), s3_record("ObjectCreated:Put", "trails", "a"), record(json!({"eventSource": "s3.amazonaws.com"})),
        s3_record("ObjectRemoved:Delete", "trails", "a"), s3_record("ObjectCreated:Put", "", "b"), numbered(2),
    ]});
    assert_eq!(
        summary(mixed.to_string()),
        ["e-1", "trails/a", "other", "s3_other", "bad_announcement", "e-2"]
    );
}

#[test]
fn a_name_that_can_be_no_object_is_refused() {
    let long = "k".repeat(1025);
    for (bucket, key) in [("", "k"), ("b", ""), (&*long, "k"), ("b", &long), ("b", "%ff")] {
        let body = s3_record("ObjectCreated:Put", bucket, key).to_string();
        assert_eq!(bad(body), (BadClass::Malformed, "bad_announcement"), "{bucket} {key}");
    }
    // Three bytes of the encoded key are one of the key.
    let longest = "%41".repeat(1024);
    assert_eq!(
        seen(s3_record("ObjectCreated:Put", "trails", &longest).to_string()),
        [announced(&"A".repeat(1024), Some(1234))]
    );
    let keys = json!({"s3Bucket": "trails", "s3ObjectKey": ["a", 5, "", "b"]});
    assert_eq!(summary(keys.to_string()), ["trails/a", "bad_announcement", "bad_announcement", "trails/b"]);
}

#[test]
fn only_s3_may_say_that_it_created_an_object() {
    let mut forged = s3_event("Object Created", "k");
    for source in ["aws.kms", "s3", "", "AWS.S3"] {
        forged["source"] = json!(source);
        assert_eq!(bad(forged.to_string()), (BadClass::Malformed, "forged_event"), "{source}");
    }
}

#[test]
fn what_carries_no_event_says_what_it_is() {
    let check = json!({
        "messageType": "CONTROL_MESSAGE", "owner": "CloudwatchLogs", "logGroup": "", "logStream": "", "subscriptionFilters": [],
        "logEvents": [{"id": "", "timestamp": 1_432_826_855_000_u64, "message": "CWL CONTROL MESSAGE: Checking health of destination."}]
    });
    let sns = |kind: &str| json!({"Type": kind, "MessageId": "m", "Message": "You have chosen to subscribe", "SubscribeURL": "https://example.com"});
    let test = json!({"Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "2026-10-01T12:00:00.000Z", "Bucket": "b", "RequestId": "r"});
    let list = json!({"Records": [s3_record("ObjectRemoved:Delete", "b", "k")]});
    for (body, control, name) in [
        (check, Control::LogsCheck, "logs_check"),
        (sns("SubscriptionConfirmation"), Control::SubscriptionConfirmation, "sns_subscription"),
        (sns("UnsubscribeConfirmation"), Control::UnsubscribeConfirmation, "sns_unsubscription"),
        (test, Control::S3Test, "s3_test"),
        (list, Control::S3Other, "s3_other"),
        (s3_event("Object Deleted", "k"), Control::S3Other, "s3_other"),
        (s3_event("Object Tags Added", "k"), Control::S3Other, "s3_other"),
    ] {
        assert_eq!(control.name(), name);
        for wrapped in [body.clone(), notification(&body.to_string()), json!([body])] {
            assert_eq!(seen(wrapped.to_string()), [Seen::Control(control)], "{wrapped}");
        }
    }
}
