//! What the parts of the reconciler share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use dashmap::DashMap;
use dormouse_model::{
    AccountAnswer, AccountId, AccountSaid, Answer, Clock, EventTime, KeyArn, Place, PlaceAnswer, PlaceSaid,
    Region,
};
use dormouse_pipeline::control::Stopped;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::InventoryOptions;
use crate::accounts::Listing;
use crate::calls::{Asker, Calls, Tally};
use crate::cloud::{Access, Cloud};
use crate::due;
use crate::failures::{FailureLog, Miss, Subject};
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::operation::{Budgets, Operation};
use crate::report::Status;
use crate::usage::Candidates;

/// A Region that an account has not enabled is asked about again after so long.
const NOT_ENABLED_FOR: u32 = 6 * 3_600;
/// So many refused keys are remembered that the ledger does not know.
const MOST_REFUSED: usize = 100_000;

pub(crate) struct House<C, J> {
    pub(crate) cloud: C,
    pub(crate) journal: J,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: InventoryOptions,
    pub(crate) calls: Arc<Calls>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) candidates: Arc<dyn Candidates>,
    pub(crate) log: FailureLog,
    /// Which accounts there are, as of the last list that was complete.
    listing: RwLock<Arc<Listing>>,
    /// When `ListKeys` was last answered in each place, and when it was last tried.
    pub(crate) beats: DashMap<Place, Beaten>,
    /// Keys that the ledger does not know because KMS refuses to describe them, and until when that is believed.
    refused: DashMap<KeyArn, EventTime>,
    /// How often in a row nothing was heard of a Region.
    pub(crate) silent: DashMap<Region, Silence>,
    pub(crate) status: Mutex<Status>,
    /// Tells who asks for last uses that a pass has ended.
    pub(crate) pass_ended: Notify,
    pub(crate) stop: CancellationToken,
}

/// The heartbeats of a place.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Beaten {
    pub(crate) answered: Option<Instant>,
    pub(crate) tried: Option<Instant>,
}

/// A Region that does not answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Silence {
    pub(crate) count: u32,
    pub(crate) probed: Instant,
}

impl<C: Cloud, J: Journal> House<C, J> {
    pub(crate) fn new(
        cloud: C,
        journal: J,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        candidates: Arc<dyn Candidates>,
        options: InventoryOptions,
    ) -> Self {
        let calls = Calls {
            budgets: Budgets::new(&options),
            metrics: Arc::clone(&metrics),
            clock: Arc::clone(&clock),
            attempt_timeout: options.attempt_timeout,
        };
        Self {
            cloud,
            journal,
            clock,
            options,
            calls: Arc::new(calls),
            metrics,
            candidates,
            log: FailureLog::default(),
            listing: RwLock::default(),
            beats: DashMap::new(),
            refused: DashMap::new(),
            silent: DashMap::new(),
            status: Mutex::default(),
            pass_ended: Notify::new(),
            stop: CancellationToken::new(),
        }
    }

    pub(crate) fn now(&self) -> EventTime {
        self.clock.now_seconds()
    }

