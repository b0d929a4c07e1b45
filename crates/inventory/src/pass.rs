//! A pass: which accounts there are, then every Region of each, some at a time, until all are read or time is over.
//!
//! What was read longest ago comes first, so that a pass that ends early leaves other places than the one before. A
//! Region that does not answer must not hold up the others: after a few accounts in a row that heard nothing of it, the
//! rest of its places are put back to the end, and then asked one at a time without patience.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dashmap::DashSet;
use dormouse_aws::Failure;
use dormouse_model::AccountSaid;
use dormouse_model::{AccountId, Answer, KeyArn, KeySaid, Place, PlaceSaid, Region};
use dormouse_pipeline::control::Stopped;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::accounts::{self, TagCache};
use crate::calls::{Asker, Tally};
use crate::cloud::{Access, Cloud};
use crate::failures::Miss;
use crate::house::House;
use crate::journal::Journal;
use crate::operation::Operation;
use crate::place::{PlaceEnd, PlaceResult, PlaceWork, reconcile};
use crate::report::{PassFailure, PassOutcome, PassReport, Scope};

/// After so many places in a row that heard nothing of it a Region is taken for silent.
const SILENT_AFTER: u32 = 3;
/// A silent Region is tried again after so long.
const PROBE_AFTER: Duration = Duration::from_secs(30);
/// How long places may take to hand over what they have once a pass is halted.
const GRACE: Duration = Duration::from_secs(20);

/// What the parts of a pass share.
pub(crate) struct Pass {
    pub(crate) tally: Arc<Tally>,
    /// Nothing new is begun once this is cancelled.
    pub(crate) halt: CancellationToken,
    report: Mutex<PassReport>,
    began: Instant,
    entered: DashSet<AccountId>,
    denied: DashSet<AccountId>,
}

impl Pass {
    pub(crate) fn new(report: PassReport, halt: CancellationToken) -> Self {
        Self {
            tally: Arc::default(),
            halt,
            report: Mutex::new(report),
            began: Instant::now(),
            entered: DashSet::new(),
            denied: DashSet::new(),
        }
    }

    fn report_mut(&self) -> MutexGuard<'_, PassReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was done so far.
    pub(crate) fn report(&self) -> PassReport {
        let mut report = self.report_mut().clone();
        report.seconds = self.began.elapsed().as_secs_f64();
        report.throttled = self.tally.throttled();
        let sent = self.tally.requests().filter(|(_, count)| *count > 0);
        report.requests = sent.map(|(action, count)| (action.to_owned(), count)).collect();
        report.accounts.denied = u64::try_from(self.denied.len()).unwrap_or(u64::MAX);
        report
    }

    /// Whether this is the first time that the account's role was assumed in this pass.
    pub(crate) fn is_first_entry(&self, account: AccountId) -> bool {
        self.entered.insert(account)
    }

    /// Whether this is the first time in this pass that the account's role could not be assumed.
    pub(crate) fn is_first_denial(&self, account: AccountId) -> bool {
        self.denied.insert(account)
    }

    /// Whether the account's role could not be assumed in this pass.
    pub(crate) fn is_denied(&self, account: AccountId) -> bool {
        self.denied.contains(&account)
    }

    pub(crate) fn note_answers(&self, answers: usize) {
        self.report_mut().answers += u64::try_from(answers).unwrap_or(u64::MAX);
    }

    pub(crate) fn note_failure(&self, answer: &Answer) {
        let failure = match answer {
            Answer::Account(answer) => match &answer.said {
                AccountSaid::Failed(failure) => {
                    PassFailure { account: Some(answer.account), region: None, failure: failure.clone() }
                }
                _ => return,
            },
            Answer::Place(answer) => match &answer.said {
                PlaceSaid::Failed(failure) => PassFailure {
                    account: Some(answer.place.account),
                    region: Some(answer.place.region),
                    failure: failure.clone(),
                },
                _ => return,
            },
            Answer::Key(answer) => match &answer.said {
                KeySaid::Failed(failure) => PassFailure {
                    account: Some(answer.key.account()),
                    region: Some(answer.key.region()),
                    failure: failure.clone(),
                },
                _ => return,
            },
        };
        self.report_mut().note_failure(failure);
    }
}

