//! The loop: gather, seal, commit, apply, acknowledge; and now and then fold.
//!
//! One epoch at a time. While it is being committed, the next batches gather, so a slow disk makes larger epochs, not
//! longer queues. A commit that cannot be made now (the disk is full) is tried again until it can; meanwhile nothing is
//! acknowledged, and once the bytes in flight reach their bound the sources stop receiving.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dormouse_cloudtrail::{Decoder, NameResolver, UNRESOLVED_ALIAS};
use dormouse_ledger::{Bounds, CoverageOptions, Ledger, Rank, Rules, Tally};
use dormouse_model::{AccountId, Answer, Cell, Clock, EventTime, KeyArn, Region};
use dormouse_store::{CellCounts, Commit, Epoch, Fold, Quarantined, Readers, Store, StoreError, Totals};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::checkpoints::Checkpoints;
use crate::control::{Control, QuarantineAction, QuarantineOutcome, Request};
use crate::epoch::EpochError;
use crate::fold;
use crate::fold::Changed;
use crate::history::{self, HistoryIntake, Submitted};
use crate::intake::{Decoded, ObjectIntakes, OnPoison, PipelineIntake};
use crate::inventory::{self, InventoryIntake, SubmittedAnswers};
use crate::metrics::{Metrics, Observed, observe};
use crate::recent::SharedRecent;
use crate::recover::{Shared, State, recover};
use crate::seal::{History, Sealed, seal, seal_answers, seal_history};
use crate::view::LiveView;

/// How the pipeline works; the defaults suit everyone who has not measured.
#[derive(Clone, Debug)]
pub struct PipelineOptions {
    /// An epoch is sealed this long after its first batch …
    pub epoch_interval: Duration,
    /// … or when it has so many observations and no further batch waits …
    pub epoch_observations: usize,
    /// … or so many encoded bytes.
    pub epoch_bytes: usize,
    /// How many KiB of messages may be in flight, from receipt to acknowledgement.
    pub in_flight_kib: u32,
    /// How many ids of counted observations are remembered.
    pub id_bound: usize,
    /// The tables are written this often …
    pub fold_interval: Duration,
    /// … or when so many keys changed …
    pub fold_keys: usize,
    /// … or when the journal grew by so many bytes.
    pub fold_bytes: usize,
    /// An event that is ahead of the clock by no more than this is tried again when its time has come.
    pub future_hold_seconds: u32,
    /// Bounds on what an attacker can invent.
    pub bounds: Bounds,
    /// What is configured about claims. Its operations are those of the decoder.
    pub coverage: CoverageOptions,
}

impl Default for PipelineOptions {
    fn default() -> Self {
        Self {
            epoch_interval: Duration::from_millis(200),
            epoch_observations: 2_000,
            epoch_bytes: 4 << 20,
            in_flight_kib: 64 << 10,
            id_bound: 1_000_000,
            fold_interval: Duration::from_secs(30),
            fold_keys: 50_000,
            fold_bytes: 128 << 20,
            future_hold_seconds: 3_600,
            bounds: Bounds::default(),
            coverage: CoverageOptions::default(),
        }
    }
}

/// Why the pipeline stopped.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The store failed for good.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The journal is damaged.
    #[error(transparent)]
    Epoch(#[from] EpochError),
    /// Another process writes to the store now.
    #[error("another process has taken over the store; this one stops")]
    Fenced,
    /// The metrics contradict each other: a bug.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
    /// The tables were written again and again while they were being read.
    #[error("the key tables are being written too often to be read at one moment; try again")]
    Moving,
    /// A bug.
    #[error("the committing task panicked: {0}")]
    Panicked(String),
}

/// What the pipeline has done, for logs, health and metrics.
#[derive(Debug)]
pub struct Progress {
    observations: AtomicU64,
    folds: AtomicU64,
    paused: AtomicBool,
    lag_seconds: AtomicU32,
    tally: Mutex<Tally>,
    metrics: Metrics,
}

