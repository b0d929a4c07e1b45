//! What can be claimed about a place: when a use there would have been seen, by whose word, and what takes a claim away.

use std::collections::BTreeMap;

use dormouse_model::{AccountId, EventTime, KeyArn, Place, Region};
use serde::{Deserialize, Serialize};

use crate::coverage::{with, without};
use crate::{Coverage, Gap, Span};

/// A span that the configuration declares complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// For these accounts; all if empty.
    pub accounts: Vec<AccountId>,
    /// For these Regions; all if empty.
    pub regions: Vec<Region>,
    /// When.
    pub span: Span,
}

impl Declared {
    /// Whether it is said of this place.
    pub fn concerns(&self, place: Place) -> bool {
        (self.accounts.is_empty() || self.accounts.contains(&place.account))
            && (self.regions.is_empty() || self.regions.contains(&place.region))
    }
}

/// Nothing arrives from a place now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blind {
    /// Since when a use may have gone unseen.
    pub since: EventTime,
    /// Why, and by whom, in words.
    pub why: Box<str>,
}

/// What can be claimed about a place. The spans are in order and apart from each other; holes are taken away already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlaceProof {
    /// Heartbeats came back through a source that lost nothing. Claims a use only of operations that are known to pass:
    /// see [`PlaceProof::operations`].
    pub stream: Vec<Span>,
    /// A trail's digest files show that no log file is missing.
    pub digests: Vec<Span>,
    /// The configuration says so.
    pub declared: Vec<Span>,
    /// What was taken away, why; those of single keys are not among them.
    pub holes: Vec<Gap>,
    /// The in-use operations that are known to pass through what delivers events of this place, since that was last
    /// altered: when each last arrived.
    pub operations: BTreeMap<Box<str>, EventTime>,
    /// Nothing arrives from there now.
    pub blind: Option<Blind>,
}

impl Coverage {
    /// What can be claimed about a place as of `now`.
    pub fn proof(&self, place: Place, _now: EventTime, declared: &[Declared]) -> PlaceProof {
        let mut proof = PlaceProof::default();
        if let Some(known) = self.place(place) {
            proof.digests.clone_from(&known.covered);
        }
        for declared in declared.iter().filter(|declared| declared.concerns(place)) {
            proof.declared = with(proof.declared, declared.span);
        }
        // What is proven needs nobody's word.
        for span in &proof.digests {
            proof.declared = without(&proof.declared, *span);
        }
        proof
    }

    /// Where something that may have been a use of this very key was not understood.
    pub fn holes_of_key(&self, _key: KeyArn) -> &[Gap] {
        &[]
    }
}
