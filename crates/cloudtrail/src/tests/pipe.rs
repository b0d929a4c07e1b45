//! Records about what delivers events to us.

use serde_json::{Value, json};

use super::*;
use crate::LeftOut;

fn call(service: &str, operation: &str, request: Value) -> Value {
    let mut call = record(json!({
        "eventSource": format!("{service}.amazonaws.com"), "eventName": operation, "readOnly": false, "resources": null
    }));
    call["requestParameters"] = request;
    call
}

fn pipe(body: &Value) -> Pipe {
    match <[Seen; 1]>::try_from(seen(body.to_string())) {
        Ok([Seen::Pipe(pipe)]) => pipe,
        other => panic!("not one pipe record: {other:?}"),
    }
}

#[test]
fn calls_that_change_the_delivery_are_told() {
    let trail = "arn:aws:cloudtrail:eu-west-1:111122223333:trail/main";
    for (service, operation, request, subject) in [
        ("cloudtrail", "StopLogging", json!({"name": trail}), Some(trail)),
        ("cloudtrail", "StartLogging", json!({"name": "main"}), Some("main")),
        ("cloudtrail", "CreateTrail", json!({"name": "main", "s3BucketName": "b"}), Some("main")),
        ("cloudtrail", "UpdateTrail", json!({"name": "main", "isMultiRegionTrail": true}), Some("main")),
        ("cloudtrail", "DeleteTrail", json!({"name": "main"}), Some("main")),
        ("cloudtrail", "PutEventSelectors", json!({"trailName": "main", "eventSelectors": []}), Some("main")),
        (
            "events",
            "PutRule",
            json!({"name": "kms", "state": "ENABLED", "tags": [{"key": "a"}]}),
            Some("kms"),
        ),
        ("events", "DisableRule", json!({"name": "kms", "eventBusName": "org"}), Some("kms")),
        ("events", "EnableRule", json!({"name": "kms"}), Some("kms")),
        ("events", "DeleteRule", json!({"name": "kms"}), Some("kms")),
        ("events", "PutTargets", json!({"rule": "kms", "targets": [{"id": "1"}]}), Some("kms")),
        ("events", "RemoveTargets", json!({"rule": "kms", "ids": ["1"]}), Some("kms")),
        ("events", "RemoveTargets", Value::Null, None),
    ] {
        let record = call(service, operation, request);
        let expected = Pipe {
            service: if service == "events" { PipeService::EventBridge } else { PipeService::CloudTrail },
            operation: operation.to_owned(),
            event_id: "e-1".to_owned(),
            time: "2026-10-01T12:00:00Z".parse().unwrap(),
            recipient: Some(ACCOUNT.to_owned()),
            region: Some("eu-west-1".to_owned()),
            principal: Some("arn:aws:iam::111122223333:role/app".to_owned()),
            error_code: None,
            subject: subject.map(str::to_owned),
        };
        for body in &[record.clone(), bridge(&record), json!({"Records": [record]}), log_batch(&[&record])] {
            assert_eq!(pipe(body), expected, "{body}");
        }
    }
}

#[test]
fn what_failed_is_told_as_such() {
    let mut denied = call("cloudtrail", "StopLogging", json!({"name": "main"}));
    denied["errorCode"] = json!("AccessDenied");
    assert_eq!(pipe(&denied).error_code.as_deref(), Some("AccessDenied"));
}

#[test]
fn other_calls_of_these_services_are_other_services() {
    for (service, operation) in [
        ("cloudtrail", "LookupEvents"),
        ("cloudtrail", "PutInsightSelectors"),
        ("cloudtrail", "DisableRule"),
        ("events", "PutEvents"),
        ("events", "StopLogging"),
        ("logs", "StopLogging"),
    ] {
        assert_eq!(
            seen(call(service, operation, json!({"name": "x"})).to_string()),
            [Seen::Other],
            "{operation}"
        );
    }
    let mut passage = call("cloudtrail", "StopLogging", json!({"name": "main"}));
    passage["eventType"] = json!("AwsVpceEvent");
    assert_eq!(seen(passage.to_string()), [Seen::Other], "the call itself has a record of its own");
    let mut odd = call("events", "PutEvents", json!({"name": 5}));
    odd["eventTime"] = json!(5);
    assert_eq!(seen(odd.to_string()), [Seen::Other]);
}

