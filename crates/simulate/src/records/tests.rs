//! What the generator promises.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use dormouse_model::{Change, LifecycleState, Meaning, OperationTable};
use serde_json::Value;

use super::catalogue::{ROWS, UNKNOWN};
use super::*;

fn everything(seed: u64) -> Generator {
    let shape = Shape { hostile: true, ..Shape::default() };
    Generator::new(seed, shape, Mix::everything())
}

fn parse(generated: &Generated) -> Value {
    serde_json::from_str(&generated.record).unwrap_or_else(|error| panic!("{error}: {}", generated.record))
}

#[test]
fn the_same_seed_gives_the_same_records() {
    assert_eq!(everything(1).take_records(3_000), everything(1).take_records(3_000));
    assert_ne!(everything(1).take_records(10), everything(2).take_records(10));
}

#[test]
fn records_are_json_and_agree_with_what_is_said_about_them() {
    for generated in everything(3).take_records(20_000) {
        let record = parse(&generated);
        assert_eq!(record["eventID"], generated.event_id);
        assert_eq!(record["recipientAccountId"], generated.account.to_string());
        assert_eq!(record["awsRegion"], generated.region.name());
        assert_eq!(record["eventTime"], generated.time.to_string());
        assert_eq!(record["eventName"], generated.operation);
        assert_eq!(record["eventSource"], generated.source);
        assert_eq!(record["errorCode"].as_str(), generated.error_code);
        assert_eq!(record["sharedEventID"].as_str(), generated.shared_id.as_deref());
        let named: Vec<&str> = record["resources"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|r| r["ARN"].as_str().unwrap())
            .collect();
        for said in &generated.says {
            let arn = said.key.to_string();
            let in_request = [arn.as_str(), &said.key.id()]
                .map(Value::from)
                .contains(&record["requestParameters"]["keyId"]);
            let in_source = record["requestParameters"]["sourceKeyId"] == arn
                || record["requestParameters"]["destinationKeyId"] == arn;
            let in_target = record["requestParameters"]["targetKeyId"] == arn;
            assert!(
                named.contains(&&*arn) || (named.is_empty() && (in_request || in_source || in_target)),
                "{record} {said:?}"
            );
        }
    }
}

#[test]
fn what_is_said_follows_the_operations_table() {
    let table = OperationTable::default();
    for generated in everything(4).take_records(20_000) {
        let failed = generated.error_code.is_some();
        let expected = match table.meaning(generated.operation) {
            _ if generated.event_type == "AwsVpceEvent" || generated.source != "kms.amazonaws.com" => None,
            _ if generated.error_code == Some("DryRunOperationException") => None,
            Some(Meaning::InUse) if failed => Some(Kind::Attempt),
            Some(Meaning::InUse) => Some(Kind::Use),
            Some(Meaning::Change(_)) if !failed => Some(Kind::Change),
            _ => None,
        };
        let kinds: BTreeSet<Kind> = generated.says.iter().map(|said| said.kind).collect();
        assert_eq!(kinds, expected.into_iter().collect(), "{}", generated.record);
    }
}

