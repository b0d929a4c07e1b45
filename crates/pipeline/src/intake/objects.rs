//! Announced objects: fetched, decoded and handed over in parts, acknowledged when the last part is durable.
//!
//! An announcement is a few hundred bytes and may stand for hundreds of megabytes of records, so nothing here holds an
//! object whole. A thread reads it piece by piece and hands over a part as soon as it has so many observations; parts in
//! flight have a budget of their own, so that history in large objects does not keep live messages waiting. The parts of
//! an object go to the sealer in their order and epochs commit in order, so the receipt in the last part stands for all.
//!
//! What an announcement names is a stranger's word: only the configured buckets and prefixes are read, and nothing that
//! an object announces in its turn. What is not there, not allowed or not whole is told apart, because a person has to do
//! something else about each:
//!
//! | trouble | what happens |
//! |---|---|
//! | not configured | `object_not_configured`, `foreign_object`: the announcement is quarantined, nothing is read |
//! | missing | tried five times over 15 s, then `object_missing` |
//! | denied, no such bucket | said at once, tried every 30 s; after 10 min the message is left, so that others get their turn |
//! | passing | tried until it works; the source keeps the message in flight |
//! | damaged | what can be read is applied, then `object_damaged` |
//! | bad records | each is quarantined by itself, up to a bound |
//!
//! A try that fails amid an object begins again at its beginning: records that were handed over already are known by
//! their ids.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dormouse_aws::Backoff;
use dormouse_cloudtrail::files::{FileLimits, FileReport, Piece, Problem, Visit, visit_records};
use dormouse_cloudtrail::{Announced, Decoder, Outcome, TrailKey, TrailKeyKind};
use dormouse_ledger::Mark;
use dormouse_model::{AccountId, EventTime, Region};
use dormouse_sources::health::{Monitor, Work};
use dormouse_sources::objects::{ObjectFailure, ObjectName, ObjectReader, ObjectStats, ObjectStore, Opened};
use dormouse_sources::{Acknowledge, Receipt};
use dormouse_store::Quarantined;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{Decoded, FirstBad, Hold, OnPoison, PipelineIntake, Poison};
use crate::control::QuarantineOutcome;

/// A part is handed over when it has so many observations, or as many of anything else …
const PART_OBSERVATIONS: usize = 2_000;
/// … or so many encoded bytes.
const PART_BYTES: usize = 1 << 20;
/// How many KiB of parts may be in flight, over all objects of a source.
const PARTS_KIB: u32 = 4 << 10;
/// So many objects of a source are read at the same time, each on a thread: small ones are mostly waited for.
const READERS: (usize, usize) = (16, 32);
/// So many batches of announcements are worked on beside what else arrives; behind them receiving waits.
const BATCHES: usize = 64;
/// So many bad records of one message are kept each by itself …
const BAD_RECORDS: usize = 64;
/// … of together so many bytes.
const BAD_BYTES: usize = 1 << 20;
/// CloudTrail's records have 256 KiB at most: no need to keep sixteen mebibytes of one for every object.
const LIMITS: FileLimits =
    FileLimits { max_record: 4 << 20, free_unpacked: 64 << 20, max_ratio: 250, hash: false };
/// How long to wait for a missing object: it is announced before it can be read everywhere.
const MISSING_WAITS: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];
/// How long to wait before what is denied is tried again …
const DENIED_WAIT: Duration = Duration::from_secs(30);
/// … and after how long the message is left.
const DENIED_LIMIT: Duration = Duration::from_secs(600);
/// How long passing trouble is waited out, from the first time to the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// The buckets, and the beginnings of keys in them, that may be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedObjects(Vec<(Arc<str>, String)>);

/// What was configured names no bucket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no bucket; write \"bucket\" or \"bucket/prefix\", e.g. \"trail-logs/AWSLogs/\"")]
pub struct NotABucketName(String);

