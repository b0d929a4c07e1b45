//! The demo's AWS: a synthetic organisation, what KMS, STS and Organizations say of it, and the queue into which its
//! events are delivered as EventBridge would.

use std::sync::Arc;

use anyhow::Context;
use dormouse_model::{Clock, EventTime, Region, WallClock};
use dormouse_simulate::aws::{AwsDouble, AwsDoubleOptions};
use dormouse_simulate::organisation::{Organisation, OrganisationOptions};
use dormouse_simulate::records::{DeliveryOptions, Generated, deliveries};
use dormouse_simulate::sqs::{QueueOptions, SqsDouble, SqsOptions};

/// Share of events that arrive twice: EventBridge and SQS deliver at least once.
const DUPLICATES: f64 = 0.02;
/// How far an event may arrive from its place in the order of time.
const DISORDER: usize = 50;

/// An organisation, the services that show it, and a queue.
pub(super) struct World {
    pub(super) organisation: Arc<Organisation>,
    aws: AwsDouble,
    queue_url: String,
    delivered: u64,
}

impl World {
    /// Founds the organisation and makes the queue.
    pub(super) async fn start(seed: u64, keys: usize, rate: f64) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(WallClock);
        let options = OrganisationOptions { seed, keys, live_rate: rate, ..OrganisationOptions::new(clock) };
        let organisation = Organisation::new(options);
        let sqs = SqsOptions { seed, ..SqsOptions::default() };
        let doubles = AwsDoubleOptions { seed, sqs: Some(sqs), ..AwsDoubleOptions::default() };
        let aws = AwsDouble::start(Arc::clone(&organisation), doubles).await;
        let aws = aws.context("a port on 127.0.0.1 for the demo's AWS")?;
        let queue = aws.sqs().context("the demo's queue")?;
        let queue_url = queue.create_queue("dormouse", QueueOptions::default());
        Ok(Self { organisation, aws, queue_url, delivered: 0 })
    }

    /// Where everything answers.
    pub(super) fn endpoint(&self) -> &str {
        self.aws.endpoint()
    }

    fn queue(&self) -> anyhow::Result<&SqsDouble> {
        self.aws.sqs().context("the demo's queue")
    }

    /// The Regions in which there are keys.
    pub(super) fn regions(&self) -> Vec<Region> {
        self.organisation.options().regions.clone()
    }

    /// The queue's URL.
    pub(super) fn queue_url(&self) -> &str {
        &self.queue_url
    }

    /// How many messages were put into the queue, repetitions included.
    pub(super) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Lets everything up to `time` happen and delivers the events of it, some twice and not quite in order. Returns how
    /// many events there were.
    pub(super) fn live_until(&mut self, time: EventTime) -> anyhow::Result<usize> {
        let records = self.organisation.advance_to(time);
        let seed = self.delivered;
        let options = DeliveryOptions { seed, duplicates: DUPLICATES, window: DISORDER };
        let plan = deliveries(records.len(), options);
        let bodies = plan.into_iter().filter_map(|place| records.get(place)).map(Generated::eventbridge);
        self.delivered += self.queue()?.send_many(&self.queue_url, bodies)?.len() as u64;
        Ok(records.len())
    }

    /// How many messages wait in the queue or are being worked on.
    pub(super) fn waiting(&self) -> anyhow::Result<usize> {
        let counters = self.queue()?.counters(&self.queue_url)?;
        Ok(counters.visible + counters.in_flight + counters.delayed)
    }

    /// Closes everything.
    pub(super) async fn stop(&self) {
        self.aws.stop().await;
    }
}
