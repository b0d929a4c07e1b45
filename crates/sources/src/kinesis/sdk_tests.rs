//! A whole source with the real SDK against the double of Kinesis, on loopback and in real time.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::Credentials;
use dormouse_aws::{AwsOptions, ErrorClass, load_config};
use dormouse_model::{Clock, ShardPosition, WallClock};
use dormouse_simulate::kinesis::{self as double, KinesisDouble, KinesisFault, Operation, StreamOptions};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::testing::Pipeline;
use super::{KinesisOptions, KinesisSource, KinesisStats, KinesisSummary, Start};
use crate::SourceError;
use crate::health::Work;

const GRACE: Duration = Duration::from_secs(20);

async fn start_double(shards: u32, options: StreamOptions) -> (KinesisDouble, String) {
    let double = KinesisDouble::start(double::KinesisOptions::default()).await.unwrap();
    let arn = double.create_stream("dormouse", shards, options);
    (double, arn)
}

async fn client_for(double: &KinesisDouble) -> Client {
    let options = AwsOptions {
        region: Some("eu-west-1".to_owned()),
        endpoint_url: Some(double.endpoint().to_owned()),
        ..AwsOptions::default()
    };
    let config = load_config(&options).await.unwrap();
    let credentials = Credentials::new("AKIAEXAMPLE", "secret", None, None, "test");
    let builder = aws_sdk_kinesis::config::Builder::from(&config).credentials_provider(credentials);
    Client::from_conf(builder.build())
}

/// Fast, because a double has no quota unless it is told so.
fn options(stream: &str, start: Start) -> KinesisOptions {
    KinesisOptions {
        start,
        reads_per_second: 100.0,
        poll_interval: Duration::from_millis(20),
        max_records: 500,
        ..KinesisOptions::new("bus", stream)
    }
}

struct Running {
    stats: Arc<KinesisStats>,
    health: tokio::sync::watch::Receiver<crate::health::SourceHealth>,
    stop: CancellationToken,
    task: JoinHandle<Result<KinesisSummary, SourceError>>,
}

impl Running {
    async fn start(double: &KinesisDouble, options: KinesisOptions, pipeline: &Pipeline) -> Self {
        let checkpoints = pipeline.ledger().checkpoints();
        let source = KinesisSource::new(&client_for(double).await, options, checkpoints, Arc::new(WallClock));
        let (stats, health) = (source.stats(), source.health());
        let stop = CancellationToken::new();
        let task = tokio::spawn(source.run(Arc::new(pipeline.clone()), stop.clone(), GRACE));
        Self { stats, health, stop, task }
    }