impl AllowedObjects {
    /// From places such as `trail-logs` (all of the bucket) and `trail-logs/AWSLogs/`.
    ///
    /// # Errors
    /// For the first that names no bucket.
    pub fn parse<'a>(places: impl IntoIterator<Item = &'a str>) -> Result<Self, NotABucketName> {
        let parse = |place: &'a str| {
            let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
            let is_name = (3..=63).contains(&bucket.len())
                && bucket.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
            let place = (Arc::from(bucket), prefix.to_owned());
            is_name.then_some(place).ok_or_else(|| NotABucketName(bucket.to_owned()))
        };
        places.into_iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// Whether this object may be read.
    pub fn allows(&self, name: &ObjectName) -> bool {
        self.0.iter().any(|(bucket, prefix)| *bucket == name.bucket && name.key.starts_with(prefix.as_str()))
    }

    /// The buckets and prefixes.
    pub fn places(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(bucket, prefix)| (&**bucket, prefix.as_str()))
    }
}

impl fmt::Display for AllowedObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (bucket, prefix)) in self.places().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            write!(f, "{comma}{bucket}/{prefix}")?;
        }
        Ok(())
    }
}

/// One source's way to the objects that its messages announce.
pub struct ObjectIntake {
    store: Arc<dyn ObjectStore>,
    allowed: AllowedObjects,
    monitor: Monitor,
    stop: CancellationToken,
    stats: Arc<ObjectStats>,
    readers: Arc<Semaphore>,
    parts: Arc<Semaphore>,
    /// Batches of announcements that are worked on.
    batches: Arc<Semaphore>,
    /// Objects that wait for trouble to pass: only without any does the source fetch well.
    troubled: AtomicUsize,
}

impl fmt::Debug for ObjectIntake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectIntake").field("allowed", &self.allowed).finish_non_exhaustive()
    }
}

impl ObjectIntake {
    /// Reads what is allowed from this store. `monitor` is the source's; at `stop` reading is given up at once and the
    /// messages are left.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        allowed: AllowedObjects,
        monitor: Monitor,
        stop: CancellationToken,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            store,
            allowed,
            monitor,
            stop,
            stats: Arc::default(),
            readers: Arc::new(Semaphore::new((2 * cores).clamp(READERS.0, READERS.1))),
            parts: Arc::new(Semaphore::new(PARTS_KIB as usize)),
            batches: Arc::new(Semaphore::new(BATCHES)),
            troubled: AtomicUsize::new(0),
        }
    }

    /// The counters and gauges.
    pub fn stats(&self) -> Arc<ObjectStats> {
        Arc::clone(&self.stats)
    }
}

/// The ways to objects, by the name of the source.
pub(crate) type ObjectIntakes = Arc<Mutex<HashMap<Arc<str>, Arc<ObjectIntake>>>>;

/// The object that an announcement names.
pub(super) fn name_of(announced: &Announced<'_>) -> ObjectName {
    ObjectName::new(announced.bucket, &*announced.key)
}

/// A message that announces objects.
pub(super) struct Announcement {
    pub(super) body: Vec<u8>,
    pub(super) objects: Vec<ObjectName>,
    pub(super) receipt: Option<Receipt>,
    /// What else the message holds that could not be applied.
    pub(super) bad: Option<Quarantined>,
}

/// Where a message came from and what becomes of it.
struct Errand {
    intake: PipelineIntake,
    objects: Arc<ObjectIntake>,
    source: Arc<str>,
    acks: Arc<dyn Acknowledge>,
    retried: Option<i64>,
}

