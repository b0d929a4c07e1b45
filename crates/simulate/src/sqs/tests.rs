//! The double as a client sees it, through a socket and bare HTTP.

use std::time::Duration;

use dormouse_model::{EventTime, ManualClock};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::*;

/// A client of one connection.
struct Client {
    stream: BufReader<TcpStream>,
}

/// Status, the `x-amzn-query-error` header and the body.
type Heard = (u16, String, Value);

impl Client {
    async fn of(double: &SqsDouble) -> Self {
        let address = double.endpoint().strip_prefix("http://").unwrap();
        Self { stream: BufReader::new(TcpStream::connect(address).await.unwrap()) }
    }

    /// Sends a request; `None` if the connection is closed without an answer.
    async fn call(&mut self, operation: &str, body: &Value) -> Option<Heard> {
        let body = body.to_string();
        let head = format!(
            "POST / HTTP/1.1\r\nhost: localhost\r\nx-amz-target: AmazonSQS.{operation}\r\n\
             content-type: application/x-amz-json-1.0\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.stream.get_mut().write_all((head + &body).as_bytes()).await.unwrap();
        let (mut status, mut length, mut error) = (0, 0, String::new());
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return None;
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                status = rest[..3].parse().unwrap();
            } else if let Some(rest) = line.strip_prefix("content-length: ") {
                length = rest.parse().unwrap();
            } else if let Some(rest) = line.strip_prefix("x-amzn-query-error: ") {
                rest.clone_into(&mut error);
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.unwrap();
        Some((status, error, serde_json::from_slice(&body).unwrap()))
    }

    /// A request that succeeds.
    async fn ask(&mut self, operation: &str, body: Value) -> Value {
        let (status, error, body) = self.call(operation, &body).await.unwrap();
        assert_eq!(status, 200, "{error} {body}");
        body
    }

    /// A request that is refused: status and code.
    async fn refused(&mut self, operation: &str, body: Value) -> (u16, String) {
        let (status, error, body) = self.call(operation, &body).await.unwrap();
        assert!(status >= 400 && body["__type"].is_string() && body["message"].is_string(), "{body}");
        (status, error)
    }

    async fn receive(&mut self, url: &str) -> Vec<Value> {
        let request =
            json!({"QueueUrl": url, "MaxNumberOfMessages": 10, "MessageSystemAttributeNames": ["All"]});
        let answer = self.ask("ReceiveMessage", request).await;
        answer["Messages"].as_array().cloned().unwrap_or_default()
    }

    async fn delete(&mut self, url: &str, message: &Value) {
        self.ask("DeleteMessage", json!({"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"]})).await;
    }
}

struct Scene {
    clock: Arc<ManualClock>,
    double: SqsDouble,
    client: Client,
    url: String,
}

async fn scene_with(options: SqsOptions, queue: QueueOptions) -> Scene {
    let clock = Arc::new(ManualClock::at(EventTime::from_seconds(1_790_000_000)));
    let double = SqsDouble::start(SqsOptions { clock: clock.clone(), ..options }).await.unwrap();
    let url = double.create_queue("events", queue);
    let client = Client::of(&double).await;
    Scene { clock, double, client, url }
}

async fn scene() -> Scene {
    scene_with(SqsOptions { log: true, ..SqsOptions::default() }, QueueOptions::default()).await
}

fn always() -> Fault {
    Fault { entry_failed: 1.0, ..Fault::default() }
}

#[tokio::test]
async fn a_message_comes_as_it_was_sent_and_is_gone_when_deleted() {
    let Scene { double, mut client, url, .. } = scene().await;
    let body = "quotes \" backslash \\ newline \n and ünïcode \u{1f600}";
    let sent = client.ask("SendMessage", json!({"QueueUrl": url, "MessageBody": body})).await;
    assert_eq!(sent["MD5OfMessageBody"], format!("{:x}", md5::compute(body)));

    let messages = client.receive(&url).await;
    let [message] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!(message["MessageId"], sent["MessageId"]);
    assert_eq!(message["Body"], body);
    assert_eq!(message["MD5OfBody"], sent["MD5OfMessageBody"]);
    assert_eq!(message["Attributes"]["ApproximateReceiveCount"], "1");
    assert_eq!(message["Attributes"]["SentTimestamp"], "1790000000000");
    assert_eq!(message["Attributes"]["ApproximateFirstReceiveTimestamp"], "1790000000000");
    assert_eq!(double.counters(&url).unwrap().in_flight, 1);
    assert_eq!(double.remaining(&url).unwrap()[0].1, body);

    client.delete(&url, message).await;
    let counters = double.counters(&url).unwrap();
    let expected =
        QueueCounters { sent: 1, received: 1, deleted: 1, most_in_flight: 1, ..QueueCounters::default() };
    assert_eq!(counters, expected);
    let events: Vec<_> = double.log().iter().map(|entry| entry.event).collect();
    assert_eq!(events, [MessageEvent::Sent, MessageEvent::Received, MessageEvent::Deleted]);
}

