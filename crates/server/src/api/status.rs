//! `GET /api/v1/status`: the counters, and how this process fares.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use dormouse_model::EventTime;
use dormouse_pipeline::view::StatusDocument;
use serde::{Deserialize, Serialize};

use super::health::{self, Reason};
use super::{encode, json};
use crate::instance::{Instance, SourceState};
use crate::problem::Problem;
use crate::routes::App;

/// The counters since the store was made, and this process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// The counters.
    #[serde(flatten)]
    pub status: StatusDocument,
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

/// How a source fares. Messages, unless another unit is named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceDocument {
    /// Its name in the configuration.
    pub name: String,
    /// What it is: `sqs`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `starting`, `running`, `draining` or `stopped`.
    pub state: String,
    /// What does not work, in words.
    pub trouble: Vec<String>,
    /// Delivered, redeliveries included.
    pub received: u64,
    /// Came again while an earlier copy was in flight.
    pub redelivered: u64,
    /// Deleted after their commit.
    pub deleted: u64,
    /// Left to come back or to go to the redrive policy.
    pub left: u64,
    /// Received and neither deleted nor left.
    pub in_flight: u64,
    /// Committed and not yet deleted.
    pub undeleted: u64,
    /// Tasks that receive now.
    pub pollers: u64,
}

/// The status document.
pub(crate) async fn status(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let app_there = Arc::clone(&app);
    let document = app.blocking.run(move || {
        let instance = InstanceDocument::of(&app_there.instance);
        encode(&InstanceStatus { status: app_there.instance.view.status()?, instance })
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
        let stats = &source.stats;
        Self {
            name: source.name.clone(),
            kind: source.kind.into(),
            state: health.phase.name().into(),
            trouble: health.troubles.values().map(|trouble| trouble.failure.to_string()).collect(),
            received: stats.received.get(),
            redelivered: stats.redelivered.get(),
            deleted: stats.deleted.get(),
            left: stats.left.get(),
            in_flight: stats.in_flight.get(),
            undeleted: stats.undeleted.get(),
            pollers: stats.pollers.get(),
        }
    }
}
