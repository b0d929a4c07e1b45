//! What people and programs see: tables, JSON, CSV. Hostile text is made harmless here, for where it goes.

pub(crate) mod accounts;
pub(crate) mod backfill;
pub(crate) mod csv;
pub(crate) mod json;
pub(crate) mod key;
pub(crate) mod keys;
mod lines;
pub(crate) mod quarantine;
pub(crate) mod reconcile;
mod screen;
mod sheet;
pub(crate) mod status;
pub(crate) mod who;
pub(crate) mod words;

use std::io::Write;

pub(crate) use dormouse_model::printable;
pub(crate) use screen::Screen;

/// A line on standard output.
pub(crate) fn say(line: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout().lock(), "{line}")
}

/// A line on standard error, with the program's name before it.
pub(crate) fn complain(line: &str) {
    // Nobody is left to be told if standard error is gone.
    let _ = writeln!(std::io::stderr().lock(), "dormouse: {line}");
}