#[tokio::test]
async fn attributes_come_only_when_asked_for() {
    let Scene { double, mut client, url, .. } = scene().await;
    double.send_many(&url, ["a", "b"]).unwrap();
    let answer = client.ask("ReceiveMessage", json!({"QueueUrl": url})).await;
    assert!(answer["Messages"][0].get("Attributes").is_none());
    let asked = json!({"QueueUrl": url, "AttributeNames": ["SentTimestamp"]});
    let answer = client.ask("ReceiveMessage", asked).await;
    assert_eq!(answer["Messages"][0]["Attributes"], json!({"SentTimestamp": "1790000000000"}));
}

#[tokio::test]
async fn after_the_visibility_timeout_a_message_returns_with_a_new_handle() {
    let Scene { clock, double, mut client, url, .. } = scene().await;
    double.send(&url, "x").unwrap();
    let first = client.receive(&url).await.remove(0);
    clock.advance(29);
    assert!(client.receive(&url).await.is_empty());
    clock.advance(1);
    let second = client.receive(&url).await.remove(0);
    assert_eq!(second["Attributes"]["ApproximateReceiveCount"], "2");
    assert_ne!(first["ReceiptHandle"], second["ReceiptHandle"]);

    // The old handle is accepted and does nothing.
    client.delete(&url, &first).await;
    assert_eq!(double.remaining(&url).unwrap().len(), 1);
    client.delete(&url, &second).await;
    client.delete(&url, &second).await;
    let counters = double.counters(&url).unwrap();
    assert_eq!((counters.deleted, counters.deletes_ignored, counters.deletes_repeated), (1, 1, 1));
    assert_eq!((counters.received, counters.redelivered), (2, 1));
}

#[tokio::test]
async fn the_newest_handle_deletes_even_after_the_timeout() {
    let Scene { clock, double, mut client, url, .. } = scene().await;
    double.send(&url, "x").unwrap();
    let message = client.receive(&url).await.remove(0);
    clock.advance(60);
    client.delete(&url, &message).await;
    assert_eq!(double.counters(&url).unwrap().deleted, 1);
    assert!(client.receive(&url).await.is_empty());
}

#[tokio::test]
async fn old_handles_delete_if_the_double_is_told_so() {
    let options = SqsOptions { old_handles_delete: true, ..SqsOptions::default() };
    let Scene { clock, double, mut client, url } = scene_with(options, QueueOptions::default()).await;
    double.send(&url, "x").unwrap();
    let first = client.receive(&url).await.remove(0);
    clock.advance(30);
    client.receive(&url).await;
    client.delete(&url, &first).await;
    assert_eq!(double.counters(&url).unwrap().deleted, 1);
}

#[tokio::test]
async fn visibility_can_be_extended_and_given_back() {
    let Scene { clock, double, mut client, url, .. } = scene().await;
    double.send(&url, "x").unwrap();
    let message = client.receive(&url).await.remove(0);
    let change = |seconds: i64| json!({"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": seconds});
    clock.advance(20);
    client.ask("ChangeMessageVisibility", change(100)).await;
    clock.advance(99);
    assert!(client.receive(&url).await.is_empty());
    assert_eq!(
        client.refused("ChangeMessageVisibility", change(43_200)).await.1,
        "InvalidParameterValue;Sender"
    );
    client.ask("ChangeMessageVisibility", change(0)).await;
    let not_in_flight = "AWS.SimpleQueueService.MessageNotInflight;Sender";
    assert_eq!(client.refused("ChangeMessageVisibility", change(5)).await.1, not_in_flight);
    assert_eq!(client.receive(&url).await.len(), 1);
}

