//! What changes do to a key.

use dormouse_model::{Change, Effect, Kind, LifecycleState};
use serde_json::{Value, json};

use super::*;

fn effects(record: &Value) -> Vec<Effect<'static>> {
    let seen = observation(record);
    assert_eq!(seen.kind, Kind::Change);
    assert!(seen.change.is_some());
    seen.effects
}

#[test]
fn states_follow_from_operations() {
    for (operation, state) in [
        ("EnableKey", LifecycleState::Enabled),
        ("DisableKey", LifecycleState::Disabled),
        ("CancelKeyDeletion", LifecycleState::Disabled),
        ("DeleteKey", LifecycleState::Deleted),
        ("ImportKeyMaterial", LifecycleState::Enabled),
        ("DeleteImportedKeyMaterial", LifecycleState::PendingImport),
        ("DeleteExpiredKeyMaterial", LifecycleState::PendingImport),
    ] {
        assert_eq!(
            effects(&change(operation, json!({}), Value::Null)),
            [Effect::State(state)],
            "{operation}"
        );
    }
    for operation in ["RotateKey", "RotateKeyOnDemand"] {
        assert_eq!(effects(&change(operation, json!({}), Value::Null)), [Effect::Rotated]);
    }
    assert_eq!(
        effects(&change("EnableKeyRotation", json!({}), Value::Null)),
        [Effect::AutomaticRotation(true)]
    );
    assert_eq!(
        effects(&change("DisableKeyRotation", json!({}), Value::Null)),
        [Effect::AutomaticRotation(false)]
    );
    for operation in ["PutKeyPolicy", "CreateGrant", "RetireGrant", "ReplicateKey", "UpdatePrimaryRegion"] {
        assert_eq!(effects(&change(operation, json!({}), Value::Null)), []);
    }
}

#[test]
fn a_created_key_has_what_it_was_created_with() {
    let request =
        json!({"description": "mine", "tags": [{"tagKey": "team", "tagValue": "pay"}, {"tagKey": "empty"}]});
    let response = json!({"keyMetadata": {"keyManager": "CUSTOMER", "keyState": "Enabled"}});
    assert_eq!(
        effects(&change("CreateKey", request, response)),
        [
            Effect::Created,
            Effect::Manager("CUSTOMER"),
            Effect::State(LifecycleState::Enabled),
            Effect::TagSet("team", "pay"),
            Effect::TagSet("empty", ""),
            Effect::Description("mine"),
        ]
    );
    let state = |request: Value, response: Value| effects(&change("CreateKey", request, response))[1];
    assert_eq!(
        state(json!({"origin": "EXTERNAL"}), Value::Null),
        Effect::State(LifecycleState::PendingImport)
    );
    assert_eq!(state(json!({}), Value::Null), Effect::State(LifecycleState::Enabled));
    let creating = json!({"keyMetadata": {"keyState": "Creating"}});
    assert_eq!(state(json!({"origin": "EXTERNAL"}), creating), Effect::State(LifecycleState::Creating));
    let odd = json!({"keyMetadata": {"keyState": "Odd"}});
    assert_eq!(state(json!({}), odd), Effect::State(LifecycleState::Enabled));
}

#[test]
fn the_date_of_a_deletion_follows_from_the_window() {
    let date = |request: Value, response: Value| effects(&change("ScheduleKeyDeletion", request, response));
    let on = |time: &str| Effect::DeletionDate(time.parse().unwrap());
    let pending = Effect::State(LifecycleState::PendingDeletion);
    assert_eq!(date(json!({}), Value::Null), [pending, on("2026-10-31T12:00:00Z")]);
    assert_eq!(date(json!({}), json!({"pendingWindowInDays": 10})), [pending, on("2026-10-11T12:00:00Z")]);
    let prose = json!({"pendingWindowInDays": 10, "deletionDate": "Apr 12, 2021 18:58:30 PM", "keyState": "PendingReplicaDeletion"});
    assert_eq!(
        date(json!({"pendingWindowInDays": 7}), prose),
        [Effect::State(LifecycleState::PendingReplicaDeletion), on("2026-10-08T12:00:00Z")]
    );
    assert_eq!(date(json!({"pendingWindowInDays": u32::MAX}), Value::Null).len(), 2);
}

