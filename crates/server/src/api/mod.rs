//! The API: one file a route, its documents beside it.

pub(crate) mod accounts;
pub(crate) mod backfill;
pub(crate) mod health;
pub(crate) mod key;
pub(crate) mod keys;
pub(crate) mod openapi;
pub(crate) mod quarantine;
pub(crate) mod reconcile;
pub(crate) mod status;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

pub use accounts::AccountsPage;
pub use backfill::JobsDocument;
pub use health::{ReadinessDocument, Reason};
pub use quarantine::{OutcomeDocument, QuarantinePage};
pub use reconcile::AskedDocument;
pub use status::{InstanceDocument, InstanceStatus, ObjectsDocument, SourceDocument, StreamDocument};

use crate::problem::{Code, Problem};

/// A document as bytes; to be called where it may take a while.
pub(crate) fn encode(document: &impl Serialize) -> Result<Vec<u8>, Problem> {
    serde_json::to_vec(document).map_err(|error| Problem::internal(&error))
}

/// An encoded document as an answer.
pub(crate) fn json(document: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document).into_response()
}

/// Each parameter of the question mark's part, decoded. `take` says whether there is such a parameter.
pub(crate) fn each_parameter(
    query: Option<&str>,
    allowed: &[&str],
    mut take: impl FnMut(&str, &str) -> Result<bool, Problem>,
) -> Result<(), Problem> {
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        if !take(&name, &value)? {
            let name: String = name.chars().take(80).collect();
            let allowed = allowed.join(", ");
            let detail = format!("there is no parameter {name:?}; there are {allowed}");
            return Err(Problem::new(Code::BadParameter, detail));
        }
    }
    Ok(())
}

/// A number within bounds.
pub(crate) fn number(name: &str, value: &str, least: i64, most: i64) -> Result<i64, Problem> {
    let number = value.parse::<i64>().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| {
        let bounds = if most == i64::MAX { format!("from {least} on") } else { format!("{least} to {most}") };
        Problem::new(Code::BadParameter, format!("{name}: use a whole number, {bounds}"))
    })
}
