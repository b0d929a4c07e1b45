//! The calls of SQS, behind a trait.
//!
//! Everything above speaks to a [`Queue`]: the real one ([`SdkQueue`]) here, one in memory in the tests, where time is
//! paused. The trait speaks in whole batches and in [`Failure`]s, so the SDK's types end in this file. Every call has a
//! time limit of its own, because an SDK client has none by default and a connection can die without a word.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::StalledStreamProtectionConfig;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry,
    MessageSystemAttributeName, QueueAttributeName,
};
use dormouse_aws::Failure;

use super::options::SqsOptions;
use super::source::QueueFacts;
use crate::calls::within;

/// SQS takes and gives at most this many messages in one call.
pub(crate) const BATCH: usize = 10;
/// How long a call may take beyond the time that it waits for messages.
const CALL_LIMIT: Duration = Duration::from_secs(10);

const RECEIVE: &str = "sqs:ReceiveMessage";
const DELETE: &str = "sqs:DeleteMessage";
const CHANGE_VISIBILITY: &str = "sqs:ChangeMessageVisibility";
const GET_ATTRIBUTES: &str = "sqs:GetQueueAttributes";
const GET_URL: &str = "sqs:GetQueueUrl";

/// A message as SQS delivered it.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) id: Arc<str>,
    pub(crate) handle: String,
    pub(crate) body: Vec<u8>,
    pub(crate) receive_count: u32,
}

/// A receipt handle, and for how many seconds from now SQS shall keep its message from other consumers.
#[derive(Clone, Debug)]
pub(crate) struct VisibilityChange {
    pub(crate) handle: String,
    pub(crate) seconds: i32,
}

/// One result per entry, in the order of the entries.
pub(crate) type EntryResults = Vec<Result<(), Failure>>;

/// A queue as the source's tasks see it. Dropping a call's future abandons the call; its effect is then unknown.
pub(crate) trait Queue: Send + Sync + 'static {
    /// Waits for up to ten messages; an empty answer is no failure.
    fn receive(&self) -> impl Future<Output = Result<Vec<Delivery>, Failure>> + Send;

    /// Deletes the messages with these handles, at most ten.
    fn delete(&self, handles: Vec<String>) -> impl Future<Output = Result<EntryResults, Failure>> + Send;

    /// Changes the visibility timeouts of at most ten messages.
    fn change_visibility(
        &self,
        changes: Vec<VisibilityChange>,
    ) -> impl Future<Output = Result<EntryResults, Failure>> + Send;

    /// What SQS says about the queue.
    fn facts(&self) -> impl Future<Output = Result<QueueFacts, Failure>> + Send;

    /// How many messages wait in another queue, named by its ARN; `None` if it cannot be asked from here.
    fn waiting_in(&self, arn: &str) -> impl Future<Output = Result<Option<u64>, Failure>> + Send;
}

/// A queue of SQS.
#[derive(Debug)]
pub(crate) struct SdkQueue {
    client: Client,
    queue_url: String,
    wait_seconds: i32,
    visibility_seconds: i32,
}

impl SdkQueue {
    pub(crate) fn new(client: &Client, options: &SqsOptions) -> Self {
        Self {
            client: without_second_guesses(client),
            queue_url: options.queue_url.clone(),
            wait_seconds: whole_seconds(options.wait_time),
            visibility_seconds: whole_seconds(options.visibility_timeout),
        }
    }

    /// A queue's attributes, by name.
    async fn attributes(&self, queue_url: &str) -> Result<Vec<(QueueAttributeName, String)>, Failure> {
        // Asking for an attribute that the queue's type does not have is an error, so all are asked for.
        let call = self
            .client
            .get_queue_attributes()
            .queue_url(queue_url)
            .attribute_names(QueueAttributeName::All)
            .send();
        let answer =
            within(CALL_LIMIT, GET_ATTRIBUTES, call).await?.map_err(|e| Failure::of(GET_ATTRIBUTES, &e))?;
        Ok(answer.attributes.into_iter().flatten().collect())
    }

    async fn url_of(&self, account: &str, name: &str) -> Result<String, Failure> {
        let call = self.client.get_queue_url().queue_name(name).queue_owner_aws_account_id(account).send();
        let answer = within(CALL_LIMIT, GET_URL, call).await?.map_err(|e| Failure::of(GET_URL, &e))?;
        answer.queue_url.ok_or_else(|| Failure::transient(GET_URL, "the answer has no URL"))
    }

    fn receive_limit(&self) -> Duration {
        Duration::from_secs(u64::try_from(self.wait_seconds).unwrap_or(0)) + CALL_LIMIT
    }
}

impl Queue for SdkQueue {
    async fn receive(&self) -> Result<Vec<Delivery>, Failure> {
        let call = self
            .client
            .receive_message()
            .queue_url(&self.queue_url)
            .max_number_of_messages(10)
            .wait_time_seconds(self.wait_seconds)
            .visibility_timeout(self.visibility_seconds)
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .send();
        let answer =
            within(self.receive_limit(), RECEIVE, call).await?.map_err(|e| Failure::of(RECEIVE, &e))?;
        Ok(answer.messages.unwrap_or_default().into_iter().filter_map(delivery).collect())
    }

