//! What a standard queue promises to those who send and receive.
//!
//! The references are the pages of the Amazon SQS API Reference that are named like the operations.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, ChangeMessageVisibilityBatchResultEntry,
    DeleteMessageBatchRequestEntry, DeleteMessageBatchResultEntry, Message, MessageSystemAttributeName,
    QueueAttributeName, SendMessageBatchRequestEntry,
};
use dormouse_model::{Clock, WallClock};
use dormouse_simulate::sqs::{SqsDouble, SqsOptions};
use dormouse_tests::aws;
use dormouse_tests::ministack::MiniStack;
use serde_json::Value;
use tokio::time::Instant;

use super::{code_of, fresh, held_by};

held_by!(Place: double, ministack; [
    a_body_comes_as_it_was_sent,
    messages_are_a_mebibyte_at_most,
    a_receive_brings_ten_at_most,
    every_message_comes_to_one_of_many_receivers,
    a_long_poll_ends_when_a_message_is_sent,
    a_long_poll_ends_when_a_message_becomes_visible,
    a_long_poll_ends_empty_after_its_wait,
    the_queue_says_how_long_to_wait_if_the_receiver_does_not,
    a_received_message_is_hidden_and_comes_back,
    a_message_can_be_given_back_at_once,
    hiding_can_be_prolonged,
    only_what_is_in_flight_can_be_hidden_for_longer,
    a_timeout_has_bounds,
    each_receive_counts_and_gives_a_fresh_handle,
    times_are_told_in_milliseconds,
    the_newest_handle_deletes,
    an_older_handle_is_accepted,
    a_delete_can_be_repeated,
    a_batch_fails_entry_by_entry,
    a_batch_that_is_none_is_refused,
    a_malformed_handle_is_refused,
    what_is_received_too_often_goes_to_the_dead_letter_queue,
    a_delayed_message_comes_later,
    attributes_are_told_by_name,
    a_queue_is_found_by_name_and_made_once,
    a_queue_that_does_not_exist_is_told,
    a_purge_empties_the_queue,
]);

/// Longer than anything takes that is said to happen at once.
const NOT_AT_ONCE: Duration = Duration::from_secs(10);
const LONGEST_WAIT: i32 = 20;

/// Somewhere that queues can be made.
struct Place {
    client: Client,
    /// Ours, or else …
    _double: Option<SqsDouble>,
    ministack: Option<Arc<MiniStack>>,
}

impl Place {
    async fn double() -> Self {
        let double = SqsDouble::start(SqsOptions::default()).await.unwrap();
        Self { client: aws::sqs(double.endpoint()), _double: Some(double), ministack: None }
    }

    async fn ministack() -> Self {
        let ministack = MiniStack::shared().await;
        Self { client: aws::sqs(&ministack.endpoint()), _double: None, ministack: Some(ministack) }
    }

    fn is_ministack(&self) -> bool {
        self.ministack.is_some()
    }

    async fn queue(&self) -> Queue {
        self.queue_with(&[]).await
    }

    async fn queue_with(&self, attributes: &[(QueueAttributeName, &str)]) -> Queue {
        let attributes = attributes.iter().map(|(name, value)| (name.clone(), (*value).to_owned())).collect();
        let name = fresh("queue");
        let made = self.client.create_queue().queue_name(&name).set_attributes(Some(attributes)).send();
        let url = made.await.unwrap().queue_url.unwrap();
        Queue { client: self.client.clone(), name, url }
    }
}

/// An empty queue of one test.
struct Queue {
    client: Client,
    name: String,
    url: String,
}

impl Queue {
    async fn send(&self, body: &str) -> String {
        let sent = self.client.send_message().queue_url(&self.url).message_body(body).send().await.unwrap();
        sent.message_id.unwrap()
    }

