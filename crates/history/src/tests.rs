//! Whole jobs over folders that the simulator laid out as a trail does.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use dormouse_cloudtrail::{Decoder, Limits};
use dormouse_ledger::{CellHistory, DayCounts, Gap, Span};
use dormouse_model::{AccountId, Cell, EventTime, KeyArn, ManualClock, OperationTable, Place};
use dormouse_pipeline::CellEvidence;
use dormouse_simulate::records::layout::{LayoutOptions, TrailObject, lay_out, write_to_folder};
use dormouse_simulate::records::{Generated, Generator, Mix, Shape};
use dormouse_sources::objects::{
    BoxFuture, FolderObjects, ListPage, ListRequest, ObjectFailure, ObjectName, ObjectStore, Opened,
};

use super::*;

const HOUR: u32 = 3_600;
const DAY: u32 = 24 * HOUR;

fn time(text: &str) -> EventTime {
    text.parse().unwrap()
}

fn day(text: &str) -> Day {
    text.parse().unwrap()
}

/// Records of two accounts in two Regions, from late on November 1 to early on November 4.
fn records() -> Vec<Generated> {
    let shape = Shape {
        accounts: 2,
        regions: vec!["eu-west-1".parse().unwrap(), "us-east-1".parse().unwrap()],
        start: time("2026-11-01T20:00:00Z"),
        keys: 60,
        ..Shape::default()
    };
    Generator::new(11, shape.over(56 * HOUR, 9_000), Mix::everything()).take_records(9_000)
}

fn options() -> LayoutOptions {
    LayoutOptions {
        minutes_a_file: 30,
        daily_reads: true,
        span: Some((time("2026-10-31T20:00:00Z"), time("2026-11-07T12:00:00Z"))),
        ..LayoutOptions::default()
    }
}

fn folder_of(objects: &[TrailObject]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_to_folder(folder.path(), objects).unwrap();
    folder
}

/// November 2 and 3.
fn request(folder: &Path) -> BackfillRequest {
    let days = BackfillRequest::new(day("2026-11-02"), day("2026-11-03"));
    BackfillRequest { local: Some(folder.to_owned()), ..days }
}

/// Keeps what it is given.
#[derive(Clone, Default)]
struct Memory(Arc<Inner>);

#[derive(Default)]
struct Inner {
    cells: Mutex<Vec<(CellHistory, CellEvidence)>>,
    /// To be cancelled after so many cells.
    cancel: Mutex<Option<usize>>,
    job: OnceLock<JobHandle>,
}

impl Finish for Memory {
    fn submit(&self, cell: CellHistory, evidence: CellEvidence) -> BoxFuture<'_, Result<(), NotFinished>> {
        Box::pin(async move {
            let mut cells = self.0.cells.lock().unwrap();
            cells.push((cell, evidence));
            if *self.0.cancel.lock().unwrap() == Some(cells.len()) {
                self.0.job.get().unwrap().cancel();
            }
            Ok(())
        })
    }

    fn is_finished(&self, cell: Cell) -> bool {
        self.0.cells.lock().unwrap().iter().any(|(known, _)| known.cell == cell)
    }

    fn is_incomplete(&self, cell: Cell) -> bool {
        self.0.cells.lock().unwrap().iter().any(|(known, _)| known.cell == cell && !known.whole)
    }
}

impl Memory {
    fn cells(&self) -> BTreeMap<(Place, u32), CellHistory> {
        let cells = self.0.cells.lock().unwrap();
        cells.iter().map(|(history, _)| ((history.cell.place, history.cell.day), history.clone())).collect()
    }
}

fn decoder() -> Arc<Decoder> {
    Arc::new(Decoder::new(OperationTable::default(), Limits::default()))
}

fn begin(store: Arc<dyn ObjectStore>, request: BackfillRequest, memory: &Memory) -> JobHandle {
    let clock = ManualClock::at(time("2026-11-20T00:00:00Z"));
    start(1, request, store, memory.clone(), decoder(), &clock).unwrap()
}

async fn run_on(store: Arc<dyn ObjectStore>, request: BackfillRequest) -> (Memory, JobProgress) {
    let memory = Memory::default();
    let progress = begin(store, request, &memory).wait().await;
    (memory, progress)
}

async fn run(folder: &Path, request: BackfillRequest) -> (Memory, JobProgress) {
    run_on(Arc::new(FolderObjects::new(folder).unwrap()), request).await
}

type Counted = BTreeMap<(Place, u32), HashMap<KeyArn, DayCounts>>;

