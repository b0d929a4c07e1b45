//! What was handed over and is not settled yet.
//!
//! A batch is settled when all its messages were acknowledged or left, or when the pipeline lets go of it. Nothing is
//! deleted from a stream, so all that there is to know of a batch is whether something of it was left, and at the end of
//! a run whether any is still on its way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::watch;

use super::stats::KinesisStats;
use crate::{Acknowledge, Receipt};

/// The batches on their way.
#[derive(Debug)]
pub(crate) struct Flight {
    batches: watch::Sender<usize>,
    stats: Arc<KinesisStats>,
}

/// One batch's way back to its reader.
#[derive(Debug)]
pub(crate) struct Handed {
    flight: Arc<Flight>,
    unsettled: AtomicUsize,
    is_landed: AtomicBool,
    is_left: Arc<AtomicBool>,
}

impl Flight {
    pub(crate) fn new(stats: Arc<KinesisStats>) -> Arc<Self> {
        Arc::new(Self { batches: watch::Sender::new(0), stats })
    }

    /// A batch of so many messages goes out. The second value tells whether something of it was left.
    pub(crate) fn hand(self: &Arc<Self>, messages: usize) -> (Arc<Handed>, Arc<AtomicBool>) {
        self.change(|batches| batches + 1);
        self.stats.submitted.add(1);
        let is_left = Arc::new(AtomicBool::new(false));
        let handed = Handed {
            flight: Arc::clone(self),
            unsettled: AtomicUsize::new(messages),
            is_landed: AtomicBool::new(false),
            is_left: Arc::clone(&is_left),
        };
        (Arc::new(handed), is_left)
    }

    /// How many batches are on their way.
    pub(crate) fn len(&self) -> usize {
        *self.batches.borrow()
    }

    /// Waits until no batch is on its way.
    pub(crate) async fn wait_until_empty(&self) {
        // The sender is here, so waiting cannot fail.
        let _ = self.batches.subscribe().wait_for(|batches| *batches == 0).await;
    }

    fn change(&self, change: impl FnOnce(usize) -> usize) {
        self.batches.send_modify(|batches| {
            *batches = change(*batches);
            self.stats.in_flight.set(*batches);
        });
    }
}

impl Handed {
    fn settle(&self, count: usize) {
        let rest = |unsettled: usize| Some(unsettled.saturating_sub(count));
        let before = self.unsettled.fetch_update(Ordering::AcqRel, Ordering::Acquire, rest).unwrap_or(0);
        if before <= count {
            self.land();
        }
    }

    fn land(&self) {
        if !self.is_landed.swap(true, Ordering::AcqRel) {
            self.flight.change(|batches| batches.saturating_sub(1));
        }
    }
}

impl Acknowledge for Handed {
    fn ack(&self, receipts: Vec<Receipt>) {
        self.flight.stats.acknowledged.add(receipts.len());
        self.settle(receipts.len());
    }

    fn leave(&self, receipts: Vec<Receipt>) {
        if !receipts.is_empty() {
            self.is_left.store(true, Ordering::Release);
        }
        self.flight.stats.left.add(receipts.len());
        self.settle(receipts.len());
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        self.land();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipts(numbers: std::ops::Range<u64>) -> Vec<Receipt> {
        numbers.map(Receipt::new).collect()
    }

    #[tokio::test]
    async fn a_batch_lands_when_all_is_settled_or_when_it_is_let_go() {
        let flight = Flight::new(Arc::default());
        let (first, first_left) = flight.hand(3);
        let (second, second_left) = flight.hand(2);
        let (position_alone, _) = flight.hand(0);
        first.ack(receipts(0..2));
        assert_eq!(flight.len(), 3);
        first.leave(receipts(2..3));
        assert_eq!(flight.len(), 2);
        drop(first);
        assert_eq!(flight.len(), 2, "it landed once");
        drop(second);
        drop(position_alone);
        flight.wait_until_empty().await;
        assert!(first_left.load(Ordering::Acquire) && !second_left.load(Ordering::Acquire));
        assert_eq!((flight.stats.acknowledged.get(), flight.stats.left.get()), (2, 1));
    }
}
