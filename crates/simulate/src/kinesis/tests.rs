//! The double as a client sees it, through a socket and bare HTTP.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dormouse_model::{EventTime, ManualClock};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::*;

const START: u32 = 1_790_000_000;

/// A client of one connection.
struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    async fn of(double: &KinesisDouble) -> Self {
        let address = double.endpoint().strip_prefix("http://").unwrap();
        Self { stream: BufReader::new(TcpStream::connect(address).await.unwrap()) }
    }

    /// Sends a request; `None` if the connection is closed without an answer.
    async fn call(&mut self, operation: &str, body: &Value) -> Option<(u16, Value)> {
        let body = body.to_string();
        let head = format!(
            "POST / HTTP/1.1\r\nhost: localhost\r\nx-amz-target: Kinesis_20131202.{operation}\r\n\
             content-type: application/x-amz-json-1.1\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.stream.get_mut().write_all((head + &body).as_bytes()).await.unwrap();
        let (mut status, mut length) = (0, 0);
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
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.unwrap();
        let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
        Some((status, body))
    }

    /// A request that succeeds.
    async fn ask(&mut self, operation: &str, body: Value) -> Value {
        let (status, body) = self.call(operation, &body).await.unwrap();
        assert_eq!(status, 200, "{body}");
        body
    }

    /// A request that is refused: status and code.
    async fn refused(&mut self, operation: &str, body: Value) -> (u16, String) {
        let (status, body) = self.call(operation, &body).await.unwrap();
        assert!(status >= 400 && body["message"].is_string(), "{body}");
        (status, body["__type"].as_str().unwrap().to_owned())
    }

    async fn iterator(&mut self, shard: &str, kind: &str, more: Value) -> String {
        let answer = self.ask("GetShardIterator", iterator_request(shard, kind, &more)).await;
        answer["ShardIterator"].as_str().unwrap().to_owned()
    }

    async fn get(&mut self, iterator: &str) -> Got {
        Got::from(&self.ask("GetRecords", json!({"ShardIterator": iterator})).await)
    }

    /// What comes in one answer, from such an iterator on.
    async fn get_from(&mut self, shard: &str, kind: &str, more: Value) -> Vec<String> {
        let iterator = self.iterator(shard, kind, more).await;
        self.get(&iterator).await.data
    }
}

/// An answer of `GetRecords`.
#[derive(Debug)]
struct Got {
    data: Vec<String>,
    sequence_numbers: Vec<String>,
    next: Option<String>,
    behind: i64,
    whole: Value,
}

impl Got {
    fn from(answer: &Value) -> Self {
        let records = answer["Records"].as_array().unwrap();
        let data = |record: &Value| {
            String::from_utf8(STANDARD.decode(record["Data"].as_str().unwrap()).unwrap()).unwrap()
        };
        Self {
            data: records.iter().map(data).collect(),
            sequence_numbers: records
                .iter()
                .map(|r| r["SequenceNumber"].as_str().unwrap().to_owned())
                .collect(),
            next: answer["NextShardIterator"].as_str().map(str::to_owned),
            behind: answer["MillisBehindLatest"].as_i64().unwrap(),
            whole: answer.clone(),
        }
    }
}

fn iterator_request(shard: &str, kind: &str, more: &Value) -> Value {
    let mut request = json!({"StreamName": "events", "ShardId": shard, "ShardIteratorType": kind});
    request.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    request
}

struct Scene {
    clock: Arc<ManualClock>,
    double: KinesisDouble,
    client: Client,
}

impl Scene {
    fn put(&self, data: &str) -> Placed {
        self.double.put("events", data, data).unwrap()
    }
}

async fn scene(shards: u32, options: StreamOptions) -> Scene {
    let clock = Arc::new(ManualClock::at(EventTime::from_seconds(START)));
    let options_of_double = KinesisOptions { clock: clock.clone(), ..KinesisOptions::default() };
    let double = KinesisDouble::start(options_of_double).await.unwrap();
    double.create_stream("events", shards, options);
    let client = Client::of(&double).await;
    Scene { clock, double, client }
}

const FIRST: &str = "shardId-000000000000";

