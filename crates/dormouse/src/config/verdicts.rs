//! What the configuration says about verdicts: after how long which key is called unused, and what a claim rests on.

use std::time::Duration;

use anyhow::{Context, bail};
use dormouse_ledger::query::{Pattern, TagFilter};
use dormouse_ledger::{CoverageOptions, Declared, Span, TagThreshold, Thresholds};
use dormouse_model::{AccountId, Clock, EventTime, Region, WallClock};
use serde::Deserialize;

use super::values::{day, duration};
use crate::commands::seconds;

const HOUR: Duration = Duration::from_secs(3_600);
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
            grace: DAY * 14,
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
    /// Keys in these Regions; in all if empty.
    #[serde(default)]
    pub(crate) regions: Vec<Region>,
    /// Keys with an alias that matches, e.g. `alias/archive-*`.
    #[serde(default)]
    pub(crate) alias: Option<String>,
    /// Keys with a tag that matches: `NAME`, or `NAME=VALUE`.
    #[serde(default)]
    pub(crate) tag: Option<String>,
    /// A key used within this time is in use.
    #[serde(deserialize_with = "duration")]
    pub(crate) idle_after: Duration,
}

impl VerdictsConfig {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        if self.proof_max_age < HOUR {
            bail!("proof_max_age: at least \"1h\"; the default is \"8d\"");
        }
        self.thresholds().map(drop)
    }

    /// How long which key may be unused.
    pub(crate) fn thresholds(&self) -> anyhow::Result<Thresholds> {
        let tag = self.idle_after_tag.as_ref().map(|name| TagThreshold {
            name: name.as_str().into(),
            least: seconds(self.idle_after_tag_least),
            most: seconds(self.idle_after_tag_most),
        });
        let overrides = self.overrides.iter().enumerate().map(|(place, over)| {
            over.parsed().with_context(|| format!("[[verdicts.overrides]] number {}", place + 1))
        });
        let thresholds = Thresholds {
            idle_after: seconds(self.idle_after),
            grace: seconds(self.grace),
            proof_max_age: seconds(self.proof_max_age),
            overrides: overrides.collect::<anyhow::Result<_>>()?,
            tag,
        };
        thresholds.check()?;
        Ok(thresholds)
    }
}

impl OverrideConfig {
    fn parsed(&self) -> anyhow::Result<dormouse_ledger::Override> {
        if let Some(alias) = &self.alias
            && !alias.starts_with("alias/")
        {
            bail!("alias: {alias:?} matches no alias; names begin with \"alias/\"");
        }
        let tag = self.tag.as_ref().map(|text| {
            TagFilter::parse(text).with_context(|| {
                format!("tag: {text:?}: write \"NAME\", or \"NAME=VALUE\" with * for any text")
            })
        });
        Ok(dormouse_ledger::Override {
            idle_after: seconds(self.idle_after),
            accounts: self.accounts.clone(),
            regions: self.regions.clone(),
            alias: self.alias.as_deref().map(Pattern::new),
            tag: tag.transpose()?,
        })
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
    /// Accounts whose rules and trails deliver the events of all others, too.
    pub(crate) central_accounts: Vec<AccountId>,
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
            central_accounts: Vec::new(),
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
        if !(Duration::from_secs(120)..=HOUR * 6).contains(&self.blind_after) {
            bail!("blind_after: \"2m\" to \"6h\"; the default is \"30m\"");
        }
        if !(Duration::from_secs(300)..=DAY).contains(&self.delivery_delay) {
            bail!("delivery_delay: \"5m\" to \"1d\"; the default is \"2h\"");
        }
        for (name, patterns) in [("rules", &self.rules), ("trails", &self.trails)] {
            if patterns.iter().any(String::is_empty) {
                bail!("{name}: an empty name fits nothing; leave the list out for any");
            }
        }
        let today = WallClock.now_seconds().day();
        if self.declared.iter().any(|declared| declared.from > today) {
            bail!("[[coverage.declared]] from: a day that has not begun; what will be seen is not known yet");
        }
        Ok(())
    }
}

impl CoverageConfig {
    /// What claims rest on.
    pub(crate) fn options(&self) -> CoverageOptions {
        let patterns = |names: &[String]| names.iter().map(|name| Pattern::new(name)).collect();
        CoverageOptions {
            blind_after_seconds: seconds(self.blind_after),
            delivery_delay_seconds: seconds(self.delivery_delay),
            rules: patterns(&self.rules),
            trails: patterns(&self.trails),
            central: self.central_accounts.clone(),
            // What is declared of history is claimed before it is read: what KMS knows of it was not missed.
            declared: self.declared(),
            ..CoverageOptions::default()
        }
    }

    /// What is declared to be covered.
    pub(crate) fn declared(&self) -> Vec<Declared> {
        let declared = |declared: &DeclaredStream| Declared {
            accounts: declared.accounts.clone(),
            regions: declared.regions.clone(),
            span: Span {
                from: EventTime::from_seconds(declared.from.saturating_mul(86_400)),
                until: EventTime::from_seconds(u32::MAX),
            },
            delay_seconds: seconds(self.delivery_delay),
        };
        self.declared.iter().map(declared).collect()
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
                    tag = \"team=pay*\"\nidle_after = \"30d\"\n";
        let verdicts = parse(&format!("{MINIMAL}{text}"), &[]).unwrap().verdicts;
        assert_eq!(verdicts.overrides.len(), 2);
        assert_eq!(verdicts.overrides[0].idle_after, DAY * 400);
        assert_eq!(verdicts.thresholds().unwrap().overrides[0].idle_after, 400 * 86_400);
        for (line, words) in [
            ("idle_after = \"1d\"", "concerns every key"),
            ("alias = \"archive-*\"\nidle_after = \"1d\"", "begin with \"alias/\""),
            ("accounts = [\"111122223333\"]\nidle_after = \"0s\"", "at least an hour"),
        ] {
            let error = parse(&format!("{MINIMAL}[[verdicts.overrides]]\n{line}\n"), &[]).unwrap_err();
            assert!(error.contains("[verdicts]") && error.contains(words), "{error}");
        }
        let error =
            parse(&format!("{MINIMAL}[[verdicts.overrides]]\nalias = \"alias/x\"\n"), &[]).unwrap_err();
        assert!(error.contains("idle_after"), "{error}");
    }

    #[test]
    fn what_claims_rest_on_is_bounded() {
        for (line, words) in [
            ("blind_after = \"10s\"", "2m"),
            ("blind_after = \"400d\"", "6h"),
            ("delivery_delay = \"400d\"", "1d"),
            ("rules = [\"\"]", "an empty name"),
            ("delivery_delay = \"1s\"", "5m"),
            ("[[coverage.declared]]\nfrom = \"2105-01-01\"", "has not begun"),
        ] {
            let error = parse(&format!("{MINIMAL}[coverage]\n{line}\n"), &[]).unwrap_err();
            assert!(error.contains("[coverage]") && error.contains(words), "{error}");
        }
    }
}
