//! What a change does to the registers of the key.
//!
//! Dates in `responseElements` are prose and are never read: the time of a deletion follows from the event's own time
//! and the waiting period, and a reconcile corrects it.

use dormouse_model::{Change, Effect, EventTime, KeyArn, LifecycleState};

use crate::bounds::{self, cut};
use crate::keys::is_called;
use crate::shape::Record;

/// KMS's waiting period where nothing is said.
const DEFAULT_WINDOW_DAYS: u32 = 30;
const SECONDS_A_DAY: u32 = 86_400;

/// The effects of a successful change on one of the keys that its record names.
pub(crate) fn of_change<'a>(
    change: Change,
    record: &'a Record<'_>,
    time: EventTime,
    key: KeyArn,
    all_keys: &[KeyArn],
) -> Vec<Effect<'a>> {
    match change {
        Change::Created => of_creation(record),
        Change::Enabled | Change::MaterialImported => vec![Effect::State(LifecycleState::Enabled)],
        Change::Disabled | Change::DeletionCancelled => vec![Effect::State(LifecycleState::Disabled)],
        Change::DeletionScheduled => of_scheduled_deletion(record, time),
        Change::Deleted => vec![Effect::State(LifecycleState::Deleted)],
        Change::MaterialDeleted => vec![Effect::State(LifecycleState::PendingImport)],
        Change::Rotated => vec![Effect::Rotated],
        Change::RotationEnabled => vec![Effect::AutomaticRotation(true)],
        Change::RotationDisabled => vec![Effect::AutomaticRotation(false)],
        Change::AliasSet if !is_target(record, key, all_keys) => Vec::new(),
        Change::AliasSet => alias_name(record).map(Effect::AliasSet).into_iter().collect(),
        Change::AliasDeleted => alias_name(record).map(Effect::AliasDeleted).into_iter().collect(),
        Change::Tagged => tags(record).collect(),
        Change::Untagged => removed_tags(record).collect(),
        Change::Description => description(record).into_iter().collect(),
        Change::Policy | Change::Grant | Change::Replica | Change::PrimaryRegion => Vec::new(),
    }
}

fn of_creation<'a>(record: &'a Record<'_>) -> Vec<Effect<'a>> {
    let metadata = &record.response.key_metadata;
    let is_imported =
        [&record.request.origin, &metadata.origin].iter().any(|origin| &***origin == "EXTERNAL");
    let begins_as = if is_imported { LifecycleState::PendingImport } else { LifecycleState::Enabled };
    let state = LifecycleState::from_name(&metadata.key_state).unwrap_or(begins_as);

    let mut effects = vec![Effect::Created];
    effects.extend(metadata.manager.given().map(|manager| Effect::Manager(cut(manager, bounds::OPERATION))));
    effects.push(Effect::State(state));
    effects.extend(tags(record));
    effects.extend(description(record));
    effects
}

fn of_scheduled_deletion<'a>(record: &Record<'_>, time: EventTime) -> Vec<Effect<'a>> {
    let state =
        LifecycleState::from_name(&record.response.key_state).unwrap_or(LifecycleState::PendingDeletion);
    let window = record.request.window_days.or(record.response.window_days).unwrap_or(DEFAULT_WINDOW_DAYS);
    let date = time.plus(window.saturating_mul(SECONDS_A_DAY));
    vec![Effect::State(state), Effect::DeletionDate(date)]
}

/// Whether this key is the one that the alias points at now. A moved alias may list the key it left, too.
fn is_target(record: &Record<'_>, key: KeyArn, all_keys: &[KeyArn]) -> bool {
    let target = &*record.request.target_key_id;
    match all_keys.iter().find(|&&candidate| is_called(candidate, target)) {
        Some(&told) => told == key,
        None => all_keys.first() == Some(&key),
    }
}

/// The alias as the caller named it, else as the resources do.
fn alias_name<'a>(record: &'a Record<'_>) -> Option<&'a str> {
    let named = record.request.alias_name.given();
    let listed = || record.resources.items.iter().find_map(|resource| alias_in(&resource.arn));
    named.or_else(listed).map(|name| cut(name, bounds::ALIAS))
}

/// `alias/…` in an alias ARN.
fn alias_in(arn: &str) -> Option<&str> {
    arn.splitn(6, ':').nth(5).filter(|name| name.starts_with("alias/"))
}

fn tags<'a>(record: &'a Record<'_>) -> impl Iterator<Item = Effect<'a>> {
    let named = record.request.tags.items.iter().filter(|tag| !tag.key.is_empty());
    named
        .take(bounds::TAGS)
        .map(|tag| Effect::TagSet(cut(&tag.key, bounds::TAG), cut(&tag.value, bounds::TAG)))
}

fn removed_tags<'a>(record: &'a Record<'_>) -> impl Iterator<Item = Effect<'a>> {
    let keys = record.request.tag_keys.items.iter().take(bounds::TAGS);
    keys.map(|key| Effect::TagRemoved(cut(key, bounds::TAG)))
}

fn description<'a>(record: &'a Record<'_>) -> Option<Effect<'a>> {
    let description = record.request.description.as_ref()?;
    Some(Effect::Description(cut(description, bounds::DESCRIPTION)))
}
