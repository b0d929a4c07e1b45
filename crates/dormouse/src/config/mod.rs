//! The configuration: one TOML file, checked as a whole before anything is opened or bound.
//!
//! Unknown keys are errors that name the line, the key and what is allowed. Any single setting outside the lists can be
//! overridden by a variable: `DORMOUSE_STORE_PATH` is `path` in `[store]`. The one secret, the token of the HTTP server,
//! is no setting of the file: it comes from a file of its own or from `DORMOUSE_HTTP_TOKEN`.

mod history;
mod inventory;
mod sources;
mod values;
mod verdicts;

use std::collections::BTreeSet;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use dormouse_ledger::{Declared, Rules};
use dormouse_model::OperationTable;
use dormouse_server::{Limits, ServerOptions, Token};
use serde::Deserialize;

pub(crate) use history::HistoryConfig;
pub(crate) use inventory::{Accounts, InventoryConfig, Regions, hub_account};
pub(crate) use sources::{OnPoison, QueueConfig, SourceConfig, SourceKind};
pub(crate) use values::parse_bytes;
pub(crate) use verdicts::{CoverageConfig, VerdictsConfig};

use values::{bytes, duration};

/// Where the configuration is when nobody says otherwise.
pub(crate) const DEFAULT_PATH: &str = "/etc/dormouse/dormouse.toml";

/// The whole file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Where state is kept.
    pub(crate) store: StoreConfig,
    /// The HTTP server.
    pub(crate) http: HttpConfig,
    /// Where events come from.
    pub(crate) sources: Vec<SourceConfig>,
    /// What counts as use.
    pub(crate) operations: OperationsConfig,
    /// When a key is called unused.
    pub(crate) verdicts: VerdictsConfig,
    /// What claims rest on.
    pub(crate) coverage: CoverageConfig,
    /// What AWS is asked; nothing if absent.
    pub(crate) inventory: Option<InventoryConfig>,
    /// How history is read, and what is declared of it.
    pub(crate) history: HistoryConfig,
    /// How events are taken in.
    pub(crate) ingest: IngestConfig,
    /// What is logged.
    pub(crate) log: LogConfig,
}

/// Where state is kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StoreConfig {
    /// The SQLite file.
    pub(crate) path: PathBuf,
    /// How many bytes of messages the quarantine keeps.
    #[serde(deserialize_with = "bytes")]
    pub(crate) quarantine_bytes: u64,
    /// How many days of daily counts are kept.
    pub(crate) keep_days: u32,
}

impl Default for StoreConfig {
    fn default() -> Self {
        let defaults = dormouse_store::SqliteOptions::at("/var/lib/dormouse/dormouse.db");
        Self {
            path: defaults.path,
            quarantine_bytes: defaults.quarantine_bytes,
            keep_days: defaults.keep_days,
        }
    }
}

/// The HTTP server: API, metrics, health.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct HttpConfig {
    /// Whether there is one.
    pub(crate) enabled: bool,
    /// Where it listens: an IP address and a port, 0 for any free one.
    pub(crate) listen: SocketAddr,
    /// A file that holds the token which callers have to show.
    pub(crate) token_file: Option<PathBuf>,
    /// Everybody who can reach the address may ask and change things.
    pub(crate) allow_anonymous: bool,
    /// So many series are in one answer of `/metrics/keys` at the most.
    pub(crate) max_key_series: usize,
    /// The token itself, from its variable.
    #[serde(skip)]
    pub(crate) token: Option<Token>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: SocketAddr::from(([127, 0, 0, 1], 9774)),
            token_file: None,
            allow_anonymous: false,
            max_key_series: Limits::default().max_key_series,
            token: None,
        }
    }
}

impl HttpConfig {
    /// How the server listens, with the token read. The variable goes before the file.
    pub(crate) fn options(&self) -> anyhow::Result<ServerOptions> {
        let token = match (&self.token, &self.token_file) {
            (Some(token), _) => Some(token.clone()),
            (None, Some(file)) => Some(read_token(file).context("[http] token_file")?),
            (None, None) => None,
        };
        let limits = Limits { max_key_series: self.max_key_series, ..Limits::default() };
        let options = ServerOptions {
            token,
            allow_anonymous: self.allow_anonymous,
            limits,
            ..ServerOptions::at(self.listen)
        };
        options.check()?;
        Ok(options)
    }

