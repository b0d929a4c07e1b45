//! Asks for more time before a deadline comes.
//!
//! A commit usually follows a receive within a second, so this finds nothing to do until commits are slow or stand
//! still. Then it keeps everything in flight: a message is extended when a third of its visibility timeout is left, and
//! a twelfth of it passes between two looks, which leaves time for several tries. A message whose handle has expired is
//! not asked for again; it comes back and brings a new handle.

use std::sync::Arc;
use std::time::Duration;

use dormouse_aws::ErrorClass;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::batches::in_tens;
use super::queue::{Queue, VisibilityChange};
use super::source::Shared;
use super::tracker::Lease;
use crate::health::Work;

const PARALLEL_CALLS: usize = 8;
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// Keeps messages in flight until `work` is cancelled.
pub(crate) async fn run<Q: Queue>(shared: Arc<Shared<Q>>, work: CancellationToken) {
    let margin = shared.visibility / 3;
    let pause = (margin / 4).max(SHORTEST_PAUSE);
    let keep = async {
        loop {
            tokio::time::sleep(pause).await;
            let due = shared.tracker.due(Instant::now(), margin);
            in_tens(due, PARALLEL_CALLS, |ten| extend(Arc::clone(&shared), ten)).await;
        }
    };
    work.run_until_cancelled(keep).await;
}

/// What failed for a passing reason is still due at the next look.
async fn extend<Q: Queue>(shared: Arc<Shared<Q>>, ten: Vec<(Lease, VisibilityChange)>) {
    let before = Instant::now();
    let (leases, changes): (Vec<Lease>, Vec<VisibilityChange>) = ten.into_iter().unzip();
    let seconds: Vec<i32> = changes.iter().map(|change| change.seconds).collect();
    let results = match shared.queue.change_visibility(changes).await {
        Ok(results) => results,
        Err(failure) => return shared.monitor.failed(Work::Extend, &failure),
    };
    for ((lease, seconds), result) in leases.iter().zip(seconds).zip(results) {
        match result {
            Ok(()) => {
                let kept_for = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
                shared.tracker.extended(lease, before + kept_for);
                shared.monitor.succeeded(Work::Extend);
            }
            Err(failure) if failure.class == ErrorClass::Poison => shared.tracker.lapse(lease),
            Err(failure) => shared.monitor.failed(Work::Extend, &failure),
        }
    }
}
