//! KMS in one place by the SDK.

use std::sync::Arc;

use aws_sdk_kms::Client;
use aws_types::request_id::RequestId;
use dormouse_aws::{Failure, Sessions, StsRoles};
use dormouse_model::{Described, KeyArn, LastUsage, Place, Rotation};
use tokio::time::Instant;

use super::convert;
use crate::cloud::{Answered, Kms, ListedAlias, ListedGrant, Page, Told};
use crate::operation::Operation;

/// KMS's largest pages.
const MOST_ALIASES: i32 = 100;
const MOST_TAGS: i32 = 50;
const MOST_GRANTS: i32 = 100;

/// KMS in one place.
pub struct SdkKms {
    client: Client,
    place: Place,
    sessions: Option<Arc<Sessions<StsRoles>>>,
}

impl SdkKms {
    pub(super) fn new(client: Client, place: Place, sessions: Option<Arc<Sessions<StsRoles>>>) -> Self {
        Self { client, place, sessions }
    }

    /// Asks with credentials that are good. That there are none is said in STS's words.
    async fn ask<T>(&self, send: impl Future<Output = Answered<T>>) -> Answered<T> {
        let Some(sessions) = &self.sessions else { return send.await };
        sessions.credentials(self.place.account).await?;
        let sent = Instant::now();
        let answer = send.await;
        if let Err(failure) = &answer
            && failure.is_expired()
        {
            sessions.expired(self.place.account, sent).await;
        }
        answer
    }

    /// The key, if it is one of this place.
    fn key(&self, arn: Option<&str>) -> Option<KeyArn> {
        let key: KeyArn = arn?.parse().ok()?;
        (key.account() == self.place.account && key.region() == self.place.region).then_some(key)
    }
}

/// The next page, where KMS says that there is one.
fn next(truncated: bool, marker: Option<String>) -> Option<String> {
    marker.filter(|_| truncated)
}

impl Kms for SdkKms {
    async fn list_keys(&self, limit: u16, from: Option<&str>) -> Answered<Page<KeyArn>> {
        let action = Operation::ListKeys.action();
        self.ask(async {
            let request = self.client.list_keys().limit(i32::from(limit)).set_marker(from.map(str::to_owned));
            let answer = request.send().await.map_err(|error| Failure::of(action, &error))?;
            let items: Vec<KeyArn> = answer.keys().iter().filter_map(|key| self.key(key.key_arn())).collect();
            if items.len() < answer.keys().len() {
                // A list with holes is no list: keys would look gone.
                return Err(Failure::transient(
                    action,
                    "the list names what is no key of this account and Region",
                ));
            }
            let request_id = answer.request_id().map(Box::from);
            Ok(Told { request_id, said: Page { items, next: next(answer.truncated, answer.next_marker) } })
        })
        .await
    }

    async fn list_aliases(&self, from: Option<&str>) -> Answered<Page<ListedAlias>> {
        let action = Operation::ListAliases.action();
        self.ask(async {
            let request = self.client.list_aliases().limit(MOST_ALIASES).set_marker(from.map(str::to_owned));
            let answer = request.send().await.map_err(|error| Failure::of(action, &error))?;
            let items =
                answer.aliases().iter().filter_map(|entry| convert::alias(entry, self.place)).collect();
            let request_id = answer.request_id().map(Box::from);
            Ok(Told { request_id, said: Page { items, next: next(answer.truncated, answer.next_marker) } })
        })
        .await
    }

    async fn describe_key(&self, key: KeyArn) -> Answered<Described> {
        let action = Operation::DescribeKey.action();
        self.ask(async {
            let request = self.client.describe_key().key_id(key.id());
            let answer = request.send().await.map_err(|error| Failure::of(action, &error))?;
            let request_id = answer.request_id().map(Box::from);
            let said = answer.key_metadata().and_then(convert::described);
            let said =
                said.ok_or_else(|| Failure::transient(action, "the answer lacks what every key has"))?;
            Ok(Told { request_id, said })
        })
        .await
    }

    async fn list_tags(&self, key: KeyArn, from: Option<&str>) -> Answered<Page<(Box<str>, Box<str>)>> {
        let action = Operation::ListResourceTags.action();
        self.ask(async {
            let request = self.client.list_resource_tags().key_id(key.id()).limit(MOST_TAGS);
            let answer = request.set_marker(from.map(str::to_owned)).send().await;
            let answer = answer.map_err(|error| Failure::of(action, &error))?;
            let tags = answer.tags().iter();
            let items = tags.map(|tag| (tag.tag_key().into(), tag.tag_value().into())).collect();
            let request_id = answer.request_id().map(Box::from);
            Ok(Told { request_id, said: Page { items, next: next(answer.truncated, answer.next_marker) } })
        })
        .await
    }

    async fn list_grants(&self, key: KeyArn, from: Option<&str>) -> Answered<Page<ListedGrant>> {
        let action = Operation::ListGrants.action();
        self.ask(async {
            let request = self.client.list_grants().key_id(key.id()).limit(MOST_GRANTS);
            let answer = request.set_marker(from.map(str::to_owned)).send().await;
            let answer = answer.map_err(|error| Failure::of(action, &error))?;
            let items = answer.grants().iter().map(convert::grant).collect();
            let request_id = answer.request_id().map(Box::from);
            Ok(Told { request_id, said: Page { items, next: next(answer.truncated, answer.next_marker) } })
        })
        .await
    }

    async fn rotation(&self, key: KeyArn) -> Answered<Rotation> {
        let action = Operation::GetKeyRotationStatus.action();
        self.ask(async {
            let request = self.client.get_key_rotation_status().key_id(key.id());
            let answer = request.send().await.map_err(|error| Failure::of(action, &error))?;
            let said = Rotation {
                enabled: answer.key_rotation_enabled(),
                period_days: convert::days(answer.rotation_period_in_days()),
                next: answer.next_rotation_date().map(convert::time),
            };
            Ok(Told { request_id: answer.request_id().map(Box::from), said })
        })
        .await
    }

    async fn last_usage(&self, key: KeyArn) -> Answered<LastUsage> {
        let action = Operation::GetKeyLastUsage.action();
        self.ask(async {
            let request = self.client.get_key_last_usage().key_id(key.id());
            let answer = request.send().await.map_err(|error| Failure::of(action, &error))?;
            let said = convert::last_usage(&answer);
            let said = said.ok_or_else(|| {
                Failure::transient(action, "the answer does not tell since when KMS tracks the key")
            })?;
            Ok(Told { request_id: answer.request_id().map(Box::from), said })
        })
        .await
    }
}
