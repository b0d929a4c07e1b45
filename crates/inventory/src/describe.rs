//! What KMS says of one key.

use dormouse_aws::{ErrorClass, Failure};
use dormouse_model::{Answer, Described, EventId, EventTime, Grants, KeyAnswer, KeyArn, KeySaid, Rotation};

use crate::calls::{Asked, Asker};
use crate::cloud::{Kms, Page};
use crate::due::{self, Why};
use crate::failures::{Miss, cut};
use crate::operation::Operation;

/// A key allows 50 tags and 50,000 grants; a list that goes on and on is not believed.
const MOST_TAG_PAGES: usize = 10;
const MOST_GRANT_PAGES: usize = 2_000;
/// AWS's bounds, in bytes of characters that may take four each.
const LONGEST_TAG: usize = 4 * 256;
const LONGEST_PRINCIPAL: usize = 256;

/// What came of asking about a key.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) key: KeyArn,
    pub(crate) why: Why,
    pub(crate) answers: Vec<Answer>,
    pub(crate) outcome: Outcome,
    /// Each operation that was called, and whether it was refused.
    pub(crate) calls: Vec<(Operation, bool)>,
    /// The last failure.
    pub(crate) miss: Option<Miss>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Described, with all that belongs to it or a refusal for it.
    Described,
    /// It is gone.
    Gone,
    /// It may not be described.
    Refused,
    /// Something stayed unanswered.
    Unanswered,
}

/// Asks everything about a key. `reader` is who asks, for people.
pub(crate) async fn describe<K: Kms>(asker: &Asker, kms: &K, key: KeyArn, why: Why, reader: &str) -> Found {
    let mut found =
        Found { key, why, answers: Vec::new(), outcome: Outcome::Described, calls: Vec::new(), miss: None };
    let asked = match asker.ask(Operation::DescribeKey, || kms.describe_key(key)).await {
        Ok(asked) => asked,
        Err(miss) => {
            found.not_described(miss, reader);
            return found;
        }
    };
    found.calls.push((Operation::DescribeKey, false));
    let id = asked.event_id(Operation::DescribeKey);
    let is_customers = &*asked.said.manager != "AWS";
    let has_rotation = has_rotation(&asked.said);
    found.say(asked.at, id, KeySaid::Described(asked.said));
    if is_customers {
        let tags = tags(asker, kms, key).await;
        found.take(Operation::ListResourceTags, tags, KeySaid::Tags, reader);
        let grants = grants(asker, kms, key).await;
        found.take(Operation::ListGrants, grants, KeySaid::Grants, reader);
        if has_rotation {
            let rotation = rotation(asker, kms, key).await;
            found.take(Operation::GetKeyRotationStatus, rotation, KeySaid::Rotation, reader);
        }
    }
    found
}

impl Found {
    fn say(&mut self, asked_at: EventTime, request_id: EventId, said: KeySaid) {
        self.answers.push(Answer::Key(KeyAnswer { key: self.key, asked_at, request_id, said }));
    }

    fn not_described(&mut self, miss: Miss, reader: &str) {
        if miss.failure.is_not_found() {
            // Only a key that a complete list lacks, too, is gone: one that was made this moment may not be found yet.
            if self.why == Why::Missing {
                let id = miss.failure.request_id.as_deref().unwrap_or("DescribeKey");
                self.say(miss.at, EventId::from(id), KeySaid::Gone);
                self.outcome = Outcome::Gone;
                self.calls.push((Operation::DescribeKey, false));
                return;
            }
            self.outcome = Outcome::Unanswered;
            self.miss = Some(miss);
            return;
        }
        self.outcome = if miss.failure.class.is_passing() { Outcome::Unanswered } else { Outcome::Refused };
        self.note_miss(Operation::DescribeKey, miss, reader);
    }

    fn take<T>(
        &mut self,
        operation: Operation,
        answer: Result<Asked<T>, Miss>,
        said: impl FnOnce(T) -> KeySaid,
        reader: &str,
    ) {
        match answer {
            Ok(asked) => {
                self.calls.push((operation, false));
                let id = asked.event_id(operation);
                self.say(asked.at, id, said(asked.said));
            }
            Err(miss) => {
                if miss.failure.class.is_passing() {
                    self.outcome = Outcome::Unanswered;
                }
                self.note_miss(operation, miss, reader);
            }
        }
    }

