//! Objects that messages announce: large ones in little memory, hostile ones not at all, late and locked ones as soon as
//! they can be read.

use std::io::Write;

use dormouse_simulate::records::{
    Generated, Mix, gzip, s3_notification, s3_object_created, sns, trail, trail_notification,
};
use dormouse_simulate::s3::{Operation, S3Fault};
use dormouse_simulate::sqs::Operation as QueueOperation;
use dormouse_tests::http;
use dormouse_tests::program::Running;
use dormouse_tests::traffic::records;
use dormouse_tests::wait::{alone, eventually, until, when};
use dormouse_tests::ways::{Ways, status_at};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

const BUCKET: &str = "example-trail";
const FOREIGN: &str = "somebody-elses";

/// A queue that announces objects of one bucket. Another bucket is there as well.
async fn ways() -> (Ways, String) {
    let mut ways = Ways::new().await;
    let queue = ways.queue_of_objects("trail", &[&format!("{BUCKET}/AWSLogs/")]);
    ways.s3.create_bucket(BUCKET);
    ways.s3.create_bucket(FOREIGN);
    (ways, queue)
}

/// A key where a trail would put an object.
fn key(name: &str) -> String {
    format!(
        "AWSLogs/111122223333/CloudTrail/eu-west-1/2026/11/01/111122223333_CloudTrail_eu-west-1_20261101T0100Z_{name}.json.gz"
    )
}

/// Uses of keys, each of which counts.
fn uses(seed: u64, count: usize) -> Vec<Generated> {
    records(seed, count, Mix::only(&[("Decrypt", 3), ("GenerateDataKey", 1)]))
}

fn packed(records: &[Generated]) -> Vec<u8> {
    gzip(trail(records).as_bytes())
}

fn announce(ways: &Ways, queue: &str, key: &str) {
    ways.sqs.send(queue, &s3_notification(BUCKET, key)).unwrap();
}

fn counted_uses(ways: &Ways) -> u64 {
    ways.status()["records"]["uses"].as_u64().unwrap()
}

/// The reasons in the quarantine, with what is said of each.
fn reasons(ways: &Ways) -> Vec<(String, String)> {
    let text = |message: &Value, member: &str| message[member].as_str().unwrap().to_owned();
    let mut reasons: Vec<_> =
        ways.quarantine().iter().map(|message| (text(message, "reason"), text(message, "detail"))).collect();
    reasons.sort();
    reasons
}

/// How often an object was asked for.
fn fetches(ways: &Ways) -> u64 {
    ways.s3.counters().requests(Operation::GetObject)
}