    /// Sends a message for each number below `count`.
    async fn send_many(&self, count: usize) {
        for first in (0..count).step_by(10) {
            let entry = |number: usize| {
                let entry = SendMessageBatchRequestEntry::builder();
                entry.id(number.to_string()).message_body(number.to_string()).build().unwrap()
            };
            let entries = (first..count.min(first + 10)).map(entry).collect();
            let batch = self.client.send_message_batch().queue_url(&self.url).set_entries(Some(entries));
            let answer = batch.send().await.unwrap();
            assert!(answer.failed.is_empty(), "{answer:?}");
        }
    }

    /// A receive of at most ten with all attributes.
    async fn receive_for(&self, wait_seconds: i32, visibility_seconds: Option<i32>) -> Vec<Message> {
        let receive = self.client.receive_message().queue_url(&self.url).max_number_of_messages(10);
        let receive = receive.message_system_attribute_names(MessageSystemAttributeName::All);
        let receive = receive.wait_time_seconds(wait_seconds).set_visibility_timeout(visibility_seconds);
        receive.send().await.unwrap().messages.unwrap_or_default()
    }

    /// What is visible now.
    async fn receive(&self) -> Vec<Message> {
        self.receive_for(0, None).await
    }

    /// The one message that there is, which stays visible.
    async fn glance(&self) -> Message {
        only(self.receive_for(LONGEST_WAIT, Some(0)).await)
    }

    /// The one message that there is or will be.
    async fn wait_for_one(&self) -> Message {
        only(self.receive_for(LONGEST_WAIT, None).await)
    }

    /// The error's code, if there is one.
    async fn delete(&self, handle: &str) -> Result<(), String> {
        code_of(self.client.delete_message().queue_url(&self.url).receipt_handle(handle).send().await)
    }

    /// The error's code, if there is one.
    async fn hide(&self, handle: &str, seconds: i32) -> Result<(), String> {
        let change = self.client.change_message_visibility().queue_url(&self.url).receipt_handle(handle);
        code_of(change.visibility_timeout(seconds).send().await)
    }

    async fn attributes(&self, names: &[QueueAttributeName]) -> HashMap<QueueAttributeName, String> {
        let ask = self.client.get_queue_attributes().queue_url(&self.url);
        let answer = ask.set_attribute_names(Some(names.to_vec())).send().await.unwrap();
        answer.attributes.unwrap_or_default()
    }

    /// How many messages are visible, in flight and delayed.
    async fn numbers(&self) -> [u64; 3] {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            QueueAttributeName::ApproximateNumberOfMessagesDelayed,
        ];
        let attributes = self.attributes(&names).await;
        names.map(|name| attributes[&name].parse().unwrap())
    }
}

fn only(mut messages: Vec<Message>) -> Message {
    assert_eq!(messages.len(), 1, "{messages:?}");
    messages.remove(0)
}

fn handle(message: &Message) -> &str {
    message.receipt_handle().unwrap()
}

fn body(message: &Message) -> &str {
    message.body().unwrap()
}

fn attribute(message: &Message, name: &MessageSystemAttributeName) -> String {
    message.attributes().unwrap()[name].clone()
}

fn number(message: &Message, name: &MessageSystemAttributeName) -> u64 {
    attribute(message, name).parse().unwrap()
}

fn delete_entry(id: &str, handle: &str) -> DeleteMessageBatchRequestEntry {
    DeleteMessageBatchRequestEntry::builder().id(id).receipt_handle(handle).build().unwrap()
}

fn hide_entry(id: &str, handle: &str, seconds: i32) -> ChangeMessageVisibilityBatchRequestEntry {
    let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(id).receipt_handle(handle);
    entry.visibility_timeout(seconds).build().unwrap()
}

async fn a_body_comes_as_it_was_sent(place: &Place) {
    let long = "0123456789abcde\n".repeat(200 * 1_024 / 16);
    let bodies = [
        "hello",
        " white space \t\r\n around ",
        "quotes \" ' backslash \\ slash / entities &amp; <tag> %41 +",
        "ünïcode \u{e000} \u{2028} \u{1f600} 睡鼠",
        "{\"a\":\"\\u0041\\n\",\"n\":1.0}",
        &long,
    ];
    for sent in bodies {
        let queue = place.queue().await;
        let send = queue.client.send_message().queue_url(&queue.url).message_body(sent);
        let answer = send.send().await.unwrap();
        let message = queue.wait_for_one().await;
        assert!(body(&message) == sent, "sent {sent:.80?}, came {:.80?}", body(&message));
        assert_eq!(message.message_id, answer.message_id);
        assert_eq!(message.md5_of_body, answer.md5_of_message_body);
        if sent == "hello" {
            assert_eq!(message.md5_of_body(), Some("5d41402abc4b2a76b9719d911017c592"));
        }
    }
}

