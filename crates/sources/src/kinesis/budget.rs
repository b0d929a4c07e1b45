//! How many bytes of records the readers hold together.
//!
//! Nobody knows how much an answer holds before it is there, so a call reserves the most that it can hold and gives back
//! the rest when it knows. What remains is given back when the intake, which has a budget of its own, has taken the
//! records over. With the default budget six calls can be on their way at the same time; readers take turns.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// An answer of `GetRecords` holds at most so many bytes of records.
pub(crate) const MOST_BYTES_A_CALL: usize = 10 * 1024 * 1024;
const UNIT: usize = 1024;

#[derive(Debug)]
pub(crate) struct Budget {
    units: Arc<Semaphore>,
    units_a_call: u32,
}

/// A part of the budget; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Reservation(Option<OwnedSemaphorePermit>);

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        let units = (bytes / UNIT).clamp(1, Semaphore::MAX_PERMITS);
        let units_a_call = u32::try_from(units.min(MOST_BYTES_A_CALL / UNIT)).unwrap_or(u32::MAX);
        Self { units: Arc::new(Semaphore::new(units)), units_a_call }
    }

    /// Waits for room for one call; first come, first served.
    pub(crate) async fn reserve(&self) -> Reservation {
        // The semaphore is never closed.
        Reservation(Arc::clone(&self.units).acquire_many_owned(self.units_a_call).await.ok())
    }

    /// How many bytes are not reserved.
    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.units.available_permits() * UNIT
    }
}

impl Reservation {
    /// Gives back what the answer does not need.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let Some(permit) = &mut self.0 else {
            return;
        };
        let excess = permit.num_permits().saturating_sub(bytes.div_ceil(UNIT));
        drop(permit.split(excess));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_reserves_the_most_it_can_hold_and_keeps_what_it_holds() {
        let budget = Budget::new(2 * MOST_BYTES_A_CALL + 5_000);
        let mut first = budget.reserve().await;
        let _second = budget.reserve().await;
        let third = tokio::time::timeout(Duration::from_secs(1), budget.reserve()).await;
        assert!(third.is_err());
        first.shrink_to(100);
        assert_eq!(budget.free(), MOST_BYTES_A_CALL - UNIT + 4 * UNIT);
        first.shrink_to(usize::MAX);
        drop(first);
        assert_eq!(budget.free(), MOST_BYTES_A_CALL + 4 * UNIT);
    }

    #[tokio::test]
    async fn a_small_budget_is_reserved_as_a_whole() {
        let budget = Budget::new(3 * UNIT);
        let reservation = budget.reserve().await;
        assert_eq!(budget.free(), 0);
        drop(reservation);
        assert_eq!(budget.free(), 3 * UNIT);
    }
}
