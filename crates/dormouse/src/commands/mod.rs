//! One file a command.

pub(crate) mod check;
pub(crate) mod demo;
pub(crate) mod keys;
pub(crate) mod quarantine;
pub(crate) mod replay;
pub(crate) mod run;
pub(crate) mod status;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use dormouse_ledger::Judge;
use dormouse_model::{Clock, WallClock};

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

/// Judges keys as of now.
pub(crate) fn judge_now(idle_after: Duration) -> Judge {
    Judge { now: WallClock.now_seconds(), idle_after_seconds: seconds(idle_after) }
}

/// Whole seconds, as many as can be said.
pub(crate) fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}
