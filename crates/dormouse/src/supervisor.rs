//! Each source in a task of its own, made anew when it fails.
//!
//! A source waits out by itself whatever AWS answers. What is left are failures that it cannot live with: it cannot be
//! made (no Region is known), its options cannot work, one of its tasks panicked. Such a source is shown as failed and
//! tried again, from a second up to half a minute later, for as long as the process lives: what it could not take stays
//! where it is, and is taken once it works. The others, and the process, go on meanwhile.

use std::sync::Arc;
use std::time::Duration;

use aws_types::SdkConfig;
use dormouse_aws::{AwsOptions, Backoff, ConfigError};
use dormouse_model::Clock;
use dormouse_pipeline::{CheckpointView, ObjectIntake, OnPoison, Pipeline, PipelineIntake};
use dormouse_server::{SourceFailure, SourceState, SourceStates, SourceStats};
use dormouse_sources::SourceError;
use dormouse_sources::health::SourceHealth;
use dormouse_sources::kinesis::KinesisSource;
use dormouse_sources::objects::{ObjectStats, S3Objects};
use dormouse_sources::sqs::{SqsOptions, SqsSource};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::config::{self, QueueConfig, SourceConfig, SourceKind};

/// How long after a failure a source is tried again: from the first time to the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// A source that was at work for so long begins at the first time again.
const STEADY: Duration = Duration::from_secs(60);
/// What a service says of a queue or stream is only for the log, and waited for no longer than this.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// What all sources of an instance are made of.
pub(crate) struct Supervisor {
    /// Where they are shown.
    pub(crate) states: Arc<SourceStates>,
    /// How AWS is reached where a source does not say otherwise.
    pub(crate) aws: AwsOptions,
    /// Tells the time.
    pub(crate) clock: Arc<dyn Clock>,
    /// The ways into the pipeline.
    pub(crate) intakes: Intakes,
    /// How far sources have come.
    pub(crate) checkpoints: CheckpointView,
    /// Cancelling it begins the drain.
    pub(crate) stop: CancellationToken,
    /// How long a source may wait for what is in flight when it stops.
    pub(crate) grace: Duration,
}

/// The ways into the pipeline, taken before it runs.
pub(crate) struct Intakes {
    quarantine: PipelineIntake,
    redrive: PipelineIntake,
}

impl Intakes {
    /// Those into this pipeline.
    pub(crate) fn of(pipeline: &Pipeline) -> Self {
        Self {
            quarantine: pipeline.intake(OnPoison::Quarantine),
            redrive: pipeline.intake(OnPoison::Redrive),
        }
    }

    fn of_policy(&self, on_poison: config::OnPoison) -> PipelineIntake {
        match on_poison {
            config::OnPoison::Quarantine => self.quarantine.clone(),
            config::OnPoison::Redrive => self.redrive.clone(),
        }
    }
}

/// The sources at work.
#[derive(Default)]
pub(crate) struct Supervised(JoinSet<()>);

impl Supervised {
    /// Waits until all of them have ended, which they do when they are asked to stop.
    pub(crate) async fn wait(mut self) {
        while let Some(ended) = self.0.join_next().await {
            if let Err(panic) = ended {
                tracing::error!("whoever watched over a source has failed: {panic}");
            }
        }
    }
}

/// Why a source ended although nobody asked it to.
struct Failed {
    advice: &'static str,
    detail: String,
}

impl Failed {
    fn of_config(error: &ConfigError) -> Self {
        let advice = match error {
            ConfigError::NoRegion => "set its region in the configuration, or AWS_REGION, and restart",
            ConfigError::Region(_) | ConfigError::EndpointUrl(_) => {
                "check its region and endpoint_url in the configuration, and restart"
            }
        };
        Self { advice, detail: error.to_string() }
    }

    fn of_buckets(error: &anyhow::Error) -> Self {
        Self { advice: "check its buckets in the configuration, and restart", detail: format!("{error:#}") }
    }

    fn of_source(error: &SourceError) -> Self {
        let advice = match error {
            SourceError::Options { .. } => {
                "its options cannot work: `dormouse check` and the log say which; mend them, and restart"
            }
            SourceError::Aws { advice, .. } => advice,
            SourceError::Panicked { .. } => PANIC_ADVICE,
        };
        Self { advice, detail: error.to_string() }
    }
}

