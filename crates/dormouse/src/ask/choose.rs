//! Who is asked: what the options say, else the variable, else the configuration, else the usual address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use super::Asked;
use super::http::Http;
use super::instance::Instance;
use super::store::StoreFile;
use super::token::Token;
use crate::cli::{Cli, WhereArgs};
use crate::config::{self, Config, HttpConfig};
use crate::exit::Usage;

/// Names the instance if no option does.
const VARIABLE: &str = "DORMOUSE_URL";
/// Where an instance listens that was not told otherwise.
const USUAL_URL: &str = "http://127.0.0.1:9774";

/// Whoever the options name.
pub(crate) fn choose(cli: &Cli, place: &WhereArgs) -> anyhow::Result<Asked> {
    if let Some(store) = &place.store {
        // The configuration only adds its threshold and its operations; without one the built-in ones count.
        let config = configuration(&cli.config)?.unwrap_or_default();
        return Ok(Asked::Store(Box::new(StoreFile::new(store.clone(), config))));
    }
    Ok(Asked::Instance(Box::new(instance_of(cli, place)?)))
}

/// Whether an option or the variable names an instance.
pub(crate) fn is_named(place: &WhereArgs) -> bool {
    named(place).is_some()
}

fn named(place: &WhereArgs) -> Option<String> {
    let variable = || std::env::var(VARIABLE).ok().filter(|url| !url.is_empty());
    place.url.clone().or_else(variable)
}

/// The instance that the options name, or the configured one.
pub(crate) fn instance_of(cli: &Cli, place: &WhereArgs) -> anyhow::Result<Instance> {
    let named = named(place);
    let token = match (Token::from_variable()?, &place.token_file) {
        (None, Some(file)) => Some(Token::from_file(file)?),
        (token, _) => token,
    };
    let configured = match (&named, &token) {
        // Whoever names an instance and brings the token has no need of the configuration.
        (Some(_), Some(_)) => Configured::default(),
        // Here it may know the token, no more: one that is missing or broken stands in nobody's way.
        (Some(_), None) => configuration(&cli.config)
            .ok()
            .flatten()
            .map(|config| Configured::of(&config.http))
            .unwrap_or_default(),
        (None, _) => {
            configuration(&cli.config)?.map(|config| Configured::of(&config.http)).unwrap_or_default()
        }
    };
    let is_named = named.is_some();
    let url = named.unwrap_or_else(|| configured.url.clone());
    // The configured token is the configured instance's: no other gets to see it.
    let token = match (token, configured.token_file) {
        (None, Some(file)) if url.trim_end_matches('/') == configured.url => match Token::from_file(&file) {
            Err(_) if is_named => None,
            token => Some(token?),
        },
        (token, _) => token,
    };
    let http = Http::new(&url, token, place.allow_plaintext_token)?;
    Ok(Instance::new(http))
}

/// The configuration: read if somebody named one, or if there is one at its usual place.
pub(crate) fn configuration(path: &Path) -> anyhow::Result<Option<Config>> {
    if path == Path::new(config::DEFAULT_PATH) && !path.exists() {
        return Ok(None);
    }
    let config = Config::read(path).map_err(|error| Usage(format!("{error:#}")))?;
    Ok(Some(config))
}

/// What the configuration says about its instance.
struct Configured {
    url: String,
    token_file: Option<PathBuf>,
}

impl Default for Configured {
    fn default() -> Self {
        Self { url: USUAL_URL.to_owned(), token_file: None }
    }
}

impl Configured {
    fn of(http: &HttpConfig) -> Self {
        let mut listen = http.listen;
        // Whoever listens on every address of this machine is asked on its own.
        if listen.ip().is_unspecified() {
            listen.set_ip(match listen.ip() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        Self { url: format!("http://{listen}"), token_file: http.token_file.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configured_instance_is_asked_where_it_can_be_reached() {
        let url = |listen: &str| {
            Configured::of(&HttpConfig { listen: listen.parse().unwrap(), ..HttpConfig::default() }).url
        };
        assert_eq!(url("10.0.0.7:80"), "http://10.0.0.7:80");
        assert_eq!(url("0.0.0.0:9774"), "http://127.0.0.1:9774");
        assert_eq!(url("[::]:9774"), "http://[::1]:9774");
        assert_eq!(Configured::of(&HttpConfig::default()).url, Configured::default().url);
    }
}
