//! The bounds that matter at a million keys. Slow, and about speed: run by hand, alone, with
//! `cargo test -p dormouse-server million -- --ignored --nocapture`.

use std::time::Duration;

use dormouse_ledger::Counting;
use dormouse_model::{EventTime, KeyArn, Kind, Observation};
use tokio::time::Instant;

use super::house::{House, now};

const KEYS: u32 = 1_000_000;

fn fill(house: &House) {
    let accounts: Vec<String> = (0..500).map(|n| format!("{:012}", 100_000_000_000_u64 + n)).collect();
    let regions = ["eu-west-1", "us-east-1", "eu-central-1"];
    for n in 0..KEYS {
        let place = n as usize;
        let (account, region) = (accounts[place % 500].parse().unwrap(), regions[place % 3].parse().unwrap());
        let id = format!("{n:08x}-1111-2222-3333-444444444444");
        let key = KeyArn::from_parts(region, account, &id).unwrap();
        let observation = Observation {
            key,
            kind: Kind::Use,
            time: EventTime::from_seconds(now().seconds() - n),
            operation: "Decrypt",
            event_id: &id,
            shared_id: None,
            recipient: None,
            principal: None,
            session: None,
            invoked_by: None,
            source_ip: None,
            error_code: None,
            wanted: false,
            context: Vec::new(),
            change: None,
            effects: Vec::new(),
            counted: true,
        };
        house.instance.view.ledger().apply(&observation, Counting::Counted);
    }
}

/// Resident memory in MiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1_024
}

/// Reads an answer to its end without keeping it: its bytes, and the most memory that was resident meanwhile.
fn drain(house: &House, path: &str) -> (usize, u64) {
    use std::io::{Read, Write};
    let mut stream = house.connect();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut buffer = vec![0; 1 << 20];
    let (mut bytes, mut most) = (0, 0);
    loop {
        let read = stream.read(&mut buffer).unwrap();
        if read == 0 {
            return (bytes, most);
        }
        bytes += read;
        most = most.max(resident());
    }
}

#[test]
#[ignore = "a minute of work, and its bounds are about speed"]
fn a_million_keys_are_scraped_quickly_and_in_little_memory() {
    let house = House::with(|options| options.limits.max_key_series = 2 * KEYS as usize);
    fill(&house);
    house.until("the keys are counted", || house.get("/metrics").text().contains("idle_over=\"1d\"} 9"));
    let mut slowest = Duration::ZERO;
    for _ in 0..50 {
        let begun = Instant::now();
        assert_eq!(house.get("/metrics").status, 200);
        slowest = slowest.max(begun.elapsed());
    }
    let text = house.get("/metrics").text().to_owned();
    let took = text.lines().find(|line| line.starts_with("dormouse_key_count_duration")).unwrap();
    println!("/metrics: {} bytes, slowest {slowest:?}; {took}", text.len());
    assert!(slowest < Duration::from_millis(20), "{slowest:?}");

    let idle = resident();
    let begun = Instant::now();
    let (bytes, most) = drain(&house, "/metrics/keys");
    println!("/metrics/keys: {bytes} bytes in {:?}; resident {idle} MiB, at most {most}", begun.elapsed());
    assert!(bytes > 150 * KEYS as usize);
    assert!(most < idle + 50, "{idle} MiB before, {most} meanwhile");

    for path in ["/api/v1/keys", "/api/v1/keys?sort=uses", "/api/v1/keys?idle_for=3d", "/api/v1/status"] {
        let begun = Instant::now();
        let answer = house.get(path);
        println!("{path}: {} in {:?}", answer.status, begun.elapsed());
    }
}
