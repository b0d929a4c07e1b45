//! Where messages come in: decoding, in the task of the source that received them.
//!
//! Decoding is most of the work, so it is spread over the sources' tasks; what goes on to the sealer is small: encoded
//! observations and the identities by which they are counted. A source waits here only while too many bytes are in
//! flight, never for a commit; one whose messages announce objects also until these are read (`objects.rs`).

mod objects;

use std::sync::Arc;

use dormouse_cloudtrail::{
    Bad, BadClass, Control, Decoder, KmsRecord, LeftOut, Outcome, PipeRecord, PipeService, Reason,
    Unresolved, may_hold_a_use,
};
use dormouse_ledger::{Identity, LeavesOut, Mark, PipeChange, Seen, Tally};
use dormouse_model::{
    AccountId, Checkpoint, Clock, EventId, EventTime, KeyArn, Kind, Observation, Place, Region, SourceMark,
    is_read_only_name,
};
use dormouse_sources::objects::ObjectName;
use dormouse_sources::{Acknowledge, Batch, Intake, Receipt};
use dormouse_store::Quarantined;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::epoch;

use objects::Announcement;
pub(crate) use objects::ObjectIntakes;
pub use objects::{AllowedObjects, NotABucketName, ObjectIntake};

/// What happens to a message that cannot be decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnPoison {
    /// It is kept in the quarantine, and then acknowledged.
    #[default]
    Quarantine,
    /// It is left to the queue's redrive policy.
    Redrive,
}

/// One source's way into the pipeline.
#[derive(Clone)]
pub struct PipelineIntake {
    pub(crate) decoder: Arc<Decoder>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) budget: Arc<Semaphore>,
    pub(crate) budget_kib: u32,
    pub(crate) future_hold_seconds: u32,
    pub(crate) on_poison: OnPoison,
    /// Where this source's announced objects are read.
    pub(crate) objects: Option<Arc<ObjectIntake>>,
    /// The same of all sources.
    pub(crate) all_objects: ObjectIntakes,
    pub(crate) out: mpsc::UnboundedSender<Decoded>,
}

/// A batch, decoded.
pub(crate) struct Decoded {
    /// The source's configured name.
    pub source: Arc<str>,
    /// Encoded, one after the other.
    pub observations: Vec<u8>,
    /// One for each encoded observation.
    pub marks: Vec<Mark>,
    /// The records that had observations.
    pub records: Vec<RecordMark>,
    pub tally: Tally,
    pub received: Vec<AccountId>,
    /// What arrived from which place.
    pub seen: Vec<(Place, Seen)>,
    /// `ListKeys` calls that came back: from which place, the request's id, the event's time.
    pub returned: Vec<(Place, [u8; 16], EventTime)>,
    /// In-use operations of which successful calls arrived.
    pub passed: Vec<PassedCalls>,
    /// Changes of what delivers events.
    pub pipe: Vec<(Place, PipeChange)>,
    pub unknowns: Vec<OwnedUnknown>,
    /// Pieces that carry no event and want none, by kind.
    pub controls: Vec<(Control, u64)>,
    /// Messages of which something could not be applied.
    pub poison: Vec<Poison>,
    /// To be acknowledged when this is durable.
    pub receipts: Vec<Receipt>,
    pub acks: Arc<dyn Acknowledge>,
    /// How far the source has come with this.
    pub checkpoint: Option<Checkpoint>,
    /// What the source says of its completeness.
    pub mark: Option<SourceMark>,
    /// Who waits until the receipts are told.
    pub settled: Option<oneshot::Sender<()>>,
    /// The quarantined message this is another try of.
    pub retried: Option<i64>,
    pub _in_flight: Option<OwnedSemaphorePermit>,
}

/// What of a message could not be applied. All of it is kept, or the message is left.
pub(crate) struct Poison {
    pub messages: Vec<Quarantined>,
    pub receipt: Option<Receipt>,
    pub leave: bool,
    /// The message itself is among what is kept, not only records of objects that it announced.
    pub is_whole: bool,
}

impl Poison {
    /// The message as a whole.
    fn whole(message: Quarantined, receipt: Option<Receipt>, leave: bool) -> Self {
        Self { messages: vec![message], receipt, leave, is_whole: true }
    }

    /// How much room it takes in the quarantine.
    pub(crate) fn bytes(&self) -> u64 {
        self.messages.iter().map(|message| message.body.len() as u64).sum()
    }
}

