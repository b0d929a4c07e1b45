//! SIGTERM is an orderly end: what was received is committed and deleted, and a restart goes on from there.

use dormouse_simulate::records::Mix;
use dormouse_tests::oracle;
use dormouse_tests::scene::Scene;
use dormouse_tests::traffic::{bodies, everything, records, write_lines};
use dormouse_tests::wait::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_amid_the_work_leaves_nothing_half_done() {
    let scene = Scene::new().await;
    // One use a message and no duplicates, so that messages can be counted in the store.
    let records = records(1, 20_000, Mix::only(&[("Decrypt", 1)]));
    scene.send(
        records
            .iter()
            .map(dormouse_simulate::records::Generated::eventbridge),
    );
    let mut running = scene.run();
    until("some are deleted", || {
        running.assert_alive();
        if scene.counters().deleted > 2_000 {
            Ok(())
        } else {
            Err(scene.counters())
        }
    })
    .await;
    let status = running.stop().await;
    let counters = scene.counters();
    assert_eq!(status.code(), Some(0));
    assert!(
        counters.visible > 0,
        "it was stopped too late to show anything: {counters:?}"
    );
    assert_eq!(
        counters.in_flight, 0,
        "messages were left in flight: {counters:?}"
    );
    assert_eq!(
        scene.status()["records"]["uses"],
        counters.deleted,
        "what was committed was deleted: {counters:?}"
    );

    let mut again = scene.run();
    scene.drained(&mut again).await;
    assert!(again.stop().await.success());
    assert_eq!(scene.status()["records"]["uses"], 20_000);
    assert_eq!(
        scene.counters().redelivered,
        0,
        "a message was received and given back"
    );
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
    oracle::assert_same_keys(&truth["keys"], &scene.ask(&["keys"])["keys"]);
    for counted in [
        "read",
        "kms",
        "uses",
        "attempts",
        "changes",
        "duplicates",
        "quarantined",
        "malformed",
    ] {
        assert_eq!(
            scene.status()["records"][counted],
            truth["records"][counted],
            "{counted}"
        );
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
        let polls = scene
            .double
            .requests(dormouse_simulate::sqs::Operation::ReceiveMessage);
        if polls > 0 { Ok(()) } else { Err(polls) }
    })
    .await;
    let before = tokio::time::Instant::now();
    assert!(running.stop().await.success());
    // A long poll takes twenty seconds; nobody waits for its end.
    assert!(before.elapsed().as_secs() < 15, "{:?}", before.elapsed());
}
