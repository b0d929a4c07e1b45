//! The SDK's clients for whoever speaks AWS's protocols on loopback.

use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};

const REGION: Region = Region::from_static("eu-west-1");

/// A caller of whom nothing is known.
pub fn anybody() -> Credentials {
    Credentials::new("AKIAEXAMPLE", "no secret", None, None, "test")
}

/// A caller who has assumed a role.
pub fn assumed(given: &aws_sdk_sts::types::Credentials) -> Credentials {
    let token = Some(given.session_token().to_owned());
    Credentials::new(given.access_key_id(), given.secret_access_key(), token, None, "test")
}

/// A client for SQS.
pub fn sqs(endpoint: &str) -> aws_sdk_sqs::Client {
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(REGION)
        .endpoint_url(endpoint)
        .credentials_provider(anybody());
    aws_sdk_sqs::Client::from_conf(config.build())
}

/// A client for KMS.
pub fn kms(endpoint: &str, caller: Credentials) -> aws_sdk_kms::Client {
    let config = aws_sdk_kms::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(REGION)
        .endpoint_url(endpoint)
        .credentials_provider(caller);
    aws_sdk_kms::Client::from_conf(config.build())
}

/// A client for STS.
pub fn sts(endpoint: &str, caller: Credentials) -> aws_sdk_sts::Client {
    let config = aws_sdk_sts::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(REGION)
        .endpoint_url(endpoint)
        .credentials_provider(caller);
    aws_sdk_sts::Client::from_conf(config.build())
}

/// A client for Kinesis.
pub fn kinesis(endpoint: &str) -> aws_sdk_kinesis::Client {
    let config = aws_sdk_kinesis::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(REGION)
        .endpoint_url(endpoint)
        .credentials_provider(anybody());
    aws_sdk_kinesis::Client::from_conf(config.build())
}

/// A client for S3. Buckets stand in the path, because names below `localhost` do not resolve everywhere.
pub fn s3(endpoint: &str) -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(REGION)
        .endpoint_url(endpoint)
        .credentials_provider(anybody())
        .force_path_style(true);
    aws_sdk_s3::Client::from_conf(config.build())
}
