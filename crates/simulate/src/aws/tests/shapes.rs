//! Keys as readers seldom meet them.

use super::*;

/// The metadata of the key that an answer is about, by its ARN.
fn made(answer: &Value, field: &str) -> KeyArn {
    answer[field]["Arn"].as_str().unwrap().parse().unwrap()
}

impl Scene {
    fn truth(&self, key: KeyArn) -> KeyTruth {
        self.organisation.key_truth(key).unwrap()
    }

    async fn metadata(&self, key: &KeyTruth) -> Value {
        self.told(key, "DescribeKey", json!({ "KeyId": key.key.id() })).await["KeyMetadata"].clone()
    }

    /// A key of somebody's, in an organisation in which nobody does anything.
    fn any(&self) -> KeyTruth {
        let truth = self.organisation.truth();
        let is_plain = |key: &&KeyTruth| {
            key.state == LifecycleState::Enabled
                && (key.manager, key.origin, key.spec) == ("CUSTOMER", "AWS_KMS", "SYMMETRIC_DEFAULT")
                && !key.key.is_multi_region()
        };
        truth.keys.iter().find(is_plain).cloned().unwrap()
    }

    async fn make(&self, beside: &KeyTruth, request: Value) -> KeyTruth {
        self.truth(made(&self.told(beside, "CreateKey", request).await, "KeyMetadata"))
    }
}

#[tokio::test]
async fn imported_material_comes_expires_and_goes() {
    let scene = scene_with(OrganisationOptions { still: true, ..usual() }, AwsDoubleOptions::default()).await;
    let some = scene.any();
    let key = scene.make(&some, json!({ "Origin": "EXTERNAL" })).await;
    let id = json!({ "KeyId": key.key.id() });
    assert_eq!((key.state, key.origin), (LifecycleState::PendingImport, "EXTERNAL"));
    let metadata = scene.metadata(&key).await;
    assert_eq!((&metadata["Origin"], &metadata["Enabled"]), (&json!("EXTERNAL"), &json!(false)));
    assert!(metadata["ExpirationModel"].is_null() && metadata["CurrentKeyMaterialId"].is_null());
    let data_key = json!({ "KeyId": key.key.id(), "KeySpec": "AES_256" });
    for (operation, request) in [("GenerateDataKey", &data_key), ("EnableKey", &id), ("DisableKey", &id)] {
        assert_eq!(scene.refused(&key, operation, request.clone()).await, "KMSInvalidStateException");
    }
    assert_eq!(
        scene.refused(&key, "GetKeyRotationStatus", id.clone()).await,
        "UnsupportedOperationException"
    );
    assert_eq!(
        scene.refused(&some, "GetParametersForImport", json!({ "KeyId": some.key.id() })).await,
        "UnsupportedOperationException"
    );
    let parameters = scene.told(&key, "GetParametersForImport", id.clone()).await;
    let material = |more: Value| {
        let mut request = json!({
            "KeyId": key.key.id(), "ImportToken": parameters["ImportToken"], "EncryptedKeyMaterial": "AAAA",
        });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };
    let valid_to = NOW.plus(86_400);
    assert_eq!(
        scene.refused(&key, "ImportKeyMaterial", material(json!({}))).await,
        "ValidationException",
        "material expires unless it is said not to"
    );
    scene.organisation.take_records();
    scene.told(&key, "ImportKeyMaterial", material(json!({ "ValidTo": valid_to.seconds() }))).await;
    let [record] = &scene.organisation.take_records()[..] else { panic!("one record") };
    assert!(!record.record.contains("AAAA"));
    let metadata = scene.metadata(&key).await;
    assert_eq!(metadata["KeyState"], "Enabled");
    assert_eq!(metadata["ExpirationModel"], "KEY_MATERIAL_EXPIRES");
    assert_eq!(metadata["ValidTo"], valid_to.seconds());
    assert_eq!(scene.truth(key.key).valid_to, Some(valid_to));
    scene.told(&key, "GenerateDataKey", data_key.clone()).await;

    scene.clock.advance(86_400);
    assert_eq!(scene.metadata(&key).await["KeyState"], "PendingImport");
    let expired = |one: &Generated| one.operation == "DeleteExpiredKeyMaterial" && one.says[0].key == key.key;
    assert!(scene.organisation.take_records().iter().any(expired));

    let for_ever = json!({ "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE" });
    scene.told(&key, "ImportKeyMaterial", material(for_ever)).await;
    let metadata = scene.metadata(&key).await;
    assert_eq!(metadata["ExpirationModel"], "KEY_MATERIAL_DOES_NOT_EXPIRE");
    assert!(metadata["ValidTo"].is_null());
    scene.told(&key, "DeleteImportedKeyMaterial", id.clone()).await;
    assert_eq!(scene.truth(key.key).state, LifecycleState::PendingImport);
    scene.told(&key, "ScheduleKeyDeletion", id.clone()).await;
    scene.told(&key, "CancelKeyDeletion", id).await;
    assert_eq!(scene.truth(key.key).state, LifecycleState::PendingImport);
}

