//! Where to go on behind text that cannot be read.
//!
//! Between records the text is lists, commas and line ends. What breaks one record must cost no more than that record,
//! and finding the next one must not cost more than looking at the text once more: a reader that looks far ahead
//! for the end of every broken record takes hours for a few hostile megabytes. So once a scan has run over line ends
//! without finding an end, everything that follows has to end on its own line.

use serde::de::IgnoredAny;

use crate::scan::{Step, extent, next_line};

/// A place in a text, and how far what begins there may reach.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    pub(crate) text: &'a [u8],
    pub(crate) at: usize,
    /// From now on every value has to end on its own line.
    by_line: bool,
}

/// What stands at a cursor, once it is clear that it cannot be parsed as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Found<'a> {
    /// A value whose brackets match, and how deep it nests.
    Balanced(&'a [u8], usize),
    /// The beginning of a value that does not end.
    CutOff {
        /// All that may belong to it.
        seen: &'a [u8],
        /// What was skipped to get behind it.
        skipped: &'a [u8],
    },
}

impl<'a> Cursor<'a> {
    /// The beginning of a text.
    pub(crate) fn new(text: &'a [u8], at: usize) -> Self {
        Self { text, at, by_line: false }
    }

    /// The text from here on that one value may take.
    pub(crate) fn rest(&self) -> &'a [u8] {
        if self.by_line { self.line() } else { &self.text[self.at..] }
    }

    /// The text from here to the end of the line, the line end included.
    pub(crate) fn line(&self) -> &'a [u8] {
        &self.text[self.at..next_line(self.text, self.at)]
    }

    /// The byte at this place.
    pub(crate) fn byte(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// Finds the end of the value here, which begins with a bracket, and moves behind it: or behind the line on which
    /// it breaks off.
    pub(crate) fn find(&mut self) -> Found<'a> {
        let rest = self.rest();
        let (step, depth) = extent(rest);
        let first_line = next_line(rest, 0);
        let goes_on = continues(&rest[..first_line]);
        let (seen, skipped) = match step {
            Step::Complete(length) if length <= first_line || goes_on || is_json(&rest[..length]) => {
                self.at += length;
                return Found::Balanced(&rest[..length], depth);
            }
            // It took brackets of its neighbours to close this one.
            Step::Complete(_) | Step::More => (rest.len(), first_line),
            Step::Broken(line_end) if goes_on => (line_end + 1, line_end + 1),
            Step::Broken(line_end) => (line_end + 1, first_line),
        };
        self.by_line |= seen > first_line;
        self.at += skipped;
        Found::CutOff { seen: &rest[..seen], skipped: &rest[..skipped] }
    }
}

/// Whether a text is one JSON value.
pub(crate) fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(text).is_ok()
}

/// Whether a line ends as the lines of a value do that is written over several of them.
pub(crate) fn continues(line: &[u8]) -> bool {
    matches!(line.trim_ascii_end().last(), Some(b'{' | b'[' | b',' | b':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_line_costs_itself() {
        let text = b"{\"a\":\"x\n{\"b\":1}\n";
        let mut cursor = Cursor::new(text, 0);
        assert!(matches!(cursor.find(), Found::CutOff { skipped: b"{\"a\":\"x\n", .. }));
        assert!(matches!(cursor.find(), Found::Balanced(b"{\"b\":1}", 1)));
        let text = b"{\"a\":{\n{\"b\":1}}\n";
        assert!(matches!(Cursor::new(text, 0).find(), Found::CutOff { .. }));
    }

    #[test]
    fn a_value_over_several_lines_is_one() {
        let text = b"{\n  \"a\": 1\n}\n{}";
        let mut cursor = Cursor::new(text, 0);
        assert!(matches!(cursor.find(), Found::Balanced(_, 1)));
        assert_eq!(cursor.at, 12);
    }

    #[test]
    fn unbalanced_text_is_scanned_once() {
        // Every line opens and none closes: by the second line it is clear that lines are to be read alone.
        let text = b"[\n".repeat(200_000);
        let mut cursor = Cursor::new(&text, 0);
        while cursor.at < text.len() {
            cursor.find();
        }
        assert!(cursor.by_line);
    }
}
