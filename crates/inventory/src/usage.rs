//! KMS as the second witness: when each key was last used, by its own account.
//!
//! `GetKeyLastUsage` allows five requests a second for each account and Region, so a large one takes hours, and the order
//! is what matters: keys that were never asked about, then those that are about to be called idle or never used, then a
//! slow turn through the rest. Within each, keys whose every use KMS sees (symmetric and HMAC ones) come first; AWS
//! managed keys, of which no verdict is wanted, come last of all.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dormouse_aws::ErrorClass;
use dormouse_ledger::{KMS_LAG, KeyState, Rank, Registers};
use dormouse_model::{
    Answer, EventTime, KeyAnswer, KeyArn, KeySaid, LifecycleState, Place, PlaceAnswer, PlaceSaid,
    UsageWitness,
};
use dormouse_pipeline::control::Stopped;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::UsageOptions;
use crate::cloud::{Access, Cloud, Kms};
use crate::due::{self, hash_of, next_turn};
use crate::house::House;
use crate::journal::Journal;
use crate::operation::Operation;

/// How often it is reckoned which keys are due, and so for how long one place is asked at a stretch.
const ROUND: Duration = Duration::from_secs(60);
/// Where nothing but turns is due, nobody is in a hurry, and looking at all keys takes a while.
const QUIET_ROUND: Duration = Duration::from_mins(5);
/// KMS may know of a use an hour late; whoever asks later than that has asked about the moment. Some minutes more than
/// those who judge allow it.
const LATE: u32 = KMS_LAG + 300;
/// A key is asked about so long before it would be called idle, so that a use that only KMS saw is known in time.
const AHEAD: u32 = 86_400;
/// So many keys must be refused before it is the place that refuses.
const MOST_DENIED: u32 = 3;
/// The same where others were answered before.
const MOST_DENIED_IN_A_ROW: u32 = 10;
/// A place that refuses is asked again after so long, one without the API after a day.
const DENIED_AGAIN: Duration = Duration::from_hours(6);
const ABSENT_AGAIN: Duration = Duration::from_hours(24);
/// Answers are handed over together, at the latest when so many are there.
const BATCH: usize = 40;

/// Knows which keys KMS's word is wanted for.
pub trait Candidates: Send + Sync {
    /// The moment from which on the key would be called idle or never used if nothing more is heard of it. `None` if
    /// that is not to be expected.
    fn unused_from(&self, key: KeyArn, state: &KeyState<Rank>) -> Option<EventTime>;
}

/// One threshold for all keys: the time since the last use, else since the creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByAge {
    /// Seconds without a use.
    pub idle_after: u32,
}

impl Default for ByAge {
    fn default() -> Self {
        Self { idle_after: 90 * 86_400 }
    }
}

impl Candidates for ByAge {
    fn unused_from(&self, _: KeyArn, state: &KeyState<Rank>) -> Option<EventTime> {
        let created = || state.registers().and_then(Registers::created);
        state.last_used().or_else(created).map(|last| last.plus(self.idle_after))
    }
}

/// Why a key is asked about; in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    NeverAsked,
    Candidate,
    Soon,
    Turn,
}

/// Where a key stands in line; the least comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Standing {
    is_managed: bool,
    reason: Reason,
    is_half_seen: bool,
    unused_from: Option<u32>,
    hash: u64,
}

/// Asks until the house stops.
pub(crate) async fn run<C: Cloud, J: Journal>(house: Arc<House<C, J>>) {
    let mut resting: HashMap<Place, Instant> = HashMap::new();
    loop {
        let round = Instant::now();
        let asked = tokio::select! {
            () = house.stop.cancelled() => return,
            asked = ask_all(&house, &mut resting) => asked,
        };
        let rest = match asked {
            Ok(Haste::Urgent) => ROUND,
            Ok(Haste::Quiet) => QUIET_ROUND,
            Err(Stopped) => return,
        };
        tokio::select! {
            () = house.stop.cancelled() => return,
            () = sleep_until(round + rest) => {}
            // It may have found keys of which nothing is known.
            () = house.pass_ended.notified() => {}
        }
    }
}

/// Whether something was due that should not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Haste {
    Urgent,
    Quiet,
}

