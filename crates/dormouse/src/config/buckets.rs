//! Buckets, and parts of them, that may be read: `bucket` or `bucket/prefix`.

use std::fmt;
use std::str::FromStr;

/// A bucket, or what lies in it under a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BucketPart {
    /// The bucket's name.
    pub(crate) bucket: String,
    /// What keys begin with; empty for the whole bucket.
    pub(crate) prefix: String,
}

impl BucketPart {
    /// Whether what lies under `prefix` in `bucket` lies in this part.
    pub(crate) fn holds(&self, bucket: &str, prefix: &str) -> bool {
        self.bucket == bucket && prefix.starts_with(&self.prefix)
    }
}

/// Why a text names no part of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NoBucket(String);

impl fmt::Display for NoBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no bucket; write it like \"trail-logs\" or \"trail-logs/AWSLogs/\"", self.0)
    }
}

impl std::error::Error for NoBucket {}

impl FromStr for BucketPart {
    type Err = NoBucket;

    fn from_str(text: &str) -> Result<Self, NoBucket> {
        // People copy them with it.
        let rest = text.strip_prefix("s3://").unwrap_or(text);
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        let is_bucket = (3..=255).contains(&bucket.len()) && bucket.bytes().all(is_name);
        let is_prefix = prefix.len() <= 1_024 && !prefix.chars().any(char::is_control);
        if !is_bucket || !is_prefix {
            return Err(NoBucket(text.to_owned()));
        }
        Ok(Self { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

impl fmt::Display for BucketPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_bucket_is_named_in_any_usual_form() {
        for (text, shown) in [
            ("trail-logs", "s3://trail-logs/"),
            ("trail-logs/", "s3://trail-logs/"),
            ("s3://trail-logs/kms/AWSLogs/", "s3://trail-logs/kms/AWSLogs/"),
        ] {
            assert_eq!(text.parse::<BucketPart>().unwrap().to_string(), shown);
        }
        for wrong in ["", "ab", "/AWSLogs", "arn:aws:s3:::trail-logs", "a b c", "trail-logs/\n"] {
            assert!(wrong.parse::<BucketPart>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_prefix_holds_what_lies_under_it() {
        let part: BucketPart = "trail-logs/AWSLogs/".parse().unwrap();
        assert!(part.holds("trail-logs", "AWSLogs/111122223333/"));
        assert!(!part.holds("trail-logs", "") && !part.holds("trail-logs-2", "AWSLogs/"));
    }
}
