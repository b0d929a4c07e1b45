//! `GET /api/v1/status`: the counters, and how this process fares.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use dormouse_model::EventTime;
use dormouse_pipeline::view::StatusDocument;
use dormouse_sources::Count;
use dormouse_sources::health::Trouble;
use dormouse_sources::kinesis::KinesisStats;
use dormouse_sources::objects::ObjectStats;
use dormouse_sources::sqs::SqsStats;
use serde::{Deserialize, Serialize};

use super::health::{self, Reason};
use super::{encode, json};
use crate::instance::{Instance, SourceState, SourceStats};
use crate::metrics::number;
use crate::problem::Problem;
use crate::routes::App;

/// The counters since the store was made, and this process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// The counters.
    #[serde(flatten)]
    pub status: StatusDocument,
    /// The store's own id.
    pub store: String,
    /// This process.
    pub instance: InstanceDocument,
}

/// How this process fares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceDocument {
    /// The program's version.
    pub version: String,
    /// When it started.
    pub started: EventTime,
    /// What time it is there.
    pub now: EventTime,
    /// Seconds since it started.
    pub uptime_seconds: u32,
    /// Whether everything works.
    pub ready: bool,
    /// Why not.
    pub reasons: Vec<Reason>,
    /// Whether the store refuses commits now.
    pub paused: bool,
    /// Epochs committed since the start.
    pub epochs: u64,
    /// Observations committed since the start, duplicates included.
    pub observations: u64,
    /// Times the tables were written since the start.
    pub folds: u64,
    /// Seconds between the latest events and their commit; null if not known.
    pub lag_seconds: Option<u32>,
    /// The sources.
    pub sources: Vec<SourceDocument>,
}

/// How a source fares. Messages of a queue or records of a stream, unless another unit is named.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceDocument {
    /// Its name in the configuration.
    pub name: String,
    /// What it is: `sqs` or `kinesis`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `starting`, `running`, `draining`, `stopped`, or `failed` while it waits to be tried again.
    pub state: String,
    /// What does not work, in words, and what to do about it.
    pub trouble: Vec<String>,
    /// Delivered, redeliveries included.
    pub received: u64,
    /// Left to come back or to go to the redrive policy.
    pub left: u64,
    /// Received and neither acknowledged nor left; of a stream in batches.
    pub in_flight: u64,
    /// Came again while an earlier copy was in flight; null for a stream.
    pub redelivered: Option<u64>,
    /// Deleted after their commit; null for a stream.
    pub deleted: Option<u64>,
    /// Committed and not yet deleted; null for a stream.
    pub undeleted: Option<u64>,
    /// Tasks that receive now; null for a stream.
    pub pollers: Option<u64>,
    /// What only a stream has; null for a queue.
    pub stream: Option<StreamDocument>,
    /// The objects that its messages announce; null if it reads none.
    pub objects: Option<ObjectsDocument>,
}

/// What became of announced objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectsDocument {
    /// Read to their end.
    pub fetched: u64,
    /// Bytes of these as they lie in their bucket.
    pub packed_bytes: u64,
    /// Being read now.
    pub in_progress: u64,
    /// Refused: the configuration does not name the bucket, or the part of it.
    pub refused: u64,
    /// Never found.
    pub missing: u64,
    /// Not readable to their end.
    pub damaged: u64,
}

/// How a stream is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamDocument {
    /// Records that were acknowledged.
    pub acknowledged: u64,
    /// Bytes of the records that were received.
    pub received_bytes: u64,
    /// Seconds by which the slowest shard is behind the stream's newest records.
    pub behind_seconds: f64,
    /// Shards that still take records.
    pub shards_open: u64,
    /// Shards that are being read.
    pub shards_reading: u64,
    /// Shards that were read to their end and are still listed.
    pub shards_finished: u64,
    /// Reads that were refused for their pace.
    pub throttled: u64,
}

/// The status document.
pub(crate) async fn status(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let app_there = Arc::clone(&app);
    let document = app.blocking.run(move || {
        let instance = InstanceDocument::of(&app_there.instance);
        let store = app_there.instance.store.to_string();
        encode(&InstanceStatus { status: app_there.instance.view.status()?, store, instance })
    });
    Ok(json(document.await?))
}

impl InstanceDocument {
    fn of(instance: &Instance) -> Self {
        let now = instance.clock.now_seconds();
        let reasons = health::reasons(instance);
        let progress = &instance.progress;
        Self {
            version: instance.version.into(),
            started: instance.started,
            now,
            uptime_seconds: now.seconds_since(instance.started),
            ready: reasons.is_empty(),
            reasons,
            paused: progress.is_paused(),
            epochs: progress.epochs(),
            observations: progress.observations(),
            folds: progress.folds(),
            lag_seconds: instance.progress.lag_seconds(),
            sources: instance.sources.all().iter().map(SourceDocument::of).collect(),
        }
    }
}

impl SourceDocument {
    fn of(source: &SourceState) -> Self {
        let health = source.health.borrow();
        let troubles = health.troubles.values();
        let trouble = |trouble: &Trouble| format!("{}; {}", trouble.failure, trouble.advice);
        let (state, trouble) = match &source.failure {
            Some(failure) => ("failed", vec![format!("{}; {}", failure.detail, failure.advice)]),
            None => (health.phase.name(), troubles.map(trouble).collect()),
        };
        let common = match &source.stats {
            SourceStats::Sqs(stats) => [&stats.received, &stats.left, &stats.in_flight],
            SourceStats::Kinesis(stats) => [&stats.received, &stats.left, &stats.in_flight],
        };
        let [received, left, in_flight] = common.map(Count::get);
        let of_queue = |field: fn(&SqsStats) -> &Count| source.stats.queue().map(|stats| field(stats).get());
        Self {
            name: source.name.clone(),
            kind: source.stats.kind().into(),
            state: state.into(),
            trouble,
            received,
            left,
            in_flight,
            redelivered: of_queue(|stats| &stats.redelivered),
            deleted: of_queue(|stats| &stats.deleted),
            undeleted: of_queue(|stats| &stats.undeleted),
            pollers: of_queue(|stats| &stats.pollers),
            stream: source.stats.stream().map(StreamDocument::of),
            objects: source.objects.as_deref().map(ObjectsDocument::of),
        }
    }
}

impl ObjectsDocument {
    fn of(stats: &ObjectStats) -> Self {
        Self {
            fetched: stats.fetched.get(),
            packed_bytes: stats.packed_bytes.get(),
            in_progress: stats.in_progress.get(),
            refused: stats.refused.get(),
            missing: stats.missing.get(),
            damaged: stats.damaged.get(),
        }
    }
}

impl StreamDocument {
    fn of(stats: &KinesisStats) -> Self {
        Self {
            acknowledged: stats.acknowledged.get(),
            received_bytes: stats.received_bytes.get(),
            behind_seconds: number(stats.behind_millis.get()) / 1_000.0,
            shards_open: stats.shards_open.get(),
            shards_reading: stats.shards_reading.get(),
            shards_finished: stats.shards_finished.get(),
            throttled: stats.throttled.get(),
        }
    }
}