#[tokio::test]
async fn records_come_in_the_order_in_which_they_were_put_from_any_place() {
    let mut scene = scene(1, StreamOptions::default()).await;
    let a = scene.put("a");
    scene.clock.advance(10);
    scene.put("b");
    scene.clock.advance(10);
    let client = &mut scene.client;
    assert_eq!(client.get_from(FIRST, "TRIM_HORIZON", json!({})).await, ["a", "b"]);
    assert!(client.get_from(FIRST, "LATEST", json!({})).await.is_empty());
    let at = json!({"StartingSequenceNumber": a.sequence_number});
    assert_eq!(client.get_from(FIRST, "AT_SEQUENCE_NUMBER", at.clone()).await, ["a", "b"]);
    assert_eq!(client.get_from(FIRST, "AFTER_SEQUENCE_NUMBER", at).await, ["b"]);
    let at = |seconds: u32| json!({"Timestamp": f64::from(START + seconds)});
    assert_eq!(client.get_from(FIRST, "AT_TIMESTAMP", at(0)).await, ["a", "b"]);
    assert_eq!(client.get_from(FIRST, "AT_TIMESTAMP", at(1)).await, ["b"]);
    assert!(client.get_from(FIRST, "AT_TIMESTAMP", at(20)).await.is_empty());
    let refused = client.refused("GetShardIterator", iterator_request(FIRST, "AT_TIMESTAMP", &at(21))).await;
    assert_eq!(refused, (400, "InvalidArgumentException".to_owned()));
    let made_up = json!({"StartingSequenceNumber": "4".repeat(56)});
    let request = iterator_request(FIRST, "AT_SEQUENCE_NUMBER", &made_up);
    assert_eq!(client.refused("GetShardIterator", request).await.1, "InvalidArgumentException");
}

#[tokio::test]
async fn a_reader_is_told_how_far_behind_it_is() {
    let mut scene = scene(1, StreamOptions::default()).await;
    scene.put("a");
    scene.clock.advance(10);
    scene.put("b");
    scene.clock.advance(5);
    let iterator = scene.client.iterator(FIRST, "TRIM_HORIZON", json!({})).await;
    let request = json!({"ShardIterator": iterator, "Limit": 1});
    let got = Got::from(&scene.client.ask("GetRecords", request).await);
    assert_eq!((got.data, got.behind), (vec!["a".to_owned()], 5_000));
    assert!(got.whole["Records"][0]["ApproximateArrivalTimestamp"].as_f64() == Some(f64::from(START)));
    let got = scene.client.get(&got.next.unwrap()).await;
    assert_eq!((got.data, got.behind), (vec!["b".to_owned()], 0));
    let got = scene.client.get(&got.next.unwrap()).await;
    assert!(got.data.is_empty() && got.next.is_some());
    assert_eq!(scene.double.counters("events").unwrap().handed_out, 2);
    assert_eq!(scene.double.counters("events").unwrap().requests(Operation::GetRecords), 3);
}

#[tokio::test]
async fn an_answer_brings_ten_mebibytes_at_most() {
    let mut scene = scene(1, StreamOptions::default()).await;
    let records = (0..12).map(|_| ("key", vec![b'x'; (1 << 20) - 3]));
    assert_eq!(scene.double.put_many("events", records), Ok(12));
    let iterator = scene.client.iterator(FIRST, "TRIM_HORIZON", json!({})).await;
    let got = scene.client.get(&iterator).await;
    assert_eq!(got.data.len(), 10);
    assert_eq!(scene.client.get(&got.next.unwrap()).await.data.len(), 2);
}

#[tokio::test]
async fn iterators_expire_after_five_minutes_or_when_told_to() {
    let mut scene = scene(1, StreamOptions::default()).await;
    let expired = (400, "ExpiredIteratorException".to_owned());
    let iterator = scene.client.iterator(FIRST, "LATEST", json!({})).await;
    scene.clock.advance(300);
    let next = scene.client.get(&iterator).await.next.unwrap();
    scene.clock.advance(1);
    assert_eq!(scene.client.refused("GetRecords", json!({"ShardIterator": iterator})).await, expired);
    scene.double.expire_iterators();
    assert_eq!(scene.client.refused("GetRecords", json!({"ShardIterator": next})).await, expired);
    let iterator = scene.client.iterator(FIRST, "LATEST", json!({})).await;
    scene.client.get(&iterator).await;
    let refused = scene.client.refused("GetRecords", json!({"ShardIterator": "nonsense"})).await;
    assert_eq!(refused.1, "InvalidArgumentException");
}

