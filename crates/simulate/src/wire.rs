//! The HTTP server that the doubles share.
//!
//! A double must be able to do what no well-behaved server does: take a request and hang up. hyper closes the
//! connection when its service fails, and that is how [`Answer::HangUp`] does it; when a body fails, it closes in the
//! middle of the answer, and that is how [`Answer::CutOff`] does it. Requests are read whole and bounded; connections
//! live until the client or the server ends them. Listens on loopback alone.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The largest request body that is read unless a service says otherwise: twice what SQS takes in one call.
const LARGEST_REQUEST: usize = 2 << 20;

/// What a service does with a request.
pub(crate) enum Answer {
    /// Sends this response.
    Reply(Response<Bytes>),
    /// Announces the whole body, sends so many bytes of it at most, and closes the connection.
    CutOff(Response<Bytes>, usize),
    /// Closes the connection without a byte.
    HangUp,
}

/// Something that answers requests.
pub(crate) trait Service: Send + Sync + 'static {
    /// The largest request body in bytes; larger ones are answered with 413.
    fn largest_request(&self) -> usize {
        LARGEST_REQUEST
    }

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
) -> Result<Response<Either<Full<Bytes>, Fragment>>, HungUp> {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, service.largest_request()).collect().await else {
        let mut response = Response::new(Either::Left(Full::default()));
        *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
        return Ok(response);
    };
    match service.answer(Request::from_parts(head, body.to_bytes())).await {
        Answer::Reply(response) => Ok(response.map(|body| Either::Left(Full::new(body)))),
        Answer::CutOff(mut response, bytes) => {
            let whole = HeaderValue::from(response.body().len());
            response.headers_mut().insert(CONTENT_LENGTH, whole);
            Ok(response.map(|body| {
                let left = body.slice(..bytes.min(body.len()));
                Either::Right(Fragment { left, paused: false })
            }))
        }
        Answer::HangUp => Err(HungUp),
    }
}

/// The beginning of a body, and then an error.
struct Fragment {
    left: Bytes,
    /// Whether hyper had time to send what it has. What it still holds when the body fails is lost.
    paused: bool,
}

/// How much is handed to hyper before it is given time to send it.
const FRAGMENT_PIECE: usize = 64 << 10;

impl Body for Fragment {
    type Data = Bytes;
    type Error = HungUp;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HungUp>>> {
        if !self.paused {
            self.paused = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.left.is_empty() {
            return Poll::Ready(Some(Err(HungUp)));
        }
        self.paused = false;
        let piece = self.left.len().min(FRAGMENT_PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.left.split_to(piece)))))
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
