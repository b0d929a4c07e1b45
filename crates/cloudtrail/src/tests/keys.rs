//! Which keys a record names.

use serde_json::{Value, json};

use dormouse_model::{AccountId, KeyArn, Region};

use super::*;
use crate::NameResolver;

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
    for (by_source, by_destination, context) in
        [("", KEY, &destination), ("", "alias/app", &source), (KEY, ID, &source)]
    {
        assert_eq!(reencrypt(&[KEY], by_source, by_destination), [(KEY.to_owned(), context.clone())]);
    }
    // What is not listed was used all the same.
    assert_eq!(reencrypt(&[KEY], KEY, OTHER_KEY), both);
    assert_eq!(
        reencrypt(&[KEY], OTHER_KEY, ID),
        [(KEY.to_owned(), destination), (OTHER_KEY.to_owned(), source)]
    );
}

#[test]
fn reencrypt_does_not_forget_the_name_beside_the_only_listed_key() {
    let beside = |source: &str, destination: &str, changes: Value| {
        let mut whole = json!({
            "eventName": "ReEncrypt", "resources": resources(&[KEY]),
            "requestParameters": {"sourceKeyId": source, "destinationKeyId": destination}
        });
        whole.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let (keys, kms) = (resolved(whole.clone()), kms(record(whole).to_string()));
        (keys.0, kms.unresolved.into_iter().map(|(text, ..)| text).collect::<Vec<_>>())
    };
    let only = vec![KEY.to_owned()];
    assert_eq!(beside("", "alias/none", json!({})), (only.clone(), vec!["alias/none".to_owned()]));
    assert_eq!(beside("alias/none", ID, json!({})), (only.clone(), vec!["alias/none".to_owned()]));
    let (keys, _) = beside("", "alias/app", json!({}));
    assert_eq!(keys, [KEY, OTHER_KEY]);
    // The copy in the other account lists the other key.
    let (keys, unresolved) = beside("alias/none", KEY, json!({"sharedEventID": "both"}));
    assert_eq!((keys, unresolved), (only, vec![]));
}

#[test]
fn reencrypt_within_one_key_has_the_context_that_there_is() {
    let record = record(json!({
        "eventName": "ReEncrypt", "resources": resources(&[KEY, KEY]),
        "requestParameters": {"destinationEncryptionContext": {"d": "2"}}
    }));
    assert_eq!(observation(&record).context, [("d", "2")]);
}

/// One alias, which pointed to one key until noon and to another since.
struct Moved;

impl NameResolver for Moved {
    fn key_of(&self, account: AccountId, region: Region, alias: &str, at: EventTime) -> Option<KeyArn> {
        let is_it =
            (account.to_string().as_str(), region.name(), alias) == (ACCOUNT, "eu-west-1", "alias/app");
        let key = if at < "2026-10-01T12:00:00Z".parse().unwrap() { KEY } else { OTHER_KEY };
        is_it.then(|| key.parse().unwrap())
    }
}

/// The keys of the observations of a record, and how many names stand for none.
fn resolved(changes: Value) -> (Vec<String>, usize) {
    let record = record(changes).to_string();
    let found = seen_by(&decoder().with_names(std::sync::Arc::new(Moved)), record.as_bytes());
    let [Seen::Kms(kms)] = &*found else { panic!("{found:?}") };
    (kms.observations.iter().map(|observation| observation.key.to_string()).collect(), kms.unresolved.len())
}

#[test]
fn a_use_that_names_only_an_alias_is_one_of_the_key_to_which_it_pointed_then() {
    let with = |key_id: &str, changes: Value| {
        let mut whole = json!({"resources": [], "requestParameters": {"keyId": key_id}});
        whole.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        resolved(whole)
    };
    let alias_arn = format!("arn:aws:kms:eu-west-1:{ACCOUNT}:alias/app");
    assert_eq!(with("alias/app", json!({"eventTime": "2026-10-01T11:59:59Z"})), (vec![KEY.to_owned()], 0));
    assert_eq!(with("alias/app", json!({})), (vec![OTHER_KEY.to_owned()], 0));
    assert_eq!(
        with(&alias_arn, json!({"recipientAccountId": "444455556666"})),
        (vec![OTHER_KEY.to_owned()], 0)
    );
    assert_eq!(with("alias/app", json!({"recipientAccountId": "444455556666"})), (vec![], 1));
    assert_eq!(with("alias/app", json!({"errorCode": "AccessDenied"})), (vec![OTHER_KEY.to_owned()], 0));
    assert_eq!(with("alias/none", json!({})), (vec![], 1));
    // What KMS itself says goes before what the caller said.
    assert_eq!(resolved(json!({"requestParameters": {"keyId": "alias/app"}})), (vec![KEY.to_owned()], 0));
}

#[test]
fn what_is_not_applied_tells_its_time_and_its_only_key() {
    let about = |changes: Value| {
        let mut found = None;
        decoder().decode(record(changes).to_string().as_bytes(), now(), &mut |outcome| match outcome {
            Outcome::Bad(bad) => found = Some((bad.time, bad.key.map(|key| key.to_string()))),
            other => panic!("not bad: {other:?}"),
        });
        found.unwrap()
    };
    let time = "2026-10-01T12:00:00Z".parse().ok();
    assert_eq!(about(json!({"eventID": ""})), (time, Some(KEY.to_owned())));
    assert_eq!(about(json!({"eventID": "", "resources": []})), (time, None));
    let two = json!([{"ARN": KEY}, {"ARN": OTHER_KEY}]);
    assert_eq!(about(json!({"eventID": "", "resources": two})), (time, None));
    assert_eq!(about(json!({"eventTime": "soon"})), (None, Some(KEY.to_owned())));
    assert_eq!(about(json!({"eventName": 5})), (time, None));
}
