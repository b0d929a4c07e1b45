//! What a KMS record says about the keys that it names.
//!
//! The operations table gives the operation its meaning, the error code says whether the call succeeded, and each
//! distinct key that the record names gets one observation. Records that tell of no call (what passed through a VPC
//! endpoint, statistics) are understood and say nothing.

use dormouse_model::{
    AccountId, Change, EventTime, KeyArn, Kind, Meaning, Observation, OperationTable, ParseRegionError,
    Region,
};

use crate::bounds::{self, cut};
use crate::failures::{Failure, classify};
use crate::keys::{NameResolver, Named, Place, Role, named_by};
use crate::reason::quoted;
use crate::shape::{Record, Request, UserIdentity};
use crate::{BadClass, KmsRecord, Limits, Reason, effects};

/// Why a record is not applied.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) class: BadClass,
    pub(crate) reason: Reason,
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self { class: BadClass::Quarantined, reason }
    }
}

/// What the envelopes around a record vouch for. Empty texts where there is none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Vouched<'a> {
    pub(crate) account: &'a str,
    pub(crate) region: &'a str,
}

/// By what a record is read.
#[derive(Clone, Copy)]
pub(crate) struct Rules<'a> {
    pub(crate) table: &'a OperationTable,
    /// Who knows what aliases point to.
    pub(crate) names: Option<&'a dyn NameResolver>,
    pub(crate) now: EventTime,
    pub(crate) limits: &'a Limits,
}

/// What a KMS record says, or why it cannot be applied. `raw` is its text.
pub(crate) fn observe<'a>(
    record: &'a Record<'_>,
    vouched: Vouched<'a>,
    raw: &'a [u8],
    rules: Rules<'_>,
) -> Result<KmsRecord<'a>, Refusal> {
    let Rules { table, names, now, limits } = rules;
    let headings = Headings {
        event_id: &record.event_id,
        event_name: &record.event_name,
        event_time: &record.event_time,
        recipient: &record.recipient,
        region: &record.region,
        error_code: &record.error_code,
    };
    let shared_id = identity("sharedEventID", &record.shared_id)?;
    let Head { event_id, operation, time, recipient, region, error_code } =
        head(headings, vouched, now, limits)?;
    let mut kms = KmsRecord {
        operation,
        event_id,
        // An endpoint's event has the shared id of the call itself, which it must not push out of the count.
        shared_id: shared_id.filter(|_| !is_endpoint_event(record)),
        request_id: record.request_id.given().map(|id| cut(id, bounds::ID)),
        time,
        recipient,
        region,
        succeeded: error_code.is_none(),
        error_code,
        read_only: record.read_only.0,
        unknown_operation: false,
        keys: Vec::new(),
        observations: Vec::new(),
        unresolved: Vec::new(),
        excerpt: raw,
    };
    if tells_of_a_call(&record.event_type, &record.event_category) {
        match table.meaning(&record.event_name) {
            Some(Meaning::InUse) => observe_use(record, names, &mut kms)?,
            Some(Meaning::Change(change)) if kms.succeeded => observe_change(change, record, &mut kms)?,
            Some(Meaning::Change(_) | Meaning::NotInUse) => {}
            None => observe_unknown(record, &mut kms)?,
        }
    }
    Ok(kms)
}

/// What every record that is looked at has to say: the members' texts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Headings<'a> {
    pub(crate) event_id: &'a str,
    pub(crate) event_name: &'a str,
    pub(crate) event_time: &'a str,
    pub(crate) recipient: &'a str,
    pub(crate) region: &'a str,
    pub(crate) error_code: &'a str,
}

/// The same, understood and within its bounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a> {
    pub(crate) event_id: &'a str,
    pub(crate) operation: &'a str,
    pub(crate) time: EventTime,
    pub(crate) recipient: Option<AccountId>,
    pub(crate) region: Option<Region>,
    pub(crate) error_code: Option<&'a str>,
}

/// What a record says of itself, or why it cannot be applied.
pub(crate) fn head<'a>(
    said: Headings<'a>,
    vouched: Vouched<'_>,
    now: EventTime,
    limits: &Limits,
) -> Result<Head<'a>, Refusal> {
    let event_id = identity("eventID", said.event_id)?.ok_or(Reason::Missing("eventID"))?;
    let operation = given(said.event_name).ok_or(Reason::Missing("eventName"))?;
    let time = event_time(given(said.event_time).ok_or(Reason::Missing("eventTime"))?)?;
    let recipient = recipient(said.recipient, vouched)?;
    refuse_future(time, now, limits)?;
    Ok(Head {
        event_id,
        operation: cut(operation, bounds::OPERATION),
        time,
        recipient,
        region: region(said.region, vouched)?,
        error_code: given(said.error_code).map(|code| cut(code, bounds::ERROR_CODE)),
    })
}

