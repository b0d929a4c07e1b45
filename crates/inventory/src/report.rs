//! What a pass did, for people and programs.

use std::collections::BTreeMap;

use dormouse_model::{AccountId, EventTime, Failure, Region};
use serde::{Deserialize, Serialize};

/// What is to be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scope {
    /// Only these accounts; all if empty.
    pub accounts: Vec<AccountId>,
    /// Only these Regions; all if empty.
    pub regions: Vec<Region>,
}

impl Scope {
    /// Whether it is everything.
    pub fn is_all(&self) -> bool {
        self.accounts.is_empty() && self.regions.is_empty()
    }

    pub(crate) fn has_account(&self, account: AccountId) -> bool {
        self.accounts.is_empty() || self.accounts.contains(&account)
    }

    pub(crate) fn has_region(&self, region: Region) -> bool {
        self.regions.is_empty() || self.regions.contains(&region)
    }

    /// What holds both.
    pub(crate) fn or(self, other: Self) -> Self {
        let merge_accounts = |mut a: Vec<AccountId>, b: Vec<AccountId>| {
            if a.is_empty() || b.is_empty() {
                return Vec::new();
            }
            a.extend(b);
            a.sort_unstable();
            a.dedup();
            a
        };
        let merge_regions = |mut a: Vec<Region>, b: Vec<Region>| {
            if a.is_empty() || b.is_empty() {
                return Vec::new();
            }
            a.extend(b);
            a.sort_unstable_by_key(|region| region.name());
            a.dedup();
            a
        };
        Self {
            accounts: merge_accounts(self.accounts, other.accounts),
            regions: merge_regions(self.regions, other.regions),
        }
    }
}

/// How a pass ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PassOutcome {
    /// Everything that was due is answered.
    Done,
    /// Some of it is not; `failures` and `places` say what.
    Incomplete,
    /// It could not even begin: nobody knows which accounts there are.
    Failed,
    /// It was interrupted by a stop.
    Stopped,
}

impl PassOutcome {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Done, Self::Incomplete, Self::Failed, Self::Stopped];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Incomplete => "incomplete",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// Accounts of a pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountCounts {
    /// To be watched.
    pub listed: u64,
    /// Of those, not active, e.g. suspended: they are not read.
    pub inactive: u64,
    /// New in the list.
    pub joined: u64,
    /// No longer in it.
    pub left: u64,
    /// The role could not be assumed.
    pub denied: u64,
}

/// Accounts' Regions of a pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceCounts {
    /// To be read.
    pub total: u64,
    /// Read, with everything that was due answered.
    pub done: u64,
    /// Not enabled in the account.
    pub not_enabled: u64,
    /// Read, but not everything was answered.
    pub incomplete: u64,
    /// Not read: the lists failed.
    pub failed: u64,
    /// Not come to before the deadline.
    pub left: u64,
}

/// Keys of a pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyCounts {
    /// In complete lists.
    pub listed: u64,
    /// Described for the first time.
    pub new: u64,
    /// Described because events say that they changed, or contradict each other.
    pub changed: u64,
    /// No longer there.
    pub gone: u64,
    /// Described because it was their turn.
    pub redescribed: u64,
    /// AWS refuses to describe them to us.
    pub refused: u64,
    /// Not answered; they stay due.
    pub unanswered: u64,
}

impl KeyCounts {
    pub(crate) fn add(&mut self, other: &Self) {
        self.listed += other.listed;
        self.new += other.new;
        self.changed += other.changed;
        self.gone += other.gone;
        self.redescribed += other.redescribed;
        self.refused += other.refused;
        self.unanswered += other.unanswered;
    }
}

/// Something that failed in a pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassFailure {
    /// The account, if it concerns one.
    pub account: Option<AccountId>,
    /// The Region, if it concerns one.
    pub region: Option<Region>,
    /// What failed, and what to do.
    #[serde(flatten)]
    pub failure: Failure,
}

/// What a pass did, or has done so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PassReport {
    /// Passes are numbered from 1 at every start.
    pub number: u64,
    /// What was to be read.
    pub scope: Scope,
    /// When it began.
    pub started: EventTime,
    /// When it ended; absent while it runs.
    pub ended: Option<EventTime>,
    /// How long it took, or takes so far.
    pub seconds: f64,
    /// How it ended; absent while it runs.
    pub outcome: Option<PassOutcome>,
    /// Accounts.
    pub accounts: AccountCounts,
    /// Accounts' Regions.
    pub places: PlaceCounts,
    /// Keys.
    pub keys: KeyCounts,
    /// Requests by IAM action, those that failed included.
    pub requests: BTreeMap<String, u64>,
    /// Requests that were throttled.
    pub throttled: u64,
    /// Answers that were journaled.
    pub answers: u64,
    /// What failed; the first [`PassReport::MOST_FAILURES`].
    pub failures: Vec<PassFailure>,
    /// How many failures there were.
    pub failures_total: u64,
}

impl PassReport {
    /// So many failures are kept.
    pub const MOST_FAILURES: usize = 100;

    pub(crate) fn new(number: u64, scope: Scope, started: EventTime) -> Self {
        Self {
            number,
            scope,
            started,
            ended: None,
            seconds: 0.0,
            outcome: None,
            accounts: AccountCounts::default(),
            places: PlaceCounts::default(),
            keys: KeyCounts::default(),
            requests: BTreeMap::new(),
            throttled: 0,
            answers: 0,
            failures: Vec::new(),
            failures_total: 0,
        }
    }

    pub(crate) fn note_failure(&mut self, failure: PassFailure) {
        self.failures_total += 1;
        if self.failures.len() < Self::MOST_FAILURES {
            self.failures.push(failure);
        }
    }
}

/// What the reconciler is about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The pass that runs now.
    pub running: Option<PassReport>,
    /// The last one that ended.
    pub last: Option<PassReport>,
    /// The last one through everything that ended with nothing left unanswered.
    pub last_done: Option<EventTime>,
    /// When the next one begins, if nobody asks for one before.
    pub next: Option<EventTime>,
    /// Whether a pass was asked for that has not begun.
    pub asked: bool,
    /// Why nobody knows which accounts there are, or for how long the list is an old one.
    pub accounts_failed: Option<Failure>,
    /// How many keys KMS is due to be asked about for their last use.
    pub usage_due: u64,
}
