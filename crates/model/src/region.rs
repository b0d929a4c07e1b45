//! AWS Regions. Known ones cost nothing; ones this build has never heard of keep working.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::names::Names;

/// An AWS Region by name, held as a number that is only valid in this process.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Region(pub(crate) u16);

/// The text is no Region name, or too many different unknown names were seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseRegionError {
    /// Not of the form `xx-yyyy-1`.
    #[error("a Region name looks like eu-west-1")]
    Malformed,
    /// More than [`Region::BOUND`] different names were seen; real ones number in the dozens.
    #[error("too many different Region names were seen")]
    TooMany,
}

const KNOWN: &[&str] = &[
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "cn-north-1",
    "cn-northwest-1",
    "eu-central-1",
    "eu-central-2",
    "eu-isoe-west-1",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eusc-de-east-1",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-iso-east-1",
    "us-iso-west-1",
    "us-isob-east-1",
    "us-isob-west-1",
    "us-isof-east-1",
    "us-isof-south-1",
    "us-west-1",
    "us-west-2",
];

static REGIONS: LazyLock<Names> = LazyLock::new(|| Names::new(KNOWN, Region::BOUND));

impl Region {
    /// How many different Region names one process takes.
    pub const BOUND: u16 = 1024;

    /// The Region of this name, if it is one of AWS's or was seen before. Takes up no room: for names that somebody
    /// asks about.
    pub fn known(name: &str) -> Option<Self> {
        REGIONS.known(name).map(Self)
    }

    /// The Regions of AWS that this build has heard of, in all partitions, by name.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..).zip(KNOWN).map(|(number, _)| Self(number))
    }

    /// The Region's name.
    pub fn name(self) -> &'static str {
        REGIONS.name(self.0)
    }
}

/// Letters, then at least one more group of letters or digits, the last group being a number.
fn looks_like_a_region(text: &str) -> bool {
    let mut groups = text.split('-');
    let letters = |group: &str| !group.is_empty() && group.bytes().all(|b| b.is_ascii_lowercase());
    let words = |group: &str| {
        !group.is_empty() && group.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    let digits = |group: &str| !group.is_empty() && group.bytes().all(|b| b.is_ascii_digit());
    text.len() <= 32
        && groups.next().is_some_and(letters)
        && groups.next_back().is_some_and(digits)
        && groups.next().is_some_and(words)
        && groups.all(words)
}

impl FromStr for Region {
    type Err = ParseRegionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(known) = REGIONS.seed_number(text) {
            return Ok(Self(known));
        }
        if !looks_like_a_region(text) {
            return Err(ParseRegionError::Malformed);
        }
        REGIONS.number(text).map(Self).ok_or(ParseRegionError::TooMany)
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Region {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Region {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_every_name_passes_the_form() {
        assert!(KNOWN.is_sorted());
        for name in KNOWN {
            assert!(looks_like_a_region(name), "{name}");
            assert_eq!(name.parse::<Region>().unwrap().name(), *name);
        }
    }

    #[test]
    fn all_regions_have_their_names_and_partitions() {
        assert!(Region::all().map(Region::name).eq(KNOWN.iter().copied()));
        let of = |partition| Region::all().filter(|region| region.partition() == partition).count();
        assert_eq!((of("aws-cn"), of("aws-us-gov"), of("aws-eusc")), (2, 2, 1));
        assert!(of("aws") > 30);
    }

    #[test]
    fn an_unknown_region_keeps_working() {
        let region: Region = "xx-moon-7".parse().unwrap();
        assert_eq!(region.to_string(), "xx-moon-7");
        assert_eq!(region, "xx-moon-7".parse().unwrap());
        assert_eq!(Region::known("xx-moon-7"), Some(region));
        assert_eq!(Region::known("xx-moon-8"), None);
    }

    #[test]
    fn what_is_no_region_is_refused() {
        for text in
            ["", "eu", "eu-1", "EU-west-1", "eu-west-", "-west-1", "eu west-1", "eu--1", "eu-west-1\n"]
        {
            assert_eq!(text.parse::<Region>(), Err(ParseRegionError::Malformed), "{text:?}");
        }
    }
}
