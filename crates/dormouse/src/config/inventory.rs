//! What the configuration says about asking AWS: which accounts and Regions, by which role, how often.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::bail;
use dormouse_model::{AccountId, Region};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::values::duration;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
/// STS gives no shorter and no longer sessions.
const SESSIONS: (Duration, Duration) = (Duration::from_secs(900), Duration::from_secs(12 * 3_600));
/// Who asks more places at once gains nothing: every one has a budget of its own.
const MOST_CONCURRENCY: usize = 256;

/// The inventory: what AWS is asked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InventoryConfig {
    /// Whose keys.
    #[serde(default)]
    pub(crate) accounts: Accounts,
    /// Accounts to leave out.
    #[serde(default)]
    pub(crate) exclude_accounts: Vec<AccountId>,
    /// Only accounts below these organizational units; all if empty.
    #[serde(default)]
    pub(crate) organizational_units: Vec<String>,
    /// Only accounts with all of these tags.
    #[serde(default)]
    pub(crate) account_tags: BTreeMap<String, String>,
    /// The role to assume in each account; with "local" none is.
    #[serde(default = "default_role")]
    pub(crate) role_name: String,
    /// The path of the role.
    #[serde(default = "default_path")]
    pub(crate) role_path: String,
    /// What the roles' trust policies ask for.
    #[serde(default)]
    pub(crate) external_id: Option<String>,
    /// The sessions' name, and so ours in CloudTrail.
    #[serde(default = "default_session")]
    pub(crate) session_name: String,
    /// How long credentials last.
    #[serde(default = "default_session_duration", deserialize_with = "duration")]
    pub(crate) session_duration: Duration,
    /// A role to assume first, from which the others are assumed.
    #[serde(default)]
    pub(crate) via_role: Option<String>,
    /// Which Regions.
    #[serde(deserialize_with = "Regions::deserialize")]
    pub(crate) regions: Regions,
    /// How often keys and aliases are listed.
    #[serde(default = "default_interval", deserialize_with = "duration")]
    pub(crate) interval: Duration,
    /// How long one pass may take.
    #[serde(default = "default_deadline", deserialize_with = "duration")]
    pub(crate) deadline: Duration,
    /// How often a key is described although nothing happened to it.
    #[serde(default = "default_slow", deserialize_with = "duration")]
    pub(crate) describe_every: Duration,
    /// Whether KMS is asked when keys were last used.
    #[serde(default = "default_yes")]
    pub(crate) last_usage: bool,
    /// How often, for keys of which nothing is to be decided.
    #[serde(default = "default_slow", deserialize_with = "duration")]
    pub(crate) last_usage_every: Duration,
    /// How often a request is sent that must come back as an event.
    #[serde(default = "default_heartbeat", deserialize_with = "duration")]
    pub(crate) heartbeat: Duration,
    /// How many accounts and Regions are asked at once.
    #[serde(default = "default_concurrency")]
    pub(crate) concurrency: usize,
    /// The share of KMS's quotas that is used at most.
    #[serde(default = "default_share")]
    pub(crate) share_of_quotas: f64,
    /// Where STS and Organizations are asked; by default the environment's Region.
    #[serde(default)]
    pub(crate) region: Option<String>,
    /// Another endpoint than AWS's own, for tests and private links.
    #[serde(default)]
    pub(crate) endpoint_url: Option<String>,
}

/// Whose keys there are to be known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Accounts {
    /// Those of the account that the credentials are of.
    #[default]
    Local,
    /// Those of the whole organisation.
    Organisation,
    /// Those of these accounts.
    List(Vec<AccountId>),
}

/// Which Regions are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Regions {
    /// All of the partition; those that an account has not enabled are passed over.
    All,
    /// These.
    List(Vec<Region>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WordOrList {
    Word(String),
    List(Vec<String>),
}

impl<'de> Deserialize<'de> for Accounts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let example = "\"local\", \"org\", or a list like [\"111122223333\"]";
        match WordOrList::deserialize(deserializer) {
            Ok(WordOrList::Word(word)) if word == "local" => Ok(Self::Local),
            Ok(WordOrList::Word(word)) if word == "org" => Ok(Self::Organisation),
            Ok(WordOrList::Word(word)) => Err(D::Error::custom(format!("{word:?}: expected {example}"))),
            Ok(WordOrList::List(list)) if list.is_empty() => {
                Err(D::Error::custom(format!("an empty list names no account: expected {example}")))
            }
            Ok(WordOrList::List(list)) => {
                let parse = |text: String| {
                    let wrong = |error| D::Error::custom(format!("{text:?}: {error}"));
                    text.parse::<AccountId>().map_err(wrong)
                };
                list.into_iter().map(parse).collect::<Result<_, _>>().map(Self::List)
            }
            Err(_) => Err(D::Error::custom(format!("expected {example}"))),
        }
    }
}

