//! A server with everything behind it, and a caller who writes what goes over the wire by hand.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use dormouse_cloudtrail::{Decoder, Limits as DecoderLimits};
use dormouse_history::{BackfillRequest, JobHandle, Jobs, StartError};
use dormouse_ledger::{Declared, Rules, Span};
use dormouse_model::{Clock, EventTime, ManualClock, OperationTable};
use dormouse_pipeline::{HistoryIntake, OnPoison, Pipeline, PipelineIntake, PipelineOptions};
use dormouse_simulate::records::{Generated, Generator, Mix, Shape};
use dormouse_sources::health::SourceHealth;
use dormouse_sources::objects::{BoxFuture, FolderObjects};
use dormouse_sources::{Acknowledge, Batch, Intake, Message, Receipt};
use dormouse_store::{Epoch, Guard, GuardedStore, Readers, SqliteOptions, SqliteStore};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    Instance, NotStarted, Pace, ReadHistory, Server, ServerOptions, SourceState, SourceStats, Stage,
};

/// Lets nothing through while it is shut, and lets wait while it is held.
#[derive(Default)]
struct Gate {
    is_shut: AtomicBool,
    is_held: Mutex<bool>,
    released: Condvar,
}

/// The store's own handle of the gate.
struct AtGate(Arc<Gate>);

impl Guard for AtGate {
    fn refuse(&self, _: &Epoch<'_>) -> Option<String> {
        let held = self.0.is_held.lock().unwrap();
        drop(self.0.released.wait_while(held, |is_held| *is_held).unwrap());
        self.0.is_shut.load(Ordering::SeqCst).then(|| "the gate is shut".to_owned())
    }
}

/// Counts what was acknowledged.
struct Acks(Arc<AtomicUsize>);

impl Acknowledge for Acks {
    fn ack(&self, receipts: Vec<Receipt>) {
        self.0.fetch_add(receipts.len(), Ordering::SeqCst);
    }

    fn leave(&self, _: Vec<Receipt>) {}
}

/// Reads history from folders alone.
struct History {
    jobs: Jobs,
    intake: HistoryIntake,
    decoder: Arc<Decoder>,
    clock: Arc<dyn Clock>,
}

impl ReadHistory for History {
    fn pace(&self) -> Pace {
        Pace { concurrency: 3, bandwidth: Some(1 << 30) }
    }

    fn start(&self, request: BackfillRequest) -> BoxFuture<'_, Result<JobHandle, NotStarted>> {
        let refused = |text: &dyn std::fmt::Display| NotStarted::Refused(text.to_string());
        let folder = request.local.clone().unwrap_or_default();
        let started = FolderObjects::new(&folder).map_err(|error| refused(&error)).and_then(|store| {
            let (intake, decoder) = (self.intake.clone(), Arc::clone(&self.decoder));
            let started = self.jobs.start(request, Arc::new(store), intake, decoder, &*self.clock);
            started.map_err(|error| match error {
                StartError::Busy(id) => NotStarted::Busy(id),
                StartError::Request(error) => refused(&error),
            })
        });
        Box::pin(async move { started })
    }

    fn jobs(&self) -> &Jobs {
        &self.jobs
    }
}

/// A server with everything behind it.
pub(super) struct House {
    pub(super) runtime: Runtime,
    pub(super) address: SocketAddr,
    pub(super) instance: Instance,
    pub(super) clock: Arc<ManualClock>,
    pub(super) health: watch::Sender<SourceHealth>,
    gate: Arc<Gate>,
    intake: PipelineIntake,
    acked: Arc<AtomicUsize>,
    submitted: AtomicUsize,
    stop: CancellationToken,
    pub(super) folder: TempDir,
}

/// How long anything may take on a slow machine with everything else running beside it.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the records of [`records`] reach up to, and a little later.
pub(super) fn now() -> EventTime {
    "2026-11-12T00:00:00Z".parse().unwrap()
}

/// A span of two days, in a place of which nothing else is known.
fn declared() -> Declared {
    Declared {
        accounts: vec!["999988887777".parse().unwrap()],
        regions: vec!["sa-east-1".parse().unwrap()],
        span: Span { from: now().minus(3 * 86_400), until: now().minus(86_400) },
        delay_seconds: 0,
    }
}

/// Records of everything that happens, spread over ten days, with hostile texts.
pub(super) fn records(seed: u64, count: u32) -> Vec<Generated> {
    let shape = Shape { hostile: true, rich: false, ..Shape::default() }.over(10 * 86_400, count);
    Generator::new(seed, shape, Mix::everything()).take_records(usize::try_from(count).unwrap())
}

impl House {
    /// An empty house that anybody on this machine may ask.
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn filled(count: u32) -> Self {
        let house = Self::new();
        house.submit(records(1, count).iter().map(Generated::eventbridge));
        house
    }