async fn messages_are_a_mebibyte_at_most(place: &Place) {
    let queue = place.queue().await;
    let largest = "x".repeat(1 << 20);
    queue.send(&largest).await;
    assert_eq!(body(&queue.wait_for_one().await).len(), largest.len());
    let send = queue.client.send_message().queue_url(&queue.url).message_body(largest.clone() + "x");
    assert_eq!(code_of(send.send().await).unwrap_err(), "InvalidParameterValue");
    let entry = |id: &str, body: &str| {
        SendMessageBatchRequestEntry::builder().id(id).message_body(body).build().unwrap()
    };
    let send = queue.client.send_message_batch().queue_url(&queue.url);
    let send = send.entries(entry("a", &largest)).entries(entry("b", "x"));
    assert_eq!(code_of(send.send().await).unwrap_err(), "AWS.SimpleQueueService.BatchRequestTooLong");
    assert_eq!(queue.numbers().await, [0, 1, 0]);
}

async fn a_receive_brings_ten_at_most(place: &Place) {
    let queue = place.queue().await;
    queue.send_many(12).await;
    let one = queue.client.receive_message().queue_url(&queue.url).send().await.unwrap();
    assert_eq!(one.messages().len(), 1, "one, unless asked for more");
    let ten = queue.receive().await;
    assert_eq!(ten.len(), 10);
    assert_eq!(queue.receive().await.len(), 1);
    for number in [0, 11] {
        let receive = queue.client.receive_message().queue_url(&queue.url).max_number_of_messages(number);
        assert_eq!(code_of(receive.send().await).unwrap_err(), "InvalidParameterValue", "{number}");
    }
}

async fn every_message_comes_to_one_of_many_receivers(place: &Place) {
    let queue = Arc::new(place.queue().await);
    queue.send_many(200).await;
    let mut receivers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let queue = Arc::clone(&queue);
        receivers.spawn(async move {
            let mut received = Vec::new();
            loop {
                let messages = queue.receive().await;
                if messages.is_empty() {
                    return received;
                }
                received.extend(messages.iter().map(|message| body(message).parse::<usize>().unwrap()));
            }
        });
    }
    let mut received = receivers.join_all().await.concat();
    received.sort_unstable();
    assert!(received.into_iter().eq(0..200));
}

async fn a_long_poll_ends_when_a_message_is_sent(place: &Place) {
    let queue = place.queue().await;
    let before = Instant::now();
    let (message, _) = tokio::join!(queue.wait_for_one(), queue.send("late riser"));
    assert_eq!(body(&message), "late riser");
    assert!(before.elapsed() < NOT_AT_ONCE, "{:?}", before.elapsed());
}

async fn a_long_poll_ends_when_a_message_becomes_visible(place: &Place) {
    let queue = place.queue().await;
    queue.send("early bird").await;
    let before = Instant::now();
    let first = only(queue.receive_for(LONGEST_WAIT, Some(1)).await);
    let again = queue.wait_for_one().await;
    assert_eq!(first.message_id, again.message_id);
    assert!(before.elapsed() > Duration::from_millis(900) && before.elapsed() < NOT_AT_ONCE);
}

