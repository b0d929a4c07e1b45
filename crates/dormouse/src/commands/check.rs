//! `dormouse check`: is the configuration right, and what does it mean?

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::config::Config;
use crate::show::say;

/// The configuration was read and checked already; says what it amounts to.
pub(crate) fn check(config: &Config, path: &Path) -> anyhow::Result<ExitCode> {
    let table = config.operation_table()?;
    say(&format!("{} is right.", path.display()))?;
    say(&format!("store     {}", config.store.path.display()))?;
    for source in &config.sources {
        say(&format!("source    {}: sqs {}", source.name, source.queue_url))?;
    }
    if config.sources.is_empty() {
        say("source    none: `dormouse run` needs at least one [[sources]]")?;
    }
    say(&format!("in use    {}", table.in_use_names().join(", ")))?;
    say(&format!("idle      after {}", in_days(config.verdicts.idle_after)))?;
    Ok(ExitCode::SUCCESS)
}

/// Whole days as such: "90d", not "2months 29days 2h 52m 48s".
fn in_days(duration: Duration) -> String {
    const DAY: u64 = 86_400;
    let seconds = duration.as_secs();
    if seconds >= DAY && seconds.is_multiple_of(DAY) {
        return format!("{}d", seconds / DAY);
    }
    humantime::format_duration(duration).to_string()
}
