//! One cell while its records are read: what is counted of it, and what is kept as evidence.
//!
//! A day of a busy account has millions of records, and a trail delivers some of them twice. The builder decides for
//! each record what counts, just as the stream does, with a window of ids of its own; of the texts it keeps only what a
//! merge can ever need: per key the latest use and attempt, the first and last attempt that show that somebody needs
//! the key, and the changes.
//!
//! Its ceiling is the memory for ids: beyond the bound the oldest hours are forgotten. A record of a forgotten hour may
//! have been counted or not; then the cell is told not to be whole, and replaces nothing with less.

use std::collections::{BTreeMap, HashMap};

use dormouse_cloudtrail::KmsRecord;
use dormouse_ledger::{
    Activity, Copies, Counting, DayCounts, IdWindow, Identity, KeyHistory, Mark, Rank, Record, Trace, User,
    decide,
};
use dormouse_model::{AccountId, Cell, EventId, EventTime, KeyArn, Kind, Observation, Place, Region};
use foldhash::fast::RandomState;

/// So many ARNs that were only tried are counted one by one in a cell: a caller can invent them.
const MOST_TRIED_KEYS: usize = 100_000;
/// So many changes of one key are kept; KMS allows fewer a day in all but a test of endurance.
const MOST_CHANGES: usize = 4_096;

/// Takes the records of one cell.
#[derive(Debug)]
pub struct CellBuilder {
    cell: Cell,
    ids: IdWindow,
    keys: HashMap<KeyArn, KeyBuilder, RandomState>,
    tried_keys: usize,
    numbers: CellNumbers,
    marks: Vec<Mark>,
    decisions: Vec<Counting>,
}

/// What became of the records that a builder was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CellNumbers {
    /// Observations that were counted.
    pub counted: u64,
    /// Observations that had been counted before.
    pub duplicates: u64,
    /// Observations of an hour that was forgotten: nobody can say whether they were counted.
    pub late: u64,
    /// Attempts on ARNs for which there was no room.
    pub unattributed: u64,
    /// Changes for which there was no room. They are counted, and their evidence is lost.
    pub changes_dropped: u64,
}

/// What a builder came to.
#[derive(Debug)]
pub struct BuiltCell {
    /// Which cell.
    pub cell: Cell,
    /// What happened to each key, in the order of the keys' ARNs.
    pub keys: Vec<KeyHistory>,
    /// What has to be merged.
    pub evidence: KeptObservations,
    /// What became of the records.
    pub numbers: CellNumbers,
}

/// Observations that outlive the records that they were read from.
#[derive(Clone, Debug, Default)]
pub struct KeptObservations(Vec<Box<[u8]>>);

impl KeptObservations {
    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The observations, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = Observation<'_>> {
        self.0.iter().filter_map(|kept| postcard::from_bytes(kept).ok())
    }
}

impl CellBuilder {
    /// A builder that remembers at most so many ids.
    pub fn new(cell: Cell, most_ids: usize) -> Self {
        Self {
            cell,
            ids: IdWindow::new(most_ids),
            keys: HashMap::default(),
            tried_keys: 0,
            numbers: CellNumbers::default(),
            marks: Vec::new(),
            decisions: Vec::new(),
        }
    }

    /// Which cell it is.
    pub fn cell(&self) -> Cell {
        self.cell
    }

    /// Takes a record of this cell: it counts, unless it was taken before.
    pub fn count(&mut self, record: &KmsRecord<'_>) {
        if record.observations.is_empty() {
            return;
        }
        if record.recipient.is_some() && record.region.is_some() {
            self.count_all(&record.observations);
        } else {
            let placed: Vec<_> =
                record.observations.iter().map(|one| placed(one, record, self.cell.place)).collect();
            self.count_all(&placed);
        }
    }

