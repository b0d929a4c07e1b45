//! What a record says about what delivers events to us.
//!
//! Who stops a trail or disables a rule blinds every consumer, and only the record of that call tells of it. These
//! records are rare, so they are read in a second pass: records of other services cost nothing more.

use crate::bounds::{self, cut};
use crate::observe::{Caller, Headings, Refusal, Vouched, head, tells_of_a_call};
use crate::shape::PipeCall;
use crate::{Limits, PipeRecord, PipeService};
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
    }))
}
