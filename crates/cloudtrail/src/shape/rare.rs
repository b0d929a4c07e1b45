//! Shapes that are rare enough for a pass of their own.

use super::lists::Some64;
use super::object::object;
use super::record::UserIdentity;
use crate::text::Text;

object! {
    /// Any record: the call that it tells of.
    Named<'a> {
        b"eventName" => event_name: Text<'a>,
    }
}

object! {
    /// A record about what delivers events.
    PipeCall<'a> {
        b"eventID" => event_id: Text<'a>,
        b"eventName" => event_name: Text<'a>,
        b"eventTime" => event_time: Text<'a>,
        b"eventType" => event_type: Text<'a>,
        b"eventCategory" => event_category: Text<'a>,
        b"awsRegion" => region: Text<'a>,
        b"recipientAccountId" => recipient: Text<'a>,
        b"errorCode" => error_code: Text<'a>,
        b"userIdentity" => user: UserIdentity<'a>,
        b"requestParameters" => request: PipeRequest<'a>,
    }
}

object! {
    /// Its `requestParameters`: each operation names a trail or a rule by one of them, and `PutEventSelectors` says what
    /// the trail carries.
    PipeRequest<'a> {
        b"name" => name: Text<'a>,
        b"trailName" => trail_name: Text<'a>,
        b"rule" => rule: Text<'a>,
        b"eventSelectors" => selectors: Some64<Selector<'a>>,
        b"advancedEventSelectors" => advanced: Some64<AdvancedSelector<'a>>,
    }
}

object! {
    /// An event selector of a trail.
    Selector<'a> {
        b"readWriteType" => read_write: Text<'a>,
        b"includeManagementEvents" => management: Option<bool>,
        b"excludeManagementEventSources" => excluded: Some64<Text<'a>>,
    }
}

object! {
    /// An advanced event selector of a trail.
    AdvancedSelector<'a> {
        b"fieldSelectors" => fields: Some64<FieldSelector<'a>>,
    }
}

object! {
    /// What a field must be; only what decides about the events of KMS.
    FieldSelector<'a> {
        b"field" => field: Text<'a>,
        b"equals" => equals: Some64<Text<'a>>,
        b"notEquals" => not_equals: Some64<Text<'a>>,
    }
}

object! {
    /// One record of a notification of S3's.
    S3Record<'a> {
        b"eventName" => event_name: Text<'a>,
        b"s3" => s3: S3Detail<'a>,
    }
}

object! {
    /// Which object it is about; the `detail` of an EventBridge event of S3's says the same.
    S3Detail<'a> {
        b"bucket" => bucket: S3Bucket<'a>,
        b"object" => object: S3Object<'a>,
    }
}

object! {
    /// The object's bucket.
    S3Bucket<'a> {
        b"name" => name: Text<'a>,
    }
}

object! {
    /// The object.
    S3Object<'a> {
        b"key" => key: Text<'a>,
        b"size" => size: Option<u64>,
    }
}