/// Waits until so many receives have reached the double.
async fn until_received(double: &SqsDouble, requests: u64) {
    let reached = async {
        while double.requests(Operation::ReceiveMessage) < requests {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), reached).await.expect("the receive reaches the double");
}

#[tokio::test]
async fn a_long_poll_waits_for_a_message() {
    let Scene { double, mut client, url, .. } = scene().await;
    let request = json!({"QueueUrl": url, "WaitTimeSeconds": 20});
    let waiting = tokio::spawn(async move { client.ask("ReceiveMessage", request).await });
    until_received(&double, 1).await;
    double.send(&url, "late riser").unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
    assert_eq!(answer["Messages"][0]["Body"], "late riser");
}

#[tokio::test]
async fn a_long_poll_notices_that_the_clock_was_moved() {
    let Scene { clock, double, mut client, url } = scene().await;
    double.send(&url, "x").unwrap();
    client.receive(&url).await;
    let request = json!({"QueueUrl": url, "WaitTimeSeconds": 20});
    let waiting = tokio::spawn(async move { client.ask("ReceiveMessage", request).await });
    until_received(&double, 2).await;
    clock.advance(31);
    let answer = tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
    assert_eq!(answer["Messages"][0]["Body"], "x");
}

#[tokio::test]
async fn a_long_poll_ends_empty() {
    let Scene { double, mut client, url, .. } = scene().await;
    let answer = client.ask("ReceiveMessage", json!({"QueueUrl": url, "WaitTimeSeconds": 1})).await;
    assert_eq!(answer, json!({}));
    assert!(double.counters(&url).unwrap().empty_receives > 0);
}

