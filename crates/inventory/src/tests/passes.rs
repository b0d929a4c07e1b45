//! What a pass asks, and what it makes known.

use std::time::Duration;

use dormouse_ledger::Counting;
use dormouse_model::{
    AccountSaid, Answer, Change, Effect, KeyArn, KeySaid, Kind, LifecycleState, Observation, PlaceSaid,
};
use tokio::time::sleep;

use super::house::{DAY, House, NOW, account, count, key, place};
use crate::memory::MemoryKey;
use crate::{Operation, PassOutcome, Scope};

fn change<'a>(
    key: KeyArn,
    time: dormouse_model::EventTime,
    id: &'a str,
    effect: Effect<'a>,
) -> Observation<'a> {
    Observation {
        key,
        kind: Kind::Change,
        time,
        operation: "DisableKey",
        event_id: id,
        shared_id: None,
        recipient: Some(key.account()),
        logged_region: None,
        from_history: false,
        principal: None,
        session: None,
        invoked_by: None,
        source_ip: None,
        error_code: None,
        wanted: false,
        context: Vec::new(),
        change: Some(Change::Disabled),
        effects: vec![effect],
        counted: true,
    }
}

impl House {
    fn lifecycle(&self, key: KeyArn) -> Option<LifecycleState> {
        self.state(key)?.registers()?.state()
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_pass_knows_every_key_and_a_second_costs_pages() {
    let mut house = House::new(3, &["eu-west-1", "us-east-1"], 40);
    let report = house.pass().await;
    assert_eq!(report.outcome, Some(PassOutcome::Done), "{report:#?}");
    assert_eq!((report.places.total, report.places.done), (6, 6));
    assert_eq!((report.keys.listed, report.keys.new), (240, 240));
    assert_eq!(house.keys().len(), 240);
    let came = house.take_came();
    for operation in [
        Operation::DescribeKey,
        Operation::ListResourceTags,
        Operation::ListGrants,
        Operation::GetKeyRotationStatus,
    ] {
        assert_eq!(count(&came, operation), 240, "{operation:?}");
    }
    let report = house.pass().await;
    assert_eq!(report.outcome, Some(PassOutcome::Done));
    let came = house.take_came();
    assert_eq!((count(&came, Operation::ListKeys), count(&came, Operation::ListAliases)), (6, 6));
    assert_eq!(came.len(), 6 + 6 + 1, "{:?}", report.requests);
    assert_eq!(house.lifecycle(key(place(0, "eu-west-1"), 0)), Some(LifecycleState::Enabled));
}

#[tokio::test(start_paused = true)]
async fn long_lists_are_read_to_their_end_and_their_first_page_is_a_heartbeat() {
    let mut house = House::new(1, &["eu-west-1"], 2_500);
    let here = place(0, "eu-west-1");
    for number in 0..250 {
        house.cloud.put_alias(&format!("alias/app-{number:03}"), key(here, number), NOW.minus(DAY));
    }
    let report = house.pass().await;
    assert_eq!(report.outcome, Some(PassOutcome::Done));
    assert_eq!(house.keys().len(), 2_500);
    let came = house.take_came();
    assert_eq!((count(&came, Operation::ListKeys), count(&came, Operation::ListAliases)), (3, 3));
    let answers = house.take_answers();
    let is_beat = |answer: &&Answer| matches!(answer, Answer::Place(place) if matches!(place.said, PlaceSaid::Beat { .. }));
    assert_eq!(answers.iter().filter(is_beat).count(), 1);
    let known = house.known(here);
    assert_eq!((known.keys, known.aliases), (2_500, 250));
    assert!(known.done_at.is_some());
}

#[tokio::test(start_paused = true)]
async fn aliases_are_told_as_differences() {
    let mut house = House::new(1, &["eu-west-1"], 3);
    let here = place(0, "eu-west-1");
    let since = NOW.minus(5 * DAY);
    house.cloud.put_alias("alias/stays", key(here, 0), since);
    house.cloud.put_alias("alias/moves", key(here, 0), since);
    house.cloud.put_alias("alias/goes", key(here, 1), since);
    house.pass().await;
    house.take_answers();
    house.cloud.put_alias("alias/moves", key(here, 2), NOW.plus(1));
    house.cloud.remove_alias(here, "alias/goes");
    sleep(Duration::from_mins(10)).await;
    house.pass().await;
    let said = house.take_answers().into_iter().find_map(|answer| match answer {
        Answer::Place(place) => match place.said {
            PlaceSaid::Aliases { total, set, gone } => Some((total, set, gone)),
            _ => None,
        },
        _ => None,
    });
    let (total, set, gone) = said.unwrap();
    assert_eq!((total, gone), (2, vec!["alias/goes".into()]));
    assert_eq!(
        set.iter().map(|alias| (&*alias.name, alias.key)).collect::<Vec<_>>(),
        [("alias/moves", key(here, 2))]
    );
    let of = |number: u64| {
        let state = house.state(key(here, number)).unwrap();
        house.aliases_of(key(here, number), state.registers().unwrap())
    };
    assert_eq!(of(0), ["alias/stays"]);
    assert_eq!((of(1), of(2)), (vec![], vec!["alias/moves".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_key_is_gone_only_when_kms_says_so_and_stays_in_history() {
    let mut house = House::new(1, &["eu-west-1"], 5);
    let here = place(0, "eu-west-1");
    house.pass().await;
    house.cloud.remove_key(key(here, 3));
    let report = house.pass().await;
    assert_eq!((report.keys.gone, report.keys.listed), (1, 4));
    assert_eq!(house.lifecycle(key(here, 3)), Some(LifecycleState::Deleted));
    assert_eq!(house.keys().len(), 5);
    house.take_came();
    house.pass().await;
    // A key that is gone is not asked about again.
    assert_eq!(count(&house.take_came(), Operation::DescribeKey), 0);
}

#[tokio::test(start_paused = true)]
async fn a_changed_key_is_described_again_and_events_out_of_order_end_in_the_truth() {
    let mut house = House::new(1, &["eu-west-1"], 5);
    let one = key(place(0, "eu-west-1"), 1);
    house.pass().await;
    house.take_came();
    sleep(Duration::from_hours(1)).await;
    // Disabled at one o'clock and enabled a minute later. The later event comes first.
    let first = house.now();
    sleep(Duration::from_mins(5)).await;
    let enabled = change(one, first.plus(60), "2", Effect::State(LifecycleState::Enabled));
    house.ledger().apply(&enabled, Counting::Counted);
    let report = house.pass().await;
    assert_eq!(report.keys.changed, 1);
    let asked: Vec<_> = house.take_came().into_iter().filter_map(|came| came.key).collect();
    assert!(asked.iter().all(|key| *key == one) && !asked.is_empty());
    let disabled = change(one, first, "1", Effect::State(LifecycleState::Disabled));
    house.ledger().apply(&disabled, Counting::Counted);
    assert_eq!(house.lifecycle(one), Some(LifecycleState::Enabled));
    assert_eq!(house.pass().await.keys.changed, 0);
    // What KMS says is later than what an event of before says.
    house.cloud.put_key(one, MemoryKey { described: disabled_key(), ..MemoryKey::new(NOW.minus(DAY)) });
    let late = change(one, house.now(), "3", Effect::State(LifecycleState::PendingDeletion));
    house.ledger().apply(&late, Counting::Counted);
    sleep(Duration::from_mins(2)).await;
    house.pass().await;
    assert_eq!(house.lifecycle(one), Some(LifecycleState::Disabled));
}

fn disabled_key() -> dormouse_model::Described {
    dormouse_model::Described { state: LifecycleState::Disabled, ..MemoryKey::new(NOW.minus(DAY)).described }
}

#[tokio::test(start_paused = true)]
async fn a_change_is_looked_at_within_minutes() {
    let mut house = House::new(2, &["eu-west-1"], 5);
    house.options.look_out_every = Duration::from_mins(1);
    house.pass().await;
    house.take_came();
    sleep(Duration::from_mins(30)).await;
    let one = key(place(1, "eu-west-1"), 1);
    let at = house.now();
    house.ledger().apply(&change(one, at, "1", Effect::Description("new")), Counting::Counted);
    // A key that no pass has seen.
    let fresh = key(place(1, "eu-west-1"), 77);
    house.cloud.put_key(fresh, MemoryKey::new(at));
    house.ledger().apply(&change(fresh, at, "2", Effect::Created), Counting::Counted);
    sleep(Duration::from_mins(3)).await;
    let described = |came: &[crate::memory::Came]| {
        let described = came.iter().filter(|came| came.operation == Operation::DescribeKey);
        described.filter_map(|came| came.key).collect::<std::collections::BTreeSet<_>>()
    };
    let came = house.take_came();
    assert_eq!(described(&came), [one, fresh].into());
    assert_eq!(count(&came, Operation::DescribeKey), 2);
    for answer in house.take_answers() {
        if let Answer::Key(answer) = answer
            && matches!(answer.said, KeySaid::Described(_))
            && answer.asked_at > at
        {
            assert!(answer.asked_at >= at.plus(60), "{} {at}", answer.asked_at);
        }
    }
    // And then it is not due any more.
    sleep(Duration::from_mins(10)).await;
    assert!(house.take_came().is_empty());
}

#[tokio::test(start_paused = true)]
async fn accounts_come_and_go_and_suspended_ones_are_not_read() {
    let mut house = House::new(45, &["eu-west-1"], 1);
    house.cloud.put_account(account(7), "SUSPENDED");
    let report = house.pass().await;
    assert_eq!((report.accounts.listed, report.accounts.inactive, report.accounts.joined), (45, 1, 45));
    assert_eq!(report.places.total, 44);
    // Three pages of at most twenty.
    assert_eq!(count(&house.take_came(), Operation::ListAccounts), 3);
    house.cloud.remove_account(account(3));
    house.cloud.put_account(account(99), "ACTIVE");
    let report = house.pass().await;
    assert_eq!((report.accounts.joined, report.accounts.left), (1, 1));
    let left = house.account(account(3));
    assert!(left.left.is_some());
    assert_eq!(house.account(account(7)).state.as_deref(), Some("SUSPENDED"));
    // Its keys stay known.
    assert!(house.keys().contains(&key(place(3, "eu-west-1"), 0)));
    // And back again.
    house.cloud.put_account(account(3), "ACTIVE");
    house.pass().await;
    assert!(house.account(account(3)).left.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_pass_can_be_asked_for_one_place_and_several_asks_make_one() {
    let mut house = House::new(4, &["eu-west-1", "us-east-1"], 2);
    house.start();
    let of =
        |number: u64| Scope { accounts: vec![account(number)], regions: vec!["us-east-1".parse().unwrap()] };
    let first = house.reconciler().ask(of(1)).unwrap();
    assert_eq!(house.reconciler().ask(of(2)).unwrap(), first);
    let report = house.reconciler().ended(first).await.unwrap();
    assert_eq!((report.places.total, report.keys.new), (2, 4));
    assert!(house.account(account(1)).assumed_at.is_some());
    assert!(
        house.take_answers().iter().any(|answer| {
            matches!(answer, Answer::Account(answer) if answer.said == AccountSaid::Assumed)
        })
    );
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_pass_goes_on_where_it_was() {
    let mut house = House::new(1, &["eu-west-1"], 2_000);
    house.start();
    let number = house.reconciler().ask(Scope::default()).unwrap();
    sleep(Duration::from_secs(5)).await;
    assert!(house.reconciler().status().running.is_some_and(|pass| pass.number == number));
    assert!(house.reconciler().stop().await);
    let described = count(&house.take_came(), Operation::DescribeKey);
    assert!((100..1_900).contains(&described), "{described}");
    // A new process with the same journal.
    house.reconciler = None;
    let report = house.pass().await;
    assert_eq!(report.outcome, Some(PassOutcome::Done));
    let again = count(&house.take_came(), Operation::DescribeKey);
    assert!(described + again <= 2_000 + 8, "{described} and {again}");
    assert_eq!(house.keys().len(), 2_000);
}

#[tokio::test(start_paused = true)]
async fn a_pass_ends_at_its_deadline_and_the_next_begins_with_what_was_left() {
    let mut house = House::new(40, &["eu-west-1"], 50);
    house.options.places_at_once = 1;
    house.options.deadline = Duration::from_secs(60);
    let report = house.pass().await;
    assert_eq!(report.outcome, Some(PassOutcome::Incomplete));
    assert!(report.places.left > 0 && report.places.done > 5, "{:?}", report.places);
    assert!(report.seconds < 85.0, "{}", report.seconds);
    let mut passes = 1;
    while house.keys().len() < 2_000 {
        house.pass().await;
        passes += 1;
        assert!(passes < 20, "{}", house.keys().len());
    }
}

#[tokio::test(start_paused = true)]
async fn a_week_describes_every_key_about_once_in_even_shares() {
    let mut house = House::new(4, &["eu-west-1"], 500);
    house.options.interval = Duration::from_hours(1);
    house.options.first_pass_after = Duration::from_secs(5);
    house.start();
    sleep(Duration::from_hours(10)).await;
    assert_eq!(count(&house.take_came(), Operation::DescribeKey), 2_000);
    // Turns begin after two fifths of a week.
    sleep(Duration::from_hours(56)).await;
    assert_eq!(count(&house.take_came(), Operation::DescribeKey), 0);
    sleep(Duration::from_hours(7 * 24)).await;
    house.take_came();
    // From then on each week has one for every key, and each day a seventh.
    for _ in 0..7 {
        sleep(Duration::from_hours(24)).await;
        let described = count(&house.take_came(), Operation::DescribeKey);
        assert!((2_000 / 7 - 90..2_000 / 7 + 90).contains(&described), "{described}");
    }
}
