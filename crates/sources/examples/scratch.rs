#![allow(missing_docs, clippy::all, clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods)]
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::Credentials;
use aws_sdk_sqs::types::DeleteMessageBatchRequestEntry;
use dormouse_aws::{AwsOptions, load_config};
use dormouse_simulate::sqs::{self as double, QueueOptions, SqsDouble};
use dormouse_sources::sqs::*;
use dormouse_sources::*;
use tokio_util::sync::CancellationToken;

struct Ack(tokio::sync::mpsc::UnboundedSender<Batch>);
impl Intake for Ack { async fn submit(&self, b: Batch) { let _ = self.0.send(b); } }

fn cpu() -> f64 { let s = std::fs::read_to_string("/proc/self/stat").unwrap(); let f: Vec<&str> = s.rsplit(") ").next().unwrap().split(' ').collect(); (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0 }
#[tokio::main]
async fn main() {
    let n: usize = std::env::args().nth(1).map_or(200_000, |a| a.parse().unwrap());
    for round in 0..std::env::args().nth(2).map_or(3, |a| a.parse().unwrap()) {
        let only = std::env::args().nth(3).unwrap_or_default(); let d = SqsDouble::start(double::SqsOptions::default()).await.unwrap();
        let url = d.create_queue("q", QueueOptions { in_flight_limit: 10_000_000, ..QueueOptions::default() });
        let config = load_config(&AwsOptions { region: Some("eu-west-1".into()), endpoint_url: Some(d.endpoint().into()), profile: None }).await.unwrap();
        let b = aws_sdk_sqs::config::Builder::from(&config).credentials_provider(Credentials::new("a", "b", None, None, "t"));
        let client = Client::from_conf(b.build());
        let body = "x\\\"".repeat(500);
        d.send_many(&url, (0..n).map(|i| format!("{i}{body}"))).unwrap();
        let t = Instant::now(); let c = cpu();
        let done = Arc::new(AtomicUsize::new(0));
        let mut set = tokio::task::JoinSet::new();
        for _ in 0..if only == "source" {0} else {32} {
            let (client, url, done) = (client.clone(), url.clone(), done.clone());
            set.spawn(async move { while done.load(Ordering::Relaxed) < n {
                let m = client.receive_message().queue_url(&url).max_number_of_messages(10).wait_time_seconds(1).send().await.unwrap().messages.unwrap_or_default();
                if m.is_empty() { continue; }
                done.fetch_add(m.len(), Ordering::Relaxed);
                let e = m.into_iter().enumerate().map(|(i, m)| DeleteMessageBatchRequestEntry::builder().id(i.to_string()).receipt_handle(m.receipt_handle.unwrap()).build().unwrap()).collect();
                client.delete_message_batch().queue_url(&url).set_entries(Some(e)).send().await.unwrap();
            }});
        }
        while only != "source" && d.counters(&url).unwrap().deleted < n as u64 { tokio::time::sleep(Duration::from_millis(2)).await; }
        let bare_us = (cpu() - c) * 1e6 / n as f64; let bare = n as f64 / t.elapsed().as_secs_f64();
        set.shutdown().await; tokio::time::sleep(Duration::from_secs(2)).await;
        d.send_many(&url, (0..n).map(|i| format!("{i}{body}"))).unwrap();
        let t = Instant::now(); let c = cpu();
        let source = SqsSource::new(&client, SqsOptions::new("q", &url));
        let stats = source.stats();
        let (s, mut r) = tokio::sync::mpsc::unbounded_channel::<Batch>();
        tokio::spawn(async move { let mut e = Vec::new(); while r.recv_many(&mut e, 100_000).await > 0 { tokio::time::sleep(Duration::from_millis(200)).await; for b in e.drain(..) { b.acks.ack(b.messages.iter().map(|m| m.receipt).collect()); } } });
        let stop = CancellationToken::new();
        let task = tokio::spawn(source.run(Arc::new(Ack(s)), stop.clone(), Duration::from_secs(30)));
        let mut last = Instant::now(); while d.counters(&url).unwrap().deleted < (if only == "source" {1} else if only == "bare" {0} else {2}) * n as u64 { tokio::time::sleep(Duration::from_millis(2)).await; if last.elapsed().as_millis() > 1000 { last = Instant::now(); println!("  pollers={} in_flight={} undeleted={} deleted={}", stats.pollers.get(), stats.in_flight.get(), stats.undeleted.get(), stats.deleted.get()); } }
        let our_us = (cpu() - c) * 1e6 / n as f64; let ours = n as f64 / t.elapsed().as_secs_f64();
        println!("round {round}: CPU us/msg bare {bare_us:.1} source {our_us:.1}; bare {bare:.0} msg/s, source {ours:.0} msg/s, ratio {:.2}; {stats}; deletes {}", ours / bare, d.requests(double::Operation::DeleteMessageBatch));
        stop.cancel();
        println!("{}", task.await.unwrap().unwrap());
    }
}