#[tokio::test(start_paused = true)]
async fn the_queue_says_how_long_to_wait() {
    let queue = QueueOptions { wait_seconds: 15, ..QueueOptions::default() };
    let double = SqsDouble::start(SqsOptions::default()).await.unwrap();
    let url = double.create_queue("patient", queue);
    let mut client = Client::of(&double).await;
    let start = tokio::time::Instant::now();
    assert_eq!(client.ask("ReceiveMessage", json!({"QueueUrl": url})).await, json!({}));
    assert_eq!(start.elapsed().as_secs(), 15);
    let start = tokio::time::Instant::now();
    client.ask("ReceiveMessage", json!({"QueueUrl": url, "WaitTimeSeconds": 0})).await;
    assert_eq!(start.elapsed().as_secs(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_receivers_get_each_message_once() {
    const MESSAGES: usize = 5_000;
    let Scene { double, url, .. } = scene().await;
    let mut receivers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (mut client, url) = (Client::of(&double).await, url.clone());
        receivers.spawn(async move {
            let mut bodies = Vec::new();
            loop {
                let request = json!({"QueueUrl": url, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 1});
                let answer = client.ask("ReceiveMessage", request).await;
                let Some(messages) = answer["Messages"].as_array() else { return bodies };
                let entries: Vec<_> = messages
                    .iter()
                    .enumerate()
                    .map(|(id, message)| json!({"Id": id.to_string(), "ReceiptHandle": message["ReceiptHandle"]}))
                    .collect();
                client.ask("DeleteMessageBatch", json!({"QueueUrl": url, "Entries": entries})).await;
                bodies.extend(messages.iter().map(|message| message["Body"].as_str().unwrap().to_owned()));
            }
        });
    }
    double.send_many(&url, (0..MESSAGES).map(|number| number.to_string())).unwrap();
    let mut bodies: Vec<usize> =
        receivers.join_all().await.concat().iter().map(|body| body.parse().unwrap()).collect();
    bodies.sort_unstable();
    assert!(bodies.into_iter().eq(0..MESSAGES));
    assert_eq!(double.counters(&url).unwrap().deleted, MESSAGES as u64);
}

#[tokio::test]
async fn what_is_received_too_often_goes_to_the_dead_letter_queue() {
    let redrive = QueueOptions { redrive: Some(("dead".into(), 2)), ..QueueOptions::default() };
    let Scene { clock, double, mut client, url } = scene_with(SqsOptions::default(), redrive).await;
    let dead = double.create_queue("dead", QueueOptions::default());
    let id = double.send(&url, "poison").unwrap();
    for _ in 0..2 {
        assert_eq!(client.receive(&url).await.len(), 1);
        clock.advance(30);
    }
    assert!(client.receive(&url).await.is_empty());
    assert_eq!(double.counters(&url).unwrap().redriven, 1);
    assert!(double.remaining(&url).unwrap().is_empty());
    assert_eq!(double.remaining(&dead).unwrap(), [(id, "poison".to_owned())]);
    let message = client.receive(&dead).await.remove(0);
    assert_eq!(message["Attributes"]["DeadLetterQueueSourceArn"], double.queue_arn(&url).unwrap());
}

#[tokio::test]
async fn old_messages_expire() {
    let Scene { clock, double, mut client, url } = scene().await;
    double.send(&url, "x").unwrap();
    clock.advance(4 * 86_400 + 1);
    assert!(client.receive(&url).await.is_empty());
    assert_eq!(double.counters(&url).unwrap().expired, 1);
}

#[tokio::test]
async fn batches_answer_for_each_entry() {
    let Scene { double, mut client, url, .. } = scene().await;
    let entries =
        json!([{"Id": "a", "MessageBody": "1"}, {"Id": "b", "MessageBody": "2", "DelaySeconds": 60}]);
    let sent = client.ask("SendMessageBatch", json!({"QueueUrl": url, "Entries": entries})).await;
    assert_eq!(sent["Successful"][1]["Id"], "b");
    assert_eq!(double.counters(&url).unwrap().delayed, 1);

    let message = client.receive(&url).await.remove(0);
    let entries = json!([{"Id": "good", "ReceiptHandle": message["ReceiptHandle"]}, {"Id": "bad", "ReceiptHandle": "?"}]);
    let mut longer = entries.clone();
    longer[0]["VisibilityTimeout"] = json!(60);
    let changed =
        client.ask("ChangeMessageVisibilityBatch", json!({"QueueUrl": url, "Entries": longer})).await;
    assert_eq!(changed["Successful"][0]["Id"], "good");
    let deleted = client.ask("DeleteMessageBatch", json!({"QueueUrl": url, "Entries": entries})).await;
    assert_eq!(deleted["Successful"], json!([{"Id": "good"}]));
    assert_eq!(deleted["Failed"][0]["Id"], "bad");
    assert_eq!(deleted["Failed"][0]["SenderFault"], true);
    assert_eq!(deleted["Failed"][0]["Code"], "ReceiptHandleIsInvalid");

    let twice = json!([{"Id": "a", "ReceiptHandle": "x"}, {"Id": "a", "ReceiptHandle": "y"}]);
    let (status, code) =
        client.refused("DeleteMessageBatch", json!({"QueueUrl": url, "Entries": twice})).await;
    assert_eq!((status, &*code), (400, "AWS.SimpleQueueService.BatchEntryIdsNotDistinct;Sender"));
    let (_, code) = client.refused("DeleteMessageBatch", json!({"QueueUrl": url, "Entries": []})).await;
    assert_eq!(code, "AWS.SimpleQueueService.EmptyBatchRequest;Sender");
    for id in ["", "with space", "ü", &"x".repeat(81)] {
        let entries = json!([{"Id": id, "ReceiptHandle": "x"}]);
        let request = json!({"QueueUrl": url, "Entries": entries});
        let (_, code) = client.refused("DeleteMessageBatch", request).await;
        assert_eq!(code, "AWS.SimpleQueueService.InvalidBatchEntryId;Sender", "{id}");
    }
}

#[tokio::test]
async fn messages_are_a_mebibyte_at_most() {
    let Scene { double, mut client, url, .. } = scene().await;
    let largest = "x".repeat(1 << 20);
    client.ask("SendMessage", json!({"QueueUrl": url, "MessageBody": largest})).await;
    let (_, code) =
        client.refused("SendMessage", json!({"QueueUrl": url, "MessageBody": largest.clone() + "x"})).await;
    assert_eq!(code, "InvalidParameterValue;Sender");
    let entries = json!([{"Id": "a", "MessageBody": largest}, {"Id": "b", "MessageBody": "x"}]);
    let (_, code) = client.refused("SendMessageBatch", json!({"QueueUrl": url, "Entries": entries})).await;
    assert_eq!(code, "AWS.SimpleQueueService.BatchRequestTooLong;Sender");
    assert_eq!(double.counters(&url).unwrap().sent, 1);
}

#[tokio::test]
async fn queues_are_made_and_described_over_the_wire() {
    let Scene { double, mut client, url, .. } = scene().await;
    client.ask("CreateQueue", json!({"QueueName": "dead"})).await;
    let policy = r#"{"deadLetterTargetArn":"arn:aws:sqs:eu-west-1:111122223333:dead","maxReceiveCount":"5"}"#;
    let attributes = json!({"VisibilityTimeout": "77", "RedrivePolicy": policy});
    let made = client.ask("CreateQueue", json!({"QueueName": "made", "Attributes": attributes})).await;
    let found = client.ask("GetQueueUrl", json!({"QueueName": "made"})).await;
    assert_eq!(made, found);
    let request = json!({"QueueUrl": made["QueueUrl"], "AttributeNames": ["All"]});
    let described = client.ask("GetQueueAttributes", request).await;
    assert_eq!(described["Attributes"]["VisibilityTimeout"], "77");
    assert_eq!(described["Attributes"]["RedrivePolicy"], policy.replace("\"5\"", "5"));
    assert_eq!(described["Attributes"]["CreatedTimestamp"], "1790000000");
    assert_eq!(described["Attributes"]["LastModifiedTimestamp"], "1790000000");
    assert_eq!(described["Attributes"]["MaximumMessageSize"], "1048576");
    assert_eq!(described["Attributes"]["ReceiveMessageWaitTimeSeconds"], "0");

    // Again, it is the same queue, unless the request would have it another way.
    for attributes in [json!({}), json!({"VisibilityTimeout": "77"}), json!({"RedrivePolicy": policy})] {
        let again = client.ask("CreateQueue", json!({"QueueName": "made", "Attributes": attributes})).await;
        assert_eq!(again, made);
    }
    for attributes in [json!({"VisibilityTimeout": "78"}), json!({"DelaySeconds": "1"})] {
        let request = json!({"QueueName": "made", "Attributes": attributes});
        assert_eq!(client.refused("CreateQueue", request).await.1, "QueueAlreadyExists;Sender");
    }
    let request = json!({"QueueName": "other", "Attributes": {"DelaySeconds": "many"}});
    assert_eq!(client.refused("CreateQueue", request).await.1, "InvalidAttributeValue;Sender");

    double.send_many(&url, ["a", "b", "c"]).unwrap();
    client.ask("ReceiveMessage", json!({"QueueUrl": url})).await;
    // The URL that the queue has at AWS names it as well.
    let url_at_aws = "https://sqs.eu-west-1.amazonaws.com/111122223333/events";
    let names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "QueueArn"];
    let described =
        client.ask("GetQueueAttributes", json!({"QueueUrl": url_at_aws, "AttributeNames": names})).await;
    assert_eq!(described["Attributes"].as_object().unwrap().len(), 3);
    assert_eq!(described["Attributes"]["ApproximateNumberOfMessages"], "2");
    assert_eq!(described["Attributes"]["ApproximateNumberOfMessagesNotVisible"], "1");
    client.ask("PurgeQueue", json!({"QueueUrl": url})).await;
    assert_eq!(double.counters(&url).unwrap().visible, 0);
    let listed = client.ask("ListQueues", json!({"QueueNamePrefix": "ma"})).await;
    assert_eq!(listed["QueueUrls"], json!([made["QueueUrl"]]));
}

#[tokio::test]
async fn wrong_requests_are_refused_in_the_services_words() {
    let Scene { double, mut client, url, .. } = scene().await;
    let gone = (400, "AWS.SimpleQueueService.NonExistentQueue;Sender".to_owned());
    assert_eq!(client.refused("ReceiveMessage", json!({"QueueUrl": "http://x/111122223333/no"})).await, gone);
    assert_eq!(
        client.refused("ReceiveMessage", json!({"QueueUrl": "http://x/999999999999/events"})).await,
        gone
    );
    assert_eq!(client.refused("Dance", json!({})).await.1, "InvalidAction;Sender");
    assert_eq!(client.refused("ReceiveMessage", json!([])).await.1, "MalformedInput;Sender");
    for (name, number) in [("MaxNumberOfMessages", 11), ("MaxNumberOfMessages", -1), ("WaitTimeSeconds", -1)]
    {
        let request = json!({"QueueUrl": url, name: number});
        assert_eq!(client.refused("ReceiveMessage", request).await.1, "InvalidParameterValue;Sender");
    }
    let request = json!({"QueueUrl": url, "ReceiptHandle": "x"});
    assert_eq!(client.refused("DeleteMessage", request).await.1, "ReceiptHandleIsInvalid;Sender");
    double.remove_queue(&url).unwrap();
    assert_eq!(client.refused("ReceiveMessage", json!({"QueueUrl": url})).await, gone);
}

#[tokio::test]
async fn a_full_hand_is_over_the_limit() {
    let queue = QueueOptions { in_flight_limit: 2, ..QueueOptions::default() };
    let Scene { double, mut client, url, .. } = scene_with(SqsOptions::default(), queue).await;
    double.send_many(&url, ["a", "b", "c"]).unwrap();
    client.ask("ReceiveMessage", json!({"QueueUrl": url, "MaxNumberOfMessages": 2})).await;
    assert_eq!(client.refused("ReceiveMessage", json!({"QueueUrl": url})).await.1, "OverLimit;Sender");
}

#[tokio::test]
async fn faults_are_refusals_and_end_when_cleared() {
    let Scene { double, mut client, url, .. } = scene().await;
    let faults = double.faults();
    let request = json!({"QueueUrl": url});
    let cases = [
        (Fault { internal_error: 1.0, ..Fault::default() }, 500, "InternalFailure;Receiver"),
        (Fault { unavailable: 1.0, ..Fault::default() }, 503, "ServiceUnavailable;Receiver"),
        (Fault { access_denied: true, ..Fault::default() }, 403, "AccessDenied;Sender"),
        (
            Fault { queue_gone: true, ..Fault::default() },
            400,
            "AWS.SimpleQueueService.NonExistentQueue;Sender",
        ),
    ];
    for (fault, status, code) in cases {
        faults.set(Operation::ReceiveMessage, fault);
        assert_eq!(client.refused("ReceiveMessage", request.clone()).await, (status, code.to_owned()));
    }
    faults.set_all(&Fault { throttled: 1.0, ..Fault::default() });
    let mut codes = Vec::new();
    for _ in 0..20 {
        codes.push(client.refused("PurgeQueue", request.clone()).await);
    }
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes, [(400, "RequestThrottled;Sender".into()), (400, "ThrottlingException;Sender".into())]);

    faults.clear_all();
    client.ask("ReceiveMessage", request.clone()).await;
    faults
        .set(Operation::ReceiveMessage, Fault { internal_error: 1.0, requests: Some(2), ..Fault::default() });
    client.refused("ReceiveMessage", request.clone()).await;
    client.refused("ReceiveMessage", request.clone()).await;
    client.ask("ReceiveMessage", request).await;
    assert_eq!(double.requests(Operation::ReceiveMessage), 8);
}

