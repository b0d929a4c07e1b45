//! A whole Dormouse in one process: store, pipeline, server, sources.
//!
//! `dormouse run` starts one and stops it at a signal; whatever else needs the real thing starts it the same way. The
//! order of a start: store (locked, loaded), server (so that health can be asked), pipeline, sources. The order of a
//! stop: sources stop receiving, the pipeline commits what came in and acknowledges it, the tables are written, and the
//! server, which says `draining` meanwhile, goes last. What is not finished within the grace is left unacknowledged and
//! comes back.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use dormouse_aws::AwsOptions;
use dormouse_cloudtrail::{Decoder, Limits};
use dormouse_model::{Clock, WallClock};
use dormouse_pipeline::{
    LiveView, OnPoison, Pipeline, PipelineError, PipelineIntake, PipelineOptions, Progress,
};
use dormouse_server::{Instance, Lifecycle, Server, SourceState, SourceStates, Stage};
use dormouse_sources::SourceError;
use dormouse_sources::sqs::{SourceSummary, SqsOptions, SqsSource};
use dormouse_store::{Readers, SqliteOptions, SqliteStore, Store, Totals};
use prometheus::Registry;
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::commands::seconds;
use crate::config::{self, Config, SourceConfig, SourceKind};

/// What the last commit and the last fold may take beyond the grace of the sources.
const FINISH_GRACE: Duration = Duration::from_secs(30);

/// What an instance takes from outside its configuration.
#[derive(Clone)]
pub(crate) struct Surroundings {
    /// Tells the time.
    pub(crate) clock: Arc<dyn Clock>,
    /// How AWS is reached where a source does not say otherwise.
    pub(crate) aws: AwsOptions,
}

impl Default for Surroundings {
    /// The machine's clock, and AWS as the environment has it.
    fn default() -> Self {
        Self { clock: Arc::new(WallClock), aws: AwsOptions::default() }
    }
}

/// An instance at work. Ends when [stopping](Self::stopping) is cancelled, or when something fails for good.
pub(crate) struct RunningInstance {
    /// Where its server listens, if it has one.
    pub(crate) url: Option<String>,
    /// What is known.
    pub(crate) view: Arc<LiveView>,
    /// What the pipeline has done.
    pub(crate) progress: Arc<Progress>,
    /// The sources.
    pub(crate) sources: Arc<SourceStates>,
    /// Cancelling it begins the drain.
    pub(crate) stopping: CancellationToken,
    parts: Parts,
}

/// What has to be waited for, in the order of the stop.
struct Parts {
    lifecycle: Arc<Lifecycle>,
    sources: Sources,
    pipeline: JoinHandle<Result<Totals, PipelineError>>,
    pipeline_stop: CancellationToken,
    server: Option<ServerTask>,
    server_stop: CancellationToken,
    grace: Duration,
    /// Held until nobody reads any more: whoever closes last leaves one file behind, and readers cannot.
    store: Arc<dyn Store>,
}

impl RunningInstance {
    /// Starts everything. Cancelling `stopping`, even before the end of the start, begins the drain.
    pub(crate) async fn start(
        config: &Config,
        surroundings: Surroundings,
        stopping: CancellationToken,
    ) -> anyhow::Result<Self> {
        let Surroundings { clock, aws } = surroundings;
        let started = clock.now_seconds();
        let (pipeline, store) = open_pipeline(config, Arc::clone(&clock)).await?;
        let readers = Readers::of(config.store.path.clone());
        let instance = Instance {
            view: Arc::new(pipeline.view(readers, seconds(config.verdicts.idle_after))),
            progress: pipeline.progress(),
            control: pipeline.control(),
            registry: registry(&pipeline)?,
            sources: Arc::default(),
            lifecycle: Arc::default(),
            version: env!("CARGO_PKG_VERSION"),
            started,
            clock,
        };
        let keys = instance.view.ledger().len();
        tracing::info!(store = %config.store.path.display(), keys, "the store is open");

        let server_stop = CancellationToken::new();
        let server = ServerTask::start(config, &instance, &server_stop).await?;
        let url = server.as_ref().map(|server| server.url.clone());
        let intakes = Intakes::of(&pipeline);
        let pipeline_stop = CancellationToken::new();
        let pipeline = watch_over(pipeline, pipeline_stop.clone(), stopping.clone());
        let parts = Parts {
            lifecycle: Arc::clone(&instance.lifecycle),
            sources: Sources::default(),
            pipeline,
            pipeline_stop,
            server,
            server_stop,
            grace: config.ingest.shutdown_grace,
            store,
        };
        let Instance { view, progress, sources, lifecycle, .. } = instance;
        let mut running = Self { url, view, progress, sources, stopping, parts };
        for source in &config.sources {
            if let Err(error) = running.start_source(source, &intakes, &aws).await {
                // What has been started already ends in order; the first error is the one to tell.
                let _ = running.stop().await;
                return Err(error);
            }
        }
        lifecycle.enter(Stage::Running);
        Ok(running)
    }

