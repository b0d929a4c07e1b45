//! The token that an instance wants. It is never on the command line, where other users of the machine could read it, and
//! never printed.

use std::path::Path;

use anyhow::Context;
use reqwest::header::HeaderValue;

use crate::exit::Usage;

/// The variable that holds the token itself.
pub(crate) const VARIABLE: &str = "DORMOUSE_HTTP_TOKEN";

/// A token, and where it came from.
pub(super) struct Token {
    pub(super) header: HeaderValue,
    pub(super) origin: String,
}

impl Token {
    /// The variable's, if it is set to anything.
    pub(super) fn from_variable() -> anyhow::Result<Option<Self>> {
        match std::env::var(VARIABLE) {
            Ok(text) if text.trim().is_empty() => Ok(None),
            Ok(text) => Self::new(&text, VARIABLE.to_owned()).map(Some),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => Err(unfit(VARIABLE)),
        }
    }

    /// The one in a file, on its only line.
    pub(super) fn from_file(path: &Path) -> anyhow::Result<Self> {
        let origin = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("the token cannot be read from {origin}"))
            .map_err(|error| Usage(format!("{error:#}")))?;
        Self::new(&text, origin)
    }

    fn new(text: &str, origin: String) -> anyhow::Result<Self> {
        let text = text.trim();
        // What is visible ASCII fits into a header.
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(unfit(&origin));
        }
        let mut header = HeaderValue::from_str(&format!("Bearer {text}")).map_err(|_| unfit(&origin))?;
        header.set_sensitive(true);
        Ok(Self { header, origin })
    }
}

fn unfit(origin: &str) -> anyhow::Error {
    Usage(format!("{origin} holds no token: one line of visible ASCII characters without spaces")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_told() {
        let token = Token::new(" s3cret-42\n", "here".into()).unwrap();
        assert_eq!(token.header.as_bytes(), b"Bearer s3cret-42");
        assert!(!format!("{:?}", token.header).contains("s3cret"));
        for wrong in ["", " ", "two words", "line\nbreak", "caf\u{e9}"] {
            let told = Token::new(wrong, "here".into()).err().unwrap().to_string();
            assert!(told.starts_with("here holds no token"), "{told}");
            assert!(wrong.trim().is_empty() || !told.contains(wrong.trim()), "{told}");
        }
    }
}
