//! Binds, accepts, drains.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::IntGauge;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::connection::Impatient;
use crate::instance::Instance;
use crate::limits::Peer;
use crate::metrics::{self, ServerMetrics};
use crate::options::{ServerError, ServerOptions};
use crate::places::{Place, Places};
use crate::routes::{App, router};

/// A server that listens. Connections wait until it [runs](Server::run).
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    app: Arc<App>,
}

/// How long to wait when the system has no room for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Header fields of a request; hyper's own bound, said here because it is part of the rules.
const MOST_HEADERS: usize = 100;

impl Server {
    /// Listens, and registers the server's metrics.
    ///
    /// # Errors
    /// If the address needs a token and there is none, or if it cannot be listened on.
    pub async fn bind(options: ServerOptions, instance: Instance) -> Result<Self, ServerError> {
        options.check()?;
        let wanted = options.listen;
        let bind_error = |error| ServerError::Bind { address: wanted, error };
        let listener = TcpListener::bind(wanted).await.map_err(bind_error)?;
        let address = listener.local_addr().map_err(bind_error)?;
        let metrics = ServerMetrics::register(&instance)?;
        let app = Arc::new(App::new(options, instance, metrics));
        Ok(Self { listener, address, app })
    }

    /// Where it can be reached from this machine.
    pub fn url(&self) -> String {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        format!("http://{address}")
    }

    /// Answers until `stop`, then lets answers under way end, for a while.
    pub async fn run(self, stop: CancellationToken) {
        let Self { listener, app, .. } = self;
        let connections = TaskTracker::new();
        let counting = tokio::spawn(metrics::keep_counting(Arc::clone(&app), stop.clone()));
        let places = Arc::new(Places::new(app.limits.connections));
        let routes = router(&app);
        let end = CancellationToken::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = accept(&listener, &places) => accepted,
            };
            let Some((stream, peer, place)) = accepted else {
                sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let connection = Connection { stream, peer, place: Arc::clone(&place) };
            let serve = serve(connection, Arc::clone(&app), routes.clone(), stop.clone());
            let end = end.clone();
            let open = Open::new(&app.metrics.connections);
            connections.spawn(async move {
                let _open = open;
                tokio::select! {
                    () = serve => {}
                    () = place.evicted() => {}
                    () = end.cancelled() => {}
                }
            });
        }
        drop(listener);
        connections.close();
        if timeout(app.limits.drain_time, connections.wait()).await.is_err() {
            tracing::debug!(connections = connections.len(), "answers under way were cut off");
            end.cancel();
            connections.wait().await;
        }
        counting.abort();
    }
}

/// An accepted connection and its place among the open ones.
struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    place: Arc<Place>,
}

/// Counts as an open connection while it lives, however the connection ends.
struct Open(IntGauge);

impl Open {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The next connection, with a place; `None` if the system refuses.
async fn accept(listener: &TcpListener, places: &Arc<Places>) -> Option<(TcpStream, SocketAddr, Arc<Place>)> {
    match listener.accept().await {
        // Room is made for somebody who is there, not for somebody who may come.
        Ok((stream, peer)) => Some((stream, peer, places.enter().await?)),
        Err(error) => {
            tracing::warn!("a connection could not be accepted: {error}");
            None
        }
    }
}

async fn serve(connection: Connection, app: Arc<App>, routes: Router, stop: CancellationToken) {
    let Connection { stream, peer, place } = connection;
    // Answers are written whole; waiting for more to send along only delays them.
    let _ = stream.set_nodelay(true);
    let limits = &app.limits;
    let stream = TokioIo::new(Impatient::new(stream, limits.write_time, Some(Arc::clone(&place))));
    let service = service_fn(|mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        request.extensions_mut().insert(Arc::clone(&place));
        let routes = routes.clone();
        async move { Ok::<_, Infallible>(routes.oneshot(request).await.unwrap_or_else(|never| match never {})) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        .max_header_size(limits.header_bytes)
        .max_headers(MOST_HEADERS)
        .max_buf_size(limits.header_bytes.max(64 << 10))
        .serve_connection(stream, service);
    tokio::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%peer, "a connection ended early: {error}");
    }
}