#[tokio::test]
async fn keys_in_a_custom_key_store_are_there_as_long_as_it_is() {
    let scene = scene().await;
    let some = symmetric(&scene);
    let store = json!({ "CustomKeyStoreName": "the-hsm" });
    let store = scene.told(&some, "CreateCustomKeyStore", store).await["CustomKeyStoreId"].clone();
    let request = json!({ "Origin": "AWS_CLOUDHSM", "CustomKeyStoreId": store });
    assert_eq!(
        scene.refused(&some, "CreateKey", request.clone()).await,
        "CustomKeyStoreInvalidStateException"
    );
    scene.told(&some, "ConnectCustomKeyStore", json!({ "CustomKeyStoreId": store })).await;
    let key = scene.make(&some, request).await;
    assert_eq!((key.state, key.origin), (LifecycleState::Enabled, "AWS_CLOUDHSM"));
    assert_eq!(key.custom_key_store.as_deref(), store.as_str());
    let stores = scene.told(&some, "DescribeCustomKeyStores", json!({})).await;
    let shown = &stores["CustomKeyStores"][0];
    assert_eq!(
        (&shown["CustomKeyStoreName"], &shown["ConnectionState"]),
        (&json!("the-hsm"), &json!("CONNECTED"))
    );
    assert_eq!(
        scene.refused(&some, "DescribeCustomKeyStores", json!({ "CustomKeyStoreId": "cks-0" })).await,
        "CustomKeyStoreNotFoundException"
    );

    let connect = |connected| {
        scene.organisation.connect_key_store(
            some.account(),
            some.region(),
            store.as_str().unwrap(),
            connected,
        )
    };
    assert!(connect(false));
    let metadata = scene.metadata(&key).await;
    assert_eq!((&metadata["KeyState"], &metadata["CustomKeyStoreId"]), (&json!("Unavailable"), &store));
    let data_key = json!({ "KeyId": key.key.id(), "KeySpec": "AES_256" });
    assert_eq!(scene.refused(&key, "GenerateDataKey", data_key.clone()).await, "KMSInvalidStateException");
    scene.told(&key, "DisableKey", json!({ "KeyId": key.key.id() })).await;
    scene.told(&key, "EnableKey", json!({ "KeyId": key.key.id() })).await;
    assert_eq!(scene.truth(key.key).state, LifecycleState::Unavailable);
    assert!(connect(true));
    scene.told(&key, "GenerateDataKey", data_key).await;
    assert!(!scene.organisation.connect_key_store(some.account(), some.region(), "cks-0", true));
}

#[tokio::test]
async fn a_key_is_replicated_handed_on_and_deleted_after_its_replicas() {
    let scene = scene_with(OrganisationOptions { still: true, ..usual() }, AwsDoubleOptions::default()).await;
    let some = scene.any();
    let primary = scene.make(&some, json!({ "MultiRegion": true })).await;
    let id = json!({ "KeyId": primary.key.id() });
    assert_eq!(
        scene
            .refused(&some, "ReplicateKey", json!({ "KeyId": some.key.id(), "ReplicaRegion": "eu-west-2" }))
            .await,
        "UnsupportedOperationException"
    );
    scene.organisation.take_records();
    // Also into a Region in which the organisation had nothing.
    let request = json!({ "KeyId": primary.key.id(), "ReplicaRegion": "ap-south-1" });
    let replica =
        scene.truth(made(&scene.told(&primary, "ReplicateKey", request.clone()).await, "ReplicaKeyMetadata"));
    let records = scene.organisation.take_records();
    let [asked, came] = &records[..] else { panic!("{records:?}") };
    assert_eq!((asked.operation, asked.says[0].key), ("ReplicateKey", primary.key));
    assert_eq!((came.operation, came.says[0].key), ("CreateKey", replica.key));
    assert_eq!(replica.region().name(), "ap-south-1");
    assert_eq!(scene.refused(&primary, "ReplicateKey", request).await, "AlreadyExistsException");
    let listed = scene.kms(&some.account().to_string(), "ap-south-1", "ListKeys", &json!({})).await.json();
    assert_eq!(listed["Keys"][0]["KeyArn"], replica.key.to_string());
    let relation = async |key: &KeyTruth| scene.metadata(key).await["MultiRegionConfiguration"].clone();
    assert_eq!(relation(&primary).await["MultiRegionKeyType"], "PRIMARY");
    assert_eq!(relation(&replica).await["MultiRegionKeyType"], "REPLICA");
    assert_eq!(relation(&replica).await["PrimaryKey"]["Arn"], primary.key.to_string());
    assert_eq!(scene.truth(primary.key).multi_region.unwrap().replicas, [replica.key]);

    let handed = json!({ "KeyId": primary.key.id(), "PrimaryRegion": "ap-south-1" });
    scene.told(&primary, "UpdatePrimaryRegion", handed.clone()).await;
    assert_eq!(relation(&replica).await["MultiRegionKeyType"], "PRIMARY");
    assert_eq!(scene.truth(primary.key).multi_region.unwrap().primary, Some(replica.key));
    assert_eq!(scene.refused(&primary, "UpdatePrimaryRegion", handed).await, "UnsupportedOperationException");
    let back = json!({ "KeyId": replica.key.id(), "PrimaryRegion": primary.region().name() });
    scene.told(&replica, "UpdatePrimaryRegion", back).await;

    let window = json!({ "KeyId": primary.key.id(), "PendingWindowInDays": 7 });
    scene.told(&primary, "ScheduleKeyDeletion", window.clone()).await;
    let metadata = scene.metadata(&primary).await;
    assert_eq!(metadata["KeyState"], "PendingReplicaDeletion");
    assert!(metadata["DeletionDate"].is_null());
    assert_eq!(metadata["PendingDeletionWindowInDays"], 7);
    scene.told(&replica, "ScheduleKeyDeletion", window).await;
    scene.clock.advance(7 * 86_400);
    assert_eq!(scene.metadata(&primary).await["KeyState"], "PendingDeletion");
    assert_eq!(scene.truth(replica.key).state, LifecycleState::Deleted);
    scene.told(&primary, "CancelKeyDeletion", id).await;
    assert!(scene.truth(primary.key).multi_region.unwrap().replicas.is_empty());
}