    pub(crate) fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn listing(&self) -> Arc<Listing> {
        Arc::clone(&self.listing.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_listing(&self, listing: Listing) {
        *self.listing.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(listing);
    }

    /// Who asks outside of a pass.
    pub(crate) fn asker(&self, place: Place) -> Asker {
        Asker::new(&self.calls, &Arc::new(Tally::default()), Some(place), &self.stop)
    }

    /// Every place that can be read: of active accounts, in Regions that are enabled as far as is known.
    pub(crate) fn readable(&self) -> Vec<(Place, Access)> {
        let listing = self.listing();
        let now = self.now();
        let mut places = Vec::new();
        self.journal.look(|inventory| {
            for member in listing.members.iter().filter(|member| member.is_active) {
                for &region in &listing.regions {
                    let place = Place { account: member.account, region };
                    let known = inventory.place(place);
                    if !known.is_some_and(|known| is_lately(known.not_enabled, now)) {
                        places.push((place, member.access));
                    }
                }
            }
        });
        places
    }

    /// Whether the Region is known not to be enabled in the account.
    pub(crate) fn is_not_enabled(&self, place: Place) -> bool {
        let now = self.now();
        self.journal
            .look(|inventory| inventory.place(place).is_some_and(|known| is_lately(known.not_enabled, now)))
    }

    /// Who reads an account, for people: the role, or our own principal.
    pub(crate) fn reader(&self, account: AccountId) -> String {
        let listing = self.listing();
        match &listing.identity {
            Some(identity) if identity.account == account => identity.arn.to_string(),
            _ => self.cloud.role_arn(account),
        }
    }

    /// What is journaled of a failure in a place, and about whom it is.
    pub(crate) fn failed(&self, place: Place, miss: &Miss) -> (Subject, Answer) {
        let failure = miss.told(&self.reader(place.account));
        if miss.is_about_role() {
            let answer = AccountAnswer {
                account: place.account,
                asked_at: miss.at,
                said: AccountSaid::Failed(failure),
            };
            return (Subject::Account(place.account), Answer::Account(answer));
        }
        let answer = PlaceAnswer { place, asked_at: miss.at, said: PlaceSaid::Failed(failure) };
        (Subject::Place(place), Answer::Place(answer))
    }

    /// The same, if it is news; at most once a pass.
    pub(crate) fn failed_if_news(&self, place: Place, miss: &Miss) -> Option<Answer> {
        let (subject, answer) = self.failed(place, miss);
        let every = self.options.interval.mul_f64(0.9);
        self.log.is_news(subject, miss, every).then_some(answer)
    }

    /// Whether the failure is that the account has not enabled the Region. Some Regions cannot be left out: there the
    /// credentials are wrong.
    pub(crate) fn means_not_enabled(&self, place: Place, miss: &Miss) -> bool {
        miss.failure.is_unknown_client() && !is_always_enabled(place.region)
    }

    /// `ListKeys` was answered, or at least tried, in a place.
    pub(crate) fn note_beat(&self, place: Place, answered: bool) {
        let now = Instant::now();
        let mut beaten = self.beats.entry(place).or_default();
        beaten.tried = Some(now);
        if answered {
            beaten.answered = Some(now);
        }
    }

    /// Whether KMS refused lately to describe a key that the ledger does not know.
    pub(crate) fn is_refused(&self, key: KeyArn, now: EventTime) -> bool {
        self.refused.get(&key).is_some_and(|until| now < *until)
    }

    pub(crate) fn note_refused(&self, key: KeyArn, at: EventTime) {
        if self.refused.len() < MOST_REFUSED {
            self.refused.insert(key, due::refused_until(key, at));
        }
    }

    /// Something was heard of the Region.
    pub(crate) fn heard(&self, region: Region) {
        self.silent.remove(&region);
    }

    /// Nothing was heard of the Region.
    pub(crate) fn unheard(&self, region: Region) {
        let now = Instant::now();
        let mut silence = self.silent.entry(region).or_insert(Silence { count: 0, probed: now });
        silence.count = silence.count.saturating_add(1);
        silence.probed = now;
    }

    /// Forgets what costs memory and says nothing any more.
    pub(crate) fn tidy(&self) {
        self.calls.budgets.forget_idle();
        self.log.prune(self.options.interval * 2);
        let now = self.now();
        self.refused.retain(|_, until| now < *until);
        let old = self.options.interval * 4 + Duration::from_hours(1);
        self.beats.retain(|_, beaten| beaten.tried.is_some_and(|tried| tried.elapsed() < old));
    }

    pub(crate) async fn submit(&self, answers: Vec<Answer>) -> Result<(), Stopped> {
        if answers.is_empty() {
            return Ok(());
        }
        self.journal.submit(answers).await
    }

    /// The place's `ListKeys` as a heartbeat, if its request id can come back as an event's.
    pub(crate) fn beat<T>(place: Place, asked: &crate::calls::Asked<T>) -> Option<Answer> {
        let request_id = asked.beat()?;
        let said = PlaceSaid::Beat { request_id };
        Some(Answer::Place(PlaceAnswer { place, asked_at: asked.at, said }))
    }

    /// The operation works again in this place.
    pub(crate) fn works(&self, place: Place, operation: Operation) {
        self.log.forget(Subject::Place(place), operation.name());
    }
}

fn is_lately(at: Option<EventTime>, now: EventTime) -> bool {
    at.is_some_and(|at| now.seconds_since(at) < NOT_ENABLED_FOR)
}

/// Regions that every account has and cannot switch off: those that AWS opened before March 2019, and those of the
/// partitions without opt-in.
fn is_always_enabled(region: Region) -> bool {
    const ALWAYS: &[&str] = &[
        "ap-northeast-1",
        "ap-northeast-2",
        "ap-northeast-3",
        "ap-south-1",
        "ap-southeast-1",
        "ap-southeast-2",
        "ca-central-1",
        "eu-central-1",
        "eu-north-1",
        "eu-west-1",
        "eu-west-2",
        "eu-west-3",
        "sa-east-1",
        "us-east-1",
        "us-east-2",
        "us-west-1",
        "us-west-2",
    ];
    ALWAYS.contains(&region.name())
}
