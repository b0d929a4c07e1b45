//! How far the reading of history is, and what came of it.

use std::io::IsTerminal;
use std::time::Duration;

use dormouse_history::{BackfillRequest, JobProgress, JobState};
use dormouse_ledger::{Gap, Span};
use dormouse_model::EventTime;
use dormouse_pipeline::view::{AccountsDocument, CoveredDocument, HistoryDocument, RegionDocument};
use indicatif::{ProgressBar, ProgressStyle};

use super::accounts::by;
use super::lines::sentence;
use super::screen::{Paint, Screen};
use super::sheet::{Cell, Column, Sheet};
use super::words::{bytes, count, counted, size, span};
use super::{complain, printable, say};

/// Between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// So many accounts and Regions are told of at the end; `dormouse accounts` has them all.
const MOST_PLACES: usize = 20;
const DAY: u32 = 86_400;

/// The progress, on standard error: a bar on a terminal, a line now and then elsewhere.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    told: Duration,
}

impl Progress {
    /// Shows nothing yet.
    pub(crate) fn new() -> Self {
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} days  {msg}");
        let bar = std::io::stderr()
            .is_terminal()
            .then(|| ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())));
        Self { bar, told: Duration::ZERO }
    }

    /// Shows how far the job is.
    pub(crate) fn show(&mut self, job: &JobProgress) {
        let settled = settled(job);
        if let Some(bar) = &self.bar {
            bar.set_length(job.cells.total);
            bar.set_position(settled);
            bar.set_message(pace(job));
            return;
        }
        let elapsed = Duration::try_from_secs_f64(job.elapsed_seconds).unwrap_or_default();
        if elapsed.saturating_sub(self.told) >= LINE_EVERY {
            self.told = elapsed;
            let total = counted(job.cells.total, "day");
            complain(&format!("{} of {total} read; {}", count(settled), pace(job)));
        }
    }

    /// Says something beside it.
    pub(crate) fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| complain(line)),
            None => complain(line),
        }
    }

    /// Takes it away.
    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Days that nothing is left to be done about.
fn settled(job: &JobProgress) -> u64 {
    let cells = &job.cells;
    cells.done + cells.skipped + cells.without_objects + cells.unreached
}

/// What was read, how fast, and for how long it goes on.
fn pace(job: &JobProgress) -> String {
    let left = match job.estimated_seconds_left {
        Some(left) => format!("about {} left", span(whole(left))),
        None => "time left not known yet".to_owned(),
    };
    let rate = bytes(whole(job.bytes_per_second).into());
    format!("{}, {rate}/s, {left}", bytes(job.bytes_packed))
}

/// A number without its fraction; what is too large or none is the largest or 0.
fn whole(number: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
    let whole = number.round() as u32;
    whole
}

/// Prints what was read, what is proven by it, what is not, and what went wrong.
pub(crate) fn print(job: &JobProgress, known: &AccountsDocument, screen: Screen) -> std::io::Result<()> {
    let cells = &job.cells;
    let state = match job.state {
        JobState::Done => "done",
        JobState::Running => "running",
        JobState::Cancelled => "interrupted",
        JobState::Failed => "failed",
    };
    let read_before = format!("{} read before", count(cells.skipped));
    let places = counted(job.places, "place");
    sentence(
        &format!(
            "{state}: {} of {places}: {} read, {read_before}, {} without a log file, {} not reached",
            counted(cells.total, "day"),
            count(cells.done),
            count(cells.without_objects),
            count(cells.unreached)
        ),
        screen,
    )?;
    let packed = bytes(job.bytes_packed);
    sentence(
        &format!(
            "{} ({packed}) and {} in {}: {}, {} of KMS",
            counted(job.objects, "log file"),
            counted(job.digests, "digest file"),
            span(whole(job.elapsed_seconds)),
            counted(job.records, "record"),
            count(job.kms_records)
        ),
        screen,
    )?;
    proof(job, known, screen)?;
    if job.problem_count > 0 {
        say("")?;
        sentence(&format!("{}:", counted(job.problem_count, "problem")), screen)?;
        for problem in &job.problems {
            sentence(&format!("  {}", printable(problem)), screen)?;
        }
        let more = job.problem_count.saturating_sub(size(job.problems.len()));
        if more > 0 {
            sentence(&format!("  and {} more, in the log", count(more)), screen)?;
        }
    }
    Ok(())
}

const COLUMNS: [Column; 6] = [
    Column::new("ACCOUNT"),
    Column::new("REGION"),
    Column::new("PROVEN").rank(1).number(),
    Column::new("BY").rank(3),
    Column::new("NOT PROVEN").rank(2).number(),
    Column::new("BECAUSE").rank(4).least(12),
];

