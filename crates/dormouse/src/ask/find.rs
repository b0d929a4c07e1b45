//! Keys by the beginning of their ids, which is what a narrow table shows of them.

use dormouse_ledger::KeyDocument;

use super::{Asked, Question};

/// A shorter beginning is no name: too many keys share it.
const SHORTEST: usize = 8;
/// So many keys with the same beginning are told; by then it is clear that more of the id is needed.
const MOST: usize = 100;

impl Asked {
    /// The keys whose ids begin so, sorted by ARN; none if it is too short to tell keys apart. The ellipsis of a shortened
    /// id may be copied with it.
    pub(crate) fn by_id_prefix(&self, text: &str) -> anyhow::Result<Vec<KeyDocument>> {
        let Some(prefix) = prefix_of(text) else {
            return Ok(Vec::new());
        };
        let mut question = Question::default();
        question.set("q", prefix)?;
        let mut found = Vec::new();
        let mut walk = self.keys(&question, usize::MAX)?;
        while let Some(page) = walk.next()? {
            found.extend(page.keys.into_iter().filter(|key| key.id.starts_with(prefix)));
            if found.len() > MOST {
                break;
            }
        }
        found.sort_unstable_by_key(|key| key.arn);
        Ok(found)
    }
}

/// What may be the beginning of an id.
fn prefix_of(text: &str) -> Option<&str> {
    let prefix = text.trim_end_matches('…').trim_end_matches("...");
    let is_id = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (prefix.len() >= SHORTEST && prefix.bytes().all(is_id)).then_some(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_long_enough_and_may_have_its_ellipsis() {
        for text in ["1234abcd", "1234abcd…", "1234abcd..."] {
            assert_eq!(prefix_of(text), Some("1234abcd"));
        }
        assert_eq!(prefix_of("mrk-1234abcd…"), Some("mrk-1234abcd"));
        for text in ["1234abc", "1234abc…", "…", "", "1234 abcd", "alias/app-one", "12345678*"] {
            assert_eq!(prefix_of(text), None, "{text}");
        }
    }
}
