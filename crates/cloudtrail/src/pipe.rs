//! What a record says about what delivers events to us.
//!
//! Who stops a trail or disables a rule blinds every consumer, and only the record of that call tells of it. These
//! records are rare, so they are read in a second pass: records of other services cost nothing more.

use crate::bounds::{self, cut};
use crate::observe::{Caller, Headings, Refusal, Vouched, head, tells_of_a_call};
use crate::shape::{AdvancedSelector, KMS, PipeCall, PipeRequest, Selector, Some64};
use crate::text::Text;
use crate::{LeftOut, Limits, PipeRecord, PipeService};
use dormouse_model::EventTime;

/// What such a record says: nothing if it tells of no call. Or why it cannot be applied.
pub(crate) fn observe_pipe<'a>(
    service: PipeService,
    call: &'a PipeCall<'_>,
    vouched: Vouched<'a>,
    now: EventTime,
    limits: &Limits,
) -> Result<Option<PipeRecord<'a>>, Refusal> {
    if !tells_of_a_call(&call.event_type, &call.event_category) {
        return Ok(None);
    }
    let headings = Headings {
        event_id: &call.event_id,
        event_name: &call.event_name,
        event_time: &call.event_time,
        recipient: &call.recipient,
        region: &call.region,
        error_code: &call.error_code,
    };
    let head = head(headings, vouched, now, limits)?;
    let request = &call.request;
    let subject =
        [&request.name, &request.trail_name, &request.rule].into_iter().find_map(|text| text.given());
    Ok(Some(PipeRecord {
        service,
        operation: head.operation,
        event_id: head.event_id,
        time: head.time,
        recipient: head.recipient,
        region: head.region,
        principal: Caller::of(&call.user).principal,
        succeeded: head.error_code.is_none(),
        error_code: head.error_code,
        subject: subject.map(|name| cut(name, bounds::SUBJECT)),
        left_out: left_out(request),
    }))
}

/// What a trail does not carry with these selectors: uses of KMS are management events that only read.
fn left_out(request: &PipeRequest<'_>) -> Option<LeftOut> {
    let (basic, advanced) = (&request.selectors, &request.advanced);
    // A list that is longer than what is read of it may say anything.
    if basic.items.is_empty() && advanced.items.is_empty() || basic.more || advanced.more {
        return None;
    }
    let basic = basic.items.iter().map(of_selector);
    let advanced = advanced.items.iter().map(of_advanced_selector);
    // One selector that carries uses is enough; of several that do not, the one that comes closest tells why.
    basic.chain(advanced).min_by_key(|left_out| match left_out {
        None => 0,
        Some(LeftOut::Reads) => 1,
        Some(LeftOut::Kms) => 2,
    })?
}

fn of_selector(selector: &Selector<'_>) -> Option<LeftOut> {
    if selector.management == Some(false) || selector.excluded.items.iter().any(|source| **source == *KMS) {
        return Some(LeftOut::Kms);
    }
    (&*selector.read_write == "WriteOnly").then_some(LeftOut::Reads)
}

fn of_advanced_selector(selector: &AdvancedSelector<'_>) -> Option<LeftOut> {
    let mut is_management = false;
    let mut reads = None;
    for field in &selector.fields.items {
        let has = |list: &Some64<Text<'_>>, value: &str| list.items.iter().any(|item| **item == *value);
        let leaves_out = |value: &str| {
            has(&field.not_equals, value) || !field.equals.items.is_empty() && !has(&field.equals, value)
        };
        match &*field.field {
            "eventCategory" => is_management = has(&field.equals, "Management"),
            "eventSource" if leaves_out(KMS) => return Some(LeftOut::Kms),
            "readOnly" if leaves_out("true") => reads = Some(LeftOut::Reads),
            _ => {}
        }
    }
    if is_management { reads } else { Some(LeftOut::Kms) }
}
