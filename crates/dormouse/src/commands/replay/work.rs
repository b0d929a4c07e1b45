//! The work of a replay, spread over threads: whole files, and parts of large ones that hold a record a line.

use std::fs::File;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use dormouse_cloudtrail::files::{
    FileLimits, FileReport, Piece, Problem, Visit, plan_chunks, read_range, visit_records,
};
use dormouse_cloudtrail::{Announced, Bad, BadClass, Decoder, KmsRecord, Outcome, Reason};
use dormouse_ledger::{
    Bounds, Copies, Counting, Entered, Evidence, IdWindow, Identity, Ledger, Mark, Record, Tally, decide,
};
use dormouse_model::{AccountId, EventTime, Observation, is_read_only_name};
use dormouse_sources::files::{InputFile, Place};
use dormouse_store::Unknowns;
use indicatif::ProgressBar;

/// Files from this size on are cut into parts.
const LARGE: u64 = 16 << 20;
/// The size of a part.
const PART: u64 = 8 << 20;
/// How many ARNs that were only tried are kept: files are read on purpose, so more than in a running instance.
const TRIED_KEYS: usize = 1_000_000;
/// Ids are spread over this many windows, so that threads seldom wait for each other.
const WINDOWS: usize = 64;
/// How many problems of one file are told one by one.
pub(super) const MOST_TOLD: usize = 3;

/// What all threads share.
pub(super) struct Replay<'a> {
    decoder: &'a Decoder,
    now: EventTime,
    progress: &'a ProgressBar,
    ledger: Ledger<Evidence>,
    windows: Vec<Mutex<IdWindow>>,
}

/// What the files came to.
pub(super) struct Replayed {
    pub ledger: Ledger<Evidence>,
    pub tally: Tally,
    pub unknowns: Unknowns,
    /// In the order of the inputs.
    pub files: Vec<FileOutcome>,
}

/// What became of one file.
pub(super) struct FileOutcome {
    pub place: Place,
    pub report: FileReport,
    /// The first few problems, with where they are.
    pub problems: Vec<(u64, String)>,
    /// How many problems there were: with these, the file was not read whole.
    pub lost: u64,
    /// The first few records that were read and refused.
    pub refused: Vec<String>,
    /// How many records were read and refused.
    pub refused_count: u64,
}

/// A file, or a part of one.
struct Task {
    file: usize,
    part: Option<(Arc<File>, Range<u64>)>,
}

impl<'a> Replay<'a> {
    pub(super) fn new(
        decoder: &'a Decoder,
        now: EventTime,
        id_window: usize,
        progress: &'a ProgressBar,
    ) -> Self {
        let window = || Mutex::new(IdWindow::new(id_window.div_ceil(WINDOWS)));
        Self {
            decoder,
            now,
            progress,
            ledger: Ledger::new(Bounds { tried_keys: TRIED_KEYS }),
            windows: (0..WINDOWS).map(|_| window()).collect(),
        }
    }

    /// Reads all files with so many threads.
    pub(super) fn run(self, files: Vec<InputFile>, threads: usize) -> Replayed {
        let tasks = plan(&files);
        let next = AtomicUsize::new(0);
        let workers: Vec<Worker<'_>> = std::thread::scope(|scope| {
            let start = || scope.spawn(|| self.work(&files, &tasks, &next));
            let handles: Vec<_> = (0..threads.min(tasks.len().max(1))).map(|_| start()).collect();
            // A panic of a worker is a bug: it goes on to whoever called.
            handles
                .into_iter()
                .map(|handle| handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        let mut outcomes: Vec<FileOutcome> =
            files.into_iter().map(|file| FileOutcome::new(file.place)).collect();
        let (mut tally, mut unknowns) = (Tally::default(), Unknowns::default());
        for worker in workers {
            tally = tally.plus(worker.tally);
            unknowns.merge(worker.unknowns);
            for (file, outcome) in worker.outcomes {
                outcomes[file].add(outcome);
            }
        }
        Replayed { ledger: self.ledger, tally, unknowns, files: outcomes }
    }

    fn work<'s>(&'s self, files: &[InputFile], tasks: &[Task], next: &AtomicUsize) -> Worker<'s> {
        let mut worker = Worker {
            replay: self,
            tally: Tally::default(),
            unknowns: Unknowns::default(),
            marks: Vec::new(),
            last_received: None,
            outcomes: Vec::new(),
        };
        while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
            let place = &files[task.file].place;
            let outcome = worker.read(place, task.part.as_ref());
            worker.outcomes.push((task.file, outcome));
            let size = task.part.as_ref().map(|(_, range)| range.end - range.start);
            self.progress.inc(size.or(files[task.file].size).unwrap_or(0));
        }
        worker
    }

    fn enter(&self, id: Identity, time: EventTime, copies: Copies) -> Entered {
        let window = &self.windows[usize::from(id.to_bytes()[0]) % WINDOWS];
        window.lock().unwrap_or_else(PoisonError::into_inner).enter(id, time, copies)
    }
}

