//! Many keys, a line each.

use dormouse_ledger::{KeyDocument, Verdict, VerdictKind};
use dormouse_model::{EventTime, LifecycleState};

use super::lines::sentence;
use super::screen::{Paint, Screen};
use super::sheet::{Cell, Column, Sheet, cells};
use super::who;
use super::words::{ago, count, counted, size};

/// When, by whom and for what comes first; where it is can be found out with the key's name.
const COLUMNS: [Column; 12] = [
    Column::new("KEY"),
    Column::new("LAST USE").rank(1),
    Column::new("OPERATION").rank(4).least(10),
    Column::new("BY").rank(2).least(14).comfort(20),
    Column::new("FOR").rank(3).least(14).comfort(20),
    Column::new("USES").rank(7).number(),
    Column::new("STATE").rank(5),
    Column::new("WANTED").rank(6),
    Column::new("VERDICT").rank(8),
    Column::new("ACCOUNT").rank(9),
    Column::new("REGION").rank(10),
    Column::new("ID").rank(11),
];

/// Who fails now, and in what state the key is; what it was used for before says what depends on it.
const WANTED_COLUMNS: [Column; 15] = [
    Column::new("KEY"),
    Column::new("LAST TRY").rank(1),
    Column::new("OPERATION").rank(5).least(10),
    Column::new("BY").rank(2).least(14),
    Column::new("STATE").rank(3),
    Column::new("WANTED").rank(4).number(),
    Column::new("ERROR").rank(7).least(12),
    Column::new("LAST USE").rank(6),
    Column::new("USED FOR").rank(8).least(14),
    Column::new("SINCE").rank(9),
    Column::new("USES").rank(10).number(),
    Column::new("VERDICT").rank(11),
    Column::new("ACCOUNT").rank(12),
    Column::new("REGION").rank(13),
    Column::new("ID").rank(14),
];

/// A longer alias would push everything else aside; the id stands for it there.
const LONGEST_ALIAS: usize = 40;
/// A terminal of this width has room for whole ids.
const ROOM_FOR_IDS: usize = 120;
/// So much of an id is shown where there is less; `dormouse key` takes it.
const SHORT_ID: usize = 8;

/// A table of keys.
pub(crate) struct Keys {
    sheet: Sheet,
    now: EventTime,
    screen: Screen,
    shown: usize,
    is_of_wanted: bool,
}

impl Keys {
    /// An empty one.
    pub(crate) fn new(now: EventTime, screen: Screen) -> Self {
        Self { sheet: Sheet::new(&COLUMNS), now, screen, shown: 0, is_of_wanted: false }
    }

    /// An empty one for keys that somebody still needs: who fails is what was asked for.
    pub(crate) fn wanted(now: EventTime, screen: Screen) -> Self {
        Self { sheet: Sheet::new(&WANTED_COLUMNS), now, screen, shown: 0, is_of_wanted: true }
    }

    /// Adds a key.
    pub(crate) fn add(&mut self, key: &KeyDocument) {
        let last_use = key.last_use.as_ref();
        let name = Cell::new(&name_of(key, self.screen), Paint::Bold);
        let age = match last_use {
            Some(last) => Cell::from(ago(last.at, self.now)),
            None => Cell::new("never seen", Paint::Dim),
        };
        let purpose = last_use.map(|last| who::purpose(last.encryption_context.as_ref())).unwrap_or_default();
        let uses = Cell::from(count(key.uses));
        let state = key.state.map(state).unwrap_or_default();
        let place = [key.account.to_string(), key.region.name().to_owned(), key.id.clone()].map(Cell::from);
        let verdict = verdict(&key.verdict);
        self.shown += 1;
        if self.is_of_wanted {
            let attempt = key.last_attempt.as_ref();
            let wanted = key.wanted;
            let row = [
                name,
                Cell::from(attempt.map(|attempt| ago(attempt.at, self.now)).unwrap_or_default()),
                Cell::from(attempt.map_or("", |attempt| &attempt.operation)),
                Cell::from(
                    attempt
                        .map(|attempt| who::caller(attempt.principal.as_deref(), None, key.account))
                        .unwrap_or_default(),
                ),
                state,
                Cell::new(
                    &wanted.map(|wanted| format!("{}×", count(wanted.count))).unwrap_or_default(),
                    Paint::Warning,
                ),
                Cell::from(attempt.and_then(|attempt| attempt.error_code.as_deref()).unwrap_or_default()),
                age,
                Cell::from(purpose),
                Cell::from(wanted.map(|wanted| ago(wanted.since, self.now)).unwrap_or_default()),
                uses,
                verdict,
            ];
            return self.sheet.add(row.into_iter().chain(place));
        }
        let caller = last_use
            .map(|last| who::caller(last.principal.as_deref(), last.invoked_by.as_deref(), key.account))
            .unwrap_or_default();
        let row = [
            name,
            age,
            Cell::from(last_use.map_or("", |last| &last.operation)),
            Cell::from(caller),
            Cell::from(purpose),
            uses,
            state,
            Cell::new(&wanted(key, self.now), Paint::Warning),
            verdict,
        ];
        self.sheet.add(row.into_iter().chain(place));
    }

