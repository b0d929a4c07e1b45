//! The answer to a question: rows, in order.

use std::cmp::Reverse;
use std::sync::Arc;

use dormouse_model::{EventTime, KeyArn, LifecycleState};

use super::{KeyQuery, SortBy, SortOrder};
use crate::{Judge, KeyState, Ledger, Order, Registers, Trace};

/// The keys of an answer as they were when it was given. Later writes change neither their number nor their order.
#[derive(Clone, Debug)]
pub struct Selection(Rows);

#[derive(Clone, Debug)]
enum Rows {
    /// All keys by their last use: shared with everybody who asks the same.
    All(Arc<Order>, SortOrder, usize),
    Some(Arc<[u32]>),
}

impl Selection {
    /// How many keys there are.
    pub fn len(&self) -> usize {
        match &self.0 {
            Rows::All(order, ..) => order.len(),
            Rows::Some(rows) => rows.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows of the keys from place `from` on, at most so many.
    pub fn rows(&self, from: usize, most: usize) -> Vec<u32> {
        let until = from.saturating_add(most).min(self.len());
        (from..until).filter_map(|place| self.row(place)).collect()
    }

    fn row(&self, place: usize) -> Option<u32> {
        match &self.0 {
            Rows::Some(rows) => rows.get(place).copied(),
            Rows::All(order, direction, never_used) => order.row(match direction {
                SortOrder::Descending => order.len().checked_sub(place + 1)?,
                // Those never used lie first in the order and come last in an answer.
                SortOrder::Ascending => {
                    let used = order.len() - never_used;
                    if place < used { place + never_used } else { place - used }
                }
            }),
        }
    }

    /// About how many bytes it holds; a shared order counts as one's own.
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Rows::All(order, ..) => order.len() * size_of::<(EventTime, u32)>(),
            Rows::Some(rows) => size_of_val(&**rows),
        }
    }
}

/// Answers a question about the keys that exist; those that were deleted are left out unless their state is asked for.
/// Takes time in proportion to their number unless all keys are asked for
/// by their last use.
pub fn select<T: Trace>(ledger: &Ledger<T>, query: &KeyQuery, judge: &Judge) -> Selection {
    let order = ledger.by_last_use();
    let filter = &query.filter;
    if *filter == Default::default() && query.sort == SortBy::LastUse {
        let never_used = order.never_used();
        return Selection(Rows::All(order, query.order(), never_used));
    }
    // Places that idle_for leaves over: those used longest ago lie first.
    let until = filter.idle_for.map_or(order.len(), |age| order.used_before(judge.now().minus(age).plus(1)));
    let mut candidates: Vec<(u32, Option<EventTime>)> = order.iter().take(until).collect();
    let asks_for_deleted = filter.states.contains(&LifecycleState::Deleted);
    if asks_for_deleted {
        // They are in no order, and few.
        let is_long_ago = |at: EventTime| filter.idle_for.is_none_or(|age| at <= judge.now().minus(age));
        ledger.for_each_key(|_, state| {
            let last_used = state.last_used();
            if state.is_deleted() && last_used.is_none_or(is_long_ago) {
                candidates.push((state.row(), last_used));
            }
        });
    }
    let keys = ledger.keys_in_rows(candidates.iter().map(|&(row, _)| row));
    let mut found: Vec<(Option<u64>, KeyArn, u32)> = Vec::new();
    for (&(row, last_use), key) in candidates.iter().zip(keys) {
        if !filter.takes_key(key) {
            continue;
        }
        // Most keys are in use, and that can be told by their last use alone, unless they may be deleted.
        let tells = !filter.verdicts.is_empty() && !asks_for_deleted;
        let known_kind = judge.kind_by_last_use(last_use).filter(|_| tells);
        if known_kind.is_some_and(|kind| !filter.verdicts.contains(&kind)) {
            continue;
        }
        let needs_case = !filter.verdicts.is_empty() && known_kind.is_none();
        let needs_state =
            needs_case || filter.looks_at_state() || !matches!(query.sort, SortBy::LastUse | SortBy::Arn);
        if !needs_state {
            found.push((last_use.map(seconds), key, row));
            continue;
        }
        let mut claims = needs_case.then(|| judge.look(key));
        let look = |state: &KeyState<T>| {
            filter.takes_state(key, state, ledger.aliases()).then(|| {
                let case = claims.take().map(|claims| judge.case(claims, key, state, ledger.aliases()));
                (value(query.sort, key, state, ledger), case)
            })
        };
        // The key is no longer locked when it is judged.
        if let Some((value, case)) = ledger.with(key, look).flatten()
            && case.is_none_or(|case| filter.verdicts.contains(&judge.kind(&case)))
        {
            found.push((value, key, row));
        }
    }
    sort(&mut found, query);
    Selection(Rows::Some(found.into_iter().map(|(_, _, row)| row).collect()))
}

fn seconds(time: EventTime) -> u64 {
    u64::from(time.seconds())
}

fn value<T: Trace>(sort: SortBy, key: KeyArn, state: &KeyState<T>, ledger: &Ledger<T>) -> Option<u64> {
    match sort {
        SortBy::LastUse => state.last_used().map(seconds),
        SortBy::LastAttempt => state.last_attempt().map(|last| seconds(last.rank().time)),
        SortBy::Wanted => state.wanted().map(|wanted| seconds(wanted.last)),
        SortBy::Created => state.registers().and_then(Registers::created).map(seconds),
        SortBy::Uses => Some(ledger.counts_of(key, state).uses),
        SortBy::Attempts => Some(ledger.counts_of(key, state).attempts),
        SortBy::Arn => None,
    }
}

/// Sorts by value, keys without one last; equal ones by row, so that the order is always the same.
fn sort(found: &mut [(Option<u64>, KeyArn, u32)], query: &KeyQuery) {
    match (query.sort, query.order()) {
        (SortBy::Arn, SortOrder::Ascending) => found.sort_unstable_by_key(|&(_, key, _)| key),
        (SortBy::Arn, SortOrder::Descending) => found.sort_unstable_by_key(|&(_, key, _)| Reverse(key)),
        (_, SortOrder::Ascending) => {
            found.sort_unstable_by_key(|&(value, _, row)| (value.is_none(), value, row));
        }
        (_, SortOrder::Descending) => {
            found.sort_unstable_by_key(|&(value, _, row)| (Reverse(value), Reverse(row)));
        }
    }
}
