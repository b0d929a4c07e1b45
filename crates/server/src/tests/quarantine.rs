//! Messages that could not be applied, looked at, tried again and dropped.

use super::house::House;

#[test]
fn messages_are_listed_in_pages_shown_tried_again_and_dropped() {
    let house = House::new();
    house.submit((0..5).map(|n| format!("not JSON <b>{n}")));
    let page = house.json("/api/v1/quarantine?limit=2");
    assert_eq!(page["messages"].as_array().unwrap().len(), 2);
    let next = page["next"].as_i64().unwrap();
    let rest = house.json(&format!("/api/v1/quarantine?after={next}"));
    assert_eq!(rest["messages"].as_array().unwrap().len(), 3);
    assert_eq!(rest["next"], serde_json::Value::Null);

    let first = &page["messages"][0];
    let id = first["id"].as_i64().unwrap();
    assert_eq!(&house.json(&format!("/api/v1/quarantine/{id}")), first);
    let body = house.get(&format!("/api/v1/quarantine/{id}/body"));
    assert!(body.text().starts_with("not JSON"));
    assert_eq!(body.header("content-type"), Some("application/octet-stream"));
    assert!(body.header("content-disposition").unwrap().starts_with("attachment"));
    assert_eq!(body.header("x-content-type-options"), Some("nosniff"));

    let retried = house.request("POST", &format!("/api/v1/quarantine/{id}/retry"), &[]);
    assert_eq!((retried.status, retried.json()["outcome"].as_str()), (200, Some("refused")));
    assert_eq!(retried.json()["reason"], first["reason"]);
    let dropped = house.request("DELETE", &format!("/api/v1/quarantine/{id}"), &[]);
    assert_eq!((dropped.status, dropped.json()["outcome"].as_str()), (200, Some("dropped")));
    let again = house.request("DELETE", &format!("/api/v1/quarantine/{id}"), &[]);
    assert_eq!((again.status, again.code().as_str()), (404, "no_such_message"));
    assert_eq!(house.json("/api/v1/quarantine")["messages"].as_array().unwrap().len(), 4);

    house.until("the count has seen it", || {
        house.get("/metrics").text().contains("dormouse_quarantine_messages 4\n")
    });
}

#[test]
fn a_message_from_the_future_is_applied_when_its_time_has_come() {
    let house = House::new();
    house.submit([r#"{"eventVersion":"1.08","eventSource":"kms.amazonaws.com","eventName":"Decrypt","eventTime":"2026-11-12T00:30:00Z","awsRegion":"eu-west-1","recipientAccountId":"111122223333","eventID":"e1","resources":[{"ARN":"arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab","accountId":"111122223333","type":"AWS::KMS::Key"}]}"#]);
    let page = house.json("/api/v1/quarantine");
    let id = page["messages"][0]["id"].as_i64().unwrap();
    assert_eq!(house.json("/api/v1/keys")["total"], 0);
    house.clock.advance(3_600);
    let retried = house.request("POST", &format!("/api/v1/quarantine/{id}/retry"), &[]);
    // The pipeline may have tried it by itself a moment before.
    assert!(retried.status == 404 || retried.json()["outcome"] == "applied", "{retried:?}");
    assert_eq!(house.json("/api/v1/keys")["total"], 1);
    assert_eq!(house.json("/api/v1/quarantine")["messages"].as_array().unwrap().len(), 0);
}

#[test]
fn while_commits_are_refused_nothing_is_changed() {
    let house = House::new();
    house.submit(["not JSON"]);
    house.shut(true);
    house.submit_only(["not JSON either"]);
    house.until("commits are paused", || house.instance.progress.is_paused());
    let refused = house.request("DELETE", "/api/v1/quarantine/1", &[]);
    assert_eq!((refused.status, refused.code().as_str()), (503, "commits_paused"));
    assert!(refused.header("retry-after").is_some());
    house.shut(false);
    let kept = || house.json("/api/v1/quarantine")["messages"].as_array().unwrap().len();
    house.until("the other message is kept, too", || kept() == 2);
}
