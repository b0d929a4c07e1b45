//! Which keys a record names.

use serde_json::{Value, json};

use super::*;

const ID: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";
const MULTI: &str = "mrk-1234abcd12ab34cd56ef1234567890ab";
const ALIAS_ARN: &str = "arn:aws:kms:eu-west-1:444455556666:alias/app";

fn resources(arns: &[&str]) -> Value {
    arns.iter().map(|arn| json!({ "ARN": arn })).collect()
}

fn keys(record: &Value) -> Vec<String> {
    kms(record.to_string()).observations.iter().map(|seen| seen.key.to_string()).collect()
}

fn unresolved(record: &Value) -> Vec<(String, Option<String>, Option<String>)> {
    let kms = kms(record.to_string());
    assert!(kms.observations.is_empty(), "{kms:?}");
    kms.unresolved
}

#[test]
fn each_distinct_key_among_the_resources_is_one_observation() {
    let listed = |arns: &[&str]| keys(&record(json!({ "resources": resources(arns) })));
    assert_eq!(listed(&[KEY, KEY]), [KEY]);
    assert_eq!(listed(&[ALIAS_ARN, OTHER_KEY, "", "arn:aws:s3:::b", KEY]), [OTHER_KEY, KEY]);
    assert_eq!(listed(&["arn:aws:kms:eu-west-1:AWS Internal:key/x", KEY]), [KEY]);
}

#[test]
fn without_resources_the_caller_is_believed() {
    let named = |key_id: &str| record(json!({"resources": null, "requestParameters": {"keyId": key_id}}));
    assert_eq!(keys(&named(KEY)), [KEY]);
    assert_eq!(keys(&named(ID)), [KEY]);
    assert_eq!(keys(&named(MULTI)), [format!("arn:aws:kms:eu-west-1:{ACCOUNT}:key/{MULTI}")]);
    // The ARN's Region and account win over the record's.
    let elsewhere = "arn:aws:kms:us-east-1:444455556666:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    assert_eq!(keys(&named(elsewhere)), [elsewhere]);
    let here = (Some(ACCOUNT.to_owned()), Some("eu-west-1".to_owned()));
    for text in ["alias/app", "nonsense", ""] {
        assert_eq!(unresolved(&named(text)), [(text.to_owned(), here.0.clone(), here.1.clone())]);
    }
    let alias_there = (ALIAS_ARN.to_owned(), Some("444455556666".to_owned()), Some("eu-west-1".to_owned()));
    assert_eq!(unresolved(&named(ALIAS_ARN)), [alias_there]);
}

#[test]
fn a_bare_id_needs_to_know_its_place() {
    let request = json!({ "keyId": ID });
    let nowhere = record(json!({"resources": null, "requestParameters": request, "awsRegion": null}));
    assert_eq!(unresolved(&nowhere), [(ID.to_owned(), Some(ACCOUNT.to_owned()), None)]);
    // An envelope knows it, too.
    let wrapped = bridge(&record(
        json!({"resources": null, "requestParameters": request, "awsRegion": null, "recipientAccountId": null}),
    ));
    assert_eq!(keys(&wrapped), [KEY]);
}

#[test]
fn the_words_of_a_failed_call_make_no_names() {
    let failed = |key_id: &str| {
        record(json!({"resources": [], "errorCode": "AccessDenied", "requestParameters": {"keyId": key_id}}))
    };
    assert_eq!(keys(&failed(KEY)), [KEY]);
    assert_eq!(keys(&failed(ID)), [KEY]);
    let odd_id = format!("arn:aws:kms:eu-west-1:{ACCOUNT}:key/an-id-of-my-own");
    let odd_region = format!("arn:aws:kms:my-own-1:{ACCOUNT}:key/{ID}");
    for text in [&*odd_id, &odd_region, "alias/app"] {
        assert_eq!(unresolved(&failed(text))[0].0, text);
    }
    assert_eq!(unresolved(&failed("")), []);
}

#[test]
fn changes_name_their_key_in_their_own_ways() {
    let without_resources = |mut record: Value| {
        record["resources"] = json!([]);
        record
    };
    let created = change("CreateKey", json!({}), json!({"keyMetadata": {"arn": KEY, "keyId": "x"}}));
    assert_eq!(keys(&without_resources(created)), [KEY]);
    let created = change("CreateKey", json!({}), json!({"keyMetadata": {"keyId": ID}}));
    assert_eq!(keys(&without_resources(created)), [KEY]);
    let alias = change("UpdateAlias", json!({"aliasName": "alias/app", "targetKeyId": ID}), json!({}));
    assert_eq!(keys(&without_resources(alias)), [KEY]);
    let alias = change("DeleteAlias", json!({"aliasName": "alias/app"}), json!({}));
    assert_eq!(unresolved(&without_resources(alias))[0].0, "alias/app");
    let primary =
        change("UpdatePrimaryRegion", json!({"keyId": MULTI, "primaryRegion": "us-east-1"}), json!({}));
    assert_eq!(keys(&without_resources(primary)), [format!("arn:aws:kms:eu-west-1:{ACCOUNT}:key/{MULTI}")]);
    let service = record(json!({
        "eventType": "AwsServiceEvent", "eventName": "RotateKey", "resources": null, "requestParameters": null,
        "serviceEventDetails": {"keyId": ID}, "userIdentity": {"invokedBy": "AWS Internal"}
    }));
    assert_eq!(keys(&service), [KEY]);
}

fn reencrypt(
    arns: &[&str],
    source: &str,
    destination: &str,
) -> Vec<(String, Vec<(&'static str, &'static str)>)> {
    let record = record(json!({
        "eventName": "ReEncrypt", "resources": resources(arns),
        "requestParameters": {
            "sourceKeyId": source, "destinationKeyId": destination,
            "sourceEncryptionContext": {"s": "1"}, "destinationEncryptionContext": {"d": "2"}
        }
    }));
    kms(record.to_string())
        .observations
        .into_iter()
        .map(|seen| (seen.key.to_string(), seen.context))
        .collect()
}

#[test]
fn reencrypt_uses_a_source_and_a_destination() {
    let (source, destination) = (vec![("s", "1")], vec![("d", "2")]);
    let both = [(KEY.to_owned(), source.clone()), (OTHER_KEY.to_owned(), destination.clone())];
    assert_eq!(reencrypt(&[KEY, OTHER_KEY], "", "alias/app"), both);
    assert_eq!(reencrypt(&[], KEY, OTHER_KEY), both);
    assert_eq!(reencrypt(&[KEY, KEY], "", ""), [(KEY.to_owned(), source.clone())]);
    for (by_source, by_destination, context) in [
        (KEY, OTHER_KEY, &source),
        (OTHER_KEY, ID, &destination),
        ("", KEY, &destination),
        ("", "alias/app", &source),
        (KEY, ID, &source),
    ] {
        assert_eq!(reencrypt(&[KEY], by_source, by_destination), [(KEY.to_owned(), context.clone())]);
    }
}

#[test]
fn reencrypt_within_one_key_has_the_context_that_there_is() {
    let record = record(json!({
        "eventName": "ReEncrypt", "resources": resources(&[KEY, KEY]),
        "requestParameters": {"destinationEncryptionContext": {"d": "2"}}
    }));
    assert_eq!(observation(&record).context, [("d", "2")]);
}