/// What a message holds beside what was applied.
struct Found {
    bad: Option<Quarantined>,
    /// Each object once.
    objects: Vec<ObjectName>,
}

/// A record: how many observations it has, and its identity if they are several.
#[derive(Clone, Copy)]
pub(crate) struct RecordMark {
    pub observations: usize,
    pub several: Option<Identity>,
    /// Where it was logged.
    pub place: Option<Place>,
}

/// Successful calls of one in-use operation that were logged in one place.
pub(crate) struct PassedCalls {
    pub place: Place,
    pub operation: Box<str>,
    pub first: EventTime,
    pub last: EventTime,
}

/// An [`epoch::Unknown`] that outlives its message.
pub(crate) enum OwnedUnknown {
    Operation { name: String, at: EventTime, holds_back: bool, place: Option<Place>, keys: Vec<KeyArn> },
    Unresolved { account: Option<AccountId>, region: Option<&'static str>, name: String, at: EventTime },
}

impl Decoded {
    pub(crate) fn new(source: Arc<str>, acks: Arc<dyn Acknowledge>) -> Self {
        Self {
            source,
            observations: Vec::new(),
            marks: Vec::new(),
            records: Vec::new(),
            tally: Tally::default(),
            received: Vec::new(),
            seen: Vec::new(),
            returned: Vec::new(),
            passed: Vec::new(),
            pipe: Vec::new(),
            unknowns: Vec::new(),
            controls: Vec::new(),
            poison: Vec::new(),
            receipts: Vec::new(),
            acks,
            checkpoint: None,
            mark: None,
            settled: None,
            retried: None,
            _in_flight: None,
        }
    }

    /// Returns why the record has to be kept, too, if it does.
    fn add_kms(&mut self, record: &KmsRecord<'_>) -> Option<FirstBad> {
        self.tally.read += 1;
        self.tally.kms += 1;
        if let Some(account) = record.recipient
            && !self.received.contains(&account)
        {
            self.received.push(account);
        }
        let place = record.recipient.zip(record.region).map(|(account, region)| Place { account, region });
        if let Some(place) = place {
            self.note_seen(place, record.time);
            self.note_passed(place, record);
        }
        if record.unknown_operation {
            let holds_back = record.succeeded && !is_read_only_name(record.operation);
            let name = record.operation.to_owned();
            let keys = record.keys.clone();
            self.unknowns.push(OwnedUnknown::Operation { name, at: record.time, holds_back, place, keys });
        }
        for unresolved in &record.unresolved {
            self.unknowns.push(OwnedUnknown::Unresolved {
                account: unresolved.account,
                region: unresolved.region.map(Region::name),
                name: unresolved.text.to_owned(),
                at: record.time,
            });
        }
        self.add_observations(&record.observations);
        let unresolved = FirstBad::of_unresolved(record);
        self.tally.quarantined += u64::from(unresolved.is_some() && record.observations.is_empty());
        unresolved
    }

    /// What a successful call shows of what delivers events.
    fn note_passed(&mut self, place: Place, record: &KmsRecord<'_>) {
        if !record.succeeded {
            return;
        }
        if record.operation == "ListKeys" {
            if let Some(EventId::Uuid(id)) = record.request_id.map(EventId::from) {
                self.returned.push((place, id, record.time));
            }
            return;
        }
        let is_use = record.observations.iter().any(|observation| observation.kind == Kind::Use)
            || record.unresolved.iter().any(|unresolved| unresolved.kind == Kind::Use);
        if !is_use {
            return;
        }
        let is_same =
            |known: &&mut PassedCalls| known.place == place && *known.operation == *record.operation;
        match self.passed.iter_mut().rev().find(is_same) {
            Some(known) => {
                known.first = known.first.min(record.time);
                known.last = known.last.max(record.time);
            }
            None => self.passed.push(PassedCalls {
                place,
                operation: record.operation.into(),
                first: record.time,
                last: record.time,
            }),
        }
    }

    /// Most batches come from few places, and neighbours from the same one.
    fn note_seen(&mut self, place: Place, at: EventTime) {
        let seen = Seen { first: at, last: at, records: 1 };
        match self.seen.iter_mut().rev().find(|(known, _)| *known == place) {
            Some((_, before)) => *before = before.plus(seen),
            None => self.seen.push((place, seen)),
        }
    }

