//! Plain HTTP to loopback, for what has no SDK.

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::net::TcpStream;

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The whole body.
    pub body: String,
}

/// Any reason why there is no answer.
pub type NoAnswer = Box<dyn std::error::Error + Send + Sync>;

/// Gets what is at `url`, `http://ADDRESS/…`, over a connection of its own.
pub async fn get(url: &str) -> Result<Answer, NoAnswer> {
    get_as(url, "").await
}

/// The same, showing a bearer token; none if it is empty.
pub async fn get_as(url: &str, token: &str) -> Result<Answer, NoAnswer> {
    let uri: Uri = url.parse()?;
    let address = uri.authority().ok_or("the URL has no address")?.as_str();
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let mut request = Request::get(path).header(HOST, address);
    if !token.is_empty() {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await?.to_bytes();
    connection.abort();
    Ok(Answer { status, body: String::from_utf8(body.into())? })
}

/// The text as the value of a parameter in a URL.
pub fn escaped(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
