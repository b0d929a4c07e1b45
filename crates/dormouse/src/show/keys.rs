//! Many keys, a line each.

use dormouse_ledger::{KeyDocument, VerdictKind};
use dormouse_model::{EventTime, LifecycleState};

use super::screen::{Paint, Screen};
use super::sheet::{Cell, Column, Sheet, cells};
use super::words::{ago, count, counted, size};
use super::{say, who};

/// When, by whom and for what comes first; where it is can be found out with the key's name.
const COLUMNS: [Column; 12] = [
    Column::new("KEY"),
    Column::new("LAST USE").rank(1),
    Column::new("OPERATION").rank(3).least(10),
    Column::new("BY").rank(2).least(14),
    Column::new("FOR").rank(6).least(14),
    Column::new("USES").rank(8).number(),
    Column::new("STATE").rank(5),
    Column::new("WANTED").rank(4),
    Column::new("VERDICT").rank(7),
    Column::new("ACCOUNT").rank(9),
    Column::new("REGION").rank(10),
    Column::new("ID").rank(11),
];

/// A longer alias would push everything else off the screen; the id stands for it there.
const LONGEST_ALIAS: usize = 40;

/// A table of keys.
pub(crate) struct Keys {
    sheet: Sheet,
    now: EventTime,
    screen: Screen,
    shown: usize,
}

impl Keys {
    /// An empty one.
    pub(crate) fn new(now: EventTime, screen: Screen) -> Self {
        Self { sheet: Sheet::new(&COLUMNS), now, screen, shown: 0 }
    }

    /// An empty one for keys that somebody still needs: that, and their state, is what was asked for.
    pub(crate) fn wanted(now: EventTime, screen: Screen) -> Self {
        let first = |column: Column| match column.head() {
            "WANTED" | "STATE" => column.rank(1),
            _ => column,
        };
        Self { sheet: Sheet::new(&COLUMNS.map(first)), now, screen, shown: 0 }
    }

    /// Adds a key.
    pub(crate) fn add(&mut self, key: &KeyDocument) {
        let last_use = key.last_use.as_ref();
        let age = match last_use {
            Some(last) => Cell::from(ago(last.at, self.now)),
            None => Cell::new("never seen", Paint::Dim),
        };
        let caller = last_use
            .map(|last| who::caller(last.principal.as_deref(), last.invoked_by.as_deref(), key.account))
            .unwrap_or_default();
        self.shown += 1;
        self.sheet.add([
            Cell::new(&name_of(key, self.screen), Paint::Bold),
            age,
            Cell::from(last_use.map_or("", |last| &last.operation)),
            Cell::from(caller),
            Cell::from(
                last_use.map(|last| who::purpose(last.encryption_context.as_ref())).unwrap_or_default(),
            ),
            Cell::from(count(key.uses)),
            key.state.map(state).unwrap_or_default(),
            Cell::new(&wanted(key, self.now), Paint::Warning),
            verdict(key.verdict.kind),
            Cell::from(key.account.to_string()),
            Cell::from(key.region.name()),
            Cell::from(&key.id),
        ]);
    }

    /// Prints them, and how many there are in all. `more` says how to see the others.
    pub(crate) fn print(&self, total: usize, more: &str) -> std::io::Result<()> {
        if self.shown > 0 {
            self.sheet.print(self.screen)?;
        }
        if self.shown < total {
            return say(&format!("{} of {}{more}", count(size(self.shown)), counted(size(total), "key")));
        }
        say(&counted(size(total), "key"))
    }
}

/// The first alias that is short enough, else the id; either can be given to `dormouse key`.
fn name_of(key: &KeyDocument, screen: Screen) -> String {
    let fits = |alias: &&String| !screen.is_terminal() || cells(alias) <= LONGEST_ALIAS;
    key.aliases.iter().flatten().find(fits).unwrap_or(&key.id).clone()
}

/// "3× since 2 d ago".
fn wanted(key: &KeyDocument, now: EventTime) -> String {
    key.wanted
        .map(|wanted| format!("{}× since {}", count(wanted.count), ago(wanted.since, now)))
        .unwrap_or_default()
}

/// A state in its paint.
fn state(state: LifecycleState) -> Cell {
    let paint = match state {
        LifecycleState::Enabled => Paint::Plain,
        LifecycleState::PendingDeletion
        | LifecycleState::PendingReplicaDeletion
        | LifecycleState::Unavailable => Paint::Bad,
        LifecycleState::Deleted => Paint::Dim,
        _ => Paint::Warning,
    };
    Cell::new(state.name(), paint)
}

/// A verdict in its paint.
fn verdict(kind: VerdictKind) -> Cell {
    let paint = match kind {
        VerdictKind::InUse => Paint::Good,
        VerdictKind::Unknown => Paint::Dim,
    };
    Cell::new(kind.name(), paint)
}
