//! `/api/v1/backfill`: history is read, once; one job at a time.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use dormouse_history::{BackfillRequest, JobHandle, JobProgress};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{encode, json, number};
use crate::history::{NotStarted, Pace};
use crate::problem::{Code, Problem};
use crate::routes::App;

/// The jobs of this process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobsDocument {
    /// The number of the job that is running; null if none is.
    pub running: Option<u64>,
    /// The jobs that are remembered, the latest first.
    pub jobs: Vec<JobProgress>,
}

/// Starts a job: 202 with its document.
pub(crate) async fn start(State(app): State<Arc<App>>, body: Bytes) -> Result<Response, Problem> {
    let history = &app.instance.history;
    let request = parse(&body, history.pace())?;
    let job = history.start(request).await?;
    tracing::info!(job = job.id(), "history is read by request");
    let place = format!("/api/v1/backfill/{}", job.id());
    let mut response = answer(&job)?;
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(([(header::LOCATION, place)], response).into_response())
}

/// The job that is running, and the last ones.
pub(crate) async fn list(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let jobs = app.instance.history.jobs();
    let running = jobs.running().map(|job| job.id());
    let document = JobsDocument { running, jobs: jobs.all().iter().map(JobHandle::progress).collect() };
    Ok(json(encode(&document)?))
}

/// One job.
pub(crate) async fn one(
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    answer(&job(&app, id)?)
}

/// Cancels a job, which then ends soon.
pub(crate) async fn cancel(
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let job = job(&app, id)?;
    if !job.has_ended() {
        tracing::info!(job = job.id(), "the reading of history is cancelled by request");
        job.cancel();
    }
    answer(&job)
}

fn answer(job: &JobHandle) -> Result<Response, Problem> {
    Ok(json(encode(&job.progress())?))
}

fn job(app: &App, id: Result<Path<String>, PathRejection>) -> Result<JobHandle, Problem> {
    let text = id.map_err(|_| Problem::new(Code::BadParameter, "id: the path is no UTF-8"))?;
    let id = number("id", &text, 1, i64::MAX)?.unsigned_abs();
    let no_such = || {
        Problem::new(Code::NoSuchJob, format!("there is no job {id}; the last ones are at /api/v1/backfill"))
    };
    app.instance.history.jobs().get(id).ok_or_else(no_such)
}

/// What is not said about the pace is what is configured.
fn parse(body: &[u8], pace: Pace) -> Result<BackfillRequest, Problem> {
    let wrong = |error: serde_json::Error| {
        let example = r#"{"bucket": "trail-logs", "from": "2026-01-01", "to": "2026-01-31"}"#;
        Problem::new(Code::BadBody, format!("{error}; the body is JSON like {example}"))
    };
    let mut members: Map<String, Value> = serde_json::from_slice(body).map_err(wrong)?;
    members.entry("concurrency").or_insert_with(|| pace.concurrency.into());
    members.entry("bandwidth").or_insert_with(|| pace.bandwidth.into());
    serde_json::from_value(Value::Object(members)).map_err(wrong)
}

impl From<NotStarted> for Problem {
    fn from(not_started: NotStarted) -> Self {
        let code = match not_started {
            NotStarted::Busy(_) => Code::BackfillRunning,
            NotStarted::Refused(_) => Code::BadBackfill,
        };
        Self::new(code, not_started.to_string())
    }
}