    /// Whether the server could start: for commands that start it, or are asked about it. Others may lack its token.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        if self.enabled {
            self.options()?;
        }
        Ok(())
    }
}

/// A token is short; whoever names another file by mistake shall not have it read whole.
const LONGEST_TOKEN_FILE: u64 = 4_096;

fn read_token(path: &Path) -> anyhow::Result<Token> {
    let said = || path.display().to_string();
    let mut text = String::new();
    let file = std::fs::File::open(path).with_context(said)?;
    file.take(LONGEST_TOKEN_FILE).read_to_string(&mut text).with_context(said)?;
    Token::parse(&text).with_context(said)
}

/// What counts as use.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct OperationsConfig {
    /// Operations to count as use beside the built-in ones.
    pub(crate) in_use: Vec<String>,
    /// Operations not to count as use although the built-in table does.
    pub(crate) not_in_use: Vec<String>,
}

/// How events are taken in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct IngestConfig {
    /// How many ids of counted events are remembered, so that duplicates do not count.
    pub(crate) id_window: usize,
    /// An epoch is sealed this long after its first event.
    #[serde(deserialize_with = "duration")]
    pub(crate) epoch_interval: Duration,
    /// The tables are written this often.
    #[serde(deserialize_with = "duration")]
    pub(crate) fold_interval: Duration,
    /// How many bytes of messages may be in flight.
    #[serde(deserialize_with = "bytes")]
    pub(crate) in_flight_bytes: u64,
    /// An event may be ahead of the clock by this much.
    #[serde(deserialize_with = "duration")]
    pub(crate) future_tolerance: Duration,
    /// One that is further ahead is tried again if its time comes within this, and quarantined for good otherwise.
    #[serde(deserialize_with = "duration")]
    pub(crate) future_hold: Duration,
    /// How long a stop waits for what is in flight.
    #[serde(deserialize_with = "duration")]
    pub(crate) shutdown_grace: Duration,
}

impl Default for IngestConfig {
    fn default() -> Self {
        Self {
            id_window: 1_000_000,
            epoch_interval: Duration::from_millis(200),
            fold_interval: Duration::from_secs(30),
            in_flight_bytes: 64 << 20,
            future_tolerance: Duration::from_secs(300),
            future_hold: Duration::from_secs(3_600),
            shutdown_grace: Duration::from_secs(25),
        }
    }
}

/// What is logged.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LogConfig {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter as tracing-subscriber has it.
    pub(crate) level: String,
    /// `text` or `json`.
    pub(crate) format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Text }
    }
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

/// What a setting looks like in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Number,
    Bool,
}

/// The settings that a variable can override: section, key, and what it looks like.
const SETTINGS: &[(&str, &str, Form)] = &[
    ("store", "path", Form::Text),
    ("store", "quarantine_bytes", Form::Text),
    ("store", "keep_days", Form::Number),
    ("http", "enabled", Form::Bool),
    ("http", "listen", Form::Text),
    ("http", "token_file", Form::Text),
    ("http", "allow_anonymous", Form::Bool),
    ("http", "max_key_series", Form::Number),
    ("verdicts", "idle_after", Form::Text),
    ("verdicts", "grace", Form::Text),
    ("verdicts", "proof_max_age", Form::Text),
    ("verdicts", "idle_after_tag", Form::Text),
    ("verdicts", "idle_after_tag_least", Form::Text),
    ("verdicts", "idle_after_tag_most", Form::Text),
    ("coverage", "blind_after", Form::Text),
    ("coverage", "delivery_delay", Form::Text),
    ("inventory", "accounts", Form::Text),
    ("inventory", "role_name", Form::Text),
    ("inventory", "role_path", Form::Text),
    ("inventory", "external_id", Form::Text),
    ("inventory", "session_name", Form::Text),
    ("inventory", "session_duration", Form::Text),
    ("inventory", "via_role", Form::Text),
    ("inventory", "interval", Form::Text),
    ("inventory", "deadline", Form::Text),
    ("inventory", "describe_every", Form::Text),
    ("inventory", "last_usage", Form::Bool),
    ("inventory", "last_usage_every", Form::Text),
    ("inventory", "heartbeat", Form::Text),
    ("inventory", "concurrency", Form::Number),
    ("inventory", "region", Form::Text),
    ("inventory", "endpoint_url", Form::Text),
    ("history", "concurrency", Form::Number),
    ("history", "bandwidth", Form::Text),
    ("history", "region", Form::Text),
    ("history", "endpoint_url", Form::Text),
    ("ingest", "id_window", Form::Number),
    ("ingest", "epoch_interval", Form::Text),
    ("ingest", "fold_interval", Form::Text),
    ("ingest", "in_flight_bytes", Form::Text),
    ("ingest", "future_tolerance", Form::Text),
    ("ingest", "future_hold", Form::Text),
    ("ingest", "shutdown_grace", Form::Text),
    ("log", "level", Form::Text),
    ("log", "format", Form::Text),
];