#[tokio::test]
async fn aliases_can_lack_dates_and_targets() {
    let scene =
        scene_with(OrganisationOptions { predefined_aliases: true, ..usual() }, AwsDoubleOptions::default())
            .await;
    let key = scene.some(Cadence::Service);
    let own = key.aliases.first().unwrap();
    assert!(scene.organisation.forget_alias_dates(key.account(), key.region(), own));
    assert!(!scene.organisation.forget_alias_dates(key.account(), key.region(), "alias/none"));
    let aliases = scene.walk(&key, "ListAliases", "Aliases", json!({})).await;
    let named = |name: &str| aliases.iter().find(|alias| alias["AliasName"] == *name).unwrap();
    let old = named(own);
    assert_eq!(old["TargetKeyId"], key.key.id());
    assert!(old["CreationDate"].is_null() && old["LastUpdatedDate"].is_null());
    let unused = named("alias/aws/kinesis");
    assert!(unused["AliasArn"].is_string());
    assert!(unused["TargetKeyId"].is_null() && unused["LastUpdatedDate"].is_null());
    assert_eq!(
        scene.refused(&key, "DescribeKey", json!({ "KeyId": "alias/aws/kinesis" })).await,
        "NotFoundException"
    );
    let dated = aliases.iter().find(|alias| alias["LastUpdatedDate"].is_u64()).unwrap();
    assert!(dated["TargetKeyId"].is_string());
}

#[tokio::test]
async fn grants_go_to_services_and_to_other_accounts() {
    let scene = scene().await;
    let key = symmetric(&scene);
    let before = key.grants.len();
    let grant = |more: Value| {
        let mut request = json!({ "KeyId": key.key.id(), "Operations": ["Decrypt"] });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };
    let by_arn = json!({ "GranteePrincipal": "ec2.eu-west-1.amazonaws.com" });
    scene.told(&key, "CreateGrant", grant(by_arn)).await;
    let foreign = json!({ "GranteePrincipal": "arn:aws:iam::999988887777:root" });
    scene.told(&key, "CreateGrant", grant(foreign)).await;
    let service = json!({
        "GranteeServicePrincipal": "backup.amazonaws.com", "RetiringServicePrincipal": "backup.amazonaws.com",
        "Constraints": { "SourceArn": "arn:aws:backup:eu-west-1:111122223333:backup-vault:x" },
    });
    let made = scene.told(&key, "CreateGrant", grant(service)).await;
    assert_eq!(scene.refused(&key, "CreateGrant", grant(json!({}))).await, "ValidationException");
    let request = json!({ "KeyId": key.key.id(), "GrantId": made["GrantId"] });
    let listed = &scene.told(&key, "ListGrants", request).await["Grants"][0];
    assert_eq!(listed["GranteeServicePrincipal"], "backup.amazonaws.com");
    assert_eq!(listed["RetiringServicePrincipal"], "backup.amazonaws.com");
    assert!(listed["GranteePrincipal"].is_null());
    let truth = scene.truth(key.key);
    assert_eq!(truth.grants.len(), before + 3);
    let is_there = |name: &str| truth.grants.iter().any(|grant| grant.grantee == name);
    assert!(is_there("ec2.eu-west-1.amazonaws.com") && is_there("backup.amazonaws.com"));
}
