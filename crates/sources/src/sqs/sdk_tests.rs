//! A whole source with the real SDK against the double of SQS, on loopback and in real time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::Credentials;
use dormouse_aws::{AwsOptions, ErrorClass, load_config};
use dormouse_model::{DeadLetters, SourceMark};
use dormouse_simulate::sqs::{self as double, Fault, Operation, QueueOptions, SqsDouble};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{SourceSummary, SqsOptions, SqsSource};
use crate::health::Work;
use crate::{Batch, Intake, Receipt, SourceError};

const GRACE: Duration = Duration::from_secs(20);

async fn start_double() -> (SqsDouble, String) {
    let double = SqsDouble::start(double::SqsOptions::default()).await.unwrap();
    let url = double.create_queue("dormouse", QueueOptions::default());
    (double, url)
}

async fn client_for(double: &SqsDouble) -> Client {
    let options = AwsOptions {
        region: Some("eu-west-1".to_owned()),
        endpoint_url: Some(double.endpoint().to_owned()),
        ..AwsOptions::default()
    };
    let config = load_config(&options).await.unwrap();
    let credentials = Credentials::new("AKIAEXAMPLE", "secret", None, None, "test");
    let builder = aws_sdk_sqs::config::Builder::from(&config).credentials_provider(credentials);
    Client::from_conf(builder.build())
}

/// Visibility in the double is judged in real time: short, but long enough for a commit.
fn options(url: &str) -> SqsOptions {
    SqsOptions {
        wait_time: Duration::from_secs(1),
        visibility_timeout: Duration::from_secs(2),
        ..SqsOptions::new("bus", url)
    }
}

/// Commits in order, every 20 ms, whatever came until then; remembers bodies before it acknowledges them.
#[derive(Clone)]
struct Committer {
    batches: mpsc::UnboundedSender<Batch>,
    committed: Arc<Mutex<HashMap<String, usize>>>,
}

impl Committer {
    fn new() -> Self {
        let (batches, mut arriving) = mpsc::unbounded_channel::<Batch>();
        let committed: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
        let durable = Arc::clone(&committed);
        tokio::spawn(async move {
            let mut epoch = Vec::new();
            while arriving.recv_many(&mut epoch, 10_000).await > 0 {
                sleep(Duration::from_millis(20)).await;
                for batch in epoch.drain(..) {
                    let receipts: Vec<Receipt> =
                        batch.messages.iter().map(|message| message.receipt).collect();
                    for message in batch.messages {
                        *durable
                            .lock()
                            .unwrap()
                            .entry(String::from_utf8(message.body).unwrap())
                            .or_default() += 1;
                    }
                    batch.acks.ack(receipts);
                }
            }
        });
        Self { batches, committed }
    }

    fn distinct(&self) -> usize {
        self.committed.lock().unwrap().len()
    }
}

impl Intake for Committer {
    async fn submit(&self, batch: Batch) {
        self.batches.send(batch).unwrap();
    }
}

struct Running {
    stop: CancellationToken,
    task: JoinHandle<Result<SourceSummary, SourceError>>,
}