    async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        for _ in 0..6_000 {
            if condition() {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("never: {what}: {}", self.stats);
    }

    async fn until_committed(&self, pipeline: &Pipeline, count: usize) {
        self.until("all committed", || pipeline.ledger().committed.len() == count).await;
    }

    async fn stop(self) -> KinesisSummary {
        self.stop.cancel();
        self.task.await.unwrap().unwrap()
    }
}

fn records(from: usize, count: usize) -> impl Iterator<Item = (String, String)> {
    (from..from + count).map(|number| (number.to_string(), number.to_string()))
}

fn open_shards(double: &KinesisDouble, stream: &str) -> Vec<String> {
    let shards = double.shards(stream).unwrap();
    shards.into_iter().filter(|shard| shard.open).map(|shard| shard.id).collect()
}

fn assert_once(pipeline: &Pipeline, count: usize) {
    let numbers = pipeline.numbers();
    let distinct: HashSet<u64> = numbers.iter().copied().collect();
    assert_eq!((numbers.len(), distinct.len()), (count, count));
}

#[tokio::test(flavor = "multi_thread")]
async fn splits_and_merges_by_name_and_by_arn() {
    for (by_arn, child_shards) in [(false, true), (true, false)] {
        let (double, arn) = start_double(2, StreamOptions { child_shards, ..StreamOptions::default() }).await;
        double.put_many(&arn, records(0, 3_000)).unwrap();
        let stream = if by_arn { arn.as_str() } else { "dormouse" };
        let pipeline = Pipeline::new();
        let running = Running::start(&double, options(stream, Start::TrimHorizon), &pipeline).await;
        running.until("begun", || running.stats.received.get() > 500).await;
        let first = open_shards(&double, &arn)[0].clone();
        let [_, right] = double.split(&arn, &first).unwrap();
        double.put_many(&arn, records(3_000, 1_000)).unwrap();
        let neighbour = open_shards(&double, &arn)[0].clone();
        double.merge(&arn, &neighbour, &right).unwrap();
        double.put_many(&arn, records(4_000, 1_000)).unwrap();
        double.expire_iterators();
        running.until_committed(&pipeline, 5_000).await;
        assert!(running.stop().await.is_drained());
        assert_once(&pipeline, 5_000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_accounts_stream_is_read_by_its_arn() {
    let account = Some("444455556666".to_owned());
    let (double, arn) = start_double(1, StreamOptions { account, ..StreamOptions::default() }).await;
    assert!(arn.contains("444455556666"));
    double.put_many(&arn, records(0, 100)).unwrap();
    let pipeline = Pipeline::new();
    let running = Running::start(&double, options(&arn, Start::TrimHorizon), &pipeline).await;
    running.until_committed(&pipeline, 100).await;
    running.stop().await;
    let checkpoint = pipeline.ledger().checkpoints().remove(0);
    assert!(checkpoint.stream.starts_with(&arn) && matches!(checkpoint.at, ShardPosition::After(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_everything_is_committed_once() {
    let (double, arn) = start_double(3, StreamOptions::default()).await;
    double.put_many(&arn, records(0, 5_000)).unwrap();
    double.faults().set_all(&KinesisFault {
        latency: Duration::ZERO..=Duration::from_millis(10),
        throttled: 0.03,
        internal_error: 0.03,
        unavailable: 0.03,
        dropped: 0.03,
        answer_lost: 0.03,
        empty: 0.1,
        ..KinesisFault::default()
    });
    let pipeline = Pipeline::new();
    let running = Running::start(&double, options("dormouse", Start::TrimHorizon), &pipeline).await;
    running.until_committed(&pipeline, 5_000).await;
    assert!(running.stats.errors.iter().any(|errors| errors.get() > 0), "{}", running.stats);
    assert!(running.stop().await.is_drained());
    assert_once(&pipeline, 5_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_the_middle_goes_on_where_it_ended() {
    let (double, arn) = start_double(2, StreamOptions::default()).await;
    double.put_many(&arn, records(0, 10_000)).unwrap();
    let pipeline = Pipeline::new();
    let running = Running::start(&double, options("dormouse", Start::TrimHorizon), &pipeline).await;
    running.until("in the middle", || running.stats.received.get() > 2_000).await;
    let summary = running.stop().await;
    assert!(summary.is_drained() && summary.received < 10_000, "{summary}");
    let running = Running::start(&double, options("dormouse", Start::TrimHorizon), &pipeline).await;
    running.until_committed(&pipeline, 10_000).await;
    running.stop().await;
    assert_once(&pipeline, 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_begins_with_what_comes() {
    let (double, arn) = start_double(2, StreamOptions::default()).await;
    double.put_many(&arn, records(0, 100)).unwrap();
    // A start is known by whole seconds: what came before it is of an earlier one.
    let put = WallClock.now_seconds();
    let next_second = async {
        while WallClock.now_seconds() == put {
            sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), next_second).await.expect("a second passes");
    let pipeline = Pipeline::new();
    let running = Running::start(&double, options("dormouse", Start::Latest), &pipeline).await;
    running.until("reading", || running.stats.reads.get() > 4).await;
    double.put_many(&arn, records(100, 50)).unwrap();
    running.until_committed(&pipeline, 50).await;
    running.stop().await;
    assert!(pipeline.numbers().iter().all(|&number| number >= 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_names_the_permission_and_a_check_says_what_is_wrong() {
    let (double, arn) = start_double(2, StreamOptions::default()).await;
    let client = client_for(&double).await;
    let source = |stream: &str| {
        KinesisSource::new(&client, options(stream, Start::Latest), Vec::new(), Arc::new(WallClock))
    };
    let facts = source(&arn).check().await.unwrap();
    assert_eq!((facts.arn.as_str(), facts.listed_shards, facts.retention_seconds), (&*arn, 2, 86_400));
    let error = source("nobody").check().await.unwrap_err().to_string();
    assert!(error.contains("kinesis:DescribeStreamSummary failed") && error.contains("Region"), "{error}");

    double
        .faults()
        .set(Operation::GetRecords, KinesisFault { access_denied: true, ..KinesisFault::default() });
    let running = Running::start(&double, options(&arn, Start::Latest), &Pipeline::new()).await;
    running.until("denied", || running.health.borrow().failure(Work::Receive).is_some()).await;
    let failure = running.health.borrow().failure(Work::Receive).cloned().unwrap();
    assert_eq!(failure.class, ErrorClass::Denied);
    assert_eq!(failure.missing_permission(), Some("kinesis:GetRecords"));
    let stopped = tokio::time::timeout(Duration::from_secs(2), running.stop()).await.unwrap();
    assert_eq!(stopped.received, 0);
}
