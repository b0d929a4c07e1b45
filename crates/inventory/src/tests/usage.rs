//! In which order KMS is asked for last uses.

use std::time::Duration;

use dormouse_model::{EventTime, KeyArn, KmsUse, UsageWitness};
use tokio::time::sleep;

use super::house::{DAY, House, NOW, key, place};
use crate::memory::{Fate, MemoryKey, refusal};
use crate::{Operation, UsageOptions};

fn asked(house: &House) -> Vec<KeyArn> {
    let came = house.take_came().into_iter();
    came.filter(|came| came.operation == Operation::GetKeyLastUsage).filter_map(|came| came.key).collect()
}

fn used(at: EventTime) -> Option<KmsUse> {
    Some(KmsUse { at, operation: "Decrypt".into(), event_id: None })
}

#[tokio::test(start_paused = true)]
async fn new_keys_come_first_the_oldest_before_and_whole_witnesses_before_half_ones() {
    let mut house = House::new(1, &["eu-west-1"], 0);
    let here = place(0, "eu-west-1");
    let put = |number: u64, days: u32, manager: &str, spec: &str| {
        let mut is = MemoryKey::new(NOW.minus(days * DAY));
        (is.described.manager, is.described.spec) = (manager.into(), spec.into());
        house.cloud.put_key(key(here, number), is);
    };
    put(1, 10, "CUSTOMER", "SYMMETRIC_DEFAULT");
    put(2, 900, "AWS", "SYMMETRIC_DEFAULT");
    put(3, 800, "CUSTOMER", "RSA_2048");
    put(4, 400, "CUSTOMER", "HMAC_256");
    put(5, 500, "CUSTOMER", "SYMMETRIC_DEFAULT");
    house.options.usage = Some(UsageOptions::default());
    house.pass().await;
    sleep(Duration::from_mins(3)).await;
    assert_eq!(asked(&house), [5, 4, 1, 3, 2].map(|number| key(here, number)));
    assert_eq!(house.known(here).usage, UsageWitness::Available);
    // Everything is answered; nothing is asked again soon.
    sleep(Duration::from_hours(24)).await;
    assert_eq!(asked(&house), []);
    assert_eq!(house.reconciler().status().usage_due, 0);
}

#[tokio::test(start_paused = true)]
async fn candidates_come_before_turns_and_are_asked_an_hour_after_their_moment() {
    let mut house = House::new(1, &["eu-west-1"], 0);
    let here = place(0, "eu-west-1");
    for number in 0..400 {
        let mut is = MemoryKey::new(NOW.minus(300 * DAY));
        is.last = used(NOW.minus(DAY));
        house.cloud.put_key(key(here, number), is);
    }
    let soon = key(here, 7);
    // It will be called idle ten days from now.
    let mut is = MemoryKey::new(NOW.minus(300 * DAY));
    is.last = used(NOW.minus(80 * DAY));
    house.cloud.put_key(soon, is);
    house.options.usage =
        Some(UsageOptions { every: Duration::from_hours(24 * 365), ..UsageOptions::default() });
    house.pass().await;
    sleep(Duration::from_mins(10)).await;
    assert_eq!(asked(&house).len(), 400);
    // A day ahead, and an hour after it.
    sleep(Duration::from_hours(24 * 9) - Duration::from_mins(15)).await;
    assert_eq!(asked(&house), []);
    sleep(Duration::from_mins(30)).await;
    assert_eq!(asked(&house), [soon]);
    sleep(Duration::from_hours(24)).await;
    assert_eq!(asked(&house), []);
    sleep(Duration::from_mins(60)).await;
    assert_eq!(asked(&house), [soon]);
    let usage = house.state(soon).unwrap().registers().unwrap().facts().unwrap().usage.clone().unwrap();
    assert!(usage.at >= NOW.plus(10 * DAY + 3_600));
    sleep(Duration::from_hours(24)).await;
    assert_eq!(asked(&house), []);
}

#[tokio::test(start_paused = true)]
async fn a_week_asks_about_every_key_at_a_slow_pace() {
    let mut house = House::new(1, &["eu-west-1"], 0);
    let here = place(0, "eu-west-1");
    for number in 0..700 {
        let mut is = MemoryKey::new(NOW.minus(300 * DAY));
        is.last = used(NOW.minus(DAY));
        house.cloud.put_key(key(here, number), is);
    }
    house.options.usage = Some(UsageOptions::default());
    house.pass().await;
    sleep(Duration::from_hours(24 * 8)).await;
    house.take_came();
    for _ in 0..3 {
        sleep(Duration::from_hours(24)).await;
        let asked = asked(&house).len();
        assert!((60..140).contains(&asked), "{asked}");
    }
}

#[tokio::test(start_paused = true)]
async fn where_kms_does_not_tell_nobody_asks_again_soon() {
    for (code, witness) in [
        ("AccessDeniedException", UsageWitness::Denied),
        ("UnknownOperationException", UsageWitness::Absent),
        ("UnsupportedOperationException", UsageWitness::Absent),
    ] {
        let mut house = House::new(2, &["eu-west-1"], 20);
        let here = place(1, "eu-west-1");
        house.options.usage = Some(UsageOptions::default());
        house.cloud.set_judge(move |came| {
            let fails = came.operation == Operation::GetKeyLastUsage && came.place == Some(here);
            fails.then(|| Fate::Fails(refusal(Operation::GetKeyLastUsage, code)))
        });
        house.pass().await;
        sleep(Duration::from_hours(1)).await;
        let came = house.take_came();
        let there = came
            .iter()
            .filter(|came| came.operation == Operation::GetKeyLastUsage && came.place == Some(here))
            .count();
        assert!((1..=3).contains(&there), "{code}: {there}");
        assert_eq!(house.known(here).usage, witness);
        assert_eq!(house.known(place(0, "eu-west-1")).usage, UsageWitness::Available);
        house.cloud.clear_judge();
        sleep(Duration::from_hours(25)).await;
        assert_eq!(house.known(here).usage, UsageWitness::Available);
    }
}

#[tokio::test(start_paused = true)]
async fn who_wants_no_witness_is_told_that_there_is_none() {
    let mut house = House::new(1, &["eu-west-1"], 3);
    house.pass().await;
    sleep(Duration::from_mins(3)).await;
    assert_eq!(house.known(place(0, "eu-west-1")).usage, UsageWitness::Off);
    assert_eq!(asked(&house), []);
}
