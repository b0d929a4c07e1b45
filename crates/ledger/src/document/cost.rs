//! What a key costs a month.

use dormouse_model::LifecycleState;

use crate::Registers;

/// What AWS takes for a customer managed key, and for each of its first two rotations, in US dollars a month.
const KEY_USD: f64 = 1.0;
const ROTATION_USD: f64 = 1.0;

/// What a key costs a month at the least: a rotation that was not seen is not counted. `None` if nobody said whose key
/// it is.
pub(super) fn monthly_usd(registers: &Registers) -> Option<f64> {
    let is_on_its_way_out = matches!(
        registers.state(),
        Some(
            LifecycleState::PendingDeletion
                | LifecycleState::PendingReplicaDeletion
                | LifecycleState::Deleted
        )
    );
    if is_on_its_way_out || registers.manager() == Some("AWS") {
        return Some(0.0);
    }
    registers.manager()?;
    let rotation = if registers.rotated().is_some() { ROTATION_USD } else { 0.0 };
    Some(KEY_USD + rotation)
}

#[cfg(test)]
mod tests {
    use dormouse_model::{Described, EventId, EventTime, KeyAnswer, KeySaid};

    use super::*;

    fn described(manager: &str, state: LifecycleState) -> Registers {
        let mut registers = Registers::default();
        registers.answer(&KeyAnswer {
            key: "arn:aws:kms:eu-west-1:111122223333:key/00000000-0000-0000-0000-000000000001"
                .parse()
                .unwrap(),
            asked_at: EventTime::from_seconds(9),
            request_id: EventId::from("one"),
            said: KeySaid::Described(Described {
                manager: manager.into(),
                state,
                created: EventTime::from_seconds(1),
                description: "".into(),
                spec: "SYMMETRIC_DEFAULT".into(),
                usage: "ENCRYPT_DECRYPT".into(),
                origin: "AWS_KMS".into(),
                deletion_date: None,
                pending_window_days: None,
                material_expires: None,
                custom_key_store: None,
                multi_region: None,
            }),
        });
        registers
    }

    #[test]
    fn only_customers_keys_that_stay_cost() {
        let cost = |manager, state| monthly_usd(&described(manager, state)).unwrap();
        assert!((cost("CUSTOMER", LifecycleState::Disabled) - 1.0).abs() < 0.001);
        assert!(cost("CUSTOMER", LifecycleState::PendingDeletion).abs() < 0.001);
        assert!(cost("AWS", LifecycleState::Enabled).abs() < 0.001);
        assert_eq!(monthly_usd(&Registers::default()), None);
    }
}
