//! How far a job is, for people: numbers, an estimate, and problems in words.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use dormouse_ledger::Span;
use dormouse_ledger::coverage::with;
use dormouse_model::{AccountId, Place, Region};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::request::BackfillRequest;
use crate::said;

/// So many problems are told one by one.
const MOST_PROBLEMS: usize = 100;
/// Of so many places it is told what is proven.
const MOST_PLACES: usize = 1_000;

/// Where a job is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// At work.
    #[default]
    Running,
    /// Everything that could be read was; see the problems for what could not.
    Done,
    /// Ended by somebody. What was finished stays finished.
    Cancelled,
    /// Cannot go on: see the last problem.
    Failed,
}

/// How far a job is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobProgress {
    /// The job's number in this process.
    pub id: u64,
    /// What was asked for.
    pub request: BackfillRequest,
    /// Where it is in its life.
    pub state: JobState,
    /// Accounts and Regions that were found; 0 until then.
    pub places: u64,
    /// Cells (one account, Region and day each) by what became of them.
    pub cells: CellCounts,
    /// Log files that were read.
    pub objects: u64,
    /// Digest files that were read.
    pub digests: u64,
    /// Bytes of log files as they lie in the bucket.
    pub bytes_packed: u64,
    /// Bytes of their text.
    pub bytes_unpacked: u64,
    /// Records of any service.
    pub records: u64,
    /// Records of KMS.
    pub kms_records: u64,
    /// Records of KMS that lay in a folder and belong to no cell that was being read: merged as evidence, counted
    /// nowhere.
    pub stragglers: u64,
    /// Observations that were delivered more than once.
    pub duplicates: u64,
    /// Seconds since the job began, until it ended.
    pub elapsed_seconds: f64,
    /// Packed bytes a second, on average.
    pub bytes_per_second: f64,
    /// How long it will go on, if that can be told yet.
    pub estimated_seconds_left: Option<f64>,
    /// How many problems there were.
    pub problem_count: u64,
    /// The first of them, in words.
    pub problems: Vec<Box<str>>,
    /// What is proven of each place by the cells that were finished, in the order of places.
    pub coverage: Vec<PlaceCovered>,
}

/// Cells by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellCounts {
    /// All that were asked for.
    pub total: u64,
    /// Finished by this job.
    pub done: u64,
    /// Finished before.
    pub skipped: u64,
    /// Not finished: there is no log file of them, and nothing proves that there was none.
    pub without_objects: u64,
    /// Not finished: what is there could not be reached. The next job tries again.
    pub unreached: u64,
    /// Finished, with a part missing; among those that are done.
    pub not_whole: u64,
}

/// What is proven of a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceCovered {
    /// The account.
    pub account: AccountId,
    /// The Region.
    pub region: Region,
    /// In order, apart from each other.
    pub covered: Vec<Span>,
}

/// The numbers of a job, written by all its tasks.
pub(crate) struct Meter {
    id: u64,
    request: BackfillRequest,
    began: Instant,
    numbers: Mutex<Numbers>,
}

/// See [`JobProgress`].
#[derive(Default)]
pub(crate) struct Numbers {
    pub state: JobState,
    pub ended: Option<Instant>,
    pub places: u64,
    pub cells: CellCounts,
    pub objects: u64,
    pub digests: u64,
    pub packed: u64,
    pub unpacked: u64,
    pub records: u64,
    pub kms_records: u64,
    pub stragglers: u64,
    pub duplicates: u64,
    /// Listed bytes of the cells that this job has settled, and of those it has listed and not settled.
    pub settled_bytes: u64,
    pub listed_bytes: u64,
    pub listed_cells: u64,
    problem_count: u64,
    problems: Vec<Box<str>>,
    coverage: BTreeMap<Place, Vec<Span>>,
}

impl Meter {
    pub(crate) fn new(id: u64, request: BackfillRequest) -> Self {
        Self { id, request, began: Instant::now(), numbers: Mutex::default() }
    }

    /// Changes the numbers.
    pub(crate) fn note(&self, change: impl FnOnce(&mut Numbers)) {
        change(&mut self.numbers.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Tells a problem.
    pub(crate) fn problem(&self, text: &str) {
        tracing::warn!(job = self.id, "backfill: {}", said(text));
        self.note(|numbers| {
            numbers.problem_count += 1;
            if numbers.problems.len() < MOST_PROBLEMS {
                numbers.problems.push(said(text));
            }
        });
    }

    /// The job has ended.
    pub(crate) fn end(&self, state: JobState) {
        self.note(|numbers| {
            numbers.state = state;
            numbers.ended = Some(Instant::now());
        });
    }

    pub(crate) fn progress(&self) -> JobProgress {
        let numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let now = numbers.ended.unwrap_or_else(Instant::now);
        let elapsed_seconds = now.duration_since(self.began).as_secs_f64();
        let per_second = |amount: f64| if elapsed_seconds > 0.0 { amount / elapsed_seconds } else { 0.0 };
        let covered = |(place, covered): (&Place, &Vec<Span>)| PlaceCovered {
            account: place.account,
            region: place.region,
            covered: covered.clone(),
        };
        JobProgress {
            id: self.id,
            request: self.request.clone(),
            state: numbers.state,
            places: numbers.places,
            cells: numbers.cells,
            objects: numbers.objects,
            digests: numbers.digests,
            bytes_packed: numbers.packed,
            bytes_unpacked: numbers.unpacked,
            records: numbers.records,
            kms_records: numbers.kms_records,
            stragglers: numbers.stragglers,
            duplicates: numbers.duplicates,
            elapsed_seconds,
            bytes_per_second: per_second(amount(numbers.packed)),
            estimated_seconds_left: numbers.seconds_left(elapsed_seconds),
            problem_count: numbers.problem_count,
            problems: numbers.problems.clone(),
            coverage: numbers.coverage.iter().take(MOST_PLACES).map(covered).collect(),
        }
    }
}

impl Numbers {
    /// What a finished cell proves.
    pub(crate) fn cover(&mut self, place: Place, spans: &[Span]) {
        let known = self.coverage.entry(place).or_default();
        *known = spans.iter().fold(std::mem::take(known), |known, &span| with(known, span));
    }

    /// How long the cells that are left take, if they are as large as those that were listed are on average, and their
    /// bytes take as long as those of the settled ones did.
    fn seconds_left(&self, elapsed: f64) -> Option<f64> {
        let CellCounts { total, done, skipped, without_objects, unreached, .. } = self.cells;
        if self.state != JobState::Running {
            return Some(0.0);
        }
        let settled = done + without_objects + unreached;
        let left = total.saturating_sub(skipped + settled);
        if settled == 0 || elapsed <= 0.0 {
            return None;
        }
        if self.settled_bytes == 0 || self.listed_cells == 0 {
            return Some(elapsed * amount(left) / amount(settled));
        }
        let listed_left = self.listed_bytes.saturating_sub(self.settled_bytes);
        let unlisted = left.saturating_sub(self.listed_cells.saturating_sub(settled));
        let average = amount(self.listed_bytes) / amount(self.listed_cells);
        let bytes_left = amount(listed_left) + amount(unlisted) * average;
        Some(elapsed * bytes_left / amount(self.settled_bytes))
    }
}

/// A number near enough for estimates.
#[expect(clippy::cast_precision_loss, reason = "estimates")]
fn amount(number: u64) -> f64 {
    number as f64
}