    /// Prints them, and how many there are in all. `more` says how to see the others.
    pub(crate) fn print(&self, total: usize, more: &str) -> std::io::Result<()> {
        if self.shown > 0 {
            self.sheet.print(self.screen)?;
        }
        if self.shown < total {
            let text = format!("{} of {}{more}", count(size(self.shown)), counted(size(total), "key"));
            return sentence(&text, self.screen);
        }
        sentence(&counted(size(total), "key"), self.screen)
    }
}

/// The first alias that is short enough, else the id, shortened where the terminal is narrow; either can be given to
/// `dormouse key`.
fn name_of(key: &KeyDocument, screen: Screen) -> String {
    // On a narrow terminal a name must leave room for by whom and for what.
    let longest = screen.width.map_or(LONGEST_ALIAS, |width| LONGEST_ALIAS.min(width * 3 / 8));
    if let Some(alias) = key.aliases.iter().flatten().find(|alias| cells(alias) <= longest) {
        return alias.clone();
    }
    match screen.width {
        Some(width) if width < ROOM_FOR_IDS => short(&key.id),
        _ => key.id.clone(),
    }
}

/// `1234abcd…`; of an id that many keys begin like (`mrk-`) as many characters more.
fn short(id: &str) -> String {
    let prefix = if id.starts_with("mrk-") { "mrk-".len() } else { 0 };
    match id.char_indices().nth(prefix + SHORT_ID) {
        Some((end, _)) => format!("{}…", &id[..end]),
        None => id.to_owned(),
    }
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
fn verdict(verdict: &Verdict) -> Cell {
    let paint = match verdict.kind {
        VerdictKind::InUse => Paint::Good,
        VerdictKind::Idle | VerdictKind::NeverUsed => Paint::Warning,
        VerdictKind::Unknown => Paint::Dim,
        VerdictKind::Blind => Paint::Bad,
    };
    Cell::new(verdict.in_words(), paint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_short_and_still_tells_keys_apart() {
        assert_eq!(short("1234abcd-12ab-34cd-56ef-1234567890ab"), "1234abcd…");
        assert_eq!(short("mrk-1234abcd12ab34cd56ef1234567890ab"), "mrk-1234abcd…");
        assert_eq!(short("1234abcd"), "1234abcd");
    }

    /// The table of a key, as wide as a terminal; the texts are as long as they usually are.
    fn heads(columns: &[Column], key: &str, width: usize) -> Vec<String> {
        let mut sheet = Sheet::new(columns);
        sheet.add(columns.iter().map(|column| match column.head() {
            "KEY" => Cell::from(key),
            "LAST USE" | "LAST TRY" => Cell::from("23 min ago"),
            "BY" => Cell::from("role/service/payments-production"),
            "FOR" | "USED FOR" => Cell::from("s3 payments-production/2026/some-object"),
            "OPERATION" => Cell::from("GenerateDataKeyWithoutPlaintext"),
            "STATE" => Cell::from("PendingDeletion"),
            "WANTED" => Cell::from("694×"),
            _ => Cell::from("something-long"),
        }));
        let lines = sheet.lines(Screen { width: Some(width), has_colors: false });
        assert!(lines.iter().all(|line| cells(line) <= width), "{lines:#?}");
        columns
            .iter()
            .map(|column| column.head())
            .filter(|head| lines[0].contains(head))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn by_whom_and_for_what_is_told_at_80_columns() {
        for key in ["1234abcd…", "alias/aws/secretsmanager", &"x".repeat(30)] {
            let shown = heads(&COLUMNS, key, 80);
            for head in ["KEY", "LAST USE", "BY", "FOR"] {
                assert!(shown.iter().any(|shown| shown == head), "{key}: {shown:?}");
            }
        }
        assert!(heads(&COLUMNS, "1234abcd…", 80).iter().any(|head| head == "OPERATION"));
        assert!(heads(&COLUMNS, "1234abcd…", 100).iter().any(|head| head == "STATE"));
    }

    #[test]
    fn who_fails_and_how_the_key_is_comes_first_among_the_wanted() {
        for key in ["1234abcd…", "alias/aws/secretsmanager"] {
            let shown = heads(&WANTED_COLUMNS, key, 80);
            for head in ["KEY", "LAST TRY", "BY", "STATE", "WANTED"] {
                assert!(shown.iter().any(|shown| shown == head), "{key}: {shown:?}");
            }
        }
        assert!(heads(&WANTED_COLUMNS, "1234abcd…", 80).iter().any(|head| head == "OPERATION"));
    }
}