#[tokio::test]
async fn what_is_older_than_the_retention_is_gone() {
    let mut scene = scene(1, StreamOptions { retention_hours: 1, ..StreamOptions::default() }).await;
    let a = scene.put("a");
    scene.clock.advance(1_800);
    scene.put("b");
    scene.clock.advance(1_801);
    let after = json!({"StartingSequenceNumber": a.sequence_number});
    assert_eq!(scene.client.get_from(FIRST, "AFTER_SEQUENCE_NUMBER", after).await, ["b"]);
    assert_eq!(scene.client.get_from(FIRST, "TRIM_HORIZON", json!({})).await, ["b"]);
    scene.clock.advance(1_801);
    scene.put("c");
    let after = json!({"StartingSequenceNumber": a.sequence_number});
    assert_eq!(scene.client.get_from(FIRST, "AFTER_SEQUENCE_NUMBER", after).await, ["c"]);
}

#[tokio::test]
async fn a_closed_shard_ends_and_stays_listed_until_its_retention_has_passed() {
    let options = StreamOptions { retention_hours: 1, child_shards: true, ..StreamOptions::default() };
    let mut scene = scene(2, options).await;
    let second = "shardId-000000000001".to_owned();
    let [low, high] = scene.double.split("events", FIRST).unwrap();
    let merged = scene.double.merge("events", &high, &second).unwrap();
    assert_eq!(
        scene.double.merge("events", &low, &second),
        Err(ReshardError::Closed(second.clone())),
        "nobody merges what is closed"
    );
    let views = scene.double.shards("events").unwrap();
    let open: Vec<&str> = views.iter().filter(|view| view.open).map(|view| view.id.as_str()).collect();
    assert_eq!(open, [&low, &merged]);
    assert_eq!(views[4].parents, [high.clone(), second.clone()]);
    assert_eq!((views[2].hashes.0, views[4].hashes.1), (0, u128::MAX));
    assert_eq!(views[2].hashes.1 + 1, views[4].hashes.0);

    let iterator = scene.client.iterator(FIRST, "TRIM_HORIZON", json!({})).await;
    let got = scene.client.get(&iterator).await;
    assert_eq!(got.next, None);
    let children: Vec<&Value> =
        got.whole["ChildShards"].as_array().unwrap().iter().map(|c| &c["ShardId"]).collect();
    assert_eq!(children, [&json!(low), &json!(high)]);
    let list = scene.client.ask("ListShards", json!({"StreamName": "events"})).await;
    let shards = list["Shards"].as_array().unwrap();
    assert_eq!(shards.len(), 5);
    assert!(shards[0]["SequenceNumberRange"]["EndingSequenceNumber"].is_string());
    assert!(shards[2]["SequenceNumberRange"]["EndingSequenceNumber"].is_null());
    assert_eq!(shards[4]["ParentShardId"], json!(high));
    assert_eq!(shards[4]["AdjacentParentShardId"], json!(second));

    scene.clock.advance(3_601);
    let list = scene.client.ask("ListShards", json!({"StreamName": "events"})).await;
    assert_eq!(list["Shards"].as_array().unwrap().len(), 2);
    let request = iterator_request(FIRST, "TRIM_HORIZON", &json!({}));
    assert_eq!(scene.client.refused("GetShardIterator", request).await.1, "ResourceNotFoundException");
}