fn given(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// An id that tells events apart, or none. It is refused rather than cut: cut, two could be the same.
fn identity<'a>(name: &'static str, id: &'a str) -> Result<Option<&'a str>, Reason> {
    match id.len() {
        0 => Ok(None),
        1..=bounds::ID => Ok(Some(id)),
        _ => Err(Reason::LongId(name)),
    }
}

/// The time of an event, as CloudTrail writes it.
pub(crate) fn event_time(text: &str) -> Result<EventTime, Reason> {
    text.parse().map_err(|_| Reason::UnreadableTime(quoted(text)))
}

/// The account that logged the record. What an envelope vouches for must not be contradicted.
fn recipient(inner: &str, vouched: Vouched<'_>) -> Result<Option<AccountId>, Reason> {
    if !inner.is_empty() && !vouched.account.is_empty() && inner != vouched.account {
        return Err(Reason::AccountMismatch { envelope: quoted(vouched.account), inner: quoted(inner) });
    }
    let account = if inner.is_empty() { vouched.account } else { inner };
    Ok(account.parse().ok())
}

fn region(inner: &str, vouched: Vouched<'_>) -> Result<Option<Region>, Reason> {
    let name = given(inner).unwrap_or(vouched.region);
    match name.parse() {
        Ok(region) => Ok(Some(region)),
        Err(ParseRegionError::TooMany) => Err(Reason::RegionsExhausted(quoted(name))),
        Err(ParseRegionError::Malformed) => Ok(None),
    }
}

/// Refuses what is further ahead of the clock than clocks differ.
pub(crate) fn refuse_future(time: EventTime, now: EventTime, limits: &Limits) -> Result<(), Refusal> {
    if time <= now.plus(limits.future_tolerance_seconds) {
        return Ok(());
    }
    let due = time.minus(limits.future_tolerance_seconds);
    Err(Refusal { class: BadClass::Future { due }, reason: Reason::Future(time) })
}

fn is_endpoint_event(record: &Record<'_>) -> bool {
    &*record.event_type == "AwsVpceEvent"
}

/// Whether records of this type and category tell of a call, not of its passage through an endpoint or of statistics.
pub(crate) fn tells_of_a_call(event_type: &str, event_category: &str) -> bool {
    let is_other_type = matches!(event_type, "AwsVpceEvent" | "AwsCloudTrailInsight");
    let is_other_category = matches!(event_category, "NetworkActivity" | "Insight");
    !is_other_type && !is_other_category
}

fn place(kms: &KmsRecord<'_>) -> Place {
    Place { account: kms.recipient, region: kms.region, succeeded: kms.succeeded }
}

fn observe_use<'a>(
    record: &'a Record<'_>,
    names: Option<&dyn NameResolver>,
    kms: &mut KmsRecord<'a>,
) -> Result<(), Reason> {
    let failure = kms.error_code.map(classify);
    let kind = match failure {
        Some(Failure::DryRun) => return Ok(()),
        Some(_) => Kind::Attempt,
        None => Kind::Use,
    };
    let mut named = named_by(record, &place(kms))?;
    if let Some(names) = names {
        resolve(&mut named, names, kms);
    }
    let caller = Caller::of(&record.user);
    for &(key, role) in &named.keys {
        let mut observation = observation(key, kind, &caller, record, kms);
        observation.wanted = failure == Some(Failure::Wanted);
        observation.context = context(role, &record.request);
        kms.observations.push(observation);
    }
    note_unresolved(&named, kind, kms);
    Ok(())
}

/// Takes what aliases pointed to at the time of the event for what the record names.
fn resolve(named: &mut Named<'_>, names: &dyn NameResolver, kms: &KmsRecord<'_>) {
    for (text, role) in std::mem::take(&mut named.unresolved) {
        match alias_of(text, kms)
            .and_then(|(account, region, alias)| names.key_of(account, region, alias, kms.time))
        {
            Some(key) => named.add(key, role),
            None => named.unresolved.push((text, role)),
        }
    }
}

