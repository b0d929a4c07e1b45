//! How history is read when somebody asks for it. By whom, and with whose credentials, is no business of the server.

use dormouse_history::{BackfillRequest, JobHandle, Jobs};
use dormouse_sources::objects::BoxFuture;

/// Reads history.
pub trait ReadHistory: Send + Sync {
    /// What a request means that does not say how many objects are read at once, and how many bytes a second at most.
    fn pace(&self) -> Pace;

    /// Starts a job.
    fn start(&self, request: BackfillRequest) -> BoxFuture<'_, Result<JobHandle, NotStarted>>;

    /// The jobs of this process.
    fn jobs(&self) -> &Jobs;
}

/// How fast history is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How many objects at once.
    pub concurrency: usize,
    /// How many bytes a second at most; no bound if absent.
    pub bandwidth: Option<u64>,
}

/// Why a job was not started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotStarted {
    /// One is running.
    #[error("job {0} is running: wait for its end, or cancel it")]
    Busy(u64),
    /// What was asked for cannot be done; the words are for whoever asked.
    #[error("{0}")]
    Refused(String),
}
