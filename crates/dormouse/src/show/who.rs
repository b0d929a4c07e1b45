//! Who used a key, and for what, in few words.

use std::collections::BTreeMap;

use dormouse_model::AccountId;

use super::printable;

/// The principal without the parts that every ARN has; with its account if that is not `home`.
pub(crate) fn caller(principal: Option<&str>, service: Option<&str>, home: AccountId) -> String {
    let principal = principal.map(|arn| principal_name(arn, home));
    let text = match (principal, service) {
        (Some(principal), Some(service)) => format!("{principal} via {}", service_name(service)),
        (Some(principal), None) => principal,
        (None, Some(service)) => service_name(service).to_owned(),
        (None, None) => "unknown".to_owned(),
    };
    printable(&text).into_owned()
}

/// `role/app` of `arn:aws:iam::111122223333:role/app`.
fn principal_name(arn: &str, home: AccountId) -> String {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let &["arn", _, _, _, account, name] = parts.as_slice() else {
        return arn.to_owned();
    };
    if account.is_empty() || account == home.to_string() {
        name.to_owned()
    } else {
        format!("{name} of {account}")
    }
}

fn service_name(service: &str) -> &str {
    service.strip_suffix(".amazonaws.com").unwrap_or(service)
}

/// What services put into the encryption context to say what they encrypt; the most telling first.
const TELLING: [&str; 16] = [
    "aws:s3:arn",
    "SecretARN",
    "PARAMETER_ARN",
    "aws:ebs:id",
    "aws:rds:db-id",
    "aws:rds:dbc-id",
    "aws:dynamodb:tableName",
    "aws:lambda:FunctionArn",
    "aws:sqs:arn",
    "aws:sns:topicArn",
    "aws:kinesis:arn",
    "aws:logs:arn",
    "aws:cloudtrail:arn",
    "aws:elasticfilesystem:filesystem:id",
    "aws:redshift:arn",
    "aws:acm:arn",
];

/// What the key was used for, as far as the encryption context tells: the value that tells most, shortened.
pub(crate) fn purpose(context: Option<&BTreeMap<String, String>>) -> String {
    let Some(context) = context else {
        return String::new();
    };
    let telling = TELLING.iter().find_map(|name| context.get_key_value(*name));
    let arn = || context.iter().find(|(_, value)| value.starts_with("arn:"));
    let Some((name, value)) = telling.or_else(arn).or_else(|| context.iter().next()) else {
        return String::new();
    };
    let text = match resource(value) {
        Some(resource) => resource,
        None if telling.is_some() => value.clone(),
        None => format!("{name}={value}"),
    };
    printable(&text).into_owned()
}

/// `s3 bucket/object` of `arn:aws:s3:::bucket/object`.
fn resource(arn: &str) -> Option<String> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let &["arn", _, service, _, _, name] = parts.as_slice() else {
        return None;
    };
    // The service's name again, as in `secretsmanager secret:…`, says it once.
    let repeated = name.split_once([':', '/']).is_some_and(|(kind, _)| service.starts_with(kind));
    Some(if repeated { name.to_owned() } else { format!("{service} {name}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> AccountId {
        "111122223333".parse().unwrap()
    }

    #[test]
    fn a_caller_is_short_and_a_stranger_has_an_account() {
        let caller = |principal, service| caller(principal, service, home());
        assert_eq!(caller(Some("arn:aws:iam::111122223333:role/app"), None), "role/app");
        assert_eq!(
            caller(Some("arn:aws:iam::444455556666:role/x/app"), Some("s3.amazonaws.com")),
            "role/x/app of 444455556666 via s3"
        );
        assert_eq!(caller(None, Some("ebs.amazonaws.com")), "ebs");
        assert_eq!(caller(None, None), "unknown");
        assert_eq!(caller(Some("AIDA:\u{1b}[31m"), None), "AIDA:\\u{1b}[31m");
    }

    #[test]
    fn the_most_telling_context_is_shown() {
        let purpose = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            purpose(Some(&pairs.collect()))
        };
        assert_eq!(purpose(&[("a", "b"), ("aws:s3:arn", "arn:aws:s3:::data/x:y")]), "s3 data/x:y");
        let secret = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:db-AbCdEf";
        assert_eq!(purpose(&[("SecretVersionId", "1"), ("SecretARN", secret)]), "secret:db-AbCdEf");
        assert_eq!(purpose(&[("aws:ebs:id", "vol-0abc")]), "vol-0abc");
        assert_eq!(purpose(&[("tenant", "7"), ("zone", "1")]), "tenant=7");
        assert_eq!(purpose(&[("x", "1"), ("y", "arn:aws:glue:eu-west-1:1:table/t")]), "glue table/t");
        assert_eq!(purpose(&[]), "");
        assert!(super::purpose(None).is_empty());
        assert_eq!(purpose(&[("x", "\u{9b}31m")]), "x=\\u{9b}31m");
    }
}