/// What the records say, added up one by one.
fn counted(records: &[Generated], days: std::ops::RangeInclusive<u32>) -> Counted {
    let mut counted = Counted::new();
    for record in records {
        let (place, day) = (Place { account: record.account, region: record.region }, record.time.day());
        if !days.contains(&day) {
            continue;
        }
        for said in &record.says {
            let foreign = record.shared_id.is_some() && record.account != said.key.account();
            let counts = counted.entry((place, day)).or_default().entry(said.key).or_default();
            counts.side(foreign).add_one(said.kind, said.wanted);
        }
    }
    counted
}

fn told(cells: &BTreeMap<(Place, u32), CellHistory>) -> Counted {
    let of = |history: &CellHistory| history.keys.iter().map(|key| (key.key, key.counts)).collect();
    cells
        .iter()
        .map(|(&cell, history)| (cell, of(history)))
        .filter(|(_, keys): &(_, HashMap<_, _>)| !keys.is_empty())
        .collect()
}

fn asked_days() -> std::ops::RangeInclusive<u32> {
    day("2026-11-02").number()..=day("2026-11-03").number()
}

/// The first place, and its spans of November 2 in seconds of the day.
fn spans(memory: &Memory, place: Place, day_text: &str) -> Vec<(u32, u32)> {
    let history = &memory.cells()[&(place, day(day_text).number())];
    let begin = history.cell.begin();
    history
        .covered
        .iter()
        .map(|span| (span.from.seconds_since(begin), span.until.seconds_since(begin)))
        .collect()
}

fn some_place(records: &[Generated]) -> Place {
    Place { account: records[0].account, region: records[0].region }
}

fn is_of(object: &TrailObject, place: Place) -> bool {
    object.key.contains(&format!("/{}/", place.account))
        && object.key.contains(&format!("/{}/", place.region))
}

#[tokio::test]
async fn every_cell_counts_what_its_records_say_and_is_proven() {
    let records = records();
    let organisation = LayoutOptions {
        organisation: Some("o-abcdefghij".to_owned()),
        prefix: "central/logs".to_owned(),
        ..options()
    };
    let folder = folder_of(&lay_out(&records, &organisation));
    let asked = BackfillRequest { prefix: "central/logs/".to_owned(), ..request(folder.path()) };
    let (memory, progress) = run(folder.path(), asked).await;
    assert_eq!(progress.state, JobState::Done, "{:?}", progress.problems);
    assert_eq!((progress.places, progress.cells.total, progress.cells.done), (4, 8, 8));
    let cells = memory.cells();
    let expected = counted(&records, asked_days());
    assert_eq!(expected.len(), 8);
    assert!(expected.values().flat_map(HashMap::values).any(|counts| counts.foreign.uses > 0));
    assert_eq!(told(&cells), expected);
    for history in cells.values() {
        assert!(history.whole && history.read_only, "{:?}", history.cell);
        assert!(history.records > 0);
        let whole_day = Span { from: history.cell.begin(), until: history.cell.end() };
        let instants: u32 = history.gaps.iter().map(|gap| gap.until.seconds_since(gap.from)).sum();
        let is_expected = |gap: &Gap| {
            gap.reason.starts_with("a call of ")
                || gap.reason.ends_with("may have ended what the trail carries")
        };
        assert!(history.gaps.iter().all(is_expected), "{:?}", history.gaps);
        let covered: u32 = history.covered.iter().map(|span| span.until.seconds_since(span.from)).sum();
        assert!(covered + instants >= whole_day.until.seconds_since(whole_day.from));
        for key in &history.keys {
            let uses: u64 = key.users.iter().map(|user| user.stats.uses + user.stats.attempts).sum();
            let counts = key.counts;
            let expected =
                counts.own.uses + counts.own.attempts + counts.foreign.uses + counts.foreign.attempts;
            assert_eq!(uses + key.users_overflow, u64::try_from(expected).unwrap(), "{}", key.key);
        }
    }
    assert!(progress.bytes_packed > 0 && progress.bytes_unpacked > progress.bytes_packed);
    assert_eq!(progress.coverage.len(), 4);
}

#[tokio::test]
async fn only_what_was_asked_for_is_read() {
    let records = records();
    let place = some_place(&records);
    let folder = folder_of(&lay_out(&records, &options()));
    let asked = BackfillRequest {
        accounts: Some(vec![place.account]),
        regions: Some(vec![place.region]),
        to: day("2026-11-02"),
        ..request(folder.path())
    };
    let (memory, progress) = run(folder.path(), asked).await;
    let cells = memory.cells();
    assert_eq!(cells.keys().collect::<Vec<_>>(), [&(place, day("2026-11-02").number())]);
    let mut expected = counted(&records, asked_days());
    expected.retain(|cell, _| cells.contains_key(cell));
    assert_eq!(told(&cells), expected);
    assert_eq!(progress.cells.total, 1);
}

