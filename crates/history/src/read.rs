//! One object, from the bucket into the cells.
//!
//! Fetching is a task's work, unpacking and decoding a thread's. A log file's records go to the cells as they come; of a
//! digest what the proof needs is kept. What fails in passing is tried again from the beginning: records that were read
//! before are known by their ids.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use dormouse_aws::Backoff;
use dormouse_cloudtrail::files::{FileLimits, Piece, Visit, visit_records};
use dormouse_cloudtrail::{Decoder, Digest, KmsRecord, Outcome, PipeRecord, TrailKey, gzip};
use dormouse_ledger::Gap;
use dormouse_model::{Cell, EventTime, Kind, Place, is_read_only_name};
use dormouse_sources::objects::{ListedObject, ObjectFailure, ObjectName, ObjectReader};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use crate::cell::{CellBuilder, cell_of};
use crate::layout::{BACKOFF, Bucket, TRIES, from_root};
use crate::proof::{ListedFile, ReadFile, SeenDigest, UnreadDigest};
use crate::said;

/// The largest digest that is read, packed and unpacked.
const LARGEST_DIGEST: usize = 32 << 20;
/// So many instants of one object are told at which something was not understood.
const MOST_INSTANTS: usize = 100;
/// A log file's events are of a few days at most; of the others the numbers are not kept apart.
const MOST_DAYS: usize = 16;

/// The cells that one folder's records go to.
#[derive(Clone)]
pub(crate) struct OpenCells {
    pub place: Place,
    /// Of the folder's own day, if that is asked for; and of the day before.
    pub cells: Vec<(Cell, Arc<Mutex<CellBuilder>>)>,
    /// The folder's own day, if that is not asked for: its records are passed over.
    pub passed_over: Option<u32>,
}

/// What reading a log file came to.
#[derive(Debug, Default)]
pub(crate) struct LogOutcome {
    pub object: Box<str>,
    pub file: ReadFile,
    pub packed: u64,
    pub unpacked: u64,
    pub records: u64,
    pub kms: u64,
    /// Records of cells that are not open.
    pub elsewhere: u64,
    /// Records of KMS of this place, by day.
    pub days: BTreeMap<u32, u64>,
    /// Instants at which something happened to a key that nobody can name, and what.
    pub not_understood: Vec<Gap>,
    /// It can still be read later: what it says is not lost, only not known yet.
    pub is_unreached: bool,
}

/// What reading a digest came to.
pub(crate) enum DigestOutcome {
    Seen(Box<SeenDigest>),
    Unread(UnreadDigest),
}

/// What all who read need.
#[derive(Clone)]
pub(crate) struct Reading {
    pub bucket: Bucket,
    /// The bucket's name, if it is a bucket and no folder.
    pub is_bucket: bool,
    pub decoder: Arc<Decoder>,
    pub now: EventTime,
    pub cancel: CancellationToken,
}

impl Reading {
    /// Reads a log file; `None` if the job was cancelled meanwhile.
    pub(crate) async fn log(&self, object: &ListedObject, cells: &OpenCells) -> Option<LogOutcome> {
        let (decoder, now) = (Arc::clone(&self.decoder), self.now);
        let read = move |reader: &mut ObjectReader, cells: &OpenCells| read_log(reader, &decoder, now, cells);
        let mut outcome = match self.patiently(object, cells, read).await? {
            Ok(outcome) => outcome,
            Err(failure) => LogOutcome {
                is_unreached: failure.class().is_passing(),
                file: ReadFile { problem: Some(said(&failure.to_string())), ..ReadFile::default() },
                ..LogOutcome::default()
            },
        };
        outcome.object = from_root(&object.key).into();
        outcome.packed = outcome.packed.max(if outcome.is_unreached { 0 } else { object.size });
        Some(outcome)
    }

    /// Reads a digest; `None` if the job was cancelled meanwhile.
    pub(crate) async fn digest(&self, object: &ListedObject, place: Place) -> Option<DigestOutcome> {
        let read = |reader: &mut ObjectReader, _: &()| read_digest(reader);
        let text = match self.patiently(object, &(), read).await? {
            Ok(Ok(text)) => text,
            Ok(Err(problem)) => return Some(unread(object, &problem)),
            Err(failure) => return Some(unread(object, &failure.to_string())),
        };
        Some(match self.see(object, place, &text) {
            Ok(seen) => DigestOutcome::Seen(Box::new(seen)),
            Err(problem) => unread(object, &problem),
        })
    }

