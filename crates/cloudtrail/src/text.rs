//! Strings of the input: borrowed where the JSON spells them plainly, and always Unicode.
//!
//! CloudTrail cuts long texts, at times amid a character, and callers choose many of them. A text that is no Unicode
//! must not cost the record it stands in, so what cannot be said in UTF-8 becomes U+FFFD, once for each half of a
//! surrogate pair. `Option<Cow<str>>` would be refused by serde_json for such texts, and always allocates besides.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Deserializer, de};

/// A JSON string. The empty text stands for an absent one wherever the two mean the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Text<'a>(Cow<'a, str>);

impl Text<'_> {
    /// The text, unless it is empty.
    pub(crate) fn given(&self) -> Option<&str> {
        (!self.0.is_empty()).then_some(&*self.0)
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Name(bytes) = Name::deserialize(deserializer)?;
        Ok(Self(match bytes {
            Cow::Borrowed(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => Cow::Borrowed(text),
                Err(_) => Cow::Owned(replace_what_is_no_unicode(bytes.to_vec())),
            },
            Cow::Owned(bytes) => Cow::Owned(match String::from_utf8(bytes) {
                Ok(text) => text,
                Err(error) => replace_what_is_no_unicode(error.into_bytes()),
            }),
        }))
    }
}

/// The bytes of a JSON string as they are; used for the names of members, which are only compared.
#[derive(Clone, Debug)]
pub(crate) struct Name<'a>(pub(crate) Cow<'a, [u8]>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl<'de> de::Visitor<'de> for Bytes {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_bytes<E: de::Error>(self, bytes: &'de [u8]) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(bytes)))
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(bytes.to_vec())))
            }
        }

        // Asked for bytes, serde_json does not check for Unicode and spells a lone surrogate in three bytes.
        deserializer.deserialize_bytes(Bytes)
    }
}

fn replace_what_is_no_unicode(mut bytes: Vec<u8>) -> String {
    const REPLACEMENT: &[u8; 3] = b"\xef\xbf\xbd";
    let mut at = 0;
    while let Some(found) = memchr::memchr(0xed, &bytes[at..]) {
        let surrogate = at + found;
        at = surrogate + 1;
        if let Some(three @ [0xed, 0xa0..=0xbf, 0x80..=0xbf]) = bytes.get_mut(surrogate..surrogate + 3) {
            three.copy_from_slice(REPLACEMENT);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &[u8]) -> String {
        serde_json::from_slice::<Text<'_>>(json).unwrap().to_string()
    }

    #[test]
    fn plain_strings_are_borrowed() {
        let text: Text<'_> = serde_json::from_str(r#""arn:aws:kms""#).unwrap();
        assert!(matches!(text, Text(Cow::Borrowed("arn:aws:kms"))));
    }

    #[test]
    fn what_is_no_unicode_is_replaced() {
        assert_eq!(text(br#""a\ud83dz""#), "a\u{fffd}z");
        assert_eq!(text(br#""\udc00\ud83d""#), "\u{fffd}\u{fffd}");
        assert_eq!(text(br#""\ud83d\ude00""#), "\u{1f600}");
        assert_eq!(text(b"\"a\xffz\""), "a\u{fffd}z");
        assert_eq!(text(b"\"\xc3\xa9\\n\xed\xa0\x80\""), "\u{e9}\n\u{fffd}");
    }

    #[test]
    fn only_strings_are_texts() {
        for json in ["5", "null", "[]", "{}", "[1]", "true"] {
            assert!(serde_json::from_str::<Text<'_>>(json).is_err(), "{json}");
        }
    }
}
