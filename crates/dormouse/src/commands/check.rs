//! `dormouse check`: is the configuration right, and what does it mean?

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::config::{Config, HttpConfig};
use crate::show::say;

/// The configuration was read and checked already; says what it amounts to.
pub(crate) fn check(config: &Config, path: &Path) -> anyhow::Result<ExitCode> {
    let table = config.operation_table()?;
    say(&format!("{} is right.", path.display()))?;
    say(&format!("store     {}", config.store.path.display()))?;
    say(&format!("http      {}", http(&config.http)?))?;
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

/// Where it listens and who may ask. Reads the token's file, to find out now whether that works.
fn http(config: &HttpConfig) -> anyhow::Result<String> {
    if !config.enabled {
        return Ok("off".into());
    }
    let options = config.options()?;
    let who = match (&options.token, options.allow_anonymous) {
        (Some(_), _) => "callers show a token",
        (None, true) => "everybody who can reach it may ask",
        (None, false) => "this machine only, without a token",
    };
    Ok(format!("http://{}: {who}", options.listen))
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
