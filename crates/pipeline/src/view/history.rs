//! The history of one key: what the tables hold, with what they lack on top.

use std::cmp::Ordering;

use dormouse_ledger::{ChangeLine, DayCounts, DeltaKey, KeyDocument, User};
use dormouse_model::Place;
use dormouse_store::{History, StoredChange, StoredDay, StoredUser};

use super::accounts::date;
use super::{DayDocument, KeyDetails, PrincipalDocument};

/// Adds what the tables lack.
pub(super) fn add(history: &mut History, recent: &DeltaKey) {
    let activity = &recent.activity;
    let day = |(&(day, _), &counts): (&(u32, Place), &DayCounts)| StoredDay { day, counts };
    let recent = History {
        days: activity.days.iter().map(day).collect(),
        users: activity.users.values().map(stored_user).collect(),
        users_overflow: activity.users_overflow,
        changes: recent.changes.iter().map(stored_change).collect(),
    };
    join(history, recent);
}

fn stored_user(user: &User) -> StoredUser {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    StoredUser {
        principal: text(&user.principal),
        operation: user.operation.as_ref().into(),
        service: text(&user.service),
        foreign: user.foreign,
        first: user.stats.first,
        last: user.stats.last,
        uses: user.stats.uses,
        attempts: user.stats.attempts,
    }
}

fn stored_change(change: &ChangeLine) -> StoredChange {
    StoredChange {
        at: change.at,
        event_id: change.event_id.to_string(),
        operation: change.operation.as_ref().into(),
        principal: change.principal.as_deref().map(str::to_owned),
    }
}

/// Adds a history of other epochs of the same key.
pub(super) fn join(history: &mut History, other: History) {
    for StoredDay { day, counts } in other.days {
        match history.days.iter_mut().find(|known| known.day == day) {
            Some(known) => known.counts = known.counts.plus(counts),
            None => history.days.push(StoredDay { day, counts }),
        }
    }
    for user in other.users {
        join_user(&mut history.users, user);
    }
    history.users_overflow += other.users_overflow;
    for change in other.changes {
        let is_same = |known: &StoredChange| known.at == change.at && known.event_id == change.event_id;
        if !history.changes.iter().any(is_same) {
            history.changes.push(change);
        }
    }
}

fn join_user(users: &mut Vec<StoredUser>, new: StoredUser) {
    let is_same = |known: &&mut StoredUser| {
        (&known.principal, &known.operation, &known.service, known.foreign)
            == (&new.principal, &new.operation, &new.service, new.foreign)
    };
    let Some(known) = users.iter_mut().find(is_same) else {
        users.push(new);
        return;
    };
    known.first = known.first.min(new.first);
    known.last = known.last.max(new.last);
    known.uses += new.uses;
    known.attempts += new.attempts;
}

/// The key with its history as it is told: second copies count only where the owner's account is not received.
pub(super) fn details(key: KeyDocument, mut history: History, owner_is_received: bool) -> KeyDetails {
    history.days.sort_unstable_by_key(|known| known.day);
    history.users.sort_by(by_last_seen);
    history.changes.sort_by(|a, b| (a.at, &a.event_id).cmp(&(b.at, &b.event_id)));
    let told = |counts: DayCounts| {
        let told = if owner_is_received { counts.own } else { counts.own.plus(counts.foreign) };
        told.counts()
    };
    // A day from which history took everything was nobody's day.
    history.days.retain(|day| day.counts != DayCounts::default());
    let day = |day: StoredDay| DayDocument { day: date(day.day), counts: told(day.counts) };
    KeyDetails {
        key,
        daily: history.days.into_iter().map(day).collect(),
        principals: history.users.into_iter().map(principal).collect(),
        principals_overflow: history.users_overflow,
        history: history.changes,
    }
}

/// The most recent first. Equal ones have an order, too: it must not depend on what the tables lack at the moment.
fn by_last_seen(a: &StoredUser, b: &StoredUser) -> Ordering {
    (b.last, b.uses)
        .cmp(&(a.last, a.uses))
        .then_with(|| a.principal.cmp(&b.principal))
        .then_with(|| a.operation.cmp(&b.operation))
        .then_with(|| a.service.cmp(&b.service))
        .then_with(|| a.foreign.cmp(&b.foreign))
}

fn principal(user: StoredUser) -> PrincipalDocument {
    PrincipalDocument {
        principal: user.principal,
        operation: user.operation,
        service: user.service,
        seen_from_caller: user.foreign,
        first: user.first,
        last: user.last,
        uses: user.uses,
        attempts: user.attempts,
    }
}

#[cfg(test)]
mod tests {
    use dormouse_model::EventTime;

    use super::*;

    #[test]
    fn users_stand_in_the_same_order_wherever_they_come_from() {
        let at = EventTime::from_seconds(1_000);
        let user = |principal: Option<&str>, foreign, last| StoredUser {
            principal: principal.map(str::to_owned),
            operation: "Decrypt".to_owned(),
            service: None,
            foreign,
            first: at,
            last,
            uses: 1,
            attempts: 0,
        };
        let mut users = vec![
            user(Some("b"), false, at),
            user(Some("a"), true, at),
            user(None, false, at),
            user(Some("a"), false, at),
            user(Some("z"), false, at.plus(1)),
        ];
        users.sort_by(by_last_seen);
        let forwards = users.clone();
        users.reverse();
        users.sort_by(by_last_seen);
        assert_eq!(users, forwards);
        assert_eq!(users[0].principal.as_deref(), Some("z"), "the most recent first");
    }
}