#[tokio::test]
async fn records_go_where_their_hash_belongs_before_and_after_a_split() {
    let scene = scene(4, StreamOptions::default()).await;
    let hash = |key: &str| u128::from_be_bytes(md5::compute(key).0);
    let agrees = |key: &str| {
        let placed = scene.put(key);
        let views = scene.double.shards("events").unwrap();
        let view = views.iter().find(|view| view.id == placed.shard_id).unwrap();
        view.open && (view.hashes.0..=view.hashes.1).contains(&hash(key))
    };
    assert!((0..100).all(|number| agrees(&number.to_string())));
    scene.double.split("events", "shardId-000000000002").unwrap();
    assert!((0..100).all(|number| agrees(&number.to_string())));
    assert_eq!(scene.double.counters("events").unwrap().put, 200);
}

#[tokio::test]
async fn shards_are_listed_page_by_page_and_by_filter() {
    let mut scene = scene(5, StreamOptions::default()).await;
    scene.clock.advance(60);
    scene.double.split("events", FIRST).unwrap();
    let mut request = json!({"StreamName": "events", "MaxResults": 3});
    let mut ids = Vec::new();
    loop {
        let page = scene.client.ask("ListShards", request).await;
        let shards = page["Shards"].as_array().unwrap();
        ids.extend(shards.iter().map(|shard| shard["ShardId"].as_str().unwrap().to_owned()));
        let Some(token) = page["NextToken"].as_str() else { break };
        let both = json!({"StreamName": "events", "NextToken": token});
        assert_eq!(scene.client.refused("ListShards", both).await.1, "InvalidArgumentException");
        request = json!({"NextToken": token, "MaxResults": 3});
    }
    assert_eq!(ids, (0..7).map(shard::id_of).collect::<Vec<_>>());
    let mut count = async |filter: Value| {
        let request = json!({"StreamName": "events", "ShardFilter": filter});
        scene.client.ask("ListShards", request).await["Shards"].as_array().unwrap().len()
    };
    assert_eq!(count(json!({"Type": "AT_LATEST"})).await, 6);
    assert_eq!(count(json!({"Type": "AT_TRIM_HORIZON"})).await, 5);
    assert_eq!(count(json!({"Type": "FROM_TRIM_HORIZON"})).await, 7);
    assert_eq!(count(json!({"Type": "AFTER_SHARD_ID", "ShardId": shard::id_of(4)})).await, 2);
    assert_eq!(count(json!({"Type": "AT_TIMESTAMP", "Timestamp": START + 59})).await, 5);
    assert_eq!(count(json!({"Type": "FROM_TIMESTAMP", "Timestamp": START + 61})).await, 6);
}

#[tokio::test]
async fn streams_are_found_by_name_and_arn_those_of_other_accounts_by_arn_alone() {
    let mut scene = scene(1, StreamOptions { retention_hours: 48, ..StreamOptions::default() }).await;
    let options = StreamOptions { account: Some("444455556666".to_owned()), ..StreamOptions::default() };
    let foreign = scene.double.create_stream("theirs", 2, options);
    assert_eq!(foreign, "arn:aws:kinesis:eu-west-1:444455556666:stream/theirs");
    let summary = scene.client.ask("DescribeStreamSummary", json!({"StreamARN": foreign})).await;
    assert_eq!(summary["StreamDescriptionSummary"]["OpenShardCount"], 2);
    let summary = scene.client.ask("DescribeStreamSummary", json!({"StreamName": "events"})).await;
    let summary = &summary["StreamDescriptionSummary"];
    assert_eq!(summary["StreamStatus"], "ACTIVE");
    assert_eq!(summary["RetentionPeriodHours"], 48);
    assert_eq!(summary["StreamARN"], "arn:aws:kinesis:eu-west-1:111122223333:stream/events");
    assert!(summary["StreamCreationTimestamp"].as_f64() == Some(f64::from(START)));
    let not_found = (400, "ResourceNotFoundException".to_owned());
    assert_eq!(scene.client.refused("ListShards", json!({"StreamName": "theirs"})).await, not_found);
    let iterator = scene.client.iterator(FIRST, "LATEST", json!({})).await;
    scene.double.delete_stream("events").unwrap();
    assert_eq!(scene.client.refused("GetRecords", json!({"ShardIterator": iterator})).await, not_found);
    assert_eq!(scene.double.delete_stream("events"), Err(UnknownStream("events".to_owned())));
}