const PANIC_ADVICE: &str = "this is a bug: please report it with what the log says; nothing is lost";

impl Supervisor {
    /// Starts all of these sources.
    pub(crate) fn start(self, sources: &[SourceConfig]) -> Supervised {
        let supervisor = Arc::new(self);
        let mut tasks = JoinSet::new();
        for source in sources {
            supervisor.states.show(state_before(source));
            tasks.spawn(Arc::clone(&supervisor).keep_running(source.clone()));
        }
        Supervised(tasks)
    }

    async fn keep_running(self: Arc<Self>, config: SourceConfig) {
        let name = config.name.as_str();
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        let mut told = None;
        while !self.stop.is_cancelled() {
            let began = Instant::now();
            let Err(Failed { advice, detail }) = self.run_once(&config, told.is_some()).await else {
                return;
            };
            if began.elapsed() > STEADY {
                backoff.reset();
                told = None;
            }
            // The same again is no news.
            if told.as_ref() == Some(&detail) {
                tracing::debug!(source = name, "still not at work: {detail}");
            } else {
                tracing::error!(
                    source = name,
                    "not at work, and tried again by itself; the other sources go on: {detail}; {advice}"
                );
            }
            told = Some(detail.clone());
            let failure = SourceFailure { advice, detail, at: self.clock.now_seconds() };
            self.states.fail(name, failure);
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = sleep(backoff.next_delay()) => {}
            }
        }
    }

    /// Makes the source and lets it work until it is asked to stop. `had_failed`: it is not the first time.
    async fn run_once(&self, config: &SourceConfig, had_failed: bool) -> Result<(), Failed> {
        // What works on the source's behalf ends with it, whatever it ends of.
        let stop = self.stop.child_token();
        let _ended = stop.clone().drop_guard();
        let made = self.make(config, &stop).await?;
        self.states.show(made.state(&config.name));
        if had_failed {
            tracing::info!(source = config.name, "the source was made anew");
        }
        let (name, grace) = (config.name.clone(), self.grace);
        // A task of its own, so that its panic is its own.
        let run = AbortOnDropHandle::new(tokio::spawn(async move { made.run(&name, stop, grace).await }));
        match run.await {
            Ok(outcome) => outcome.map_err(|error| Failed::of_source(&error)),
            Err(panic) => {
                Err(Failed { advice: PANIC_ADVICE, detail: format!("it ended with a panic: {panic}") })
            }
        }
    }

    async fn make(&self, config: &SourceConfig, stop: &CancellationToken) -> Result<Made, Failed> {
        let load = async |region: Option<String>| {
            let region = config.region.clone().or(region).or_else(|| self.aws.region.clone());
            let endpoint_url = config.endpoint_url.clone().or_else(|| self.aws.endpoint_url.clone());
            let options = AwsOptions { region, endpoint_url, ..self.aws.clone() };
            dormouse_aws::load_config(&options).await.map_err(|error| Failed::of_config(&error))
        };
        match &config.kind {
            SourceKind::Sqs(queue) => {
                let options = queue_options(&config.name, queue);
                let sdk = load(options.region().map(|region| region.to_string())).await?;
                let client = aws_sdk_sqs::Client::new(&sdk);
                let source = SqsSource::with_clock(&client, options, Arc::clone(&self.clock));
                let intake = self.intakes.of_policy(queue.on_poison);
                let allowed = queue.allowed().map_err(|error| Failed::of_buckets(&error))?;
                if queue.buckets.is_empty() {
                    return Ok(Made::Sqs(source, intake, None));
                }
                let objects = Arc::new(ObjectIntake::new(
                    Arc::new(S3Objects::new(&for_s3(&sdk, config, queue))),
                    allowed,
                    source.monitor(),
                    stop.clone(),
                ));
                let stats = objects.stats();
                Ok(Made::Sqs(source, intake.with_objects(config.name.as_str(), objects), Some(stats)))
            }
            SourceKind::Kinesis(stream) => {
                let options = stream.options(&config.name);
                let sdk = load(options.region().map(|region| region.to_string())).await?;
                let client = aws_sdk_kinesis::Client::new(&sdk);
                let checkpoints = self.checkpoints.of_source(&config.name);
                let source = KinesisSource::new(&client, options, checkpoints, Arc::clone(&self.clock));
                Ok(Made::Kinesis(source, self.intakes.quarantine.clone()))
            }
        }
    }
}