    fn note_miss(&mut self, operation: Operation, miss: Miss, reader: &str) {
        self.calls.push((operation, miss.failure.class == ErrorClass::Denied));
        // That a role cannot be assumed is said of the account, once.
        if !miss.is_about_role() {
            let id = miss.failure.request_id.as_deref().unwrap_or(operation.name());
            self.say(miss.at, EventId::from(id), KeySaid::Failed(miss.told(reader)));
        }
        self.miss = Some(miss);
    }
}

fn has_rotation(described: &Described) -> bool {
    due::is_rotated_by_kms(&described.spec, &described.origin)
}

async fn tags<K: Kms>(asker: &Asker, kms: &K, key: KeyArn) -> Result<Asked<Vec<(Box<str>, Box<str>)>>, Miss> {
    let mut all = Vec::new();
    let mut from: Option<String> = None;
    let mut first: Option<(EventTime, Option<Box<str>>)> = None;
    for _ in 0..MOST_TAG_PAGES {
        let asked = asker.ask(Operation::ListResourceTags, || kms.list_tags(key, from.as_deref())).await?;
        first.get_or_insert((asked.at, asked.request_id));
        let Page { items, next } = asked.said;
        all.extend(
            items.into_iter().map(|(name, value)| (bounded(name, LONGEST_TAG), bounded(value, LONGEST_TAG))),
        );
        match next {
            Some(next) => from = Some(next),
            None => break,
        }
    }
    all.sort();
    all.dedup_by(|a, b| a.0 == b.0);
    let (at, request_id) = first.unwrap_or_default();
    Ok(Asked { at, request_id, said: all })
}

async fn grants<K: Kms>(asker: &Asker, kms: &K, key: KeyArn) -> Result<Asked<Grants>, Miss> {
    let mut grants = Grants::default();
    let mut from: Option<String> = None;
    let mut first: Option<(EventTime, Option<Box<str>>)> = None;
    for page in 0.. {
        let asked = asker.ask(Operation::ListGrants, || kms.list_grants(key, from.as_deref())).await?;
        let at = asked.at;
        first.get_or_insert((at, asked.request_id));
        let Page { items, next } = asked.said;
        for grant in items {
            grants.count = grants.count.saturating_add(1);
            for service in grant.services {
                insert_sorted(
                    &mut grants.services,
                    bounded(service, LONGEST_PRINCIPAL),
                    Grants::MOST_GRANTEES,
                );
            }
            if let Some(grantee) = grant.grantee {
                insert_sorted(
                    &mut grants.grantees,
                    bounded(grantee, LONGEST_PRINCIPAL),
                    Grants::MOST_GRANTEES,
                );
            }
        }
        match next {
            Some(_) if page >= MOST_GRANT_PAGES => {
                let failure = Failure::transient(Operation::ListGrants.action(), "the list does not end");
                return Err(Miss { at, failure });
            }
            Some(next) => from = Some(next),
            None => break,
        }
    }
    let (at, request_id) = first.unwrap_or_default();
    Ok(Asked { at, request_id, said: grants })
}

/// Rotation; a key whose state has none is not rotated.
async fn rotation<K: Kms>(asker: &Asker, kms: &K, key: KeyArn) -> Result<Asked<Rotation>, Miss> {
    match asker.ask(Operation::GetKeyRotationStatus, || kms.rotation(key)).await {
        Err(miss) if miss.failure.is_unsupported() || miss.failure.is_invalid_state() => {
            let request_id = miss.failure.request_id.as_deref().map(Box::from);
            let said = Rotation { enabled: false, period_days: None, next: None };
            Ok(Asked { at: miss.at, request_id, said })
        }
        answer => answer,
    }
}

fn bounded(text: Box<str>, bytes: usize) -> Box<str> {
    if text.len() <= bytes { text } else { cut(&text, bytes).into() }
}

/// Keeps the first names in order, so that it does not matter in which order they are listed.
fn insert_sorted(names: &mut Vec<Box<str>>, name: Box<str>, most: usize) {
    if let Err(place) = names.binary_search(&name)
        && place < most
    {
        names.insert(place, name);
        names.truncate(most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_names_are_kept_in_whatever_order_they_come() {
        let mut names = Vec::new();
        for name in ["d", "b", "e", "a", "b", "c"] {
            insert_sorted(&mut names, name.into(), 3);
        }
        assert_eq!(names, ["a".into(), "b".into(), "c".into()] as [Box<str>; 3]);
    }
}
