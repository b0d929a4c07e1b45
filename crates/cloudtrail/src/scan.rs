//! Where a JSON value ends, found without understanding it.
//!
//! The scanner counts brackets and steps over strings. It keeps a few bytes of state however deep the value nests, can
//! pause at any byte and go on with the next ones, and looks at every byte once. It does not check what it scans: that
//! is the parser's job. The one thing it does check is that a line could go on as it does, because a record that was
//! cut off shows there: a string never holds a raw line end, and the value that ends one line is not followed by
//! another value at the beginning of the next. So a cut record does not swallow the good ones behind it.

use memchr::{memchr, memchr3};

/// How far a scan came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The value ends before this byte.
    Complete(usize),
    /// The text ended first.
    More,
    /// The value is broken at the line end at this byte.
    Broken(usize),
}

/// Scans one value, in pieces if need be. The first byte must open an object, an array or a string.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scanner {
    depth: usize,
    deepest: usize,
    /// One bit for each of the outermost 128 brackets that are open: set for objects.
    objects: u128,
    in_string: bool,
    escaped: bool,
    /// Behind a line end: the place of the line end, and the last byte before it that was no blank.
    line_end: Option<(usize, u8)>,
}

const NOTHING: u8 = 0;
const QUOTE: u8 = 1;
const OPEN: u8 = 2;
const CLOSE: u8 = 3;
const LINE_END: u8 = 4;

const CLASS: [u8; 256] = {
    let mut class = [NOTHING; 256];
    class[b'"' as usize] = QUOTE;
    class[b'{' as usize] = OPEN;
    class[b'[' as usize] = OPEN;
    class[b'}' as usize] = CLOSE;
    class[b']' as usize] = CLOSE;
    class[b'\n' as usize] = LINE_END;
    class
};

impl Scanner {
    /// How deep the value nested so far.
    pub(crate) fn deepest(&self) -> usize {
        self.deepest
    }

    /// Goes on at `from` in `text`, which holds the value from its first byte on.
    pub(crate) fn feed(&mut self, text: &[u8], from: usize) -> Step {
        let mut at = from;
        loop {
            if self.in_string {
                match self.string(text, at) {
                    Step::Complete(end) if self.depth == 0 => return Step::Complete(end),
                    Step::Complete(end) => at = end,
                    other => return other,
                }
            }
            if self.line_end.is_some() {
                match self.next_line(text, at) {
                    Step::Complete(next) => at = next,
                    other => return other,
                }
            }
            let Some(found) = text[at..].iter().position(|&byte| CLASS[usize::from(byte)] != NOTHING) else {
                return Step::More;
            };
            at += found;
            let byte = text[at];
            match CLASS[usize::from(byte)] {
                QUOTE => self.in_string = true,
                OPEN => self.open(byte),
                CLOSE => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Step::Complete(at + 1);
                    }
                }
                _ => {
                    let before = text[..at].trim_ascii_end().last().copied().unwrap_or(b',');
                    self.line_end = Some((at, before));
                }
            }
            at += 1;
        }
    }

    /// Goes on in text whose beginning is no longer held: for values too large to be kept, whose lines do not matter.
    pub(crate) fn feed_unchecked(&mut self, text: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            self.line_end = None;
            match self.feed(text, at) {
                Step::Complete(end) => return Some(end),
                Step::More => return None,
                Step::Broken(line_end) => at = line_end + 1,
            }
        }
    }

    fn open(&mut self, bracket: u8) {
        if let Some(bit) = 1u128.checked_shl(u32::try_from(self.depth).unwrap_or(u32::MAX)) {
            let is_object = bracket == b'{';
            self.objects = if is_object { self.objects | bit } else { self.objects & !bit };
        }
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
    }

    /// To the end of the string that `at` is in.
    fn string(&mut self, text: &[u8], mut at: usize) -> Step {
        loop {
            if self.escaped {
                if at >= text.len() {
                    return Step::More;
                }
                self.escaped = false;
                at += 1;
            }
            let Some(found) = text.get(at..).and_then(|rest| memchr3(b'"', b'\\', b'\n', rest)) else {
                return Step::More;
            };
            at += found;
            match text[at] {
                b'"' => {
                    self.in_string = false;
                    return Step::Complete(at + 1);
                }
                b'\\' => self.escaped = true,
                _ => return Step::Broken(at),
            }
            at += 1;
        }
    }

    /// To the first byte of the next line that says something, if the value may go on with it.
    fn next_line(&mut self, text: &[u8], at: usize) -> Step {
        let Some((line_end, before)) = self.line_end else {
            return Step::Complete(at);
        };
        let blanks = text[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let Some(&next) = text.get(at + blanks) else {
            return Step::More;
        };
        self.line_end = None;
        if self.may_follow(before, next) { Step::Complete(at + blanks) } else { Step::Broken(line_end) }
    }

    fn may_follow(&self, before: u8, next: u8) -> bool {
        let closes_or_separates = matches!(next, b',' | b':' | b'}' | b']');
        match before {
            b'{' => matches!(next, b'"' | b'}'),
            b'[' => !matches!(next, b',' | b':' | b'}'),
            b',' if self.is_in_object() == Some(true) => next == b'"',
            b',' | b':' => !closes_or_separates,
            _ => closes_or_separates,
        }
    }

    /// Whether the innermost open bracket is an object's; `None` where it is too deep to be remembered.
    fn is_in_object(&self) -> Option<bool> {
        let place = u32::try_from(self.depth.checked_sub(1)?).ok()?;
        Some(1u128.checked_shl(place)? & self.objects != 0)
    }
}

