//! Where answers go, and where what is known already is looked up.

use std::sync::{PoisonError, RwLock};

use dormouse_ledger::{Bounds, Inventory, Ledger, Rank};
use dormouse_model::{Answer, EventId, PlaceSaid};
use dormouse_pipeline::InventoryIntake;
use dormouse_pipeline::control::Stopped;

/// Takes answers, and shows what is known.
pub trait Journal: Send + Sync + 'static {
    /// Hands over answers, and returns when they are durable and can be seen.
    fn submit(&self, answers: Vec<Answer>) -> impl Future<Output = Result<(), Stopped>> + Send;

    /// All keys.
    fn ledger(&self) -> &Ledger<Rank>;

    /// Looks at what is known of accounts and their Regions.
    fn look<R>(&self, look: impl FnOnce(&Inventory) -> R) -> R;
}

impl Journal for InventoryIntake {
    async fn submit(&self, answers: Vec<Answer>) -> Result<(), Stopped> {
        Self::submit(self, answers).await
    }

    fn ledger(&self) -> &Ledger<Rank> {
        Self::ledger(self)
    }

    fn look<R>(&self, look: impl FnOnce(&Inventory) -> R) -> R {
        look(&self.inventory())
    }
}

/// Keeps what is said in memory alone and forgets it at the end: for tests in paused time and for benches.
pub struct MemoryJournal {
    ledger: Ledger<Rank>,
    inventory: RwLock<Inventory>,
}

impl Default for MemoryJournal {
    fn default() -> Self {
        Self { ledger: Ledger::new(Bounds::default()), inventory: RwLock::default() }
    }
}

impl Journal for MemoryJournal {
    async fn submit(&self, answers: Vec<Answer>) -> Result<(), Stopped> {
        let mut inventory = self.inventory.write().unwrap_or_else(PoisonError::into_inner);
        for answer in &answers {
            match answer {
                Answer::Key(answer) => {
                    self.ledger.answer(answer);
                }
                Answer::Place(answer) => {
                    if let PlaceSaid::Aliases { set, gone, .. } = &answer.said {
                        let id = || EventId::from("ListAliases");
                        for alias in set {
                            self.ledger.answer_alias(alias, id());
                        }
                        for name in gone {
                            self.ledger.answer_alias_gone(answer.place, name, answer.asked_at, id());
                        }
                    }
                    inventory.note_place(answer);
                }
                Answer::Account(answer) => inventory.note_account(answer),
            }
        }
        Ok(())
    }

    fn ledger(&self) -> &Ledger<Rank> {
        &self.ledger
    }

    fn look<R>(&self, look: impl FnOnce(&Inventory) -> R) -> R {
        look(&self.inventory.read().unwrap_or_else(PoisonError::into_inner))
    }
}