async fn ask_all<C: Cloud, J: Journal>(
    house: &Arc<House<C, J>>,
    resting: &mut HashMap<Place, Instant>,
) -> Result<Haste, Stopped> {
    let Some(options) = house.options.usage.clone() else {
        say_off(house).await?;
        return Ok(Haste::Quiet);
    };
    let now = Instant::now();
    resting.retain(|_, until| now < *until);
    let (mut works, haste) = plan(house, &options, resting);
    let mut running: JoinSet<Result<(Place, Rest), Stopped>> = JoinSet::new();
    loop {
        while running.len() < options.places_at_once.max(1)
            && let Some(work) = works.pop()
        {
            let house = Arc::clone(house);
            running.spawn(async move { ask_place(&house, work).await });
        }
        let Some(joined) = running.join_next().await else { return Ok(haste) };
        if let Ok(result) = joined {
            let (place, rest) = result?;
            if let Some(rest) = rest {
                resting.insert(place, Instant::now() + rest);
            }
        }
    }
}

/// For how long a place is not asked, if it makes no sense.
type Rest = Option<Duration>;

/// What is asked in one place.
struct Work {
    place: Place,
    access: Access,
    witness: UsageWitness,
    keys: Vec<KeyArn>,
}

/// The first in line of every place.
fn plan<C: Cloud, J: Journal>(
    house: &House<C, J>,
    options: &UsageOptions,
    resting: &HashMap<Place, Instant>,
) -> (Vec<Work>, Haste) {
    let now = house.now();
    let every = u32::try_from(options.every.as_secs()).unwrap_or(u32::MAX);
    let readable: HashMap<Place, Access> = house.readable().into_iter().collect();
    let mut lines: HashMap<Place, Vec<(Standing, KeyArn)>> = HashMap::new();
    let (mut due, mut haste) = (0, Haste::Quiet);
    house.journal.ledger().for_each_key(|key, state| {
        let place = Place { account: key.account(), region: key.region() };
        if !readable.contains_key(&place) || resting.contains_key(&place) {
            return;
        }
        if let Some(standing) = standing(&*house.candidates, key, state, now, every) {
            due += 1;
            if standing.reason != Reason::Turn {
                haste = Haste::Urgent;
            }
            lines.entry(place).or_default().push((standing, key));
        }
    });
    house.metrics.note_usage_due(due);
    house.status().usage_due = u64::try_from(due).unwrap_or(u64::MAX);
    // As many as the pace allows in a round.
    let most = budget_of_a_round(options.per_second);
    let mut works = Vec::with_capacity(lines.len());
    house.journal.look(|inventory| {
        for (place, mut line) in lines {
            line.sort_unstable();
            line.truncate(most);
            let Some(&access) = readable.get(&place) else { continue };
            let witness = inventory.place(place).map(|known| known.usage).unwrap_or_default();
            // Of a long line the rest is asked in the next round.
            if line.len() == most {
                haste = Haste::Urgent;
            }
            works.push(Work { place, access, witness, keys: line.into_iter().map(|(_, key)| key).collect() });
        }
    });
    (works, haste)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded on both sides")]
fn budget_of_a_round(per_second: f64) -> usize {
    (per_second * ROUND.as_secs_f64()).clamp(1.0, 10_000.0) as usize
}

/// Where the key stands in line, if it is due.
fn standing(
    candidates: &dyn Candidates,
    key: KeyArn,
    state: &KeyState<Rank>,
    now: EventTime,
    every: u32,
) -> Option<Standing> {
    let registers = state.registers();
    if registers.and_then(Registers::state) == Some(LifecycleState::Deleted) {
        return None;
    }
    let facts = registers.and_then(Registers::facts);
    if facts.and_then(|facts| facts.failed.as_ref()).is_some_and(|failed| is_refused(key, failed, now)) {
        return None;
    }
    let asked = facts.and_then(|facts| facts.usage.as_ref()).map(|usage| usage.at);
    let unused_from = candidates.unused_from(key, state);
    let reason = match (asked, unused_from) {
        (None, _) => Reason::NeverAsked,
        (Some(asked), Some(from)) if asked < from.plus(LATE) && from.plus(LATE) <= now => Reason::Candidate,
        (Some(asked), Some(from)) if asked < from.minus(AHEAD) && from.minus(AHEAD) <= now => Reason::Soon,
        (Some(asked), _) if next_turn(hash_of(key), asked, every) <= now => Reason::Turn,
        _ => return None,
    };
    let nature = facts.and_then(|facts| facts.nature.as_ref());
    Some(Standing {
        is_managed: registers.and_then(Registers::manager) == Some("AWS"),
        reason,
        is_half_seen: !nature.is_some_and(|nature| is_wholly_seen(&nature.said.spec)),
        unused_from: Some(unused_from.map_or(u32::MAX, EventTime::seconds)),
        hash: hash_of(key),
    })
}

fn is_refused(key: KeyArn, failed: &dormouse_model::Failure, now: EventTime) -> bool {
    *failed.operation == *Operation::GetKeyLastUsage.name()
        && matches!(&*failed.class, "denied" | "poison" | "fatal")
        && now < due::refused_until(key, failed.at)
}

/// Whether KMS sees every use of keys like this: they have no public half.
fn is_wholly_seen(spec: &str) -> bool {
    spec == "SYMMETRIC_DEFAULT" || spec.starts_with("HMAC_")
}

async fn ask_place<C: Cloud, J: Journal>(
    house: &Arc<House<C, J>>,
    work: Work,
) -> Result<(Place, Rest), Stopped> {
    let Work { place, access, mut witness, keys } = work;
    if house.cloud.enter(place.account, access).await.is_err() {
        // A pass says so.
        return Ok((place, Some(ROUND * 5)));
    }
    let kms = house.cloud.kms(place, access);
    let asker = house.asker(place);
    let reader = house.reader(place.account);
    let mut answers = Vec::new();
    let mut denied = 0;
    let mut last_denied = None;
    let mut rest = None;
    for key in keys {
        let miss = match asker.ask(Operation::GetKeyLastUsage, || kms.last_usage(key)).await {
            Ok(asked) => {
                denied = 0;
                if witness != UsageWitness::Available {
                    witness = UsageWitness::Available;
                    answers.push(witnessed(place, asked.at, witness));
                    house.works(place, Operation::GetKeyLastUsage);
                }
                let request_id = asked.event_id(Operation::GetKeyLastUsage);
                let said = KeySaid::LastUsage(asked.said);
                answers.push(Answer::Key(KeyAnswer { key, asked_at: asked.at, request_id, said }));
                if answers.len() >= BATCH {
                    house.submit(std::mem::take(&mut answers)).await?;
                }
                continue;
            }
            Err(miss) => miss,
        };
        if miss.is_about_role() || miss.failure.class.is_passing() {
            answers.extend(house.failed_if_news(place, &miss));
            rest = Some(ROUND * 2);
            break;
        }
        // Where it was ever answered, it is this key that cannot be asked about.
        if miss.failure.is_unsupported() && witness != UsageWitness::Available {
            if witness != UsageWitness::Absent {
                answers.push(witnessed(place, miss.at, UsageWitness::Absent));
            }
            rest = Some(ABSENT_AGAIN);
            break;
        }
        if miss.failure.class == ErrorClass::Denied {
            denied += 1;
            last_denied = Some(miss.clone());
            let is_open = witness == UsageWitness::Available;
            if denied >= if is_open { MOST_DENIED_IN_A_ROW } else { MOST_DENIED } {
                break;
            }
            if !is_open {
                continue;
            }
        }
        // This key alone: its policy, or it is gone.
        let id = miss.failure.request_id.as_deref().unwrap_or(Operation::GetKeyLastUsage.name());
        let said = KeySaid::Failed(miss.told(&reader));
        answers.push(Answer::Key(KeyAnswer { key, asked_at: miss.at, request_id: id.into(), said }));
    }
    // Where there are few keys one refusal may be the key's: nobody knows better until they are asked again.
    if let Some(miss) = last_denied
        .filter(|_| denied >= MOST_DENIED_IN_A_ROW || (denied > 0 && witness != UsageWitness::Available))
    {
        if witness != UsageWitness::Denied {
            answers.push(witnessed(place, miss.at, UsageWitness::Denied));
        }
        answers.extend(house.failed_if_news(place, &miss));
        rest = Some(DENIED_AGAIN);
    }
    house.submit(answers).await?;
    Ok((place, rest))
}

fn witnessed(place: Place, asked_at: EventTime, witness: UsageWitness) -> Answer {
    Answer::Place(PlaceAnswer { place, asked_at, said: PlaceSaid::LastUsage(witness) })
}

/// Says of every place that KMS is not asked there.
async fn say_off<C: Cloud, J: Journal>(house: &Arc<House<C, J>>) -> Result<(), Stopped> {
    let at = house.now();
    let readable = house.readable();
    let answers = house.journal.look(|inventory| {
        let is_news =
            |place: &Place| inventory.place(*place).is_some_and(|known| known.usage != UsageWitness::Off);
        let news = readable.into_iter().map(|(place, _)| place).filter(is_news);
        news.map(|place| witnessed(place, at, UsageWitness::Off)).collect()
    });
    house.submit(answers).await
}
