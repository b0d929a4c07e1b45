//! What is asked for, and which days can be finished.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use dormouse_model::{AccountId, EventTime, Region};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A day is read when so many seconds have passed since its end: its last log files come within minutes, and the digest
/// that lists them within two hours, nearly always.
pub const SETTLING_SECONDS: u32 = 6 * 3_600;
/// So many objects are read at once, unless something else is asked for.
pub const USUAL_CONCURRENCY: usize = 8;
/// More at once than this is asked for by mistake.
const MOST_CONCURRENCY: usize = 256;
/// Longer than any trail is old.
const MOST_DAYS: u32 = 366 * 20;

/// A UTC day. Written like `2026-11-03`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(u32);

/// The text is no date between 1970 and 2105.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a day looks like 2026-01-31")]
pub struct ParseDayError;

impl Day {
    /// The day that many days after 1970-01-01.
    pub const fn from_number(number: u32) -> Self {
        Self(number)
    }

    /// Days since 1970-01-01.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The day as folders of a trail are named: `2026/11/03`.
    pub(crate) fn folder(self) -> String {
        self.to_string().replace('-', "/")
    }
}

impl FromStr for Day {
    type Err = ParseDayError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != "2026-01-31".len() {
            return Err(ParseDayError);
        }
        let begin: EventTime = format!("{text}T00:00:00Z").parse().map_err(|_| ParseDayError)?;
        Ok(Self(begin.day()))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let begin = EventTime::from_seconds(self.0.saturating_mul(86_400)).to_string();
        f.pad(begin.split('T').next().unwrap_or_default())
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <std::borrow::Cow<'de, str>>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Which history to read, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackfillRequest {
    /// The bucket; absent if a folder is read.
    #[serde(default)]
    pub bucket: Option<String>,
    /// A folder on disk that is laid out as the bucket is; absent if a bucket is read.
    #[serde(default)]
    pub local: Option<PathBuf>,
    /// What stands before `AWSLogs/`; empty for nothing.
    #[serde(default)]
    pub prefix: String,
    /// The first day.
    pub from: Day,
    /// The last day.
    pub to: Day,
    /// Only these accounts; absent for all.
    #[serde(default)]
    pub accounts: Option<Vec<AccountId>>,
    /// Only these Regions; absent for all.
    #[serde(default)]
    pub regions: Option<Vec<Region>>,
    /// So many objects are read at once.
    #[serde(default = "usual_concurrency")]
    pub concurrency: usize,
    /// No more bytes a second than this are fetched. The store that is read must keep to it.
    #[serde(default)]
    pub bandwidth: Option<u64>,
    /// Days that are finished are read once more.
    #[serde(default)]
    pub again: bool,
}

fn usual_concurrency() -> usize {
    USUAL_CONCURRENCY
}

/// What is asked for cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Neither a bucket nor a folder, or both.
    #[error("name either a bucket or a folder to read from")]
    Source,
    /// No day lies between the two.
    #[error("the first day, {from}, lies after the last, {to}")]
    Order {
        /// The first day.
        from: Day,
        /// The last day.
        to: Day,
    },
    /// The last day's records may not all have been delivered.
    #[error(
        "{to} cannot be finished yet, because its last records may still be on their way: the last day that can be is {last}"
    )]
    TooEarly {
        /// The last day that was asked for.
        to: Day,
        /// The last day that can be read.
        last: Day,
    },
    /// No trail is so old.
    #[error("at most {MOST_DAYS} days can be asked for at once")]
    TooLong,
    /// A number out of its bounds.
    #[error("concurrency must be 1 to {MOST_CONCURRENCY}")]
    Concurrency,
    /// Nothing would ever arrive.
    #[error("a bandwidth must be at least 1 byte a second")]
    Bandwidth,
}

impl BackfillRequest {
    /// A request for these days, with everything else as usual.
    pub fn new(from: Day, to: Day) -> Self {
        Self {
            bucket: None,
            local: None,
            prefix: String::new(),
            from,
            to,
            accounts: None,
            regions: None,
            concurrency: USUAL_CONCURRENCY,
            bandwidth: None,
            again: false,
        }
    }