    fn see(&self, object: &ListedObject, place: Place, text: &[u8]) -> Result<SeenDigest, String> {
        let digest = Digest::parse(text).map_err(|error| error.to_string())?;
        if digest.account != place.account {
            return Err(format!("it is of account {}", digest.account));
        }
        // In a copy on disk a digest's own bucket is the measure.
        let bucket = if self.is_bucket { &*self.bucket.name } else { &*digest.bucket };
        if *digest.bucket != *bucket {
            return Err(format!("it was delivered to the bucket {}", digest.bucket));
        }
        let trail = TrailKey::parse(&object.key).and_then(|key| key.trail).unwrap_or_default();
        let listed = digest.log_files.iter().map(|file| {
            Ok(ListedFile {
                object: from_root(&file.object).into(),
                is_ours: *file.bucket == *bucket,
                hash: hash_of(&file.hash_hex)?,
                events: file.oldest.zip(file.newest),
            })
        });
        let previous = digest.previous.as_ref().map(|previous| {
            Ok::<_, String>((from_root(&previous.object).into(), hash_of(&previous.hash_hex)?))
        });
        Ok(SeenDigest {
            trail: trail.into(),
            object: from_root(&object.key).into(),
            hash: Sha256::digest(text).into(),
            start: digest.start,
            end: digest.end,
            previous: previous.transpose()?,
            files: listed.collect::<Result<_, String>>()?,
        })
    }

    /// Opens and reads an object; what fails in passing is tried again. `None` if the job was cancelled.
    async fn patiently<C, T, F>(
        &self,
        object: &ListedObject,
        context: &C,
        read: F,
    ) -> Option<Result<T, ObjectFailure>>
    where
        C: Clone + Send + 'static,
        T: Send + 'static,
        F: Fn(&mut ObjectReader, &C) -> T + Clone + Send + 'static,
    {
        let name = ObjectName::new(Arc::clone(&self.bucket.name), object.key.as_str());
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        loop {
            let done = self.once(&name, context.clone(), read.clone()).await?;
            match done {
                Err(failure) if failure.class().is_passing() && backoff.failures() + 1 < TRIES => {
                    let pause = tokio::time::sleep(backoff.next_delay());
                    tokio::select! {
                        () = self.cancel.cancelled() => return None,
                        () = pause => {}
                    }
                }
                done => return Some(done),
            }
        }
    }

    async fn once<C, T, F>(&self, name: &ObjectName, context: C, read: F) -> Option<Result<T, ObjectFailure>>
    where
        C: Send + 'static,
        T: Send + 'static,
        F: Fn(&mut ObjectReader, &C) -> T + Send + 'static,
    {
        let opened = tokio::select! {
            () = self.cancel.cancelled() => return None,
            opened = self.bucket.store.open(name) => opened,
        };
        let mut reader = match opened {
            Ok(opened) => opened.reader,
            Err(failure) => return Some(Err(failure)),
        };
        let abandon = reader.abandon();
        let mut thread = tokio::task::spawn_blocking(move || {
            let outcome = read(&mut reader, &context);
            (outcome, reader.take_failure())
        });
        let joined = tokio::select! {
            joined = &mut thread => joined,
            () = self.cancel.cancelled() => {
                abandon.now();
                return None;
            }
        };
        Some(match joined {
            Ok((outcome, None)) => Ok(outcome),
            Ok((_, Some(failure))) => Err(failure),
            // The runtime is going down, or a bug: either way not read.
            Err(_) => Err(ObjectFailure::Abandoned),
        })
    }
}

fn unread(object: &ListedObject, problem: &str) -> DigestOutcome {
    let key = TrailKey::parse(&object.key);
    DigestOutcome::Unread(UnreadDigest {
        object: from_root(&object.key).into(),
        trail: key.and_then(|key| key.trail).map(Box::from),
        end: key.and_then(|key| key.delivered),
        reason: said(problem),
    })
}

/// The bytes that 64 hexadecimal digits stand for.
fn hash_of(hex: &str) -> Result<[u8; 32], String> {
    let mut hash = [0; 32];
    let wrong = || "a hash that is none".to_owned();
    if hex.len() != 64 || !hex.is_ascii() {
        return Err(wrong());
    }
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte =
            hex.get(at * 2..at * 2 + 2).and_then(|two| u8::from_str_radix(two, 16).ok()).ok_or_else(wrong)?;
    }
    Ok(hash)
}

fn read_digest(reader: &mut ObjectReader) -> Result<Vec<u8>, String> {
    let mut packed = Vec::new();
    let most = u64::try_from(LARGEST_DIGEST).unwrap_or(u64::MAX);
    reader.take(most + 1).read_to_end(&mut packed).map_err(|error| error.to_string())?;
    if packed.len() > LARGEST_DIGEST {
        return Err("it is too large for a digest".to_owned());
    }
    if !gzip::is_gzip(&packed) {
        return Ok(packed);
    }
    gzip::inflate(&packed, LARGEST_DIGEST).map_err(|error| error.to_string())
}

fn read_log(reader: &mut ObjectReader, decoder: &Decoder, now: EventTime, cells: &OpenCells) -> LogOutcome {
    let mut visitor = Visitor { decoder, now, cells, outcome: LogOutcome::default() };
    let limits = FileLimits { hash: true, ..FileLimits::default() };
    let report = visit_records(reader, &limits, &mut visitor);
    let mut outcome = visitor.outcome;
    outcome.packed = report.read;
    outcome.unpacked = report.unpacked;
    outcome.file.hash = report.sha256;
    if !report.whole && outcome.file.problem.is_none() {
        outcome.file.problem = Some("it was not read whole".into());
    }
    outcome
}

