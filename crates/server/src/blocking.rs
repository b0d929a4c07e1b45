//! Questions that may block on the disk or look at every key: on threads for that, and only so many at once.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::problem::{Code, Problem};

/// Runs blocking questions.
#[derive(Debug)]
pub(crate) struct Blocking(Arc<Semaphore>);

impl Blocking {
    pub(crate) fn new(most: usize) -> Self {
        Self(Arc::new(Semaphore::new(most)))
    }

    /// Runs a question as soon as there is room. Its place is taken until it is answered, even if nobody waits any more.
    pub(crate) async fn run<R: Send + 'static>(
        &self,
        question: impl FnOnce() -> Result<R, Problem> + Send + 'static,
    ) -> Result<R, Problem> {
        let place = Arc::clone(&self.0).acquire_owned().await;
        let place = place.map_err(|_| Problem::new(Code::Stopping, "the server is stopping"))?;
        let answer = tokio::task::spawn_blocking(move || {
            let _place = place;
            question()
        });
        answer.await.map_err(|panic| Problem::internal(&panic))?
    }
}