    /// A record about what delivers events. It is another service's, and counts as such.
    pub(crate) fn add_pipe(&mut self, record: &PipeRecord<'_>) {
        self.tally.read += 1;
        let (Some(account), Some(region)) = (record.recipient, record.region) else { return };
        let service = match record.service {
            PipeService::CloudTrail => "cloudtrail.amazonaws.com",
            PipeService::EventBridge => "events.amazonaws.com",
        };
        let change = PipeChange {
            at: record.time,
            event_id: record.event_id.into(),
            service: service.into(),
            operation: record.operation.into(),
            principal: record.principal.map(Box::from),
            subject: record.subject.map(Box::from),
            error_code: record.error_code.map(Box::from),
            leaves_out: match record.left_out {
                None => LeavesOut::Nothing,
                Some(LeftOut::Kms) => LeavesOut::Kms,
                Some(LeftOut::Reads) => LeavesOut::Reads,
            },
        };
        self.pipe.push((Place { account, region }, change));
    }

    fn add_control(&mut self, control: Control) {
        match self.controls.iter_mut().find(|(known, _)| *known == control) {
            Some((_, count)) => *count += 1,
            None => self.controls.push((control, 1)),
        }
    }

    fn add_observations(&mut self, observations: &[Observation<'_>]) {
        let first = self.marks.len();
        for observation in observations {
            let encoded = epoch::encode_observation(observation, std::mem::take(&mut self.observations));
            // Encoding into memory has no way to fail.
            self.observations = encoded.unwrap_or_default();
            self.marks.push(Mark::of(observation));
        }
        let count = self.marks.len() - first;
        if count > 0 {
            let several = if count > 1 { Identity::of_record(observations) } else { None };
            let place = observations.first().map(Observation::place);
            self.records.push(RecordMark { observations: count, several, place });
        }
    }

    /// A direct event of KMS is no record: it changes state and counts nowhere.
    fn add_direct(&mut self, observation: &Observation<'_>) {
        self.add_observations(std::slice::from_ref(observation));
    }

    fn count_bad(&mut self, bad: &Bad<'_>) {
        match bad.class {
            BadClass::Malformed => self.tally.malformed += 1,
            BadClass::Quarantined | BadClass::Future { .. } => {
                self.tally.read += 1;
                self.tally.kms += u64::from(bad.is_kms);
                self.tally.quarantined += 1;
            }
        }
    }
}

/// Why a message goes into the quarantine: the first thing in it that could not be applied, of those that may hold a use
/// if there is one.
struct FirstBad {
    reason: String,
    detail: String,
    event_id: Option<String>,
    /// Where all of it was logged, as far as that is the same of all.
    account: Option<AccountId>,
    region: Option<Region>,
    key: Option<KeyArn>,
    /// The times of the first and the last, if they are known of all.
    events: Option<(EventTime, EventTime)>,
    /// When all that only came too early is due; `None` if nothing did.
    due: Option<EventTime>,
    /// Some of it waits for an alias to become known.
    waits: bool,
    more: usize,
}

/// After how many seconds a message that waits for an alias is tried again, from the first time to the longest.
const ALIAS_WAITS: (u32, u32) = (5 * 60, 24 * 3_600);

impl FirstBad {
    fn of(bad: &Bad<'_>) -> Self {
        Self {
            reason: bad.reason.code().to_owned(),
            detail: bad.reason.to_string(),
            event_id: bad.event_id.map(str::to_owned),
            account: bad.account,
            region: bad.region,
            key: bad.key,
            events: bad.time.map(|time| (time, time)),
            due: due_of(bad),
            waits: false,
            more: 0,
        }
    }

    /// For a successful use of a key that is named only by something that stands for none; `None` if it is none.
    fn of_unresolved(record: &KmsRecord<'_>) -> Option<Self> {
        let mut names = record.unresolved.iter().filter(|name| record.succeeded && name.kind == Kind::Use);
        let first = names.next()?;
        let reason = Reason::unresolved(first.text);
        let one = |name: &Unresolved<'_>| Self {
            reason: reason.code().to_owned(),
            detail: reason.to_string(),
            event_id: Some(record.event_id.to_owned()),
            account: name.account,
            region: name.region,
            key: None,
            events: Some((record.time, record.time)),
            due: None,
            waits: name.text.contains("alias/"),
            more: 0,
        };
        Some(names.fold(one(first), |mut whole, name| {
            whole.join(&one(name));
            whole.more -= 1;
            whole
        }))
    }

