//! How long a key may be unused before it is called idle, and who says so.

use std::fmt::Write;

use dormouse_model::{AccountId, KeyArn, Region};

use crate::query::{Pattern, TagFilter, parse_age};
use crate::{Aliases, Registers};

const DAY: u32 = 86_400;

/// All thresholds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Seconds without a use after which a key is idle, unless something else is said of it.
    pub idle_after: u32,
    /// A key younger than so many seconds is never called idle or never used.
    pub grace: u32,
    /// Proof that ended more than so many seconds ago proves nothing about now. KMS is asked about each key weekly.
    pub proof_max_age: u32,
    /// Exceptions; the first that concerns a key wins.
    pub overrides: Vec<Override>,
    /// Whether a tag may name the threshold of its key. It then wins over the exceptions.
    pub tag: Option<TagThreshold>,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            idle_after: 90 * DAY,
            grace: 14 * DAY,
            proof_max_age: 8 * DAY,
            overrides: Vec::new(),
            tag: None,
        }
    }
}

/// Another threshold for some keys. What is left empty restricts nothing; what is given must all fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Override {
    /// Seconds without a use after which these keys are idle.
    pub idle_after: u32,
    /// Keys of these accounts.
    pub accounts: Vec<AccountId>,
    /// Keys in these Regions.
    pub regions: Vec<Region>,
    /// Keys with an alias that fits, `*` standing for any text.
    pub alias: Option<Pattern>,
    /// Keys with a tag that fits: `NAME`, or `NAME=VALUE` with `*` for any text.
    pub tag: Option<TagFilter>,
}

/// The tag that names a threshold in its value, e.g. `dormouse:idle-after` = `30d`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagThreshold {
    /// The tag's name.
    pub name: Box<str>,
    /// Whoever may tag a key may not ask for fewer seconds than these.
    pub least: u32,
    /// Nor for more than these.
    pub most: u32,
}

/// Thresholds that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ThresholdError {
    /// A key would be idle at once.
    #[error("{0}: a threshold is at least an hour; use e.g. \"90d\"")]
    TooShort(&'static str),
    /// An exception without a condition would be the default.
    #[error("override {0} concerns every key; give it accounts, regions, alias or tag, or change idle_after")]
    NoCondition(usize),
    /// The range is empty.
    #[error("the range of the tag {0} is empty; its least must not be above its most")]
    EmptyRange(Box<str>),
    /// A tag has a name.
    #[error("the tag that names a threshold needs a name of 1 to 128 characters")]
    NoTagName,
}

/// No threshold is shorter: KMS's own word is an hour late.
const SHORTEST: u32 = 3_600;

impl Thresholds {
    /// Whether they can be meant. Overrides are numbered from 1.
    pub fn check(&self) -> Result<(), ThresholdError> {
        if self.idle_after < SHORTEST {
            return Err(ThresholdError::TooShort("idle_after"));
        }
        for (at, exception) in self.overrides.iter().enumerate() {
            if exception.idle_after < SHORTEST {
                return Err(ThresholdError::TooShort("idle_after of an override"));
            }
            let has_condition = !exception.accounts.is_empty()
                || !exception.regions.is_empty()
                || exception.alias.is_some()
                || exception.tag.is_some();
            if !has_condition {
                return Err(ThresholdError::NoCondition(at + 1));
            }
        }
        if let Some(tag) = &self.tag {
            if !(1..=128).contains(&tag.name.chars().count()) {
                return Err(ThresholdError::NoTagName);
            }
            if tag.least < SHORTEST {
                return Err(ThresholdError::TooShort("the least that a tag may say"));
            }
            if tag.least > tag.most {
                return Err(ThresholdError::EmptyRange(tag.name.clone()));
            }
        }
        Ok(())
    }

    /// The shortest threshold that any key can have: used within that is in use, whichever key it is.
    pub(super) fn shortest(&self) -> u32 {
        let overrides = self.overrides.iter().map(|exception| exception.idle_after);
        let tag = self.tag.iter().map(|tag| tag.least);
        overrides.chain(tag).fold(self.idle_after, u32::min)
    }

    /// The threshold of a key.
    pub fn of(&self, key: KeyArn, registers: Option<&Registers>, aliases: &Aliases) -> Threshold {
        if let Some(threshold) = self.tag.as_ref().and_then(|tag| tag.of(registers?)) {
            return threshold;
        }
        for (at, exception) in self.overrides.iter().enumerate() {
            if exception.concerns(key, registers, aliases) {
                return Threshold { seconds: exception.idle_after, source: ThresholdSource::Override(at) };
            }
        }
        Threshold { seconds: self.idle_after, source: ThresholdSource::Default }
    }

    /// Who says so, in words.
    pub(super) fn source_in_words(&self, threshold: Threshold) -> String {
        match threshold.source {
            ThresholdSource::Default => "default".to_owned(),
            ThresholdSource::Override(at) => match self.overrides.get(at) {
                Some(exception) => format!("override {}: {}", at + 1, exception.in_words()),
                None => format!("override {}", at + 1),
            },
            ThresholdSource::Tag { said } => {
                let name = self.tag.as_ref().map_or("", |tag| &tag.name);
                let said_in_words = age_in_words(said);
                if said == threshold.seconds {
                    format!("tag {name}: {said_in_words}")
                } else {
                    let clamped = age_in_words(threshold.seconds);
                    format!(
                        "tag {name}: {said_in_words}, of which {clamped} is what the configuration allows"
                    )
                }
            }
        }
    }
}