/// Large files with a record a line in parts, all others whole.
fn plan(files: &[InputFile]) -> Vec<Task> {
    let mut tasks = Vec::new();
    for (number, file) in files.iter().enumerate() {
        match parts_of(file) {
            Some((opened, parts)) => {
                let task = |part| Task { file: number, part: Some((Arc::clone(&opened), part)) };
                tasks.extend(parts.into_iter().map(task));
            }
            None => tasks.push(Task { file: number, part: None }),
        }
    }
    tasks
}

fn parts_of(file: &InputFile) -> Option<(Arc<File>, Vec<Range<u64>>)> {
    let size = file.size.filter(|&size| size >= LARGE)?;
    let Place::File(path) = &file.place else {
        return None;
    };
    let opened = File::open(path).ok()?;
    let parts = plan_chunks(&opened, size, PART)?;
    Some((Arc::new(opened), parts))
}

/// One thread's share.
struct Worker<'a> {
    replay: &'a Replay<'a>,
    tally: Tally,
    unknowns: Unknowns,
    marks: Vec<Mark>,
    last_received: Option<AccountId>,
    outcomes: Vec<(usize, Part)>,
}

/// What became of a file or a part of it.
#[derive(Default)]
struct Part {
    report: FileReport,
    problems: Vec<(u64, String)>,
    lost: u64,
    refused: Vec<String>,
    refused_count: u64,
}

/// A thread at one file.
struct Visitor<'w, 'a> {
    worker: &'w mut Worker<'a>,
    outcome: &'w mut Part,
}

impl Visit for Visitor<'_, '_> {
    fn piece(&mut self, piece: Piece<'_>) {
        self.worker.piece(piece, self.outcome);
    }

    fn take_leading(&mut self, text: &[u8], offset: u64) -> usize {
        let Replay { decoder, now, .. } = *self.worker.replay;
        decoder.decode_leading(text, now, &mut |decoded| self.worker.decoded(decoded, offset, self.outcome))
    }
}

