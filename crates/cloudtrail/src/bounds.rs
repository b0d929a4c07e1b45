//! How much of each evidence text an observation keeps.
//!
//! Callers choose most of these texts, and they are kept, sent and shown for as long as the key lives. The bounds are
//! above what AWS allows (but for descriptions, of which the beginning is enough), so real values stay whole.

/// ARNs of principals.
pub(crate) const PRINCIPAL: usize = 2048;
/// Session names; AWS allows 64 characters.
pub(crate) const SESSION: usize = 256;
/// The service that called on somebody's behalf.
pub(crate) const INVOKED_BY: usize = 256;
/// Addresses and names of services.
pub(crate) const SOURCE_IP: usize = 256;
/// Names of errors.
pub(crate) const ERROR_CODE: usize = 128;
/// Names of operations.
pub(crate) const OPERATION: usize = 128;
/// Event, shared and request ids. A longer event id is refused: cut, two of them could be the same.
pub(crate) const ID: usize = 128;
/// Pairs of an encryption context.
pub(crate) const CONTEXT_PAIRS: usize = 32;
/// Bytes of an encryption context, names and values together.
pub(crate) const CONTEXT_BYTES: usize = 8 << 10;
/// Names of aliases.
pub(crate) const ALIAS: usize = 512;
/// Names and values of tags; AWS allows 256 characters, which may take four bytes each.
pub(crate) const TAG: usize = 1024;
/// Tags of one record.
pub(crate) const TAGS: usize = 64;
/// Descriptions.
pub(crate) const DESCRIPTION: usize = 512;
/// Names and ARNs of trails, names of rules; AWS allows 128 characters in a name.
pub(crate) const SUBJECT: usize = 512;
/// What a record calls a key, where that names none.
pub(crate) const KEY_TEXT: usize = 2048;
/// Values that an error message repeats.
pub(crate) const QUOTED: usize = 64;

/// The beginning of a text, at most so many bytes long, cut between characters.
pub(crate) fn cut(text: &str, bound: usize) -> &str {
    if text.len() <= bound {
        return text;
    }
    &text[..text.floor_char_boundary(bound)]
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "abc");
        assert_eq!(cut("a\u{1f600}", 4), "a");
    }
}