/// Runs a pass to its end.
pub(crate) async fn run<C: Cloud, J: Journal>(
    house: &Arc<House<C, J>>,
    pass: &Arc<Pass>,
    tags: &TagCache,
) -> Result<(), Stopped> {
    let deadline = Instant::now() + house.options.deadline;
    let outcome = match list_accounts(house, pass, tags).await? {
        false => PassOutcome::Failed,
        true => read_places(house, pass, deadline).await?,
    };
    let outcome = if house.stop.is_cancelled() { PassOutcome::Stopped } else { outcome };
    let report = {
        let mut report = pass.report_mut();
        report.outcome = Some(outcome);
        report.ended = Some(house.now());
        report.clone()
    };
    house.metrics.note_pass(outcome, pass.began.elapsed());
    house.metrics.note_keys(&report.keys);
    if report.scope.is_all() {
        house.metrics.note_places(&report.places);
        if outcome == PassOutcome::Done {
            house.metrics.note_success(report.started);
        }
    }
    house.tidy();
    Ok(())
}

/// Brings the list of accounts up to date. False if nobody knows any.
async fn list_accounts<C: Cloud, J: Journal>(
    house: &Arc<House<C, J>>,
    pass: &Arc<Pass>,
    tags: &TagCache,
) -> Result<bool, Stopped> {
    let asker = Asker::new(&house.calls, &pass.tally, None, &pass.halt);
    match accounts::refresh(&**house, &asker, tags).await {
        Ok(refreshed) => {
            pass.report_mut().accounts = refreshed.counts;
            note_accounts_failed(house, pass, refreshed.failed.as_ref());
            pass.note_answers(refreshed.answers.len());
            house.submit(refreshed.answers).await?;
            Ok(!house.listing().members.is_empty() || refreshed.failed.is_none())
        }
        Err(miss) => {
            note_accounts_failed(house, pass, Some(&miss));
            Ok(false)
        }
    }
}

fn note_accounts_failed<C: Cloud, J: Journal>(house: &House<C, J>, pass: &Pass, miss: Option<&Miss>) {
    let listing = house.listing();
    let reader = listing.identity.as_ref().map_or("our own principal", |identity| &*identity.arn);
    let failure = miss.map(|miss| miss.told(reader));
    if let Some(failure) = &failure {
        tracing::warn!(operation = %failure.operation, "which accounts there are is not known: {}", failure.message);
        let failure = failure.clone();
        pass.report_mut().note_failure(PassFailure { account: None, region: None, failure });
    }
    house.status().accounts_failed = failure;
}

/// Everything that is to be read, what was read longest ago first.
fn plan<C: Cloud, J: Journal>(house: &House<C, J>, scope: &Scope) -> (VecDeque<PlaceWork>, u64) {
    let listing = house.listing();
    let mut wanted: Vec<(Place, Access)> = Vec::new();
    for member in
        listing.members.iter().filter(|member| member.is_active && scope.has_account(member.account))
    {
        for &region in listing.regions.iter().filter(|region| scope.has_region(**region)) {
            wanted.push((Place { account: member.account, region }, member.access));
        }
    }
    let total = wanted.len();
    if scope.is_all() {
        // Whoever asks for one by name wants to know.
        wanted.retain(|(place, _)| !house.is_not_enabled(*place));
    }
    let not_enabled = u64::try_from(total - wanted.len()).unwrap_or(u64::MAX);
    let mut known = keys_by_place(house, &wanted);
    house.journal.look(|inventory| {
        wanted.sort_by_cached_key(|(place, _)| {
            // Among equals Region by Region would ask one service at a time.
            let read = inventory.place(*place).and_then(|known| known.listed_at);
            (read, place.account.number().wrapping_mul(0x9e37_79b9_7f4a_7c15), place.region.name())
        });
    });
    let work = |(place, access)| PlaceWork { place, access, known: known.remove(&place).unwrap_or_default() };
    (wanted.into_iter().map(work).collect(), not_enabled)
}

