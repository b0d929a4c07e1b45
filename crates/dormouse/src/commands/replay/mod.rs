//! `dormouse replay`: CloudTrail files in, last use per key out, no AWS needed.
//!
//! All cores read and decode; the ledger they share is the same that a running instance has, and its law makes the order
//! of files and threads irrelevant. A bad file is named and passed by.

mod report;
mod work;

use std::cmp::Reverse;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::thread::available_parallelism;

use dormouse_cloudtrail::{Decoder, Limits};
use dormouse_ledger::{Evidence, Judge, KeyDocument, KeyState, Source};
use dormouse_model::{Clock, WallClock};
use dormouse_pipeline::view::RecordsDocument;
use dormouse_sources::files;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::{Output, ReplayArgs};
use crate::config::Config;
use crate::show::{self, Screen};
use report::Report;
use work::{Replay, Replayed};

/// Some input could not be read whole.
const EXIT_INCOMPLETE: u8 = 2;

/// Replays the files and prints what they say.
pub(crate) fn replay(args: &ReplayArgs, config: &Config, screen: Screen) -> anyhow::Result<ExitCode> {
    let now = WallClock.now_seconds();
    let inputs = files::expand(&args.paths);
    let threads = args.threads.unwrap_or_else(|| available_parallelism().map_or(1, usize::from)).max(1);
    let decoder = Decoder::new(config.operation_table()?, Limits::default());
    let progress = progress_bar(inputs.files.iter().filter_map(|file| file.size).sum());
    let replay = Replay::new(&decoder, now, args.id_window, &progress);
    let replayed = replay.run(inputs.files, threads);
    progress.finish_and_clear();

    let mut report = Report::default();
    report.paths(&inputs.errors, &inputs.skipped);
    report.files(&replayed.files);
    report.unknowns(&replayed.unknowns, replayed.tally.late_uncounted);
    print(args.output, &replayed, config, threads, screen)?;
    // The process ends here: taking a large ledger apart would only cost time.
    std::mem::forget(replayed);
    Ok(if report.is_whole { ExitCode::SUCCESS } else { ExitCode::from(EXIT_INCOMPLETE) })
}

fn print(
    output: Output,
    replayed: &Replayed,
    config: &Config,
    threads: usize,
    screen: Screen,
) -> anyhow::Result<()> {
    // Files prove nothing of what is not in them.
    let judge = Judge::without_witnesses(WallClock.now_seconds(), config.rules()?);
    let ledger = &replayed.ledger;
    let records = RecordsDocument::new(replayed.tally, ledger.total_counts());
    let document = |key, state: &KeyState<Evidence>| {
        KeyDocument::new(key, state, ledger, Source::Replay, &judge, judge.look(key))
    };
    if output == Output::Json {
        return show::json::replay(ledger, records, threads, document);
    }
    let mut keys = Vec::with_capacity(ledger.len());
    ledger.for_each_key(|key, state| keys.push(document(key, state)));
    if output == Output::Csv {
        keys.sort_unstable_by_key(|key| key.arn);
        return show::csv::keys(&keys);
    }
    keys.sort_unstable_by_key(|key| (Reverse(key.last_use.as_ref().map(|last| last.at)), key.arn));
    let mut table = show::keys::Keys::new(judge.now(), screen);
    keys.iter().for_each(|key| table.add(key));
    table.print(keys.len(), "")?;
    Ok(show::status::records(records)?)
}

fn progress_bar(bytes: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    ProgressBar::new(bytes).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