/// How a message comes to its end.
enum Fate {
    /// All that could be read was.
    Done,
    /// The announcement goes into the quarantine, for this reason.
    Keep { reason: &'static str, detail: String },
    /// It comes again.
    Leave { reason: &'static str, detail: String },
}

/// What one try at an object came to.
enum Try {
    /// Read to its end; what is damaged in it, in words.
    Read(Option<String>),
    Failed(ObjectFailure),
    Stopped,
}

impl PipelineIntake {
    /// The same way in, for a source of this name whose messages may announce objects.
    #[must_use]
    pub fn with_objects(self, source: impl Into<Arc<str>>, objects: Arc<ObjectIntake>) -> Self {
        let mut all = self.all_objects.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(source.into(), Arc::clone(&objects));
        drop(all);
        Self { objects: Some(objects), ..self }
    }

    /// What to say of an announcement where no objects are configured.
    pub(super) fn not_configured(&self, body: &[u8], objects: &[ObjectName], source: &str) -> Quarantined {
        let first = objects.first().map(ToString::to_string).unwrap_or_default();
        let bucket = objects.first().map_or("name", |object| &*object.bucket);
        let detail = format!(
            "announces {first}, and no objects are configured for this source; an SQS source reads them with \
             [[sources]] buckets = [\"{bucket}/prefix\"]"
        );
        self.quarantined(body, objects, source, "object_not_configured", detail)
    }

    fn quarantined(
        &self,
        body: &[u8],
        objects: &[ObjectName],
        source: &str,
        reason: &str,
        detail: String,
    ) -> Quarantined {
        let about = About::of(objects);
        Quarantined {
            source: source.to_owned(),
            at: self.clock.now_seconds(),
            reason: reason.to_owned(),
            detail,
            event_id: None,
            account: about.as_ref().map(|about| about.account.to_string()),
            region: about.as_ref().map(|about| about.region.to_string()),
            first_event: about.as_ref().map(|about| about.first),
            last_event: about.as_ref().map(|about| about.last),
            key: None,
            retry_at: None,
            body: body.to_owned(),
        }
    }

    /// Fetches what messages of a batch announce, beside what else the source brings: an object that is slow, missing or
    /// denied holds up nobody until there are many of them.
    pub(super) async fn fetch_beside(
        &self,
        objects: &Arc<ObjectIntake>,
        source: Arc<str>,
        acks: Arc<dyn Acknowledge>,
        announcements: Vec<Announcement>,
    ) {
        // Never closed; if it were, there would be no bound.
        let place = Arc::clone(&objects.batches).acquire_owned().await.ok();
        let (intake, objects) = (self.clone(), Arc::clone(objects));
        tokio::spawn(async move {
            intake.fetch(&objects, &source, &acks, announcements).await;
            drop(place);
        });
    }

    /// Fetches what messages of a batch announce, all at once as far as there are readers.
    async fn fetch(
        &self,
        objects: &Arc<ObjectIntake>,
        source: &Arc<str>,
        acks: &Arc<dyn Acknowledge>,
        announcements: Vec<Announcement>,
    ) {
        let mut tasks = tokio::task::JoinSet::new();
        for announcement in announcements {
            let errand = Errand {
                intake: self.clone(),
                objects: Arc::clone(objects),
                source: Arc::clone(source),
                acks: Arc::clone(acks),
                retried: None,
            };
            let (acks, receipt) = (Arc::clone(acks), announcement.receipt);
            tasks.spawn(async move {
                // A panic is a bug: the message must come again all the same.
                if tokio::spawn(async move { errand.run(announcement).await }).await.is_err() {
                    acks.leave(receipt.into_iter().collect());
                }
            });
        }
        while tasks.join_next().await.is_some() {}
    }

    /// If a message of the quarantine announces objects that can be fetched now: the fetching, to be run beside the
    /// committing task, which has to commit what comes of it.
    pub(crate) fn announced_again(&self, id: i64, kept: &Quarantined) -> Option<Again> {
        let all = self.all_objects.lock().unwrap_or_else(PoisonError::into_inner);
        let objects = Arc::clone(all.get(kept.source.as_str())?);
        drop(all);
        let source: Arc<str> = kept.source.as_str().into();
        let acks: Arc<dyn Acknowledge> = Arc::new(super::NobodyToTell);
        let mut rest = Decoded::new(Arc::clone(&source), Arc::clone(&acks));
        let waited = self.clock.now_seconds().seconds_since(kept.at);
        let found = self.decode(&kept.body, &source, waited, &mut rest);
        if found.objects.is_empty() {
            return None;
        }
        let announcement =
            Announcement { body: kept.body.clone(), objects: found.objects, receipt: None, bad: found.bad };
        let errand = Errand { intake: self.clone(), objects, source, acks, retried: Some(id) };
        rest.tally = dormouse_ledger::Tally::default();
        Some(Again { errand, announcement, rest })
    }
}

/// What the names of a trail's objects tell of the events in them.
struct About {
    account: AccountId,
    region: Region,
    first: EventTime,
    last: EventTime,
}

impl About {
    /// Of objects that are all of one account and Region and of known days; `None` of others.
    fn of(objects: &[ObjectName]) -> Option<Self> {
        let mut about: Option<Self> = None;
        for object in objects {
            let TrailKey { account, region, day, .. } = TrailKey::parse(&object.key)?;
            // The day is that of the delivery: CloudTrail delivers the events of a call within minutes, at times hours.
            let begin = EventTime::from_seconds(day.saturating_mul(86_400));
            let (first, last) = (begin.minus(86_400), begin.plus(86_400));
            let known = about.get_or_insert(Self { account, region, first, last });
            if (known.account, known.region) != (account, region) {
                return None;
            }
            (known.first, known.last) = (known.first.min(first), known.last.max(last));
        }
        about
    }
}

/// A quarantined announcement that is tried once more.
pub(crate) struct Again {
    errand: Errand,
    announcement: Announcement,
    /// What else the message holds.
    rest: Decoded,
}

impl Again {
    /// Fetches the objects, each tried once, and answers when the outcome is durable.
    pub(crate) async fn run(self, answer: oneshot::Sender<QuarantineOutcome>) {
        let Self { mut errand, announcement, rest } = self;
        let told = Arc::new(Answer(Mutex::new(Some(answer)), Mutex::new(QuarantineOutcome::Applied)));
        errand.acks = Arc::<Answer>::clone(&told);
        let (fate, mut last) = errand.read_all(&announcement, rest).await;
        if let Fate::Keep { reason, detail } | Fate::Leave { reason, detail } = &fate {
            told.set(QuarantineOutcome::Refused { reason: (*reason).to_owned(), detail: detail.clone() });
        } else if let Some(bad) = &announcement.bad {
            let (reason, detail) = (bad.reason.clone(), bad.detail.clone());
            told.set(QuarantineOutcome::Refused { reason, detail });
        } else if last.bad.more > 0 {
            let (reason, detail) = (BAD_RECORDS_REASON.to_owned(), last.bad.overflow());
            told.set(QuarantineOutcome::Refused { reason, detail });
        }
        last.part.acks = Arc::<Answer>::clone(&told);
        // Stands for whoever asked.
        last.part.receipts.push(Receipt::new(0));
        errand.finish(announcement, fate, last).await;
    }
}

/// Whoever asked for a retry, as somebody who is told of a commit.
struct Answer(Mutex<Option<oneshot::Sender<QuarantineOutcome>>>, Mutex<QuarantineOutcome>);

impl Answer {
    fn set(&self, outcome: QuarantineOutcome) {
        *self.1.lock().unwrap_or_else(PoisonError::into_inner) = outcome;
    }
}

impl Acknowledge for Answer {
    fn ack(&self, _receipts: Vec<Receipt>) {
        let outcome = self.1.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(answer) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Whoever asked may have gone.
            let _ = answer.send(outcome);
        }
    }

    fn leave(&self, _receipts: Vec<Receipt>) {}
}

impl Errand {
    async fn run(self, announcement: Announcement) {
        let part = Decoded::new(Arc::clone(&self.source), Arc::clone(&self.acks));
        let (fate, last) = self.read_all(&announcement, part).await;
        self.finish(announcement, fate, last).await;
    }

