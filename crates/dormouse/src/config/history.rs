//! What the configuration says about history: how it is read, and what is declared of it.

use anyhow::{Context, bail};
use dormouse_history::USUAL_CONCURRENCY;
use dormouse_ledger::Declared;
use dormouse_ledger::Span;
use dormouse_model::{AccountId, Clock, EventTime, Region, WallClock};
use dormouse_pipeline::AllowedObjects;
use serde::Deserialize;

use super::values::{day, some_bytes};

/// Who reads more at once holds more in memory and gains nothing.
const MOST_CONCURRENCY: usize = 256;

/// History: how a trail's past is read, and what is declared of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct HistoryConfig {
    /// How many objects are read at once.
    pub(crate) concurrency: usize,
    /// How many bytes a second are read; no bound if absent.
    #[serde(deserialize_with = "some_bytes")]
    pub(crate) bandwidth: Option<u64>,
    /// The Region in which buckets are looked for first.
    pub(crate) region: Option<String>,
    /// Another endpoint than AWS's own, for tests and private links.
    pub(crate) endpoint_url: Option<String>,
    /// The buckets, or parts of them, that may be read; any if empty.
    pub(crate) buckets: Vec<String>,
    /// The spans that are complete by somebody's word.
    pub(crate) declared: Vec<DeclaredConfig>,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        Self {
            concurrency: USUAL_CONCURRENCY,
            bandwidth: None,
            region: None,
            endpoint_url: None,
            buckets: Vec::new(),
            declared: Vec::new(),
        }
    }
}

/// Days of which somebody says that the history is complete.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeclaredConfig {
    /// The accounts; all if empty.
    #[serde(default)]
    pub(crate) accounts: Vec<AccountId>,
    /// The Regions; all if empty.
    #[serde(default)]
    pub(crate) regions: Vec<Region>,
    /// The first day.
    #[serde(deserialize_with = "day")]
    pub(crate) from: u32,
    /// The last day.
    #[serde(deserialize_with = "day")]
    pub(crate) to: u32,
}

impl HistoryConfig {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        if !(1..=MOST_CONCURRENCY).contains(&self.concurrency) {
            bail!("concurrency: 1 to {MOST_CONCURRENCY}; the default is {USUAL_CONCURRENCY}");
        }
        if self.bandwidth.is_some_and(|bandwidth| bandwidth < 1 << 20) {
            bail!("bandwidth: at least \"1MiB\" (a second); leave it out for no bound");
        }
        self.allowed().map(drop)?;
        let today = WallClock.now_seconds().day();
        for declared in &self.declared {
            if declared.to >= today {
                bail!("[[history.declared]] to: a day that has not ended cannot be declared complete");
            }
            if declared.from > declared.to {
                bail!(
                    "[[history.declared]] from: the first day is behind the last; from and to are both in it"
                );
            }
        }
        Ok(())
    }

    /// The buckets, or parts of them, that may be read; any if empty.
    pub(crate) fn allowed(&self) -> anyhow::Result<AllowedObjects> {
        AllowedObjects::parse(self.buckets.iter().map(String::as_str)).context("buckets")
    }

    /// What is declared, for those who tell it.
    pub(crate) fn declared(&self) -> Vec<Declared> {
        self.declared.iter().map(DeclaredConfig::declared).collect()
    }
}

impl DeclaredConfig {
    fn declared(&self) -> Declared {
        let midnight = |day: u32| EventTime::from_seconds(day.saturating_mul(86_400));
        Declared {
            accounts: self.accounts.clone(),
            regions: self.regions.clone(),
            span: Span { from: midnight(self.from), until: midnight(self.to.saturating_add(1)) },
            delay_seconds: 0,
        }
    }
}
