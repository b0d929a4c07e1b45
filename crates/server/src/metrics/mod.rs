//! What Prometheus scrapes.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus::{IntCounter, IntCounterVec, IntGauge, TextEncoder};
use tokio_util::sync::CancellationToken;

use crate::instance::Instance;
use crate::options::ServerError;
use crate::problem::Problem;
use crate::routes::App;

/// The server's own metrics.
pub(crate) struct ServerMetrics {
    requests: IntCounterVec,
    pub(crate) refused_tokens: IntCounter,
    pub(crate) connections: IntGauge,
}

impl ServerMetrics {
    pub(crate) fn register(instance: &Instance) -> Result<Self, ServerError> {
        let requests = IntCounterVec::new(
            prometheus::opts!("dormouse_http_requests_total", "Answered HTTP requests."),
            &["route", "status"],
        )?;
        let refused_tokens =
            IntCounter::new("dormouse_http_refused_tokens_total", "Requests without the right token.")?;
        let connections = IntGauge::new("dormouse_http_connections", "Open HTTP connections.")?;
        instance.registry.register(Box::new(requests.clone()))?;
        instance.registry.register(Box::new(refused_tokens.clone()))?;
        instance.registry.register(Box::new(connections.clone()))?;
        Ok(Self { requests, refused_tokens, connections })
    }

    pub(crate) fn count_request(&self, route: &str, status: StatusCode) {
        let class = ["1xx", "2xx", "3xx", "4xx", "5xx"];
        let class = class.get(usize::from(status.as_u16() / 100).wrapping_sub(1)).unwrap_or(&"other");
        self.requests.with_label_values(&[route, class]).inc();
    }
}

pub(crate) async fn keep_counting(_app: Arc<App>, stop: CancellationToken) {
    stop.cancelled().await;
}

/// `GET /metrics`: everything in the registry.
pub(crate) async fn all(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let registry = app.instance.registry.clone();
    let text = tokio::task::spawn_blocking(move || TextEncoder::new().encode_to_string(&registry.gather()));
    let text = text.await.map_err(|panic| Problem::internal(&panic))?;
    let text = text.map_err(|error| Problem::internal(&error))?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}