    /// Reads the objects of a message one after the other. What was not handed over yet comes back.
    async fn read_all(&self, announcement: &Announcement, part: Decoded) -> (Fate, Unsent) {
        let ObjectIntake { allowed, stats, .. } = &*self.objects;
        let mut unsent = Unsent { part, bad: BadRecords::default() };
        if let Some(foreign) = announcement.objects.iter().find(|object| !allowed.allows(object)) {
            stats.refused.add(1);
            let detail = format!("announces {foreign}; this source may read only {allowed}");
            return (Fate::Keep { reason: "foreign_object", detail }, unsent);
        }
        let mut kept = None;
        for object in &announcement.objects {
            if !is_log(&object.key) {
                stats.control.add(1);
                continue;
            }
            let fate;
            (fate, unsent) = self.read(object, unsent).await;
            match fate {
                Fate::Done => {}
                // The others can be read all the same.
                Fate::Keep { .. } => {
                    kept.get_or_insert(fate);
                }
                Fate::Leave { .. } => return (fate, unsent),
            }
        }
        (kept.unwrap_or(Fate::Done), unsent)
    }

    /// Reads one object, as often as it takes.
    async fn read(&self, object: &ObjectName, mut unsent: Unsent) -> (Fate, Unsent) {
        let ObjectIntake { monitor, stats, .. } = &*self.objects;
        let began = Instant::now();
        let mut trouble = None;
        let mut missing = 0;
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        loop {
            let outcome;
            (outcome, unsent) = self.try_once(object, unsent).await;
            let failure = match outcome {
                Try::Stopped => return (stopped(), unsent),
                Try::Read(damage) => {
                    drop(trouble.take());
                    if self.objects.troubled.load(Ordering::Relaxed) == 0 {
                        monitor.succeeded(Work::Fetch);
                    }
                    let fate = match damage {
                        None => Fate::Done,
                        Some(words) => {
                            stats.damaged.add(1);
                            Fate::Keep { reason: "object_damaged", detail: format!("{object}: {words}") }
                        }
                    };
                    return (fate, unsent);
                }
                Try::Failed(failure) => failure,
            };
            stats.errors[failure.class().number()].add(1);
            let detail = format!("{object}: {failure}");
            let is_denied = matches!(failure, ObjectFailure::Denied { .. } | ObjectFailure::NotABucket(_));
            let is_last = match &failure {
                ObjectFailure::Missing(_) => missing == MISSING_WAITS.len(),
                _ => is_denied && began.elapsed() >= DENIED_LIMIT,
            };
            if !matches!(failure, ObjectFailure::Missing(_)) {
                trouble.get_or_insert_with(|| Troubled::new(&self.objects));
                self.objects.tell(&failure);
            }
            if is_last || self.retried.is_some() || matches!(failure, ObjectFailure::Unreadable { .. }) {
                return (self.given_up(&failure, detail), unsent);
            }
            let wait = match failure {
                ObjectFailure::Missing(_) => {
                    missing += 1;
                    MISSING_WAITS[missing - 1]
                }
                _ if is_denied => DENIED_WAIT,
                _ => backoff.next_delay(),
            };
            tokio::select! {
                () = sleep(wait) => {}
                () = self.objects.stop.cancelled() => return (stopped(), unsent),
            }
        }
    }

