//! What the decoder makes of records and envelopes. All accounts, keys and ids are invented.

mod announcements;
mod batches;
mod effects;
mod envelopes;
mod hostile;
mod keys;
mod pipe;
mod records;

use dormouse_model::{EventTime, Observation, OperationTable};
use serde_json::{Value, json};

use crate::{Announced, BadClass, Control, Decoder, Limits, Outcome, PipeService};

pub(crate) const ACCOUNT: &str = "111122223333";
pub(crate) const KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
pub(crate) const OTHER_KEY: &str =
    "arn:aws:kms:eu-west-1:111122223333:key/0000abcd-12ab-34cd-56ef-1234567890ab";

/// An outcome that outlives the visit. Observations are owned by way of leaked texts: tests are short.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen {
    Other,
    Kms(Box<Kms>),
    Direct(Box<Observation<'static>>),
    Pipe(Pipe),
    Announced {
        bucket: String,
        key: String,
        size: Option<u64>,
    },
    Control(Control),
    Bad {
        is_kms: bool,
        class: BadClass,
        code: &'static str,
        event_id: Option<String>,
        account: Option<String>,
        excerpt: Vec<u8>,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pipe {
    pub(crate) service: PipeService,
    pub(crate) operation: String,
    pub(crate) event_id: String,
    pub(crate) time: EventTime,
    pub(crate) recipient: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) principal: Option<String>,
    pub(crate) error_code: Option<String>,
    pub(crate) subject: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kms {
    pub(crate) operation: String,
    pub(crate) recipient: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) succeeded: bool,
    pub(crate) read_only: bool,
    pub(crate) unknown_operation: bool,
    pub(crate) keys: Vec<String>,
    pub(crate) observations: Vec<Observation<'static>>,
    pub(crate) unresolved: Vec<(String, Option<String>, Option<String>)>,
    pub(crate) request_id: Option<String>,
    pub(crate) shared_id: Option<String>,
}

fn leak(observation: &Observation<'_>) -> Observation<'static> {
    let text: &'static str = serde_json::to_string(observation).unwrap().leak();
    serde_json::from_str(text).unwrap_or_else(|_| {
        // Texts with escapes cannot be borrowed from JSON; the tests that need them look at nothing else.
        panic!("a test's text needs an escape: {text}")
    })
}

pub(crate) fn now() -> EventTime {
    "2026-11-01T00:00:00Z".parse().unwrap()
}

pub(crate) fn decoder() -> Decoder {
    Decoder::new(OperationTable::default(), Limits::default())
}

pub(crate) fn seen_by(decoder: &Decoder, body: &[u8]) -> Vec<Seen> {
    let mut all = Vec::new();
    decoder.decode(body, now(), &mut |outcome| {
        all.push(match outcome {
            Outcome::Other => Seen::Other,
            Outcome::Kms(kms) => Seen::Kms(Box::new(Kms {
                operation: kms.operation.to_owned(),
                recipient: kms.recipient.map(|account| account.to_string()),
                region: kms.region.map(|region| region.to_string()),
                succeeded: kms.succeeded,
                read_only: kms.read_only,
                unknown_operation: kms.unknown_operation,
                keys: kms.keys.iter().map(ToString::to_string).collect(),
                observations: kms.observations.iter().map(leak).collect(),
                unresolved: kms
                    .unresolved
                    .iter()
                    .map(|unresolved| {
                        let account = unresolved.account.map(|account| account.to_string());
                        (
                            unresolved.text.to_owned(),
                            account,
                            unresolved.region.map(|region| region.to_string()),
                        )
                    })
                    .collect(),
                request_id: kms.request_id.map(str::to_owned),
                shared_id: kms.shared_id.map(str::to_owned),
            })),
            Outcome::Direct(observation) => Seen::Direct(Box::new(leak(observation))),
            Outcome::Pipe(pipe) => {
                assert_eq!(pipe.succeeded, pipe.error_code.is_none());
                Seen::Pipe(Pipe {
                    service: pipe.service,
                    operation: pipe.operation.to_owned(),
                    event_id: pipe.event_id.to_owned(),
                    time: pipe.time,
                    recipient: pipe.recipient.map(|account| account.to_string()),
                    region: pipe.region.map(|region| region.to_string()),
                    principal: pipe.principal.map(str::to_owned),
                    error_code: pipe.error_code.map(str::to_owned),
                    subject: pipe.subject.map(str::to_owned),
                })
            }
            Outcome::Announced(Announced { bucket, key, size }) => {
                Seen::Announced { bucket: bucket.to_owned(), key: key.into_owned(), size }
            }
            Outcome::Control(control) => Seen::Control(control),
            Outcome::Bad(bad) => {
                assert!(!bad.reason.to_string().is_empty());
                Seen::Bad {
                    is_kms: bad.is_kms,
                    class: bad.class,
                    code: bad.reason.code(),
                    event_id: bad.event_id.map(str::to_owned),
                    account: bad.account.map(|account| account.to_string()),
                    excerpt: bad.excerpt.to_vec(),
                }
            }
        });
    });
    all
}

pub(crate) fn seen(body: impl AsRef<[u8]>) -> Vec<Seen> {
    seen_by(&decoder(), body.as_ref())
}

/// The one KMS record in a body.
pub(crate) fn kms(body: impl AsRef<[u8]>) -> Kms {
    match <[Seen; 1]>::try_from(seen(body)) {
        Ok([Seen::Kms(kms)]) => *kms,
        other => panic!("not one KMS record: {other:?}"),
    }
}

/// The one observation in a record.
pub(crate) fn observation(record: &Value) -> Observation<'static> {
    let kms = kms(record.to_string());
    match <[Observation<'static>; 1]>::try_from(kms.observations) {
        Ok([observation]) => observation,
        other => panic!("not one observation: {other:?}"),
    }
}

/// The class and code of the one bad piece in a body.
pub(crate) fn bad(body: impl AsRef<[u8]>) -> (BadClass, &'static str) {
    match &*seen(body) {
        [Seen::Bad { class, code, .. }] => (*class, *code),
        other => panic!("not one bad piece: {other:?}"),
    }
}

/// A short word for each outcome: the event id of a KMS record's observation, or what else it is.
pub(crate) fn summary(body: impl AsRef<[u8]>) -> Vec<String> {
    let word = |outcome: Seen| match outcome {
        Seen::Other => "other".to_owned(),
        Seen::Kms(kms) => {
            kms.observations.first().map_or("kms", |observation| observation.event_id).to_owned()
        }
        Seen::Direct(observation) => format!("direct {}", observation.operation),
        Seen::Pipe(pipe) => format!("pipe {}", pipe.operation),
        Seen::Announced { bucket, key, .. } => format!("{bucket}/{key}"),
        Seen::Control(control) => control.name().to_owned(),
        Seen::Bad { code, .. } => code.to_owned(),
    };
    seen(body).into_iter().map(word).collect()
}

/// A successful Decrypt with these members changed; `null` removes one.
pub(crate) fn record(changes: Value) -> Value {
    let mut record = json!({
        "eventVersion": "1.11",
        "userIdentity": {
            "type": "AssumedRole",
            "arn": "arn:aws:sts::111122223333:assumed-role/app/i-0abc",
            "sessionContext": {"sessionIssuer": {"type": "Role", "arn": "arn:aws:iam::111122223333:role/app"}}
        },
        "eventTime": "2026-10-01T12:00:00Z",
        "eventSource": "kms.amazonaws.com",
        "eventName": "Decrypt",
        "awsRegion": "eu-west-1",
        "sourceIPAddress": "192.0.2.10",
        "userAgent": "an agent",
        "requestParameters": {"encryptionContext": {"aws:s3:arn": "arn:aws:s3:::a-bucket", "b": "c"}},
        "responseElements": null,
        "requestID": "r-1",
        "eventID": "e-1",
        "readOnly": true,
        "resources": [{"accountId": ACCOUNT, "type": "AWS::KMS::Key", "ARN": KEY}],
        "eventType": "AwsApiCall",
        "recipientAccountId": ACCOUNT,
        "eventCategory": "Management"
    });
    let members = record.as_object_mut().unwrap();
    if let Value::Object(changes) = changes {
        for (name, value) in changes {
            if value.is_null() {
                members.remove(&name)
            } else {
                members.insert(name, value)
            };
        }
    }
    record
}

/// A record with this event id.
pub(crate) fn numbered(number: usize) -> Value {
    record(json!({ "eventID": format!("e-{number}") }))
}

/// A successful change.
pub(crate) fn change(operation: &str, request: Value, response: Value) -> Value {
    let mut record = record(json!({ "eventName": operation }));
    record["requestParameters"] = request;
    record["responseElements"] = response;
    record
}

/// An EventBridge event.
pub(crate) fn bridge(detail: &Value) -> Value {
    json!({
        "version": "0", "id": "b-1", "detail-type": "AWS API Call via CloudTrail", "source": "aws.kms",
        "account": ACCOUNT, "time": "2026-10-01T12:00:05Z", "region": "eu-west-1", "resources": [], "detail": detail
    })
}

/// One of KMS's own EventBridge events.
pub(crate) fn direct(detail_type: &str) -> Value {
    json!({
        "version": "0", "id": "d-1", "detail-type": detail_type, "source": "aws.kms", "account": ACCOUNT,
        "time": "2026-10-01T12:00:00Z", "region": "eu-west-1", "resources": [KEY],
        "detail": {"key-id": "1234abcd-12ab-34cd-56ef-1234567890ab"}
    })
}

/// A batch of a CloudWatch Logs subscription with these messages.
pub(crate) fn log_batch<T: ToString>(messages: &[T]) -> Value {
    let event = |message: &T| json!({"id": "3195310660696698337880902507980421114328961542429EXAMPLE", "timestamp": 1_432_826_855_000_u64, "message": message.to_string()});
    let events: Vec<Value> = messages.iter().map(event).collect();
    // A map of serde_json sorts its members; CloudWatch Logs writes them in this order.
    let text = format!(
        "{{\"messageType\":\"DATA_MESSAGE\",\"owner\":\"{ACCOUNT}\",\"logGroup\":\"CloudTrail/logs\",\
         \"logStream\":\"{ACCOUNT}_CloudTrail_eu-west-1\",\"subscriptionFilters\":[\"Destination\"],\"logEvents\":{}}}",
        json!(events)
    );
    serde_json::from_str(&text).unwrap()
}

/// An SNS notification.
pub(crate) fn notification(message: &str) -> Value {
    json!({"Type": "Notification", "MessageId": "m-1", "TopicArn": "arn:aws:sns:eu-west-1:111122223333:t", "Message": message})
}
