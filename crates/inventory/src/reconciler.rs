//! The reconciler: passes at an interval or when asked for, and what goes on between them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dormouse_model::{AccountId, Clock};
use dormouse_pipeline::control::Stopped;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accounts::TagCache;
use crate::cloud::Cloud;
use crate::house::House;
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::pass::{self, Pass};
use crate::report::{PassOutcome, PassReport, Scope, Status};
use crate::usage::Candidates;
use crate::{InventoryOptions, heartbeat, look_out, usage};

/// How long a stop waits for answers on their way to the journal.
const STOP_WITHIN: Duration = Duration::from_secs(25);

/// Who asks AWS, and how: everything that the reconciler needs.
pub struct Parts<C, J> {
    /// AWS.
    pub cloud: C,
    /// Where answers go.
    pub journal: J,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// What is measured. Whoever starts the reconciler registers them.
    pub metrics: Arc<Metrics>,
    /// Which keys KMS should be asked about first.
    pub candidates: Arc<dyn Candidates>,
    /// How.
    pub options: InventoryOptions,
}

/// The running reconciler. It ends when it is stopped or dropped.
pub struct Reconciler {
    shared: Shared,
    desk: Arc<Desk>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Where passes are asked for: several asks melt into one.
#[derive(Default)]
struct Desk {
    state: Mutex<DeskState>,
    news: Notify,
}

#[derive(Default)]
struct DeskState {
    /// The number of the pass that began last.
    begun: u64,
    /// What the next one is asked for.
    waiting: Option<Scope>,
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, DeskState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of the pass that will answer.
    fn ask(&self, scope: Scope) -> u64 {
        let mut state = self.state();
        state.waiting = Some(match state.waiting.take() {
            Some(waiting) => waiting.or(scope),
            None => scope,
        });
        self.news.notify_one();
        state.begun + 1
    }

    /// A pass begins: its number, and what it is asked for.
    fn begin(&self, scheduled: bool) -> Option<(u64, Scope)> {
        let mut state = self.state();
        let scope = match state.waiting.take() {
            _ if scheduled => Scope::default(),
            waiting => waiting?,
        };
        state.begun += 1;
        Some((state.begun, scope))
    }
}

/// What the handle sees of the running parts.
struct Shared {
    status: Box<dyn Fn() -> Status + Send + Sync>,
    running: watch::Receiver<Option<Arc<Pass>>>,
    ended: watch::Receiver<u64>,
}

impl Reconciler {
    /// Starts it on the current runtime.
    pub fn start<C: Cloud, J: Journal>(parts: Parts<C, J>) -> Self {
        let Parts { cloud, journal, clock, metrics, candidates, options } = parts;
        let house = Arc::new(House::new(cloud, journal, clock, metrics, candidates, options));
        let desk = Arc::new(Desk::default());
        let (running, running_seen) = watch::channel(None);
        let (ended, ended_seen) = watch::channel(0);
        let tasks = TaskTracker::new();
        let stop = house.stop.clone();
        let passes = Passes {
            house: Arc::clone(&house),
            desk: Arc::clone(&desk),
            running,
            ended,
            tags: TagCache::default(),
        };
        tasks.spawn(passes.run());
        tasks.spawn(heartbeat::run(Arc::clone(&house)));
        tasks.spawn(look_out::run(Arc::clone(&house)));
        tasks.spawn(usage::run(Arc::clone(&house)));
        tasks.close();
        let shared = Shared {
            status: Box::new(move || house.status().clone()),
            running: running_seen,
            ended: ended_seen,
        };
        Self { shared, desk, tasks, stop }
    }

    /// Asks for a pass through this, as soon as the one that may be running has ended. Several asks make one pass.
    /// Returns the number of the pass that will answer it.
    pub fn ask(&self, scope: Scope) -> Result<u64, Stopped> {
        if self.stop.is_cancelled() {
            return Err(Stopped);
        }
        Ok(self.desk.ask(scope))
    }

