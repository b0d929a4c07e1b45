//! What AWS says when it is asked: every key that there is, at the price of pages, and nothing is silently empty.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use dormouse_model::{AccountId, Clock, LifecycleState, Region};
use dormouse_simulate::aws::{AwsDouble, AwsFault, Service};
use dormouse_simulate::organisation::{KeyTruth, OrganisationOptions};
use dormouse_tests::organisation::{Estate, asked};
use dormouse_tests::program::{dormouse, finish};
use dormouse_tests::wait::{alone, eventually, when};
use serde_json::{Value, json};

/// Nothing is asked between the passes that a test asks for.
const ON_DEMAND: &str = "accounts = \"org\"\ninterval = \"12h\"\n";

fn regions(names: &[&str]) -> Vec<Region> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn still(accounts: usize, names: &[&str], keys: usize) -> impl FnOnce(Arc<dyn Clock>) -> OrganisationOptions {
    let regions = regions(names);
    move |clock| OrganisationOptions::still(clock, accounts, &regions, keys)
}

/// `dormouse reconcile`, whatever it comes to.
fn reconcile(url: &str, more: &[&str]) -> (i32, Value) {
    let command = [&["reconcile", "--url", url, "--output", "json"], more].concat();
    let finished = finish(&mut dormouse(&command));
    let report = finished.json();
    (finished.code(), report)
}

/// All keys that the instance knows, by ARN; those that are deleted, too.
fn keys(url: &str) -> BTreeMap<String, Value> {
    let states = LifecycleState::ALL.map(LifecycleState::name).join(",");
    let live = asked(url, &["keys", "--all"]);
    let all = asked(url, &["keys", "--all", "--state", &states]);
    let lists = [live, all].into_iter().flat_map(|list| list["keys"].as_array().unwrap().clone());
    lists.map(|key| (key["arn"].as_str().unwrap().to_owned(), key)).collect()
}

fn active(estate: &Estate) -> BTreeSet<AccountId> {
    let accounts = estate.organisation.accounts().into_iter();
    accounts.filter(|account| account.state == "ACTIVE").map(|account| account.id).collect()
}

/// Where the document of a key differs from the truth.
fn differences(truth: &KeyTruth, told: Option<&Value>) -> Vec<String> {
    let Some(told) = told else { return vec![format!("{} is not known", truth.key)] };
    let mut siblings: Vec<String> = Vec::new();
    if let Some(relations) = &truth.multi_region {
        let all = relations.primary.iter().chain(&relations.replicas);
        siblings.extend(all.filter(|key| **key != truth.key).map(ToString::to_string));
        siblings.sort();
    }
    let told_siblings = {
        let mut told: Vec<String> = told["multi_region_siblings"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|key| key.as_str().unwrap().to_owned())
            .collect();
        told.sort();
        told
    };
    let tags: Value = truth.tags.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let aliases: Vec<&String> = truth.aliases.iter().collect();
    let is_customers = truth.manager == "CUSTOMER";
    let mut expected = vec![
        ("manager", json!(truth.manager), told["manager"].clone()),
        ("state", json!(truth.state.name()), told["state"].clone()),
        ("created", json!(truth.created.to_string()), told["created"].clone()),
        ("description", json!(truth.description), told["description"].clone()),
        ("spec", json!(truth.spec), told["spec"].clone()),
        ("usage", json!(truth.usage), told["usage"].clone()),
        ("origin", json!(truth.origin), told["origin"].clone()),
        ("custom_key_store", json!(truth.custom_key_store), told["custom_key_store"].clone()),
        (
            "material_expires",
            json!(truth.valid_to.map(|at| at.to_string())),
            told["material_expires"].clone(),
        ),
        ("deletion_date", json!(truth.deletion.map(|at| at.to_string())), told["deletion_date"].clone()),
        ("siblings", json!(siblings), json!(told_siblings)),
        (
            "aliases",
            json!(aliases),
            if told["aliases"].is_null() { json!([]) } else { told["aliases"].clone() },
        ),
    ];
    if is_customers {
        expected.push(("tags", tags, told["tags"].clone()));
        expected.push(("grants", json!(truth.grants.len()), told["grants"]["count"].clone()));
        let rotation = truth.rotation.map(|rotation| rotation.period_days);
        let told_rotation = &told["rotation"];
        let told_period =
            if told_rotation["enabled"] == true { told_rotation["period_days"].clone() } else { Value::Null };
        expected.push(("rotation", json!(rotation), told_period));
    }
    let differs = expected.into_iter().filter(|(_, truth, told)| truth != told);
    differs.map(|(what, real, told)| format!("{} {what}: {real} is told as {told}", truth.key)).collect()
}

