//! How far a pass through accounts and Regions is, and what it did.

use std::io::IsTerminal;

use dormouse_inventory::{PassFailure, PassOutcome, PassReport};
use indicatif::{ProgressBar, ProgressStyle};

use super::lines::sentence;
use super::screen::{Paint, Screen};
use super::sheet::{Cell, Column, Sheet};
use super::words::{count, counted};

const COLUMNS: [Column; 2] = [Column::new("REQUEST"), Column::new("SENT").number()];

/// So many failures are told; JSON has more.
const MOST_FAILURES: usize = 20;

/// The progress, on standard error of a terminal.
pub(crate) struct Progress(Option<ProgressBar>);

impl Progress {
    /// Shows nothing yet.
    pub(crate) fn new() -> Self {
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} Regions of accounts  {msg}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        Self(std::io::stderr().is_terminal().then(|| ProgressBar::new(0).with_style(style)))
    }

    /// Shows how far the pass is.
    pub(crate) fn show(&mut self, report: &PassReport) {
        if let Some(bar) = &self.0 {
            let places = &report.places;
            bar.set_length(places.total);
            bar.set_position(places.done + places.not_enabled + places.incomplete + places.failed);
            bar.set_message(counted(report.keys.listed, "key"));
        }
    }

    /// Takes it away.
    pub(crate) fn end(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// Prints what a pass did, its requests by operation, and what failed.
pub(crate) fn print(report: &PassReport, screen: Screen) -> std::io::Result<()> {
    let PassReport { accounts, places, keys, .. } = report;
    let outcome = report.outcome.map_or("running", PassOutcome::name);
    sentence(
        &format!(
            "{outcome} in {:.1} s: {}, {} not active, {} denied; {} of accounts: {} read, {} not enabled, {} not whole, \
             {} failed, {} not reached",
            report.seconds,
            counted(accounts.listed, "account"),
            count(accounts.inactive),
            count(accounts.denied),
            counted(places.total, "Region"),
            count(places.done),
            count(places.not_enabled),
            count(places.incomplete),
            count(places.failed),
            count(places.left)
        ),
        screen,
    )?;
    sentence(
        &format!(
            "{}: {} new, {} changed, {} gone, {} described again, {} that we may not describe, {} unanswered",
            counted(keys.listed, "key"),
            count(keys.new),
            count(keys.changed),
            count(keys.gone),
            count(keys.redescribed),
            count(keys.refused),
            count(keys.unanswered)
        ),
        screen,
    )?;
    let mut sheet = Sheet::new(&COLUMNS);
    for (action, &sent) in &report.requests {
        sheet.add([Cell::new(action, Paint::Bold), Cell::from(count(sent))]);
    }
    sheet.print(screen)?;
    if report.throttled > 0 {
        sentence(&format!("{} throttled, and sent again", counted(report.throttled, "request")), screen)?;
    }
    for PassFailure { account, region, failure } in report.failures.iter().take(MOST_FAILURES) {
        let account = account.map_or("-".to_owned(), |account| account.to_string());
        let region = region.map_or("-", dormouse_model::Region::name);
        sentence(&format!("{account} {region}: {}: {}", failure.operation, failure.message), screen)?;
    }
    let told = report.failures.len().min(MOST_FAILURES) as u64;
    let more = report.failures_total.saturating_sub(told);
    if more > 0 {
        sentence(&format!("and {} more", counted(more, "failure")), screen)?;
    }
    Ok(())
}