#[tokio::test]
async fn two_trails_in_one_bucket_count_once() {
    let records = records();
    let mut objects = lay_out(&records, &options());
    let other = LayoutOptions {
        organisation: Some("o-abcdefghij".to_owned()),
        trail: "other".to_owned(),
        minutes_a_file: 20,
        ..options()
    };
    objects.extend(lay_out(&records, &other));
    let folder = folder_of(&objects);
    let (memory, progress) = run(folder.path(), request(folder.path())).await;
    assert_eq!(progress.cells.done, 8, "{:?}", progress.problems);
    assert_eq!(told(&memory.cells()), counted(&records, asked_days()));
    assert!(progress.duplicates > 0);
}

#[tokio::test]
async fn what_is_missing_ends_the_covered_spans_exactly_there() {
    let records = records();
    let place = some_place(&records);
    let plain: Vec<Generated> = records.iter().filter(|record| !is_odd(record)).cloned().collect();
    let objects = lay_out(&plain, &options());
    let of_day = |object: &&TrailObject, is_digest| {
        is_of(object, place) && object.is_digest == is_digest && object.key.contains("/2026/11/02/")
    };
    let log = objects.iter().filter(|object| of_day(object, false)).nth(20).unwrap();
    let digest = objects.iter().filter(|object| of_day(object, true)).nth(5).unwrap();

    // Without the log file: the times of its events.
    let without = |key: &str| objects.iter().filter(|object| object.key != key).cloned().collect::<Vec<_>>();
    let folder = folder_of(&without(&log.key));
    let (memory, _) = run(folder.path(), request(folder.path())).await;
    let options = options();
    let delivered = |record: &&Generated| {
        let period = options.minutes_a_file * 60;
        ((record.time.seconds() + options.delivery_delay) / period + 1) * period == log.delivered.seconds()
    };
    let times = || {
        let of_place = |record: &&Generated| (record.account, record.region) == (place.account, place.region);
        let seconds = |record: &Generated| record.time.seconds() % DAY;
        plain.iter().filter(of_place).filter(delivered).map(seconds)
    };
    let (oldest, newest) = (times().min().unwrap(), times().max().unwrap());
    assert_eq!(spans(&memory, place, "2026-11-02"), [(0, oldest), (newest + 1, DAY)]);
    let history = &memory.cells()[&(place, day("2026-11-02").number())];
    assert!(!history.whole);
    assert!(history.gaps[0].reason.ends_with("the log file is missing"), "{:?}", history.gaps);

    // Without the digest: its hour, and the allowance before it.
    let folder = folder_of(&without(&digest.key));
    let (memory, _) = run(folder.path(), request(folder.path())).await;
    let end = digest.delivered.seconds() % DAY;
    let allowance = proof::DELIVERY_ALLOWANCE_SECONDS;
    assert_eq!(spans(&memory, place, "2026-11-02"), [(0, end - HOUR - allowance), (end, DAY)]);
    assert!(memory.cells()[&(place, day("2026-11-02").number())].whole);

    // Without read-only records of KMS: the day.
    let writes: Vec<Generated> = plain
        .iter()
        .filter(|record| record.time.day() != day("2026-11-02").number() || !is_read_only(record))
        .cloned()
        .collect();
    let quiet = LayoutOptions { daily_reads: false, ..options.clone() };
    let folder = folder_of(&lay_out(&writes, &quiet));
    let (memory, _) = run(folder.path(), request(folder.path())).await;
    assert_eq!(spans(&memory, place, "2026-11-02"), []);
    assert_eq!(spans(&memory, place, "2026-11-03"), [(0, DAY)]);
    let history = &memory.cells()[&(place, day("2026-11-02").number())];
    assert!(history.whole && !history.read_only);
    assert!(history.gaps[0].reason.starts_with("no read-only record of KMS was seen on 2026-11-02"));
}

fn is_read_only(record: &Generated) -> bool {
    record.record.contains("\"readOnly\":true")
}

/// It says less than it should: a use without a key, an unknown operation.
fn is_odd(record: &Generated) -> bool {
    let place = Place { account: record.account, region: record.region };
    let mut is_odd = false;
    let now = time("2026-11-20T00:00:00Z");
    decoder().decode(record.record.as_bytes(), now, &mut |outcome| {
        if let dormouse_cloudtrail::Outcome::Kms(kms) = outcome {
            is_odd = kms.unknown_operation
                || !kms.unresolved.is_empty()
                || cell::cell_of(kms, place).place != place;
        }
    });
    is_odd
}

