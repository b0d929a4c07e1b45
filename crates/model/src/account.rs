//! AWS account ids: twelve decimal digits, leading zeros included.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An AWS account id. Held as a number below 10^12, shown as twelve digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(u64);

/// The text is not twelve decimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an AWS account id has exactly twelve digits")]
pub struct ParseAccountError;

impl AccountId {
    /// One more than the largest account id.
    pub const LIMIT: u64 = 1_000_000_000_000;

    /// The account with this number; `None` from 10^12 on.
    pub fn from_number(number: u64) -> Option<Self> {
        (number < Self::LIMIT).then_some(Self(number))
    }

    /// The account in the lowest forty bits of a word that [`AccountId::number`] was written to.
    pub(crate) fn from_low_bits(word: u64) -> Self {
        Self(word & ((1 << 40) - 1))
    }

    /// The id as a number.
    pub fn number(self) -> u64 {
        self.0
    }
}

impl FromStr for AccountId {
    type Err = ParseAccountError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 12 {
            return Err(ParseAccountError);
        }
        let mut number = 0;
        for byte in text.bytes() {
            if !byte.is_ascii_digit() {
                return Err(ParseAccountError);
            }
            number = number * 10 + u64::from(byte - b'0');
        }
        Ok(Self(number))
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012}", self.0)
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for AccountId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_u64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for AccountId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
            text.parse().map_err(de::Error::custom)
        } else {
            Self::from_number(u64::deserialize(deserializer)?)
                .ok_or_else(|| de::Error::custom(ParseAccountError))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_zeros_survive() {
        let account: AccountId = "000000000012".parse().unwrap();
        assert_eq!(account.to_string(), "000000000012");
    }

    #[test]
    fn anything_but_twelve_digits_is_refused() {
        for text in
            ["", "12345678901", "1234567890123", "11112222333x", "AWS Internal", "１１１１２２２２３３３３"]
        {
            assert_eq!(text.parse::<AccountId>(), Err(ParseAccountError), "{text}");
        }
    }
}
