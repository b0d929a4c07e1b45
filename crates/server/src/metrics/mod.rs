//! What Prometheus scrapes: `/metrics`, small and bounded, for every few seconds; `/metrics/keys`, two series a key, for
//! every few minutes.

mod counts;
mod definitions;
mod keys;
mod places;
mod process;
mod sources;

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, TextEncoder};
use tokio_util::sync::CancellationToken;

use counts::KeyCounts;
use definitions::{Definition, HTTP_CONNECTIONS, HTTP_REFUSED_TOKENS, HTTP_REQUESTS};
use process::ProcessMetrics;
use sources::SourceMetrics;

use crate::instance::Instance;
use crate::problem::Problem;
use crate::routes::App;

pub(crate) use definitions::number;
pub(crate) use keys::keys;

/// The media type of the text format.
pub(crate) const TEXT_FORMAT: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// The server's own metrics.
pub(crate) struct ServerMetrics {
    requests: IntCounterVec,
    pub(crate) refused_tokens: IntCounter,
    pub(crate) connections: IntGauge,
    counts: KeyCounts,
}

impl ServerMetrics {
    /// Registers them, and what the server tells of the instance.
    pub(crate) fn register(instance: &Instance) -> Result<Self, prometheus::Error> {
        let opts = |definition: &Definition| Opts::new(definition.name, definition.help);
        let metrics = Self {
            requests: IntCounterVec::new(opts(&HTTP_REQUESTS), HTTP_REQUESTS.labels)?,
            refused_tokens: IntCounter::with_opts(opts(&HTTP_REFUSED_TOKENS))?,
            connections: IntGauge::with_opts(opts(&HTTP_CONNECTIONS))?,
            counts: KeyCounts::new()?,
        };
        let registry = &instance.registry;
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.refused_tokens.clone()))?;
        registry.register(Box::new(metrics.connections.clone()))?;
        registry.register(Box::new(metrics.counts.clone()))?;
        registry.register(Box::new(SourceMetrics::new(Arc::clone(&instance.sources))?))?;
        registry.register(Box::new(ProcessMetrics::new(instance.clone())?))?;
        Ok(metrics)
    }

    pub(crate) fn count_request(&self, route: &str, status: StatusCode) {
        let class = match status.as_u16() {
            200..300 => "2xx",
            400..500 => "4xx",
            500..600 => "5xx",
            _ => "other",
        };
        self.requests.with_label_values(&[route, class]).inc();
    }
}

/// Counts the keys now and then until `stop`.
pub(crate) async fn keep_counting(app: Arc<App>, stop: CancellationToken) {
    let view = Arc::clone(&app.instance.view);
    app.metrics.counts.clone().keep_counting(view, stop).await;
}

/// `GET /metrics`: everything in the registry. On a thread of its own kind, because what others registered may block.
pub(crate) async fn all(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let registry = app.instance.registry.clone();
    let text = tokio::task::spawn_blocking(move || TextEncoder::new().encode_to_string(&registry.gather()));
    let text = text.await.map_err(|panic| Problem::internal(&panic))?;
    let text = text.map_err(|error| Problem::internal(&error))?;
    Ok(([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response())
}
