//! The real Prometheus scrapes a running instance, and finds in it what the store knows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dormouse_model::{Clock, Region, printable};
use dormouse_simulate::aws::{AwsDouble, AwsDoubleOptions};
use dormouse_simulate::kinesis::{KinesisDouble, KinesisOptions, StreamOptions};
use dormouse_simulate::organisation::{Organisation, OrganisationOptions};
use dormouse_simulate::records::Generated;
use dormouse_tests::http;
use dormouse_tests::program::{dormouse, finish};
use dormouse_tests::prometheus::{Prometheus, Target, complaints_about_metrics};
use dormouse_tests::scene::Scene;
use dormouse_tests::traffic::{bodies, everything};
use dormouse_tests::wait::eventually;
use serde_json::{Value, json};

const TOKEN: &str = "a-token-for-prometheus-alone";
const DOCUMENTED: &str = include_str!("../../../docs/metrics.md");

/// Everything that a label, a line, a dashboard or a page might obey, and much of it.
fn hostile_alias() -> String {
    format!("alias/q\"}} 1\n\\x\u{1b}[31m\u{202e}gnp<b>{}", "\u{e9}".repeat(2_000))
}

/// An alias and a use of a key of its own.
fn hostile_records() -> [String; 2] {
    let key = "arn:aws:kms:eu-west-1:111122223333:key/00000000-aaaa-4bbb-8ccc-dddddddddddd";
    let record = |name: &str, id: &str, parameters: Value| {
        json!({
            "eventVersion": "1.11", "eventSource": "kms.amazonaws.com", "eventName": name, "eventID": id,
            "eventTime": "2026-11-10T12:00:00Z", "awsRegion": "eu-west-1", "recipientAccountId": "111122223333",
            "userIdentity": { "type": "AssumedRole", "arn": "arn:aws:sts::111122223333:assumed-role/a/\u{1b}]0;x\u{7}" },
            "requestParameters": parameters, "responseElements": null, "eventType": "AwsApiCall",
            "resources": [{ "ARN": key, "accountId": "111122223333", "type": "AWS::KMS::Key" }],
        })
        .to_string()
    };
    let alias = json!({ "aliasName": hostile_alias(), "targetKeyId": key });
    [record("CreateAlias", "hostile-1", alias), record("Decrypt", "hostile-2", json!({}))]
}

/// The families of an exposition, by name, with their types.
fn families(exposition: &str) -> BTreeMap<String, String> {
    let types = exposition.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types
        .filter_map(|line| line.split_once(' '))
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect()
}

