//! What goes wrong: it is said, nothing is taken for gone, and the rest goes on.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dormouse_aws::{ErrorClass, Failure};
use dormouse_model::{Answer, KeySaid, LifecycleState, PlaceSaid};
use tokio::time::sleep;

use super::house::{House, account, count, key, place, region};
use crate::memory::{Fate, refusal};
use crate::{Operation, PassOutcome};

#[tokio::test(start_paused = true)]
async fn a_page_that_fails_leaves_the_list_as_it_was() {
    let mut house = House::new(2, &["eu-west-1"], 250);
    house.cloud = house.cloud.clone().with_page(100);
    let here = place(0, "eu-west-1");
    house.pass().await;
    let before = house.known(here);
    house.cloud.remove_key(key(here, 5));
    sleep(Duration::from_hours(1)).await;
    let pages = AtomicU32::new(0);
    house.cloud.set_judge(move |came| {
        let is_here = came.operation == Operation::ListKeys && came.place == Some(here);
        let fails = is_here && pages.fetch_add(1, Ordering::SeqCst) > 0;
        fails.then(|| Fate::Fails(refusal(Operation::ListKeys, "KMSInternalException")))
    });
    let report = house.pass().await;
    assert_eq!(report.outcome, Some(PassOutcome::Incomplete));
    assert_eq!((report.places.failed, report.places.done), (1, 1));
    assert_eq!(report.keys.gone, 0);
    let known = house.known(here);
    assert_eq!((known.listed_at, known.keys), (before.listed_at, 250));
    assert_eq!(&*known.troubles["ListKeys"].last.class, "transient");
    assert_eq!(report.failures.len(), 1);
    house.cloud.clear_judge();
    let report = house.pass().await;
    assert_eq!((report.outcome, report.keys.gone), (Some(PassOutcome::Done), 1));
    assert!(house.known(here).troubles.is_empty());
}

