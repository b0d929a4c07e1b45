//! Values that are written as text: times, sizes, days.

use std::time::Duration;

use dormouse_model::EventTime;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// A duration, e.g. "90d".
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|error| {
        D::Error::custom(format!(
            "{text:?} is no duration ({error}); write one like \"90d\", \"1h 30m\" or \"200ms\""
        ))
    })
}

/// A duration, if there is one.
pub(super) fn some_duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

/// A number of bytes, plain or as text with a unit.
pub(super) fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum NumberOrText {
        Number(u64),
        Text(String),
    }
    match NumberOrText::deserialize(deserializer) {
        Ok(NumberOrText::Number(number)) => Ok(number),
        Ok(NumberOrText::Text(text)) => parse_bytes(&text).map_err(D::Error::custom),
        Err(_) => Err(D::Error::custom("expected a number of bytes, or text like \"64MiB\"")),
    }
}

/// A number of bytes, if there is one.
pub(super) fn some_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    bytes(deserializer).map(Some)
}

/// A number of bytes with its unit.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];
    for (unit, factor) in UNITS {
        if let Some(number) = text.strip_suffix(unit) {
            let number = number.trim().parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
            return number.ok_or_else(|| format!("{text:?} is no number of bytes"));
        }
    }
    Err(format!("{text:?} is no number of bytes; write one like \"64MiB\" (B, KiB, MiB, GiB)"))
}

/// A UTC day, as the number of days since 1970.
pub(super) fn day<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_day(&text).map_err(D::Error::custom)
}

/// A UTC day as `YYYY-MM-DD`, as the number of days since 1970.
fn parse_day(text: &str) -> Result<u32, String> {
    // Nothing but the day: what stands behind it would be taken for a time of the day.
    let is_day = text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    let midnight = is_day.then(|| format!("{text}T00:00:00Z").parse::<EventTime>().ok()).flatten();
    midnight
        .map(EventTime::day)
        .ok_or_else(|| format!("{text:?} is no day between 1970 and 2106; write one like \"2026-01-31\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_days_of_the_calendar() {
        assert_eq!(parse_day("1970-01-02"), Ok(1));
        assert_eq!(parse_day("2026-11-26"), Ok(20_783));
        for wrong in ["2026-02-30", "2026-1-31", "2026-01-31T00", "20260131", "", "26-01-2031", "2126-01-01"]
        {
            assert!(parse_day(wrong).unwrap_err().contains("2026-01-31"), "{wrong}");
        }
    }

    #[test]
    fn bytes_have_units() {
        assert_eq!(parse_bytes("50MiB"), Ok(50 << 20));
        assert_eq!(parse_bytes("7 KiB"), Ok(7 << 10));
        assert_eq!(parse_bytes("9B"), Ok(9));
        for wrong in ["50", "50MB", "-1MiB", "99999999999GiB", "MiB"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }
}
