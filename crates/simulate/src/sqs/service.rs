//! Requests in, answers out.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, StatusCode};
use serde::Serialize;
use tokio::time::Instant;

use super::faults::{EntryChances, Mishap};
use super::message::{Attributes, Body};
use super::protocol::{
    AttributesAnswer, BatchAnswer, BatchRequest, DeleteEntry, DeleteRequest, Entry, Failed, ListRequest,
    NameRequest, Nothing, Operation, QueueRequest, ReceiveRequest, RedrivePolicy, Refusal, SendEntry,
    SendRequest, Sent, Successful, UrlAnswer, UrlsAnswer, VisibilityEntry, VisibilityRequest, from_json,
    to_json,
};
use super::queue::{Deletion, Handed, Queue, QueueOptions, ReceiveOrder, VisibilityRefusal};
use super::{Core, LONGEST_VISIBILITY_SECONDS, MessageId};
use crate::faults;
use crate::wire::{Answer, Service};

/// How often a waiting receive looks again while messages are hidden.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
const LONGEST_WAIT_SECONDS: i64 = 20;
const LARGEST_BATCH: usize = 10;
const LONGEST_ENTRY_ID: usize = 80;
/// Of a message, and of all messages of a batch together.
const LARGEST_MESSAGE: usize = 1 << 20;

impl Service for Core {
    async fn answer(&self, request: Request<Bytes>) -> Answer {
        let target =
            request.headers().get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or("");
        let Some(operation) = Operation::from_target(target) else {
            return refuse(&Refusal::unknown_operation(format!("The operation {target:?} is not known.")));
        };
        self.requests[operation.index()].fetch_add(1, Ordering::Relaxed);
        let roll = self.faults.roll(operation);
        if !roll.latency.is_zero() {
            tokio::time::sleep(roll.latency).await;
        }
        if let Some(mishap) = roll.mishap {
            return self.suffer(mishap);
        }
        let result = self.perform(operation, request.body(), roll.entries).await;
        if roll.answer_lost {
            return Answer::HangUp;
        }
        match result {
            Ok(body) => reply(StatusCode::OK, body, None),
            Err(refusal) => refuse(&refusal),
        }
    }
}

fn reply(status: StatusCode, body: Vec<u8>, query_error: Option<HeaderValue>) -> Answer {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.0"));
    if let Some(query_error) = query_error {
        headers.insert("x-amzn-query-error", query_error);
    }
    Answer::Reply(response)
}

fn refuse(refusal: &Refusal) -> Answer {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    reply(status, refusal.body(), HeaderValue::from_str(&refusal.query_error()).ok())
}

impl Core {
    fn suffer(&self, mishap: Mishap) -> Answer {
        refuse(&match mishap {
            Mishap::Common(faults::Mishap::Dropped) => return Answer::HangUp,
            Mishap::Common(faults::Mishap::Throttled) if self.faults.coin() => {
                Refusal::request_throttled("The request was denied due to request throttling.")
            }
            Mishap::Common(faults::Mishap::Throttled) => Refusal::throttling("Rate exceeded"),
            Mishap::Common(faults::Mishap::InternalError) => {
                Refusal::internal("We encountered an internal error. Please try again.")
            }
            Mishap::Common(faults::Mishap::Unavailable) => Refusal::unavailable("Service is unavailable"),
            Mishap::AccessDenied => Refusal::access_denied(
                "Access to the resource is denied: no identity-based policy allows the action.",
            ),
            Mishap::QueueGone => Refusal::queue_gone(),
        })
    }