impl<'de> Deserialize<'de> for Regions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let example = "\"all\", or a list like [\"eu-west-1\", \"us-east-1\"]";
        match WordOrList::deserialize(deserializer) {
            Ok(WordOrList::Word(word)) if word == "all" => Ok(Self::All),
            Ok(WordOrList::Word(word)) => Err(D::Error::custom(format!("{word:?}: expected {example}"))),
            Ok(WordOrList::List(list)) if list.is_empty() => {
                Err(D::Error::custom(format!("an empty list names no Region: expected {example}")))
            }
            Ok(WordOrList::List(list)) => {
                let parse = |text: String| {
                    let wrong = |error| D::Error::custom(format!("{text:?}: {error}"));
                    text.parse::<Region>().map_err(wrong)
                };
                list.into_iter().map(parse).collect::<Result<_, _>>().map(Self::List)
            }
            Err(_) => Err(D::Error::custom(format!("expected {example}"))),
        }
    }
}

fn default_role() -> String {
    "dormouse-read".into()
}

fn default_path() -> String {
    "/".into()
}

fn default_session() -> String {
    "dormouse".into()
}

fn default_session_duration() -> Duration {
    HOUR
}

fn default_interval() -> Duration {
    HOUR
}

fn default_deadline() -> Duration {
    HOUR * 6
}

fn default_slow() -> Duration {
    DAY * 7
}

fn default_yes() -> bool {
    true
}

fn default_heartbeat() -> Duration {
    Duration::from_secs(900)
}

fn default_concurrency() -> usize {
    16
}

fn default_share() -> f64 {
    0.2
}

impl InventoryConfig {
    /// The defaults, for all accounts of the organisation.
    pub(crate) fn of_organisation(regions: Vec<Region>) -> Self {
        Self {
            accounts: Accounts::Organisation,
            exclude_accounts: Vec::new(),
            organizational_units: Vec::new(),
            account_tags: BTreeMap::new(),
            role_name: default_role(),
            role_path: default_path(),
            external_id: None,
            session_name: default_session(),
            session_duration: default_session_duration(),
            via_role: None,
            regions: Regions::List(regions),
            interval: default_interval(),
            deadline: default_deadline(),
            describe_every: default_slow(),
            last_usage: default_yes(),
            last_usage_every: default_slow(),
            heartbeat: default_heartbeat(),
            concurrency: default_concurrency(),
            share_of_quotas: default_share(),
            region: None,
            endpoint_url: None,
        }
    }

    pub(super) fn check(&self) -> anyhow::Result<()> {
        let is_org = self.accounts == Accounts::Organisation;
        if !is_org && !self.organizational_units.is_empty() {
            bail!("organizational_units: only with accounts = \"org\"");
        }
        if !is_org && !self.account_tags.is_empty() {
            bail!("account_tags: only with accounts = \"org\"");
        }
        if let Accounts::List(list) = &self.accounts
            && let Some(both) = list.iter().find(|account| self.exclude_accounts.contains(account))
        {
            bail!("exclude_accounts: {both} is listed in accounts, too");
        }
        check_role(self)?;
        let least = [
            ("interval", self.interval, Duration::from_secs(60)),
            ("deadline", self.deadline, Duration::from_secs(60)),
            ("describe_every", self.describe_every, HOUR),
            ("last_usage_every", self.last_usage_every, HOUR),
            ("heartbeat", self.heartbeat, Duration::from_secs(60)),
        ];
        for (name, value, least) in least {
            if value < least {
                bail!("{name}: at least {:?}", humantime::format_duration(least).to_string());
            }
        }
        if let Regions::List(list) = &self.regions {
            for (place, region) in list.iter().enumerate() {
                if list[..place].contains(region) {
                    bail!("regions: {region} is listed twice");
                }
                if !Region::all().any(|known| known == *region) {
                    bail!("regions: AWS has no Region {region}, as far as this build has heard");
                }
                if region.partition() != list[0].partition() {
                    let (one, other) = (list[0], region);
                    bail!(
                        "regions: {one} and {other} are in different partitions, which no credentials reach together"
                    );
                }
            }
        }
        if let Some(url) = &self.endpoint_url
            && !url.starts_with("https://")
            && !url.starts_with("http://")
        {
            bail!("endpoint_url: {url:?} is no URL; it looks like http://127.0.0.1:4566");
        }
        if !(0.001..=1.0).contains(&self.share_of_quotas) {
            bail!("share_of_quotas: 0.001 to 1.0; the default is {}", default_share());
        }
        if !(1..=MOST_CONCURRENCY).contains(&self.concurrency) {
            bail!("concurrency: 1 to {MOST_CONCURRENCY}; the default is {}", default_concurrency());
        }
        Ok(())
    }
}

/// The account of a role, by its ARN.
pub(crate) fn hub_account(arn: &str) -> Option<AccountId> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    match parts[..] {
        ["arn", _, "iam", "", account, role] if role.starts_with("role/") => account.parse().ok(),
        _ => None,
    }
}

