//! What cannot be applied is kept or left, never lost and never in the way; and it can be seen.

use dormouse_model::{Clock, WallClock};
use dormouse_simulate::records::{Generated, Mix, eventbridge};
use dormouse_tests::program::{Running, dormouse, finish};
use dormouse_tests::scene::Scene;
use dormouse_tests::traffic::records;
use dormouse_tests::wait::{until, when};
use serde_json::{Value, json};

/// How far ahead of the clock an event may be, in these tests.
const TOLERANCE: u32 = 2;

/// Uses of existing keys.
fn uses(seed: u64, count: usize) -> Vec<Generated> {
    records(seed, count, Mix::only(&[("Decrypt", 1)]))
}

/// Junk of all sorts, each message another.
fn junk(count: usize) -> Vec<String> {
    let shapes = [
        "no JSON at all",
        "{\"Records\": [",
        "{\"hello\": \"world\"}",
        "[1, 2, null]",
        "\u{1f400}\u{202e}\u{1b}[31mred",
    ];
    (0..count).map(|number| format!("{} {number}", shapes[number % shapes.len()])).collect()
}

/// A record with members changed.
fn changed(record: &Generated, changes: &Value) -> Value {
    let mut record: Value = serde_json::from_str(&record.record).unwrap();
    for (member, value) in changes.as_object().unwrap() {
        record[member] = value.clone();
    }
    record
}

/// The record as EventBridge delivers it.
fn bridged(original: &Generated, record: &Value) -> String {
    let place = (original.account, original.region);
    let detail_type = "AWS API Call via CloudTrail";
    eventbridge(&record.to_string(), &original.event_id, detail_type, "aws.kms", place, original.time)
}

/// The record with another time.
fn at(original: &Generated, seconds_ahead: u32) -> String {
    let time = WallClock.now_seconds().plus(seconds_ahead);
    bridged(original, &changed(original, &json!({ "eventTime": time.to_string() })))
}

/// All uses that the store knows.
fn counted_uses(scene: &Scene) -> u64 {
    scene.keys().iter().map(|key| key["uses"].as_u64().unwrap()).sum()
}

fn has_used(scene: &Scene, event_id: &str) -> bool {
    scene.keys().iter().any(|key| key["last_use"]["event_id"] == event_id)
}

async fn stop(running: Running) {
    let status = running.stop().await;
    assert!(status.success(), "{status}");
}

