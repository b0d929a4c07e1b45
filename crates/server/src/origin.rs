//! Who may ask without a token: programs and people of this machine, not the web pages that they happen to visit.
//!
//! A browser sends requests for whatever page it shows. Two tricks let a stranger's page reach a server on loopback:
//!
//! * *DNS rebinding*: the page's own name is made to point at 127.0.0.1, so that the browser takes our answers for its
//!   own. It still sends the page's name as `Host`. So on loopback, without a token, only loopback's own names are
//!   answered, whatever the port (a forwarded one differs).
//! * *Cross-site requests*: a page may send a POST anywhere, though it cannot read the answer. The browser says so in
//!   `Origin` and `Sec-Fetch-Site`. So without a token nothing is changed for another site's page.
//!
//! With a token neither works: a stranger's page does not know it, and browsers do not add it by themselves. With
//! `allow_anonymous` the names are not checked, because a proxy may pass on any; changes are held to their origin all the same.
//! No CORS header is ever sent, so no page of another site can read an answer. Programs send none of these headers.

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, header};

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guard {
    /// A token says it all.
    Token,
    /// Anybody, but no other site's page may change anything.
    Anonymous,
    /// Loopback without a token.
    Loopback,
}

/// What is wrong with a request, if anything.
pub(crate) fn refusal(guard: Guard, method: &Method, headers: &HeaderMap) -> Option<&'static str> {
    if guard == Guard::Token {
        return None;
    }
    if guard == Guard::Loopback && !is_loopback_name(headers.get(header::HOST)) {
        return Some(
            "without a token only localhost, 127.0.0.1 and [::1] are answered as Host; set a token, or \
             allow_anonymous = true if a proxy passes on another name",
        );
    }
    let changes_nothing = method.is_safe();
    if changes_nothing || comes_from_here(headers) {
        return None;
    }
    Some("a page of another site may not change anything here")
}

fn is_loopback_name(host: Option<&HeaderValue>) -> bool {
    // HTTP/1.0 needs no Host, and no browser speaks it.
    let Some(host) = host else {
        return true;
    };
    let Some(host) = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()) else {
        return false;
    };
    let name = host.host().trim_end_matches('.');
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    match address {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => name.eq_ignore_ascii_case("localhost"),
    }
}

fn comes_from_here(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get("sec-fetch-site")
        && site != "same-origin"
        && site != "none"
    {
        return false;
    }
    let Some(origin) = headers.get(header::ORIGIN) else {
        return true;
    };
    let text = |value: &HeaderValue| value.to_str().map(str::to_ascii_lowercase).ok();
    let (origin, host) = (text(origin), headers.get(header::HOST).and_then(text));
    let (Some(origin), Some(host)) = (origin, host) else {
        return false;
    };
    let place = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    place == Some(&host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (axum::http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn loopback_answers_to_its_own_names_only() {
        for (host, is_right) in [
            ("localhost:9774", true),
            ("LOCALHOST.", true),
            ("127.0.0.1:8080", true),
            ("127.9.9.9", true),
            ("[::1]:9774", true),
            ("evil.example:9774", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("10.0.0.1", false),
            ("", false),
            ("a@localhost", true),
            ("localhost@evil.example", false),
        ] {
            let headers = headers(&[("host", host)]);
            for method in [Method::GET, Method::POST] {
                assert_eq!(refusal(Guard::Loopback, &method, &headers).is_none(), is_right, "{host}");
                assert_eq!(refusal(Guard::Anonymous, &method, &headers), None);
                assert_eq!(refusal(Guard::Token, &method, &headers), None);
            }
        }
    }

    #[test]
    fn pages_of_other_sites_change_nothing() {
        for (pairs, is_right) in [
            (&[("host", "localhost:1"), ("origin", "http://localhost:1")][..], true),
            (&[("host", "localhost:1"), ("origin", "http://localhost:2")], false),
            (&[("host", "localhost:1"), ("origin", "http://evil.example")], false),
            (&[("host", "localhost:1"), ("origin", "null")], false),
            (&[("host", "localhost:1"), ("sec-fetch-site", "cross-site")], false),
            (&[("host", "localhost:1"), ("sec-fetch-site", "same-site")], false),
            (&[("host", "localhost:1"), ("sec-fetch-site", "none")], true),
        ] {
            let headers = headers(pairs);
            for guard in [Guard::Loopback, Guard::Anonymous] {
                assert_eq!(refusal(guard, &Method::POST, &headers).is_none(), is_right, "{pairs:?}");
                assert_eq!(refusal(guard, &Method::DELETE, &headers).is_none(), is_right, "{pairs:?}");
                assert_eq!(refusal(guard, &Method::GET, &headers), None, "{pairs:?}");
            }
            assert_eq!(refusal(Guard::Token, &Method::POST, &headers), None, "{pairs:?}");
        }
    }
}