#[tokio::test]
async fn a_shard_with_a_quota_gives_five_reads_and_two_mebibytes_a_second() {
    let mut scene = scene(1, StreamOptions { quota: true, ..StreamOptions::default() }).await;
    let iterator = scene.client.iterator(FIRST, "TRIM_HORIZON", json!({})).await;
    let read = json!({"ShardIterator": iterator});
    let exceeded = (400, "ProvisionedThroughputExceededException".to_owned());
    for _ in 0..5 {
        scene.client.ask("GetRecords", read.clone()).await;
    }
    assert_eq!(scene.client.refused("GetRecords", read.clone()).await, exceeded);
    scene.clock.advance(1);
    let records = (0..10).map(|_| ("key", vec![b'x'; (1 << 20) - 3]));
    scene.double.put_many("events", records).unwrap();
    scene.client.ask("GetRecords", read.clone()).await;
    scene.clock.advance(4);
    assert_eq!(scene.client.refused("GetRecords", read.clone()).await, exceeded);
    scene.clock.advance(1);
    scene.client.ask("GetRecords", read).await;
}

#[tokio::test]
async fn faults_strike_the_operation_and_the_stream_that_they_are_set_for() {
    let mut scene = scene(1, StreamOptions::default()).await;
    scene.double.create_stream("others", 1, StreamOptions::default());
    scene.put("a");
    let iterator = scene.client.iterator(FIRST, "TRIM_HORIZON", json!({})).await;
    let read = json!({"ShardIterator": iterator});
    let streams = vec!["events".to_owned()];
    let once = KinesisFault { streams, requests: Some(1), ..KinesisFault::default() };
    let strikes = [
        (KinesisFault { throttled: 1.0, ..once.clone() }, 400, "ProvisionedThroughputExceededException"),
        (KinesisFault { internal_error: 1.0, ..once.clone() }, 500, "InternalFailure"),
        (KinesisFault { unavailable: 1.0, ..once.clone() }, 503, "ServiceUnavailable"),
        (KinesisFault { access_denied: true, ..once.clone() }, 400, "AccessDeniedException"),
    ];
    for (fault, status, code) in strikes {
        scene.double.faults().set_all(&fault);
        scene.client.ask("ListShards", json!({"StreamName": "others"})).await;
        assert_eq!(scene.client.refused("GetRecords", read.clone()).await, (status, code.to_owned()));
        scene.client.get(&iterator).await;
    }
    let faults = scene.double.faults().clone();
    faults.set_all(&KinesisFault { throttled: 1.0, ..once.clone() });
    let refused = scene.client.refused("ListShards", json!({"StreamName": "events"})).await;
    assert_eq!(refused.1, "LimitExceededException");
    faults.clear_all();

    faults.set(Operation::GetRecords, KinesisFault { empty: 1.0, ..once.clone() });
    let got = scene.client.get(&iterator).await;
    assert!(got.data.is_empty() && got.behind > 0);
    let got = scene.client.get(&got.next.unwrap()).await;
    assert_eq!(got.data, ["a"]);
    assert_eq!(got.sequence_numbers[0].len(), 56);

    faults.set(Operation::PutRecord, KinesisFault { answer_lost: 1.0, ..once.clone() });
    let put = json!({"StreamName": "events", "PartitionKey": "b", "Data": STANDARD.encode("b")});
    assert_eq!(scene.client.call("PutRecord", &put).await, None);
    assert_eq!(scene.double.counters("events").unwrap().put, 2);
    let mut client = Client::of(&scene.double).await;
    faults.set(Operation::PutRecord, KinesisFault { dropped: 1.0, ..once.clone() });
    assert_eq!(client.call("PutRecord", &put).await, None);
    assert_eq!(scene.double.counters("events").unwrap().put, 2);
    let late = Duration::from_millis(30);
    faults.set(Operation::ListShards, KinesisFault { latency: late..=late, ..once });
    let mut client = Client::of(&scene.double).await;
    let before = tokio::time::Instant::now();
    client.ask("ListShards", json!({"StreamName": "events"})).await;
    assert!(before.elapsed() >= late);
}