impl Override {
    fn concerns(&self, key: KeyArn, registers: Option<&Registers>, aliases: &Aliases) -> bool {
        (self.accounts.is_empty() || self.accounts.contains(&key.account()))
            && (self.regions.is_empty() || self.regions.contains(&key.region()))
            && self.alias.as_ref().is_none_or(|pattern| {
                let names = registers.and_then(|registers| aliases.of_key(key, registers));
                names.unwrap_or_default().iter().any(|name| pattern.fits(name))
            })
            && self.tag.as_ref().is_none_or(|tag| {
                let tags = registers.and_then(Registers::tags).unwrap_or_default();
                tags.iter().any(|(name, value)| tag.fits(name, value))
            })
    }

    /// Whom it concerns, in words.
    pub fn in_words(&self) -> String {
        let list = |names: Vec<String>| names.join(", ");
        let mut words = String::new();
        let mut say = |name: &str, what: String| {
            let separator = if words.is_empty() { "" } else { ", " };
            // Writing to a String cannot fail.
            let _ = write!(words, "{separator}{name} {what}");
        };
        if !self.accounts.is_empty() {
            say("account", list(self.accounts.iter().map(ToString::to_string).collect()));
        }
        if !self.regions.is_empty() {
            say("Region", list(self.regions.iter().map(ToString::to_string).collect()));
        }
        if let Some(alias) = &self.alias {
            say("alias", alias.as_str().to_owned());
        }
        if let Some(tag) = &self.tag {
            say("tag", tag.to_string());
        }
        words
    }
}

impl TagThreshold {
    /// The threshold that a key's tag names; `None` if it has no such tag, or one that is no time.
    fn of(&self, registers: &Registers) -> Option<Threshold> {
        let said = registers.tag(&self.name).and_then(parse_age)?;
        let seconds = said.max(self.least).min(self.most);
        Some(Threshold { seconds, source: ThresholdSource::Tag { said } })
    }
}

/// How long one key may be unused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold {
    /// Seconds.
    pub seconds: u32,
    /// Who says so.
    pub source: ThresholdSource,
}

/// Who says how long a key may be unused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThresholdSource {
    /// Nobody in particular.
    Default,
    /// The exception at this place.
    Override(usize),
    /// The key's own tag.
    Tag {
        /// What it says, in seconds, before it is brought into the range that is allowed.
        said: u32,
    },
}

/// Seconds as people write them: `90d`, `36h`, `1h30m`.
pub fn age_in_words(seconds: u32) -> String {
    let mut words = String::new();
    let mut rest = seconds;
    for (unit, length) in [("d", DAY), ("h", 3_600), ("m", 60), ("s", 1)] {
        let count = rest / length;
        rest %= length;
        if count > 0 {
            // Writing to a String cannot fail.
            let _ = write!(words, "{count}{unit}");
        }
    }
    if words.is_empty() { "0s".to_owned() } else { words }
}

#[cfg(test)]
mod tests {
    use dormouse_model::{EventId, EventTime, KeyAnswer, KeySaid};

    use super::*;

    fn key() -> KeyArn {
        "arn:aws:kms:eu-west-1:111122223333:key/00000000-0000-0000-0000-000000000001".parse().unwrap()
    }

    fn tagged(name: &str, value: &str) -> Registers {
        let mut registers = Registers::default();
        registers.answer(&KeyAnswer {
            key: key(),
            asked_at: EventTime::from_seconds(1),
            request_id: EventId::from("one"),
            said: KeySaid::Tags(vec![(name.into(), value.into())]),
        });
        registers
    }

    fn thresholds() -> Thresholds {
        let of = |idle_after: u32| Override { idle_after: idle_after * DAY, ..Override::default() };
        Thresholds {
            overrides: vec![
                Override { tag: TagFilter::parse("kind=arch*"), ..of(400) },
                Override { accounts: vec![key().account()], ..of(30) },
            ],
            tag: Some(TagThreshold { name: "idle-after".into(), least: 7 * DAY, most: 365 * DAY }),
            ..Thresholds::default()
        }
    }

    #[test]
    fn the_first_exception_wins_and_a_tag_wins_over_all() {
        let thresholds = thresholds();
        thresholds.check().unwrap();
        let of = |name: &str, value: &str| {
            let threshold = thresholds.of(key(), Some(&tagged(name, value)), &Aliases::default());
            (threshold.seconds / DAY, thresholds.source_in_words(threshold))
        };
        assert_eq!(of("kind", "archive"), (400, "override 1: tag kind=arch*".into()));
        assert_eq!(of("kind", "live"), (30, "override 2: account 111122223333".into()));
        assert_eq!(of("idle-after", "60d"), (60, "tag idle-after: 60d".into()));
        assert_eq!(of("idle-after", "1h").0, 7);
        let (days, words) = of("idle-after", "10y");
        assert_eq!(days, 365);
        assert!(words.contains("3650d") && words.contains("365d"), "{words}");
        assert_eq!(of("idle-after", "soon").0, 30);
        assert_eq!(thresholds.shortest(), 7 * DAY);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let with = |change: fn(&mut Thresholds)| {
            let mut all = thresholds();
            change(&mut all);
            all.check()
        };
        assert_eq!(with(|all| all.idle_after = 60), Err(ThresholdError::TooShort("idle_after")));
        assert_eq!(with(|all| all.overrides[1].accounts.clear()), Err(ThresholdError::NoCondition(2)));
        let range = |all: &mut Thresholds| all.tag.iter_mut().for_each(|tag| tag.most = tag.least - 1);
        assert_eq!(with(range), Err(ThresholdError::EmptyRange("idle-after".into())));
    }

    #[test]
    fn ages_are_written_as_they_are_read() {
        for (seconds, words) in [(90 * DAY, "90d"), (129_600, "1d12h"), (5_400, "1h30m"), (0, "0s")] {
            assert_eq!(age_in_words(seconds), words);
            assert_eq!(parse_age(words), Some(seconds));
        }
    }
}
