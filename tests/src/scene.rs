//! A queue, a store and a configuration for one test, in a folder of its own.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dormouse_simulate::sqs::{QueueCounters, QueueOptions, SqsDouble, SqsOptions};
use serde_json::Value;
use tempfile::TempDir;

use tokio::time::Instant;

use crate::clock::PushedClock;
use crate::program::{Running, ask};
use crate::wait::{until, when};

/// A queue of which nothing changed for so long waits for its clock.
const STILL: Duration = Duration::from_millis(300);

/// Everything that one test needs around a running Dormouse.
pub struct Scene {
    /// For the test's own files.
    pub folder: TempDir,
    /// The queue's server.
    pub double: SqsDouble,
    /// The queue's clock.
    pub clock: Arc<PushedClock>,
    /// The queue.
    pub queue: String,
    /// Where undeliverable messages go, if [`Scene::with_dead_letters`] made it.
    pub dead: String,
    settings: BTreeMap<&'static str, BTreeMap<&'static str, String>>,
    /// Further sources, and whatever else is said in sections of their own.
    more: String,
}

impl Scene {
    /// A scene with one empty queue.
    pub async fn new() -> Self {
        Self::with_queue(QueueOptions::default()).await
    }

    /// A scene in which a message that was received `most` times goes to the dead-letter queue.
    pub async fn with_dead_letters(most: u32) -> Self {
        Self::with_queue(QueueOptions { redrive: Some(("dead".to_owned(), most)), ..QueueOptions::default() })
            .await
    }

    /// A scene with one empty queue of this kind.
    pub async fn with_queue(options: QueueOptions) -> Self {
        let clock = Arc::new(PushedClock::default());
        let server = SqsOptions { clock: clock.clone(), ..SqsOptions::default() };
        let double = SqsDouble::start(server).await.unwrap();
        let dead = double.create_queue("dead", QueueOptions::default());
        let queue = double.create_queue("dormouse", options);
        let folder = tempfile::tempdir().unwrap();
        let mut scene =
            Self { folder, clock, queue, dead, settings: BTreeMap::new(), more: String::new(), double };
        scene.set("store", "path", &format!("{:?}", scene.store()));
        scene.set("source", "queue_url", &format!("{:?}", scene.queue));
        scene.set("source", "endpoint_url", &format!("{:?}", scene.double.endpoint()));
        scene.set("source", "visibility_timeout", "\"10s\"");
        scene.set("source", "wait_time", "\"1s\"");
        scene.set("ingest", "fold_interval", "\"1s\"");
        // Many instances run on one machine at once.
        scene.set("http", "listen", "\"127.0.0.1:0\"");
        scene
    }

    /// Sets one key of `[store]`, of `[http]`, of the one `[[sources]]` (`source`) or of `[ingest]` to a TOML value.
    pub fn set(&mut self, section: &'static str, key: &'static str, value: &str) {
        self.settings.entry(section).or_default().insert(key, value.to_owned());
    }

    /// Adds a section to the configuration, after all others: a further source, say.
    pub fn add(&mut self, section: &str) {
        self.more.push_str(section);
        self.more.push('\n');
    }

    /// Adds one more queue, and a source that reads it. Returns the queue.
    pub fn add_queue(&mut self, source: &str, options: QueueOptions) -> String {
        let queue = self.double.create_queue(source, options);
        let endpoint = self.double.endpoint().to_owned();
        self.add(&format!(
            "[[sources]]\nname = {source:?}\ntype = \"sqs\"\nregion = \"eu-west-1\"\nqueue_url = {queue:?}\n\
             endpoint_url = {endpoint:?}\nvisibility_timeout = \"10s\"\nwait_time = \"1s\""
        ));
        queue
    }

    /// The store's file.
    pub fn store(&self) -> PathBuf {
        self.folder.path().join("dormouse.db")
    }

    /// Writes the configuration and returns its file.
    pub fn configuration(&self) -> PathBuf {
        let mut text = String::new();
        for (section, settings) in &self.settings {
            let head = match *section {
                "source" => "[[sources]]\nname = \"bus\"\ntype = \"sqs\"\nregion = \"eu-west-1\"".to_owned(),
                section => format!("[{section}]"),
            };
            writeln!(text, "{head}").unwrap();
            for (key, value) in settings {
                writeln!(text, "{key} = {value}").unwrap();
            }
        }
        text.push_str(&self.more);
        let path = self.folder.path().join("dormouse.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Starts `dormouse run`.
    pub fn run(&self) -> Running {
        Running::start(&self.configuration(), self.folder.path().join("stderr.log"))
    }

    /// Puts messages into the queue.
    pub fn send<S: AsRef<str>>(&self, bodies: impl IntoIterator<Item = S>) {
        self.double.send_many(&self.queue, bodies).unwrap();
    }

    /// The queue's numbers.
    pub fn counters(&self) -> QueueCounters {
        self.double.counters(&self.queue).unwrap()
    }

    /// How many messages are in the queue, whoever can see them.
    pub fn waiting(&self) -> usize {
        let counters = self.counters();
        counters.visible + counters.in_flight + counters.delayed
    }

    /// Waits until nothing is left in the queue.
    pub async fn drained(&self, running: &mut Running) {
        until("the queue is empty", || {
            running.assert_alive();
            when(self.waiting() == 0, self.counters())
        })
        .await;
    }

    /// The same, but when nothing moves any more, the time until hidden messages come back passes at once.
    pub async fn drained_in_haste(&self, running: &mut Running) {
        let (mut before, mut since) = (QueueCounters::default(), Instant::now());
        until("the queue is empty", || {
            running.assert_alive();
            // Receives that find nothing move nothing.
            let counters = QueueCounters { empty_receives: 0, ..self.counters() };
            if counters != before {
                (before, since) = (counters, Instant::now());
            } else if since.elapsed() > STILL {
                since = Instant::now();
                self.clock.push(1);
            }
            when(self.waiting() == 0, counters)
        })
        .await;
    }

    /// What a command that reads the store says, as JSON.
    pub fn ask(&self, command: &[&str]) -> Value {
        let store = self.store();
        ask(&[command, &["--store", store.to_str().unwrap(), "--output", "json"]].concat())
    }

    /// `dormouse keys`: one document a key.
    pub fn keys(&self) -> Vec<Value> {
        self.ask(&["keys"])["keys"].as_array().unwrap().clone()
    }

    /// `dormouse keys`, those that were deleted included: all that anything is known of.
    pub fn all_keys(&self) -> Value {
        let deleted = self.ask(&["keys", "--state", "Deleted"])["keys"].as_array().unwrap().clone();
        Value::Array([self.keys(), deleted].concat())
    }

    /// `dormouse quarantine list`.
    pub fn quarantine(&self) -> Vec<Value> {
        self.ask(&["quarantine", "list"])["messages"].as_array().unwrap().clone()
    }

    /// `dormouse status`.
    pub fn status(&self) -> Value {
        self.ask(&["status"])
    }

    /// The ids and bodies in the dead-letter queue.
    pub fn dead_letters(&self) -> Vec<String> {
        self.double.remaining(&self.dead).unwrap().into_iter().map(|(_, body)| body).collect()
    }
}
