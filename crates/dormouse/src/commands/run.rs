//! `dormouse run`: consume events until stopped.
//!
//! The order of a start: store (locked, loaded), sources (checked), then work. The order of a stop: sources stop
//! receiving, the pipeline commits what came in and acknowledges it, the tables are written. What is not finished within
//! the grace is left unacknowledged and comes back.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use dormouse_aws::AwsOptions;
use dormouse_cloudtrail::{Decoder, Limits};
use dormouse_ledger::{Ledger, Rank};
use dormouse_model::{Clock, WallClock};
use dormouse_pipeline::{OnPoison, Pipeline, PipelineError, PipelineOptions, Progress};
use dormouse_sources::SourceError;
use dormouse_sources::sqs::{SourceSummary, SqsOptions, SqsSource, SqsStats};
use dormouse_store::{SqliteOptions, SqliteStore, Store, Totals};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::seconds;
use crate::config::{self, Config, SourceConfig, SourceKind};
use crate::logging;

/// How often a line about progress is logged.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(60);
/// What the last commit and the last fold may take beyond the grace of the sources.
const FINISH_GRACE: Duration = Duration::from_secs(30);

/// Runs until a signal or a failure that nothing mends.
pub(crate) fn run(config: Config) -> anyhow::Result<ExitCode> {
    logging::start(&config.log)?;
    if config.sources.is_empty() {
        anyhow::bail!("there is no [[sources]] in the configuration: nothing to consume");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(consume(config))
}

async fn consume(config: Config) -> anyhow::Result<ExitCode> {
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone())?;
    let pipeline = open_pipeline(&config).await?;
    let (ledger, progress) = (pipeline.ledger(), pipeline.progress());
    tracing::info!(store = %config.store.path.display(), keys = ledger.len(), "the store is open");

    let mut sources = Sources::default();
    for source in &config.sources {
        let SourceKind::Sqs = source.kind;
        sources.start(source, &pipeline, &stop, config.ingest.shutdown_grace).await?;
    }
    let pipeline_stop = CancellationToken::new();
    let pipeline = watch_over(pipeline, pipeline_stop.clone(), stop.clone());
    let reporter = tokio::spawn(report(ledger, progress, sources.stats.clone()));

    let outcome = sources.wait(&stop).await;
    pipeline_stop.cancel();
    let totals = finish(pipeline, config.ingest.shutdown_grace).await;
    reporter.abort();
    outcome?;
    say_goodbye(&totals?);
    Ok(ExitCode::SUCCESS)
}

fn stop_on_signal(stop: CancellationToken) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "stopping: what was received is committed and acknowledged first");
        stop.cancel();
    });
    Ok(())
}

async fn open_pipeline(config: &Config) -> anyhow::Result<Pipeline> {
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
    let open = move || -> anyhow::Result<Pipeline> {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(store)?);
        let clock: Arc<dyn Clock> = Arc::new(WallClock);
        Ok(Pipeline::open(store, decoder, clock, options)?)
    };
    tokio::task::spawn_blocking(open).await?
}

type SourceTask = Result<SourceSummary, SourceError>;

/// The sources at work. One that fails for good stops the process: without it, silence would be mistaken for peace.
#[derive(Default)]
struct Sources {
    tasks: JoinSet<(String, SourceTask)>,
    stats: Vec<(String, Arc<SqsStats>)>,
}

impl Sources {
    async fn start(
        &mut self,
        config: &SourceConfig,
        pipeline: &Pipeline,
        stop: &CancellationToken,
        grace: Duration,
    ) -> anyhow::Result<()> {
        let mut options = SqsOptions::new(config.name.clone(), config.queue_url.clone());
        options.max_pollers = config.max_pollers;
        options.visibility_timeout = config.visibility_timeout;
        options.wait_time = config.wait_time;
        let region = config.region.clone().or_else(|| options.region().map(|region| region.to_string()));
        let aws = AwsOptions { region, endpoint_url: config.endpoint_url.clone(), ..AwsOptions::default() };
        let sdk = dormouse_aws::load_config(&aws).await.with_context(|| format!("source {}", config.name))?;
        let source = SqsSource::new(&aws_sdk_sqs::Client::new(&sdk), options);
        report_queue(&source, &config.name).await;
        let on_poison = match config.on_poison {
            config::OnPoison::Quarantine => OnPoison::Quarantine,
            config::OnPoison::Redrive => OnPoison::Redrive,
        };
        let intake = Arc::new(pipeline.intake(on_poison));
        self.stats.push((config.name.clone(), source.stats()));
        let (name, stop) = (config.name.clone(), stop.clone());
        self.tasks.spawn(async move { (name, source.run(intake, stop, grace).await) });
        Ok(())
    }

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

/// Logs a line about progress now and then.
async fn report(ledger: Arc<Ledger<Rank>>, progress: Arc<Progress>, sources: Vec<(String, Arc<SqsStats>)>) {
    let mut ticks = interval(PROGRESS_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let tally = progress.tally();
        tracing::info!(
            keys = ledger.len(),
            records = tally.read,
            kms = tally.kms,
            duplicates = tally.duplicates,
            quarantined = tally.quarantined,
            malformed = tally.malformed,
            epochs = progress.epochs(),
            paused = progress.is_paused(),
            "progress"
        );
        for (name, stats) in &sources {
            tracing::info!(
                source = name,
                received = stats.received.get(),
                deleted = stats.deleted.get(),
                in_flight = stats.in_flight.get(),
                pollers = stats.pollers.get(),
                "source"
            );
        }
    }
}

fn say_goodbye(totals: &Totals) {
    let tally = totals.tally;
    tracing::info!(
        records = tally.read,
        kms = tally.kms,
        duplicates = tally.duplicates,
        quarantined = tally.quarantined,
        malformed = tally.malformed,
        late_uncounted =
            tally.late_uncounted.uses + tally.late_uncounted.attempts + tally.late_uncounted.changes,
        "stopped; everything received is committed"
    );
}
