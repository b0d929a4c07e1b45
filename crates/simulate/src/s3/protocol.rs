//! S3's protocol: REST in, XML out.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Bytes;
use hyper::{HeaderMap, Method, Request};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::bucket::{Next, Page, Start};

macro_rules! operations {
    ($($name:ident),+ $(,)?) => {
        /// The operations that the double knows, by their names in the API.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "S3's own words")]
        pub enum Operation { $($name),+ }

        impl Operation {
            /// All of them.
            pub const ALL: [Self; [$(Self::$name),+].len()] = [$(Self::$name),+];

            /// The operation's name in the API.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }
        }
    };
}

operations!(GetObject, HeadObject, ListObjectsV2, PutObject, DeleteObject, CreateBucket, HeadBucket);

impl Operation {
    pub(super) const fn index(self) -> usize {
        self as usize
    }

    /// What somebody must be allowed to do for it, and whether on the bucket instead of the object.
    pub(super) fn permission(self) -> (&'static str, bool) {
        match self {
            Self::GetObject | Self::HeadObject => ("s3:GetObject", false),
            Self::PutObject => ("s3:PutObject", false),
            Self::DeleteObject => ("s3:DeleteObject", false),
            Self::ListObjectsV2 | Self::HeadBucket => ("s3:ListBucket", true),
            Self::CreateBucket => ("s3:CreateBucket", true),
        }
    }
}

/// What a request asks for.
pub(super) struct Asked {
    pub(super) operation: Operation,
    pub(super) bucket: String,
    /// Empty for operations on a bucket.
    pub(super) key: String,
    pub(super) query: HashMap<String, String>,
}

impl Asked {
    pub(super) fn of(request: &Request<Bytes>) -> Option<Self> {
        let path = request.uri().path().strip_prefix('/')?;
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let decode = |text: &str| percent_decode_str(text).decode_utf8().ok().map(Cow::into_owned);
        let (bucket, key) = (decode(bucket)?, decode(key)?);
        let query = request.uri().query().unwrap_or_default();
        let query: HashMap<String, String> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let of_bucket = key.is_empty();
        let operation = match *request.method() {
            Method::GET if of_bucket && query.get("list-type").is_some_and(|kind| kind == "2") => {
                Operation::ListObjectsV2
            }
            Method::GET if !of_bucket => Operation::GetObject,
            Method::HEAD if of_bucket => Operation::HeadBucket,
            Method::HEAD => Operation::HeadObject,
            Method::PUT if of_bucket => Operation::CreateBucket,
            Method::PUT => Operation::PutObject,
            Method::DELETE if !of_bucket => Operation::DeleteObject,
            _ => return None,
        };
        (!bucket.is_empty()).then_some(Self { operation, bucket, key, query })
    }

    pub(super) fn parameter(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    /// What a fault's prefix is held against.
    pub(super) fn key_or_prefix(&self) -> &str {
        if self.operation == Operation::ListObjectsV2 { self.parameter("prefix") } else { &self.key }
    }
}

/// An error answer.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) message: String,
}

macro_rules! refusals {
    ($($name:ident = $status:literal $code:literal;)+) => {
        impl Refusal {
            $(
                pub(super) fn $name(message: impl Into<String>) -> Self {
                    Self { status: $status, code: $code, message: message.into() }
                }
            )+
        }
    };
}

refusals! {
    no_such_bucket = 404 "NoSuchBucket";
    no_such_key = 404 "NoSuchKey";
    access_denied = 403 "AccessDenied";
    precondition_failed = 412 "PreconditionFailed";
    invalid_range = 416 "InvalidRange";
    invalid_argument = 400 "InvalidArgument";
    incomplete_body = 400 "IncompleteBody";
    bucket_exists = 409 "BucketAlreadyOwnedByYou";
    not_implemented = 501 "NotImplemented";
    slow_down = 503 "SlowDown";
    internal = 500 "InternalError";
    unavailable = 503 "ServiceUnavailable";
}

const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

impl Refusal {
    pub(super) fn body(&self, asked: Option<&Asked>) -> String {
        let mut out = String::from(DECLARATION);
        out.push_str("<Error>");
        element(&mut out, "Code", self.code);
        element(&mut out, "Message", &self.message);
        if let Some(asked) = asked {
            element(&mut out, "BucketName", &asked.bucket);
            if !asked.key.is_empty() {
                element(&mut out, "Key", &asked.key);
            }
        }
        element(&mut out, "RequestId", "EXAMPLE123456789");
        out.push_str("</Error>");
        out
    }
}