    fn count_all(&mut self, observations: &[Observation<'_>]) {
        self.marks.clear();
        self.marks.extend(observations.iter().map(Mark::of));
        self.decisions.clear();
        let several = if observations.len() > 1 { Identity::of_record(observations) } else { None };
        let record = Record { marks: &self.marks, several, in_history: false };
        let (ids, decisions) = (&mut self.ids, &mut self.decisions);
        decide(
            record,
            |id, time, copies| ids.enter(id, time, copies),
            |_, counting, _: Copies| {
                decisions.push(counting);
            },
        );
        for (at, observation) in observations.iter().enumerate() {
            let counting = self.decisions.get(at).copied().unwrap_or(Counting::Late);
            self.take(observation, counting);
        }
    }

    /// Takes a record that another cell counts, or counted: it is evidence, and no more.
    pub fn witness(&mut self, record: &KmsRecord<'_>, folder: Place) {
        for observation in &record.observations {
            self.take(&placed(observation, record, folder), Counting::History);
        }
    }

    fn take(&mut self, observation: &Observation<'_>, counting: Counting) {
        match counting {
            Counting::Counted => self.numbers.counted += 1,
            Counting::Duplicate => self.numbers.duplicates += 1,
            Counting::Late => self.numbers.late += 1,
            Counting::StateOnly | Counting::History => {}
        }
        if !self.has_room_for(observation) {
            self.numbers.unattributed += u64::from(counting == Counting::Counted);
            return;
        }
        let key = self.keys.entry(observation.key).or_default();
        self.numbers.changes_dropped += key.take(observation, counting);
        if key.exists && std::mem::take(&mut key.was_tried) {
            self.tried_keys -= 1;
        }
    }

    /// Only a use or a change shows that a key exists.
    fn has_room_for(&mut self, observation: &Observation<'_>) -> bool {
        if observation.kind != Kind::Attempt || self.keys.contains_key(&observation.key) {
            return true;
        }
        if self.tried_keys >= MOST_TRIED_KEYS {
            return false;
        }
        self.tried_keys += 1;
        self.keys.insert(observation.key, KeyBuilder { was_tried: true, ..KeyBuilder::default() });
        true
    }

    /// What the records came to.
    pub fn finish(self) -> BuiltCell {
        let mut builders: Vec<_> = self.keys.into_iter().collect();
        builders.sort_by_cached_key(|(key, _)| key.to_string());
        let mut keys = Vec::with_capacity(builders.len());
        let mut evidence = Vec::new();
        for (key, builder) in builders {
            keys.extend(builder.finish(key, &mut evidence));
        }
        BuiltCell { cell: self.cell, keys, evidence: KeptObservations(evidence), numbers: self.numbers }
    }
}

/// The cell that a record of this folder belongs to: what the record does not say, the folder does.
pub(crate) fn cell_of(record: &KmsRecord<'_>, folder: Place) -> Cell {
    let (account, region) = place_of(record.recipient, record.region, folder);
    Cell { place: Place { account, region }, day: record.time.day() }
}

fn place_of(account: Option<AccountId>, region: Option<Region>, folder: Place) -> (AccountId, Region) {
    (account.unwrap_or(folder.account), region.unwrap_or(folder.region))
}

/// The observation as if its record had said where it was logged.
fn placed<'a>(observation: &Observation<'a>, record: &KmsRecord<'_>, folder: Place) -> Observation<'a> {
    let (account, region) = place_of(record.recipient, record.region, folder);
    let logged_region = (region != observation.key.region()).then_some(region);
    Observation { recipient: Some(account), logged_region, ..observation.clone() }
}

/// One key of the cell.
#[derive(Debug, Default)]
struct KeyBuilder {
    counts: DayCounts,
    from: Option<EventTime>,
    users: Activity,
    last_use: Option<Latest>,
    rare: Option<Box<RareEvidence>>,
    exists: bool,
    /// It takes one of the places for ARNs that were only tried, until it is seen to exist.
    was_tried: bool,
}

#[derive(Debug, Default)]
struct RareEvidence {
    last_attempt: Option<Latest>,
    first_wanted: Option<Kept>,
    last_wanted: Option<Kept>,
    changes: BTreeMap<(EventTime, EventId), Box<[u8]>>,
}

/// The latest of all, as it is encoded.
#[derive(Debug)]
struct Latest {
    rank: Rank,
    encoded: Vec<u8>,
}

/// One observation.
#[derive(Debug)]
struct Kept {
    time: EventTime,
    encoded: Vec<u8>,
}

impl KeyBuilder {
    /// How many changes were dropped.
    fn take(&mut self, observation: &Observation<'_>, counting: Counting) -> u64 {
        let counts = counting == Counting::Counted;
        if counts {
            let side = self.counts.side(observation.is_foreign_copy());
            side.add_one(observation.kind, observation.wanted);
            self.from = Some(self.from.map_or(observation.time, |from| from.min(observation.time)));
        }
        let is_of_this_cell = !matches!(counting, Counting::Duplicate | Counting::History);
        if observation.kind != Kind::Change && is_of_this_cell {
            self.users.note_user(observation, u64::from(counts));
        }
        if observation.wanted {
            self.rare().note_wanted(observation);
        }
        match observation.kind {
            Kind::Use => {
                self.exists = true;
                keep_latest(&mut self.last_use, observation);
                0
            }
            Kind::Attempt => {
                keep_latest(&mut self.rare().last_attempt, observation);
                0
            }
            Kind::Change => {
                self.exists = true;
                self.rare().note_change(observation)
            }
        }
    }