    fn given_up(&self, failure: &ObjectFailure, detail: String) -> Fate {
        match failure {
            ObjectFailure::Missing(_) => {
                self.objects.stats.missing.add(1);
                Fate::Keep { reason: "object_missing", detail }
            }
            ObjectFailure::Unreadable { .. } => {
                self.objects.stats.damaged.add(1);
                Fate::Keep { reason: "object_unreadable", detail }
            }
            ObjectFailure::Denied { .. } => Fate::Leave { reason: "object_denied", detail },
            _ => Fate::Leave { reason: "object_unreachable", detail },
        }
    }

    /// Tries to read an object from its beginning to its end.
    async fn try_once(&self, object: &ObjectName, unsent: Unsent) -> (Try, Unsent) {
        let objects = &self.objects;
        let (_turn, opened) = tokio::select! {
            biased;
            () = objects.stop.cancelled() => return (Try::Stopped, unsent),
            opened = async {
                // The semaphore is never closed; if it were, the bound would fall, not the reading.
                let turn = Arc::clone(&objects.readers).acquire_owned().await.ok();
                (turn, objects.store.open(object).await)
            } => opened,
        };
        match opened {
            Ok(Opened { reader, .. }) => {
                objects.stats.in_progress.add(1);
                let outcome = self.decode_object(object, reader, unsent).await;
                objects.stats.in_progress.subtract(1);
                outcome
            }
            Err(failure) => (Try::Failed(failure), unsent),
        }
    }