#[test]
fn an_alias_points_at_its_target() {
    let request = |target: &str| json!({"aliasName": "alias/app", "targetKeyId": target});
    let alias_arn = format!("arn:aws:kms:eu-west-1:{ACCOUNT}:alias/app");
    let set = [Effect::AliasSet("alias/app")];
    for arns in [[&*alias_arn, KEY], [KEY, &*alias_arn]] {
        let mut record = change("CreateAlias", request("0000"), Value::Null);
        record["resources"] = arns.iter().map(|arn| json!({ "ARN": arn })).collect();
        assert_eq!(effects(&record), set);
        record["requestParameters"] = json!(null);
        assert_eq!(effects(&record), set, "the resources name it, too");
    }
    let mut moved = change("UpdateAlias", request("0000abcd-12ab-34cd-56ef-1234567890ab"), Value::Null);
    moved["resources"] = json!([{"ARN": KEY}, {"ARN": OTHER_KEY}]);
    let seen = kms(moved.to_string()).observations;
    assert_eq!((seen[0].change, &*seen[0].effects), (Some(Change::AliasSet), &[][..]));
    assert_eq!((seen[1].key.to_string(), &*seen[1].effects), (OTHER_KEY.to_owned(), &set[..]));
    let deleted = change("DeleteAlias", json!({"aliasName": "alias/app"}), Value::Null);
    assert_eq!(effects(&deleted), [Effect::AliasDeleted("alias/app")]);
}

#[test]
fn tags_and_descriptions_are_kept_within_bounds() {
    let tags: Vec<Value> =
        (0..100).map(|n| json!({"tagKey": format!("k{n}"), "tagValue": "v".repeat(5000)})).collect();
    let seen = effects(&change("TagResource", json!({ "tags": tags }), Value::Null));
    assert_eq!(seen.len(), 64);
    assert!(matches!(seen[0], Effect::TagSet("k0", value) if value.len() == 1024));
    let removed = effects(&change("UntagResource", json!({"tagKeys": ["a", "b"]}), Value::Null));
    assert_eq!(removed, [Effect::TagRemoved("a"), Effect::TagRemoved("b")]);
    let cleared = effects(&change("UpdateKeyDescription", json!({"description": ""}), Value::Null));
    assert_eq!(cleared, [Effect::Description("")]);
    let long =
        effects(&change("UpdateKeyDescription", json!({"description": "d".repeat(8192)}), Value::Null));
    assert!(matches!(&*long, [Effect::Description(text)] if text.len() == 512));
}

#[test]
fn events_of_kms_itself_change_state_and_are_not_counted() {
    for (detail_type, change, effect) in [
        ("KMS CMK Rotation", Change::Rotated, Effect::Rotated),
        ("KMS CMK Deletion", Change::Deleted, Effect::State(LifecycleState::Deleted)),
        (
            "KMS Imported Key Material Expiration",
            Change::MaterialDeleted,
            Effect::State(LifecycleState::PendingImport),
        ),
    ] {
        let body = direct(detail_type).to_string();
        let [Seen::Direct(seen)] = &*seen(body) else { panic!("{detail_type}") };
        assert_eq!(
            (seen.key.to_string(), seen.kind, seen.change),
            (KEY.to_owned(), Kind::Change, Some(change))
        );
        assert_eq!((&*seen.effects, seen.counted, seen.event_id), (&[effect][..], false, "d-1"));
        assert_eq!(seen.time, "2026-10-01T12:00:00Z".parse().unwrap());
    }
}

#[test]
fn events_of_kms_itself_name_their_key_in_two_ways_and_can_be_refused() {
    let with = |name: &str, value: Value| {
        let mut event = direct("KMS CMK Deletion");
        event[name] = value;
        event.to_string()
    };
    assert_eq!(summary(with("resources", Value::Null)), ["direct DeleteKey"]);
    assert_eq!(summary(with("detail", json!({}))), ["direct DeleteKey"]);
    let nameless = with("resources", json!([])).replace("key-id", "key");
    assert_eq!(bad(nameless).0, BadClass::Quarantined);
    assert_eq!(bad(with("source", json!("my.app"))), (BadClass::Malformed, "forged_event"));
    assert_eq!(
        bad(with("account", json!("444455556666"))),
        (BadClass::Quarantined, "envelope_account_mismatch")
    );
    assert_eq!(bad(with("account", json!(5))), (BadClass::Quarantined, "wrong_type"));
    assert_eq!(bad(with("time", json!("2027-01-01T00:00:00Z"))).1, "future");
    assert_eq!(bad(with("id", Value::Null)), (BadClass::Quarantined, "missing_member"));
    assert_eq!(bad(with("resources", json!(5))), (BadClass::Quarantined, "wrong_type"));
}
