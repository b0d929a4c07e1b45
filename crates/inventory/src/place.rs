//! One Region of one account: its lists, and what is due in it.
//!
//! The lists come first. They are taken whole or not at all: a page that fails leaves what was known. Then the keys with
//! a reason are described, several at a time, and what is said goes to the journal while it comes in, so that a pass
//! that is interrupted has done what it has done.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use dormouse_aws::{ErrorClass, Failure};
use dormouse_ledger::{AliasName, AliasWrites, KeyState, Rank, Registers};
use dormouse_model::{
    AccountAnswer, AccountSaid, AliasSaid, Answer, EventTime, KeyArn, LifecycleState, Place, PlaceAnswer,
    PlaceSaid,
};
use dormouse_pipeline::control::Stopped;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::calls::Asker;
use crate::cloud::{Access, Cloud, Kms, ListedAlias, Page};
use crate::describe::{Found, Outcome, describe};
use crate::due::{self, Why};
use crate::failures::{Miss, Subject};
use crate::house::House;
use crate::journal::Journal;
use crate::operation::Operation;
use crate::pass::Pass;
use crate::report::KeyCounts;

/// KMS's largest page of keys.
pub(crate) const MOST_KEYS_A_PAGE: u16 = 1_000;
/// A list of so many pages is not believed: it would have a million keys.
const MOST_PAGES: usize = 10_000;
/// Answers are handed over together.
const BATCH: usize = 500;
/// After so many keys in a row that were not answered the place is left to the next pass.
const MOST_UNANSWERED: u32 = 5;
/// A key that an event spoke of within so many seconds may not be in KMS's lists yet.
const YOUNG: u32 = 900;
/// KMS's bound for the name of an alias.
const LONGEST_ALIAS: usize = 256;

/// What is to be read.
pub(crate) struct PlaceWork {
    pub(crate) place: Place,
    pub(crate) access: Access,
    /// The keys that were known before the pass began.
    pub(crate) known: Vec<KeyArn>,
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlaceEnd {
    Done,
    NotEnabled,
    /// The lists are there, and something else is not.
    Incomplete,
    /// The lists are not there.
    Failed,
}

/// What came of it.
pub(crate) struct PlaceResult {
    pub(crate) end: PlaceEnd,
    pub(crate) keys: KeyCounts,
    /// Keys that stay due.
    pub(crate) due: u64,
    /// Nothing was heard of the Region.
    pub(crate) silent: bool,
}

/// Reads a place.
pub(crate) async fn reconcile<C: Cloud, J: Journal>(
    house: &Arc<House<C, J>>,
    work: PlaceWork,
    pass: &Arc<Pass>,
    patience: u32,
) -> Result<PlaceResult, Stopped> {
    let mut asker = Asker::new(&house.calls, &pass.tally, Some(work.place), &pass.halt);
    asker.patience = asker.patience.min(patience);
    let kms = Arc::new(house.cloud.kms(work.place, work.access));
    let reader = house.reader(work.place.account).into();
    let visit = Visit {
        house,
        pass,
        place: work.place,
        access: work.access,
        known: work.known.into_iter().collect(),
        asker,
        kms,
        reader,
        answers: Vec::new(),
        keys: KeyCounts::default(),
        heard: Vec::new(),
        answered: Vec::new(),
        silent: false,
        failed: false,
    };
    visit.run().await
}

/// How an operation on keys went in a place.
struct Heard {
    operation: Operation,
    answered: bool,
    refused: Option<Miss>,
}

struct Visit<'a, C: Cloud, J: Journal> {
    house: &'a Arc<House<C, J>>,
    pass: &'a Arc<Pass>,
    place: Place,
    access: Access,
    known: HashSet<KeyArn>,
    asker: Asker,
    kms: Arc<C::Kms>,
    reader: Arc<str>,
    answers: Vec<Answer>,
    keys: KeyCounts,
    /// The operations on keys that were called.
    heard: Vec<Heard>,
    /// The operations on keys that were answered at least once.
    answered: Vec<Operation>,
    silent: bool,
    failed: bool,
}

