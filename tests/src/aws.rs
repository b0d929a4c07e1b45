//! The SDK's clients for whoever speaks AWS's protocols on loopback.

use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};

const REGION: Region = Region::from_static("eu-west-1");

fn credentials() -> Credentials {
    Credentials::new("AKIAEXAMPLE", "no secret", None, None, "test")
}

/// A client for SQS.
pub fn sqs(endpoint: &str) -> aws_sdk_sqs::Client {
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(REGION)
        .endpoint_url(endpoint)
        .credentials_provider(credentials());
    aws_sdk_sqs::Client::from_conf(config.build())
}

/// A client for KMS.
pub fn kms(endpoint: &str) -> aws_sdk_kms::Client {
    let config = aws_sdk_kms::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(REGION)
        .endpoint_url(endpoint)
        .credentials_provider(credentials());
    aws_sdk_kms::Client::from_conf(config.build())
}

/// A client for STS, as a caller with these credentials; the usual ones if there are none.
pub fn sts(endpoint: &str, caller: Option<&aws_sdk_sts::types::Credentials>) -> aws_sdk_sts::Client {
    let caller = caller.map(|given| {
        let token = Some(given.session_token().to_owned());
        Credentials::new(given.access_key_id(), given.secret_access_key(), token, None, "test")
    });
    let config = aws_sdk_sts::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(REGION)
        .endpoint_url(endpoint)
        .credentials_provider(caller.unwrap_or_else(credentials));
    aws_sdk_sts::Client::from_conf(config.build())
}
