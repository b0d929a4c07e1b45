//! A committed epoch enters the ledger, the delta, and what is known of sources and places.

use dormouse_ledger::{Copies, Coverage, Delta, Identity, Inventory, Ledger, Trace};
use dormouse_model::{Answer, EventId, PlaceAnswer, PlaceSaid};
use dormouse_store::Unknowns;

use crate::checkpoints::Checkpoints;
use crate::epoch::{self, EpochError, Passed, Unknown};

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
    /// What was heard of accounts and their Regions.
    pub inventory: &'a mut Inventory,
    /// How far sources have come.
    pub checkpoints: &'a mut Checkpoints,
}

/// Applies an epoch's bytes.
pub fn apply<T: Trace>(body: &[u8], targets: Targets<'_, T>) -> Result<(), EpochError> {
    let Targets { ledger, delta, unknowns, coverage, inventory, checkpoints } = targets;
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
        note(unknown, unknowns, coverage);
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
    for (source, mark) in &header.marks {
        coverage.note_mark(source, mark);
    }
    for (source, place, id, at) in header.returned {
        coverage.note_returned(source, place, id, at);
    }
    for Passed { source, place, operation, first, last } in header.passed {
        coverage.note_passed(source, place, operation, (first, last));
    }
    for (place, change) in header.pipe {
        coverage.note_pipe_change(place, change);
    }
    for (number, answer) in (0u32..).zip(&header.answers) {
        let is_unread = header.unread_uses.binary_search(&number).is_ok();
        take_answer(answer, is_unread, ledger, delta, inventory, coverage);
    }
    for (source, checkpoint) in header.checkpoints {
        checkpoints.note(source, checkpoint);
    }
    Ok(())
}

fn take_answer<T: Trace>(
    answer: &Answer,
    is_unread: bool,
    ledger: &Ledger<T>,
    delta: &mut Delta,
    inventory: &mut Inventory,
    coverage: &mut Coverage,
) {
    match answer {
        Answer::Key(answer) => {
            let ours = ledger.with(answer.key, |state| state.last_use().map(|last| last.rank().time));
            coverage.note_kms_use(answer, ours.flatten(), is_unread);
            if ledger.answer(answer) {
                delta.touch(answer.key);
            }
        }
        Answer::Place(answer) => {
            take_aliases(answer, ledger, delta);
            if let PlaceSaid::Beat { request_id } = answer.said {
                coverage.note_beat(answer.place, request_id, answer.asked_at);
            }
            inventory.note_place(answer);
        }
        Answer::Account(answer) => inventory.note_account(answer),
    }
}

fn take_aliases<T: Trace>(answer: &PlaceAnswer, ledger: &Ledger<T>, delta: &mut Delta) {
    let PlaceSaid::Aliases { set, gone, .. } = &answer.said else { return };
    // A listing has no event id; this one sorts before those of events, so that within one second an event wins.
    let id = || EventId::from("ListAliases");
    for alias in set {
        delta.aliases.insert(ledger.answer_alias(alias, id()));
        delta.touch(alias.key);
    }
    for name in gone {
        delta.aliases.insert(ledger.answer_alias_gone(answer.place, name, answer.asked_at, id()));
    }
    // Behind what it said: it confirms it.
    ledger.aliases().note_listed(answer.place, answer.asked_at);
}

fn note(unknown: &Unknown<'_>, unknowns: &mut Unknowns, coverage: &mut Coverage) {
    match *unknown {
        Unknown::Operation { name, at, holds_back, source, place, ref keys } => {
            unknowns.note_operation(name, at, holds_back);
            if holds_back {
                coverage.note_unknown_call(source, place, keys, name, at);
            }
        }
        Unknown::Unresolved { account, region, name, at } => {
            let region = region.and_then(|region| region.parse().ok());
            unknowns.note_unresolved(account, region, name, at);
        }
    }
}