/// The keys that are known in these places.
fn keys_by_place<C: Cloud, J: Journal>(
    house: &House<C, J>,
    wanted: &[(Place, Access)],
) -> HashMap<Place, Vec<KeyArn>> {
    let wanted: HashSet<Place> = wanted.iter().map(|(place, _)| *place).collect();
    let mut known: HashMap<Place, Vec<KeyArn>> = HashMap::new();
    house.journal.ledger().for_each_key(|key, _| {
        let place = Place { account: key.account(), region: key.region() };
        if wanted.contains(&place) {
            known.entry(place).or_default().push(key);
        }
    });
    known
}

type Running = JoinSet<(Region, Result<PlaceResult, Stopped>)>;

async fn read_places<C: Cloud, J: Journal>(
    house: &Arc<House<C, J>>,
    pass: &Arc<Pass>,
    deadline: Instant,
) -> Result<PassOutcome, Stopped> {
    let scope = pass.report_mut().scope.clone();
    let (mut queue, not_enabled) = plan(house, &scope);
    {
        let places = &mut pass.report_mut().places;
        places.total = not_enabled + u64::try_from(queue.len()).unwrap_or(u64::MAX);
        places.not_enabled = not_enabled;
    }
    let mut running: Running = JoinSet::new();
    let mut put_back = VecDeque::new();
    let mut due = 0;
    // Silence is judged anew by every pass.
    house.silent.clear();
    let end = sleep_until(deadline);
    tokio::pin!(end);
    loop {
        while running.len() < house.options.places_at_once.max(1)
            && let Some(work) = queue.pop_front()
        {
            if is_silent(house, work.place.region) {
                put_back.push_back(work);
            } else {
                begin(house, pass, &mut running, work, u32::MAX);
            }
        }
        if running.is_empty() && queue.is_empty() {
            break;
        }
        tokio::select! {
            Some(joined) = running.join_next() => note(house, pass, joined, &mut due)?,
            () = &mut end => pass.halt.cancel(),
            () = pass.halt.cancelled() => {}
        }
        if pass.halt.is_cancelled() {
            break;
        }
    }
    if !pass.halt.is_cancelled() {
        probe(house, pass, &mut running, &mut put_back, &mut due, deadline).await?;
    }
    drain(house, pass, &mut running, &mut due).await?;
    let mut report = pass.report_mut();
    let places = &mut report.places;
    places.left = places.total - places.done - places.not_enabled - places.incomplete - places.failed;
    let is_done = places.left + places.incomplete + places.failed == 0;
    house.metrics.note_due(due);
    let list_is_new = house.status().accounts_failed.is_none();
    if report.places.total == 0 {
        tracing::warn!("no account and Region fits what is to be read: nothing was asked");
        return Ok(PassOutcome::Failed);
    }
    Ok(if is_done && list_is_new { PassOutcome::Done } else { PassOutcome::Incomplete })
}

fn begin<C: Cloud, J: Journal>(
    house: &Arc<House<C, J>>,
    pass: &Arc<Pass>,
    running: &mut Running,
    work: PlaceWork,
    patience: u32,
) {
    let (house, pass) = (Arc::clone(house), Arc::clone(pass));
    running.spawn(async move {
        let region = work.place.region;
        (region, reconcile(&house, work, &pass, patience).await)
    });
}

/// One of several in a row heard nothing of the Region, and it is too early to try again.
fn is_silent<C: Cloud, J: Journal>(house: &House<C, J>, region: Region) -> bool {
    house
        .silent
        .get(&region)
        .is_some_and(|silence| silence.count >= SILENT_AFTER && silence.probed.elapsed() < PROBE_AFTER)
}