    async fn perform(
        &self,
        operation: Operation,
        body: &[u8],
        chances: EntryChances,
    ) -> Result<Vec<u8>, Refusal> {
        match operation {
            Operation::ReceiveMessage => self.receive_message(from_json(body)?, chances).await,
            Operation::SendMessage => self.send_message(&from_json(body)?),
            Operation::SendMessageBatch => self.send_message_batch(&from_json(body)?, chances),
            Operation::DeleteMessage => self.delete_message(&from_json(body)?, chances),
            Operation::DeleteMessageBatch => self.delete_message_batch(&from_json(body)?, chances),
            Operation::ChangeMessageVisibility => self.change_visibility(&from_json(body)?),
            Operation::ChangeMessageVisibilityBatch => {
                self.change_visibility_batch(&from_json(body)?, chances)
            }
            Operation::GetQueueAttributes => self.queue_attributes(&from_json(body)?),
            Operation::GetQueueUrl => self.queue_url(&from_json(body)?),
            Operation::CreateQueue => self.create_queue_on_request(&from_json(body)?),
            Operation::PurgeQueue => self.purge_queue(&from_json(body)?),
            Operation::ListQueues => Ok(self.list_queues(&from_json(body)?)),
        }
    }

    fn wanted_queue(&self, url: &str) -> Result<Arc<Queue>, Refusal> {
        self.queue(url).map_err(|_| Refusal::queue_gone())
    }