#[tokio::test(start_paused = true)]
async fn no_failure_makes_a_key_gone() {
    for code in
        ["AccessDeniedException", "KMSInternalException", "ThrottlingException", "ValidationException"]
    {
        let mut house = House::new(1, &["eu-west-1"], 3);
        let here = place(0, "eu-west-1");
        house.pass().await;
        house.cloud.remove_key(key(here, 1));
        house.cloud.set_judge(move |came| {
            let is_describe = came.operation == Operation::DescribeKey;
            is_describe.then(|| Fate::Fails(refusal(Operation::DescribeKey, code)))
        });
        let report = house.pass().await;
        assert_eq!(report.keys.gone, 0, "{code}");
        let state = house.state(key(here, 1)).unwrap();
        assert_eq!(state.registers().unwrap().state(), Some(LifecycleState::Enabled));
        assert!(state.registers().unwrap().facts().unwrap().failed.is_some(), "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_without_the_role_is_shown_once_a_pass_and_holds_up_nobody() {
    let mut house = House::new(4, &["eu-west-1", "us-east-1", "eu-north-1"], 2);
    house.pass().await;
    house.cloud.set_role(account(2), false);
    house.take_answers();
    let report = house.pass().await;
    assert_eq!((report.accounts.denied, report.places.failed, report.places.done), (1, 3, 9));
    assert_eq!(report.failures_total, 1);
    let failed = &report.failures[0];
    assert_eq!((failed.account, &*failed.failure.operation), (Some(account(2)), "AssumeRole"));
    assert!(failed.failure.message.contains("role/dormouse-read"), "{}", failed.failure.message);
    let trouble = house.account(account(2)).trouble.unwrap();
    assert_eq!((trouble.count, &*trouble.last.class), (1, "denied"));
    // What was known stays.
    assert_eq!(house.known(place(2, "eu-west-1")).keys, 2);
    house.cloud.set_role(account(2), true);
    house.pass().await;
    assert!(house.account(account(2)).trouble.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_region_that_hangs_does_not_hold_up_the_others() {
    let mut house = House::new(100, &["eu-west-1", "us-east-1", "eu-north-1"], 2);
    let hung = region("us-east-1");
    house.cloud.set_judge(move |came| came.place.is_some_and(|at| at.region == hung).then_some(Fate::Hangs));
    let report = house.pass().await;
    assert_eq!((report.places.failed, report.places.done), (100, 200), "{:?}", report.places);
    assert!(report.seconds < 240.0, "{}", report.seconds);
    assert_eq!(house.keys().len(), 400);
    for number in [0, 50, 99] {
        assert_eq!(&*house.known(place(number, "us-east-1")).troubles["ListKeys"].last.class, "transient");
    }
    // It answers again.
    house.cloud.clear_judge();
    let report = house.pass().await;
    assert_eq!((report.outcome, report.places.done), (Some(PassOutcome::Done), 300));
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_costs_one_request() {
    let mut house = House::new(1, &["eu-west-1"], 50);
    let expired = AtomicU32::new(0);
    house.cloud.set_judge(move |came| {
        let is_late =
            came.operation == Operation::DescribeKey && expired.fetch_add(1, Ordering::SeqCst) == 20;
        is_late.then(|| Fate::Fails(refusal(Operation::DescribeKey, "ExpiredTokenException")))
    });
    let report = house.pass().await;
    assert_eq!((report.outcome, report.keys.new), (Some(PassOutcome::Done), 50));
    assert_eq!(count(&house.take_came(), Operation::DescribeKey), 51);
}

#[tokio::test(start_paused = true)]
async fn a_region_that_is_not_enabled_is_no_error_and_is_asked_again_rarely() {
    let mut house = House::new(3, &["eu-west-1", "ap-east-1"], 2);
    let (absent, needed) = (place(1, "ap-east-1"), place(2, "eu-west-1"));
    house.cloud.set_judge(move |came| {
        let fails = came.place == Some(absent) || came.place == Some(needed);
        fails.then(|| Fate::Fails(refusal(Operation::ListKeys, "UnrecognizedClientException")))
    });
    let report = house.pass().await;
    assert_eq!((report.places.not_enabled, report.places.failed), (1, 1));
    assert!(house.known(absent).not_enabled.is_some() && house.known(absent).troubles.is_empty());
    // Every account has this one: there the credentials are wrong.
    assert_eq!(&*house.known(needed).troubles["ListKeys"].last.class, "denied");
    house.take_came();
    house.pass().await;
    assert!(!house.take_came().iter().any(|came| came.place == Some(absent)));
    sleep(Duration::from_hours(7)).await;
    house.cloud.clear_judge();
    let report = house.pass().await;
    assert_eq!((report.places.not_enabled, report.places.done), (0, 6));
    assert_eq!(house.known(absent).keys, 2);
}

#[tokio::test(start_paused = true)]
async fn a_permission_that_is_missing_is_said_of_the_place_and_the_rest_is_known() {
    let mut house = House::new(2, &["eu-west-1"], 10);
    let here = place(1, "eu-west-1");
    house.cloud.set_judge(move |came| {
        let fails = came.operation == Operation::ListGrants && came.place == Some(here);
        fails.then(|| Fate::Fails(refusal(Operation::ListGrants, "AccessDeniedException")))
    });
    let report = house.pass().await;
    assert_eq!(report.keys.new, 20);
    let trouble = house.known(here).troubles["ListGrants"].clone();
    assert!(trouble.last.message.contains("kms:ListGrants"), "{}", trouble.last.message);
    assert_eq!(house.known(place(0, "eu-west-1")).troubles.len(), 0);
    // It stays shown while nobody asks again, and no key is asked about every hour for it.
    house.take_came();
    sleep(Duration::from_hours(1)).await;
    house.pass().await;
    assert_eq!(count(&house.take_came(), Operation::DescribeKey), 0);
    assert!(house.known(here).troubles.contains_key("ListGrants"));
    house.cloud.clear_judge();
    sleep(Duration::from_hours(25)).await;
    house.pass().await;
    house.pass().await;
    assert!(house.known(here).troubles.is_empty());
    let state = house.state(key(here, 3)).unwrap();
    assert!(state.registers().unwrap().facts().unwrap().grants.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_list_of_accounts_that_fails_keeps_the_last_good_one() {
    let mut house = House::new(30, &["eu-west-1"], 1);
    house.pass().await;
    house.cloud.remove_account(account(4));
    house.cloud.set_judge(|came| {
        let fails = came.operation == Operation::ListAccounts;
        fails.then(|| Fate::Fails(refusal(Operation::ListAccounts, "AccessDeniedException")))
    });
    let report = house.pass().await;
    assert_eq!((report.outcome, report.places.done), (Some(PassOutcome::Incomplete), 30));
    assert_eq!(report.accounts.left, 0);
    let status = house.reconciler().status();
    assert!(status.accounts_failed.unwrap().message.contains("organizations:ListAccounts"));
    assert!(house.account(account(4)).left.is_none());
    // After a restart, too.
    assert!(house.reconciler().stop().await);
    house.reconciler = None;
    assert_eq!(house.pass().await.places.done, 30);
    house.cloud.clear_judge();
    assert_eq!(house.pass().await.accounts.left, 1);
    assert!(house.reconciler().status().accounts_failed.is_none());
}

#[tokio::test(start_paused = true)]
async fn without_credentials_a_pass_fails_and_says_so() {
    let mut house = House::new(1, &["eu-west-1"], 1);
    house.cloud.set_judge(|came| {
        let fails = came.operation == Operation::GetCallerIdentity;
        fails.then(|| {
            let none = Failure::transient("sts:GetCallerIdentity", "no credentials in the property bag");
            Fate::Fails(Failure { class: ErrorClass::Denied, ..none })
        })
    });
    let report = house.pass().await;
    assert_eq!(report.outcome, Some(PassOutcome::Failed));
    assert_eq!(&*report.failures[0].failure.operation, "GetCallerIdentity");
    house.cloud.clear_judge();
    assert_eq!(house.pass().await.outcome, Some(PassOutcome::Done));
}

#[tokio::test(start_paused = true)]
async fn a_place_that_answers_nothing_about_keys_is_left_soon() {
    let mut house = House::new(1, &["eu-west-1"], 500);
    house.cloud.set_judge(|came| (came.operation == Operation::DescribeKey).then_some(Fate::Hangs));
    let report = house.pass().await;
    assert_eq!(report.outcome, Some(PassOutcome::Incomplete));
    assert!(report.seconds < 120.0, "{}", report.seconds);
    assert!(count(&house.take_came(), Operation::DescribeKey) < 50);
    // What was said in the meantime is there: the list, and that it failed.
    let answers = house.take_answers();
    assert!(answers.iter().any(|answer| {
        matches!(answer, Answer::Place(answer) if matches!(answer.said, PlaceSaid::Keys { total: 500 }))
    }));
    assert!(answers.iter().any(|answer| {
        matches!(answer, Answer::Key(answer) if matches!(answer.said, KeySaid::Failed(_)))
    }));
}