#[test]
fn everything_occurs() {
    let records = everything(5).take_records(40_000);
    let operations: BTreeSet<&str> = records.iter().map(|generated| generated.operation).collect();
    let wanted: Vec<&str> = ROWS.iter().map(|row| row.name).chain(UNKNOWN.iter().copied()).collect();
    for operation in wanted {
        assert!(operations.contains(operation), "{operation}");
    }
    let succeeded: BTreeSet<&str> = records
        .iter()
        .filter(|generated| generated.error_code.is_none())
        .map(|generated| generated.operation)
        .collect();
    assert!(ROWS.iter().all(|row| succeeded.contains(row.name)));
    let codes: BTreeSet<&str> = records.iter().filter_map(|generated| generated.error_code).collect();
    let expected = [
        "AccessDenied",
        "AccessDeniedException",
        "DependencyTimeoutException",
        "DisabledException",
        "DryRunOperationException",
        "IncorrectKeyException",
        "InvalidKeyUsageException",
        "KMSInternalException",
        "KMSInvalidStateException",
        "NotFoundException",
        "ThrottlingException",
        "VpceAccessDenied",
    ];
    assert_eq!(codes, expected.into_iter().collect());
    let texts: Vec<Value> = records.iter().map(parse).collect();
    let has = |what: &str, test: &dyn Fn(&Value) -> bool| assert!(texts.iter().any(test), "no {what}");
    for kind in
        ["IAMUser", "AssumedRole", "Root", "AWSService", "AWSAccount", "FederatedUser", "WebIdentityUser"]
    {
        has(kind, &|record| record["userIdentity"]["type"] == kind);
    }
    has("old record", &|record| {
        !record["resources"][0].is_null() && record["resources"][0]["type"].is_null()
    });
    has("record without resources", &|record| {
        record.get("resources").is_none() && record["eventName"] == "Decrypt"
    });
    has("internal account", &|record| record["resources"][0]["accountId"] == "AWS Internal");
    has("alias first", &|record| {
        record["resources"][0]["ARN"].as_str().is_some_and(|arn| arn.contains(":alias/"))
    });
    has("alias last", &|record| {
        record["resources"][1]["ARN"].as_str().is_some_and(|arn| arn.contains(":alias/"))
    });
    has("alias as key id", &|record| {
        record["requestParameters"]["keyId"].as_str().is_some_and(|id| id.starts_with("alias/"))
    });
    has("multi-Region id", &|record| {
        record["requestParameters"]["keyId"].as_str().is_some_and(|id| id.starts_with("mrk-"))
    });
    has("misplaced record", &|record| {
        let arn = record["resources"][0]["ARN"].as_str().unwrap_or("");
        !arn.is_empty() && !arn.contains(record["awsRegion"].as_str().unwrap())
    });
    has("grant-based caller", &|record| {
        record["userIdentity"]["principalId"]
            .as_str()
            .is_some_and(|id| id.contains(":aws:ec2-infrastructure:"))
    });
    for name in ["aws:ebs:id", "aws:s3:arn", "SecretARN", "PARAMETER_ARN", "aws:dynamodb:tableName"] {
        has(name, &|record| record["requestParameters"]["encryptionContext"].get(name).is_some());
    }
    assert!(records.iter().any(|generated| generated.says.len() == 2));
    assert!(records.iter().any(|generated| generated.says.iter().any(|said| said.wanted)));
}

#[test]
fn calls_across_accounts_come_twice() {
    let records = everything(6).take_records(20_000);
    let mut pairs: HashMap<&str, Vec<&Generated>> = HashMap::new();
    for generated in records.iter().filter(|generated| generated.event_type == "AwsApiCall") {
        if let Some(shared) = &generated.shared_id {
            pairs.entry(shared).or_default().push(generated);
        }
    }
    let whole: Vec<_> = pairs.values().filter(|pair| pair.len() == 2).collect();
    assert!(whole.len() > 100 && pairs.len() - whole.len() <= 1);
    let mut different_keys = 0;
    for pair in whole {
        let [callers, owners] = pair[..] else { unreachable!() };
        assert_ne!(callers.event_id, owners.event_id);
        assert_ne!(callers.account, owners.account);
        assert!(owners.says.iter().any(|said| said.key.account() == owners.account));
        assert!(parse(owners)["userIdentity"]["arn"].is_null());
        different_keys += usize::from(callers.says != owners.says);
    }
    assert!(different_keys > 0);
}

#[test]
fn keys_out_of_use_refuse_calls_until_they_are_enabled() {
    let table = OperationTable::default();
    let mut generator = everything(8);
    let mut states: HashMap<KeyArn, LifecycleState> = HashMap::new();
    let mut counts: BTreeMap<Kind, usize> = BTreeMap::new();
    for generated in generator.take_records(30_000) {
        for said in &generated.says {
            *counts.entry(said.kind).or_default() += 1;
            match (said.kind, table.meaning(generated.operation)) {
                (Kind::Use, _) if generated.operation != "ReEncrypt" => {
                    assert_eq!(
                        states.get(&said.key).copied().unwrap_or(LifecycleState::Enabled),
                        LifecycleState::Enabled,
                        "{}",
                        generated.record
                    );
                }
                (Kind::Change, Some(Meaning::Change(change))) => {
                    let state = match change {
                        Change::Disabled | Change::DeletionCancelled => LifecycleState::Disabled,
                        Change::Enabled => LifecycleState::Enabled,
                        Change::DeletionScheduled => LifecycleState::PendingDeletion,
                        Change::Deleted => LifecycleState::Deleted,
                        _ => continue,
                    };
                    states.insert(said.key, state);
                }
                _ => {}
            }
        }
    }
    for key in generator.keys() {
        assert_eq!(states.get(&key.arn).copied().unwrap_or(LifecycleState::Enabled), key.state);
    }
    assert!(counts.values().all(|&count| count > 1_000), "{counts:?}");
}

