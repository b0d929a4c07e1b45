//! A record before it is written down.

use dormouse_model::{AccountId, EventTime, Region};

use super::failure::Failure;
use super::json::{Object, object, string};
use super::parameters::Parameters;
use super::{Generated, Said};
use crate::uuid::Uuid;

/// One entry of `resources`.
pub(crate) struct Resource<'a> {
    pub(crate) arn: &'a str,
    pub(crate) account: AccountId,
}

/// How much a record tells, beyond what it must.
#[derive(Clone, Copy, Default)]
pub(crate) struct Style {
    /// As years ago: no types, no category.
    pub(crate) old: bool,
    /// An old record whose resources belong to "AWS Internal".
    pub(crate) internal_account: bool,
    /// TLS details and the VPC endpoint.
    pub(crate) rich: bool,
    /// The smallest size in bytes.
    pub(crate) pad_to: usize,
}

/// All that a record says.
pub(crate) struct Draft<'a> {
    pub(crate) identity: &'a str,
    pub(crate) time: EventTime,
    pub(crate) source: &'static str,
    pub(crate) name: &'static str,
    pub(crate) region: Region,
    pub(crate) source_ip: &'a str,
    pub(crate) user_agent: &'a str,
    pub(crate) failure: Option<&'a Failure>,
    pub(crate) parameters: Parameters,
    pub(crate) request_id: u128,
    pub(crate) event_id: u128,
    pub(crate) shared_id: Option<u128>,
    pub(crate) read_only: bool,
    /// `None`: the field is missing.
    pub(crate) resources: Option<Vec<Resource<'a>>>,
    pub(crate) event_type: &'static str,
    pub(crate) recipient: AccountId,
    pub(crate) service_details: Option<String>,
    /// Made by a caller, over TLS, and not by a service on somebody's behalf.
    pub(crate) direct: bool,
    pub(crate) style: Style,
}

impl Draft<'_> {
    /// The record, and what it says about keys.
    pub(crate) fn finish(&self, says: Vec<Said>) -> Generated {
        Generated {
            record: self.write(),
            account: self.recipient,
            region: self.region,
            time: self.time,
            source: self.source,
            operation: self.name,
            event_id: Uuid::from_random(self.event_id).to_string(),
            shared_id: self.shared_id.map(|bits| Uuid::from_random(bits).to_string()),
            error_code: self.failure.map(|failure| failure.code),
            event_type: self.event_type,
            says,
        }
    }

    /// The record as compact JSON, in CloudTrail's order of fields.
    fn write(&self) -> String {
        let mut out = String::with_capacity(2_560.max(self.style.pad_to + 64));
        object(&mut out, |record| {
            self.write_head(record);
            self.write_parameters(record);
            self.write_tail(record);
        });
        self.pad(out)
    }

    fn write_head(&self, record: &mut Object<'_>) {
        record.text("eventVersion", if self.style.old { "1.05" } else { "1.11" });
        record.raw("userIdentity", self.identity);
        record.shown("eventTime", self.time);
        record.text("eventSource", self.source);
        record.text("eventName", self.name);
        record.text("awsRegion", self.region.name());
        record.text("sourceIPAddress", self.source_ip);
        record.text("userAgent", self.user_agent);
        if let Some(failure) = self.failure {
            record.text("errorCode", failure.code);
            record.text("errorMessage", &failure.message);
        }
    }

    fn write_parameters(&self, record: &mut Object<'_>) {
        record.raw_or_null("requestParameters", self.parameters.request.as_deref());
        record.raw_or_null("responseElements", self.parameters.response.as_deref());
        if let Some(additional) = &self.parameters.additional
            && !self.style.old
        {
            record.raw("additionalEventData", additional);
        }
        record.shown("requestID", Uuid::from_random(self.request_id));
        record.shown("eventID", Uuid::from_random(self.event_id));
        record.raw("readOnly", self.read_only);
        if let Some(resources) = &self.resources {
            record.raw("resources", self.resource_list(resources));
        }
    }

    fn resource_list(&self, resources: &[Resource<'_>]) -> String {
        let mut list = String::from("[");
        for (place, resource) in resources.iter().enumerate() {
            if place > 0 {
                list.push(',');
            }
            object(&mut list, |entry| {
                if self.style.internal_account {
                    entry.text("accountId", "AWS Internal");
                } else {
                    entry.shown("accountId", resource.account);
                }
                if !self.style.old {
                    entry.text("type", "AWS::KMS::Key");
                }
                entry.text("ARN", resource.arn);
            });
        }
        list.push(']');
        list
    }

    fn write_tail(&self, record: &mut Object<'_>) {
        record.text("eventType", self.event_type);
        if !self.style.old && self.event_type != "AwsVpceEvent" {
            record.raw("managementEvent", true);
        }
        record.shown("recipientAccountId", self.recipient);
        if let Some(details) = &self.service_details {
            record.raw("serviceEventDetails", details);
        }
        if let Some(shared) = self.shared_id {
            record.shown("sharedEventID", Uuid::from_random(shared));
        }
        let at_endpoint = self.event_type == "AwsVpceEvent"
            || (self.style.rich && self.direct && self.request_id.is_multiple_of(4));
        if at_endpoint {
            record.text("vpcEndpointId", "vpce-0a1b2c3d4e5f67890");
            record.shown("vpcEndpointAccountId", self.recipient);
        }
        if !self.style.old {
            let category = if self.event_type == "AwsVpceEvent" { "NetworkActivity" } else { "Management" };
            record.text("eventCategory", category);
        }
        if self.style.rich && self.direct && !self.style.old {
            record.object("tlsDetails", |tls| {
                tls.text("tlsVersion", "TLSv1.3");
                tls.text("cipherSuite", "TLS_AES_128_GCM_SHA256");
                let service = self.source.split('.').next().unwrap_or("kms");
                let host = format_args!("{service}.{}.amazonaws.com", self.region);
                tls.shown("clientProvidedHostHeader", host);
                tls.text("keyExchange", "X25519MLKEM768");
            });
        }
    }

    /// Fills the record up to its smallest size with a field that CloudTrail has for such things.
    fn pad(&self, mut out: String) -> String {
        const FRAME: usize = r#","addendum":{"reason":"UPDATED_DATA","updatedFields":""}"#.len();
        let length = out.len();
        if length < self.style.pad_to && out.pop().is_some() {
            let missing = self.style.pad_to.saturating_sub(length + FRAME);
            out.push_str(r#","addendum":{"reason":"UPDATED_DATA","updatedFields":"#);
            string(&mut out, &"-".repeat(missing));
            out.push_str("}}");
        }
        out
    }
}
