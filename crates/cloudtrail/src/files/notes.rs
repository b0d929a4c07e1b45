//! Oddities of a file that cost no record and deserve naming, once each.

use memchr::memmem;

use super::bytes;
use crate::aggregate;
use crate::shape::Outline;

/// CloudTrail's own bound for a record.
pub(super) const LARGEST_REAL_RECORD: usize = 256 << 10;

/// Something odd about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// What.
    pub kind: NoteKind,
    /// Where it was seen first, in unpacked bytes.
    pub offset: u64,
}

/// What may be odd about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum NoteKind {
    /// It begins with UTF-8's byte order mark.
    #[error("begins with a byte order mark")]
    ByteOrderMark,
    /// Its lines end in CR LF.
    #[error("has lines that end in CR LF")]
    CarriageReturns,
    /// It holds a record larger than any that CloudTrail writes.
    #[error("has a record of more than 256 KiB")]
    LargeRecord,
    /// It spells half a surrogate pair, which is no character; such halves are replaced.
    #[error("has a lone surrogate in a text")]
    LoneSurrogate,
}

/// The oddities seen so far.
#[derive(Debug, Default)]
pub(super) struct Notes {
    list: Vec<Note>,
    surrogates: Option<Surrogates>,
}

impl Notes {
    /// Notes an oddity, unless it was noted before.
    pub(super) fn add(&mut self, kind: NoteKind, offset: u64) {
        if !self.has(kind) {
            self.list.push(Note { kind, offset });
        }
    }

    /// Looks at a document that is about to be delivered.
    pub(super) fn inspect(&mut self, document: &[u8], offset: u64) {
        if document.len() > LARGEST_REAL_RECORD && !self.has(NoteKind::LargeRecord) && !is_list(document) {
            self.add(NoteKind::LargeRecord, offset);
        }
        self.inspect_text(document, offset);
    }

    /// Looks at a text of one or more records, none of them large.
    pub(super) fn inspect_text(&mut self, document: &[u8], offset: u64) {
        if !self.has(NoteKind::LoneSurrogate) {
            let surrogates = self.surrogates.get_or_insert_with(Surrogates::default);
            if let Some(place) = surrogates.first_lone(document) {
                self.add(NoteKind::LoneSurrogate, offset + bytes(place));
            }
        }
    }

    /// All of them, in the order in which they were seen.
    pub(super) fn into_list(self) -> Vec<Note> {
        self.list
    }

    fn has(&self, kind: NoteKind) -> bool {
        self.list.iter().any(|note| note.kind == kind)
    }
}

/// Whether a document is a list of records, which may be large.
fn is_list(document: &[u8]) -> bool {
    document.starts_with(b"[")
        || document.starts_with(&aggregate::MAGIC)
        || Outline::of(document).list().is_some()
}

/// Finds `\ud8…`. Escapes of other characters are common, so that little is searched for them.
#[derive(Debug)]
struct Surrogates {
    finders: [memmem::Finder<'static>; 2],
}

impl Default for Surrogates {
    fn default() -> Self {
        Self { finders: [memmem::Finder::new(br"\ud"), memmem::Finder::new(br"\uD")] }
    }
}

impl Surrogates {
    /// Where the first half of a pair stands that has no other half.
    fn first_lone(&self, text: &[u8]) -> Option<usize> {
        self.finders.iter().find_map(|finder| finder.find_iter(text).find(|&place| is_lone(text, place)))
    }
}

/// Whether the escape at this place is one, and half a pair without the other half.
fn is_lone(text: &[u8], place: usize) -> bool {
    let backslashes = text[..place].iter().rev().take_while(|&&byte| byte == b'\\').count();
    let is_escape = backslashes % 2 == 0;
    let high = |place: usize| matches!(escaped_unit(text, place), Some(0xd800..=0xdbff));
    let low = |place: usize| matches!(escaped_unit(text, place), Some(0xdc00..=0xdfff));
    let has_low = high(place) && low(place + 6);
    let has_high = low(place) && place >= 6 && high(place - 6);
    is_escape && (high(place) || low(place)) && !has_low && !has_high
}

/// The code unit of a `\uXXXX`.
fn escaped_unit(text: &[u8], place: usize) -> Option<u16> {
    let digits = text.get(place..place + 6)?.strip_prefix(br"\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_surrogate_pairs_are_told_from_whole_ones() {
        for (text, lone) in [
            (r"a\ud83dz", Some(1)),
            (r"\udc00\uD83D", Some(0)),
            (r"\uD83D\uDE00", None),
            (r"\ud83d\uDE00", None),
            (r"\\ud83d", None),
            (r"\u0041\ud7ff", None),
            (r"\ud83", None),
        ] {
            let found = Surrogates::default().first_lone(text.as_bytes());
            assert_eq!(found.is_some(), lone.is_some(), "{text}");
            if text.starts_with('a') {
                assert_eq!(found, lone);
            }
        }
    }
}
