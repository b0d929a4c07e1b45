//! The reading end of an object, for a thread that may block.
//!
//! Decoding is work for a thread, fetching for a task. Between them lies a channel with room for a mebibyte: whoever
//! decodes slowly slows the fetching down. A channel that closes without having said that the object ended is an error,
//! never an end: half an object must not pass for a whole one.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;

use super::ObjectFailure;

/// So many bytes of an object are on their way at most.
const ROOM: usize = 1 << 20;

/// An object's bytes. Dropping it ends the fetching.
pub struct ObjectReader {
    source: Source,
    failure: Option<ObjectFailure>,
}

enum Source {
    Plain(Box<dyn Read + Send>),
    Fetched { chunks: mpsc::UnboundedReceiver<Sent>, current: Option<Chunk>, ended: bool, abandon: Abandon },
}

/// A part of a body, and the room that it takes.
struct Chunk {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

enum Sent {
    Chunk(Chunk),
    End,
    Failed(ObjectFailure),
}

/// Ends the reading of an object from elsewhere: the reader fails at once, even while it waits.
#[derive(Clone, Debug, Default)]
pub struct Abandon(Option<AbortHandle>);

impl Abandon {
    /// Ends the reading.
    pub fn now(&self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

impl fmt::Debug for ObjectReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectReader").field("failure", &self.failure).finish_non_exhaustive()
    }
}

impl ObjectReader {
    /// Reads from something that is at hand: a file, memory.
    pub fn plain(input: impl Read + Send + 'static) -> Self {
        Self { source: Source::Plain(Box::new(input)), failure: None }
    }

    /// Reads what a task sends that is started for it.
    pub(crate) fn fed<F>(feed: impl FnOnce(Feed) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (out, chunks) = mpsc::unbounded_channel();
        let task = tokio::spawn(feed(Feed { out, room: Arc::new(Semaphore::new(ROOM)) }));
        let abandon = Abandon(Some(task.abort_handle()));
        Self { source: Source::Fetched { chunks, current: None, ended: false, abandon }, failure: None }
    }

    /// A way to end the reading from elsewhere. Does nothing for what is at hand: that never waits.
    pub fn abandon(&self) -> Abandon {
        match &self.source {
            Source::Plain(_) => Abandon::default(),
            Source::Fetched { abandon, .. } => abandon.clone(),
        }
    }

    /// Why the last read failed, if it was not the disk's fault.
    pub fn take_failure(&mut self) -> Option<ObjectFailure> {
        self.failure.take()
    }
}

impl Drop for ObjectReader {
    fn drop(&mut self) {
        self.abandon().now();
    }
}

impl Read for ObjectReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let (chunks, current, ended) = match &mut self.source {
            Source::Plain(input) => return input.read(out),
            Source::Fetched { chunks, current, ended, .. } => (chunks, current, ended),
        };
        if *ended || out.is_empty() {
            return Ok(0);
        }
        loop {
            if let Some(chunk) = current {
                let length = chunk.bytes.len().min(out.len());
                chunk.bytes.copy_to_slice(&mut out[..length]);
                if chunk.bytes.is_empty() {
                    *current = None;
                }
                if length > 0 {
                    return Ok(length);
                }
            }
            match chunks.blocking_recv() {
                Some(Sent::Chunk(chunk)) => *current = Some(chunk),
                Some(Sent::End) => {
                    *ended = true;
                    return Ok(0);
                }
                other => {
                    let failure = match other {
                        Some(Sent::Failed(failure)) => failure,
                        _ => ObjectFailure::Abandoned,
                    };
                    let error = io::Error::other(failure.to_string());
                    self.failure = Some(failure);
                    return Err(error);
                }
            }
        }
    }
}

/// The sending end.
pub(crate) struct Feed {
    out: mpsc::UnboundedSender<Sent>,
    room: Arc<Semaphore>,
}

impl Feed {
    /// Sends a part when there is room for it. False if nobody reads any more.
    pub(crate) async fn send(&self, mut bytes: Bytes) -> bool {
        while bytes.has_remaining() {
            let part = bytes.split_to(bytes.len().min(ROOM / 4));
            let permits = u32::try_from(part.len()).unwrap_or(u32::MAX);
            let Ok(room) = Arc::clone(&self.room).acquire_many_owned(permits).await else {
                return false;
            };
            if self.out.send(Sent::Chunk(Chunk { bytes: part, _room: room })).is_err() {
                return false;
            }
        }
        true
    }

    /// The object has ended well.
    pub(crate) fn end(self) {
        let _ = self.out.send(Sent::End);
    }

    /// The object cannot be read further.
    pub(crate) fn fail(self, failure: ObjectFailure) {
        let _ = self.out.send(Sent::Failed(failure));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_all(mut reader: ObjectReader) -> (io::Result<Vec<u8>>, Option<ObjectFailure>) {
        let read = move || {
            let mut all = Vec::new();
            let outcome = reader.read_to_end(&mut all).map(|_| all);
            (outcome, reader.take_failure())
        };
        tokio::task::spawn_blocking(read).await.unwrap()
    }

    #[tokio::test]
    async fn more_than_there_is_room_for_comes_whole() {
        let body: Vec<u8> = (0..=250).cycle().take(5 * ROOM + 7).collect();
        let sent = Bytes::from(body.clone());
        let reader = ObjectReader::fed(|feed| async move {
            assert!(feed.send(sent).await);
            feed.end();
        });
        let (read, failure) = read_all(reader).await;
        assert!(read.unwrap() == body);
        assert_eq!(failure, None);
    }

    #[tokio::test]
    async fn a_body_that_stops_is_no_body_that_ended() {
        let reader = ObjectReader::fed(|feed| async move {
            feed.send(Bytes::from_static(b"half of it")).await;
        });
        let (read, failure) = read_all(reader).await;
        assert!(read.is_err());
        assert_eq!(failure, Some(ObjectFailure::Abandoned));
    }

    #[tokio::test]
    async fn a_reader_that_waits_can_be_abandoned() {
        let reader = ObjectReader::fed(|feed| async move {
            std::future::pending::<()>().await;
            feed.end();
        });
        let abandon = reader.abandon();
        let reading = tokio::spawn(read_all(reader));
        abandon.now();
        assert_eq!(reading.await.unwrap().1, Some(ObjectFailure::Abandoned));
    }
}
