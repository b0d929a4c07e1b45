//! S3 by the SDK.
//!
//! A bucket answers in its own Region only; elsewhere S3 says where it is. That is followed once and remembered, so
//! nobody has to configure the Region of a bucket. The SDK's retries are off: passing errors are tried again here, a few
//! times, and then told to whoever asked, who knows how long waiting is worth it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{
    Region, RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_types::SdkConfig;
use dormouse_aws::{Backoff, Failure};
use tokio::time::timeout;

use super::fetch::Fetch;
use super::{
    Bandwidth, BoxFuture, GET, LIST, ListPage, ListRequest, ListedObject, ObjectFailure, ObjectName,
    ObjectReader, ObjectStore, Opened,
};

type HttpResponse = aws_sdk_s3::config::http::HttpResponse;

/// How long an answer may take to begin, and a page of a list to come.
const CALL_LIMIT: Duration = Duration::from_secs(20);
/// So often a call with passing errors is made.
const TRIES: u32 = 4;
/// How long to wait before the next try: from the first to the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// S3 says in which Region a bucket is.
const BUCKET_REGION: &str = "x-amz-bucket-region";
/// No name of a Region is as long.
const LONGEST_REGION: usize = 40;

/// The buckets of S3 that these credentials can read. Clones share their clients.
#[derive(Clone, Debug)]
pub struct S3Objects {
    connection: Connection,
    bandwidth: Option<Arc<Bandwidth>>,
}

impl S3Objects {
    /// Reads with this configuration. Its Region is where a bucket is looked for first.
    pub fn new(config: &SdkConfig) -> Self {
        Self { connection: Connection(Arc::new(Clients::new(config))), bandwidth: None }
    }

    /// The same, taking no more bytes a second than this.
    #[must_use]
    pub fn with_bandwidth(self, bandwidth: Arc<Bandwidth>) -> Self {
        Self { bandwidth: Some(bandwidth), ..self }
    }

    async fn open_object(&self, name: &ObjectName) -> Result<Opened, ObjectFailure> {
        let answer = self.connection.patiently(|| self.connection.get(name, None)).await?;
        let size = answer.content_length().and_then(|length| u64::try_from(length).ok());
        let fetch = Fetch {
            connection: self.connection.clone(),
            name: name.clone(),
            etag: answer.e_tag().map(str::to_owned),
            size,
            bandwidth: self.bandwidth.clone(),
        };
        Ok(Opened { size, reader: ObjectReader::fed(|feed| fetch.run(answer.body, feed)) })
    }
}

impl ObjectStore for S3Objects {
    fn open<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<Opened, ObjectFailure>> {
        Box::pin(self.open_object(name))
    }

    fn list(&self, request: ListRequest) -> BoxFuture<'_, Result<ListPage, ObjectFailure>> {
        Box::pin(async move { self.connection.patiently(|| self.connection.list(&request)).await })
    }
}

/// The rest of an object.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) from: u64,
    pub(super) etag: &'a str,
}

/// The calls, each made once, or twice if the first went to another Region than the bucket's.
#[derive(Clone, Debug)]
pub(super) struct Connection(Arc<Clients>);

