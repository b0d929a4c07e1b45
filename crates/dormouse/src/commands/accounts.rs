//! `dormouse accounts`: what was received from accounts and Regions, and what history proves.

use std::process::ExitCode;

use dormouse_model::{Clock, WallClock};

use crate::ask::Asked;
use crate::cli::{AccountsArgs, TableOrJson};
use crate::show::{self, Screen};

/// Lists accounts and Regions.
pub(crate) fn accounts(args: &AccountsArgs, asked: &Asked, screen: Screen) -> anyhow::Result<ExitCode> {
    let known = asked.accounts(&args.account, &args.region)?;
    match args.output {
        TableOrJson::Json => show::json::print(&known)?,
        TableOrJson::Table => show::accounts::print(&known, WallClock.now_seconds(), screen)?,
    }
    Ok(ExitCode::SUCCESS)
}
