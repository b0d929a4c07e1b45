//! What a stream promises to those who poll it.
//!
//! The references are the pages of the Amazon Kinesis Data Streams API Reference that are named like the operations.
//! The witness is ferrokinesis, in this process. It numbers pages wrongly (`NextToken`), always says that a reader is up
//! to date, and knows no `ChildShards`.

use std::collections::BTreeMap;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::primitives::{Blob, DateTime};
use aws_sdk_kinesis::types::{Shard, ShardIteratorType, StreamStatus};
use dormouse_simulate::kinesis::{KinesisDouble, KinesisOptions};
use dormouse_tests::aws;
use dormouse_tests::streams::Ferrokinesis;
use dormouse_tests::wait::eventually;

use super::{code_of, fresh, held_by};

held_by!(Place: double, ferrokinesis; [
    records_come_in_order_from_the_oldest,
    a_limit_bounds_an_answer,
    a_reader_goes_on_at_or_after_a_record,
    the_latest_is_what_comes_next,
    a_time_finds_the_first_record_since,
    a_sequence_number_that_is_none_is_refused,
    an_iterator_that_is_none_is_refused,
    a_split_shard_ends_and_its_children_go_on,
    merged_shards_become_one_that_names_both,
    shards_are_listed_page_by_page,
    a_reader_is_told_how_far_behind_it_is,
    a_stream_is_described,
    a_stream_that_does_not_exist_is_told,
]);

/// Somewhere that streams can be made.
struct Place {
    client: Client,
    /// Ours, or else …
    _double: Option<KinesisDouble>,
    ferrokinesis: Option<Ferrokinesis>,
}

impl Place {
    async fn double() -> Self {
        let double = KinesisDouble::start(KinesisOptions::default()).await.unwrap();
        Self { client: aws::kinesis(double.endpoint()), _double: Some(double), ferrokinesis: None }
    }

    async fn ferrokinesis() -> Self {
        let ferrokinesis = Ferrokinesis::start().await;
        Self { client: aws::kinesis(&ferrokinesis.endpoint), _double: None, ferrokinesis: Some(ferrokinesis) }
    }

    fn is_ferrokinesis(&self) -> bool {
        self.ferrokinesis.is_some()
    }

    async fn stream(&self, shards: i32) -> Stream {
        let name = fresh("stream");
        self.client.create_stream().stream_name(&name).shard_count(shards).send().await.unwrap();
        let stream = Stream { client: self.client.clone(), name };
        stream.settled().await;
        stream
    }
}

/// An empty stream of one test.
struct Stream {
    client: Client,
    name: String,
}

impl Stream {
    /// Waits until splits and merges are done.
    async fn settled(&self) {
        eventually("the stream is active", async || {
            let summary = self.client.describe_stream_summary().stream_name(&self.name).send().await;
            let status = summary.unwrap().stream_description_summary.unwrap().stream_status;
            if status == StreamStatus::Active { Ok(()) } else { Err(status) }
        })
        .await;
    }

    /// Puts a record and returns its shard and sequence number.
    async fn put(&self, text: &str) -> (String, String) {
        let put = self.client.put_record().stream_name(&self.name).partition_key(text);
        let put = put.data(Blob::new(text)).send().await.unwrap();
        (put.shard_id, put.sequence_number)
    }

    async fn shards(&self) -> Vec<Shard> {
        self.client.list_shards().stream_name(&self.name).send().await.unwrap().shards.unwrap_or_default()
    }

    async fn only_shard(&self) -> String {
        self.shards().await.remove(0).shard_id
    }

    async fn iterator(&self, shard: &str, kind: ShardIteratorType, number: Option<&str>) -> String {
        let ask = self.client.get_shard_iterator().stream_name(&self.name).shard_id(shard);
        let ask = ask.shard_iterator_type(kind).set_starting_sequence_number(number.map(str::to_owned));
        ask.send().await.unwrap().shard_iterator.unwrap()
    }

