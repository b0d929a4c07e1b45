//! The SDK's types as ours. Texts are cut to AWS's own bounds: whoever answers may be anybody's double.

use aws_sdk_kms::operation::get_key_last_usage::GetKeyLastUsageOutput;
use aws_sdk_kms::types::{
    AliasListEntry, GrantListEntry, KeyLastUsageData, KeyMetadata, KeySpec, MultiRegionConfiguration,
    MultiRegionKeyType,
};
use aws_smithy_types::DateTime;
use dormouse_model::{
    Described, EventId, EventTime, KeyArn, KmsUse, LastUsage, LifecycleState, MultiRegion, Place,
};

use crate::cloud::{ListedAlias, ListedGrant};
use crate::failures::cut;

/// KMS's longest description is 8,192 characters; nobody reads more than this in an inventory.
const LONGEST_DESCRIPTION: usize = 1_024;
/// Names of types, ids and operations.
const LONGEST_WORD: usize = 128;
/// A multi-Region key has at most one replica in each Region.
const MOST_SIBLINGS: usize = 64;

pub(super) fn time(time: &DateTime) -> EventTime {
    let seconds = time.secs().clamp(0, i64::from(u32::MAX));
    EventTime::from_seconds(u32::try_from(seconds).unwrap_or(u32::MAX))
}

fn word(text: &str) -> Box<str> {
    cut(text, LONGEST_WORD).into()
}

/// What `DescribeKey` says; `None` if it lacks what every key has.
pub(super) fn described(metadata: &KeyMetadata) -> Option<Described> {
    let spec = metadata.key_spec().map(KeySpec::as_str);
    Some(Described {
        manager: word(metadata.key_manager()?.as_str()),
        state: LifecycleState::from_name(metadata.key_state()?.as_str())?,
        created: time(metadata.creation_date()?),
        description: cut(metadata.description().unwrap_or_default(), LONGEST_DESCRIPTION).into(),
        spec: word(spec.unwrap_or("SYMMETRIC_DEFAULT")),
        usage: word(metadata.key_usage().map_or("ENCRYPT_DECRYPT", |usage| usage.as_str())),
        origin: word(metadata.origin().map_or("AWS_KMS", |origin| origin.as_str())),
        deletion_date: metadata.deletion_date().map(time),
        pending_window_days: days(metadata.pending_deletion_window_in_days()),
        material_expires: metadata.valid_to().map(time),
        custom_key_store: metadata.custom_key_store_id().map(word),
        multi_region: metadata
            .multi_region_configuration()
            .map(|configuration| multi_region(configuration, metadata.arn().unwrap_or_default())),
    })
}

pub(super) fn days(days: Option<i32>) -> Option<u16> {
    days.and_then(|days| u16::try_from(days).ok())
}

fn multi_region(configuration: &MultiRegionConfiguration, own: &str) -> MultiRegion {
    let all = configuration.primary_key().into_iter().chain(configuration.replica_keys());
    let others = all.filter_map(|key| key.arn()).filter(|arn| *arn != own);
    let mut siblings: Vec<KeyArn> = others.take(MOST_SIBLINGS).filter_map(|arn| arn.parse().ok()).collect();
    siblings.sort_unstable();
    siblings.dedup();
    let is_primary = configuration.multi_region_key_type() == Some(&MultiRegionKeyType::Primary);
    MultiRegion { is_primary, siblings }
}

/// An alias; `None` if it has no name that an alias can have.
pub(super) fn alias(entry: &AliasListEntry, place: Place) -> Option<ListedAlias> {
    let name = entry.alias_name().filter(|name| name.starts_with("alias/"))?;
    let target = entry.target_key_id();
    let target = target.and_then(|id| KeyArn::from_parts(place.region, place.account, id).ok());
    let since = entry.last_updated_date().or(entry.creation_date()).map(time);
    Some(ListedAlias { name: name.into(), target, since })
}

