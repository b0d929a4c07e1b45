//! A running instance with a million keys: how fast it answers, what a scrape of every key takes, and what answering
//! costs those who deliver events. The instance is the program itself, in a process of its own.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use dormouse_simulate::sqs::{QueueOptions, SqsDouble, SqsOptions};

use crate::million;
use crate::paired::{Comparison, print_bounded, time};

/// Messages a round, each a use of one of the million keys.
const MESSAGES: u32 = 60_000;
const ROUNDS: u32 = 3;
/// Questions whose latency is measured.
const QUESTIONS: usize = 300;
/// How often a dashboard asks while events come in, and how often Prometheus does.
const DASHBOARD: Duration = Duration::from_millis(50);
const SCRAPE: Duration = Duration::from_secs(1);

const LATEST: &str = "/api/v1/keys?limit=100&sort=last_use";

pub(crate) fn bench() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let store = folder.path().join("million.db");
    million::fill(&store)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let double = runtime.block_on(SqsDouble::start(SqsOptions::default()))?;
    let queue = Queue::of(double);
    let instance = Instance::start(folder.path(), &store, &queue)?;
    queue.drain(0)?;

    let mut quiet = instance.latencies(LATEST)?;
    print_bounded("latest 100 of 1,000,000 keys, p99", percentile_99(&mut quiet), "ms", 50.0);
    let mut scrapes = instance.latencies("/metrics")?;
    print_bounded("/metrics, p99", percentile_99(&mut scrapes), "ms", 20.0);
    stream(&instance)?;
    while_events_come_in(&instance, &queue)
}

/// Every key's series, once: how long it takes and how much memory.
fn stream(instance: &Instance) -> anyhow::Result<()> {
    let idle = instance.memory("VmRSS:")?;
    instance.forget_peak()?;
    let (taken, bytes) = time(|| instance.get("/metrics/keys"));
    let bytes = bytes?;
    let peak = instance.memory("VmHWM:")?;
    #[expect(clippy::cast_precision_loss, reason = "megabytes")]
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    println!(
        "{:<42} {:>12.2} s   {:.0} MB",
        "/metrics/keys, 1,000,000 keys",
        taken.as_secs_f64(),
        megabytes(bytes)
    );
    print_bounded("memory of that over idle", megabytes(peak.saturating_sub(idle)), "MB", 50.0);
    Ok(())
}

/// Draining the queue with nobody asking, and with a dashboard, a scraper and a scrape of every key at once.
fn while_events_come_in(instance: &Instance, queue: &Queue) -> anyhow::Result<()> {
    let (mut asked, mut alone, mut latencies) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        alone.push(queue.drain(1 + 2 * round)?);
        let is_done = Arc::new(AtomicBool::new(false));
        let (taken, answers) = std::thread::scope(|scope| {
            let stream = scope.spawn(|| instance.get("/metrics/keys"));
            let dashboard = scope.spawn(|| instance.ask_until(&is_done, LATEST, DASHBOARD));
            let scraper = scope.spawn(|| instance.ask_until(&is_done, "/metrics", SCRAPE));
            let taken = queue.drain(2 + 2 * round);
            is_done.store(true, Ordering::SeqCst);
            let panicked = |_| anyhow::anyhow!("a client panicked");
            let answers = stream
                .join()
                .map_err(panicked)
                .flatten()
                .and_then(|_| scraper.join().map_err(panicked).flatten())
                .and_then(|_| dashboard.join().map_err(panicked).flatten());
            (taken, answers)
        });
        asked.push(taken?);
        latencies.extend(answers?);
    }
    Comparison {
        what: "SQS drain while everybody asks",
        against: "the same drain while nobody asks",
        amount: f64::from(MESSAGES),
        unit: "messages",
        aim: 0.8,
        ours: asked,
        theirs: alone,
    }
    .print();
    print_bounded("latest 100 meanwhile, p99", percentile_99(&mut latencies), "ms", 50.0);
    Ok(())
}

fn percentile_99(latencies: &mut [Duration]) -> f64 {
    latencies.sort_unstable();
    let place = (latencies.len() * 99).div_ceil(100).saturating_sub(1);
    latencies.get(place).copied().unwrap_or_default().as_secs_f64() * 1_000.0
}

/// A queue to fill and to watch.
struct Queue {
    double: SqsDouble,
    url: String,
}

impl Queue {
    fn of(double: SqsDouble) -> Self {
        let options = QueueOptions { visibility_seconds: 300, ..QueueOptions::default() };
        let url = double.create_queue("bench", options);
        Self { double, url }
    }

    /// Fills the queue with the messages of a round and returns how long the instance took to empty it.
    fn drain(&self, round: u32) -> anyhow::Result<Duration> {
        let before = self.double.counters(&self.url)?.deleted;
        self.double.send_many(&self.url, (0..MESSAGES).map(|number| message(round, number)))?;
        let (taken, outcome) = time(|| -> anyhow::Result<()> {
            for _ in 0..120_000 {
                if self.double.counters(&self.url)?.deleted >= before + u64::from(MESSAGES) {
                    return Ok(());
                }
                pause(Duration::from_millis(2));
            }
            anyhow::bail!("the queue was not emptied: {:?}", self.double.counters(&self.url)?)
        });
        outcome.map(|()| taken)
    }
}

