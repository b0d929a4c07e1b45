//! What is known of accounts and Regions: what was received, and what history proves.

use std::collections::BTreeMap;

use dormouse_ledger::coverage::{PlaceCoverage, SourceCoverage, with, without};
use dormouse_ledger::{
    AccountInventory, Coverage, Days, Declared, Gap, Inventory, PipeChange, PlaceInventory, Seen, Span,
    Trouble,
};
use dormouse_model::{AccountId, DeadLetters, EventTime, Failure, Place, Region};
use serde::{Deserialize, Serialize};

use super::CoverageDocument;

/// All accounts that anything is known of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountsDocument {
    /// The accounts, by id.
    pub accounts: Vec<AccountDocument>,
    /// The sources that ever ran on this store, by name.
    pub sources: Vec<SourceReceivedDocument>,
}

impl AccountsDocument {
    /// Leaves out all but these accounts and Regions; an empty list leaves all.
    pub fn retain(&mut self, accounts: &[AccountId], regions: &[Region]) {
        for account in &mut self.accounts {
            account.regions.retain(|known| regions.is_empty() || regions.contains(&known.region));
        }
        let is_asked = |account: AccountId| accounts.is_empty() || accounts.contains(&account);
        let is_left = |known: &AccountDocument| regions.is_empty() || !known.regions.is_empty();
        self.accounts.retain(|known| is_asked(known.account) && is_left(known));
    }
}

/// One account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountDocument {
    /// Its id.
    pub account: AccountId,
    /// What is known of it by asking AWS; null if nobody asked.
    pub inventory: Option<AccountInventory>,
    /// Its Regions, by name.
    pub regions: Vec<RegionDocument>,
}

/// One Region of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionDocument {
    /// Its name.
    pub region: Region,
    /// What KMS listed there, when, and what failed; null if nobody asked.
    pub inventory: Option<PlaceInventory>,
    /// Why what is known of its keys is of an earlier time, and perhaps no longer so; null if it is current.
    pub stale: Option<String>,
    /// What arrived from it, by source.
    pub received: Vec<ReceivedDocument>,
    /// What can be claimed about it.
    pub coverage: CoverageDocument,
    /// What was read of its history.
    pub history: HistoryDocument,
    /// The latest changes of what delivers its events: trails and rules.
    pub pipe_changes: Vec<PipeChange>,
}

/// What arrived through one source. Received is not proven: whether everything was put into the source is another matter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivedDocument {
    /// The source's name.
    pub source: String,
    /// The time of the earliest event that arrived.
    pub first_event: EventTime,
    /// The time of the latest event that arrived.
    pub last_event: EventTime,
    /// Records of KMS that arrived.
    pub records: u64,
    /// The spans in which everything that reached the source was taken.
    pub spans: Vec<Span>,
    /// What lies between them, and why.
    pub holes: Vec<Gap>,
}

/// What was read of the history of one Region of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryDocument {
    /// The days that were read, as ranges.
    pub days: Vec<DaysDocument>,
    /// Those of which some part is missing.
    pub incomplete_days: Vec<DaysDocument>,
    /// The spans in which a use would have been seen, and by whose word.
    pub covered: Vec<CoveredDocument>,
    /// Why other parts of the days that were read are not proven.
    pub gaps: Vec<Gap>,
}

/// A range of UTC days.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaysDocument {
    /// The first, `YYYY-MM-DD`.
    pub from: String,
    /// The last.
    pub to: String,
}

/// A span in which a use would have been seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoveredDocument {
    /// Its first second.
    pub from: EventTime,
    /// The first second behind it.
    pub until: EventTime,
    /// `heartbeats`: calls of ours came back as events. `digests`: the trail's digest files show that no log file is
    /// missing. `declared`: the configuration says so.
    pub by: String,
}

/// What a source said of its completeness.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceReceivedDocument {
    /// Its name.
    pub source: String,
    /// When it first ran.
    pub since: EventTime,
    /// Everything that reached it before was taken, but for the holes; null while nobody can say.
    pub until: Option<EventTime>,
    /// For how many seconds its service keeps what nobody takes; null if it cannot be read.
    pub retention_seconds: Option<u64>,
    /// How many messages its dead-letter queue held when it was last looked at; null if there is none, or if it cannot be
    /// read.
    pub dead_letters: Option<u64>,
    /// Where something may have been lost, and why.
    pub holes: Vec<Gap>,
}

