//! A queue that misbehaves in every way costs time and nothing else.

use std::time::Duration;

use dormouse_simulate::sqs::{Fault, Operation, QueueOptions};
use dormouse_tests::oracle;
use dormouse_tests::scene::Scene;
use dormouse_tests::traffic::{bodies, everything, write_lines};

const SEED: u64 = 11;
const EVENTS: usize = 5_000;

/// Sends everything to a queue for which `misbehave` has set faults, and expects the oracle's answer and an empty queue.
async fn survive(misbehave: impl FnOnce(&Scene)) -> Scene {
    let scene = Scene::with_queue(QueueOptions { reorder_window: 200, ..QueueOptions::default() }).await;
    misbehave(&scene);
    let bodies = bodies(SEED, &everything(SEED, EVENTS));
    let delivered = scene.folder.path().join("delivered.ndjson");
    write_lines(&delivered, &bodies);
    scene.send(&bodies);

    let mut running = scene.run();
    scene.drained_in_haste(&mut running).await;
    scene.double.faults().clear_all();
    let status = running.stop().await;
    assert!(status.success(), "{status}");
    let truth = oracle::truth(&[&delivered]);
    oracle::assert_same_keys(&truth["keys"], &scene.all_keys());
    scene
}

fn with(scene: &Scene, operations: &[Operation], fault: &Fault) {
    for operation in operations {
        scene.double.faults().set(*operation, fault.clone());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttling_and_outages_are_waited_out() {
    let fault = Fault { throttled: 0.2, internal_error: 0.1, unavailable: 0.1, ..Fault::default() };
    survive(|scene| with(scene, &Operation::ALL, &fault)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_connections_and_lost_answers_lose_nothing() {
    let fault = Fault { dropped: 0.1, answer_lost: 0.1, ..Fault::default() };
    let scene = survive(|scene| with(scene, &Operation::ALL, &fault)).await;
    assert!(scene.counters().redelivered > 0, "no answer of a receive was lost: {:?}", scene.counters());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_answers_are_waited_for() {
    let latency = Duration::from_millis(5)..=Duration::from_millis(200);
    let fault = Fault { latency, ..Fault::default() };
    survive(|scene| with(scene, &Operation::ALL, &fault)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletes_that_fail_in_part_are_made_good() {
    let fault = Fault { entry_failed: 0.3, delete_forgotten: 0.03, ..Fault::default() };
    let deletes = [Operation::DeleteMessage, Operation::DeleteMessageBatch];
    let scene = survive(|scene| with(scene, &deletes, &fault)).await;
    assert!(scene.counters().deletes_ignored > 0, "no delete was forgotten: {:?}", scene.counters());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicate_and_late_deliveries_count_once() {
    let scene = survive(|scene| {
        with(scene, &[Operation::ReceiveMessage], &Fault { duplicated: 0.2, ..Fault::default() });
        let late = Fault { late: 0.1, lateness: Duration::from_secs(30), ..Fault::default() };
        with(scene, &[Operation::SendMessage], &late);
    })
    .await;
    assert!(scene.counters().duplicated > 0, "nothing came twice: {:?}", scene.counters());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_is_gone_for_a_while_is_found_again() {
    survive(|scene| {
        let gone = Fault { queue_gone: true, requests: Some(3), ..Fault::default() };
        with(scene, &[Operation::GetQueueAttributes], &gone);
        let down = Fault { unavailable: 1.0, requests: Some(5), ..Fault::default() };
        with(scene, &[Operation::ReceiveMessage, Operation::DeleteMessageBatch], &down);
    })
    .await;
}