/// The alias that a text stands for, and where it lives.
fn alias_of<'a>(text: &'a str, kms: &KmsRecord<'_>) -> Option<(AccountId, Region, &'a str)> {
    if text.starts_with("alias/") {
        return Some((kms.recipient?, kms.region?, text));
    }
    let mut parts = text.splitn(6, ':');
    let ("arn", _, "kms", region, account, alias) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?)
    else {
        return None;
    };
    // A Region that nobody has heard of has no aliases; naming it takes up no room.
    let region = Region::known(region)?;
    alias.starts_with("alias/").then_some((account.parse().ok()?, region, alias))
}

fn observe_change<'a>(change: Change, record: &'a Record<'_>, kms: &mut KmsRecord<'a>) -> Result<(), Reason> {
    let named = named_by(record, &place(kms))?;
    let caller = Caller::of(&record.user);
    let keys: Vec<KeyArn> = named.keys.iter().map(|&(key, _)| key).collect();
    for &key in &keys {
        let mut observation = observation(key, Kind::Change, &caller, record, kms);
        observation.context = context(Role::Only, &record.request);
        observation.change = Some(change);
        observation.effects = effects::of_change(change, record, kms.time, key, &keys);
        kms.observations.push(observation);
    }
    note_unresolved(&named, Kind::Change, kms);
    Ok(())
}

fn observe_unknown(record: &Record<'_>, kms: &mut KmsRecord<'_>) -> Result<(), Reason> {
    kms.unknown_operation = true;
    kms.keys = named_by(record, &place(kms))?.keys.into_iter().map(|(key, _)| key).collect();
    Ok(())
}

fn note_unresolved<'a>(named: &Named<'a>, kind: Kind, kms: &mut KmsRecord<'a>) {
    let place = place(kms);
    // A failed call that names nothing is nobody's attempt; a success happened to some key.
    let told = named.unresolved.iter().filter(|(text, _)| kms.succeeded || !text.is_empty());
    kms.unresolved.extend(told.map(|(text, _)| place.unresolved(text, kind)));
}

/// What does not differ between the keys of a record.
pub(crate) struct Caller<'a> {
    pub(crate) principal: Option<&'a str>,
    session: Option<&'a str>,
    invoked_by: Option<&'a str>,
}

impl<'a> Caller<'a> {
    pub(crate) fn of(user: &'a UserIdentity<'_>) -> Self {
        // The ARN of a session ends in a name that its caller chose; who issued the session is the stable name.
        let principal = user.session.issuer.arn.given().or_else(|| user.arn.given());
        Self {
            principal: principal.map(|arn| cut(arn, bounds::PRINCIPAL)),
            session: session_in(&user.arn).map(|name| cut(name, bounds::SESSION)),
            invoked_by: user.invoked_by.given().map(|name| cut(name, bounds::INVOKED_BY)),
        }
    }
}

/// What stands behind the role's name in `…:assumed-role/ROLE/SESSION`.
fn session_in(arn: &str) -> Option<&str> {
    let tail = arn.splitn(6, ':').nth(5)?.strip_prefix("assumed-role/")?;
    let (_role, session) = tail.split_once('/')?;
    (!session.is_empty()).then_some(session)
}

fn observation<'a>(
    key: KeyArn,
    kind: Kind,
    caller: &Caller<'a>,
    record: &'a Record<'_>,
    kms: &KmsRecord<'a>,
) -> Observation<'a> {
    Observation {
        key,
        kind,
        time: kms.time,
        operation: kms.operation,
        event_id: kms.event_id,
        shared_id: kms.shared_id,
        recipient: kms.recipient,
        logged_region: kms.region.filter(|&region| region != key.region()),
        from_history: false,
        principal: caller.principal,
        session: caller.session,
        invoked_by: caller.invoked_by,
        source_ip: record.source_ip.given().map(|address| cut(address, bounds::SOURCE_IP)),
        error_code: kms.error_code,
        wanted: false,
        context: Vec::new(),
        change: None,
        effects: Vec::new(),
        counted: true,
    }
}

/// The encryption context that goes with a key's part in the call.
fn context<'a>(role: Role, request: &'a Request<'_>) -> Vec<(&'a str, &'a str)> {
    let pairs = match role {
        Role::Only => &request.context,
        Role::Source => &request.source_context,
        Role::Destination => &request.destination_context,
        Role::SourceAndDestination if request.source_context.is_empty() => &request.destination_context,
        Role::SourceAndDestination => &request.source_context,
    };
    pairs.bounded()
}
