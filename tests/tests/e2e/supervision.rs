//! Several sources in one process: one that fails is told, with what to do, and stops no other.

use dormouse_simulate::kinesis::{KinesisDouble, KinesisOptions, StreamOptions};
use dormouse_simulate::sqs::QueueOptions;
use dormouse_tests::http;
use dormouse_tests::program::Running;
use dormouse_tests::scene::Scene;
use dormouse_tests::traffic::{bodies, everything};
use dormouse_tests::wait::{eventually, until, when};
use serde_json::Value;

/// What `/readyz` says.
async fn readiness(url: &str) -> Value {
    let answer = http::get(&format!("{url}/readyz")).await.unwrap();
    let document: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(document["ready"] == true, answer.status == 200, "{}", answer.body);
    document
}

/// The codes and details of what is wrong with this source.
fn reasons(document: &Value, source: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let all = document["reasons"].as_array().unwrap().iter();
    let own = all.filter(|reason| reason["source"] == source);
    own.map(|reason| (text(&reason["code"]), text(&reason["detail"]))).collect()
}

async fn is_up(url: &str, source: &str) -> bool {
    let metrics = http::get(&format!("{url}/metrics")).await.unwrap().body;
    let series = format!("dormouse_source_up{{source=\"{source}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&series));
    line.unwrap_or_else(|| panic!("no {series}")) == "1"
}

/// Waits until this is wrong with the source, and nothing else is wrong with anything.
async fn until_wrong(running: &mut Running, url: &str, source: &str, code: &str) -> String {
    eventually("the source is told to be in trouble", async || {
        running.assert_alive();
        let document = readiness(url).await;
        let found = reasons(&document, source);
        let others = document["reasons"].as_array().unwrap().len() - found.len();
        match found.as_slice() {
            [(found, detail)] if found == code && others == 0 => Ok(detail.clone()),
            _ => Err(document),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_is_gone_stops_no_other_and_is_read_when_it_is_back() {
    let mut scene = Scene::new().await;
    let second = scene.add_queue("second", QueueOptions::default());
    let mut running = scene.run();
    let url = running.url().await;
    eventually("both sources are at work", async || {
        let document = readiness(&url).await;
        if document["ready"] == true { Ok(()) } else { Err(document) }
    })
    .await;

    scene.double.remove_queue(&second).unwrap();
    let detail = until_wrong(&mut running, &url, "second", "source_trouble").await;
    assert!(detail.contains("check the source's queue_url"), "{detail}");
    assert!(!detail.contains("127.0.0.1"), "nothing that comes from elsewhere: {detail}");
    assert!(!is_up(&url, "second").await && is_up(&url, "bus").await);
    let told = running
        .log()
        .lines()
        .filter(|line| line.contains("source=\"second\"") || line.contains("source=second"))
        .count();
    assert!(told > 0, "{}", running.log());

    // The other goes on.
    scene.send(bodies(41, &everything(41, 500)));
    scene.drained(&mut running).await;

    let again = scene.double.create_queue("second", QueueOptions::default());
    assert_eq!(again, second);
    scene.double.send_many(&second, bodies(42, &everything(42, 200))).unwrap();
    until("the queue that is back is read", || {
        running.assert_alive();
        let counters = scene.double.counters(&second).unwrap();
        when(counters.visible + counters.in_flight + counters.delayed == 0, counters)
    })
    .await;
    eventually("nothing is wrong any more", async || {
        let document = readiness(&url).await;
        if document["ready"] == true { Ok(()) } else { Err(document) }
    })
    .await;
    assert!(is_up(&url, "second").await);
    assert!(running.log().contains("works again"), "{}", running.log());
    assert!(running.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_cannot_be_made_is_told_with_what_to_do_and_stops_no_other() {
    let mut scene = Scene::new().await;
    scene.add(
        "[[sources]]\nname = \"lost\"\ntype = \"kinesis\"\nstream = \"dormouse\"\nregion = \"no such region\"",
    );
    let mut running = scene.run();
    let url = running.url().await;
    scene.send(bodies(43, &everything(43, 500)));
    scene.drained(&mut running).await;
    let detail = until_wrong(&mut running, &url, "lost", "source_failed").await;
    assert!(detail.contains("region") && !detail.contains("no such"), "{detail}");
    assert!(!is_up(&url, "lost").await && is_up(&url, "bus").await);

    let status: Value =
        serde_json::from_str(&http::get(&format!("{url}/api/v1/status")).await.unwrap().body).unwrap();
    let lost = &status["instance"]["sources"][1];
    assert_eq!(
        (&lost["name"], &lost["type"], &lost["state"]),
        (&"lost".into(), &"kinesis".into(), &"failed".into())
    );
    assert!(lost["trouble"][0].as_str().unwrap().contains("no such region"), "{lost:#}");
    let log = running.log();
    let told = log.lines().filter(|line| line.contains("not at work, and tried again by itself")).count();
    assert_eq!(told, 1, "the same again is no news: {log}");
    let stopped = running.stop().await;
    assert!(stopped.success(), "{stopped}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_and_a_queue_are_read_side_by_side_and_on_from_where_they_were_left() {
    let kinesis = KinesisDouble::start(KinesisOptions::default()).await.unwrap();
    kinesis.create_stream("dormouse", 2, StreamOptions::default());
    let mut scene = Scene::new().await;
    let endpoint = kinesis.endpoint().to_owned();
    scene.add(&format!(
        "[[sources]]\nname = \"flow\"\ntype = \"kinesis\"\nstream = \"dormouse\"\nregion = \"eu-west-1\"\n\
         endpoint_url = {endpoint:?}\nstart = \"trim_horizon\"\npoll_interval = \"100ms\""
    ));
    let all = bodies(44, &everything(44, 1_000));
    let (queued, streamed) = all.split_at(all.len() / 2);
    let put = |bodies: &[String]| {
        for (number, body) in bodies.iter().enumerate() {
            kinesis.put("dormouse", &number.to_string(), body.as_bytes()).unwrap();
        }
    };
    let (first, later) = streamed.split_at(streamed.len() / 2);
    put(first);
    scene.send(queued);

    let acknowledged = async |url: &str| {
        let body = http::get(&format!("{url}/api/v1/status")).await.unwrap().body;
        let status: Value = serde_json::from_str(&body).unwrap();
        let flow = status["instance"]["sources"][1].clone();
        (flow["stream"]["acknowledged"].as_u64().unwrap(), flow)
    };
    let mut running = scene.run();
    let url = running.url().await;
    scene.drained(&mut running).await;
    eventually("the stream was read", async || {
        let (count, flow) = acknowledged(&url).await;
        if count == first.len() as u64 { Ok(()) } else { Err(flow) }
    })
    .await;
    let metrics = http::get(&format!("{url}/metrics")).await.unwrap().body;
    for series in [
        "dormouse_source_shards{source=\"flow\",state=\"open\"} 2\n",
        "dormouse_source_behind_seconds{source=\"flow\"} ",
    ] {
        assert!(metrics.contains(series), "{series}");
    }
    assert!(running.stop().await.success());

    put(later);
    let mut running = scene.run();
    let url = running.url().await;
    eventually("the rest of the stream was read", async || {
        running.assert_alive();
        let (count, flow) = acknowledged(&url).await;
        if count >= later.len() as u64 { Ok(flow) } else { Err(flow) }
    })
    .await;
    let (count, flow) = acknowledged(&url).await;
    assert_eq!(count, later.len() as u64, "nothing is read again: {flow:#}");
    assert!(running.stop().await.success());
    let records = &scene.status()["records"];
    assert!(records["uses"].as_u64().unwrap() > 0, "{records:#}");
    kinesis.stop().await;
}
