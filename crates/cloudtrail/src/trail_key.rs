//! What the key of an object in a trail's bucket says about the object.
//!
//! A trail lays its objects out as
//! `[prefix/]AWSLogs/[o-…/]ACCOUNT/CloudTrail/REGION/YYYY/MM/DD/FILE.json.gz`, so that whose events an object holds, and
//! of when, can be told without fetching it. Keys come from messages that anybody may have written: what does not have
//! this layout to the letter is `None`.

use dormouse_model::{AccountId, EventTime, Region};

/// The longest key that S3 takes, in bytes.
pub(crate) const LONGEST_KEY: usize = 1024;
const ROOT: &str = "AWSLogs/";

/// The key of an object in a trail's layout, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrailKey<'a> {
    /// What the object holds.
    pub kind: TrailKeyKind,
    /// What stands before `AWSLogs/`, without the slash at its end; mostly empty.
    pub prefix: &'a str,
    /// The organisation's id, if it is an organisation's trail.
    pub organisation: Option<&'a str>,
    /// Whose events the object holds.
    pub account: AccountId,
    /// The Region that logged them.
    pub region: Region,
    /// The day of its folder, in days since 1970-01-01.
    pub day: u32,
    /// The last part of the key.
    pub file: &'a str,
    /// When it was delivered, as its name says; of logs to the minute.
    pub delivered: Option<EventTime>,
    /// Of a digest: the name of the trail.
    pub trail: Option<&'a str>,
}

/// What an object of a trail holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrailKeyKind {
    /// Records.
    Log,
    /// A list of the logs of an hour, with their hashes.
    Digest,
    /// Insight events: statistics, no calls.
    Insight,
    /// Something else that is laid out alike.
    Other,
}

impl<'a> TrailKey<'a> {
    /// Takes a key apart; `None` if it is not laid out like a trail's.
    pub fn parse(key: &'a str) -> Option<Self> {
        if key.len() > LONGEST_KEY || key.contains(char::is_control) {
            return None;
        }
        let (root, _) = key.rmatch_indices(ROOT).find(|&(place, _)| begins_a_part(key, place))?;
        let prefix = key[..root].strip_suffix('/').unwrap_or_default();
        if prefix.split('/').any(|part| matches!(part, "." | "..")) {
            return None;
        }
        let mut parts: Vec<&str> = key[root + ROOT.len()..].splitn(9, '/').collect();
        let organisation = parts.first().copied().filter(|part| is_organisation(part));
        parts.drain(..usize::from(organisation.is_some()));
        let &[account, folder, region, year, month, day, file] = &*parts else {
            return None;
        };
        let is_plain = !folder.is_empty() && !file.starts_with('.') && file.ends_with(".json.gz");
        let account: AccountId = account.parse().ok()?;
        let day = day_of(year, month, day)?;
        if !is_plain || matches!(folder, "." | "..") {
            return None;
        }
        let kind = match folder {
            "CloudTrail" => TrailKeyKind::Log,
            "CloudTrail-Digest" => TrailKeyKind::Digest,
            "CloudTrail-Insight" => TrailKeyKind::Insight,
            _ => TrailKeyKind::Other,
        };
        let tail = tail_of(file, parts[0], folder, region).unwrap_or_default();
        let (delivered, trail) = match kind {
            TrailKeyKind::Digest => of_digest(tail),
            _ => (time_of(tail.split('_').next().unwrap_or_default()), None),
        };
        // Last, because a Region that is new to this process takes up room.
        let region = region.parse().ok()?;
        Some(Self { kind, prefix, organisation, account, region, day, file, delivered, trail })
    }
}

fn begins_a_part(key: &str, place: usize) -> bool {
    place == 0 || key.as_bytes()[place - 1] == b'/'
}

fn is_organisation(part: &str) -> bool {
    let is_id = |id: &str| {
        (10..=32).contains(&id.len()) && id.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9'))
    };
    part.strip_prefix("o-").is_some_and(is_id)
}

