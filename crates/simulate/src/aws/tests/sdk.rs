//! The doubles as the official SDK sees them.

use aws_sdk_kms::Client;
use aws_sdk_kms::config::{BehaviorVersion, Credentials, Region as SdkRegion};
use aws_sdk_kms::error::ProvideErrorMetadata as _;
use aws_sdk_kms::operation::RequestId as _;
use aws_sdk_kms::types::{KeyManagerType, KeyMetadata, KeySpec, KeyState, KeyUsageType, OriginType};

use super::*;

fn kms(scene: &Scene, region: &str, credentials: Credentials) -> Client {
    let config = aws_sdk_kms::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(SdkRegion::new(region.to_owned()))
        .endpoint_url(scene.double.endpoint())
        .retry_config(aws_sdk_kms::config::retry::RetryConfig::disabled())
        .credentials_provider(credentials);
    Client::from_conf(config.build())
}

/// A client of the account itself, in the key's Region.
fn client(scene: &Scene, key: &KeyTruth) -> Client {
    let caller = Credentials::new(key.account().to_string(), "no secret", None, None, "test");
    kms(scene, key.region().name(), caller)
}

#[tokio::test]
async fn a_heartbeat_comes_back_as_a_record_with_its_request_id() {
    let scene = scene().await;
    let key = symmetric(&scene);
    scene.organisation.take_records();
    let answer = client(&scene, &key).list_keys().limit(1).send().await.unwrap();
    assert_eq!(answer.keys().len(), 1);
    let [record] = &scene.organisation.take_records()[..] else { panic!("one record") };
    let record: Value = serde_json::from_str(&record.record).unwrap();
    assert_eq!(record["requestID"], answer.request_id().unwrap());
    assert_eq!(record["eventName"], "ListKeys");
    assert_eq!(record["recipientAccountId"], key.account().to_string());
    assert_eq!(record["awsRegion"], key.region().name());
}

#[tokio::test]
async fn an_expired_session_and_a_region_that_is_not_enabled_have_their_codes() {
    let scene = scene().await;
    let key = symmetric(&scene);
    let config = aws_sdk_sts::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(SdkRegion::from_static("eu-west-1"))
        .endpoint_url(scene.double.endpoint())
        .credentials_provider(Credentials::new("AKIAEXAMPLE", "no secret", None, None, "test"));
    let sts = aws_sdk_sts::Client::from_conf(config.build());
    let role = format!("arn:aws:iam::{}:role/dormouse-read", key.account());
    let given = sts.assume_role().role_arn(role).role_session_name("test").send().await.unwrap();
    let given = given.credentials().unwrap();
    let caller = Credentials::new(
        given.access_key_id(),
        given.secret_access_key(),
        Some(given.session_token().to_owned()),
        None,
        "test",
    );
    let client = kms(&scene, key.region().name(), caller);
    let code =
        async || client.list_keys().send().await.err().and_then(|error| error.code().map(str::to_owned));
    assert_eq!(code().await, None);
    scene.double.set_region(key.account(), key.region(), false);
    assert_eq!(code().await.as_deref(), Some("UnrecognizedClientException"));
    scene.double.set_region(key.account(), key.region(), true);
    scene.double.set_last_usage(key.region(), false);
    let usage = client.get_key_last_usage().key_id(key.key.id()).send().await;
    assert_eq!(usage.unwrap_err().code(), Some("UnknownOperationException"));
    scene.clock.advance(3_600);
    assert_eq!(code().await.as_deref(), Some("ExpiredTokenException"));
}

fn seconds(time: Option<&aws_sdk_kms::primitives::DateTime>) -> Option<EventTime> {
    time.map(|time| EventTime::from_seconds(u32::try_from(time.secs()).unwrap()))
}

