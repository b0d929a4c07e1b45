//! The `dormouse` program: its command line, configuration, wiring, supervision and drain.

mod cli;
mod commands;
mod config;
mod instance;
mod logging;
mod show;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use config::Config;

/// Decoding makes many small, short-lived lists on all cores, which this allocator is made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Wrong usage or configuration, as in `sysexits.h`.
const EXIT_USAGE: u8 = 64;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are printed the same way, and are no errors.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match cli.command {
        Command::Run => with_server_config(&cli, commands::run::run),
        Command::Check => with_server_config(&cli, |config| commands::check::check(&config, &cli.config)),
        Command::Replay(ref args) if args.use_config => {
            with_config(&cli, |config| commands::replay::replay(args, &config))
        }
        Command::Replay(ref args) => finish(commands::replay::replay(args, &Config::default())),
        Command::Keys(ref args) => with_store(&cli, &args.from, |from| commands::keys::keys(args, from)),
        Command::Key(ref args) => with_store(&cli, &args.from, |from| commands::keys::key(args, from)),
        Command::Status(ref args) => {
            with_store(&cli, &args.from, |from| commands::status::status(args.output, &from.store))
        }
        Command::Quarantine(ref args) => {
            let from = commands::quarantine::from(args);
            with_store(&cli, from, |from| commands::quarantine::quarantine(args, &from.store))
        }
    }
}

/// Runs a command that needs the configuration; a bad one stops it before anything else happens.
fn with_config(cli: &Cli, command: impl FnOnce(Config) -> anyhow::Result<ExitCode>) -> ExitCode {
    with_right(Config::read(&cli.config), command)
}

/// The same for commands that the server's settings concern.
fn with_server_config(cli: &Cli, command: impl FnOnce(Config) -> anyhow::Result<ExitCode>) -> ExitCode {
    let config = Config::read(&cli.config);
    with_right(config.and_then(|config| config.http.check().map(|()| config)), command)
}

fn with_right(
    config: anyhow::Result<Config>,
    command: impl FnOnce(Config) -> anyhow::Result<ExitCode>,
) -> ExitCode {
    match config {
        Ok(config) => finish(command(config)),
        Err(error) => {
            show::complain(&format!("{error:#}"));
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// Runs a command that reads a store: the one named, else the configured one.
fn with_store(
    cli: &Cli,
    from: &cli::From,
    command: impl FnOnce(&commands::StoreChoice) -> anyhow::Result<ExitCode>,
) -> ExitCode {
    match commands::StoreChoice::of(cli, from) {
        Ok(choice) => finish(command(&choice)),
        Err(error) => {
            show::complain(&format!("{error:#}"));
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn finish(outcome: anyhow::Result<ExitCode>) -> ExitCode {
    outcome.unwrap_or_else(|error| {
        if is_broken_pipe(&error) {
            // Whoever read has read enough: `dormouse keys | head`.
            return ExitCode::SUCCESS;
        }
        show::complain(&format!("{error:#}"));
        ExitCode::FAILURE
    })
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let is_pipe = |kind: Option<std::io::ErrorKind>| kind == Some(std::io::ErrorKind::BrokenPipe);
    error.chain().any(|cause| {
        is_pipe(cause.downcast_ref().map(std::io::Error::kind))
            || is_pipe(cause.downcast_ref().and_then(serde_json::Error::io_error_kind))
    })
}
