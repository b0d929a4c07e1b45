//! Text that an attacker may have chosen, made harmless for where people read it: terminals, dashboards, logs.

use std::borrow::Cow;

/// The text with everything that a terminal would obey, or that would reorder or hide part of a line, written as an escape.
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_harmless) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_harmless(c) {
            out.push(c);
        } else {
            out.extend(c.escape_unicode());
        }
    }
    Cow::Owned(out)
}

/// Whether a terminal just shows it, and shows it where it stands.
pub fn is_harmless(c: char) -> bool {
    let reorders = matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    let tags = matches!(c, '\u{e0000}'..='\u{e0fff}' | '\u{fff9}'..='\u{fffb}');
    !c.is_control() && !reorders && !tags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_marks_lose_their_power() {
        assert_eq!(printable("alias/app é 日本"), "alias/app é 日本");
        assert_eq!(printable("\u{1b}[31mred\n"), "\\u{1b}[31mred\\u{a}");
        assert_eq!(printable("a\u{202e}b\u{9b}c"), "a\\u{202e}b\\u{9b}c");
    }
}