impl Worker<'_> {
    fn read(&mut self, place: &Place, part: Option<&(Arc<File>, Range<u64>)>) -> Part {
        let mut outcome = Part::default();
        let limits = FileLimits::default();
        let report = match (part, place) {
            (Some((file, range)), _) => {
                read_range(file, range.clone(), &limits, &mut |piece| self.piece(piece, &mut outcome))
            }
            (None, Place::Stdin) => {
                let mut visitor = Visitor { worker: self, outcome: &mut outcome };
                visit_records(std::io::stdin().lock(), &limits, &mut visitor)
            }
            (None, Place::File(path)) => match File::open(path) {
                Ok(file) => {
                    let mut visitor = Visitor { worker: self, outcome: &mut outcome };
                    visit_records(file, &limits, &mut visitor)
                }
                Err(error) => {
                    outcome.problem(0, format!("cannot be read: {error}"));
                    FileReport::default()
                }
            },
        };
        outcome.report = report;
        outcome
    }

    fn piece(&mut self, piece: Piece<'_>, outcome: &mut Part) {
        match piece {
            Piece::Problem { offset, problem } => {
                let is_a_piece =
                    matches!(problem, Problem::Malformed | Problem::TooLarge(_) | Problem::Truncated);
                self.tally.malformed += u64::from(is_a_piece);
                outcome.problem(offset, problem.to_string());
            }
            Piece::Document { bytes, offset } => {
                let Replay { decoder, now, .. } = *self.replay;
                decoder.decode(bytes, now, &mut |decoded| self.decoded(decoded, offset, outcome));
            }
        }
    }

    fn decoded(&mut self, decoded: Outcome<'_>, offset: u64, outcome: &mut Part) {
        match decoded {
            Outcome::Other | Outcome::Pipe(_) => self.tally.read += 1,
            // Addressed to those who receive messages, of whom a file is none.
            Outcome::Control(_) => {}
            Outcome::Announced(announced) => self.announced(&announced, offset, outcome),
            Outcome::Kms(record) => self.kms(record),
            Outcome::Direct(observation) => {
                self.replay.ledger.apply(observation, Counting::StateOnly);
            }
            Outcome::Bad(bad) => self.bad(&bad, offset, outcome),
        }
    }

    fn kms(&mut self, record: &KmsRecord<'_>) {
        self.tally.read += 1;
        self.tally.kms += 1;
        if record.recipient.is_some() && record.recipient != self.last_received {
            self.last_received = record.recipient;
            record.recipient.map(|account| self.replay.ledger.note_received(account));
        }
        if record.unknown_operation {
            let holds_back = record.succeeded && !is_read_only_name(record.operation);
            self.unknowns.note_operation(record.operation, record.time, holds_back);
        }
        for unresolved in &record.unresolved {
            self.unknowns.note_unresolved(
                unresolved.account,
                unresolved.region,
                unresolved.text,
                record.time,
            );
        }
        self.observations(&record.observations);
    }

    fn observations(&mut self, observations: &[Observation<'_>]) {
        let Self { replay, marks, tally, .. } = self;
        marks.clear();
        marks.extend(observations.iter().map(Mark::of));
        let several = if marks.len() > 1 { Identity::of_record(observations) } else { None };
        let mut place = 0;
        let enter = |id, time, copies| replay.enter(id, time, copies);
        let decision = decide(Record { marks, several, in_history: false }, enter, |mark, counting, _| {
            if counting == Counting::Late {
                tally.late_uncounted.add_one(mark.kind);
            }
            replay.ledger.apply(&observations[place], counting);
            place += 1;
        });
        tally.duplicates += u64::from(decision.duplicate);
    }

    /// What is announced was perhaps never read: it is none of the files that were asked for.
    fn announced(&mut self, announced: &Announced<'_>, offset: u64, outcome: &mut Part) {
        self.tally.malformed += 1;
        let Announced { bucket, key, .. } = announced;
        outcome.problem(offset, format!("announces s3://{bucket}/{key}, which replay does not fetch"));
    }

    fn bad(&mut self, bad: &Bad<'_>, offset: u64, outcome: &mut Part) {
        let event = bad.event_id.map(|id| format!("event {id}: ")).unwrap_or_default();
        let text = format!("{event}{}", bad.reason);
        match bad.class {
            BadClass::Malformed => {
                self.tally.malformed += 1;
                outcome.problem(offset, text);
            }
            BadClass::Quarantined | BadClass::Future { .. } => {
                self.tally.read += 1;
                self.tally.kms += u64::from(bad.is_kms);
                self.tally.quarantined += 1;
                // These two were read well, and are not believed; of the others something could not be read.
                if matches!(bad.reason, Reason::AccountMismatch { .. } | Reason::Future(_)) {
                    outcome.refused(text);
                } else {
                    outcome.problem(offset, text);
                }
            }
        }
    }
}

impl Part {
    fn problem(&mut self, offset: u64, text: String) {
        self.lost += 1;
        if self.problems.len() < MOST_TOLD {
            self.problems.push((offset, text));
        }
    }

    fn refused(&mut self, text: String) {
        self.refused_count += 1;
        if self.refused.len() < MOST_TOLD {
            self.refused.push(text);
        }
    }
}

impl FileOutcome {
    fn new(place: Place) -> Self {
        Self {
            place,
            report: FileReport::default(),
            problems: Vec::new(),
            lost: 0,
            refused: Vec::new(),
            refused_count: 0,
        }
    }

    fn add(&mut self, part: Part) {
        for note in part.report.notes {
            if self.report.notes.iter().all(|known| known.kind != note.kind) {
                self.report.notes.push(note);
            }
        }
        self.lost += part.lost;
        self.problems.extend(part.problems);
        self.problems.sort();
        self.problems.truncate(MOST_TOLD);
        self.refused_count += part.refused_count;
        self.refused.extend(part.refused);
        self.refused.truncate(MOST_TOLD);
    }
}
