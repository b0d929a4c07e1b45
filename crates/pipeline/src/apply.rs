//! A committed epoch enters the ledger, the delta, and what is known of sources and places.

use dormouse_ledger::{Copies, Coverage, Delta, Identity, Ledger, Trace};
use dormouse_store::Unknowns;

use crate::checkpoints::Checkpoints;
use crate::epoch::{self, EpochError, Unknown};

/// What an epoch enters.
pub struct Targets<'a, T> {
    /// All keys.
    pub ledger: &'a Ledger<T>,
    /// What the tables lack.
    pub delta: &'a mut Delta,
    /// What was not understood.
    pub unknowns: &'a mut Unknowns,
    /// What was received, and what history proves.
    pub coverage: &'a mut Coverage,
    /// How far sources have come.
    pub checkpoints: &'a mut Checkpoints,
}

/// Applies an epoch's bytes.
pub fn apply<T: Trace>(body: &[u8], targets: Targets<'_, T>) -> Result<(), EpochError> {
    let Targets { ledger, delta, unknowns, coverage, checkpoints } = targets;
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
    // Behind the evidence, which makes the keys that it counts.
    for cell in &header.cells {
        for shift in &cell.keys {
            ledger.shift(shift);
            delta.shift(cell.cell.day, cell.cell.place, shift);
        }
        coverage.note_cell(cell);
    }
    for (source, place, seen) in header.seen {
        coverage.note_seen(source, place, seen);
    }
    for (place, change) in header.pipe {
        coverage.note_pipe_change(place, change);
    }
    for (source, mark) in &header.marks {
        coverage.note_mark(source, mark);
    }
    for (source, checkpoint) in header.checkpoints {
        checkpoints.note(source, checkpoint);
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