    /// Decodes an object on a thread that may block.
    async fn decode_object(
        &self,
        object: &ObjectName,
        reader: ObjectReader,
        unsent: Unsent,
    ) -> (Try, Unsent) {
        let abandon = reader.abandon();
        let visitor = ObjectVisitor {
            decoder: Arc::clone(&self.intake.decoder),
            now: self.intake.clock.now_seconds(),
            errand: self.part_errand(),
            object: object.clone(),
            unsent,
            damage: Damage::default(),
        };
        let stop = self.objects.stop.clone();
        let mut reading = tokio::task::spawn_blocking(move || visitor.visit(reader, stop));
        let outcome = tokio::select! {
            outcome = &mut reading => outcome,
            () = self.objects.stop.cancelled() => {
                abandon.now();
                reading.await
            }
        };
        match outcome {
            Ok((_, _, unsent)) if self.objects.stop.is_cancelled() => (Try::Stopped, unsent),
            Ok((report, Ok(damage), unsent)) => {
                let stats = &self.objects.stats;
                stats.fetched.add(1);
                stats.packed_bytes.add(usize::try_from(report.read).unwrap_or(usize::MAX));
                stats.unpacked_bytes.add(usize::try_from(report.unpacked).unwrap_or(usize::MAX));
                (Try::Read(damage.in_words()), unsent)
            }
            Ok((_, Err(failure), unsent)) => (Try::Failed(failure), unsent),
            // A bug goes on to whoever started the errand, who leaves the message.
            Err(panic) if panic.is_panic() => std::panic::resume_unwind(panic.into_panic()),
            Err(_) => (Try::Stopped, self.nothing()),
        }
    }

    fn nothing(&self) -> Unsent {
        let part = Decoded::new(Arc::clone(&self.source), Arc::clone(&self.acks));
        Unsent { part, bad: BadRecords::default() }
    }

    fn part_errand(&self) -> PartErrand {
        PartErrand {
            out: self.intake.out.clone(),
            budget: Arc::clone(&self.objects.parts),
            stop: self.objects.stop.clone(),
            hold_seconds: self.intake.future_hold_seconds,
            stats: Arc::clone(&self.objects.stats),
        }
    }

    /// Hands over the last part, with the receipt.
    async fn finish(&self, announcement: Announcement, fate: Fate, unsent: Unsent) {
        let Unsent { mut part, bad } = unsent;
        let Announcement { body, receipt, bad: own, objects } = announcement;
        part.retried = self.retried;
        let overflow = (bad.more > 0).then(|| (BAD_RECORDS_REASON, bad.overflow()));
        let mut kept = bad.messages;
        let whole = match fate {
            Fate::Leave { reason, detail } if self.retried.is_none() => {
                if reason != STOPPED {
                    self.objects.stats.left.add(1);
                    tracing::warn!(source = &*self.source, "the message is left to come back: {detail}");
                }
                return self.acks.leave(receipt.into_iter().collect());
            }
            Fate::Keep { reason, detail } | Fate::Leave { reason, detail } => Some((reason, detail)),
            Fate::Done => overflow,
        };
        let whole = whole.map(|(reason, detail)| {
            let detail = if bad.more > 0 && reason != BAD_RECORDS_REASON {
                format!("{detail}; and {} more bad records", bad.more)
            } else {
                detail
            };
            self.intake.quarantined(&body, &objects, &self.source, reason, detail)
        });
        // Objects are not fetched again by themselves: from now on a person decides.
        let whole = whole.or(own.map(|own| Quarantined { retry_at: None, ..own }));
        let is_whole = whole.is_some();
        kept.extend(whole);
        if kept.is_empty() {
            part.receipts.extend(receipt);
        } else {
            let is_final = kept.iter().any(|message| message.retry_at.is_none());
            let leave = self.retried.is_none() && is_final && self.intake.on_poison == OnPoison::Redrive;
            part.poison.push(Poison { messages: kept, receipt, leave, is_whole });
        }
        let errand = self.part_errand();
        if !errand.hand_over(part).await {
            self.acks.leave(receipt.into_iter().collect());
        }
    }
}

const STOPPED: &str = "stopped";
const BAD_RECORDS_REASON: &str = "object_bad_records";

fn stopped() -> Fate {
    Fate::Leave { reason: STOPPED, detail: "reading was given up because this instance stops".to_owned() }
}

/// Whether a key names a log of events, as far as a name can tell. A key of no known layout may.
fn is_log(key: &str) -> bool {
    match TrailKey::parse(key) {
        Some(parsed) => parsed.kind == TrailKeyKind::Log,
        None => !key.ends_with('/'),
    }
}

/// Counts an object that waits for trouble to pass, as long as it lives.
struct Troubled<'a>(&'a AtomicUsize);

