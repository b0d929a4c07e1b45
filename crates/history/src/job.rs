//! All places at once; starting, stopping and remembering jobs.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use dormouse_cloudtrail::Decoder;
use dormouse_model::{Cell, Clock, Place};
use dormouse_sources::objects::ObjectStore;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::finish::Finish;
use crate::layout::{Bucket, Roots, find_places};
use crate::place::{Ended, Work, work_through};
use crate::progress::{JobProgress, JobState, Meter};
use crate::read::Reading;
use crate::request::{BackfillRequest, Day, RequestError};

/// So many ids are remembered at once by all cells that are open: 40 bytes each.
const MOST_IDS: usize = 32 << 20;
/// So many ids a cell remembers at least: nobody's day but the largest accounts' has more.
const FEWEST_IDS_OF_A_CELL: usize = 2 << 20;
/// So many jobs that have ended are remembered.
const MOST_ENDED: usize = 10;

/// A job that was started. Clones are the same job.
#[derive(Clone)]
pub struct JobHandle {
    id: u64,
    cancel: CancellationToken,
    progress: Arc<dyn Fn() -> JobProgress + Send + Sync>,
    ended: watch::Receiver<bool>,
}

impl JobHandle {
    /// The job's number.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// How far it is.
    pub fn progress(&self) -> JobProgress {
        (self.progress)()
    }

    /// Ends it soon. What was finished stays finished.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        // Nobody can tell any more: the task is gone, which is an end, too.
        *self.ended.borrow() || self.ended.has_changed().is_err()
    }

    /// Waits until it has ended, and says how.
    pub async fn wait(&self) -> JobProgress {
        let mut ended = self.ended.clone();
        // An error means that the task is gone, which is an end, too.
        let _ = ended.wait_for(|ended| *ended).await;
        self.progress()
    }
}

/// Starts a job. `store` must be what the request names, and keep to its bandwidth.
///
/// # Errors
/// If the request makes no sense, or asks for days that cannot be finished yet.
pub fn start<F: Finish>(
    id: u64,
    request: BackfillRequest,
    store: Arc<dyn ObjectStore>,
    finish: F,
    decoder: Arc<Decoder>,
    clock: &dyn Clock,
) -> Result<JobHandle, RequestError> {
    let now = clock.now_seconds();
    request.check(now)?;
    let cancel = CancellationToken::new();
    let bucket = Bucket { store, name: request.bucket.as_deref().unwrap_or("local").into() };
    let is_bucket = request.bucket.is_some();
    let reading = Reading { bucket, is_bucket, decoder, now, cancel: cancel.clone() };
    let work = Work {
        reading,
        finish,
        meter: Meter::new(id, request.clone()),
        permits: Arc::new(Semaphore::new(request.concurrency)),
        concurrency: request.concurrency,
        most_ids: (MOST_IDS / (2 * request.concurrency)).max(FEWEST_IDS_OF_A_CELL),
    };
    let work = Arc::new(work);
    let (told, ended) = watch::channel(false);
    let metered = Arc::clone(&work);
    tokio::spawn(async move {
        let state = match run(&work, &request).await {
            Ok(()) => JobState::Done,
            Err(Ended::Cancelled) => JobState::Cancelled,
            Err(Ended::Failed(reason)) => {
                work.meter.problem(&reason);
                JobState::Failed
            }
        };
        work.meter.end(state);
        let _ = told.send(true);
    });
    let progress = move || metered.meter.progress();
    Ok(JobHandle { id, cancel, progress: Arc::new(progress), ended })
}

async fn run<F: Finish>(work: &Arc<Work<F>>, request: &BackfillRequest) -> Result<(), Ended> {
    let cancel = work.reading.cancel.clone();
    let found = tokio::select! {
        () = cancel.cancelled() => return Err(Ended::Cancelled),
        found = find_places(&work.reading.bucket, request) => found,
    };
    let places = found.map_err(|failure| Ended::Failed(failure.to_string().into()))?;
    if places.is_empty() {
        let text = format!("there is nothing below {} that was asked for", request.root());
        return Err(Ended::Failed(text.into()));
    }
    tell_what_is_not_there(work, request, &places);
    let planned = plan(work, request, places);
    let ended = all_places(work, request, planned).await;
    // One place that ended because the job was cancelled, and one that failed meanwhile: it was cancelled.
    if ended.is_err() && cancel.is_cancelled() && !matches!(ended, Err(Ended::Failed(_))) {
        return Err(Ended::Cancelled);
    }
    ended
}

/// A place, the account folders that hold its objects, and the days to read.
type Planned = (Place, Vec<String>, Vec<u32>);

