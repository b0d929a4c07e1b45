//! How many requests come in a second.

use std::collections::HashMap;
use std::time::Duration;

use dormouse_model::Place;

use super::house::{House, place};
use crate::memory::{Came, Fate, refusal};
use crate::{Operation, PassOutcome, UsageOptions};

/// The most requests of an operation in one place that came within any one second.
pub(super) fn peaks(came: &[Came]) -> HashMap<(Operation, Option<Place>), usize> {
    let mut times: HashMap<_, Vec<_>> = HashMap::new();
    for came in came {
        times.entry((came.operation, came.place)).or_default().push(came.at);
    }
    let peak = |mut times: Vec<tokio::time::Instant>| {
        times.sort_unstable();
        let (mut most, mut begin) = (0, 0);
        for end in 0..times.len() {
            while times[end] - times[begin] >= Duration::from_secs(1) {
                begin += 1;
            }
            most = most.max(end + 1 - begin);
        }
        most
    };
    times.into_iter().map(|(kind, times)| (kind, peak(times))).collect()
}

fn budget(operation: Operation) -> usize {
    match operation {
        Operation::ListKeys | Operation::ListAliases => 100,
        Operation::DescribeKey | Operation::ListResourceTags => 400,
        Operation::ListGrants => 20,
        Operation::GetKeyRotationStatus => 200,
        Operation::GetKeyLastUsage => 4,
        _ => 4,
    }
}

#[tokio::test(start_paused = true)]
async fn budgets_are_never_exceeded_and_are_used() {
    let mut house = House::new(2, &["eu-west-1"], 2_000);
    house.options.requests_at_once = 64;
    house.options.usage = Some(UsageOptions::default());
    let report = house.pass().await;
    assert_eq!(report.outcome, Some(PassOutcome::Done));
    tokio::time::sleep(Duration::from_mins(5)).await;
    let came = house.take_came();
    for ((operation, place), peak) in peaks(&came) {
        assert!(peak <= budget(operation), "{operation:?} {place:?}: {peak}");
    }
    // 2,000 keys at 20 lists of grants a second.
    assert!((95.0..125.0).contains(&report.seconds), "{}", report.seconds);
    let asked = came.iter().filter(|came| came.operation == Operation::GetKeyLastUsage).count();
    assert!(asked > 2 * 4 * 300 * 8 / 10, "{asked}");
}

#[tokio::test(start_paused = true)]
async fn throttling_slows_the_operation_down_in_that_place_alone_and_loses_nothing() {
    let mut house = House::new(2, &["eu-west-1"], 200);
    let here = place(1, "eu-west-1");
    // Others use the quota, too: one in three is refused.
    let number = std::sync::atomic::AtomicU32::new(0);
    house.cloud.set_judge(move |came| {
        let concerns = came.operation == Operation::DescribeKey && came.place == Some(here);
        let fails = concerns && number.fetch_add(1, std::sync::atomic::Ordering::SeqCst).is_multiple_of(3);
        fails.then(|| Fate::Fails(refusal(Operation::DescribeKey, "ThrottlingException")))
    });
    let report = house.pass().await;
    assert_eq!((report.outcome, report.keys.new), (Some(PassOutcome::Done), 400), "{report:#?}");
    assert!(report.throttled >= 90, "{}", report.throttled);
    let came = house.take_came();
    let times = |at: Place| {
        let at =
            came.iter().filter(|came| came.operation == Operation::DescribeKey && came.place == Some(at));
        let times: Vec<_> = at.map(|came| came.at).collect();
        *times.iter().max().unwrap() - *times.iter().min().unwrap()
    };
    assert!(times(here) > times(place(0, "eu-west-1")) * 2);
}
