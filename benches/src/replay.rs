//! `dormouse replay` of records a line beside DuckDB's query for the same question, on all cores.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use dormouse_simulate::records::{Generator, Mix, Shape};

use crate::paired::{Comparison, time};

pub(crate) const RECORDS: usize = 200_000;
const ROUNDS: usize = 5;

/// Asks once with type detection and once with explicit columns, as told, and prints the seconds of the query alone.
const QUERY: &str = r#"
import sys, time, duckdb
path, mode = sys.argv[1:]
columns = "columns={eventTime: 'VARCHAR', resources: 'STRUCT(ARN VARCHAR)[]'}, format='newline_delimited'"
source = f"'{path}'" if mode == "detect" else f"read_json('{path}', {columns})"
start = time.perf_counter()
rows = duckdb.sql(f"select resources[1].ARN, max(eventTime)::varchar from {source} group by 1").fetchall()
print(time.perf_counter() - start, len(rows))
"#;

pub(crate) fn bench() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("records.ndjson");
    write_records(&path)?;
    let (mut ours, mut detect, mut explicit) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(replay(&path)?);
        detect.push(duckdb(&path, "detect")?);
        explicit.push(duckdb(&path, "explicit")?);
    }
    let comparison = |against, aim, theirs| Comparison {
        what: "replay of 200,000 records of 2 KB, a line each",
        against,
        #[expect(clippy::cast_precision_loss, reason = "hundreds of thousands")]
        amount: RECORDS as f64,
        unit: "records",
        aim,
        ours: ours.clone(),
        theirs,
    };
    comparison("DuckDB with type detection", 1.5, detect).print();
    comparison("DuckDB with explicit columns", 0.8, explicit).print();
    Ok(())
}

fn write_records(path: &Path) -> anyhow::Result<()> {
    let shape = Shape { rich: true, pad_to: 2_048, keys: 20_000, ..Shape::default() };
    let mut out = BufWriter::new(File::create(path)?);
    for record in Generator::new(2, shape, Mix::busy()).take(RECORDS) {
        writeln!(out, "{}", record.record)?;
    }
    out.flush()?;
    Ok(())
}

/// The whole process, from start to exit.
pub(crate) fn replay(path: &Path) -> anyhow::Result<Duration> {
    let mut command = Command::new(program()?);
    command.args(["replay", "--output", "json"]).arg(path).stdout(Stdio::null()).stderr(Stdio::null());
    let (taken, status) = time(|| command.status());
    ensure!(status?.success(), "dormouse replay failed");
    Ok(taken)
}

/// The program that stands beside this one.
fn program() -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("dormouse");
    ensure!(path.exists(), "{} is not built: cargo build --release --package dormouse", path.display());
    Ok(path)
}

/// The query alone: the interpreter's start does not count.
fn duckdb(path: &Path, mode: &str) -> anyhow::Result<Duration> {
    let python = std::env::var("DUCKDB_PYTHON").unwrap_or_else(|_| "python3".into());
    let output = Command::new(python).args(["-c", QUERY]).arg(path).arg(mode).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let seconds = text.split_whitespace().next().and_then(|seconds| seconds.parse().ok());
    let seconds = seconds.with_context(|| format!("DuckDB failed (`make bench` installs it): {errors}"))?;
    Ok(Duration::from_secs_f64(seconds))
}