/// The variable that holds the server's token. It is no setting: secrets do not belong into the file.
const TOKEN_VARIABLE: &str = "DORMOUSE_HTTP_TOKEN";

impl Config {
    /// By what keys are judged.
    pub(crate) fn rules(&self) -> anyhow::Result<Arc<Rules>> {
        let asks_kms = self.inventory.as_ref().is_some_and(|inventory| inventory.last_usage);
        let thresholds = self.verdicts.thresholds()?;
        Ok(Arc::new(Rules::new(thresholds, &self.operation_table()?, self.declared(), asks_kms)))
    }

    /// What is declared complete, of history and of the stream.
    pub(crate) fn declared(&self) -> Vec<Declared> {
        let mut declared = self.history.declared();
        declared.extend(self.coverage.declared());
        declared
    }

    /// The defaults, and one queue.
    pub(crate) fn for_queue(name: &str, queue_url: &str) -> Self {
        Self { sources: vec![SourceConfig::for_queue(name, queue_url)], ..Self::default() }
    }

    /// Reads and checks the file at `path`, with the process's `DORMOUSE_…` variables on top.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| {
            format!(
                "cannot read the configuration {}; name one with --config or DORMOUSE_CONFIG",
                path.display()
            )
        })?;
        Self::parse(&text, std::env::vars()).with_context(|| path.display().to_string())
    }

    fn parse(text: &str, variables: impl Iterator<Item = (String, String)>) -> anyhow::Result<Self> {
        let variables: Vec<_> = variables.collect();
        refuse_a_token_in(text)?;
        sources::refuse_misplaced(text)?;
        let mut config: Self =
            toml::from_str(text).map_err(|error| anyhow::anyhow!("{}", error.to_string().trim_end()))?;
        let token = variables.iter().find(|(name, _)| name == TOKEN_VARIABLE);
        let token = token.map(|(_, token)| Token::parse(token)).transpose().context(TOKEN_VARIABLE)?;
        let overrides: Vec<_> =
            variables.into_iter().filter_map(|(name, value)| Override::of(name, value)).collect();
        if !overrides.is_empty() {
            config = apply_overrides(text, &overrides)?;
        }
        config.http.token = token;
        config.check()?;
        Ok(config)
    }

    /// What types alone cannot say.
    fn check(&self) -> anyhow::Result<()> {
        self.operation_table().context("[operations]")?;
        if self.http.max_key_series == 0 {
            bail!("[http] max_key_series: at least 1; the default is 1000000");
        }
        if self.ingest.id_window == 0 {
            bail!("[ingest] id_window: at least 1; the default is 1000000");
        }
        if self.ingest.in_flight_bytes < 1 << 20 {
            bail!("[ingest] in_flight_bytes: at least \"1MiB\"; the default is \"64MiB\"");
        }
        self.history.check().context("[history]")?;
        self.verdicts.check().context("[verdicts]")?;
        self.coverage.check().context("[coverage]")?;
        if let Some(inventory) = &self.inventory {
            inventory.check().context("[inventory]")?;
            self.check_together(inventory)?;
        }
        let mut names = BTreeSet::new();
        for source in &self.sources {
            source.check().with_context(|| format!("[[sources]] {:?}", source.name))?;
            if !names.insert(&source.name) {
                bail!("[[sources]] {:?}: the name is taken by another source", source.name);
            }
        }
        Ok(())
    }

    /// What each section alone allows, and both together do not.
    fn check_together(&self, inventory: &InventoryConfig) -> anyhow::Result<()> {
        if self.coverage.blind_after < inventory.heartbeat.mul_f64(1.5) {
            bail!(
                "[coverage] blind_after: at least one and a half times [inventory] heartbeat, or every account is blind \
                 between two heartbeats"
            );
        }
        if inventory.last_usage && inventory.last_usage_every > self.verdicts.proof_max_age {
            bail!(
                "[verdicts] proof_max_age: at least [inventory] last_usage_every, or what KMS said is too old before it is \
                 asked again"
            );
        }
        Ok(())
    }

    /// The operations table with the overrides of this file.
    pub(crate) fn operation_table(&self) -> anyhow::Result<OperationTable> {
        let mut table = OperationTable::default();
        for name in &self.operations.not_in_use {
            if self.operations.in_use.contains(name) {
                bail!("{name} is listed as in_use and as not_in_use");
            }
            table.override_in_use(name, false).context("not_in_use")?;
        }
        for name in &self.operations.in_use {
            table.override_in_use(name, true).context("in_use")?;
        }
        Ok(table)
    }
}

