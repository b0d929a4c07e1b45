//! The whole program at a queue that we did not write.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use aws_sdk_kms::config::Credentials;
use aws_sdk_kms::types::{KeyState, OriginType, Tag};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{MessageSystemAttributeName, QueueAttributeName, SendMessageBatchRequestEntry};
use dormouse_tests::aws;
use dormouse_tests::ministack::{ACCOUNT, MiniStack};
use dormouse_tests::oracle;
use dormouse_tests::program::{Running, ask, dormouse, finish};
use dormouse_tests::scene::Scene;
use dormouse_tests::traffic::{bodies, everything, write_lines};
use dormouse_tests::wait::eventually;
use serde_json::json;
use tokio::task::JoinSet;

const EVENTS: usize = 3_000;
const SENDERS: usize = 8;

/// A queue with a dead-letter queue in a MiniStack of its own, and a scene whose program reads it.
struct Stage {
    scene: Scene,
    client: Client,
    queue: String,
    dead: String,
    ministack: MiniStack,
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
        Self { scene, client, queue, dead, ministack }
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

/// Keys in states that a person brings about, in an account of somebody else's KMS: by state.
async fn keys_of(account: &str, endpoint: &str) -> BTreeMap<&'static str, String> {
    let kms = aws::kms(endpoint, Credentials::new(account, "no secret", None, None, "test"));
    let new = async || kms.create_key().send().await.unwrap().key_metadata.unwrap().arn.unwrap();
    let [enabled, disabled, doomed] = [new().await, new().await, new().await];
    kms.disable_key().key_id(&disabled).send().await.unwrap();
    kms.schedule_key_deletion().key_id(&doomed).pending_window_in_days(7).send().await.unwrap();
    let alias = format!("alias/of-{account}");
    kms.create_alias().alias_name(alias).target_key_id(&enabled).send().await.unwrap();
    let tag = Tag::builder().tag_key("team").tag_value("pay").build().unwrap();
    kms.tag_resource().key_id(&enabled).tags(tag).send().await.unwrap();
    let imported = kms.create_key().origin(OriginType::External).send().await;
    let mut keys =
        BTreeMap::from([("Enabled", enabled), ("Disabled", disabled), ("PendingDeletion", doomed)]);
    let metadata = imported.ok().and_then(|created| created.key_metadata);
    if let Some(metadata) = metadata.filter(|made| made.key_state == Some(KeyState::PendingImport)) {
        keys.insert("PendingImport", metadata.arn.unwrap());
    }
    keys
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_inventory_of_two_accounts_is_what_their_kms_holds() {
    let stage = Stage::new(3).await;
    let endpoint = stage.ministack.endpoint();
    let accounts = [ACCOUNT, "444455556666"];
    let mut expected = Vec::new();
    for account in accounts {
        expected.push(keys_of(account, &endpoint).await);
    }
    let Stage { mut scene, ministack: _ministack, .. } = stage;
    scene.add(&format!(
        "[inventory]\naccounts = {accounts:?}\nregions = [\"eu-west-1\"]\nregion = \"eu-west-1\"\n\
         endpoint_url = {endpoint:?}"
    ));
    let mut running = scene.run();
    let url = running.url().await;
    let reconciled = finish(&mut dormouse(&["reconcile", "--url", &url, "--output", "json"]));
    assert_eq!(reconciled.code(), 0, "{reconciled:#?}");
    let known = ask(&["keys", "--all", "--url", &url, "--output", "json"]);
    let known = known["keys"].as_array().unwrap();
    assert_eq!(known.len(), expected.iter().map(BTreeMap::len).sum::<usize>(), "{known:#?}");
    for (account, keys) in accounts.into_iter().zip(&expected) {
        for (state, arn) in keys {
            let key = known.iter().find(|key| key["arn"] == **arn);
            let key = key.unwrap_or_else(|| panic!("{arn} is not known: {known:#?}"));
            assert_eq!((&key["state"], &key["manager"]), (&json!(state), &json!("CUSTOMER")), "{key:#}");
            assert!(key["created"].is_string() && key["described_at"].is_string(), "{key:#}");
            let is_first = *state == "Enabled";
            let (aliases, tags) = (json!([format!("alias/of-{account}")]), json!({ "team": "pay" }));
            assert_eq!(key["aliases"] == aliases && key["tags"] == tags, is_first, "{key:#}");
            assert_eq!(key["deletion_date"].is_string(), *state == "PendingDeletion", "{key:#}");
            assert!(!["idle", "never_used"].contains(&key["verdict"]["kind"].as_str().unwrap()), "{key:#}");
        }
    }
    assert!(expected[0].len() >= 3);
    assert!(running.stop().await.success());
}
