//! The pipeline over a store that can refuse, a source in memory and time that stands still unless somebody waits.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dormouse_cloudtrail::Outcome;
use dormouse_cloudtrail::{Decoder, Limits};
use dormouse_ledger::query::KeyQuery;
use dormouse_ledger::{CellHistory, Counts, CoverageOptions, DayCounts, KeyHistory, Rules, Span};
use dormouse_model::{
    Cell, Checkpoint, Clock, EventTime, ManualClock, OperationTable, Place, ShardPosition, SourceMark,
};
use dormouse_simulate::records::{Generator, Mix, Shape};
use dormouse_sources::{Acknowledge, Batch, Intake, Message, Receipt};
use dormouse_store::{Epoch, Guard, GuardedStore, Reader, Readers, SqliteOptions, SqliteStore, Totals};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::control::Stopped;
use crate::{
    CellEvidence, CheckpointView, Control, HistoryIntake, InventoryIntake, LiveView, OnPoison, Pipeline,
    PipelineError, PipelineOptions, Progress, QuarantineAction, QuarantineOutcome, read_store,
};

mod coverage;
mod objects;

const KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

/// What happened, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Happened {
    Committed(u64),
    Acked(u64),
    Left(u64),
}

type Diary = Arc<Mutex<Vec<Happened>>>;

/// Lets nothing through while it is shut, and notes what it let through.
struct Gate {
    is_shut: Arc<AtomicBool>,
    diary: Diary,
}

impl Guard for Gate {
    fn refuse(&self, _: &Epoch<'_>) -> Option<String> {
        self.is_shut.load(Ordering::SeqCst).then(|| "the gate is shut".to_owned())
    }

    fn committed(&self, epoch: &Epoch<'_>) {
        self.diary.lock().unwrap().push(Happened::Committed(epoch.seq));
    }
}

/// A source's end of the acknowledgements.
struct Acks(Diary);

impl Acknowledge for Acks {
    fn ack(&self, receipts: Vec<Receipt>) {
        self.0.lock().unwrap().extend(receipts.iter().map(|receipt| Happened::Acked(receipt.number())));
    }

    fn leave(&self, receipts: Vec<Receipt>) {
        self.0.lock().unwrap().extend(receipts.iter().map(|receipt| Happened::Left(receipt.number())));
    }
}

/// A pipeline at work.
struct House {
    diary: Diary,
    is_shut: Arc<AtomicBool>,
    clock: Arc<ManualClock>,
    intake: crate::PipelineIntake,
    redrive: crate::PipelineIntake,
    view: Arc<LiveView>,
    control: Control,
    history: HistoryIntake,
    inventory: InventoryIntake,
    checkpoints: CheckpointView,
    progress: Arc<Progress>,
    running: JoinHandle<Result<Totals, PipelineError>>,
    stop: CancellationToken,
}

