//! One place, day by day.
//!
//! The log files of a folder hold the records of its day and the last ones of the day before. So folders are read in
//! their order, each once, with two cells open; when a folder was read, the cell of the day before it is finished. All
//! objects of a folder are read at once, as far as the job's bound allows, so that a single large account uses all of
//! it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use dormouse_cloudtrail::TrailKeyKind;
use dormouse_ledger::{CellHistory, Gap};
use dormouse_model::{Cell, Place};
use dormouse_pipeline::CellEvidence;
use dormouse_sources::objects::{ListedObject, ObjectFailure};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use crate::cell::CellBuilder;
use crate::finish::{Finish, NotFinished};
use crate::layout::Days;
use crate::progress::Meter;
use crate::proof::{DayOfPlace, ReadFiles, SeenDigest, UnreadDigest, prove};
use crate::read::{DigestOutcome, LogOutcome, OpenCells, Reading, lock};
use crate::request::Day;

/// So many digests lie in a folder at most: one an hour for each of a few trails.
const MOST_DIGESTS: usize = 1_000;

/// What all places of a job need.
pub(crate) struct Work<F> {
    pub reading: Reading,
    pub finish: F,
    pub meter: Meter,
    /// One for each object that may be read at the same time.
    pub permits: Arc<Semaphore>,
    pub concurrency: usize,
    /// Ids that one cell may remember.
    pub most_ids: usize,
}

/// Why a place ended early.
pub(crate) enum Ended {
    /// Somebody cancelled the job.
    Cancelled,
    /// The job cannot go on.
    Failed(Box<str>),
}

/// What one folder held.
#[derive(Default)]
struct Folder {
    files: ReadFiles,
    digests: Vec<SeenDigest>,
    unread: Vec<UnreadDigest>,
    /// Records of KMS by day.
    days: std::collections::BTreeMap<u32, u64>,
    not_understood: Vec<Gap>,
    logs: usize,
    bytes: u64,
    is_unreached: bool,
}

/// A cell that is being built.
type Open = Arc<Mutex<CellBuilder>>;

/// A cell on its way to the journal.
type Submitting = JoinHandle<Result<(), NotFinished>>;

/// One place at work.
struct Walk<F> {
    work: Arc<Work<F>>,
    place: Place,
    logs: Vec<Days>,
    digests: Vec<Days>,
    submitting: Option<(Submitting, Submitted)>,
}

/// What to tell of a cell once it is durable.
struct Submitted {
    covered: Vec<dormouse_ledger::Span>,
    whole: bool,
    place: Place,
    bytes: u64,
    duplicates: u64,
}

/// Reads these days of a place, which are in order.
pub(crate) async fn work_through<F: Finish>(
    work: Arc<Work<F>>,
    place: Place,
    roots: Vec<String>,
    days: Vec<u32>,
) -> Result<(), Ended> {
    let lists = |kind| {
        let list = |root: &String| Days::new(work.reading.bucket.clone(), root, place, kind);
        roots.iter().map(list).collect::<Vec<_>>()
    };
    let (logs, digests) = (lists(TrailKeyKind::Log), lists(TrailKeyKind::Digest));
    let mut walk = Walk { work, place, logs, digests, submitting: None };
    let walked = walk.days(&days).await;
    // What is on its way is finished also when the job ends early.
    walk.await_submitted().await.and(walked)
}

impl<F: Finish> Walk<F> {
    async fn days(&mut self, days: &[u32]) -> Result<(), Ended> {
        let folders: BTreeSet<u32> = days.iter().flat_map(|&day| [day, day + 1]).collect();
        let mut settled = 0;
        let mut before: Option<(Open, Folder)> = None;
        for folder_day in folders {
            let own = days.binary_search(&folder_day).is_ok().then(|| self.open(folder_day));
            let open = OpenCells {
                place: self.place,
                passed_over: own.is_none().then_some(folder_day),
                cells: own.iter().chain(before.iter().map(|(cell, _)| cell)).map(with_cell).collect(),
            };
            let folder = match self.read_folder(folder_day, &open).await {
                Ok(folder) => folder,
                Err(FolderError::Ended(ended)) => return Err(ended),
                Err(FolderError::Failure(failure)) => {
                    let left = days.len() - settled;
                    return self.give_up(folder_day, left, &failure);
                }
            };
            drop(open);
            if let Some((cell, folder_before)) = before.take() {
                self.finish(cell, &folder_before, &folder).await?;
                settled += 1;
            }
            before = own.map(|cell| (cell, folder));
        }
        Ok(())
    }

    fn open(&self, day: u32) -> Arc<Mutex<CellBuilder>> {
        let cell = Cell { place: self.place, day };
        Arc::new(Mutex::new(CellBuilder::new(cell, self.work.most_ids)))
    }