fn queue_options(name: &str, queue: &QueueConfig) -> SqsOptions {
    SqsOptions {
        max_pollers: queue.max_pollers,
        visibility_timeout: queue.visibility_timeout,
        wait_time: queue.wait_time,
        ..SqsOptions::new(name, queue.queue_url.as_str())
    }
}

/// How S3 is reached on behalf of a queue: as the queue is, but an endpoint of its own is none of S3's.
fn for_s3(sdk: &SdkConfig, config: &SourceConfig, queue: &QueueConfig) -> SdkConfig {
    let mut for_s3 = sdk.to_builder();
    if queue.s3_endpoint_url.is_some() || config.endpoint_url.is_some() {
        for_s3.set_endpoint_url(queue.s3_endpoint_url.clone());
    }
    for_s3.build()
}

/// A source, ready to run.
enum Made {
    Sqs(SqsSource, PipelineIntake, Option<Arc<ObjectStats>>),
    Kinesis(KinesisSource, PipelineIntake),
}

impl Made {
    fn state(&self, name: &str) -> SourceState {
        let (health, stats, objects) = match self {
            Self::Sqs(source, _, objects) => {
                (source.health(), SourceStats::Sqs(source.stats()), objects.clone())
            }
            Self::Kinesis(source, _) => (source.health(), SourceStats::Kinesis(source.stats()), None),
        };
        SourceState { name: name.to_owned(), health, stats, objects, failure: None }
    }

    /// Works until `stop`, then drains for at most `grace`.
    async fn run(self, name: &str, stop: CancellationToken, grace: Duration) -> Result<(), SourceError> {
        let summary = match self {
            Self::Sqs(source, intake, _) => {
                look_at_queue(&source, name).await;
                source.run(Arc::new(intake), stop, grace).await?.to_string()
            }
            Self::Kinesis(source, intake) => {
                look_at_stream(&source, name).await;
                source.run(Arc::new(intake), stop, grace).await?.to_string()
            }
        };
        tracing::info!(source = name, "the source has ended: {summary}");
        Ok(())
    }
}

/// A source that is still to be made.
fn state_before(config: &SourceConfig) -> SourceState {
    let stats = match config.kind {
        SourceKind::Sqs(_) => SourceStats::Sqs(Arc::default()),
        SourceKind::Kinesis(_) => SourceStats::Kinesis(Arc::default()),
    };
    SourceState {
        name: config.name.clone(),
        health: watch::channel(SourceHealth::default()).1,
        stats,
        objects: None,
        failure: None,
    }
}

/// Says what the queue looks like; a wrong queue is told at once, but may be mended while running.
async fn look_at_queue(source: &SqsSource, name: &str) {
    match timeout(LOOK_LIMIT, source.check()).await {
        Ok(Ok(facts)) => {
            tracing::info!(
                source = name,
                waiting = facts.waiting,
                in_flight = facts.in_flight,
                "the queue answers"
            );
            if !facts.has_redrive_policy {
                tracing::warn!(
                    source = name,
                    "the queue has no redrive policy: messages that cannot be decoded come back for ever \
                     once the quarantine is full"
                );
            }
        }
        Ok(Err(error)) => tracing::error!(source = name, "{error}"),
        Err(_) => tracing::warn!(source = name, "the queue does not say what it looks like"),
    }
}

/// The same for a stream.
async fn look_at_stream(source: &KinesisSource, name: &str) {
    match timeout(LOOK_LIMIT, source.check()).await {
        Ok(Ok(facts)) => tracing::info!(
            source = name,
            stream = facts.arn,
            status = facts.status,
            open_shards = facts.open_shards,
            retention_seconds = facts.retention_seconds,
            "the stream answers"
        ),
        Ok(Err(error)) => tracing::error!(source = name, "{error}"),
        Err(_) => tracing::warn!(source = name, "the stream does not say what it looks like"),
    }
}