/// Where the object, array or string that `text` begins with ends, and how deep it nests.
pub(crate) fn extent(text: &[u8]) -> (Step, usize) {
    let mut scanner = Scanner::default();
    let step = scanner.feed(text, 0);
    (step, scanner.deepest())
}

/// Where the value that begins at `at` ends, be it an object, an array, a string, a number or a word.
/// `None` if it does not, or if there is no value.
pub(crate) fn end_of_value(text: &[u8], at: usize) -> Option<usize> {
    let rest = text.get(at..)?;
    if matches!(rest.first()?, b'{' | b'[' | b'"') {
        return match extent(rest).0 {
            Step::Complete(length) => Some(at + length),
            Step::More | Step::Broken(_) => None,
        };
    }
    let length = rest.iter().take_while(|&&byte| !ends_a_word(byte)).count();
    (length > 0).then_some(at + length)
}

fn ends_a_word(byte: u8) -> bool {
    matches!(byte, b',' | b':' | b']' | b'}' | b'{' | b'[' | b'"') || byte.is_ascii_whitespace()
}

/// The first place from `at` on that is no white space.
pub(crate) fn skip_blanks(text: &[u8], at: usize) -> usize {
    text.len() - text[at..].trim_ascii_start().len()
}

/// The first place from `at` on that is neither white space nor a comma.
pub(crate) fn skip_separators(text: &[u8], at: usize) -> usize {
    let separators = text[at..].iter().take_while(|&&byte| byte == b',' || byte.is_ascii_whitespace());
    at + separators.count()
}

/// The place behind the next line end; the text's end if there is none.
pub(crate) fn next_line(text: &[u8], at: usize) -> usize {
    memchr(b'\n', &text[at..]).map_or(text.len(), |found| at + found + 1)
}

/// Whether the value nests deeper than `limit`. Costs little where it has few brackets at all.
pub(crate) fn is_deeper_than(limit: usize, value: &[u8]) -> bool {
    opening_brackets(value) > limit && extent(value).1 > limit
}

/// How many brackets open, those in strings included.
fn opening_brackets(text: &[u8]) -> usize {
    // The two differ in one bit. Blocks of at most 255 bytes let the compiler count in vectors of bytes.
    let in_block = |block: &[u8]| block.iter().fold(0u8, |sum, byte| sum + u8::from(byte | 0x20 == b'{'));
    text.chunks(192).map(|block| usize::from(in_block(block))).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ends_at(text: &str) -> (Step, usize) {
        extent(text.as_bytes())
    }

    #[test]
    fn values_end_where_their_brackets_close() {
        assert_eq!(ends_at(r#"{"a":[1,"]}"],"b\"}":{}} {"#), (Step::Complete(24), 2));
        assert_eq!(ends_at(r#""a\\" "#).0, Step::Complete(5));
        assert_eq!(ends_at(r#"{"a":"#).0, Step::More);
        assert_eq!(ends_at("{\n  \"a\": [\n    1,\n    2\n  ]\n}").0, Step::Complete(29));
    }

    #[test]
    fn a_line_that_cannot_go_on_is_where_a_value_is_broken() {
        for (text, line_end) in [
            ("{\"a\":\"b\n{\"c\":1}", 7),
            ("{\"a\":1\n{\"c\":1}", 6),
            ("{\"a\":1,\n{\"c\":1}", 7),
            ("{\n{\"c\":1}", 1),
            ("{\"a\":{\"b\":[1,2]}\n\n\"c\":1}", 16),
        ] {
            assert_eq!(ends_at(text).0, Step::Broken(line_end), "{text:?}");
        }
        assert_eq!(ends_at("[\n{},\n{}\n,{}\n]").0, Step::Complete(14));
    }

    #[test]
    fn words_and_numbers_end_at_what_follows() {
        assert_eq!(end_of_value(b"[-1.5e3,2]", 1), Some(7));
        assert_eq!(end_of_value(b"null", 0), Some(4));
        assert_eq!(end_of_value(b",", 0), None);
        assert_eq!(end_of_value(b"\"open", 0), None);
    }

    #[test]
    fn nesting_is_measured_outside_of_strings() {
        let deep = format!("{}1{}", "[".repeat(129), "]".repeat(129));
        assert!(is_deeper_than(128, deep.as_bytes()));
        assert!(!is_deeper_than(129, deep.as_bytes()));
        let harmless = format!("[\"{}\"]", "[".repeat(500));
        assert!(!is_deeper_than(128, harmless.as_bytes()));
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<i32>().prop_map(Into::into),
            "[ -~\n\"\\\\{}\\[\\]é]{0,12}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                prop::collection::vec(("[a-z\"{]{0,4}", inner), 0..5)
                    .prop_map(|pairs| serde_json::Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_value_ends_at_its_end(value in json(), pretty: bool, cut in 1usize..64) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            prop_assert_eq!(end_of_value(format!("{text} 1").as_bytes(), 0), Some(text.len()));
            if !matches!(text.as_bytes()[0], b'{' | b'[' | b'"') {
                return Ok(());
            }
            // In pieces it is the same.
            let mut scanner = Scanner::default();
            let mut fed = 0;
            loop {
                let upto = (fed + cut).min(text.len());
                let step = scanner.feed(&text.as_bytes()[..upto], fed);
                if upto == text.len() {
                    prop_assert_eq!(step, Step::Complete(text.len()));
                    break;
                }
                prop_assert_eq!(step, Step::More);
                fed = upto;
            }
        }
    }
}
