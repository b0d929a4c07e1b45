//! Whatever way events come by, what is known of every key is the same.
//!
//! One set of records over three days is delivered by each way alone, by all of them at once, and by a queue whose
//! counts a backfill then replaces. The ways differ in everything that must not matter: what is around a record, how
//! many come together, in which order, how often.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use dormouse_simulate::kinesis::{ShardView, StreamOptions};
use dormouse_simulate::records::layout::{LayoutOptions, TrailObject, lay_out, put_all};
use dormouse_simulate::records::{
    DeliveryOptions, Generated, Mix, aggregate, cloudwatch_logs, control_message, deliveries, gzip, ndjson,
    s3_notification, sns, trail_notification,
};
use dormouse_tests::oracle;
use dormouse_tests::program::Running;
use dormouse_tests::traffic::records_within;
use dormouse_tests::wait::{alone, until, when};
use dormouse_tests::ways::Ways;
use serde_json::Value;

const EVENTS: usize = 50_000;
const SEED: u64 = 20_264;
const DAYS: u32 = 3;
const BUCKET: &str = "example-trail";
const HISTORY: &[&str] = &["--bucket", BUCKET, "--from", "2026-11-01", "--to", "2026-11-03"];

/// What has to be the same whatever way events came by.
const ESSENCE: &[&str] = &[
    "last_use",
    "last_attempt",
    "wanted",
    "uses",
    "attempts",
    "changes",
    "state",
    "created",
    "aliases",
    "tags",
];

/// What happened, and what is to be known of it.
struct Happened {
    records: Vec<Generated>,
    /// As a trail has it in its bucket.
    objects: Vec<TrailObject>,
    /// The oracle's keys.
    truth: Value,
}

impl Happened {
    fn new(folder: &Path) -> Self {
        let records = records_within(DAYS, SEED, EVENTS, Mix::everything());
        assert!(records.iter().any(|record| record.shared_id.is_some()), "there are no cross-account pairs");
        assert!(records.iter().any(|record| record.error_code.is_some()), "there are no failures");
        let days: Vec<u32> = records.iter().map(|record| record.time.day()).collect();
        assert_eq!(days.iter().max().unwrap() - days.iter().min().unwrap(), DAYS - 1);
        let lines = folder.join("records.ndjson");
        std::fs::write(&lines, ndjson(&records)).unwrap();
        let truth = oracle::truth(&[&lines])["keys"].clone();
        let options =
            LayoutOptions { bucket: BUCKET.to_owned(), minutes_a_file: 60, ..LayoutOptions::default() };
        // A trail delivers twice now and then.
        let objects = lay_out(delivered(&records, 1, 0), &options);
        Self { records, objects, truth }
    }

    /// The records as a way delivers them: some of them more than once, each at most so far from its place.
    fn delivered(&self, seed: u64, window: usize) -> Vec<&Generated> {
        delivered(&self.records, seed, window)
    }

    /// Fails the test if keys are told in any other way than the oracle does, or differ from what another way had.
    #[track_caller]
    fn assert_same(&self, way: &str, keys: &Value, other: Option<&Value>) {
        assert!(!self.truth.as_array().unwrap().is_empty());
        let mut differences = oracle::differences(&self.truth, keys, ESSENCE);
        if let Some(other) = other {
            differences.extend(oracle::differences(other, keys, ESSENCE));
        }
        let some = differences.iter().take(8).cloned().collect::<Vec<_>>().join("\n");
        assert!(differences.is_empty(), "{way}: {} differences, among them:\n{some}", differences.len());
    }
}

fn delivered(records: &[Generated], seed: u64, window: usize) -> Vec<&Generated> {
    let options = DeliveryOptions { seed, duplicates: 0.05, window };
    deliveries(records.len(), options).into_iter().map(|place| &records[place]).collect()
}

/// Records for a stream, each with its partition key.
type Records = Vec<(String, Vec<u8>)>;

/// EventBridge events, one in three of them in aggregates.
fn events(deliveries: &[&Generated]) -> Records {
    let event = |record: &&Generated| (record.event_id.clone(), record.eventbridge().into_bytes());
    let mut records = Vec::new();
    for (number, some) in deliveries.chunks(20).enumerate() {
        let events: Records = some.iter().map(event).collect();
        if number % 3 == 0 {
            records.push((events[0].0.clone(), aggregate(&events)));
        } else {
            records.extend(events);
        }
    }
    records
}