    /// An empty house whose server has these options.
    pub(super) fn with(set: impl FnOnce(&mut ServerOptions)) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.db");
        let clock = Arc::new(ManualClock::at(now()));
        let wall: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        let gate = Arc::<Gate>::default();
        let store = SqliteStore::open(SqliteOptions::at(&path)).unwrap();
        let store_id = store.id().to_owned();
        let store = Arc::new(GuardedStore { inner: store, guard: AtGate(Arc::clone(&gate)) });
        let decoder = Arc::new(Decoder::new(OperationTable::default(), DecoderLimits::default()));
        let for_history = Arc::clone(&decoder);
        let options = PipelineOptions {
            epoch_interval: Duration::from_millis(5),
            fold_interval: Duration::from_millis(50),
            ..PipelineOptions::default()
        };
        let _context = runtime.enter();
        let pipeline = Pipeline::open(store, decoder, Arc::clone(&wall), options).unwrap();
        let intake = pipeline.intake(OnPoison::Quarantine);
        let (health, receiver) = watch::channel(SourceHealth::default());
        let registry = prometheus::Registry::new();
        pipeline.progress().metrics().register(&registry).unwrap();
        let instance = Instance {
            view: Arc::new(pipeline.view(Readers::of(path), Arc::new(Rules::idle_after(90 * 86_400)))),
            progress: pipeline.progress(),
            control: pipeline.control(),
            registry,
            sources: Arc::default(),
            history: Arc::new(History {
                jobs: Jobs::default(),
                intake: pipeline.history(),
                decoder: for_history,
                clock: Arc::clone(&wall),
            }),
            inventory: None,
            declared: Arc::new([declared()]),
            store: store_id.into(),
            lifecycle: Arc::default(),
            version: "1.2.3",
            started: now(),
            clock: wall,
        };
        instance.sources.show(SourceState {
            name: "bus".into(),
            health: receiver,
            stats: SourceStats::Sqs(Arc::default()),
            objects: Some(Arc::default()),
            failure: None,
        });
        instance.lifecycle.enter(Stage::Running);
        let mut options = ServerOptions::at("127.0.0.1:0".parse().unwrap());
        set(&mut options);
        let stop = CancellationToken::new();
        let server = runtime.block_on(Server::bind(options, instance.clone())).unwrap();
        let address = server.url().strip_prefix("http://").unwrap().parse().unwrap();
        runtime.spawn(pipeline.run(stop.clone()));
        runtime.spawn(server.run(stop.clone()));
        drop(_context);
        let (acked, submitted) = (Arc::default(), AtomicUsize::new(0));
        Self { runtime, address, instance, clock, health, gate, intake, acked, submitted, stop, folder }
    }

    /// Takes messages in and waits until they are durable and visible.
    pub(super) fn submit<S: Into<String>>(&self, bodies: impl IntoIterator<Item = S>) {
        self.submit_only(bodies);
        self.until("everything is acknowledged", || {
            self.acked.load(Ordering::SeqCst) == self.submitted.load(Ordering::SeqCst)
        });
    }

    pub(super) fn submit_only<S: Into<String>>(&self, bodies: impl IntoIterator<Item = S>) {
        let message = |body: S| Message {
            body: body.into().into_bytes(),
            receipt: Receipt::new(0),
            receive_count: 1,
            id: "m".into(),
        };
        let messages: Vec<Message> = bodies.into_iter().map(message).collect();
        for messages in messages.chunks(100) {
            self.submitted.fetch_add(messages.len(), Ordering::SeqCst);
            let acks = Arc::new(Acks(Arc::clone(&self.acked)));
            let batch = Batch { source: "bus".into(), messages: messages.to_vec(), acks, checkpoint: None };
            self.runtime.block_on(self.intake.submit(batch));
        }
    }

    /// Makes the store refuse commits, or accept them again.
    pub(super) fn shut(&self, is_shut: bool) {
        self.gate.is_shut.store(is_shut, Ordering::SeqCst);
    }

    /// Makes the store wait in the middle of a commit, or go on.
    pub(super) fn hold(&self, is_held: bool) {
        *self.gate.is_held.lock().unwrap() = is_held;
        self.gate.released.notify_all();
    }

    /// Looks until it is so.
    pub(super) fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline, "waited in vain until {what}");
            self.glance();
        }
    }

    /// A moment between two looks.
    pub(super) fn glance(&self) {
        self.runtime.block_on(async { sleep(Duration::from_millis(2)).await });
    }

    pub(super) fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[])
    }

    /// The document at `path`; fails the test if there is none.
    pub(super) fn json(&self, path: &str) -> Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }

    /// Sends a body along.
    pub(super) fn post(&self, path: &str, body: &str) -> Answer {
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        self.send(format!("{head}{body}").as_bytes())
    }

    pub(super) fn request(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut text = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            text.push_str("Host: localhost\r\n");
        }
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        self.send(text.as_bytes())
    }

    pub(super) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends these bytes and reads everything that comes back.
    pub(super) fn send(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect();
        // The server may have seen enough before the end.
        let _ = stream.write_all(request);
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        Answer::parse(&bytes)
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.shut(false);
        self.hold(false);
        self.stop.cancel();
    }
}

/// What came back.
#[derive(Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// Whether the body had its end.
    pub(super) is_whole: bool,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(bytes)));
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_ascii_lowercase(), value.to_owned())
        };
        let headers: Vec<_> = lines.map(header).collect();
        let mut answer = Self { status, headers, body: bytes[end + 4..].to_vec(), is_whole: true };
        if answer.header("transfer-encoding") == Some("chunked") {
            (answer.body, answer.is_whole) = unchunked(&answer.body);
        }
        answer
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The code of an error, which must have its form.
    pub(super) fn code(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{self:?}");
        let code = problem["code"].as_str().unwrap().to_owned();
        assert_eq!(problem["type"], format!("urn:dormouse:problem:{code}"));
        assert!(!problem["title"].as_str().unwrap().is_empty());
        assert!(!problem["detail"].as_str().unwrap().is_empty());
        code
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body = String::from_utf8_lossy(&self.body);
        let body: String = body.chars().take(2_000).collect();
        write!(f, "{} {:?} {body}", self.status, self.headers)
    }
}

fn unchunked(mut bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") else {
            return (body, false);
        };
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return (body, true);
        }
        let Some(chunk) = bytes.get(end + 2..end + 2 + size) else {
            return (body, false);
        };
        body.extend_from_slice(chunk);
        bytes = bytes.get(end + 4 + size..).unwrap_or_default();
    }
}