    /// The place's keys cannot be listed: its days are left to another job.
    fn give_up(&self, day: u32, left: usize, failure: &ObjectFailure) -> Result<(), Ended> {
        let Place { account, region } = self.place;
        let text = format!("{account} {region} {}: {failure}", Day::from_number(day));
        if matches!(failure, ObjectFailure::NotABucket(_)) {
            return Err(Ended::Failed(text.into()));
        }
        self.work.meter.problem(&text);
        self.work.meter.note(|numbers| numbers.cells.unreached += u64::try_from(left).unwrap_or(0));
        Ok(())
    }

    async fn read_folder(&mut self, day: u32, open: &OpenCells) -> Result<Folder, FolderError> {
        let cancel = self.work.reading.cancel.clone();
        let listed = tokio::select! {
            () = cancel.cancelled() => return Err(FolderError::Ended(Ended::Cancelled)),
            listed = self.list_folder(day) => listed,
        };
        let (logs, mut digests) = listed.map_err(FolderError::Failure)?;
        let mut folder = Folder { logs: logs.len(), ..Folder::default() };
        folder.bytes = logs.iter().map(|object| object.size).sum();
        if digests.len() > MOST_DIGESTS {
            digests.truncate(MOST_DIGESTS);
            self.problem(day, "there are more digest files than any trail writes; some are not read");
        }
        self.read_digests(digests, &mut folder).await.map_err(FolderError::Ended)?;
        self.read_logs(logs, open, &mut folder).await.map_err(FolderError::Ended)?;
        Ok(folder)
    }

    async fn list_folder(
        &mut self,
        day: u32,
    ) -> Result<(Vec<ListedObject>, Vec<ListedObject>), ObjectFailure> {
        let (mut logs, mut digests) = (Vec::new(), Vec::new());
        for days in &mut self.logs {
            logs.extend(days.of(day).await?);
        }
        for days in &mut self.digests {
            digests.extend(days.of(day).await?);
        }
        Ok((logs, digests))
    }

    async fn read_logs(
        &self,
        objects: Vec<ListedObject>,
        open: &OpenCells,
        folder: &mut Folder,
    ) -> Result<(), Ended> {
        let mut reads = JoinSet::new();
        let mut objects = objects.into_iter();
        loop {
            while reads.len() < self.work.concurrency
                && let Some(object) = objects.next()
            {
                let (work, open) = (Arc::clone(&self.work), open.clone());
                reads.spawn(async move {
                    let _permit = Arc::clone(&work.permits).acquire_owned().await.ok()?;
                    work.reading.log(&object, &open).await
                });
            }
            match reads.join_next().await {
                None => return Ok(()),
                Some(Ok(Some(outcome))) => self.note_log(outcome, folder),
                Some(Ok(None)) => return Err(Ended::Cancelled),
                Some(Err(error)) => return Err(Ended::Failed(error.to_string().into())),
            }
        }
    }

    fn note_log(&self, outcome: LogOutcome, folder: &mut Folder) {
        if let Some(problem) = &outcome.file.problem {
            self.work.meter.problem(&format!("{}: {problem}", outcome.object));
        }
        self.work.meter.note(|numbers| {
            numbers.objects += 1;
            numbers.packed += outcome.packed;
            numbers.unpacked += outcome.unpacked;
            numbers.records += outcome.records;
            numbers.kms_records += outcome.kms;
            numbers.stragglers += outcome.elsewhere;
        });
        for (day, records) in outcome.days {
            *folder.days.entry(day).or_default() += records;
        }
        folder.not_understood.extend(outcome.not_understood);
        folder.is_unreached |= outcome.is_unreached;
        folder.files.insert(outcome.object, outcome.file);
    }

    async fn read_digests(&self, objects: Vec<ListedObject>, folder: &mut Folder) -> Result<(), Ended> {
        let mut reads = JoinSet::new();
        let mut objects = objects.into_iter();
        loop {
            while reads.len() < self.work.concurrency
                && let Some(object) = objects.next()
            {
                let (work, place) = (Arc::clone(&self.work), self.place);
                reads.spawn(async move {
                    let _permit = Arc::clone(&work.permits).acquire_owned().await.ok()?;
                    work.reading.digest(&object, place).await
                });
            }
            let read = match reads.join_next().await {
                None => return Ok(()),
                Some(Ok(Some(read))) => read,
                Some(Ok(None)) => return Err(Ended::Cancelled),
                Some(Err(error)) => return Err(Ended::Failed(error.to_string().into())),
            };
            self.work.meter.note(|numbers| numbers.digests += 1);
            match read {
                DigestOutcome::Seen(digest) => folder.digests.push(*digest),
                DigestOutcome::Unread(unread) => {
                    self.work.meter.problem(&format!("{}: {}", unread.object, unread.reason));
                    folder.unread.push(unread);
                }
            }
        }
    }

    fn problem(&self, day: u32, text: &str) {
        let Place { account, region } = self.place;
        self.work.meter.problem(&format!("{account} {region} {}: {text}", Day::from_number(day)));
    }