/// A setting from a variable.
struct Override {
    variable: String,
    section: &'static str,
    key: &'static str,
    value: toml::Value,
}

impl Override {
    /// Variables that name no setting are none of ours: container platforms invent some with every prefix.
    fn of(variable: String, text: String) -> Option<Self> {
        let name = variable.strip_prefix("DORMOUSE_")?.to_ascii_lowercase();
        let names_it = |(section, key, _): &&(&str, &str, Form)| name == format!("{section}_{key}");
        let &(section, key, form) = SETTINGS.iter().find(names_it)?;
        let value = match form {
            Form::Text => None,
            Form::Number => text.parse().ok().map(toml::Value::Integer),
            Form::Bool => text.parse().ok().map(toml::Value::Boolean),
        };
        Some(Self { variable, section, key, value: value.unwrap_or(toml::Value::String(text)) })
    }
}

/// Says so before anything else looks at the file: other errors show the line they are about.
fn refuse_a_token_in(text: &str) -> anyhow::Result<()> {
    let file: Option<toml::Table> = toml::from_str(text).ok();
    let http = file.as_ref().and_then(|file| file.get("http")).and_then(toml::Value::as_table);
    if http.is_some_and(|http| http.contains_key("token")) {
        bail!(
            "[http] token: a secret does not belong into this file; use token_file or the variable {TOKEN_VARIABLE}"
        );
    }
    Ok(())
}

