//! What a replay tells on standard error: every input that was not read whole, and what was refused or odd.

use dormouse_ledger::Counts;
use dormouse_sources::files::{InputError, Skipped};
use dormouse_store::Unknowns;

use super::work::{FileOutcome, MOST_TOLD};
use crate::show::{complain, printable};

/// Says things, and remembers whether all input was read whole.
pub(super) struct Report {
    pub is_whole: bool,
}

impl Default for Report {
    fn default() -> Self {
        Self { is_whole: true }
    }
}

impl Report {
    /// Paths that could not be opened, and files that were left out on purpose.
    pub(super) fn paths(&mut self, errors: &[InputError], skipped: &[Skipped]) {
        for error in errors {
            self.is_whole = false;
            complain(&printable(&error.to_string()));
        }
        for skipped in skipped {
            complain(&printable(&skipped.to_string()));
        }
    }

    /// What became of each file.
    pub(super) fn files(&mut self, files: &[FileOutcome]) {
        for file in files {
            self.file(file);
        }
    }

    fn file(&mut self, file: &FileOutcome) {
        let name = file.place.to_string();
        let tell = |text: &str| complain(&printable(&format!("{name}: {text}")));
        for (offset, problem) in &file.problems {
            self.is_whole = false;
            tell(&format!("at byte {offset}: {problem}"));
        }
        tell_more(file.lost, "problems", &tell);
        for refused in &file.refused {
            tell(&format!("not applied: {refused}"));
        }
        tell_more(file.refused_count, "records not applied", &tell);
        for note in &file.report.notes {
            tell(&format!("note: {} (at byte {})", note.kind, note.offset));
        }
    }

    /// What was understood only in part.
    pub(super) fn unknowns(&self, unknowns: &Unknowns, late: Counts) {
        for (name, operation) in &unknowns.operations {
            complain(&printable(&format!(
                "note: operation {name} is unknown: {} calls, no use until configured",
                operation.calls
            )));
        }
        let unresolved =
            unknowns.unresolved.values().map(|one| one.count).sum::<u64>() + unknowns.unresolved_overflow;
        if unresolved > 0 {
            let names: Vec<_> =
                unknowns.unresolved.keys().take(MOST_TOLD).map(|name| name.trim_end()).collect();
            let names = names.join(", ");
            complain(&printable(&format!(
                "note: {unresolved} calls name no key, only an alias or nothing: {names}"
            )));
        }
        if late != Counts::default() {
            let Counts { uses, attempts, changes } = late;
            complain(&format!(
                "note: not counted because --id-window was too small: {uses} uses, {attempts} attempts, {changes} changes"
            ));
        }
    }
}

fn tell_more(count: u64, what: &str, tell: &impl Fn(&str)) {
    let more = count.saturating_sub(MOST_TOLD as u64);
    if more > 0 {
        tell(&format!("and {more} more {what}"));
    }
}
