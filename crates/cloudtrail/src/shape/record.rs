//! A CloudTrail record.
//!
//! Trail objects hold the records of all services, and those use the same names for values of other types. So once a
//! record has said that it is not KMS's, the rest of it is skipped; CloudTrail writes `eventSource` early. Where it
//! comes late, a struct that failed is no proof of anything: see [`Outline`](super::Outline).

use std::fmt;

use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::lists::{Pairs, Some64};
use super::object::{IsTrue, Present, object, value_or_default};
use crate::text::{Name, Text};

/// The `eventSource` of KMS.
pub(crate) const KMS: &str = "kms.amazonaws.com";

/// What is needed of a record.
#[derive(Debug, Default)]
pub(crate) struct Record<'a> {
    pub(crate) event_source: Text<'a>,
    pub(crate) event_id: Text<'a>,
    pub(crate) event_name: Text<'a>,
    pub(crate) event_time: Text<'a>,
    pub(crate) event_type: Text<'a>,
    pub(crate) event_category: Text<'a>,
    pub(crate) region: Text<'a>,
    pub(crate) recipient: Text<'a>,
    pub(crate) shared_id: Text<'a>,
    pub(crate) request_id: Text<'a>,
    pub(crate) error_code: Text<'a>,
    pub(crate) read_only: IsTrue,
    pub(crate) source_ip: Text<'a>,
    pub(crate) user: UserIdentity<'a>,
    pub(crate) resources: Some64<Resource<'a>>,
    pub(crate) request: Request<'a>,
    pub(crate) response: Response<'a>,
    pub(crate) service_event: ServiceEvent<'a>,
    /// It has a list of `Records` or of `logEvents`, so it is an envelope, whatever else it holds.
    pub(crate) holds_records: bool,
}

impl Record<'_> {
    /// Whether this object is a record at all.
    pub(crate) fn has_shape(&self) -> bool {
        let names_itself =
            [&self.event_source, &self.event_type, &self.event_id].iter().any(|text| !text.is_empty());
        names_itself && !self.holds_records
    }

    fn is_foreign(&self) -> bool {
        !self.event_source.is_empty() && *self.event_source != *KMS
    }
}

object! {
    /// Who called.
    UserIdentity<'a> {
        b"arn" => arn: Text<'a>,
        b"invokedBy" => invoked_by: Text<'a>,
        b"sessionContext" => session: SessionContext<'a>,
    }
}

object! {
    /// Under which session.
    SessionContext<'a> {
        b"sessionIssuer" => issuer: SessionIssuer<'a>,
    }
}

object! {
    /// And who issued that.
    SessionIssuer<'a> {
        b"arn" => arn: Text<'a>,
    }
}

object! {
    /// One of the record's resources.
    Resource<'a> {
        b"ARN" | b"arn" => arn: Text<'a>,
    }
}

object! {
    /// `requestParameters`, of all operations.
    Request<'a> {
        b"keyId" => key_id: Text<'a>,
        b"sourceKeyId" => source_key_id: Text<'a>,
        b"destinationKeyId" => destination_key_id: Text<'a>,
        b"targetKeyId" => target_key_id: Text<'a>,
        b"aliasName" => alias_name: Text<'a>,
        b"encryptionContext" => context: Pairs<'a>,
        b"sourceEncryptionContext" => source_context: Pairs<'a>,
        b"destinationEncryptionContext" => destination_context: Pairs<'a>,
        b"description" => description: Option<Text<'a>>,
        b"origin" => origin: Text<'a>,
        b"pendingWindowInDays" => window_days: Option<u32>,
        b"tags" => tags: Some64<Tag<'a>>,
        b"tagKeys" => tag_keys: Some64<Text<'a>>,
    }
}

object! {
    /// A tag.
    Tag<'a> {
        b"tagKey" => key: Text<'a>,
        b"tagValue" => value: Text<'a>,
    }
}

object! {
    /// `responseElements`, of all operations.
    Response<'a> {
        b"keyState" => key_state: Text<'a>,
        b"pendingWindowInDays" => window_days: Option<u32>,
        b"keyMetadata" => key_metadata: KeyMetadata<'a>,
    }
}

object! {
    /// What KMS says of a key that was just created.
    KeyMetadata<'a> {
        b"arn" => arn: Text<'a>,
        b"keyId" => key_id: Text<'a>,
        b"keyManager" => manager: Text<'a>,
        b"keyState" => key_state: Text<'a>,
        b"origin" => origin: Text<'a>,
    }
}

object! {
    /// `serviceEventDetails`.
    ServiceEvent<'a> {
        b"keyId" => key_id: Text<'a>,
    }
}

impl<'de> Deserialize<'de> for Record<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fill;

        impl<'de> Visitor<'de> for Fill {
            type Value = Record<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a record")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut record = Record::default();
                while let Some(Name(name)) = map.next_key()? {
                    record.take(&name, &mut map)?;
                }
                Ok(record)
            }
        }

        deserializer.deserialize_map(Fill)
    }
}

impl<'de> Record<'de> {
    fn take<A: MapAccess<'de>>(&mut self, name: &[u8], map: &mut A) -> Result<(), A::Error> {
        match name {
            b"eventSource" if self.event_source.is_empty() => self.event_source = value_or_default(map)?,
            // What came before was read, or skipped, on the word of the first.
            b"eventSource" => return Err(A::Error::custom("eventSource appears twice")),
            b"Records" | b"logEvents" => self.holds_records |= value_or_default::<Present, A>(map)?.0,
            _ if self.is_foreign() => skip(map)?,
            b"userIdentity" => self.user = value_or_default(map)?,
            b"eventTime" => self.event_time = value_or_default(map)?,
            b"eventName" => self.event_name = value_or_default(map)?,
            b"awsRegion" => self.region = value_or_default(map)?,
            b"sourceIPAddress" => self.source_ip = value_or_default(map)?,
            b"errorCode" => self.error_code = value_or_default(map)?,
            b"requestParameters" => self.request = value_or_default(map)?,
            b"responseElements" => self.response = value_or_default(map)?,
            b"readOnly" => self.read_only = value_or_default(map)?,
            b"requestID" => self.request_id = value_or_default(map)?,
            b"eventID" => self.event_id = value_or_default(map)?,
            b"resources" => self.resources = value_or_default(map)?,
            b"eventType" => self.event_type = value_or_default(map)?,
            b"recipientAccountId" => self.recipient = value_or_default(map)?,
            b"sharedEventID" => self.shared_id = value_or_default(map)?,
            b"serviceEventDetails" => self.service_event = value_or_default(map)?,
            b"eventCategory" => self.event_category = value_or_default(map)?,
            _ => skip(map)?,
        }
        Ok(())
    }
}

fn skip<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(drop)
}
