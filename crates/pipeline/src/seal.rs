//! Deciding what counts, and putting an epoch together.
//!
//! One task seals, so the id window needs no lock, and a duplicate is always in the epoch of its first copy or a later
//! one: it cannot be acknowledged before it.

use std::sync::Arc;

use dormouse_ledger::{Counting, IdWindow, Record, Tally, decide};
use dormouse_model::EventTime;
use dormouse_sources::{Acknowledge, Receipt};
use dormouse_store::Quarantined;

use crate::epoch::{self, Decided, EpochError, Header, Unknown};
use crate::intake::{Decoded, OwnedUnknown, Poison, RecordMark};
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
}

/// What to tell a source once the epoch is durable. Dropping it gives its bytes back to the budget.
pub(crate) struct Settle {
    acks: Arc<dyn Acknowledge>,
    ack: Vec<Receipt>,
    leave: Vec<Receipt>,
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
    }
}

/// Seals what the batches hold into one epoch. `quarantine_room` is in bytes.
pub(crate) fn seal(
    seq: u64,
    sealed_at: EventTime,
    window: &mut IdWindow,
    batches: Vec<Decoded>,
    quarantine_room: u64,
) -> Result<Sealed, EpochError> {
    let mut decisions = Vec::new();
    let mut header = Header::default();
    let mut observed = Observed::default();
    for batch in &batches {
        let tally = count_batch(batch, window, &mut decisions, &mut header.records, &mut observed);
        header.tally = header.tally.plus(tally);
        observed.sources.push((Arc::clone(&batch.source), tally));
        for account in &batch.received {
            if !header.received.contains(account) {
                header.received.push(*account);
            }
        }
        header.unknowns.extend(batch.unknowns.iter().map(borrow_unknown));
    }
    header.floor = window.floor();
    header.decisions = &decisions;
    let observations: Vec<&[u8]> = batches.iter().map(|batch| &*batch.observations).collect();
    let body = epoch::encode(&header, &observations)?;
    let mut sealed = Sealed {
        seq,
        sealed_at,
        body,
        observed,
        quarantine: Vec::new(),
        released: Vec::new(),
        settle: Vec::new(),
    };
    let mut room = quarantine_room;
    for batch in batches {
        sealed.take(batch, &mut room);
    }
    Ok(sealed)
}

impl Sealed {
    /// Takes over what is left of a batch when its observations are encoded.
    fn take(&mut self, batch: Decoded, room: &mut u64) {
        let mut settle =
            Settle { acks: batch.acks, ack: batch.receipts, leave: Vec::new(), _in_flight: batch._in_flight };
        if let Some(id) = batch.retried
            && batch.poison.is_empty()
        {
            self.released.push(id);
        }
        for Poison { message, receipt, leave } in batch.poison {
            let bytes = message.body.len() as u64;
            let fits = bytes <= *room || batch.retried.is_some();
            if leave || !fits {
                settle.leave.extend(receipt);
                if !fits {
                    tracing::warn!(
                        reason = message.reason,
                        source = message.source,
                        "the quarantine is full: the message is left to the queue's redrive policy; \
                         inspect the quarantine or raise store.quarantine_bytes"
                    );
                }
                continue;
            }
            *room -= bytes.min(*room);
            settle.ack.extend(receipt);
            self.quarantine.push(message);
        }
        self.settle.push(settle);
    }
}

/// Decides what of a batch counts, and returns what became of its records.
fn count_batch(
    batch: &Decoded,
    window: &mut IdWindow,
    decisions: &mut Vec<u8>,
    remembered: &mut Vec<([u8; 16], EventTime)>,
    observed: &mut Observed,
) -> Tally {
    let mut tally = batch.tally;
    let mut marks = &*batch.marks;
    for &RecordMark { observations, several } in &batch.records {
        let (of_record, rest) = marks.split_at(observations.min(marks.len()));
        marks = rest;
        let record = Record { marks: of_record, several };
        let enter = |id, time, copies| window.enter(id, time, copies);
        let decision = decide(record, enter, |mark, counting, entered| {
            match counting {
                Counting::Counted if mark.foreign => observed.second_copies.add_one(mark.kind),
                Counting::Counted => observed.counted.add_one(mark.kind),
                Counting::Late => {
                    tally.late_uncounted.add_one(mark.kind);
                    observed.late.add_one(mark.kind);
                }
                Counting::Duplicate | Counting::StateOnly => {}
            }
            observed.times.push(mark.time);
            decisions.push(Decided { counting, entered }.to_byte());
        });
        tally.duplicates += u64::from(decision.duplicate);
        remembered.extend(decision.entered.map(|(id, time, _)| (id.to_bytes(), time)));
    }
    tally
}

fn borrow_unknown(unknown: &OwnedUnknown) -> Unknown<'_> {
    match unknown {
        OwnedUnknown::Operation { name, at, holds_back } => {
            Unknown::Operation { name, at: *at, holds_back: *holds_back }
        }
        OwnedUnknown::Unresolved { account, region, name, at } => {
            Unknown::Unresolved { account: *account, region: *region, name, at: *at }
        }
    }
}
