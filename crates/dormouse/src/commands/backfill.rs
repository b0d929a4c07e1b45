//! `dormouse backfill`: history is read, by this process or by the instance that holds the store.
//!
//! A store has one writer. Whoever wants to write tries to take its lock: if that works, this process does the work with
//! a pipeline of its own; if somebody holds it, that one is asked over its API, and has to show by its store's id that
//! it is the right one. So both never happen at once, however the two are started.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use dormouse_aws::AwsOptions;
use dormouse_history::{BackfillRequest, JobHandle, JobProgress, JobState};
use dormouse_ledger::Declared;
use dormouse_model::{Clock, WallClock};
use dormouse_pipeline::view::AccountsDocument;
use dormouse_pipeline::{LiveView, PipelineError};
use dormouse_server::{NotStarted, Pace, ReadHistory};
use dormouse_store::{Reader, Readers, StoreError, Totals};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::ask::{self, Instance};
use crate::cli::{BackfillArgs, Cli, TableOrJson};
use crate::config::Config;
use crate::exit::Usage;
use crate::historian::Historian;
use crate::instance::{Opened, open_pipeline};
use crate::show::{self, Screen};

/// Some of the history could not be read, or not whole.
const EXIT_PROBLEMS: u8 = 2;
/// How often the progress is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Reads history, shows how far it is, and says what came of it.
pub(crate) fn backfill(args: &BackfillArgs, cli: &Cli, screen: Screen) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let worker = choose(args, cli, &runtime)?;
    let outcome = work(&worker, args, &runtime, screen);
    // Whatever became of it, what was committed is written to the tables.
    let ended = worker.end(&runtime);
    let status = outcome?;
    ended?;
    Ok(status)
}

/// Whoever does the work.
enum Worker {
    /// The instance that holds the store.
    Instance(Box<Instance>),
    /// This process.
    Alone(Box<Alone>),
}

/// This process, as the store's one writer.
struct Alone {
    historian: Historian,
    view: LiveView,
    declared: Vec<Declared>,
    running: JoinHandle<Result<Totals, PipelineError>>,
    stop: CancellationToken,
}

fn choose(args: &BackfillArgs, cli: &Cli, runtime: &Runtime) -> anyhow::Result<Worker> {
    let place = args.instance();
    if args.store.is_none() && ask::is_named(&place) {
        return instance(args, ask::instance_of(cli, &place)?);
    }
    let mut config = match (ask::configuration(&cli.config)?, &args.store) {
        (Some(config), _) => config,
        (None, Some(_)) => Config::default(),
        (None, None) => {
            let (file, usage) = (cli.config.display(), "--config FILE, --store FILE or --url URL");
            return Err(Usage(format!("no store is named, and there is no {file}: say {usage}")).into());
        }
    };
    if let Some(store) = &args.store {
        config.store.path.clone_from(store);
    }
    config.history.region = args.region.clone().or(config.history.region);
    config.history.endpoint_url = args.endpoint_url.clone().or(config.history.endpoint_url);
    let opened = runtime.block_on(open_pipeline(&config, Arc::new(WallClock)));
    match opened {
        Ok(opened) => Ok(Worker::Alone(Box::new(Alone::start(&config, opened, runtime)?))),
        Err(error) => match error.downcast_ref::<StoreError>() {
            Some(StoreError::Locked { path, holder }) => {
                let asked = ask::instance_of(cli, &place)?;
                hold_against(&asked, path, holder)?;
                instance(args, asked)
            }
            _ => Err(error),
        },
    }
}

/// Whether this is the instance that writes to the store.
fn hold_against(asked: &Instance, path: &Path, holder: &str) -> anyhow::Result<()> {
    let path_said = path.display();
    let mine = Reader::open(path)?.id()?;
    let theirs = asked.store_id().with_context(|| {
        format!(
            "{path_said} is being written by another dormouse process{holder}, which has to do the work, and the \
             instance that was asked does not answer; name that process's address with --url, or stop it"
        )
    })?;
    let said = |id: &Option<String>| id.clone().unwrap_or_else(|| "unknown".to_owned());
    if mine.is_none() || mine != theirs {
        bail!(
            "the instance at {} has another store (id {}) than {path_said} (id {}), which another dormouse \
             process{holder} writes to; name that one's address with --url, or stop it",
            asked.name(),
            said(&theirs),
            said(&mine)
        );
    }
    Ok(())
}

fn instance(args: &BackfillArgs, asked: Instance) -> anyhow::Result<Worker> {
    for (option, is_given) in
        [("--region", args.region.is_some()), ("--endpoint-url", args.endpoint_url.is_some())]
    {
        if is_given {
            return Err(Usage(format!(
                "{option}: the instance at {} does the work, and reaches AWS in its own way: see [history] in its \
                 configuration",
                asked.name()
            ))
            .into());
        }
    }
    Ok(Worker::Instance(Box::new(asked)))
}

/// What is asked for. Whoever does the work fills in its own pace where none is given.
fn request(args: &BackfillArgs) -> anyhow::Result<BackfillRequest> {
    let local = args
        .local
        .as_ref()
        .map(|folder| folder.canonicalize().with_context(|| format!("--local {}", folder.display())));
    let some = |list: usize| list > 0;
    Ok(BackfillRequest {
        bucket: args.bucket.clone(),
        local: local.transpose()?,
        prefix: args.prefix.clone(),
        accounts: some(args.accounts.len()).then(|| args.accounts.clone()),
        regions: some(args.regions.len()).then(|| args.regions.clone()),
        again: args.again,
        ..BackfillRequest::new(args.from, args.to)
    })
}