pub(super) fn grant(entry: &GrantListEntry) -> ListedGrant {
    let mut services: Vec<Box<str>> = Vec::new();
    services.extend(entry.grantee_service_principal().map(Box::from));
    services.extend(entry.retiring_service_principal().map(Box::from));
    let mut grantee = None;
    for (principal, is_grantee) in [(entry.grantee_principal(), true), (entry.retiring_principal(), false)] {
        match principal {
            Some(name) if is_service(name) => services.push(name.into()),
            Some(name) if is_grantee => grantee = Some(name.into()),
            _ => {}
        }
    }
    ListedGrant { grantee, services }
}

/// Older grants name services like principals, e.g. `dynamodb.eu-west-1.amazonaws.com`.
fn is_service(principal: &str) -> bool {
    !principal.starts_with("arn:")
        && (principal.ends_with(".amazonaws.com") || principal.ends_with(".amazonaws.com.cn"))
}

/// What `GetKeyLastUsage` says; `None` if it lacks since when KMS tracks the key, or when a use was that it tells of.
pub(super) fn last_usage(answer: &GetKeyLastUsageOutput) -> Option<LastUsage> {
    let tells_of_a_use = |usage: &&KeyLastUsageData| {
        usage.timestamp().is_some() || usage.operation().is_some() || usage.cloud_trail_event_id().is_some()
    };
    let last = match answer.key_last_usage().filter(tells_of_a_use) {
        None => None,
        Some(usage) => Some(KmsUse {
            at: time(usage.timestamp()?),
            operation: word(usage.operation().map_or("", |operation| operation.as_str())),
            event_id: usage.cloud_trail_event_id().map(|id| EventId::from(cut(id, LONGEST_WORD))),
        }),
    };
    Some(LastUsage {
        tracked_from: time(answer.tracking_start_date()?),
        created: time(answer.key_creation_date()?),
        last,
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_kms::types::{KeyManagerType, KeyState};

    use super::*;

    fn place() -> Place {
        Place { account: "111122223333".parse().unwrap(), region: "eu-west-1".parse().unwrap() }
    }

    #[test]
    fn a_description_without_a_state_is_none() {
        let metadata = || {
            KeyMetadata::builder()
                .key_id("1234abcd-12ab-34cd-56ef-1234567890ab")
                .creation_date(DateTime::from_secs(1_700_000_000))
                .key_manager(KeyManagerType::Customer)
        };
        assert_eq!(described(&metadata().build().unwrap()), None);
        let whole =
            metadata().key_state(KeyState::PendingImport).description("é".repeat(2_000)).build().unwrap();
        let whole = described(&whole).unwrap();
        assert_eq!((whole.state, &*whole.spec), (LifecycleState::PendingImport, "SYMMETRIC_DEFAULT"));
        assert!(whole.description.len() <= LONGEST_DESCRIPTION);
    }

    #[test]
    fn reserved_aliases_have_no_target_and_a_target_is_in_the_same_place() {
        let reserved = AliasListEntry::builder().alias_name("alias/aws/s3").build();
        assert_eq!(alias(&reserved, place()).unwrap().target, None);
        let set = AliasListEntry::builder()
            .alias_name("alias/app")
            .target_key_id("1234abcd-12ab-34cd-56ef-1234567890ab")
            .creation_date(DateTime::from_secs(1))
            .build();
        let listed = alias(&set, place()).unwrap();
        let arn = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
        assert_eq!(listed.target.unwrap().to_string(), arn);
        assert_eq!(listed.since, Some(EventTime::from_seconds(1)));
        assert_eq!(alias(&AliasListEntry::builder().alias_name("odd").build(), place()), None);
    }

    #[test]
    fn services_are_told_from_other_grantees() {
        let entry = GrantListEntry::builder()
            .grantee_principal("dynamodb.eu-west-1.amazonaws.com")
            .retiring_principal("arn:aws:iam::111122223333:role/app")
            .build();
        let dynamo = ListedGrant { grantee: None, services: vec!["dynamodb.eu-west-1.amazonaws.com".into()] };
        assert_eq!(grant(&entry), dynamo);
        let role = "arn:aws:iam::111122223333:role/app";
        let entry = GrantListEntry::builder().grantee_principal(role).build();
        assert_eq!(grant(&entry), ListedGrant { grantee: Some(role.into()), services: vec![] });
    }
}
