//! What was received from an account: a downtime is a hole only if it was longer than what the queue keeps.

use std::time::Duration;

use dormouse_simulate::sqs::QueueOptions;
use dormouse_tests::program::{ask, dormouse, finish};
use dormouse_tests::scene::Scene;
use dormouse_tests::traffic::{bodies, everything};
use dormouse_tests::wait::{until, when};
use serde_json::Value;
use tokio::time::Instant;

/// Runs until the queue is empty.
async fn one_life(scene: &Scene) {
    let mut running = scene.run();
    running.url().await;
    scene.drained(&mut running).await;
    assert!(running.stop().await.success());
}

/// What was received through the one source, a place each.
fn received(known: &Value) -> Vec<&Value> {
    let accounts = known["accounts"].as_array().unwrap().iter();
    let regions = accounts.flat_map(|account| account["regions"].as_array().unwrap());
    regions.flat_map(|region| region["received"].as_array().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_downtime_within_the_retention_leaves_no_hole_and_a_longer_one_does() {
    let mut scene = Scene::new().await;
    scene.send(bodies(51, &everything(51, 800)));
    one_life(&scene).await;
    one_life(&scene).await;
    let known = scene.ask(&["accounts"]);
    let source = &known["sources"][0];
    assert_eq!(
        (&source["source"], &source["retention_seconds"]),
        (&"bus".into(), &345_600.into()),
        "{source:#}"
    );
    assert!(source["until"].is_string(), "{source:#}");
    let places = received(&known);
    assert!(places.len() > 3, "{known:#}");
    for place in &places {
        assert_eq!(place["holes"], Value::Array(Vec::new()), "{place:#}");
        assert_eq!(place["spans"].as_array().unwrap().len(), 1, "{place:#}");
    }

    // The same source at a queue that keeps next to nothing: while nobody is there, something may be lost.
    let options = QueueOptions { retention_seconds: 1, ..QueueOptions::default() };
    let queue = scene.double.create_queue("forgetful", options);
    scene.set("source", "queue_url", &format!("{queue:?}"));
    let downtime = Instant::now();
    until("nobody was there for some seconds", || when(downtime.elapsed() > Duration::from_secs(4), ()))
        .await;
    let mut running = scene.run();
    let url = running.url().await;
    until("it has looked at the queue", || when(running.log().contains("the queue answers"), running.log()))
        .await;
    assert!(running.stop().await.success());
    let known = scene.ask(&["accounts"]);
    let holes = known["sources"][0]["holes"].as_array().unwrap();
    assert!(!holes.is_empty(), "{known:#}");
    assert!(holes[0]["reason"].as_str().unwrap().contains("retention"), "{holes:#?}");
    assert!(received(&known).iter().all(|place| !place["holes"].as_array().unwrap().is_empty()), "{known:#}");

    // The table says so, too, as wide as a terminal is.
    let store = scene.store();
    let shown = finish(&mut dormouse(&["accounts", "--store", store.to_str().unwrap()]));
    assert_eq!(shown.code(), 0, "{shown:#?}");
    assert!(shown.stdout.contains("hole of bus:") && shown.stdout.contains("RECEIVED"), "{}", shown.stdout);
    drop(url);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_and_its_store_say_the_same() {
    let mut scene = Scene::new().await;
    scene.add("[[history.declared]]\naccounts = [\"999988887777\"]\nregions = [\"eu-west-1\"]\nfrom = \"2026-01-01\"\nto = \"2026-01-31\"");
    scene.send(bodies(52, &everything(52, 800)));
    let mut running = scene.run();
    let url = running.url().await;
    scene.drained(&mut running).await;
    let config = scene.configuration();
    let (config, store) = (config.to_str().unwrap(), scene.store());
    let both = |filter: &[&str]| {
        let say = |place: &[&str]| {
            ask(&[&["accounts", "--config", config, "--output", "json"], place, filter].concat())["accounts"]
                .clone()
        };
        let by_url = say(&["--url", &url]);
        assert_eq!(by_url, say(&["--store", store.to_str().unwrap()]), "{filter:?}");
        by_url.as_array().unwrap().clone()
    };
    let all = both(&[]);
    assert!(all.len() > 2, "{all:#?}");
    let name = all[0]["account"].as_str().unwrap();
    assert_eq!(both(&["--account", name]), all[..1]);
    assert!(
        both(&["--region", "us-east-1"])
            .iter()
            .all(|account| account["regions"].as_array().unwrap().len() == 1)
    );
    let declared = both(&["--account", "999988887777"]);
    assert_eq!(declared[0]["regions"][0]["history"]["covered"][0]["by"], "declared");
    assert_eq!(finish(&mut dormouse(&["accounts", "--url", &url, "--account", "12"])).code(), 64);
    assert!(running.stop().await.success());
}