#[test]
fn they_are_refused_for_the_same_reasons_as_those_of_kms() {
    for (changes, class, code) in [
        (json!({"eventID": null}), BadClass::Quarantined, "no_event_id"),
        (json!({"eventID": "e".repeat(129)}), BadClass::Quarantined, "long_id"),
        (json!({"eventTime": "soon"}), BadClass::Quarantined, "unreadable_time"),
        (json!({"eventTime": 5}), BadClass::Quarantined, "wrong_type"),
        (json!({"requestParameters": {"name": 5}}), BadClass::Quarantined, "wrong_type"),
        (json!({"recipientAccountId": "444455556666"}), BadClass::Quarantined, "envelope_account_mismatch"),
        (
            json!({"eventTime": "2026-11-01T00:10:00Z"}),
            BadClass::Future { due: "2026-11-01T00:05:00Z".parse().unwrap() },
            "future",
        ),
    ] {
        let mut record = call("cloudtrail", "StopLogging", json!({"name": "main"}));
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                record.as_object_mut().unwrap().remove(name);
            } else {
                record[name] = value.clone();
            }
        }
        let [Seen::Bad { is_kms, class: found, code: reason, account, .. }] =
            &*seen(bridge(&record).to_string())
        else {
            panic!("{changes}");
        };
        assert_eq!((*found, *reason, *is_kms), (class, code, false), "{changes}");
        assert!(account.is_some(), "{changes}");
    }
}

#[test]
fn a_record_says_whether_the_call_only_read() {
    assert!(kms(record(json!({})).to_string()).read_only);
    for value in [json!(false), json!("true"), json!(1), json!([true]), json!({"a": true}), Value::Null] {
        assert!(!kms(record(json!({"readOnly": value})).to_string()).read_only, "{value}");
    }
    let describe = kms(record(json!({"eventName": "DescribeKey"})).to_string());
    assert!(describe.read_only && describe.observations.is_empty());
}

/// What a trail leaves out with this request.
fn left_out(request: Value) -> Option<LeftOut> {
    let mut found = None;
    decoder().decode(
        call("cloudtrail", "PutEventSelectors", request).to_string().as_bytes(),
        now(),
        &mut |outcome| match outcome {
            Outcome::Pipe(pipe) => found = Some(pipe.left_out),
            other => panic!("no pipe record: {other:?}"),
        },
    );
    found.unwrap()
}

#[test]
fn selectors_that_leave_out_kms_or_reads_are_told() {
    let kms = ["kms.amazonaws.com"];
    for (selectors, expected) in [
        (json!([]), None),
        (Value::Null, None),
        (json!([{}]), None),
        (json!([{"readWriteType": "All", "includeManagementEvents": true}]), None),
        (json!([{"readWriteType": "ReadOnly"}]), None),
        (json!([{"readWriteType": "WriteOnly"}]), Some(LeftOut::Reads)),
        (json!([{"includeManagementEvents": false}]), Some(LeftOut::Kms)),
        (json!([{"excludeManagementEventSources": kms}]), Some(LeftOut::Kms)),
        (json!([{"excludeManagementEventSources": ["rdsdata.amazonaws.com"]}]), None),
        (json!([{"excludeManagementEventSources": kms}, {"readWriteType": "All"}]), None),
        (
            json!([{"excludeManagementEventSources": kms}, {"readWriteType": "WriteOnly"}]),
            Some(LeftOut::Reads),
        ),
    ] {
        assert_eq!(
            left_out(json!({"trailName": "main", "eventSelectors": selectors})),
            expected,
            "{selectors}"
        );
    }
}

#[test]
fn advanced_selectors_that_leave_out_kms_or_reads_are_told() {
    let management = json!({"field": "eventCategory", "equals": ["Management"]});
    for (more, expected) in [
        (json!([management]), None),
        (json!([management, {"field": "readOnly", "equals": ["true"]}]), None),
        (json!([management, {"field": "readOnly", "equals": ["false"]}]), Some(LeftOut::Reads)),
        (json!([{"field": "readOnly", "notEquals": ["true"]}, management]), Some(LeftOut::Reads)),
        (
            json!([management, {"field": "eventSource", "notEquals": ["kms.amazonaws.com"]}]),
            Some(LeftOut::Kms),
        ),
        (json!([management, {"field": "eventSource", "notEquals": ["rdsdata.amazonaws.com"]}]), None),
        (json!([management, {"field": "eventSource", "equals": ["s3.amazonaws.com"]}]), Some(LeftOut::Kms)),
        (json!([{"field": "eventCategory", "equals": ["Data"]}]), Some(LeftOut::Kms)),
    ] {
        let request =
            json!({"trailName": "main", "advancedEventSelectors": [{"name": "n", "fieldSelectors": more}]});
        assert_eq!(left_out(request), expected, "{more}");
    }
}
