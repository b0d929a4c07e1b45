//! Named values, a line each, and sentences: on a terminal they are broken where it ends, so that what a stranger wrote
//! cannot push the rest off the screen; into a pipe they go as they are.

use super::screen::{Paint, Screen};
use super::sheet::{cells, cut};
use super::{printable, say};

/// Less room than this beside the name, and the value begins below it.
const LEAST_ROOM: usize = 24;
/// How far a value below its name is set in.
const INDENT: usize = 2;
/// A longer value is cut: nobody reads more on a terminal, and JSON has it all.
const MOST_LINES: usize = 6;

/// Lists of named values, the values at the same place.
#[derive(Clone, Copy)]
pub(super) struct Lines {
    /// Cells that names take.
    names: usize,
    screen: Screen,
}

impl Lines {
    /// With so much room for names.
    pub(super) fn new(names: usize, screen: Screen) -> Self {
        Self { names, screen }
    }

    /// A name and its value.
    pub(super) fn plain(self, name: &str, value: &str) -> std::io::Result<()> {
        self.painted(name, value, Paint::Plain)
    }

    /// A name and its value in a paint.
    pub(super) fn painted(self, name: &str, value: &str, paint: Paint) -> std::io::Result<()> {
        self.lay_out(name, value, paint).iter().try_for_each(|line| say(line))
    }

    fn lay_out(self, name: &str, value: &str, paint: Paint) -> Vec<String> {
        let (value, names) = (printable(value), self.names);
        let beside = |text: &str| format!("{name:<names$} {}", paint.on(text, self.screen));
        let Some(width) = self.screen.width else {
            return vec![beside(&value)];
        };
        let room = width.saturating_sub(names + 1);
        if cells(&value) <= room {
            return vec![beside(&value)];
        }
        let indent = INDENT.min(width.saturating_sub(1));
        // An ARN that fits below its name stays one word, to be copied.
        let is_word = !value.contains(' ') && cells(&value) + indent <= width;
        let (indent, texts) = if is_word || room < LEAST_ROOM {
            (
                indent,
                std::iter::once(None).chain(fold(&value, width - indent).into_iter().map(Some)).collect(),
            )
        } else {
            (names + 1, fold(&value, room).into_iter().map(Some).collect::<Vec<_>>())
        };
        let mut lines = Vec::with_capacity(texts.len());
        for text in texts {
            lines.push(match text {
                None => cut(name, width).into_owned(),
                Some(text) if lines.is_empty() => beside(&text),
                Some(text) => format!("{:indent$}{}", "", paint.on(&text, self.screen)),
            });
        }
        lines
    }
}

/// A sentence, made harmless, broken where the terminal ends.
pub(super) fn sentence(text: &str, screen: Screen) -> std::io::Result<()> {
    let text = &*printable(text);
    match screen.width {
        None => say(text),
        Some(width) => fold(text, width).iter().try_for_each(|line| say(line)),
    }
}

/// The text in lines of so many cells, broken at blanks where there are any.
fn fold(text: &str, width: usize) -> Vec<String> {
    let width = width.max(2);
    let (mut lines, mut rest) = (Vec::new(), text);
    while cells(rest) > width {
        if lines.len() + 1 == MOST_LINES {
            lines.push(cut(rest, width).into_owned());
            return lines;
        }
        let end = fitting(rest, width);
        // A blank right behind the line parts as well as one within it.
        let blank = rest[..end].rfind(' ').filter(|_| !rest[end..].starts_with(' ')).filter(|&at| at > 0);
        let end = blank.unwrap_or(end);
        lines.push(rest[..end].trim_end().to_owned());
        rest = rest[end..].trim_start();
    }
    if !rest.is_empty() || lines.is_empty() {
        lines.push(rest.to_owned());
    }
    lines
}

/// The length in bytes of what fits into so many cells; at least one character, so that there is an end.
fn fitting(text: &str, width: usize) -> usize {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += cells(c.encode_utf8(&mut [0; 4]));
        if used > width && at > 0 {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(width: Option<usize>, value: &str) -> Vec<String> {
        Lines::new(14, Screen { width, has_colors: false }).lay_out("key", value, Paint::Bold)
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_none_is_broken_in_a_pipe() {
        let hostile = "日本語x ".repeat(700) + &"y".repeat(900);
        for value in [hostile.as_str(), "short", "", "two words", &"z".repeat(75)] {
            for width in 16..120 {
                let lines = lines(Some(width), value);
                assert!(lines.len() <= MOST_LINES + 1, "{width}: {lines:#?}");
                assert!(lines.iter().all(|line| cells(line) <= width), "{width}: {lines:#?}");
            }
            assert_eq!(lines(None, value), [format!("{:<14} {value}", "key")]);
        }
    }

    #[test]
    fn an_arn_stays_whole_where_it_fits() {
        let arn = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
        assert_eq!(lines(Some(80), arn), ["key".to_owned(), format!("  {arn}")]);
        assert_eq!(lines(Some(100), arn), [format!("key            {arn}")]);
    }

    #[test]
    fn texts_are_broken_at_blanks() {
        assert_eq!(
            fold("50 of 1,204 keys; --limit N for more", 20),
            ["50 of 1,204 keys;", "--limit N for more"]
        );
        assert_eq!(fold("abc def", 3), ["abc", "def"]);
        assert_eq!(fold("日本語", 4), ["日本", "語"]);
        assert_eq!(fold("", 4), [""]);
        assert_eq!(
            lines(Some(45), "aaaa bbbb cccc dddd eeee ffff gggg hhhh")[1],
            format!("{:15}gggg hhhh", "")
        );
    }
}
