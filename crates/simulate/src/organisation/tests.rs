//! What the organisation promises.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use dormouse_model::{Kind, LifecycleState, ManualClock};
use proptest::prelude::*;
use serde_json::json;

use super::*;

/// 2026-11-01T00:00:00Z.
const NOW: EventTime = EventTime::from_seconds(1_793_491_200);
const HOUR: u32 = 3_600;
const DAY: u32 = 86_400;

fn options() -> OrganisationOptions {
    OrganisationOptions::new(Arc::new(ManualClock::at(NOW)))
}

fn small(seed: u64) -> OrganisationOptions {
    OrganisationOptions { seed, keys: 40, accounts: 5, history_rate: 0.002, live_rate: 2.0, ..options() }
}

fn parse(generated: &Generated) -> Value {
    serde_json::from_str(&generated.record).unwrap()
}

#[test]
fn a_month_and_a_minute_have_the_usual_size() {
    let organisation = Organisation::new(options());
    let records = organisation.advance_to(NOW);
    assert!((20_000..40_000).contains(&records.len()), "{}", records.len());
    let bytes = records.iter().map(|one| one.record.len()).sum::<usize>() / records.len();
    assert!((1_200..2_000).contains(&bytes), "{bytes}");
    let minute = organisation.advance_to(NOW.plus(60)).len();
    assert!((20 * 60..50 * 60).contains(&minute), "{minute}");
    assert!((150..=152).contains(&organisation.truth().keys.len()));
    assert_eq!(organisation.accounts().len(), 12);
}

#[test]
fn every_cadence_shows_what_it_promises() {
    let organisation = Organisation::new(options());
    let early = organisation.options().start.plus(4 * DAY);
    organisation.advance_to(NOW.plus(HOUR));
    let truth = organisation.truth();
    let last_use = |key: &KeyTruth| key.last_use.as_ref().map(|evidence| evidence.time);
    for cadence in Cadence::ALL {
        assert!(truth.of(cadence).count() > 3, "{cadence:?}");
        for key in truth.of(cadence) {
            let used = last_use(key);
            let context = format!("{cadence:?} {key:?}");
            match cadence {
                Cadence::Busy => assert!(used >= Some(NOW), "{context}"),
                Cadence::Daily => assert!(used >= Some(NOW.minus(2 * DAY)), "{context}"),
                Cadence::Weekly => assert!(used >= Some(NOW.minus(8 * DAY)), "{context}"),
                Cadence::Service => {
                    assert_eq!(key.manager, "AWS");
                    assert!(used >= Some(NOW.minus(7 * DAY)), "{context}");
                    assert!(key.aliases.iter().all(|alias| alias.starts_with("alias/aws/")), "{context}");
                }
                Cadence::Seasonal => {
                    assert!(matches!(key.uses, 0 | 5) && key.used_before.is_some(), "{context}");
                    assert!(used < Some(NOW.minus(20 * DAY)), "{context}");
                }
                Cadence::Dead => {
                    assert!(used < Some(early) && key.used_before.is_some(), "{context}");
                }
                Cadence::NeverUsed => {
                    assert!(key.uses == 0 && key.used_before.is_none() && key.wanted.is_none(), "{context}");
                }
                Cadence::DisabledButWanted => {
                    assert_eq!(key.state, LifecycleState::Disabled, "{context}");
                    let failed = key.last_attempt.as_ref().unwrap();
                    assert!(
                        failed.error_code == Some("DisabledException") || failed.time >= NOW,
                        "{context}"
                    );
                    assert!(key.wanted.unwrap().since > used.unwrap(), "{context}");
                    assert!(key.wanted.unwrap().last >= NOW, "{context}");
                }
                Cadence::PendingDeletionButWanted => {
                    assert_eq!(key.state, LifecycleState::PendingDeletion, "{context}");
                    assert!(key.deletion > Some(NOW.plus(7 * DAY)), "{context}");
                    assert!(key.wanted.unwrap().since > used.unwrap(), "{context}");
                    assert!(key.wanted.unwrap().last >= NOW, "{context}");
                }
            }
        }
    }
    let of = |cadence, test: &dyn Fn(&KeyTruth) -> bool| truth.of(cadence).any(test);
    assert!(of(Cadence::Dead, &|key| key.state == LifecycleState::Deleted));
    assert!(of(Cadence::Dead, &|key| key.uses > 0) && of(Cadence::Dead, &|key| key.uses == 0));
    assert!(of(Cadence::Seasonal, &|key| key.uses > 0) && of(Cadence::Seasonal, &|key| key.uses == 0));
    assert!(truth.keys.iter().any(|key| key.key.is_multi_region()));
    assert!(truth.keys.iter().any(|key| key.created >= organisation.options().start));
}

