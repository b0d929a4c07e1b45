//! SQS's JSON protocol: what requests and answers look like.
//!
//! Requests are borrowed from the body where they can be. `ReceiveMessage` answers are put together from texts that are
//! ready; all others are small and go through serde.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::message::MessageId;

macro_rules! operations {
    ($($name:ident),+ $(,)?) => {
        /// The operations that the double knows, by their names in the API.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "SQS's own words")]
        pub enum Operation { $($name),+ }

        impl Operation {
            /// All of them.
            pub const ALL: [Self; [$(Self::$name),+].len()] = [$(Self::$name),+];

            /// The operation's name in the API.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }
        }
    };
}

operations!(
    ReceiveMessage,
    SendMessage,
    SendMessageBatch,
    DeleteMessage,
    DeleteMessageBatch,
    ChangeMessageVisibility,
    ChangeMessageVisibilityBatch,
    GetQueueAttributes,
    GetQueueUrl,
    CreateQueue,
    PurgeQueue,
    ListQueues,
);

impl Operation {
    pub(super) const fn index(self) -> usize {
        self as usize
    }

    /// The operation that an `x-amz-target` header names.
    pub(super) fn from_target(target: &str) -> Option<Self> {
        let name = target.strip_prefix("AmazonSQS.")?;
        Self::ALL.into_iter().find(|operation| operation.name() == name)
    }
}

/// An error answer.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// The shape's name in the API's model, with its namespace.
    pub(super) shape: &'static str,
    /// The code that the older query protocol has for it; clients show this one.
    pub(super) code: &'static str,
    pub(super) message: String,
}

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $status:literal $shape:literal $code:literal;)+) => {
        impl Refusal {
            $(
                $(#[$doc])*
                pub(super) fn $name(message: impl Into<String>) -> Self {
                    Self { status: $status, shape: $shape, code: $code, message: message.into() }
                }
            )+
        }
    };
}

refusals! {
    no_such_queue = 400 "com.amazonaws.sqs#QueueDoesNotExist" "AWS.SimpleQueueService.NonExistentQueue";
    invalid_handle = 400 "com.amazonaws.sqs#ReceiptHandleIsInvalid" "ReceiptHandleIsInvalid";
    not_in_flight = 400 "com.amazonaws.sqs#MessageNotInflight" "AWS.SimpleQueueService.MessageNotInflight";
    invalid_value = 400 "com.amazonaws.sqs#InvalidParameterValueException" "InvalidParameterValue";
    over_limit = 403 "com.amazonaws.sqs#OverLimit" "OverLimit";
    empty_batch = 400 "com.amazonaws.sqs#EmptyBatchRequest" "AWS.SimpleQueueService.EmptyBatchRequest";
    too_many_entries = 400 "com.amazonaws.sqs#TooManyEntriesInBatchRequest"
        "AWS.SimpleQueueService.TooManyEntriesInBatchRequest";
    ids_not_distinct = 400 "com.amazonaws.sqs#BatchEntryIdsNotDistinct" "AWS.SimpleQueueService.BatchEntryIdsNotDistinct";
    invalid_id = 400 "com.amazonaws.sqs#InvalidBatchEntryId" "AWS.SimpleQueueService.InvalidBatchEntryId";
    batch_too_long = 400 "com.amazonaws.sqs#BatchRequestTooLong" "AWS.SimpleQueueService.BatchRequestTooLong";
    invalid_attribute = 400 "com.amazonaws.sqs#InvalidAttributeValue" "InvalidAttributeValue";
    queue_exists = 400 "com.amazonaws.sqs#QueueNameExists" "QueueAlreadyExists";
    malformed = 400 "com.amazon.coral.service#SerializationException" "MalformedInput";
    unknown_operation = 400 "com.amazon.coral.service#UnknownOperationException" "InvalidAction";
    request_throttled = 400 "com.amazonaws.sqs#RequestThrottled" "RequestThrottled";
    throttling = 400 "com.amazon.coral.availability#ThrottlingException" "ThrottlingException";
    internal = 500 "com.amazon.coral.service#InternalFailure" "InternalFailure";
    unavailable = 503 "com.amazon.coral.service#ServiceUnavailableException" "ServiceUnavailable";
    access_denied = 403 "com.amazon.coral.service#AccessDeniedException" "AccessDenied";
}

impl Refusal {
    /// The refusal for a queue that is not there.
    pub(super) fn queue_gone() -> Self {
        Self::no_such_queue("The specified queue does not exist.")
    }

