//! Announcements of objects, and what is no announcement.
//!
//! S3 writes keys URL-encoded in its own notifications, plainly in its EventBridge events; CloudTrail writes them plainly.
//! A key that is decoded wrongly names another object, so what cannot be a key is refused, not mended.

use std::borrow::Cow;

use crate::shape::S3Record;
use crate::trail_key::LONGEST_KEY;
use crate::{Announced, Control, Reason};

const LONGEST_BUCKET: usize = 255;

/// What an S3 notification says of one object.
#[derive(Debug)]
pub(crate) enum Told<'a> {
    There(Announced<'a>),
    Nothing(Control),
}

impl<'a> Told<'a> {
    /// What one record of a notification tells.
    pub(crate) fn by(record: &'a S3Record<'_>) -> Result<Self, Reason> {
        let event = record.event_name.given().ok_or(Reason::Announcement("event name"))?;
        if !event.strip_prefix("s3:").unwrap_or(event).starts_with("ObjectCreated:") {
            return Ok(Self::Nothing(Control::S3Other));
        }
        let object = &record.s3.object;
        let key = decoded(&object.key).ok_or(Reason::Announcement("key"))?;
        announced(&record.s3.bucket.name, key, object.size).map(Self::There)
    }
}

/// An object that is announced, if its name can be one.
pub(crate) fn announced<'a>(
    bucket: &'a str,
    key: Cow<'a, str>,
    size: Option<u64>,
) -> Result<Announced<'a>, Reason> {
    if bucket.is_empty() || bucket.len() > LONGEST_BUCKET {
        return Err(Reason::Announcement("bucket"));
    }
    if key.is_empty() || key.len() > LONGEST_KEY {
        return Err(Reason::Announcement("key"));
    }
    Ok(Announced { bucket, key, size })
}

/// A key as S3's notifications encode it: like a form, `+` for a blank. `None` if what comes out is no Unicode.
fn decoded(key: &str) -> Option<Cow<'_, str>> {
    let percent_decoded =
        |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().ok().map(Cow::into_owned);
    if key.contains('+') {
        return percent_decoded(&key.replace('+', " ")).map(Cow::Owned);
    }
    if key.contains('%') { percent_decoded(key).map(Cow::Owned) } else { Some(Cow::Borrowed(key)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_decoded_as_s3_encodes_them() {
        for (encoded, key) in [
            ("AWSLogs/1/a.json.gz", Some("AWSLogs/1/a.json.gz")),
            ("a+b%2Bc%20d", Some("a b+c d")),
            ("%C3%A9+%F0%9F%98%80", Some("é 😀")),
            ("%25zz", Some("%zz")),
            ("%", Some("%")),
            ("%ff", None),
            ("+%c3", None),
        ] {
            assert_eq!(decoded(encoded).as_deref(), key, "{encoded}");
        }
        assert!(matches!(decoded("plain"), Some(Cow::Borrowed(_))));
    }
}
