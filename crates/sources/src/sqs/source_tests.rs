//! A whole source against a queue in memory, in paused time.

use std::collections::HashMap;
use std::sync::Mutex;

use dormouse_aws::ErrorClass;
use dormouse_model::{DeadLetters, EventTime, ManualClock, SourceMark};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::super::pollers::{SLOW_RETRY, STOP_PATIENCE};
use super::super::testing::{MemoryQueue, failure, failures};
use super::*;
use crate::{Batch, Message};

const VISIBILITY: Duration = Duration::from_secs(60);
const WAIT: Duration = Duration::from_secs(20);
const GRACE: Duration = Duration::from_secs(25);
const COMMIT: Duration = Duration::from_millis(200);

/// A pipeline that commits every batch `COMMIT` after it came, while commits are allowed.
#[derive(Clone)]
struct Pipeline {
    commits: Arc<Semaphore>,
    seen: Arc<Mutex<Vec<Message>>>,
    marks: Arc<Mutex<Vec<SourceMark>>>,
    leaves: bool,
}

impl Pipeline {
    fn committing() -> Self {
        Self { commits: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)), ..Self::standing_still() }
    }

    fn standing_still() -> Self {
        Self {
            commits: Arc::new(Semaphore::new(0)),
            seen: Arc::default(),
            marks: Arc::default(),
            leaves: false,
        }
    }

    fn leaving() -> Self {
        Self { leaves: true, ..Self::committing() }
    }

    fn go_on(&self) {
        self.commits.add_permits(Semaphore::MAX_PERMITS);
    }

    fn seen(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    fn times_seen(&self) -> HashMap<Arc<str>, usize> {
        let mut times = HashMap::new();
        for message in &*self.seen.lock().unwrap() {
            *times.entry(Arc::clone(&message.id)).or_default() += 1;
        }
        times
    }
}

impl Intake for Pipeline {
    async fn submit(&self, batch: Batch) {
        let receipts: Vec<Receipt> = batch.messages.iter().map(|message| message.receipt).collect();
        self.seen.lock().unwrap().extend(batch.messages);
        let (commits, leaves) = (Arc::clone(&self.commits), self.leaves);
        tokio::spawn(async move {
            sleep(COMMIT).await;
            let _permit = commits.acquire().await.unwrap();
            if leaves {
                batch.acks.leave(receipts);
            } else {
                batch.acks.ack(receipts);
            }
        });
    }

    fn note(&self, _source: &Arc<str>, mark: SourceMark) {
        self.marks.lock().unwrap().push(mark);
    }
}

struct Running {
    queue: Arc<MemoryQueue>,
    shared: Arc<Shared<Arc<MemoryQueue>>>,
    clock: Arc<ManualClock>,
    stop: CancellationToken,
    task: JoinHandle<Result<SourceSummary, SourceError>>,
}

impl Running {
    fn start<I: Intake>(intake: I) -> Self {
        let queue = MemoryQueue::new(WAIT, VISIBILITY);
        let options = SqsOptions { max_pollers: 8, ..SqsOptions::new("bus", "http://127.0.0.1/q") };
        let clock = Arc::new(ManualClock::at(EventTime::from_seconds(1_000_000)));
        let parts = Parts::new(Arc::clone(&queue), &options, Arc::clone(&clock) as _);
        let shared = Arc::clone(&parts.shared);
        let stop = CancellationToken::new();
        let task = tokio::spawn(parts.run(Arc::new(intake), stop.clone(), GRACE));
        Self { queue, shared, clock, stop, task }
    }

