//! Announced trail objects, from the announcement to the durable commit, beside unpacking the same bytes and doing
//! nothing with them, on all cores.
//!
//! Ours fetches every object through the SDK from the S3 double in this process; theirs has the bytes at hand.
//! Announcements are S3's notifications, ten a batch as a queue delivers them, several batches at the same time.

use std::collections::VecDeque;
use std::io::Cursor;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use dormouse_aws::AwsOptions;
use dormouse_cloudtrail::{Decoder, Limits};
use dormouse_model::{Clock, EventTime, OperationTable, WallClock};
use dormouse_pipeline::{AllowedObjects, ObjectIntake, OnPoison, Pipeline, PipelineIntake, PipelineOptions};
use dormouse_simulate::records::layout::{LayoutOptions, TrailObject, lay_out, put_all};
use dormouse_simulate::records::{Generated, Generator, Mix, Shape, s3_notification};
use dormouse_simulate::s3::{S3Double, S3Options};
use dormouse_sources::health::Monitor;
use dormouse_sources::objects::S3Objects;
use dormouse_sources::{Acknowledge, Batch, Intake, Message, Receipt};
use dormouse_store::{SqliteOptions, SqliteStore, Store};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::gunzip::unpack;
use crate::paired::{Comparison, PAST};

const RECORDS: usize = 200_000;
const BUCKET: &str = "example-trail";
/// So many batches are at work at the same time …
const BATCHES: usize = 8;
/// … of so many announcements.
const BATCH: usize = 10;
const ROUNDS: usize = 5;

pub(crate) fn bench() -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let busy = Generator::new(6, shape(), Mix::busy()).take(RECORDS).collect();
        compare("trail objects with durable commits, all KMS", busy).await?;
        compare("the same, nine of ten of other services", usual()).await
    })
}

/// Three accounts and three Regions: some thousand records a file.
fn shape() -> Shape {
    let start = EventTime::from_seconds(PAST);
    Shape { keys: 20_000, events_per_second: 30.0, start, ..Shape::default() }
}

/// Most of an organisation's records are of other services than KMS. What delivers events changes hardly ever.
fn usual() -> Vec<Generated> {
    let mix = Mix { other_services: 0.95, ..Mix::busy() };
    let is_usual =
        |record: &Generated| !matches!(record.source, "cloudtrail.amazonaws.com" | "events.amazonaws.com");
    Generator::new(7, shape(), mix).filter(is_usual).take(RECORDS).collect()
}

async fn compare(what: &'static str, records: Vec<Generated>) -> anyhow::Result<()> {
    let kms = records.iter().filter(|record| record.source == "kms.amazonaws.com").count();
    let options = LayoutOptions { bucket: BUCKET.to_owned(), digests: false, ..LayoutOptions::default() };
    let objects = lay_out(&records, &options);
    drop(records);
    let scene = Scene::new(&objects, kms as u64).await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(scene.dormouse(&objects).await?);
        theirs.push(unpack(objects.len(), |number| Ok(Cursor::new(&*objects[number].body)))?);
    }
    Comparison {
        what,
        against: "unpacking them and nothing else",
        #[expect(clippy::cast_precision_loss, reason = "hundreds of thousands")]
        amount: RECORDS as f64,
        unit: "records",
        aim: 0.35,
        ours,
        theirs,
    }
    .print();
    Ok(())
}

/// A double with the objects in its bucket, and a way to it.
struct Scene {
    _double: S3Double,
    store: S3Objects,
    /// How many of the records are of KMS.
    kms: u64,
}

impl Scene {
    async fn new(objects: &[TrailObject], kms: u64) -> anyhow::Result<Self> {
        let double = S3Double::start(S3Options::default()).await?;
        double.create_bucket(BUCKET);
        put_all(&double, BUCKET, objects)?;
        let aws = AwsOptions {
            region: Some("eu-west-1".into()),
            endpoint_url: Some(double.endpoint().to_owned()),
            is_double: true,
            ..AwsOptions::default()
        };
        let store = S3Objects::new(&dormouse_aws::load_config(&aws).await?);
        Ok(Self { _double: double, store, kms })
    }