async fn a_long_poll_ends_empty_after_its_wait(place: &Place) {
    let queue = place.queue().await;
    let before = Instant::now();
    assert!(queue.receive().await.is_empty());
    assert!(before.elapsed() < NOT_AT_ONCE, "{:?}", before.elapsed());
    let before = Instant::now();
    assert!(queue.receive_for(1, None).await.is_empty());
    assert!(before.elapsed() > Duration::from_millis(900) && before.elapsed() < NOT_AT_ONCE);
    let receive = queue.client.receive_message().queue_url(&queue.url).wait_time_seconds(-1);
    let refused = code_of(receive.send().await);
    if place.is_ministack() {
        // MiniStack takes any number for a wait. The documentation has 0 to 20.
        assert_eq!(refused, Ok(()));
    } else {
        assert_eq!(refused.unwrap_err(), "InvalidParameterValue");
    }
}

async fn the_queue_says_how_long_to_wait_if_the_receiver_does_not(place: &Place) {
    let queue = place.queue_with(&[(QueueAttributeName::ReceiveMessageWaitTimeSeconds, "1")]).await;
    let before = Instant::now();
    let answer = queue.client.receive_message().queue_url(&queue.url).send().await.unwrap();
    assert!(answer.messages().is_empty());
    assert!(before.elapsed() > Duration::from_millis(900) && before.elapsed() < NOT_AT_ONCE);
}

async fn a_received_message_is_hidden_and_comes_back(place: &Place) {
    // Hidden for as long as the queue says …
    let queue = place.queue_with(&[(QueueAttributeName::VisibilityTimeout, "1")]).await;
    queue.send("x").await;
    let before = Instant::now();
    queue.wait_for_one().await;
    queue.wait_for_one().await;
    assert!(before.elapsed() > Duration::from_millis(900), "{:?}", before.elapsed());
    // … unless the receiver says otherwise.
    let queue = place.queue_with(&[(QueueAttributeName::VisibilityTimeout, "1")]).await;
    queue.send("y").await;
    only(queue.receive_for(LONGEST_WAIT, Some(60)).await);
    assert_eq!(queue.numbers().await, [0, 1, 0]);
    assert!(queue.receive_for(2, None).await.is_empty());
}

async fn a_message_can_be_given_back_at_once(place: &Place) {
    let queue = place.queue().await;
    queue.send_many(3).await;
    let messages = queue.receive().await;
    assert_eq!(messages.len(), 3);
    queue.hide(handle(&messages[0]), 0).await.unwrap();
    let back = queue.wait_for_one().await;
    assert_eq!(back.message_id, messages[0].message_id);

    let change = queue.client.change_message_visibility_batch().queue_url(&queue.url);
    let change = change.entries(hide_entry("one", handle(&messages[1]), 0));
    let answer = change.entries(hide_entry("other", handle(&messages[2]), 0)).send().await.unwrap();
    assert_eq!((answer.successful.len(), answer.failed.len()), (2, 0));
    assert_eq!(queue.numbers().await, [2, 1, 0]);
    let back: HashSet<String> =
        queue.receive().await.iter().map(|message| body(message).to_owned()).collect();
    let given: HashSet<String> = messages[1..].iter().map(|message| body(message).to_owned()).collect();
    assert_eq!(back, given);
}

async fn hiding_can_be_prolonged(place: &Place) {
    let queue = place.queue().await;
    queue.send_many(2).await;
    // Long enough for the requests that follow, however slow the machine is.
    let messages = queue.receive_for(LONGEST_WAIT, Some(5)).await;
    assert_eq!(messages.len(), 2);
    queue.hide(handle(&messages[0]), 60).await.unwrap();
    let back = queue.wait_for_one().await;
    assert_eq!(body(&back), body(&messages[1]), "the other one comes back in time");
    let change = queue.client.change_message_visibility_batch().queue_url(&queue.url);
    let answer = change.entries(hide_entry("a", handle(&back), 90)).send().await.unwrap();
    assert_eq!(answer.successful[0].id(), "a");
    assert_eq!(queue.numbers().await, [0, 2, 0]);
}