#[tokio::test]
async fn a_fault_with_a_chance_strikes_about_as_often() {
    let Scene { double, mut client, url, .. } = scene().await;
    double.faults().set(Operation::PurgeQueue, Fault { unavailable: 0.25, ..Fault::default() });
    let mut refused = 0;
    for _ in 0..400 {
        refused += u32::from(client.call("PurgeQueue", &json!({"QueueUrl": url})).await.unwrap().0 == 503);
    }
    assert!((60..140).contains(&refused), "{refused}");
}

#[tokio::test]
async fn connections_drop_before_or_after_the_deed() {
    let Scene { double, mut client, url, .. } = scene().await;
    double.send(&url, "x").unwrap();
    let request = json!({"QueueUrl": url});
    double.faults().set(Operation::ReceiveMessage, Fault { dropped: 1.0, ..Fault::default() });
    assert_eq!(client.call("ReceiveMessage", &request).await, None);
    assert_eq!(double.counters(&url).unwrap().received, 0);

    double.faults().set(Operation::ReceiveMessage, Fault { answer_lost: 1.0, ..Fault::default() });
    let mut client = Client::of(&double).await;
    assert_eq!(client.call("ReceiveMessage", &request).await, None);
    assert_eq!(double.counters(&url).unwrap().in_flight, 1);
}

