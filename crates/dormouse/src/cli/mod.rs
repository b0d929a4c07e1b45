//! The command line.

mod backfill;
mod filter;
pub(crate) mod help;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use dormouse_model::{AccountId, Region};

use crate::config;
pub(crate) use backfill::BackfillArgs;
pub(crate) use filter::FilterArgs;

/// Knows when every AWS KMS key of an organisation was last used.
#[derive(Debug, Parser)]
#[command(version, about, after_help = help::program(), max_term_width = 110)]
pub(crate) struct Cli {
    /// The configuration file.
    #[arg(long, global = true, env = "DORMOUSE_CONFIG", default_value = config::DEFAULT_PATH, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Whether tables have colours; `auto`: on a terminal, unless NO_COLOR is set.
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "WHEN")]
    pub(crate) color: Color,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Consume events until stopped (SIGTERM or SIGINT).
    #[command(after_help = help::RUN)]
    Run,
    /// Show Dormouse at work on a synthetic organisation: everything real but AWS.
    #[command(after_help = help::DEMO)]
    Demo(DemoArgs),
    /// Read CloudTrail files and print the last use of every key in them; needs no AWS.
    #[command(after_help = help::REPLAY)]
    Replay(ReplayArgs),
    /// Check the configuration and say what it means.
    #[command(after_help = help::CHECK)]
    Check,
    /// List keys with their last use: when, by whom, for what.
    #[command(after_help = help::KEYS)]
    Keys(Box<KeysArgs>),
    /// Show everything about one key.
    #[command(after_help = help::KEY)]
    Key(KeyArgs),
    /// Show how an instance or a store is doing: what was read, and what became of it.
    #[command(after_help = help::STATUS)]
    Status(StatusArgs),
    /// List accounts and Regions: what AWS says of them, what was received, and what is proven.
    #[command(after_help = help::ACCOUNTS)]
    Accounts(AccountsArgs),
    /// Let the instance ask AWS now which keys there are, and say what it found.
    #[command(after_help = help::RECONCILE)]
    Reconcile(ReconcileArgs),
    /// Read a trail's history, once: what was used before Dormouse ran.
    #[command(after_help = help::BACKFILL)]
    Backfill(Box<BackfillArgs>),
    /// Look at messages that could not be applied, and try or drop them.
    #[command(after_help = help::QUARANTINE)]
    Quarantine(QuarantineArgs),
    /// Print a script that completes commands and options in a shell.
    #[command(after_help = help::COMPLETIONS)]
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the manual page, or write one for each command.
    #[command(after_help = help::MAN)]
    Man {
        /// Write dormouse.1, dormouse-keys.1 and so on to this folder, which must exist.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
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
    #[arg(long, value_name = "N", default_value_t = 150, value_parser = clap::value_parser!(u32).range(12..=5_000))]
    pub(crate) keys: u32,
    /// Live events a second, about.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    pub(crate) rate: u32,
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// Files and folders of CloudTrail records, plain or gzip; `-` is standard input.
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// What is printed.
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

/// Who is asked: an instance, or a store's file.
#[derive(Debug, Args)]
#[command(next_help_heading = "Who is asked")]
pub(crate) struct WhereArgs {
    /// Ask the instance at this http:// or https:// URL; by default the configured one.
    #[arg(long, value_name = "URL", conflicts_with = "store")]
    pub(crate) url: Option<String>,
    /// Read this store instead of asking an instance; works beside a running one.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["token_file", "allow_plaintext_token"])]
    pub(crate) store: Option<PathBuf>,
    /// Take the token for the instance from this file; DORMOUSE_HTTP_TOKEN, if set, goes before it.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Send the token over plain http to another machine, where others on the way can read it.
    #[arg(long)]
    pub(crate) allow_plaintext_token: bool,
}

#[derive(Debug, Args)]
pub(crate) struct KeysArgs {
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    /// Show at most so many keys, 0 for all; by default 50 on a terminal and all elsewhere.
    #[arg(long, value_name = "N", help_heading = "Order and number")]
    pub(crate) limit: Option<usize>,
    /// Show all keys, the same as --limit 0.
    #[arg(long, conflicts_with = "limit", help_heading = "Order and number")]
    pub(crate) all: bool,
    /// What is printed.
    #[arg(long, short, value_enum, default_value = "table")]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) place: WhereArgs,
}

#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    /// The key's ARN, its id or at least the first 8 characters of it, or an alias of it (alias/app); several keys that
    /// it fits are listed.
    #[arg(value_name = "KEY")]
    pub(crate) name: String,
    /// What is printed.
    #[arg(long, short, value_enum, default_value = "table")]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) place: WhereArgs,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// What is printed.
    #[arg(long, short, value_enum, default_value = "table")]
    pub(crate) output: TableOrJson,
    #[command(flatten)]
    pub(crate) place: WhereArgs,
}

