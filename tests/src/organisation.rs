//! An organisation, the AWS that shows it, a queue that carries its events, and a configuration that asks and reads both.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dormouse_model::Clock;
use dormouse_simulate::aws::{AwsDouble, AwsDoubleOptions};
use dormouse_simulate::organisation::{Organisation, OrganisationOptions};
use dormouse_simulate::records::Generated;
use dormouse_simulate::sqs::{QueueOptions, SqsOptions};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::clock::PushedClock;
use crate::program::{Running, ask};
use crate::wait::{until, when};

/// How often what happened is delivered.
const DELIVERY: Duration = Duration::from_millis(50);

/// The role that can be assumed.
pub const ROLE: &str = "dormouse-read";

/// Everything that one test needs around a Dormouse that asks AWS.
pub struct Estate {
    /// For the test's own files.
    pub folder: TempDir,
    /// What there is.
    pub organisation: Arc<Organisation>,
    /// KMS, STS, Organizations and SQS.
    pub double: Arc<AwsDouble>,
    /// Their clock.
    pub clock: Arc<PushedClock>,
    queue: String,
    more: String,
}

impl Estate {
    /// An organisation of this kind. `inventory` are further lines of the section.
    pub async fn found(options: impl FnOnce(Arc<dyn Clock>) -> OrganisationOptions, inventory: &str) -> Self {
        let clock = Arc::new(PushedClock::default());
        let organisation = Organisation::new(options(clock.clone()));
        let sqs = SqsOptions { clock: clock.clone(), ..SqsOptions::default() };
        let doubles = AwsDoubleOptions {
            role_name: Some(ROLE.to_owned()),
            sqs: Some(sqs),
            ..AwsDoubleOptions::default()
        };
        let double = Arc::new(AwsDouble::start(Arc::clone(&organisation), doubles).await.unwrap());
        let queue = double.sqs().unwrap().create_queue("dormouse", QueueOptions::default());
        let folder = tempfile::tempdir().unwrap();
        let regions: Vec<&str> = organisation.options().regions.iter().map(|region| region.name()).collect();
        let more = format!(
            "[inventory]\nregions = {regions:?}\nrole_name = {ROLE:?}\nendpoint_url = {:?}\nregion = \"eu-west-1\"\n\
             {inventory}\n",
            double.endpoint()
        );
        Self { folder, organisation, double, clock, queue, more }
    }

    /// Adds lines to the configuration, after all others.
    pub fn add(&mut self, lines: &str) {
        self.more.push_str(lines);
        self.more.push('\n');
    }

    /// The store's file.
    pub fn store(&self) -> PathBuf {
        self.folder.path().join("dormouse.db")
    }

    /// Starts `dormouse run`.
    pub fn run(&self) -> Running {
        let text = format!(
            "[store]\npath = {:?}\n[http]\nlisten = \"127.0.0.1:0\"\n[ingest]\nfold_interval = \"1s\"\n\
             [[sources]]\nname = \"bus\"\ntype = \"sqs\"\nregion = \"eu-west-1\"\nqueue_url = {:?}\n\
             endpoint_url = {:?}\nwait_time = \"1s\"\n{}",
            self.store(),
            self.queue,
            self.double.endpoint(),
            self.more
        );
        let path = self.folder.path().join("dormouse.toml");
        std::fs::write(&path, text).unwrap();
        Running::start(&path, self.folder.path().join("stderr.log"))
    }

    /// Delivers the events of everything that has happened by now. Returns how many there were.
    pub fn deliver(&self) -> usize {
        let records = self.organisation.advance_to(self.clock.now_seconds());
        let bodies = records.iter().map(Generated::eventbridge);
        self.double.sqs().unwrap().send_many(&self.queue, bodies).unwrap();
        records.len()
    }

    /// Puts a message into the queue.
    pub fn send(&self, body: &str) {
        self.double.sqs().unwrap().send_many(&self.queue, [body]).unwrap();
    }

    /// Delivers them as they happen, until this is dropped.
    pub fn bridge(&self) -> Bridge {
        let (organisation, clock) = (Arc::clone(&self.organisation), Arc::clone(&self.clock));
        let (double, queue) = (Arc::clone(&self.double), self.queue.clone());
        let mut ticks = interval(DELIVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Bridge(tokio::spawn(async move {
            loop {
                ticks.tick().await;
                let records = organisation.advance_to(clock.now_seconds());
                let bodies = records.iter().map(Generated::eventbridge);
                double.sqs().unwrap().send_many(&queue, bodies).unwrap();
            }
        }))
    }

    /// Waits until nothing is left in the queue.
    pub async fn drained(&self, running: &mut Running) {
        until("the queue is empty", || {
            running.assert_alive();
            let counters = self.double.sqs().unwrap().counters(&self.queue).unwrap();
            when(counters.visible + counters.in_flight + counters.delayed == 0, counters)
        })
        .await;
    }
}

/// Delivers events while it is there.
pub struct Bridge(JoinHandle<()>);

impl Drop for Bridge {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What the program says to a question of the instance at `url`, as JSON.
pub fn asked(url: &str, command: &[&str]) -> Value {
    ask(&[command, &["--url", url, "--output", "json"]].concat())
}
