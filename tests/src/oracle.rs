//! The independent answer, and the comparison with it.
//!
//! The oracle is a Python script that was written from the documents alone (see `tests/oracle/README.md`). A difference
//! is a mistake in one of the two, or a choice that the documents leave open.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::program::{Finished, finish};

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("oracle").join(name)
}

fn python(name: &str) -> Command {
    let mut command = Command::new("python3");
    // No byte code beside the sources: a test leaves nothing behind.
    command.env("PYTHONDONTWRITEBYTECODE", "1").arg(script(name));
    command
}

/// What the oracle says about files and folders.
pub fn answer(paths: &[&Path]) -> Finished {
    finish(python("oracle.py").args(paths))
}

/// What the oracle says about files that it must be able to read whole.
pub fn truth(paths: &[&Path]) -> Value {
    let answer = answer(paths);
    assert!(answer.status.success(), "{}", answer.stderr);
    answer.json()
}

/// Writes example records in every shape that CloudTrail has for them.
pub fn write_examples(folder: &Path) {
    let written = finish(python("examples.py").arg(folder));
    assert!(written.status.success(), "{}", written.stderr);
}

/// What is to become of a hostile file.
#[derive(Debug)]
pub struct Hazard {
    /// Its name.
    pub file: String,
    /// It can be read whole.
    pub whole: bool,
    /// How many uses it holds, unless the documents leave that open.
    pub uses: Option<u64>,
}

/// Writes the hostile files.
pub fn write_hostile(folder: &Path) -> Vec<Hazard> {
    let written = finish(python("hostile.py").arg(folder));
    assert!(written.status.success(), "{}", written.stderr);
    let hazard = |(file, said): (&String, &Value)| Hazard {
        file: file.clone(),
        whole: said["whole"].as_bool().unwrap(),
        uses: said["uses"].as_u64(),
    };
    written.json().as_object().unwrap().iter().map(hazard).collect()
}

/// Documents by ARN, without what the oracle does not say.
pub fn by_arn(keys: &Value) -> BTreeMap<String, Value> {
    let document = |key: &Value| {
        let mut key = key.clone();
        if let Some(Value::Object(last_use)) = key.get_mut("last_use") {
            last_use.remove("source");
        }
        (key["arn"].as_str().unwrap().to_owned(), key)
    };
    keys.as_array().unwrap().iter().map(document).collect()
}

/// Every difference between what the oracle says of keys and what was found, in words. `members` are the ones compared;
/// all that the oracle has if there are none.
pub fn differences(truth: &Value, found: &Value, members: &[&str]) -> Vec<String> {
    let (truth, mut found) = (by_arn(truth), by_arn(found));
    let mut differences = Vec::new();
    for (arn, expected) in truth {
        let Some(key) = found.remove(&arn) else {
            differences.push(format!("{arn} is missing; the oracle has {expected}"));
            continue;
        };
        for (member, expected) in expected.as_object().unwrap() {
            if (members.is_empty() || members.contains(&&**member)) && key.get(member) != Some(expected) {
                let found = key.get(member).unwrap_or(&Value::Null);
                differences.push(format!("{arn} {member}:\n    oracle {expected}\n    found  {found}"));
            }
        }
    }
    differences.extend(found.into_keys().map(|arn| format!("{arn}: the oracle does not know it")));
    differences
}

/// Fails the test if the keys differ from the oracle's in anything that the oracle says.
///
/// # Panics
/// If they do, with the first differences.
pub fn assert_same_keys(truth: &Value, found: &Value) {
    assert!(!truth.as_array().unwrap().is_empty(), "the oracle has no key: nothing would be shown");
    assert_none(&differences(truth, found, &[]));
}

/// Fails the test if there are any.
///
/// # Panics
/// With the first of them.
pub fn assert_none(differences: &[String]) {
    let some = differences.iter().take(12).cloned().collect::<Vec<_>>().join("\n");
    assert!(differences.is_empty(), "{} differences, among them:\n{some}", differences.len());
}