#[test]
fn a_world_of_one_key_and_one_account_works() {
    let shape = Shape { accounts: 1, keys: 1, ..Shape::default() };
    assert_eq!(Generator::new(1, shape, Mix::everything()).take_records(2_000).len(), 2_000);
    let nothing = Shape { accounts: 0, keys: 0, regions: Vec::new(), ..Shape::default() };
    assert_eq!(Generator::new(1, nothing, Mix::only(&[])).take_records(10)[0].operation, "Decrypt");
}

#[test]
fn time_passes_as_the_shape_says() {
    let shape = Shape::default().over(86_400, 1_000);
    let start = shape.start;
    let records = Generator::new(1, shape, Mix::only(&[("Decrypt", 1)])).take_records(1_000);
    assert!(records.is_sorted_by_key(|generated| generated.time));
    assert_eq!(records[0].time, start);
    assert!((86_000..86_400).contains(&records[999].time.seconds_since(start)));
}

#[test]
fn busy_records_are_mostly_decrypts_of_the_usual_size() {
    let records = Generator::new(1, Shape::default(), Mix::busy()).take_records(5_000);
    let decrypts = records.iter().filter(|generated| generated.operation == "Decrypt").count();
    assert!((2_500..3_500).contains(&decrypts), "{decrypts}");
    let mean = records.iter().map(|generated| generated.record.len()).sum::<usize>() / records.len();
    assert!((1_200..2_000).contains(&mean), "{mean}");
    let padded = Shape { pad_to: 2_000, ..Shape::default() };
    let records = Generator::new(1, padded, Mix::busy()).take_records(500);
    assert!(records.iter().all(|generated| generated.record.len() >= 2_000));
    records.iter().for_each(|generated| assert!(parse(generated).is_object()));
}

#[test]
fn zipf_has_favourites_and_uniform_has_none() {
    let most_used = |popularity| {
        let shape = Shape { popularity, keys: 100, ..Shape::default() };
        let mut counts: HashMap<KeyArn, usize> = HashMap::new();
        for generated in Generator::new(1, shape, Mix::only(&[("GenerateDataKey", 1)])).take_records(5_000) {
            *counts.entry(generated.says[0].key).or_default() += 1;
        }
        counts.into_values().max().unwrap()
    };
    assert!(most_used(Popularity::Zipf(1.0)) > 800);
    assert!(most_used(Popularity::Uniform) < 150);
}

#[test]
fn envelopes_hold_the_records() {
    let records = everything(9).take_records(50);
    let inner = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let event = inner(&records[0].eventbridge());
    assert_eq!(event["detail"], parse(&records[0]));
    assert_eq!(event["account"], records[0].account.to_string());
    let by_sns = inner(&records[0].eventbridge_by_sns());
    assert_eq!(inner(by_sns["Message"].as_str().unwrap()), event);
    let whole = inner(&trail(&records));
    assert_eq!(whole["Records"].as_array().unwrap().len(), 50);
    assert_eq!(
        ndjson(&records).lines().map(inner).collect::<Vec<_>>(),
        *whole["Records"].as_array().unwrap()
    );
    let logs = inner(&cloudwatch_logs(&records));
    assert_eq!(inner(logs["logEvents"][7]["message"].as_str().unwrap()), whole["Records"][7]);
    let said = everything(9).find_map(|generated| generated.says.first().copied()).unwrap();
    assert_eq!(
        inner(&direct_event("KMS CMK Deletion", "x", said.key, records[0].time))["detail"]["key-id"],
        said.key.id()
    );
    assert!(s3_notification("logs", "AWSLogs/a b+c.gz").contains("AWSLogs/a+b%2Bc.gz"));
    assert_eq!(inner(&trail_notification("logs", ["a"]))["s3ObjectKey"][0], "a");
    assert_eq!(gzip(b"abc")[..2], [0x1f, 0x8b]);
}

#[test]
fn deliveries_lose_nothing_repeat_some_and_stay_near() {
    let options = DeliveryOptions { seed: 1, duplicates: 0.2, window: 30 };
    let plan = deliveries(5_000, options);
    assert_eq!(plan, deliveries(5_000, options));
    assert_eq!(plan.iter().collect::<BTreeSet<_>>().len(), 5_000);
    assert!((5_900..6_800).contains(&plan.len()), "{}", plan.len());
    assert!(!plan.is_sorted());
    let in_order = deliveries(10, DeliveryOptions { seed: 1, duplicates: 0.0, window: 0 });
    assert!(in_order.into_iter().eq(0..10));
}

#[test]
fn a_seed_gives_the_records_that_it_always_gave() {
    let text: String = everything(11).take_records(20_000).into_iter().map(|one| one.record).collect();
    assert_eq!(format!("{:x}", md5::compute(text)), "e30d2f522c2479b5f3cf96164535b17b");
}
