//! Deciding, record by record, what counts: the same way wherever ids are kept.

use dormouse_model::{EventTime, Kind, Observation};

use crate::{Counting, Entered, Identity, Seen};

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
}

/// What was decided about a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// A record of the same id with exactly the same observations was seen before.
    pub duplicate: bool,
    /// The identity of the record was entered beside those of its observations, and has to be remembered like them.
    pub entered: Option<(Identity, EventTime)>,
}

/// Decides about a record. `enter` enters an id where ids are kept; `each` is told about every observation, in order.
pub fn decide(
    record: Record<'_>,
    mut enter: impl FnMut(Identity, EventTime, bool) -> Entered,
    mut each: impl FnMut(&Mark, Counting),
) -> Decision {
    let mut decision = Decision { duplicate: false, entered: None };
    if let (Some(id), Some(first)) = (record.several, record.marks.first()) {
        let entered = enter(id, first.time, false);
        decision.duplicate = entered.any_copy_before;
        decision.entered = (entered.seen == Seen::New).then_some((id, first.time));
    }
    for mark in record.marks {
        if !mark.counted {
            each(mark, Counting::StateOnly);
            continue;
        }
        let entered = enter(mark.id, mark.time, mark.foreign);
        if record.several.is_none() {
            decision.duplicate = entered.any_copy_before;
        }
        let counting = match entered.seen {
            Seen::New => Counting::Counted,
            Seen::Before => Counting::Duplicate,
            Seen::TooOld => Counting::Late,
        };
        each(mark, counting);
    }
    decision
}
