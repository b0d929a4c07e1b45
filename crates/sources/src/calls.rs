//! Calls of AWS with a time limit: an SDK client has none by default, and a connection can die without a word.

use std::time::Duration;

use dormouse_aws::Failure;

/// The call's answer, or a transient failure if it does not come in time.
pub(crate) async fn within<T>(
    limit: Duration,
    action: &'static str,
    call: impl Future<Output = T>,
) -> Result<T, Failure> {
    tokio::time::timeout(limit, call)
        .await
        .map_err(|_| Failure::transient(action, &format!("no answer within {} s", limit.as_secs())))
}