#[test]
fn lifecycles_and_noise_occur() {
    let organisation = Organisation::new(options());
    let records = organisation.advance_to(NOW);
    let succeeded: HashSet<&str> =
        records.iter().filter(|one| one.error_code.is_none()).map(|one| one.operation).collect();
    for operation in [
        "CreateKey",
        "DisableKey",
        "EnableKey",
        "ScheduleKeyDeletion",
        "CancelKeyDeletion",
        "DeleteKey",
        "CreateAlias",
        "UpdateAlias",
        "DeleteAlias",
        "TagResource",
        "UntagResource",
        "EnableKeyRotation",
        "RotateKey",
        "CreateGrant",
        "RevokeGrant",
        "UpdateKeyDescription",
        "DescribeKey",
        "ListKeys",
        "ListAliases",
        "ReEncrypt",
        "Sign",
        "Verify",
        "GenerateMac",
        "VerifyMac",
        "GetPublicKey",
        "AssumeRole",
    ] {
        assert!(succeeded.contains(operation), "{operation}");
    }
    let codes: HashSet<&str> = records.iter().filter_map(|one| one.error_code).collect();
    for code in ["AccessDenied", "DisabledException", "KMSInvalidStateException", "DryRunOperationException"]
    {
        assert!(codes.contains(code), "{code}");
    }
    let texts: Vec<Value> = records.iter().map(parse).collect();
    for name in ["aws:ebs:id", "aws:s3:arn", "SecretARN", "PARAMETER_ARN", "aws:dynamodb:tableName"] {
        assert!(
            texts.iter().any(|record| !record["requestParameters"]["encryptionContext"][name].is_null()),
            "{name}"
        );
    }
    assert!(!texts.iter().any(|record| record.to_string().contains("iphertextBlob")));
    for kind in ["AssumedRole", "IAMUser", "AWSService", "AWSAccount"] {
        assert!(texts.iter().any(|record| record["userIdentity"]["type"] == kind), "{kind}");
    }
}

/// What records say about a key, counted the slow way.
#[derive(Default, Debug, PartialEq)]
struct Recount {
    uses: u64,
    attempts: u64,
    changes: u64,
    wanted: u64,
    last_use: Option<(EventTime, bool, bool, String)>,
    last_attempt: Option<(EventTime, bool, bool, String)>,
}

/// Goes through records as a reader would: by what each says, copies of one event counted once, the last use by the law.
fn recount(records: &[Generated]) -> HashMap<KeyArn, Recount> {
    let mut counts: HashMap<KeyArn, Recount> = HashMap::new();
    let mut seen = HashSet::new();
    for one in records {
        let record = parse(one);
        let identity = &record["userIdentity"];
        let principal =
            identity["sessionContext"]["sessionIssuer"]["arn"].as_str().or(identity["arn"].as_str());
        let resources: Vec<&str> = record["resources"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|resource| resource["ARN"].as_str())
            .filter(|arn| arn.contains(":key/"))
            .collect();
        for said in &one.says {
            let count = counts.entry(said.key).or_default();
            let request = &record["requestParameters"];
            let is_destination = resources.len() == 2 && resources[1] == said.key.to_string();
            let context = match one.operation {
                "ReEncrypt" if is_destination => &request["destinationEncryptionContext"],
                "ReEncrypt" => &request["sourceEncryptionContext"],
                _ => &request["encryptionContext"],
            };
            let has_context = context.as_object().is_some_and(|context| !context.is_empty());
            let rank = Some((one.time, principal.is_some(), has_context, one.event_id.clone()));
            match said.kind {
                Kind::Use => count.last_use = rank.max(count.last_use.take()),
                Kind::Attempt => count.last_attempt = rank.max(count.last_attempt.take()),
                Kind::Change => {}
            }
            let event = one.shared_id.as_ref().unwrap_or(&one.event_id);
            if seen.insert((event.clone(), said.key, said.kind)) {
                match said.kind {
                    Kind::Use => count.uses += 1,
                    Kind::Attempt => count.attempts += 1,
                    Kind::Change => count.changes += 1,
                }
                count.wanted += u64::from(said.wanted);
            }
        }
    }
    counts
}

