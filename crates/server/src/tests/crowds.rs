//! Many callers at once, most of whom are up to no good.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use tokio::time::Instant;

use super::house::House;

/// Far longer than any test: whatever would wait for it fails.
const LONG: Duration = Duration::from_secs(600);
/// At once, on a machine that does other things besides.
const SOON: Duration = Duration::from_secs(5);

/// A connection that has sent this much, and sends no more.
fn sent(house: &House, bytes: &str) -> TcpStream {
    let mut stream = house.connect();
    // It may have had to go already.
    let _ = stream.write_all(bytes.as_bytes());
    stream
}

fn answered_soon(house: &House) {
    for path in ["/healthz", "/api/v1/status"] {
        let asked = Instant::now();
        assert_eq!(house.get(path).status, 200, "{path}");
        assert!(asked.elapsed() < SOON, "{path}: {:?}", asked.elapsed());
    }
}

/// Open connections besides the one that asks.
fn others(house: &House) -> usize {
    let metrics = house.get("/metrics");
    let line = metrics.text().lines().find_map(|line| line.strip_prefix("dormouse_http_connections "));
    line.unwrap().parse::<usize>().unwrap() - 1
}

/// A request that is under way until the store is let go.
fn under_way(house: &House) -> TcpStream {
    sent(house, "POST /api/v1/quarantine/1/retry HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
}

fn answer(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn too_many_requests_at_once_are_turned_away_but_health_is_not() {
    let house = House::with(|options| {
        options.limits.requests = 1;
        options.limits.request_time = LONG;
    });
    house.submit(["not JSON"]);
    house.hold(true);
    let mut first = under_way(&house);
    house.until("there is no room", || {
        let is_full = house.get("/api/v1/status").status == 503;
        // One of our own looks may have had the only place when the request came.
        first.set_nonblocking(true).unwrap();
        let was_refused = first.peek(&mut [0; 1]).is_ok();
        first.set_nonblocking(false).unwrap();
        if was_refused {
            first = under_way(&house);
        }
        is_full && !was_refused
    });
    let busy = house.get("/api/v1/status");
    assert_eq!(busy.code(), "too_busy");
    assert!(busy.header("retry-after").is_some());
    assert_eq!(house.get("/healthz").status, 200);
    house.hold(false);
    assert!(answer(first).starts_with("HTTP/1.1 200"));
    house.until("there is room again", || house.get("/api/v1/status").status == 200);
}

#[test]
fn bodies_that_trickle_hold_nothing_that_others_need() {
    let house = House::with(|options| {
        options.limits.requests = 4;
        options.limits.body_time = LONG;
    });
    let head = "GET /api/v1/keys HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n";
    let mut trickling: Vec<TcpStream> = (0..64).map(|_| sent(&house, head)).collect();
    house.until("all are there", || others(&house) >= trickling.len());
    for _ in 0..5 {
        for stream in &mut trickling {
            stream.write_all(b"x").unwrap();
        }
        answered_soon(&house);
    }
    let mut first = trickling.swap_remove(0);
    first.write_all(&[b'x'; 995]).unwrap();
    let mut status = [0; 12];
    first.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
}

#[test]
fn slow_and_idle_connections_keep_nobody_out() {
    let house = House::with(|options| {
        options.limits.connections = 32;
        options.limits.requests = 8;
        options.limits.header_time = LONG;
        options.limits.body_time = LONG;
        options.limits.request_time = LONG;
    });
    house.submit(["not JSON"]);
    house.hold(true);
    let held = under_way(&house);
    house.until("it is there", || others(&house) >= 1);
    let mut slow = Vec::new();
    for round in 0..20 {
        for n in 0..20 {
            slow.push(sent(
                &house,
                match n % 4 {
                    0 => "",
                    1 => "GET /healthz HTTP/1.1\r\nX: ",
                    2 => "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
                    _ => "GET /api/v1/keys HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx",
                },
            ));
        }
        answered_soon(&house);
        assert!(others(&house) < 32, "round {round}");
    }
    // Those that came first had to go; the request that was under way before all of them did not.
    assert!(matches!(slow[0].read(&mut [0; 1]), Ok(0) | Err(_)));
    house.hold(false);
    assert!(answer(held).starts_with("HTTP/1.1 200"));
}
