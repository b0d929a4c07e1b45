//! The `dormouse` program: its command line, configuration, wiring, supervision and drain.

mod ask;
mod cli;
mod commands;
mod config;
mod exit;
mod historian;
mod instance;
mod inventory;
mod logging;
mod memory;
mod show;
mod supervisor;

use std::process::ExitCode;

use clap::Parser;

use ask::Asked;
use cli::{Cli, Command, WhereArgs};
use config::Config;
use show::Screen;

/// Decoding makes many small, short-lived lists on all cores, which this allocator is made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are printed the same way, and are no errors.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(exit::USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let screen = Screen::of_stdout(cli.color);
    match cli.command {
        Command::Run => {
            memory::give_back_at_once();
            with_server_config(&cli, commands::run::run)
        }
        Command::Check => with_server_config(&cli, |config| commands::check::check(&config, &cli.config)),
        Command::Demo(ref args) => finish(commands::demo::demo(args)),
        Command::Replay(ref args) if args.use_config => {
            with_config(&cli, |config| commands::replay::replay(args, &config, screen))
        }
        Command::Replay(ref args) => finish(commands::replay::replay(args, &Config::default(), screen)),
        Command::Keys(ref args) => ask(&cli, &args.place, |asked| commands::keys::keys(args, asked, screen)),
        Command::Key(ref args) => ask(&cli, &args.place, |asked| commands::keys::key(args, asked, screen)),
        Command::Status(ref args) => {
            ask(&cli, &args.place, |asked| commands::status::status(args.output, asked, screen))
        }
        Command::Accounts(ref args) => {
            ask(&cli, &args.place, |asked| commands::accounts::accounts(args, asked, screen))
        }
        Command::Backfill(ref args) => finish(commands::backfill::backfill(args, &cli, screen)),
        Command::Reconcile(ref args) => finish(commands::reconcile::reconcile(args, &cli, screen)),
        Command::Quarantine(ref args) => ask(&cli, args.command.place(), |asked| {
            commands::quarantine::quarantine(&args.command, asked, screen)
        }),
        Command::Completions { shell } => finish(commands::completions::completions(shell)),
        Command::Man { ref dir } => finish(commands::man::man(dir.as_deref())),
    }
}

/// Runs a command that needs the configuration; a bad one stops it before anything else happens.
fn with_config(cli: &Cli, command: impl FnOnce(Config) -> anyhow::Result<ExitCode>) -> ExitCode {
    finish(right(Config::read(&cli.config)).and_then(command))
}

/// The same for commands that the server's settings concern.
fn with_server_config(cli: &Cli, command: impl FnOnce(Config) -> anyhow::Result<ExitCode>) -> ExitCode {
    let config = Config::read(&cli.config);
    finish(right(config.and_then(|config| config.http.check().map(|()| config))).and_then(command))
}

/// A configuration that is not right is wrong usage.
fn right(config: anyhow::Result<Config>) -> anyhow::Result<Config> {
    config.map_err(|error| exit::Usage(format!("{error:#}")).into())
}

/// Runs a command that asks an instance or a store.
fn ask(cli: &Cli, place: &WhereArgs, command: impl FnOnce(&Asked) -> anyhow::Result<ExitCode>) -> ExitCode {
    finish(ask::choose(cli, place).and_then(|asked| command(&asked)))
}

fn finish(outcome: anyhow::Result<ExitCode>) -> ExitCode {
    outcome.unwrap_or_else(|error| {
        if exit::is_broken_pipe(&error) {
            return ExitCode::SUCCESS;
        }
        // What others have said may be in it, so each line is made harmless.
        for line in format!("{error:#}").lines() {
            show::complain(&show::printable(line));
        }
        exit::status_of(&error)
    })
}
