//! What a bucket promises to those who list and read.
//!
//! The references are the pages of the Amazon S3 API Reference that are named like the operations.

use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use dormouse_simulate::s3::{S3Double, S3Options};
use dormouse_tests::aws;
use dormouse_tests::ministack::MiniStack;

use super::{code_of, fresh, held_by};

held_by!(Place: double, ministack; [
    an_object_comes_as_it_was_put,
    a_large_object_can_be_put_and_read,
    a_part_of_an_object_comes,
    a_range_behind_the_end_is_refused,
    an_object_that_changed_is_not_taken_for_the_old_one,
    what_is_not_there_is_told,
    a_list_comes_page_by_page,
    folders_are_shown_as_common_prefixes,
    a_list_starts_behind_a_key,
    a_deleted_object_is_gone,
]);

/// Somewhere that buckets can be made.
struct Place {
    client: Client,
    /// Ours, or else …
    _double: Option<S3Double>,
    _ministack: Option<Arc<MiniStack>>,
}

impl Place {
    async fn double() -> Self {
        let double = S3Double::start(S3Options::default()).await.unwrap();
        Self { client: aws::s3(double.endpoint()), _double: Some(double), _ministack: None }
    }

    async fn ministack() -> Self {
        let ministack = MiniStack::shared().await;
        Self { client: aws::s3(&ministack.endpoint()), _double: None, _ministack: Some(ministack) }
    }

    async fn bucket(&self) -> Bucket {
        let name = fresh("bucket");
        let place = BucketLocationConstraint::EuWest1;
        let place = CreateBucketConfiguration::builder().location_constraint(place).build();
        let create = self.client.create_bucket().bucket(&name).create_bucket_configuration(place);
        create.send().await.unwrap();
        Bucket { client: self.client.clone(), name }
    }
}

/// An empty bucket of one test.
struct Bucket {
    client: Client,
    name: String,
}

impl Bucket {
    /// Puts an object and returns its ETag.
    async fn put(&self, key: &str, body: &[u8]) -> String {
        let body = ByteStream::from(body.to_vec());
        let put = self.client.put_object().bucket(&self.name).key(key).body(body).send().await.unwrap();
        put.e_tag.unwrap()
    }

    async fn put_all(&self, keys: &[&str]) {
        for key in keys {
            self.put(key, b"x").await;
        }
    }

    async fn get(&self, key: &str) -> Vec<u8> {
        let got = self.client.get_object().bucket(&self.name).key(key).send().await.unwrap();
        got.body.collect().await.unwrap().to_vec()
    }
}

fn status_of<T, E>(result: Result<T, SdkError<E>>) -> u16 {
    result.err().and_then(|error| error.raw_response().map(|raw| raw.status().as_u16())).unwrap_or(200)
}

async fn an_object_comes_as_it_was_put(place: &Place) {
    let bucket = place.bucket().await;
    for key in ["plain", "AWSLogs/o-x/1 2/a+b&c=d%41.gz", "ünïcode/睡鼠"] {
        let tag = bucket.put(key, key.as_bytes()).await;
        assert_eq!(bucket.get(key).await, key.as_bytes());
        let head = bucket.client.head_object().bucket(&bucket.name).key(key).send().await.unwrap();
        assert_eq!(head.e_tag.as_deref(), Some(&*tag));
        assert_eq!(head.content_length, Some(i64::try_from(key.len()).unwrap()));
        assert!(head.last_modified.is_some());
    }
}

async fn a_large_object_can_be_put_and_read(place: &Place) {
    let bucket = place.bucket().await;
    let body: Vec<u8> = (0..30_000_000_u32).map(|number| number.to_le_bytes()[1]).collect();
    bucket.put("large", &body).await;
    assert!(bucket.get("large").await == body);
}

async fn a_part_of_an_object_comes(place: &Place) {
    let bucket = place.bucket().await;
    bucket.put("key", b"0123456789").await;
    for (range, part, says) in [
        ("bytes=4-", "456789", "bytes 4-9/10"),
        ("bytes=4-5", "45", "bytes 4-5/10"),
        ("bytes=8-20", "89", "bytes 8-9/10"),
    ] {
        let got =
            bucket.client.get_object().bucket(&bucket.name).key("key").range(range).send().await.unwrap();
        assert_eq!(got.content_range.as_deref(), Some(says));
        assert_eq!(got.content_length, Some(i64::try_from(part.len()).unwrap()));
        assert_eq!(got.body.collect().await.unwrap().to_vec(), part.as_bytes());
    }
}

