//! The double as a client sees it, through a socket and bare HTTP.

use std::collections::HashMap;

use dormouse_model::{EventTime, ManualClock};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::*;

/// An answer, as far as it came.
#[derive(Debug)]
struct Heard {
    status: u16,
    headers: HashMap<String, String>,
    body: Vec<u8>,
    /// The body is shorter than was announced.
    cut_off: bool,
}

impl Heard {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The texts of all elements of this name.
    fn elements(&self, name: &str) -> Vec<&str> {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        self.text().split(&open).skip(1).map(|rest| rest.split(&close).next().unwrap()).collect()
    }
}

/// Sends a request on a connection of its own; `None` if it is closed without an answer.
async fn call(double: &S3Double, request: &str, headers: &str, body: &[u8]) -> Option<Heard> {
    let address = double.endpoint().strip_prefix("http://").unwrap();
    let mut stream = BufReader::new(TcpStream::connect(address).await.unwrap());
    let head =
        format!("{request} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    stream.get_mut().write_all(head.as_bytes()).await.unwrap();
    stream.get_mut().write_all(body).await.unwrap();
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let status = lines[0]["HTTP/1.1 ".len()..][..3].parse().unwrap();
    let header =
        |line: &String| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
    let headers: HashMap<String, String> = lines.iter().filter_map(header).collect();
    let announced = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let announced = if request.starts_with("HEAD") { 0 } else { announced };
    let mut body = Vec::new();
    let _ = stream.take(announced).read_to_end(&mut body).await;
    let cut_off = (body.len() as u64) < announced;
    Some(Heard { status, headers, body, cut_off })
}

async fn get(double: &S3Double, path: &str) -> Heard {
    call(double, &format!("GET {path}"), "", b"").await.unwrap()
}

async fn double() -> S3Double {
    let clock = Arc::new(ManualClock::at(EventTime::from_seconds(1_790_000_000)));
    let double = S3Double::start(S3Options { clock, ..S3Options::default() }).await.unwrap();
    double.create_bucket("trail");
    double
}

#[tokio::test]
async fn an_object_comes_whole_or_in_part() {
    let double = double().await;
    double.put("trail", "a b/ü+&.gz", "0123456789").unwrap();
    let path = "/trail/a%20b/%C3%BC%2B%26.gz";
    let heard = get(&double, path).await;
    assert_eq!((heard.status, heard.text()), (200, "0123456789"));
    assert_eq!(heard.headers["etag"], format!("\"{:x}\"", md5::compute("0123456789")));
    assert_eq!(heard.headers["last-modified"], "Mon, 21 Sep 2026 14:13:20 GMT");
    let heard = call(&double, &format!("HEAD {path}"), "", b"").await.unwrap();
    assert_eq!((heard.status, heard.headers["content-length"].as_str()), (200, "10"));
    for (range, part, says) in [
        ("bytes=4-", "456789", "bytes 4-9/10"),
        ("bytes=4-5", "45", "bytes 4-5/10"),
        ("bytes=8-20", "89", "bytes 8-9/10"),
        ("bytes=-3", "789", "bytes 7-9/10"),
    ] {
        let heard = call(&double, &format!("GET {path}"), &format!("range: {range}\r\n"), b"").await.unwrap();
        assert_eq!((heard.status, heard.text(), heard.headers["content-range"].as_str()), (206, part, says));
    }
    let heard = call(&double, &format!("GET {path}"), "range: bytes=10-\r\n", b"").await.unwrap();
    assert_eq!((heard.status, heard.elements("Code")), (416, vec!["InvalidRange"]));
    let heard = call(&double, &format!("GET {path}"), "if-match: \"other\"\r\n", b"").await.unwrap();
    assert_eq!((heard.status, heard.elements("Code")), (412, vec!["PreconditionFailed"]));
    assert_eq!(double.counters().bytes_sent, 10 + 6 + 2 + 2 + 3);
    assert_eq!(double.counters().requests(Operation::HeadObject), 1);
}

#[tokio::test]
async fn what_is_not_there_is_told() {
    let double = double().await;
    let heard = get(&double, "/trail/nothing").await;
    assert_eq!(
        (heard.status, heard.elements("Code"), heard.elements("Key")),
        (404, vec!["NoSuchKey"], vec!["nothing"])
    );
    let heard = get(&double, "/other/nothing").await;
    assert_eq!((heard.status, heard.elements("Code")), (404, vec!["NoSuchBucket"]));
    let heard = get(&double, "/other?list-type=2").await;
    assert_eq!((heard.status, heard.elements("Code")), (404, vec!["NoSuchBucket"]));
    let heard = call(&double, "HEAD /trail/nothing", "", b"").await.unwrap();
    assert_eq!((heard.status, heard.body.len()), (404, 0));
    assert_eq!(get(&double, "/trail?acl").await.status, 501);
    assert_eq!(double.put("other", "key", "x"), Err(UnknownBucket("other".to_owned())));
}

#[tokio::test]
async fn lists_are_paged_escaped_and_encoded() {
    let double = double().await;
    for key in ["a&b", "d/1", "d/2", "e/<x> y", "f"] {
        double.put("trail", key, key.to_owned()).unwrap();
    }
    let heard = get(&double, "/trail?list-type=2&delimiter=%2F&max-keys=2").await;
    assert_eq!(
        (heard.elements("Key"), heard.elements("CommonPrefixes")),
        (vec!["a&amp;b"], vec!["<Prefix>d/</Prefix>"])
    );
    assert_eq!((heard.elements("IsTruncated"), heard.elements("KeyCount")), (vec!["true"], vec!["2"]));
    let token = heard.elements("NextContinuationToken")[0].replace('=', "%3D").replace('+', "%2B");
    let heard =
        get(&double, &format!("/trail?list-type=2&delimiter=/&max-keys=2&continuation-token={token}")).await;
    assert_eq!(
        (heard.elements("Key"), heard.elements("CommonPrefixes")),
        (vec!["f"], vec!["<Prefix>e/</Prefix>"])
    );
    assert_eq!(heard.elements("IsTruncated"), ["false"]);
    let heard = get(&double, "/trail?list-type=2&prefix=e/&encoding-type=url").await;
    assert_eq!(heard.elements("Key"), ["e/%3Cx%3E%20y"]);
    assert_eq!(heard.elements("Size"), ["7"]);
    let heard = get(&double, "/trail?list-type=2&start-after=d/1").await;
    assert_eq!(heard.elements("Key"), ["d/2", "e/&lt;x&gt; y", "f"]);
    assert_eq!(get(&double, "/trail?list-type=2&continuation-token=nonsense").await.status, 400);
    assert_eq!(double.keys("trail").unwrap().len(), 5);
    double.delete("trail", "f").unwrap();
    assert_eq!(double.get("trail", "f"), Ok(None));
}

#[tokio::test]
async fn objects_can_be_put_whole_or_in_chunks_and_be_large() {
    let double = double().await;
    let large = vec![b'x'; 20 << 20];
    assert_eq!(call(&double, "PUT /trail/large", "", &large).await.unwrap().status, 200);
    assert!(double.get("trail", "large").unwrap().unwrap() == large);
    let chunks = b"4;chunk-signature=0a\r\nwxyz\r\n2\r\n\r\n\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n";
    let headers = "content-encoding: aws-chunked\r\n";
    assert_eq!(call(&double, "PUT /trail/chunks", headers, chunks).await.unwrap().status, 200);
    assert_eq!(double.get("trail", "chunks").unwrap().unwrap(), b"wxyz\r\n");
    let heard = call(&double, "PUT /trail/chunks", headers, b"9\r\nwxyz\r\n").await.unwrap();
    assert_eq!((heard.status, heard.elements("Code")), (400, vec!["IncompleteBody"]));
    let small = S3Double::start(S3Options { largest_object: 1, ..S3Options::default() }).await.unwrap();
    small.create_bucket("trail");
    assert_eq!(call(&small, "PUT /trail/large", "", &large[..2 << 20]).await.unwrap().status, 413);
}

#[tokio::test]
async fn a_body_is_cut_off_as_often_as_was_said() {
    let double = double().await;
    let body: Vec<u8> = (0..3_000_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    double.put("trail", "key", body.clone()).unwrap();
    for bytes in [0, 1, 1_000_000] {
        let fault = S3Fault { cut_off_after: Some(bytes), requests: Some(1), ..S3Fault::default() };
        double.faults().set(Operation::GetObject, fault);
        let heard = get(&double, "/trail/key").await;
        assert_eq!((heard.status, heard.cut_off), (200, true));
        assert_eq!(heard.headers["content-length"], "3000000");
        assert!(
            heard.body.len() <= bytes && body.starts_with(&heard.body),
            "{} of {bytes}",
            heard.body.len()
        );
        let heard = get(&double, "/trail/key").await;
        assert!(heard.body == body);
    }
    let fault = S3Fault { cut_off_after: Some(body.len()), ..S3Fault::default() };
    double.faults().set(Operation::GetObject, fault);
    assert!(get(&double, "/trail/key").await.body == body);
}

#[tokio::test]
async fn faults_strike_the_bucket_and_the_keys_that_they_are_set_for() {
    let double = double().await;
    double.create_bucket("other");
    for (bucket, key) in [("trail", "a/1"), ("trail", "b/1"), ("other", "a/1")] {
        double.put(bucket, key, "x").unwrap();
    }
    let here = S3Fault { bucket: Some("trail".to_owned()), prefix: "a/".to_owned(), ..S3Fault::default() };
    double.faults().set(Operation::GetObject, S3Fault { access_denied: true, ..here.clone() });
    let heard = get(&double, "/trail/a/1").await;
    assert_eq!((heard.status, heard.elements("Code")), (403, vec!["AccessDenied"]));
    assert!(
        heard.text().contains("s3:GetObject on resource: &quot;arn:aws:s3:::trail/a/1&quot;"),
        "{heard:?}"
    );
    assert_eq!(get(&double, "/trail/b/1").await.status, 200);
    assert_eq!(get(&double, "/other/a/1").await.status, 200);
    assert_eq!(get(&double, "/trail?list-type=2").await.status, 200);

    for (fault, status, code) in [
        (S3Fault { throttled: 1.0, ..here.clone() }, 503, "SlowDown"),
        (S3Fault { internal_error: 1.0, ..here.clone() }, 500, "InternalError"),
        (S3Fault { unavailable: 1.0, ..here.clone() }, 503, "ServiceUnavailable"),
    ] {
        double.faults().set_all(&fault);
        let heard = get(&double, "/trail/a/1").await;
        assert_eq!((heard.status, heard.elements("Code")), (status, vec![code]));
    }
    double.faults().set_all(&S3Fault { dropped: 1.0, ..here.clone() });
    assert!(call(&double, "GET /trail/a/1", "", b"").await.is_none());
    double.faults().set_all(&S3Fault { answer_lost: 1.0, ..here });
    assert!(call(&double, "PUT /trail/a/2", "", b"x").await.is_none());
    assert_eq!(double.get("trail", "a/2").unwrap().unwrap(), b"x");
    double.faults().clear_all();
    assert_eq!(get(&double, "/trail/a/1").await.status, 200);
}

#[tokio::test]
async fn who_may_not_list_does_not_learn_what_is_not_there() {
    let double = double().await;
    double.faults().set(Operation::ListObjectsV2, S3Fault { access_denied: true, ..S3Fault::default() });
    let heard = get(&double, "/trail/nothing").await;
    assert_eq!((heard.status, heard.elements("Code")), (403, vec!["AccessDenied"]));
    assert!(heard.text().contains("s3:ListBucket"), "{heard:?}");
}