fn day_of(year: &str, month: &str, day: &str) -> Option<u32> {
    let are_digits =
        |text: &str, count| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    if !are_digits(year, 4) || !are_digits(month, 2) || !are_digits(day, 2) {
        return None;
    }
    let time: EventTime = format!("{year}-{month}-{day}T00:00:00Z").parse().ok()?;
    Some(time.day())
}

/// What stands behind `ACCOUNT_FOLDER_REGION_` in a file's name, up to its ending.
fn tail_of<'a>(file: &'a str, account: &str, folder: &str, region: &str) -> Option<&'a str> {
    let mut rest = file;
    for part in [account, folder, region] {
        rest = rest.strip_prefix(part)?.strip_prefix('_')?;
    }
    rest.strip_suffix(".json.gz")
}

/// The time in a digest's name, and the trail's, which may hold what parts the others.
fn of_digest(tail: &str) -> (Option<EventTime>, Option<&str>) {
    let Some((rest, time)) = tail.rsplit_once('_') else {
        return (None, None);
    };
    let trail = rest.rsplit_once('_').map(|(trail, _home_region)| trail);
    (time_of(time), trail.filter(|trail| !trail.is_empty()))
}

/// A time as names have it: `20261001T2355Z` or `20261001T235501Z`.
fn time_of(text: &str) -> Option<EventTime> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let are_digits = [date, time].iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    if !are_digits || date.len() != 8 || !matches!(time.len(), 4 | 6) {
        return None;
    }
    let seconds = if time.len() == 6 { &time[4..] } else { "00" };
    let (year, month, day) = (&date[..4], &date[4..6], &date[6..]);
    format!("{year}-{month}-{day}T{}:{}:{seconds}Z", &time[..2], &time[2..4]).parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    const LOG: &str = "AWSLogs/111122223333/CloudTrail/eu-west-1/2026/10/01/\
                       111122223333_CloudTrail_eu-west-1_20261001T2355Z_Ab0cD1eF2gH3iJ4k.json.gz";
    const DIGEST: &str = "logs/of all/AWSLogs/o-abcdefghij/111122223333/CloudTrail-Digest/eu-west-1/2026/10/01/\
                          111122223333_CloudTrail-Digest_eu-west-1_our_main-trail_us-east-1_20261001T235501Z.json.gz";

    #[test]
    fn a_log_says_whose_events_it_holds() {
        let key = TrailKey::parse(LOG).unwrap();
        assert_eq!(key.kind, TrailKeyKind::Log);
        assert_eq!((key.prefix, key.organisation, key.trail), ("", None, None));
        assert_eq!((key.account.to_string().as_str(), key.region.name()), ("111122223333", "eu-west-1"));
        assert_eq!(key.delivered, Some("2026-10-01T23:55:00Z".parse().unwrap()));
        assert_eq!(key.day, key.delivered.unwrap().day());
        assert_eq!(key.file, &LOG[LOG.rfind('/').unwrap() + 1..]);
    }

    #[test]
    fn a_digest_names_its_trail() {
        let key = TrailKey::parse(DIGEST).unwrap();
        assert_eq!(key.kind, TrailKeyKind::Digest);
        assert_eq!((key.prefix, key.organisation), ("logs/of all", Some("o-abcdefghij")));
        assert_eq!(key.trail, Some("our_main-trail"));
        assert_eq!(key.delivered, Some("2026-10-01T23:55:01Z".parse().unwrap()));
    }

    #[test]
    fn what_is_laid_out_alike_is_told_apart() {
        let kind = |folder: &str| TrailKey::parse(&LOG.replace("CloudTrail", folder)).map(|key| key.kind);
        assert_eq!(kind("CloudTrail-Insight"), Some(TrailKeyKind::Insight));
        assert_eq!(kind("CloudTrail-NetworkActivity"), Some(TrailKeyKind::Other));
        // The folder before the last one of this name belongs to the prefix.
        let twice = format!("AWSLogs/AWSLogs/{LOG}");
        assert_eq!(TrailKey::parse(&twice).unwrap().prefix, "AWSLogs/AWSLogs");
        assert_eq!(TrailKey::parse(&format!("/{LOG}")).unwrap().prefix, "");
        // A name of another form tells no time and loses nothing else.
        let renamed =
            TrailKey::parse("AWSLogs/111122223333/CloudTrail/eu-west-1/2026/10/01/a.json.gz").unwrap();
        assert_eq!((renamed.delivered, renamed.file), (None, "a.json.gz"));
    }

    #[test]
    fn other_keys_are_none() {
        for (from, to) in [
            ("AWSLogs/", "AWSLog/"),
            ("AWSLogs/", "xAWSLogs/"),
            ("AWSLogs/", "../AWSLogs/"),
            ("AWSLogs/", "a/./AWSLogs/"),
            ("AWSLogs/", "AWSLogs/o-/"),
            ("AWSLogs/", "AWSLogs/o-ABCDEFGHIJ/"),
            ("AWSLogs/", "a\n/AWSLogs/"),
            ("/111122223333/", "/11112222333/"),
            ("/CloudTrail/", "/../"),
            ("/CloudTrail/", "//"),
            ("/eu-west-1/", "/../"),
            ("/eu-west-1/", "/Europe/"),
            ("2026/10/01", "2026/13/01"),
            ("2026/10/01", "2026/02/30"),
            ("2026/10/01", "2026/1/01"),
            ("2026/10/01", "1969/10/01"),
            ("2026/10/01", "+026/10/01"),
            ("2026/10/01", "2026/10/01/02"),
            ("2026/10/01/", "2026/10/"),
            (".json.gz", ".json"),
        ] {
            let key = LOG.replacen(from, to, 1);
            assert_ne!(key, LOG, "{from}");
            assert_eq!(TrailKey::parse(&key), None, "{key}");
        }
        for key in ["", "/", "AWSLogs/", "AWSLogs/////////"] {
            assert_eq!(TrailKey::parse(key), None, "{key}");
        }
        assert_eq!(TrailKey::parse(&format!("{}/{LOG}", "p".repeat(LONGEST_KEY))), None);
    }

    proptest! {
        #[test]
        fn any_text_is_taken_apart_or_refused(text in ".{0,200}") {
            TrailKey::parse(&text);
        }

        #[test]
        fn mutated_keys_are_taken_apart_or_refused(
            digest: bool,
            changes in prop::collection::vec((any::<Index>(), prop::sample::select(vec!["/", "..", "_", "é", "0", "T", "Z", ""])), 1..5),
        ) {
            let mut key = if digest { DIGEST } else { LOG }.to_owned();
            for (place, text) in changes {
                let begin = key.floor_char_boundary(place.index(key.len()));
                let end = key.ceil_char_boundary((begin + 1).min(key.len()));
                key.replace_range(begin..end, text);
                if key.is_empty() {
                    break;
                }
            }
            if let Some(parsed) = TrailKey::parse(&key) {
                prop_assert!(key.ends_with(parsed.file) && key.starts_with(parsed.prefix));
                prop_assert!(!parsed.file.contains('/'));
            }
        }

        #[test]
        fn every_key_of_the_layout_is_read(
            prefix in "([a-z0-9 ._-]{1,10}[a-z]/){0,3}",
            account in 0u64..1_000_000_000_000,
            trail in "[A-Za-z0-9][A-Za-z0-9._-]{1,60}[A-Za-z0-9]",
            days in 0u32..40_000,
        ) {
            let time = EventTime::from_seconds(days * 86_400 + 3_661).to_string();
            let (date, clock) = (time[..10].replace('-', "/"), time.replace(['-', ':'], ""));
            let key = format!(
                "{prefix}AWSLogs/{account:012}/CloudTrail-Digest/us-east-1/{date}/\
                 {account:012}_CloudTrail-Digest_us-east-1_{trail}_eu-west-1_{clock}.json.gz"
            );
            let parsed = TrailKey::parse(&key).unwrap();
            prop_assert_eq!(parsed.prefix, prefix.strip_suffix('/').unwrap_or_default());
            prop_assert_eq!(parsed.trail, Some(&*trail));
            prop_assert_eq!((parsed.day, parsed.delivered), (days, Some(time.parse().unwrap())));
        }
    }
}