#[derive(Debug, Args)]
pub(crate) struct AccountsArgs {
    /// Only this account.
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub(crate) account: Vec<AccountId>,
    /// Only this Region.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) region: Vec<Region>,
    /// What is printed.
    #[arg(long, short, value_enum, default_value = "table")]
    pub(crate) output: TableOrJson,
    #[command(flatten)]
    pub(crate) place: WhereArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ReconcileArgs {
    /// Only this account.
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub(crate) account: Vec<AccountId>,
    /// Only this Region.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) region: Vec<Region>,
    /// Do not wait for the end of the pass.
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// What is printed.
    #[arg(long, short, value_enum, default_value = "table")]
    pub(crate) output: TableOrJson,
    #[command(flatten)]
    pub(crate) place: WhereArgs,
}

#[derive(Debug, Args)]
pub(crate) struct QuarantineArgs {
    #[command(subcommand)]
    pub(crate) command: QuarantineCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum QuarantineCommand {
    /// List the messages, without their bodies.
    #[command(after_help = help::QUARANTINE_LIST)]
    List(StatusArgs),
    /// Print the whole body of one message: as it is into a pipe, made harmless on a terminal.
    #[command(after_help = help::QUARANTINE_SHOW)]
    Show {
        /// The message's number, from `quarantine list`.
        id: i64,
        #[command(flatten)]
        place: WhereArgs,
    },
    /// Decode messages once more; those that are understood now are applied and leave the quarantine.
    #[command(after_help = help::QUARANTINE_RETRY)]
    Retry {
        /// The messages' numbers, from `quarantine list`.
        #[arg(value_name = "ID", required_unless_present = "all")]
        ids: Vec<i64>,
        /// Try every message that is in the quarantine now.
        #[arg(long, conflicts_with = "ids")]
        all: bool,
        #[command(flatten)]
        place: WhereArgs,
    },
    /// Delete messages unapplied, for good.
    #[command(after_help = help::QUARANTINE_DROP)]
    Drop {
        /// The messages' numbers, from `quarantine list`.
        #[arg(value_name = "ID", required = true)]
        ids: Vec<i64>,
        /// Do not ask before.
        #[arg(long, short)]
        yes: bool,
        #[command(flatten)]
        place: WhereArgs,
    },
}

impl QuarantineCommand {
    /// Who is asked.
    pub(crate) fn place(&self) -> &WhereArgs {
        match self {
            Self::List(list) => &list.place,
            Self::Show { place, .. } | Self::Retry { place, .. } | Self::Drop { place, .. } => place,
        }
    }
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

/// Whether tables have colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set or TERM is dumb.
    Auto,
    /// Wherever the table goes.
    Always,
    /// Nowhere.
    Never,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_instance_and_a_store_exclude_each_other() {
        let both = ["dormouse", "keys", "--url", "http://127.0.0.1:1", "--store", "x.db"];
        assert!(Cli::try_parse_from(both).is_err());
        assert!(Cli::try_parse_from(["dormouse", "quarantine", "retry"]).is_err());
        assert!(Cli::try_parse_from(["dormouse", "quarantine", "retry", "1", "--all"]).is_err());
    }

    #[test]
    fn every_command_says_how_it_is_used() {
        fn check(command: &clap::Command) {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name} says nothing");
            let more = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(more.contains("Examples:"), "{name} has no examples");
            command.get_subcommands().filter(|sub| sub.get_name() != "help").for_each(check);
        }
        check(&Cli::command());
    }
}
