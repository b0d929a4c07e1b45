//! What depends on a key though it does not show as a use: keys that look unused and are not.

use dormouse_model::KeyArn;

use super::UseDocument;
use crate::{Facts, Judge, KeyState, Ledger, Trace};

/// So many siblings are told by name.
const MOST_SIBLINGS: usize = 4;

/// What depends, or may depend, on a key, a sentence each.
pub(super) fn in_words<T: Trace>(
    key: KeyArn,
    facts: Option<&Facts>,
    last_use: Option<&UseDocument>,
    ledger: &Ledger<T>,
    judge: &Judge,
) -> Vec<String> {
    let mut words = Vec::new();
    words.extend(facts.and_then(grants));
    words.extend(busy_siblings(key, facts, ledger, judge));
    words.extend(last_use.and_then(resource));
    words
}

/// A live grant lets somebody use the key at any time, without asking again.
fn grants(facts: &Facts) -> Option<String> {
    let grants = &facts.grants.as_ref()?.said;
    if grants.count == 0 {
        return None;
    }
    let noun = if grants.count == 1 { "live grant" } else { "live grants" };
    let services = if grants.services.is_empty() {
        String::new()
    } else {
        format!(", of {}", grants.services.join(", "))
    };
    Some(format!("{} {noun}{services}", grants.count))
}

/// What one replica encrypted another may have to decrypt.
fn busy_siblings<T: Trace>(
    key: KeyArn,
    facts: Option<&Facts>,
    ledger: &Ledger<T>,
    judge: &Judge,
) -> Option<String> {
    let relations = facts?.nature.as_ref()?.said.multi_region.as_ref()?;
    let is_busy = |sibling: KeyArn| {
        let last_used = ledger.with(sibling, KeyState::last_used).flatten();
        last_used.is_some_and(|at| judge.now().seconds_since(at) < judge.rules().thresholds.idle_after)
    };
    let busy = relations.siblings.iter().copied().filter(|&sibling| sibling != key && is_busy(sibling));
    let regions: Vec<&str> = busy.map(|sibling| sibling.region().name()).collect();
    if regions.is_empty() {
        return None;
    }
    let told = regions[..regions.len().min(MOST_SIBLINGS)].join(", ");
    let more = match regions.len().saturating_sub(MOST_SIBLINGS) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!("the same multi-Region key is in use in {told}{more}"))
}

/// The resource that the key was last used for, where it goes on depending on the key without calling KMS.
fn resource(last_use: &UseDocument) -> Option<String> {
    let context = last_use.encryption_context.as_ref()?;
    let of = |name: &str| context.get(name);
    if let Some(volume) = of("aws:ebs:id") {
        return Some(format!("EBS volume {volume}: while it is attached it calls KMS no more"));
    }
    if let Some(instance) = of("aws:rds:db-id").or_else(|| of("aws:rds:dbc-id")) {
        return Some(format!("RDS {instance}: while it runs it calls KMS no more"));
    }
    if let Some(arn) = of("aws:s3:arn") {
        // With an S3 Bucket Key the context holds the bucket, not the object.
        let is_bucket = !arn.contains('/');
        return Some(if is_bucket {
            format!("S3 bucket {arn} with a Bucket Key: calls are cut by up to 99 %")
        } else {
            format!("S3 object {arn}")
        });
    }
    if let Some(secret) = of("SecretARN") {
        return Some(format!("secret {secret}"));
    }
    if let Some(parameter) = of("PARAMETER_ARN") {
        return Some(format!("parameter {parameter}"));
    }
    of("aws:dynamodb:tableName")
        .map(|table| format!("DynamoDB table {table}: it keeps its data key for a while"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Source;

    fn told(name: &str, value: &str) -> Option<String> {
        resource(&UseDocument {
            at: dormouse_model::EventTime::from_seconds(1),
            operation: "Decrypt".into(),
            principal: None,
            session: None,
            invoked_by: None,
            source_ip: None,
            event_id: None,
            encryption_context: Some([(name.to_owned(), value.to_owned())].into()),
            source: Source::Stream,
        })
    }

    #[test]
    fn what_was_last_used_for_tells_what_may_depend_on_it() {
        assert!(told("aws:ebs:id", "vol-1").unwrap().starts_with("EBS volume vol-1"));
        assert!(told("aws:rds:db-id", "db-1").unwrap().starts_with("RDS db-1"));
        assert!(told("aws:s3:arn", "arn:aws:s3:::logs").unwrap().contains("Bucket Key"));
        assert!(!told("aws:s3:arn", "arn:aws:s3:::logs/a").unwrap().contains("Bucket Key"));
        assert_eq!(told("purpose", "none"), None);
    }
}
