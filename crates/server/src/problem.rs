//! Every error that the API answers with, as `application/problem+json` (RFC 9457).
//!
//! The codes are part of the API: programs decide by them, so a code keeps its meaning. What went wrong inside is
//! logged and not told.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use dormouse_pipeline::PipelineError;
use dormouse_pipeline::control::Stopped;
use serde::{Deserialize, Serialize};

/// What kind of error it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    BadRequest,
    BadParameter,
    BadCursor,
    BadKeyArn,
    BadBody,
    BadBackfill,
    Unauthorized,
    ForeignOrigin,
    NoSuchRoute,
    NoSuchKey,
    OnlyAttempts,
    NoSuchMessage,
    NoSuchJob,
    NoInventory,
    MethodNotAllowed,
    RequestTimeout,
    BackfillRunning,
    ListingGone,
    BodyTooLarge,
    Internal,
    TooBusy,
    TooSlow,
    CommitsPaused,
    Stopping,
}

impl Code {
    /// All of them, for the tests that hold the description against them.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 24] = [
        Self::BadRequest,
        Self::BadParameter,
        Self::BadCursor,
        Self::BadKeyArn,
        Self::BadBody,
        Self::BadBackfill,
        Self::Unauthorized,
        Self::ForeignOrigin,
        Self::NoSuchRoute,
        Self::NoSuchKey,
        Self::OnlyAttempts,
        Self::NoSuchMessage,
        Self::NoSuchJob,
        Self::NoInventory,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::BackfillRunning,
        Self::ListingGone,
        Self::BodyTooLarge,
        Self::Internal,
        Self::TooBusy,
        Self::TooSlow,
        Self::CommitsPaused,
        Self::Stopping,
    ];

    /// Its name, status and title.
    const fn row(self) -> (&'static str, StatusCode, &'static str) {
        match self {
            Self::BadRequest => ("bad_request", StatusCode::BAD_REQUEST, "The request is malformed"),
            Self::BadParameter => ("bad_parameter", StatusCode::BAD_REQUEST, "A parameter is not allowed"),
            Self::BadCursor => ("bad_cursor", StatusCode::BAD_REQUEST, "The cursor is none of this question"),
            Self::BadKeyArn => ("bad_key_arn", StatusCode::BAD_REQUEST, "This is no key ARN"),
            Self::BadBody => ("bad_body", StatusCode::BAD_REQUEST, "The body is not what is needed here"),
            Self::BadBackfill => ("bad_backfill", StatusCode::BAD_REQUEST, "This history cannot be read"),
            Self::Unauthorized => ("unauthorized", StatusCode::UNAUTHORIZED, "A token is needed"),
            Self::ForeignOrigin => {
                ("foreign_origin", StatusCode::FORBIDDEN, "The request comes from elsewhere")
            }
            Self::NoSuchRoute => ("no_such_route", StatusCode::NOT_FOUND, "There is nothing here"),
            Self::NoSuchKey => ("no_such_key", StatusCode::NOT_FOUND, "No such key is known"),
            Self::OnlyAttempts => {
                ("only_attempts", StatusCode::NOT_FOUND, "The key was only tried, and is not known to exist")
            }
            Self::NoSuchMessage => {
                ("no_such_message", StatusCode::NOT_FOUND, "No such message is in the quarantine")
            }
            Self::NoSuchJob => ("no_such_job", StatusCode::NOT_FOUND, "No such job is remembered"),
            Self::NoInventory => ("no_inventory", StatusCode::NOT_FOUND, "No inventory is taken"),
            Self::MethodNotAllowed => {
                ("method_not_allowed", StatusCode::METHOD_NOT_ALLOWED, "The method is not allowed here")
            }
            Self::RequestTimeout => {
                ("request_timeout", StatusCode::REQUEST_TIMEOUT, "The request took too long to arrive")
            }
            Self::BackfillRunning => {
                ("backfill_running", StatusCode::CONFLICT, "History is being read already")
            }
            Self::ListingGone => ("listing_gone", StatusCode::GONE, "The listing is no longer kept"),
            Self::BodyTooLarge => {
                ("body_too_large", StatusCode::PAYLOAD_TOO_LARGE, "The request's body is too large")
            }
            Self::Internal => ("internal", StatusCode::INTERNAL_SERVER_ERROR, "Something is wrong inside"),
            Self::TooBusy => ("too_busy", StatusCode::SERVICE_UNAVAILABLE, "Too much is being asked"),
            Self::TooSlow => ("too_slow", StatusCode::SERVICE_UNAVAILABLE, "The answer took too long"),
            Self::CommitsPaused => {
                ("commits_paused", StatusCode::SERVICE_UNAVAILABLE, "Nothing can be committed now")
            }
            Self::Stopping => ("stopping", StatusCode::SERVICE_UNAVAILABLE, "Dormouse is stopping"),
        }
    }

    #[cfg(test)]
    pub(crate) const fn name(self) -> &'static str {
        self.row().0
    }

    #[cfg(test)]
    pub(crate) const fn status(self) -> StatusCode {
        self.row().1
    }

    /// When to ask again, in seconds.
    const fn retry_after(self) -> Option<&'static str> {
        match self {
            Self::TooBusy => Some("1"),
            Self::TooSlow | Self::CommitsPaused | Self::Stopping => Some("5"),
            _ => None,
        }
    }
}

/// An error as it is answered.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) code: Code,
    pub(crate) detail: String,
}

/// The document of an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemDocument {
    /// A stable name, `urn:dormouse:problem:CODE`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What kind of error it is, in words.
    pub title: String,
    /// The status once more.
    pub status: u16,
    /// What is wrong with this request, and what would be right.
    pub detail: String,
    /// The stable code.
    pub code: String,
}

/// The media type of errors.
pub(crate) const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");

impl Problem {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }

    /// Logs the cause, and answers without it.
    pub(crate) fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!("a request could not be answered: {cause}");
        Self::new(Code::Internal, "the log says what")
    }

    /// An error that somebody else answered with, in our form.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        let code = match status {
            StatusCode::METHOD_NOT_ALLOWED => Code::MethodNotAllowed,
            StatusCode::NOT_FOUND => Code::NoSuchRoute,
            StatusCode::PAYLOAD_TOO_LARGE => Code::BodyTooLarge,
            status if status.is_client_error() => Code::BadRequest,
            _ => Code::Internal,
        };
        let detail = match code {
            Code::MethodNotAllowed => "the header Allow lists the methods that are",
            Code::NoSuchRoute => "GET /api/v1/openapi.json describes what there is",
            _ => "the request was refused",
        };
        Self::new(code, detail)
    }
}

impl From<PipelineError> for Problem {
    fn from(error: PipelineError) -> Self {
        match error {
            PipelineError::Moving => Self::new(Code::TooBusy, error.to_string()),
            other => Self::internal(&other),
        }
    }
}

impl From<Stopped> for Problem {
    fn from(stopped: Stopped) -> Self {
        Self::new(Code::Stopping, stopped.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (name, status, title) = self.code.row();
        let document = ProblemDocument {
            kind: format!("urn:dormouse:problem:{name}"),
            title: title.into(),
            status: status.as_u16(),
            detail: self.detail,
            code: name.into(),
        };
        // Strings and a number: this cannot fail.
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, MEDIA_TYPE)], body).into_response();
        let mut set = |name: HeaderName, value| {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        };
        if let Some(seconds) = self.code.retry_after() {
            set(header::RETRY_AFTER, seconds);
        }
        if self.code == Code::Unauthorized {
            set(header::WWW_AUTHENTICATE, "Bearer");
        }
        response
    }
}