fn compare(key: &KeyTruth, told: &KeyMetadata) {
    assert_eq!(told.arn(), Some(&*key.key.to_string()));
    assert_eq!(told.key_state().map(KeyState::as_str), Some(key.state.name()), "{key:?}");
    assert_eq!(told.enabled(), key.state == LifecycleState::Enabled);
    assert_eq!(told.origin().map(OriginType::as_str), Some(key.origin));
    assert_eq!(told.custom_key_store_id(), key.custom_key_store.as_deref());
    assert_eq!(told.key_spec().map(KeySpec::as_str), Some(key.spec));
    assert_eq!(told.key_usage().map(KeyUsageType::as_str), Some(key.usage));
    assert_eq!(told.key_manager().map(KeyManagerType::as_str), Some(key.manager));
    assert_eq!(told.description(), Some(&*key.description));
    assert_eq!(seconds(told.creation_date()), Some(key.created));
    assert_eq!(seconds(told.deletion_date()), key.deletion);
    assert_eq!(seconds(told.valid_to()), key.valid_to);
    assert_eq!(told.multi_region(), Some(key.key.is_multi_region()));
    let relation = told.multi_region_configuration();
    assert_eq!(relation.is_some(), key.multi_region.is_some());
    if let (Some(relation), Some(expected)) = (relation, &key.multi_region) {
        let primary = relation.primary_key().and_then(|primary| primary.arn()).map(str::to_owned);
        assert_eq!(primary, expected.primary.map(|primary| primary.to_string()));
        let replicas = relation.replica_keys().iter().filter_map(|replica| replica.arn());
        let expected = expected.replicas.iter().map(ToString::to_string);
        assert!(replicas.map(str::to_owned).eq(expected));
    }
}

/// Everything that a reader asks about one key.
async fn compare_rest(client: &Client, key: &KeyTruth) {
    let id = key.key.id();
    let grants = client.list_grants().key_id(&id).into_paginator().items().send();
    let grants = grants.collect::<Result<Vec<_>, _>>().await.unwrap();
    let told = grants.iter().map(|grant| {
        let grantee = grant.grantee_principal().or(grant.grantee_service_principal());
        (grant.grant_id().unwrap(), grantee.unwrap())
    });
    let expected = key.grants.iter().map(|grant| (&*grant.id, &*grant.grantee));
    assert!(told.eq(expected), "{key:?}");
    let tags = client.list_resource_tags().key_id(&id).into_paginator().items().send();
    let tags = tags.collect::<Result<Vec<_>, _>>().await.unwrap();
    let tags: BTreeMap<_, _> =
        tags.iter().map(|tag| (tag.tag_key().to_owned(), tag.tag_value().to_owned())).collect();
    assert_eq!(tags, key.tags);
    let usage = client.get_key_last_usage().key_id(&id).send().await.unwrap();
    let tracked = "2026-04-23T00:00:00Z".parse::<EventTime>().unwrap().max(key.created);
    assert_eq!(seconds(usage.tracking_start_date()), Some(tracked));
    let known = key.used_before.filter(|used| *used >= tracked && *used <= NOW.minus(HOUR));
    assert_eq!(seconds(usage.key_last_usage().and_then(|usage| usage.timestamp())), known);
    match client.get_key_rotation_status().key_id(&id).send().await {
        Ok(status) => {
            assert_eq!(status.key_rotation_enabled(), key.rotation.is_some());
            let period = status.rotation_period_in_days().map(|days| u32::try_from(days).unwrap());
            assert_eq!(period, key.rotation.map(|rotation| rotation.period_days));
            assert_eq!(seconds(status.next_rotation_date()), key.rotation.map(|rotation| rotation.next));
        }
        Err(error) => {
            assert_eq!(error.code(), Some("UnsupportedOperationException"));
            assert!(key.rotation.is_none());
        }
    }
}