/// Holds everything that is told of the active accounts' keys against the truth.
fn compare(estate: &Estate, told: &BTreeMap<String, Value>) {
    let active = active(estate);
    let truth = estate.organisation.truth();
    let mut wrong = Vec::new();
    let mut live = 0;
    for key in truth.keys.iter().filter(|key| active.contains(&key.account())) {
        if key.state == LifecycleState::Deleted {
            continue;
        }
        live += 1;
        wrong.extend(differences(key, told.get(&key.key.to_string())));
    }
    assert!(wrong.is_empty(), "{} differences, e.g. {:#?}", wrong.len(), &wrong[..wrong.len().min(20)]);
    let others: Vec<&String> = told
        .iter()
        .filter(|(arn, told)| {
            let real = truth.keys.iter().any(|key| key.key.to_string() == **arn);
            told["state"] != "Deleted" && !real
        })
        .map(|(arn, _)| arn)
        .take(5)
        .collect();
    assert!(others.is_empty() && live > 0, "keys that there are not: {others:?}");
}

/// A fifth of each quota, at most, in any second; and nothing was throttled.
fn assert_within_budgets(double: &AwsDouble) {
    for (kind, peak) in double.peaks() {
        let Some(quota) = AwsDouble::quota(&kind.operation) else { continue };
        // GetKeyLastUsage has a pace of its own: 4 of 5.
        let most = if kind.operation == "GetKeyLastUsage" { 4 } else { u64::from(quota) / 5 };
        // Requests that were spaced by the clock here may arrive a little closer there.
        assert!(
            peak <= most + most / 10 + 1 && peak <= u64::from(quota),
            "{kind:?}: {peak} of {most} in a second"
        );
    }
    assert!(double.throttled().is_empty(), "{:?}", double.throttled());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_pass_knows_every_key_and_the_second_costs_pages() {
    let _machine = alone().await;
    let names = ["eu-west-1", "eu-central-1", "us-east-1", "ap-southeast-2"];
    let lines = format!("{ON_DEMAND}concurrency = 32\nlast_usage = false");
    let estate = Estate::found(still(300, &names, 30_000), &lines).await;
    let mut running = estate.run();
    let url = running.url().await;
    let (code, first) = reconcile(&url, &[]);
    assert_eq!((code, &first["outcome"]), (0, &json!("done")), "{first:#}");
    compare(&estate, &keys(&url));
    assert_within_budgets(&estate.double);
    let requests = |report: &Value, action: &str| report["requests"][action].as_u64().unwrap_or(0);
    assert!(requests(&first, "kms:DescribeKey") >= first["keys"]["new"].as_u64().unwrap(), "{first:#}");

    estate.double.forget_requests();
    let (code, second) = reconcile(&url, &[]);
    assert_eq!((code, &second["outcome"]), (0, &json!("done")), "{second:#}");
    let places = active(&estate).len() as u64 * 4;
    assert_eq!(second["places"]["done"], places, "{second:#}");
    // No place has a thousand keys or a hundred aliases: a chain is one page.
    assert_eq!(requests(&second, "kms:ListKeys"), places, "{second:#}");
    assert_eq!(requests(&second, "kms:ListAliases"), places, "{second:#}");
    // The first re-describes of a week come after half of it.
    assert_eq!(requests(&second, "kms:DescribeKey"), 0, "{second:#}");
    for (kind, count) in estate.double.requests() {
        let told = requests(&second, &format!("kms:{}", kind.operation));
        assert!(kind.service != Service::Kms || told > 0, "{kind:?} was asked {count} times and is not told");
    }
    let shown = finish(&mut dormouse(&["reconcile", "--url", &url]));
    assert!(shown.stdout.contains("kms:ListKeys") && shown.stdout.contains("done in"), "{}", shown.stdout);
    assert_within_budgets(&estate.double);
    assert!(running.stop().await.success());
}

/// What `/api/v1/accounts` says of one Region of an account.
fn place<'a>(known: &'a Value, account: AccountId, region: &str) -> &'a Value {
    let accounts = known["accounts"].as_array().unwrap();
    let account = accounts.iter().find(|known| known["account"] == account.to_string()).unwrap();
    let regions = account["regions"].as_array().unwrap();
    regions.iter().find(|known| known["region"] == region).unwrap_or(&Value::Null)
}

