//! `dormouse quarantine`: messages that could not be applied.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use dormouse_store::Reader;

use crate::cli::{From, QuarantineArgs, QuarantineCommand, TableOrJson};
use crate::show;

const EXIT_NO_SUCH_MESSAGE: u8 = 3;

/// Where the command was told to look.
pub(crate) fn from(args: &QuarantineArgs) -> &From {
    match &args.command {
        QuarantineCommand::List(list) => &list.from,
        QuarantineCommand::Show { from, .. } => from,
    }
}

/// Lists or shows messages.
pub(crate) fn quarantine(args: &QuarantineArgs, store: &Path) -> anyhow::Result<ExitCode> {
    let reader = Reader::open(store)?;
    match &args.command {
        QuarantineCommand::List(list) => {
            let messages = reader.quarantine(0, usize::MAX)?;
            match list.output {
                TableOrJson::Json => show::json::print(&messages)?,
                TableOrJson::Table => show::table::quarantine(&messages)?,
            }
        }
        QuarantineCommand::Show { id, .. } => {
            let Some(kept) = reader.quarantined(*id)? else {
                show::complain(&format!(
                    "there is no message {id} in the quarantine; see `dormouse quarantine list`"
                ));
                return Ok(ExitCode::from(EXIT_NO_SUCH_MESSAGE));
            };
            print_body(&kept.message.body)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// As it is into a pipe; made harmless on a terminal.
fn print_body(body: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if std::io::IsTerminal::is_terminal(&out) {
        return writeln!(out, "{}", show::printable(&String::from_utf8_lossy(body)));
    }
    out.write_all(body)
}
