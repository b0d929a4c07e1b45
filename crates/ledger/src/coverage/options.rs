//! What is configured about claims.

use dormouse_model::{AccountId, OperationTable};

use crate::Declared;
use crate::query::Pattern;

/// What is configured about claims. The same must be given to whoever reads the journal again.
#[derive(Clone, Debug)]
pub struct CoverageOptions {
    /// Two heartbeats further apart than this prove nothing about what lies between them; a place whose last one is
    /// older is blind.
    pub blind_after_seconds: u32,
    /// A heartbeat proves that a switch was turned back only if it is later than the switch by so much: what was on its
    /// way when the switch was turned still arrives.
    pub settle_seconds: u32,
    /// An event may be as late as this: nothing is claimed of so many seconds before a source had taken everything, and
    /// a use that KMS knows is not missed before.
    pub delivery_delay_seconds: u32,
    /// The EventBridge rules that deliver to us, by name; all if empty.
    pub rules: Vec<Pattern>,
    /// The trails that deliver to us, by name; all if empty.
    pub trails: Vec<Pattern>,
    /// Accounts whose rules and trails deliver the events of all others, too.
    pub central: Vec<AccountId>,
    /// Calls of operations that it names hold nothing back.
    pub operations: OperationTable,
    /// What is declared complete: a use in it that KMS knows, and that never arrived, is missed.
    pub declared: Vec<Declared>,
}

impl Default for CoverageOptions {
    fn default() -> Self {
        Self {
            blind_after_seconds: 30 * 60,
            settle_seconds: 60,
            delivery_delay_seconds: 2 * 3_600,
            rules: Vec::new(),
            trails: Vec::new(),
            central: Vec::new(),
            operations: OperationTable::default(),
            declared: Vec::new(),
        }
    }
}
