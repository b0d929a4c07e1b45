//! A store of one million keys: how long a start takes, and how many bytes of memory a key takes.
//!
//! Measured in a process of its own, so that nothing else is in its memory.

#![expect(clippy::print_stdout, reason = "the child tells its parent")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, ensure};
use dormouse_cloudtrail::{Decoder, Limits};
use dormouse_ledger::{Bounds, Counting, Delta, IdWindow, Ledger, Rank};
use dormouse_model::{Clock, EventTime, KeyArn, Kind, Observation, OperationTable, WallClock};
use dormouse_pipeline::{Pipeline, PipelineOptions, fold};
use dormouse_store::{Epoch, SqliteOptions, SqliteStore, Store, Totals};

use crate::paired::{print_bounded, time};

/// The argument by which this program calls itself.
pub(crate) const CHILD: &str = "--measure-start";

pub(crate) const KEYS: u32 = 1_000_000;
/// The keys were last used within the day after this second.
pub(crate) const FIRST_USE: u32 = 1_790_000_000;
const KEYS_A_FOLD: u32 = 50_000;

pub(crate) fn bench() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("million.db");
    fill(&path)?;
    let output = Command::new(std::env::current_exe()?).arg(CHILD).arg(&path).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut figures = text.split_whitespace().map(str::parse::<f64>);
    let (Some(Ok(seconds)), Some(Ok(bytes))) = (figures.next(), figures.next()) else {
        anyhow::bail!("the child failed: {}", String::from_utf8_lossy(&output.stderr));
    };
    print_bounded("start with 1,000,000 keys", seconds, "s", 3.0);
    print_bounded("memory a key at 1,000,000 keys", bytes / f64::from(KEYS), "bytes", 250.0);
    Ok(())
}

/// Writes the store as a running instance would: by folds.
pub(crate) fn fill(path: &Path) -> anyhow::Result<()> {
    let store = SqliteStore::open(SqliteOptions::at(path))?;
    let ledger = Ledger::<Rank>::new(Bounds::default());
    let window = IdWindow::new(1);
    for (first, seq) in (0..KEYS).step_by(KEYS_A_FOLD as usize).zip(1..) {
        let mut delta = Delta::default();
        for number in first..first + KEYS_A_FOLD {
            use_key(number, &ledger, &mut delta)?;
        }
        let epoch = Epoch { seq, sealed_at: EventTime::default(), body: &[], quarantine: &[], released: &[] };
        let _ = store.commit(&epoch)?;
        let _ = store.fold(&fold::prepare(
            seq,
            delta.into(),
            &ledger,
            &window,
            Totals::default(),
            Default::default(),
        ))?;
    }
    Ok(())
}

/// The key of this number.
pub(crate) fn arn(number: u32) -> String {
    let account = 111_122_223_333u64 + u64::from(number % 1_000);
    format!("arn:aws:kms:eu-west-1:{account:012}:key/{number:08x}-1111-2222-3333-{number:012x}")
}

fn use_key(number: u32, ledger: &Ledger<Rank>, delta: &mut Delta) -> anyhow::Result<()> {
    let event_id = format!("{number:08x}-aaaa-bbbb-cccc-{number:012x}");
    let observation = Observation {
        key: arn(number).parse::<KeyArn>()?,
        kind: Kind::Use,
        time: EventTime::from_seconds(FIRST_USE + number % 86_400),
        operation: "Decrypt",
        event_id: &event_id,
        shared_id: None,
        recipient: None,
        logged_region: None,
        from_history: false,
        principal: Some("arn:aws:iam::111122223333:role/app"),
        session: Some("i-0123456789abcdef0"),
        invoked_by: None,
        source_ip: Some("10.1.2.3"),
        error_code: None,
        wanted: false,
        context: vec![("aws:s3:arn", "arn:aws:s3:::bucket")],
        change: None,
        effects: Vec::new(),
        counted: true,
    };
    ledger.apply(&observation, Counting::Counted);
    delta.apply(&observation, Counting::Counted);
    Ok(())
}

/// In the child: opens the store and prints seconds and bytes.
pub(crate) fn measure(path: &Path) -> anyhow::Result<()> {
    let before = resident_bytes()?;
    let open = || -> anyhow::Result<Pipeline> {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(SqliteOptions::at(path))?);
        let decoder = Arc::new(Decoder::new(OperationTable::default(), Limits::default()));
        let clock: Arc<dyn Clock> = Arc::new(WallClock);
        Ok(Pipeline::open(store, decoder, clock, PipelineOptions::default())?)
    };
    let (taken, pipeline) = time(open);
    let pipeline = pipeline?;
    let after = resident_bytes()?;
    ensure!(pipeline.ledger().len() == KEYS as usize, "all keys are there");
    println!("{} {}", taken.as_secs_f64(), after - before);
    Ok(())
}

pub(crate) fn resident_bytes() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
}