    pub(super) fn body(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Shape<'a> {
            #[serde(rename = "__type")]
            shape: &'a str,
            message: &'a str,
        }
        to_json(&Shape { shape: self.shape, message: &self.message })
    }

    /// The `x-amzn-query-error` header.
    pub(super) fn query_error(&self) -> String {
        let fault = if self.status < 500 { "Sender" } else { "Receiver" };
        format!("{};{fault}", self.code)
    }
}

/// The answer as JSON. What is answered here always serialises.
pub(super) fn to_json(answer: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(answer).unwrap_or_default()
}

pub(super) fn from_json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::malformed(error.to_string()))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ReceiveRequest<'a> {
    #[serde(borrow)]
    pub(super) queue_url: Cow<'a, str>,
    pub(super) max_number_of_messages: Option<i64>,
    pub(super) visibility_timeout: Option<i64>,
    pub(super) wait_time_seconds: Option<i64>,
    #[serde(default)]
    pub(super) attribute_names: Vec<Cow<'a, str>>,
    #[serde(default)]
    pub(super) message_system_attribute_names: Vec<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SendRequest<'a> {
    #[serde(borrow)]
    pub(super) queue_url: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) message_body: Cow<'a, str>,
    pub(super) delay_seconds: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DeleteRequest<'a> {
    #[serde(borrow)]
    pub(super) queue_url: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) receipt_handle: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct VisibilityRequest<'a> {
    #[serde(borrow)]
    pub(super) queue_url: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) receipt_handle: Cow<'a, str>,
    pub(super) visibility_timeout: i64,
}

/// A request that holds several of one sort.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", bound(deserialize = "E: Deserialize<'de>"))]
pub(super) struct BatchRequest<'a, E> {
    #[serde(borrow)]
    pub(super) queue_url: Cow<'a, str>,
    pub(super) entries: Vec<E>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SendEntry<'a> {
    #[serde(borrow)]
    pub(super) id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) message_body: Cow<'a, str>,
    pub(super) delay_seconds: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DeleteEntry<'a> {
    #[serde(borrow)]
    pub(super) id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) receipt_handle: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct VisibilityEntry<'a> {
    #[serde(borrow)]
    pub(super) id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) receipt_handle: Cow<'a, str>,
    pub(super) visibility_timeout: Option<i64>,
}

/// An entry of a batch, named by the client.
pub(super) trait Entry {
    fn id(&self) -> &str;
}

impl Entry for SendEntry<'_> {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Entry for DeleteEntry<'_> {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Entry for VisibilityEntry<'_> {
    fn id(&self) -> &str {
        &self.id
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct QueueRequest<'a> {
    #[serde(borrow)]
    pub(super) queue_url: Cow<'a, str>,
    #[serde(default)]
    pub(super) attribute_names: Vec<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct NameRequest<'a> {
    #[serde(borrow)]
    pub(super) queue_name: Cow<'a, str>,
    #[serde(default)]
    pub(super) attributes: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListRequest<'a> {
    #[serde(default)]
    pub(super) queue_name_prefix: Cow<'a, str>,
}

/// The redrive policy, a JSON text inside an attribute. The count may be a number or a text.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RedrivePolicy {
    pub(super) dead_letter_target_arn: String,
    pub(super) max_receive_count: serde_json::Value,
}

impl RedrivePolicy {
    pub(super) fn most_receives(&self) -> Option<u32> {
        self.max_receive_count.to_string().trim_matches('"').parse().ok()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Sent {
    pub(super) message_id: MessageId,
    #[serde(rename = "MD5OfMessageBody")]
    pub(super) md5: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct BatchAnswer<'a, T> {
    pub(super) successful: Vec<Successful<'a, T>>,
    pub(super) failed: Vec<Failed<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Successful<'a, T> {
    pub(super) id: &'a str,
    #[serde(flatten)]
    pub(super) result: T,
}

/// An entry that succeeded and has nothing more to say.
#[derive(Serialize)]
pub(super) struct Nothing {}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Failed<'a> {
    pub(super) id: &'a str,
    pub(super) sender_fault: bool,
    pub(super) code: &'static str,
    pub(super) message: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UrlAnswer<'a> {
    pub(super) queue_url: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UrlsAnswer {
    pub(super) queue_urls: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AttributesAnswer {
    pub(super) attributes: BTreeMap<&'static str, String>,
}