    /// Whether it can be done now.
    pub fn check(&self, now: EventTime) -> Result<(), RequestError> {
        let Self { from, to, .. } = *self;
        if self.bucket.is_some() == self.local.is_some() {
            return Err(RequestError::Source);
        }
        if from > to {
            return Err(RequestError::Order { from, to });
        }
        let last = last_day(now);
        if to > last {
            return Err(RequestError::TooEarly { to, last });
        }
        if to.0 - from.0 >= MOST_DAYS {
            return Err(RequestError::TooLong);
        }
        if !(1..=MOST_CONCURRENCY).contains(&self.concurrency) {
            return Err(RequestError::Concurrency);
        }
        if self.bandwidth == Some(0) {
            return Err(RequestError::Bandwidth);
        }
        Ok(())
    }

    /// The days, by number.
    pub(crate) fn days(&self) -> std::ops::RangeInclusive<u32> {
        self.from.0..=self.to.0
    }

    /// What all keys of the trail begin with.
    pub fn root(&self) -> String {
        match self.prefix.trim_matches('/') {
            "" => "AWSLogs/".to_owned(),
            prefix => format!("{prefix}/AWSLogs/"),
        }
    }
}

/// The last day that can be finished at this time.
pub fn last_day(now: EventTime) -> Day {
    Day(now.minus(SETTLING_SECONDS).day().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(from: &str, to: &str) -> BackfillRequest {
        let days = BackfillRequest::new(from.parse().unwrap(), to.parse().unwrap());
        BackfillRequest { bucket: Some("trail".to_owned()), ..days }
    }

    #[test]
    fn a_day_is_refused_until_its_records_have_settled() {
        let end: EventTime = "2026-11-04T00:00:00Z".parse().unwrap();
        let asked = request("2026-11-01", "2026-11-03");
        let early = asked.check(end.plus(SETTLING_SECONDS - 1)).unwrap_err();
        assert_eq!(
            early,
            RequestError::TooEarly { to: "2026-11-03".parse().unwrap(), last: "2026-11-02".parse().unwrap() }
        );
        assert!(early.to_string().ends_with("the last day that can be is 2026-11-02"), "{early}");
        assert_eq!(asked.check(end.plus(SETTLING_SECONDS)), Ok(()));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let now: EventTime = "2026-12-01T00:00:00Z".parse().unwrap();
        let asked = request("2026-11-01", "2026-11-03");
        let refused = |request: BackfillRequest| request.check(now).unwrap_err().to_string();
        assert!(refused(request("2026-11-03", "2026-11-02")).contains("lies after"));
        assert!(refused(request("1990-11-03", "2026-11-02")).contains("at most"));
        assert!(refused(BackfillRequest { local: Some("x".into()), ..asked.clone() }).contains("either"));
        assert!(refused(BackfillRequest { bucket: None, ..asked.clone() }).contains("either"));
        assert!(refused(BackfillRequest { concurrency: 0, ..asked.clone() }).contains("concurrency"));
        assert!(refused(BackfillRequest { bandwidth: Some(0), ..asked }).contains("bandwidth"));
    }

    #[test]
    fn days_are_written_as_people_and_folders_do() {
        let day: Day = "2026-02-28".parse().unwrap();
        assert_eq!((day.to_string(), day.folder()), ("2026-02-28".to_owned(), "2026/02/28".to_owned()));
        for text in ["2026-02-30", "2026-2-28", "today", "2026-02-28T", ""] {
            assert_eq!(text.parse::<Day>(), Err(ParseDayError), "{text}");
        }
    }

    #[test]
    fn a_prefix_is_taken_with_and_without_slashes() {
        for (prefix, root) in
            [("", "AWSLogs/"), ("/", "AWSLogs/"), ("a/b", "a/b/AWSLogs/"), ("a/", "a/AWSLogs/")]
        {
            let asked = BackfillRequest { prefix: prefix.to_owned(), ..request("2026-11-01", "2026-11-03") };
            assert_eq!(asked.root(), root);
        }
    }
}