/// Batches of CloudWatch Logs, and now and then the message that has none.
fn batches(deliveries: &[&Generated]) -> Records {
    let batch = |(number, some): (usize, &[&Generated])| {
        let text = if number % 50 == 0 { control_message() } else { cloudwatch_logs(some.iter().copied()) };
        (number.to_string(), gzip(text.as_bytes()))
    };
    let mut records: Records = deliveries.chunks(40).enumerate().map(batch).collect();
    // What the control messages took the place of.
    let rest = deliveries.chunks(40).step_by(50).map(|some| cloudwatch_logs(some.iter().copied()));
    records.extend(rest.map(|text| (text.len().to_string(), gzip(text.as_bytes()))));
    records
}

/// Puts the records in four parts. Between them, while they are read, two shards are split and two are merged.
async fn put_and_reshard(ways: &Ways, running: &mut Running, stream: &str, records: &Records) {
    let before = ways.kinesis.shards(stream).unwrap().len();
    for (number, part) in records.chunks(records.len().div_ceil(4)).enumerate() {
        let counters = ways.kinesis.counters(stream).unwrap();
        ways.kinesis.put_many(stream, part.iter().map(|(key, data)| (key, data))).unwrap();
        until("the stream is being read", || {
            running.assert_alive();
            let now = ways.kinesis.counters(stream).unwrap();
            when(now.handed_out > counters.handed_out, now)
        })
        .await;
        let mut open: Vec<ShardView> = ways.kinesis.shards(stream).unwrap();
        open.retain(|shard| shard.open);
        open.sort_by_key(|shard| shard.hashes);
        match number {
            0 | 1 => drop(ways.kinesis.split(stream, &open[number * 2].id).unwrap()),
            2 => drop(ways.kinesis.merge(stream, &open[0].id, &open[1].id).unwrap()),
            _ => {}
        }
    }
    assert_eq!(ways.kinesis.shards(stream).unwrap().len(), before + 5);
}

/// Puts the objects into their bucket.
fn store_objects(ways: &Ways, happened: &Happened) {
    ways.s3.create_bucket(BUCKET);
    put_all(&ways.s3, BUCKET, &happened.objects).unwrap();
}

/// Announcements of the objects by a topic: CloudTrail's own or the bucket's, digests and repetitions among them.
fn announcements(happened: &Happened, seed: u64) -> Vec<String> {
    let (digests, logs): (Vec<&TrailObject>, Vec<&TrailObject>) =
        happened.objects.iter().partition(|object| object.is_digest);
    let mut messages = Vec::new();
    for (number, some) in logs.chunks(3).enumerate() {
        let keys = || some.iter().map(|object| object.key.as_str());
        if number % 2 == 0 {
            messages.push(sns(&trail_notification(BUCKET, keys())));
        } else {
            messages.extend(keys().map(|key| sns(&s3_notification(BUCKET, key))));
        }
        if number % 10 == 0 {
            messages.push(sns(&trail_notification(BUCKET, keys())));
        }
    }
    messages.extend(digests.iter().step_by(20).map(|object| sns(&s3_notification(BUCKET, &object.key))));
    fastrand::Rng::with_seed(seed).shuffle(&mut messages);
    messages
}

const BUCKETS: &[&str] = &["example-trail/AWSLogs/"];

fn bodies(deliveries: &[&Generated]) -> Vec<String> {
    deliveries.iter().map(|record| record.eventbridge()).collect()
}

/// Stops the instance and says what it knew.
async fn stopped(ways: &Ways, running: Running) -> Value {
    assert!(running.stop().await.success());
    assert_eq!(ways.quarantine(), Vec::<Value>::new());
    ways.keys()
}

async fn by_queue(happened: &Happened) -> Value {
    let mut ways = Ways::new().await;
    let queue = ways.queue("bus");
    ways.sqs.send_many(&queue, bodies(&happened.delivered(2, 500))).unwrap();
    let mut running = ways.run();
    ways.drained(&mut running, &queue).await;
    stopped(&ways, running).await
}