    async fn start_source(
        &mut self,
        config: &SourceConfig,
        intakes: &Intakes,
        aws: &AwsOptions,
    ) -> anyhow::Result<()> {
        let SourceKind::Sqs = config.kind;
        let source = make_source(config, aws).await?;
        self.sources.add(SourceState {
            name: config.name.clone(),
            kind: "sqs",
            health: source.health(),
            stats: source.stats(),
        });
        report_queue(&source, &config.name).await;
        let intake = Arc::new(intakes.of_policy(config.on_poison));
        let (name, stop, grace) = (config.name.clone(), self.stopping.clone(), self.parts.grace);
        self.parts.sources.tasks.spawn(async move { (name, source.run(intake, stop, grace).await) });
        Ok(())
    }

    /// Begins the drain and waits for its end.
    pub(crate) async fn stop(self) -> anyhow::Result<Totals> {
        self.stopping.cancel();
        self.wait().await
    }

    /// Waits until it has ended, for whatever reason, and everything is committed.
    pub(crate) async fn wait(self) -> anyhow::Result<Totals> {
        let Self { stopping, parts, view, .. } = self;
        let Parts { lifecycle, sources, pipeline, pipeline_stop, server, server_stop, grace, store } = parts;
        let drain = {
            let (lifecycle, stopping) = (Arc::clone(&lifecycle), stopping.clone());
            tokio::spawn(async move {
                stopping.cancelled().await;
                lifecycle.enter(Stage::Draining);
            })
        };
        let sources_ended = sources.wait(&stopping).await;
        // An instance without sources works until it is asked to stop.
        if sources_ended.is_ok() {
            stopping.cancelled().await;
        }
        pipeline_stop.cancel();
        let totals = finish(pipeline, grace).await;
        drain.abort();
        lifecycle.enter(Stage::Stopped);
        server_stop.cancel();
        if let Some(server) = server {
            server.task.await.context("the server")?;
        }
        view.close();
        drop(store);
        sources_ended?;
        totals
    }
}

/// Where everybody's metrics come together; the server adds its own.
fn registry(pipeline: &Pipeline) -> anyhow::Result<Registry> {
    let registry = Registry::new();
    pipeline.progress().metrics().register(&registry)?;
    Ok(registry)
}

/// The server at work, on threads of its own: those who ask do not wait in line behind those who deliver.
struct ServerTask {
    url: String,
    task: JoinHandle<()>,
    _threads: Threads,
}

/// Threads that end when this is dropped. Waiting for them would block those of whoever drops it.
struct Threads(Option<Runtime>);

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl ServerTask {
    /// Starts the server; `None` if there shall be none.
    async fn start(
        config: &Config,
        instance: &Instance,
        stop: &CancellationToken,
    ) -> anyhow::Result<Option<Self>> {
        if !config.http.enabled {
            return Ok(None);
        }
        let (options, instance) = (config.http.options()?, instance.clone());
        let runtime =
            Builder::new_multi_thread().worker_threads(1).thread_name("http").enable_all().build()?;
        let handle = runtime.handle().clone();
        let threads = Threads(Some(runtime));
        // Bound over there, too: a socket belongs to the threads that watch it.
        let server = handle.spawn(Server::bind(options, instance)).await??;
        let url = server.url();
        tracing::info!(url, "listening");
        Ok(Some(Self { url, task: handle.spawn(server.run(stop.clone())), _threads: threads }))
    }
}

