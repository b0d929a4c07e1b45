//! Which keys a question is about.

use dormouse_model::{AccountId, KeyArn, LifecycleState};

use super::Pattern;
use crate::{Aliases, KeyState, Registers, Trace, VerdictKind};

/// Conditions that a key must all meet; an empty list is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct KeyFilter {
    /// One of these verdicts.
    pub verdicts: Vec<VerdictKind>,
    /// In one of these accounts.
    pub accounts: Vec<AccountId>,
    /// In one of these Regions.
    pub regions: Vec<Box<str>>,
    /// In one of these states, as far as known. Deleted keys are left out unless they are asked for here.
    pub states: Vec<LifecycleState>,
    /// Managed by one of these (`CUSTOMER`, `AWS`), as far as known.
    pub managers: Vec<&'static str>,
    /// With an alias that fits one of these.
    pub aliases: Vec<Pattern>,
    /// With a tag that fits one of these.
    pub tags: Vec<TagFilter>,
    /// With this text, in lower case, in its ARN, an alias, a tag or its description.
    pub text: Option<String>,
    /// Without a use for so many seconds, or ever.
    pub idle_for: Option<u32>,
    /// Whether failures show that somebody still needs it.
    pub wanted: Option<bool>,
}

/// A condition on one tag.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TagFilter {
    key: Pattern,
    value: Option<Pattern>,
}

impl TagFilter {
    /// `KEY` or `KEY=VALUE`.
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return None;
        }
        Some(match text.split_once('=') {
            None => Self { key: Pattern::new(text), value: None },
            Some((key, value)) => Self { key: Pattern::new(key), value: Some(Pattern::new(value)) },
        })
    }

    /// Whether a tag fits.
    pub fn fits(&self, key: &str, value: &str) -> bool {
        self.key.fits(key) && self.value.as_ref().is_none_or(|pattern| pattern.fits(value))
    }
}

impl std::fmt::Display for TagFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.key.as_str())?;
        self.value.as_ref().map_or(Ok(()), |value| write!(f, "={}", value.as_str()))
    }
}

impl KeyFilter {
    /// Whether the key's name alone meets the conditions on it.
    pub(super) fn takes_key(&self, key: KeyArn) -> bool {
        let among = |regions: &[Box<str>]| regions.iter().any(|name| **name == *key.region().name());
        (self.accounts.is_empty() || self.accounts.contains(&key.account()))
            && (self.regions.is_empty() || among(&self.regions))
    }

    /// Whether what is known of the key has to be looked at.
    pub(super) fn looks_at_state(&self) -> bool {
        !self.states.is_empty()
            || !self.managers.is_empty()
            || !self.aliases.is_empty()
            || !self.tags.is_empty()
            || self.text.is_some()
            || self.wanted.is_some()
    }

    /// Whether what is known of the key meets the conditions on it.
    pub(super) fn takes_state<T: Trace>(&self, key: KeyArn, state: &KeyState<T>, aliases: &Aliases) -> bool {
        let registers = state.registers();
        let known_state = registers.and_then(Registers::state);
        let manager = registers.and_then(Registers::manager);
        (self.states.is_empty() || known_state.is_some_and(|known| self.states.contains(&known)))
            && (self.managers.is_empty() || manager.is_some_and(|known| self.managers.contains(&known)))
            && self.wanted.is_none_or(|wanted| state.wanted().is_some() == wanted)
            && (self.aliases.is_empty() || self.takes_aliases(key, registers, aliases))
            && (self.tags.is_empty() || registers.is_some_and(|registers| self.takes_tags(registers)))
            && self.text.as_ref().is_none_or(|text| has_text(text, key, registers, aliases))
    }

    fn takes_aliases(&self, key: KeyArn, registers: Option<&Registers>, aliases: &Aliases) -> bool {
        let names = registers.and_then(|registers| aliases.of_key(key, registers)).unwrap_or_default();
        names.iter().any(|name| self.aliases.iter().any(|pattern| pattern.fits(name)))
    }

    fn takes_tags(&self, registers: &Registers) -> bool {
        let tags = registers.tags().unwrap_or_default();
        tags.iter().any(|(key, value)| self.tags.iter().any(|tag| tag.fits(key, value)))
    }
}

fn has_text(text: &str, key: KeyArn, registers: Option<&Registers>, aliases: &Aliases) -> bool {
    let holds = |field: &str| field.to_lowercase().contains(text);
    if key.to_string().contains(text) {
        return true;
    }
    let Some(registers) = registers else {
        return false;
    };
    let names = aliases.of_key(key, registers).unwrap_or_default();
    names.iter().any(|name| holds(name))
        || registers.tags().unwrap_or_default().iter().any(|(key, value)| holds(key) || holds(value))
        || registers.description().is_some_and(holds)
}

/// Seconds of a time like `90d`, `1h30m` or `45s`; a number alone is seconds.
pub fn parse_age(text: &str) -> Option<u32> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    let mut total: u32 = 0;
    let mut rest = text;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u32 = rest[..digits].parse().ok()?;
        rest = rest[digits..].trim_start();
        let unit = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let factor = match &rest[..unit] {
            "s" => 1,
            "m" | "min" => 60,
            "h" => 3_600,
            "d" => 86_400,
            "w" => 7 * 86_400,
            "y" => 365 * 86_400,
            _ => return None,
        };
        rest = rest[unit..].trim_start();
        total = total.checked_add(number.checked_mul(factor)?)?;
    }
    Some(total)
}
