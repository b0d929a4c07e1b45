//! The whole program at a queue that we did not write.

use std::collections::BTreeSet;
use std::path::PathBuf;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{MessageSystemAttributeName, QueueAttributeName, SendMessageBatchRequestEntry};
use dormouse_tests::aws;
use dormouse_tests::ministack::MiniStack;
use dormouse_tests::oracle;
use dormouse_tests::program::Running;
use dormouse_tests::scene::Scene;
use dormouse_tests::traffic::{bodies, everything, write_lines};
use dormouse_tests::wait::eventually;
use tokio::task::JoinSet;

const EVENTS: usize = 3_000;
const SENDERS: usize = 8;

/// A queue with a dead-letter queue in a MiniStack of its own, and a scene whose program reads it.
struct Stage {
    scene: Scene,
    client: Client,
    queue: String,
    dead: String,
    _ministack: MiniStack,
}

impl Stage {
    /// A message that was received `most` times goes to the dead-letter queue.
    async fn new(most: u32) -> Self {
        let ministack = MiniStack::start().await;
        let client = aws::sqs(&ministack.endpoint());
        let dead = client.create_queue().queue_name("dead").send().await.unwrap().queue_url.unwrap();
        let arn = QueueAttributeName::QueueArn;
        let ask = client.get_queue_attributes().queue_url(&dead).attribute_names(arn.clone());
        let dead_arn = ask.send().await.unwrap().attributes.unwrap().remove(&arn).unwrap();
        let policy = format!(r#"{{"deadLetterTargetArn":"{dead_arn}","maxReceiveCount":{most}}}"#);
        let make = client.create_queue().queue_name("dormouse");
        let made = make.attributes(QueueAttributeName::RedrivePolicy, policy).send().await.unwrap();
        let queue = made.queue_url.unwrap();

        let mut scene = Scene::new().await;
        scene.set("source", "queue_url", &format!("{queue:?}"));
        scene.set("source", "endpoint_url", &format!("{:?}", ministack.endpoint()));
        Self { scene, client, queue, dead, _ministack: ministack }
    }

    /// Sends the messages, in about this order.
    async fn send(&self, bodies: &[String]) {
        let share = bodies.len().div_ceil(SENDERS);
        let mut senders = JoinSet::new();
        for bodies in bodies.chunks(share) {
            let (client, queue, bodies) = (self.client.clone(), self.queue.clone(), bodies.to_vec());
            senders.spawn(async move {
                for ten in bodies.chunks(10) {
                    let entry = |(id, body): (usize, &String)| {
                        let entry = SendMessageBatchRequestEntry::builder();
                        entry.id(id.to_string()).message_body(body).build().unwrap()
                    };
                    let entries = ten.iter().enumerate().map(entry).collect();
                    let send = client.send_message_batch().queue_url(&queue).set_entries(Some(entries));
                    let answer = send.send().await.unwrap();
                    assert!(answer.failed.is_empty(), "{answer:?}");
                }
            });
        }
        senders.join_all().await;
    }

    /// How many messages of a queue are visible and in flight.
    async fn numbers(&self, queue: &str) -> (usize, usize) {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        let ask = self.client.get_queue_attributes().queue_url(queue);
        let answer = ask.set_attribute_names(Some(names.to_vec())).send().await.unwrap();
        let [visible, in_flight] = names.map(|name| answer.attributes().unwrap()[&name].parse().unwrap());
        (visible, in_flight)
    }

    /// Waits until the queue says that it is empty.
    async fn drained(&self, running: &mut Running) {
        eventually("the queue is empty", async || {
            running.assert_alive();
            let numbers = self.numbers(&self.queue).await;
            if numbers == (0, 0) { Ok(()) } else { Err(numbers) }
        })
        .await;
    }

    /// All bodies in the dead-letter queue, and that they come from the queue.
    async fn dead_letters(&self) -> BTreeSet<String> {
        let mut bodies = BTreeSet::new();
        loop {
            let receive = self.client.receive_message().queue_url(&self.dead).max_number_of_messages(10);
            let receive = receive.message_system_attribute_names(MessageSystemAttributeName::All);
            let answer = receive.send().await.unwrap();
            if answer.messages().is_empty() {
                return bodies;
            }
            for message in answer.messages.unwrap() {
                let source =
                    &message.attributes.unwrap()[&MessageSystemAttributeName::DeadLetterQueueSourceArn];
                assert!(source.ends_with(":dormouse"), "{source}");
                bodies.insert(message.body.unwrap());
            }
        }
    }

    fn delivered(&self) -> PathBuf {
        self.scene.folder.path().join("delivered.ndjson")
    }

    /// Messages of everything that KMS logs, some of them twice, of which the oracle knows.
    fn traffic(&self, seed: u64) -> Vec<String> {
        let bodies = bodies(seed, &everything(seed, EVENTS));
        assert!(bodies.len() > EVENTS, "nothing comes twice");
        write_lines(&self.delivered(), &bodies);
        bodies
    }

    /// What the store says is what the oracle says.
    fn assert_right(&self, counted: &[&str]) {
        let truth = oracle::truth(&[&self.delivered()]);
        oracle::assert_same_keys(&truth["keys"], &self.scene.all_keys());
        let status = self.scene.status();
        for counted in counted {
            assert_eq!(status["records"][counted], truth["records"][counted], "{counted}: {status:#}");
        }
    }
}

/// Messages that mean nothing, each another.
fn junk(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{{\"Records\": [ junk {number} \u{1f400}")).collect()
}

/// The messages with the others among them at even distances.
fn mixed(mut messages: Vec<String>, others: &[String]) -> Vec<String> {
    let distance = messages.len() / others.len();
    for (place, other) in others.iter().enumerate().rev() {
        messages.insert(place * distance, other.clone());
    }
    messages
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_holds_what_the_queue_held_and_poison_goes_to_the_dead_letters() {
    let mut stage = Stage::new(1).await;
    stage.scene.set("source", "on_poison", "\"redrive\"");
    let junk = junk(30);
    stage.send(&mixed(stage.traffic(41), &junk)).await;
    let mut running = stage.scene.run();
    stage.drained(&mut running).await;
    assert!(running.stop().await.success());

    // Nobody but the program has taken anything out, so what is not among the dead letters is in the store.
    assert_eq!(stage.dead_letters().await, junk.into_iter().collect());
    assert!(stage.scene.quarantine().is_empty());
    stage.assert_right(&["kms", "uses", "attempts", "changes"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_program_goes_on_where_the_queue_stands() {
    // No message is received so often that it is given up.
    let stage = Stage::new(1_000).await;
    let junk = junk(30);
    let messages = mixed(stage.traffic(42), &junk);
    stage.send(&messages).await;
    let mut running = stage.scene.run();
    eventually("some of the work is done", async || {
        running.assert_alive();
        let (visible, in_flight) = stage.numbers(&stage.queue).await;
        if visible + in_flight < messages.len() * 4 / 5 { Ok(()) } else { Err((visible, in_flight)) }
    })
    .await;
    running.kill();
    let (visible, in_flight) = stage.numbers(&stage.queue).await;
    eprintln!("killed with {visible} visible, {in_flight} in flight of {}", messages.len());
    assert!(visible + in_flight > 0, "everything was done before the kill; the test is too small");

    let mut running = stage.scene.run();
    stage.drained(&mut running).await;
    assert!(running.stop().await.success());
    assert!(stage.dead_letters().await.is_empty());
    assert_eq!(stage.scene.quarantine().len(), junk.len());
    // What comes again after a kill is read again, and counts once.
    stage.assert_right(&["uses", "attempts", "changes"]);
}
