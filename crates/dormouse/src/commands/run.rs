//! `dormouse run`: consume events until stopped.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use dormouse_pipeline::{LiveView, Progress};
use dormouse_server::{SourceStates, SourceStats};
use dormouse_store::Totals;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::instance::{RunningInstance, Surroundings};
use crate::logging;

/// How often a line about progress is logged.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(60);

/// Runs until a signal or a failure that nothing mends.
pub(crate) fn run(config: Config) -> anyhow::Result<ExitCode> {
    logging::start(&config.log)?;
    if config.sources.is_empty() && config.inventory.is_none() {
        anyhow::bail!(
            "there is neither a [[sources]] nor an [inventory] in the configuration: nothing to do"
        );
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(consume(config))
}

async fn consume(config: Config) -> anyhow::Result<ExitCode> {
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone())?;
    let instance = RunningInstance::start(&config, Surroundings::default(), stop).await?;
    let (view, progress) = (Arc::clone(&instance.view), Arc::clone(&instance.progress));
    let reporter = tokio::spawn(report(view, progress, Arc::clone(&instance.sources)));
    let totals = instance.wait().await;
    reporter.abort();
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

/// Logs a line about progress now and then.
async fn report(view: Arc<LiveView>, progress: Arc<Progress>, sources: Arc<SourceStates>) {
    let mut ticks = interval(PROGRESS_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let tally = progress.tally();
        tracing::info!(
            keys = view.ledger().len(),
            records = tally.read,
            kms = tally.kms,
            duplicates = tally.duplicates,
            quarantined = tally.quarantined,
            malformed = tally.malformed,
            epochs = progress.epochs(),
            paused = progress.is_paused(),
            "progress"
        );
        for source in sources.all() {
            let numbers = match &source.stats {
                SourceStats::Sqs(stats) => stats.to_string(),
                SourceStats::Kinesis(stats) => stats.to_string(),
            };
            tracing::info!(source = source.name, failed = source.failure.is_some(), "{numbers}");
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
