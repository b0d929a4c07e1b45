//! What a trail's history proves, and how it is read: each finished day once, by whoever holds the store.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Stdio};
use std::time::Duration;

use dormouse_model::{AccountId, EventTime, Region};
use dormouse_simulate::records::layout::{LayoutOptions, TrailObject, lay_out, put_all};
use dormouse_simulate::records::{Generated, Mix, ndjson};
use dormouse_simulate::s3::{Operation, S3Fault};
use dormouse_tests::oracle;
use dormouse_tests::program::Running;
use dormouse_tests::traffic::records_within;
use dormouse_tests::wait::{until, when};
use dormouse_tests::ways::Ways;
use serde_json::{Value, json};

const BUCKET: &str = "example-trail";
const PREFIX: &str = "central/logs";
const ORGANISATION: &str = "o-abcdefghij";
const DAY: u32 = 86_400;
/// 2026-11-01T00:00:00Z.
const BEGIN: EventTime = EventTime::from_seconds(1_793_491_200);
const DAYS: u32 = 3;
const HISTORY: &[&str] = &[
    "--bucket",
    BUCKET,
    "--prefix",
    PREFIX,
    "--from",
    "2026-11-01",
    "--to",
    "2026-11-03",
    "--output",
    "json",
];

/// Where events were logged.
type Place = (AccountId, Region);

/// Calls of which each says what it is about.
fn calls(seed: u64, count: usize) -> Vec<Generated> {
    let mix = Mix::only(&[
        ("Decrypt", 4),
        ("GenerateDataKey", 2),
        ("ListKeys", 1),
        ("CreateGrant", 2),
        ("TagResource", 1),
    ]);
    records_within(DAYS, seed, count, mix)
}

fn options() -> LayoutOptions {
    LayoutOptions {
        bucket: BUCKET.to_owned(),
        prefix: PREFIX.to_owned(),
        organisation: Some(ORGANISATION.to_owned()),
        minutes_a_file: 60,
        // Until the digests list what was delivered after the last day's end.
        span: Some((BEGIN, BEGIN.plus(DAYS * DAY + 2 * 3_600))),
        ..LayoutOptions::default()
    }
}

fn store(ways: &Ways, objects: &[TrailObject]) {
    ways.s3.create_bucket(BUCKET);
    put_all(&ways.s3, BUCKET, objects).unwrap();
}

/// The places of the records, in order.
fn places(records: &[Generated]) -> Vec<Place> {
    let places: BTreeMap<String, Place> = records
        .iter()
        .map(|record| (format!("{} {}", record.account, record.region), (record.account, record.region)))
        .collect();
    places.into_values().collect()
}

/// The part of a key that says whose and which day's it is.
fn folder((account, region): Place, kind: &str, day: u32) -> String {
    let date = BEGIN.plus(day * DAY).to_string()[..10].replace('-', "/");
    format!("{PREFIX}/AWSLogs/{ORGANISATION}/{account}/{kind}/{region}/{date}/")
}

/// What `dormouse accounts` says of a place's history; nothing if it does not know the place.
fn history(ways: &Ways, (account, region): Place) -> Value {
    let known = ways.ask(&["accounts"]);
    let find = |list: &Value, member: &str, name: &str| {
        let mut entries = list.as_array().into_iter().flatten();
        entries.find(|entry| entry[member] == name).cloned().unwrap_or_default()
    };
    let account = find(&known["accounts"], "account", &account.to_string());
    find(&account["regions"], "region", region.name())["history"].clone()
}

/// The spans, as they are told.
fn spans(spans: &[(EventTime, EventTime)]) -> Value {
    let span = |(from, until): &(EventTime, EventTime)| json!({ "from": from.to_string(), "until": until.to_string(), "by": "digests" });
    spans.iter().map(span).collect()
}