impl Progress {
    fn new(tally: Tally) -> Result<Self, PipelineError> {
        Ok(Self {
            observations: AtomicU64::new(0),
            folds: AtomicU64::new(0),
            paused: AtomicBool::new(false),
            lag_seconds: AtomicU32::new(0),
            tally: Mutex::new(tally),
            metrics: Metrics::new()?,
        })
    }

    /// Epochs committed by this process.
    pub fn epochs(&self) -> u64 {
        self.metrics.epochs.get()
    }

    /// Observations committed by this process, duplicates included.
    pub fn observations(&self) -> u64 {
        self.observations.load(Ordering::Acquire)
    }

    /// Times the tables were written by this process.
    pub fn folds(&self) -> u64 {
        self.folds.load(Ordering::Relaxed)
    }

    /// Whether commits are being refused (the disk is full, say), so that nothing is acknowledged.
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Seconds from event to commit, the mean of the last epoch that had observations; `None` before the first.
    pub fn lag_seconds(&self) -> Option<u32> {
        (self.observations() > 0).then(|| self.lag_seconds.load(Ordering::Relaxed))
    }

    /// What became of the records, since the store was made.
    pub fn tally(&self) -> Tally {
        *self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is measured.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn pause(&self, is_paused: bool) -> bool {
        self.metrics.paused.set(i64::from(is_paused));
        self.paused.swap(is_paused, Ordering::Relaxed)
    }

    fn note(&self, observed: &Observed, tally: Tally, now: EventTime) {
        *self.tally.lock().unwrap_or_else(PoisonError::into_inner) = tally;
        self.metrics.epochs.inc();
        for (source, tally) in &observed.sources {
            self.metrics.note_events(source, *tally);
        }
        self.metrics.note_controls(observed);
        self.metrics.note_observations(observed, now);
        let count = observed.times.len() as u64;
        let sum: u64 = observed.times.iter().map(|&time| u64::from(now.seconds_since(time))).sum();
        if let Some(mean) = sum.checked_div(count) {
            self.lag_seconds.store(u32::try_from(mean).unwrap_or(u32::MAX), Ordering::Relaxed);
        }
        self.observations.fetch_add(count, Ordering::Release);
    }
}

/// The pipeline over one store.
pub struct Pipeline {
    core: Core,
    batches: mpsc::UnboundedReceiver<Decoded>,
    requests: mpsc::Receiver<Request>,
    control: Control,
    cells: mpsc::Receiver<Submitted>,
    history: HistoryIntake,
    answers: mpsc::Receiver<SubmittedAnswers>,
    inventory: InventoryIntake,
    intake: PipelineIntake,
    progress: Arc<Progress>,
    options: PipelineOptions,
    folding: Option<JoinHandle<Result<Duration, PipelineError>>>,
    last_fold: Instant,
}

/// How far sources have come.
#[derive(Clone, Debug)]
pub struct CheckpointView(Shared<Checkpoints>);

impl CheckpointView {
    /// How far this source has come.
    pub fn of_source(&self, source: &str) -> Vec<dormouse_model::Checkpoint> {
        self.0.read().of_source(source)
    }
}

/// Knows aliases by what the ledger heard of them, and KMS confirmed later than this margin.
struct LedgerNames {
    ledger: Arc<Ledger<Rank>>,
    margin_seconds: u32,
}

impl NameResolver for LedgerNames {
    fn key_of(&self, account: AccountId, region: Region, alias: &str, at: EventTime) -> Option<KeyArn> {
        self.ledger.aliases().at(&(account, region, alias.into()), at, self.margin_seconds)
    }
}

/// What moves to the blocking threads and back.
struct Core {
    store: Arc<dyn Store>,
    state: State,
}

/// How often the quarantine is asked for messages whose time has come.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// How many of them are tried at once.
const RETRY_BATCH: usize = 100;
/// How often tables and memory are looked at again because a fold passed between the two looks.
const MOST_LOOKS: u32 = 20;
/// How long a refused commit waits before the next try: from the first to the longest.
const COMMIT_BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

impl Pipeline {
    /// Reads the store's state; blocks while it does.
    pub fn open(
        store: Arc<dyn Store>,
        decoder: Arc<Decoder>,
        clock: Arc<dyn Clock>,
        options: PipelineOptions,
    ) -> Result<Self, PipelineError> {
        let coverage = CoverageOptions { operations: decoder.table().clone(), ..options.coverage.clone() };
        let state = recover(&*store, options.bounds, options.id_bound, coverage)?;
        let names = Arc::new(LedgerNames {
            ledger: Arc::clone(&state.ledger),
            margin_seconds: options.coverage.delivery_delay_seconds,
        });
        let decoder = Arc::new(Arc::unwrap_or_clone(decoder).with_names(names));
        let (out, batches) = mpsc::unbounded_channel();
        let permits =
            usize::try_from(options.in_flight_kib).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let intake = PipelineIntake {
            decoder,
            clock,
            budget: Arc::new(Semaphore::new(permits)),
            budget_kib: options.in_flight_kib,
            future_hold_seconds: options.future_hold_seconds,
            on_poison: OnPoison::default(),
            objects: None,
            all_objects: ObjectIntakes::default(),
            out,
        };
        let progress = Arc::new(Progress::new(state.current_totals().tally)?);
        let core = Core { store, state };
        let (control, requests) = Control::channel();
        let (history, cells) = HistoryIntake::channel(core.state.coverage.clone());
        let State { ledger, inventory, coverage, .. } = &core.state;
        let (inventory, answers) =
            InventoryIntake::channel(Arc::clone(ledger), inventory.clone(), coverage.clone());
        Ok(Self {
            core,
            batches,
            requests,
            control,
            cells,
            history,
            answers,
            inventory,
            intake,
            progress,
            options,
            folding: None,
            last_fold: Instant::now(),
        })
    }

