//! Law 1: nothing is deleted before the commit that holds it, and no duplicate before its first copy.
//!
//! The parts are put together in this process, around a store that refuses commits and remembers what it made durable.
//! For every delete, the queue asks that memory before it answers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use dormouse_cloudtrail::{Decoder, Limits};
use dormouse_model::{OperationTable, WallClock};
use dormouse_pipeline::{OnPoison, Pipeline, PipelineOptions, Progress};
use dormouse_simulate::records::{Generated, Mix};
use dormouse_simulate::sqs::{Fault, Operation, QueueCounters, QueueOptions, SqsDouble};
use dormouse_sources::sqs::{SqsOptions, SqsSource};
use dormouse_store::{SqliteOptions, SqliteStore, Store};
use dormouse_tests::aws;
use dormouse_tests::traffic::records;
use dormouse_tests::wait::{until, when};
use dormouse_tests::watched::{WatchedStore, watched};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A source and a pipeline at work in this process.
struct Works {
    _folder: TempDir,
    double: SqsDouble,
    queue: String,
    store: Arc<WatchedStore>,
    progress: Arc<Progress>,
    /// Deletes that came too early.
    early: Arc<Mutex<Vec<String>>>,
    stop: CancellationToken,
    source: JoinHandle<()>,
    pipeline: JoinHandle<()>,
    pipeline_stop: CancellationToken,
}

impl Works {
    async fn start(guard: impl FnOnce(SqliteStore) -> WatchedStore, bodies: &[String]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let inner = SqliteStore::open(SqliteOptions::at(folder.path().join("dormouse.db"))).unwrap();
        let store = Arc::new(guard(inner));
        let double = SqsDouble::start(dormouse_simulate::sqs::SqsOptions::default()).await.unwrap();
        let queue =
            double.create_queue("dormouse", QueueOptions { reorder_window: 50, ..QueueOptions::default() });
        double.faults().set(Operation::ReceiveMessage, Fault { duplicated: 0.1, ..Fault::default() });
        double.send_many(&queue, bodies).unwrap();
        let early = watch_deletes(&double, &store);

        let decoder = Arc::new(Decoder::new(OperationTable::default(), Limits::default()));
        let options =
            PipelineOptions { epoch_interval: Duration::from_millis(20), ..PipelineOptions::default() };
        let as_store: Arc<dyn Store> = store.clone();
        let pipeline = Pipeline::open(as_store, decoder, Arc::new(WallClock), options).unwrap();
        let (progress, intake) = (pipeline.progress(), Arc::new(pipeline.intake(OnPoison::Quarantine)));
        let source = SqsSource::new(&aws::sqs(double.endpoint()), source_options(&queue));
        let (stop, pipeline_stop) = (CancellationToken::new(), CancellationToken::new());
        let source_stop = stop.clone();
        let source = tokio::spawn(async move {
            let summary = source.run(intake, source_stop, Duration::from_secs(60)).await.unwrap();
            assert!(summary.is_drained(), "{summary}");
        });
        let stop_pipeline = pipeline_stop.clone();
        let pipeline = tokio::spawn(async move {
            pipeline.run(stop_pipeline).await.unwrap();
        });
        Self { _folder: folder, double, queue, store, progress, early, stop, source, pipeline, pipeline_stop }
    }

    fn counters(&self) -> QueueCounters {
        self.double.counters(&self.queue).unwrap()
    }

    fn deletes(&self) -> u64 {
        self.double.requests(Operation::DeleteMessage) + self.double.requests(Operation::DeleteMessageBatch)
    }

    /// Waits until the queue is empty, ends everything in order, and looks at what came too early.
    async fn finish(self) -> Arc<WatchedStore> {
        until("the queue is empty", || {
            let counters = self.counters();
            when(counters.visible + counters.in_flight == 0, counters)
        })
        .await;
        self.stop.cancel();
        self.source.await.unwrap();
        self.pipeline_stop.cancel();
        self.pipeline.await.unwrap();
        let early = self.early.lock().unwrap();
        assert!(early.is_empty(), "{} deletes came too early: {:?}", early.len(), early.first());
        self.store
    }
}

/// A message whose delete came with an old handle is back soon.
fn source_options(queue: &str) -> SqsOptions {
    SqsOptions {
        wait_time: Duration::from_secs(1),
        visibility_timeout: Duration::from_secs(5),
        ..SqsOptions::new("bus", queue)
    }
}

/// At each delete, the event of the message must be durable, and a copy of it counted by then.
fn watch_deletes(double: &SqsDouble, store: &Arc<WatchedStore>) -> Arc<Mutex<Vec<String>>> {
    let early: Arc<Mutex<Vec<String>>> = Arc::default();
    let (store, found) = (Arc::clone(store), Arc::clone(&early));
    double.on_delete(move |id, body| {
        let body: Value = serde_json::from_str(body).unwrap();
        let event = body["detail"]["eventID"].as_str().unwrap();
        let durable = store.guard.durable();
        if !durable.events.contains(event) || !durable.counted.contains(event) {
            found.lock().unwrap().push(format!("message {id}, event {event}"));
        }
    });
    early
}

/// Uses, every fifth of them sent twice, the copies far from each other.
fn uses(count: usize) -> Vec<String> {
    let records = records(5, count, Mix::only(&[("Decrypt", 3), ("GenerateDataKey", 1)]));
    let again = records.iter().step_by(5).map(Generated::eventbridge);
    records.iter().map(Generated::eventbridge).chain(again).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_commits_are_refused_nothing_is_deleted_and_then_all_goes_on_by_itself() {
    let works = Works::start(|inner| watched(inner, u64::MAX, 0), &uses(4_000)).await;
    until("several commits are refused, and messages keep coming in", || {
        let seen = (works.store.guard.refused(), works.counters());
        when(seen.0 >= 4 && seen.1.in_flight >= 4_000, seen)
    })
    .await;
    assert!(works.progress.is_paused());
    assert_eq!(works.deletes(), 0, "something was deleted: {:?}", works.counters());
    assert_eq!(works.counters().deleted, 0);
    assert_eq!(works.store.guard.committed(), 0);

    works.store.guard.relent();
    let progress = Arc::clone(&works.progress);
    let store = works.finish().await;
    assert!(!progress.is_paused());
    assert_eq!(store.guard.durable().counted.len(), 4_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_refusals_between_all_commits_no_delete_comes_early() {
    // A refused commit waits a tenth of a second and more, so the epochs between are large and many copies meet in them.
    let works = Works::start(|inner| watched(inner, 1, 1), &uses(20_000)).await;
    let store = works.finish().await;
    assert!(
        store.guard.committed() >= 3 && store.guard.refused() >= 3,
        "{} commits",
        store.guard.committed()
    );
    assert_eq!(store.guard.durable().counted.len(), 20_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_pauses_and_room_resumes() {
    let bodies = uses(10_000);
    let guard = |inner: SqliteStore| {
        inner.limit_pages(120).unwrap();
        watched(inner, 0, 0)
    };
    let works = Works::start(guard, &bodies).await;
    until("the disk is full", || when(works.progress.is_paused(), works.counters())).await;
    let deleted_before = works.counters().deleted;
    assert!(deleted_before < bodies.len() as u64, "everything fitted: {:?}", works.counters());
    works.store.inner.limit_pages(1_000_000).unwrap();
    let store = works.finish().await;
    assert_eq!(store.guard.durable().counted.len(), 10_000);
}