fn told(key: &KeyTruth) -> Recount {
    let rank = |evidence: &Evidence| {
        (evidence.time, evidence.principal.is_some(), !evidence.context.is_empty(), evidence.event_id.clone())
    };
    Recount {
        uses: key.uses,
        attempts: key.attempts,
        changes: key.changes,
        wanted: key.wanted.map_or(0, |wanted| wanted.count),
        last_use: key.last_use.as_ref().map(rank),
        last_attempt: key.last_attempt.as_ref().map(rank),
    }
}

#[test]
fn the_truth_is_what_the_records_say() {
    let organisation = Organisation::new(options());
    let records = organisation.advance_to(NOW.plus(HOUR / 4));
    let mut counts = recount(&records);
    let truth = organisation.truth();
    for key in &truth.keys {
        assert_eq!(told(key), counts.remove(&key.key).unwrap_or_default(), "{key:?}");
    }
    assert!(counts.is_empty());
    let sum = |count: fn(&KeyTruth) -> u64| truth.keys.iter().map(count).sum::<u64>();
    assert_eq!(truth.totals.uses, sum(|key| key.uses));
    assert_eq!(truth.totals.attempts, sum(|key| key.attempts));
    assert_eq!(truth.totals.changes, sum(|key| key.changes));
    assert_eq!(truth.totals.records, records.len() as u64);
}

/// States, aliases and tags as the records of changes leave them.
#[test]
fn the_records_of_changes_lead_to_the_state_that_is_told() {
    let organisation = Organisation::new(options());
    let before = organisation.truth();
    let mut states: HashMap<KeyArn, LifecycleState> = HashMap::new();
    let mut aliases: HashMap<(AccountId, Region, String), KeyArn> = HashMap::new();
    let mut tags: HashMap<KeyArn, BTreeMap<String, String>> = HashMap::new();
    for key in &before.keys {
        states.insert(key.key, key.state);
        tags.insert(key.key, key.tags.clone());
        aliases
            .extend(key.aliases.iter().map(|alias| ((key.account(), key.region(), alias.clone()), key.key)));
    }
    for one in organisation.advance_to(NOW) {
        let record = parse(&one);
        let [said] = one.says[..] else { continue };
        if said.kind != Kind::Change {
            continue;
        }
        let request = &record["requestParameters"];
        let listed = || request["tags"].as_array().into_iter().flatten();
        let tag =
            |tag: &Value| (tag["tagKey"].as_str().unwrap().into(), tag["tagValue"].as_str().unwrap().into());
        let alias = || (one.account, one.region, request["aliasName"].as_str().unwrap().to_owned());
        match one.operation {
            "CreateKey" => {
                assert_eq!(record["responseElements"]["keyMetadata"]["arn"], said.key.to_string());
                states.insert(said.key, LifecycleState::Enabled);
                tags.insert(said.key, listed().map(tag).collect());
            }
            "EnableKey" => drop(states.insert(said.key, LifecycleState::Enabled)),
            "DisableKey" | "CancelKeyDeletion" => drop(states.insert(said.key, LifecycleState::Disabled)),
            "ScheduleKeyDeletion" => drop(states.insert(said.key, LifecycleState::PendingDeletion)),
            "DeleteKey" => {
                states.insert(said.key, LifecycleState::Deleted);
                aliases.retain(|_, target| *target != said.key);
            }
            "CreateAlias" | "UpdateAlias" => drop(aliases.insert(alias(), said.key)),
            "DeleteAlias" => drop(aliases.remove(&alias())),
            "TagResource" => tags.get_mut(&said.key).unwrap().extend(listed().map(tag)),
            "UntagResource" => {
                for name in request["tagKeys"].as_array().unwrap() {
                    tags.get_mut(&said.key).unwrap().remove(name.as_str().unwrap());
                }
            }
            _ => {}
        }
    }
    for key in organisation.truth().keys {
        assert_eq!(states[&key.key], key.state, "{key:?}");
        assert_eq!(tags[&key.key], key.tags, "{key:?}");
        let own =
            aliases.iter().filter(|(_, target)| **target == key.key).map(|((_, _, name), _)| name.clone());
        assert_eq!(own.collect::<BTreeSet<_>>(), key.aliases, "{key:?}");
    }
}

