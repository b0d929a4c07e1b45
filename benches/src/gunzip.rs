//! Replay of gzip trail files beside unpacking the same files and doing nothing with them, on all cores.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dormouse_cloudtrail::gzip::{GzipReader, Ratio};
use dormouse_simulate::records::{Generator, Mix, Shape, gzip, trail};

use crate::paired::{Comparison, time};
use crate::replay::replay;

const FILES: usize = 100;
const RECORDS_A_FILE: usize = 1_000;
const ROUNDS: usize = 5;

pub(crate) fn bench() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let files = write_files(folder.path())?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(replay(folder.path())?);
        let open = |number: usize| Ok(BufReader::with_capacity(64 << 10, File::open(&files[number])?));
        theirs.push(unpack(files.len(), open)?);
    }
    Comparison {
        what: "replay of 100 gzip trail files",
        against: "unpacking them and nothing else",
        #[expect(clippy::cast_precision_loss, reason = "a hundred thousand")]
        amount: (FILES * RECORDS_A_FILE) as f64,
        unit: "records",
        aim: 0.4,
        ours,
        theirs,
    }
    .print();
    Ok(())
}

fn write_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let shape = Shape { rich: true, pad_to: 2_048, keys: 20_000, ..Shape::default() };
    let mut records = Generator::new(3, shape, Mix::busy());
    let mut files = Vec::new();
    for number in 0..FILES {
        let of_file: Vec<_> = records.by_ref().take(RECORDS_A_FILE).collect();
        let path = folder.join(format!("{number:03}.json.gz"));
        File::create(&path)?.write_all(&gzip(trail(&of_file).as_bytes()))?;
        files.push(path);
    }
    Ok(files)
}

/// Unpacks so many inputs, each opened by its number, on all cores.
pub(crate) fn unpack<R: BufRead>(
    count: usize,
    open: impl Fn(usize) -> std::io::Result<R> + Sync,
) -> anyhow::Result<Duration> {
    let threads = std::thread::available_parallelism()?.get();
    let next = AtomicUsize::new(0);
    let work = || -> std::io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(());
            }
            let mut unpacked = GzipReader::new(open(number)?, Ratio { free: u64::MAX, most: u64::MAX });
            while unpacked.read(&mut buffer)? > 0 {}
        }
    };
    let (taken, outcome) = time(|| {
        std::thread::scope(|scope| {
            let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            handles.into_iter().all(|handle| handle.join().is_ok_and(|outcome| outcome.is_ok()))
        })
    });
    anyhow::ensure!(outcome, "a file could not be unpacked");
    Ok(taken)
}