fn now() -> EventTime {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

impl House {
    fn open(path: &Path, options: PipelineOptions) -> Self {
        Self::open_store(SqliteOptions::at(path), options)
    }

    fn open_store(store: SqliteOptions, options: PipelineOptions) -> Self {
        let (diary, is_shut) = (Diary::default(), Arc::<AtomicBool>::default());
        let readers = Readers::of(store.path.clone());
        let store = SqliteStore::open(store).unwrap();
        let guard = Gate { is_shut: Arc::clone(&is_shut), diary: Arc::clone(&diary) };
        let gate = GuardedStore { inner: store, guard };
        let clock = Arc::new(ManualClock::at(now()));
        let decoder = Arc::new(Decoder::new(OperationTable::default(), Limits::default()));
        let wall: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        let pipeline = Pipeline::open(Arc::new(gate), decoder, wall, options).unwrap();
        let (intake, redrive) = (pipeline.intake(OnPoison::Quarantine), pipeline.intake(OnPoison::Redrive));
        let view = Arc::new(pipeline.view(readers, Arc::new(Rules::idle_after(90 * 86_400))));
        let (control, progress) = (pipeline.control(), pipeline.progress());
        let (history, checkpoints) = (pipeline.history(), pipeline.checkpoints());
        let inventory = pipeline.inventory();
        let stop = CancellationToken::new();
        let running = tokio::spawn(pipeline.run(stop.clone()));
        Self {
            diary,
            is_shut,
            clock,
            intake,
            redrive,
            view,
            control,
            history,
            inventory,
            checkpoints,
            progress,
            running,
            stop,
        }
    }

    fn batch(&self, messages: &[(u64, String)]) -> Batch {
        let message = |(number, body): &(u64, String)| Message {
            body: body.clone().into_bytes(),
            receipt: Receipt::new(*number),
            receive_count: 1,
            id: number.to_string().into(),
        };
        Batch {
            source: "test".into(),
            messages: messages.iter().map(message).collect(),
            acks: Arc::new(Acks(Arc::clone(&self.diary))),
            checkpoint: None,
        }
    }

    async fn submit(&self, messages: &[(u64, String)]) {
        self.intake.submit(self.batch(messages)).await;
    }

    /// Waits until the diary says so.
    async fn until(&self, what: &str, is_so: impl Fn(&[Happened]) -> bool) -> Vec<Happened> {
        let wait = async {
            loop {
                let diary = self.diary.lock().unwrap().clone();
                if is_so(&diary) {
                    return diary;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        match timeout(Duration::from_secs(600), wait).await {
            Ok(diary) => diary,
            Err(_) => panic!("never happened: {what}; the diary: {:?}", self.diary.lock().unwrap()),
        }
    }

    async fn stop(self) -> Totals {
        self.stop.cancel();
        self.running.await.unwrap().unwrap()
    }

    /// As a crash would: nothing is finished.
    async fn crash(self) {
        self.running.abort();
        let _ = self.running.await;
    }
}

fn record(event_id: &str, time: &str) -> String {
    format!(
        r#"{{"eventVersion":"1.08","eventSource":"kms.amazonaws.com","eventName":"Decrypt","eventTime":"{time}","awsRegion":"eu-west-1","recipientAccountId":"111122223333","eventID":"{event_id}","resources":[{{"ARN":"{KEY}","accountId":"111122223333","type":"AWS::KMS::Key"}}]}}"#
    )
}

fn used(number: u64) -> (u64, String) {
    (number, record(&format!("event-{number}"), "2026-11-22T11:00:00Z"))
}

fn acked(diary: &[Happened]) -> Vec<u64> {
    diary
        .iter()
        .filter_map(|one| if let Happened::Acked(number) = one { Some(*number) } else { None })
        .collect()
}

fn uses(path: &Path) -> u64 {
    uses_of(path, KEY)
}

fn uses_of(path: &Path, key: &str) -> u64 {
    let view = read_store(path, CoverageOptions::default()).unwrap();
    let key = key.parse().unwrap();
    view.ledger.with(key, |state| view.ledger.counts_of(key, state).uses).unwrap_or(0)
}

fn folder() -> (TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("d.db");
    (folder, path)
}

#[tokio::test(start_paused = true)]
async fn nothing_is_acknowledged_before_its_commit() {
    let (_folder, path) = folder();
    let house = House::open(&path, PipelineOptions::default());
    house.submit(&[used(1), used(2)]).await;
    let diary = house.until("both acknowledged", |diary| acked(diary).len() == 2).await;
    assert_eq!(diary, [Happened::Committed(1), Happened::Acked(1), Happened::Acked(2)]);
    house.stop().await;
    assert_eq!(uses(&path), 2);
}

#[tokio::test(start_paused = true)]
async fn refused_commits_hold_acknowledgements_until_they_succeed() {
    let (_folder, path) = folder();
    let house = House::open(&path, PipelineOptions::default());
    house.is_shut.store(true, Ordering::SeqCst);
    house.submit(&[used(1)]).await;
    // A duplicate arrives while its first copy waits.
    house.submit(&[(2, used(1).1)]).await;
    sleep(Duration::from_secs(120)).await;
    assert_eq!(*house.diary.lock().unwrap(), []);
    house.is_shut.store(false, Ordering::SeqCst);
    let diary = house.until("both acknowledged", |diary| acked(diary).len() == 2).await;
    let first_commit = diary.iter().position(|one| *one == Happened::Committed(1));
    assert_eq!(first_commit, Some(0));
    house.stop().await;
    assert_eq!(uses(&path), 1);
}

#[tokio::test(start_paused = true)]
async fn bytes_in_flight_are_bounded_while_commits_are_refused() {
    let (_folder, path) = folder();
    let options = PipelineOptions { in_flight_kib: 4, ..PipelineOptions::default() };
    let house = House::open(&path, options);
    house.is_shut.store(true, Ordering::SeqCst);
    for number in 0..4 {
        house.submit(&[used(number)]).await;
    }
    let fifth = timeout(Duration::from_secs(60), house.submit(&[used(4)])).await;
    assert!(fifth.is_err(), "the fifth message of a KiB each has to wait");
    house.is_shut.store(false, Ordering::SeqCst);
    house.submit(&[used(4)]).await;
    house.until("all acknowledged", |diary| acked(diary).len() == 5).await;
    house.stop().await;
    assert_eq!(uses(&path), 5);
}

#[tokio::test(start_paused = true)]
async fn a_crash_loses_nothing_and_counts_nothing_twice() {
    let (_folder, path) = folder();
    let options = || PipelineOptions { fold_keys: usize::MAX, ..PipelineOptions::default() };
    let house = House::open(&path, options());
    house.submit(&[used(1), used(2)]).await;
    house.until("acknowledged", |diary| acked(diary).len() == 2).await;
    house.crash().await;

    let house = House::open(&path, options());
    house.submit(&[used(2), used(3)]).await;
    house.until("acknowledged", |diary| acked(diary).len() == 2).await;
    house.stop().await;
    assert_eq!(uses(&path), 3);

    let house = House::open(&path, options());
    house.submit(&[used(1), used(3), used(4)]).await;
    let totals = house.stop().await;
    assert_eq!(uses(&path), 4);
    assert_eq!((totals.tally.read, totals.tally.duplicates), (7, 3));
}

#[tokio::test(start_paused = true)]
async fn what_the_window_forgot_is_late_and_its_evidence_still_merges() {
    let (_folder, path) = folder();
    let house = House::open(&path, PipelineOptions { id_bound: 1, ..PipelineOptions::default() });
    let old = record("old", "2026-11-22T10:00:00Z");
    house.submit(&[used(1), (2, record("later", "2026-11-22T11:30:00Z"))]).await;
    house.until("acknowledged", |diary| acked(diary).len() == 2).await;
    house.submit(&[(3, old)]).await;
    let totals = house.stop().await;
    assert_eq!(totals.tally.late_uncounted, Counts { uses: 1, ..Counts::default() });
    assert_eq!(uses(&path), 2);
}

#[tokio::test(start_paused = true)]
async fn the_good_records_of_a_bad_message_count_and_the_message_is_kept_whole() {
    let (_folder, path) = folder();
    let house = House::open(&path, PipelineOptions::default());
    let mixed = format!(r#"{{"Records":[{},{{"eventSource":"kms.amazonaws.com"}}]}}"#, used(1).1);
    house.submit(&[(1, mixed.clone()), (2, "junk".into())]).await;
    house.until("both acknowledged", |diary| acked(diary).len() == 2).await;
    let totals = house.stop().await;
    assert_eq!((totals.tally.read, totals.tally.quarantined, totals.tally.malformed), (2, 1, 1));
    assert_eq!(uses(&path), 1);
    let reader = Reader::open(&path).unwrap();
    let kept = reader.quarantine(0, 10).unwrap();
    let bodies: Vec<Vec<u8>> =
        kept.iter().map(|kept| reader.quarantined(kept.id).unwrap().unwrap().message.body).collect();
    assert_eq!(bodies, [mixed.as_bytes(), b"junk"]);
}

#[tokio::test(start_paused = true)]
async fn poison_is_left_when_so_configured_or_when_the_quarantine_is_full() {
    let (_folder, path) = folder();
    let store = SqliteOptions { quarantine_bytes: 6, ..SqliteOptions::at(&path) };
    let house = House::open_store(store, PipelineOptions::default());
    house.redrive.submit(house.batch(&[(1, "junk".into())])).await;
    house.submit(&[(2, "junk".into()), (3, "rubbish".into()), used(4)]).await;
    let diary = house.until("all settled", |diary| diary.len() >= 5).await;
    house.stop().await;
    assert_eq!(acked(&diary), [4, 2]);
    assert!(diary.contains(&Happened::Left(1)) && diary.contains(&Happened::Left(3)), "{diary:?}");
}

#[tokio::test(start_paused = true)]
async fn an_event_from_the_future_is_held_and_applied_when_its_time_has_come() {
    let (_folder, path) = folder();
    let house = House::open(&path, PipelineOptions::default());
    let soon = record("soon", "2026-11-22T12:10:00Z");
    let next_week = record("next-week", "2026-11-29T12:00:00Z");
    house.submit(&[(1, soon), (2, next_week)]).await;
    house.until("both acknowledged", |diary| acked(diary).len() == 2).await;
    let kept = Reader::open(&path).unwrap().quarantine(0, 10).unwrap();
    assert_eq!(kept.iter().map(|kept| kept.message.retry_at.is_some()).collect::<Vec<_>>(), [true, false]);
    assert_eq!(uses(&path), 0);

    house.clock.advance(301);
    house.until("the retried one is committed", |diary| diary.contains(&Happened::Committed(2))).await;
    let totals = house.stop().await;
    assert_eq!(uses(&path), 1);
    let kept = Reader::open(&path).unwrap().quarantine(0, 10).unwrap();
    assert_eq!(kept.len(), 1, "the one from next week stays for inspection");
    assert_eq!((totals.tally.read, totals.tally.quarantined), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn tables_are_written_while_it_runs_and_the_journal_is_pruned() {
    let (_folder, path) = folder();
    let house = House::open(&path, PipelineOptions::default());
    for number in 0..5 {
        house.submit(&[used(number)]).await;
        house.until("acknowledged", |diary| acked(diary).len() as u64 == number + 1).await;
    }
    let journal = || {
        let mut epochs = 0;
        Reader::open(&path).unwrap().journal_after(0, &mut |_, _| epochs += 1).unwrap();
        epochs
    };
    assert_eq!(journal(), 5);
    let wait = async {
        while journal() > 1 {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(Duration::from_secs(120), wait).await.expect("the fold prunes the journal");
    assert_eq!(uses(&path), 5);
    house.crash().await;
    let house = House::open(&path, PipelineOptions::default());
    house.submit(&[used(0)]).await;
    let totals = house.stop().await;
    assert_eq!((uses(&path), totals.tally.duplicates), (5, 1), "ids outlive the journal's rows");
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_commits_are_refused_gives_up_and_acknowledges_nothing() {
    let (_folder, path) = folder();
    let house = House::open(&path, PipelineOptions::default());
    house.is_shut.store(true, Ordering::SeqCst);
    house.submit(&[used(1)]).await;
    sleep(Duration::from_secs(1)).await;
    let diary = Arc::clone(&house.diary);
    timeout(Duration::from_secs(60), house.stop()).await.expect("the stop does not wait for the store");
    assert_eq!(*diary.lock().unwrap(), []);
    assert_eq!(uses(&path), 0);
}

/// A record of everything that KMS logs, as a message.
fn messages(seed: u64, count: usize) -> Vec<(u64, String)> {
    let shape = Shape { keys: 20, hostile: true, ..Shape::default() };
    let mut generator = Generator::new(seed, shape, Mix::everything());
    (0..count as u64).map(|number| (number, generator.next_record().record)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_told_live_is_what_the_store_tells_before_and_after_a_fold() {
    let (_folder, path) = folder();
    let options = PipelineOptions { epoch_interval: Duration::from_millis(1), ..PipelineOptions::default() };
    for fold_interval in [Duration::from_secs(3_600), Duration::from_millis(1)] {
        let house = House::open(&path, PipelineOptions { fold_interval, ..options.clone() });
        for batch in messages(fold_interval.as_secs(), 2_000).chunks(100) {
            house.submit(batch).await;
        }
        house.until("all settled", |diary| acked(diary).len() == 2_000).await;
        let (live, stored) = (&house.view, read_store(&path, CoverageOptions::default()).unwrap());
        let judge = live.judge();
        let query = KeyQuery::default();
        let selection = live.select(&query);
        let documents = live.documents(&selection.rows(0, usize::MAX)).unwrap();
        assert!(documents.len() > 10);
        assert_eq!(documents, stored.keys(&query, usize::MAX, &judge).keys);
        for document in &documents {
            let live = live.details(document.arn).unwrap().unwrap();
            let told: u64 = live.daily.iter().map(|day| day.counts.uses).sum();
            assert_eq!(told, document.uses, "{}", document.arn);
            let mut stored = stored.details(document.arn, &judge).unwrap().unwrap();
            // Principals of the same second have no order between them.
            stored.principals.sort_by_key(|one| live.principals.iter().position(|other| other == one));
            assert_eq!(live, stored);
        }
        assert_eq!(live.status().unwrap(), stored.status().unwrap());
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_by_day_add_up_at_every_moment_while_tables_are_written() {
    let (_folder, path) = folder();
    let fast = Duration::from_millis(1);
    let options = PipelineOptions { epoch_interval: fast, fold_interval: fast, ..PipelineOptions::default() };
    let house = House::open(&path, options);
    let (view, key) = (Arc::clone(&house.view), KEY.parse().unwrap());
    let is_done = Arc::<AtomicBool>::default();
    let watch = {
        let is_done = Arc::clone(&is_done);
        tokio::task::spawn_blocking(move || {
            let mut looks = 0;
            while !is_done.load(Ordering::SeqCst) {
                if let Some(told) = view.details(key).unwrap() {
                    let by_day: u64 = told.daily.iter().map(|day| day.counts.uses).sum();
                    let by_principal: u64 = told.principals.iter().map(|one| one.uses).sum();
                    assert_eq!((told.key.uses, told.key.uses), (by_day, by_principal));
                    assert!(told.key.last_use.is_some());
                    looks += 1;
                }
            }
            looks
        })
    };
    for number in 0..600 {
        house.submit(&[used(number)]).await;
        house.until("committed", |diary| acked(diary).len() as u64 == number + 1).await;
    }
    is_done.store(true, Ordering::SeqCst);
    assert!(watch.await.unwrap() > 10);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_quarantined_message_is_tried_again_or_dropped_when_a_person_says_so() {
    let (_folder, path) = folder();
    let house = House::open(&path, PipelineOptions::default());
    let tomorrow = record("tomorrow", "2026-11-23T12:00:00Z");
    house.submit(&[(1, tomorrow), (2, "junk".into()), (3, "rubbish".into())]).await;
    house.until("all acknowledged", |diary| acked(diary).len() == 3).await;
    let control = house.control.clone();
    let refused = control.quarantine(2, QuarantineAction::Retry).await.unwrap();
    assert!(
        matches!(&refused, QuarantineOutcome::Refused { reason, .. } if reason == "not_json"),
        "{refused:?}"
    );
    assert_eq!(control.quarantine(9, QuarantineAction::Drop).await, Ok(QuarantineOutcome::NoSuchMessage));
    assert_eq!(control.quarantine(2, QuarantineAction::Drop).await, Ok(QuarantineOutcome::Dropped));
    house.clock.advance(2 * 86_400);
    assert_eq!(control.quarantine(1, QuarantineAction::Retry).await, Ok(QuarantineOutcome::Applied));
    let kept = house.view.quarantine(0, 10).unwrap();
    assert_eq!(kept.iter().map(|kept| kept.id).collect::<Vec<_>>(), [3]);
    house.stop().await;
    assert_eq!(uses(&path), 1);
    assert_eq!(control.quarantine(3, QuarantineAction::Drop).await, Err(Stopped));
}

#[tokio::test(start_paused = true)]
async fn records_are_measured_by_source_and_outcome() {
    let (_folder, path) = folder();
    let house = House::open(&path, PipelineOptions::default());
    house.submit(&[used(1), used(1), (3, "junk".into())]).await;
    house.until("all acknowledged", |diary| acked(diary).len() == 3).await;
    let events = &house.progress.metrics().events;
    let count = |outcome| events.with_label_values(&["test", outcome]).get();
    assert_eq!((count("applied"), count("duplicate"), count("malformed")), (1, 1, 1));
    assert_eq!(house.progress.metrics().lag.get_sample_count(), 2);
    assert_eq!(house.progress.lag_seconds(), Some(3_600));
    house.stop().await;
}

fn cell() -> Cell {
    let place = Place { account: "111122223333".parse().unwrap(), region: "eu-west-1".parse().unwrap() };
    Cell { place, day: now().day() }
}

/// What history has of the cell: so many uses, the last of them this one.
fn history_of(uses: i64, last: &str, whole: bool) -> (CellHistory, CellEvidence) {
    let mut counts = DayCounts::default();
    counts.own.uses = uses;
    let from = now().minus(7_200);
    let key = KeyHistory { key: KEY.parse().unwrap(), counts, from, users: Vec::new(), users_overflow: 0 };
    let mut evidence = CellEvidence::default();
    let decoder = Decoder::new(OperationTable::default(), Limits::default());
    let record = record(last, "2026-11-22T11:30:00Z");
    decoder.decode(record.as_bytes(), now(), &mut |outcome| {
        let Outcome::Kms(kms) = outcome else { panic!("{outcome:?}") };
        kms.observations.iter().for_each(|observation| evidence.add(observation).unwrap());
    });
    let day = Span { from: cell().begin(), until: cell().end() };
    let (covered, gaps) = (if whole { vec![day] } else { Vec::new() }, Vec::new());
    let cell =
        CellHistory { cell: cell(), whole, records: 3, read_only: true, covered, gaps, keys: vec![key] };
    (cell, evidence)
}

fn counted(house: &House) -> (u64, String) {
    let rows = house.view.select(&KeyQuery::default()).rows(0, 10);
    let document = house.view.documents(&rows).unwrap().remove(0);
    let details = house.view.details(KEY.parse().unwrap()).unwrap().unwrap();
    let daily: u64 = details.daily.iter().map(|day| day.counts.uses).sum();
    assert_eq!(document.uses, daily, "the days do not add up");
    (document.uses, document.last_use.unwrap().event_id.unwrap())
}

#[tokio::test(start_paused = true)]
async fn history_replaces_what_the_stream_counted_of_its_day_and_never_adds() {
    let (_folder, path) = folder();
    let options = PipelineOptions { id_bound: 10, ..PipelineOptions::default() };
    let house = House::open(&path, options.clone());
    // Some of these are too late for a window of ten.
    let times: Vec<String> = (0..60).map(|minute| format!("2026-11-22T10:{:02}:00Z", 59 - minute)).collect();
    let messages: Vec<(u64, String)> =
        (0u64..).zip(&times).map(|(number, time)| (number, record(&format!("e{number}"), time))).collect();
    for message in &messages {
        house.submit(std::slice::from_ref(message)).await;
    }
    house.until("all acknowledged", |diary| acked(diary).len() == 60).await;
    assert!(counted(&house).0 < 60);

    let (history, evidence) = history_of(60, "latest", true);
    house.history.submit(history.clone(), evidence.clone()).await.unwrap();
    assert_eq!(counted(&house), (60, "latest".to_owned()));
    assert!(house.history.is_finished(cell()));
    // Again, and what the stream brings later, changes nothing but evidence.
    house.history.submit(history.clone(), evidence.clone()).await.unwrap();
    house.submit(&[(60, record("later", "2026-11-22T11:45:00Z"))]).await;
    house.until("the late one is acknowledged", |diary| acked(diary).len() == 61).await;
    assert_eq!(counted(&house), (60, "later".to_owned()));
    house.crash().await;

    let house = House::open(&path, options.clone());
    assert_eq!(counted(&house), (60, "later".to_owned()));
    assert!(house.history.is_finished(cell()));
    house.stop().await;
    // Now from the tables.
    let house = House::open(&path, options);
    let (fewer, evidence) = history_of(58, "latest", false);
    house.history.submit(fewer, evidence.clone()).await.unwrap();
    assert_eq!(counted(&house).0, 60, "what is not whole takes nothing away");
    let (right, _) = history_of(59, "latest", true);
    house.history.submit(right, evidence).await.unwrap();
    assert_eq!(counted(&house).0, 59);
    house.stop().await;
    assert_eq!(uses(&path), 59);
    let accounts = read_store(&path, CoverageOptions::default()).unwrap().accounts(&[], now());
    assert_eq!(accounts.accounts[0].regions[0].history.days[0].from, "2026-11-22");
}

#[tokio::test(start_paused = true)]
async fn a_position_is_durable_with_its_effect_and_stands_still_before_what_cannot_be_kept() {
    let (_folder, path) = folder();
    let store = SqliteOptions { quarantine_bytes: 10, ..SqliteOptions::at(&path) };
    let house = House::open_store(store.clone(), PipelineOptions::default());
    let checkpoint = |number: u64| Checkpoint {
        stream: "s".into(),
        shard: "0".into(),
        at: ShardPosition::After(number.to_string().into()),
    };
    let batch = |house: &House, number: u64, body: String| Batch {
        checkpoint: Some(checkpoint(number)),
        ..house.batch(&[(number, body)])
    };
    house.intake.submit(batch(&house, 1, used(1).1)).await;
    house.until("it is durable", |diary| acked(diary).len() == 1).await;
    assert_eq!(house.checkpoints.of_source("test"), [checkpoint(1)]);
    // There is no room to keep this: it is left, and the call returns only then.
    house.intake.submit(batch(&house, 2, "this is no JSON at all".to_owned())).await;
    assert!(house.diary.lock().unwrap().contains(&Happened::Left(2)));
    assert_eq!(house.checkpoints.of_source("test"), [checkpoint(1)]);
    let mark = SourceMark { at: now(), caught_up: Some(now()), ..SourceMark::default() };
    house.intake.note(&"test".into(), mark);
    house.until("the mark is committed", |diary| diary.contains(&Happened::Committed(3))).await;
    house.crash().await;
    let house = House::open_store(store, PipelineOptions::default());
    assert_eq!(house.checkpoints.of_source("test"), [checkpoint(1)]);
    assert_eq!(house.view.accounts(&[]).sources[0].until, Some(now()));
    house.stop().await;
    let house = House::open(&path, PipelineOptions::default());
    assert_eq!(house.checkpoints.of_source("test"), [checkpoint(1)], "from the tables");
    house.stop().await;
}
