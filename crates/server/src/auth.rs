//! The bearer token.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, header};
use subtle::ConstantTimeEq;
use tokio::time::Instant;

/// A secret that callers show. Never printed.
#[derive(Clone)]
pub struct Token(Box<str>);

/// Why a text is no token. Does not say the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Short secrets are guessed.
    #[error("the token has fewer than 16 characters; make one with `openssl rand -hex 32`")]
    TooShort,
    /// Longer than any header should be.
    #[error("the token has more than 1024 characters")]
    TooLong,
    /// Cannot be sent in a header.
    #[error("the token has characters other than visible ASCII; make one with `openssl rand -hex 32`")]
    Characters,
}

impl Token {
    /// The token in this text, without the white space around it: 16 to 1,024 visible ASCII characters.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(TokenError::Characters);
        }
        match text.len() {
            0..16 => Err(TokenError::TooShort),
            16..=1024 => Ok(Self(text.into())),
            _ => Err(TokenError::TooLong),
        }
    }

    /// Whether the request shows this token. Takes the same time wherever a wrong one differs.
    pub(crate) fn is_shown(&self, headers: &HeaderMap) -> bool {
        shown(headers).is_some_and(|shown| shown.ct_eq(self.0.as_bytes()).into())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// What stands behind `Bearer`, if that is how the caller introduces itself.
fn shown(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, rest) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| rest.trim_ascii())
}

/// Whether the request shows any token, right or wrong.
pub(crate) fn shows_any(headers: &HeaderMap) -> bool {
    headers.contains_key(header::AUTHORIZATION)
}

/// Logs wrong tokens, a line now and then: whoever tries them must not be able to fill a disk.
#[derive(Debug, Default)]
pub(crate) struct RefusalLog(Mutex<Refusals>);

#[derive(Debug, Default)]
struct Refusals {
    last: Option<Instant>,
    unsaid: u64,
}

const REFUSAL_INTERVAL: Duration = Duration::from_secs(10);

impl RefusalLog {
    /// Notes a wrong token; true if it was logged.
    pub(crate) fn note(&self, peer: SocketAddr) -> bool {
        let now = Instant::now();
        let mut refusals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if refusals.last.is_some_and(|last| now.duration_since(last) < REFUSAL_INTERVAL) {
            refusals.unsaid += 1;
            return false;
        }
        let unsaid = std::mem::take(&mut refusals.unsaid);
        refusals.last = Some(now);
        tracing::warn!(%peer, others = unsaid, "a wrong token was refused");
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        headers
    }

    #[test]
    fn only_the_whole_token_is_right() {
        let token = Token::parse(" 0123456789abcdef\n").unwrap();
        assert!(token.is_shown(&headers("Bearer 0123456789abcdef")));
        assert!(token.is_shown(&headers("bearer  0123456789abcdef ")));
        for wrong in [
            "0123456789abcdef",
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdef0",
            "Bearer ",
            "Bearer",
            "Basic 0123456789abcdef",
        ] {
            assert!(!token.is_shown(&headers(wrong)), "{wrong}");
        }
        assert!(!token.is_shown(&HeaderMap::new()));
    }

    #[test]
    fn a_token_is_long_enough_and_fits_a_header() {
        assert_eq!(Token::parse("short").unwrap_err(), TokenError::TooShort);
        assert_eq!(Token::parse("").unwrap_err(), TokenError::TooShort);
        assert_eq!(Token::parse("0123456789abc def").unwrap_err(), TokenError::Characters);
        assert_eq!(Token::parse("0123456789abcdefé").unwrap_err(), TokenError::Characters);
        assert_eq!(Token::parse(&"x".repeat(1_025)).unwrap_err(), TokenError::TooLong);
    }

    #[test]
    fn a_token_is_not_printed() {
        assert!(!format!("{:?}", Token::parse("0123456789abcdef").unwrap()).contains("0123"));
    }

    #[tokio::test(start_paused = true)]
    async fn wrong_tokens_are_logged_now_and_then() {
        let log = RefusalLog::default();
        let peer = "10.0.0.1:1".parse().unwrap();
        assert!(log.note(peer));
        assert!((0..1_000).all(|_| !log.note(peer)));
        tokio::time::advance(REFUSAL_INTERVAL).await;
        assert!(log.note(peer));
    }
}