    async fn receive_message(
        &self,
        request: ReceiveRequest<'_>,
        chances: EntryChances,
    ) -> Result<Vec<u8>, Refusal> {
        let queue = self.wanted_queue(&request.queue_url)?;
        let (order, wait) = receive_order(&request, &queue.options, chances)?;
        let deadline = Instant::now() + wait;
        loop {
            let handed = self.hand_out(&queue, &order);
            if handed.over_limit {
                return Err(Refusal::over_limit("Too many messages in flight."));
            }
            let now = Instant::now();
            if handed.count > 0 || now >= deadline {
                return Ok(messages(&handed));
            }
            let left = deadline - now;
            let pause = if queue.has_hidden() { left.min(LOOK_AGAIN) } else { left };
            tokio::select! {
                () = queue.arrivals.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One look at the queue, with what follows for the dead-letter queue and other receivers.
    fn hand_out(&self, queue: &Queue, order: &ReceiveOrder) -> Handed {
        let now = self.now();
        let dead_letters = self.dead_letter_queue(queue);
        let mut handed = queue.receive(now, &ReceiveOrder { may_redrive: dead_letters.is_some(), ..*order });
        if handed.more {
            queue.arrivals.notify_one();
        }
        if let Some(dead_letters) = dead_letters {
            handed
                .redriven
                .drain(..)
                .for_each(|message| dead_letters.adopt(now, message, &queue.identity.arn));
        }
        handed
    }

    /// Where the queue's exhausted messages go; `None` also if that queue does not exist.
    fn dead_letter_queue(&self, queue: &Queue) -> Option<Arc<Queue>> {
        let (target, _) = queue.options.redrive.as_ref()?;
        self.queue(target.rsplit(['/', ':']).next()?).ok()
    }

    fn send_message(&self, request: &SendRequest<'_>) -> Result<Vec<u8>, Refusal> {
        let queue = self.wanted_queue(&request.queue_url)?;
        if request.message_body.len() > LARGEST_MESSAGE {
            return Err(Refusal::invalid_value(format!(
                "Message must be shorter than {LARGEST_MESSAGE} bytes."
            )));
        }
        Ok(to_json(&self.send_body(&queue, &request.message_body, request.delay_seconds)))
    }

    fn send_message_batch(
        &self,
        request: &BatchRequest<'_, SendEntry<'_>>,
        chances: EntryChances,
    ) -> Result<Vec<u8>, Refusal> {
        let queue = self.wanted_queue(&request.queue_url)?;
        let bytes: usize = request.entries.iter().map(|entry| entry.message_body.len()).sum();
        if bytes > LARGEST_MESSAGE {
            return Err(Refusal::batch_too_long(format!(
                "Batch requests cannot be longer than {LARGEST_MESSAGE} bytes. You have sent {bytes} bytes."
            )));
        }
        self.batch(&request.entries, chances, |entry| {
            Ok(self.send_body(&queue, &entry.message_body, entry.delay_seconds))
        })
    }

    fn send_body(&self, queue: &Queue, text: &str, delay_seconds: Option<u32>) -> Sent {
        let body = Body::new(text);
        let md5 = body.md5();
        Sent { message_id: self.send(queue, body, delay_seconds), md5 }
    }

    fn delete_message(&self, request: &DeleteRequest<'_>, chances: EntryChances) -> Result<Vec<u8>, Refusal> {
        let queue = self.wanted_queue(&request.queue_url)?;
        self.delete(&queue, &request.receipt_handle, chances)?;
        Ok(b"{}".to_vec())
    }

    fn delete_message_batch(
        &self,
        request: &BatchRequest<'_, DeleteEntry<'_>>,
        chances: EntryChances,
    ) -> Result<Vec<u8>, Refusal> {
        let queue = self.wanted_queue(&request.queue_url)?;
        self.batch(&request.entries, chances, |entry| self.delete(&queue, &entry.receipt_handle, chances))
    }

    fn delete(&self, queue: &Queue, handle: &str, chances: EntryChances) -> Result<Nothing, Refusal> {
        match queue.delete(self.now(), handle, self.faults.happens(chances.delete_forgotten)) {
            Deletion::InvalidHandle => {
                return Err(Refusal::invalid_handle(
                    "The input receipt handle is not a valid receipt handle.",
                ));
            }
            Deletion::Repeated => {}
            Deletion::Accepted(id, body) => self.call_hook(id, &body),
        }
        Ok(Nothing {})
    }

    fn call_hook(&self, id: MessageId, body: &Body) {
        let hook = self.on_delete.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(hook) = hook {
            hook(&id, &body.text());
        }
    }

    fn change_visibility(&self, request: &VisibilityRequest<'_>) -> Result<Vec<u8>, Refusal> {
        let queue = self.wanted_queue(&request.queue_url)?;
        self.set_visibility(&queue, &request.receipt_handle, request.visibility_timeout)?;
        Ok(b"{}".to_vec())
    }

    fn change_visibility_batch(
        &self,
        request: &BatchRequest<'_, VisibilityEntry<'_>>,
        chances: EntryChances,
    ) -> Result<Vec<u8>, Refusal> {
        let queue = self.wanted_queue(&request.queue_url)?;
        self.batch(&request.entries, chances, |entry| {
            self.set_visibility(&queue, &entry.receipt_handle, entry.visibility_timeout.unwrap_or(0))
        })
    }

    fn set_visibility(&self, queue: &Queue, handle: &str, seconds: i64) -> Result<Nothing, Refusal> {
        let milliseconds = visibility_ms(seconds)?;
        let result = queue.change_visibility(self.now(), handle, milliseconds);
        result.map(|()| Nothing {}).map_err(|refusal| match refusal {
            VisibilityRefusal::InvalidHandle => {
                Refusal::invalid_handle("The input receipt handle is not a valid receipt handle.")
            }
            VisibilityRefusal::Gone => Refusal::invalid_value(
                "The receipt handle is invalid. Reason: Message does not exist or is not available for visibility timeout change.",
            ),
            VisibilityRefusal::NotInFlight => Refusal::not_in_flight("The message referred to isn't in flight."),
            VisibilityRefusal::TooLong => Refusal::invalid_value(
                "Total VisibilityTimeout for the message is beyond the limit [43200 seconds].",
            ),
        })
    }

    /// Does the same with each entry, and sorts the results.
    fn batch<'a, E: Entry, T: Serialize>(
        &self,
        entries: &'a [E],
        chances: EntryChances,
        one: impl Fn(&'a E) -> Result<T, Refusal>,
    ) -> Result<Vec<u8>, Refusal> {
        check_batch(entries)?;
        let mut answer = BatchAnswer { successful: Vec::with_capacity(entries.len()), failed: Vec::new() };
        for entry in entries {
            let result = if self.faults.happens(chances.failed) {
                Err(Refusal::internal("We encountered an internal error. Please try again."))
            } else {
                one(entry)
            };
            let id = entry.id();
            match result {
                Ok(result) => answer.successful.push(Successful { id, result }),
                Err(Refusal { code, message, status, .. }) => {
                    answer.failed.push(Failed { id, sender_fault: status < 500, code, message });
                }
            }
        }
        Ok(to_json(&answer))
    }

    fn queue_attributes(&self, request: &QueueRequest<'_>) -> Result<Vec<u8>, Refusal> {
        let queue = self.wanted_queue(&request.queue_url)?;
        let mut attributes = self.all_attributes(&queue);
        if !request.attribute_names.iter().any(|name| name == "All") {
            attributes.retain(|name, _| request.attribute_names.iter().any(|asked| asked == name));
        }
        Ok(to_json(&AttributesAnswer { attributes }))
    }

    fn all_attributes(&self, queue: &Queue) -> BTreeMap<&'static str, String> {
        let counters = queue.counters(self.now());
        let options = &queue.options;
        let created = (queue.identity.created / 1_000).to_string();
        let mut attributes = BTreeMap::from([
            ("ApproximateNumberOfMessages", counters.visible.to_string()),
            ("ApproximateNumberOfMessagesNotVisible", counters.in_flight.to_string()),
            ("ApproximateNumberOfMessagesDelayed", counters.delayed.to_string()),
            ("VisibilityTimeout", options.visibility_seconds.to_string()),
            ("DelaySeconds", options.delay_seconds.to_string()),
            ("MessageRetentionPeriod", options.retention_seconds.to_string()),
            ("ReceiveMessageWaitTimeSeconds", options.wait_seconds.to_string()),
            ("MaximumMessageSize", LARGEST_MESSAGE.to_string()),
            ("CreatedTimestamp", created.clone()),
            ("LastModifiedTimestamp", created),
            ("QueueArn", queue.identity.arn.clone()),
        ]);
        if let Some((target, most)) = &options.redrive {
            let arn = self
                .dead_letter_queue(queue)
                .map_or_else(|| target.clone(), |queue| queue.identity.arn.clone());
            let policy = format!(r#"{{"deadLetterTargetArn":"{arn}","maxReceiveCount":{most}}}"#);
            attributes.insert("RedrivePolicy", policy);
        }
        attributes
    }

    fn queue_url(&self, request: &NameRequest<'_>) -> Result<Vec<u8>, Refusal> {
        let queue = self.wanted_queue(&request.queue_name)?;
        Ok(to_json(&UrlAnswer { queue_url: &queue.identity.url }))
    }

    fn create_queue_on_request(&self, request: &NameRequest<'_>) -> Result<Vec<u8>, Refusal> {
        if let Ok(queue) = self.queue(&request.queue_name)
            && queue_options(queue.options.clone(), request)? != queue.options
        {
            return Err(Refusal::queue_exists(
                "A queue already exists with the same name and a different value for an attribute.",
            ));
        }
        let options = queue_options(QueueOptions::default(), request)?;
        let queue = self.create_queue(&request.queue_name, options);
        Ok(to_json(&UrlAnswer { queue_url: &queue.identity.url }))
    }

    fn purge_queue(&self, request: &QueueRequest<'_>) -> Result<Vec<u8>, Refusal> {
        self.wanted_queue(&request.queue_url)?.purge();
        Ok(b"{}".to_vec())
    }

    fn list_queues(&self, request: &ListRequest<'_>) -> Vec<u8> {
        let queues = self.queues.read().unwrap_or_else(PoisonError::into_inner);
        let wanted =
            queues.values().filter(|queue| queue.identity.name.starts_with(&*request.queue_name_prefix));
        let mut queue_urls: Vec<String> = wanted.map(|queue| queue.identity.url.clone()).collect();
        queue_urls.sort_unstable();
        to_json(&UrlsAnswer { queue_urls })
    }
}

/// The answer of a receive. The messages are JSON already.
fn messages(handed: &Handed) -> Vec<u8> {
    if handed.count == 0 {
        return b"{}".to_vec();
    }
    [br#"{"Messages":["#, handed.json.as_slice(), b"]}"].concat()
}

fn receive_order(
    request: &ReceiveRequest<'_>,
    options: &QueueOptions,
    chances: EntryChances,
) -> Result<(ReceiveOrder, Duration), Refusal> {
    let most = usize::try_from(request.max_number_of_messages.unwrap_or(1)).unwrap_or(0);
    if !(1..=LARGEST_BATCH).contains(&most) {
        return Err(Refusal::invalid_value("MaxNumberOfMessages must be between 1 and 10."));
    }
    let wait_seconds = request.wait_time_seconds.unwrap_or(i64::from(options.wait_seconds));
    if !(0..=LONGEST_WAIT_SECONDS).contains(&wait_seconds) {
        return Err(Refusal::invalid_value("WaitTimeSeconds must be between 0 and 20."));
    }
    let names = request.attribute_names.iter().chain(&request.message_system_attribute_names);
    let order = ReceiveOrder {
        most,
        visibility_ms: request.visibility_timeout.map(visibility_ms).transpose()?,
        attributes: Attributes::named(names.map(|name| &**name)),
        duplicate_chance: chances.duplicated,
        may_redrive: false,
    };
    Ok((order, Duration::from_secs(wait_seconds.unsigned_abs())))
}

fn visibility_ms(seconds: i64) -> Result<i64, Refusal> {
    if !(0..=LONGEST_VISIBILITY_SECONDS).contains(&seconds) {
        return Err(Refusal::invalid_value("VisibilityTimeout must be between 0 and 43200."));
    }
    Ok(seconds * 1_000)
}

fn check_batch<E: Entry>(entries: &[E]) -> Result<(), Refusal> {
    if entries.is_empty() {
        return Err(Refusal::empty_batch("There should be at least one entry in the request."));
    }
    if entries.len() > LARGEST_BATCH {
        return Err(Refusal::too_many_entries("Maximum number of entries per request are 10."));
    }
    if !entries.iter().all(|entry| is_entry_id(entry.id())) {
        return Err(Refusal::invalid_id(
            "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long.",
        ));
    }
    let mut ids = HashSet::new();
    if entries.iter().all(|entry| ids.insert(entry.id())) {
        Ok(())
    } else {
        Err(Refusal::ids_not_distinct("Two or more batch entries in the request have the same Id."))
    }
}

fn is_entry_id(id: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=LONGEST_ENTRY_ID).contains(&id.len()) && id.bytes().all(allowed)
}

/// The options with what the request says about them.
fn queue_options(mut options: QueueOptions, request: &NameRequest<'_>) -> Result<QueueOptions, Refusal> {
    for (name, value) in &request.attributes {
        let number =
            || value.parse().map_err(|_| Refusal::invalid_attribute(format!("{name} must be a number.")));
        match &**name {
            "VisibilityTimeout" => options.visibility_seconds = number()?,
            "DelaySeconds" => options.delay_seconds = number()?,
            "MessageRetentionPeriod" => options.retention_seconds = number()?,
            "ReceiveMessageWaitTimeSeconds" => options.wait_seconds = number()?,
            "RedrivePolicy" => options.redrive = Some(redrive(value)?),
            _ => {}
        }
    }
    Ok(options)
}

fn redrive(policy: &str) -> Result<(String, u32), Refusal> {
    let refusal = || Refusal::invalid_attribute("RedrivePolicy is not understood.");
    let policy: RedrivePolicy = serde_json::from_str(policy).map_err(|_| refusal())?;
    let most = policy.most_receives().ok_or_else(refusal)?;
    Ok((policy.dead_letter_target_arn, most))
}