    /// A way in for one source.
    pub fn intake(&self, on_poison: OnPoison) -> PipelineIntake {
        PipelineIntake { on_poison, ..self.intake.clone() }
    }

    /// The state of all keys.
    pub fn ledger(&self) -> Arc<Ledger<Rank>> {
        Arc::clone(&self.core.state.ledger)
    }

    /// What has been done so far.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// A way to ask for something while it runs.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// A way in for history.
    pub fn history(&self) -> HistoryIntake {
        self.history.clone()
    }

    /// A way in for what AWS says when it is asked.
    pub fn inventory(&self) -> InventoryIntake {
        self.inventory.clone()
    }

    /// How far sources have come, now and while it runs.
    pub fn checkpoints(&self) -> CheckpointView {
        CheckpointView(self.core.state.checkpoints.clone())
    }

    /// What is known now, for as long as the pipeline lives and after it. `readers` are those of its store; keys are
    /// judged by `rules`.
    pub fn view(&self, readers: Readers, rules: Arc<Rules>) -> LiveView {
        let state = &self.core.state;
        let (ledger, recent) = (Arc::clone(&state.ledger), state.recent.clone());
        let (coverage, inventory) = (state.coverage.clone(), state.inventory.clone());
        let clock = Arc::clone(&self.intake.clock);
        LiveView::new(ledger, recent, coverage, inventory, readers, clock, rules)
    }

