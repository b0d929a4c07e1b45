//! Readiness says what does not work.

use dormouse_aws::{ErrorClass, Failure};
use dormouse_sources::health::{Phase, SourceHealth, Trouble, Work};

use super::house::{House, records};
use crate::api::ReadinessDocument;
use crate::{SourceFailure, SourceState, Stage};

fn codes(house: &House) -> (u16, Vec<String>) {
    let answer = house.get("/readyz");
    let document: ReadinessDocument = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(document.ready, answer.status == 200);
    assert_eq!(document.ready, document.reasons.is_empty());
    (answer.status, document.reasons.into_iter().map(|reason| reason.code).collect())
}

#[test]
fn every_reason_is_told_and_goes_away() {
    let house = House::new();
    assert_eq!(codes(&house), (503, vec!["source_starting".to_owned()]));
    house.health.send_modify(|health| health.phase = Phase::Running);
    assert_eq!(codes(&house), (200, vec![]));

    let denied = Failure {
        class: ErrorClass::Denied,
        action: "sqs:ReceiveMessage",
        code: Some("AccessDenied".into()),
        message: "a secret ARN".into(),
        request_id: None,
    };
    house.health.send_modify(|health| {
        let trouble = Trouble { failure: denied, advice: "grant it".into() };
        health.troubles.insert(Work::Receive, trouble);
    });
    assert_eq!(codes(&house), (503, vec!["source_trouble".to_owned()]));
    let told = house.get("/readyz").text().to_owned();
    assert!(told.contains("denied; grant it") && !told.contains("secret"), "{told}");
    let status = house.json("/api/v1/status");
    assert!(status["instance"]["sources"][0]["trouble"][0].as_str().unwrap().contains("a secret ARN"));
    assert_eq!(status["instance"]["ready"], false);
    house.health.send_replace(SourceHealth { phase: Phase::Running, ..SourceHealth::default() });
    assert_eq!(codes(&house).0, 200);

    let failed =
        SourceFailure { advice: "set its region", detail: "a secret path".into(), at: super::house::now() };
    house.instance.sources.fail("bus", failed);
    assert_eq!(codes(&house), (503, vec!["source_failed".to_owned()]));
    let told = house.get("/readyz").text().to_owned();
    assert!(told.contains("set its region") && !told.contains("secret"), "{told}");
    assert!(house.get("/metrics").text().contains("dormouse_source_up{source=\"bus\"} 0\n"));
    let source = house.json("/api/v1/status")["instance"]["sources"][0].clone();
    assert_eq!(
        (&source["state"], &source["trouble"][0]),
        (&"failed".into(), &"a secret path; set its region".into())
    );
    // Taken up again.
    let state = house.instance.sources.all().remove(0);
    house.instance.sources.show(SourceState { failure: None, ..state });
    assert_eq!(codes(&house).0, 200);

    house.shut(true);
    house.submit_only(records(1, 10).iter().map(dormouse_simulate::records::Generated::eventbridge));
    house.until("commits are paused", || codes(&house) == (503, vec!["commits_paused".to_owned()]));
    assert!(house.get("/metrics").text().contains("dormouse_store_paused 1\n"));
    house.shut(false);
    house.until("commits succeed again", || codes(&house).0 == 200);

    house.instance.lifecycle.enter(Stage::Draining);
    assert_eq!(codes(&house), (503, vec!["draining".to_owned()]));
    house.instance.lifecycle.enter(Stage::Stopped);
    assert_eq!(codes(&house), (503, vec!["stopped".to_owned()]));
    assert_eq!(house.get("/healthz").status, 200);
}

#[test]
fn the_status_tells_about_the_process() {
    let house = House::filled(200);
    house.clock.advance(90);
    let status = house.json("/api/v1/status");
    let instance = &status["instance"];
    assert_eq!(instance["version"], "1.2.3");
    assert_eq!(instance["uptime_seconds"], 90);
    assert!(instance["epochs"].as_u64().unwrap() > 0);
    assert!(instance["lag_seconds"].as_u64().unwrap() > 0, "the records are days old");
    assert!(status["keys"].as_u64().unwrap() > 0);
}