impl<'a> Troubled<'a> {
    fn new(objects: &'a ObjectIntake) -> Self {
        objects.troubled.fetch_add(1, Ordering::Relaxed);
        Self(&objects.troubled)
    }
}

impl Drop for Troubled<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ObjectIntake {
    /// Shows what does not work, and what a person can do.
    fn tell(&self, failure: &ObjectFailure) {
        let advice = match failure {
            ObjectFailure::Denied { grant: Some(grant), .. } => {
                Cow::Owned(format!("allow {grant}; it is retried every 30 s"))
            }
            ObjectFailure::Denied { .. } => Cow::Borrowed("check the credentials; it is retried every 30 s"),
            ObjectFailure::NotABucket(_) => {
                Cow::Borrowed("check the bucket and the source's buckets; it is retried every 30 s")
            }
            _ => Cow::Borrowed("retrying by itself"),
        };
        if let Some(failure) = failure.failure() {
            self.monitor.failed_with(Work::Fetch, failure, advice);
        }
    }
}

/// What was read and not handed over yet.
struct Unsent {
    part: Decoded,
    bad: BadRecords,
}

/// Bad records of a message's objects.
#[derive(Default)]
struct BadRecords {
    messages: Vec<Quarantined>,
    bytes: usize,
    /// How many did not fit.
    more: u64,
}

impl BadRecords {
    fn overflow(&self) -> String {
        format!("{} more bad records in its objects than are kept each by itself", self.more)
    }

    fn add(&mut self, message: impl FnOnce() -> Quarantined, bytes: usize) {
        if self.messages.len() >= BAD_RECORDS || self.bytes + bytes > BAD_BYTES {
            self.more += 1;
            return;
        }
        let message = message();
        // Another try at the same object finds the same.
        if self.messages.iter().all(|known| known.body != message.body) {
            self.bytes += bytes;
            self.messages.push(message);
        }
    }
}

/// What of an object could not be read.
#[derive(Default)]
struct Damage {
    first: Option<String>,
    count: u64,
}

impl Damage {
    fn add(&mut self, words: impl FnOnce() -> String) {
        self.count += 1;
        self.first.get_or_insert_with(words);
    }

    fn in_words(self) -> Option<String> {
        let first = self.first?;
        Some(if self.count > 1 { format!("{first}; and {} more problems", self.count - 1) } else { first })
    }
}

/// What handing over a part takes.
struct PartErrand {
    out: tokio::sync::mpsc::UnboundedSender<Decoded>,
    budget: Arc<Semaphore>,
    stop: CancellationToken,
    hold_seconds: u32,
    stats: Arc<ObjectStats>,
}

impl PartErrand {
    /// Hands a part over when there is room for it. False at the stop.
    async fn hand_over(&self, mut part: Decoded) -> bool {
        let bytes = part.observations.len()
            + part.marks.len() * (size_of::<Mark>() + size_of::<super::RecordMark>())
            + usize::try_from(part.poison.iter().map(Poison::bytes).sum::<u64>()).unwrap_or(usize::MAX / 2);
        let kib = u32::try_from(bytes / 1_024 + 1).unwrap_or(u32::MAX).min(PARTS_KIB);
        let permit: Option<OwnedSemaphorePermit> = tokio::select! {
            permit = Arc::clone(&self.budget).acquire_many_owned(kib) => permit.ok(),
            () = self.stop.cancelled() => return false,
        };
        part._in_flight = permit;
        self.out.send(part).is_ok()
    }
}

/// A thread at one object.
struct ObjectVisitor {
    decoder: Arc<Decoder>,
    now: EventTime,
    errand: PartErrand,
    object: ObjectName,
    unsent: Unsent,
    damage: Damage,
}

