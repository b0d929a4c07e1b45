//! Draining a queue with durable commits beside the bare SDK loop (receive ten, delete ten) on the same double.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::DeleteMessageBatchRequestEntry;
use dormouse_aws::AwsOptions;
use dormouse_cloudtrail::{Decoder, Limits};
use dormouse_model::{Clock, OperationTable, WallClock};
use dormouse_pipeline::{OnPoison, Pipeline, PipelineOptions};
use dormouse_simulate::records::{Generated, Generator, Mix, Popularity, Shape};
use dormouse_simulate::sqs::{QueueOptions, SqsDouble, SqsOptions as DoubleOptions};
use dormouse_sources::sqs::{SqsOptions, SqsSource};
use dormouse_store::{SqliteOptions, SqliteStore, Store};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::paired::{Comparison, median, print_bounded};

const MESSAGES: usize = 150_000;
const TASKS: usize = 32;
const ROUNDS: usize = 3;

pub(crate) fn bench() -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(compare())
}

async fn compare() -> anyhow::Result<()> {
    let shape = Shape { keys: 20_000, popularity: Popularity::Zipf(1.0), ..Shape::default() };
    let records = Generator::new(4, shape, Mix::busy()).take(MESSAGES);
    let bodies: Vec<String> = records.map(|record| Generated::eventbridge(&record)).collect();
    let (mut ours, mut theirs, mut folds) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        theirs.push(with_full_queue(&bodies, bare_loop).await?.emptied);
        let drained = with_full_queue(&bodies, dormouse).await?;
        ours.push(drained.emptied);
        folds.push(drained.fold);
    }
    Comparison {
        what: "SQS drain with durable commits",
        against: "bare SDK receive + delete, 32 tasks",
        #[expect(clippy::cast_precision_loss, reason = "hundreds of thousands")]
        amount: MESSAGES as f64,
        unit: "messages",
        aim: 0.75,
        ours,
        theirs,
    }
    .print();
    // A running instance does this every 30 s, in the background.
    let fold = median(&mut folds).as_secs_f64();
    print_bounded("writing the tables after those messages", fold, "s", 3.0);
    Ok(())
}

/// How long the queue took to empty, and then the tables to be written.
struct Drained {
    emptied: Duration,
    fold: Duration,
}

/// A double with the messages in its queue, and a client to it.
struct Scene {
    double: SqsDouble,
    queue: String,
    client: Client,
}

impl Scene {
    /// Waits until everything was deleted.
    async fn until_empty(&self) -> anyhow::Result<()> {
        let give_up = Instant::now() + Duration::from_secs(300);
        while self.double.counters(&self.queue)?.deleted < MESSAGES as u64 {
            ensure!(
                Instant::now() < give_up,
                "the queue was not emptied: {:?}",
                self.double.counters(&self.queue)?
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }
}

/// Fills a queue and lets `drain` empty it.
async fn with_full_queue<F: Future<Output = anyhow::Result<Drained>>>(
    bodies: &[String],
    drain: impl FnOnce(Arc<Scene>) -> F,
) -> anyhow::Result<Drained> {
    let double = SqsDouble::start(DoubleOptions::default()).await?;
    let options = QueueOptions { visibility_seconds: 300, ..QueueOptions::default() };
    let queue = double.create_queue("bench", options);
    double.send_many(&queue, bodies.iter().cloned())?;
    let aws = AwsOptions {
        region: Some("eu-west-1".into()),
        endpoint_url: Some(double.endpoint().to_owned()),
        is_double: true,
        ..AwsOptions::default()
    };
    let client = Client::new(&dormouse_aws::load_config(&aws).await?);
    let scene = Arc::new(Scene { double, queue, client });
    drain(scene).await
}

async fn bare_loop(scene: Arc<Scene>) -> anyhow::Result<Drained> {
    let start = Instant::now();
    let tasks: Vec<_> = (0..TASKS).map(|_| tokio::spawn(receive_and_delete(Arc::clone(&scene)))).collect();
    for task in tasks {
        task.await??;
    }
    scene.until_empty().await?;
    Ok(Drained { emptied: start.elapsed(), fold: Duration::ZERO })
}

async fn receive_and_delete(scene: Arc<Scene>) -> anyhow::Result<()> {
    loop {
        let receive = scene.client.receive_message().queue_url(&scene.queue).max_number_of_messages(10);
        let messages = receive.send().await?.messages.unwrap_or_default();
        if messages.is_empty() {
            return Ok(());
        }
        let mut delete = scene.client.delete_message_batch().queue_url(&scene.queue);
        for (number, message) in messages.into_iter().enumerate() {
            let entry = DeleteMessageBatchRequestEntry::builder().id(number.to_string());
            let handle = message.receipt_handle.context("a message without a handle")?;
            delete = delete.entries(entry.receipt_handle(handle).build()?);
        }
        delete.send().await?;
    }
}

async fn dormouse(scene: Arc<Scene>) -> anyhow::Result<Drained> {
    let start = Instant::now();
    let folder = tempfile::tempdir()?;
    let store: Arc<dyn Store> =
        Arc::new(SqliteStore::open(SqliteOptions::at(folder.path().join("bench.db")))?);
    let decoder = Arc::new(Decoder::new(OperationTable::default(), Limits::default()));
    let clock: Arc<dyn Clock> = Arc::new(WallClock);
    let pipeline = Pipeline::open(store, decoder, clock, PipelineOptions::default())?;
    let intake = Arc::new(pipeline.intake(OnPoison::Quarantine));
    let mut options = SqsOptions::new("bench", scene.queue.clone());
    options.max_pollers = TASKS;
    options.visibility_timeout = Duration::from_secs(300);
    let source = SqsSource::new(&scene.client, options);
    let stop_pipeline = CancellationToken::new();
    let source = tokio::spawn(source.run(intake, CancellationToken::new(), Duration::from_secs(10)));
    let pipeline = tokio::spawn(pipeline.run(stop_pipeline.clone()));
    scene.until_empty().await?;
    let emptied = start.elapsed();
    // A poll that waits for more messages is not waited for.
    source.abort();
    let fold_start = Instant::now();
    stop_pipeline.cancel();
    pipeline.await??;
    Ok(Drained { emptied, fold: fold_start.elapsed() })
}
