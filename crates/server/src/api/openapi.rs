//! `GET /api/v1/openapi.json`: the API described for programs (OpenAPI 3.1). Written by hand; a test holds it against the
//! routes and against real answers.

use axum::response::Response;

use super::json;

/// The description.
pub(crate) const DOCUMENT: &str = include_str!("openapi.json");

/// The description as an answer.
pub(crate) async fn document() -> Response {
    json(DOCUMENT.into())
}