/// A page of a list as XML.
pub(super) fn list_answer(asked: &Asked, most: usize, page: &Page<'_>) -> String {
    let encoded = asked.parameter("encoding-type") == "url";
    let text = |text: &str| if encoded { url_encoded(text) } else { text.to_owned() };
    let mut out = String::with_capacity(512 + 256 * page.objects.len());
    out.push_str(DECLARATION);
    out.push_str("<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    element(&mut out, "Name", &asked.bucket);
    element(&mut out, "Prefix", &text(asked.parameter("prefix")));
    for (name, parameter) in [("Delimiter", "delimiter"), ("StartAfter", "start-after")] {
        if let Some(value) = asked.query.get(parameter) {
            element(&mut out, name, &text(value));
        }
    }
    if let Some(token) = asked.query.get("continuation-token") {
        element(&mut out, "ContinuationToken", token);
    }
    if let Some(next) = &page.next {
        element(&mut out, "NextContinuationToken", &next.token());
    }
    element(&mut out, "KeyCount", &(page.objects.len() + page.prefixes.len()).to_string());
    element(&mut out, "MaxKeys", &most.to_string());
    if encoded {
        element(&mut out, "EncodingType", "url");
    }
    element(&mut out, "IsTruncated", if page.next.is_some() { "true" } else { "false" });
    for (key, object) in &page.objects {
        out.push_str("<Contents>");
        element(&mut out, "Key", &text(key));
        element(&mut out, "LastModified", &object.modified.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string());
        element(&mut out, "ETag", &object.etag);
        element(&mut out, "Size", &object.body.len().to_string());
        element(&mut out, "StorageClass", "STANDARD");
        out.push_str("</Contents>");
    }
    for prefix in &page.prefixes {
        out.push_str("<CommonPrefixes>");
        element(&mut out, "Prefix", &text(prefix));
        out.push_str("</CommonPrefixes>");
    }
    out.push_str("</ListBucketResult>");
    out
}

fn element(out: &mut String, name: &str, text: &str) {
    // Writing to a String cannot fail.
    let _ = write!(out, "<{name}>");
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // Parsers turn what they see of these into something else.
            '\r' | '\n' | '\t' => {
                let _ = write!(out, "&#{};", u32::from(character));
            }
            _ => out.push(character),
        }
    }
    let _ = write!(out, "</{name}>");
}

fn url_encoded(text: &str) -> String {
    const ESCAPED: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'*').remove(b'/').remove(b'~');
    utf8_percent_encode(text, ESCAPED).to_string()
}

impl Next {
    /// As a text that says nothing to a client.
    fn token(&self) -> String {
        let (kind, text) = match self {
            Self::AfterKey(key) => ('k', key),
            Self::AfterPrefix(prefix) => ('p', prefix),
        };
        STANDARD.encode(format!("{kind}{text}"))
    }

    pub(super) fn parse(token: &str) -> Option<Self> {
        let text = String::from_utf8(STANDARD.decode(token).ok()?).ok()?;
        if let Some(key) = text.strip_prefix('k') {
            return Some(Self::AfterKey(key.to_owned()));
        }
        text.strip_prefix('p').map(|prefix| Self::AfterPrefix(prefix.to_owned()))
    }

    pub(super) fn start(&self) -> Start<'_> {
        match self {
            Self::AfterKey(key) => Start::AfterKey(key),
            Self::AfterPrefix(prefix) => Start::AfterPrefix(prefix),
        }
    }
}

/// The bytes that a `Range` header asks for, of so many: the first and the one behind the last. `None` if it asks for
/// something that S3 does not understand, which it then ignores.
pub(super) fn range(header: &str, length: usize) -> Option<Result<(usize, usize), Refusal>> {
    let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
    let (first, end) = if first.is_empty() {
        let from_end: usize = last.parse().ok()?;
        (length.saturating_sub(from_end), length)
    } else {
        let first: usize = first.parse().ok()?;
        let last: usize = if last.is_empty() { usize::MAX } else { last.parse().ok()? };
        if last < first {
            return None;
        }
        (first, last.saturating_add(1).min(length))
    };
    if first >= length {
        return Some(Err(Refusal::invalid_range("The requested range is not satisfiable")));
    }
    Some(Ok((first, end)))
}

/// The object in the body of a `PutObject`. The SDK cuts a body that it streams into chunks, with its checksum behind
/// them.
pub(super) fn put_body(headers: &HeaderMap, body: &Bytes) -> Option<Bytes> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let chunked = header("content-encoding").contains("aws-chunked")
        || header("x-amz-content-sha256").starts_with("STREAMING-");
    if !chunked {
        return Some(body.clone());
    }
    let mut whole = Vec::with_capacity(body.len());
    let mut rest = &body[..];
    loop {
        let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        let head = std::str::from_utf8(&rest[..end]).ok()?;
        let size = usize::from_str_radix(head.split(';').next()?, 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Some(whole.into());
        }
        whole.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
    }
}
