//! `dormouse status`: how an instance or a store is doing.

use std::process::ExitCode;

use crate::ask::Asked;
use crate::cli::TableOrJson;
use crate::show::{self, Screen};

/// Shows the counters, and of an instance how it is.
pub(crate) fn status(output: TableOrJson, asked: &Asked, screen: Screen) -> anyhow::Result<ExitCode> {
    let status = asked.status()?;
    match output {
        TableOrJson::Json => show::json::print(&status)?,
        TableOrJson::Table => show::status::print(&status, screen)?,
    }
    Ok(ExitCode::SUCCESS)
}