impl<C: Cloud, J: Journal> Visit<'_, C, J> {
    async fn run(mut self) -> Result<PlaceResult, Stopped> {
        if let Err(miss) = self.enter().await {
            self.fail(&miss);
            return self.end(PlaceEnd::Failed, 0).await;
        }
        let listed = match self.list_keys().await {
            Ok(listed) => Some(listed),
            Err(miss) if self.house.means_not_enabled(self.place, &miss) => {
                self.say(miss.at, PlaceSaid::NotEnabled);
                return self.end(PlaceEnd::NotEnabled, 0).await;
            }
            Err(miss) => {
                self.fail(&miss);
                if miss.is_unreachable() || miss.is_about_role() || self.pass.halt.is_cancelled() {
                    self.silent = miss.is_unreachable();
                    return self.end(PlaceEnd::Failed, 0).await;
                }
                None
            }
        };
        self.house.heard(self.place.region);
        if let Some(listed) = &listed
            && let Err(miss) = self.list_aliases(listed).await
        {
            self.fail(&miss);
        }
        let queue = self.due(listed.as_ref());
        let left = self.describe_all(queue).await?;
        self.note_refusals();
        let end = match listed {
            None => PlaceEnd::Failed,
            Some(_) if self.failed || left > 0 || self.keys.unanswered > 0 => PlaceEnd::Incomplete,
            Some(_) => PlaceEnd::Done,
        };
        if end == PlaceEnd::Done && !self.has_standing_trouble() {
            self.say(self.house.now(), PlaceSaid::PassDone);
        }
        let unanswered = self.keys.unanswered;
        self.end(end, left + unanswered).await
    }

    fn say(&mut self, asked_at: EventTime, said: PlaceSaid) {
        self.answers.push(Answer::Place(PlaceAnswer { place: self.place, asked_at, said }));
    }

    /// A failure is journaled once a pass; that of a role once a pass for all the account's Regions.
    fn fail(&mut self, miss: &Miss) {
        self.failed = true;
        if miss.is_about_role() && !self.pass.is_first_denial(self.place.account) {
            return;
        }
        let (subject, answer) = self.house.failed(self.place, miss);
        // So that nothing between the passes says the same again.
        self.house.log.is_news(subject, miss, self.house.options.interval);
        self.pass.note_failure(&answer);
        self.answers.push(answer);
    }

    async fn enter(&mut self) -> Result<(), Miss> {
        let (account, at) = (self.place.account, self.house.now());
        if let Err(failure) = self.house.cloud.enter(account, self.access).await {
            return Err(Miss { at, failure });
        }
        if self.access == Access::Role && self.pass.is_first_entry(account) {
            self.house.log.forget(Subject::Account(account), "AssumeRole");
            let said = AccountSaid::Assumed;
            self.answers.push(Answer::Account(AccountAnswer { account, asked_at: at, said }));
        }
        Ok(())
    }

    /// The whole list of keys; its first page is a heartbeat, too.
    async fn list_keys(&mut self) -> Result<HashSet<KeyArn>, Miss> {
        let mut listed = HashSet::new();
        let mut from: Option<String> = None;
        let mut first = None;
        for _ in 0..MOST_PAGES {
            let ask = || self.kms.list_keys(MOST_KEYS_A_PAGE, from.as_deref());
            let asked = match self.asker.ask(Operation::ListKeys, ask).await {
                Ok(asked) => asked,
                Err(miss) => {
                    self.house.note_beat(self.place, false);
                    return Err(miss);
                }
            };
            self.house.note_beat(self.place, true);
            if first.is_none() {
                // One page proves as much as all of them.
                self.answers.extend(House::<C, J>::beat(self.place, &asked));
            }
            let asked_at = *first.get_or_insert(asked.at);
            let Page { items, next } = asked.said;
            listed.extend(items);
            match next {
                Some(next) if from.as_ref() != Some(&next) => from = Some(next),
                Some(_) => break,
                None => {
                    self.house.works(self.place, Operation::ListKeys);
                    self.keys.listed = count(listed.len());
                    let total = u32::try_from(listed.len()).unwrap_or(u32::MAX);
                    self.say(asked_at, PlaceSaid::Keys { total });
                    return Ok(listed);
                }
            }
        }
        Err(self.endless(Operation::ListKeys))
    }

    /// The whole list of aliases, of which what differs from what is known is told.
    async fn list_aliases(&mut self, listed: &HashSet<KeyArn>) -> Result<(), Miss> {
        let mut aliases: Vec<ListedAlias> = Vec::new();
        let mut from: Option<String> = None;
        let mut first = None;
        for _ in 0..MOST_PAGES {
            let ask = || self.kms.list_aliases(from.as_deref());
            let asked = self.asker.ask(Operation::ListAliases, ask).await?;
            let asked_at = *first.get_or_insert(asked.at);
            let Page { items, next } = asked.said;
            aliases.extend(items);
            match next {
                Some(next) if from.as_ref() != Some(&next) => from = Some(next),
                Some(_) => break,
                None => {
                    self.house.works(self.place, Operation::ListAliases);
                    let said = self.compare_aliases(&aliases, asked_at, listed);
                    self.say(asked_at, said);
                    return Ok(());
                }
            }
        }
        Err(self.endless(Operation::ListAliases))
    }

    fn endless(&self, operation: Operation) -> Miss {
        let failure = Failure::transient(operation.action(), "the list does not end");
        Miss { at: self.house.now(), failure }
    }

    fn compare_aliases(
        &self,
        aliases: &[ListedAlias],
        asked_at: EventTime,
        listed: &HashSet<KeyArn>,
    ) -> PlaceSaid {
        let ledger = self.house.journal.ledger();
        let mut names: HashSet<&str> = HashSet::with_capacity(aliases.len());
        let mut set = Vec::new();
        for alias in aliases {
            // AWS lists the names that it has reserved for keys to come, too.
            let Some(key) = alias.target else { continue };
            if alias.name.len() > LONGEST_ALIAS || !names.insert(&alias.name) {
                continue;
            }
            let name: AliasName = (self.place.account, self.place.region, alias.name.clone());
            let writes = ledger.aliases().writes(&name);
            let known = writes.as_ref().map(AliasWrites::latest);
            // It may have moved away and back again unseen: only KMS's date tells. Without one it is told every time, so
            // that no list confirms what it does not know.
            let is_known = known.is_some_and(|known| {
                *known.value() == Some(key) && alias.since.is_some_and(|since| since <= known.at())
            });
            if is_known {
                continue;
            }
            let since = alias.since.unwrap_or(asked_at);
            // Somebody wrote something else later than KMS says that it did: then it is so now, at the latest.
            let since = if known.is_some_and(|known| known.at() >= since) { asked_at } else { since };
            set.push(AliasSaid { name: alias.name.clone(), key, since });
        }
        let mut gone: Vec<Box<str>> = Vec::new();
        let mut look_for_gone = |key: &KeyArn| {
            let pointing = ledger.with(*key, |state| {
                state.registers().and_then(|registers| ledger.aliases().of_key(*key, registers))
            });
            for name in pointing.flatten().unwrap_or_default() {
                if !names.contains(name.as_str()) {
                    gone.push(name.into());
                }
            }
        };
        self.known.iter().for_each(&mut look_for_gone);
        listed.iter().filter(|key| !self.known.contains(key)).for_each(&mut look_for_gone);
        gone.sort_unstable();
        gone.dedup();
        PlaceSaid::Aliases { total: u32::try_from(names.len()).unwrap_or(u32::MAX), set, gone }
    }

    /// Which keys are described, the most urgent first.
    fn due(&self, listed: Option<&HashSet<KeyArn>>) -> VecDeque<(KeyArn, Why)> {
        let now = self.house.now();
        let every = u32::try_from(self.house.options.redescribe_every.as_secs()).unwrap_or(u32::MAX);
        let ledger = self.house.journal.ledger();
        let mut due = Vec::new();
        let is_listed = |key: &KeyArn| listed.is_none_or(|listed| listed.contains(key));
        // A replica that was deleted and made again has the name that it had.
        let is_back = |key: KeyArn, state: &KeyState<Rank>| {
            let state = state.registers().and_then(Registers::state);
            key.is_multi_region() && listed.is_some() && state == Some(LifecycleState::Deleted)
        };
        for &key in &self.known {
            let why = if is_listed(&key) && ledger.with(key, |state| is_back(key, state)) == Some(true) {
                Some(Why::Changed)
            } else if is_listed(&key) {
                ledger.with(key, |state| due::why(key, state, now, every)).flatten()
            } else {
                ledger.with(key, |state| is_missing(state, now)).unwrap_or(false).then_some(Why::Missing)
            };
            due.extend(why.map(|why| (key, why)));
        }
        for &key in listed.into_iter().flatten().filter(|key| !self.known.contains(key)) {
            let why = match ledger.with(key, |state| due::why(key, state, now, every)) {
                Some(why) => why,
                None if self.house.is_refused(key, now) => None,
                None => Some(Why::New),
            };
            due.extend(why.map(|why| (key, why)));
        }
        due.sort_by_key(|&(key, why)| (why, due::hash_of(key)));
        due.into()
    }

    /// Describes keys, and returns how many were not come to.
    async fn describe_all(&mut self, queue: VecDeque<(KeyArn, Why)>) -> Result<u64, Stopped> {
        if queue.is_empty() {
            return Ok(0);
        }
        let workers = self.house.options.requests_at_once.clamp(1, queue.len());
        let queue = Arc::new(Mutex::new(queue));
        let (sender, mut found) = mpsc::channel(workers * 2);
        let mut tasks = JoinSet::new();
        for _ in 0..workers {
            let worker = Worker {
                queue: Arc::clone(&queue),
                asker: self.asker.clone(),
                kms: Arc::clone(&self.kms),
                reader: Arc::clone(&self.reader),
                found: sender.clone(),
            };
            tasks.spawn(worker.run());
        }
        drop(sender);
        let mut in_a_row = 0;
        while let Some(found) = found.recv().await {
            in_a_row = if found.outcome == Outcome::Unanswered { in_a_row + 1 } else { 0 };
            self.take(found);
            if in_a_row == MOST_UNANSWERED {
                break;
            }
            if self.answers.len() >= BATCH {
                self.flush().await?;
            }
        }
        // Dropping the rest ends the workers: nothing that they ask for any more is taken.
        tasks.shutdown().await;
        found.close();
        while let Some(found) = found.recv().await {
            self.take(found);
        }
        let left = queue.lock().unwrap_or_else(PoisonError::into_inner).len();
        Ok(count(left))
    }

    fn take(&mut self, found: Found) {
        match (found.outcome, found.why) {
            (Outcome::Described, Why::New) => self.keys.new += 1,
            (Outcome::Described, Why::Changed | Why::Missing) => self.keys.changed += 1,
            (Outcome::Described, Why::Incomplete | Why::Turn) => self.keys.redescribed += 1,
            (Outcome::Gone, _) => self.keys.gone += 1,
            (Outcome::Refused, _) => {
                self.keys.refused += 1;
                self.house.note_refused(found.key, self.house.now());
            }
            (Outcome::Unanswered, _) => self.keys.unanswered += 1,
        }
        for (operation, refused) in found.calls {
            let miss = found.miss.as_ref().filter(|miss| refused && miss.operation() == operation.name());
            let miss = miss.cloned();
            if !self.heard.iter().any(|heard| heard.operation == operation) {
                self.heard.push(Heard { operation, answered: false, refused: None });
            }
            for heard in self.heard.iter_mut().filter(|heard| heard.operation == operation) {
                heard.answered |= !refused;
                heard.refused = heard.refused.take().or(miss.clone());
            }
        }
        if let Some(miss) = found.miss.as_ref().filter(|miss| miss.failure.class.is_passing()) {
            let (_, answer) = self.house.failed(self.place, miss);
            self.pass.note_failure(&answer);
        }
        self.answers.extend(found.answers);
    }

    /// An operation that is refused for every key lacks a permission: that is said of the place.
    fn note_refusals(&mut self) {
        for heard in std::mem::take(&mut self.heard) {
            match heard.refused {
                Some(miss) if !heard.answered => self.fail(&miss),
                _ if heard.answered => self.answered.push(heard.operation),
                _ => {}
            }
        }
    }

    /// Something was refused for every key it was asked for, and nobody asked again since: it is not over.
    fn has_standing_trouble(&self) -> bool {
        let of_keys = [
            Operation::DescribeKey,
            Operation::ListResourceTags,
            Operation::ListGrants,
            Operation::GetKeyRotationStatus,
        ];
        self.house.journal.look(|inventory| {
            let Some(known) = inventory.place(self.place) else { return false };
            of_keys.iter().any(|operation| {
                let trouble = known.troubles.get(operation.name());
                trouble.is_some_and(|trouble| &*trouble.last.class == ErrorClass::Denied.name())
                    && !self.answered.contains(operation)
            })
        })
    }

    async fn flush(&mut self) -> Result<(), Stopped> {
        let mut answers = std::mem::take(&mut self.answers);
        if self.pass.is_denied(self.place.account) {
            // Another Region of the account, read beside this one, found the credentials of old times no longer good.
            let is_assumed = |answer: &Answer| {
                matches!(answer, Answer::Account(AccountAnswer { said: AccountSaid::Assumed, .. }))
            };
            answers.retain(|answer| !is_assumed(answer));
        }
        self.pass.note_answers(answers.len());
        self.house.submit(answers).await
    }

    async fn end(mut self, end: PlaceEnd, due: u64) -> Result<PlaceResult, Stopped> {
        self.flush().await?;
        Ok(PlaceResult { end, keys: self.keys, due, silent: self.silent })
    }
}

/// Whether a key that is not listed may be gone: it is not known to be, and nothing was heard of it so lately that a list
/// may lack it.
fn is_missing(state: &KeyState<Rank>, now: EventTime) -> bool {
    let is_young = |at: Option<EventTime>| at.is_some_and(|at| at.plus(YOUNG) > now);
    let registers = state.registers();
    let is_deleted = registers.and_then(Registers::state) == Some(LifecycleState::Deleted);
    let created = registers.and_then(Registers::created);
    !is_deleted && !is_young(created) && !is_young(state.last_used())
}

fn count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Describes keys until there are no more.
struct Worker<K> {
    queue: Arc<Mutex<VecDeque<(KeyArn, Why)>>>,
    asker: Asker,
    kms: Arc<K>,
    reader: Arc<str>,
    found: mpsc::Sender<Found>,
}

impl<K: Kms> Worker<K> {
    async fn run(self) {
        while !self.asker.halt.is_cancelled() {
            let next = self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some((key, why)) = next else { return };
            let found = describe(&self.asker, &*self.kms, key, why, &self.reader).await;
            if self.found.send(found).await.is_err() {
                return;
            }
        }
    }
}
