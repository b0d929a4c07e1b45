//! What the configuration says about verdicts: after how long which key is called unused, and what a claim rests on.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use dormouse_model::{AccountId, Clock, Region, WallClock};
use serde::Deserialize;

use super::values::{day, duration};

const DAY: Duration = Duration::from_secs(86_400);

/// When a key is called unused.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct VerdictsConfig {
    /// A key used within this time is in use.
    #[serde(deserialize_with = "duration")]
    pub(crate) idle_after: Duration,
    /// A younger key is never called unused.
    #[serde(deserialize_with = "duration")]
    pub(crate) grace: Duration,
    /// A claim that ended longer ago than this is no longer told.
    #[serde(deserialize_with = "duration")]
    pub(crate) proof_max_age: Duration,
    /// The tag whose value may say after how long a key is called unused; none if absent.
    pub(crate) idle_after_tag: Option<String>,
    /// What such a value may say at least.
    #[serde(deserialize_with = "duration")]
    pub(crate) idle_after_tag_least: Duration,
    /// What such a value may say at most.
    #[serde(deserialize_with = "duration")]
    pub(crate) idle_after_tag_most: Duration,
    /// Other times for some keys. The first that matches wins.
    pub(crate) overrides: Vec<OverrideConfig>,
}

impl Default for VerdictsConfig {
    fn default() -> Self {
        Self {
            idle_after: DAY * 90,
            grace: DAY * 7,
            proof_max_age: DAY * 8,
            idle_after_tag: None,
            idle_after_tag_least: DAY * 7,
            idle_after_tag_most: DAY * 800,
            overrides: Vec::new(),
        }
    }
}

/// Another time for the keys that match all that is said.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OverrideConfig {
    /// Keys of these accounts; of all if empty.
    #[serde(default)]
    pub(crate) accounts: Vec<AccountId>,
    /// Keys with an alias that matches, e.g. `alias/archive-*`.
    #[serde(default)]
    pub(crate) alias: Option<String>,
    /// Keys with all of these tags; `*` and `?` in a value match.
    #[serde(default)]
    pub(crate) tags: BTreeMap<String, String>,
    /// A key used within this time is in use.
    #[serde(deserialize_with = "duration")]
    pub(crate) idle_after: Duration,
}

impl VerdictsConfig {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let times = [("idle_after", self.idle_after), ("proof_max_age", self.proof_max_age)];
        for (name, value) in times {
            if value.is_zero() {
                bail!("{name}: more than nothing");
            }
        }
        if self.idle_after_tag_least > self.idle_after_tag_most || self.idle_after_tag_least.is_zero() {
            bail!("idle_after_tag_least: more than nothing, and at most idle_after_tag_most");
        }
        if self.idle_after_tag.as_ref().is_some_and(String::is_empty) {
            bail!("idle_after_tag: a tag has a name; leave it out if no tag is to decide");
        }
        for (number, over) in self.overrides.iter().enumerate() {
            over.check().with_context(|| format!("[[verdicts.overrides]] number {}", number + 1))?;
        }
        Ok(())
    }
}

impl OverrideConfig {
    fn check(&self) -> anyhow::Result<()> {
        if self.accounts.is_empty() && self.alias.is_none() && self.tags.is_empty() {
            bail!("it matches every key: say accounts, alias or tags, or change idle_after in [verdicts]");
        }
        if let Some(alias) = &self.alias
            && !alias.starts_with("alias/")
        {
            bail!("alias: {alias:?} matches no alias; names begin with \"alias/\"");
        }
        if self.idle_after.is_zero() {
            bail!("idle_after: more than nothing");
        }
        Ok(())
    }
}

/// What a claim rests on.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CoverageConfig {
    /// An account and Region is blind if no heartbeat came back for so long.
    #[serde(deserialize_with = "duration")]
    pub(crate) blind_after: Duration,
    /// How late an event may arrive before KMS's word of it makes it a missed use.
    #[serde(deserialize_with = "duration")]
    pub(crate) delivery_delay: Duration,
    /// The EventBridge rules that deliver events to us; any if empty.
    pub(crate) rules: Vec<String>,
    /// The trails whose events reach us; any if empty.
    pub(crate) trails: Vec<String>,
    /// What is declared to be covered where heartbeats cannot work.
    pub(crate) declared: Vec<DeclaredStream>,
}

impl Default for CoverageConfig {
    fn default() -> Self {
        Self {
            blind_after: Duration::from_secs(1_800),
            delivery_delay: Duration::from_secs(7_200),
            rules: Vec::new(),
            trails: Vec::new(),
            declared: Vec::new(),
        }
    }
}

/// Accounts and Regions of which somebody says that every use is seen, since when.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeclaredStream {
    /// The accounts; all if empty.
    #[serde(default)]
    pub(crate) accounts: Vec<AccountId>,
    /// The Regions; all if empty.
    #[serde(default)]
    pub(crate) regions: Vec<Region>,
    /// Since the begin of this day.
    #[serde(deserialize_with = "day")]
    pub(crate) from: u32,
}

impl CoverageConfig {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        if self.blind_after < Duration::from_secs(120) {
            bail!("blind_after: at least \"2m\"; the default is \"30m\"");
        }
        if self.delivery_delay < Duration::from_secs(300) {
            bail!("delivery_delay: at least \"5m\"; the default is \"2h\"");
        }
        let today = WallClock.now_seconds().day();
        if self.declared.iter().any(|declared| declared.from > today) {
            bail!("[[coverage.declared]] from: a day that has not begun; what will be seen is not known yet");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{MINIMAL, parse};
    use super::*;

    #[test]
    fn overrides_stand_in_their_order_and_must_match_something() {
        let text = "[verdicts]\nidle_after = \"60d\"\n[[verdicts.overrides]]\nalias = \"alias/archive-*\"\n\
                    idle_after = \"400d\"\n[[verdicts.overrides]]\naccounts = [\"111122223333\"]\n\
                    tags = { team = \"pay*\" }\nidle_after = \"30d\"\n";
        let verdicts = parse(&format!("{MINIMAL}{text}"), &[]).unwrap().verdicts;
        assert_eq!(verdicts.overrides.len(), 2);
        assert_eq!(verdicts.overrides[0].idle_after, DAY * 400);
        assert_eq!(verdicts.overrides[1].tags["team"], "pay*");
        for (line, words) in [
            ("idle_after = \"1d\"", "matches every key"),
            ("alias = \"archive-*\"\nidle_after = \"1d\"", "begin with \"alias/\""),
            ("accounts = [\"111122223333\"]\nidle_after = \"0s\"", "more than nothing"),
        ] {
            let error = parse(&format!("{MINIMAL}[[verdicts.overrides]]\n{line}\n"), &[]).unwrap_err();
            assert!(error.contains("[[verdicts.overrides]] number 1") && error.contains(words), "{error}");
        }
        let error =
            parse(&format!("{MINIMAL}[[verdicts.overrides]]\nalias = \"alias/x\"\n"), &[]).unwrap_err();
        assert!(error.contains("idle_after"), "{error}");
    }

    #[test]
    fn what_claims_rest_on_is_bounded() {
        for (line, words) in [
            ("blind_after = \"10s\"", "2m"),
            ("delivery_delay = \"1s\"", "5m"),
            ("[[coverage.declared]]\nfrom = \"2105-01-01\"", "has not begun"),
        ] {
            let error = parse(&format!("{MINIMAL}[coverage]\n{line}\n"), &[]).unwrap_err();
            assert!(error.contains("[coverage]") && error.contains(words), "{error}");
        }
    }
}