async fn open_pipeline(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<(Pipeline, Arc<dyn Store>)> {
    let store = SqliteOptions {
        quarantine_bytes: config.store.quarantine_bytes,
        keep_days: config.store.keep_days,
        ..SqliteOptions::at(&config.store.path)
    };
    let limits =
        Limits { future_tolerance_seconds: seconds(config.ingest.future_tolerance), ..Limits::default() };
    let decoder = Arc::new(Decoder::new(config.operation_table()?, limits));
    let options = PipelineOptions {
        epoch_interval: config.ingest.epoch_interval,
        in_flight_kib: u32::try_from(config.ingest.in_flight_bytes >> 10).unwrap_or(u32::MAX),
        id_bound: config.ingest.id_window,
        fold_interval: config.ingest.fold_interval,
        future_hold_seconds: seconds(config.ingest.future_hold),
        ..PipelineOptions::default()
    };
    let open = move || -> anyhow::Result<(Pipeline, Arc<dyn Store>)> {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(store)?);
        Ok((Pipeline::open(Arc::clone(&store), decoder, clock, options)?, store))
    };
    tokio::task::spawn_blocking(open).await?
}

/// The ways into the pipeline, taken before it runs.
struct Intakes {
    quarantine: PipelineIntake,
    redrive: PipelineIntake,
}

impl Intakes {
    fn of(pipeline: &Pipeline) -> Self {
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

async fn make_source(config: &SourceConfig, aws: &AwsOptions) -> anyhow::Result<SqsSource> {
    let mut options = SqsOptions::new(config.name.clone(), config.queue_url.clone());
    options.max_pollers = config.max_pollers;
    options.visibility_timeout = config.visibility_timeout;
    options.wait_time = config.wait_time;
    let of_queue = || options.region().map(|region| region.to_string());
    let region = config.region.clone().or_else(of_queue).or_else(|| aws.region.clone());
    let endpoint_url = config.endpoint_url.clone().or_else(|| aws.endpoint_url.clone());
    let aws = AwsOptions { region, endpoint_url, ..aws.clone() };
    let sdk = dormouse_aws::load_config(&aws).await.with_context(|| format!("source {}", config.name))?;
    Ok(SqsSource::new(&aws_sdk_sqs::Client::new(&sdk), options))
}

type SourceTask = Result<SourceSummary, SourceError>;

/// The sources at work. One that fails for good stops the process: without it, silence would be mistaken for peace.
#[derive(Default)]
struct Sources {
    tasks: JoinSet<(String, SourceTask)>,
}

impl Sources {
    /// Waits for all of them; the first failure stops the others.
    async fn wait(mut self, stop: &CancellationToken) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            let failure = match ended {
                Ok((name, Ok(summary))) => {
                    report_end(&name, &summary);
                    continue;
                }
                Ok((_, Err(error))) => anyhow::Error::from(error),
                Err(panic) => anyhow::Error::from(panic),
            };
            stop.cancel();
            outcome = outcome.and(Err(failure));
        }
        outcome
    }
}

/// Says what the queue looks like; a wrong queue is told at once, but may be mended while running.
async fn report_queue(source: &SqsSource, name: &str) {
    match source.check().await {
        Ok(facts) => {
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
        Err(error) => tracing::error!(source = name, "{error}"),
    }
}

fn report_end(name: &str, summary: &SourceSummary) {
    tracing::info!(
        source = name,
        received = summary.received,
        deleted = summary.deleted,
        left = summary.left,
        unacknowledged = summary.unacknowledged,
        "the source has ended"
    );
}

/// Runs the pipeline; if it ends by itself, everything stops.
fn watch_over(
    pipeline: Pipeline,
    pipeline_stop: CancellationToken,
    stop: CancellationToken,
) -> JoinHandle<Result<Totals, PipelineError>> {
    tokio::spawn(async move {
        let outcome = pipeline.run(pipeline_stop).await;
        if let Err(error) = &outcome {
            tracing::error!("the pipeline has failed: {error}");
        }
        stop.cancel();
        outcome
    })
}

async fn finish(
    pipeline: JoinHandle<Result<Totals, PipelineError>>,
    grace: Duration,
) -> anyhow::Result<Totals> {
    let outcome = timeout(grace + FINISH_GRACE, pipeline).await;
    let outcome = outcome.context("the last commit did not finish in time; what it held comes back")?;
    Ok(outcome??)
}
