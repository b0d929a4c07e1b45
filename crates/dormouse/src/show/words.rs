//! Times, numbers and names as people say them.

use dormouse_model::EventTime;

/// "3 d ago".
pub(crate) fn ago(at: EventTime, now: EventTime) -> String {
    format!("{} ago", span(now.seconds_since(at)))
}

/// "3 d": the largest unit alone, which is all that one looks for in a table.
pub(crate) fn span(seconds: u32) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", count(u64::from(seconds / 86_400))),
    }
}

/// "2026-01-31": the UTC day alone.
pub(crate) fn date(at: EventTime) -> String {
    at.to_string().chars().take(10).collect()
}

/// "1,204".
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// "1 key", "1,204 keys".
pub(crate) fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number))
}

/// "17.2 MiB".
pub(crate) fn bytes(number: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if number < 1_024 {
        return format!("{number} B");
    }
    // In tenths, rounded down: nothing is made to look larger than it is.
    let (mut tenths, mut unit) = (u128::from(number) * 10 / 1_024, 0);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1_024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// A number of things in memory, to be told.
pub(crate) fn size(number: usize) -> u64 {
    number.try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_one_unit() {
        let now = EventTime::from_seconds(1_000_000_000);
        for (seconds, text) in [
            (0, "0 s ago"),
            (59, "59 s ago"),
            (60, "1 min ago"),
            (3_599, "59 min ago"),
            (3_600, "1 h ago"),
            (86_399, "23 h ago"),
            (86_400, "1 d ago"),
            (400 * 86_400, "400 d ago"),
            (10_000 * 86_400, "10,000 d ago"),
        ] {
            assert_eq!(ago(now.minus(seconds), now), text);
        }
        assert_eq!(ago(now.plus(5), now), "0 s ago", "clocks differ a little");
    }

    #[test]
    fn numbers_are_grouped() {
        let texts = [0, 7, 999, 1_000, 1_204, 999_999, 1_000_000].map(count);
        assert_eq!(texts, ["0", "7", "999", "1,000", "1,204", "999,999", "1,000,000"]);
        assert_eq!((counted(1, "key"), counted(0, "key")), ("1 key".into(), "0 keys".into()));
        assert_eq!(count(u64::MAX), "18,446,744,073,709,551,615");
    }

    #[test]
    fn bytes_have_a_unit() {
        for (number, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (1_536, "1.5 KiB"),
            (1_048_575, "1023.9 KiB"),
            (64 << 20, "64.0 MiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(bytes(number), text);
        }
    }
}
