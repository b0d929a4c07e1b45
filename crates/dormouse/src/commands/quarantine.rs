//! `dormouse quarantine`: messages that could not be applied.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use dormouse_model::{Clock, WallClock};
use dormouse_pipeline::{QuarantineAction, QuarantineOutcome};
use dormouse_server::api::QuarantinePage;

use crate::ask::Asked;
use crate::cli::{QuarantineCommand, TableOrJson};
use crate::exit::{self, Usage};
use crate::show::words::{counted, size};
use crate::show::{self, Screen, say};

/// Lists, shows, tries or drops messages.
pub(crate) fn quarantine(
    command: &QuarantineCommand,
    asked: &Asked,
    screen: Screen,
) -> anyhow::Result<ExitCode> {
    match command {
        QuarantineCommand::List(list) => {
            let messages = asked.quarantine()?;
            match list.output {
                TableOrJson::Json => show::json::print(&QuarantinePage { messages, next: None })?,
                TableOrJson::Table => show::quarantine::print(&messages, WallClock.now_seconds(), screen)?,
            }
            Ok(ExitCode::SUCCESS)
        }
        QuarantineCommand::Show { id, .. } => {
            print_body(&asked.quarantined_body(*id)?)?;
            Ok(ExitCode::SUCCESS)
        }
        QuarantineCommand::Retry { all: true, .. } => {
            let ids: Vec<i64> = asked.quarantine()?.iter().map(|message| message.id).collect();
            if ids.is_empty() {
                say("the quarantine is empty")?;
            }
            act(asked, &ids, QuarantineAction::Retry)
        }
        QuarantineCommand::Retry { ids, .. } => act(asked, ids, QuarantineAction::Retry),
        QuarantineCommand::Drop { ids, yes, .. } => {
            if !yes && !confirmed(ids)? {
                say("nothing was dropped")?;
                return Ok(ExitCode::SUCCESS);
            }
            act(asked, ids, QuarantineAction::Drop)
        }
    }
}

/// As it is into a pipe; made harmless on a terminal.
fn print_body(body: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if out.is_terminal() {
        return writeln!(out, "{}", show::printable(&String::from_utf8_lossy(body)));
    }
    out.write_all(body)?;
    out.flush()
}

/// Does the same with every message and says of each what became of it.
fn act(asked: &Asked, ids: &[i64], action: QuarantineAction) -> anyhow::Result<ExitCode> {
    let (mut is_missing, mut has_failed) = (false, false);
    asked.act(ids, action, &mut |id, outcome| {
        match outcome {
            QuarantineOutcome::NoSuchMessage => is_missing = true,
            QuarantineOutcome::Refused { .. } | QuarantineOutcome::NotNow => has_failed = true,
            QuarantineOutcome::Applied | QuarantineOutcome::Dropped => {}
        }
        Ok(say(&format!("{id}: {}", show::quarantine::outcome(outcome)))?)
    })?;
    Ok(match (has_failed, is_missing) {
        (true, _) => ExitCode::FAILURE,
        (false, true) => ExitCode::from(exit::NO_SUCH),
        (false, false) => ExitCode::SUCCESS,
    })
}

/// Asks whoever sits at the terminal.
fn confirmed(ids: &[i64]) -> anyhow::Result<bool> {
    let what = counted(size(ids.len()), "message");
    if !std::io::stdin().is_terminal() {
        return Err(Usage(format!(
            "{what} would be deleted for good, and there is nobody to ask; say --yes"
        ))
        .into());
    }
    let mut out = std::io::stderr().lock();
    write!(out, "delete {what} unapplied, for good? [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