    async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        for _ in 0..1_000_000 {
            if condition(self) {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("never: {what}: {}", self.shared.stats);
    }

    async fn stop(self) -> SourceSummary {
        self.stop.cancel();
        self.task.await.unwrap().unwrap()
    }

    fn pollers(&self) -> u64 {
        self.shared.stats.pollers.get()
    }
}

#[tokio::test(start_paused = true)]
async fn everything_is_handed_over_once_and_deleted() {
    let pipeline = Pipeline::committing();
    let running = Running::start(pipeline.clone());
    running.queue.send(1_234);
    running.until("all deleted", |r| r.queue.len() == 0).await;
    let summary = running.stop().await;
    assert!(summary.is_drained());
    assert_eq!((summary.received, summary.submitted, summary.deleted), (1_234, 1_234, 1_234));
    assert!(pipeline.times_seen().values().all(|&times| times == 1));
}

#[tokio::test(start_paused = true)]
async fn full_acknowledgements_are_deleted_in_tens_and_a_rest_does_not_wait_long() {
    let running = Running::start(Pipeline::committing());
    running.queue.send(203);
    running.until("all deleted", |r| r.queue.len() == 0).await;
    assert_eq!(running.queue.calls().deletes, 21);
    let sent = Instant::now();
    running.queue.send(1);
    running.until("deleted", |r| r.queue.len() == 0).await;
    assert!(sent.elapsed() < COMMIT + Duration::from_millis(100), "{:?}", sent.elapsed());
}

#[tokio::test(start_paused = true)]
async fn pollers_follow_the_load_within_their_bound() {
    let running = Running::start(Pipeline::committing());
    sleep(WAIT * 2).await;
    assert_eq!(running.pollers(), 1);
    running.queue.send(5_000);
    running.until("bound reached", |r| r.pollers() == 8).await;
    running.until("all deleted", |r| r.queue.len() == 0).await;
    running.until("idle again", |r| r.pollers() == 1).await;
    assert_eq!(running.shared.monitor.subscribe().borrow().phase, Phase::Running);
}

#[tokio::test(start_paused = true)]
async fn a_trickle_needs_one_poller() {
    let running = Running::start(Pipeline::committing());
    running.queue.send(2_000);
    running.until("several pollers", |r| r.pollers() > 4).await;
    for _ in 0..200 {
        running.queue.send(2);
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(running.pollers(), 1);
}

#[tokio::test(start_paused = true)]
async fn receiving_does_not_wait_for_commits_and_slow_commits_lose_no_message() {
    let pipeline = Pipeline::standing_still();
    let running = Running::start(pipeline.clone());
    running.queue.send(500);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(pipeline.seen(), 500);
    // For an hour, nobody else sees a message, because the extender asks for time again and again.
    for _ in 0..60 {
        sleep(Duration::from_mins(1)).await;
        assert_eq!(running.queue.visible(), 0);
    }
    assert_eq!((running.shared.stats.redelivered.get(), running.shared.stats.lapsed.get()), (0, 0));
    pipeline.go_on();
    running.until("all deleted", |r| r.queue.len() == 0).await;
    assert!(pipeline.times_seen().values().all(|&times| times == 1));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_extended_before_two_thirds_of_the_timeout() {
    let running = Running::start(Pipeline::standing_still());
    running.queue.send(25);
    sleep(VISIBILITY * 2 / 3 - Duration::from_secs(1)).await;
    assert_eq!(running.queue.calls().changes, 0);
    sleep(Duration::from_secs(7)).await;
    assert_eq!(running.shared.stats.extended.get(), 25);
    assert_eq!(running.queue.calls().changes, 3);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_counts_from_before_the_receive_and_not_from_its_answer() {
    let pipeline = Pipeline::standing_still();
    let running = Running::start(pipeline.clone());
    let before = Instant::now();
    sleep(WAIT - Duration::from_secs(2)).await;
    running.queue.send(1);
    running.until("extended", |r| r.shared.stats.extended.get() == 1).await;
    let asked = before.elapsed();
    assert!(asked >= VISIBILITY * 2 / 3 && asked <= VISIBILITY * 2 / 3 + VISIBILITY / 12, "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_comes_again_is_handed_over_once_and_deleted_with_the_newest_handle() {
    let pipeline = Pipeline::standing_still();
    let running = Running::start(pipeline.clone());
    running.queue.send(3);
    running.until("handed over", |_| pipeline.seen() == 3).await;
    running.queue.expire("m2");
    running.until("came again", |r| r.shared.stats.redelivered.get() == 1).await;
    pipeline.go_on();
    running.until("all deleted", |r| r.queue.len() == 0).await;
    assert_eq!(pipeline.seen(), 3);
    assert!(running.stop().await.is_drained());
}

#[tokio::test(start_paused = true)]
async fn extensions_that_fail_for_a_while_are_repeated_in_time() {
    let pipeline = Pipeline::standing_still();
    let running = Running::start(pipeline.clone());
    running.queue.fail(|faults| {
        faults.changes.extend([failure(ErrorClass::Transient), failure(ErrorClass::Throttled)]);
    });
    running.queue.send(1);
    sleep(VISIBILITY * 3).await;
    assert_eq!(running.shared.stats.redelivered.get(), 0);
    assert!(running.shared.stats.extended.get() > 0);
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_extension_is_refused_comes_again_and_is_kept_again() {
    let pipeline = Pipeline::standing_still();
    let running = Running::start(pipeline.clone());
    running.queue.fail(|faults| {
        faults.changes.extend(failures(ErrorClass::Transient, 20));
    });
    running.queue.send(1);
    running.until("came again", |r| r.shared.stats.redelivered.get() == 1).await;
    sleep(VISIBILITY * 5).await;
    let again = running.shared.stats.redelivered.get();
    assert!(again <= 3, "{again}");
    assert_eq!(pipeline.seen(), 1);
    pipeline.go_on();
    running.until("deleted", |r| r.queue.len() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn failed_deletes_are_repeated_and_lost_handles_are_not() {
    let pipeline = Pipeline::committing();
    let running = Running::start(pipeline.clone());
    running.queue.fail(|faults| {
        faults.deletes.push_back(failure(ErrorClass::Transient));
        faults.delete_entries.push_back((3, failure(ErrorClass::Throttled)));
        faults.delete_entries.push_back((0, failure(ErrorClass::Poison)));
    });
    running.queue.send(30);
    running.until("settled", |r| r.shared.tracker.len() == 0 && r.queue.len() <= 1).await;
    let stats = &running.shared.stats;
    assert_eq!((stats.deleted.get(), stats.delete_lost.get(), stats.delete_retries.get()), (29, 1, 11));
    // The one whose handle was lost still exists: it comes again as a new delivery.
    running.until("all deleted", |r| r.queue.len() == 0).await;
    assert_eq!(pipeline.seen(), 31);
    assert_eq!(running.shared.stats.undeleted.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_missing_permission_to_delete_is_shown_and_waited_for() {
    let running = Running::start(Pipeline::committing());
    let health = running.shared.monitor.subscribe();
    running.queue.fail(|faults| faults.deletes.extend(failures(ErrorClass::Denied, 3)));
    running.queue.send(1);
    let sent = Instant::now();
    running.until("trouble", |_| health.borrow().failure(Work::Delete).is_some()).await;
    running.until("deleted", |r| r.queue.len() == 0).await;
    assert!(sent.elapsed() > SLOW_RETRY * 3 && sent.elapsed() < SLOW_RETRY * 4);
    running.until("well", |_| health.borrow().is_well()).await;
    assert_eq!(running.shared.stats.submitted.get(), 1, "it came again meanwhile");
}

#[tokio::test(start_paused = true)]
async fn throttling_is_waited_out() {
    let running = Running::start(Pipeline::committing());
    running.queue.fail(|faults| {
        faults.receives.extend(failures(ErrorClass::Throttled, 10));
    });
    running.queue.send(100);
    let started = Instant::now();
    running.until("all deleted", |r| r.queue.len() == 0).await;
    assert!(started.elapsed() > Duration::from_secs(30), "{:?}", started.elapsed());
    assert_eq!(running.shared.stats.receive_errors[ErrorClass::Throttled.number()].get(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_missing_queue_is_asked_for_slowly_and_found_when_it_comes() {
    let running = Running::start(Pipeline::committing());
    running.queue.fail(|faults| {
        faults.receives.extend(failures(ErrorClass::Fatal, 10));
    });
    running.queue.send(1);
    let health = running.shared.monitor.subscribe();
    sleep(SLOW_RETRY * 9 + Duration::from_secs(1)).await;
    assert_eq!(running.queue.calls().receives, 10);
    assert!(health.borrow().failure(Work::Receive).is_some());
    sleep(SLOW_RETRY).await;
    assert!(health.borrow().is_well());
    assert_eq!(running.queue.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn too_many_undeleted_messages_pause_receiving() {
    let running = Running::start(Pipeline::committing());
    sleep(WAIT * 2).await;
    let bound = usize::try_from(pollers::UNDELETED_BOUND).unwrap();
    running.shared.stats.undeleted.add(bound);
    // The long poll that was on its way ends first.
    sleep(WAIT * 2).await;
    let receives = running.queue.calls().receives;
    running.queue.send(1);
    sleep(WAIT).await;
    assert_eq!(running.queue.calls().receives, receives);
    running.shared.stats.undeleted.subtract(bound);
    running.until("deleted", |r| r.queue.len() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn left_messages_come_back_after_their_timeout() {
    let pipeline = Pipeline::leaving();
    let running = Running::start(pipeline.clone());
    running.queue.send(1);
    sleep(Duration::from_secs(1)).await;
    assert_eq!((pipeline.seen(), running.shared.tracker.len()), (1, 0));
    sleep(VISIBILITY).await;
    let counts: Vec<u32> =
        pipeline.seen.lock().unwrap().iter().map(|message| message.receive_count).collect();
    assert_eq!(counts, [1, 2]);
    let summary = running.stop().await;
    assert_eq!((summary.left, summary.deleted), (2, 0));
    assert!(summary.is_drained());
}

#[tokio::test(start_paused = true)]
async fn an_idle_long_poll_delays_a_stop_by_a_second_at_most() {
    let running = Running::start(Pipeline::committing());
    sleep(Duration::from_secs(3)).await;
    let stopped = Instant::now();
    assert!(running.stop().await.is_drained());
    assert!(stopped.elapsed() <= STOP_PATIENCE + Duration::from_millis(50), "{:?}", stopped.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_arrives_while_stopping_is_handled_too() {
    let pipeline = Pipeline::committing();
    let running = Running::start(pipeline.clone());
    sleep(Duration::from_secs(3)).await;
    running.stop.cancel();
    sleep(Duration::from_millis(10)).await;
    running.queue.send(7);
    let queue = Arc::clone(&running.queue);
    let summary = running.stop().await;
    assert_eq!((summary.submitted, summary.deleted, queue.len()), (7, 7, 0));
}

#[tokio::test(start_paused = true)]
async fn a_stop_in_the_middle_loses_nothing() {
    let pipeline = Pipeline::committing();
    let running = Running::start(pipeline.clone());
    running.queue.send(20_000);
    running.until("in the middle", |_| pipeline.seen() > 5_000).await;
    let queue = Arc::clone(&running.queue);
    let summary = running.stop().await;
    assert!(summary.is_drained());
    assert!(summary.received < 20_000);
    assert_eq!(summary.received, summary.deleted);
    assert_eq!(u64::try_from(queue.len()).unwrap(), 20_000 - summary.deleted);
    assert_eq!(queue.visible(), queue.len(), "nothing is in flight any more");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_committed_in_time_is_visible_again_at_once() {
    let pipeline = Pipeline::standing_still();
    let running = Running::start(pipeline.clone());
    running.queue.send(123);
    running.until("handed over", |_| pipeline.seen() == 123).await;
    let queue = Arc::clone(&running.queue);
    let stopped = Instant::now();
    let summary = running.stop().await;
    assert!(stopped.elapsed() >= GRACE && stopped.elapsed() < GRACE + Duration::from_secs(1));
    assert_eq!((summary.unacknowledged, summary.released, summary.undeleted), (123, 123, 0));
    assert_eq!(queue.visible(), 123);
    // An acknowledgement that comes too late does nothing.
    pipeline.go_on();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(queue.len(), 123);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_deleted_in_time_is_counted() {
    let running = Running::start(Pipeline::committing());
    running.queue.fail(|faults| faults.deletes.push_back(failure(ErrorClass::Denied)));
    running.queue.send(4);
    running.until("tried", |r| r.queue.calls().deletes == 1).await;
    sleep(Duration::from_secs(1)).await;
    let summary = running.stop().await;
    assert_eq!((summary.undeleted, summary.unacknowledged, summary.deleted), (4, 0, 0));
}

/// An intake that never takes a second batch.
struct Full(Semaphore);

impl Intake for Full {
    async fn submit(&self, _batch: Batch) {
        self.0.acquire().await.unwrap().forget();
    }
}

#[tokio::test(start_paused = true)]
async fn an_intake_that_is_full_does_not_outlast_the_grace_period() {
    let running = Running::start(Full(Semaphore::new(1)));
    running.queue.send(200);
    sleep(Duration::from_secs(10)).await;
    let queue = Arc::clone(&running.queue);
    let summary = running.stop().await;
    assert_eq!(summary.unacknowledged, summary.received);
    assert_eq!(queue.visible(), 200);
}

struct Panics;

impl Intake for Panics {
    async fn submit(&self, _batch: Batch) {
        panic!("on purpose");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_intake_ends_the_run_and_releases_what_it_held() {
    let running = Running::start(Panics);
    let queue = Arc::clone(&running.queue);
    queue.send(10);
    let error = running.task.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "source bus: the poller ended with a panic");
    assert_eq!(queue.visible(), 10);
}

#[tokio::test(start_paused = true)]
async fn marks_say_when_the_queue_was_drained_and_what_its_dead_letter_queue_holds() {
    let pipeline = Pipeline::committing();
    let running = Running::start(pipeline.clone());
    let denied = failure(ErrorClass::Denied);
    running.queue.fail(|faults| faults.dead_letters.extend([denied.clone(), denied]));
    let marks = || pipeline.marks.lock().unwrap().clone();
    sleep(Duration::from_secs(1)).await;
    let first = marks()[0].clone();
    assert_eq!((first.caught_up, first.retention_seconds), (None, Some(345_600)));
    assert_eq!(first.dead_letters, DeadLetters::Unreadable);
    running.clock.advance(100);
    sleep(Duration::from_mins(2)).await;
    assert_eq!(marks().len(), 3);
    assert_eq!(marks()[2].caught_up, Some(EventTime::from_seconds(1_000_100)));
    assert_eq!(marks()[2].dead_letters, DeadLetters::Messages(3));
    assert!(running.shared.monitor.subscribe().borrow().is_well(), "a denial of this kind is no trouble");
    // While there is more than receives bring, the time stands still.
    running.clock.advance(100);
    running.queue.send(50_000);
    running.until("busy", |_| pipeline.seen() > 1_000).await;
    assert!(running.stop().await.is_drained());
    let last = marks().pop().unwrap();
    assert_eq!(last.caught_up, Some(EventTime::from_seconds(1_000_100)));
    assert_eq!(marks().len(), 4);
}