/// The places of silent Regions: of each Region one is asked; if it hears nothing, the others are not asked.
async fn probe<C: Cloud, J: Journal>(
    house: &Arc<House<C, J>>,
    pass: &Arc<Pass>,
    running: &mut Running,
    put_back: &mut VecDeque<PlaceWork>,
    due: &mut u64,
    deadline: Instant,
) -> Result<(), Stopped> {
    let mut by_region: HashMap<Region, Vec<PlaceWork>> = HashMap::new();
    for work in put_back.drain(..) {
        by_region.entry(work.place.region).or_default().push(work);
    }
    let mut waiting = VecDeque::new();
    let mut probes = Vec::new();
    for (region, mut works) in by_region {
        probes.extend(works.pop());
        waiting.push_back((region, works));
    }
    for work in probes {
        begin(house, pass, running, work, 1);
    }
    while let Some(joined) = running.join_next().await {
        note(house, pass, joined, due)?;
    }
    for (region, works) in waiting {
        let is_silent = house.silent.contains_key(&region);
        for work in works {
            if pass.halt.is_cancelled() || Instant::now() >= deadline {
                return Ok(());
            }
            if is_silent {
                give_up(house, pass, &work).await?;
            } else {
                begin(house, pass, running, work, 1);
                if running.len() >= house.options.places_at_once.max(1)
                    && let Some(joined) = running.join_next().await
                {
                    note(house, pass, joined, due)?;
                }
            }
        }
    }
    Ok(())
}

/// A place of a Region that does not answer others is not asked, and that is said.
async fn give_up<C: Cloud, J: Journal>(
    house: &Arc<House<C, J>>,
    pass: &Arc<Pass>,
    work: &PlaceWork,
) -> Result<(), Stopped> {
    let words = "the Region did not answer in several other accounts; it was not asked here this time";
    let failure = Failure::transient(Operation::ListKeys.action(), words);
    let (_, answer) = house.failed(work.place, &Miss { at: house.now(), failure });
    pass.note_failure(&answer);
    pass.report_mut().places.failed += 1;
    pass.note_answers(1);
    house.submit(vec![answer]).await
}

/// Waits for the places that are being read; not long if the pass is halted.
async fn drain<C: Cloud, J: Journal>(
    house: &Arc<House<C, J>>,
    pass: &Arc<Pass>,
    running: &mut Running,
    due: &mut u64,
) -> Result<(), Stopped> {
    let all = async {
        while let Some(joined) = running.join_next().await {
            note(house, pass, joined, due)?;
        }
        Ok(())
    };
    if !pass.halt.is_cancelled() {
        return all.await;
    }
    if let Ok(all) = timeout(GRACE, all).await {
        return all;
    }
    running.shutdown().await;
    Ok(())
}

fn note<C: Cloud, J: Journal>(
    house: &House<C, J>,
    pass: &Pass,
    joined: Result<(Region, Result<PlaceResult, Stopped>), tokio::task::JoinError>,
    due: &mut u64,
) -> Result<(), Stopped> {
    let (region, result) = match joined {
        Ok((region, result)) => (region, result?),
        Err(error) => {
            tracing::error!("reading a place ended in a panic: {error}");
            pass.report_mut().places.failed += 1;
            return Ok(());
        }
    };
    if result.silent {
        house.unheard(region);
    }
    *due += result.due;
    let mut report = pass.report_mut();
    report.keys.add(&result.keys);
    match result.end {
        PlaceEnd::Done => report.places.done += 1,
        PlaceEnd::NotEnabled => report.places.not_enabled += 1,
        PlaceEnd::Incomplete => report.places.incomplete += 1,
        PlaceEnd::Failed => report.places.failed += 1,
    }
    Ok(())
}
