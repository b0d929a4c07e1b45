//! The pipeline over a store that can refuse, a source in memory and time that stands still unless somebody waits.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dormouse_cloudtrail::{Decoder, Limits};
use dormouse_ledger::Counts;
use dormouse_model::{Clock, EventTime, ManualClock, OperationTable};
use dormouse_sources::{Acknowledge, Batch, Intake, Message, Receipt};
use dormouse_store::{
    Commit, EachKey, Epoch, Fold, Loaded, Reader, SqliteOptions, SqliteStore, Store, StoreError,
    StoredQuarantined, Totals,
};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{OnPoison, Pipeline, PipelineError, PipelineOptions, read_store};

const KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

/// What happened, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Happened {
    Committed(u64),
    Acked(u64),
    Left(u64),
}

type Diary = Arc<Mutex<Vec<Happened>>>;

/// A real store behind a gate.
struct Gate {
    store: SqliteStore,
    is_shut: Arc<AtomicBool>,
    diary: Diary,
}

impl Store for Gate {
    fn commit(&self, epoch: &Epoch<'_>) -> Result<Commit, StoreError> {
        if self.is_shut.load(Ordering::SeqCst) {
            return Ok(Commit::Retry("the gate is shut".into()));
        }
        let outcome = self.store.commit(epoch)?;
        self.diary.lock().unwrap().push(Happened::Committed(epoch.seq));
        Ok(outcome)
    }

    fn fold(&self, fold: &Fold) -> Result<Commit, StoreError> {
        self.store.fold(fold)
    }

    fn load_keys(&self, each: &EachKey<'_>) -> Result<(), StoreError> {
        self.store.load_keys(each)
    }

    fn load(&self) -> Result<Loaded, StoreError> {
        self.store.load()
    }

    fn journal_after(&self, seq: u64, each: &mut dyn FnMut(u64, &[u8])) -> Result<(), StoreError> {
        self.store.journal_after(seq, each)
    }

    fn quarantine_room(&self) -> u64 {
        self.store.quarantine_room()
    }

    fn quarantined(&self, id: i64) -> Result<Option<StoredQuarantined>, StoreError> {
        self.store.quarantined(id)
    }

    fn due_for_retry(&self, now: EventTime, most: usize) -> Result<Vec<StoredQuarantined>, StoreError> {
        self.store.due_for_retry(now, most)
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
        let store = SqliteStore::open(store).unwrap();
        let gate = Gate { store, is_shut: Arc::clone(&is_shut), diary: Arc::clone(&diary) };
        let clock = Arc::new(ManualClock::at(now()));
        let decoder = Arc::new(Decoder::new(OperationTable::default(), Limits::default()));
        let wall: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        let pipeline = Pipeline::open(Arc::new(gate), decoder, wall, options).unwrap();
        let (intake, redrive) = (pipeline.intake(OnPoison::Quarantine), pipeline.intake(OnPoison::Redrive));
        let stop = CancellationToken::new();
        let running = tokio::spawn(pipeline.run(stop.clone()));
        Self { diary, is_shut, clock, intake, redrive, running, stop }
    }

    fn batch(&self, messages: &[(u64, String)]) -> Batch {
        let message = |(number, body): &(u64, String)| Message {
            body: body.clone(),
            receipt: Receipt::new(*number),
            receive_count: 1,
            id: number.to_string().into(),
        };
        Batch {
            source: "test".into(),
            messages: messages.iter().map(message).collect(),
            acks: Arc::new(Acks(Arc::clone(&self.diary))),
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
    let view = read_store(path).unwrap();
    let key = KEY.parse().unwrap();
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
    let kept = Reader::open(&path).unwrap().quarantine(0, 10).unwrap();
    let bodies: Vec<&[u8]> = kept.iter().map(|kept| &*kept.message.body).collect();
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
