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
use dormouse_inventory::Reconciler;
use dormouse_model::{Clock, WallClock};
use dormouse_pipeline::{LiveView, Pipeline, PipelineError, PipelineOptions, Progress};
use dormouse_server::{Instance, Lifecycle, Server, SourceStates, Stage};
use dormouse_store::{Readers, SqliteOptions, SqliteStore, Store, Totals};
use prometheus::Registry;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::commands::seconds;
use crate::config::Config;
use crate::historian::Historian;
use crate::inventory;
use crate::supervisor::{Intakes, Supervised, Supervisor};

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

/// An instance at work. Ends when [stopping](Self::stopping) is cancelled, or when its pipeline fails for good.
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
    historian: Arc<Historian>,
    inventory: Option<Arc<Reconciler>>,
    sources: Supervised,
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
        let Opened { pipeline, store, decoder } = open_pipeline(config, Arc::clone(&clock)).await?;
        let historian =
            Historian::new(&config.history, &aws, pipeline.history(), decoder, Arc::clone(&clock));
        let historian = Arc::new(historian);
        let store_id = store.id().into();
        let store: Arc<dyn Store> = store;
        let readers = Readers::of(config.store.path.clone());
        let registry = registry(&pipeline)?;
        let inventory = match &config.inventory {
            Some(inventory) => {
                let (journal, clock) = (pipeline.inventory(), Arc::clone(&clock));
                let parts = (journal, pipeline.ledger());
                let started =
                    inventory::start(inventory, &config.verdicts, &aws, parts, clock, &registry).await?;
                Some(Arc::new(started))
            }
            None => None,
        };
        let instance = Instance {
            view: Arc::new(pipeline.view(readers, config.rules()?)),
            progress: pipeline.progress(),
            control: pipeline.control(),
            registry,
            sources: Arc::default(),
            history: Arc::<Historian>::clone(&historian),
            inventory: inventory.clone(),
            declared: config.declared().into(),
            store: store_id,
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
        let supervisor = Supervisor {
            states: Arc::clone(&instance.sources),
            aws,
            clock: Arc::clone(&instance.clock),
            intakes: Intakes::of(&pipeline),
            checkpoints: pipeline.checkpoints(),
            stop: stopping.clone(),
            grace: config.ingest.shutdown_grace,
        };
        let pipeline_stop = CancellationToken::new();
        let pipeline = watch_over(pipeline, pipeline_stop.clone(), stopping.clone());
        let parts = Parts {
            lifecycle: Arc::clone(&instance.lifecycle),
            historian,
            inventory,
            sources: supervisor.start(&config.sources),
            pipeline,
            pipeline_stop,
            server,
            server_stop,
            grace: config.ingest.shutdown_grace,
            store,
        };
        let Instance { view, progress, sources, lifecycle, .. } = instance;
        lifecycle.enter(Stage::Running);
        Ok(Self { url, view, progress, sources, stopping, parts })
    }

    /// Begins the drain and waits for its end.
    pub(crate) async fn stop(self) -> anyhow::Result<Totals> {
        self.stopping.cancel();
        self.wait().await
    }

    /// Waits until it has ended, for whatever reason, and everything is committed.
    pub(crate) async fn wait(self) -> anyhow::Result<Totals> {
        let Self { stopping, parts, view, .. } = self;
        let Parts {
            lifecycle,
            historian,
            inventory,
            sources,
            pipeline,
            pipeline_stop,
            server,
            server_stop,
            grace,
            store,
        } = parts;
        let drain = {
            let (lifecycle, stopping) = (Arc::clone(&lifecycle), stopping.clone());
            let (historian, inventory) = (Arc::clone(&historian), inventory.clone());
            tokio::spawn(async move {
                stopping.cancelled().await;
                lifecycle.enter(Stage::Draining);
                historian.cancel();
                if let Some(inventory) = inventory {
                    inventory.cancel();
                }
            })
        };
        sources.wait().await;
        // An instance without sources works until it is asked to stop.
        stopping.cancelled().await;
        // What has no end in time is lost, and read again by the next job.
        let _ = timeout(grace, historian.stop()).await;
        if let Some(inventory) = inventory {
            // What AWS answered and nobody could journal is asked again.
            let _ = timeout(grace, inventory.stop()).await;
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

/// A store opened for writing, and the pipeline over it.
pub(crate) struct Opened {
    pub(crate) pipeline: Pipeline,
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) decoder: Arc<Decoder>,
}

/// Opens the store of this configuration as its one writer.
pub(crate) async fn open_pipeline(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<Opened> {
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
        coverage: config.coverage.options(),
        ..PipelineOptions::default()
    };
    let open = move || -> anyhow::Result<Opened> {
        let store = Arc::new(SqliteStore::open(store)?);
        let for_pipeline: Arc<dyn Store> = Arc::<SqliteStore>::clone(&store);
        let pipeline = Pipeline::open(for_pipeline, Arc::clone(&decoder), clock, options)?;
        Ok(Opened { pipeline, store, decoder })
    };
    tokio::task::spawn_blocking(open).await?
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
