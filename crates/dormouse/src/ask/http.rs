//! Asking over HTTP: short requests with bounds on time and size, and failures in words that say what to do.
//!
//! Redirects are not followed, so the token goes to nobody but whom the user named; over plain http it goes to this
//! machine only, unless the user says otherwise. This machine is never asked through a proxy.

use std::fmt;
use std::time::Duration;

use anyhow::{anyhow, bail};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION};
use reqwest::{Client, Method, Response, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::token::{self, Token};
use crate::exit::Usage;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Whoever says nothing for so long is stuck, or no Dormouse.
const FIRST_TIMEOUT: Duration = Duration::from_secs(15);
const WHOLE_TIMEOUT: Duration = Duration::from_secs(60);
/// No answer of Dormouse is near this: a page of keys takes some megabytes.
const MOST_BYTES: usize = 256 << 20;
/// The code for a path that this version asks for and the other does not have.
const NO_SUCH_ROUTE: &str = "no_such_route";

/// An instance's address, and how it is talked to.
pub(super) struct Http {
    runtime: Runtime,
    client: Client,
    base: Url,
    token: Option<Token>,
    /// How long the beginning of an answer may take.
    patience: Duration,
}

/// What an instance says it cannot do: a problem document (RFC 9457).
#[derive(Debug)]
pub(super) struct Problem {
    /// The stable code.
    pub(super) code: String,
    pub(super) detail: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Problem {}

#[derive(Deserialize)]
struct ProblemDocument {
    code: String,
    detail: String,
}

impl Http {
    /// Connects to nothing yet.
    pub(super) fn new(url: &str, token: Option<Token>, allow_plaintext_token: bool) -> anyhow::Result<Self> {
        let base = parse(url)?;
        let is_here = is_loopback(&base);
        if token.is_some() && base.scheme() == "http" && !is_here && !allow_plaintext_token {
            return Err(Usage(format!(
                "{} is on another machine and not https: anybody on the way could read the token; use https, or \
                 allow it with --allow-plaintext-token",
                shown(&base)
            ))
            .into());
        }
        let mut client = Client::builder()
            .user_agent(concat!("dormouse/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(WHOLE_TIMEOUT);
        if is_here {
            client = client.no_proxy();
        }
        let client =
            client.build().map_err(|error| anyhow!("HTTP cannot be set up: {}", innermost(&error)))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime, client, base, token, patience: FIRST_TIMEOUT })
    }

    /// A JSON document.
    pub(super) fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        parameters: &[(&str, &str)],
    ) -> anyhow::Result<T> {
        let body = self.ask(Method::GET, path, parameters)?;
        serde_json::from_slice(&body)
            .map_err(|error| self.strange(&format!("its answer is not understood: {error}")))
    }

    /// The bytes of an answer, whatever they are. A refusal is a [`Problem`].
    pub(super) fn ask(
        &self,
        method: Method,
        path: &[&str],
        parameters: &[(&str, &str)],
    ) -> anyhow::Result<Vec<u8>> {
        self.exchange(method, path, parameters, None)
    }

    /// The same for a request with a JSON body.
    pub(super) fn send(&self, method: Method, path: &[&str], body: &Value) -> anyhow::Result<Vec<u8>> {
        self.exchange(method, path, &[], Some(body.to_string()))
    }

    fn exchange(
        &self,
        method: Method,
        path: &[&str],
        parameters: &[(&str, &str)],
        body: Option<String>,
    ) -> anyhow::Result<Vec<u8>> {
        let mut url = self.base.clone();
        // Every piece is escaped, so that an ARN stays one piece.
        if let Ok(mut pieces) = url.path_segments_mut() {
            pieces.pop_if_empty().extend(["api", "v1"]).extend(path);
        }
        if !parameters.is_empty() {
            url.query_pairs_mut().extend_pairs(parameters);
        }
        let mut request = self.client.request(method, url);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token.header.clone());
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        self.runtime.block_on(async {
            let answer = tokio::time::timeout(self.patience, request.send()).await;
            let Ok(response) = answer else {
                bail!("{} gave no answer within {} s", self.name(), self.patience.as_secs());
            };
            self.take(response.map_err(|error| self.silent(&error))?).await
        })
    }

    async fn take(&self, response: Response) -> anyhow::Result<Vec<u8>> {
        let status = response.status();
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let is_problem =
            header(CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/problem+json"));
        let location = header(LOCATION).map(str::to_owned);
        let body = self.body(response).await?;
        if status.is_success() {
            return Ok(body);
        }
        let problem = serde_json::from_slice::<ProblemDocument>(&body).ok().filter(|_| is_problem);
        if status == StatusCode::UNAUTHORIZED {
            return Err(self.unauthorized(problem.as_ref()));
        }
        if status.is_redirection() {
            let place = location.map(|place| format!(" to {place}")).unwrap_or_default();
            bail!("{} sends on{place}, and that is not followed; name the right one with --url", self.name());
        }
        match problem {
            Some(problem) if problem.code != NO_SUCH_ROUTE => {
                Err(Problem { code: problem.code, detail: problem.detail }.into())
            }
            _ => Err(self.strange(&format!("it answers {status}"))),
        }
    }

    async fn body(&self, mut response: Response) -> anyhow::Result<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(some) = response.chunk().await.map_err(|error| self.silent(&error))? {
            if body.len() + some.len() > MOST_BYTES {
                return Err(self.strange("its answer does not end"));
            }
            body.extend_from_slice(&some);
        }
        Ok(body)
    }

    /// The address as it may be printed.
    pub(super) fn name(&self) -> String {
        shown(&self.base)
    }

    /// Nothing, or no whole answer, came.
    fn silent(&self, error: &reqwest::Error) -> anyhow::Error {
        let name = self.name();
        if error.is_timeout() && !error.is_connect() {
            return anyhow!("{name} gave no whole answer within {} s", WHOLE_TIMEOUT.as_secs());
        }
        if !error.is_connect() {
            return anyhow!("{name} broke off: {}", innermost(error));
        }
        if self.base.scheme() == "https" && is_plain(error) {
            let plain = name.replacen("https", "http", 1);
            return anyhow!("{name}: that address speaks plain http: use {plain}");
        }
        let reason = if error.is_timeout() { "it timed out".to_owned() } else { innermost(error) };
        anyhow!(
            "no instance answers at {name} ({reason}); start one with `dormouse run`, name it with --url, or read its \
             store with --store FILE"
        )
    }

    fn unauthorized(&self, problem: Option<&ProblemDocument>) -> anyhow::Error {
        let name = self.name();
        let variable = token::VARIABLE;
        let advice = match &self.token {
            None => format!("wants a token: set {variable}, or name a file that holds it with --token-file"),
            Some(token) => format!("does not accept the token from {}", token.origin),
        };
        let detail = problem.map(|problem| format!(" ({})", problem.detail)).unwrap_or_default();
        anyhow!("{name} {advice}{detail}")
    }

    /// An answer that no Dormouse of this version gives.
    pub(super) fn strange(&self, what: &str) -> anyhow::Error {
        let version = env!("CARGO_PKG_VERSION");
        anyhow!(
            "{} is no Dormouse, or one that this version ({version}) does not understand: {what}",
            self.name()
        )
    }
}