async fn only_what_is_in_flight_can_be_hidden_for_longer(place: &Place) {
    let queue = place.queue().await;
    queue.send("x").await;
    let message = queue.glance().await;
    let refused = queue.hide(handle(&message), 30).await;
    if place.is_ministack() {
        // MiniStack hides a message that nobody holds. ChangeMessageVisibility: MessageNotInflight.
        assert_eq!(refused, Ok(()));
        return;
    }
    assert_eq!(refused.unwrap_err(), "AWS.SimpleQueueService.MessageNotInflight");
    assert_eq!(queue.numbers().await, [1, 0, 0]);
    let message = queue.wait_for_one().await;
    queue.delete(handle(&message)).await.unwrap();
    assert_eq!(queue.hide(handle(&message), 30).await.unwrap_err(), "InvalidParameterValue", "it is gone");
}

async fn a_timeout_has_bounds(place: &Place) {
    let queue = place.queue().await;
    queue.send("x").await;
    let message = queue.wait_for_one().await;
    queue.hide(handle(&message), 43_000).await.unwrap();
    for seconds in [-1, 43_201] {
        let refused = queue.hide(handle(&message), seconds).await;
        if place.is_ministack() {
            // MiniStack takes any number. ChangeMessageVisibility: 0 to 43200.
            assert_eq!(refused, Ok(()), "{seconds}");
        } else {
            assert_eq!(refused.unwrap_err(), "InvalidParameterValue", "{seconds}");
        }
    }
}

async fn each_receive_counts_and_gives_a_fresh_handle(place: &Place) {
    let queue = place.queue().await;
    queue.send("x").await;
    let mut handles = HashSet::new();
    let mut ids = HashSet::new();
    for count in 1..=4 {
        let message = queue.glance().await;
        assert_eq!(number(&message, &MessageSystemAttributeName::ApproximateReceiveCount), count);
        handles.insert(handle(&message).to_owned());
        ids.insert(message.message_id.unwrap());
    }
    assert_eq!((handles.len(), ids.len()), (4, 1));
}

async fn times_are_told_in_milliseconds(place: &Place) {
    let queue = place.queue().await;
    let now = || u64::try_from(WallClock.now().as_millisecond()).unwrap();
    let before = now();
    queue.send("x").await;
    let sent_by = now();
    let message = queue.glance().await;
    let received_by = now();
    let sent = number(&message, &MessageSystemAttributeName::SentTimestamp);
    let received = number(&message, &MessageSystemAttributeName::ApproximateFirstReceiveTimestamp);
    // The clocks may be rounded, in either direction.
    assert!((before - 1..=sent_by + 1).contains(&sent), "{before} {sent} {sent_by}");
    assert!((sent..=received_by + 1).contains(&received), "{sent} {received} {received_by}");
    let again = queue.glance().await;
    assert_eq!(number(&again, &MessageSystemAttributeName::SentTimestamp), sent);
    assert_eq!(number(&again, &MessageSystemAttributeName::ApproximateFirstReceiveTimestamp), received);

    // They are told to who asks.
    let receive = queue.client.receive_message().queue_url(&queue.url).visibility_timeout(0);
    let silent = only(receive.clone().send().await.unwrap().messages.unwrap());
    assert!(silent.attributes().is_none_or(HashMap::is_empty), "{silent:?}");
    let name = MessageSystemAttributeName::SentTimestamp;
    let asked = receive.message_system_attribute_names(name.clone()).send().await.unwrap();
    let asked = only(asked.messages.unwrap());
    assert_eq!(asked.attributes().unwrap(), &HashMap::from([(name, sent.to_string())]));
}

async fn the_newest_handle_deletes(place: &Place) {
    let queue = place.queue().await;
    queue.send("x").await;
    queue.glance().await;
    let in_flight = queue.wait_for_one().await;
    queue.delete(handle(&in_flight)).await.unwrap();
    assert_eq!(queue.numbers().await, [0, 0, 0]);

    // Also when its time is over and nobody else has it.
    queue.send("y").await;
    let visible = queue.glance().await;
    queue.delete(handle(&visible)).await.unwrap();
    assert_eq!(queue.numbers().await, [0, 0, 0]);
    assert!(queue.receive().await.is_empty());
}

