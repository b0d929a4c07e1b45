//! How the server listens, and its bounds.

use std::net::SocketAddr;
use std::time::Duration;

use crate::Token;

/// How the server listens.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Where; port 0 takes any free one.
    pub listen: SocketAddr,
    /// What callers have to show, but for health.
    pub token: Option<Token>,
    /// Everybody who can reach the address may ask and change things, without a token.
    pub allow_anonymous: bool,
    /// Bounds.
    pub limits: Limits,
}

/// Bounds on what callers can take up. The defaults suit everyone who has not measured.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections; a further one takes the place of that which has been waiting longest without a request under
    /// way. More than `requests`, so that there is always one.
    pub connections: usize,
    /// How long a request's head may take, and how long a connection may be idle.
    pub header_time: Duration,
    /// Bytes of a request's head.
    pub header_bytes: usize,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// How long a request's body may take to arrive.
    pub body_time: Duration,
    /// How long an answer may take to begin.
    pub request_time: Duration,
    /// Requests at once; further ones are turned away.
    pub requests: usize,
    /// Questions to the ledger and the store at once; further ones wait.
    pub questions: usize,
    /// How long a caller may read nothing of an answer.
    pub write_time: Duration,
    /// Answers of `/metrics/keys` at once; further ones are turned away.
    pub key_streams: usize,
    /// How long a caller may take nothing of `/metrics/keys` before it is given up.
    pub key_stall_time: Duration,
    /// How long one answer of `/metrics/keys` may take as a whole.
    pub key_stream_time: Duration,
    /// Series in one answer of `/metrics/keys`.
    pub max_key_series: usize,
    /// How long answers under way may take after a stop.
    pub drain_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1_024,
            header_time: Duration::from_secs(5),
            header_bytes: 32 << 10,
            body_bytes: 64 << 10,
            body_time: Duration::from_secs(5),
            request_time: Duration::from_secs(30),
            requests: 64,
            questions: 4,
            write_time: Duration::from_secs(10),
            key_streams: 8,
            key_stall_time: Duration::from_secs(10),
            key_stream_time: Duration::from_secs(120),
            max_key_series: 1_000_000,
            drain_time: Duration::from_secs(5),
        }
    }
}

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address can be reached from other machines, and nobody said that everybody may ask.
    #[error(
        "[http] listen = \"{0}\" can be reached from other machines: set a token with [http] token_file or the \
         variable DORMOUSE_HTTP_TOKEN, or say allow_anonymous = true, or listen on 127.0.0.1"
    )]
    NeedsToken(SocketAddr),
    /// The address cannot be listened on.
    #[error("[http] listen = \"{address}\": {error}; set another address or port, or end what listens there")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
    /// The registry holds metrics of the same names already.
    #[error("metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
}

impl ServerOptions {
    /// Listens on `listen`, without a token.
    pub fn at(listen: SocketAddr) -> Self {
        Self { listen, token: None, allow_anonymous: false, limits: Limits::default() }
    }

    /// Whether only this machine can reach the address.
    pub fn is_loopback(&self) -> bool {
        self.listen.ip().to_canonical().is_loopback()
    }

    /// Checks that nobody is let in by oversight.
    pub fn check(&self) -> Result<(), ServerError> {
        if self.token.is_none() && !self.allow_anonymous && !self.is_loopback() {
            return Err(ServerError::NeedsToken(self.listen));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_needs_no_token() {
        for (listen, is_right) in [
            ("127.0.0.1:9774", true),
            ("127.8.0.1:0", true),
            ("[::1]:9774", true),
            ("[::ffff:127.0.0.1]:9774", true),
            ("0.0.0.0:9774", false),
            ("[::]:9774", false),
            ("10.0.0.1:9774", false),
        ] {
            let mut options = ServerOptions::at(listen.parse().unwrap());
            assert_eq!(options.check().is_ok(), is_right, "{listen}");
            options.allow_anonymous = true;
            assert!(options.check().is_ok(), "{listen}");
            options.allow_anonymous = false;
            options.token = Some(Token::parse("0123456789abcdef").unwrap());
            assert!(options.check().is_ok(), "{listen}");
        }
    }

    #[test]
    fn the_refusal_says_what_to_set() {
        let error = ServerOptions::at("0.0.0.0:1".parse().unwrap()).check().unwrap_err().to_string();
        for part in ["[http] token_file", "DORMOUSE_HTTP_TOKEN", "allow_anonymous = true"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