    async fn get(&self, iterator: &str) -> GetRecordsOutput {
        self.client.get_records().shard_iterator(iterator).send().await.unwrap()
    }

    /// What one answer brings from there on.
    async fn texts(&self, shard: &str, kind: ShardIteratorType, number: Option<&str>) -> Vec<String> {
        texts(&self.get(&self.iterator(shard, kind, number).await).await)
    }

    /// All that a closed shard holds.
    async fn drained(&self, shard: &str) -> Vec<String> {
        let mut iterator = Some(self.iterator(shard, ShardIteratorType::TrimHorizon, None).await);
        let mut all = Vec::new();
        for _ in 0..100 {
            let Some(next) = iterator else { return all };
            let got = self.get(&next).await;
            all.extend(texts(&got));
            iterator = got.next_shard_iterator;
        }
        panic!("{shard} does not end");
    }

    async fn split(&self, shard: &Shard) {
        let range = shard.hash_key_range.as_ref().unwrap();
        let (first, last): (u128, u128) =
            (range.starting_hash_key.parse().unwrap(), range.ending_hash_key.parse().unwrap());
        let split = self.client.split_shard().stream_name(&self.name).shard_to_split(&shard.shard_id);
        split.new_starting_hash_key((first + (last - first) / 2).to_string()).send().await.unwrap();
        self.settled().await;
    }
}

fn texts(got: &GetRecordsOutput) -> Vec<String> {
    let text = |data: &Blob| String::from_utf8(data.as_ref().to_vec()).unwrap();
    got.records().iter().map(|record| text(record.data())).collect()
}

async fn records_come_in_order_from_the_oldest(place: &Place) {
    let stream = place.stream(1).await;
    let shard = stream.only_shard().await;
    let mut numbers = Vec::new();
    for text in ["a", "b", "ünïcode \u{1f600} \0"] {
        let (placed, number) = stream.put(text).await;
        assert_eq!(placed, shard);
        numbers.push(number);
    }
    let got = stream.get(&stream.iterator(&shard, ShardIteratorType::TrimHorizon, None).await).await;
    assert_eq!(texts(&got), ["a", "b", "ünïcode \u{1f600} \0"]);
    assert!(got.records().iter().map(|record| &record.sequence_number).eq(&numbers));
    assert!(numbers.is_sorted() && numbers.iter().all(|number| number.len() == 56));
    assert!(got.records().iter().all(|record| record.approximate_arrival_timestamp.is_some()));
    assert_eq!(got.records()[0].partition_key(), Some("a"));
    assert_eq!(got.millis_behind_latest, Some(0));
    assert!(stream.get(&got.next_shard_iterator.unwrap()).await.records().is_empty());
}

async fn a_limit_bounds_an_answer(place: &Place) {
    let stream = place.stream(1).await;
    let shard = stream.only_shard().await;
    for text in ["a", "b", "c"] {
        stream.put(text).await;
    }
    let iterator = stream.iterator(&shard, ShardIteratorType::TrimHorizon, None).await;
    let got = stream.client.get_records().shard_iterator(&iterator).limit(2).send().await.unwrap();
    assert_eq!(texts(&got), ["a", "b"]);
    assert_eq!(texts(&stream.get(&got.next_shard_iterator.unwrap()).await), ["c"]);
    assert_eq!(texts(&stream.get(&iterator).await).len(), 3, "an iterator can be used again");
    for limit in [0, 10_001] {
        let get = stream.client.get_records().shard_iterator(&iterator).limit(limit).send().await;
        assert_eq!(code_of(get).unwrap_err(), "ValidationException", "{limit}");
    }
}

