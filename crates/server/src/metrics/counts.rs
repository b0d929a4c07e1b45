//! Keys by account, Region, state and verdict, counted in the background.
//!
//! A scrape must not look at a million keys, so a task counts them now and then and scrapes read the last count. It
//! rests fifty times as long as it worked: counting takes two percent of one core at the most, however many keys there are.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dormouse_ledger::{KeyState, Order, Rank, Registers, VerdictKind};
use dormouse_model::{AccountId, LifecycleState, Region};
use dormouse_pipeline::LiveView;
use dormouse_pipeline::view::{AccountDocument, AccountsDocument, QuarantineDocument};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::definitions::{
    COUNT_AGE, COUNT_DURATION, Definition, KEYS, KEYS_BY_IDLE_AGE, QUARANTINE_BYTES, QUARANTINE_MESSAGES,
    RECEIVED, Row, number,
};
use super::places;

/// Series of [`KEYS`] at the most.
const MOST_SERIES: usize = 2_000;
/// Of these, so many are set aside for the accounts that find no room: states × verdicts.
const SERIES_OF_OTHERS: usize = 64;

/// Series of [`RECEIVED`] at the most, but for one a source that stands for all others.
const MOST_PLACES: usize = 1_000;

const IDLE_AGES: [(&str, u32); 6] =
    [("1d", 1), ("7d", 7), ("30d", 30), ("90d", 90), ("180d", 180), ("365d", 365)];

const SHORTEST_REST: Duration = Duration::from_secs(1);
const REST_FACTOR: u32 = 50;
/// Rows looked up in one go.
const CHUNK: usize = 1_024;

/// What keys are counted by; `None` is not known.
type Place = (AccountId, Region);
type Kind = (Option<LifecycleState>, VerdictKind);

/// One count.
struct Counted {
    keys: Vec<Row>,
    idle: Vec<Row>,
    received: Vec<Row>,
    places: Vec<(&'static Definition, Vec<Row>)>,
    quarantine: Option<QuarantineDocument>,
    at: Instant,
    took: Duration,
}

/// The last count, for scrapes.
#[derive(Clone)]
pub(crate) struct KeyCounts {
    latest: Arc<Mutex<Option<Counted>>>,
    descs: Arc<[Desc]>,
}

const DEFINITIONS: [&Definition; 7] = [
    &KEYS,
    &KEYS_BY_IDLE_AGE,
    &RECEIVED,
    &COUNT_AGE,
    &COUNT_DURATION,
    &QUARANTINE_MESSAGES,
    &QUARANTINE_BYTES,
];

impl KeyCounts {
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let definitions = DEFINITIONS.iter().chain(&places::DEFINITIONS);
        let descs: Result<_, _> = definitions.map(|definition| definition.desc()).collect();
        Ok(Self { latest: Arc::default(), descs: descs? })
    }