#[tokio::test]
async fn an_interrupted_job_goes_on_where_it_was() {
    let records = records();
    let folder = folder_of(&lay_out(&records, &options()));
    let store = Arc::new(FolderObjects::new(folder.path()).unwrap());
    let memory = Memory::default();
    *memory.0.cancel.lock().unwrap() = Some(3);
    let asked = BackfillRequest { concurrency: 1, ..request(folder.path()) };
    let job = begin(store.clone(), asked.clone(), &memory);
    memory.0.job.set(job.clone()).ok().unwrap();
    let progress = job.wait().await;
    assert_eq!(progress.state, JobState::Cancelled, "{progress:?}");
    let finished = memory.cells().len();
    assert!((3..8).contains(&finished), "{finished}");
    assert_eq!(progress.cells.done, finished as u64);

    let progress = begin(store.clone(), asked.clone(), &memory).wait().await;
    assert_eq!((progress.state, progress.cells.skipped), (JobState::Done, finished as u64));
    assert_eq!(memory.0.cells.lock().unwrap().len(), 8, "no cell is read twice");
    assert_eq!(told(&memory.cells()), counted(&records, asked_days()));
    // All finished: nothing is fetched.
    let progress = begin(store.clone(), asked.clone(), &memory).wait().await;
    assert_eq!((progress.cells.skipped, progress.objects, progress.digests), (8, 0, 0));
    let progress = begin(store, BackfillRequest { again: true, ..asked }, &memory).wait().await;
    assert_eq!((progress.cells.skipped, progress.cells.done), (0, 8));
}

/// A folder in which some objects fail.
struct Failing {
    folder: FolderObjects,
    missing: String,
    /// Fails so often before it works.
    passing: Mutex<(String, u32)>,
}

impl ObjectStore for Failing {
    fn open<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<Opened, ObjectFailure>> {
        if name.key == self.missing {
            return Box::pin(async { Err(ObjectFailure::Missing(name.clone())) });
        }
        let mut passing = self.passing.lock().unwrap();
        if name.key == passing.0 && passing.1 > 0 {
            passing.1 -= 1;
            return Box::pin(async { Err(ObjectFailure::Changed(name.clone())) });
        }
        self.folder.open(name)
    }

    fn list(&self, request: ListRequest) -> BoxFuture<'_, Result<ListPage, ObjectFailure>> {
        self.folder.list(request)
    }
}

#[tokio::test]
async fn an_object_that_fails_is_named_and_stops_nothing() {
    let records = records();
    let place = some_place(&records);
    let objects = lay_out(&records, &options());
    let of_place = |day: &str| {
        let day = format!("/{day}/");
        objects
            .iter()
            .filter(move |object| is_of(object, place) && !object.is_digest && object.key.contains(&day))
    };
    let folder = folder_of(&objects);
    let missing = &of_place("2026/11/02").nth(10).unwrap().key;
    let damaged = of_place("2026/11/03").nth(10).unwrap();
    fs::write(folder.path().join(&damaged.key), &damaged.body[..damaged.body.len() / 2]).unwrap();
    let others: BTreeSet<AccountId> = records.iter().map(|record| record.account).collect();
    let other = objects.iter().find(|object| {
        !object.is_digest && object.key.contains("/2026/11/02/") && !is_of(object, place) && others.len() == 2
    });
    let store = Failing {
        folder: FolderObjects::new(folder.path()).unwrap(),
        missing: missing.clone(),
        passing: Mutex::new((other.unwrap().key.clone(), 1)),
    };
    let (memory, progress) = run_on(Arc::new(store), request(folder.path())).await;
    assert_eq!((progress.state, progress.cells.done, progress.cells.not_whole), (JobState::Done, 8, 2));
    assert_eq!(progress.problem_count, 2, "{:?}", progress.problems);
    let names = |key: &str| progress.problems.iter().any(|problem| problem.starts_with(key));
    assert!(names(missing) && names(&damaged.key), "{:?}", progress.problems);
    for (cell, history) in memory.cells() {
        assert_eq!(history.whole, cell.0 != place, "{cell:?}");
    }
}

#[tokio::test]
async fn a_day_without_objects_is_finished_only_if_digests_prove_it_quiet() {
    let records = records();
    for digests in [true, false] {
        let layout = LayoutOptions { digests, daily_reads: false, ..options() };
        let folder = folder_of(&lay_out(&records, &layout));
        let asked = BackfillRequest {
            from: day("2026-11-05"),
            to: day("2026-11-06"),
            concurrency: 3,
            ..request(folder.path())
        };
        let (memory, progress) = run(folder.path(), asked).await;
        let expected = if digests { (8, 0) } else { (0, 8) };
        assert_eq!(
            (progress.cells.done, progress.cells.without_objects),
            expected,
            "{:?}",
            progress.problems
        );
        for history in memory.cells().values() {
            assert!(history.whole && history.keys.is_empty() && history.covered.is_empty());
        }
    }
}