/// All gaps are where no span is, and one of them says why.
fn assert_told(history: &Value, reason: &str) {
    let gaps = history["gaps"].as_array().unwrap();
    assert!(gaps.iter().any(|gap| gap["reason"].as_str().unwrap().contains(reason)), "{reason}: {history:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_proven_ends_where_something_is_missing() {
    let mut records = calls(31, 12_000);
    let places = places(&records);
    let &[without_log, without_digest, without_reads, ..] = places.as_slice() else {
        panic!("too few places: {places:?}")
    };
    let end = BEGIN.plus(DAYS * DAY);
    let (second, third) = (BEGIN.plus(DAY), BEGIN.plus(2 * DAY));
    records.retain(|record| {
        let is_left_out = (record.account, record.region) == without_reads
            && (second..third).contains(&record.time)
            && record.record.contains("\"readOnly\":true");
        !is_left_out
    });
    let mut objects = lay_out(&records, &options());

    // A log file of noon of the second day.
    let noon = second.plus(DAY / 2);
    let log = objects.iter().position(|object| {
        !object.is_digest
            && object.delivered > noon
            && object.key.starts_with(&folder(without_log, "CloudTrail", 1))
    });
    let log = objects.remove(log.unwrap());
    let times = records
        .iter()
        .filter(|record| (record.account, record.region) == without_log)
        .map(|record| record.time)
        // An hour's deliveries, of what happened five minutes before.
        .filter(|time| time.plus(300 + 3_600) >= log.delivered && time.plus(300) < log.delivered);
    let (oldest, newest) = (times.clone().min().unwrap(), times.max().unwrap());
    // The digest of the hour that ends at noon.
    let digest = objects.iter().position(|object| {
        object.is_digest
            && object.delivered == noon
            && object.key.starts_with(&folder(without_digest, "CloudTrail-Digest", 1))
    });
    objects.remove(digest.unwrap());

    let ways = Ways::new().await;
    store(&ways, &objects);
    let finished = ways.backfill(HISTORY);
    assert_eq!(finished.code(), 2, "not everything was there: {finished:#?}");
    let job = finished.json();
    assert_eq!(job["state"], "done", "{job:#}");
    assert_eq!(job["cells"]["not_whole"], 1, "{job:#}");
    assert_eq!(job["cells"]["done"], places.len() * DAYS as usize, "{job:#}");

    for &place in &places {
        let found = history(&ways, place);
        let expected = if place == without_log {
            assert_told(&found, "the log file is missing");
            vec![(BEGIN, oldest), (newest.plus(1), end)]
        } else if place == without_digest {
            assert_told(&found, "is missing");
            // What happened a quarter of an hour before may have been delivered in the hour that is missing.
            vec![(BEGIN, noon.minus(3_600 + 900)), (noon, end)]
        } else if place == without_reads {
            assert_told(&found, "no read-only record of KMS");
            vec![(BEGIN, second), (third, end)]
        } else {
            assert_eq!(found["gaps"], json!([]), "{found:#}");
            vec![(BEGIN, end)]
        };
        assert_eq!(found["covered"], spans(&expected), "{place:?}: {found:#}");
        assert_eq!(found["days"], json!([{ "from": "2026-11-01", "to": "2026-11-03" }]), "{found:#}");
        let incomplete = found["incomplete_days"].clone();
        if place == without_log {
            assert_eq!(incomplete, json!([{ "from": "2026-11-02", "to": "2026-11-02" }]), "{found:#}");
        } else {
            assert_eq!(incomplete, json!([]), "{place:?}: {found:#}");
        }
    }
}

/// How many objects must be read so that every day is finished that is not yet: those of its folder, and of the next
/// day's, which holds its last records.
fn left(ways: &Ways, places: &[Place], objects: &[TrailObject]) -> u64 {
    let mut left = 0;
    for &place in places {
        let finished = history(ways, place)["days"].clone();
        let is_finished = |day: u32| {
            let date = BEGIN.plus(day * DAY).to_string()[..10].to_owned();
            let holds = |range: &Value| {
                range["from"].as_str().unwrap() <= date.as_str()
                    && date.as_str() <= range["to"].as_str().unwrap()
            };
            finished.as_array().into_iter().flatten().any(holds)
        };
        let unfinished = (0..DAYS).filter(|&day| !is_finished(day));
        let folders: BTreeSet<u32> = unfinished.flat_map(|day| [day, day + 1]).collect();
        for folder_day in folders {
            let kinds = ["CloudTrail", "CloudTrail-Digest"].map(|kind| folder(place, kind, folder_day));
            let lies_there = |object: &&TrailObject| kinds.iter().any(|kind| object.key.starts_with(kind));
            left += objects.iter().filter(lies_there).count() as u64;
        }
    }
    left
}

fn fetches(ways: &Ways) -> u64 {
    ways.s3.counters().requests(Operation::GetObject)
}

/// `dormouse backfill` at work, its document on the way into a file.
fn start(ways: &Ways, more: &[&str]) -> Child {
    let out = std::fs::File::create(ways.folder.path().join("job.json")).unwrap();
    let arguments = [&["backfill"], HISTORY, more].concat();
    ways.command(&arguments).stdout(out).stderr(Stdio::null()).spawn().unwrap()
}

/// Interrupts the reading half-way, reads the rest, and expects that no finished day was read again.
async fn interrupted_and_resumed(ways: &Ways, mut running: Option<&mut Running>) {
    let records = calls(32, 6_000);
    let places = places(&records);
    let objects = lay_out(&records, &options());
    store(ways, &objects);
    let url = match &mut running {
        Some(running) => running.url().await,
        None => String::new(),
    };
    let more: &[&str] =
        if url.is_empty() { &["--concurrency", "4"] } else { &["--concurrency", "4", "--url", &url] };

    // So slow that there is a half-way.
    let latency = Duration::from_millis(5)..=Duration::from_millis(20);
    ways.s3.faults().set(Operation::GetObject, S3Fault { latency, ..S3Fault::default() });
    let mut first = start(ways, more);
    let half = objects.len() as u64 / 2;
    until("half of it was read", || {
        assert!(first.try_wait().unwrap().is_none(), "it ended before it was interrupted");
        when(fetches(ways) >= half, fetches(ways))
    })
    .await;
    let interrupt = format!("kill -INT {}", first.id());
    assert!(std::process::Command::new("sh").args(["-c", &interrupt]).status().unwrap().success());
    let status = until("it has stopped", || first.try_wait().unwrap().ok_or("running")).await;
    assert_eq!(status.code(), Some(1));
    let job: Value =
        serde_json::from_slice(&std::fs::read(ways.folder.path().join("job.json")).unwrap()).unwrap();
    assert_eq!(job["state"], "cancelled", "{job:#}");
    let done = job["cells"]["done"].as_u64().unwrap();
    let total = places.len() as u64 * u64::from(DAYS);
    assert!((1..total).contains(&done), "{job:#}");

    ways.s3.faults().clear_all();
    let (before, left) = (fetches(ways), left(ways, &places, &objects));
    assert!(left < objects.len() as u64, "nothing was finished: {job:#}");
    let finished = ways.backfill(&[HISTORY, more].concat());
    assert_eq!(finished.code(), 0, "{finished:#?}");
    let job = finished.json();
    assert_eq!(
        (&job["cells"]["skipped"], &job["cells"]["done"]),
        (&done.into(), &(total - done).into()),
        "{job:#}"
    );
    assert_eq!(fetches(ways) - before, left, "a finished day was read again: {job:#}");

    // Once more there is nothing to read.
    let before = fetches(ways);
    assert_eq!(ways.backfill(&[HISTORY, more].concat()).code(), 0);
    assert_eq!(fetches(ways), before);

    let lines = ways.folder.path().join("records.ndjson");
    std::fs::write(&lines, ndjson(&records)).unwrap();
    let truth = oracle::truth(&[&lines]);
    oracle::assert_same_keys(&truth["keys"], &ways.keys());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_instance_an_interrupted_backfill_goes_on_where_it_was() {
    let ways = Ways::new().await;
    interrupted_and_resumed(&ways, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_an_instance_an_interrupted_backfill_goes_on_where_it_was() {
    let mut ways = Ways::new().await;
    ways.queue("bus");
    let mut running = ways.run();
    interrupted_and_resumed(&ways, Some(&mut running)).await;
    assert!(running.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_cannot_be_asked_is_named_and_nothing_is_read() {
    let mut ways = Ways::new().await;
    store(&ways, &lay_out(&calls(33, 200), &options()));
    ways.queue("bus");
    ways.set("http", "enabled", "false");
    let mut running = ways.run();
    until("the store is held", || {
        running.assert_alive();
        when(running.log().contains("the store is open"), running.log())
    })
    .await;
    let refused = ways.backfill(HISTORY);
    assert_eq!(refused.code(), 1, "{refused:#?}");
    for word in [&format!("pid {}", running.pid()), "stop it", ways.store().to_str().unwrap()] {
        assert!(refused.stderr.contains(word), "{word}: {}", refused.stderr);
    }
    assert_eq!(fetches(&ways), 0);
    assert!(running.stop().await.success());
    // Now nobody holds it.
    assert_eq!(ways.backfill(HISTORY).code(), 0);
    assert!(!ways.keys().as_array().unwrap().is_empty());
}