async fn by_stream(records: &Records, options: StreamOptions) -> Value {
    let mut ways = Ways::new().await;
    ways.stream("flow", options);
    let mut running = ways.run();
    put_and_reshard(&ways, &mut running, "flow", records).await;
    ways.read_whole(&mut running, "flow").await;
    stopped(&ways, running).await
}

async fn by_trail(happened: &Happened) -> Value {
    let mut ways = Ways::new().await;
    let queue = ways.queue_of_objects("trail", BUCKETS);
    store_objects(&ways, happened);
    ways.sqs.send_many(&queue, announcements(happened, 3)).unwrap();
    let mut running = ways.run();
    ways.drained(&mut running, &queue).await;
    stopped(&ways, running).await
}

async fn by_backfill(happened: &Happened) -> Value {
    let ways = Ways::new().await;
    store_objects(&ways, happened);
    assert_finished(&ways);
    ways.keys()
}

/// Reads all of the history.
fn assert_finished(ways: &Ways) {
    let finished = ways.backfill(HISTORY);
    assert!(finished.status.success(), "{finished:#?}");
}

async fn by_all_ways_at_once(happened: &Happened) -> Value {
    let mut ways = Ways::new().await;
    let (bus, trail) = (ways.queue("bus"), ways.queue_of_objects("trail", BUCKETS));
    for stream in ["flow", "logs"] {
        ways.stream(stream, StreamOptions::default());
    }
    store_objects(&ways, happened);
    let shuffled = |seed| happened.delivered(seed, EVENTS);
    ways.sqs.send_many(&bus, bodies(&shuffled(4))).unwrap();
    ways.sqs.send_many(&trail, announcements(happened, 5)).unwrap();
    let mut running = ways.run();
    let url = running.url().await;
    let arguments = [&["backfill"], HISTORY, &["--url", &url]].concat();
    let mut history = ways.command(&arguments).stdout(Stdio::null()).spawn().unwrap();
    put_and_reshard(&ways, &mut running, "flow", &events(&shuffled(6))).await;
    put_and_reshard(&ways, &mut running, "logs", &batches(&shuffled(7))).await;
    let status = until("history is read", || history.try_wait().unwrap().ok_or("running")).await;
    assert!(status.success(), "{status}");
    for queue in [&bus, &trail] {
        ways.drained(&mut running, queue).await;
    }
    for stream in ["flow", "logs"] {
        ways.read_whole(&mut running, stream).await;
    }
    stopped(&ways, running).await
}

/// What the stream could not count for want of memory is counted by history.
async fn by_queue_with_a_short_memory_and_then_backfill(happened: &Happened) -> Value {
    let mut ways = Ways::new().await;
    ways.set("ingest", "id_window", "10000");
    let queue = ways.queue("bus");
    ways.sqs.send_many(&queue, bodies(&happened.delivered(8, EVENTS))).unwrap();
    let mut running = ways.run();
    ways.drained(&mut running, &queue).await;
    let incomplete = stopped(&ways, running).await;
    let differences = oracle::differences(&happened.truth, &incomplete, &["uses"]);
    assert!(!differences.is_empty(), "the stream has counted everything: there was nothing to replace");
    store_objects(&ways, happened);
    assert_finished(&ways);
    ways.keys()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_gives_the_same_answer() {
    let _machine = alone().await;
    let folder = tempfile::tempdir().unwrap();
    let happened = Happened::new(folder.path());
    let by_queue = by_queue(&happened).await;
    happened.assert_same("a queue", &by_queue, None);

    let with_children = StreamOptions { child_shards: true, ..StreamOptions::default() };
    let mut answers = BTreeMap::new();
    answers.insert("a stream", by_stream(&events(&happened.delivered(9, 500)), with_children).await);
    let logs = batches(&happened.delivered(10, 500));
    answers.insert("CloudWatch Logs", by_stream(&logs, StreamOptions::default()).await);
    answers.insert("objects of a trail", by_trail(&happened).await);
    answers.insert("backfill", by_backfill(&happened).await);
    answers.insert("all ways at once", by_all_ways_at_once(&happened).await);
    answers.insert("backfill after a queue", by_queue_with_a_short_memory_and_then_backfill(&happened).await);
    for (way, keys) in &answers {
        happened.assert_same(way, keys, Some(&by_queue));
    }
}
