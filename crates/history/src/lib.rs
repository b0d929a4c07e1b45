//! Months of a trail, read once: backfill.
//!
//! A new installation knows nothing of what happened before it. A trail's bucket does: every record of every account,
//! Region and day. This crate walks the trail's layout, reads one cell (account, Region, UTC day) after the other, and
//! hands each over as a whole: its counts *replace* what the stream counted of that day, and what the trail's digest
//! files prove about it goes along.
//!
//! It promises:
//!
//! * A cell is handed over once all of its folders were read. A job that ends early has lost the cells that it was
//!   at, and no more: the next one goes on there.
//! * What could not be read is named, and makes the claim smaller: the cell is not whole, its proof has a gap.
//! * Memory is bounded whatever the bucket holds: objects are read as they arrive, with so many at once as configured.
//!
//! Its ceiling: records that a trail delivered more than a day late are in none of the folders of their cell. They are
//! merged as evidence with the cell in whose folder they lie, and counted nowhere.
//!
//! | file | what is there |
//! |---|---|
//! | `request.rs` | what is asked for, and which days can be finished |
//! | `layout.rs` | the places below a prefix, and the objects of a day |
//! | `cell.rs` | one cell while its records are read |
//! | `read.rs` | one object, from the bucket into the cells |
//! | `place.rs` | one place, day by day |
//! | `proof.rs` | what digest files prove |
//! | `finish.rs` | where finished cells go |
//! | `progress.rs` | how far a job is, for people |
//! | `job.rs` | all places at once; starting, stopping and remembering jobs |

mod cell;
mod finish;
mod job;
mod layout;
mod place;
mod progress;
pub mod proof;
mod read;
mod request;
#[cfg(test)]
mod tests;

pub use cell::{BuiltCell, CellBuilder, CellNumbers, KeptObservations};
pub use finish::{Finish, NotFinished};
pub use job::{JobHandle, Jobs, StartError, start};
pub use progress::{JobProgress, JobState, PlaceCovered};
pub use request::{
    BackfillRequest, Day, ParseDayError, RequestError, SETTLING_SECONDS, USUAL_CONCURRENCY, last_day,
};

use dormouse_model::printable;

/// A text for people that quotes what somebody else chose: harmless and not too long.
fn said(text: &str) -> Box<str> {
    const LONGEST: usize = 400;
    let text = printable(text);
    if text.chars().nth(LONGEST).is_none() {
        return text.into();
    }
    let cut: String = text.chars().take(LONGEST).collect();
    format!("{cut}…").into()
}