    /// Counts now and then until `stop`.
    pub(crate) async fn keep_counting(self, view: Arc<LiveView>, stop: CancellationToken) {
        loop {
            let begun = Instant::now();
            let (this, view) = (self.clone(), Arc::clone(&view));
            if let Err(panic) = tokio::task::spawn_blocking(move || this.count(&view)).await {
                tracing::error!("keys could not be counted: {panic}");
            }
            let rest = (begun.elapsed() * REST_FACTOR).max(SHORTEST_REST);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    /// Counts once. Looks at all keys, and asks the store for the quarantine's size.
    pub(crate) fn count(&self, view: &LiveView) {
        let begun = Instant::now();
        let order = view.ledger().by_last_use();
        let keys = rows(count_keys(view, &order));
        let idle = count_idle(view, &order);
        let known = view.accounts(&[]);
        let (received, places) = (received(&known), places::rows(&known, view.judge().now()));
        let quarantine = view.quarantine_size();
        if let Err(error) = &quarantine {
            tracing::warn!("the quarantine's size cannot be read: {error}");
        }
        let at = Instant::now();
        let took = at.duration_since(begun);
        let counted = Counted { keys, idle, received, places, quarantine: quarantine.ok(), at, took };
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(counted);
    }
}

impl Collector for KeyCounts {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(counted) = &*latest else {
            return Vec::new();
        };
        let mut families = vec![
            KEYS.family(counted.keys.iter().cloned()),
            KEYS_BY_IDLE_AGE.family(counted.idle.iter().cloned()),
            RECEIVED.family(counted.received.iter().cloned()),
            COUNT_AGE.single(counted.at.elapsed().as_secs_f64()),
            COUNT_DURATION.single(counted.took.as_secs_f64()),
        ];
        families
            .extend(counted.places.iter().map(|(definition, rows)| definition.family(rows.iter().cloned())));
        if let Some(quarantine) = counted.quarantine {
            families.push(QUARANTINE_MESSAGES.single(number(quarantine.messages)));
            families.push(QUARANTINE_BYTES.single(number(quarantine.bytes)));
        }
        families
    }
}

/// Key by key, so that those who write wait for one look at the most.
fn count_keys(view: &LiveView, order: &Order) -> HashMap<Place, HashMap<Kind, u64>> {
    let (ledger, judge) = (view.ledger(), view.judge());
    let mut places: HashMap<Place, HashMap<Kind, u64>> = HashMap::new();
    let entries: Vec<_> = order.iter().collect();
    for chunk in entries.chunks(CHUNK) {
        let keys = ledger.keys_in_rows(chunk.iter().map(|&(row, _)| row));
        for (key, &(_, last_use)) in keys.into_iter().zip(chunk) {
            let known_kind = judge.kind_by_last_use(last_use);
            let claims = known_kind.is_none().then(|| judge.look(key));
            let look = |state: &KeyState<Rank>| {
                let case = claims.map(|claims| judge.case(claims, key, state, ledger.aliases()));
                (state.registers().and_then(Registers::state), case)
            };
            let Some((state, case)) = ledger.with(key, look) else { continue };
            // The key is no longer locked when it is judged.
            let kind = known_kind.or_else(|| case.map(|case| judge.kind(&case)));
            let kinds = places.entry((key.account(), key.region())).or_default();
            *kinds.entry((state, kind.unwrap_or(VerdictKind::Unknown))).or_default() += 1;
        }
    }
    places
}

/// The counts as series: whole accounts, those with the most keys first, as long as there is room.
fn rows(places: HashMap<Place, HashMap<Kind, u64>>) -> Vec<Row> {
    let mut accounts: HashMap<AccountId, (u64, usize)> = HashMap::new();
    for ((account, _), kinds) in &places {
        let (keys, series) = accounts.entry(*account).or_default();
        *keys += kinds.values().sum::<u64>();
        *series += kinds.len();
    }
    let fits_whole = accounts.values().map(|(_, series)| series).sum::<usize>() <= MOST_SERIES;
    let mut room = if fits_whole { MOST_SERIES } else { MOST_SERIES - SERIES_OF_OTHERS };
    let mut by_size: Vec<_> = accounts.into_iter().collect();
    by_size.sort_unstable_by_key(|&(account, (keys, _))| (Reverse(keys), account));
    let mut is_shown: HashMap<AccountId, bool> = HashMap::new();
    for (account, (_, series)) in by_size {
        let fits = series <= room;
        // Once one does not fit, no smaller one is preferred to it.
        room = if fits { room - series } else { 0 };
        is_shown.insert(account, fits);
    }
    let mut rows = Vec::new();
    let mut others: HashMap<Kind, u64> = HashMap::new();
    for ((account, region), kinds) in places {
        for (kind, keys) in kinds {
            if is_shown.get(&account) == Some(&true) {
                rows.push(row(account.to_string(), region.name().to_owned(), kind, keys));
            } else {
                *others.entry(kind).or_default() += keys;
            }
        }
    }
    let other = || "other".to_owned();
    rows.extend(others.into_iter().map(|(kind, keys)| row(other(), other(), kind, keys)));
    rows
}

fn row(account: String, region: String, (state, verdict): Kind, keys: u64) -> Row {
    let state = state.map_or("unknown", LifecycleState::name);
    (vec![account, region, state.to_owned(), verdict.name().to_owned()], number(keys))
}

fn count_idle(view: &LiveView, order: &Order) -> Vec<Row> {
    let now = view.judge().now();
    let count = |keys: usize| number(u64::try_from(keys).unwrap_or(u64::MAX));
    let mut rows: Vec<Row> = Vec::new();
    for (name, days) in IDLE_AGES {
        // The same keys that `idle_for` finds.
        let keys = order.used_before(now.minus(days * 86_400).plus(1));
        rows.push((vec![name.to_owned()], count(keys)));
    }
    rows.push((vec!["never_used".to_owned()], count(order.never_used())));
    rows
}

/// For how long everything was taken without a hole, up to now: whole accounts, those with the most records first, as
/// long as there is room.
fn received(known: &AccountsDocument) -> Vec<Row> {
    struct Account {
        records: u64,
        rows: Vec<Row>,
    }
    let mut accounts: Vec<Account> = Vec::new();
    for AccountDocument { account, regions, .. } in &known.accounts {
        let mut of_account = Account { records: 0, rows: Vec::new() };
        for region in regions {
            for received in &region.received {
                let seconds = received.spans.last().map_or(0, |span| span.until.seconds_since(span.from));
                let labels = vec![account.to_string(), region.region.to_string(), received.source.clone()];
                of_account.records += received.records;
                of_account.rows.push((labels, f64::from(seconds)));
            }
        }
        accounts.push(of_account);
    }
    // The order of those with as many is that of their ids.
    accounts.sort_by_key(|account| Reverse(account.records));
    let (mut rows, mut has_room) = (Vec::new(), true);
    let mut others: BTreeMap<String, f64> = BTreeMap::new();
    for account in accounts {
        has_room = has_room && rows.len() + account.rows.len() <= MOST_PLACES;
        if has_room {
            rows.extend(account.rows);
            continue;
        }
        for (labels, seconds) in account.rows {
            let source = labels.into_iter().next_back().unwrap_or_default();
            let least = others.entry(source).or_insert(seconds);
            *least = least.min(seconds);
        }
    }
    let other = |(source, seconds)| (vec!["other".to_owned(), "other".to_owned(), source], seconds);
    rows.extend(others.into_iter().map(other));
    rows
}

#[cfg(test)]
mod tests {
    use dormouse_ledger::Span;
    use dormouse_model::EventTime;
    use dormouse_pipeline::view::{CoverageDocument, HistoryDocument, ReceivedDocument, RegionDocument};

