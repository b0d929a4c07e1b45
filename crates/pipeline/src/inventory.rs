//! A way in for what AWS says when it is asked, and a look at what is known already, so that only what is new is asked
//! and journaled.

use std::sync::{Arc, RwLockReadGuard};

use dormouse_ledger::{Coverage, Inventory, Ledger, Rank};
use dormouse_model::Answer;
use tokio::sync::{mpsc, oneshot};

use crate::control::Stopped;
use crate::recover::Shared;

/// Answers on their way to the journal, and whom to tell when they are there.
pub(crate) struct SubmittedAnswers {
    pub answers: Vec<Answer>,
    pub durable: oneshot::Sender<()>,
}

/// So many submissions may wait for their commit.
const MOST_WAITING: usize = 64;
/// Answers are committed together up to so many; one takes some 300 bytes.
const EPOCH_ANSWERS: usize = 10_000;

/// Takes answers, and shows what they made known. Clones share it.
#[derive(Clone)]
pub struct InventoryIntake {
    answers: mpsc::Sender<SubmittedAnswers>,
    ledger: Arc<Ledger<Rank>>,
    inventory: Shared<Inventory>,
    coverage: Shared<Coverage>,
}

impl InventoryIntake {
    pub(crate) fn channel(
        ledger: Arc<Ledger<Rank>>,
        inventory: Shared<Inventory>,
        coverage: Shared<Coverage>,
    ) -> (Self, mpsc::Receiver<SubmittedAnswers>) {
        let (answers, receiver) = mpsc::channel(MOST_WAITING);
        (Self { answers, ledger, inventory, coverage }, receiver)
    }

    /// Hands over answers, and returns when they are durable and can be seen in what is known.
    pub async fn submit(&self, answers: Vec<Answer>) -> Result<(), Stopped> {
        if answers.is_empty() {
            return Ok(());
        }
        let (durable, told) = oneshot::channel();
        self.answers.send(SubmittedAnswers { answers, durable }).await.map_err(|_| Stopped)?;
        told.await.map_err(|_| Stopped)
    }

    /// All keys.
    pub fn ledger(&self) -> &Ledger<Rank> {
        &self.ledger
    }

    /// What is known of accounts and their Regions. Not to be held over an await: the committing task waits for it.
    pub fn inventory(&self) -> RwLockReadGuard<'_, Inventory> {
        self.inventory.read()
    }

    /// What was received, and what is proven. Not to be held over an await either.
    pub fn coverage(&self) -> RwLockReadGuard<'_, Coverage> {
        self.coverage.read()
    }
}

/// The first submission and those that wait behind it, as far as they fit into one epoch.
pub(crate) fn gather(
    first: SubmittedAnswers,
    waiting: &mut mpsc::Receiver<SubmittedAnswers>,
) -> (Vec<Answer>, Vec<oneshot::Sender<()>>) {
    let (mut answers, mut tell) = (first.answers, vec![first.durable]);
    while answers.len() < EPOCH_ANSWERS
        && let Ok(next) = waiting.try_recv()
    {
        answers.extend(next.answers);
        tell.push(next.durable);
    }
    (answers, tell)
}
