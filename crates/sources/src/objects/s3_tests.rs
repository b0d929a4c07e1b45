//! Objects through the real SDK, from a double on loopback.

use std::io::Read;
use std::num::NonZeroU64;
use std::sync::Arc;

use dormouse_aws::{AwsOptions, load_config};
use dormouse_simulate::s3::{Operation, S3Double, S3Fault, S3Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::*;

const BUCKET: &str = "trail-logs";

async fn objects_at(endpoint: &str) -> S3Objects {
    let options = AwsOptions {
        region: Some("us-east-1".to_owned()),
        endpoint_url: Some(endpoint.to_owned()),
        is_double: true,
        ..AwsOptions::default()
    };
    S3Objects::new(&load_config(&options).await.unwrap())
}

async fn double_with(key: &str, body: &[u8]) -> (S3Double, S3Objects, ObjectName) {
    let double = S3Double::start(S3Options::default()).await.unwrap();
    double.create_bucket(BUCKET);
    double.put(BUCKET, key, body.to_vec()).unwrap();
    let objects = objects_at(double.endpoint()).await;
    (double, objects, ObjectName::new(BUCKET, key))
}

fn body(length: usize) -> Vec<u8> {
    (0..=250).cycle().take(length).collect()
}

/// Reads to the end, or to the failure.
async fn read_all(mut opened: Opened) -> Result<Vec<u8>, ObjectFailure> {
    let read = move || {
        let mut all = Vec::new();
        match opened.reader.read_to_end(&mut all) {
            Ok(_) => Ok(all),
            Err(_) => Err(opened.reader.take_failure().unwrap()),
        }
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

fn cut_off_after(bytes: usize, requests: Option<u64>) -> S3Fault {
    S3Fault { cut_off_after: Some(bytes), requests, ..S3Fault::default() }
}

#[tokio::test]
async fn a_broken_body_goes_on_where_it_broke() {
    let whole = body(3 << 20);
    let (double, objects, name) = double_with("AWSLogs/a b+ü.json.gz", &whole).await;
    double.faults().set(Operation::GetObject, cut_off_after(700_000, None));
    let opened = objects.open(&name).await.unwrap();
    assert_eq!(opened.size, Some(3 << 20));
    assert!(read_all(opened).await.unwrap() == whole);
    let counters = double.counters();
    assert_eq!(counters.requests(Operation::GetObject), 5);
    assert!(counters.bytes_sent < (3 << 20) + 100_000, "nothing comes twice: {}", counters.bytes_sent);
}

#[tokio::test]
async fn the_rest_of_another_object_is_not_taken() {
    let (double, objects, name) = double_with("a", &body(3 << 20)).await;
    double.faults().set(Operation::GetObject, cut_off_after(1 << 20, Some(1)));
    let opened = objects.open(&name).await.unwrap();
    double.put(BUCKET, "a", vec![1; 3 << 20]).unwrap();
    assert_eq!(read_all(opened).await.unwrap_err(), ObjectFailure::Changed(name));
}

#[tokio::test]
async fn passing_errors_are_tried_again_and_others_told_apart() {
    let (double, objects, name) = double_with("AWSLogs/1/a", b"text").await;
    let throttled = S3Fault { throttled: 1.0, requests: Some(2), ..S3Fault::default() };
    double.faults().set(Operation::GetObject, throttled);
    assert_eq!(read_all(objects.open(&name).await.unwrap()).await.unwrap(), b"text");
    assert_eq!(double.counters().requests(Operation::GetObject), 3);

    double.faults().set(Operation::GetObject, S3Fault { unavailable: 1.0, ..S3Fault::default() });
    assert!(matches!(objects.open(&name).await.unwrap_err(), ObjectFailure::Transient(_)));
    double.faults().set(Operation::GetObject, S3Fault { access_denied: true, ..S3Fault::default() });
    let denied = objects.open(&name).await.unwrap_err();
    assert!(matches!(denied, ObjectFailure::Denied { grant: Some(_), .. }), "{denied:?}");
    double.faults().clear_all();

    let absent = ObjectName::new(BUCKET, "nothing");
    assert_eq!(objects.open(&absent).await.unwrap_err(), ObjectFailure::Missing(absent));
    let nowhere = objects.open(&ObjectName::new("no-bucket", "a")).await.unwrap_err();
    assert!(matches!(nowhere, ObjectFailure::NotABucket(_)), "{nowhere:?}");
}

#[tokio::test]
async fn keys_are_listed_over_pages() {
    let (double, objects, _) = double_with("t/0000", b"").await;
    for number in 1..1_500 {
        double.put(BUCKET, &format!("t/{number:04}"), vec![0; 3]).unwrap();
    }
    double.put(BUCKET, "t/x/y", vec![]).unwrap();
    let mut request = ListRequest {
        bucket: BUCKET.into(),
        prefix: "t/".into(),
        start_after: Some("t/0099".into()),
        delimiter: true,
        ..ListRequest::default()
    };
    let (mut listed, mut prefixes) = (Vec::new(), Vec::new());
    loop {
        let page = objects.list(request.clone()).await.unwrap();
        listed.extend(page.objects);
        prefixes.extend(page.prefixes);
        request.token = page.next;
        if request.token.is_none() {
            break;
        }
    }
    assert_eq!((listed.len(), &*prefixes), (1_400, &["t/x/".to_owned()][..]));
    assert_eq!(listed[0], ListedObject { key: "t/0100".into(), size: 3 });
}

#[tokio::test]
async fn a_bandwidth_is_kept() {
    let (_double, objects, name) = double_with("a", &body(2 << 20)).await;
    let bandwidth = Bandwidth::new(NonZeroU64::new(1 << 20).unwrap());
    let objects = objects.with_bandwidth(Arc::new(bandwidth));
    let began = Instant::now();
    read_all(objects.open(&name).await.unwrap()).await.unwrap();
    assert!(began.elapsed().as_secs_f64() > 1.0, "{:?}", began.elapsed());
}

/// A bucket in eu-west-1, reached in any Region. Answers in its own, and says elsewhere where that is.
async fn bucket_in_ireland() -> (String, Arc<std::sync::Mutex<Vec<bool>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let asked: Arc<std::sync::Mutex<Vec<bool>>> = Arc::default();
    let told = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let is_right = String::from_utf8(head).unwrap().contains("/eu-west-1/s3/");
            told.lock().unwrap().push(is_right);
            let answer = if is_right {
                "HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\netag: \"e\"\r\n\r\ntext"
            } else {
                "HTTP/1.1 301 Moved Permanently\r\nx-amz-bucket-region: eu-west-1\r\nconnection: close\r\n\
                 content-length: 46\r\n\r\n<Error><Code>PermanentRedirect</Code></Error>\n"
            };
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (endpoint, asked)
}

#[tokio::test]
async fn a_bucket_is_followed_to_its_region_once() {
    let (endpoint, asked) = bucket_in_ireland().await;
    let objects = objects_at(&endpoint).await;
    let name = ObjectName::new(BUCKET, "a");
    for _ in 0..2 {
        assert_eq!(read_all(objects.open(&name).await.unwrap()).await.unwrap(), b"text");
    }
    assert_eq!(*asked.lock().unwrap(), [false, true, true]);
}
