//! Deciding what counts, and putting an epoch together.
//!
//! One task seals, so the id window needs no lock, and a duplicate is always in the epoch of its first copy or a later
//! one: it cannot be acknowledged before it.

use std::sync::Arc;

use dormouse_ledger::{
    CellHistory, CellShift, Counting, Coverage, FinishedCells, IdWindow, Record, Tally, decide,
};
use dormouse_model::{Answer, Cell, EventTime, Place, PlaceAnswer, PlaceSaid};
use dormouse_sources::{Acknowledge, Receipt};
use dormouse_store::{CellCounts, Quarantined};

use crate::epoch::{self, Decided, EpochError, Header, Passed, Unknown};
use crate::intake::{Decoded, OwnedUnknown, PassedCalls, Poison, RecordMark};
use crate::metrics::Observed;

/// An epoch, ready to be committed, and whom to tell when it is.
pub(crate) struct Sealed {
    pub seq: u64,
    pub sealed_at: EventTime,
    pub body: Vec<u8>,
    /// What the body holds.
    pub observed: Observed,
    pub quarantine: Vec<Quarantined>,
    pub released: Vec<i64>,
    pub settle: Vec<Settle>,
    /// Where all aliases were listed: what waits for them is to be tried again.
    pub aliases: Vec<Place>,
}

/// What to tell a source once the epoch is durable. Dropping it gives its bytes back to the budget.
pub(crate) struct Settle {
    acks: Arc<dyn Acknowledge>,
    ack: Vec<Receipt>,
    leave: Vec<Receipt>,
    settled: Option<tokio::sync::oneshot::Sender<()>>,
    _in_flight: Option<tokio::sync::OwnedSemaphorePermit>,
}

impl Settle {
    pub(crate) fn tell(self) {
        if !self.ack.is_empty() {
            self.acks.ack(self.ack);
        }
        if !self.leave.is_empty() {
            self.acks.leave(self.leave);
        }
        if let Some(settled) = self.settled {
            // Who waited may have gone.
            let _ = settled.send(());
        }
    }
}

/// Seals what the batches hold into one epoch. `quarantine_room` is in bytes.
pub(crate) fn seal(
    seq: u64,
    sealed_at: EventTime,
    window: &mut IdWindow,
    coverage: &Coverage,
    batches: Vec<Decoded>,
    quarantine_room: u64,
) -> Result<Sealed, EpochError> {
    let mut decisions = Vec::new();
    let mut header = Header::default();
    let mut observed = Observed::default();
    let mut room = quarantine_room;
    for batch in &batches {
        note_source(batch, &mut room, &mut header);
        note_returned(batch, coverage, &mut header);
        let tally = count_batch(
            batch,
            window,
            coverage.finished(),
            &mut decisions,
            &mut header.records,
            &mut observed,
        );
        header.tally = header.tally.plus(tally);
        observed.sources.push((Arc::clone(&batch.source), tally));
        for &(control, count) in &batch.controls {
            observed.controls.push((Arc::clone(&batch.source), control, count));
        }
        for account in &batch.received {
            if !header.received.contains(account) {
                header.received.push(*account);
            }
        }
        header.unknowns.extend(batch.unknowns.iter().map(|unknown| borrow_unknown(unknown, &batch.source)));
    }
    header.floor = window.floor();
    header.decisions = &decisions;
    let observations: Vec<&[u8]> = batches.iter().map(|batch| &*batch.observations).collect();
    let body = epoch::encode(&header, &observations)?;
    let mut sealed = Sealed { observed, ..Sealed::without_batches(seq, sealed_at, body) };
    let mut room = quarantine_room;
    for batch in batches {
        sealed.take(batch, &mut room);
    }
    Ok(sealed)
}

impl Sealed {
    /// An epoch of which no source has to be told.
    fn without_batches(seq: u64, sealed_at: EventTime, body: Vec<u8>) -> Self {
        Self {
            seq,
            sealed_at,
            body,
            observed: Observed::default(),
            quarantine: Vec::new(),
            released: Vec::new(),
            settle: Vec::new(),
            aliases: Vec::new(),
        }
    }

