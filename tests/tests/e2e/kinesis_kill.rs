//! `kill -9` while a stream's shards are split and merged without a pause: nothing is lost, nothing counts twice.
//!
//! A stream deletes nothing, so whoever reads it again from the wrong place finds everything there and counts it, and
//! whoever starts behind a shard that ended while nobody read has lost it without a trace. The process is killed from
//! at once after its start to some way into its work, with parents half read and children unseen.
//!
//! The witness is ferrokinesis. It cannot page its list of shards, so it has few of them.

use std::path::PathBuf;

use dormouse_simulate::kinesis::{KinesisFault, Operation};
use dormouse_simulate::records::aggregate;
use dormouse_tests::oracle;
use dormouse_tests::program::Running;
use dormouse_tests::streams::{Ferrokinesis, Stream};
use dormouse_tests::traffic::{delivered, everything, write_lines};
use dormouse_tests::wait::{alone, eventually};
use dormouse_tests::ways::{Ways, status_at};
use serde_json::Value;

const KILLS: usize = 10;

/// A stream that is fed and changed.
struct Fed {
    stream: Stream,
    /// What is still to be put.
    records: Vec<(String, Vec<u8>)>,
    most_open: usize,
    random: fastrand::Rng,
    reshardings: usize,
}

impl Fed {
    /// Puts some more records, and splits or merges.
    async fn step(&mut self, records: usize) {
        let rest = self.records.split_off(records.min(self.records.len()));
        let now = std::mem::replace(&mut self.records, rest);
        self.stream.put(&now).await;
        self.stream.reshard(&mut self.random, self.most_open).await;
        self.reshardings += 1;
    }
}

/// Events with a key each, one in five of them in aggregates.
fn records(ways: &Ways, seed: u64, count: usize) -> Vec<(String, Vec<u8>)> {
    let generated = everything(seed, count);
    assert!(generated.iter().any(|record| record.shared_id.is_some()), "there are no cross-account pairs");
    let deliveries: Vec<_> = delivered(seed, &generated).collect();
    write_lines(&lines(ways), deliveries.iter().map(|record| record.eventbridge()));
    let mut records = Vec::new();
    for (number, some) in deliveries.chunks(10).enumerate() {
        let event = |record: &&dormouse_simulate::records::Generated| {
            (record.event_id.clone(), record.eventbridge().into_bytes())
        };
        let events: Vec<_> = some.iter().map(event).collect();
        if number % 5 == 0 {
            records.push((events[0].0.clone(), aggregate(&events)));
        } else {
            records.extend(events);
        }
    }
    records
}

fn lines(ways: &Ways) -> PathBuf {
    ways.folder.path().join("delivered.ndjson")
}

/// Everything that was counted so far.
fn counted(status: &Value) -> u64 {
    ["uses", "attempts", "changes"].iter().map(|kind| status["records"][kind].as_u64().unwrap()).sum()
}

/// Waits until so much is counted.
async fn counts(running: &mut Running, most: u64) {
    let url = running.url().await;
    eventually("it has counted so much", async || {
        running.assert_alive();
        let status = status_at(&url).await.ok_or((0, Value::Null))?;
        let found = counted(&status);
        if found >= most { Ok(()) } else { Err((found, status["instance"].clone())) }
    })
    .await;
}

/// Feeds the stream and kills its reader again and again, and expects what the oracle makes of the records.
async fn killed_again_and_again(ways: &Ways, mut fed: Fed, seed: u64) {
    let truth = oracle::truth(&[&lines(ways)]);
    let all = counted(&truth);
    let mut random = fastrand::Rng::with_seed(seed);
    let (steps, a_step) = (8, fed.records.len() / (KILLS * 9));
    let mut durable = 0;
    for number in 1..=KILLS {
        let mut running = ways.run();
        // From at once, while it still recovers, to some way into the work.
        for _ in 0..random.usize(0..=steps) {
            fed.step(a_step).await;
            let put = all / u64::try_from(KILLS * 9).unwrap();
            durable += random.u64(0..=put);
            counts(&mut running, durable).await;
        }
        running.kill();
        eprintln!("seed {seed}: kill {number} after {durable} of {all}, {} reshardings", fed.reshardings);
        // What happens while nobody reads.
        fed.step(a_step).await;
        fed.step(a_step).await;
    }
    assert!(!fed.records.is_empty(), "everything was put before the last kill; the test is too small");
    let mut running = ways.run();
    while !fed.records.is_empty() {
        fed.step(a_step * 4).await;
    }
    counts(&mut running, all).await;
    assert!(running.stop().await.success());
    oracle::assert_same_keys(&truth["keys"], &ways.keys());
    let status = ways.status();
    for kind in ["uses", "attempts", "changes"] {
        assert_eq!(status["records"][kind], truth["records"][kind], "{kind}: {status:#}");
        assert_eq!(status["late_uncounted"][kind], 0, "{status:#}");
    }
    assert_eq!(ways.quarantine(), Vec::<Value>::new());
    let shards = fed.stream.shards().await.len();
    assert!(shards > 2 * KILLS, "{shards} shards: nothing was split or merged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_nothing_counts_twice() {
    let _machine = alone().await;
    let mut ways = Ways::new().await;
    ways.set("ingest", "fold_interval", "\"200ms\"");
    let endpoint = ways.kinesis.endpoint().to_owned();
    ways.stream_at("flow", "flow", &endpoint);
    let stream = Stream::create(&endpoint, "flow", 2).await;
    let faults = ways.kinesis.faults();
    let fault = KinesisFault { throttled: 0.02, answer_lost: 0.02, empty: 0.05, ..KinesisFault::default() };
    faults.set(Operation::GetRecords, fault);
    let fed = Fed {
        stream,
        records: records(&ways, 20_265, 40_000),
        most_open: 6,
        random: fastrand::Rng::with_seed(1),
        reshardings: 0,
    };
    killed_again_and_again(&ways, fed, 20_265).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_with_streams_that_somebody_else_wrote() {
    let _machine = alone().await;
    let ferrokinesis = Ferrokinesis::start().await;
    let mut ways = Ways::new().await;
    ways.set("ingest", "fold_interval", "\"200ms\"");
    ways.stream_at("flow", "flow", &ferrokinesis.endpoint);
    let stream = Stream::create(&ferrokinesis.endpoint, "flow", 2).await;
    let fed = Fed {
        stream,
        records: records(&ways, 20_266, 8_000),
        most_open: 3,
        random: fastrand::Rng::with_seed(2),
        reshardings: 0,
    };
    killed_again_and_again(&ways, fed, 20_266).await;
}
