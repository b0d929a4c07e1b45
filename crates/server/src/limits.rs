//! Every request passes here, in this order: is it from where it may be, does it show the token, has its body come whole
//! and in time, is there room, does its answer begin in time. The body comes before the room, so that who sends slowly
//! holds nothing that others need. Health alone is answered always: whoever restarts processes must not take a busy one
//! for a dead one. It needs no room here, and [`places`](crate::places) sees to it that its connection finds one.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use crate::api::health::NotAProblem;
use crate::auth;
use crate::origin;
use crate::places::{Place, UnderWay};
use crate::problem::{self, Code, Problem};
use crate::routes::{App, BACKFILL, HEALTH, RECONCILE};

/// Where a connection comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Headers of every answer: it is what it says it is, nobody keeps it, and no page can be made of it.
const HEADERS: [(HeaderName, HeaderValue); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
];

/// Gives every answer its headers, every error its form, and counts them.
pub(crate) async fn finish(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    let status = response.status();
    let is_ours = response.headers().get(header::CONTENT_TYPE) == Some(&problem::MEDIA_TYPE)
        || response.extensions().get::<NotAProblem>().is_some();
    if (status.is_client_error() || status.is_server_error()) && !is_ours {
        let allow = response.headers_mut().remove(header::ALLOW);
        response = Problem::of_status(status).into_response();
        if let Some(allow) = allow {
            response.headers_mut().insert(header::ALLOW, allow);
        }
    }
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(value);
    }
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    app.metrics.count_request(route, response.status());
    response
}

/// Lets a request in, or says why not.
pub(crate) async fn admit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if HEALTH.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    match admitted(&app, request, next).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

async fn admitted(app: &Arc<App>, request: Request, next: Next) -> Result<Response, Problem> {
    if let Some(reason) = origin::refusal(app.guard, request.method(), request.headers()) {
        return Err(Problem::new(Code::ForeignOrigin, reason));
    }
    check_token(app, &request)?;
    let request = with_body_read(app, request).await?;
    let too_busy = || Problem::new(Code::TooBusy, "too many requests at once; ask again");
    let room = Arc::clone(&app.requests).try_acquire_owned().map_err(|_| too_busy())?;
    let connection = request.extensions().get::<Arc<Place>>();
    let under_way = connection.map(|place| place.begin().ok_or_else(too_busy)).transpose()?;
    let answer = timeout(app.limits.request_time, next.run(request)).await;
    let answer = answer.map_err(|_| {
        Problem::new(Code::TooSlow, "ask for less at once, or again when there is less to do")
    })?;
    Ok(answer.map(|body| Body::new(Held { body, _room: room, _under_way: under_way })))
}

fn check_token(app: &App, request: &Request) -> Result<(), Problem> {
    let Some(token) = &app.token else {
        return Ok(());
    };
    if token.is_shown(request.headers()) {
        return Ok(());
    }
    app.metrics.refused_tokens.inc();
    if !auth::shows_any(request.headers()) {
        return Err(Problem::new(Code::Unauthorized, "send the header Authorization: Bearer TOKEN"));
    }
    if let Some(Peer(peer)) = request.extensions().get() {
        app.refusals.note(*peer);
    }
    Err(Problem::new(Code::Unauthorized, "the token is not the right one"))
}

/// One route takes a body, and callers of others may send one: it is read, so that the connection can be used again, and
/// bounded. Where nobody needs it nothing of it is kept, so that many who send one take up no memory.
async fn with_body_read(app: &App, request: Request) -> Result<Request, Problem> {
    if request.body().is_end_stream() {
        return Ok(request);
    }
    let (head, body) = request.into_parts();
    let is_kept = head.method == Method::POST && [BACKFILL, RECONCILE].contains(&head.uri.path());
    let read = timeout(app.limits.body_time, read_whole(body, app.limits.body_bytes, is_kept)).await;
    let kept = read.map_err(|_| Problem::new(Code::RequestTimeout, "the body did not come in time"))??;
    Ok(Request::from_parts(head, Body::from(kept)))
}

async fn read_whole(mut body: Body, most: usize, is_kept: bool) -> Result<Vec<u8>, Problem> {
    let too_large = || Problem::new(Code::BodyTooLarge, format!("at most {most} bytes"));
    // Whoever says beforehand that it is too large need not be listened to.
    if body.size_hint().lower() > u64::try_from(most).unwrap_or(u64::MAX) {
        return Err(too_large());
    }
    let (mut room, mut kept) = (most, Vec::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::new(Code::BadRequest, "the body broke off"))?;
        let bytes = frame.data_ref().map_or(&[][..], Bytes::as_ref);
        room = room.checked_sub(bytes.len()).ok_or_else(too_large)?;
        if is_kept {
            kept.extend_from_slice(bytes);
        }
    }
    Ok(kept)
}

/// An answer that counts as under way until it was read.
struct Held {
    body: Body,
    _room: OwnedSemaphorePermit,
    _under_way: Option<UnderWay>,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