impl Connection {
    pub(super) async fn get(
        &self,
        name: &ObjectName,
        part: Option<Part<'_>>,
    ) -> Result<GetObjectOutput, ObjectFailure> {
        let call = |client: Client| {
            let mut call = client.get_object().bucket(&*name.bucket).key(&name.key);
            if let Some(Part { from, etag }) = part {
                call = call.range(format!("bytes={from}-")).if_match(etag);
            }
            call.send()
        };
        self.in_its_region(GET, name, call).await
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, ObjectFailure> {
        let call = |client: Client| {
            client
                .list_objects_v2()
                .bucket(&request.bucket)
                .prefix(&request.prefix)
                .set_start_after(request.start_after.clone())
                .set_continuation_token(request.token.clone())
                .set_delimiter(request.delimiter.then(|| "/".to_owned()))
                .send()
        };
        let name = ObjectName::new(request.bucket.as_str(), request.prefix.as_str());
        let answer = self.in_its_region(LIST, &name, call).await?;
        let is_truncated = answer.is_truncated() == Some(true);
        let next = answer.next_continuation_token.filter(|_| is_truncated);
        if is_truncated && next.is_none() {
            let words = "the list goes on, but the answer does not say where";
            return Err(ObjectFailure::Transient(Box::new(Failure::transient(LIST, words))));
        }
        let listed = |object: aws_sdk_s3::types::Object| {
            let size = object.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
            Some(ListedObject { key: object.key?, size })
        };
        Ok(ListPage {
            objects: answer.contents.into_iter().flatten().filter_map(listed).collect(),
            prefixes: answer.common_prefixes.into_iter().flatten().filter_map(|p| p.prefix).collect(),
            next,
        })
    }

    /// Makes a call where the bucket is, as far as that is known.
    async fn in_its_region<T, E, F>(
        &self,
        action: &'static str,
        name: &ObjectName,
        call: impl Fn(Client) -> F,
    ) -> Result<T, ObjectFailure>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        let error = match within_limit(action, call(self.0.of_bucket(&name.bucket))).await? {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let failed = |error: &SdkError<E, HttpResponse>| ObjectFailure::of(name, Failure::of(action, error));
        let Some(client) = region_in(&error).and_then(|region| self.0.move_to(&name.bucket, region)) else {
            return Err(failed(&error));
        };
        within_limit(action, call(client)).await?.map_err(|error| failed(&error))
    }

    /// Makes a call again while its errors pass, a few times.
    async fn patiently<T, F>(&self, call: impl Fn() -> F) -> Result<T, ObjectFailure>
    where
        F: Future<Output = Result<T, ObjectFailure>>,
    {
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        loop {
            match call().await {
                Err(failure) if failure.is_passing() && backoff.failures() + 1 < TRIES => {
                    tokio::time::sleep(backoff.next_delay()).await;
                }
                outcome => return outcome,
            }
        }
    }
}

async fn within_limit<T>(action: &'static str, call: impl Future<Output = T>) -> Result<T, ObjectFailure> {
    timeout(CALL_LIMIT, call).await.map_err(|_| {
        let words = format!("no answer within {} s", CALL_LIMIT.as_secs());
        ObjectFailure::Transient(Box::new(Failure::transient(action, &words)))
    })
}

/// The Region that S3 says the bucket is in, when it refuses to answer in another. The name becomes part of a host name,
/// so it must not be able to name another host.
fn region_in<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Option<String> {
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
    // An answer to HEAD, and some to GET, have a status and no code.
    let is_elsewhere =
        matches!(code, Some("PermanentRedirect" | "AuthorizationHeaderMalformed" | "TemporaryRedirect"))
            || error.raw_response().is_some_and(|raw| (300..400).contains(&raw.status().as_u16()));
    let raw = error.raw_response().filter(|_| is_elsewhere)?;
    let told = raw.headers().get(BUCKET_REGION).map(str::to_owned);
    let region = told.or_else(|| region_in_text(raw.body().bytes()?))?;
    let is_plain = (1..=LONGEST_REGION).contains(&region.len())
        && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    is_plain.then_some(region)
}

fn region_in_text(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, behind) = text.split_once("<Region>")?;
    behind.split_once('<').map(|(region, _)| region.to_owned())
}

/// One client a Region, and which bucket is where.
#[derive(Debug)]
struct Clients {
    config: SdkConfig,
    home: String,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    clients: HashMap<String, Client>,
    regions: HashMap<String, String>,
}

impl Clients {
    fn new(config: &SdkConfig) -> Self {
        let home = config.region().map_or_else(|| "us-east-1".to_owned(), ToString::to_string);
        Self { config: config.clone(), home, known: Mutex::default() }
    }

    fn of_bucket(&self, bucket: &str) -> Client {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let region = known.regions.get(bucket).unwrap_or(&self.home).clone();
        self.client(&mut known, region)
    }

    /// The client for the Region that a bucket turned out to be in; `None` if that is where it was asked already.
    fn move_to(&self, bucket: &str, region: String) -> Option<Client> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if *known.regions.get(bucket).unwrap_or(&self.home) == region {
            return None;
        }
        known.regions.insert(bucket.to_owned(), region.clone());
        Some(self.client(&mut known, region))
    }

    fn client(&self, known: &mut Known, region: String) -> Client {
        let new = |region: &String| Client::from_conf(config_for(&self.config, region));
        known.clients.entry(region).or_insert_with_key(new).clone()
    }
}

fn config_for(config: &SdkConfig, region: &str) -> aws_sdk_s3::Config {
    aws_sdk_s3::config::Builder::from(config)
        .region(Region::new(region.to_owned()))
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        // gzip has a checksum of its own, and a checksum of a whole object says nothing about the rest of one.
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .force_path_style(config.endpoint_url().is_some_and(has_no_subdomains))
        .build()
}

/// Whether the endpoint is an address or this machine, where a bucket cannot be part of the host's name.
fn has_no_subdomains(endpoint_url: &str) -> bool {
    let rest = endpoint_url.split_once("://").map_or(endpoint_url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.starts_with('[') {
        return true;
    }
    let host = authority.split(':').next().unwrap_or_default();
    host == "localhost" || host.parse::<std::net::Ipv4Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_no_subdomains() {
        for url in
            ["http://127.0.0.1:4566", "http://[::1]:4566/", "https://10.0.0.1", "http://localhost:9000"]
        {
            assert!(has_no_subdomains(url), "{url}");
        }
        for url in
            ["https://s3.eu-west-1.amazonaws.com", "https://bucket.vpce-1.s3.eu-west-1.vpce.amazonaws.com"]
        {
            assert!(!has_no_subdomains(url), "{url}");
        }
    }

    #[test]
    fn a_region_is_read_from_the_words() {
        let body = b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>";
        assert_eq!(region_in_text(body).as_deref(), Some("eu-west-1"));
        assert_eq!(region_in_text(b"<Error/>"), None);
    }
}
