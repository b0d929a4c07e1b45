//! `dormouse demo`: everything real but AWS.
//!
//! A synthetic organisation lives on this machine; its events go through a queue on loopback into the very pipeline that
//! `dormouse run` is made of, on its defaults. First a month of history, then live traffic with a small story in it. At
//! the end, what Dormouse says of every key is held against what really happened; a difference is a failure.

mod account;
mod screen;
mod story;
mod world;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use dormouse_aws::AwsOptions;
use dormouse_ledger::KeyDocument;
use dormouse_ledger::query::KeyQuery;
use dormouse_model::{Clock, WallClock};
use dormouse_server::ServerError;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::cli::DemoArgs;
use crate::config::{Config, InventoryConfig};
use crate::exit;
use crate::instance::{RunningInstance, Surroundings};
use crate::logging;
use crate::show::say;
use account::Account;
use screen::{Figures, Screen};
use story::Story;
use world::World;

/// How often live events are delivered.
const DELIVERY: Duration = Duration::from_millis(200);
/// How often the screen is drawn.
const DRAWING: Duration = Duration::from_millis(500);
/// How long the last events may take to be applied.
const SETTLING: Duration = Duration::from_secs(120);

/// Runs until the time is up or a signal comes.
pub(crate) fn demo(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(show(args));
    // What was started and not waited for has nothing left to say.
    runtime.shutdown_background();
    outcome.map_err(|error| {
        // Elsewhere whoever stops reading has read enough; here nobody would know how the comparison ended.
        if exit::is_broken_pipe(&error) {
            return anyhow!("standard output was closed, so nothing was compared");
        }
        error
    })
}

/// What signals ask for.
struct Signals {
    /// The first: the show is over; what was delivered is still read and compared.
    enough: CancellationToken,
    /// The second: at once.
    at_once: CancellationToken,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        let signals = Self { enough: CancellationToken::new(), at_once: CancellationToken::new() };
        let (enough, at_once) = (signals.enough.clone(), signals.at_once.clone());
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        tokio::spawn(async move {
            for token in [enough, at_once] {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                token.cancel();
            }
        });
        Ok(signals)
    }
}