    /// Takes over what is left of a batch when its observations are encoded.
    fn take(&mut self, batch: Decoded, room: &mut u64) {
        let mut settle = Settle {
            acks: batch.acks,
            ack: batch.receipts,
            leave: Vec::new(),
            settled: batch.settled,
            _in_flight: batch._in_flight,
        };
        let mut stays = false;
        for poison in batch.poison {
            let bytes = poison.bytes();
            let fits = bytes <= *room || is_kept_already(batch.retried, &poison);
            let Poison { messages, receipt, leave, is_whole } = poison;
            if leave || !fits {
                stays = true;
                settle.leave.extend(receipt);
                if !fits {
                    tracing::warn!(
                        reason = messages.first().map(|message| &*message.reason),
                        source = &*batch.source,
                        "the quarantine is full: the message is left to the queue's redrive policy; \
                         inspect the quarantine or raise store.quarantine_bytes"
                    );
                }
                continue;
            }
            *room -= bytes.min(*room);
            stays |= is_whole;
            settle.ack.extend(receipt);
            self.quarantine.extend(messages);
        }
        self.released.extend(batch.retried.filter(|_| !stays));
        self.settle.push(settle);
    }
}

/// Whether this is the message of the quarantine that was tried again, which has its room.
fn is_kept_already(retried: Option<i64>, poison: &Poison) -> bool {
    retried.is_some() && poison.is_whole
}

/// What a batch says of its source. A source that has to read something again does not move on.
fn note_source<'a>(batch: &'a Decoded, room: &mut u64, header: &mut Header<'a>) {
    let source = &*batch.source;
    let mut is_left = false;
    for poison in &batch.poison {
        let bytes = poison.bytes();
        if poison.leave || bytes > *room && !is_kept_already(batch.retried, poison) {
            is_left = true;
        } else {
            *room -= bytes.min(*room);
        }
    }
    if let Some(checkpoint) = batch.checkpoint.as_ref().filter(|_| !is_left) {
        header.checkpoints.push((source, checkpoint.clone()));
    }
    header.marks.extend(batch.mark.iter().map(|mark| (source, mark.clone())));
    for &(place, seen) in &batch.seen {
        match header.seen.iter_mut().find(|(name, known, _)| *name == source && *known == place) {
            Some((_, _, before)) => *before = before.plus(seen),
            None => header.seen.push((source, place, seen)),
        }
    }
    header.pipe.extend(batch.pipe.iter().cloned());
}

/// So many `ListKeys` calls of others from one place are journaled in one epoch. One of ours may be among them whose
/// sending is journaled later.
const MOST_STRANGERS: usize = 8;

/// What came back of what was sent, and which operations passed.
fn note_returned<'a>(batch: &'a Decoded, coverage: &Coverage, header: &mut Header<'a>) {
    let source = &*batch.source;
    for &(place, id, at) in &batch.returned {
        let here = header.returned.iter().filter(|(_, known, _, _)| *known == place);
        if coverage.expects(place, &id) || here.count() < MOST_STRANGERS {
            header.returned.push((source, place, id, at));
        }
    }
    for PassedCalls { place, operation, first, last } in &batch.passed {
        let is_same = |known: &&mut Passed<'_>| {
            known.source == source && known.place == *place && *known.operation == **operation
        };
        match header.passed.iter_mut().find(is_same) {
            Some(known) => {
                known.first = known.first.min(*first);
                known.last = known.last.max(*last);
            }
            None => {
                header.passed.push(Passed { source, place: *place, operation, first: *first, last: *last });
            }
        }
    }
}

/// Cells whose history was read, with the evidence of what happened in them.
pub(crate) struct History {
    pub cells: Vec<CellHistory>,
    /// Encoded, one after the other.
    pub evidence: Vec<u8>,
    pub observations: usize,
}

