//! `/api/v1/quarantine`: messages that could not be applied: look at them, try them again, be rid of them.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use dormouse_pipeline::{QuarantineAction, QuarantineOutcome};
use dormouse_store::StoredQuarantined;
use serde::{Deserialize, Serialize};

use super::{each_parameter, encode, json, number};
use crate::problem::{Code, Problem};
use crate::routes::App;

/// Some of the quarantined messages, the oldest first, without their bodies.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QuarantinePage {
    /// These messages.
    pub messages: Vec<StoredQuarantined>,
    /// What to ask for the next page with, as `after`; null on the last.
    pub next: Option<i64>,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeDocument {
    /// `applied`, `refused` (it is still not understood, and stays) or `dropped`.
    pub outcome: String,
    /// The stable code of the reason, if it was refused.
    pub reason: Option<String>,
    /// The reason in words, if it was refused.
    pub detail: Option<String>,
}

const USUAL_LIMIT: i64 = 100;
const LARGEST_LIMIT: i64 = 1_000;

/// The messages behind number `after`.
pub(crate) async fn list(State(app): State<Arc<App>>, uri: Uri) -> Result<Response, Problem> {
    let (mut after, mut limit) = (0, USUAL_LIMIT);
    each_parameter(uri.query(), &["after", "limit"], |name, value| {
        match name {
            "after" => after = number(name, value, 0, i64::MAX)?,
            "limit" => limit = number(name, value, 1, LARGEST_LIMIT)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let limit = usize::try_from(limit).unwrap_or(1);
    let app_there = Arc::clone(&app);
    let page = app.blocking.run(move || {
        // One more tells whether there is another page.
        let mut messages = app_there.instance.view.quarantine(after, limit + 1)?;
        let has_more = messages.len() > limit;
        messages.truncate(limit);
        let next = if has_more { messages.last().map(|message| message.id) } else { None };
        encode(&QuarantinePage { messages, next })
    });
    Ok(json(page.await?))
}

/// One message without its body.
pub(crate) async fn one(
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let id = number_of(id)?;
    let app_there = Arc::clone(&app);
    let document = app.blocking.run(move || encode(&message(&app_there, id)?));
    Ok(json(document.await?))
}

/// The whole body of a message, as it came: never shown by a browser, only saved.
pub(crate) async fn body(
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let id = number_of(id)?;
    let app_there = Arc::clone(&app);
    let body = app.blocking.run(move || Ok(message(&app_there, id)?.message.body)).await?;
    let mut response = ([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response();
    if let Ok(name) = HeaderValue::try_from(format!("attachment; filename=\"quarantined-{id}.bin\"")) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

/// Decodes a message once more.
pub(crate) async fn retry(
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    act(&app, number_of(id)?, QuarantineAction::Retry).await
}

/// Deletes a message unapplied.
pub(crate) async fn drop(
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    act(&app, number_of(id)?, QuarantineAction::Drop).await
}

async fn act(app: &App, id: i64, action: QuarantineAction) -> Result<Response, Problem> {
    // The pipeline would take the request and answer when commits work again, long after the caller has given up.
    if app.instance.progress.is_paused() {
        return Err(commits_paused());
    }
    let done = |outcome: &str| OutcomeDocument { outcome: outcome.into(), reason: None, detail: None };
    let document = match app.instance.control.quarantine(id, action).await? {
        QuarantineOutcome::Applied => done("applied"),
        QuarantineOutcome::Dropped => done("dropped"),
        QuarantineOutcome::Refused { reason, detail } => {
            OutcomeDocument { reason: Some(reason), detail: Some(detail), ..done("refused") }
        }
        QuarantineOutcome::NoSuchMessage => return Err(no_such_message(id)),
        QuarantineOutcome::NotNow => return Err(commits_paused()),
    };
    tracing::info!(id, outcome = document.outcome, "a quarantined message was handled by request");
    Ok(json(encode(&document)?))
}

fn number_of(id: Result<Path<String>, PathRejection>) -> Result<i64, Problem> {
    let text = id.map_err(|_| Problem::new(Code::BadParameter, "id: the path is no UTF-8"))?;
    number("id", &text, 1, i64::MAX)
}

fn message(app: &App, id: i64) -> Result<StoredQuarantined, Problem> {
    app.instance.view.quarantined(id)?.ok_or_else(|| no_such_message(id))
}

fn commits_paused() -> Problem {
    Problem::new(
        Code::CommitsPaused,
        "the store refuses commits; nothing has changed; GET /readyz says when it works again",
    )
}

fn no_such_message(id: i64) -> Problem {
    Problem::new(
        Code::NoSuchMessage,
        format!("there is no message {id}; it may have been applied or dropped meanwhile"),
    )
}