    async fn delete(&self, handles: Vec<String>) -> Result<EntryResults, Failure> {
        let count = handles.len();
        let mut call = self.client.delete_message_batch().queue_url(&self.queue_url);
        for (place, handle) in handles.into_iter().enumerate() {
            let entry =
                DeleteMessageBatchRequestEntry::builder().id(place.to_string()).receipt_handle(handle);
            call = call.entries(entry.build().map_err(|e| Failure::transient(DELETE, &e.to_string()))?);
        }
        let answer = within(CALL_LIMIT, DELETE, call.send()).await?.map_err(|e| Failure::of(DELETE, &e))?;
        let done = answer.successful.iter().map(|entry| entry.id.as_str());
        Ok(entry_results(DELETE, count, done, &answer.failed))
    }

    async fn change_visibility(&self, changes: Vec<VisibilityChange>) -> Result<EntryResults, Failure> {
        let count = changes.len();
        let mut call = self.client.change_message_visibility_batch().queue_url(&self.queue_url);
        for (place, change) in changes.into_iter().enumerate() {
            let entry = ChangeMessageVisibilityBatchRequestEntry::builder()
                .id(place.to_string())
                .receipt_handle(change.handle)
                .visibility_timeout(change.seconds);
            call = call
                .entries(entry.build().map_err(|e| Failure::transient(CHANGE_VISIBILITY, &e.to_string()))?);
        }
        let answer = within(CALL_LIMIT, CHANGE_VISIBILITY, call.send())
            .await?
            .map_err(|e| Failure::of(CHANGE_VISIBILITY, &e))?;
        let done = answer.successful.iter().map(|entry| entry.id.as_str());
        Ok(entry_results(CHANGE_VISIBILITY, count, done, &answer.failed))
    }

    async fn facts(&self) -> Result<QueueFacts, Failure> {
        Ok(QueueFacts::from_attributes(&self.attributes(&self.queue_url).await?))
    }

    async fn waiting_in(&self, arn: &str) -> Result<Option<u64>, Failure> {
        let Some((region, account, name)) = parts_of(arn) else {
            return Ok(None);
        };
        // A queue in another Region needs another client; redrive policies never name one.
        if self.client.config().region().is_none_or(|own| own.as_ref() != region) {
            return Ok(None);
        }
        let url = self.url_of(account, name).await?;
        Ok(Some(QueueFacts::from_attributes(&self.attributes(&url).await?).waiting))
    }
}

/// Region, account and name in a queue's ARN.
fn parts_of(arn: &str) -> Option<(&str, &str, &str)> {
    let mut parts = arn.strip_prefix("arn:")?.split(':');
    let (_partition, "sqs") = (parts.next()?, parts.next()?) else {
        return None;
    };
    let found = (parts.next()?, parts.next()?, parts.next()?);
    parts.next().is_none().then_some(found)
}

/// The same client without the SDK's own retries and stall detection: this module waits and limits itself.
fn without_second_guesses(client: &Client) -> Client {
    let config = client
        .config()
        .to_builder()
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .build();
    Client::from_conf(config)
}

pub(crate) fn whole_seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}

/// `None` if SQS gave no handle: such a message can be neither kept nor deleted, and comes back by itself.
fn delivery(message: aws_sdk_sqs::types::Message) -> Option<Delivery> {
    let handle = message.receipt_handle?;
    let id = message.message_id.map_or_else(|| Arc::from(handle.as_str()), Arc::from);
    let receive_count = message
        .attributes
        .as_ref()
        .and_then(|attributes| attributes.get(&MessageSystemAttributeName::ApproximateReceiveCount))
        .and_then(|count| count.parse().ok())
        .unwrap_or(1);
    Some(Delivery { id, handle, body: message.body.unwrap_or_default().into_bytes(), receive_count })
}

/// Puts the answer's two lists into the order of the entries. What is in neither list counts as failed.
fn entry_results<'a>(
    action: &'static str,
    count: usize,
    done: impl Iterator<Item = &'a str>,
    failed: &[BatchResultErrorEntry],
) -> EntryResults {
    let mut results: EntryResults = (0..count)
        .map(|_| Err(Failure::transient(action, "the answer does not mention this entry")))
        .collect();
    let place_of = |id: &str| id.parse::<usize>().ok().filter(|&place| place < count);
    for place in done.filter_map(place_of) {
        results[place] = Ok(());
    }
    for entry in failed {
        if let Some(place) = place_of(&entry.id) {
            results[place] =
                Err(Failure::of_entry(action, &entry.code, entry.message.as_deref(), entry.sender_fault));
        }
    }
    results
}

#[cfg(test)]
mod tests {
    use dormouse_aws::ErrorClass;

    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_entries_and_silence_is_failure() {
        let failed = BatchResultErrorEntry::builder()
            .id("2")
            .code("ReceiptHandleIsInvalid")
            .sender_fault(true)
            .build()
            .unwrap();
        let results = entry_results(DELETE, 4, ["3", "0", "7", "x"].into_iter(), &[failed]);
        let classes: Vec<_> = results.iter().map(|r| r.as_ref().err().map(|failure| failure.class)).collect();
        assert_eq!(classes, [None, Some(ErrorClass::Transient), Some(ErrorClass::Poison), None]);
    }

    #[test]
    fn a_message_without_a_count_was_received_once() {
        let message = aws_sdk_sqs::types::Message::builder().message_id("m").receipt_handle("h").build();
        let delivery = delivery(message).unwrap();
        assert_eq!((&*delivery.id, delivery.receive_count, &*delivery.body), ("m", 1, &b""[..]));
    }
}
