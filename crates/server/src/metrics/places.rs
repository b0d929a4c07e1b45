//! Accounts' Regions as series: how far their coverage reaches, how old their inventory is, and what was missed.

use std::cmp::Reverse;

use dormouse_model::EventTime;
use dormouse_pipeline::view::{AccountDocument, AccountsDocument, RegionDocument};

use super::definitions::{
    COVERAGE, Definition, HEARTBEAT_LAG, INVENTORY_AGE, INVENTORY_STALE, MISSED_USES, REGION_BLIND, Row,
};

/// Series of each metric at the most, but for the one that stands for all others.
const MOST_PLACES: usize = 1_000;

/// A gauge by account and Region, what a place shows in it, and which of two values is the worse.
struct Gauge {
    definition: &'static Definition,
    value: fn(&RegionDocument, EventTime) -> Option<f64>,
    worse: fn(f64, f64) -> f64,
}

const GAUGES: [Gauge; 5] = [
    Gauge {
        definition: &COVERAGE,
        value: |region, _| Some(f64::from(region.coverage.coverage_seconds)),
        worse: f64::min,
    },
    Gauge {
        definition: &HEARTBEAT_LAG,
        value: |region, _| region.coverage.lag_seconds.map(f64::from),
        worse: f64::max,
    },
    Gauge {
        definition: &REGION_BLIND,
        value: |region, _| Some(f64::from(u8::from(region.coverage.blind.is_some()))),
        worse: f64::max,
    },
    Gauge {
        definition: &INVENTORY_AGE,
        value: |region, now| {
            let listed = region.inventory.as_ref()?.listed_at?;
            Some(f64::from(now.seconds_since(listed)))
        },
        worse: f64::max,
    },
    Gauge {
        definition: &INVENTORY_STALE,
        value: |region, _| region.inventory.as_ref().map(|_| f64::from(u8::from(region.stale.is_some()))),
        worse: f64::max,
    },
];

/// What they define.
pub(super) const DEFINITIONS: [&Definition; 6] =
    [&COVERAGE, &HEARTBEAT_LAG, &REGION_BLIND, &INVENTORY_AGE, &INVENTORY_STALE, &MISSED_USES];

/// The series of each of [`DEFINITIONS`].
pub(super) fn rows(known: &AccountsDocument, now: EventTime) -> Vec<(&'static Definition, Vec<Row>)> {
    let mut accounts: Vec<&AccountDocument> = known.accounts.iter().collect();
    let keys = |region: &RegionDocument| region.inventory.as_ref().map_or(0, |known| u64::from(known.keys));
    // Those with the most keys first; the order of those with as many is that of their ids.
    accounts.sort_by_key(|account| Reverse(account.regions.iter().map(keys).sum::<u64>()));
    let mut families: Vec<_> =
        GAUGES.iter().map(|gauge| (gauge.definition, of_gauge(gauge, &accounts, now))).collect();
    let regions = known.accounts.iter().flat_map(|account| &account.regions);
    let missed: u64 = regions.map(|region| region.coverage.missed_uses).sum();
    #[expect(clippy::cast_precision_loss, reason = "nobody misses as many")]
    families.push((&MISSED_USES, vec![(Vec::new(), missed as f64)]));
    families
}

fn of_gauge(gauge: &Gauge, accounts: &[&AccountDocument], now: EventTime) -> Vec<Row> {
    let (mut rows, mut others) = (Vec::new(), None);
    for AccountDocument { account, inventory, regions } in accounts {
        // Nothing was ever read of it.
        let is_unread = regions.is_empty() && inventory.as_ref().is_some_and(|known| known.left.is_none());
        if is_unread && gauge.definition.name == INVENTORY_STALE.name {
            rows.push((vec![account.to_string(), String::new()], 1.0));
        }
        for region in regions {
            let Some(value) = (gauge.value)(region, now) else { continue };
            if rows.len() < MOST_PLACES {
                rows.push((vec![account.to_string(), region.region.to_string()], value));
            } else {
                others = Some(others.map_or(value, |known| (gauge.worse)(known, value)));
            }
        }
    }
    rows.extend(others.map(|worst| (vec!["other".to_owned(), "other".to_owned()], worst)));
    rows
}

#[cfg(test)]
mod tests {
    use dormouse_ledger::{Blind, PlaceInventory};
    use dormouse_pipeline::view::{CoverageDocument, HistoryDocument};

    use super::*;

    fn document(places: u32) -> AccountsDocument {
        let region = |number: u32| RegionDocument {
            region: "eu-west-1".parse().unwrap(),
            inventory: Some(PlaceInventory {
                listed_at: Some(EventTime::from_seconds(1_000 - number % 7)),
                keys: places - number,
                ..PlaceInventory::default()
            }),
            stale: (number == 3).then(|| "why".to_owned()),
            received: Vec::new(),
            coverage: CoverageDocument {
                coverage_seconds: number,
                blind: (number == places - 1)
                    .then(|| Blind { since: EventTime::from_seconds(1), why: "x".into() }),
                missed_uses: 1,
                ..CoverageDocument::default()
            },
            history: HistoryDocument::default(),
            pipe_changes: Vec::new(),
        };
        let account = |number: u32| AccountDocument {
            account: format!("{:012}", number + 1).parse().unwrap(),
            inventory: None,
            regions: vec![region(number)],
        };
        AccountsDocument { accounts: (0..places).map(account).collect(), sources: Vec::new() }
    }

    #[test]
    fn the_worst_stands_for_those_that_find_no_room() {
        let now = EventTime::from_seconds(1_000);
        let families = rows(&document(1_500), now);
        let of = |definition: &Definition| {
            let place = DEFINITIONS.iter().position(|known| known.name == definition.name).unwrap();
            families[place].1.clone()
        };
        let other = vec!["other".to_owned(), "other".to_owned()];
        assert_eq!(of(&COVERAGE).last(), Some(&(other.clone(), 1_000.0)));
        assert_eq!(of(&REGION_BLIND).last(), Some(&(other.clone(), 1.0)));
        assert_eq!(of(&INVENTORY_AGE).last(), Some(&(other, 6.0)));
        assert_eq!(of(&INVENTORY_STALE).len(), MOST_PLACES + 1);
        assert_eq!(of(&INVENTORY_STALE)[3].1, 1.0);
        // No heartbeat came back from anywhere.
        assert_eq!(of(&HEARTBEAT_LAG), []);
        assert_eq!(of(&MISSED_USES), [(Vec::new(), 1_500.0)]);
    }
}
