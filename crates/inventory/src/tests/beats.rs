//! Heartbeats.

use std::collections::HashMap;
use std::time::Duration;

use dormouse_model::{Answer, Place, PlaceSaid};
use tokio::time::{Instant, sleep};

use super::house::{House, account, place};
use super::paces::peaks;
use crate::Operation;
use crate::memory::{Came, Fate, refusal};

fn beats(house: &House) -> HashMap<Place, Vec<Instant>> {
    let mut beats: HashMap<Place, Vec<Instant>> = HashMap::new();
    for came in house.take_came() {
        if came.operation == Operation::ListKeys {
            beats.entry(came.place.unwrap()).or_default().push(came.at);
        }
    }
    beats
}

#[tokio::test(start_paused = true)]
async fn every_place_is_heard_of_within_the_interval_and_requests_are_spread() {
    let mut house = House::new(50, &["eu-west-1", "us-east-1"], 0);
    house.options.heartbeat_every = Some(Duration::from_mins(15));
    house.pass().await;
    house.take_came();
    house.take_answers();
    // A rhythm of its own for each place, after a pass that listed all at once.
    sleep(Duration::from_hours(2)).await;
    let came = house.cloud.take_came();
    let mut beats: HashMap<Place, Vec<Instant>> = HashMap::new();
    for came in came.iter().filter(|came| came.operation == Operation::ListKeys) {
        beats.entry(came.place.unwrap()).or_default().push(came.at);
    }
    assert_eq!(beats.len(), 100);
    for (place, times) in &beats {
        assert!((7..=9).contains(&times.len()), "{place:?}: {}", times.len());
        for pair in times.windows(2) {
            let apart = pair[1] - pair[0];
            assert!(apart <= Duration::from_mins(15) + Duration::from_secs(25), "{place:?}: {apart:?}");
            assert!(apart >= Duration::from_mins(13), "{place:?}: {apart:?}");
        }
    }
    // Of all places together.
    let together: Vec<_> = came.into_iter().map(|came| Came { place: None, ..came }).collect();
    let peak = peaks(&together)[&(Operation::ListKeys, None)];
    assert!(peak <= 15, "{peak}");
    let sent = house.take_answers().into_iter().filter(
        |answer| matches!(answer, Answer::Place(answer) if matches!(answer.said, PlaceSaid::Beat { .. })),
    );
    assert_eq!(sent.count(), beats.values().map(Vec::len).sum::<usize>());
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_that_fails_is_said_once_and_tried_again() {
    let mut house = House::new(2, &["eu-west-1"], 0);
    house.options.heartbeat_every = Some(Duration::from_mins(15));
    house.options.interval = Duration::from_hours(1);
    house.options.first_pass_after = Duration::from_secs(1);
    house.start();
    sleep(Duration::from_mins(1)).await;
    let here = place(1, "eu-west-1");
    house.cloud.set_judge(move |came| {
        (came.place == Some(here)).then(|| Fate::Fails(refusal(Operation::ListKeys, "AccessDeniedException")))
    });
    house.take_answers();
    beats(&house);
    sleep(Duration::from_mins(50)).await;
    let tried = &beats(&house)[&here];
    assert!((5..=9).contains(&tried.len()), "{}", tried.len());
    let failed = house.take_answers().into_iter().filter(
        |answer| matches!(answer, Answer::Place(answer) if matches!(answer.said, PlaceSaid::Failed(_))),
    );
    assert_eq!(failed.count(), 1);
    assert!(house.known(here).troubles.contains_key("ListKeys"));
    assert!(house.account(account(1)).trouble.is_none());
}