    /// Works until `stop`, then commits what has come in, writes the tables and returns the counters. Stop it after the
    /// sources have returned: they wait for their acknowledgements.
    pub async fn run(mut self, stop: CancellationToken) -> Result<Totals, PipelineError> {
        let mut retries = interval(RETRY_INTERVAL);
        retries.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut folds = interval(self.options.fold_interval.min(Duration::from_secs(1)));
        folds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let batches = tokio::select! {
                () = stop.cancelled() => break,
                first = self.batches.recv() => self.gather(first).await,
                Some(request) = self.requests.recv() => {
                    self.answer(request, &stop).await?;
                    continue;
                }
                Some(first) = self.cells.recv() => {
                    if !self.commit_history(first, &stop).await? {
                        break;
                    }
                    self.fold_if_due().await?;
                    continue;
                }
                Some(first) = self.answers.recv() => {
                    if !self.commit_answers(first, &stop).await? {
                        break;
                    }
                    Vec::new()
                }
                _ = retries.tick() => self.due_for_retry().await?,
                _ = folds.tick() => Vec::new(),
            };
            if !batches.is_empty() && !self.commit(batches, &stop).await? {
                break;
            }
            self.fold_if_due().await?;
        }
        self.finish(&stop).await
    }

    /// The first batch, and what comes in until the epoch is due.
    async fn gather(&mut self, first: Option<Decoded>) -> Vec<Decoded> {
        let due = Instant::now() + self.options.epoch_interval;
        let mut batches: Vec<Decoded> = first.into_iter().collect();
        let (mut observations, mut bytes) = size_of(&batches);
        while bytes < self.options.epoch_bytes {
            // What waits already goes along: a commit costs the same for many as for few.
            let next = if observations < self.options.epoch_observations {
                timeout_at(due, self.batches.recv()).await.ok().flatten()
            } else {
                self.batches.try_recv().ok()
            };
            let Some(next) = next else { break };
            observations += next.marks.len();
            bytes += next.observations.len();
            batches.push(next);
        }
        batches
    }

    /// Messages of the quarantine whose time has come, decoded once more.
    async fn due_for_retry(&mut self) -> Result<Vec<Decoded>, PipelineError> {
        let (store, now) = (Arc::clone(&self.core.store), self.intake.clock.now_seconds());
        let due = tokio::task::spawn_blocking(move || store.due_for_retry(now, RETRY_BATCH)).await;
        let due = due.map_err(|panic| PipelineError::Panicked(panic.to_string()))??;
        let again = |due: dormouse_store::StoredQuarantined| self.intake.decode_again(due.id, &due.message);
        Ok(due.into_iter().map(again).collect())
    }

    /// Does what a person asked for, and answers when it is durable.
    async fn answer(&mut self, request: Request, stop: &CancellationToken) -> Result<(), PipelineError> {
        let Request { id, action, answer } = request;
        let store = Arc::clone(&self.core.store);
        let kept = tokio::task::spawn_blocking(move || store.quarantined(id)).await;
        let kept = kept.map_err(|panic| PipelineError::Panicked(panic.to_string()))??;
        let outcome = match kept {
            _ if self.progress.is_paused() => QuarantineOutcome::NotNow,
            None => QuarantineOutcome::NoSuchMessage,
            Some(kept) => {
                if action == QuarantineAction::Retry
                    && let Some(again) = self.intake.announced_again(id, &kept.message)
                {
                    // Fetching takes its time, and its outcome comes in like every other batch.
                    tokio::spawn(again.run(answer));
                    return Ok(());
                }
                self.act(id, action, &kept.message, stop).await?
            }
        };
        // Whoever asked may have gone.
        let _ = answer.send(outcome);
        Ok(())
    }

    async fn act(
        &mut self,
        id: i64,
        action: QuarantineAction,
        message: &Quarantined,
        stop: &CancellationToken,
    ) -> Result<QuarantineOutcome, PipelineError> {
        let (batch, outcome) = match action {
            QuarantineAction::Drop => {
                (PipelineIntake::forget(id, &message.source), QuarantineOutcome::Dropped)
            }
            QuarantineAction::Retry => {
                let again = self.intake.decode_again(id, message);
                let still_bad = again.poison.first().and_then(|poison| poison.messages.first());
                let refused = still_bad.map(|message| QuarantineOutcome::Refused {
                    reason: message.reason.clone(),
                    detail: message.detail.clone(),
                });
                (again, refused.unwrap_or(QuarantineOutcome::Applied))
            }
        };
        tracing::info!(
            id,
            source = message.source,
            ?action,
            ?outcome,
            "a quarantined message was looked at again"
        );
        let committed = self.commit(vec![batch], stop).await?;
        Ok(if committed { outcome } else { QuarantineOutcome::NotNow })
    }