async fn a_range_behind_the_end_is_refused(place: &Place) {
    let bucket = place.bucket().await;
    bucket.put("key", b"0123456789").await;
    let get = bucket.client.get_object().bucket(&bucket.name).key("key").range("bytes=10-").send().await;
    assert_eq!(code_of(get).unwrap_err(), "InvalidRange");
}

async fn an_object_that_changed_is_not_taken_for_the_old_one(place: &Place) {
    let bucket = place.bucket().await;
    let old = bucket.put("key", b"old").await;
    let get = || bucket.client.get_object().bucket(&bucket.name).key("key").if_match(&old).send();
    assert!(get().await.is_ok());
    bucket.put("key", b"new").await;
    assert_eq!(status_of(get().await), 412);
}

async fn what_is_not_there_is_told(place: &Place) {
    let bucket = place.bucket().await;
    let get = bucket.client.get_object().bucket(&bucket.name).key("nothing").send().await;
    assert_eq!(code_of(get).unwrap_err(), "NoSuchKey");
    let head = bucket.client.head_object().bucket(&bucket.name).key("nothing").send().await;
    assert!(head.unwrap_err().into_service_error().is_not_found());
    let nowhere = fresh("nowhere");
    let get = bucket.client.get_object().bucket(&nowhere).key("nothing").send().await;
    assert_eq!(code_of(get).unwrap_err(), "NoSuchBucket");
    let list = bucket.client.list_objects_v2().bucket(&nowhere).send().await;
    assert_eq!(list.unwrap_err().code(), Some("NoSuchBucket"));
}

async fn a_list_comes_page_by_page(place: &Place) {
    let bucket = place.bucket().await;
    let keys = ["a/1", "a/2&<>", "a/3 +", "a/4", "a/5", "b"];
    bucket.put_all(&keys).await;
    let (mut listed, mut pages, mut token) = (Vec::new(), 0, None);
    loop {
        let list = bucket.client.list_objects_v2().bucket(&bucket.name).prefix("a/").max_keys(2);
        let page = list.set_continuation_token(token).send().await.unwrap();
        assert_eq!(page.key_count, Some(i32::try_from(page.contents().len()).unwrap()));
        listed.extend(page.contents().iter().map(|object| object.key().unwrap().to_owned()));
        assert!(page.contents().iter().all(|object| object.size() == Some(1) && object.e_tag().is_some()));
        pages += 1;
        token = page.next_continuation_token;
        assert_eq!(page.is_truncated, Some(token.is_some()));
        if token.is_none() {
            break;
        }
    }
    assert_eq!((listed, pages), (keys[..5].iter().map(|key| (*key).to_owned()).collect(), 3));
}

async fn folders_are_shown_as_common_prefixes(place: &Place) {
    let bucket = place.bucket().await;
    bucket.put_all(&["p/1/x", "p/1/y", "p/2/x", "p/3", "q/1"]).await;
    let (mut prefixes, mut keys, mut token) = (Vec::new(), Vec::new(), None);
    loop {
        let list =
            bucket.client.list_objects_v2().bucket(&bucket.name).prefix("p/").delimiter("/").max_keys(1);
        let page = list.set_continuation_token(token).send().await.unwrap();
        prefixes.extend(page.common_prefixes().iter().map(|prefix| prefix.prefix().unwrap().to_owned()));
        keys.extend(page.contents().iter().map(|object| object.key().unwrap().to_owned()));
        assert!(prefixes.len() + keys.len() <= 3, "{prefixes:?} {keys:?}");
        token = page.next_continuation_token;
        if token.is_none() {
            break;
        }
    }
    assert_eq!((prefixes, keys), (vec!["p/1/".to_owned(), "p/2/".to_owned()], vec!["p/3".to_owned()]));
}

async fn a_list_starts_behind_a_key(place: &Place) {
    let bucket = place.bucket().await;
    bucket.put_all(&["a", "b", "c"]).await;
    for (after, count) in [("a", 2), ("aa", 2), ("c", 0)] {
        let list =
            bucket.client.list_objects_v2().bucket(&bucket.name).start_after(after).send().await.unwrap();
        assert_eq!(list.contents().len(), count, "{after}");
    }
}

async fn a_deleted_object_is_gone(place: &Place) {
    let bucket = place.bucket().await;
    bucket.put("key", b"x").await;
    for _ in 0..2 {
        bucket.client.delete_object().bucket(&bucket.name).key("key").send().await.unwrap();
    }
    let get = bucket.client.get_object().bucket(&bucket.name).key("key").send().await;
    assert_eq!(code_of(get).unwrap_err(), "NoSuchKey");
}