async fn an_older_handle_is_accepted(place: &Place) {
    let queue = place.queue().await;
    queue.send("x").await;
    let old = queue.glance().await;
    let new = queue.wait_for_one().await;
    let answer = queue.delete(handle(&old)).await;
    if place.is_ministack() {
        // MiniStack knows the newest handle alone. DeleteMessage: "you must provide the most recently received
        // ReceiptHandle (otherwise, the request succeeds, but the message will not be deleted)".
        assert_eq!(answer.unwrap_err(), "ReceiptHandleIsInvalid");
    } else {
        answer.unwrap();
    }
    assert_eq!(queue.numbers().await, [0, 1, 0], "it is not deleted");
    queue.delete(handle(&new)).await.unwrap();
    assert_eq!(queue.numbers().await, [0, 0, 0]);
}

async fn a_delete_can_be_repeated(place: &Place) {
    let queue = place.queue().await;
    queue.send("x").await;
    let message = queue.wait_for_one().await;
    queue.delete(handle(&message)).await.unwrap();
    let again = queue.delete(handle(&message)).await;
    let batch = queue.client.delete_message_batch().queue_url(&queue.url);
    let batch = batch.entries(delete_entry("a", handle(&message))).send().await.unwrap();
    if place.is_ministack() {
        // MiniStack forgets a handle with its message. A delete that came through is to be repeatable, because its
        // answer may have been lost.
        assert_eq!(again.unwrap_err(), "ReceiptHandleIsInvalid");
        assert_eq!(batch.failed[0].code(), "ReceiptHandleIsInvalid");
    } else {
        again.unwrap();
        assert_eq!((batch.successful[0].id(), batch.failed.len()), ("a", 0));
    }
}

async fn a_batch_fails_entry_by_entry(place: &Place) {
    let queue = place.queue().await;
    queue.send_many(2).await;
    let messages = queue.receive().await;
    let change = queue.client.change_message_visibility_batch().queue_url(&queue.url);
    let change = change.entries(hide_entry("good", handle(&messages[0]), 60));
    let changed = change.entries(hide_entry("bad", "no handle", 60)).send().await.unwrap();
    let delete = queue.client.delete_message_batch().queue_url(&queue.url);
    let delete = delete.entries(delete_entry("bad", "no handle"));
    let delete = delete.entries(delete_entry("good", handle(&messages[0])));
    let deleted = delete.entries(delete_entry("fine", handle(&messages[1]))).send().await.unwrap();

    let ids: Vec<&str> = changed.successful.iter().map(ChangeMessageVisibilityBatchResultEntry::id).collect();
    assert_eq!(ids, ["good"]);
    let ids: Vec<&str> = deleted.successful.iter().map(DeleteMessageBatchResultEntry::id).collect();
    assert_eq!(ids, ["good", "fine"]);
    for failed in [&changed.failed, &deleted.failed] {
        let [failed] = &failed[..] else { panic!("{failed:?}") };
        let seen = (failed.id(), failed.code(), failed.sender_fault());
        assert_eq!(seen, ("bad", "ReceiptHandleIsInvalid", true));
        assert!(failed.message().is_some_and(|message| !message.is_empty()));
    }
    assert_eq!(queue.numbers().await, [0, 0, 0]);
}

async fn a_batch_that_is_none_is_refused(place: &Place) {
    let queue = place.queue().await;
    let eleven: Vec<String> = (0..11).map(|number| format!("entry-{number}")).collect();
    let eleven: Vec<&str> = eleven.iter().map(String::as_str).collect();
    let cases: [(&[&str], &str); 5] = [
        (&[], "AWS.SimpleQueueService.EmptyBatchRequest"),
        (&eleven, "AWS.SimpleQueueService.TooManyEntriesInBatchRequest"),
        (&["a", "b", "a"], "AWS.SimpleQueueService.BatchEntryIdsNotDistinct"),
        (&["with space"], "AWS.SimpleQueueService.InvalidBatchEntryId"),
        (&["x".repeat(81).leak()], "AWS.SimpleQueueService.InvalidBatchEntryId"),
    ];
    for (ids, code) in cases {
        let entries = ids.iter().map(|id| delete_entry(id, "no handle")).collect();
        let delete = queue.client.delete_message_batch().queue_url(&queue.url).set_entries(Some(entries));
        assert_eq!(code_of(delete.send().await).unwrap_err(), code, "{ids:?}");
        let entries = ids.iter().map(|id| hide_entry(id, "no handle", 1)).collect();
        let change = queue.client.change_message_visibility_batch().queue_url(&queue.url);
        assert_eq!(code_of(change.set_entries(Some(entries)).send().await).unwrap_err(), code, "{ids:?}");
    }
}