    fn rare(&mut self) -> &mut RareEvidence {
        self.rare.get_or_insert_default()
    }

    fn finish(self, key: KeyArn, evidence: &mut Vec<Box<[u8]>>) -> Option<KeyHistory> {
        let Self { counts, from, users, last_use, rare, .. } = self;
        let mut keep = |encoded: Vec<u8>| {
            if !encoded.is_empty() {
                evidence.push(encoded.into());
            }
        };
        if let Some(latest) = last_use {
            keep(latest.encoded);
        }
        if let Some(rare) = rare {
            let last_attempt = rare.last_attempt.map(|latest| latest.encoded);
            let wanted = [rare.first_wanted, rare.last_wanted].into_iter().flatten().map(|kept| kept.encoded);
            // One failure is often all three.
            let mut attempts: Vec<_> = last_attempt.into_iter().chain(wanted).collect();
            attempts.sort_unstable();
            attempts.dedup();
            attempts.into_iter().for_each(keep);
            evidence.extend(rare.changes.into_values());
        }
        let mut who: Vec<User> = users.users.into_values().collect();
        who.sort_unstable_by(|a, b| {
            let order = |user: &User| (user.stats.first, user.foreign);
            let texts = |user: &User| (user.principal.clone(), user.operation.clone(), user.service.clone());
            order(a).cmp(&order(b)).then_with(|| texts(a).cmp(&texts(b)))
        });
        let users_overflow = users.users_overflow;
        from.map(|from| KeyHistory { key, counts, from, users: who, users_overflow })
    }
}

impl RareEvidence {
    fn note_wanted(&mut self, observation: &Observation<'_>) {
        let time = observation.time;
        if self.first_wanted.as_ref().is_none_or(|first| time < first.time) {
            self.first_wanted = Some(Kept { time, encoded: encode(observation, Vec::new()) });
        }
        if self.last_wanted.as_ref().is_none_or(|last| time > last.time) {
            self.last_wanted = Some(Kept { time, encoded: encode(observation, Vec::new()) });
        }
    }

    fn note_change(&mut self, observation: &Observation<'_>) -> u64 {
        let id = (observation.time, EventId::from(observation.event_id));
        if self.changes.contains_key(&id) {
            return 0;
        }
        self.changes.insert(id, encode(observation, Vec::new()).into());
        if self.changes.len() <= MOST_CHANGES {
            return 0;
        }
        // Of registers the last writer wins.
        self.changes.pop_first();
        1
    }
}

fn keep_latest(known: &mut Option<Latest>, observation: &Observation<'_>) {
    match known {
        None => {
            *known = Some(Latest { rank: Rank::of(observation), encoded: encode(observation, Vec::new()) });
        }
        Some(known) if observation.time < known.rank.time => {}
        Some(known) => {
            let rank = Rank::of(observation);
            if rank > known.rank {
                known.rank = rank;
                known.encoded.clear();
                known.encoded = encode(observation, std::mem::take(&mut known.encoded));
            }
        }
    }
}

/// Cannot fail for want of room: what it is written to grows.
fn encode(observation: &Observation<'_>, out: Vec<u8>) -> Vec<u8> {
    postcard::to_extend(observation, out).unwrap_or_default()
}

#[cfg(test)]
mod tests;
