//! `dormouse check`: is the configuration right, and what does it mean?

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use dormouse_ledger::Declared;
use dormouse_sources::kinesis::Start;

use crate::config::{
    Accounts, Config, HistoryConfig, HttpConfig, InventoryConfig, Regions, SourceConfig, SourceKind,
};
use crate::show::say;
use crate::show::words::{bytes, counted, size};

/// The configuration was read and checked already; says what it amounts to.
pub(crate) fn check(config: &Config, path: &Path) -> anyhow::Result<ExitCode> {
    let table = config.operation_table()?;
    say(&format!("{} is right.", path.display()))?;
    say(&format!("store     {}", config.store.path.display()))?;
    say(&format!("http      {}", http(&config.http)?))?;
    for source in &config.sources {
        say(&format!("source    {}", in_words(source)))?;
    }
    if config.sources.is_empty() {
        say("source    none: nothing is received")?;
    }
    let asked = config.inventory.as_ref().map_or_else(
        || "none: AWS is asked nothing, and only declared spans and digests can prove disuse".to_owned(),
        inventory,
    );
    say(&format!("inventory {asked}"))?;
    say(&format!("in use    {}", table.in_use_names().join(", ")))?;
    say(&format!("idle      after {}", in_days(config.verdicts.idle_after)))?;
    let thresholds = config.verdicts.thresholds()?;
    for exception in &thresholds.overrides {
        let after = in_days(Duration::from_secs(exception.idle_after.into()));
        say(&format!("          after {after}: {}", exception.in_words()))?;
    }
    let (grace, age) = (in_days(config.verdicts.grace), in_days(config.verdicts.proof_max_age));
    say(&format!("          no key younger than {grace}, and on no proof that ended more than {age} ago"))?;
    if let Some(tag) = &config.verdicts.idle_after_tag {
        let (least, most) = (config.verdicts.idle_after_tag_least, config.verdicts.idle_after_tag_most);
        say(&format!(
            "          after what the tag {tag} says, from {} to {}",
            in_days(least),
            in_days(most)
        ))?;
    }
    let blind = in_days(config.coverage.blind_after);
    let any = |names: &[String]| if names.is_empty() { "any".to_owned() } else { names.join(", ") };
    let (rules, trails) = (any(&config.coverage.rules), any(&config.coverage.trails));
    say(&format!("coverage  blind after {blind} without a heartbeat; rules {rules}, trails {trails}"))?;
    say(&format!("history   {}", history(&config.history)))?;
    for declared in &config.declared() {
        say(&format!("declared  {}", declaration(declared)))?;
    }
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

/// What a source is, and what it may do.
fn in_words(source: &SourceConfig) -> String {
    let name = &source.name;
    match &source.kind {
        SourceKind::Sqs(queue) => {
            let objects = match queue.buckets.as_slice() {
                [] => "announced objects are not read".to_owned(),
                buckets => format!("announced objects are read from {}", buckets.join(", ")),
            };
            format!("{name}: sqs {}; {objects}", queue.queue_url)
        }
        SourceKind::Kinesis(stream) => {
            let start = match stream.start {
                Start::Latest => "the newest record".to_owned(),
                Start::TrimHorizon => "the oldest record".to_owned(),
                Start::Timestamp(time) => time.to_string(),
            };
            format!(
                "{name}: kinesis {}; the first time from {start} on, then from where it stopped",
                stream.stream
            )
        }
    }
}

/// Whom it asks, as whom, how often.
fn inventory(inventory: &InventoryConfig) -> String {
    let accounts = match &inventory.accounts {
        Accounts::Local => "the credentials' own account".to_owned(),
        Accounts::Organisation => "the organisation's accounts".to_owned(),
        Accounts::List(list) => counted(size(list.len()), "account"),
    };
    let role = match &inventory.accounts {
        Accounts::Local => String::new(),
        _ => format!(" as {}{}", inventory.role_path.trim_start_matches('/'), inventory.role_name),
    };
    let regions = match &inventory.regions {
        Regions::All => "all Regions".to_owned(),
        Regions::List(list) => list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    let (interval, describe) = (in_days(inventory.interval), in_days(inventory.describe_every));
    let heartbeat = in_days(inventory.heartbeat);
    let usage = if inventory.last_usage {
        format!("last uses every {}", in_days(inventory.last_usage_every))
    } else {
        "KMS is not asked for last uses".to_owned()
    };
    format!(
        "{accounts}{role} in {regions}: lists every {interval}, descriptions every {describe}, {usage}, heartbeats \
         every {heartbeat}"
    )
}

fn history(history: &HistoryConfig) -> String {
    let objects = counted(size(history.concurrency), "object");
    let bandwidth = match history.bandwidth {
        Some(bandwidth) => format!("at most {} a second", bytes(bandwidth)),
        None => "as fast as it goes".to_owned(),
    };
    let buckets = match history.buckets.as_slice() {
        [] => "any bucket that may be read".to_owned(),
        buckets => buckets.join(", "),
    };
    format!("{objects} at once, {bandwidth}, from {buckets}")
}

fn declaration(declared: &Declared) -> String {
    let list =
        |names: Vec<String>, all: &str| if names.is_empty() { all.to_owned() } else { names.join(", ") };
    let accounts = list(declared.accounts.iter().map(ToString::to_string).collect(), "all accounts");
    let regions = list(declared.regions.iter().map(ToString::to_string).collect(), "all Regions");
    let until = match declared.delay_seconds {
        0 => declared.span.until.to_string(),
        delay => format!("{} ago", in_days(Duration::from_secs(delay.into()))),
    };
    format!("complete from {} until {until}: {accounts} in {regions}", declared.span.from)
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
