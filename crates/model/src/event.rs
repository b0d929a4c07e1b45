//! When an event happened, and which event it is.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::key::decode_hex;

/// A CloudTrail event time: whole seconds since 1970-01-01T00:00:00Z, which is all that CloudTrail says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EventTime(u32);

/// The text is no RFC 3339 time between 1970 and 2106.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event time looks like 2026-01-31T12:00:00Z")]
pub struct ParseTimeError;

impl EventTime {
    /// The time that many seconds after 1970.
    pub const fn from_seconds(seconds: u32) -> Self {
        Self(seconds)
    }

    /// The second in which `timestamp` lies; times before 1970 or after 2106 become the nearest one that can be said.
    pub fn from_timestamp(timestamp: jiff::Timestamp) -> Self {
        let seconds = timestamp.as_second().clamp(0, i64::from(u32::MAX));
        Self(u32::try_from(seconds).unwrap_or(u32::MAX))
    }

    /// Seconds since 1970.
    pub const fn seconds(self) -> u32 {
        self.0
    }

    /// Days since 1970-01-01, in UTC.
    pub const fn day(self) -> u32 {
        self.0 / 86_400
    }

    /// This time moved by so many seconds, within what can be said.
    pub fn plus(self, seconds: u32) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// This time moved back by so many seconds, within what can be said.
    pub fn minus(self, seconds: u32) -> Self {
        Self(self.0.saturating_sub(seconds))
    }

    /// How many seconds this is after `earlier`; 0 if it is not.
    pub fn seconds_since(self, earlier: Self) -> u32 {
        self.0.saturating_sub(earlier.0)
    }

    /// The form CloudTrail always uses, `YYYY-MM-DDTHH:MM:SSZ`; `None` for any other, valid or not.
    fn parse_common_form(text: &[u8]) -> Option<Self> {
        fn number(digits: &[u8]) -> Option<u32> {
            digits
                .iter()
                .try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u32::from(byte - b'0')))
        }
        let [y0, y1, y2, y3, b'-', mo0, mo1, b'-', d0, d1, b'T', h0, h1, b':', mi0, mi1, b':', s0, s1, b'Z'] =
            *text
        else {
            return None;
        };
        let (year, month, day) = (number(&[y0, y1, y2, y3])?, number(&[mo0, mo1])?, number(&[d0, d1])?);
        let (hour, minute, second) = (number(&[h0, h1])?, number(&[mi0, mi1])?, number(&[s0, s1])?);
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let month_length = match month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let in_range = (1970..=2105).contains(&year)
            && (1..=12).contains(&month)
            && (1..=month_length).contains(&day)
            && hour < 24
            && minute < 60
            && second < 60;
        if !in_range {
            return None;
        }
        // Days since 1970 in the proleptic Gregorian calendar, counting years from March so that the leap day is last.
        let (march_year, march_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let leap_days = march_year / 4 - march_year / 100 + march_year / 400;
        let days = march_year * 365 + leap_days + (march_month * 153 + 2) / 5 + day - 1 - 719_468;
        Some(Self(days * 86_400 + hour * 3_600 + minute * 60 + second))
    }
}

impl FromStr for EventTime {
    type Err = ParseTimeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(time) = Self::parse_common_form(text.as_bytes()) {
            return Ok(time);
        }
        let timestamp: jiff::Timestamp = text.parse().map_err(|_| ParseTimeError)?;
        u32::try_from(timestamp.as_second()).map(Self).map_err(|_| ParseTimeError)
    }
}

impl fmt::Display for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date_of(self.day());
        let second = self.0 % 86_400;
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        let mut text = *b"0000-00-00T00:00:00Z";
        let places =
            [(0, year / 100), (2, year % 100), (5, month), (8, day), (11, hour), (14, minute), (17, second)];
        for (place, number) in places {
            let digit = |number: u32| b'0' + u8::try_from(number % 10).unwrap_or(0);
            text[place] = digit(number / 10);
            text[place + 1] = digit(number);
        }
        f.pad(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

/// Year, month and day of a day since 1970, counting years from March so that the leap day is last.
fn date_of(day: u32) -> (u32, u32, u32) {
    let day = day + 719_468;
    let (era, day_of_era) = (day / 146_097, day % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u32::from(month <= 2);
    (year, month, day_of_month)
}

impl fmt::Debug for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for EventTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_u32(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for EventTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
            text.parse().map_err(de::Error::custom)
        } else {
            u32::deserialize(deserializer).map(Self)
        }
    }
}

/// A CloudTrail event id. Nearly all are UUIDs in lower case, held in sixteen bytes; the order is that of the texts.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum EventId {
    /// A UUID in its usual form.
    Uuid([u8; 16]),
    /// Anything else.
    Text(Box<str>),
}

impl From<&str> for EventId {
    fn from(text: &str) -> Self {
        if text.len() == 36
            && let Some(bytes) = decode_hex(text.as_bytes(), true)
        {
            return Self::Uuid(bytes);
        }
        Self::Text(text.into())
    }
}

impl Ord for EventId {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            // Lower-case digits sort like the bytes they stand for.
            (Self::Uuid(a), Self::Uuid(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            _ => self.to_string().cmp(&other.to_string()),
        }
    }
}

impl PartialOrd for EventId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uuid(bytes) => {
                for (place, byte) in bytes.iter().enumerate() {
                    if matches!(place, 4 | 6 | 8 | 10) {
                        f.write_str("-")?;
                    }
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::from(&*<std::borrow::Cow<'de, str>>::deserialize(deserializer)?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fractions_and_offsets_are_understood() {
        let time: EventTime = "2026-11-22T05:52:26Z".parse().unwrap();
        assert_eq!("2026-11-22T05:52:26.987Z".parse(), Ok(time));
        assert_eq!("2026-11-22T06:52:26+01:00".parse(), Ok(time));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "Apr 12, 2021 18:58:30 PM",
            "2026-02-30T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "9999-01-01T00:00:00Z",
        ] {
            assert_eq!(text.parse::<EventTime>(), Err(ParseTimeError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn times_round_trip(seconds in 0u32..4_260_000_000) {
            let time = EventTime::from_seconds(seconds);
            let text = time.to_string();
            prop_assert_eq!(EventTime::parse_common_form(text.as_bytes()), Some(time));
            prop_assert_eq!(&text, &jiff::Timestamp::from_second(i64::from(seconds)).unwrap().to_string());
        }

        #[test]
        fn ids_keep_their_text_and_its_order(
            a in "[0-9a-fA-F]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[ -~]{0,40}",
            b in "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[ -~]{0,40}",
        ) {
            let (x, y) = (EventId::from(&*a), EventId::from(&*b));
            prop_assert_eq!(x.to_string(), a.clone());
            prop_assert_eq!(x.cmp(&y), a.cmp(&b));
        }
    }
}
