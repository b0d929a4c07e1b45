//! `dormouse replay` gives, key by key and count by count, what an independent script computes over the same files.

use std::path::Path;

use dormouse_simulate::records::{
    Generated, Mix, cloudwatch_logs, gzip, ndjson, s3_notification, sns, trail_notification,
};
use dormouse_tests::oracle;
use dormouse_tests::program::{Finished, dormouse, finish};
use dormouse_tests::traffic::{bodies, delivered, everything, records, write_lines, write_trail};
use dormouse_tests::wait::alone;
use serde_json::Value;

fn replay(paths: &[&Path], options: &[&str]) -> Finished {
    let paths: Vec<&str> = paths.iter().map(|path| path.to_str().unwrap()).collect();
    finish(&mut dormouse(&[&["replay", "--output", "json"], options, &paths].concat()))
}

/// Replays the paths and expects the oracle's answer in every detail.
#[track_caller]
fn assert_as_the_oracle_says(paths: &[&Path], options: &[&str]) -> Value {
    let truth = oracle::truth(paths);
    let finished = replay(paths, options);
    assert!(finished.status.success(), "{finished:#?}");
    let found = finished.json();
    oracle::assert_same_keys(&truth["keys"], &found["keys"]);
    assert_eq!(found["records"], truth["records"]);
    found
}

#[test]
fn documented_examples() {
    let folder = tempfile::tempdir().unwrap();
    oracle::write_examples(folder.path());
    assert_as_the_oracle_says(&[folder.path()], &[]);
    for name in [
        "AWSLogs",
        "records.ndjson",
        "eventbridge.ndjson",
        "batches.json",
        "batches.json.gz",
        "aggregate.bin",
    ] {
        assert_as_the_oracle_says(&[&folder.path().join(name)], &[]);
    }
    // What carries no event counts nowhere and is worth no word.
    let control = folder.path().join("control.ndjson");
    let finished = replay(&[&control], &[]);
    assert_eq!((finished.code(), &*finished.stderr), (0, ""), "{finished:#?}");
    assert_eq!(finished.json()["records"], oracle::truth(&[&control])["records"]);
}

#[test]
fn a_trail_of_nested_folders_plain_and_packed() {
    let folder = tempfile::tempdir().unwrap();
    let records = everything(31, 12_000);
    write_trail(folder.path(), delivered(31, &records));
    let found = assert_as_the_oracle_says(&[folder.path()], &[]);
    let sources: Vec<&Value> =
        found["keys"].as_array().unwrap().iter().map(|key| &key["last_use"]["source"]).collect();
    assert!(sources.iter().all(|source| source.is_null() || *source == "replay"), "{sources:?}");
    let arns: Vec<&str> =
        found["keys"].as_array().unwrap().iter().map(|key| key["arn"].as_str().unwrap()).collect();
    assert!(arns.is_sorted(), "keys are sorted by ARN");
}

#[test]
fn several_seeds_agree() {
    for seed in 100..112 {
        let folder = tempfile::tempdir().unwrap();
        let records = everything(seed, 2_500);
        write_trail(folder.path(), delivered(seed, &records));
        assert_as_the_oracle_says(&[folder.path()], &[]);
    }
}

#[tokio::test]
async fn one_large_file_of_lines_read_in_parts() {
    let _machine = alone().await;
    let folder = tempfile::tempdir().unwrap();
    let records = records(41, 60_000, Mix { failed: 0.05, other_services: 0.1, ..Mix::busy() });
    let plain = folder.path().join("large.ndjson");
    std::fs::write(&plain, ndjson(delivered(41, &records))).unwrap();
    let by_all = assert_as_the_oracle_says(&[&plain], &[]);

    // However many read, the answer is the same, to the letter.
    let by_one = replay(&[&plain], &["--threads", "1"]);
    for threads in ["2", "3", "8"] {
        assert_eq!(replay(&[&plain], &["--threads", threads]).stdout, by_one.stdout, "{threads} threads");
    }
    assert_eq!(by_one.json(), by_all);

    let packed = folder.path().join("large.ndjson.gz");
    std::fs::write(&packed, gzip(&std::fs::read(&plain).unwrap())).unwrap();
    assert_eq!(replay(&[&packed], &[]).json(), by_all, "packed");
}

