//! Heartbeats: a request in every place whose event must come back through the pipe.
//!
//! `ListKeys` with one key is cheap and is logged by CloudTrail. Its request id is journaled; when the event with that id
//! arrives, the way from there to here is alive. The lists of a pass do the same, so a place that was listed lately is
//! left alone. Places are spread over the interval from the start, and each keeps its own rhythm.

use std::sync::Arc;
use std::time::Duration;

use dormouse_model::{Answer, Place};
use dormouse_pipeline::control::Stopped;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::cloud::{Access, Cloud, Kms};
use crate::due::mix;
use crate::failures::Miss;
use crate::house::House;
use crate::journal::Journal;
use crate::operation::Operation;

/// How often places are looked through.
const ROUND: Duration = Duration::from_secs(10);
/// So many heartbeats are on their way at the same time.
const MOST_AT_ONCE: usize = 64;
/// A failed one is tried again after a third of the interval, at most after so long.
const AGAIN_WITHIN: Duration = Duration::from_mins(5);

/// Sends heartbeats until the house stops.
pub(crate) async fn run<C: Cloud, J: Journal>(house: Arc<House<C, J>>) {
    let Some(every) = house.options.heartbeat_every else { return };
    let started = Instant::now();
    loop {
        let round = Instant::now();
        let due = due(&house, started, every);
        let stopped = tokio::select! {
            () = house.stop.cancelled() => return,
            result = send_all(&house, due, round) => result.is_err(),
        };
        if stopped {
            return;
        }
        tokio::select! {
            () = house.stop.cancelled() => return,
            () = sleep_until(round + ROUND) => {}
        }
    }
}

/// The places whose turn it is.
fn due<C: Cloud, J: Journal>(house: &House<C, J>, started: Instant, every: Duration) -> Vec<(Place, Access)> {
    let now = Instant::now();
    let again = AGAIN_WITHIN.min(every / 3);
    let mut places = house.readable();
    places.retain(|(place, _)| {
        let share = share_of(*place);
        let beaten = house.beats.get(place).map(|beaten| *beaten).unwrap_or_default();
        let turn = match (beaten.answered, beaten.tried) {
            // Its own rhythm: a little faster than it must be, and not the same for all.
            (Some(answered), _) => answered + every.mul_f64(0.9 + share / 10.0),
            (None, _) => started + every.mul_f64(share),
        };
        let not_before = beaten.tried.map_or(turn, |tried| tried + again);
        turn <= now && not_before <= now
    });
    places
}

/// A number from 0 to 1 that is the place's own.
fn share_of(place: Place) -> f64 {
    let region = place.region.name().bytes().fold(0_u64, |sum, byte| sum.rotate_left(5) ^ u64::from(byte));
    let bits = mix(place.account.number() ^ region.rotate_left(40)) >> 40;
    f64::from(u32::try_from(bits).unwrap_or(0)) / f64::from(1_u32 << 24)
}

/// Sends them, spread over the round.
async fn send_all<C: Cloud, J: Journal>(
    house: &Arc<House<C, J>>,
    due: Vec<(Place, Access)>,
    round: Instant,
) -> Result<(), Stopped> {
    let count = u32::try_from(due.len()).unwrap_or(u32::MAX).max(1);
    let step = ROUND / count;
    let mut running = JoinSet::new();
    let mut answers = Vec::new();
    for (place, access) in due {
        if running.len() >= MOST_AT_ONCE
            && let Some(Ok(told)) = running.join_next().await
        {
            answers.extend(told);
        }
        let house = Arc::clone(house);
        running.spawn(async move { send(&house, place, access).await });
        if round.elapsed() < ROUND {
            sleep(step).await;
        }
    }
    while let Some(joined) = running.join_next().await {
        answers.extend(joined.ok().flatten());
    }
    house.submit(answers).await
}

/// One heartbeat: what is to be journaled of it.
async fn send<C: Cloud, J: Journal>(
    house: &Arc<House<C, J>>,
    place: Place,
    access: Access,
) -> Option<Answer> {
    let at = house.now();
    if let Err(failure) = house.cloud.enter(place.account, access).await {
        return missed(house, place, &Miss { at, failure });
    }
    let kms = house.cloud.kms(place, access);
    let mut asker = house.asker(place);
    asker.patience = 1;
    match asker.ask(Operation::ListKeys, || kms.list_keys(1, None)).await {
        Ok(asked) => {
            house.note_beat(place, true);
            house.metrics.note_heartbeat(true);
            house.works(place, Operation::ListKeys);
            House::<C, J>::beat(place, &asked)
        }
        Err(miss) => missed(house, place, &miss),
    }
}

fn missed<C: Cloud, J: Journal>(house: &House<C, J>, place: Place, miss: &Miss) -> Option<Answer> {
    house.note_beat(place, false);
    house.metrics.note_heartbeat(false);
    // A pass finds out that a Region is not enabled.
    if house.means_not_enabled(place, miss) {
        return None;
    }
    house.failed_if_news(place, miss)
}