async fn a_malformed_handle_is_refused(place: &Place) {
    let queue = place.queue().await;
    let delete = queue.client.delete_message().queue_url(&queue.url).receipt_handle("no handle");
    let refused = delete.send().await.unwrap_err().into_service_error();
    assert!(refused.is_receipt_handle_is_invalid(), "{refused:?}");
    let change = queue.client.change_message_visibility().queue_url(&queue.url).receipt_handle("no handle");
    let refused = change.visibility_timeout(1).send().await.unwrap_err().into_service_error();
    assert!(refused.is_receipt_handle_is_invalid(), "{refused:?}");
}

async fn what_is_received_too_often_goes_to_the_dead_letter_queue(place: &Place) {
    let dead = place.queue().await;
    let dead_arn =
        dead.attributes(&[QueueAttributeName::QueueArn]).await[&QueueAttributeName::QueueArn].clone();
    let policy = format!(r#"{{"deadLetterTargetArn":"{dead_arn}","maxReceiveCount":2}}"#);
    let queue = place.queue_with(&[(QueueAttributeName::RedrivePolicy, &policy)]).await;
    let attributes =
        queue.attributes(&[QueueAttributeName::QueueArn, QueueAttributeName::RedrivePolicy]).await;
    let told: Value = serde_json::from_str(&attributes[&QueueAttributeName::RedrivePolicy]).unwrap();
    assert_eq!(told, serde_json::from_str::<Value>(&policy).unwrap());

    queue.send("poison").await;
    queue.glance().await;
    let last = queue.glance().await;
    assert!(queue.receive().await.is_empty());
    assert_eq!(queue.numbers().await, [0, 0, 0]);
    let moved = dead.wait_for_one().await;
    assert_eq!((moved.message_id(), body(&moved)), (last.message_id(), "poison"));
    let source = attribute(&moved, &MessageSystemAttributeName::DeadLetterQueueSourceArn);
    assert_eq!(source, attributes[&QueueAttributeName::QueueArn]);
    // A standard queue's message keeps its age on the way.
    let sent = MessageSystemAttributeName::SentTimestamp;
    assert_eq!(attribute(&moved, &sent), attribute(&last, &sent));
}

async fn a_delayed_message_comes_later(place: &Place) {
    let queue = place.queue().await;
    let send = queue.client.send_message().queue_url(&queue.url).message_body("x");
    send.clone().delay_seconds(900).send().await.unwrap();
    assert_eq!(queue.numbers().await, [0, 0, 1]);
    assert!(queue.receive().await.is_empty());
    let before = Instant::now();
    send.message_body("y").delay_seconds(1).send().await.unwrap();
    assert_eq!(body(&queue.wait_for_one().await), "y");
    assert!(before.elapsed() > Duration::from_millis(900), "{:?}", before.elapsed());

    let slow = place.queue_with(&[(QueueAttributeName::DelaySeconds, "900")]).await;
    slow.send("z").await;
    assert_eq!(slow.numbers().await, [0, 0, 1]);
}

async fn attributes_are_told_by_name(place: &Place) {
    let settings = [
        (QueueAttributeName::VisibilityTimeout, "45"),
        (QueueAttributeName::DelaySeconds, "3"),
        (QueueAttributeName::MessageRetentionPeriod, "86400"),
    ];
    let queue = place.queue_with(&settings).await;
    let some = queue.attributes(&[QueueAttributeName::VisibilityTimeout]).await;
    assert_eq!(some, HashMap::from([(QueueAttributeName::VisibilityTimeout, "45".to_owned())]));

    let all = queue.attributes(&[QueueAttributeName::All]).await;
    let arn = format!("arn:aws:sqs:eu-west-1:111122223333:{}", queue.name);
    let expected = settings.into_iter().chain([
        (QueueAttributeName::ApproximateNumberOfMessages, "0"),
        (QueueAttributeName::ApproximateNumberOfMessagesNotVisible, "0"),
        (QueueAttributeName::ApproximateNumberOfMessagesDelayed, "0"),
        (QueueAttributeName::ReceiveMessageWaitTimeSeconds, "0"),
        (QueueAttributeName::MaximumMessageSize, "1048576"),
        (QueueAttributeName::QueueArn, &arn),
    ]);
    for (name, value) in expected {
        assert_eq!(all.get(&name).map(String::as_str), Some(value), "{name}");
    }
    let now = WallClock.now().as_second();
    for name in [QueueAttributeName::CreatedTimestamp, QueueAttributeName::LastModifiedTimestamp] {
        let time: i64 = all[&name].parse().unwrap();
        assert!((now - 60..=now + 1).contains(&time), "{name} is {time}");
    }
    assert!(!all.contains_key(&QueueAttributeName::RedrivePolicy), "{all:?}");
}

async fn a_queue_is_found_by_name_and_made_once(place: &Place) {
    let queue = place.queue_with(&[(QueueAttributeName::VisibilityTimeout, "45")]).await;
    assert!(queue.url.ends_with(&format!("/111122223333/{}", queue.name)), "{}", queue.url);
    let found = queue.client.get_queue_url().queue_name(&queue.name).send().await.unwrap();
    assert_eq!(found.queue_url(), Some(&*queue.url));
    let listed = queue.client.list_queues().queue_name_prefix(&queue.name).send().await.unwrap();
    assert!(listed.queue_urls().contains(&queue.url), "{listed:?}");

    let make = queue.client.create_queue().queue_name(&queue.name);
    let same = make.clone().attributes(QueueAttributeName::VisibilityTimeout, "45").send().await.unwrap();
    assert_eq!(same.queue_url(), Some(&*queue.url));
    let other = make.attributes(QueueAttributeName::VisibilityTimeout, "46").send().await;
    assert_eq!(code_of(other).unwrap_err(), "QueueAlreadyExists");
    let make = queue.client.create_queue().queue_name(fresh("queue"));
    let wrong = make.attributes(QueueAttributeName::VisibilityTimeout, "soon").send().await;
    assert_eq!(code_of(wrong).unwrap_err(), "InvalidAttributeValue");
}

async fn a_queue_that_does_not_exist_is_told(place: &Place) {
    let queue = place.queue().await;
    let url = queue.url.replace(&queue.name, "no-such-queue");
    let client = &place.client;
    let receive = client.receive_message().queue_url(&url).send().await.unwrap_err();
    assert_eq!(receive.code(), Some("AWS.SimpleQueueService.NonExistentQueue"));
    assert!(receive.as_service_error().unwrap().is_queue_does_not_exist(), "{receive:?}");
    let send = client.send_message().queue_url(&url).message_body("x").send().await.unwrap_err();
    assert!(send.into_service_error().is_queue_does_not_exist());
    let delete = client.delete_message_batch().queue_url(&url).entries(delete_entry("a", "x")).send().await;
    assert!(delete.unwrap_err().into_service_error().is_queue_does_not_exist());
    let attributes = client.get_queue_attributes().queue_url(&url).send().await.unwrap_err();
    assert!(attributes.into_service_error().is_queue_does_not_exist());
    let found = client.get_queue_url().queue_name("no-such-queue").send().await.unwrap_err();
    assert!(found.into_service_error().is_queue_does_not_exist());
}

async fn a_purge_empties_the_queue(place: &Place) {
    let queue = place.queue().await;
    queue.send_many(5).await;
    queue.client.receive_message().queue_url(&queue.url).send().await.unwrap();
    queue.client.purge_queue().queue_url(&queue.url).send().await.unwrap();
    assert_eq!(queue.numbers().await, [0, 0, 0]);
    assert!(queue.receive().await.is_empty());
}
