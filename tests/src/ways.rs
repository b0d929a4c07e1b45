//! Queues, streams and buckets together, and an instance that reads them all, in a folder of its own.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::Command;

use dormouse_simulate::kinesis::{KinesisDouble, KinesisOptions, StreamOptions};
use dormouse_simulate::s3::{S3Double, S3Options};
use dormouse_simulate::sqs::{QueueOptions, SqsDouble, SqsOptions};
use serde_json::Value;
use tempfile::TempDir;

use crate::http;
use crate::program::{Finished, Running, ask, dormouse, finish};
use crate::wait::{eventually, until, when};

/// Everything that events can come by, and one Dormouse.
pub struct Ways {
    /// For the test's own files.
    pub folder: TempDir,
    /// The queues' server.
    pub sqs: SqsDouble,
    /// The streams' server.
    pub kinesis: KinesisDouble,
    /// The buckets' server.
    pub s3: S3Double,
    sources: Vec<String>,
    settings: BTreeMap<&'static str, BTreeMap<&'static str, String>>,
}

impl Ways {
    /// Nothing but the servers.
    pub async fn new() -> Self {
        let mut ways = Self {
            folder: tempfile::tempdir().unwrap(),
            sqs: SqsDouble::start(SqsOptions::default()).await.unwrap(),
            kinesis: KinesisDouble::start(KinesisOptions::default()).await.unwrap(),
            s3: S3Double::start(S3Options::default()).await.unwrap(),
            sources: Vec::new(),
            settings: BTreeMap::new(),
        };
        ways.set("store", "path", &format!("{:?}", ways.store()));
        ways.set("ingest", "fold_interval", "\"1s\"");
        ways.set("ingest", "epoch_interval", "\"50ms\"");
        // Many instances run on one machine at once.
        ways.set("http", "listen", "\"127.0.0.1:0\"");
        ways.set("history", "endpoint_url", &format!("{:?}", ways.s3.endpoint()));
        ways
    }

    /// Sets one key of a section to a TOML value.
    pub fn set(&mut self, section: &'static str, key: &'static str, value: &str) {
        self.settings.entry(section).or_default().insert(key, value.to_owned());
    }

    /// Makes a queue, and a source of this name that reads it. Returns the queue's URL.
    pub fn queue(&mut self, name: &str) -> String {
        self.queue_with(name, "")
    }

    /// The same for a queue that announces objects; those in these parts of buckets may be read.
    pub fn queue_of_objects(&mut self, name: &str, buckets: &[&str]) -> String {
        let s3 = self.s3.endpoint();
        self.queue_with(name, &format!("buckets = {buckets:?}\ns3_endpoint_url = {s3:?}\n"))
    }

    fn queue_with(&mut self, name: &str, lines: &str) -> String {
        let queue =
            self.sqs.create_queue(name, QueueOptions { reorder_window: 100, ..QueueOptions::default() });
        let endpoint = self.sqs.endpoint();
        self.sources.push(format!(
            "name = {name:?}\ntype = \"sqs\"\nregion = \"eu-west-1\"\nendpoint_url = {endpoint:?}\nqueue_url = {queue:?}\n\
             visibility_timeout = \"10s\"\nwait_time = \"1s\"\n{lines}"
        ));
        queue
    }

    /// Makes a stream with four shards, and a source of this name that reads it from its beginning.
    pub fn stream(&mut self, name: &str, options: StreamOptions) {
        self.kinesis.create_stream(name, 4, options);
        let endpoint = self.kinesis.endpoint().to_owned();
        self.stream_at(name, name, &endpoint);
    }

    /// A source of this name that reads somebody's stream from its beginning.
    pub fn stream_at(&mut self, name: &str, stream: &str, endpoint: &str) {
        self.sources.push(format!(
            "name = {name:?}\ntype = \"kinesis\"\nregion = \"eu-west-1\"\nendpoint_url = {endpoint:?}\nstream = {stream:?}\n\
             start = \"trim_horizon\"\nreads_per_second = 50.0\npoll_interval = \"50ms\"\n"
        ));
    }

    /// The store's file.
    pub fn store(&self) -> PathBuf {
        self.folder.path().join("dormouse.db")
    }

    /// Writes the configuration and returns its file.
    pub fn configuration(&self) -> PathBuf {
        let mut text = String::new();
        for (section, settings) in &self.settings {
            writeln!(text, "[{section}]").unwrap();
            for (key, value) in settings {
                writeln!(text, "{key} = {value}").unwrap();
            }
        }
        for source in &self.sources {
            writeln!(text, "[[sources]]\n{source}").unwrap();
        }
        let path = self.folder.path().join("dormouse.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Starts `dormouse run`.
    pub fn run(&self) -> Running {
        Running::start(&self.configuration(), self.folder.path().join("stderr.log"))
    }

    /// A call of the program with this configuration.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let configuration = self.configuration();
        let mut command = dormouse(arguments);
        command.args(["--config", configuration.to_str().unwrap()]);
        command
    }

    /// Runs `dormouse backfill` to its end.
    pub fn backfill(&self, arguments: &[&str]) -> Finished {
        finish(&mut self.command(&[&["backfill"], arguments].concat()))
    }

    /// Waits until nothing is left in the queue.
    pub async fn drained(&self, running: &mut Running, queue: &str) {
        until("the queue is empty", || {
            running.assert_alive();
            let counters = self.sqs.counters(queue).unwrap();
            when(counters.visible + counters.in_flight + counters.delayed == 0, counters)
        })
        .await;
    }

    /// Waits until every record of the stream that the source reads is durable.
    pub async fn read_whole(&self, running: &mut Running, name: &str) {
        let put = self.kinesis.counters(name).unwrap().put;
        let url = running.url().await;
        eventually("the stream is read", async || {
            running.assert_alive();
            let status = status_at(&url).await.ok_or(Value::Null)?;
            let sources = status["instance"]["sources"].as_array().unwrap();
            let source = sources.iter().find(|source| source["name"] == name).unwrap();
            let acknowledged = source["stream"]["acknowledged"].as_u64().unwrap();
            if acknowledged >= put { Ok(()) } else { Err(source.clone()) }
        })
        .await;
    }

    /// What a command that reads the store says, as JSON.
    pub fn ask(&self, command: &[&str]) -> Value {
        let store = self.store();
        ask(&[command, &["--store", store.to_str().unwrap(), "--output", "json"]].concat())
    }

    /// `dormouse keys`: the documents of all keys, as a JSON list.
    pub fn keys(&self) -> Value {
        let of = |question: &[&str]| self.ask(question)["keys"].as_array().unwrap().clone();
        Value::Array([of(&["keys"]), of(&["keys", "--state", "Deleted"])].concat())
    }

    /// `dormouse status`.
    pub fn status(&self) -> Value {
        self.ask(&["status"])
    }

    /// `dormouse quarantine list`.
    pub fn quarantine(&self) -> Vec<Value> {
        self.ask(&["quarantine", "list"])["messages"].as_array().unwrap().clone()
    }
}

/// The status of the instance that listens at `url`, if it answers.
pub async fn status_at(url: &str) -> Option<Value> {
    let answer = http::get(&format!("{url}/api/v1/status")).await.ok()?;
    serde_json::from_str(&answer.body).ok()
}
