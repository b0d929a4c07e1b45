//! `kill -9` at any instant: nothing is lost, nothing counts twice.
//!
//! The queue delivers more than once by itself, hands messages out again although they are in flight, and gives back
//! what a killed process held once its visibility timeout has passed. The process is killed while it receives, seals,
//! commits, deletes and folds, and whenever it is started again it has to find its way from what is on disk.

use std::path::PathBuf;

use dormouse_simulate::sqs::{Fault, Operation, QueueOptions};
use dormouse_tests::oracle;
use dormouse_tests::scene::Scene;
use dormouse_tests::traffic::{bodies, everything, write_lines};
use dormouse_tests::wait::{alone, until, when};
use serde_json::{Value, json};

const EVENTS: usize = 100_000;
const KILLS: u64 = 20;

/// Sends the traffic, kills the program again and again, and lets it finish. Returns what the oracle makes of the
/// messages, and what the program says.
async fn killed_again_and_again(seed: u64, id_window: Option<u32>) -> (Scene, Value) {
    let mut scene = Scene::with_queue(QueueOptions { reorder_window: 100, ..QueueOptions::default() }).await;
    // Tables are written all the time, so that kills meet that as well.
    scene.set("ingest", "fold_interval", "\"200ms\"");
    scene.set("ingest", "epoch_interval", "\"50ms\"");
    if let Some(bound) = id_window {
        scene.set("ingest", "id_window", &bound.to_string());
    }
    let faults = scene.double.faults();
    faults.set(Operation::ReceiveMessage, Fault { duplicated: 0.02, ..Fault::default() });
    faults.set(
        Operation::DeleteMessageBatch,
        Fault { delete_forgotten: 0.005, answer_lost: 0.005, ..Fault::default() },
    );

    let messages = send_traffic(&scene, seed);
    let mut random = fastrand::Rng::with_seed(seed);
    let mean = messages / (KILLS + 2);
    for number in 1..=KILLS {
        let mut running = scene.run();
        // From at once, while it still recovers, to some way into the work.
        let instant = scene.counters().deleted + random.u64(0..mean * 2 * 9 / 10);
        until("it has done some work", || {
            running.assert_alive();
            let counters = scene.counters();
            when(counters.deleted >= instant, counters)
        })
        .await;
        running.kill();
        let counters = scene.counters();
        eprintln!(
            "seed {seed}: kill {number} after {} deletes, {} in flight",
            counters.deleted, counters.in_flight
        );
        assert!(scene.waiting() > 0, "everything was done before kill {number}; the test is too small");
    }
    let mut running = scene.run();
    scene.drained(&mut running).await;
    assert!(running.stop().await.success());
    assert!(scene.counters().redelivered > 0, "a killed process held nothing: {:?}", scene.counters());
    let truth = oracle::truth(&[&delivered(&scene)]);
    (scene, truth)
}

fn delivered(scene: &Scene) -> PathBuf {
    scene.folder.path().join("delivered.ndjson")
}

fn send_traffic(scene: &Scene, seed: u64) -> u64 {
    let records = everything(seed, EVENTS);
    assert!(records.iter().any(|record| record.shared_id.is_some()), "there are no cross-account pairs");
    let bodies = bodies(seed, &records);
    write_lines(&delivered(scene), &bodies);
    scene.send(&bodies);
    bodies.len() as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_nothing_counts_twice() {
    let _machine = alone().await;
    let (scene, truth) = killed_again_and_again(20_261, None).await;
    oracle::assert_same_keys(&truth["keys"], &scene.all_keys());
    let status = scene.status();
    for counted in ["uses", "attempts", "changes"] {
        assert_eq!(status["records"][counted], truth["records"][counted], "{counted}: {status:#}");
        assert_eq!(status["late_uncounted"][counted], 0, "{status:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_short_memory_for_ids_evidence_is_exact_and_missing_counts_are_explained() {
    let _machine = alone().await;
    let (scene, truth) = killed_again_and_again(20_262, Some(10_000)).await;
    let found = json!({ "keys": scene.all_keys() });
    let evidence = ["arn", "last_use", "last_attempt", "state", "aliases", "tags", "created"];
    oracle::assert_none(&oracle::differences(&truth["keys"], &found["keys"], &evidence));
    assert_wanted_times(&truth["keys"], &found["keys"]);

    let status = scene.status();
    for counted in ["uses", "attempts", "changes"] {
        let missing = assert_never_above(&truth["keys"], &found["keys"], counted);
        let late = status["late_uncounted"][counted].as_u64().unwrap();
        eprintln!("{counted}: {missing} missing, {late} late");
        assert!(missing <= late, "{missing} {counted} are missing and only {late} explained");
    }
}

/// When a key was wanted is evidence, how often is a count.
fn assert_wanted_times(truth: &Value, found: &Value) {
    let (truth, found) = (oracle::by_arn(truth), oracle::by_arn(found));
    for (arn, expected) in truth {
        for member in ["since", "last"] {
            assert_eq!(found[&arn]["wanted"][member], expected["wanted"][member], "{arn} wanted {member}");
        }
    }
}

/// How many of a count are missing over all keys; none may have too many.
fn assert_never_above(truth: &Value, found: &Value, counted: &str) -> u64 {
    let (truth, found) = (oracle::by_arn(truth), oracle::by_arn(found));
    let mut missing = 0;
    for (arn, expected) in truth {
        let (expected, counted) =
            (expected[counted].as_u64().unwrap(), found[&arn][counted].as_u64().unwrap());
        assert!(counted <= expected, "{arn}: {counted} counted, {expected} happened");
        missing += expected - counted;
    }
    missing
}
