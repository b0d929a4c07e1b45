//! A whole source against a stream in memory, in paused time.

use std::collections::{HashMap, HashSet};

use dormouse_model::{DeadLetters, SourceMark};
use proptest::prelude::*;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::super::budget::MOST_BYTES_A_CALL;
use super::super::options::Start;
use super::super::reader::SLOW_RETRY;
use super::super::testing::{EPOCH, MemoryStream, Pipeline, coded, failure};
use super::*;
use crate::Batch;

const GRACE: Duration = Duration::from_secs(25);
const S0: &str = "shardId-000000000000";
const S1: &str = "shardId-000000000001";

struct Running {
    stream: Arc<MemoryStream>,
    pipeline: Pipeline,
    shared: Arc<Shared<Arc<MemoryStream>>>,
    stop: CancellationToken,
    task: JoinHandle<Result<KinesisSummary, SourceError>>,
}

fn options(start: Start) -> KinesisOptions {
    KinesisOptions { start, ..KinesisOptions::new("bus", "dormouse") }
}

impl Running {
    /// A source that reads everything, on from what is durable in `pipeline`.
    fn start(stream: &Arc<MemoryStream>, pipeline: &Pipeline) -> Self {
        Self::with(stream, pipeline, options(Start::TrimHorizon))
    }

    fn with(stream: &Arc<MemoryStream>, pipeline: &Pipeline, options: KinesisOptions) -> Self {
        options.validate().unwrap();
        let checkpoints = pipeline.ledger().checkpoints();
        let parts = Parts::new(Arc::clone(stream), options, checkpoints, stream.clock());
        let shared = Arc::clone(&parts.shared);
        let stop = CancellationToken::new();
        let task = tokio::spawn(parts.run(Arc::new(pipeline.clone()), stop.clone(), GRACE));
        Self { stream: Arc::clone(stream), pipeline: pipeline.clone(), shared, stop, task }
    }

