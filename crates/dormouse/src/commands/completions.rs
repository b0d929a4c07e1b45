//! `dormouse completions`: a script for a shell.

use std::io::Write;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;

/// Prints the script.
pub(crate) fn completions(shell: Shell) -> anyhow::Result<ExitCode> {
    // Through memory, because a pipe that breaks while the script is generated would be a panic.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "dormouse", &mut script);
    let mut out = std::io::stdout().lock();
    out.write_all(&script)?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
