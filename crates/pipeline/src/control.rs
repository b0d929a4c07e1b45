//! What a person can have done while the pipeline runs.
//!
//! The quarantine is written by the task that commits, so whoever wants to try a message again, or to be rid of it, asks
//! that task; the answer comes when the outcome is durable.

use tokio::sync::{mpsc, oneshot};

/// What to do with a quarantined message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuarantineAction {
    /// Decode it once more; if that works, it is applied and leaves the quarantine.
    Retry,
    /// Delete it unapplied, for good.
    Drop,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuarantineOutcome {
    /// There is no such message.
    NoSuchMessage,
    /// It was understood and applied, and is no longer in the quarantine.
    Applied,
    /// It is still not understood, and stays.
    Refused {
        /// The stable code of the reason.
        reason: String,
        /// The reason in words.
        detail: String,
    },
    /// It is deleted.
    Dropped,
    /// Nothing can be committed now (the disk is full, say). Nothing has changed.
    NotNow,
}

/// The pipeline has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pipeline has stopped")]
pub struct Stopped;

pub(crate) struct Request {
    pub id: i64,
    pub action: QuarantineAction,
    pub answer: oneshot::Sender<QuarantineOutcome>,
}

/// So many requests may wait: each takes one commit.
const MOST_WAITING: usize = 64;

/// A way to ask the pipeline.
#[derive(Clone, Debug)]
pub struct Control {
    requests: mpsc::Sender<Request>,
}

impl Control {
    pub(crate) fn channel() -> (Self, mpsc::Receiver<Request>) {
        let (requests, receiver) = mpsc::channel(MOST_WAITING);
        (Self { requests }, receiver)
    }

    /// Does something with the quarantined message of this number.
    pub async fn quarantine(&self, id: i64, action: QuarantineAction) -> Result<QuarantineOutcome, Stopped> {
        let (answer, outcome) = oneshot::channel();
        self.requests.send(Request { id, action, answer }).await.map_err(|_| Stopped)?;
        outcome.await.map_err(|_| Stopped)
    }
}
