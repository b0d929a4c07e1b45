//! Every error has its form and its code.

use std::io::{Read, Write};
use std::time::Duration;

use super::house::House;

#[test]
fn what_is_wrong_is_said() {
    let house = House::filled(300);
    let key = "arn:aws:kms:eu-west-1:111122223333:key/00000000-0000-0000-0000-000000000000";
    for (method, path, status, code, part) in [
        ("GET", "/", 404, "no_such_route", "openapi.json"),
        ("GET", "/api/v1/keyz", 404, "no_such_route", ""),
        ("POST", "/api/v1/keys", 405, "method_not_allowed", ""),
        ("DELETE", "/metrics", 405, "method_not_allowed", ""),
        ("GET", "/api/v1/keys?colour=blue", 400, "bad_parameter", "idle_for"),
        ("GET", "/api/v1/keys?verdict=maybe", 400, "bad_parameter", "in_use"),
        ("GET", "/api/v1/keys?limit=0", 400, "bad_parameter", "1 to 1000"),
        ("GET", "/api/v1/keys?limit=1001", 400, "bad_parameter", "1 to 1000"),
        ("GET", "/api/v1/keys/alias/app", 400, "bad_key_arn", "q="),
        ("GET", "/api/v1/keys/%FF", 400, "bad_key_arn", ""),
        ("GET", &format!("/api/v1/keys/{key}"), 404, "no_such_key", ""),
        ("GET", "/api/v1/quarantine/0", 400, "bad_parameter", "id"),
        ("GET", "/api/v1/quarantine/x", 400, "bad_parameter", "id"),
        ("GET", "/api/v1/quarantine/7", 404, "no_such_message", "7"),
        ("GET", "/api/v1/quarantine/7/body", 404, "no_such_message", "7"),
        ("POST", "/api/v1/quarantine/7/retry", 404, "no_such_message", "7"),
        ("DELETE", "/api/v1/quarantine/7", 404, "no_such_message", "7"),
        ("GET", "/api/v1/quarantine?limit=x", 400, "bad_parameter", "limit"),
        ("GET", "/metrics/keys?limit=1", 400, "bad_parameter", "verdict"),
    ] {
        let answer = house.request(method, path, &[]);
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{method} {path}");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(part), "{method} {path}: {detail}");
        assert_eq!(answer.header("allow").is_some(), status == 405, "{answer:?}");
    }
}

#[test]
fn every_answer_says_what_it_is_and_is_not_kept() {
    let house = House::filled(50);
    for path in
        ["/api/v1/keys", "/metrics", "/metrics/keys", "/healthz", "/nothing", "/api/v1/keys?%3Cscript%3E=1"]
    {
        let answer = house.get(path);
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        assert!(answer.header("content-security-policy").is_some(), "{path}");
        assert!(!answer.header("content-type").unwrap().contains("html"), "{path}");
    }
}

#[test]
fn a_tried_arn_is_told_from_one_never_seen() {
    let house = House::new();
    let key = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    house.submit([format!(
        r#"{{"eventVersion":"1.08","eventSource":"kms.amazonaws.com","eventName":"Decrypt","eventTime":"2026-11-11T00:00:00Z","awsRegion":"eu-west-1","errorCode":"AccessDenied","recipientAccountId":"111122223333","eventID":"e1","resources":[{{"ARN":"{key}","accountId":"111122223333","type":"AWS::KMS::Key"}}]}}"#
    )]);
    let answer = house.get(&format!("/api/v1/keys/{key}"));
    assert_eq!((answer.status, answer.code().as_str()), (404, "only_attempts"));
    assert!(answer.text().contains("1 failed calls"), "{answer:?}");
}

#[test]
fn an_arn_may_be_encoded_or_not() {
    let house = House::filled(300);
    let page = house.json("/api/v1/keys?limit=1");
    let key = &page["keys"][0];
    let arn = key["arn"].as_str().unwrap();
    let raw = house.json(&format!("/api/v1/keys/{arn}"));
    assert_eq!(raw["arn"], key["arn"]);
    assert_eq!(raw["last_use"], key["last_use"]);
    assert!(raw["daily"].is_array());
    let encoded = arn.replace(':', "%3A").replace('/', "%2F");
    assert_eq!(house.json(&format!("/api/v1/keys/{encoded}")), raw);
}

#[test]
fn bodies_are_bounded_in_bytes_and_time() {
    let house = House::with(|options| options.limits.body_time = Duration::from_millis(200));
    let head = "POST /api/v1/quarantine/1/retry HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    let slow = house.send(format!("{head}Content-Length: 10\r\n\r\n123").as_bytes());
    assert_eq!((slow.status, slow.code().as_str()), (408, "request_timeout"));
    let large = house.send(format!("{head}Content-Length: 100000\r\n\r\n").as_bytes());
    assert_eq!((large.status, large.code().as_str()), (413, "body_too_large"));
    let mut chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for _ in 0..9 {
        chunked.extend_from_slice(b"2000\r\n");
        chunked.extend_from_slice(&[b'x'; 0x2000]);
        chunked.extend_from_slice(b"\r\n");
    }
    let large = house.send(&chunked);
    assert_eq!((large.status, large.code().as_str()), (413, "body_too_large"));
    let fits = house.send(format!("{head}Content-Length: 3\r\n\r\n123").as_bytes());
    assert_eq!((fits.status, fits.code().as_str()), (404, "no_such_message"));
}

#[test]
fn headers_are_bounded_in_bytes_and_number() {
    let house = House::new();
    let long = house.request("GET", "/healthz", &[("X-Long", &"x".repeat(40_000))]);
    assert_eq!(long.status, 431);
    let many: Vec<(String, &str)> = (0..200).map(|n| (format!("X-{n}"), "1")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    assert_eq!(house.request("GET", "/healthz", &many).status, 431);
}

#[test]
fn a_caller_that_sends_a_byte_now_and_then_is_cut_off_while_others_are_answered() {
    let house = House::with(|options| options.limits.header_time = Duration::from_millis(300));
    let mut slow = house.connect();
    slow.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    slow.write_all(b"GET /healthz HTTP/1.1\r\nX: ").unwrap();
    house.until("the slow caller is cut off", || {
        assert_eq!(house.get("/healthz").status, 200);
        let is_open = slow.write_all(b"x").is_ok();
        !is_open || matches!(slow.read(&mut [0; 1]), Ok(0))
    });
}