    /// Seals, commits and applies one epoch, then tells the sources. False if it had to be given up at the stop.
    async fn commit(
        &mut self,
        batches: Vec<Decoded>,
        stop: &CancellationToken,
    ) -> Result<bool, PipelineError> {
        let now = self.intake.clock.now_seconds();
        let sealed = self.core_blocking(move |core| core.seal(now, batches)).await??;
        self.commit_sealed(sealed, stop).await
    }

    /// Commits the first cell and those that wait behind it. False if they had to be given up at the stop.
    async fn commit_history(
        &mut self,
        first: Submitted,
        stop: &CancellationToken,
    ) -> Result<bool, PipelineError> {
        let mut next = Some(first);
        while let Some(first) = next.take() {
            let (history, answers, left) = history::gather(first, &mut self.cells);
            next = left;
            let now = self.intake.clock.now_seconds();
            let sealed = self.core_blocking(move |core| core.seal_history(now, history)).await??;
            if !self.commit_sealed(sealed, stop).await? {
                return Ok(false);
            }
            for answer in answers {
                // Who asked may have gone.
                let _ = answer.send(());
            }
        }
        Ok(true)
    }

    /// Commits what AWS said. False if it had to be given up at the stop.
    async fn commit_answers(
        &mut self,
        first: SubmittedAnswers,
        stop: &CancellationToken,
    ) -> Result<bool, PipelineError> {
        let (answers, tell) = inventory::gather(first, &mut self.answers);
        let now = self.intake.clock.now_seconds();
        let sealed = self.core_blocking(move |core| core.seal_answers(now, answers)).await??;
        if !self.commit_sealed(sealed, stop).await? {
            return Ok(false);
        }
        for durable in tell {
            // Who asked may have gone.
            let _ = durable.send(());
        }
        Ok(true)
    }

    async fn commit_sealed(
        &mut self,
        sealed: Sealed,
        stop: &CancellationToken,
    ) -> Result<bool, PipelineError> {
        let mut sealed = Some(sealed);
        let mut wait = COMMIT_BACKOFF.0;
        while let Some(epoch) = sealed.take() {
            let began = Instant::now();
            let (epoch, outcome) = self.core_blocking(move |core| core.commit(epoch)).await?;
            observe(&self.progress.metrics.commit_seconds, began.elapsed());
            match outcome? {
                Commit::Committed => self.settle(epoch),
                Commit::Fenced => return Err(PipelineError::Fenced),
                Commit::Retry(reason) => {
                    self.note_pause(&reason);
                    if stop.is_cancelled() {
                        return Ok(false);
                    }
                    sleep(wait).await;
                    wait = (wait * 2).min(COMMIT_BACKOFF.1);
                    sealed = Some(epoch);
                }
            }
        }
        Ok(true)
    }

    fn note_pause(&self, reason: &str) {
        self.progress.metrics.commits_refused.inc();
        if !self.progress.pause(true) {
            tracing::error!(reason, "commits are refused: nothing is acknowledged until they succeed again");
        }
    }

    fn settle(&mut self, epoch: Sealed) {
        if self.progress.pause(false) {
            tracing::info!("commits succeed again");
        }
        let tally = self.core.state.recent.read().tally();
        self.progress.note(&epoch.observed, tally, self.intake.clock.now_seconds());
        for settle in epoch.settle {
            settle.tell();
        }
    }