    /// Takes the next of the same message.
    fn join(&mut self, next: &Self) {
        self.more += 1 + next.more;
        self.due = self.due.max(next.due);
        self.waits |= next.waits;
        match (may_hold_a_use(&self.reason), may_hold_a_use(&next.reason)) {
            // What holds nothing back must not hide what does, nor blur what that is about.
            (false, true) => {
                self.reason.clone_from(&next.reason);
                self.detail.clone_from(&next.detail);
                self.event_id.clone_from(&next.event_id);
                (self.account, self.region, self.key) = (next.account, next.region, next.key);
                self.events = next.events;
            }
            (true, false) => {}
            (true, true) | (false, false) => self.widen(next),
        }
    }

    /// Is about the next as well.
    fn widen(&mut self, next: &Self) {
        self.account = self.account.filter(|_| self.account == next.account);
        self.region = self.region.filter(|_| self.region == next.region);
        self.key = self.key.filter(|_| self.key == next.key);
        let join = |(one, other): (Times, Times)| (one.0.min(other.0), one.1.max(other.1));
        self.events = self.events.zip(next.events).map(join);
    }

    /// As it is kept.
    fn into_message(self, body: &[u8], source: &str, now: EventTime, hold: Hold) -> Quarantined {
        let due = self.due.filter(|due| due.seconds_since(now) <= hold.future_seconds);
        let alias = self.waits.then(|| now.plus(hold.waited_seconds.clamp(ALIAS_WAITS.0, ALIAS_WAITS.1)));
        let retry_at = [due, alias].into_iter().flatten().min();
        let detail = if self.more == 0 {
            self.detail
        } else {
            format!("{}; and {} more of this message", self.detail, self.more)
        };
        Quarantined {
            source: source.to_owned(),
            at: now,
            reason: self.reason,
            detail,
            event_id: self.event_id,
            account: self.account.map(|account| account.to_string()),
            region: self.region.map(|region| region.to_string()),
            first_event: self.events.map(|(first, _)| first),
            last_event: self.events.map(|(_, last)| last),
            key: self.key.map(|key| key.to_string()),
            retry_at,
            body: body.to_owned(),
        }
    }
}

/// The first and the last.
type Times = (EventTime, EventTime);

/// How long a message may be held.
#[derive(Clone, Copy, Debug)]
struct Hold {
    /// An event that is ahead of the clock by no more than this is tried again when its time has come.
    future_seconds: u32,
    /// So long ago the message came for the first time.
    waited_seconds: u32,
}

fn due_of(bad: &Bad<'_>) -> Option<EventTime> {
    match bad.class {
        BadClass::Future { due } => Some(due),
        _ => None,
    }
}

/// Takes one more thing that could not be applied.
fn join(first: &mut Option<FirstBad>, next: Option<FirstBad>) {
    match (first, next) {
        (Some(first), Some(next)) => first.join(&next),
        (none @ None, next) => *none = next,
        (Some(_), None) => {}
    }
}

impl PipelineIntake {
    /// Decodes one message into `decoded`; what could not be applied comes back for the quarantine, what is announced to be
    /// fetched.
    fn decode(&self, body: &[u8], source: &str, waited_seconds: u32, decoded: &mut Decoded) -> Found {
        let now = self.clock.now_seconds();
        let mut first_bad: Option<FirstBad> = None;
        let mut announced = Vec::new();
        self.decoder.decode(body, now, &mut |outcome| match outcome {
            Outcome::Other => decoded.tally.read += 1,
            Outcome::Pipe(record) => decoded.add_pipe(record),
            Outcome::Announced(object) => announced.push(objects::name_of(&object)),
            Outcome::Control(control) => decoded.add_control(control),
            Outcome::Kms(record) => join(&mut first_bad, decoded.add_kms(record)),
            Outcome::Direct(observation) => decoded.add_direct(observation),
            Outcome::Bad(bad) => {
                decoded.count_bad(&bad);
                join(&mut first_bad, Some(FirstBad::of(&bad)));
            }
        });
        let hold = Hold { future_seconds: self.future_hold_seconds, waited_seconds };
        let bad = first_bad.map(|bad| bad.into_message(body, source, now, hold));
        announced.sort_unstable();
        announced.dedup();
        Found { bad, objects: announced }
    }