#[tokio::test]
async fn answers_can_be_slow() {
    let Scene { double, mut client, url, .. } = scene().await;
    let latency = Duration::from_millis(80)..=Duration::from_millis(120);
    double.faults().set(Operation::ReceiveMessage, Fault { latency, ..Fault::default() });
    let start = tokio::time::Instant::now();
    client.receive(&url).await;
    assert!(start.elapsed() >= Duration::from_millis(80));
}

#[tokio::test]
async fn entries_of_a_batch_can_fail_on_the_services_side() {
    let Scene { double, mut client, url, .. } = scene().await;
    double.send(&url, "x").unwrap();
    let message = client.receive(&url).await.remove(0);
    double.faults().set(Operation::DeleteMessageBatch, always());
    let request =
        json!({"QueueUrl": url, "Entries": [{"Id": "a", "ReceiptHandle": message["ReceiptHandle"]}]});
    let answer = client.ask("DeleteMessageBatch", request).await;
    assert_eq!(answer["Successful"], json!([]));
    assert_eq!(answer["Failed"][0]["SenderFault"], false);
    assert_eq!(double.counters(&url).unwrap().deleted, 0);
}

#[tokio::test]
async fn a_message_in_flight_can_come_again() {
    let Scene { double, mut client, url, .. } = scene().await;
    double.faults().set(Operation::ReceiveMessage, Fault { duplicated: 1.0, ..Fault::default() });
    double.send(&url, "x").unwrap();
    let first = client.receive(&url).await.remove(0);
    let second = client.receive(&url).await.remove(0);
    assert_eq!(first["MessageId"], second["MessageId"]);
    assert!(client.receive(&url).await.is_empty(), "a duplicate is not duplicated");
    let counters = double.counters(&url).unwrap();
    assert_eq!((counters.in_flight, counters.duplicated, counters.received), (1, 1, 2));
    client.delete(&url, &second).await;
    assert_eq!(double.counters(&url).unwrap().in_flight, 0);
}

