//! One file a command.

pub(crate) mod check;
pub(crate) mod keys;
pub(crate) mod quarantine;
pub(crate) mod replay;
pub(crate) mod run;
pub(crate) mod status;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use dormouse_ledger::Verdict;
use dormouse_model::EventTime;

use crate::cli;
use crate::config::{Config, VerdictsConfig};

/// The store that a reading command reads, and the threshold it judges by.
pub(crate) struct StoreChoice {
    pub(crate) store: PathBuf,
    pub(crate) idle_after: Duration,
}

impl StoreChoice {
    /// With `--store` no configuration is needed; if the default one is there, its threshold counts.
    pub(crate) fn of(cli: &cli::Cli, from: &cli::From) -> anyhow::Result<Self> {
        if let Some(store) = &from.store {
            let idle_after = if cli.config.exists() {
                Config::read(&cli.config)?.verdicts.idle_after
            } else {
                VerdictsConfig::default().idle_after
            };
            return Ok(Self { store: store.clone(), idle_after });
        }
        let config =
            Config::read(&cli.config).context("no --store FILE was named, so the configuration is read")?;
        Ok(Self { store: config.store.path, idle_after: config.verdicts.idle_after })
    }
}

/// How keys are judged at one moment.
pub(crate) fn judge_at(now: EventTime, idle_after: Duration) -> impl Fn(Option<EventTime>) -> Verdict + Copy {
    let idle_after = u32::try_from(idle_after.as_secs()).unwrap_or(u32::MAX);
    move |last_use| Verdict::without_coverage(last_use, now, idle_after)
}