    fn decode_batch(&self, batch: &mut Batch) -> (Decoded, Vec<Announcement>) {
        // What is read by position is acknowledged in order: it cannot wait for objects.
        let can_fetch = self.objects.is_some() && batch.checkpoint.is_none();
        let mut announcements = Vec::new();
        let mut decoded = Decoded::new(Arc::clone(&batch.source), Arc::clone(&batch.acks));
        for message in &mut batch.messages {
            let Found { mut bad, objects } = self.decode(&message.body, &batch.source, 0, &mut decoded);
            let receipt = message.receipt;
            if can_fetch && !objects.is_empty() {
                let body = std::mem::take(&mut message.body);
                announcements.push(Announcement { body, objects, receipt: Some(receipt), bad });
                continue;
            }
            if !objects.is_empty() {
                bad = Some(self.not_configured(&message.body, &objects, &batch.source));
            }
            match bad {
                None => decoded.receipts.push(receipt),
                Some(message) => {
                    let leave = self.on_poison == OnPoison::Redrive && message.retry_at.is_none();
                    decoded.poison.push(Poison::whole(message, Some(receipt), leave));
                }
            }
        }
        (decoded, announcements)
    }

    /// What was read by position and can neither be applied nor kept must be read again, and nothing behind it may move
    /// the position on meanwhile: such a batch is waited for.
    fn watch_if_it_can_stand_still(&self, decoded: &mut Decoded) -> Option<oneshot::Receiver<()>> {
        if decoded.checkpoint.is_none() || decoded.poison.is_empty() {
            return None;
        }
        let (settled, told) = oneshot::channel();
        decoded.settled = Some(settled);
        Some(told)
    }

    /// Decodes a message from the quarantine once more. Its records were counted when it first came.
    pub(crate) fn decode_again(&self, id: i64, message: &Quarantined) -> Decoded {
        let Quarantined { body, source, at, .. } = message;
        let mut decoded = Decoded::new(source.as_str().into(), Arc::new(NobodyToTell));
        let waited = self.clock.now_seconds().seconds_since(*at);
        let Found { bad, objects } = self.decode(body, source, waited, &mut decoded);
        let unfetched = (!objects.is_empty()).then(|| self.not_configured(body, &objects, source));
        if let Some(message) = unfetched.or(bad) {
            decoded.poison.push(Poison::whole(message, None, false));
        }
        if !decoded.poison.is_empty() {
            // What can be told of it was told when it first came.
            decoded.seen.clear();
            decoded.unknowns.clear();
        }
        decoded.tally = Tally::default();
        decoded.retried = Some(id);
        decoded
    }

    /// Stands for a quarantined message that a person wants to be rid of.
    pub(crate) fn forget(id: i64, source: &str) -> Decoded {
        let mut nothing = Decoded::new(source.into(), Arc::new(NobodyToTell));
        nothing.retried = Some(id);
        nothing
    }
}

/// For messages that no source waits for.
struct NobodyToTell;

impl Acknowledge for NobodyToTell {
    fn ack(&self, _receipts: Vec<Receipt>) {}
    fn leave(&self, _receipts: Vec<Receipt>) {}
}

impl Intake for PipelineIntake {
    async fn submit(&self, mut batch: Batch) {
        let bytes: usize = batch.messages.iter().map(|message| message.body.len()).sum();
        let kib = u32::try_from(bytes / 1_024 + 1).unwrap_or(u32::MAX).min(self.budget_kib);
        let permit = Arc::clone(&self.budget).acquire_many_owned(kib).await;
        // The budget is never closed; if it were, counting would stop, not the flow.
        let in_flight = permit.ok();
        let (mut decoded, announcements) = self.decode_batch(&mut batch);
        decoded._in_flight = in_flight;
        decoded.checkpoint = batch.checkpoint;
        let settled = self.watch_if_it_can_stand_still(&mut decoded);
        // After the pipeline has stopped nothing is acknowledged, so the source delivers it again.
        let _ = self.out.send(decoded);
        if let Some(settled) = settled {
            // An error means that the pipeline has stopped.
            let _ = settled.await;
        }
        if let Some(objects) = self.objects.as_ref().filter(|_| !announcements.is_empty()) {
            self.fetch_beside(objects, batch.source, batch.acks, announcements).await;
        }
    }

    fn note(&self, source: &Arc<str>, mark: SourceMark) {
        let mut decoded = Decoded::new(Arc::clone(source), Arc::new(NobodyToTell));
        decoded.mark = Some(mark);
        let _ = self.out.send(decoded);
    }
}
