//! Keys that events say have changed are described within minutes, not at the next pass.
//!
//! The ledger notes which keys events altered or made known. They are looked at every minute: each that is due is
//! described once a margin has passed since its change, so that what KMS says is later than what the event says.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use dormouse_model::{Answer, KeyArn, Place};
use dormouse_pipeline::control::Stopped;
use tokio::time::{Instant, sleep_until};

use crate::cloud::{Access, Cloud};
use crate::describe::{Outcome, describe};
use crate::due::{self, MARGIN, Why};
use crate::house::House;
use crate::journal::Journal;

/// More are left to the next pass.
const MOST_WAITING: usize = 10_000;
/// So many are described in a round.
const MOST_A_ROUND: usize = 1_000;

/// What is due in one place.
struct Due {
    place: Place,
    access: Access,
    keys: Vec<(KeyArn, Why)>,
}

/// Describes what changed until the house stops.
pub(crate) async fn run<C: Cloud, J: Journal>(house: Arc<House<C, J>>) {
    let mut waiting: HashSet<KeyArn> = HashSet::new();
    let mut next = Instant::now() + house.options.look_out_every;
    loop {
        tokio::select! {
            () = house.stop.cancelled() => return,
            () = sleep_until(next) => {}
        }
        next = Instant::now() + house.options.look_out_every;
        for key in house.journal.ledger().take_altered() {
            if waiting.len() < MOST_WAITING {
                waiting.insert(key);
            }
        }
        let due = take_due(&house, &mut waiting);
        let stopped = tokio::select! {
            () = house.stop.cancelled() => return,
            result = describe_all(&house, due) => result.is_err(),
        };
        if stopped {
            return;
        }
    }
}

/// The keys whose margin has passed, where they can be read. Others are forgotten, or wait.
fn take_due<C: Cloud, J: Journal>(house: &House<C, J>, waiting: &mut HashSet<KeyArn>) -> Vec<Due> {
    if waiting.is_empty() {
        return Vec::new();
    }
    let readable: HashMap<Place, Access> = house.readable().into_iter().collect();
    let now = house.now();
    let every = u32::try_from(house.options.redescribe_every.as_secs()).unwrap_or(u32::MAX);
    let mut by_place: HashMap<Place, Vec<(KeyArn, Why)>> = HashMap::new();
    let mut taken = 0;
    waiting.retain(|&key| {
        let place = Place { account: key.account(), region: key.region() };
        if !readable.contains_key(&place) {
            return false;
        }
        let look = |state: &dormouse_ledger::KeyState<dormouse_ledger::Rank>| {
            let changed = state.registers().and_then(dormouse_ledger::Registers::changed);
            let is_fresh = changed.is_some_and(|changed| changed.plus(MARGIN) > now);
            let why = due::why(key, state, now, every).filter(|why| matches!(why, Why::New | Why::Changed));
            (is_fresh, why)
        };
        match house.journal.ledger().with(key, look) {
            Some((_, None)) | None => false,
            Some((true, Some(_))) => true,
            Some((false, Some(_))) if taken >= MOST_A_ROUND => true,
            Some((false, Some(why))) => {
                taken += 1;
                by_place.entry(place).or_default().push((key, why));
                false
            }
        }
    });
    let with_access = |(place, keys): (Place, Vec<(KeyArn, Why)>)| {
        readable.get(&place).map(|&access| Due { place, access, keys })
    };
    by_place.into_iter().filter_map(with_access).collect()
}

async fn describe_all<C: Cloud, J: Journal>(house: &Arc<House<C, J>>, due: Vec<Due>) -> Result<(), Stopped> {
    for Due { place, access, keys } in due {
        if house.cloud.enter(place.account, access).await.is_err() {
            // The next pass says so.
            continue;
        }
        let kms = house.cloud.kms(place, access);
        let reader = house.reader(place.account);
        let mut asker = house.asker(place);
        asker.patience = 1;
        let mut answers: Vec<Answer> = Vec::new();
        for (key, why) in keys {
            let found = describe(&asker, &kms, key, why, &reader).await;
            answers.extend(found.answers);
            if found.outcome == Outcome::Unanswered {
                break;
            }
        }
        house.submit(answers).await?;
    }
    Ok(())
}
