//! `dormouse backfill`: by the instance that holds the store, or alone; never both.

use std::path::Path;

use dormouse_simulate::records::layout::{LayoutOptions, lay_out, write_to_folder};
use dormouse_tests::http;
use dormouse_tests::program::{Finished, dormouse, finish};
use dormouse_tests::scene::Scene;
use dormouse_tests::traffic::everything;
use serde_json::Value;

/// The traffic lies within these days.
const DAYS: [&str; 4] = ["--from", "2026-11-01", "--to", "2026-11-11"];

/// A folder that is laid out as a trail's bucket.
fn trail(folder: &Path) -> String {
    let root = folder.join("trail");
    let options = LayoutOptions { daily_reads: true, ..LayoutOptions::default() };
    write_to_folder(&root, &lay_out(&everything(61, 3_000), &options)).unwrap();
    root.to_str().unwrap().to_owned()
}

fn backfill(trail: &str, more: &[&str]) -> Finished {
    let arguments = [&["backfill", "--local", trail, "--output", "json"], &DAYS[..], more].concat();
    finish(&mut dormouse(&arguments))
}

/// The job's document, if it has done its work, whether or not something in it could not be read.
fn job(finished: &Finished) -> Value {
    assert!([0, 2].contains(&finished.code()), "{finished:#?}");
    let job = finished.json();
    assert_eq!(job["state"], "done", "{job:#}");
    assert_eq!(finished.code() == 0, job["problem_count"] == 0, "{job:#}");
    job
}

#[test]
fn without_an_instance_it_fills_the_store_itself_and_a_second_time_there_is_nothing_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let trail = trail(folder.path());
    let store = folder.path().join("d.db");
    let place = ["--store", store.to_str().unwrap()];
    let first = job(&backfill(&trail, &place));
    assert!(first["cells"]["done"].as_u64().unwrap() > 10, "{first:#}");
    assert!(first["kms_records"].as_u64().unwrap() > 1_000, "{first:#}");

    let keys = || finish(&mut dormouse(&[&["keys", "--output", "json"], &place[..]].concat())).json();
    let before = keys();
    assert!(before["total"].as_u64().unwrap() > 20, "{before:#}");
    assert!(before["keys"][0]["last_use"].is_object(), "{before:#}");

    let second = job(&backfill(&trail, &place));
    assert_eq!((&second["cells"]["done"], &second["cells"]["skipped"]), (&0.into(), &first["cells"]["done"]));
    job(&backfill(&trail, &[&place[..], &["--again"]].concat()));
    assert_eq!(keys(), before, "read once more, nothing is counted twice");

    let known = finish(&mut dormouse(&[&["accounts", "--output", "json"], &place[..]].concat())).json();
    let region = &known["accounts"][0]["regions"][0];
    assert!(!region["history"]["days"].as_array().unwrap().is_empty(), "{region:#}");
    assert_eq!(region["history"]["covered"][0]["by"], "digests", "{region:#}");

    let arguments = [&["backfill", "--local", &trail, "--again"], &DAYS[..], &place].concat();
    let shown = finish(&mut dormouse(&arguments));
    assert!(shown.stdout.contains("done:") && shown.stdout.contains("PROVEN"), "{shown:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_an_instance_holds_the_store_that_instance_does_the_work() {
    let mut scene = Scene::new().await;
    let trail = trail(scene.folder.path());
    let mut running = scene.run();
    let url = running.url().await;
    let store = scene.store();
    let store = store.to_str().unwrap();

    // Nobody answers at the configured address, whose port is not the real one.
    scene.set("http", "listen", "\"127.0.0.1:9\"");
    let config = scene.configuration();
    let config = config.to_str().unwrap();
    let unknown = backfill(&trail, &["--config", config]);
    assert_eq!(unknown.code(), 1, "{unknown:#?}");
    for word in [&format!("pid {}", running.pid()), "--url", store] {
        assert!(unknown.stderr.contains(word), "{word}: {}", unknown.stderr);
    }

    let done = job(&backfill(&trail, &["--config", config, "--url", &url, "--store", store]));
    assert!(done["cells"]["done"].as_u64().unwrap() > 10, "{done:#}");
    let told: Value =
        serde_json::from_str(&http::get(&format!("{url}/api/v1/backfill")).await.unwrap().body).unwrap();
    assert_eq!(told["jobs"][0]["kms_records"], done["kms_records"], "the instance did it");
    let named = job(&backfill(&trail, &["--url", &url]));
    assert_eq!(named["cells"]["skipped"], done["cells"]["done"]);

    // An instance with another store is not the one.
    let other = Scene::new().await;
    let mut stranger = other.run();
    let strange = stranger.url().await;
    let refused = backfill(&trail, &["--config", config, "--url", &strange, "--store", store]);
    assert_eq!(refused.code(), 1, "{refused:#?}");
    assert!(refused.stderr.contains("has another store"), "{}", refused.stderr);
    let nothing = http::get(&format!("{strange}/api/v1/backfill")).await.unwrap().body;
    assert_eq!(nothing, r#"{"running":null,"jobs":[]}"#);

    assert!(stranger.stop().await.success());
    assert!(running.stop().await.success());
    let keys = scene.keys();
    assert!(keys.len() > 20, "{} keys", keys.len());
}

#[test]
fn what_makes_no_sense_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let trail = trail(folder.path());
    let store = folder.path().join("d.db");
    let place = ["--store", store.to_str().unwrap()];
    let usage = |arguments: &[&str], word: &str| {
        let finished = finish(&mut dormouse(&[&["backfill"], arguments].concat()));
        assert_eq!(finished.code(), 64, "{finished:#?}");
        assert!(finished.stderr.contains(word), "{word}: {}", finished.stderr);
    };
    usage(&DAYS, "--bucket");
    usage(&[&DAYS[..], &["--bucket", "b", "--local", &trail]].concat(), "cannot be used with");
    usage(&["--local", &trail, "--from", "yesterday", "--to", "2026-11-11"], "2026-01-31");
    usage(
        &[&["--local", &trail, "--from", "2026-11-11", "--to", "2026-11-01"], &place[..]].concat(),
        "lies after",
    );
    usage(&[&DAYS[..], &["--local", &trail, "--config", "/nonexistent/x.toml"]].concat(), "x.toml");
    usage(
        &[&DAYS[..], &["--bucket", "b", "--url", "http://127.0.0.1:9", "--region", "eu-west-1"]].concat(),
        "[history]",
    );
    let missing =
        finish(&mut dormouse(&[&["backfill", "--local", "/nonexistent"], &DAYS[..], &place].concat()));
    assert_eq!(missing.code(), 1, "{missing:#?}");
    assert!(missing.stderr.contains("/nonexistent"), "{}", missing.stderr);
}