impl Running {
    fn start(source: SqsSource, intake: &Committer) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(source.run(Arc::new(intake.clone()), stop.clone(), GRACE));
        Self { stop, task }
    }

    async fn stop(self) -> SourceSummary {
        self.stop.cancel();
        self.task.await.unwrap().unwrap()
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..6_000 {
        if condition() {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

/// Fails the test at once if a message is deleted whose body was not committed.
fn watch_deletes(double: &SqsDouble, committer: &Committer) -> Arc<Mutex<Vec<String>>> {
    let too_early: Arc<Mutex<Vec<String>>> = Arc::default();
    let (committed, found) = (Arc::clone(&committer.committed), Arc::clone(&too_early));
    double.on_delete(move |_, body| {
        if !committed.lock().unwrap().contains_key(body) {
            found.lock().unwrap().push(body.to_owned());
        }
    });
    too_early
}

fn bodies(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!(r#"{{"number":{number}}}"#))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_deletes_everything() {
    let (double, url) = start_double().await;
    double.send_many(&url, bodies(3_000)).unwrap();
    let committer = Committer::new();
    let too_early = watch_deletes(&double, &committer);
    let running = Running::start(SqsSource::new(&client_for(&double).await, options(&url)), &committer);
    until("all committed", || committer.distinct() == 3_000).await;
    let summary = running.stop().await;
    assert!(summary.is_drained(), "{summary}");
    assert!(double.remaining(&url).unwrap().is_empty());
    assert!(too_early.lock().unwrap().is_empty());
    assert!(double.requests(Operation::DeleteMessageBatch) < 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_everything_is_committed_before_it_is_deleted() {
    let (double, url) = start_double().await;
    double.send_many(&url, bodies(3_000)).unwrap();
    double.faults().set_all(&Fault {
        latency: Duration::ZERO..=Duration::from_millis(20),
        throttled: 0.03,
        internal_error: 0.03,
        unavailable: 0.03,
        dropped: 0.03,
        answer_lost: 0.03,
        entry_failed: 0.05,
        duplicated: 0.05,
        delete_forgotten: 0.05,
        ..Fault::default()
    });
    let committer = Committer::new();
    let too_early = watch_deletes(&double, &committer);
    let source = SqsSource::new(&client_for(&double).await, options(&url));
    let stats = source.stats();
    let running = Running::start(source, &committer);
    until("queue empty", || double.remaining(&url).unwrap().is_empty()).await;
    let summary = running.stop().await;
    assert!(summary.is_drained(), "{summary}");
    assert_eq!(committer.distinct(), 3_000);
    assert!(too_early.lock().unwrap().is_empty());
    assert!(stats.delete_retries.get() > 0 && stats.redelivered.get() > 0, "{stats}");
    assert_eq!((stats.in_flight.get(), stats.undeleted.get()), (0, 0), "{stats}");
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_in_flight_are_deleted_with_their_newest_handle() {
    let (double, url) = start_double().await;
    double.send_many(&url, bodies(500)).unwrap();
    double.faults().set(Operation::ReceiveMessage, Fault { duplicated: 0.5, ..Fault::default() });
    let committer = Committer::new();
    let source = SqsSource::new(&client_for(&double).await, options(&url));
    let stats = source.stats();
    let running = Running::start(source, &committer);
    until("queue empty", || double.remaining(&url).unwrap().is_empty()).await;
    assert!(running.stop().await.is_drained());
    assert_eq!(committer.distinct(), 500);
    assert!(stats.redelivered.get() > 0, "{stats}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_the_middle_leaves_the_rest_visible() {
    let (double, url) = start_double().await;
    double.send_many(&url, bodies(20_000)).unwrap();
    let committer = Committer::new();
    let too_early = watch_deletes(&double, &committer);
    let long = SqsOptions { visibility_timeout: Duration::from_secs(600), ..options(&url) };
    let running = Running::start(SqsSource::new(&client_for(&double).await, long), &committer);
    until("in the middle", || committer.distinct() > 2_000).await;
    let summary = running.stop().await;
    assert!(summary.is_drained(), "{summary}");
    let counters = double.counters(&url).unwrap();
    assert_eq!(counters.in_flight, 0, "what was received is deleted");
    assert_eq!(counters.visible + committer.distinct(), 20_000);
    assert!(too_early.lock().unwrap().is_empty());
}

/// Takes everything and never commits.
struct Silent;

impl Intake for Silent {
    async fn submit(&self, _batch: Batch) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_commits_keep_their_messages_and_a_drain_in_vain_gives_them_back() {
    let (double, url) = start_double().await;
    double.send_many(&url, bodies(100)).unwrap();
    let source = SqsSource::new(&client_for(&double).await, options(&url));
    let stats = source.stats();
    let stop = CancellationToken::new();
    let task = tokio::spawn(source.run(Arc::new(Silent), stop.clone(), Duration::from_secs(1)));
    let extended_twice = async {
        while stats.extended.get() < 200 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), extended_twice).await;
    assert!(waited.is_ok(), "{stats}");
    let counters = double.counters(&url).unwrap();
    assert_eq!((counters.in_flight, counters.redelivered), (100, 0), "{stats}");
    stop.cancel();
    let summary = task.await.unwrap().unwrap();
    assert_eq!((summary.unacknowledged, summary.released), (100, 100));
    assert_eq!(double.counters(&url).unwrap().visible, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_says_what_is_wrong_and_what_to_do() {
    let (double, url) = start_double().await;
    let client = client_for(&double).await;
    let facts = SqsSource::new(&client, options(&url)).check().await.unwrap();
    assert_eq!((facts.waiting, facts.has_redrive_policy, facts.retention_seconds), (0, false, Some(345_600)));

    let elsewhere = url.replace("/dormouse", "/nobody");
    let error = SqsSource::new(&client, options(&elsewhere)).check().await.unwrap_err().to_string();
    assert!(error.contains("queue_url") && error.contains("sqs:GetQueueAttributes failed"), "{error}");

    double.faults().set_all(&Fault { access_denied: true, ..Fault::default() });
    let error = SqsSource::new(&client, options(&url)).check().await.unwrap_err().to_string();
    assert!(error.contains("sqs:GetQueueAttributes must be granted"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_is_in_the_health_and_does_not_delay_a_stop() {
    let (double, url) = start_double().await;
    double.faults().set_all(&Fault { access_denied: true, ..Fault::default() });
    let source = SqsSource::new(&client_for(&double).await, options(&url));
    let health = source.health();
    let running = Running::start(source, &Committer::new());
    until("denied", || health.borrow().failure(Work::Receive).is_some()).await;
    let failure = health.borrow().failure(Work::Receive).cloned().unwrap();
    assert_eq!(
        (failure.class, failure.missing_permission()),
        (ErrorClass::Denied, Some("sqs:ReceiveMessage"))
    );
    let summary = tokio::time::timeout(Duration::from_secs(2), running.stop()).await.unwrap();
    assert_eq!(summary.received, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn exhausted_messages_go_where_the_redrive_policy_says() {
    struct Leaves(Arc<Mutex<Vec<SourceMark>>>);
    impl Intake for Leaves {
        async fn submit(&self, batch: Batch) {
            batch.acks.leave(batch.messages.iter().map(|message| message.receipt).collect());
        }

        fn note(&self, _source: &Arc<str>, mark: SourceMark) {
            self.0.lock().unwrap().push(mark);
        }
    }
    let marks: Arc<Mutex<Vec<SourceMark>>> = Arc::default();
    let double = SqsDouble::start(double::SqsOptions::default()).await.unwrap();
    let dead = double.create_queue("dead", QueueOptions::default());
    let redrive = Some(("dead".to_owned(), 2));
    let url = double.create_queue("dormouse", QueueOptions { redrive, ..QueueOptions::default() });
    double.send_many(&url, bodies(20)).unwrap();
    let source = SqsSource::new(&client_for(&double).await, options(&url));
    assert!(source.check().await.unwrap().has_redrive_policy);
    let stop = CancellationToken::new();
    let task = tokio::spawn(source.run(Arc::new(Leaves(Arc::clone(&marks))), stop.clone(), GRACE));
    until("all redriven", || double.remaining(&dead).unwrap().len() == 20).await;
    stop.cancel();
    let summary = task.await.unwrap().unwrap();
    assert_eq!((summary.left, summary.deleted), (40, 0));
    let mark = marks.lock().unwrap().pop().unwrap();
    assert_eq!(mark.retention_seconds, Some(345_600));
    assert_eq!(mark.caught_up, None, "nothing was taken: all of it was left");

    // The next start finds what was given up meanwhile.
    let first: Arc<Mutex<Vec<SourceMark>>> = Arc::default();
    let stop = CancellationToken::new();
    let source = SqsSource::new(&client_for(&double).await, options(&url));
    let task = tokio::spawn(source.run(Arc::new(Leaves(Arc::clone(&first))), stop.clone(), GRACE));
    until("a mark", || !first.lock().unwrap().is_empty()).await;
    stop.cancel();
    task.await.unwrap().unwrap();
    assert_eq!(first.lock().unwrap()[0].dead_letters, DeadLetters::Messages(20));
}