/// What is proven of each account and Region within the days that were asked for, and why the rest is not.
fn proof(job: &JobProgress, known: &AccountsDocument, screen: Screen) -> std::io::Result<()> {
    let asked = span_of(&job.request);
    let mut sheet = Sheet::new(&COLUMNS);
    let mut places = 0;
    for account in &known.accounts {
        for RegionDocument { region, history, .. } in &account.regions {
            let is_concerned = is_asked(&job.request.accounts, &account.account)
                && is_asked(&job.request.regions, region)
                && !(history.days.is_empty() && history.covered.is_empty());
            if !is_concerned {
                continue;
            }
            places += 1;
            if places > MOST_PLACES {
                continue;
            }
            let Proven { seconds, by, rest, because } = Proven::of(history, asked);
            sheet.add([
                Cell::new(&account.account.to_string(), Paint::Bold),
                Cell::from(region.name()),
                Cell::from(in_days(seconds)),
                Cell::from(by),
                if rest == 0 { Cell::default() } else { Cell::new(&in_days(rest), Paint::Warning) },
                Cell::from(because),
            ]);
        }
    }
    if places > 0 {
        say("")?;
        sheet.print(screen)?;
    }
    if places > MOST_PLACES {
        let more = counted(size(places - MOST_PLACES), "more line");
        sentence(&format!("{more}: `dormouse accounts`"), screen)?;
    }
    Ok(())
}

fn is_asked<T: PartialEq>(asked: &Option<Vec<T>>, one: &T) -> bool {
    asked.as_ref().is_none_or(|asked| asked.contains(one))
}

/// From the first second of the first day to the end of the last.
fn span_of(request: &BackfillRequest) -> Span {
    let midnight = |day: u32| EventTime::from_seconds(day.saturating_mul(DAY));
    Span { from: midnight(request.from.number()), until: midnight(request.to.number().saturating_add(1)) }
}

/// What history proves within a span.
struct Proven {
    seconds: u32,
    by: String,
    rest: u32,
    because: String,
}

impl Proven {
    fn of(history: &HistoryDocument, asked: Span) -> Self {
        let within =
            |from: EventTime, until: EventTime| until.min(asked.until).seconds_since(from.max(asked.from));
        let covered: Vec<CoveredDocument> =
            history.covered.iter().filter(|one| within(one.from, one.until) > 0).cloned().collect();
        let seconds = covered.iter().map(|one| within(one.from, one.until)).fold(0, u32::saturating_add);
        let rest = asked.until.seconds_since(asked.from).saturating_sub(seconds);
        let gaps: Vec<&Gap> = history.gaps.iter().filter(|gap| within(gap.from, gap.until) > 0).collect();
        let because = match gaps.as_slice() {
            _ if rest == 0 => String::new(),
            [] => "no history was read of it".to_owned(),
            [only] => only.reason.to_string(),
            [first, more @ ..] => format!("{}; and {}", first.reason, counted(size(more.len()), "more gap")),
        };
        Self { seconds, by: by(&covered), rest, because }
    }
}

/// "28 d" or, for less than a day, its largest unit; "0 d" for nothing.
fn in_days(seconds: u32) -> String {
    if seconds == 0 { "0 d".to_owned() } else { span(seconds) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> EventTime {
        text.parse().unwrap()
    }

    fn history(gaps: &[(&str, &str)]) -> HistoryDocument {
        HistoryDocument {
            covered: vec![CoveredDocument {
                from: at("2025-12-30T00:00:00Z"),
                until: at("2026-01-03T00:00:00Z"),
                by: "digests".into(),
            }],
            gaps: gaps
                .iter()
                .map(|(from, until)| Gap { from: at(from), until: at(until), reason: "no digest".into() })
                .collect(),
            ..HistoryDocument::default()
        }
    }

    #[test]
    fn what_is_proven_is_told_within_the_days_that_were_asked_for() {
        let january = Span { from: at("2026-01-01T00:00:00Z"), until: at("2026-01-05T00:00:00Z") };
        let gaps = [
            ("2026-01-03T00:00:00Z", "2026-01-05T00:00:00Z"),
            ("2026-02-01T00:00:00Z", "2026-02-02T00:00:00Z"),
        ];
        let proven = Proven::of(&history(&gaps), january);
        assert_eq!((proven.seconds, proven.rest), (2 * DAY, 2 * DAY));
        assert_eq!((proven.by.as_str(), proven.because.as_str()), ("digests", "no digest"));
        let proven = Proven::of(&history(&[]), january);
        assert_eq!(proven.because, "no history was read of it");
        let whole = Span { from: at("2026-01-01T00:00:00Z"), until: at("2026-01-02T00:00:00Z") };
        let proven = Proven::of(&history(&gaps), whole);
        assert_eq!((proven.rest, proven.because.as_str()), (0, ""));
    }

    #[test]
    fn numbers_without_sense_are_told_without_a_panic() {
        assert_eq!([0.4, 1.5, -1.0, f64::NAN, f64::INFINITY].map(whole), [0, 2, 0, 0, u32::MAX]);
    }
}
