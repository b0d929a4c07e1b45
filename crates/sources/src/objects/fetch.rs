//! A body on its way.
//!
//! Connections break in the middle of large objects. The reader does not see it: the rest is asked for from where it
//! broke, on the condition that the object still is the one that was begun (its ETag). Only when that fails again and
//! again without a single byte in between does the reader get an error.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use dormouse_aws::{Backoff, Failure};
use tokio::time::timeout;

use super::reader::Feed;
use super::s3::{Connection, Part};
use super::{Bandwidth, GET, ObjectFailure, ObjectName};

/// A connection that is silent for so long is taken for dead.
const SILENCE: Duration = Duration::from_secs(20);
/// So many tries in a row without a byte are enough.
const TRIES: u32 = 6;
/// How long to wait before the next try: from the first to the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// An object that is being fetched.
pub(super) struct Fetch {
    pub(super) connection: Connection,
    pub(super) name: ObjectName,
    pub(super) etag: Option<String>,
    pub(super) size: Option<u64>,
    pub(super) bandwidth: Option<Arc<Bandwidth>>,
}

impl Fetch {
    /// Sends the whole body.
    pub(super) async fn run(self, body: ByteStream, feed: Feed) {
        match self.send_all(body, &feed).await {
            Ok(true) => feed.end(),
            Ok(false) => {}
            Err(failure) => feed.fail(failure),
        }
    }

    /// False if nobody reads any more.
    async fn send_all(&self, mut body: ByteStream, feed: &Feed) -> Result<bool, ObjectFailure> {
        let mut sent: u64 = 0;
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        loop {
            let trouble = match timeout(SILENCE, body.next()).await {
                Ok(Some(Ok(bytes))) => {
                    let length = bytes.len();
                    if let Some(bandwidth) = &self.bandwidth {
                        bandwidth.take(length).await;
                    }
                    if !feed.send(bytes).await {
                        return Ok(false);
                    }
                    sent += u64::try_from(length).unwrap_or(u64::MAX);
                    if length > 0 {
                        backoff.reset();
                    }
                    continue;
                }
                Ok(None) if self.size.is_none_or(|size| sent >= size) => return Ok(true),
                Ok(None) => "the body ended too early".to_owned(),
                Ok(Some(Err(error))) => error.to_string(),
                Err(_) => format!("no byte within {} s", SILENCE.as_secs()),
            };
            let failure = ObjectFailure::Transient(Box::new(Failure::transient(GET, &trouble)));
            body = self.resume(sent, failure, &mut backoff).await?;
        }
    }

    /// The rest of the body.
    async fn resume(
        &self,
        from: u64,
        mut failure: ObjectFailure,
        backoff: &mut Backoff,
    ) -> Result<ByteStream, ObjectFailure> {
        // Without an ETag nothing says that the rest belongs to what was read.
        let Some(etag) = self.etag.as_deref() else {
            return Err(failure);
        };
        while failure.is_passing() && backoff.failures() < TRIES {
            tracing::debug!(object = %self.name, from, "{failure}; going on from there");
            tokio::time::sleep(backoff.next_delay()).await;
            match self.connection.get(&self.name, Some(Part { from, etag })).await {
                Ok(answer) if begins_at(answer.content_range(), from) => return Ok(answer.body),
                Ok(_) => {
                    let words = "the answer does not begin where it was asked to";
                    failure = ObjectFailure::Transient(Box::new(Failure::transient(GET, words)));
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

/// Whether a `Content-Range` such as `bytes 100-199/200` begins there.
fn begins_at(content_range: Option<&str>, from: u64) -> bool {
    content_range
        .and_then(|range| range.strip_prefix("bytes "))
        .and_then(|range| range.split('-').next())
        .is_some_and(|first| first.parse() == Ok(from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_rest_that_was_asked_for_is_taken() {
        assert!(begins_at(Some("bytes 100-199/200"), 100));
        assert!(!begins_at(Some("bytes 0-199/200"), 100));
        assert!(!begins_at(Some("bytes */200"), 100));
        assert!(!begins_at(None, 0));
    }
}