/// Who asks for an account and does not get it must not take it for a quiet one.
fn tell_what_is_not_there<F: Finish>(work: &Work<F>, request: &BackfillRequest, places: &Roots) {
    for account in request.accounts.iter().flatten() {
        if !places.keys().any(|place| place.account == *account) {
            work.meter.problem(&format!("{account}: nothing that was asked for is there"));
        }
    }
    for region in request.regions.iter().flatten() {
        if !places.keys().any(|place| place.region == *region) {
            work.meter.problem(&format!("{region}: nothing that was asked for is there"));
        }
    }
}

/// What is left to be read of each place.
fn plan<F: Finish>(work: &Work<F>, request: &BackfillRequest, places: Roots) -> VecDeque<Planned> {
    let mut planned = VecDeque::with_capacity(places.len());
    let (mut total, mut left) = (0, 0);
    for (place, roots) in places {
        let is_left = |&day: &u32| request.again || !work.finish.is_finished(Cell { place, day });
        let days: Vec<u32> = request.days().filter(is_left).collect();
        for day in request.days().filter(|day| !is_left(day)) {
            if work.finish.is_incomplete(Cell { place, day }) {
                let Place { account, region } = place;
                let day = Day::from_number(day);
                let text = format!(
                    "{account} {region} {day}: was read before and is incomplete; --again reads it once more"
                );
                work.meter.problem(&text);
            }
        }
        total += request.days().count() as u64;
        left += days.len() as u64;
        planned.push_back((place, roots, days));
    }
    work.meter.note(|numbers| {
        numbers.places = planned.len() as u64;
        numbers.cells.total = total;
        numbers.cells.skipped = total - left;
    });
    planned.retain(|(_, _, days)| !days.is_empty());
    planned
}

/// As many places at once as objects may be: a thousand quiet accounts have one object at a time each, a single busy one
/// has them all.
async fn all_places<F: Finish>(
    work: &Arc<Work<F>>,
    request: &BackfillRequest,
    mut planned: VecDeque<Planned>,
) -> Result<(), Ended> {
    let mut walks = JoinSet::new();
    let mut ended = Ok(());
    loop {
        while ended.is_ok()
            && walks.len() < request.concurrency
            && let Some((place, roots, days)) = planned.pop_front()
        {
            walks.spawn(work_through(Arc::clone(work), place, roots, days));
        }
        let walked = match walks.join_next().await {
            None => return ended,
            Some(Ok(walked)) => walked,
            Some(Err(error)) => Err(Ended::Failed(error.to_string().into())),
        };
        if let Err(why) = walked {
            // The others are told, and finish what is on its way.
            work.reading.cancel.cancel();
            ended = match (ended, why) {
                (Err(Ended::Failed(first)), _) => Err(Ended::Failed(first)),
                (_, why) => Err(why),
            };
        }
    }
}

/// The jobs of a process: one at a time, and the last ones that have ended.
#[derive(Default)]
pub struct Jobs {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    last_id: u64,
    /// The latest last.
    jobs: VecDeque<JobHandle>,
}

/// A job cannot be started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// One is running.
    #[error("job {0} is running: wait for its end, or cancel it")]
    Busy(u64),
    /// What is asked for cannot be done.
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl Jobs {
    /// Starts a job, unless one is running.
    pub fn start<F: Finish>(
        &self,
        request: BackfillRequest,
        store: Arc<dyn ObjectStore>,
        finish: F,
        decoder: Arc<Decoder>,
        clock: &dyn Clock,
    ) -> Result<JobHandle, StartError> {
        let mut known = self.known();
        if let Some(running) = known.jobs.iter().find(|job| !job.has_ended()) {
            return Err(StartError::Busy(running.id));
        }
        let id = known.last_id + 1;
        let job = start(id, request, store, finish, decoder, clock)?;
        known.last_id = id;
        known.jobs.push_back(job.clone());
        // The new one is running; all others have ended.
        while known.jobs.len() > MOST_ENDED + 1 {
            known.jobs.pop_front();
        }
        Ok(job)
    }

    /// The jobs, the latest first.
    pub fn all(&self) -> Vec<JobHandle> {
        self.known().jobs.iter().rev().cloned().collect()
    }

    /// The job with this number, if it is remembered.
    pub fn get(&self, id: u64) -> Option<JobHandle> {
        self.known().jobs.iter().find(|job| job.id == id).cloned()
    }

    /// The job that is running.
    pub fn running(&self) -> Option<JobHandle> {
        self.known().jobs.iter().find(|job| !job.has_ended()).cloned()
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