impl ObjectVisitor {
    fn visit(
        mut self,
        reader: ObjectReader,
        stop: CancellationToken,
    ) -> (FileReport, Result<Damage, ObjectFailure>, Unsent) {
        let mut input = Stoppable { reader, stop };
        let report = visit_records(&mut input, &LIMITS, &mut self);
        let outcome = match input.reader.take_failure() {
            Some(failure) => Err(failure),
            None => Ok(self.damage),
        };
        (report, outcome, self.unsent)
    }

    fn outcome(&mut self, outcome: Outcome<'_>) {
        let Unsent { part, bad: records } = &mut self.unsent;
        match outcome {
            Outcome::Other => part.tally.read += 1,
            Outcome::Pipe(record) => part.add_pipe(record),
            Outcome::Kms(record) => {
                if let Some(bad) = part.add_kms(record) {
                    let hold = Hold { future_seconds: self.errand.hold_seconds, waited_seconds: 0 };
                    let (object, now, source) = (&self.object, self.now, &part.source);
                    let bytes = record.excerpt.len();
                    records.add(|| bad_record(bad, record.excerpt, object, source, now, hold), bytes);
                }
            }
            Outcome::Direct(observation) => part.add_direct(observation),
            Outcome::Control(_) => {}
            Outcome::Announced(announced) => {
                self.damage.add(|| format!("announces {}, which is not followed", name_of(&announced)));
            }
            Outcome::Bad(bad) => {
                part.count_bad(&bad);
                self.errand.stats.bad_records.add(1);
                let hold = Hold { future_seconds: self.errand.hold_seconds, waited_seconds: 0 };
                let (object, now, source) = (&self.object, self.now, &part.source);
                let message = || bad_record(FirstBad::of(&bad), bad.excerpt, object, source, now, hold);
                records.add(message, bad.excerpt.len());
            }
        }
    }

    /// Hands over what is enough for a part.
    fn hand_over_if_full(&mut self) {
        let part = &self.unsent.part;
        let entries = part.marks.len().max(part.unknowns.len()).max(part.pipe.len());
        if entries < PART_OBSERVATIONS && part.observations.len() < PART_BYTES {
            return;
        }
        let next = Decoded::new(Arc::clone(&part.source), Arc::clone(&part.acks));
        let full = std::mem::replace(&mut self.unsent.part, next);
        // At the stop it is dropped: the message comes again.
        Handle::current().block_on(self.errand.hand_over(full));
    }
}

fn bad_record(
    bad: FirstBad,
    record: &[u8],
    object: &ObjectName,
    source: &str,
    now: EventTime,
    hold: Hold,
) -> Quarantined {
    let mut message = bad.into_message(record, source, now, hold);
    message.detail = format!("{}; a record in {object}", message.detail);
    message
}

impl Visit for ObjectVisitor {
    fn piece(&mut self, piece: Piece<'_>) {
        match piece {
            Piece::Document { bytes, .. } => {
                let decoder = Arc::clone(&self.decoder);
                decoder.decode(bytes, self.now, &mut |outcome| self.outcome(outcome));
                self.hand_over_if_full();
            }
            // An object without a single record hides none.
            Piece::Problem { problem: Problem::Empty, .. } => {}
            Piece::Problem { offset, problem } => {
                let is_a_piece =
                    matches!(problem, Problem::Malformed | Problem::TooLarge(_) | Problem::Truncated);
                self.unsent.part.tally.malformed += u64::from(is_a_piece);
                self.damage.add(|| format!("{problem}, at byte {offset} of its text"));
            }
        }
    }

    fn take_leading(&mut self, text: &[u8], _offset: u64) -> usize {
        let decoder = Arc::clone(&self.decoder);
        let taken = decoder.decode_leading(text, self.now, &mut |outcome| self.outcome(outcome));
        self.hand_over_if_full();
        taken
    }
}

/// Fails at the stop.
struct Stoppable {
    reader: ObjectReader,
    stop: CancellationToken,
}

impl Read for Stoppable {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_cancelled() {
            return Err(io::Error::other("this instance stops"));
        }
        self.reader.read(out)
    }
}