    /// Runs something that may block on the disk, with the state, on a thread that may.
    async fn core_blocking<R: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Core) -> R + Send + 'static,
    ) -> Result<R, PipelineError> {
        // The state is gone while the other thread has it; a placeholder keeps its place.
        let placeholder = Core { store: Arc::clone(&self.core.store), state: State::empty() };
        let mut core = std::mem::replace(&mut self.core, placeholder);
        let outcome = tokio::task::spawn_blocking(move || {
            let outcome = work(&mut core);
            (core, outcome)
        });
        let (core, outcome) = outcome.await.map_err(|panic| PipelineError::Panicked(panic.to_string()))?;
        self.core = core;
        Ok(outcome)
    }

    async fn fold_if_due(&mut self) -> Result<(), PipelineError> {
        if let Some(folding) = &self.folding {
            if !folding.is_finished() {
                return Ok(());
            }
            self.finish_fold().await?;
        }
        let state = &self.core.state;
        let keys = state.recent.read().delta.keys.len();
        let is_due = self.last_fold.elapsed() >= self.options.fold_interval
            || keys >= self.options.fold_keys
            || state.unfolded_bytes >= self.options.fold_bytes;
        if is_due && state.unfolded_bytes > 0 {
            self.start_fold().await?;
        }
        Ok(())
    }

    async fn start_fold(&mut self) -> Result<(), PipelineError> {
        self.last_fold = Instant::now();
        let fold = self.core_blocking(Core::prepare_fold).await?;
        let (store, recent) = (Arc::clone(&self.core.store), self.core.state.recent.clone());
        self.folding = Some(tokio::spawn(write_fold(store, fold, recent)));
        Ok(())
    }

    async fn finish_fold(&mut self) -> Result<(), PipelineError> {
        if let Some(folding) = self.folding.take() {
            let took = folding.await.map_err(|panic| PipelineError::Panicked(panic.to_string()))??;
            observe(&self.progress.metrics.fold_seconds, took);
            self.progress.folds.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn finish(mut self, stop: &CancellationToken) -> Result<Totals, PipelineError> {
        self.batches.close();
        let mut rest = Vec::new();
        while let Ok(batch) = self.batches.try_recv() {
            rest.push(batch);
        }
        let committed = rest.is_empty() || self.commit(rest, stop).await?;
        if self.progress.is_paused() {
            // The tables can wait: the journal has everything.
            if let Some(folding) = self.folding.take() {
                folding.abort();
            }
        } else {
            self.finish_fold().await?;
            let has_more = self.core.state.unfolded_bytes > 0;
            if committed && has_more {
                self.start_fold().await?;
                self.finish_fold().await?;
            }
        }
        Ok(self.core.state.current_totals())
    }
}

impl Core {
    fn seal(&mut self, now: EventTime, batches: Vec<Decoded>) -> Result<Sealed, PipelineError> {
        self.state.last_seq += 1;
        let room = self.store.quarantine_room();
        let state = &mut self.state;
        let coverage = state.coverage.read();
        Ok(seal(state.last_seq, now, &mut state.window, &coverage, batches, room)?)
    }

    fn seal_answers(&mut self, now: EventTime, answers: Vec<Answer>) -> Result<Sealed, PipelineError> {
        self.state.last_seq += 1;
        let state = &self.state;
        Ok(seal_answers(state.last_seq, now, state.window.floor(), &state.coverage.read(), answers)?)
    }

    fn seal_history(&mut self, now: EventTime, mut history: History) -> Result<Sealed, PipelineError> {
        self.state.last_seq += 1;
        let Self { store, state } = self;
        let kept_from = now.day().saturating_sub(store.kept_days());
        // What was counted of a day so old is no longer in the tables: read again, it would count twice. Its evidence
        // merges.
        let is_gone = |cell: Cell| cell.day < kept_from && state.coverage.read().finished().has(cell);
        for cell in history.cells.iter_mut().filter(|cell| is_gone(cell.cell)) {
            cell.keys.clear();
        }
        seal_history(state.last_seq, now, state.window.floor(), history, |cell| {
            if is_gone(cell) {
                return Ok(CellCounts::default());
            }
            // Tables that are of another moment than memory were written between the two looks.
            for _ in 0..MOST_LOOKS {
                let (tables, mut counts) = store.cell(cell)?;
                if state.recent.read().add_cell(cell, tables, &mut counts) {
                    return Ok(counts);
                }
            }
            Err(PipelineError::Moving)
        })
    }

    fn commit(&mut self, sealed: Sealed) -> (Sealed, Result<Commit, PipelineError>) {
        let epoch = Epoch {
            seq: sealed.seq,
            sealed_at: sealed.sealed_at,
            body: &sealed.body,
            quarantine: &sealed.quarantine,
            released: &sealed.released,
        };
        let outcome = match self.store.commit(&epoch) {
            Ok(Commit::Committed) => self.apply(&sealed).map(|()| Commit::Committed),
            Ok(other) => Ok(other),
            Err(error) => Err(error.into()),
        };
        (sealed, outcome)
    }

    /// What is durable becomes visible.
    fn apply(&mut self, sealed: &Sealed) -> Result<(), PipelineError> {
        let has_changed = !sealed.released.is_empty() || !sealed.quarantine.is_empty();
        let unread = if has_changed { Some(self.store.unread()?) } else { None };
        self.state.apply(&sealed.body, unread)?;
        for &place in &sealed.aliases {
            self.store.retry_at(UNRESOLVED_ALIAS, place, sealed.sealed_at)?;
        }
        Ok(())
    }

    fn prepare_fold(&mut self) -> Fold {
        let state = &mut self.state;
        let totals = state.current_totals();
        state.unfolded_bytes = 0;
        let delta = {
            let mut recent = state.recent.write();
            recent.totals = totals.clone();
            recent.begin_fold(state.last_seq)
        };
        let changed = Changed {
            coverage: state.coverage.write().take_changed(),
            inventory: state.inventory.write().take_changed(),
            checkpoints: state.checkpoints.write().take_changed(),
        };
        fold::prepare(state.last_seq, delta, &state.ledger, &state.window, totals, changed)
    }
}

/// Writes the tables, as often as it takes, and returns how long the last try took.
async fn write_fold(
    store: Arc<dyn Store>,
    fold: Fold,
    recent: SharedRecent,
) -> Result<Duration, PipelineError> {
    let fold = Arc::new(fold);
    let mut wait = COMMIT_BACKOFF.0;
    loop {
        let began = Instant::now();
        let (store, this_fold) = (Arc::clone(&store), Arc::clone(&fold));
        let outcome = tokio::task::spawn_blocking(move || store.fold(&this_fold)).await;
        match outcome.map_err(|panic| PipelineError::Panicked(panic.to_string()))?? {
            Commit::Committed => {
                let took = began.elapsed();
                let done = recent.write().end_fold(fold.upto);
                // Tens of thousands of keys with all that happened to them: nobody waits for their end.
                drop(tokio::task::spawn_blocking(move || drop((done, fold))));
                return Ok(took);
            }
            Commit::Fenced => return Err(PipelineError::Fenced),
            Commit::Retry(reason) => {
                tracing::warn!(
                    reason,
                    "the key tables cannot be written now; the journal keeps what they lack"
                );
                sleep(wait).await;
                wait = (wait * 2).min(COMMIT_BACKOFF.1);
            }
        }
    }
}

fn size_of(batches: &[Decoded]) -> (usize, usize) {
    let observations = batches.iter().map(|batch| batch.marks.len()).sum();
    let bytes = batches.iter().map(|batch| batch.observations.len()).sum();
    (observations, bytes)
}
