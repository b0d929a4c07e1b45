//! Reading a Kinesis stream with durable commits beside the bare SDK loop (all shards at once, nothing decoded) on the
//! same double.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types::ShardIteratorType;
use dormouse_aws::AwsOptions;
use dormouse_cloudtrail::{Decoder, Limits};
use dormouse_model::{Clock, EventTime, OperationTable, WallClock};
use dormouse_pipeline::{OnPoison, Pipeline, PipelineOptions};
use dormouse_simulate::kinesis::{KinesisDouble, KinesisOptions as DoubleOptions, StreamOptions};
use dormouse_simulate::records::{Generated, Generator, Mix, Popularity, Shape};
use dormouse_sources::kinesis::{KinesisOptions, KinesisSource, Start};
use dormouse_store::{SqliteOptions, SqliteStore, Store};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::paired::{Comparison, PAST};

/// Each some 1.5 KB, as EventBridge wraps it.
const RECORDS: usize = 300_000;
const SHARDS: u32 = 8;
const STREAM: &str = "bench";
const ROUNDS: usize = 3;

pub(crate) fn bench() -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(compare())
}

async fn compare() -> anyhow::Result<()> {
    let scene = Scene::new().await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        theirs.push(bare_loop(&scene).await?);
        ours.push(dormouse(&scene).await?);
    }
    Comparison {
        what: "Kinesis end to end with durable commits",
        against: "bare SDK GetRecords, 8 shards",
        #[expect(clippy::cast_precision_loss, reason = "hundreds of thousands")]
        amount: RECORDS as f64,
        unit: "records",
        aim: 0.55,
        ours,
        theirs,
    }
    .print();
    Ok(())
}

/// A double with the records in its stream, and a client to it. Reading takes nothing away, so all rounds share it.
struct Scene {
    _double: KinesisDouble,
    client: Client,
}

impl Scene {
    async fn new() -> anyhow::Result<Self> {
        let double = KinesisDouble::start(DoubleOptions::default()).await?;
        double.create_stream(STREAM, SHARDS, StreamOptions::default());
        let (start, popularity) = (EventTime::from_seconds(PAST), Popularity::Zipf(1.0));
        let shape = Shape { keys: 20_000, popularity, start, ..Shape::default() };
        let records = Generator::new(5, shape, Mix::busy()).take(RECORDS);
        let put = records.map(|record| (record.event_id.clone(), Generated::eventbridge(&record)));
        ensure!(double.put_many(STREAM, put)? == RECORDS, "the stream does not hold all records");
        let aws = AwsOptions {
            region: Some("eu-west-1".into()),
            endpoint_url: Some(double.endpoint().to_owned()),
            is_double: true,
            ..AwsOptions::default()
        };
        let client = Client::new(&dormouse_aws::load_config(&aws).await?);
        Ok(Self { _double: double, client })
    }
}

async fn bare_loop(scene: &Scene) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let listed = scene.client.list_shards().stream_name(STREAM).send().await?;
    let read =
        |shard: aws_sdk_kinesis::types::Shard| tokio::spawn(read(scene.client.clone(), shard.shard_id));
    let tasks: Vec<_> = listed.shards.unwrap_or_default().into_iter().map(read).collect();
    let mut records = 0;
    for task in tasks {
        records += task.await??;
    }
    ensure!(records == RECORDS, "the bare loop read {records} records");
    Ok(start.elapsed())
}

/// Reads a shard until nothing is behind it.
async fn read(client: Client, shard: String) -> anyhow::Result<usize> {
    let first = client
        .get_shard_iterator()
        .stream_name(STREAM)
        .shard_id(shard)
        .shard_iterator_type(ShardIteratorType::TrimHorizon);
    let mut next = first.send().await?.shard_iterator;
    let mut records = 0;
    while let Some(iterator) = next {
        let answer = client.get_records().shard_iterator(iterator).send().await?;
        records += answer.records.len();
        next = answer.next_shard_iterator.filter(|_| answer.millis_behind_latest != Some(0));
    }
    Ok(records)
}

/// Until the last record is committed.
async fn dormouse(scene: &Scene) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let folder = tempfile::tempdir()?;
    let store: Arc<dyn Store> =
        Arc::new(SqliteStore::open(SqliteOptions::at(folder.path().join("bench.db")))?);
    let decoder = Arc::new(Decoder::new(OperationTable::default(), Limits::default()));
    let clock: Arc<dyn Clock> = Arc::new(WallClock);
    let pipeline = Pipeline::open(store, decoder, Arc::clone(&clock), PipelineOptions::default())?;
    let intake = Arc::new(pipeline.intake(OnPoison::Quarantine));
    let progress = pipeline.progress();
    let mut options = KinesisOptions::new("bench", STREAM);
    options.start = Start::TrimHorizon;
    // What Kinesis allows is not what is measured.
    options.reads_per_second = 1_000.0;
    let source = KinesisSource::new(&scene.client, options, Vec::new(), clock);
    let stats = source.stats();
    let (stop_source, stop_pipeline) = (CancellationToken::new(), CancellationToken::new());
    let source = tokio::spawn(source.run(intake, stop_source.clone(), Duration::from_secs(10)));
    let pipeline = tokio::spawn(pipeline.run(stop_pipeline.clone()));
    let give_up = start + Duration::from_secs(300);
    while stats.acknowledged.get() < RECORDS as u64 {
        ensure!(Instant::now() < give_up, "the stream was not read: {stats}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let committed = start.elapsed();
    let tally = progress.tally();
    ensure!(tally.kms == RECORDS as u64 && tally.quarantined == 0, "not all was applied: {tally:?}");
    stop_source.cancel();
    let summary = source.await??;
    ensure!(summary.is_drained(), "{summary}");
    stop_pipeline.cancel();
    pipeline.await.context("the pipeline")??;
    Ok(committed)
}
