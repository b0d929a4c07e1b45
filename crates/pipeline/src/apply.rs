//! A committed epoch enters the ledger and the delta.

use dormouse_ledger::{Copies, Delta, Identity, Ledger, Trace};
use dormouse_store::Unknowns;

use crate::epoch::{self, EpochError, Unknown};

/// Applies an epoch's bytes.
pub fn apply<T: Trace>(
    body: &[u8],
    ledger: &Ledger<T>,
    delta: &mut Delta,
    unknowns: &mut Unknowns,
) -> Result<(), EpochError> {
    let (header, observations) = epoch::decode(body)?;
    delta.tally = delta.tally.plus(header.tally);
    for account in header.received {
        if ledger.note_received(account) {
            delta.received.push(account);
        }
    }
    for (id, time) in header.records {
        delta.ids.push((Identity::from_bytes(id), time, Copies::RECORD));
    }
    for unknown in &header.unknowns {
        note(unknown, unknowns);
    }
    for observation in observations {
        let (observation, decided) = observation?;
        delta.aliases.extend(ledger.apply(&observation, decided.counting));
        delta.apply(&observation, decided.counting);
        delta.ids.extend(epoch::remembered(&observation, decided));
    }
    Ok(())
}

fn note(unknown: &Unknown<'_>, unknowns: &mut Unknowns) {
    match *unknown {
        Unknown::Operation { name, at, holds_back } => unknowns.note_operation(name, at, holds_back),
        Unknown::Unresolved { account, region, name, at } => {
            let region = region.and_then(|region| region.parse().ok());
            unknowns.note_unresolved(account, region, name, at);
        }
    }
}