    async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        for _ in 0..100_000 {
            if condition(self) {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("never: {what}: {}", self.shared.stats);
    }

    async fn until_handed(&self, records: usize) {
        self.until("all handed over", |r| r.pipeline.numbers().len() >= records).await;
    }

    async fn stop(self) -> KinesisSummary {
        self.stop.cancel();
        self.task.await.unwrap().unwrap()
    }

    /// Ends it as a crash does: nothing is handed over any more, and what was not committed is lost.
    async fn crash(self) -> Pipeline {
        self.task.abort();
        let _ = self.task.await;
        Pipeline::on(self.pipeline.ledger().durable.clone())
    }

    fn health(&self) -> SourceHealth {
        self.shared.monitor.subscribe().borrow().clone()
    }
}

/// In one uninterrupted run: nothing twice, nothing missing, no child before its parents' ends.
fn assert_whole(stream: &MemoryStream, pipeline: &Pipeline) {
    let expected: Vec<u64> = stream.numbers().into_values().flatten().collect();
    let mut handed = pipeline.numbers();
    handed.sort_unstable();
    assert_eq!(handed.len(), handed.iter().collect::<HashSet<_>>().len(), "something came twice");
    assert_eq!(handed.len(), expected.len());
    assert_parents_first(stream, pipeline, &HashSet::new());
}

fn assert_parents_first(stream: &MemoryStream, pipeline: &Pipeline, ended_before: &HashSet<String>) {
    let parents = stream.parents();
    let mut ended = ended_before.clone();
    for handed in &pipeline.ledger().handed {
        let shard = &*handed.checkpoint.shard;
        if !handed.numbers.is_empty() {
            for parent in parents.get(shard).into_iter().flatten() {
                assert!(ended.contains(&**parent), "{shard} was read before {parent} had ended");
            }
        }
        if handed.checkpoint.at == ShardPosition::End {
            ended.insert(shard.to_owned());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn all_shards_are_read_to_where_they_are_and_on() {
    let stream = MemoryStream::new(7);
    let pipeline = Pipeline::new();
    for shard in stream.open_shards() {
        stream.put(&shard, 2_500);
    }
    let running = Running::start(&stream, &pipeline);
    running.until_handed(7 * 2_500).await;
    stream.put(S1, 3);
    running.until_handed(7 * 2_500 + 3).await;
    assert!(running.health().is_well());
    let summary = running.stop().await;
    assert!(summary.is_drained(), "{summary}");
    assert_eq!((summary.received, summary.acknowledged), (17_503, 17_503));
    assert_whole(&stream, &pipeline);
    let ids = pipeline.ledger().handed.iter().find(|handed| !handed.ids.is_empty()).unwrap().ids.clone();
    assert!(ids[0].starts_with("shardId-0000000000") && ids[0].contains(':'), "{}", ids[0]);
}

#[tokio::test(start_paused = true)]
async fn a_caught_up_shard_is_asked_once_a_second_and_commits_nothing() {
    let stream = MemoryStream::new(1);
    let pipeline = Pipeline::new();
    stream.put(S0, 5);
    let running = Running::start(&stream, &pipeline);
    running.until_handed(5).await;
    sleep(Duration::from_secs(1)).await;
    let (reads, handed) = (stream.calls().reads, pipeline.ledger().handed.len());
    sleep(Duration::from_mins(30)).await;
    let more = stream.calls().reads - reads;
    assert!((1_780..=1_801).contains(&more), "{more}");
    assert_eq!(pipeline.ledger().handed.len(), handed);
    assert_eq!(running.shared.stats.expired_iterators.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn splits_and_merges_are_followed_while_they_happen() {
    for late in [false, true] {
        let stream = MemoryStream::new(2);
        if late {
            stream.end_late();
            stream.say_nothing_of_being_behind();
        }
        let pipeline = Pipeline::new();
        stream.put(S0, 10);
        stream.put(S1, 3_000);
        let running = Running::start(&stream, &pipeline);
        running.until_handed(1_000).await;
        let [left, right] = stream.split(S0);
        stream.put(&left, 10);
        stream.put(&right, 10);
        let merged = stream.merge(&right, S1);
        stream.put(&merged, 10);
        running.until_handed(3_040).await;
        stream.put(&merged, 1);
        running.until_handed(3_041).await;
        let stats = &running.shared.stats;
        let shards = (stats.shards_known.get(), stats.shards_reading.get(), stats.shards_finished.get());
        assert_eq!(shards, (5, 2, 3));
        assert!(running.stop().await.is_drained());
        assert_whole(&stream, &pipeline);
    }
}

#[tokio::test(start_paused = true)]
async fn two_generations_while_nobody_was_reading_are_read_in_order() {
    let stream = MemoryStream::new(1);
    let pipeline = Pipeline::new();
    stream.put(S0, 10);
    let running = Running::start(&stream, &pipeline);
    running.until_handed(10).await;
    assert!(running.stop().await.is_drained());

    stream.put(S0, 5);
    let [left, right] = stream.split(S0);
    stream.put(&left, 2_000);
    stream.put(&right, 5);
    let merged = stream.merge(&left, &right);
    stream.put(&merged, 5);
    for shard in stream.split(&merged) {
        stream.put(&shard, 5);
    }
    let running = Running::start(&stream, &pipeline);
    running.until_handed(10 + 5 + 2_005 + 5 + 10).await;
    assert!(running.stop().await.is_drained());
    assert_whole(&stream, &pipeline);
}

#[tokio::test(start_paused = true)]
async fn a_shard_whose_retention_is_over_does_not_hold_up_its_children() {
    let stream = MemoryStream::new(1);
    let pipeline = Pipeline::new();
    stream.put(S0, 10);
    let running = Running::start(&stream, &pipeline);
    running.until_handed(10).await;
    running.stop().await;
    let [left, right] = stream.split(S0);
    stream.put(&left, 5);
    stream.put(&right, 5);
    stream.expire(S0);
    let running = Running::start(&stream, &pipeline);
    running.until_handed(20).await;
    running.until("well", |r| r.health().is_well()).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(pipeline.ledger().durable.len(), 2, "the parent's position is forgotten");
}

#[tokio::test(start_paused = true)]
async fn a_finished_shard_that_is_listed_no_more_is_forgotten() {
    let stream = MemoryStream::new(1);
    let pipeline = Pipeline::new();
    stream.split(S0);
    let running = Running::start(&stream, &pipeline);
    running.until("finished", |r| r.shared.stats.shards_finished.get() == 1).await;
    stream.expire(S0);
    sleep(Duration::from_mins(3)).await;
    assert_eq!(running.shared.stats.shards_known.get(), 2);
    assert_eq!(pipeline.ledger().durable.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn latest_is_written_down_before_anything_is_read_and_a_crash_does_not_move_it() {
    let stream = MemoryStream::new(2);
    stream.put(S0, 10);
    stream.split(S0);
    let pipeline = Pipeline::new();
    sleep(Duration::from_secs(5)).await;
    let running = Running::with(&stream, &pipeline, options(Start::Latest));
    running.until("begun", |r| r.shared.stats.reads.get() > 0).await;
    let positions: Vec<ShardPosition> =
        pipeline.ledger().handed.iter().map(|handed| handed.checkpoint.at.clone()).collect();
    let now = ShardPosition::Time(EPOCH.plus(5));
    assert_eq!(positions, [ShardPosition::End, now.clone(), now.clone(), now]);
    sleep(Duration::from_secs(1)).await;
    // The first record arrives and is handed over, and the process dies before its commit.
    pipeline.commit(false);
    for shard in stream.open_shards() {
        stream.put(&shard, 4);
    }
    running.until_handed(12).await;
    let pipeline = running.crash().await;
    sleep(Duration::from_mins(10)).await;
    let running = Running::with(&stream, &pipeline, options(Start::Latest));
    running.until_handed(12).await;
    sleep(Duration::from_mins(1)).await;
    assert_eq!(pipeline.numbers().len(), 12, "and none from before");
}

#[tokio::test(start_paused = true)]
async fn a_timestamp_starts_there() {
    let stream = MemoryStream::new(1);
    stream.put(S0, 5);
    sleep(Duration::from_secs(10)).await;
    stream.put(S0, 3);
    let pipeline = Pipeline::new();
    let running = Running::with(&stream, &pipeline, options(Start::Timestamp(EPOCH.plus(5))));
    running.until_handed(3).await;
    sleep(Duration::from_mins(1)).await;
    assert_eq!(pipeline.numbers(), [6, 7, 8]);
}

#[tokio::test(start_paused = true)]
async fn expired_iterators_go_on_behind_what_was_handed_over() {
    let stream = MemoryStream::new(1);
    let pipeline = Pipeline::new();
    stream.put(S0, 5);
    let running = Running::start(&stream, &pipeline);
    for round in 1..=3 {
        running.until_handed(round * 5).await;
        stream.expire_iterators();
        stream.put(S0, 5);
    }
    running.until_handed(20).await;
    assert_eq!(running.shared.stats.expired_iterators.get(), 3);
    assert!(running.health().is_well());
    // An intake that takes longer than an iterator lives.
    pipeline.ledger().submit_takes = Duration::from_mins(6);
    stream.put(S0, 5);
    running.until_handed(25).await;
    pipeline.ledger().submit_takes = Duration::ZERO;
    stream.put(S0, 5);
    running.until_handed(30).await;
    assert_eq!(running.shared.stats.expired_iterators.get(), 4);
    assert!(running.stop().await.is_drained());
    assert_whole(&stream, &pipeline);
}

#[tokio::test(start_paused = true)]
async fn throttling_slows_a_shard_down_until_it_fits_between_the_others() {
    let stream = MemoryStream::new(1);
    stream.allow_reads_per_second(2);
    stream.put(S0, 200_000);
    let pipeline = Pipeline::new();
    let running = Running::start(&stream, &pipeline);
    let started = Instant::now();
    running.until_handed(200_000).await;
    let calls = stream.calls().reads;
    let throttled = usize::try_from(running.shared.stats.throttled.get()).unwrap();
    // 200 answers are needed; at two a second they take at least 100 s.
    assert!(started.elapsed() >= Duration::from_secs(99), "{:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(200), "{:?}", started.elapsed());
    assert!(throttled > 0 && throttled < calls / 4, "{throttled} of {calls}");
    assert_whole(&stream, &pipeline);
}

#[tokio::test(start_paused = true)]
async fn a_pace_that_was_asked_for_is_kept() {
    let stream = MemoryStream::new(1);
    stream.put(S0, 50_000);
    let pipeline = Pipeline::new();
    let slow = KinesisOptions { reads_per_second: 0.5, ..options(Start::TrimHorizon) };
    let running = Running::with(&stream, &pipeline, slow);
    let started = Instant::now();
    running.until_handed(50_000).await;
    assert!(started.elapsed() >= Duration::from_secs(98), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn passing_trouble_is_waited_out() {
    let stream = MemoryStream::new(3);
    stream.put(S0, 5);
    stream.fail(|faults| {
        faults.describes.extend(vec![failure(ErrorClass::Throttled); 3]);
        faults.lists.extend(vec![failure(ErrorClass::Transient); 3]);
        faults.iterators.extend(vec![failure(ErrorClass::Throttled); 5]);
        faults.reads.extend(vec![failure(ErrorClass::Transient); 5]);
        faults.expired_tokens = 1;
    });
    stream.split(S0);
    let pipeline = Pipeline::new();
    let running = Running::start(&stream, &pipeline);
    running.until_handed(5).await;
    running.until("well", |r| r.health().is_well()).await;
    let stats = &running.shared.stats;
    assert_eq!(stats.errors[ErrorClass::Throttled.number()].get(), 8);
    assert_eq!(stats.errors[ErrorClass::Transient.number()].get(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_denial_is_shown_with_its_permission_asked_for_slowly_and_ends_when_it_is_granted() {
    let stream = MemoryStream::new(1);
    stream.put(S0, 5);
    let denied = coded(ErrorClass::Denied, "AccessDeniedException");
    stream.fail(|faults| faults.reads.extend(vec![denied.clone(); 4]));
    let pipeline = Pipeline::new();
    let running = Running::start(&stream, &pipeline);
    sleep(SLOW_RETRY * 3 + Duration::from_secs(5)).await;
    assert_eq!(stream.calls().reads, 4);
    let trouble = running.health().troubles[&Work::Receive].clone();
    assert!(trouble.advice.contains("kinesis:GetRecords") && trouble.advice.contains("kms:Decrypt"));
    running.until_handed(5).await;
    assert!(running.health().is_well());

    stream.fail(|faults| faults.all = Some(denied));
    sleep(Duration::from_mins(3)).await;
    let trouble = running.health().troubles[&Work::ListShards].clone();
    assert!(trouble.advice.contains("kinesis:ListShards"), "{}", trouble.advice);
    assert!(running.health().failure(Work::Receive).is_some());
    stream.fail(|faults| faults.all = None);
    stream.put(S0, 5);
    running.until_handed(10).await;
    running.until("well", |r| r.health().is_well()).await;
}

#[tokio::test(start_paused = true)]
async fn one_denied_shard_is_shown_although_the_others_work() {
    let stream = MemoryStream::new(5);
    let pipeline = Pipeline::new();
    let running = Running::start(&stream, &pipeline);
    running.until("reading", |r| r.shared.stats.reads.get() >= 5).await;
    stream.fail(|faults| faults.reads.push_back(failure(ErrorClass::Denied)));
    running.until("denied", |r| r.health().failure(Work::Receive).is_some()).await;
    sleep(SLOW_RETRY - Duration::from_secs(5)).await;
    assert!(running.health().failure(Work::Receive).is_some());
    running.until("well", |r| r.health().is_well()).await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_ahead_is_waited_for() {
    let stream = MemoryStream::new(1);
    let not_yet = coded(ErrorClass::Poison, "InvalidArgumentException");
    stream.fail(|faults| faults.iterators.extend(vec![not_yet; 3]));
    let pipeline = Pipeline::new();
    let started = Instant::now();
    let running = Running::with(&stream, &pipeline, options(Start::Latest));
    running.until("reading", |r| r.shared.stats.reads.get() > 0).await;
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    running.until("well", |r| r.health().is_well()).await;
}

#[tokio::test(start_paused = true)]
async fn what_can_neither_be_applied_nor_kept_stops_its_shard_alone_until_it_can() {
    let stream = MemoryStream::new(2);
    let pipeline = Pipeline::new();
    stream.put(S0, 5);
    let running = Running::start(&stream, &pipeline);
    running.until_handed(5).await;
    pipeline.ledger().unkeepable.insert(7);
    stream.put(S0, 5);
    running.until("stands still", |r| r.health().failure(Work::MoveOn).is_some()).await;
    let trouble = running.health().troubles[&Work::MoveOn].clone();
    assert!(trouble.advice.contains("store.quarantine_bytes") && trouble.failure.message.contains(S0));
    stream.put(S0, 5);
    stream.put(S1, 1);
    sleep(Duration::from_mins(10)).await;
    let position = pipeline.ledger().durable[&(stream.life(), S0.to_owned())].clone();
    assert_eq!(position, ShardPosition::After("5".into()));
    assert!(pipeline.numbers().contains(&16), "the other shard goes on");
    let tries = pipeline.numbers().iter().filter(|&&number| number == 7).count();
    assert!((20..50).contains(&tries), "{tries}");
    assert!(running.health().failure(Work::MoveOn).is_some(), "the other shard does not hide it");

    pipeline.ledger().unkeepable.clear();
    running.until("goes on", |r| r.pipeline.ledger().committed.len() == 16).await;
    running.until("well", |r| r.health().is_well()).await;
    assert!(running.stop().await.is_drained());
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_shard_that_was_left_is_no_end() {
    let stream = MemoryStream::new(1);
    let pipeline = Pipeline::new();
    stream.put(S0, 5);
    pipeline.ledger().unkeepable.insert(5);
    let [left, _] = stream.split(S0);
    stream.put(&left, 5);
    let running = Running::start(&stream, &pipeline);
    sleep(Duration::from_mins(5)).await;
    assert!(pipeline.numbers().iter().all(|&number| number <= 5));
    pipeline.ledger().unkeepable.clear();
    running.until("all committed", |r| r.pipeline.ledger().committed.len() == 10).await;
}

#[tokio::test(start_paused = true)]
async fn the_budget_bounds_a_hundred_shards() {
    let stream = MemoryStream::new(100);
    for shard in stream.open_shards() {
        stream.put_sized(&shard, 20, 1_024 * 1_024);
    }
    let pipeline = Pipeline::new();
    pipeline.ledger().submit_takes = Duration::from_secs(2);
    let small = KinesisOptions { in_flight_bytes: 3 * MOST_BYTES_A_CALL, ..options(Start::TrimHorizon) };
    let running = Running::with(&stream, &pipeline, small);
    let least_free = async {
        let mut most_handing = 0;
        while running.pipeline.numbers().len() < 2_000 {
            sleep(Duration::from_millis(50)).await;
            most_handing = most_handing.max(stream.calls().most_reading);
        }
        most_handing
    };
    let most_reading = tokio::time::timeout(Duration::from_hours(2), least_free).await.unwrap();
    assert_eq!(most_reading, 3);
    running.until("all given back", |r| r.shared.budget.free() == 3 * MOST_BYTES_A_CALL).await;
    let batches = pipeline.ledger().handed.iter().filter(|handed| !handed.numbers.is_empty()).count();
    assert!(batches >= 200, "an answer holds at most ten of these records");
    assert_whole(&stream, &pipeline);
}

#[tokio::test(start_paused = true)]
async fn small_answers_of_many_shards_share_the_budget_quickly() {
    let stream = MemoryStream::new(100);
    for shard in stream.open_shards() {
        stream.put(&shard, 10);
    }
    let pipeline = Pipeline::new();
    let running = Running::start(&stream, &pipeline);
    let started = Instant::now();
    running.until_handed(1_000).await;
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_stream_made_anew_while_it_is_read_is_read_from_its_beginning() {
    let stream = MemoryStream::new(2);
    let pipeline = Pipeline::new();
    stream.put(S0, 5);
    let running = Running::with(&stream, &pipeline, options(Start::Latest));
    running.until("reading", |r| r.shared.stats.reads.get() > 0).await;
    let old = stream.life();
    sleep(Duration::from_mins(5)).await;
    stream.delete_and_make_anew(1);
    stream.put(S0, 7);
    running.until_handed(7).await;
    sleep(Duration::from_secs(5)).await;
    let ledger = pipeline.ledger();
    let places: Vec<&(String, String)> = ledger.durable.keys().collect();
    assert_eq!(places, [&(stream.life(), S0.to_owned())]);
    assert!(places[0].0 != old);
    let lost: Vec<&dormouse_model::Lost> =
        ledger.marks.iter().filter_map(|mark| mark.lost.as_ref()).collect();
    assert_eq!(lost.len(), 1);
    assert!(lost[0].from >= EPOCH.plus(180), "what was handed over in this run is not lost: {:?}", lost[0]);
    assert!(lost[0].until <= EPOCH.plus(301));
    drop(ledger);
    assert!(running.health().is_well());
}

#[tokio::test(start_paused = true)]
async fn a_stream_made_anew_while_nobody_looked_is_read_from_its_beginning() {
    let stream = MemoryStream::new(1);
    let pipeline = Pipeline::new();
    let running = Running::with(&stream, &pipeline, options(Start::Latest));
    running.until("reading", |r| r.shared.stats.reads.get() > 0).await;
    assert!(running.stop().await.is_drained());
    stream.delete_and_make_anew(1);
    stream.put(S0, 7);
    let running = Running::with(&stream, &pipeline, options(Start::Latest));
    running.until_handed(7).await;
    let lost = pipeline.ledger().marks.iter().find_map(|mark| mark.lost.clone()).unwrap();
    assert_eq!(lost.from, EPOCH.minus(10_000));
    running.stop().await;
    // Taken up again, it is the same stream.
    let marks = pipeline.ledger().marks.len();
    let running = Running::with(&stream, &pipeline, options(Start::Latest));
    running.until("marked", |r| r.pipeline.ledger().marks.len() > marks).await;
    sleep(Duration::from_mins(2)).await;
    assert!(pipeline.ledger().marks[marks..].iter().all(|mark| mark.lost.is_none()));
    assert_eq!(pipeline.numbers().len(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_missing_stream_is_waited_for() {
    let stream = MemoryStream::new(1);
    let missing = coded(ErrorClass::Fatal, "ResourceNotFoundException");
    stream.fail(|faults| faults.describes.extend(vec![missing; 3]));
    stream.put(S0, 5);
    let pipeline = Pipeline::new();
    let running = Running::start(&stream, &pipeline);
    sleep(Duration::from_secs(5)).await;
    let trouble = running.health().troubles[&Work::ListShards].clone();
    assert!(trouble.advice.contains("stream and its Region"));
    running.until_handed(5).await;
    assert_eq!(stream.calls().describes, 4);
}

fn marks(pipeline: &Pipeline) -> Vec<SourceMark> {
    pipeline.ledger().marks.clone()
}

#[tokio::test(start_paused = true)]
async fn marks_say_how_far_everything_was_handed_over() {
    let stream = MemoryStream::new(3);
    let pipeline = Pipeline::new();
    let running = Running::start(&stream, &pipeline);
    sleep(Duration::from_secs(125)).await;
    let seen = marks(&pipeline);
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert_eq!((seen[0].caught_up, seen[0].retention_seconds), (None, Some(86_400)));
    for mark in &seen[1..] {
        let caught_up = mark.caught_up.unwrap();
        let lag = mark.at.seconds_since(caught_up);
        assert!(caught_up <= mark.at && lag <= 61, "{mark:?}");
        assert_eq!((mark.dead_letters, mark.lost.clone()), (DeadLetters::None, None));
    }
    // A shard that cannot be read holds it back.
    stream.fail(|faults| faults.reads.push_back(failure(ErrorClass::Denied)));
    running.until("denied", |r| r.health().failure(Work::Receive).is_some()).await;
    let now = stream.clock().now_seconds();
    sleep(Duration::from_secs(20)).await;
    running.stop().await;
    let last = marks(&pipeline).pop().unwrap();
    assert!(last.caught_up.unwrap() <= now, "{last:?}");
}

#[tokio::test(start_paused = true)]
async fn what_waits_in_children_is_not_said_to_be_handed_over() {
    let stream = MemoryStream::new(1);
    let pipeline = Pipeline::new();
    stream.put(S0, 5);
    pipeline.ledger().unkeepable.insert(1);
    let [left, _] = stream.split(S0);
    stream.put(&left, 1);
    let running = Running::start(&stream, &pipeline);
    sleep(Duration::from_mins(10)).await;
    assert!(marks(&pipeline).len() > 5);
    assert!(marks(&pipeline).iter().all(|mark| mark.caught_up.is_none()));
    pipeline.ledger().unkeepable.clear();
    sleep(Duration::from_mins(3)).await;
    let last = marks(&pipeline).pop().unwrap();
    assert!(last.caught_up.unwrap() > EPOCH.plus(600), "{last:?}");
    drop(running);
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_what_was_handed_over_and_reads_no_more() {
    let stream = MemoryStream::new(2);
    let pipeline = Pipeline::new();
    stream.put(S0, 100_000);
    let running = Running::start(&stream, &pipeline);
    running.until_handed(10_000).await;
    let shared = Arc::clone(&running.shared);
    let stopped = Instant::now();
    let summary = running.stop().await;
    assert!(stopped.elapsed() < Duration::from_secs(1), "{:?}", stopped.elapsed());
    assert!(summary.is_drained() && summary.received < 100_000);
    assert_eq!(summary.received, summary.acknowledged);
    assert_eq!(shared.monitor.subscribe().borrow().phase, Phase::Stopped);
    assert_eq!(marks(&pipeline).len(), 2, "one at the start, one at the end");
    let reads = stream.calls().reads;
    sleep(Duration::from_mins(1)).await;
    assert_eq!(stream.calls().reads, reads);
    // The next start goes on where this one ended.
    let running = Running::start(&stream, &pipeline);
    running.until_handed(100_000).await;
    assert_whole(&stream, &pipeline);
}

#[tokio::test(start_paused = true)]
async fn commits_that_stand_still_do_not_outlast_the_grace_period() {
    let stream = MemoryStream::new(1);
    let pipeline = Pipeline::new();
    pipeline.commit(false);
    stream.put(S0, 10);
    let running = Running::start(&stream, &pipeline);
    running.until_handed(10).await;
    let stopped = Instant::now();
    let summary = running.stop().await;
    assert!(stopped.elapsed() >= GRACE && stopped.elapsed() < GRACE + Duration::from_secs(1));
    assert_eq!((summary.unsettled, summary.acknowledged), (2, 0), "the first position, and the records");
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_trouble() {
    let stream = MemoryStream::new(4);
    stream.fail(|faults| faults.all = Some(failure(ErrorClass::Fatal)));
    let pipeline = Pipeline::new();
    let running = Running::start(&stream, &pipeline);
    sleep(Duration::from_secs(10)).await;
    let stopped = Instant::now();
    assert!(running.stop().await.is_drained());
    assert!(stopped.elapsed() < Duration::from_secs(1));

    stream.fail(|faults| faults.all = None);
    let running = Running::start(&stream, &pipeline);
    sleep(Duration::from_secs(10)).await;
    stream.fail(|faults| faults.all = Some(coded(ErrorClass::Fatal, "ResourceNotFoundException")));
    sleep(Duration::from_mins(2)).await;
    let stopped = Instant::now();
    assert!(running.stop().await.is_drained());
    assert!(stopped.elapsed() < Duration::from_secs(1));
}

struct Panics;

impl Intake for Panics {
    async fn submit(&self, batch: Batch) {
        assert!(batch.messages.is_empty(), "on purpose");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_intake_ends_the_run() {
    let stream = MemoryStream::new(1);
    stream.put(S0, 1);
    let parts = Parts::new(Arc::clone(&stream), options(Start::TrimHorizon), Vec::new(), stream.clock());
    let error = parts.run(Arc::new(Panics), CancellationToken::new(), GRACE).await.unwrap_err();
    assert_eq!(error.to_string(), "source bus: the reader of a shard ended with a panic");
}

/// Splits or merges at random.
fn reshard(stream: &MemoryStream, random: &mut fastrand::Rng) {
    let open = stream.open_shards();
    let one = random.usize(..open.len());
    if open.len() >= 6 || (open.len() >= 2 && random.bool()) {
        let other = (one + 1 + random.usize(..open.len() - 1)) % open.len();
        stream.merge(&open[one], &open[other]);
    } else {
        stream.split(&open[one]);
    }
}

/// One run, from a start to a crash or to the end of the test.
struct Run {
    running: Running,
    /// The shards whose end was durable when it began.
    ended_before: HashSet<String>,
}

impl Run {
    fn start(stream: &Arc<MemoryStream>, pipeline: &Pipeline) -> Self {
        let is_end = |(_, at): &(&(String, String), &ShardPosition)| **at == ShardPosition::End;
        let ended_before =
            pipeline.ledger().durable.iter().filter(is_end).map(|((_, shard), _)| shard.clone()).collect();
        Self { running: Running::start(stream, pipeline), ended_before }
    }

    fn assert_lawful(&self) {
        assert_once(&self.running.pipeline);
        assert_parents_first(&self.running.stream, &self.running.pipeline, &self.ended_before);
    }
}

/// Records, splits, merges, errors, expired iterators and crashes at random; then waits until everything is committed.
async fn live_at_random(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let stream = MemoryStream::new(random.usize(1..4));
    if random.bool() {
        stream.end_late();
    }
    if random.bool() {
        stream.say_nothing_of_being_behind();
    }
    let faults = fastrand::Rng::with_seed(!seed);
    stream.fail(|f| f.random = Some((30, faults)));
    let mut run = Run::start(&stream, &Pipeline::new());
    let mut committed: HashSet<String> = HashSet::new();
    for _ in 0..random.usize(20..60) {
        match random.usize(..10) {
            0..4 => put_somewhere(&stream, &mut random, 1_500),
            4..6 => reshard(&stream, &mut random),
            6 => stream.expire_iterators(),
            7 => {
                run.assert_lawful();
                // What is committed while it ends is committed.
                let before = run.running.pipeline.clone();
                let after = run.running.crash().await;
                committed.extend(before.ledger().committed.iter().cloned());
                // Nobody reads for a while, and shards go on being split and merged.
                for _ in 0..random.usize(..4) {
                    put_somewhere(&stream, &mut random, 50);
                    reshard(&stream, &mut random);
                }
                run = Run::start(&stream, &after);
            }
            _ => sleep(Duration::from_millis(random.u64(1..3_000))).await,
        }
        committed.extend(run.running.pipeline.ledger().committed.iter().cloned());
    }
    let expected: HashSet<String> = stream
        .numbers()
        .iter()
        .flat_map(|(shard, numbers)| numbers.iter().map(move |number| format!("{shard}:{number}")))
        .collect();
    for _ in 0..20_000 {
        committed.extend(run.running.pipeline.ledger().committed.iter().cloned());
        if committed.is_superset(&expected) {
            break;
        }
        sleep(Duration::from_millis(500)).await;
    }
    let missing = expected.difference(&committed).count();
    assert_eq!(missing, 0, "seed {seed}: never committed: {}", run.running.shared.stats);
    run.assert_lawful();
    assert!(run.running.stop().await.is_drained());
}

fn put_somewhere(stream: &MemoryStream, random: &mut fastrand::Rng, most: usize) {
    let open = stream.open_shards();
    stream.put(&open[random.usize(..open.len())], random.usize(1..most));
}

/// In this run, nothing was handed over twice.
fn assert_once(pipeline: &Pipeline) {
    let mut times: HashMap<u64, usize> = HashMap::new();
    for number in pipeline.numbers() {
        *times.entry(number).or_default() += 1;
    }
    assert!(times.values().all(|&times| times == 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_happens_everything_is_handed_over_in_order_and_once_a_run(seed: u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(live_at_random(seed));
    }
}
