//! The server of a running instance: it listens, says whether all is well, and answers what the store answers.

use std::io::{Read, Write};
use std::net::TcpStream;

use dormouse_simulate::sqs::{Fault, Operation};
use dormouse_tests::scene::Scene;
use dormouse_tests::traffic::{bodies, everything};
use dormouse_tests::wait::{until, when};
use serde_json::Value;

/// Status and body of a GET.
fn get(url: &str, path: &str) -> (u16, String) {
    let place = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(place).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn get_json(url: &str, path: &str) -> Value {
    let (status, body) = get(url, path);
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_instance_answers_what_its_store_answers() {
    let scene = Scene::new().await;
    let mut running = scene.run();
    let url = running.url().await;
    assert_eq!(get(&url, "/healthz").0, 200);
    until("it is ready", || {
        let (status, body) = get(&url, "/readyz");
        if status == 200 { Ok(()) } else { Err(body) }
    })
    .await;
    let records = everything(7, 2_000);
    scene.send(bodies(7, &records));
    scene.drained(&mut running).await;

    let page = get_json(&url, "/api/v1/keys?sort=arn&limit=1000");
    assert_eq!(page["next"], Value::Null);
    assert_eq!(page["keys"].as_array().unwrap().len(), scene.keys().len());
    let status = get_json(&url, "/api/v1/status");
    assert_eq!(status["instance"]["ready"], true);
    assert_eq!(status["records"], scene.status()["records"]);
    assert!(status["instance"]["sources"][0]["deleted"].as_u64().unwrap() > 0);
    assert!(running.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_stops_the_start_and_names_the_setting() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut scene = Scene::new().await;
    scene.set("http", "listen", &format!("\"{}\"", taken.local_addr().unwrap()));
    let mut running = scene.run();
    assert_eq!(running.wait().await.code(), Some(1));
    let log = running.log();
    assert!(log.contains("[http] listen") && log.contains(&taken.local_addr().unwrap().to_string()), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_instance_says_so_until_it_ends() {
    let mut scene = Scene::new().await;
    scene.set("ingest", "shutdown_grace", "\"3s\"");
    // What cannot be deleted keeps the drain waiting for its whole grace.
    let down = Fault { unavailable: 1.0, ..Fault::default() };
    scene.double.faults().set(Operation::DeleteMessageBatch, down);
    let mut running = scene.run();
    let url = running.url().await;
    scene.send(bodies(8, &everything(8, 50)));
    until("it has received everything", || when(scene.counters().visible == 0, scene.counters())).await;
    let stopping = tokio::spawn(running.stop());
    until("it says that it drains", || {
        let (status, body) = get(&url, "/readyz");
        if status == 503 && body.contains("\"draining\"") { Ok(()) } else { Err(body) }
    })
    .await;
    assert_eq!(get(&url, "/healthz").0, 200);
    assert!(stopping.await.unwrap().success());
}
