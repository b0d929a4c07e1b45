//! The HTTP server that the doubles share.
//!
//! A double must be able to do what no well-behaved server does: take a request and hang up. hyper closes the
//! connection when its service fails, and that is how [`Answer::HangUp`] does it. Requests are read whole and bounded;
//! connections live until the client or the server ends them. Listens on loopback alone.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The largest request body that is read: twice what SQS takes in one call.
const LARGEST_REQUEST: usize = 2 << 20;

/// What a service does with a request.
pub(crate) enum Answer {
    /// Sends this response.
    Reply(Response<Bytes>),
    /// Closes the connection without a byte.
    HangUp,
}

/// Something that answers requests.
pub(crate) trait Service: Send + Sync + 'static {
    /// Answers one request. Dropped if the client goes away.
    fn answer(&self, request: Request<Bytes>) -> impl Future<Output = Answer> + Send;
}

/// A running server. Ends when it is stopped or dropped.
pub(crate) struct Server {
    cancelled: CancellationToken,
    tasks: TaskTracker,
}

/// A free port on loopback, and the URL of what will listen there.
pub(crate) async fn bind() -> io::Result<(TcpListener, String)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    Ok((listener, endpoint))
}

impl Server {
    /// Serves on the current runtime.
    pub(crate) fn start<S: Service>(listener: TcpListener, service: Arc<S>) -> Self {
        let server = Self { cancelled: CancellationToken::new(), tasks: TaskTracker::new() };
        let (cancelled, tasks) = (server.cancelled.clone(), server.tasks.clone());
        server.tasks.spawn(accept(listener, service, cancelled, tasks));
        server
    }

    /// Closes the listener and all connections, and waits until they are closed.
    pub(crate) async fn stop(&self) {
        self.cancelled.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.cancelled.cancel();
    }
}

async fn accept<S: Service>(
    listener: TcpListener,
    service: Arc<S>,
    cancelled: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            () = cancelled.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        // Accepting fails when a client has gone already or descriptors run out; both pass.
        if let Ok((stream, _)) = accepted {
            let (service, cancelled) = (service.clone(), cancelled.clone());
            tasks.spawn(async move {
                tokio::select! {
                    () = cancelled.cancelled() => {}
                    () = converse(stream, service) => {}
                }
            });
        } else {
            tokio::task::yield_now().await;
        }
    }
}

async fn converse<S: Service>(stream: TcpStream, service: Arc<S>) {
    // Without this, small answers wait for the client's delayed acknowledgement. A failure only costs time.
    let _ = stream.set_nodelay(true);
    let respond = service_fn(move |request| respond(service.clone(), request));
    // An error here is a client that went away or a connection that was to be dropped: both are wanted.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), respond).await;
}

async fn respond<S: Service>(
    service: Arc<S>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, HungUp> {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, LARGEST_REQUEST).collect().await else {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
        return Ok(response);
    };
    match service.answer(Request::from_parts(head, body.to_bytes())).await {
        Answer::Reply(response) => Ok(response.map(Full::new)),
        Answer::HangUp => Err(HungUp),
    }
}

/// The error by which a service makes hyper close the connection.
#[derive(Debug)]
struct HungUp;

impl fmt::Display for HungUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection was closed on purpose")
    }
}

impl std::error::Error for HungUp {}