#[test]
fn cross_account_calls_come_twice_and_count_once() {
    let organisation = Organisation::new(options());
    let records = organisation.advance_to(NOW);
    let mut pairs: HashMap<&str, Vec<&Generated>> = HashMap::new();
    for one in &records {
        if let Some(shared) = &one.shared_id {
            pairs.entry(shared).or_default().push(one);
        }
    }
    assert!(pairs.len() > 100);
    for pair in pairs.values() {
        let [callers, owners] = pair[..] else { panic!("{pair:?}") };
        assert_eq!(callers.says, owners.says);
        assert_eq!(owners.account, owners.says[0].key.account());
        assert_ne!(callers.account, owners.account);
        assert_eq!(parse(owners)["userIdentity"]["type"], "AWSAccount");
        assert_eq!(parse(owners)["requestID"], parse(callers)["requestID"]);
    }
}

#[test]
fn the_seed_decides_and_the_size_does_not_matter() {
    let run = |options: OrganisationOptions| Organisation::new(options).advance_to(NOW);
    assert_eq!(run(small(1)), run(small(1)));
    assert_ne!(run(small(1)), run(small(2)));
    for (accounts, keys, regions) in [(1, 0, 0), (2, 13, 1), (4, 30, 2), (30, 300, 3)] {
        let regions = options().regions[..regions].to_vec();
        let organisation = Organisation::new(OrganisationOptions { accounts, keys, regions, ..small(3) });
        organisation.advance_to(NOW);
        let truth = organisation.truth();
        for cadence in Cadence::ALL {
            assert!(truth.of(cadence).count() > 0, "{cadence:?} of {keys}");
        }
    }
}

#[test]
fn without_history_everything_is_in_its_place_at_once() {
    let organisation = Organisation::new(OrganisationOptions { start: NOW, ..options() });
    organisation.advance_to(NOW.plus(1));
    let truth = organisation.truth();
    assert!(truth.of(Cadence::DisabledButWanted).all(|key| key.state == LifecycleState::Disabled));
    assert!(
        truth.of(Cadence::PendingDeletionButWanted).all(|key| key.state == LifecycleState::PendingDeletion)
    );
}

#[test]
fn calls_from_outside_are_records_and_truth_and_can_silence_users() {
    let organisation = Organisation::new(small(4));
    organisation.advance_to(NOW);
    let key = organisation.truth().of(Cadence::Busy).find(|key| !key.key.is_multi_region()).cloned().unwrap();
    let call =
        |operation: &str, request: Value| organisation.call(key.account(), key.region(), operation, &request);
    call("DisableKey", json!({ "KeyId": key.key.id() })).unwrap();
    let refused =
        call("GenerateDataKey", json!({ "KeyId": key.key.id(), "KeySpec": "AES_256" })).unwrap_err();
    assert_eq!(refused.code, "DisabledException");
    assert_eq!(call("Nonsense", json!({})).unwrap_err().code, "UnknownOperationException");
    let records = organisation.take_records();
    assert_eq!(records[0].operation, "DisableKey");
    assert_eq!(records[1].error_code, Some("DisabledException"));

    organisation.advance_to(NOW.plus(HOUR));
    let now = organisation.key_truth(key.key).unwrap();
    assert!(now.attempts > key.attempts + 10 && now.uses == key.uses);
    organisation.silence(key.key, true);
    organisation.advance_to(NOW.plus(2 * HOUR));
    assert_eq!(organisation.key_truth(key.key).unwrap().attempts, now.attempts);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    #[test]
    fn steps_do_not_matter(seed in 0u64..1_000, steps in prop::collection::vec(1u32..12 * DAY, 0..12)) {
        let end = NOW.plus(HOUR / 2);
        let at_once = Organisation::new(small(seed));
        let expected = at_once.advance_to(end);
        let in_steps = Organisation::new(small(seed));
        let mut records = Vec::new();
        let mut time = in_steps.options().start;
        for step in steps {
            time = time.plus(step).min(end);
            records.extend(in_steps.advance_to(time));
        }
        records.extend(in_steps.advance_to(end));
        prop_assert!(records.is_sorted_by_key(|one| one.time));
        prop_assert_eq!(records, expected);
        prop_assert_eq!(in_steps.truth(), at_once.truth());
    }
}
