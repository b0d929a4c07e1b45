//! What one record says.

use dormouse_model::Kind;
use serde_json::{Value, json};

use super::*;

#[test]
fn a_successful_in_use_operation_is_a_use() {
    let kms = kms(record(json!({})).to_string());
    assert_eq!((&*kms.operation, kms.succeeded, kms.unknown_operation), ("Decrypt", true, false));
    assert_eq!(kms.recipient.as_deref(), Some(ACCOUNT));
    assert_eq!(kms.region.as_deref(), Some("eu-west-1"));
    assert_eq!(kms.request_id.as_deref(), Some("r-1"));
    let [seen] = &*kms.observations else { panic!("{kms:?}") };
    assert_eq!(seen.key.to_string(), KEY);
    assert_eq!((seen.kind, seen.operation, seen.event_id), (Kind::Use, "Decrypt", "e-1"));
    assert_eq!(seen.time, "2026-10-01T12:00:00Z".parse().unwrap());
    assert_eq!(seen.recipient, Some(ACCOUNT.parse().unwrap()));
    assert_eq!(seen.principal, Some("arn:aws:iam::111122223333:role/app"));
    assert_eq!(seen.session, Some("i-0abc"));
    assert_eq!(seen.source_ip, Some("192.0.2.10"));
    assert_eq!(seen.context, [("aws:s3:arn", "arn:aws:s3:::a-bucket"), ("b", "c")]);
    assert_eq!((seen.invoked_by, seen.error_code, seen.shared_id), (None, None, None));
    assert!(seen.counted && !seen.wanted && seen.change.is_none() && seen.effects.is_empty());
}

#[test]
fn a_failed_one_is_an_attempt_and_may_show_that_the_key_is_wanted() {
    for (code, wanted) in [
        ("AccessDenied", false),
        ("NotFoundException", false),
        ("DisabledException", true),
        ("KMSInvalidState", true),
        ("KeyUnavailableException", true),
        ("ThrottlingException", true),
    ] {
        let seen = observation(&record(json!({ "errorCode": code })));
        assert_eq!((seen.kind, seen.error_code, seen.wanted), (Kind::Attempt, Some(code), wanted));
    }
    assert_eq!(observation(&record(json!({"errorCode": ""}))).kind, Kind::Use);
}

#[test]
fn a_dry_run_is_nothing() {
    for code in ["DryRunOperationException", "DryRunOperation"] {
        let kms = kms(record(json!({ "errorCode": code })).to_string());
        assert!(kms.observations.is_empty() && kms.unresolved.is_empty() && !kms.succeeded);
    }
}

#[test]
fn what_tells_of_no_call_says_nothing() {
    for changes in [
        json!({"eventType": "AwsVpceEvent", "sharedEventID": "s-1"}),
        json!({"eventCategory": "NetworkActivity"}),
        json!({"eventCategory": "Insight"}),
        json!({"eventType": "AwsCloudTrailInsight", "eventName": "Unheard"}),
        json!({"eventName": "ListKeys", "resources": null}),
        json!({"eventName": "DisableKey", "errorCode": "AccessDenied"}),
    ] {
        let kms = kms(record(changes.clone()).to_string());
        assert!(kms.observations.is_empty() && kms.unresolved.is_empty(), "{changes}");
        assert!(!kms.unknown_operation && kms.shared_id.is_none(), "{changes}");
    }
}

#[test]
fn an_unknown_operation_is_flagged_with_its_keys() {
    let kms = kms(record(json!({"eventName": "Transmogrify"})).to_string());
    assert!(kms.unknown_operation && kms.succeeded && kms.observations.is_empty());
    assert_eq!(kms.keys, [KEY]);
}