fn apply_overrides(text: &str, overrides: &[Override]) -> anyhow::Result<Config> {
    let mut file: toml::Table = toml::from_str(text)?;
    let mut config = None;
    for Override { variable, section, key, value } in overrides {
        let section = file.entry(*section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        if let Some(section) = section.as_table_mut() {
            section.insert((*key).to_owned(), value.clone());
        }
        // One at a time, so that an error can name the variable.
        let parsed: Config = toml::Value::Table(file.clone())
            .try_into()
            .with_context(|| format!("the variable {variable}"))?;
        config = Some(parsed);
    }
    config.context("no variable overrides a setting")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(super) const MINIMAL: &str = "[[sources]]\nname = \"bus\"\ntype = \"sqs\"\nqueue_url = \"https://sqs.eu-west-1.amazonaws.com/111122223333/dormouse\"\n";

    pub(super) fn parse(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::parse(text, variables).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_minimal_file_has_defaults_for_the_rest() {
        let config = parse(MINIMAL, &[]).unwrap();
        assert_eq!(config.sources[0].name, "bus");
        assert_eq!(config.store.path, Path::new("/var/lib/dormouse/dormouse.db"));
        assert_eq!(config.verdicts.idle_after, Duration::from_secs(90 * 86_400));
    }

    #[test]
    fn an_unknown_key_is_an_error_with_line_key_and_what_is_allowed() {
        let error = parse("[store]\npath = \"/x\"\npaht = \"/y\"\n", &[]).unwrap_err();
        for part in ["line 3", "paht", "path", "quarantine_bytes"] {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
        assert!(parse("[stroe]\n", &[]).unwrap_err().contains("expected one of"));
    }

    #[test]
    fn a_wrong_value_is_an_error_with_its_line() {
        let error = parse("[verdicts]\nidle_after = \"soon\"\n", &[]).unwrap_err();
        assert!(error.contains("line 2") && error.contains("\"90d\""), "{error}");
        let error = parse(&format!("{MINIMAL}on_poison = \"burn\"\n"), &[]).unwrap_err();
        assert!(error.contains("quarantine") && error.contains("redrive"), "{error}");
        let error = parse("[store]\nquarantine_bytes = \"64 parsecs\"\n", &[]).unwrap_err();
        assert!(error.contains("line 2") && error.contains("MiB"), "{error}");
    }

    #[test]
    fn variables_override_single_settings_and_are_named_in_errors() {
        let config = parse(
            MINIMAL,
            &[
                ("DORMOUSE_STORE_PATH", "/tmp/d.db"),
                ("DORMOUSE_INGEST_ID_WINDOW", "10"),
                ("DORMOUSE_SERVICE_HOST", "10.0.0.1"),
            ],
        )
        .unwrap();
        assert_eq!(config.store.path, Path::new("/tmp/d.db"));
        assert_eq!(config.ingest.id_window, 10);
        let error = parse(MINIMAL, &[("DORMOUSE_INGEST_ID_WINDOW", "many")]).unwrap_err();
        assert!(error.contains("DORMOUSE_INGEST_ID_WINDOW"), "{error}");
    }

    #[test]
    fn every_overridable_setting_exists() {
        for (section, key, form) in SETTINGS {
            let value = match (*section, *key) {
                _ if *form == Form::Number => "7",
                _ if *form == Form::Bool => "true",
                ("http", "listen") => "127.0.0.1:0",
                ("log", "format") => "json",
                (_, key) if key.ends_with("bytes") || key == "bandwidth" => "2MiB",
                ("inventory", "accounts") => "org",
                ("inventory", "role_path") => "/audit/",
                ("inventory", "heartbeat") => "10m",
                ("verdicts", "proof_max_age") => "9d",
                ("inventory", "endpoint_url") => "http://127.0.0.1:1",
                ("inventory", "via_role") => "arn:aws:iam::111122223333:role/hub",
                ("inventory", "role_name" | "external_id" | "session_name" | "region") => "xy",
                ("verdicts", "idle_after_tag") => "x",
                ("verdicts", "idle_after_tag_least" | "idle_after_tag_most") => "30d",
                ("store" | "log" | "http" | "history", _) => "x",
                _ => "1h",
            };
            let variable = format!("DORMOUSE_{}_{}", section.to_uppercase(), key.to_uppercase());
            let inventory = "[inventory]\nregions = [\"eu-west-1\"]\n";
            let text =
                if *section == "inventory" { format!("{MINIMAL}{inventory}") } else { MINIMAL.to_owned() };
            parse(&text, &[(&variable, value)]).unwrap_or_else(|error| panic!("{variable}: {error}"));
        }
    }

    #[test]
    fn changes_cannot_be_declared_uses() {
        let error = parse("[operations]\nin_use = [\"DisableKey\"]\n", &[]).unwrap_err();
        assert!(error.contains("DisableKey changes a key"), "{error}");
        assert!(parse("[operations]\nin_use = [\"NewOne\"]\nnot_in_use = [\"GetPublicKey\"]\n", &[]).is_ok());
    }

    #[test]
    fn what_is_declared_is_whole_days() {
        let declared = |lines: &str| {
            let config = parse(&format!("{MINIMAL}[[history.declared]]\n{lines}"), &[])?;
            Ok::<_, String>(config.history.declared())
        };
        let two = declared(
            "accounts = [\"111122223333\"]\nregions = [\"eu-west-1\"]\nfrom = \"2026-01-01\"\nto = \"2026-01-02\"\n",
        );
        let two = two.unwrap().remove(0);
        assert_eq!(two.span.from.to_string(), "2026-01-01T00:00:00Z");
        assert_eq!(two.span.until.to_string(), "2026-01-03T00:00:00Z");
        assert_eq!((two.accounts.len(), two.regions.len()), (1, 1));
        let error = declared("from = \"2026-01-01\"\nto = \"2026-02-30\"\n").unwrap_err();
        assert!(error.contains("line 7") && error.contains("2026-02-30"), "{error}");
        let error = declared("from = \"2026-01-02\"\nto = \"2026-01-01\"\n").unwrap_err();
        assert!(error.contains("[[history.declared]]"), "{error}");
        let error =
            declared("accounts = [\"12\"]\nfrom = \"2026-01-02\"\nto = \"2026-01-03\"\n").unwrap_err();
        assert!(error.contains("line 6") && error.contains("12"), "{error}");
    }

    #[test]
    fn history_is_bounded() {
        for (line, word) in [
            ("concurrency = 0", "1 to 256"),
            ("concurrency = 257", "1 to 256"),
            ("bandwidth = \"1KiB\"", "1MiB"),
            ("buckets = [\"x\"]", "no bucket"),
        ] {
            let error = parse(&format!("{MINIMAL}[history]\n{line}\n"), &[]).unwrap_err();
            assert!(error.contains("[history]") && error.contains(word), "{error}");
        }
    }

    #[test]
    fn two_sources_cannot_share_a_name() {
        assert!(parse(&format!("{MINIMAL}{MINIMAL}"), &[]).unwrap_err().contains("taken"));
    }

    #[test]
    fn the_token_comes_from_its_variable_or_its_file_and_is_never_told() {
        const SECRET: &str = "0123456789abcdef";
        let config = parse(MINIMAL, &[(TOKEN_VARIABLE, &format!(" {SECRET}\n"))]).unwrap();
        assert!(config.http.options().unwrap().token.is_some());
        assert!(!format!("{config:?}").contains(SECRET));

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, format!("{SECRET}\n")).unwrap();
        let text = format!("{MINIMAL}[http]\nlisten = \"0.0.0.0:1\"\ntoken_file = {file:?}\n");
        assert!(parse(&text, &[]).unwrap().http.options().unwrap().token.is_some());
        std::fs::write(&file, "short-secret\n").unwrap();
        let error = format!("{:#}", parse(&text, &[]).unwrap().http.options().unwrap_err());
        assert!(error.contains("[http] token_file") && error.contains("16 characters"), "{error}");
        assert!(!error.contains("short-secret"), "{error}");

        let error = parse(MINIMAL, &[(TOKEN_VARIABLE, "short-secret")]).unwrap_err();
        assert!(error.contains(TOKEN_VARIABLE) && !error.contains("short-secret"), "{error}");
        let error = parse(&format!("[http]\ntoken = \"{SECRET}\"\n"), &[]).unwrap_err();
        assert!(error.contains("token_file") && !error.contains(SECRET), "{error}");
    }

    #[test]
    fn an_address_that_others_can_reach_needs_a_token_or_a_word() {
        let listen = format!("{MINIMAL}[http]\nlisten = \"0.0.0.0:9774\"\n");
        let check = |variables: &[(&str, &str)]| {
            parse(&listen, variables)?.http.check().map_err(|error| format!("{error:#}"))
        };
        let error = check(&[]).unwrap_err();
        for part in ["[http] token_file", TOKEN_VARIABLE, "allow_anonymous = true"] {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
        assert!(check(&[("DORMOUSE_HTTP_ALLOW_ANONYMOUS", "true")]).is_ok());
        assert!(check(&[("DORMOUSE_HTTP_ENABLED", "false")]).is_ok());
        assert!(check(&[(TOKEN_VARIABLE, "0123456789abcdef")]).is_ok());
        // Commands that only read a store need no token.
        assert!(parse(&listen, &[]).is_ok());
        let error = parse(MINIMAL, &[("DORMOUSE_HTTP_LISTEN", "everywhere")]).unwrap_err();
        assert!(error.contains("DORMOUSE_HTTP_LISTEN") && error.contains("listen"), "{error}");
    }
}