async fn a_reader_goes_on_at_or_after_a_record(place: &Place) {
    let stream = place.stream(1).await;
    let shard = stream.only_shard().await;
    stream.put("a").await;
    let (_, number) = stream.put("b").await;
    stream.put("c").await;
    let at = stream.texts(&shard, ShardIteratorType::AtSequenceNumber, Some(&number)).await;
    assert_eq!(at, ["b", "c"]);
    let after = stream.texts(&shard, ShardIteratorType::AfterSequenceNumber, Some(&number)).await;
    assert_eq!(after, ["c"]);
    let start = stream.shards().await.remove(0).sequence_number_range.unwrap().starting_sequence_number;
    let all = stream.texts(&shard, ShardIteratorType::AtSequenceNumber, Some(&start)).await;
    assert_eq!(all, ["a", "b", "c"]);
}

async fn the_latest_is_what_comes_next(place: &Place) {
    let stream = place.stream(1).await;
    let shard = stream.only_shard().await;
    stream.put("before").await;
    let iterator = stream.iterator(&shard, ShardIteratorType::Latest, None).await;
    stream.put("after").await;
    assert_eq!(texts(&stream.get(&iterator).await), ["after"]);
}

async fn a_time_finds_the_first_record_since(place: &Place) {
    let stream = place.stream(1).await;
    let shard = stream.only_shard().await;
    stream.put("a").await;
    let seek = |time: DateTime| {
        let ask = stream.client.get_shard_iterator().stream_name(&stream.name).shard_id(&shard);
        ask.shard_iterator_type(ShardIteratorType::AtTimestamp).timestamp(time).send()
    };
    let early = seek(DateTime::from_secs(1_600_000_000)).await.unwrap().shard_iterator.unwrap();
    assert_eq!(texts(&stream.get(&early).await), ["a"]);
    let future = seek(DateTime::from_secs(4_000_000_000)).await;
    assert_eq!(code_of(future).unwrap_err(), "InvalidArgumentException");
}

async fn a_sequence_number_that_is_none_is_refused(place: &Place) {
    let stream = place.stream(1).await;
    let shard = stream.only_shard().await;
    let ask = stream.client.get_shard_iterator().stream_name(&stream.name).shard_id(&shard);
    let ask = ask.shard_iterator_type(ShardIteratorType::AfterSequenceNumber);
    let refused = code_of(ask.starting_sequence_number("4".repeat(56)).send().await);
    if place.is_ferrokinesis() {
        // The documentation has InvalidArgumentException for it. It may also fail within ferrokinesis.
        assert!(refused.is_err());
    } else {
        assert_eq!(refused.unwrap_err(), "InvalidArgumentException");
    }
}

async fn an_iterator_that_is_none_is_refused(place: &Place) {
    let get = place.client.get_records().shard_iterator("nonsense").send().await;
    assert_eq!(code_of(get).unwrap_err(), "InvalidArgumentException");
}

async fn a_split_shard_ends_and_its_children_go_on(place: &Place) {
    let stream = place.stream(1).await;
    let parent = stream.shards().await.remove(0);
    for number in 0..20 {
        stream.put(&number.to_string()).await;
    }
    stream.split(&parent).await;
    let mut by_shard: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for number in 20..60 {
        let text = number.to_string();
        by_shard.entry(stream.put(&text).await.0).or_default().push(text);
    }
    let shards = stream.shards().await;
    assert_eq!(shards.len(), 3, "the closed one stays");
    let ended =
        |shard: &Shard| shard.sequence_number_range.as_ref().unwrap().ending_sequence_number.is_some();
    assert!(ended(&shards[0]) && !ended(&shards[1]) && !ended(&shards[2]));
    assert!(shards[1..].iter().all(|shard| shard.parent_shard_id() == Some(&parent.shard_id)));
    assert!(shards.iter().all(|shard| shard.adjacent_parent_shard_id().is_none()));
    let old: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    assert_eq!(stream.drained(&parent.shard_id).await, old);
    assert_eq!(by_shard.keys().collect::<Vec<_>>(), [&shards[1].shard_id, &shards[2].shard_id]);
    for (shard, put) in &by_shard {
        assert_eq!(&stream.texts(shard, ShardIteratorType::TrimHorizon, None).await, put);
    }
}