    /// Finishes the cell of a day whose own folder and the next one were read.
    async fn finish(
        &mut self,
        cell: Arc<Mutex<CellBuilder>>,
        own: &Folder,
        next: &Folder,
    ) -> Result<(), Ended> {
        let empty = CellBuilder::new(lock(&cell).cell(), 1);
        let built = std::mem::replace(&mut *lock(&cell), empty).finish();
        let (cell, numbers) = (built.cell, built.numbers);
        let both = Folder::of_both(own, next);
        self.work.meter.note(|numbers| {
            numbers.listed_cells += 1;
            numbers.listed_bytes += own.bytes;
        });
        let settle = |meter: &Meter, count: fn(&mut crate::progress::CellCounts) -> &mut u64| {
            meter.note(|numbers| {
                *count(&mut numbers.cells) += 1;
                numbers.settled_bytes += own.bytes;
            });
        };
        if own.is_unreached || next.is_unreached {
            self.problem(
                cell.day,
                "some of its objects could not be reached: the day is left to another job",
            );
            settle(&self.work.meter, |cells| &mut cells.unreached);
            return Ok(());
        }
        let proof = prove(DayOfPlace {
            cell,
            digests: &both.digests,
            unread: &both.unread,
            files: &both.files,
            not_understood: &both.not_understood,
        });
        if own.logs + next.logs == 0 && !proof.is_all_delivered {
            self.problem(cell.day, "no objects, and no digests that prove that there were none");
            settle(&self.work.meter, |cells| &mut cells.without_objects);
            return Ok(());
        }
        if numbers.late > 0 {
            let text =
                format!("{} observations came too late to tell whether they were counted", numbers.late);
            self.problem(cell.day, &text);
        }
        if numbers.unattributed > 0 {
            let text = format!("{} attempts on ARNs for which there was no room", numbers.unattributed);
            self.problem(cell.day, &text);
        }
        if numbers.changes_dropped > 0 {
            let text = format!("{} changes for which there was no room", numbers.changes_dropped);
            self.problem(cell.day, &text);
        }
        let has_problem = both.files.values().any(|file| file.problem.is_some());
        let is_exact = numbers.late == 0 && numbers.unattributed == 0;
        let whole = !has_problem && !proof.is_lacking && is_exact;
        let mut evidence = CellEvidence::default();
        for observation in built.evidence.iter() {
            evidence.add(&observation).map_err(|error| Ended::Failed(error.to_string().into()))?;
        }
        let records = [own, next].iter().filter_map(|folder| folder.days.get(&cell.day)).sum();
        let has_read_only = both.files.values().any(|file| file.read_only_days.contains(&cell.day));
        let submitted = Submitted {
            covered: proof.covered.clone(),
            whole,
            place: self.place,
            bytes: own.bytes,
            duplicates: numbers.duplicates,
        };
        let history = CellHistory {
            cell,
            whole,
            records,
            read_only: has_read_only,
            covered: proof.covered,
            gaps: proof.gaps,
            keys: built.keys,
        };
        self.await_submitted().await?;
        let work = Arc::clone(&self.work);
        let submitting = tokio::spawn(async move { work.finish.submit(history, evidence).await });
        self.submitting = Some((submitting, submitted));
        Ok(())
    }

    /// Waits until the cell that is on its way is durable: cells of a place become so in the order of their days.
    async fn await_submitted(&mut self) -> Result<(), Ended> {
        let Some((submitting, submitted)) = self.submitting.take() else { return Ok(()) };
        match submitting.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(Ended::Failed(error.to_string().into())),
            Err(error) => return Err(Ended::Failed(error.to_string().into())),
        }
        self.work.meter.note(|numbers| {
            numbers.cells.done += 1;
            numbers.cells.not_whole += u64::from(!submitted.whole);
            numbers.settled_bytes += submitted.bytes;
            numbers.duplicates += submitted.duplicates;
            numbers.cover(submitted.place, &submitted.covered);
        });
        Ok(())
    }
}

enum FolderError {
    Ended(Ended),
    Failure(ObjectFailure),
}

fn with_cell(builder: &Arc<Mutex<CellBuilder>>) -> (Cell, Arc<Mutex<CellBuilder>>) {
    (lock(builder).cell(), Arc::clone(builder))
}

impl Folder {
    /// What a proof needs of both.
    fn of_both(own: &Self, next: &Self) -> Self {
        let mut both = Self {
            files: own.files.clone(),
            digests: own.digests.clone(),
            unread: own.unread.clone(),
            not_understood: own.not_understood.clone(),
            ..Self::default()
        };
        both.files.extend(next.files.iter().map(|(object, file)| (object.clone(), file.clone())));
        both.digests.extend(next.digests.iter().cloned());
        both.unread.extend(next.unread.iter().cloned());
        both.not_understood.extend(next.not_understood.iter().cloned());
        both
    }
}