/// What the documentation says there is.
fn documented() -> BTreeMap<String, String> {
    let rows = DOCUMENTED.lines().filter_map(|line| line.strip_prefix("| `dormouse_"));
    let cells =
        rows.filter_map(|row| row.split_once("` | ").map(|(name, rest)| (name, rest.split(' ').next())));
    cells.map(|(name, kind)| (format!("dormouse_{name}"), kind.unwrap().to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_reads_what_the_store_knows() {
    let mut scene = Scene::new().await;
    let token_file = scene.folder.path().join("token");
    std::fs::write(&token_file, format!("{TOKEN}\n")).unwrap();
    scene.set("http", "token_file", &format!("{token_file:?}"));
    // One source of each kind, so that every metric there is has a series.
    scene.set("source", "buckets", "[\"trail-logs\"]");
    let kinesis = KinesisDouble::start(KinesisOptions::default()).await.unwrap();
    kinesis.create_stream("dormouse", 1, StreamOptions::default());
    let endpoint = kinesis.endpoint().to_owned();
    scene.add(&format!(
        "[[sources]]\nname = \"flow\"\ntype = \"kinesis\"\nstream = \"dormouse\"\nregion = \"eu-west-1\"\n\
         endpoint_url = {endpoint:?}"
    ));
    // And an inventory of a small organisation.
    let eu: Region = "eu-west-1".parse().unwrap();
    let clock: Arc<dyn Clock> = scene.clock.clone();
    let organisation = Organisation::new(OrganisationOptions::still(clock, 2, &[eu], 20));
    let aws = AwsDouble::start(Arc::clone(&organisation), AwsDoubleOptions::default()).await.unwrap();
    scene.add(&format!(
        "[inventory]\naccounts = \"org\"\nregions = [\"eu-west-1\"]\nlast_usage = false\nendpoint_url = {:?}",
        aws.endpoint()
    ));
    let mut running = scene.run();
    let url = running.url().await;
    let reconcile = ["reconcile", "--url", &url, "--token-file", token_file.to_str().unwrap()];
    let reconciled = finish(&mut dormouse(&reconcile));
    assert_eq!(reconciled.code(), 0, "{reconciled:#?}");
    // The lists of keys that were asked for come back as events.
    scene.send(organisation.take_records().iter().map(Generated::eventbridge));
    let address = url.strip_prefix("http://").unwrap();
    scene.send(bodies(31, &everything(31, 2_000)));
    scene.send(hostile_records());
    scene.send([r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Time":"2026-11-10T12:00:00.000Z","Bucket":"trail-logs","RequestId":"r","HostId":"h"}"#]);
    scene.drained(&mut running).await;

    let target = |job, path: &str| Target {
        path: path.to_owned(),
        bearer: Some(TOKEN.to_owned()),
        ..Target::new(job, address)
    };
    let stranger =
        Target { bearer: Some("a-token-of-somebody-else".to_owned()), ..Target::new("stranger", address) };
    let prometheus =
        Prometheus::start(&[target("instance", "/metrics"), target("keys", "/metrics/keys"), stranger]).await;
    let scraped = prometheus.scraped().await;
    let health: Vec<(&str, &str)> = scraped.iter().map(|one| (&*one.job, &*one.health)).collect();
    assert_eq!(health, [("instance", "up"), ("keys", "up"), ("stranger", "down")], "{scraped:#?}");
    assert!(scraped[2].error.contains("401"), "{scraped:#?}");

    // What Prometheus holds is what the store knows, key by key.
    let keys = scene.keys();
    let expected: BTreeMap<String, f64> = keys.iter().filter_map(last_use).collect();
    assert!(expected.len() > 20);
    eventually("every key's last use is in Prometheus", async || {
        let samples = prometheus.query("dormouse_key_last_use_timestamp_seconds").await;
        let found: BTreeMap<String, f64> =
            samples.iter().map(|sample| (sample.labels["arn"].clone(), sample.value)).collect();
        if found == expected { Ok(()) } else { Err((found.len(), expected.len())) }
    })
    .await;
    eventually("the counts add up", async || {
        let all = prometheus.value("sum(dormouse_keys)").await;
        if all == Some(keys.len() as f64) { Ok(()) } else { Err((all, keys.len())) }
    })
    .await;
    let records = &scene.status()["records"];
    let total = |outcomes: &str| format!("sum(dormouse_events_total{{outcome=~\"{outcomes}\"}})");
    for (outcomes, told) in [
        ("duplicate", records["duplicates"].as_f64()),
        ("quarantined", records["quarantined"].as_f64()),
        ("applied|duplicate|quarantined", records["kms"].as_f64()),
        ("applied|duplicate|quarantined|other_service", records["read"].as_f64()),
    ] {
        assert_eq!(prometheus.value(&total(outcomes)).await, told, "{outcomes}");
    }

    // A hostile alias is one label, cut and harmless.
    let hostile =
        prometheus.query("dormouse_key_last_use_timestamp_seconds{arn=~\".*/00000000-aaaa.*\"}").await;
    let label = &hostile[0].labels["alias"];
    assert!(label.len() <= 256 && label.starts_with("alias/q\"} 1\\u{a}"), "{label:?}");
    assert_eq!(*label, printable(label), "nothing in it that a terminal obeys");

    let instance = text(&url, "/metrics").await;
    let of_keys = text(&url, "/metrics/keys").await;
    assert_eq!(complaints_about_metrics(&instance), Vec::<String>::new());
    assert_eq!(complaints_about_metrics(&of_keys), Vec::<String>::new());
    assert!(
        !instance.contains("alias") && !instance.contains("role/"),
        "no principal and no alias is a label"
    );
    assert!([&instance, &of_keys].iter().all(|text| text.chars().all(|c| c == '\n' || !c.is_control())));
    let mut shown = families(&instance);
    shown.extend(families(&of_keys));
    let undocumented: BTreeSet<_> =
        shown.iter().filter(|one| !documented().iter().any(|other| other == *one)).collect();
    assert!(undocumented.is_empty(), "not in docs/metrics.md, or of another type: {undocumented:?}");
    let missing: BTreeSet<_> = documented().into_keys().filter(|name| !shown.contains_key(name)).collect();
    assert!(missing.is_empty(), "in docs/metrics.md alone: {missing:?}");
    assert!(!running.log().contains(TOKEN) && !running.log().contains("a-token-of-somebody-else"));
    assert!(running.stop().await.success());
}

fn last_use(key: &Value) -> Option<(String, f64)> {
    let at: dormouse_model::EventTime = key["last_use"]["at"].as_str()?.parse().unwrap();
    Some((key["arn"].as_str().unwrap().to_owned(), f64::from(at.seconds())))
}

async fn text(url: &str, path: &str) -> String {
    let answer = http::get_as(&format!("{url}{path}"), TOKEN).await.unwrap();
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.body
}
