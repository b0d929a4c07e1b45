//! Which history is read, and into which store.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use dormouse_history::Day;
use dormouse_model::{AccountId, Region};

use super::{TableOrJson, WhereArgs};
use crate::config;

/// What is read, how, and by whom.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("origin").required(true).args(["bucket", "local"]))]
pub(crate) struct BackfillArgs {
    /// The bucket into which the trail writes.
    #[arg(long, value_name = "NAME")]
    pub(crate) bucket: Option<String>,
    /// A folder that is laid out as the bucket is, instead.
    #[arg(long, value_name = "DIR")]
    pub(crate) local: Option<PathBuf>,
    /// What stands before AWSLogs/ in it.
    #[arg(long, value_name = "PREFIX", default_value = "")]
    pub(crate) prefix: String,
    /// The first UTC day, e.g. 2026-01-31.
    #[arg(long, value_name = "DAY")]
    pub(crate) from: Day,
    /// The last UTC day; it must have ended 6 hours ago.
    #[arg(long, value_name = "DAY")]
    pub(crate) to: Day,
    /// Only these accounts.
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub(crate) accounts: Vec<AccountId>,
    /// Only these Regions.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) regions: Vec<Region>,
    /// How many objects are read at once; by default as configured, else 8.
    #[arg(long, value_name = "N")]
    pub(crate) concurrency: Option<usize>,
    /// How many bytes a second are read at most, e.g. 50MiB; by default as configured, else without a bound.
    #[arg(long, value_name = "BYTES", value_parser = config::parse_bytes)]
    pub(crate) bandwidth: Option<u64>,
    /// The Region in which the bucket is looked for first; an instance has its own.
    #[arg(long, value_name = "NAME")]
    pub(crate) region: Option<String>,
    /// Another endpoint of S3 than AWS's own; an instance has its own.
    #[arg(long, value_name = "URL")]
    pub(crate) endpoint_url: Option<String>,
    /// Read days once more that were read already.
    #[arg(long)]
    pub(crate) again: bool,
    /// What is printed at the end.
    #[arg(long, short, value_enum, default_value = "table")]
    pub(crate) output: TableOrJson,
    /// The store that takes it; by default the configured one. If an instance writes to it, that one does the work.
    #[arg(long, value_name = "FILE", help_heading = "Whose work it is")]
    pub(crate) store: Option<PathBuf>,
    /// Let the instance at this http:// or https:// URL do the work.
    #[arg(long, value_name = "URL", help_heading = "Whose work it is")]
    pub(crate) url: Option<String>,
    /// Take the token for the instance from this file; DORMOUSE_HTTP_TOKEN, if set, goes before it.
    #[arg(long, value_name = "FILE", help_heading = "Whose work it is")]
    pub(crate) token_file: Option<PathBuf>,
    /// Send the token over plain http to another machine, where others on the way can read it.
    #[arg(long, help_heading = "Whose work it is")]
    pub(crate) allow_plaintext_token: bool,
}

impl BackfillArgs {
    /// Which instance may be asked.
    pub(crate) fn instance(&self) -> WhereArgs {
        WhereArgs {
            url: self.url.clone(),
            store: None,
            token_file: self.token_file.clone(),
            allow_plaintext_token: self.allow_plaintext_token,
        }
    }
}