/// Where the demo keeps its store: a folder that somebody named, or one that goes with the demo.
enum Folder {
    Named(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Folder {
    fn of(named: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = named else {
            let folder = tempfile::Builder::new().prefix("dormouse-demo-").tempdir();
            return Ok(Self::Temporary(folder.context("a temporary folder for the demo's store")?));
        };
        let context = || format!("--data {}", path.display());
        std::fs::create_dir_all(path).with_context(context)?;
        if path.join(STORE).exists() {
            bail!(
                "--data {}: there is a store of an earlier demo already, and its organisation is gone; name another \
                 folder, or look into it with `dormouse keys --store {}`",
                path.display(),
                path.join(STORE).display()
            );
        }
        Ok(Self::Named(path.canonicalize().with_context(context)?))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Named(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }
}

const STORE: &str = "dormouse.db";

async fn show(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    // Before anything is made that has to be taken away again.
    let signals = Signals::listen()?;
    let folder = Folder::of(args.data.as_deref())?;
    let log = folder.path().join("demo.log");
    logging::start_in_file(&log)?;
    tokio::select! {
        outcome = act(args, &folder, &log, &signals.enough) => outcome,
        () = signals.at_once.cancelled() => bail!("stopped by a second signal; nothing was compared"),
    }
}

/// All of it, from the founding to the account.
async fn act(
    args: &DemoArgs,
    folder: &Folder,
    log: &Path,
    enough: &CancellationToken,
) -> anyhow::Result<ExitCode> {
    let mut world = World::start(args.seed, args.keys as usize, f64::from(args.rate)).await?;
    let instance = start(args, folder, &world).await?;
    let mut screen = Screen::new();
    history(&mut world, &instance, &mut screen, enough).await?;
    if !enough.is_cancelled() {
        let url = instance.url.clone().context("the demo's server")?;
        lines_to_try(&url, folder, log)?;
        live(args.until, &mut world, &instance, &mut screen, enough).await?;
    }
    screen.clear();
    let account = settle(&mut world, &instance).await?;
    instance.stop().await?;
    world.stop().await;
    tell(&account, &world)
}

/// The instance, on the defaults of `dormouse run` but for where things are.
async fn start(args: &DemoArgs, folder: &Folder, world: &World) -> anyhow::Result<RunningInstance> {
    let mut config = Config::for_queue("demo", world.queue_url());
    config.store.path = folder.path().join(STORE);
    config.http.listen = args.listen;
    config.inventory = Some(InventoryConfig::of_organisation(world.regions()));
    let aws = AwsOptions {
        region: Some("eu-west-1".to_owned()),
        endpoint_url: Some(world.endpoint().to_owned()),
        is_double: true,
        ..AwsOptions::default()
    };
    let surroundings = Surroundings { aws, ..Surroundings::default() };
    let started = RunningInstance::start(&config, surroundings.clone(), CancellationToken::new()).await;
    match started {
        // A second demo finds the usual port taken and takes any other.
        Err(error) if is_port_taken(&error) && config.http.listen.port() != 0 => {
            config.http.listen.set_port(0);
            RunningInstance::start(&config, surroundings, CancellationToken::new()).await
        }
        started => started,
    }
}

fn is_port_taken(error: &anyhow::Error) -> bool {
    let taken = |error: &std::io::Error| error.kind() == std::io::ErrorKind::AddrInUse;
    matches!(error.downcast_ref(), Some(ServerError::Bind { error, .. }) if taken(error))
}

/// Lets a month of the organisation's life go through the queue.
async fn history(
    world: &mut World,
    instance: &RunningInstance,
    screen: &mut Screen,
    enough: &CancellationToken,
) -> anyhow::Result<()> {
    let events = world.live_until(WallClock.now_seconds())? as u64;
    say(&format!(
        "A synthetic organisation: a month of its history, {events} events, goes through a queue."
    ))?;
    let began = Instant::now();
    while world.waiting()? > 0 {
        assert_alive(instance)?;
        if enough.is_cancelled() {
            return Ok(());
        }
        screen.history(instance.progress.tally().read, world.delivered())?;
        sleep(DELIVERY).await;
    }
    say(&format!("Read in {:.1} s.", began.elapsed().as_secs_f64()))?;
    Ok(())
}

/// An instance that ended by itself has said why in its log.
fn assert_alive(instance: &RunningInstance) -> anyhow::Result<()> {
    ensure!(!instance.stopping.is_cancelled(), "the instance has stopped by itself; its log says why");
    Ok(())
}

/// What to paste into another terminal.
fn lines_to_try(url: &str, folder: &Folder, log: &Path) -> anyhow::Result<()> {
    let program = std::env::current_exe()?;
    let program = shell_word(&program.display());
    say(&format!("\nDormouse is up at {url}. In another terminal, try:\n"))?;
    for (line, what) in [
        ("keys --limit 5", "which keys were used last, by whom, for what"),
        (
            "keys --wanted --state Disabled,PendingDeletion",
            "which disabled or doomed keys somebody still wants",
        ),
        ("keys --idle-for 14d", "which keys nobody was seen to use for two weeks"),
        ("accounts", "what AWS says of every account, and since when events are proven to arrive"),
        ("status", "what was read, and what became of it"),
    ] {
        let (command, options) = line.split_once(' ').unwrap_or((line, ""));
        let options = if options.is_empty() { String::new() } else { format!(" {options}") };
        say(&format!("  {program} {command} --url {url}{options}    # {what}"))?;
    }
    say("")?;
    for path in
        ["/api/v1/keys?limit=2&sort=last_use", "/api/v1/keys?wanted=true", "/metrics", "/metrics/keys"]
    {
        say(&format!("  curl -s '{url}{path}'"))?;
    }
    let store = shell_word(&folder.path().join(STORE).display());
    say(&format!("\nThe store is {store}, the log {}.\n", shell_word(&log.display())))?;
    Ok(())
}

/// The text as one word of a shell's command line.
fn shell_word(text: &impl Display) -> String {
    let text = text.to_string();
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-+=:@%".contains(&b);
    if !text.is_empty() && text.bytes().all(is_plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Live traffic, until the time is up or a signal comes.
async fn live(
    until: Option<Duration>,
    world: &mut World,
    instance: &RunningInstance,
    screen: &mut Screen,
    enough: &CancellationToken,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let named = all_keys(instance).await?.into_iter().filter(|key| key.aliases.is_some()).map(|key| key.arn);
    let mut story = Story::about(&world.organisation.truth(), &named.collect());
    let epochs = instance.progress.epochs();
    let (mut deliveries, mut drawings) = (interval(DELIVERY), interval(DRAWING));
    deliveries.set_missed_tick_behavior(MissedTickBehavior::Delay);
    drawings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if until.is_some_and(|until| began.elapsed() >= until) {
            return Ok(());
        }
        tokio::select! {
            () = enough.cancelled() => return Ok(()),
            () = instance.stopping.cancelled() => return assert_alive(instance),
            _ = deliveries.tick() => {
                story.tell(began.elapsed().as_secs(), &world.organisation);
                world.live_until(WallClock.now_seconds())?;
            }
            _ = drawings.tick() => {
                let figures = figures(began.elapsed().as_secs(), world, instance, epochs)?;
                screen.show(&all_keys(instance).await?, &figures)?;
            }
        }
    }
}

/// `epochs` were committed before live traffic began: the lag of those is the age of history.
fn figures(seconds: u64, world: &World, instance: &RunningInstance, epochs: u64) -> anyhow::Result<Figures> {
    let tally = instance.progress.tally();
    Ok(Figures {
        seconds,
        records: tally.read,
        lag_seconds: instance.progress.lag_seconds().filter(|_| instance.progress.epochs() > epochs),
        waiting: world.waiting()?,
        quarantined: tally.quarantined + tally.malformed,
    })
}

async fn all_keys(instance: &RunningInstance) -> anyhow::Result<Vec<KeyDocument>> {
    let view = std::sync::Arc::clone(&instance.view);
    let ask = move || view.documents(&view.select(&KeyQuery::default()).rows(0, usize::MAX));
    Ok(tokio::task::spawn_blocking(ask).await??)
}

/// Waits until everything delivered is applied, and compares.
async fn settle(world: &mut World, instance: &RunningInstance) -> anyhow::Result<Account> {
    // What the organisation did since the last delivery was made, too.
    world.live_until(WallClock.now_seconds())?;
    let empty = async {
        while world.waiting()? > 0 {
            assert_alive(instance)?;
            sleep(Duration::from_millis(20)).await;
        }
        anyhow::Ok(())
    };
    timeout(SETTLING, empty).await.context("the last events were not applied in time")??;
    let (view, truth) = (std::sync::Arc::clone(&instance.view), world.organisation.truth());
    Ok(tokio::task::spawn_blocking(move || account::settle(&view, &truth)).await??)
}

fn tell(account: &Account, world: &World) -> anyhow::Result<ExitCode> {
    let (told, happened) = (account.told, account.happened);
    say(&format!(
        "{} messages delivered; of {} keys Dormouse counted {} uses, {} attempts and {} changes.",
        world.delivered(),
        account.keys,
        told.uses,
        told.attempts,
        told.changes
    ))?;
    say(&format!(
        "What really happened: {} uses, {} attempts and {} changes.",
        happened.uses, happened.attempts, happened.changes
    ))?;
    if account.differences.is_empty() {
        say("Every key's counts and last use are as they happened, and so is every state.")?;
        return Ok(ExitCode::SUCCESS);
    }
    for difference in account.differences.iter().take(20) {
        say(&format!("differs: {difference}"))?;
    }
    bail!("{} differences between what is told and what happened", account.differences.len())
}
