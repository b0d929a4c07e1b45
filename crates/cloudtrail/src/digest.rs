//! A trail's digest files: which log files were delivered in an hour, and the digest before.
//!
//! They alone can prove that nothing is missing, because CloudTrail writes no log file for a quiet hour, but a digest
//! for every one. This module reads one; whoever follows the chain compares hashes. A digest's own signature is in the
//! metadata of its object and not looked at here.

use dormouse_model::{AccountId, EventTime};
use serde::Deserialize;

use crate::reason::quoted;
use crate::trail_key::LONGEST_KEY;

/// The largest digest that is read, in bytes. It takes some 500 bytes for a log file.
const LARGEST: usize = 32 << 20;
const LONGEST_BUCKET: usize = 255;

/// One digest file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// Whose trail's log files it lists.
    pub account: AccountId,
    /// The beginning of the hour in which they were delivered.
    pub start: EventTime,
    /// The end of it.
    pub end: EventTime,
    /// The bucket it was written to.
    pub bucket: String,
    /// The key it was written under.
    pub object: String,
    /// The digest before; `None` where a chain starts.
    pub previous: Option<PreviousDigest>,
    /// The log files delivered in that hour, perhaps none.
    pub log_files: Vec<DigestLogFile>,
}

/// The digest before another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviousDigest {
    /// Its bucket.
    pub bucket: String,
    /// Its key.
    pub object: String,
    /// The SHA-256 of its uncompressed text, as 64 lower-case hexadecimal digits.
    pub hash_hex: String,
}

/// A log file that a digest lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigestLogFile {
    /// Its bucket.
    pub bucket: String,
    /// Its key.
    pub object: String,
    /// The SHA-256 of its uncompressed text, as 64 lower-case hexadecimal digits.
    pub hash_hex: String,
    /// The time of its oldest event.
    pub oldest: Option<EventTime>,
    /// The time of its newest event.
    pub newest: Option<EventTime>,
}

/// Why a digest cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DigestError {
    /// Larger than any real one.
    #[error("a digest of {0} bytes is too large")]
    TooLarge(usize),
    /// No JSON, or a member of another type.
    #[error("not a digest: {0}")]
    Json(String),
    /// A member that every digest has.
    #[error("a digest without {0}")]
    Missing(&'static str),
    /// A member with a value that cannot be.
    #[error("a digest in which {name} cannot be {value:?}")]
    Unreadable {
        /// The member.
        name: &'static str,
        /// The beginning of its value.
        value: String,
    },
}

impl Digest {
    /// Reads the uncompressed text of a digest file.
    pub fn parse(text: &[u8]) -> Result<Self, DigestError> {
        if text.len() > LARGEST {
            return Err(DigestError::TooLarge(text.len()));
        }
        let written: Written =
            serde_json::from_slice(text).map_err(|error| DigestError::Json(error.to_string()))?;
        let log_files = written.log_files.ok_or(DigestError::Missing("logFiles"))?;
        Ok(Self {
            account: read("awsAccountId", &required("awsAccountId", written.account)?)?,
            start: read("digestStartTime", &required("digestStartTime", written.start)?)?,
            end: read("digestEndTime", &required("digestEndTime", written.end)?)?,
            bucket: bounded("digestS3Bucket", LONGEST_BUCKET, written.bucket)?,
            object: bounded("digestS3Object", LONGEST_KEY, written.object)?,
            previous: written.previous.read()?,
            log_files: log_files.into_iter().map(WrittenLogFile::read).collect::<Result<_, _>>()?,
        })
    }
}

/// A digest as it is written.
#[derive(Deserialize)]
struct Written {
    #[serde(rename = "awsAccountId")]
    account: Option<String>,
    #[serde(rename = "digestStartTime")]
    start: Option<String>,
    #[serde(rename = "digestEndTime")]
    end: Option<String>,
    #[serde(rename = "digestS3Bucket")]
    bucket: Option<String>,
    #[serde(rename = "digestS3Object")]
    object: Option<String>,
    #[serde(flatten)]
    previous: WrittenPrevious,
    #[serde(rename = "logFiles")]
    log_files: Option<Vec<WrittenLogFile>>,
}