fn account(known: &Value, account: AccountId) -> &Value {
    known["accounts"]
        .as_array()
        .unwrap()
        .iter()
        .find(|known| known["account"] == account.to_string())
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_is_told_and_nothing_is_reported_gone_by_it() {
    let names = ["eu-west-1", "eu-central-1", "us-east-1"];
    let lines = format!("{ON_DEMAND}last_usage = false");
    let estate = Estate::found(still(12, &names, 600), &lines).await;
    let mut running = estate.run();
    let url = running.url().await;
    assert_eq!(reconcile(&url, &[]).0, 0);
    let before = keys(&url);
    compare(&estate, &before);

    // Three accounts denied, two Regions that hang, a page that fails half-way, credentials that expire, one that leaves.
    let management = estate.organisation.management_account();
    let mut members = active(&estate).into_iter().filter(|&account| account != management);
    let denied: Vec<AccountId> = members.by_ref().take(3).collect();
    let (paged, leaving) = (members.next().unwrap(), members.next().unwrap());
    let others: Vec<AccountId> = members.collect();
    for &account in &denied {
        estate.double.set_role(account, false);
    }
    estate.double.expire_sessions(None);
    let faults = estate.double.faults();
    let hang = AwsFault { hang: true, accounts: vec![others[0]], ..AwsFault::default() };
    faults.add_all(Service::Kms, AwsFault { regions: regions(&["eu-west-1", "us-east-1"]), ..hang });
    // Of three Regions' lists of aliases one comes, and the two behind it do not.
    let page = AwsFault { after: 1, internal_error: 1.0, accounts: vec![paged], ..AwsFault::default() };
    faults.add(Service::Kms, "ListAliases", page);
    assert!(estate.organisation.leave(leaving));

    let (code, report) = reconcile(&url, &[]);
    assert_eq!((code, &report["outcome"]), (2, &json!("incomplete")), "{report:#}");
    assert_eq!(
        (&report["accounts"]["denied"], &report["accounts"]["left"]),
        (&json!(3), &json!(1)),
        "{report:#}"
    );
    let known = asked(&url, &["accounts"]);
    for &denied in &denied {
        let told = account(&known, denied);
        assert_eq!(told["inventory"]["trouble"]["last"]["class"], "denied", "{told:#}");
        let words = told["inventory"]["trouble"]["last"]["message"].as_str().unwrap();
        assert!(words.contains("dormouse-read"), "{words}");
        assert!(place(&known, denied, "eu-west-1")["stale"].is_string(), "{told:#}");
    }
    for hanging in ["eu-west-1", "us-east-1"] {
        let told = place(&known, others[0], hanging);
        assert!(told["inventory"]["troubles"]["ListKeys"].is_object(), "{told:#}");
        assert!(told["stale"].is_string() && told["inventory"]["listed_at"].is_string(), "{told:#}");
    }
    assert_eq!(place(&known, others[0], "eu-central-1")["stale"], Value::Null);
    assert!(account(&known, leaving)["inventory"]["left"].is_string());
    let shown = finish(&mut dormouse(&["accounts", "--url", &url])).stdout;
    for account in denied.iter().chain([&leaving, &others[0], &paged]) {
        let account = account.to_string();
        let tells =
            |line: &str| line.contains(" fails since ") || line.contains(" is no longer watched since ");
        let is_told = shown.lines().any(|line| line.starts_with(&account) && tells(line));
        assert!(is_told, "{account} is not told:\n{shown}");
    }
    let told = account(&known, paged)["regions"].as_array().unwrap();
    let fails = |region: &Value| {
        region["inventory"]["troubles"]["ListAliases"].is_object() && region["stale"].is_string()
    };
    assert_eq!(told.iter().filter(|region| fails(region)).count(), 2, "{told:#?}");
    let metrics = dormouse_tests::http::get(&format!("{url}/metrics")).await.unwrap().body;
    assert!(metrics.contains("dormouse_aws_requests_total{") && metrics.contains("denied"), "{metrics}");
    let after = keys(&url);
    let gone: Vec<_> = before
        .iter()
        .filter(|(arn, key)| after[*arn]["state"] != key["state"])
        .map(|(arn, key)| (arn, &key["state"], &after[arn]["state"]))
        .collect();
    assert!(gone.is_empty(), "{gone:#?}");

    // Everything comes back.
    faults.clear_all();
    for &account in &denied {
        estate.double.set_role(account, true);
    }
    assert!(estate.organisation.rejoin(leaving));
    eventually("what was denied is tried again", async || {
        let (code, report) = reconcile(&url, &[]);
        when(code == 0, report)
    })
    .await;
    let known = asked(&url, &["accounts"]);
    let stale = known["accounts"].as_array().unwrap().iter().flat_map(|known| {
        let regions = known["regions"].as_array().unwrap();
        regions
            .iter()
            .filter(|known| known["stale"].is_string())
            .map(move |region| (known["account"].clone(), region["stale"].clone()))
    });
    let active: BTreeSet<String> = active(&estate).iter().map(ToString::to_string).collect();
    let stale: Vec<_> = stale.filter(|(account, _)| active.contains(account.as_str().unwrap())).collect();
    assert!(stale.is_empty(), "{stale:#?}");
    compare(&estate, &keys(&url));
    assert!(running.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_deleted_leaves_the_live_ones_and_stays_in_history() {
    let lines = format!("{ON_DEMAND}last_usage = false");
    let estate = Estate::found(still(3, &["eu-west-1"], 60), &lines).await;
    let mut running = estate.run();
    let url = running.url().await;
    assert_eq!(reconcile(&url, &[]).0, 0);
    let is_plain = |key: &&KeyTruth| {
        key.manager == "CUSTOMER" && key.state == LifecycleState::Enabled && key.multi_region.is_none()
    };
    let active = active(&estate);
    let truth = estate.organisation.truth();
    let victim = truth.keys.iter().filter(is_plain).find(|key| active.contains(&key.account())).unwrap().key;
    let call = |operation: &str, request: Value| {
        estate.organisation.call(victim.account(), victim.region(), operation, &request).unwrap()
    };
    // Changed, and changed back, with a pass in between: the events arrive later, in the wrong order.
    call("DisableKey", json!({ "KeyId": victim.id() }));
    assert_eq!(reconcile(&url, &[]).0, 0);
    estate.clock.push(5);
    call("EnableKey", json!({ "KeyId": victim.id() }));
    estate.deliver();
    estate.drained(&mut running).await;
    let state = || asked(&url, &["key", &victim.to_string()])["state"].clone();
    eventually("the last change counts", async || when(state() == "Enabled", state())).await;

    call("ScheduleKeyDeletion", json!({ "KeyId": victim.id(), "PendingWindowInDays": 7 }));
    // Nobody delivers what happens from now on.
    estate.clock.push(8 * 86_400);
    estate.organisation.advance_to(estate.clock.now_seconds());
    assert_eq!(estate.organisation.key_truth(victim).unwrap().state, LifecycleState::Deleted);
    let (code, report) = reconcile(&url, &[]);
    assert_eq!((code, report["keys"]["gone"].as_u64() >= Some(1)), (0, true), "{report:#}");
    let live = asked(&url, &["keys", "--all"]);
    assert!(live["keys"].as_array().unwrap().iter().all(|key| key["arn"] != victim.to_string()));
    let told = asked(&url, &["key", &victim.to_string()]);
    assert_eq!(told["state"], "Deleted", "{told:#}");
    assert!(!told["history"].as_array().unwrap().is_empty(), "{told:#}");
    assert!(running.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_five_hundred_keys_come_page_by_page() {
    // ListGrants, of which 100 a second are allowed, would take two minutes at a fifth of that.
    let lines = "accounts = \"local\"\nlast_usage = false\nshare_of_quotas = 1.0";
    let estate = Estate::found(still(1, &["eu-west-1"], 2_500), lines).await;
    let mut running = estate.run();
    let url = running.url().await;
    let (code, report) = reconcile(&url, &[]);
    assert_eq!(code, 0, "{report:#}");
    assert!(report["requests"]["kms:ListKeys"].as_u64() >= Some(3), "{report:#}");
    compare(&estate, &keys(&url));
    assert!(running.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_state_of_a_key_is_told() {
    let lines = "accounts = \"local\"\nlast_usage = false";
    let estate = Estate::found(still(1, &["eu-west-1", "us-east-1"], 120), lines).await;
    let mut running = estate.run();
    let url = running.url().await;
    assert_eq!(reconcile(&url, &[]).0, 0);
    let kinds = keys(&url);
    compare(&estate, &kinds);
    for state in ["Disabled", "PendingDeletion", "PendingReplicaDeletion", "PendingImport", "Unavailable"] {
        assert!(kinds.values().any(|key| key["state"] == state), "no key is {state}");
    }
    assert!(running.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_start_has_proven_verdicts_by_the_word_of_kms() {
    let _machine = alone().await;
    let names = ["eu-west-1", "eu-central-1", "us-east-1", "us-west-2", "ap-south-1"];
    let estate = Estate::found(still(40, &names, 5_000), &format!("{ON_DEMAND}concurrency = 64")).await;
    let mut estate = estate;
    estate.add("[verdicts]\nidle_after = \"30d\"\ngrace = \"1d\"");
    let mut running = estate.run();
    let url = running.url().await;
    assert_eq!(reconcile(&url, &[]).0, 0);
    let active = active(&estate);
    let truth = estate.organisation.truth();
    let symmetric: BTreeMap<String, &KeyTruth> = truth
        .keys
        .iter()
        .filter(|key| key.manager == "CUSTOMER" && key.spec == "SYMMETRIC_DEFAULT")
        .filter(|key| key.state != LifecycleState::Deleted && active.contains(&key.account()))
        .map(|key| (key.key.to_string(), key))
        .collect();
    let now = estate.clock.now_seconds();
    let is_young = |key: &KeyTruth| now.seconds_since(key.created) < 31 * 86_400;
    // A place takes four questions a second.
    let told = eventually("every symmetric key has a proven verdict", async || {
        let told = keys(&url);
        let unproven: Vec<&str> = symmetric
            .iter()
            .filter(|(arn, key)| told[*arn]["verdict"]["kind"] == "unknown" && !is_young(key))
            .map(|(arn, _)| arn.as_str())
            .take(3)
            .collect();
        if unproven.is_empty() { Ok(told) } else { Err(format!("{unproven:?}")) }
    })
    .await;
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    for (arn, key) in &symmetric {
        let verdict = &told[arn]["verdict"];
        let kind = verdict["kind"].as_str().unwrap();
        *kinds.entry(kind.to_owned()).or_default() += 1;
        // KMS is up to an hour late.
        let lately = 2 * 3_600..29 * 86_400;
        if let Some(used) = key.used_before.filter(|used| lately.contains(&now.seconds_since(*used))) {
            assert_eq!(kind, "in_use", "{arn} was used at {used}: {verdict:#}");
            assert_eq!(told[arn]["last_use"]["source"], "kms");
        }
        if kind == "idle" || kind == "never_used" {
            assert!(
                verdict["evidence_from"].is_string() && verdict["evidence_until"].is_string(),
                "{verdict:#}"
            );
        }
    }
    assert!(kinds.get("idle") > Some(&100) && kinds.get("in_use") > Some(&100), "{kinds:?}");
    assert_within_budgets(&estate.double);
    assert!(running.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_that_come_back_prove_that_events_arrive() {
    let lines = format!("{ON_DEMAND}last_usage = false");
    let estate = Estate::found(still(4, &["eu-west-1", "us-east-1"], 40), &lines).await;
    let bridge = estate.bridge();
    let mut running = estate.run();
    let url = running.url().await;
    let account = *active(&estate).iter().next_back().unwrap();
    let coverage = |region: &str| place(&asked(&url, &["accounts"]), account, region)["coverage"].clone();
    assert_eq!(reconcile(&url, &[]).0, 0);
    eventually("the first heartbeat has come back", async || {
        let known = coverage("eu-west-1");
        when(known["last_beat_returned"].is_string(), known)
    })
    .await;
    // A second later the next one; between them lies what is proven.
    eventually("a span is proven", async || {
        assert_eq!(reconcile(&url, &[]).0, 0);
        let known = coverage("eu-west-1");
        let is_proven = known["spans"].as_array().unwrap().iter().any(|span| span["by"] == "heartbeats");
        when(is_proven && known["blind"].is_null(), known)
    })
    .await;

    // Somebody disables the rule: blind at once, and it is said who did it.
    drop(bridge);
    estate.organisation.take_records();
    let record = json!({
        "eventVersion": "1.08", "eventSource": "events.amazonaws.com", "eventName": "DisableRule",
        "eventTime": estate.clock.now_seconds().plus(1).to_string(), "awsRegion": "eu-west-1",
        "eventID": "0a0a0a0a-0b0b-4c0c-8d0d-0e0e0e0e0e0e", "eventType": "AwsApiCall",
        "recipientAccountId": account.to_string(), "requestParameters": { "name": "dormouse" },
        "userIdentity": { "type": "IAMUser", "arn": format!("arn:aws:iam::{account}:user/mallory") }
    });
    estate.send(&json!({
        "version": "0", "id": "1", "detail-type": "AWS API Call via CloudTrail", "source": "aws.events",
        "account": account.to_string(), "time": record["eventTime"], "region": "eu-west-1", "resources": [],
        "detail": record
    }).to_string());
    let blind = eventually("the Region is blind", async || {
        let known = coverage("eu-west-1");
        if known["blind"].is_object() { Ok(known["blind"].clone()) } else { Err(known) }
    })
    .await;
    let why = blind["why"].as_str().unwrap();
    assert!(why.contains("DisableRule") && why.contains("mallory"), "{why}");
    assert!(coverage("us-east-1")["blind"].is_null());
    let shown = finish(&mut dormouse(&["accounts", "--url", &url])).stdout;
    assert!(shown.contains("is blind since") && shown.contains("mallory"), "{shown}");
    assert!(running.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_without_an_inventory_says_so() {
    let scene = dormouse_tests::scene::Scene::new().await;
    let mut running = scene.run();
    let url = running.url().await;
    let finished = finish(&mut dormouse(&["reconcile", "--url", &url]));
    assert_eq!(finished.code(), 1, "{finished:#?}");
    assert!(finished.stderr.contains("[inventory]"), "{}", finished.stderr);
    assert!(running.stop().await.success());
}

/// A start amid a pass takes up what is left: nothing that was described is described again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pass_that_was_interrupted_is_taken_up_again() {
    let lines = format!("{ON_DEMAND}last_usage = false\nconcurrency = 1");
    let estate = Estate::found(still(6, &["eu-west-1", "us-east-1"], 400), &lines).await;
    // Slow enough to be caught in the middle.
    let slow = Duration::from_millis(20);
    estate.double.faults().set(
        Service::Kms,
        "DescribeKey",
        AwsFault { latency: slow..=slow, ..AwsFault::default() },
    );
    let running = estate.run();
    let described = || estate.double.requests_of(Service::Kms, "DescribeKey");
    eventually("some keys are described", async || when(described() > 100, described())).await;
    running.kill();
    estate.double.faults().clear_all();
    let mut running = estate.run();
    let url = running.url().await;
    let before = described();
    let (code, report) = reconcile(&url, &[]);
    assert_eq!(code, 0, "{report:#}");
    let again = described() - before;
    // What was on its way at the kill is asked for twice.
    let new = report["keys"]["new"].as_u64().unwrap();
    assert!(again <= new + 16 && before + again < 2 * (before + new), "{again} of {before}: {report:#}");
    assert!(report["keys"]["new"].as_u64() < report["keys"]["listed"].as_u64(), "{report:#}");
    compare(&estate, &keys(&url));
    assert!(running.stop().await.success());
}