    use super::*;

    #[test]
    fn what_was_received_is_bounded_and_the_least_stands_for_the_others() {
        let document = |accounts: u32| {
            let account = |number: u32| AccountDocument {
                account: format!("{number:012}").parse().unwrap(),
                inventory: None,
                regions: vec![RegionDocument {
                    stale: None,
                    inventory: None,
                    coverage: CoverageDocument::default(),
                    region: "eu-west-1".parse().unwrap(),
                    received: vec![ReceivedDocument {
                        source: "bus".into(),
                        first_event: EventTime::from_seconds(0),
                        last_event: EventTime::from_seconds(number),
                        records: number.into(),
                        spans: vec![Span {
                            from: EventTime::from_seconds(5),
                            until: EventTime::from_seconds(5 + number),
                        }],
                        holes: Vec::new(),
                    }],
                    history: HistoryDocument::default(),
                    pipe_changes: Vec::new(),
                }],
            };
            AccountsDocument { accounts: (1..=accounts).map(account).collect(), sources: Vec::new() }
        };
        assert_eq!(received(&document(0)), []);
        let all = received(&document(1_000));
        assert_eq!(all.len(), 1_000);
        assert!(all.iter().all(|(labels, _)| labels[0] != "other"));
        let cut = received(&document(1_500));
        assert_eq!(cut.len(), MOST_PLACES + 1);
        let (labels, seconds) = cut.last().unwrap();
        assert_eq!((labels.join(" "), *seconds), ("other other bus".to_owned(), 1.0));
    }

    fn places(accounts: u64, regions: usize) -> HashMap<Place, HashMap<Kind, u64>> {
        let names = ["eu-west-1", "eu-west-2", "eu-west-3", "us-east-1", "us-east-2"];
        let mut places = HashMap::new();
        for account in 0..accounts {
            for name in &names[..regions] {
                let place = (format!("{:012}", account + 1).parse().unwrap(), name.parse().unwrap());
                let kind = (Some(LifecycleState::Enabled), VerdictKind::InUse);
                let kinds = HashMap::from([(kind, account + 1), ((None, VerdictKind::Unknown), 1)]);
                places.insert(place, kinds);
            }
        }
        places
    }

    fn total(rows: &[Row]) -> f64 {
        rows.iter().map(|(_, keys)| keys).sum()
    }

    #[test]
    fn series_are_bounded_and_lose_no_key() {
        for (accounts, regions) in [(1, 1), (100, 5), (200, 5), (201, 5), (5_000, 5)] {
            let places = places(accounts, regions);
            let keys: u64 = places.values().flat_map(HashMap::values).sum();
            let rows = rows(places);
            assert!(rows.len() <= MOST_SERIES, "{accounts} accounts: {} series", rows.len());
            assert!((total(&rows) - number(keys)).abs() < 0.5);
            let has_others = rows.iter().any(|(labels, _)| labels[0] == "other");
            assert_eq!(has_others, accounts > 200, "{accounts} accounts");
        }
    }
}
