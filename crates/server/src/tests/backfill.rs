//! History is read by request: one job at a time, and what became of each can be asked.

use dormouse_simulate::records::layout::{LayoutOptions, lay_out, write_to_folder};
use serde_json::{Value, json};

use super::house::{House, records};

/// A folder laid out as a trail's bucket, with the records of one day, and one of its accounts.
fn trail(house: &House) -> (String, String) {
    let root = house.folder.path().join("trail");
    let all = records(1, 4_000);
    let of_day: Vec<_> =
        all.iter().filter(|record| record.time.to_string().starts_with("2026-11-05")).collect();
    let account = of_day[0].account.to_string();
    write_to_folder(&root, &lay_out(of_day, &LayoutOptions::default())).unwrap();
    (root.to_str().unwrap().to_owned(), account)
}

fn finished(house: &House, id: u64) -> Value {
    let job = || house.json(&format!("/api/v1/backfill/{id}"));
    house.until("the job has ended", || job()["state"] != "running");
    job()
}

#[test]
fn a_job_is_started_watched_and_remembered() {
    let house = House::new();
    let (local, account) = trail(&house);
    let body = json!({ "local": local, "from": "2026-11-05", "to": "2026-11-05" }).to_string();
    let started = house.post("/api/v1/backfill", &body);
    assert_eq!(started.status, 202, "{started:?}");
    assert_eq!(started.header("location"), Some("/api/v1/backfill/1"));
    assert_eq!(started.json()["request"]["concurrency"], 3, "what is configured");

    let job = finished(&house, 1);
    assert_eq!(job["state"], "done", "{job:#}");
    assert!(job["kms_records"].as_u64().unwrap() > 0, "{job:#}");
    let listed = house.json("/api/v1/backfill");
    assert_eq!(listed["running"], Value::Null);
    assert_eq!(listed["jobs"][0]["id"], 1);
    let known = house.json(&format!("/api/v1/accounts?account={account}"));
    let days = &known["accounts"][0]["regions"][0]["history"]["days"];
    assert_eq!(*days, json!([{ "from": "2026-11-05", "to": "2026-11-05" }]), "{known:#}");
    assert!(house.json("/api/v1/keys")["total"].as_u64().unwrap() > 0);

    // What is over can be cancelled as often as one likes.
    let cancelled = house.request("DELETE", "/api/v1/backfill/1", &[]);
    assert_eq!((cancelled.status, cancelled.json()["state"].as_str()), (200, Some("done")));
}

#[test]
fn what_cannot_be_done_is_told() {
    let house = House::new();
    let (local, _) = trail(&house);
    let refused = |body: &Value| {
        let answer = house.post("/api/v1/backfill", &body.to_string());
        (answer.status, answer.code(), answer.json()["detail"].as_str().unwrap().to_owned())
    };
    for body in [json!([]), json!({}), json!({ "local": local, "from": "yesterday", "to": "2026-11-05" })] {
        let (status, code, detail) = refused(&body);
        assert_eq!((status, code.as_str()), (400, "bad_body"), "{detail}");
        assert!(detail.contains("trail-logs"), "{detail}");
    }
    let (_, code, detail) =
        refused(&json!({ "local": local, "from": "2026-11-05", "to": "2026-11-05", "form": 1 }));
    assert!(code == "bad_body" && detail.contains("`form`") && detail.contains("`from`"), "{detail}");
    let (status, code, detail) =
        refused(&json!({ "local": local, "from": "2026-11-05", "to": "2026-11-12" }));
    assert_eq!((status, code.as_str()), (400, "bad_backfill"), "{detail}");
    assert!(detail.contains("the last day that can be is 2026-11-10"), "{detail}");
    assert_eq!(house.post("/api/v1/backfill", "").code(), "bad_body");
    assert_eq!(house.get("/api/v1/backfill/7").code(), "no_such_job");
    assert_eq!(house.get("/api/v1/backfill/x").code(), "bad_parameter");
    assert_eq!(house.post("/api/v1/backfill", &" ".repeat(70_000)).code(), "body_too_large");
    assert_eq!(house.json("/api/v1/backfill"), json!({ "running": null, "jobs": [] }));
}

#[test]
fn one_job_runs_at_a_time_and_can_be_cancelled() {
    let house = House::new();
    let (local, _) = trail(&house);
    let body = json!({ "local": local, "from": "2026-11-05", "to": "2026-11-05" }).to_string();
    // The cell cannot be committed meanwhile.
    house.hold(true);
    assert_eq!(house.post("/api/v1/backfill", &body).status, 202);
    let second = house.post("/api/v1/backfill", &body);
    assert_eq!((second.status, second.code().as_str()), (409, "backfill_running"));
    assert_eq!(house.json("/api/v1/backfill")["running"], 1);
    assert_eq!(house.request("DELETE", "/api/v1/backfill/1", &[]).status, 200);
    house.hold(false);
    let job = finished(&house, 1);
    assert!(job["state"] == "cancelled" || job["state"] == "done", "{job:#}");
    assert_eq!(house.post("/api/v1/backfill", &body).status, 202);
    assert_eq!(finished(&house, 2)["state"], "done");
}