async fn merged_shards_become_one_that_names_both(place: &Place) {
    let stream = place.stream(2).await;
    let parents: Vec<String> = stream.shards().await.into_iter().map(|shard| shard.shard_id).collect();
    let merge = stream.client.merge_shards().stream_name(&stream.name).shard_to_merge(&parents[0]);
    merge.adjacent_shard_to_merge(&parents[1]).send().await.unwrap();
    stream.settled().await;
    let child = stream.shards().await.remove(2);
    assert_eq!(child.parent_shard_id.as_deref(), Some(&*parents[0]));
    assert_eq!(child.adjacent_parent_shard_id.as_deref(), Some(&*parents[1]));
    let range = child.hash_key_range.unwrap();
    assert_eq!((range.starting_hash_key, range.ending_hash_key), ("0".to_owned(), u128::MAX.to_string()));
    assert_eq!(stream.put("x").await.0, child.shard_id);
    for parent in &parents {
        assert!(stream.drained(parent).await.is_empty());
    }
}

async fn shards_are_listed_page_by_page(place: &Place) {
    let stream = place.stream(5).await;
    let list = || stream.client.list_shards().max_results(2);
    let first = list().stream_name(&stream.name).send().await.unwrap();
    assert_eq!(first.shards().len(), 2);
    let token = first.next_token.unwrap();
    let both = list().stream_name(&stream.name).next_token(&token).send().await;
    assert_eq!(code_of(both).unwrap_err(), "InvalidArgumentException");
    let second = list().next_token(&token).send().await;
    if place.is_ferrokinesis() {
        // ferrokinesis forgets of which stream the token is.
        assert!(second.is_err());
        return;
    }
    let second = second.unwrap();
    assert_eq!(second.shards().len(), 2);
    let third = list().next_token(second.next_token.unwrap()).send().await.unwrap();
    assert_eq!((third.shards().len(), third.next_token), (1, None));
}

async fn a_reader_is_told_how_far_behind_it_is(place: &Place) {
    let stream = place.stream(1).await;
    let shard = stream.only_shard().await;
    stream.put("a").await;
    stream.put("b").await;
    let iterator = stream.iterator(&shard, ShardIteratorType::TrimHorizon, None).await;
    let got = stream.client.get_records().shard_iterator(iterator).limit(1).send().await.unwrap();
    let behind = got.millis_behind_latest.unwrap();
    if place.is_ferrokinesis() {
        // ferrokinesis always says 0.
        assert_eq!(behind, 0);
    } else {
        assert!(behind > 0);
    }
    let got = stream.get(&got.next_shard_iterator.unwrap()).await;
    assert_eq!(got.millis_behind_latest, Some(0));
}

async fn a_stream_is_described(place: &Place) {
    let stream = place.stream(3).await;
    let summary = stream.client.describe_stream_summary().stream_name(&stream.name).send().await.unwrap();
    let summary = summary.stream_description_summary.unwrap();
    assert_eq!(summary.stream_arn, format!("arn:aws:kinesis:eu-west-1:111122223333:stream/{}", stream.name));
    assert_eq!((summary.retention_period_hours, summary.open_shard_count), (24, 3));
    assert!(summary.stream_creation_timestamp.secs() > 1_700_000_000);
}

async fn a_stream_that_does_not_exist_is_told(place: &Place) {
    let name = fresh("nowhere");
    let list = place.client.list_shards().stream_name(&name).send().await;
    assert_eq!(code_of(list).unwrap_err(), "ResourceNotFoundException");
    let describe = place.client.describe_stream_summary().stream_name(&name).send().await;
    assert_eq!(code_of(describe).unwrap_err(), "ResourceNotFoundException");
}
