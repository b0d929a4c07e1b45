//! Hostile files: no panic, no flood of memory, and a word about each that could not be read whole.

use std::path::Path;

use dormouse_tests::oracle::{self, Hazard};
use dormouse_tests::program::finish_measured;
use dormouse_tests::wait::alone;

const NOT_WHOLE: i32 = 2;
const MOST_MEMORY_MIB: u64 = 300;

fn replay(path: &Path) -> (dormouse_tests::program::Finished, u64) {
    finish_measured(&["replay", "--output", "json", path.to_str().unwrap()])
}

#[tokio::test]
async fn a_folder_of_them_is_read_past_every_one() {
    let _machine = alone().await;
    let folder = tempfile::tempdir().unwrap();
    let hazards = oracle::write_hostile(folder.path());
    let (finished, mib) = replay(folder.path());

    assert_eq!(finished.code(), NOT_WHOLE, "{}", finished.stderr);
    assert!(mib < MOST_MEMORY_MIB, "{mib} MiB were taken");
    for hazard in &hazards {
        let named = finished.stderr.contains(&hazard.file);
        assert!(named || hazard.whole, "{} is not named: {}", hazard.file, finished.stderr);
    }
    // The good records beside the bad ones are all there.
    let truth = oracle::answer(&[folder.path()]).json();
    let members = ["arn", "last_use", "last_attempt", "attempts", "changes", "state"];
    oracle::assert_none(&oracle::differences(&truth["keys"], &finished.json()["keys"], &members));
}

#[tokio::test]
async fn each_of_them_alone_ends_as_it_should() {
    let _machine = alone().await;
    let folder = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    for hazard in oracle::write_hostile(folder.path()) {
        wrong.extend(complaints(&hazard, &folder.path().join(&hazard.file)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Odd, but nothing in them is lost: they are named all the same.
const ODD: [&str; 7] = [
    "padded.ndjson",
    "lone-surrogates.ndjson",
    "byte-order-mark.json",
    "carriage-returns.ndjson",
    "empty.json",
    "empty.json.gz",
    "packed-nothing.json.gz",
];

fn complaints(hazard: &Hazard, path: &Path) -> Vec<String> {
    let Hazard { file, whole, uses } = hazard;
    let (finished, mib) = replay(path);
    if finished.stdout.is_empty() {
        return vec![format!("{file}: no document was printed: {finished:#?}")];
    }
    let records = &finished.json()["records"];
    let lost = records["malformed"] != 0 || records["quarantined"] != 0;
    let (named, code) = (finished.stderr.contains(file), finished.status.code());

    let mut complaints = Vec::new();
    if !whole && code != Some(NOT_WHOLE) {
        complaints.push(format!("{file} is not whole: {}, {}", finished.status, finished.stderr));
    }
    let is_empty = file.starts_with("empty") || file.starts_with("packed-nothing");
    if (is_empty || records["malformed"] != 0) && code != Some(NOT_WHOLE) {
        complaints.push(format!("{file} was not read whole: {}, {}", finished.status, finished.stderr));
    }
    if *whole && code != Some(0) && code != Some(NOT_WHOLE) {
        complaints.push(format!("{file}: {}, {}", finished.status, finished.stderr));
    }
    if (!whole || lost || ODD.contains(&&**file)) && !named {
        complaints.push(format!("{file} is not named: {}", finished.stderr));
    }
    if code == Some(NOT_WHOLE) && !named {
        complaints.push(format!("{file}: nobody is told why the status is 2: {}", finished.stderr));
    }
    if mib >= MOST_MEMORY_MIB {
        complaints.push(format!("{file}: {mib} MiB were taken"));
    }
    if let Some(uses) = uses
        && records["uses"] != *uses
    {
        complaints.push(format!("{file}: {} uses instead of {uses}: {}", records["uses"], finished.stderr));
    }
    complaints
}

#[tokio::test]
async fn a_missing_file_is_named_and_the_others_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let records = dormouse_tests::traffic::everything(3, 200);
    let there = folder.path().join("there.ndjson");
    std::fs::write(&there, dormouse_simulate::records::ndjson(&records)).unwrap();
    let missing = folder.path().join("missing.json");
    let paths = [missing.to_str().unwrap(), there.to_str().unwrap()];
    let (finished, _) = finish_measured(&[&["replay", "--output", "json"], &paths[..]].concat());
    assert_eq!(finished.code(), NOT_WHOLE, "{}", finished.stderr);
    assert!(finished.stderr.contains("missing.json"), "{}", finished.stderr);
    assert_eq!(finished.json()["records"]["read"], 200);
}
