//! Requests in, answers out.

use std::sync::atomic::Ordering;

use hyper::body::Bytes;
use hyper::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_MATCH,
    LAST_MODIFIED, RANGE,
};
use hyper::{HeaderMap, Request, Response, StatusCode};

use super::Core;
use super::bucket::{ListOrder, Next, Object, Start};
use super::faults::Mishap;
use super::protocol::{Asked, Operation, Refusal, list_answer, put_body, range};
use crate::faults;
use crate::wire::{Answer, Service};

/// The most that a list shows at once.
const MOST_KEYS: usize = 1_000;

impl Service for Core {
    fn largest_request(&self) -> usize {
        self.options.largest_object.saturating_add(self.options.largest_object / 8).saturating_add(1 << 20)
    }

    async fn answer(&self, request: Request<Bytes>) -> Answer {
        let Some(asked) = Asked::of(&request) else {
            return refuse(&Refusal::not_implemented("The double does not know this request."), None);
        };
        self.requests[asked.operation.index()].fetch_add(1, Ordering::Relaxed);
        let roll = self.faults.roll(asked.operation, &asked.bucket, asked.key_or_prefix());
        if !roll.latency.is_zero() {
            tokio::time::sleep(roll.latency).await;
        }
        if let Some(mishap) = roll.mishap {
            return suffer(mishap, &asked);
        }
        let result = self.perform(&asked, &request);
        if roll.answer_lost {
            return Answer::HangUp;
        }
        match result {
            Ok(response) => self.send(&asked, response, roll.cut_off_after),
            Err(refusal) => refuse(&refusal, Some(&asked)),
        }
    }
}

fn refuse(refusal: &Refusal, asked: Option<&Asked>) -> Answer {
    // An answer to HEAD has no body, and so no code.
    let bodiless =
        asked.is_some_and(|asked| matches!(asked.operation, Operation::HeadObject | Operation::HeadBucket));
    let body = if bodiless { Bytes::new() } else { Bytes::from(refusal.body(asked)) };
    let mut response = xml(body);
    *response.status_mut() =
        StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Answer::Reply(response)
}

fn xml(body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}

fn suffer(mishap: Mishap, asked: &Asked) -> Answer {
    let refusal = match mishap {
        Mishap::Common(faults::Mishap::Dropped) => return Answer::HangUp,
        Mishap::Common(faults::Mishap::Throttled) => Refusal::slow_down("Please reduce your request rate."),
        Mishap::Common(faults::Mishap::InternalError) => {
            Refusal::internal("We encountered an internal error. Please try again.")
        }
        Mishap::Common(faults::Mishap::Unavailable) => {
            Refusal::unavailable("Service is unable to handle request.")
        }
        Mishap::AccessDenied => denied(asked, asked.operation),
    };
    refuse(&refusal, Some(asked))
}

/// The refusal of one who may not do what `operation` does.
fn denied(asked: &Asked, operation: Operation) -> Refusal {
    let (permission, on_bucket) = operation.permission();
    let Asked { bucket, key, .. } = asked;
    let resource = if on_bucket { bucket.clone() } else { format!("{bucket}/{key}") };
    Refusal::access_denied(format!(
        "User: arn:aws:sts::111122223333:assumed-role/reader/session is not authorized to perform: {permission} on \
         resource: \"arn:aws:s3:::{resource}\" because no identity-based policy allows the {permission} action"
    ))
}

