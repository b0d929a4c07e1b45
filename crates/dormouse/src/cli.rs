//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config;

/// Knows when every AWS KMS key of an organisation was last used.
#[derive(Debug, Parser)]
#[command(version, about, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// The configuration file.
    #[arg(long, global = true, env = "DORMOUSE_CONFIG", default_value = config::DEFAULT_PATH, value_name = "FILE")]
    pub(crate) config: PathBuf,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "Exit status: 0 done; 1 failed; 2 some input of a replay could not be read whole; \
                          3 no such key; 64 wrong usage or configuration.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Consume events until stopped (SIGTERM or SIGINT).
    Run,
    /// Show Dormouse at work on a synthetic organisation: everything real but AWS.
    Demo(DemoArgs),
    /// Read CloudTrail files and print the last use of every key in them; needs no AWS.
    Replay(ReplayArgs),
    /// Check the configuration and say what it means.
    Check,
    /// List keys with their last use.
    Keys(KeysArgs),
    /// Show everything about one key.
    Key(KeyArgs),
    /// Show the counters: what was read, and what became of it.
    Status(StatusArgs),
    /// Look at messages that could not be applied.
    Quarantine(QuarantineArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// Files and folders of CloudTrail records, plain or gzip; `-` is standard input.
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    #[arg(long, short, value_enum, default_value = "table")]
    pub(crate) output: Output,
    /// How many threads read and decode; by default one a core.
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// How many ids of counted events are remembered; beyond it, older events merge their evidence without counting.
    #[arg(long, value_name = "N", default_value_t = 64_000_000)]
    pub(crate) id_window: usize,
    /// Take FILE's [operations] and [verdicts] into account (see --config).
    #[arg(long)]
    pub(crate) use_config: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// End by itself after this time of live traffic, e.g. 30s; otherwise at Ctrl-C.
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) until: Option<Duration>,
    /// Keep the store and the log in this folder; otherwise they go with the demo.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Where the server listens; another port is taken if this one is not free.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9774")]
    pub(crate) listen: SocketAddr,
    /// Another seed makes another organisation.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// About how many keys the organisation has.
    #[arg(long, value_name = "N", default_value_t = 150, value_parser = clap::value_parser!(u32).range(12..=20_000))]
    pub(crate) keys: u32,
    /// Live events a second, about.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    pub(crate) rate: u32,
}

/// Where a command that only reads finds its data.
#[derive(Debug, Args)]
pub(crate) struct From {
    /// The store to read; by default the configured one.
    #[arg(long, value_name = "FILE")]
    pub(crate) store: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct KeysArgs {
    #[command(flatten)]
    pub(crate) from: From,
    #[arg(long, short, value_enum, default_value = "table")]
    pub(crate) output: Output,
    /// Only keys of this account.
    #[arg(long, value_name = "ID")]
    pub(crate) account: Option<String>,
    /// Only keys of this Region.
    #[arg(long, value_name = "NAME")]
    pub(crate) region: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    /// The key's ARN.
    #[arg(value_name = "ARN")]
    pub(crate) arn: String,
    #[command(flatten)]
    pub(crate) from: From,
    #[arg(long, short, value_enum, default_value = "table")]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) from: From,
    #[arg(long, short, value_enum, default_value = "table")]
    pub(crate) output: TableOrJson,
}

#[derive(Debug, Args)]
pub(crate) struct QuarantineArgs {
    #[command(subcommand)]
    pub(crate) command: QuarantineCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum QuarantineCommand {
    /// List the messages, without their bodies.
    List(StatusArgs),
    /// Print the whole body of one message.
    Show {
        /// The message's number, from `quarantine list`.
        id: i64,
        #[command(flatten)]
        from: From,
    },
}

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// One JSON document.
    Json,
    /// One line a key.
    Csv,
}

/// What is printed where no one-line form makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TableOrJson {
    /// For people.
    Table,
    /// One JSON document.
    Json,
}
