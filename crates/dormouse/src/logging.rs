//! Log lines go to standard error, as text or JSON.

use std::fs::File;
use std::path::Path;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};

/// Starts logging. The SDK's own crates log from warnings on.
pub(crate) fn start(config: &LogConfig) -> anyhow::Result<()> {
    let filter = filter(config)?;
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    match config.format {
        LogFormat::Text => log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}

/// Starts logging into a file, as text, where a screen needs the terminal for itself.
pub(crate) fn start_in_file(path: &Path) -> anyhow::Result<()> {
    let file = File::options().create(true).append(true).open(path);
    let file = file.with_context(|| format!("cannot write the log {}", path.display()))?;
    let filter = filter(&LogConfig::default())?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(file)
        .with_target(false)
        .with_ansi(false)
        .init();
    Ok(())
}

fn filter(config: &LogConfig) -> anyhow::Result<EnvFilter> {
    let filter = EnvFilter::try_new(&config.level)
        .with_context(|| format!("[log] level: {:?}; use error, warn, info, debug or trace", config.level))?;
    Ok(["aws_config=warn", "aws_smithy_runtime=warn", "aws_runtime=warn", "hyper_util=warn"]
        .into_iter()
        .filter_map(|directive| directive.parse().ok())
        .fold(filter, EnvFilter::add_directive))
}
