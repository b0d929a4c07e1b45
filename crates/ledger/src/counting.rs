//! Deciding, record by record, what counts: the same way wherever ids are kept.

use dormouse_model::{EventTime, Kind, Observation};

use crate::{Copies, Counting, Entered, Identity};

/// What counting needs to know of an observation.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// Its identity.
    pub id: Identity,
    /// The event's time.
    pub time: EventTime,
    /// Use, attempt or change.
    pub kind: Kind,
    /// It is a second copy, logged in the caller's account.
    pub foreign: bool,
    /// It takes part in counting.
    pub counted: bool,
}

impl Mark {
    /// The mark of an observation.
    pub fn of(observation: &Observation<'_>) -> Self {
        Self {
            id: Identity::of(observation),
            time: observation.time,
            kind: observation.kind,
            foreign: observation.is_foreign_copy(),
            counted: observation.counted,
        }
    }
}

/// The marks of all observations of one record.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// One for each observation.
    pub marks: &'a [Mark],
    /// The identity of the record, if it has several observations.
    pub several: Option<Identity>,
    /// The history of its day was read: it counts there.
    pub in_history: bool,
}

/// An id that was entered, and has to be remembered after a restart.
pub type Remembered = (Identity, EventTime, Copies);

/// What was decided about a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// A record of the same id with exactly the same observations was seen before.
    pub duplicate: bool,
    /// The identity of a record with several observations, if it was entered.
    pub entered: Option<Remembered>,
}

/// Decides about a record. `enter` enters an id where ids are kept; `each` is told about every observation, in order, with
/// the copies in which its id was entered now.
pub fn decide(
    record: Record<'_>,
    mut enter: impl FnMut(Identity, EventTime, Copies) -> Entered,
    mut each: impl FnMut(&Mark, Counting, Copies),
) -> Decision {
    let mut decision = Decision { duplicate: false, entered: None };
    if record.in_history {
        for mark in record.marks {
            let counting = if mark.counted { Counting::History } else { Counting::StateOnly };
            each(mark, counting, Copies::NONE);
        }
        return decision;
    }
    if let (Some(id), Some(first)) = (record.several, record.marks.first())
        && let Entered::Before(before) = enter(id, first.time, Copies::RECORD)
    {
        decision.duplicate = before.has(Copies::RECORD);
        decision.entered = (!decision.duplicate).then_some((id, first.time, Copies::RECORD));
    }
    for mark in record.marks {
        if !mark.counted {
            each(mark, Counting::StateOnly, Copies::NONE);
            continue;
        }
        let copy = Copies::of(mark.foreign);
        // The only observation of a record has the record's identity.
        let copies = if record.several.is_none() { copy.and(Copies::RECORD) } else { copy };
        match enter(mark.id, mark.time, copies) {
            Entered::TooOld => each(mark, Counting::Late, Copies::NONE),
            Entered::Before(before) => {
                let counting = if before.has(copy) { Counting::Duplicate } else { Counting::Counted };
                decision.duplicate |= record.several.is_none() && before.has(Copies::RECORD);
                each(mark, counting, copies.without(before));
            }
        }
    }
    decision
}