fn header(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

impl Core {
    fn send(&self, asked: &Asked, response: Response<Bytes>, cut_off_after: Option<usize>) -> Answer {
        if asked.operation != Operation::GetObject {
            return Answer::Reply(response);
        }
        let length = response.body().len();
        let sent = cut_off_after.unwrap_or(length).min(length);
        self.bytes_sent.fetch_add(sent as u64, Ordering::Relaxed);
        if sent < length { Answer::CutOff(response, sent) } else { Answer::Reply(response) }
    }

    fn perform(&self, asked: &Asked, request: &Request<Bytes>) -> Result<Response<Bytes>, Refusal> {
        match asked.operation {
            Operation::GetObject => self.get_object(asked, request.headers()),
            Operation::HeadObject => self.head_object(asked, request.headers()),
            Operation::ListObjectsV2 => self.list_objects(asked),
            Operation::PutObject => self.put_object(asked, request),
            Operation::DeleteObject => {
                self.with_bucket(&asked.bucket, |bucket| bucket.objects.remove(&asked.key))
                    .ok_or_else(no_bucket)?;
                Ok(status(StatusCode::NO_CONTENT))
            }
            Operation::CreateBucket => {
                if self.create_bucket(&asked.bucket) {
                    Ok(status(StatusCode::OK))
                } else {
                    Err(Refusal::bucket_exists("Your previous request to create the named bucket succeeded."))
                }
            }
            Operation::HeadBucket => {
                self.with_bucket(&asked.bucket, |_| ()).ok_or_else(no_bucket)?;
                Ok(status(StatusCode::OK))
            }
        }
    }

    /// The object, if it is the one that the client means.
    fn wanted(&self, asked: &Asked, headers: &HeaderMap) -> Result<Object, Refusal> {
        let object = self.with_bucket(&asked.bucket, |bucket| bucket.objects.get(&asked.key).cloned());
        let Some(object) = object.ok_or_else(no_bucket)? else {
            // Who may not list does not learn what is not there.
            if self.faults.denies_bucket(Operation::ListObjectsV2, &asked.bucket) {
                return Err(denied(asked, Operation::ListObjectsV2));
            }
            return Err(Refusal::no_such_key("The specified key does not exist."));
        };
        let fits = |wanted: &str| {
            wanted
                .split(',')
                .map(str::trim)
                .any(|tag| tag == "*" || tag.trim_matches('"') == object.etag.trim_matches('"'))
        };
        if header(headers, IF_MATCH).is_some_and(|wanted| !fits(wanted)) {
            return Err(Refusal::precondition_failed(
                "At least one of the pre-conditions you specified did not hold",
            ));
        }
        Ok(object)
    }

    fn get_object(&self, asked: &Asked, headers: &HeaderMap) -> Result<Response<Bytes>, Refusal> {
        let object = self.wanted(asked, headers)?;
        let length = object.body.len();
        let part = header(headers, RANGE).and_then(|header| range(header, length)).transpose()?;
        let mut response = described(&object);
        if let Some((first, end)) = part {
            *response.body_mut() = object.body.slice(first..end);
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let range = format!("bytes {first}-{}/{length}", end - 1);
            insert(response.headers_mut(), CONTENT_RANGE, &range);
        } else {
            *response.body_mut() = object.body;
        }
        Ok(response)
    }

    fn head_object(&self, asked: &Asked, headers: &HeaderMap) -> Result<Response<Bytes>, Refusal> {
        let object = self.wanted(asked, headers)?;
        let mut response = described(&object);
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(object.body.len()));
        Ok(response)
    }

    fn list_objects(&self, asked: &Asked) -> Result<Response<Bytes>, Refusal> {
        let most = match asked.parameter("max-keys") {
            "" => MOST_KEYS,
            text => text.parse().map_err(|_| Refusal::invalid_argument("max-keys is no number."))?,
        };
        let shown = most.min(MOST_KEYS);
        let next =
            match asked.parameter("continuation-token") {
                "" => None,
                token => Some(Next::parse(token).ok_or_else(|| {
                    Refusal::invalid_argument("The continuation token provided is incorrect")
                })?),
            };
        let start = next.as_ref().map_or(Start::AfterKey(asked.parameter("start-after")), Next::start);
        let (prefix, delimiter) = (asked.parameter("prefix"), asked.parameter("delimiter"));
        let order = ListOrder { prefix, delimiter, start, most: shown };
        let answer =
            self.with_bucket(&asked.bucket, |bucket| list_answer(asked, shown, &bucket.list(&order)));
        Ok(xml(answer.ok_or_else(no_bucket)?.into()))
    }

    fn put_object(&self, asked: &Asked, request: &Request<Bytes>) -> Result<Response<Bytes>, Refusal> {
        let incomplete = || Refusal::incomplete_body("The chunks of the body are not understood.");
        let body = put_body(request.headers(), request.body()).ok_or_else(incomplete)?;
        let object = Object::new(body, self.options.clock.now());
        let etag = object.etag.clone();
        self.with_bucket(&asked.bucket, |bucket| bucket.objects.insert(asked.key.clone(), object))
            .ok_or_else(no_bucket)?;
        let mut response = status(StatusCode::OK);
        insert(response.headers_mut(), ETAG, &etag);
        Ok(response)
    }
}

fn no_bucket() -> Refusal {
    Refusal::no_such_bucket("The specified bucket does not exist")
}

fn status(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}

/// An answer that tells what the object is, without its body.
fn described(object: &Object) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    insert(headers, ETAG, &object.etag);
    insert(headers, LAST_MODIFIED, &object.modified.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string());
    response
}

/// Sets a header whose text is known to be one.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
