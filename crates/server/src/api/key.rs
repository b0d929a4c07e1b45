//! `GET /api/v1/keys/{arn}`: one key with its history.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use dormouse_model::KeyArn;

use super::{encode, json};
use crate::problem::{Code, Problem};
use crate::routes::App;

/// The key of this ARN, whose slashes and colons may be percent-encoded or not.
pub(crate) async fn details(
    State(app): State<Arc<App>>,
    arn: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(arn) = arn.map_err(|_| Problem::new(Code::BadKeyArn, "the path is no UTF-8"))?;
    // Unlike parsing, this takes up no room for names that nobody has ever seen.
    let key = KeyArn::known(&arn).map_err(|error| {
        Problem::new(Code::BadKeyArn, format!("{error}; GET /api/v1/keys?q=TEXT finds keys by id or alias"))
    })?;
    let key = key.ok_or_else(no_such_key)?;
    let app_there = Arc::clone(&app);
    let document = app.blocking.run(move || answer(&app_there, key)).await?;
    Ok(json(document))
}

fn answer(app: &App, key: KeyArn) -> Result<Vec<u8>, Problem> {
    let view = &app.instance.view;
    if let Some(details) = view.details(key)? {
        return encode(&details);
    }
    Err(view.attempts_on(key).map_or_else(no_such_key, |attempts| {
        Problem::new(
            Code::OnlyAttempts,
            format!("{attempts} failed calls named this ARN; no success, no change and no listing showed that it is a key"),
        )
    }))
}

fn no_such_key() -> Problem {
    Problem::new(Code::NoSuchKey, "no event that arrived here named it")
}