#[tokio::test]
async fn digests_of_another_bucket_prove_nothing() {
    let records = records();
    let folder = folder_of(&lay_out(&records, &options()));
    let asked = BackfillRequest { local: None, bucket: Some("another".to_owned()), ..request(folder.path()) };
    let (memory, progress) = run(folder.path(), asked).await;
    assert_eq!(progress.cells.done, 8);
    for history in memory.cells().values() {
        assert_eq!(history.covered, []);
        let reason = &history.gaps[0].reason;
        assert!(reason.contains("delivered to the bucket example-trail"), "{reason}");
    }
}

/// Records of one day, delivered more than a day late, and records of another account in the folder.
#[tokio::test]
async fn what_lies_in_a_folder_of_another_cell_is_evidence() {
    let records = records();
    let place = some_place(&records);
    let is_of_place = |record: &Generated| (record.account, record.region) == (place.account, place.region);
    let is_of_day = |record: &Generated, text: &str| record.time.day() == day(text).number();
    let late: Vec<Generated> = records
        .iter()
        .filter(|record| is_of_place(record) && is_of_day(record, "2026-11-02") && !record.says.is_empty())
        .take(5)
        .cloned()
        .collect();
    let is_late = |record: &Generated| late.iter().any(|one| one.event_id == record.event_id);
    let in_time: Vec<Generated> = records.iter().filter(|record| !is_late(record)).cloned().collect();
    let mut objects = lay_out(&in_time, &options());
    let stray = lay_out(
        &late,
        &LayoutOptions { delivery_delay: 50 * HOUR, digests: false, daily_reads: false, ..options() },
    );
    assert!(stray.iter().all(|object| object.key.contains("/2026/11/04/")), "{}", stray[0].key);
    objects.extend(stray);
    let folder = folder_of(&objects);
    let only = BackfillRequest {
        accounts: Some(vec![place.account]),
        regions: Some(vec![place.region]),
        ..request(folder.path())
    };
    let (memory, progress) = run(folder.path(), only).await;
    let mut expected = counted(&in_time, asked_days());
    expected.retain(|(known, _), _| *known == place);
    assert_eq!(told(&memory.cells()), expected);
    // Late ones, and those of November 1 that were delivered on the 2nd.
    let spilled = in_time.iter().filter(|record| {
        let delivered = record.time.plus(options().delivery_delay + 30 * 60);
        is_of_place(record)
            && is_of_day(record, "2026-11-01")
            && delivered.day() == day("2026-11-02").number()
    });
    let (least, most) = (late.len() as u64, (late.len() + spilled.count()) as u64);
    assert!((least..=most).contains(&progress.stragglers), "{least} {} {most}", progress.stragglers);
}

#[tokio::test]
async fn one_job_at_a_time_and_an_empty_folder_fails() {
    let records = records();
    let folder = folder_of(&lay_out(&records, &options()));
    let store: Arc<dyn ObjectStore> = Arc::new(FolderObjects::new(folder.path()).unwrap());
    let clock = ManualClock::at(time("2026-11-20T00:00:00Z"));
    let jobs = Jobs::default();
    let start = |request| jobs.start(request, store.clone(), Memory::default(), decoder(), &clock);
    let first = start(request(folder.path())).unwrap();
    assert_eq!(start(request(folder.path())).err(), Some(StartError::Busy(1)));
    assert_eq!(jobs.running().map(|job| job.id()), Some(1));
    assert_eq!(first.wait().await.state, JobState::Done);
    let nowhere = BackfillRequest { prefix: "nowhere".to_owned(), ..request(folder.path()) };
    let failed = start(nowhere.clone()).unwrap().wait().await;
    assert_eq!(failed.state, JobState::Failed);
    assert!(failed.problems[0].contains("nowhere/AWSLogs/"), "{:?}", failed.problems);
    for _ in 0..12 {
        start(nowhere.clone()).unwrap().wait().await;
    }
    assert_eq!(jobs.all().len(), 11);
    assert_eq!(jobs.all()[0].id(), 14);
    assert!(jobs.get(1).is_none() && jobs.running().is_none());
    let text = serde_json::to_string(&failed).unwrap();
    assert!(text.contains("\"state\":\"failed\"") && text.contains("\"from\":\"2026-11-02\""), "{text}");
}