fn parse(text: &str) -> Result<Url, Usage> {
    let wrong = |why: &str| Usage(format!("--url: {why}; it looks like http://127.0.0.1:9774"));
    let mut url = Url::parse(text).map_err(|error| wrong(&format!("{text:?} is no URL ({error})")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong(&format!("{:?} is neither http nor https", url.scheme())));
    }
    if !url.username().is_empty() || url.password().is_some() {
        // Not repeated: it may hold a secret.
        return Err(wrong("a URL here has no user and no password"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong(&format!("{text:?} has more than a host and a path")));
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

fn shown(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

/// Whether the host is this machine by its name alone: what a name server says is not believed.
fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether the other side does not know TLS: what it said is no record of it.
fn is_plain(error: &reqwest::Error) -> bool {
    // The type that says so is of a library below reqwest, which names it in its text alone.
    innermost(error).contains("InvalidContentType")
}

/// The cause of the causes, which is the one that says something: "connection refused".
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    if let Some(error) = cause.downcast_ref::<std::io::Error>()
        && error.kind() == std::io::ErrorKind::ConnectionRefused
    {
        return "connection refused".to_owned();
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_addresses_are_urls() {
        for right in ["http://127.0.0.1:9774", "https://dormouse.example.com/base/", "http://[::1]:1/"] {
            assert!(parse(right).unwrap().path().ends_with('/'), "{right}");
        }
        for wrong in
            ["127.0.0.1:9774", "ftp://host", "file:///etc/passwd", "http://", "http://h/?a=b", "dormouse"]
        {
            assert!(parse(wrong).unwrap_err().to_string().contains("--url"), "{wrong}");
        }
        let secret = parse("https://user:s3cret@host/").unwrap_err().to_string();
        assert!(!secret.contains("s3cret"), "{secret}");
    }

    #[test]
    fn this_machine_is_known_by_its_name() {
        let here = |url: &str| is_loopback(&Url::parse(url).unwrap());
        assert!(here("http://127.0.0.1:9774") && here("http://127.9.9.9/") && here("http://[::1]/"));
        assert!(here("http://localhost:1/"));
        assert!(
            !here("http://localhost.example.com/") && !here("http://10.0.0.1/") && !here("http://0.0.0.0/")
        );
    }

    #[test]
    fn a_token_does_not_go_over_plain_http_to_another_machine() {
        let token = || Token {
            header: reqwest::header::HeaderValue::from_static("Bearer x"),
            origin: "here".to_owned(),
        };
        let refused = Http::new("http://10.0.0.1:9774", Some(token()), false).err().unwrap().to_string();
        assert!(refused.contains("--allow-plaintext-token"), "{refused}");
        assert!(Http::new("http://10.0.0.1:9774", Some(token()), true).is_ok());
        assert!(Http::new("http://10.0.0.1:9774", None, false).is_ok());
        assert!(Http::new("https://10.0.0.1", Some(token()), false).is_ok());
        assert!(Http::new("http://localhost:9774", Some(token()), false).is_ok());
    }

    /// A server that answers everybody with this, or never.
    fn server(answer: Option<&'static str>) -> std::net::SocketAddr {
        use std::io::{Read, Write};

        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                if let Some(answer) = answer {
                    let _ = stream.read(&mut [0; 4_096]);
                    let _ = stream.write_all(answer.as_bytes());
                }
                held.push(stream);
            }
        });
        address
    }

    #[test]
    fn plain_http_behind_an_https_url_is_told() {
        let address = server(Some("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"));
        let http = Http::new(&format!("https://{address}"), None, false).unwrap();
        let told = http.ask(Method::GET, &["status"], &[]).unwrap_err().to_string();
        assert!(told.contains(&format!("that address speaks plain http: use http://{address}")), "{told}");
    }

    #[test]
    fn whoever_never_answers_is_not_waited_for_long() {
        assert!(FIRST_TIMEOUT.as_secs() <= 15);
        let address = server(None);
        let mut http = Http::new(&format!("http://{address}"), None, false).unwrap();
        http.patience = Duration::from_millis(50);
        let told = http.ask(Method::GET, &["status"], &[]).unwrap_err().to_string();
        assert!(told.contains("gave no answer within"), "{told}");
    }
}