/// What is known, as a document.
pub(super) fn accounts(
    coverage: &Coverage,
    inventory: &Inventory,
    declared: &[Declared],
    now: EventTime,
) -> AccountsDocument {
    let mut places: BTreeMap<Place, &PlaceCoverage> = coverage.places().collect();
    // What is declared concerns places of which nothing has come, too, if it names them.
    let nothing = PlaceCoverage::default();
    for declared in declared {
        for &account in &declared.accounts {
            for &region in &declared.regions {
                places.entry(Place { account, region }).or_insert(&nothing);
            }
        }
    }
    for (place, _) in inventory.places() {
        places.entry(place).or_insert(&nothing);
    }
    let document = |account| AccountDocument {
        account,
        inventory: inventory.account(account).cloned(),
        regions: Vec::new(),
    };
    // An account of which no Region could be read is shown all the same.
    let mut accounts: BTreeMap<AccountId, AccountDocument> =
        inventory.accounts().map(|(account, _)| (account, document(account))).collect();
    for (place, known) in places {
        let region = RegionDocument {
            region: place.region,
            inventory: inventory.place(place).cloned(),
            stale: stale(inventory.account(place.account), inventory.place(place)),
            received: received(coverage, known),
            coverage: super::coverage::coverage(coverage, place, declared, now),
            history: history(place, known, declared),
            pipe_changes: known.pipe.clone(),
        };
        accounts.entry(place.account).or_insert_with(|| document(place.account)).regions.push(region);
    }
    AccountsDocument {
        accounts: accounts.into_values().collect(),
        sources: coverage.sources().map(source).collect(),
    }
}

/// What must be answered so that what is known is current.
const STALE: [&str; 3] = ["ListKeys", "ListAliases", "DescribeKey"];

/// Why what is known of the keys of a place is of an earlier time.
fn stale(account: Option<&AccountInventory>, place: Option<&PlaceInventory>) -> Option<String> {
    let account = account?;
    if let Some(left) = account.left {
        return Some(format!("the account is no longer watched since {left}"));
    }
    if let Some(state) = account.state.as_deref().filter(|state| *state != "ACTIVE") {
        return Some(format!("the account is {state} and not read"));
    }
    let in_words = |trouble: &Trouble| {
        let Failure { operation, class, .. } = &trouble.last;
        format!("{operation} fails since {} ({class})", trouble.since)
    };
    if let Some(trouble) = &account.trouble {
        return Some(in_words(trouble));
    }
    match place {
        Some(place) if place.not_enabled.is_some() => {
            let keys = place.keys;
            (keys > 0)
                .then(|| format!("KMS says that the Region is not enabled; {keys} keys were there before"))
        }
        Some(place) => match STALE.iter().find_map(|operation| place.troubles.get(*operation)) {
            Some(trouble) => Some(in_words(trouble)),
            None if place.listed_at.is_none() => Some("its keys were not listed yet".to_owned()),
            None => None,
        },
        None => Some("its keys were not listed yet".to_owned()),
    }
}

fn received(coverage: &Coverage, known: &PlaceCoverage) -> Vec<ReceivedDocument> {
    let document = |(source, seen): (&str, Seen)| {
        let received = coverage.received(source, seen);
        ReceivedDocument {
            source: source.to_owned(),
            first_event: seen.first,
            last_event: seen.last,
            records: seen.records,
            spans: received.spans,
            holes: received.holes,
        }
    };
    known.received.iter().map(|(source, &seen)| document((source, seen))).collect()
}

fn history(place: Place, known: &PlaceCoverage, declared: &[Declared]) -> HistoryDocument {
    let document =
        |span: &Span, by: &str| CoveredDocument { from: span.from, until: span.until, by: by.into() };
    let mut covered: Vec<CoveredDocument> =
        known.covered.iter().map(|span| document(span, "digests")).collect();
    let mut said = Vec::new();
    for declared in declared.iter().filter(|declared| declared.concerns(place)) {
        said = with(said, declared.span);
    }
    // What is proven needs nobody's word.
    for span in &known.covered {
        said = without(&said, *span);
    }
    covered.extend(said.iter().map(|span| document(span, "declared")));
    covered.sort_by_key(|span| span.from);
    HistoryDocument {
        days: days(&known.finished),
        incomplete_days: days(&known.incomplete),
        covered,
        gaps: known.gaps.clone(),
    }
}

fn days(days: &Days) -> Vec<DaysDocument> {
    let document = |&(from, to): &(u32, u32)| DaysDocument { from: date(from), to: date(to) };
    days.ranges().iter().map(document).collect()
}

fn source((name, known): (&str, &SourceCoverage)) -> SourceReceivedDocument {
    SourceReceivedDocument {
        source: name.to_owned(),
        since: known.since,
        until: known.until,
        retention_seconds: known.last.retention_seconds,
        dead_letters: match known.last.dead_letters {
            DeadLetters::Messages(messages) => Some(messages),
            DeadLetters::None | DeadLetters::Unreadable => None,
        },
        holes: known.holes.clone(),
    }
}

/// `YYYY-MM-DD` of a day since 1970.
pub(super) fn date(day: u32) -> String {
    let midnight = EventTime::from_seconds(day.saturating_mul(86_400));
    midnight.to_string().chars().take(10).collect()
}
