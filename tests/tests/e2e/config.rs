//! A mistake in the configuration is told before anything starts, with all that it takes to mend it.

use std::path::Path;

use dormouse_tests::program::{Finished, dormouse, finish};
use dormouse_tests::scene::Scene;

const WRONG: i32 = 64;

fn check(text: &str) -> Finished {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dormouse.toml");
    std::fs::write(&file, text).unwrap();
    finish(&mut dormouse(&["check", "--config", file.to_str().unwrap()]))
}

#[track_caller]
fn assert_refused(text: &str, told: &[&str]) {
    let finished = check(text);
    assert_eq!(finished.code(), WRONG, "{finished:#?}");
    for word in told {
        assert!(finished.stderr.contains(word), "{word:?} is not told: {}", finished.stderr);
    }
}

#[test]
fn an_unknown_key_is_told_with_its_line_and_what_is_allowed() {
    let text = "[store]\npath = \"/tmp/x.db\"\n\n[ingest]\nid_windows = 7\n";
    assert_refused(text, &["line 5", "id_windows", "id_window", "epoch_interval", "shutdown_grace"]);
}

#[test]
fn an_unknown_section_is_told() {
    assert_refused("[[source]]\nname = \"bus\"\n", &["line 1", "source", "sources", "store"]);
}

#[test]
fn a_source_without_a_queue_is_told() {
    assert_refused("[[sources]]\nname = \"bus\"\ntype = \"sqs\"\n", &["line 1", "queue_url"]);
}

#[test]
fn a_duration_that_is_none_is_told() {
    assert_refused("[verdicts]\nidle_after = \"soon\"\n", &["line 2", "soon", "90d"]);
}

#[test]
fn a_setting_of_another_type_of_source_is_told_with_its_line_and_what_is_allowed() {
    let text =
        "[[sources]]\nname = \"flow\"\ntype = \"kinesis\"\nstream = \"dormouse\"\nwait_time = \"1s\"\n";
    assert_refused(text, &["line 5", "wait_time", "sqs", "poll_interval"]);
    let text = text.replace("wait_time = \"1s\"", "on_poison = \"redrive\"");
    assert_refused(&text, &["redrive", "no redrive policy", "quarantine"]);
}

#[test]
fn what_is_right_is_told_with_what_it_means() {
    let text = "[[sources]]\nname = \"bus\"\ntype = \"sqs\"\nbuckets = [\"trail-logs/AWSLogs/\"]\n\
                queue_url = \"https://sqs.eu-west-1.amazonaws.com/111122223333/dormouse\"\n\
                [[sources]]\nname = \"flow\"\ntype = \"kinesis\"\nstream = \"dormouse\"\nstart = \"trim_horizon\"\n\
                [history]\nbandwidth = \"50MiB\"\n\
                [[history.declared]]\nregions = [\"eu-west-1\"]\nfrom = \"2026-01-01\"\nto = \"2026-06-30\"\n";
    let finished = check(text);
    assert_eq!(finished.code(), 0, "{finished:#?}");
    for part in [
        "announced objects are read from trail-logs/AWSLogs/",
        "flow: kinesis dormouse; the first time from the oldest record on",
        "8 objects at once, at most 50.0 MiB a second",
        "complete from 2026-01-01T00:00:00Z until 2026-07-01T00:00:00Z: all accounts in eu-west-1",
    ] {
        assert!(finished.stdout.contains(part), "{part:?} is not in: {}", finished.stdout);
    }
}

#[test]
fn a_missing_file_is_told() {
    let finished = finish(&mut dormouse(&["run", "--config", "/nonexistent/dormouse.toml"]));
    assert_eq!(finished.code(), WRONG, "{finished:#?}");
    assert!(finished.stderr.contains("/nonexistent/dormouse.toml"), "{}", finished.stderr);
}

#[test]
fn a_variable_that_is_wrong_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dormouse.toml");
    std::fs::write(&file, "[store]\npath = \"/tmp/x.db\"\n").unwrap();
    let mut command = dormouse(&["check", "--config", file.to_str().unwrap()]);
    let finished = finish(command.env("DORMOUSE_INGEST_ID_WINDOW", "many"));
    assert_eq!(finished.code(), WRONG, "{finished:#?}");
    assert!(finished.stderr.contains("DORMOUSE_INGEST_ID_WINDOW"), "{}", finished.stderr);
}

#[tokio::test]
async fn run_binds_and_opens_nothing_with_a_wrong_configuration() {
    let mut scene = Scene::new().await;
    scene.set("ingest", "no_such_key", "1");
    let mut running = scene.run();
    assert_eq!(running.wait().await.code(), Some(WRONG), "{}", running.log());
    assert!(running.log().contains("no_such_key"), "{}", running.log());
    assert!(!scene.store().exists(), "the store was opened");
}

#[test]
fn the_configuration_that_comes_with_the_project_is_right() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/dormouse.toml");
    let finished = finish(&mut dormouse(&["check", "--config", file.to_str().unwrap()]));
    assert!(finished.status.success(), "{finished:#?}");
}

#[test]
fn wrong_usage_has_the_same_status() {
    let finished = finish(&mut dormouse(&["hibernate"]));
    assert_eq!(finished.code(), WRONG, "{finished:#?}");
    assert!(finished.stderr.contains("hibernate"), "{}", finished.stderr);
}