/// Seals cells. `before` says what was counted of a cell until now; no cell may be among them twice.
pub(crate) fn seal_history<E: From<EpochError>>(
    seq: u64,
    sealed_at: EventTime,
    floor: EventTime,
    history: History,
    mut before: impl FnMut(Cell) -> Result<CellCounts, E>,
) -> Result<Sealed, E> {
    let decision = Decided { counting: Counting::History, entered: dormouse_ledger::Copies::NONE }.to_byte();
    let decisions = vec![decision; history.observations];
    let mut header = Header { floor, decisions: &decisions, ..Header::default() };
    for cell in history.cells {
        if !header.received.contains(&cell.cell.place.account) && cell.records > 0 {
            header.received.push(cell.cell.place.account);
        }
        let before = before(cell.cell)?;
        header.cells.push(CellShift::new(cell, before));
    }
    let body = epoch::encode(&header, &[&history.evidence])?;
    Ok(Sealed::without_batches(seq, sealed_at, body))
}

/// Seals what AWS said when it was asked.
pub(crate) fn seal_answers(
    seq: u64,
    sealed_at: EventTime,
    floor: EventTime,
    coverage: &Coverage,
    answers: Vec<Answer>,
) -> Result<Sealed, EpochError> {
    // What the quarantine holds now it may not hold when the journal is read again.
    let is_unread = |answer: &Answer| matches!(answer, Answer::Key(answer) if coverage.may_be_unread(answer));
    let unread = (0u32..).zip(&answers).filter(|(_, answer)| is_unread(answer));
    let unread_uses = unread.map(|(number, _)| number).collect();
    let header = Header { floor, answers, unread_uses, ..Header::default() };
    let body = epoch::encode(&header, &[])?;
    // A list in which nothing is new confirms what was known.
    let aliases = header.answers.iter().filter_map(|answer| match answer {
        Answer::Place(PlaceAnswer { place, said: PlaceSaid::Aliases { .. }, .. }) => Some(*place),
        _ => None,
    });
    let aliases = aliases.collect();
    Ok(Sealed { aliases, ..Sealed::without_batches(seq, sealed_at, body) })
}

/// Decides what of a batch counts, and returns what became of its records.
fn count_batch(
    batch: &Decoded,
    window: &mut IdWindow,
    finished: &FinishedCells,
    decisions: &mut Vec<u8>,
    remembered: &mut Vec<([u8; 16], EventTime)>,
    observed: &mut Observed,
) -> Tally {
    let mut tally = batch.tally;
    let mut marks = &*batch.marks;
    for &RecordMark { observations, several, place } in &batch.records {
        let (of_record, rest) = marks.split_at(observations.min(marks.len()));
        marks = rest;
        let day = of_record.first().map_or(0, |mark| mark.time.day());
        let in_history = place.is_some_and(|place| finished.has(Cell { place, day }));
        let record = Record { marks: of_record, several, in_history };
        let enter = |id, time, copies| window.enter(id, time, copies);
        let decision = decide(record, enter, |mark, counting, entered| {
            match counting {
                Counting::Counted if mark.foreign => observed.second_copies.add_one(mark.kind),
                Counting::Counted => observed.counted.add_one(mark.kind),
                Counting::Late => {
                    tally.late_uncounted.add_one(mark.kind);
                    observed.late.add_one(mark.kind);
                }
                Counting::Duplicate | Counting::StateOnly | Counting::History => {}
            }
            observed.times.push(mark.time);
            decisions.push(Decided { counting, entered }.to_byte());
        });
        tally.duplicates += u64::from(decision.duplicate);
        remembered.extend(decision.entered.map(|(id, time, _)| (id.to_bytes(), time)));
    }
    tally
}

fn borrow_unknown<'a>(unknown: &'a OwnedUnknown, source: &'a str) -> Unknown<'a> {
    match unknown {
        OwnedUnknown::Operation { name, at, holds_back, place, keys } => Unknown::Operation {
            name,
            at: *at,
            holds_back: *holds_back,
            source,
            place: *place,
            keys: keys.clone(),
        },
        OwnedUnknown::Unresolved { account, region, name, at } => {
            Unknown::Unresolved { account: *account, region: *region, name, at: *at }
        }
    }
}
