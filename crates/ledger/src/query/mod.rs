//! Which keys are asked for, and in what order: the same question on every surface.
//!
//! The command line's options and the API's parameters have the same names and values ([`KeyQuery::set`]); [`select`]
//! answers with rows, so that an answer of a million keys is four megabytes that can be cut into pages.

mod filter;
mod pattern;
mod select;
#[cfg(test)]
mod tests;

pub use filter::{KeyFilter, TagFilter, parse_age};
pub use pattern::Pattern;
pub use select::{Selection, select};

use dormouse_model::{AccountId, LifecycleState};

use crate::VerdictKind;

/// What keys are sorted by. Keys that lack it come last, whichever the direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SortBy {
    /// The time of the last use.
    #[default]
    LastUse,
    /// The time of the last failed attempt.
    LastAttempt,
    /// The last time that a failure showed that somebody still needs the key.
    Wanted,
    /// When the key was created.
    Created,
    /// Counted uses.
    Uses,
    /// Counted attempts.
    Attempts,
    /// The ARN's text.
    Arn,
}

impl SortBy {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::LastUse,
        Self::LastAttempt,
        Self::Wanted,
        Self::Created,
        Self::Uses,
        Self::Attempts,
        Self::Arn,
    ];

    /// Its name in a question.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LastUse => "last_use",
            Self::LastAttempt => "last_attempt",
            Self::Wanted => "wanted",
            Self::Created => "created",
            Self::Uses => "uses",
            Self::Attempts => "attempts",
            Self::Arn => "arn",
        }
    }

    /// The direction if none is asked for: the latest or most first, names from A to Z.
    pub const fn usual_order(self) -> SortOrder {
        match self {
            Self::Arn => SortOrder::Ascending,
            _ => SortOrder::Descending,
        }
    }
}

/// The direction of a sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SortOrder {
    /// The earliest, the least, or A first.
    Ascending,
    /// The latest, the most, or Z first.
    Descending,
}

impl SortOrder {
    /// Its name in a question.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ascending => "asc",
            Self::Descending => "desc",
        }
    }
}

/// Which keys, and in what order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct KeyQuery {
    /// Which keys.
    pub filter: KeyFilter,
    /// What they are sorted by.
    pub sort: SortBy,
    /// In which direction; `None` for the usual one.
    pub order: Option<SortOrder>,
}

/// A question that cannot be answered: the parameter, what was given, and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryError {
    /// The parameter's name.
    pub parameter: &'static str,
    /// What was given.
    pub given: String,
    /// What is allowed.
    pub allowed: String,
}

impl std::fmt::Display for QueryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {:?} is not allowed; use {}", self.parameter, self.given, self.allowed)
    }
}

impl std::error::Error for QueryError {}

/// The names of all parameters that [`KeyQuery::set`] takes.
pub const PARAMETERS: [&str; 12] = [
    "verdict", "account", "region", "state", "manager", "alias", "tag", "q", "idle_for", "wanted", "sort",
    "order",
];

/// How many values one parameter takes, and how long a value may be.
const MOST_VALUES: usize = 256;
const LONGEST_VALUE: usize = 1_024;

impl KeyQuery {
    /// Sets a parameter from text. Lists are separated by commas, and a list parameter given twice adds up. `Ok(false)`
    /// if there is no such parameter.
    pub fn set(&mut self, name: &str, value: &str) -> Result<bool, QueryError> {
        let Some(&parameter) = PARAMETERS.iter().find(|parameter| **parameter == name) else {
            return Ok(false);
        };
        let error = |allowed: &str| QueryError {
            parameter,
            given: value.chars().take(80).collect(),
            allowed: allowed.to_owned(),
        };
        if value.len() > LONGEST_VALUE {
            return Err(error("at most 1024 bytes"));
        }
        let filter = &mut self.filter;
        let taken = match parameter {
            "verdict" => {
                add(&mut filter.verdicts, value, |text| by_name(&VerdictKind::ALL, VerdictKind::name, text))
            }
            "account" => add(&mut filter.accounts, value, |text| text.parse::<AccountId>().ok()),
            "region" => add(&mut filter.regions, value, region_name),
            "state" => add(&mut filter.states, value, |text| {
                by_name(&LifecycleState::ALL, LifecycleState::name, text)
            }),
            "manager" => add(&mut filter.managers, value, |text| {
                ["AWS", "CUSTOMER"].into_iter().find(|name| name.eq_ignore_ascii_case(text))
            }),
            "alias" => add(&mut filter.aliases, value, |text| Some(Pattern::new(text))),
            "tag" => add(&mut filter.tags, value, TagFilter::parse),
            "q" => {
                filter.text = Some(value.to_lowercase());
                true
            }
            "idle_for" => {
                filter.idle_for = parse_age(value);
                filter.idle_for.is_some()
            }
            "wanted" => {
                filter.wanted = value.parse().ok();
                filter.wanted.is_some()
            }
            "sort" => by_name(&SortBy::ALL, SortBy::name, value).map(|sort| self.sort = sort).is_some(),
            _ => {
                let order = by_name(&[SortOrder::Ascending, SortOrder::Descending], SortOrder::name, value);
                self.order = order;
                order.is_some()
            }
        };
        if taken { Ok(true) } else { Err(error(&allowed(parameter))) }
    }

    /// The direction.
    pub fn order(&self) -> SortOrder {
        self.order.unwrap_or(self.sort.usual_order())
    }
}

/// What a parameter takes, in words.
pub fn allowed(parameter: &str) -> String {
    let list = |names: Vec<&str>| names.join(", ");
    match parameter {
        "verdict" => list(VerdictKind::ALL.map(VerdictKind::name).to_vec()),
        "account" => "account ids of twelve digits".into(),
        "region" => "Region names like eu-west-1".into(),
        "state" => list(LifecycleState::ALL.map(LifecycleState::name).to_vec()),
        "manager" => "CUSTOMER, AWS".into(),
        "alias" => "alias names like alias/app, where * stands for any text".into(),
        "tag" => "KEY or KEY=VALUE, where * stands for any text".into(),
        "q" => "any text of an ARN, an alias, a tag or a description".into(),
        "idle_for" => "a time like 90d, 12h or 30m".into(),
        "wanted" => "true, false".into(),
        "sort" => list(SortBy::ALL.map(SortBy::name).to_vec()),
        "order" => list(vec![SortOrder::Ascending.name(), SortOrder::Descending.name()]),
        _ => String::new(),
    }
}

fn by_name<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str, text: &str) -> Option<T> {
    all.iter().copied().find(|&one| name(one).eq_ignore_ascii_case(text))
}

/// Adds the values of a comma-separated list; false if one is none or there are too many.
fn add<T>(values: &mut Vec<T>, text: &str, parse: impl Fn(&str) -> Option<T>) -> bool {
    for part in text.split(',') {
        let Some(value) = parse(part.trim()) else {
            return false;
        };
        if values.len() == MOST_VALUES {
            return false;
        }
        values.push(value);
    }
    true
}

/// Kept as text: a Region that somebody asks about need not exist.
fn region_name(text: &str) -> Option<Box<str>> {
    let is_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let plausible = (1..=32).contains(&text.len()) && text.bytes().all(is_name);
    plausible.then(|| text.into())
}