/// A trail object of so many bytes of text, in gzip: the records over and over, each time as other events. Returns how
/// many there are.
fn large_object(records: &[Generated], text_bytes: usize) -> (Vec<u8>, u64) {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(b"{\"Records\":[").unwrap();
    let (mut bytes, mut count) = (0, 0_u64);
    while bytes < text_bytes {
        for record in records {
            // The last twelve digits of an id are its node: any will do.
            let id = format!("{}{count:012x}", &record.event_id[..24]);
            let text = record.record.replace(&record.event_id, &id);
            if count > 0 {
                encoder.write_all(b",").unwrap();
            }
            encoder.write_all(text.as_bytes()).unwrap();
            bytes += text.len() + 1;
            count += 1;
        }
    }
    encoder.write_all(b"]}").unwrap();
    (encoder.finish().unwrap(), count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_object_takes_little_memory() {
    const TEXT: usize = 200 << 20;
    const MOST_EXTRA_KIB: u64 = 64 << 10;
    let _machine = alone().await;
    let (ways, queue) = ways().await;
    let small = uses(1, 2_000);
    ways.s3.put(BUCKET, &key("small"), packed(&small)).unwrap();
    announce(&ways, &queue, &key("small"));
    let mut running = ways.run();
    ways.drained(&mut running, &queue).await;
    let before = running.most_memory();

    let (large, count) = large_object(&uses(2, 2_000), TEXT);
    eprintln!("{count} records of together {TEXT} bytes are {} bytes in gzip", large.len());
    assert!(large.len() > 20 << 20, "{} bytes are no real object's", large.len());
    ways.s3.put(BUCKET, &key("large"), large).unwrap();
    announce(&ways, &queue, &key("large"));
    ways.drained(&mut running, &queue).await;
    let extra = running.most_memory() - before;
    eprintln!("{before} KiB before, {extra} KiB more for the large object");
    assert!(extra < MOST_EXTRA_KIB, "{before} KiB before, {extra} KiB more for the large object");
    assert!(running.stop().await.success());
    assert_eq!(counted_uses(&ways), small.len() as u64 + count);
    assert_eq!(fetches(&ways), 2, "the message was kept in flight while the object was read");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_and_foreign_objects_are_refused_and_the_rest_goes_on() {
    let (ways, queue) = ways().await;
    let good = uses(3, 500);
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    bomb.write_all(trail(&good[..100]).trim_end_matches("]}").as_bytes()).unwrap();
    for _ in 0..256 {
        bomb.write_all(&[b' '; 1 << 20]).unwrap();
    }
    ways.s3.put(BUCKET, &key("bomb"), bomb.finish().unwrap()).unwrap();
    ways.s3.put(BUCKET, &key("good"), packed(&good[100..])).unwrap();
    let elsewhere = uses(4, 50);
    ways.s3.put(FOREIGN, &key("good"), packed(&elsewhere)).unwrap();
    let outside = "other/111122223333_CloudTrail_eu-west-1_20261101T0100Z_x.json.gz";
    ways.s3.put(BUCKET, outside, packed(&elsewhere)).unwrap();

    ways.sqs.send(&queue, &sns(&s3_notification(FOREIGN, &key("good")))).unwrap();
    announce(&ways, &queue, outside);
    // One foreign object makes all of a message foreign: nothing of it is read.
    let mixed = trail_notification(FOREIGN, [key("good").as_str(), "AWSLogs/x"]);
    ways.sqs.send(&queue, &mixed).unwrap();
    announce(&ways, &queue, &key("bomb"));
    announce(&ways, &queue, &key("good"));
    let mut running = ways.run();
    ways.drained(&mut running, &queue).await;
    assert!(running.most_memory() < 512 << 10, "{} KiB for a bomb", running.most_memory());
    assert!(running.stop().await.success());

    let reasons = reasons(&ways);
    let names: Vec<&str> = reasons.iter().map(|(reason, _)| reason.as_str()).collect();
    assert_eq!(
        names,
        ["foreign_object", "foreign_object", "foreign_object", "object_damaged"],
        "{reasons:#?}"
    );
    assert!(reasons[3].1.contains("bomb"), "{reasons:#?}");
    assert!(reasons.iter().take(3).any(|(_, detail)| detail.contains(FOREIGN)), "{reasons:#?}");
    assert_eq!(fetches(&ways), 2, "a foreign object was asked for");
    assert_eq!(counted_uses(&ways), good.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_comes_after_its_announcement_is_read() {
    let (ways, queue) = ways().await;
    let late = uses(5, 300);
    announce(&ways, &queue, &key("late"));
    let mut running = ways.run();
    until("it was missed", || {
        running.assert_alive();
        when(fetches(&ways) >= 2, fetches(&ways))
    })
    .await;
    ways.s3.put(BUCKET, &key("late"), packed(&late)).unwrap();
    ways.drained(&mut running, &queue).await;
    assert!(running.stop().await.success());
    assert_eq!((counted_uses(&ways), reasons(&ways)), (late.len() as u64, vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_never_comes_is_kept_by_name() {
    let (ways, queue) = ways().await;
    announce(&ways, &queue, &key("never"));
    let mut running = ways.run();
    ways.drained(&mut running, &queue).await;
    assert!(running.stop().await.success());
    let reasons = reasons(&ways);
    assert!(
        matches!(&*reasons, [(reason, detail)] if reason == "object_missing" && detail.contains("never"))
    );
    assert_eq!(fetches(&ways), 5);
}

/// Everything that says what is wrong: the log, the status, and what is asked before traffic is sent here.
async fn said(running: &mut Running) -> [String; 3] {
    let url = running.url().await;
    let status = status_at(&url).await.unwrap_or_default();
    let ready = http::get(&format!("{url}/readyz")).await.unwrap();
    [
        running.log(),
        status["instance"]["sources"][0]["trouble"].to_string(),
        format!("{} {}", ready.status, ready.body),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_permission_is_named_and_once_granted_works() {
    let (ways, queue) = ways().await;
    let locked = uses(6, 300);
    ways.s3.put(BUCKET, &key("locked"), packed(&locked)).unwrap();
    ways.s3.faults().set(Operation::GetObject, S3Fault { access_denied: true, ..S3Fault::default() });
    announce(&ways, &queue, &key("locked"));
    let mut running = ways.run();
    eventually("everybody says what is missing", async || {
        running.assert_alive();
        let [log, status, ready] = said(&mut running).await;
        let names_it = |text: &str| text.contains("s3:GetObject") && text.contains(BUCKET);
        if names_it(&log) && names_it(&status) && ready.starts_with("503") && ready.contains("denied") {
            Ok(())
        } else {
            Err([log, status, ready])
        }
    })
    .await;
    ways.s3.faults().clear_all();
    ways.drained(&mut running, &queue).await;
    eventually("nobody says so any more", async || {
        let [_, status, ready] = said(&mut running).await;
        if status == "[]" && ready.starts_with("200") { Ok(()) } else { Err([status, ready]) }
    })
    .await;
    assert!(running.stop().await.success());
    assert_eq!((counted_uses(&ways), reasons(&ways)), (locked.len() as u64, vec![]));
    let changes = ways.sqs.requests(QueueOperation::ChangeMessageVisibilityBatch);
    assert!(changes > 0, "the message was not kept in flight");
}

/// All keys but for their verdicts: that events arrive once more says something of what delivers them.
fn what_is_known(ways: &Ways) -> Value {
    let mut keys = ways.keys();
    for key in keys.as_array_mut().unwrap() {
        key["verdict"].take();
    }
    keys
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_is_announced_again_changes_nothing() {
    let (ways, queue) = ways().await;
    let records = records(7, 2_000, Mix::everything());
    ways.s3.put(BUCKET, &key("twice"), packed(&records)).unwrap();
    announce(&ways, &queue, &key("twice"));
    let mut running = ways.run();
    ways.drained(&mut running, &queue).await;
    let (keys, counted) = (what_is_known(&ways), ways.status()["records"].clone());
    let again = key("twice");
    for message in [
        s3_notification(BUCKET, &again),
        sns(&trail_notification(BUCKET, [again.as_str(), again.as_str()])),
        s3_object_created(BUCKET, &again),
    ] {
        ways.sqs.send(&queue, &message).unwrap();
    }
    ways.drained(&mut running, &queue).await;
    assert!(running.stop().await.success());
    assert_eq!(what_is_known(&ways), keys);
    let counted_again = ways.status()["records"].clone();
    for kind in ["uses", "attempts", "changes"] {
        assert_eq!(counted_again[kind], counted[kind], "{kind}");
    }
    assert!(fetches(&ways) >= 4);
    assert!(counted_again["duplicates"].as_u64() > counted["duplicates"].as_u64());
}
