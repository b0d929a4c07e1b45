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

/// What CloudWatch Logs puts into a stream to see whether it can, before compression. There is no record in it.
pub fn control_message() -> String {
    let event = object_text(|event| {
        event.text("id", "");
        event.raw("timestamp", 1_793_491_200_000_u64);
        event.text("message", "CWL CONTROL MESSAGE: Checking health of destination Kinesis stream.");
    });
    object_text(|message| {
        message.text("messageType", "CONTROL_MESSAGE");
        message.text("owner", "CloudwatchLogs");
        message.text("logGroup", "");
        message.text("logStream", "");
        message.strings("subscriptionFilters", []);
        message.raw("logEvents", format_args!("[{event}]"));
    })
}

/// What SNS sends first to an endpoint that somebody wants to subscribe.
pub fn subscription_confirmation() -> String {
    object_text(|message| {
        message.text("Type", "SubscriptionConfirmation");
        message.text("MessageId", "165545c9-2a5c-472c-8df2-7ff2be2b3b1b");
        message.text("Token", "2336412f37fb687f5d51e6e241d09c805a5a57b30d712f794cc5f6a988666d92");
        message.text("TopicArn", "arn:aws:sns:eu-west-1:111122223333:kms-events");
        message.text(
            "Message",
            "You have chosen to subscribe to the topic. To confirm, visit the SubscribeURL.",
        );
        message.text(
            "SubscribeURL",
            "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=2336412f37fb687f",
        );
        message.text("Timestamp", "2026-11-01T00:00:00.000Z");
        message.text("SignatureVersion", "1");
        message.text("Signature", "RXhhbXBsZQ==");
        message.text(
            "SigningCertURL",
            "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-example.pem",
        );
    })
}

/// What S3 tells EventBridge of a new object. The key is not encoded.
pub fn s3_object_created(bucket: &str, key: &str) -> String {
    object_text(|event| {
        event.text("version", "0");
        event.text("id", "17793124-05d4-b198-2fde-7ededc63b103");
        event.text("detail-type", "Object Created");
        event.text("source", "aws.s3");
        event.text("account", "111122223333");
        event.text("time", "2026-11-01T00:00:00Z");
        event.text("region", "eu-west-1");
        event.raw("resources", format_args!("[\"arn:aws:s3:::{bucket}\"]"));
        event.object("detail", |detail| {
            detail.text("version", "0");
            detail.object("bucket", |b| b.text("name", bucket));
            detail.object("object", |object| {
                object.text("key", key);
                object.raw("size", 4_096);
                object.text("etag", "b1946ac92492d2347c6235b4d2611184");
                object.text("sequencer", "00617F08299329D189");
            });
            detail.text("request-id", "N4N7GDK58NMKJ12R");
            detail.text("requester", "cloudtrail.amazonaws.com");
            detail.text("source-ip-address", "192.0.2.1");
            detail.text("reason", "PutObject");
        });
    })
}

/// What S3 sends when notifications are switched on. There is no object.
pub fn s3_test_event(bucket: &str) -> String {
    object_text(|event| {
        event.text("Service", "Amazon S3");
        event.text("Event", "s3:TestEvent");
        event.text("Time", "2026-11-01T00:00:00.000Z");
        event.text("Bucket", bucket);
        event.text("RequestId", "5582815E1AEA5ADF");
        event.text("HostId", "8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3eKxsPzbB9wrR+YstdA6Knx4Ip8EXAMPLE");
    })
}

/// Records as the KPL packs several into one: a mark, a protobuf message, and the MD5 of the message. Each has its
/// partition key and its data.
pub fn aggregate<K: AsRef<str>, D: AsRef<[u8]>>(records: &[(K, D)]) -> Vec<u8> {
    let mut keys: Vec<&str> = Vec::new();
    let mut packed = Vec::new();
    for (key, data) in records {
        let key = key.as_ref();
        let place = keys.iter().position(|known| *known == key).unwrap_or_else(|| {
            keys.push(key);
            keys.len() - 1
        });
        let mut record = vec![1 << 3];
        varint(&mut record, place);
        bytes_field(&mut record, 3, data.as_ref());
        bytes_field(&mut packed, 3, &record);
    }
    let mut message = Vec::with_capacity(packed.len() + 64);
    keys.iter().for_each(|key| bytes_field(&mut message, 1, key.as_bytes()));
    message.extend_from_slice(&packed);
    let sum = md5::compute(&message);
    [AGGREGATE_MARK.as_slice(), &message, sum.as_slice()].concat()
}

const AGGREGATE_MARK: [u8; 4] = [0xf3, 0x89, 0x9a, 0xc2];

/// A field of a protobuf message whose value has a length.
fn bytes_field(out: &mut Vec<u8>, field: u8, value: &[u8]) {
    const LENGTH_DELIMITED: u8 = 2;
    out.push(field << 3 | LENGTH_DELIMITED);
    varint(out, value.len());
    out.extend_from_slice(value);
}

fn varint(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

/// An S3 event notification for a new object. The key is URL-encoded as S3 does it.
pub fn s3_notification(bucket: &str, key: &str) -> String {
    s3_event("ObjectCreated:Put", bucket, key)
}

/// An S3 event notification for an object that is gone.
pub fn s3_object_removed(bucket: &str, key: &str) -> String {
    s3_event("ObjectRemoved:Delete", bucket, key)
}

fn s3_event(name: &str, bucket: &str, key: &str) -> String {
    let record = object_text(|record| {
        record.text("eventVersion", "2.1");
        record.text("eventSource", "aws:s3");
        record.text("awsRegion", "eu-west-1");
        record.text("eventTime", "2026-11-01T00:00:00.000Z");
        record.text("eventName", name);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aggregate_is_laid_out_as_the_kpl_does_it() {
        let packed = aggregate(&[("k", "one"), ("other", "two"), ("k", "")]);
        let message = b"\x0a\x01k\x0a\x05other\x1a\x07\x08\x00\x1a\x03one\x1a\x07\x08\x01\x1a\x03two\x1a\x04\x08\x00\x1a\x00";
        assert_eq!(packed[..4], AGGREGATE_MARK);
        assert_eq!(&packed[4..packed.len() - 16], message);
        assert_eq!(packed[packed.len() - 16..], md5::compute(message).0);
        let long = aggregate(&[("k", vec![7; 300])]);
        assert_eq!(long[4 + 3..][..6], [0x1a, 0xb1, 0x02, 0x08, 0x00, 0x1a]);
    }

    #[test]
    fn notices_are_json_and_name_the_key_as_their_way_does() {
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        let key = "a b/ü.gz";
        assert_eq!(read(&s3_object_created("b", key))["detail"]["object"]["key"], key);
        let removed = read(&s3_object_removed("b", key));
        assert_eq!(removed["Records"][0]["s3"]["object"]["key"], "a+b/%C3%BC.gz");
        assert_eq!(removed["Records"][0]["eventName"], "ObjectRemoved:Delete");
        assert_eq!(read(&s3_test_event("b"))["Event"], "s3:TestEvent");
        assert_eq!(read(&control_message())["messageType"], "CONTROL_MESSAGE");
        assert_eq!(read(&subscription_confirmation())["Type"], "SubscriptionConfirmation");
    }
}