#[tokio::test]
async fn a_still_organisation_shows_every_shape_as_the_truth_has_it() {
    let regions = usual().regions;
    let clock = Arc::new(ManualClock::at(NOW));
    let organisation = Organisation::new(OrganisationOptions::still(clock.clone(), 5, &regions, 400));
    let options = AwsDoubleOptions { unlimited: true, ..AwsDoubleOptions::default() };
    let double = AwsDouble::start(organisation.clone(), options).await.unwrap();
    let scene = Scene { clock, organisation, double };
    let truth = scene.organisation.truth();
    assert!(truth.keys.len() >= 400);
    let states: BTreeSet<&str> = truth.keys.iter().map(|key| key.state.name()).collect();
    let expected =
        ["Disabled", "Enabled", "PendingDeletion", "PendingImport", "PendingReplicaDeletion", "Unavailable"];
    assert!(states.into_iter().eq(expected));
    let origins: BTreeSet<&str> = truth.keys.iter().map(|key| key.origin).collect();
    assert!(origins.into_iter().eq(["AWS_CLOUDHSM", "AWS_KMS", "EXTERNAL", "EXTERNAL_KEY_STORE"]));
    let grantees: Vec<&str> =
        truth.keys.iter().flat_map(|key| &key.grants).map(|grant| &*grant.grantee).collect();
    assert!(grantees.iter().any(|grantee| grantee.ends_with(".amazonaws.com")));
    assert!(grantees.iter().any(|grantee| grantee.contains("999988887777")));
    assert!(truth.keys.iter().any(|key| key.valid_to.is_some()));
    assert!(truth.keys.iter().any(|key| key.rotation.is_some()));
    assert!(truth.keys.iter().any(|key| key.used_before.is_none()));

    for key in &truth.keys {
        let client = client(&scene, key);
        let told = client.describe_key().key_id(key.key.id()).send().await.unwrap();
        compare(key, told.key_metadata().unwrap());
        compare_rest(&client, key).await;
    }
    let mut aliases = BTreeSet::new();
    let mut without_target = 0;
    for account in scene.organisation.accounts() {
        for region in &regions {
            let caller = Credentials::new(account.id.to_string(), "no secret", None, None, "test");
            let listed = kms(&scene, region.name(), caller).list_aliases().into_paginator().items().send();
            // The accounts that are no longer active have nothing to say.
            for alias in listed.collect::<Result<Vec<_>, _>>().await.unwrap_or_default() {
                let name = alias.alias_name().unwrap().to_owned();
                match alias.target_key_id() {
                    Some(target) => {
                        aliases.insert((account.id, region.name(), target.to_owned(), name));
                    }
                    None => {
                        assert!(name.starts_with("alias/aws/"));
                        assert!(alias.creation_date().is_none() && alias.last_updated_date().is_none());
                        without_target += 1;
                    }
                }
            }
        }
    }
    assert!(without_target > 0);
    let of = |key: &KeyTruth| {
        let (account, region, id) = (key.account(), key.region().name(), key.key.id());
        let aliases: Vec<_> =
            key.aliases.iter().map(|alias| (account, region, id.clone(), alias.clone())).collect();
        aliases
    };
    assert_eq!(aliases, truth.keys.iter().flat_map(of).collect());

    // Reads are not recorded here, and nobody does anything.
    scene.clock.advance(6 * 86_400);
    assert!(scene.organisation.advance_to(NOW.plus(6 * 86_400)).is_empty());
    assert_eq!(scene.organisation.truth().totals.uses, 0);
    // But KMS does by itself what was planned.
    let later = scene.organisation.advance_to(NOW.plus(100 * 86_400));
    let deleted = truth.keys.iter().filter(|key| key.deletion.is_some()).count();
    assert_eq!(later.iter().filter(|one| one.operation == "DeleteKey").count(), deleted);
    assert!(deleted > 0 && later.iter().any(|one| one.operation == "DeleteExpiredKeyMaterial"));
}

#[tokio::test]
async fn thousands_of_keys_come_page_by_page() {
    let clock = Arc::new(ManualClock::at(NOW));
    let region = "eu-west-1".parse().unwrap();
    let organisation = Organisation::new(OrganisationOptions::still(clock.clone(), 1, &[region], 2_500));
    let double = AwsDouble::start(organisation.clone(), AwsDoubleOptions::default()).await.unwrap();
    let scene = Scene { clock, organisation, double };
    let truth = scene.organisation.truth();
    assert_eq!(truth.keys.len(), 2_500);
    let client = client(&scene, &truth.keys[0]);
    let keys = client.list_keys().limit(1_000).into_paginator().items().send();
    let keys = keys.collect::<Result<Vec<_>, _>>().await.unwrap();
    let told = keys.iter().map(|key| key.key_arn().unwrap().to_owned());
    assert!(told.eq(truth.keys.iter().map(|key| key.key.to_string())));
    assert_eq!(scene.double.requests_of(Service::Kms, "ListKeys"), 3);
    let aliases = client.list_aliases().limit(100).into_paginator().items().send();
    let aliases = aliases.collect::<Result<Vec<_>, _>>().await.unwrap();
    let with_target = aliases.iter().filter(|alias| alias.target_key_id().is_some()).count();
    assert_eq!(with_target, truth.keys.iter().map(|key| key.aliases.len()).sum::<usize>());
}