fn work(worker: &Worker, args: &BackfillArgs, runtime: &Runtime, screen: Screen) -> anyhow::Result<ExitCode> {
    let mut interrupts = listen(runtime)?;
    let started = worker.start(args, runtime)?;
    let job = watch(worker, started, &mut interrupts, runtime)?;
    match args.output {
        TableOrJson::Json => show::json::print(&job)?,
        TableOrJson::Table => show::backfill::print(&job, &worker.known(args)?, screen)?,
    }
    Ok(match job.state {
        JobState::Done if is_flawless(&job) => ExitCode::SUCCESS,
        JobState::Done => ExitCode::from(EXIT_PROBLEMS),
        JobState::Cancelled | JobState::Failed | JobState::Running => ExitCode::FAILURE,
    })
}

fn is_flawless(job: &JobProgress) -> bool {
    job.problem_count == 0 && job.cells.unreached == 0 && job.cells.not_whole == 0
}

/// Ctrl-C and SIGTERM, as they come.
fn listen(runtime: &Runtime) -> anyhow::Result<mpsc::Receiver<()>> {
    let _context = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (sender, receiver) = mpsc::channel(4);
    runtime.spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if sender.send(()).await.is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

/// Shows the progress until the job has ended. The first signal cancels it, a second one does not wait for its end.
fn watch(
    worker: &Worker,
    mut job: JobProgress,
    interrupts: &mut mpsc::Receiver<()>,
    runtime: &Runtime,
) -> anyhow::Result<JobProgress> {
    let mut progress = show::backfill::Progress::new();
    let mut is_cancelled = false;
    while job.state == JobState::Running {
        progress.show(&job);
        let is_interrupted = runtime.block_on(async {
            tokio::select! {
                signal = interrupts.recv() => signal.is_some(),
                () = sleep(LOOK_EVERY) => false,
            }
        });
        if is_interrupted && is_cancelled {
            progress.end();
            bail!("interrupted twice; days that were not finished are read again by the same command");
        }
        if is_interrupted {
            is_cancelled = true;
            progress.say("stopping; the same command goes on where this one ends");
            worker.cancel(job.id)?;
        }
        job = worker.progress(job.id)?;
    }
    progress.end();
    Ok(job)
}

impl Worker {
    fn start(&self, args: &BackfillArgs, runtime: &Runtime) -> anyhow::Result<JobProgress> {
        let request = request(args)?;
        match self {
            Self::Instance(instance) => {
                let mut body = serde_json::to_value(&request)?;
                let pace = [
                    ("concurrency", args.concurrency.map(Value::from)),
                    ("bandwidth", args.bandwidth.map(Value::from)),
                ];
                for (name, value) in pace {
                    match (value, body.as_object_mut()) {
                        (Some(value), Some(body)) => drop(body.insert(name.to_owned(), value)),
                        (None, Some(body)) => drop(body.remove(name)),
                        (_, None) => {}
                    }
                }
                instance.start_backfill(&body)
            }
            Self::Alone(alone) => {
                let Pace { concurrency, bandwidth } = alone.historian.pace();
                let request = BackfillRequest {
                    concurrency: args.concurrency.unwrap_or(concurrency),
                    bandwidth: args.bandwidth.or(bandwidth),
                    ..request
                };
                let started = runtime.block_on(ReadHistory::start(&alone.historian, request));
                started.map(|job| job.progress()).map_err(|error| match error {
                    NotStarted::Refused(reason) => Usage(reason).into(),
                    busy @ NotStarted::Busy(_) => busy.into(),
                })
            }
        }
    }

    fn progress(&self, id: u64) -> anyhow::Result<JobProgress> {
        match self {
            Self::Instance(instance) => instance.backfill(id),
            Self::Alone(alone) => Ok(alone.job(id)?.progress()),
        }
    }

    fn cancel(&self, id: u64) -> anyhow::Result<()> {
        match self {
            Self::Instance(instance) => instance.cancel_backfill(id).map(drop),
            Self::Alone(alone) => {
                alone.job(id)?.cancel();
                Ok(())
            }
        }
    }

    /// What is known of the accounts and Regions that were asked for.
    fn known(&self, args: &BackfillArgs) -> anyhow::Result<AccountsDocument> {
        match self {
            Self::Instance(instance) => instance.accounts(&args.accounts, &args.regions),
            Self::Alone(alone) => {
                let mut known = alone.view.accounts(&alone.declared);
                known.retain(&args.accounts, &args.regions);
                Ok(known)
            }
        }
    }

    /// Writes what was committed to the tables; an instance does that by itself.
    fn end(self, runtime: &Runtime) -> anyhow::Result<()> {
        match self {
            Self::Instance(_) => Ok(()),
            Self::Alone(alone) => runtime.block_on((*alone).end()),
        }
    }
}

impl Alone {
    fn start(config: &Config, opened: Opened, runtime: &Runtime) -> anyhow::Result<Self> {
        let Opened { pipeline, store: _, decoder } = opened;
        let clock: Arc<dyn Clock> = Arc::new(WallClock);
        let _context = runtime.enter();
        let historian =
            Historian::new(&config.history, &AwsOptions::default(), pipeline.history(), decoder, clock);
        let readers = Readers::of(config.store.path.clone());
        let view = pipeline.view(readers, config.rules()?);
        let stop = CancellationToken::new();
        let running = runtime.spawn(pipeline.run(stop.clone()));
        let declared = config.declared();
        Ok(Self { historian, view, declared, running, stop })
    }

    fn job(&self, id: u64) -> anyhow::Result<JobHandle> {
        if self.running.is_finished() {
            bail!("the store takes nothing any more");
        }
        self.historian.jobs().get(id).context("the job is gone")
    }

    async fn end(self) -> anyhow::Result<()> {
        self.historian.stop().await;
        self.stop.cancel();
        let outcome = self.running.await;
        self.view.close();
        outcome??;
        Ok(())
    }
}
