//! What changed becomes rows of the key tables.
//!
//! The ledger is ahead of the tables by exactly the delta, so a key's row is its state in the ledger, and the texts of
//! its last use are in the delta if the last use is of this span.

use dormouse_ledger::{Delta, DeltaKey, Evidence, EvidenceTexts, IdWindow, Ledger, Rank, Trace};
use dormouse_model::KeyArn;
use dormouse_store::{Fold, FoldedKey, Totals};

/// The rows that take the tables to epoch `upto`. The ledger must hold exactly the epochs up to it.
pub fn prepare(upto: u64, delta: Delta, ledger: &Ledger<Rank>, window: &IdWindow, totals: Totals) -> Fold {
    let keys = delta.keys.into_iter().filter_map(|(key, changed)| fold_key(key, changed, ledger)).collect();
    let register = |name| ledger.aliases().register(&name).map(|register| (name, register));
    Fold {
        upto,
        keys,
        aliases: delta.aliases.into_iter().filter_map(register).collect(),
        ids: delta.ids,
        floor: window.floor(),
        window: window.len(),
        received: delta.received,
        totals,
    }
}

/// `None` for an ARN that was tried when there was no room for more of them.
fn fold_key(key: KeyArn, changed: DeltaKey, ledger: &Ledger<Rank>) -> Option<FoldedKey> {
    let state = ledger.get(key)?;
    Some(FoldedKey {
        key,
        last_use: texts_if_last(changed.last_use, state.last_use()),
        last_attempt: texts_if_last(changed.last_attempt, state.last_attempt()),
        state,
        activity: changed.activity,
        changes: changed.changes,
    })
}

fn texts_if_last(evidence: Option<Evidence>, last: Option<&Rank>) -> Option<EvidenceTexts> {
    evidence.filter(|evidence| Some(evidence.rank()) == last).map(|evidence| evidence.texts())
}