#[derive(Deserialize)]
struct WrittenPrevious {
    #[serde(rename = "previousDigestS3Bucket")]
    bucket: Option<String>,
    #[serde(rename = "previousDigestS3Object")]
    object: Option<String>,
    #[serde(rename = "previousDigestHashValue")]
    hash: Option<String>,
    #[serde(rename = "previousDigestHashAlgorithm")]
    algorithm: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenLogFile {
    s3_bucket: Option<String>,
    s3_object: Option<String>,
    hash_value: Option<String>,
    hash_algorithm: Option<String>,
    oldest_event_time: Option<String>,
    newest_event_time: Option<String>,
}

impl WrittenPrevious {
    /// All of it, or none of it: half a link would end a chain without a word.
    fn read(self) -> Result<Option<PreviousDigest>, DigestError> {
        if self.bucket.is_none() && self.object.is_none() && self.hash.is_none() {
            return Ok(None);
        }
        Ok(Some(PreviousDigest {
            bucket: bounded("previousDigestS3Bucket", LONGEST_BUCKET, self.bucket)?,
            object: bounded("previousDigestS3Object", LONGEST_KEY, self.object)?,
            hash_hex: hash(
                "previousDigestHashValue",
                "previousDigestHashAlgorithm",
                self.hash,
                self.algorithm,
            )?,
        }))
    }
}

impl WrittenLogFile {
    fn read(self) -> Result<DigestLogFile, DigestError> {
        let time = |name, text: Option<String>| text.map(|text| read(name, &text)).transpose();
        Ok(DigestLogFile {
            bucket: bounded("s3Bucket", LONGEST_BUCKET, self.s3_bucket)?,
            object: bounded("s3Object", LONGEST_KEY, self.s3_object)?,
            hash_hex: hash("hashValue", "hashAlgorithm", self.hash_value, self.hash_algorithm)?,
            oldest: time("oldestEventTime", self.oldest_event_time)?,
            newest: time("newestEventTime", self.newest_event_time)?,
        })
    }
}

fn required(name: &'static str, value: Option<String>) -> Result<String, DigestError> {
    value.filter(|text| !text.is_empty()).ok_or(DigestError::Missing(name))
}

fn bounded(name: &'static str, bound: usize, value: Option<String>) -> Result<String, DigestError> {
    let value = required(name, value)?;
    if value.len() > bound { Err(unreadable(name, &value)) } else { Ok(value) }
}

fn read<T: std::str::FromStr>(name: &'static str, value: &str) -> Result<T, DigestError> {
    value.parse().map_err(|_| unreadable(name, value))
}

/// A SHA-256. CloudTrail writes no other hash, and one that is not known proves nothing.
fn hash(
    name: &'static str,
    algorithm_name: &'static str,
    value: Option<String>,
    algorithm: Option<String>,
) -> Result<String, DigestError> {
    let algorithm = required(algorithm_name, algorithm)?;
    if algorithm != "SHA-256" {
        return Err(unreadable(algorithm_name, &algorithm));
    }
    let value = required(name, value)?;
    if value.len() != 64 || !value.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(unreadable(name, &value));
    }
    Ok(value.to_ascii_lowercase())
}