#[test]
fn envelopes_of_queues_and_topics() {
    let folder = tempfile::tempdir().unwrap();
    let records = everything(51, 4_000);
    let bridge = folder.path().join("eventbridge.ndjson");
    write_lines(&bridge, bodies(51, &records));
    assert_as_the_oracle_says(&[&bridge], &[]);

    let topic = folder.path().join("sns.ndjson");
    write_lines(&topic, delivered(52, &records).map(Generated::eventbridge_by_sns));
    assert_as_the_oracle_says(&[&topic], &[]);

    // The same events by three ways count once.
    let bare = folder.path().join("bare.json");
    std::fs::write(&bare, format!("[{}]", ndjson(&records).trim_end().replace('\n', ","))).unwrap();
    assert_as_the_oracle_says(&[folder.path()], &[]);
}

#[test]
fn batches_of_subscriptions() {
    let folder = tempfile::tempdir().unwrap();
    let records = everything(55, 4_000);
    let delivered: Vec<&Generated> = delivered(56, &records).collect();
    let batches: Vec<String> =
        delivered.chunks(50).map(|batch| cloudwatch_logs(batch.iter().copied())).collect();
    let [lines, packed] = ["batches.ndjson", "batches.gz"].map(|name| folder.path().join(name));
    write_lines(&lines, &batches);
    let by_line = assert_as_the_oracle_says(&[&lines], &[]);
    // As a stream's consumer appends what it gets, each packed by itself.
    let members: Vec<u8> = batches.iter().flat_map(|batch| gzip(batch.as_bytes())).collect();
    std::fs::write(&packed, members).unwrap();
    assert_eq!(assert_as_the_oracle_says(&[&packed], &[]), by_line);
}

#[test]
fn announced_objects_are_named_and_not_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("queue.ndjson");
    let key = "AWSLogs/a folder/a+b.json.gz";
    let bodies = [
        sns(&s3_notification("trails", key)),
        trail_notification("trails", ["one.json.gz", "two.json.gz"]),
        everything(81, 1)[0].eventbridge(),
    ];
    write_lines(&file, bodies);
    let finished = replay(&[&file], &[]);
    assert_eq!(finished.code(), 2, "{finished:#?}");
    for object in [key, "one.json.gz", "two.json.gz"] {
        let told = format!("announces s3://trails/{object}, which replay does not fetch");
        assert!(finished.stderr.contains(&told), "{}", finished.stderr);
    }
    let truth = oracle::truth(&[&file]);
    assert_eq!(finished.json()["records"], truth["records"]);
    assert_eq!(truth["records"]["malformed"], 3);
}

#[test]
fn the_order_of_the_files_does_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let records = everything(61, 3_000);
    let halves = [folder.path().join("a.ndjson"), folder.path().join("b.ndjson")];
    std::fs::write(&halves[0], ndjson(records.iter().step_by(2))).unwrap();
    std::fs::write(&halves[1], ndjson(records.iter().rev().step_by(2))).unwrap();
    let one_way = replay(&[&halves[0], &halves[1]], &["--threads", "1"]).json();
    let other_way = replay(&[&halves[1], &halves[0]], &["--threads", "1"]).json();
    assert_eq!(one_way["keys"], other_way["keys"]);
    assert_as_the_oracle_says(&[&halves[0], &halves[1]], &[]);
}

#[test]
fn standard_input_is_a_path_like_others() {
    let records = everything(71, 500);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("records.ndjson");
    std::fs::write(&file, ndjson(&records)).unwrap();
    let mut command = dormouse(&["replay", "--output", "json", "-"]);
    let piped = finish(command.stdin(std::fs::File::open(&file).unwrap()));
    assert!(piped.status.success(), "{piped:#?}");
    assert_eq!(piped.json(), replay(&[&file], &[]).json());
}

#[test]
fn the_table_is_for_people() {
    let folder = tempfile::tempdir().unwrap();
    oracle::write_examples(folder.path());
    let shown = finish(&mut dormouse(&["replay", folder.path().to_str().unwrap()]));
    assert!(shown.status.success(), "{shown:#?}");
    assert!(shown.stdout.contains("alias/") && shown.stdout.contains("Decrypt"), "{}", shown.stdout);
}
