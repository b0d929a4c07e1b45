//! Work on many messages, ten to a call and a few calls at a time.

use tokio::task::{JoinError, JoinSet};

use super::queue::BATCH;

/// Runs `call` on tens of `items`, with at most `parallel` calls at a time. Dropping the future abandons the calls.
pub(crate) async fn in_tens<T, F>(items: Vec<T>, parallel: usize, call: impl Fn(Vec<T>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut items = items.into_iter();
    let mut calls = JoinSet::new();
    loop {
        let ten: Vec<T> = items.by_ref().take(BATCH).collect();
        if ten.is_empty() {
            break;
        }
        if calls.len() >= parallel
            && let Some(ended) = calls.join_next().await
        {
            pass_panic_on(ended);
        }
        calls.spawn(call(ten));
    }
    while let Some(ended) = calls.join_next().await {
        pass_panic_on(ended);
    }
}

/// A task's result; its panic becomes this task's own. `None` if it was aborted.
pub(crate) fn pass_panic_on<T>(ended: Result<T, JoinError>) -> Option<T> {
    match ended {
        Ok(result) => Some(result),
        Err(error) => {
            if let Ok(panic) = error.try_into_panic() {
                std::panic::resume_unwind(panic);
            }
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn every_item_is_in_one_ten_and_few_calls_run_at_a_time() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let running = Arc::new(AtomicUsize::new(0));
        in_tens((0..47).collect(), 2, |ten: Vec<i32>| {
            let (seen, running) = (Arc::clone(&seen), Arc::clone(&running));
            async move {
                assert!(ten.len() <= BATCH);
                assert!(running.fetch_add(1, Ordering::SeqCst) < 2);
                tokio::time::sleep(Duration::from_millis(5)).await;
                running.fetch_sub(1, Ordering::SeqCst);
                seen.lock().unwrap().extend(ten);
            }
        })
        .await;
        let mut seen = seen.lock().unwrap().clone();
        seen.sort_unstable();
        assert_eq!(seen, (0..47).collect::<Vec<_>>());
    }
}
