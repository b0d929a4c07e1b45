//! `GET /healthz`: is the process alive? `GET /readyz`: does it do its work, and if not, why?
//!
//! Both are answered without a token, so they name sources and kinds of errors, and no text that AWS or a caller wrote.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use dormouse_sources::health::{Phase, Work};
use serde::{Deserialize, Serialize};

use super::{encode, json};
use crate::instance::{Instance, SourceState, Stage};
use crate::problem::Problem;
use crate::routes::App;

/// Whether everything works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadinessDocument {
    /// Whether it does.
    pub ready: bool,
    /// Why not; empty if it does.
    pub reasons: Vec<Reason>,
}

/// Something that does not work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// A stable code: `starting`, `draining`, `stopped`, `commits_paused`, `source_starting`, `source_stopped`,
    /// `source_trouble`, `source_failed`.
    pub code: String,
    /// The source, for codes that begin with `source_`.
    pub source: Option<String>,
    /// The reason in words.
    pub detail: String,
}

/// The process is alive.
pub(crate) async fn alive() -> Response {
    json(br#"{"alive":true}"#.to_vec())
}

/// 200 or 503, with the reasons.
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let reasons = reasons(&app.instance);
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let document = ReadinessDocument { ready: reasons.is_empty(), reasons };
    let mut response = json(encode(&document)?);
    *response.status_mut() = status;
    // This is no error of the request, and its document is its own.
    response.extensions_mut().insert(NotAProblem);
    Ok(response.into_response())
}

/// Marks an answer whose status says something other than that the request failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NotAProblem;

/// Why not everything works.
pub(crate) fn reasons(instance: &Instance) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let mut add = |code: &str, detail: &str| {
        reasons.push(Reason { code: code.into(), source: None, detail: detail.into() });
    };
    match instance.lifecycle.stage() {
        Stage::Starting => add("starting", "not all sources have been started"),
        Stage::Running => {}
        Stage::Draining => add("draining", "stopping: what was received is being committed"),
        Stage::Stopped => add("stopped", "the pipeline has ended"),
    }
    if instance.progress.is_paused() {
        add("commits_paused", "the store refuses commits, so nothing is acknowledged; the log says why");
    }
    for source in instance.sources.all() {
        reasons.extend(reasons_of(&source));
    }
    reasons
}

fn reasons_of(source: &SourceState) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let mut add = |code: &str, detail: String| {
        reasons.push(Reason { code: code.into(), source: Some(source.name.clone()), detail });
    };
    // Its health is that of a source which is no more.
    if let Some(failure) = &source.failure {
        add("source_failed", format!("not at work, and tried again by itself: {}", failure.advice));
        return reasons;
    }
    let health = source.health.borrow();
    match health.phase {
        Phase::Starting => add("source_starting", "no receive has been answered yet".into()),
        Phase::Running => {}
        Phase::Draining | Phase::Stopped => add("source_stopped", "no longer receiving".into()),
    }
    for (work, trouble) in &health.troubles {
        let class = trouble.failure.class.name();
        // What was put together may name what a stranger chose.
        let advice = match &trouble.advice {
            Cow::Borrowed(advice) => format!("; {advice}"),
            Cow::Owned(_) if *work == Work::Fetch => {
                "; allow s3:GetObject on the configured buckets (and kms:Decrypt on their key); the log names the object".to_owned()
            }
            Cow::Owned(_) => String::new(),
        };
        add("source_trouble", format!("{} does not work: {class}{advice}", work.name()));
    }
    reasons
}