#[test]
fn the_principal_is_who_issued_the_session_else_the_caller() {
    let seen_with = |identity: Value| observation(&record(json!({ "userIdentity": identity })));
    let user = seen_with(json!({"type": "IAMUser", "arn": "arn:aws:iam::111122223333:user/u"}));
    assert_eq!((user.principal, user.session), (Some("arn:aws:iam::111122223333:user/u"), None));
    let service = seen_with(json!({"type": "AWSService", "invokedBy": "AWS Internal"}));
    assert_eq!((service.principal, service.invoked_by), (None, Some("AWS Internal")));
    let bare = seen_with(
        json!({"arn": "arn:aws:sts::111122223333:assumed-role/a/b/c", "sessionContext": {"sessionIssuer": {"arn": ""}}}),
    );
    assert_eq!(
        (bare.principal, bare.session),
        (Some("arn:aws:sts::111122223333:assumed-role/a/b/c"), Some("b/c"))
    );
    let nobody = observation(&record(json!({"userIdentity": null})));
    assert_eq!((nobody.principal, nobody.session), (None, None));
}

#[test]
fn a_shared_id_is_kept() {
    let seen = observation(&record(json!({"sharedEventID": "s-1", "recipientAccountId": "444455556666"})));
    assert_eq!(seen.shared_id, Some("s-1"));
    assert!(seen.is_foreign_copy());
}

#[test]
fn a_record_of_another_service_is_other_whatever_it_holds() {
    for changes in [
        json!({"eventSource": "s3.amazonaws.com"}),
        json!({"eventSource": "s3.amazonaws.com", "requestParameters": {"keyId": 5, "tags": {"a": "b"}}}),
        json!({"eventSource": "s3.amazonaws.com", "userIdentity": "nobody", "eventID": 7}),
        json!({"eventSource": "s3.amazonaws.com", "eventTime": "2099-01-01T00:00:00Z", "eventID": null}),
        json!({"eventSource": null}),
        json!({"eventSource": null, "eventType": null}),
        json!({"eventSource": null, "eventID": null, "eventType": "AwsCloudTrailInsight", "userIdentity": 1}),
    ] {
        assert_eq!(seen(record(changes.clone()).to_string()), [Seen::Other], "{changes}");
    }
    // Members come in any order: here the source comes last.
    let late = br#"{"eventVersion":"1.11","requestParameters":{"tags":{"a":"b"}},"eventSource":"ec2.amazonaws.com"}"#;
    assert_eq!(seen(late), [Seen::Other]);
}

#[test]
fn a_kms_record_without_its_bearings_goes_to_quarantine() {
    for (changes, code) in [
        (json!({"eventID": null}), "no_event_id"),
        (json!({"eventID": ""}), "no_event_id"),
        (json!({"eventID": "x".repeat(129)}), "long_id"),
        (json!({"sharedEventID": "x".repeat(129)}), "long_id"),
        (json!({"eventName": null}), "no_event_name"),
        (json!({"eventTime": null}), "no_event_time"),
        (json!({"eventTime": "Apr 12, 2021 18:58:30 PM"}), "unreadable_time"),
        (json!({"eventName": 5}), "wrong_type"),
        (json!({"userIdentity": "nobody"}), "wrong_type"),
        (json!({"requestParameters": {"encryptionContext": ["a"]}}), "wrong_type"),
        (json!({"resources": {"ARN": KEY}}), "wrong_type"),
        (json!({"resources": vec![json!({"ARN": KEY}); 65]}), "too_many_resources"),
    ] {
        assert_eq!(bad(record(changes.clone()).to_string()), (BadClass::Quarantined, code), "{changes}");
    }
    let [Seen::Bad { event_id, account, .. }] = &*seen(record(json!({"eventName": 5})).to_string()) else {
        panic!()
    };
    assert_eq!((event_id.as_deref(), account.as_deref()), (Some("e-1"), Some(ACCOUNT)));
    assert_eq!(kms(record(json!({"eventID": "x".repeat(128)})).to_string()).observations.len(), 1);
}

#[test]
fn a_source_of_the_wrong_type_makes_a_record_malformed() {
    assert_eq!(bad(record(json!({"eventSource": 5})).to_string()), (BadClass::Malformed, "wrong_type"));
}

