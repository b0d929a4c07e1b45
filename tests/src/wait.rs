//! Waiting for things without sleeping on a guess.

use std::fmt::Debug;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep};

/// How long anything may take on a slow machine with everything else running beside it.
pub const PATIENCE: Duration = Duration::from_secs(180);

const GLANCE: Duration = Duration::from_millis(2);

/// Who is asked over a network is asked less often.
const QUESTION: Duration = Duration::from_millis(20);

/// Looks until `found` says yes. Gives up after [`PATIENCE`] with `what` and the last thing that `found` saw.
pub async fn until<T, D: Debug>(what: &str, mut found: impl FnMut() -> Result<T, D>) -> T {
    look(what, GLANCE, async || found()).await
}

/// The same, for what has to be asked.
pub async fn eventually<T, D: Debug>(what: &str, found: impl AsyncFnMut() -> Result<T, D>) -> T {
    look(what, QUESTION, found).await
}

async fn look<T, D: Debug>(what: &str, pause: Duration, mut found: impl AsyncFnMut() -> Result<T, D>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match found().await {
            Ok(value) => return value,
            Err(seen) if Instant::now() > deadline => {
                panic!("waited {PATIENCE:?} in vain until {what}; last seen: {seen:#?}")
            }
            Err(_) => sleep(pause).await,
        }
    }
}

/// For [`until`]: done, or what was seen instead.
pub fn when<D>(done: bool, seen: D) -> Result<(), Box<D>> {
    if done { Ok(()) } else { Err(Box::new(seen)) }
}

/// Held by a test that needs the machine for itself, for as long as it does.
pub async fn alone() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::const_new(());
    MACHINE.lock().await
}