/// A use of one of the keys of [`million`], as EventBridge delivers it.
fn message(round: u32, number: u32) -> String {
    let key = number.wrapping_mul(2_654_435_761).wrapping_add(round * 7_919) % million::KEYS;
    let arn = million::arn(key);
    let account = &arn[22..34];
    let time = million::FIRST_USE + 100_000 + round * 100 + number / 1_000;
    let time = dormouse_model::EventTime::from_seconds(time);
    let id = format!("{round:08x}-0000-4000-8000-{number:012x}");
    format!(
        r#"{{"version":"0","id":"{id}","detail-type":"AWS API Call via CloudTrail","source":"aws.kms","account":"{account}","time":"{time}","region":"eu-west-1","resources":[],"detail":{{"eventVersion":"1.11","userIdentity":{{"type":"AssumedRole","arn":"arn:aws:sts::{account}:assumed-role/app/i-0123456789abcdef0","accountId":"{account}","sessionContext":{{"sessionIssuer":{{"type":"Role","arn":"arn:aws:iam::{account}:role/app","accountId":"{account}","userName":"app"}}}}}},"eventTime":"{time}","eventSource":"kms.amazonaws.com","eventName":"Decrypt","awsRegion":"eu-west-1","sourceIPAddress":"10.1.2.3","userAgent":"aws-sdk-java/2.29","requestParameters":{{"encryptionContext":{{"aws:s3:arn":"arn:aws:s3:::bucket"}},"encryptionAlgorithm":"SYMMETRIC_DEFAULT"}},"responseElements":null,"requestID":"{id}","eventID":"{id}","readOnly":true,"resources":[{{"accountId":"{account}","type":"AWS::KMS::Key","ARN":"{arn}"}}],"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"{account}","eventCategory":"Management"}}}}"#
    )
}

/// `dormouse run`.
struct Instance {
    child: Child,
    address: SocketAddr,
}

impl Instance {
    fn start(folder: &Path, store: &Path, queue: &Queue) -> anyhow::Result<Self> {
        // Free now; nobody else takes ports here meanwhile.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let config = folder.join("bench.toml");
        let text = format!(
            "[store]\npath = {store:?}\n[http]\nlisten = \"{address}\"\n[[sources]]\nname = \"bench\"\ntype = \"sqs\"\n\
             queue_url = {:?}\nendpoint_url = {:?}\nvisibility_timeout = \"300s\"\n",
            queue.url,
            queue.double.endpoint(),
        );
        std::fs::write(&config, text)?;
        let mut command = Command::new(program()?);
        command.arg("run").arg("--config").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        for (name, value) in
            [("AWS_ACCESS_KEY_ID", "bench"), ("AWS_SECRET_ACCESS_KEY", "bench"), ("AWS_REGION", "eu-west-1")]
        {
            command.env(name, value);
        }
        let instance = Self { child: command.spawn()?, address };
        for _ in 0..6_000 {
            if instance.get("/readyz").is_ok() {
                return Ok(instance);
            }
            pause(Duration::from_millis(10));
        }
        anyhow::bail!("dormouse run does not answer at {address}")
    }

    /// Asks, and returns how many bytes the answer's body has.
    fn get(&self, path: &str) -> anyhow::Result<u64> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address)?;
        let mut reader = BufReader::with_capacity(1 << 16, stream);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        ensure!(line.contains(" 200 "), "{path}: {line}");
        let mut body = 0;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = reader.read(&mut buffer)?;
            if read == 0 {
                return Ok(body);
            }
            body += read as u64;
        }
    }

    fn latency(&self, path: &str) -> anyhow::Result<Duration> {
        let (taken, outcome) = time(|| self.get(path));
        outcome.map(|_| taken)
    }

    fn latencies(&self, path: &str) -> anyhow::Result<Vec<Duration>> {
        (0..QUESTIONS).map(|_| self.latency(path)).collect()
    }

    /// Asks again and again until it is done.
    fn ask_until(&self, is_done: &AtomicBool, path: &str, every: Duration) -> anyhow::Result<Vec<Duration>> {
        let mut latencies = Vec::new();
        while !is_done.load(Ordering::SeqCst) {
            latencies.push(self.latency(path)?);
            pause(every);
        }
        Ok(latencies)
    }

    fn memory(&self, field: &str) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)).context("no such field")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
    }

    fn forget_peak(&self) -> anyhow::Result<()> {
        Ok(std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5")?)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program beside this one.
fn program() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name("dormouse");
    ensure!(
        program.is_file(),
        "{} is missing; build the package dormouse with the same profile",
        program.display()
    );
    Ok(program)
}

#[expect(clippy::disallowed_methods, reason = "a bench lives in real time")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}