#[test]
fn a_record_from_the_future_is_due_when_the_clocks_may_differ_that_much() {
    let at = |time: &str| record(json!({ "eventTime": time })).to_string();
    assert_eq!(kms(at("2026-11-01T00:05:00Z")).observations.len(), 1);
    let due = "2026-11-01T00:00:01Z".parse().unwrap();
    assert_eq!(bad(at("2026-11-01T00:05:01Z")), (BadClass::Future { due }, "future"));
}

#[test]
fn null_is_absent_everywhere() {
    let body = format!(
        r#"{{"eventVersion":null,"userIdentity":{{"arn":null,"sessionContext":null}},"eventTime":"2026-10-01T12:00:00Z","eventSource":"kms.amazonaws.com","eventName":"Decrypt","awsRegion":null,"sourceIPAddress":null,"errorCode":null,"requestParameters":{{"keyId":null,"encryptionContext":{{"a":null,"b":"c"}},"tags":[null]}},"responseElements":{{"keyMetadata":null}},"eventID":"e-1","resources":[null,{{"ARN":null}},{{"ARN":"{KEY}"}}],"sharedEventID":null,"recipientAccountId":null}}"#
    );
    let kms = kms(body);
    assert_eq!((kms.recipient, kms.region, kms.succeeded), (None, None, true));
    assert_eq!(kms.observations[0].context, [("b", "c")]);
}

#[test]
fn texts_that_are_no_unicode_cost_nothing() {
    let plain = record(json!({"userIdentity": {"arn": "arn:aws:sts::111122223333:assumed-role/app/HERE"}}))
        .to_string();
    let session = |text: &[u8]| {
        let (before, after) = plain.split_once("HERE").unwrap();
        let body = [before.as_bytes(), text, after.as_bytes()].concat();
        kms(body).observations[0].session.unwrap().to_owned()
    };
    assert_eq!(session(br"half \ud83d"), "half \u{fffd}");
    assert_eq!(session(b"\xff"), "\u{fffd}");
    // In names, and in what is skipped, too.
    let body = record(json!({"userAgent": "HERE", "HERE": 1})).to_string();
    for text in [&br"\udc00"[..], b"\xff\xfe"] {
        let parts: Vec<&[u8]> = body.split("HERE").map(str::as_bytes).collect();
        assert_eq!(kms(parts.join(text)).observations.len(), 1);
    }
}

#[test]
fn of_two_members_with_one_name_the_last_counts_or_the_record_is_bad() {
    let twice = |member: &str| record(json!({})).to_string().replacen('{', &format!("{{{member},"), 1);
    assert_eq!(kms(twice(r#""eventName":"Encrypt""#)).operation, "Decrypt");
    assert_eq!(bad(twice(r#""eventSource":"s3.amazonaws.com""#)), (BadClass::Quarantined, "wrong_type"));
    let other = record(json!({})).to_string().replacen(
        "\"eventVersion\"",
        "\"eventSource\":\"s3.amazonaws.com\",\"x\"",
        1,
    );
    assert!(matches!(&*seen(other), [Seen::Other | Seen::Bad { .. }]));
}

#[test]
fn kept_texts_are_bounded() {
    let long = "é".repeat(5000);
    let context: serde_json::Map<String, Value> =
        (0..50).map(|n| (format!("name {n:02}"), json!(&long[..800]))).collect();
    let seen = observation(&record(json!({
        "userIdentity": {"arn": format!("arn:aws:sts::111122223333:assumed-role/app/{long}"), "invokedBy": long},
        "sourceIPAddress": long, "errorCode": long, "requestParameters": {"encryptionContext": context}
    })));
    assert!(seen.principal.unwrap().len() <= 2048 && seen.principal.unwrap().len() > 2040);
    assert_eq!(seen.session.unwrap().len(), 256);
    assert!(seen.invoked_by.unwrap().len() <= 256 && seen.source_ip.unwrap().len() <= 256);
    assert!(seen.error_code.unwrap().len() <= 128);
    let size: usize = seen.context.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert!(seen.context.len() <= 32 && size <= 8192 && size > 8100, "{size}");
}
