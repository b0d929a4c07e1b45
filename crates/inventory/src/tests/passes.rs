//! What a pass asks, and what it makes known.

use dormouse_model::{KeyArn, LifecycleState};

use super::house::{House, key, place};
use crate::{Operation, PassOutcome};

fn count(came: &[crate::memory::Came], operation: Operation) -> usize {
    came.iter().filter(|came| came.operation == operation).count()
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
    let first: KeyArn = key(place(0, "eu-west-1"), 0);
    assert_eq!(house.state(first).unwrap().registers().unwrap().state(), Some(LifecycleState::Enabled));
}