fn unreadable(name: &'static str, value: &str) -> DigestError {
    DigestError::Unreadable { name, value: quoted(value) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn written() -> Value {
        json!({
            "awsAccountId": "111122223333",
            "digestStartTime": "2026-10-01T12:01:31Z", "digestEndTime": "2026-10-01T13:01:31Z",
            "digestS3Bucket": "a-bucket", "digestS3Object": "AWSLogs/digest.json.gz",
            "newestEventTime": "2026-10-01T12:59:00Z", "oldestEventTime": "2026-10-01T12:02:00Z",
            "previousDigestS3Bucket": "a-bucket", "previousDigestS3Object": "AWSLogs/before.json.gz",
            "previousDigestHashValue": "AB".repeat(32), "previousDigestHashAlgorithm": "SHA-256",
            "digestPublicKeyFingerprint": "00", "digestSignatureAlgorithm": "SHA256withRSA",
            "previousDigestSignature": "00",
            "logFiles": [{
                "s3Bucket": "a-bucket", "s3Object": "AWSLogs/log.json.gz",
                "hashValue": "cd".repeat(32), "hashAlgorithm": "SHA-256",
                "newestEventTime": "2026-10-01T12:59:00Z", "oldestEventTime": "2026-10-01T12:02:00Z"
            }]
        })
    }

    fn parse(digest: &Value) -> Result<Digest, DigestError> {
        Digest::parse(digest.to_string().as_bytes())
    }

    #[test]
    fn a_digest_lists_its_logs_and_the_one_before() {
        let digest = parse(&written()).unwrap();
        assert_eq!(digest.account.to_string(), "111122223333");
        assert_eq!(digest.end.seconds_since(digest.start), 3600);
        assert_eq!((&*digest.bucket, &*digest.object), ("a-bucket", "AWSLogs/digest.json.gz"));
        let previous = digest.previous.unwrap();
        assert_eq!((&*previous.object, previous.hash_hex), ("AWSLogs/before.json.gz", "ab".repeat(32)));
        let [log] = &*digest.log_files else { panic!() };
        assert_eq!((&*log.object, &*log.hash_hex), ("AWSLogs/log.json.gz", &*"cd".repeat(32)));
        assert_eq!(log.oldest, Some("2026-10-01T12:02:00Z".parse().unwrap()));
        assert_eq!(log.newest, Some("2026-10-01T12:59:00Z".parse().unwrap()));
    }

    #[test]
    fn the_first_digest_and_a_quiet_hour_have_nulls() {
        let mut first = written();
        for (name, value) in first.as_object_mut().unwrap() {
            if name.starts_with("previous") || name.ends_with("EventTime") {
                *value = Value::Null;
            }
        }
        first["logFiles"] = json!([]);
        let digest = parse(&first).unwrap();
        assert_eq!((digest.previous, digest.log_files), (None, vec![]));
    }

    #[test]
    fn whatever_is_missing_or_cannot_be_is_named() {
        for member in [
            "awsAccountId",
            "digestStartTime",
            "digestEndTime",
            "digestS3Bucket",
            "digestS3Object",
            "logFiles",
        ] {
            let mut digest = written();
            digest[member] = Value::Null;
            assert_eq!(parse(&digest), Err(DigestError::Missing(member)));
        }
        for member in [
            "previousDigestS3Bucket",
            "previousDigestS3Object",
            "previousDigestHashValue",
            "previousDigestHashAlgorithm",
        ] {
            let mut digest = written();
            digest[member] = Value::Null;
            assert_eq!(parse(&digest), Err(DigestError::Missing(member)), "half a link is no end of a chain");
        }
        for (member, value) in [
            ("awsAccountId", "11112222333"),
            ("digestEndTime", "yesterday"),
            ("previousDigestHashAlgorithm", "MD5"),
            ("previousDigestHashValue", "abc"),
        ] {
            let mut digest = written();
            digest[member] = json!(value);
            let expected = DigestError::Unreadable { name: member, value: value.to_owned() };
            assert_eq!(parse(&digest), Err(expected));
        }
        let mut digest = written();
        digest["logFiles"][0]["hashValue"] = Value::Null;
        assert_eq!(parse(&digest), Err(DigestError::Missing("hashValue")));
        digest["logFiles"][0] = json!(5);
        assert!(matches!(parse(&digest), Err(DigestError::Json(_))));
        let mut digest = written();
        digest["digestS3Object"] = json!("k".repeat(1025));
        assert!(matches!(parse(&digest), Err(DigestError::Unreadable { name: "digestS3Object", .. })));
    }

    #[test]
    fn a_digest_that_breaks_off_is_none() {
        let text = written().to_string();
        for length in 0..text.len() {
            assert!(Digest::parse(&text.as_bytes()[..length]).is_err(), "{length}");
        }
        assert_eq!(Digest::parse(&vec![b' '; LARGEST + 1]), Err(DigestError::TooLarge(LARGEST + 1)));
    }
}