    /// From the first announcement until the last is acknowledged.
    async fn dormouse(&self, objects: &[TrailObject]) -> anyhow::Result<Duration> {
        let start = Instant::now();
        let folder = tempfile::tempdir()?;
        let store: Arc<dyn Store> =
            Arc::new(SqliteStore::open(SqliteOptions::at(folder.path().join("bench.db")))?);
        let decoder = Arc::new(Decoder::new(OperationTable::default(), Limits::default()));
        let clock: Arc<dyn Clock> = Arc::new(WallClock);
        let pipeline = Pipeline::open(store, decoder, clock, PipelineOptions::default())?;
        let progress = pipeline.progress();
        let monitor = Monitor::new("bench".into(), |_, _| "");
        let allowed = AllowedObjects::parse([BUCKET])?;
        let fetching =
            ObjectIntake::new(Arc::new(self.store.clone()), allowed, monitor, CancellationToken::new());
        let intake = pipeline.intake(OnPoison::Quarantine).with_objects("bench", Arc::new(fetching));
        let stop_pipeline = CancellationToken::new();
        let pipeline = tokio::spawn(pipeline.run(stop_pipeline.clone()));
        let acks = Arc::new(Acks::default());
        deliver(objects, &intake, &acks).await?;
        let give_up = start + Duration::from_secs(300);
        while acks.acknowledged.load(Ordering::Acquire) < objects.len() as u64 {
            let left = acks.left.load(Ordering::Relaxed);
            ensure!(Instant::now() < give_up && left == 0, "not all objects were read, {left} were left");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let committed = start.elapsed();
        let tally = progress.tally();
        let is_all = tally.read == RECORDS as u64 && tally.kms == self.kms && tally.quarantined == 0;
        ensure!(is_all, "not all was applied: {tally:?}");
        stop_pipeline.cancel();
        pipeline.await??;
        Ok(committed)
    }
}

/// Announces the objects.
async fn deliver(objects: &[TrailObject], intake: &PipelineIntake, acks: &Arc<Acks>) -> anyhow::Result<()> {
    let message = |(number, object): (u64, &TrailObject)| Message {
        id: number.to_string().into(),
        body: s3_notification(BUCKET, &object.key).into_bytes(),
        receipt: Receipt::new(number),
        receive_count: 1,
    };
    let messages: Arc<Mutex<VecDeque<_>>> = Arc::new(Mutex::new((0..).zip(objects).map(message).collect()));
    let tasks: Vec<_> = (0..BATCHES)
        .map(|_| tokio::spawn(poll(Arc::clone(&messages), intake.clone(), Arc::clone(acks))))
        .collect();
    for task in tasks {
        task.await?;
    }
    Ok(())
}

/// Hands one batch after the other over, as a source's poller does.
async fn poll(messages: Arc<Mutex<VecDeque<Message>>>, intake: PipelineIntake, acks: Arc<Acks>) {
    loop {
        let batch: Vec<_> = {
            let mut messages = messages.lock().unwrap_or_else(PoisonError::into_inner);
            let count = messages.len().min(BATCH);
            messages.drain(..count).collect()
        };
        if batch.is_empty() {
            return;
        }
        let acks: Arc<dyn Acknowledge> = Arc::<Acks>::clone(&acks);
        intake.submit(Batch { source: "bench".into(), messages: batch, acks, checkpoint: None }).await;
    }
}

/// Counts what became of the announcements.
#[derive(Default)]
struct Acks {
    acknowledged: AtomicU64,
    left: AtomicU64,
}

impl Acknowledge for Acks {
    fn ack(&self, receipts: Vec<Receipt>) {
        self.acknowledged.fetch_add(receipts.len() as u64, Ordering::Release);
    }

    fn leave(&self, receipts: Vec<Receipt>) {
        self.left.fetch_add(receipts.len() as u64, Ordering::Relaxed);
    }
}