#[tokio::test]
async fn messages_can_be_late() {
    let Scene { clock, double, mut client, url } = scene().await;
    let late = Fault { late: 1.0, lateness: Duration::from_secs(90), ..Fault::default() };
    double.faults().set(Operation::SendMessage, late);
    double.send(&url, "x").unwrap();
    clock.advance(89);
    assert!(client.receive(&url).await.is_empty());
    clock.advance(1);
    assert_eq!(client.receive(&url).await.len(), 1);
}

#[tokio::test]
async fn a_delete_can_be_forgotten_and_the_hook_hears_of_every_one() {
    let Scene { clock, double, mut client, url } = scene().await;
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ear = heard.clone();
    double.on_delete(move |id, body| lock(&ear).push((*id, body.to_owned())));
    let id = double.send(&url, "x").unwrap();
    let message = client.receive(&url).await.remove(0);
    double.faults().set(Operation::DeleteMessage, Fault { delete_forgotten: 1.0, ..Fault::default() });
    client.delete(&url, &message).await;
    double.faults().clear(Operation::DeleteMessage);
    clock.advance(30);
    let message = client.receive(&url).await.remove(0);
    client.delete(&url, &message).await;
    client.delete(&url, &message).await;
    assert_eq!(*lock(&heard), vec![(id, "x".to_owned()); 2]);
}

#[tokio::test]
async fn order_can_be_lost_within_a_window() {
    let queue = QueueOptions { reorder_window: 50, ..QueueOptions::default() };
    let Scene { double, mut client, url, .. } = scene_with(SqsOptions::default(), queue).await;
    double.send_many(&url, (0..100).map(|number| number.to_string())).unwrap();
    let mut bodies = Vec::new();
    for _ in 0..10 {
        bodies.extend(
            client.receive(&url).await.iter().map(|m| m["Body"].as_str().unwrap().parse::<u32>().unwrap()),
        );
    }
    assert!(!bodies.is_sorted());
    bodies.sort_unstable();
    assert!(bodies.into_iter().eq(0..100));
}

#[tokio::test]
async fn nothing_answers_after_the_stop() {
    let Scene { double, mut client, url, .. } = scene().await;
    double.stop().await;
    let stopped = tokio::time::timeout(Duration::from_secs(5), async {
        let request = json!({"QueueUrl": url}).to_string();
        let _ = client.stream.get_mut().write_all(request.as_bytes()).await;
        client.stream.read(&mut [0; 1]).await.unwrap_or(0)
    });
    assert_eq!(stopped.await.unwrap(), 0);
    assert!(TcpStream::connect(double.endpoint().strip_prefix("http://").unwrap()).await.is_err());
    assert_eq!(double.counters(&url).unwrap().sent, 0);
}