/// What AWS would refuse, each time again.
fn check_role(config: &InventoryConfig) -> anyhow::Result<()> {
    let is_name = |text: &str, least: usize, most: usize| {
        (least..=most).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b))
    };
    if !is_name(&config.role_name, 1, 64) {
        bail!("role_name: {:?} is no role name: 1 to 64 of a-z, A-Z, 0-9 and _+=,.@-", config.role_name);
    }
    if !is_name(&config.session_name, 2, 64) {
        bail!(
            "session_name: {:?} is no session name: 2 to 64 of a-z, A-Z, 0-9 and _+=,.@-",
            config.session_name
        );
    }
    let path = &config.role_path;
    let is_path = path.starts_with('/') && path.ends_with('/') && path.bytes().all(|b| b.is_ascii_graphic());
    if !is_path || path.len() > 512 {
        bail!("role_path: {path:?} is no path; it begins and ends with a slash, like \"/\" or \"/audit/\"");
    }
    if config.session_duration < SESSIONS.0 || config.session_duration > SESSIONS.1 {
        bail!("session_duration: \"15m\" to \"12h\", and no more than the role allows");
    }
    if let Some(id) = &config.external_id
        && !(2..=1_224).contains(&id.len())
    {
        bail!("external_id: 2 to 1224 characters");
    }
    if let Some(role) = &config.via_role
        && hub_account(role).is_none()
    {
        bail!("via_role: {role:?} is no role's ARN; one looks like arn:aws:iam::111122223333:role/hub");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{MINIMAL, parse};
    use super::*;

    fn inventory(lines: &str) -> Result<InventoryConfig, String> {
        let config = parse(&format!("{MINIMAL}[inventory]\n{lines}\n"), &[])?;
        config.inventory.ok_or_else(|| "no inventory".into())
    }

    #[test]
    fn without_the_section_nothing_is_asked_and_with_it_regions_must_be_named() {
        assert!(parse(MINIMAL, &[]).unwrap().inventory.is_none());
        assert!(inventory("accounts = \"org\"").unwrap_err().contains("regions"));
        let all = inventory("accounts = \"org\"\nregions = \"all\"").unwrap();
        assert_eq!((all.accounts, all.regions), (Accounts::Organisation, Regions::All));
        assert_eq!((all.interval, all.describe_every, all.heartbeat), (HOUR, DAY * 7, HOUR / 4));
    }

    #[test]
    fn accounts_and_regions_are_a_word_or_a_list() {
        let one = inventory("accounts = [\"111122223333\"]\nregions = [\"eu-west-1\"]").unwrap();
        assert_eq!(one.accounts, Accounts::List(vec!["111122223333".parse().unwrap()]));
        assert_eq!(one.regions, Regions::List(vec!["eu-west-1".parse().unwrap()]));
        for (lines, words) in [
            ("accounts = \"everyone\"\nregions = \"all\"", "\"local\", \"org\""),
            ("accounts = []\nregions = \"all\"", "names no account"),
            ("accounts = [\"12\"]\nregions = \"all\"", "12"),
            ("accounts = 5\nregions = \"all\"", "\"local\", \"org\""),
            ("regions = \"most\"", "\"all\", or a list"),
            ("regions = [\"Ireland\"]", "Ireland"),
            ("regions = [\"xx-nowhere-9\"]", "no Region xx-nowhere-9"),
            ("regions = [\"eu-west-1\", \"eu-west-1\"]", "twice"),
            ("regions = [\"eu-west-1\", \"cn-north-1\"]", "different partitions"),
        ] {
            let error = inventory(lines).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn what_aws_would_refuse_stops_the_start() {
        for (line, words) in [
            ("role_name = \"a/b\"", "role_name"),
            ("role_path = \"audit\"", "begins and ends with a slash"),
            ("session_name = \"x\"", "session_name"),
            ("session_duration = \"5m\"", "15m"),
            ("via_role = \"arn:aws:iam::x:role/hub\"", "arn:aws:iam::111122223333:role/hub"),
            ("endpoint_url = \"nonsense\"", "is no URL"),
            ("via_role = \"hub\"", "arn:aws:iam::111122223333:role/hub"),
            ("external_id = \"x\"", "external_id"),
            ("interval = \"1s\"", "interval: at least \"1m\""),
            ("heartbeat = \"1s\"", "heartbeat"),
            ("concurrency = 0", "1 to 256"),
            ("share_of_quotas = 1.5", "0.001 to 1.0"),
            ("organizational_units = [\"ou-1\"]", "only with accounts = \"org\""),
            ("account_tags = { env = \"prod\" }", "only with accounts = \"org\""),
            (
                "accounts = [\"111122223333\"]\nexclude_accounts = [\"111122223333\"]",
                "listed in accounts, too",
            ),
        ] {
            let error = inventory(&format!("regions = \"all\"\n{line}")).unwrap_err();
            assert!(error.contains("[inventory]") && error.contains(words), "{line}: {error}");
        }
    }
}
