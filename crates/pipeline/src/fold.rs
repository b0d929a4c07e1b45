//! What changed becomes rows of the key tables.
//!
//! The ledger is ahead of the tables by exactly the delta, so a key's row is its state in the ledger, and the texts of
//! its last use are in the delta if the last use is of this span.

use std::sync::Arc;

use dormouse_ledger::{AliasName, CoverageRows, Delta, IdWindow, InventoryRows, Ledger, Rank};
use dormouse_model::{Checkpoint, KeyArn};
use dormouse_store::{Fold, FoldedKey, Totals};

/// What changed that is no key, and is written as it is.
#[derive(Debug, Default)]
pub struct Changed {
    /// Sources and places.
    pub coverage: CoverageRows,
    /// Accounts and their Regions.
    pub inventory: InventoryRows,
    /// How far sources have come.
    pub checkpoints: Vec<(Box<str>, Checkpoint)>,
}

/// The rows that take the tables to epoch `upto`. The ledger must hold exactly the epochs up to it.
pub fn prepare(
    upto: u64,
    delta: Arc<Delta>,
    ledger: &Ledger<Rank>,
    window: &IdWindow,
    totals: Totals,
    changed: Changed,
) -> Fold {
    // An ARN that was tried when there was no room for more of them has no row.
    let row = |&key: &KeyArn| ledger.get(key).map(|state| FoldedKey { key, state });
    let writes = |name: &AliasName| ledger.aliases().writes(name).map(|writes| (name.clone(), writes));
    Fold {
        upto,
        keys: delta.keys.keys().filter_map(row).collect(),
        aliases: delta.aliases.iter().filter_map(writes).collect(),
        delta,
        floor: window.floor(),
        window: window.len(),
        totals,
        coverage: changed.coverage,
        inventory: changed.inventory,
        checkpoints: changed.checkpoints,
    }
}
