//! Every route there is, and what all of them share.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, delete, get, post};
use tokio::sync::Semaphore;

use crate::api::{accounts, backfill, health, key, keys, openapi, quarantine, reconcile, status};
use crate::auth::{RefusalLog, Token};
use crate::blocking::Blocking;
use crate::instance::Instance;
use crate::limits;
use crate::listings::Listings;
use crate::metrics::{self, ServerMetrics};
use crate::options::{Limits, ServerOptions};
use crate::origin::Guard;

/// What the routes share.
pub(crate) struct App {
    pub(crate) instance: Instance,
    pub(crate) limits: Limits,
    pub(crate) token: Option<Token>,
    pub(crate) guard: Guard,
    pub(crate) refusals: RefusalLog,
    pub(crate) listings: Listings,
    pub(crate) blocking: Blocking,
    pub(crate) requests: Arc<Semaphore>,
    pub(crate) key_streams: Arc<Semaphore>,
    pub(crate) metrics: ServerMetrics,
}

impl App {
    pub(crate) fn new(options: ServerOptions, instance: Instance, metrics: ServerMetrics) -> Self {
        let guard = match (&options.token, options.allow_anonymous) {
            (Some(_), _) => Guard::Token,
            (None, true) => Guard::Anonymous,
            (None, false) => Guard::Loopback,
        };
        let limits = options.limits;
        Self {
            instance,
            token: options.token,
            guard,
            refusals: RefusalLog::default(),
            listings: Listings::default(),
            blocking: Blocking::new(limits.questions),
            requests: Arc::new(Semaphore::new(limits.requests)),
            key_streams: Arc::new(Semaphore::new(limits.key_streams)),
            metrics,
            limits,
        }
    }
}

/// One path and what answers there.
pub(crate) struct Route {
    pub(crate) path: &'static str,
    /// What answers to which method; HEAD goes with GET. For the test that holds the description against it.
    #[cfg_attr(not(test), expect(dead_code))]
    pub(crate) methods: &'static [&'static str],
    handler: fn() -> MethodRouter<Arc<App>>,
}

/// Paths that are answered always, and without a token.
pub(crate) const HEALTH: [&str; 2] = ["/healthz", "/readyz"];

/// The paths that take a body.
pub(crate) const BACKFILL: &str = "/api/v1/backfill";
pub(crate) const RECONCILE: &str = "/api/v1/reconcile";

/// All paths. A wildcard because an ARN holds slashes.
pub(crate) const ROUTES: [Route; 16] = [
    Route {
        path: BACKFILL,
        methods: &["GET", "POST"],
        handler: || get(backfill::list).merge(post(backfill::start)),
    },
    Route {
        path: "/api/v1/backfill/{id}",
        methods: &["GET", "DELETE"],
        handler: || get(backfill::one).merge(delete(backfill::cancel)),
    },
    Route { path: "/api/v1/accounts", methods: &["GET"], handler: || get(accounts::list) },
    Route { path: "/api/v1/keys", methods: &["GET"], handler: || get(keys::list) },
    Route { path: "/api/v1/keys/{*arn}", methods: &["GET"], handler: || get(key::details) },
    Route { path: "/api/v1/status", methods: &["GET"], handler: || get(status::status) },
    Route { path: "/api/v1/quarantine", methods: &["GET"], handler: || get(quarantine::list) },
    Route {
        path: "/api/v1/quarantine/{id}",
        methods: &["GET", "DELETE"],
        handler: || get(quarantine::one).merge(delete(quarantine::drop)),
    },
    Route { path: "/api/v1/quarantine/{id}/body", methods: &["GET"], handler: || get(quarantine::body) },
    Route { path: "/api/v1/quarantine/{id}/retry", methods: &["POST"], handler: || post(quarantine::retry) },
    Route {
        path: RECONCILE,
        methods: &["GET", "POST"],
        handler: || get(reconcile::status).merge(post(reconcile::start)),
    },
    Route { path: "/api/v1/openapi.json", methods: &["GET"], handler: || get(openapi::document) },
    Route { path: "/healthz", methods: &["GET"], handler: || get(health::alive) },
    Route { path: "/readyz", methods: &["GET"], handler: || get(health::ready) },
    Route { path: "/metrics", methods: &["GET"], handler: || get(metrics::all) },
    Route { path: "/metrics/keys", methods: &["GET"], handler: || get(metrics::keys) },
];

/// The routes with everything that requests pass on their way.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let mut router = Router::new();
    for route in &ROUTES {
        router = router.route(route.path, (route.handler)());
    }
    router
        .fallback(async || StatusCode::NOT_FOUND)
        .layer(from_fn_with_state(Arc::clone(app), limits::admit))
        .layer(from_fn_with_state(Arc::clone(app), limits::finish))
        .with_state(Arc::clone(app))
}