    /// Waits until a pass of this number or a later one has ended.
    pub async fn ended(&self, number: u64) -> Result<PassReport, Stopped> {
        let mut ended = self.shared.ended.clone();
        ended.wait_for(|ended| *ended >= number).await.map_err(|_| Stopped)?;
        (self.shared.status)().last.ok_or(Stopped)
    }

    /// What it is about.
    pub fn status(&self) -> Status {
        let mut status = (self.shared.status)();
        status.asked = self.desk.state().waiting.is_some();
        status.running = self.shared.running.borrow().as_ref().map(|pass| pass.report());
        status
    }

    /// Begins the stop: nothing new is begun.
    pub fn cancel(&self) {
        self.stop.cancel();
    }

    /// Stops: nothing new is begun, what was answered is handed over. Returns whether that was done in time.
    pub async fn stop(&self) -> bool {
        self.stop.cancel();
        tokio::time::timeout(STOP_WITHIN, self.tasks.wait()).await.is_ok()
    }
}

impl Drop for Reconciler {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The task that runs passes, one at a time.
struct Passes<C: Cloud, J: Journal> {
    house: Arc<House<C, J>>,
    desk: Arc<Desk>,
    running: watch::Sender<Option<Arc<Pass>>>,
    ended: watch::Sender<u64>,
    tags: TagCache,
}

impl<C: Cloud, J: Journal> Passes<C, J> {
    async fn run(self) {
        let mut random = self.house.options.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        let mut jittered = move |interval: Duration| interval.mul_f64(0.9 + random.f64() / 10.0);
        let mut next = Instant::now() + jittered(self.house.options.first_pass_after);
        loop {
            self.tell_next(next);
            let scheduled = tokio::select! {
                () = self.house.stop.cancelled() => return,
                () = sleep_until(next) => true,
                () = self.desk.news.notified() => false,
            };
            let Some((number, scope)) = self.desk.begin(scheduled) else { continue };
            if scope.is_all() {
                next = Instant::now() + jittered(self.house.options.interval);
            }
            if !scheduled {
                self.forgive(&scope);
            }
            if self.pass(number, scope).await.is_err() {
                // The pipeline has stopped: there is nowhere to put an answer.
                self.house.stop.cancel();
                return;
            }
        }
    }

    /// Whoever asks has perhaps mended what was refused: it is tried again at once.
    fn forgive(&self, scope: &Scope) {
        let refused: Vec<AccountId> = self.house.journal.look(|inventory| {
            let accounts = inventory.accounts().filter(|(_, known)| known.trouble.is_some());
            accounts.map(|(account, _)| account).filter(|account| scope.has_account(*account)).collect()
        });
        for account in refused {
            self.house.cloud.leave(account);
        }
    }

    fn tell_next(&self, next: Instant) {
        let wait = next.saturating_duration_since(Instant::now()).as_secs();
        let at = self.house.now().plus(u32::try_from(wait).unwrap_or(u32::MAX));
        self.house.status().next = Some(at);
    }

    async fn pass(&self, number: u64, scope: Scope) -> Result<(), Stopped> {
        let started = self.house.now();
        let report = PassReport::new(number, scope, started);
        let pass = Arc::new(Pass::new(report, self.house.stop.child_token()));
        self.running.send_replace(Some(Arc::clone(&pass)));
        let result = pass::run(&self.house, &pass, &self.tags).await;
        self.running.send_replace(None);
        let report = pass.report();
        {
            let mut status = self.house.status();
            if report.outcome == Some(PassOutcome::Done) && report.scope.is_all() {
                status.last_done = Some(started);
            }
            status.last = Some(report.clone());
        }
        self.ended.send_replace(number);
        self.house.pass_ended.notify_one();
        tracing::info!(
            pass = number,
            outcome = report.outcome.map_or("interrupted", PassOutcome::name),
            seconds = report.seconds,
            places = report.places.total,
            failed = report.places.failed,
            new = report.keys.new,
            changed = report.keys.changed,
            gone = report.keys.gone,
            redescribed = report.keys.redescribed,
            "the inventory was reconciled"
        );
        result
    }
}
