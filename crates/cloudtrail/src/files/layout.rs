//! Which of the two ways to read a file.
//!
//! By line is the safer way: whatever is wrong with one line, the next begins afresh. It suits files with one document
//! a line. All others are read by document: lists on one line, and documents over several lines.

use crate::recovery::continues;
use crate::scan::{Step, extent, skip_blanks, skip_separators};

/// How much of a file it takes to tell.
pub(super) const SAMPLE: usize = 64 << 10;

/// How documents lie in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// One document a line.
    Lines,
    /// Documents end where their brackets close.
    Documents,
}

impl Layout {
    /// The layout of a file that begins like this; `is_all` if there is no more of it.
    pub(super) fn of(sample: &[u8], is_all: bool) -> Self {
        let begin = skip_blanks(sample, 0);
        let Some(length) = memchr::memchr(b'\n', &sample[begin..]) else {
            // A single line without an end reads the same either way, unless it is a list to be cut.
            let has_no_bracket = is_all && !matches!(sample.get(begin), Some(b'{' | b'['));
            return if has_no_bracket { Self::Lines } else { Self::Documents };
        };
        let (line, next) = sample[begin..].split_at(length + 1);
        if ends_amid_a_value(line) && (continues(line) || begins_amid_a_value(next)) {
            Self::Documents
        } else {
            Self::Lines
        }
    }
}

/// Whether the last of the values on a line is still open at its end.
fn ends_amid_a_value(line: &[u8]) -> bool {
    let mut at = 0;
    while let Some(b'{' | b'[') = line.get(at) {
        match extent(&line[at..]).0 {
            Step::Complete(length) => at = skip_separators(line, at + length),
            Step::More => return true,
            Step::Broken(_) => return false,
        }
    }
    false
}

/// Whether text goes on with what no document begins with.
fn begins_amid_a_value(text: &[u8]) -> bool {
    matches!(text.get(skip_blanks(text, 0)), Some(b',' | b':' | b']' | b'}'))
}

/// The length of the byte order mark that a file begins with, mostly 0.
pub(super) fn byte_order_mark(begin: &[u8]) -> usize {
    const MARK: &[u8] = b"\xef\xbb\xbf";
    if begin.starts_with(MARK) { MARK.len() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_tells_the_layout() {
        for (text, layout) in [
            ("{\"a\":1}\n{\"a\":2}\n", Layout::Lines),
            ("\n\n{\"a\":1}\r\n", Layout::Lines),
            ("{\"a\":{\"b\":1\n{\"a\":2}\n", Layout::Lines),
            ("{\"a\":\"b,\n{\"a\":2}\n", Layout::Lines),
            ("garbage,\n{\"a\":2}\n", Layout::Lines),
            ("{\"Records\":[\n{\"a\":1},\n", Layout::Documents),
            ("[\r\n  {\n", Layout::Documents),
            ("{\"Records\":[{\"a\":1},\n{\"a\":2}]}", Layout::Documents),
            ("[{\"a\":1}\n,{\"a\":2}]", Layout::Documents),
            ("{\n  \"a\": 1\n}\n", Layout::Documents),
            ("{\"a\":1}{\"b\":1}\n", Layout::Lines),
            ("{\"a\":1} {\"b\":\n1}\n", Layout::Documents),
            ("{\"Records\":[{\"a\":1},{\"a\"", Layout::Documents),
        ] {
            assert_eq!(Layout::of(text.as_bytes(), false), layout, "{text:?}");
        }
    }
}