/// Sends the bodies and waits until the queue is empty.
async fn swallow(scene: &Scene, bodies: &[String]) -> Running {
    scene.send(bodies);
    let mut running = scene.run();
    scene.drained(&mut running).await;
    running
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_good_record_beside_a_bad_one_is_applied() {
    let scene = Scene::new().await;
    let [good, bad, also_good] = &uses(1, 3)[..] else { unreachable!() };
    let bad = changed(bad, &json!({ "eventTime": "the day before yesterday" }));
    let body = format!("{{\"Records\":[{},{bad},7,{}]}}", good.record, also_good.record);
    let running = swallow(&scene, std::slice::from_ref(&body)).await;
    stop(running).await;

    assert_eq!(counted_uses(&scene), 2);
    assert!(has_used(&scene, &also_good.event_id));
    let kept = scene.quarantine();
    assert_eq!(kept.len(), 1, "{kept:#?}");
    assert_eq!(kept[0]["reason"], "unreadable_time");
    assert_eq!(kept[0]["source"], "bus");
    assert_eq!(kept[0]["bytes"], body.len());
    let records = scene.status()["records"].clone();
    assert_eq!((&records["quarantined"], &records["malformed"]), (&json!(1), &json!(1)), "{records:#}");

    let store = scene.store();
    let id = kept[0]["id"].to_string();
    let shown = finish(&mut dormouse(&["quarantine", "show", &id, "--store", store.to_str().unwrap()]));
    assert_eq!(shown.stdout, body, "the whole message can be had back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_full_of_junk_ends_in_the_quarantine() {
    let scene = Scene::with_dead_letters(3).await;
    let (junk, good) = (junk(300), uses(2, 100));
    let good = good.iter().map(Generated::eventbridge);
    let running = swallow(&scene, &junk.iter().cloned().chain(good).collect::<Vec<_>>()).await;

    let kept = scene.quarantine();
    assert_eq!(kept.len(), junk.len());
    let bytes: usize = junk.iter().map(String::len).sum();
    let status = scene.status();
    assert_eq!(status["quarantine"], json!({ "messages": junk.len(), "bytes": bytes }));
    assert!(status["records"]["malformed"].as_u64().unwrap() >= junk.len() as u64, "{status:#}");
    assert_eq!(counted_uses(&scene), 100);
    assert!(scene.dead_letters().is_empty());
    stop(running).await;

    // A terminal gets no escape sequences from a stranger.
    let store = scene.store();
    let table = finish(&mut dormouse(&["quarantine", "list", "--store", store.to_str().unwrap()]));
    assert!(!table.stdout.contains(['\u{1b}', '\u{202e}']), "{}", table.stdout);
}

/// Waits until what is left in the queue has gone to the dead-letter queue. Time passes quickly meanwhile.
async fn given_up(scene: &Scene, running: &mut Running) -> Vec<String> {
    scene.drained_in_haste(running).await;
    let mut dead = scene.dead_letters();
    dead.sort();
    dead
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_on_poison_redrive_junk_ends_in_the_dead_letter_queue() {
    let mut scene = Scene::with_dead_letters(3).await;
    scene.set("source", "on_poison", "\"redrive\"");
    let mut junk = junk(40);
    let good = uses(3, 100);
    scene.send(&junk);
    scene.send(good.iter().map(Generated::eventbridge));
    let mut running = scene.run();
    let dead = given_up(&scene, &mut running).await;
    stop(running).await;

    junk.sort();
    assert_eq!(dead, junk);
    assert!(scene.quarantine().is_empty());
    assert_eq!(counted_uses(&scene), 100);
    assert!(scene.status()["records"]["malformed"].as_u64().unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_quarantine_is_full_the_rest_is_left_to_the_redrive_policy() {
    let mut scene = Scene::with_dead_letters(2).await;
    scene.set("store", "quarantine_bytes", "500");
    let junk = junk(100);
    scene.send(&junk);
    let mut running = scene.run();
    let dead = given_up(&scene, &mut running).await;
    let log = running.log();
    stop(running).await;

    let kept = scene.quarantine();
    let bytes: u64 = kept.iter().map(|message| message["bytes"].as_u64().unwrap()).sum();
    assert!(bytes <= 500 && bytes > 400, "{bytes} bytes are kept");
    assert_eq!(kept.len() + dead.len(), junk.len(), "each message is in one place");
    assert!(log.contains("quarantine is full"), "nobody is told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_envelope_that_speaks_for_another_account_is_refused() {
    let scene = Scene::new().await;
    let [honest, forged] = &uses(4, 2)[..] else { unreachable!() };
    let stranger = "999988887777".parse().unwrap();
    let forged_body = Generated { account: stranger, ..forged.clone() }.eventbridge();
    let running = swallow(&scene, &[honest.eventbridge(), forged_body]).await;
    stop(running).await;

    assert_eq!(counted_uses(&scene), 1);
    assert!(has_used(&scene, &honest.event_id) && !has_used(&scene, &forged.event_id));
    let kept = scene.quarantine();
    assert_eq!(kept.len(), 1, "{kept:#?}");
    assert_eq!(kept[0]["reason"], "envelope_account_mismatch");
    assert_eq!(kept[0]["event_id"], *forged.event_id);
    assert_eq!(kept[0]["retry_at"], Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_from_next_week_stays_in_the_quarantine() {
    let scene = Scene::new().await;
    let [today, next_week] = &uses(5, 2)[..] else { unreachable!() };
    let running = swallow(&scene, &[today.eventbridge(), at(next_week, 7 * 86_400)]).await;
    stop(running).await;

    assert_eq!(counted_uses(&scene), 1);
    assert!(!has_used(&scene, &next_week.event_id));
    let kept = scene.quarantine();
    assert_eq!(kept.len(), 1, "{kept:#?}");
    assert_eq!(kept[0]["reason"], "future");
    assert_eq!(kept[0]["retry_at"], Value::Null, "only a person can decide");
    assert_eq!(scene.status()["quarantine"]["messages"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_a_little_ahead_is_held_and_then_applied() {
    let mut scene = Scene::new().await;
    scene.set("ingest", "future_tolerance", &format!("\"{TOLERANCE}s\""));
    let [ahead, tolerated] = &uses(6, 2)[..] else { unreachable!() };
    scene.send([at(tolerated, 1)]);
    let mut running = scene.run();
    scene.drained(&mut running).await;
    assert!(has_used(&scene, &tolerated.event_id), "within the tolerance");

    // Far enough ahead to be looked at before its time.
    scene.send([at(ahead, TOLERANCE + 12)]);
    scene.drained(&mut running).await;
    let kept = scene.quarantine();
    assert_eq!(kept.len(), 1, "{kept:#?}");
    assert_eq!(kept[0]["reason"], "future");
    assert!(kept[0]["retry_at"].is_string(), "{kept:#?}");
    assert!(!has_used(&scene, &ahead.event_id));

    until("its time has come", || {
        running.assert_alive();
        when(has_used(&scene, &ahead.event_id), "still held")
    })
    .await;
    assert!(scene.quarantine().is_empty(), "it was let out");
    stop(running).await;
    assert_eq!(counted_uses(&scene), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_event_survives_a_restart() {
    let mut scene = Scene::new().await;
    scene.set("ingest", "future_tolerance", "\"2s\"");
    let [ahead] = &uses(7, 1)[..] else { unreachable!() };
    let running = swallow(&scene, &[at(ahead, TOLERANCE + 3)]).await;
    running.kill();

    let mut running = scene.run();
    until("its time has come", || {
        running.assert_alive();
        when(has_used(&scene, &ahead.event_id), "still held")
    })
    .await;
    stop(running).await;
    assert_eq!(counted_uses(&scene), 1);
}
