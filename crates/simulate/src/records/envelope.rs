//! How records travel: what each way puts around them.

use std::io::Write;

use dormouse_model::{AccountId, EventTime, KeyArn, Region};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::Generated;
use super::json::object_text;

impl Generated {
    /// The record as EventBridge delivers it.
    pub fn eventbridge(&self) -> String {
        let detail_type = match self.event_type {
            "AwsServiceEvent" => "AWS Service Event via CloudTrail",
            _ => "AWS API Call via CloudTrail",
        };
        let service = self.source.split('.').next().unwrap_or("kms");
        eventbridge(
            &self.record,
            &self.event_id,
            detail_type,
            &format!("aws.{service}"),
            (self.account, self.region),
            self.time,
        )
    }

    /// The record as EventBridge delivers it to a topic that passes it on.
    pub fn eventbridge_by_sns(&self) -> String {
        sns(&self.eventbridge())
    }
}

/// An EventBridge event with `detail` in it, which must be JSON. `id` is the event's own id.
pub fn eventbridge(
    detail: &str,
    id: &str,
    detail_type: &str,
    source: &str,
    (account, region): (AccountId, Region),
    time: EventTime,
) -> String {
    let mut out = String::with_capacity(detail.len() + 320);
    super::json::object(&mut out, |event| {
        event.text("version", "0");
        event.text("id", id);
        event.text("detail-type", detail_type);
        event.text("source", source);
        event.shown("account", account);
        event.shown("time", time);
        event.text("region", region.name());
        event.raw("resources", "[]");
        event.raw("detail", detail);
    });
    out
}

/// What KMS itself tells EventBridge: `KMS CMK Rotation`, `KMS CMK Deletion` or
/// `KMS Imported Key Material Expiration`.
pub fn direct_event(detail_type: &str, id: &str, key: KeyArn, time: EventTime) -> String {
    object_text(|event| {
        event.text("version", "0");
        event.text("id", id);
        event.text("detail-type", detail_type);
        event.text("source", "aws.kms");
        event.shown("account", key.account());
        event.shown("time", time);
        event.text("region", key.region().name());
        event.raw("resources", format_args!("[\"{key}\"]"));
        event.object("detail", |detail| detail.shown("key-id", key.id()));
    })
}

/// A notification of an SNS topic with `message` in it.
pub fn sns(message: &str) -> String {
    object_text(|notification| {
        notification.text("Type", "Notification");
        notification.text("MessageId", "4a7f0c2e-6d3b-4f50-9c41-0e8d2b7a5f13");
        notification.text("TopicArn", "arn:aws:sns:eu-west-1:111122223333:kms-events");
        notification.text("Message", message);
        notification.text("Timestamp", "2026-11-01T00:00:00.000Z");
        notification.text("SignatureVersion", "1");
        notification.text("Signature", "RXhhbXBsZQ==");
        notification.text(
            "SigningCertURL",
            "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-example.pem",
        );
        notification.text("UnsubscribeURL", "https://sns.eu-west-1.amazonaws.com/?Action=Unsubscribe");
    })
}

/// A trail object before compression: `{"Records":[…]}`.
pub fn trail<'a>(records: impl IntoIterator<Item = &'a Generated>) -> String {
    let mut out = String::from("{\"Records\":[");
    for (place, generated) in records.into_iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        out.push_str(&generated.record);
    }
    out.push_str("]}");
    out
}

/// One record a line.
pub fn ndjson<'a>(records: impl IntoIterator<Item = &'a Generated>) -> String {
    let mut out = String::new();
    for generated in records {
        out.push_str(&generated.record);
        out.push('\n');
    }
    out
}

/// What a CloudWatch Logs subscription puts into a stream, before compression.
pub fn cloudwatch_logs<'a>(records: impl IntoIterator<Item = &'a Generated>) -> String {
    let mut events = String::from("[");
    for (place, generated) in records.into_iter().enumerate() {
        if place > 0 {
            events.push(',');
        }
        super::json::object(&mut events, |event| {
            event.shown("id", format_args!("{place:056}"));
            event.raw("timestamp", u64::from(generated.time.seconds()) * 1_000);
            event.text("message", &generated.record);
        });
    }
    events.push(']');
    object_text(|message| {
        message.text("messageType", "DATA_MESSAGE");
        message.text("owner", "111122223333");
        message.text("logGroup", "CloudTrail/organisation");
        message.text("logStream", "o-example_CloudTrail_eu-west-1");
        message.strings("subscriptionFilters", ["kms"]);
        message.raw("logEvents", events);
    })
}

/// An S3 event notification for a new object. The key is URL-encoded as S3 does it.
pub fn s3_notification(bucket: &str, key: &str) -> String {
    let record = object_text(|record| {
        record.text("eventVersion", "2.1");
        record.text("eventSource", "aws:s3");
        record.text("awsRegion", "eu-west-1");
        record.text("eventTime", "2026-11-01T00:00:00.000Z");
        record.text("eventName", "ObjectCreated:Put");
        record.object("s3", |s3| {
            s3.text("s3SchemaVersion", "1.0");
            s3.object("bucket", |b| {
                b.text("name", bucket);
                b.shown("arn", format_args!("arn:aws:s3:::{bucket}"));
            });
            s3.object("object", |object| object.text("key", &url_encoded(key)));
        });
    });
    format!("{{\"Records\":[{record}]}}")
}

/// CloudTrail's own notification of new log files.
pub fn trail_notification<'a>(bucket: &str, keys: impl IntoIterator<Item = &'a str>) -> String {
    object_text(|notification| {
        notification.text("s3Bucket", bucket);
        notification.strings("s3ObjectKey", keys);
    })
}

fn url_encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' | b'/' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The bytes in gzip, as trail objects and subscriptions are.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to a Vec cannot fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}
