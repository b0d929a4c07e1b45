//! Failures in words that say what to do, and how often they are journaled.

use std::time::Duration;

use dashmap::DashMap;
use dormouse_aws::{ErrorClass, Failure};
use dormouse_model::{self as model, AccountId, EventTime, Place};
use tokio::time::Instant;

use crate::operation::name_of;

/// A failed call: when it was sent, and what it means.
#[derive(Clone, Debug)]
pub(crate) struct Miss {
    pub(crate) at: EventTime,
    pub(crate) failure: Failure,
}

impl Miss {
    /// The operation that failed.
    pub(crate) fn operation(&self) -> &'static str {
        name_of(self.failure.action)
    }

    /// It is the account's role that cannot be assumed, not the operation that fails.
    pub(crate) fn is_about_role(&self) -> bool {
        self.failure.action == "sts:AssumeRole"
    }

    /// No answer came at all.
    pub(crate) fn is_unreachable(&self) -> bool {
        self.failure.class == ErrorClass::Transient && self.failure.code.is_none()
    }

    /// The failure as it is journaled. `reader` is who asked: a role's ARN or our own principal.
    pub(crate) fn told(&self, reader: &str) -> model::Failure {
        let failure = &self.failure;
        let advice = advice(failure, reader);
        let message = if advice.is_empty() { failure.to_string() } else { format!("{advice} · {failure}") };
        model::Failure {
            at: self.at,
            operation: self.operation().into(),
            class: failure.class.name().into(),
            message: cut(&message, model::Failure::LONGEST).into(),
        }
    }
}

/// What a person can do about it.
fn advice(failure: &Failure, reader: &str) -> String {
    if failure.class != ErrorClass::Denied {
        return String::new();
    }
    let action = failure.missing_permission().unwrap_or(failure.action);
    match failure.action.split_once(':') {
        Some(("sts", "AssumeRole")) => format!(
            "role {reader} cannot be assumed: it must exist, its trust policy must name us and, if it asks for an external id, ours, and we must be allowed sts:AssumeRole on it"
        ),
        Some(("organizations", _)) => format!(
            "grant {action} to {reader}, in the management account or an account that it delegated Organizations to"
        ),
        Some(("kms", _)) if failure.missing_permission().is_some() => {
            format!("grant {action} to {reader}; a key's own policy can refuse it, too")
        }
        _ => format!("the credentials of {reader} are not accepted"),
    }
}

/// The text, cut at a character's end to so many bytes.
pub(crate) fn cut(text: &str, bytes: usize) -> &str {
    if text.len() <= bytes {
        return text;
    }
    let end = (0..=bytes).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    Account(AccountId),
    Place(Place),
}

/// Remembers what was journaled, so that the same failure is not journaled every minute.
#[derive(Default)]
pub(crate) struct FailureLog(DashMap<(Subject, &'static str), (ErrorClass, Instant)>);

impl FailureLog {
    /// Whether this is news: another class than before, or the same after so long. It is noted as journaled then.
    pub(crate) fn is_news(&self, subject: Subject, miss: &Miss, every: Duration) -> bool {
        let now = Instant::now();
        let class = miss.failure.class;
        let mut is_news = true;
        self.0
            .entry((subject, miss.operation()))
            .and_modify(|(known, at)| {
                is_news = *known != class || now.duration_since(*at) >= every;
                if is_news {
                    (*known, *at) = (class, now);
                }
            })
            .or_insert((class, now));
        is_news
    }

    /// It works again.
    pub(crate) fn forget(&self, subject: Subject, operation: &'static str) {
        self.0.remove(&(subject, operation));
    }

    /// What was journaled long ago is forgotten.
    pub(crate) fn prune(&self, older_than: Duration) {
        let now = Instant::now();
        self.0.retain(|_, (_, at)| now.duration_since(*at) < older_than);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn miss(action: &'static str, code: &str, message: &str) -> Miss {
        let class = ErrorClass::of_code(code).unwrap();
        let failure = Failure { class, code: Some(code.into()), ..Failure::transient(action, message) };
        Miss { at: EventTime::from_seconds(1), failure }
    }

    #[test]
    fn a_denial_names_what_to_grant_and_to_whom() {
        let role = "arn:aws:iam::111122223333:role/dormouse-read";
        let told = miss("kms:ListGrants", "AccessDeniedException", "no").told(role);
        assert_eq!((&*told.operation, &*told.class), ("ListGrants", "denied"));
        assert!(told.message.starts_with(&format!("grant kms:ListGrants to {role}")), "{}", told.message);
        let told = miss("sts:AssumeRole", "AccessDenied", "no").told(role);
        assert!(told.message.contains(role) && told.message.contains("trust policy"), "{}", told.message);
        let told = miss("organizations:ListAccounts", "AccessDeniedException", "no").told(role);
        assert!(told.message.contains("management account"), "{}", told.message);
    }

    #[test]
    fn long_messages_are_cut_and_the_advice_stays() {
        let told = miss("kms:ListKeys", "AccessDeniedException", &"é".repeat(2_000)).told("r");
        assert!(told.message.len() <= model::Failure::LONGEST);
        assert!(told.message.starts_with("grant kms:ListKeys to r"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_failure_is_news_once_in_a_while() {
        let log = FailureLog::default();
        let subject = Subject::Account("111122223333".parse().unwrap());
        let hour = Duration::from_hours(1);
        let denied = miss("kms:ListKeys", "AccessDeniedException", "no");
        let throttled = miss("kms:ListKeys", "ThrottlingException", "no");
        assert!(log.is_news(subject, &denied, hour) && !log.is_news(subject, &denied, hour));
        assert!(log.is_news(subject, &throttled, hour) && log.is_news(subject, &denied, hour));
        tokio::time::sleep(hour).await;
        assert!(log.is_news(subject, &denied, hour));
        log.forget(subject, "ListKeys");
        assert!(log.is_news(subject, &denied, hour));
    }
}