struct Visitor<'a> {
    decoder: &'a Decoder,
    now: EventTime,
    cells: &'a OpenCells,
    outcome: LogOutcome,
}

impl Visit for Visitor<'_> {
    fn piece(&mut self, piece: Piece<'_>) {
        match piece {
            Piece::Document { bytes, .. } => {
                let (decoder, now) = (self.decoder, self.now);
                decoder.decode(bytes, now, &mut |decoded| self.decoded(decoded));
            }
            Piece::Problem { problem, .. } => {
                if problem.code() != "empty" {
                    self.problem(&problem.to_string());
                }
            }
        }
    }

    fn take_leading(&mut self, text: &[u8], _offset: u64) -> usize {
        let (decoder, now) = (self.decoder, self.now);
        decoder.decode_leading(text, now, &mut |decoded| self.decoded(decoded))
    }
}

impl Visitor<'_> {
    fn problem(&mut self, text: &str) {
        if self.outcome.file.problem.is_none() {
            self.outcome.file.problem = Some(said(text));
        }
    }

    fn decoded(&mut self, decoded: Outcome<'_>) {
        match decoded {
            Outcome::Kms(record) => {
                self.outcome.records += 1;
                self.outcome.kms += 1;
                self.kms(record);
            }
            Outcome::Bad(bad) => self.problem(&format!("a record was not applied: {}", bad.reason)),
            // Nothing of the kind is in a trail's file; it says nothing about a key.
            Outcome::Direct(_) | Outcome::Announced(_) | Outcome::Control(_) => {}
            Outcome::Other => self.outcome.records += 1,
            Outcome::Pipe(record) => self.pipe(record),
        }
    }

    fn kms(&mut self, record: &KmsRecord<'_>) {
        let cell = cell_of(record, self.cells.place);
        let target = self.cells.cells.iter().find(|(open, _)| *open == cell);
        if cell.place == self.cells.place {
            self.note_day(record, cell.day);
        }
        match target {
            Some((_, builder)) => lock(builder).count(record),
            None if cell.place == self.cells.place && self.cells.passed_over == Some(cell.day) => return,
            None => {
                self.outcome.elsewhere += 1;
                // With the cell that is finished first.
                if let Some((_, builder)) = self.cells.cells.last() {
                    lock(builder).witness(record, self.cells.place);
                }
            }
        }
        self.note_what_was_not_understood(record);
    }

    fn note_day(&mut self, record: &KmsRecord<'_>, day: u32) {
        let days = &mut self.outcome.days;
        if days.len() < MOST_DAYS || days.contains_key(&day) {
            *days.entry(day).or_default() += 1;
        }
        let read_only = &mut self.outcome.file.read_only_days;
        if record.read_only && !read_only.contains(&day) && read_only.len() < MOST_DAYS {
            read_only.push(day);
        }
    }

    /// Whoever switches a trail off, or alters what it carries, ends what the rest of the day can prove; on the days
    /// after it KMS's read-only records tell whether it still carries them.
    fn pipe(&mut self, record: &PipeRecord<'_>) {
        self.outcome.records += 1;
        let is_here = record.recipient.is_none_or(|account| account == self.cells.place.account)
            && record.region.is_none_or(|region| region == self.cells.place.region);
        let may_end_it =
            matches!(record.operation, "StopLogging" | "DeleteTrail" | "UpdateTrail" | "PutEventSelectors");
        if !record.succeeded || !may_end_it || !is_here {
            return;
        }
        if self.outcome.not_understood.len() >= MOST_INSTANTS {
            return self.problem("too much in it was not understood");
        }
        let who = record.principal.unwrap_or("somebody");
        let reason = said(&format!("{} by {who} may have ended what the trail carries", record.operation));
        let until = Cell { place: self.cells.place, day: record.time.day() }.end();
        self.outcome.not_understood.push(Gap { from: record.time, until, reason });
    }

    /// A use of a key that nobody can name could have been a use of any.
    fn note_what_was_not_understood(&mut self, record: &KmsRecord<'_>) {
        let hides_a_use = record.unresolved.iter().any(|unresolved| unresolved.kind == Kind::Use);
        let may_be_a_use =
            record.unknown_operation && record.succeeded && !is_read_only_name(record.operation);
        if !hides_a_use && !may_be_a_use {
            return;
        }
        if self.outcome.not_understood.len() >= MOST_INSTANTS {
            return self.problem("too much in it was not understood");
        }
        let why =
            if may_be_a_use { "is unknown, and may use a key" } else { "names no key that can be told" };
        let reason = said(&format!("a call of {} {why}", record.operation));
        let (from, until) = (record.time, record.time.plus(1));
        self.outcome.not_understood.push(Gap { from, until, reason });
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
