//! SIGTERM is an orderly end: what was received is committed and deleted, and a restart goes on from there.

use dormouse_simulate::records::{Generated, Mix};
use dormouse_simulate::sqs::{Fault, Operation};
use dormouse_tests::oracle;
use dormouse_tests::scene::Scene;
use dormouse_tests::traffic::{bodies, everything, records, write_lines};
use dormouse_tests::wait::{until, when};
use tokio::time::Instant;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_amid_the_work_leaves_nothing_half_done() {
    let scene = Scene::new().await;
    // One use a message and no duplicates, so that messages can be counted in the store.
    let records = records(1, 20_000, Mix::only(&[("Decrypt", 1)]));
    scene.send(records.iter().map(Generated::eventbridge));
    let mut running = scene.run();
    until("some are deleted", || {
        running.assert_alive();
        when(scene.counters().deleted > 2_000, scene.counters())
    })
    .await;
    let status = running.stop().await;
    let counters = scene.counters();
    assert_eq!(status.code(), Some(0));
    assert!(counters.visible > 0, "it was stopped too late to show anything: {counters:?}");
    assert_eq!(counters.in_flight, 0, "messages were left in flight: {counters:?}");
    assert_eq!(
        scene.status()["records"]["uses"],
        counters.deleted,
        "what was committed was deleted: {counters:?}"
    );

    let mut again = scene.run();
    scene.drained(&mut again).await;
    assert!(again.stop().await.success());
    assert_eq!(scene.status()["records"]["uses"], 20_000);
    assert_eq!(scene.counters().redelivered, 0, "a message was received and given back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_change_nothing_about_the_answer() {
    let scene = Scene::new().await;
    let bodies = bodies(7, &everything(7, 6_000));
    let delivered = scene.folder.path().join("delivered.ndjson");
    write_lines(&delivered, &bodies);
    for part in bodies.chunks(bodies.len() / 3 + 1) {
        scene.send(part);
        let mut running = scene.run();
        scene.drained(&mut running).await;
        assert!(running.stop().await.success());
    }
    let truth = oracle::truth(&[&delivered]);
    oracle::assert_same_keys(&truth["keys"], &scene.all_keys());
    for counted in ["read", "kms", "uses", "attempts", "changes", "duplicates", "quarantined", "malformed"] {
        assert_eq!(scene.status()["records"][counted], truth["records"][counted], "{counted}");
    }
}

#[tokio::test]
async fn a_stop_while_waiting_for_messages_is_quick_and_clean() {
    let mut scene = Scene::new().await;
    scene.set("source", "wait_time", "\"20s\"");
    scene.set("source", "visibility_timeout", "\"60s\"");
    let mut running = scene.run();
    until("it polls", || {
        running.assert_alive();
        let polls = scene.double.requests(Operation::ReceiveMessage);
        when(polls > 0, polls)
    })
    .await;
    let before = Instant::now();
    assert!(running.stop().await.success());
    // A long poll takes twenty seconds; nobody waits for its end.
    assert!(before.elapsed().as_secs() < 15, "{:?}", before.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_while_the_queue_is_down_ends_within_the_grace_and_loses_nothing() {
    let mut scene = Scene::new().await;
    scene.set("ingest", "shutdown_grace", "\"2s\"");
    let bodies = bodies(8, &everything(8, 3_000));
    let delivered = scene.folder.path().join("delivered.ndjson");
    write_lines(&delivered, &bodies);
    // What comes in is committed, but nothing can be deleted any more.
    let down = Fault { unavailable: 1.0, ..Fault::default() };
    scene.double.faults().set(Operation::DeleteMessageBatch, down.clone());
    scene.send(&bodies);
    let mut running = scene.run();
    until("it has received everything", || {
        running.assert_alive();
        when(scene.counters().visible == 0, scene.counters())
    })
    .await;
    scene.double.faults().set_all(&down);
    let before = Instant::now();
    let status = running.stop().await;
    assert_eq!(status.code(), Some(0));
    assert!(before.elapsed().as_secs() < 40, "{:?}", before.elapsed());
    assert_eq!(scene.counters().deleted, 0);

    // All of it comes again, and counts once.
    scene.double.faults().clear_all();
    let mut again = scene.run();
    scene.drained_in_haste(&mut again).await;
    assert!(again.stop().await.success());
    let truth = oracle::truth(&[&delivered]);
    oracle::assert_same_keys(&truth["keys"], &scene.all_keys());
}
