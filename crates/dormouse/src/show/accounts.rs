//! Accounts and Regions: what AWS says of them, what was received, and what is proven, a line each.

use dormouse_ledger::{Gap, Trouble};
use dormouse_model::EventTime;
use dormouse_pipeline::view::{
    AccountDocument, AccountsDocument, CoveredDocument, DaysDocument, ReceivedDocument, RegionDocument,
};

use super::lines::sentence;
use super::screen::{Paint, Screen};
use super::sheet::{Cell, Column, Sheet};
use super::words::{ago, count, counted, date, size, span};

const COLUMNS: [Column; 14] = [
    Column::new("ACCOUNT"),
    Column::new("NAME").rank(7).least(8),
    Column::new("REGION"),
    Column::new("KEYS").rank(1).number(),
    Column::new("LISTED").rank(5),
    Column::new("HEARTBEAT").rank(2),
    Column::new("SOURCE").rank(8).least(8),
    Column::new("LAST EVENT").rank(4),
    Column::new("RECEIVED").rank(3),
    Column::new("HOLES").rank(6).number(),
    Column::new("HISTORY").rank(10).number(),
    Column::new("PROVEN").rank(9).number(),
    Column::new("BY").rank(11),
    Column::new("RECORDS").rank(12).number(),
];

/// A source that was complete so many seconds ago is complete as of now: it says so once a minute.
const RECENT: u32 = 600;
/// So many holes are told of a source; JSON has them all.
const MOST_HOLES: usize = 5;
/// So many other troubles are told; JSON has them all.
const MOST_TROUBLES: usize = 50;
const DAY: u32 = 86_400;

/// Prints them.
pub(crate) fn print(known: &AccountsDocument, now: EventTime, screen: Screen) -> std::io::Result<()> {
    let sheet = sheet(known, now);
    if !known.accounts.is_empty() {
        sheet.print(screen)?;
    }
    sentence(&counted(size(known.accounts.len()), "account"), screen)?;
    troubles(known, screen)?;
    for source in &known.sources {
        for hole in source.holes.iter().rev().take(MOST_HOLES) {
            let Gap { from, until, reason } = hole;
            sentence(&format!("hole of {}: {from} to {until}: {reason}", source.source), screen)?;
        }
        let more = source.holes.len().saturating_sub(MOST_HOLES);
        if more > 0 {
            sentence(&format!("{} of {} before", counted(size(more), "more hole"), source.source), screen)?;
        }
    }
    Ok(())
}

/// What AWS refused or did not answer, who cannot be seen, and what was missed.
fn troubles(known: &AccountsDocument, screen: Screen) -> std::io::Result<()> {
    let mut told = Vec::new();
    for AccountDocument { account, inventory, regions } in &known.accounts {
        let name = inventory.as_ref().and_then(|known| known.name.as_deref());
        let account = name.map_or(account.to_string(), |name| format!("{account} ({name})"));
        if let Some(inventory) = inventory {
            told.extend(inventory.left.map(|left| format!("{account} is no longer watched since {left}")));
            let inactive = inventory.state.as_deref().filter(|state| *state != "ACTIVE");
            told.extend(inactive.map(|state| format!("{account} is {state} and not read")));
            told.extend(
                inventory.trouble.as_ref().map(|trouble| format!("{account}: {}", in_words(trouble))),
            );
        }
        for region in regions {
            let place = format!("{account} in {}", region.region);
            let troubles = region.inventory.iter().flat_map(|known| known.troubles.values());
            told.extend(troubles.map(|trouble| format!("{place}: {}", in_words(trouble))));
            let blind = region.coverage.blind.as_ref();
            told.extend(blind.map(|blind| format!("{place} is blind since {}: {}", blind.since, blind.why)));
            if region.coverage.missed_uses > 0 {
                let uses = counted(region.coverage.missed_uses, "use");
                told.push(format!("{place}: KMS knows {uses} that never arrived"));
            }
        }
    }
    let more = told.len().saturating_sub(MOST_TROUBLES);
    for trouble in told.iter().take(MOST_TROUBLES) {
        sentence(trouble, screen)?;
    }
    if more > 0 {
        sentence(&format!("and {} that --output json has", counted(size(more), "more trouble")), screen)?;
    }
    Ok(())
}

fn in_words(trouble: &Trouble) -> String {
    let Trouble { since, last, .. } = trouble;
    format!("{} fails since {since} ({}): {}", last.operation, last.class, last.message)
}

fn sheet(known: &AccountsDocument, now: EventTime) -> Sheet {
    let mut sheet = Sheet::new(&COLUMNS);
    for AccountDocument { account, inventory, regions } in &known.accounts {
        let called = inventory.as_ref().and_then(|known| known.name.as_deref()).unwrap_or_default();
        let called = || [Cell::new(&account.to_string(), Paint::Bold), Cell::from(called)];
        if regions.is_empty() {
            let denied = inventory.as_ref().and_then(|known| known.trouble.as_ref());
            let denied = denied.map(|trouble| &*trouble.last.class);
            let state = inventory.as_ref().and_then(|known| known.state.as_deref());
            let state = denied.or(state.filter(|state| *state != "ACTIVE")).unwrap_or("not read yet");
            let state = [Cell::new("-", Paint::Dim), Cell::default(), Cell::new(state, Paint::Warning)];
            sheet.add(called().into_iter().chain(state).chain(<[Cell; 9]>::default()));
        }
        for region in regions {
            // What history says stands once, beside the first source.
            let sources: Vec<Option<&ReceivedDocument>> = match region.received.as_slice() {
                [] => vec![None],
                several => several.iter().map(Some).collect(),
            };
            for (place, received) in sources.into_iter().enumerate() {
                let history = if place == 0 { history(region) } else { <[Cell; 3]>::default() };
                let asked = if place == 0 { asked(region, now) } else { <[Cell; 3]>::default() };
                let [source, last, spans, holes, records] = of_source(received, now);
                let cells = [source, last, spans, holes].into_iter().chain(history).chain([records]);
                let place = called().into_iter().chain([Cell::from(region.region.name())]);
                sheet.add(place.chain(asked).chain(cells));
            }
        }
    }
    sheet
}

/// How many keys KMS listed, when, and how long ago the last heartbeat was.
fn asked(region: &RegionDocument, now: EventTime) -> [Cell; 3] {
    let (keys, listed) = match &region.inventory {
        None => (Cell::default(), Cell::default()),
        Some(known) if known.not_enabled.is_some() => (Cell::default(), Cell::new("not enabled", Paint::Dim)),
        Some(known) => {
            let keys = known.listed_at.map_or_else(Cell::default, |_| Cell::from(count(known.keys.into())));
            let listed = known.listed_at.map_or_else(|| "never".to_owned(), |at| ago(at, now));
            match region.stale {
                Some(_) => (keys, Cell::new(&format!("{listed}, stale"), Paint::Warning)),
                None => (keys, Cell::from(listed)),
            }
        }
    };
    let coverage = &region.coverage;
    let heartbeat = match (&coverage.blind, coverage.proven_until) {
        (Some(_), _) => Cell::new("blind", Paint::Warning),
        (None, Some(until)) => Cell::from(ago(until, now)),
        (None, None) => Cell::default(),
    };
    [keys, listed, heartbeat]
}

fn of_source(received: Option<&ReceivedDocument>, now: EventTime) -> [Cell; 5] {
    let Some(received) = received else {
        let nothing = Cell::new("nothing", Paint::Dim);
        return [Cell::default(), Cell::default(), nothing, Cell::default(), Cell::default()];
    };
    let spans = match received.spans.last() {
        None => Cell::new("cannot be said yet", Paint::Dim),
        Some(last) if now.seconds_since(last.until) < RECENT => {
            Cell::from(format!("{} to now", date(last.from)))
        }
        Some(last) => Cell::new(&format!("{} to {}", date(last.from), date(last.until)), Paint::Warning),
    };
    let holes = match received.holes.len() {
        0 => Cell::from("0"),
        holes => Cell::new(&count(size(holes)), Paint::Warning),
    };
    [
        Cell::from(&received.source),
        Cell::from(ago(received.last_event, now)),
        spans,
        holes,
        Cell::from(count(received.records)),
    ]
}

/// How many days were read, how long the proven spans are together, and by whose word.
fn history(region: &RegionDocument) -> [Cell; 3] {
    let history = &region.history;
    let days = match days(&history.days) {
        0 => Cell::default(),
        read => Cell::from(format!("{} d", count(read.into()))),
    };
    let seconds = history.covered.iter().map(|covered| covered.until.seconds_since(covered.from));
    let seconds = seconds.fold(0, u32::saturating_add);
    let proven =
        if seconds == 0 { Cell::default() } else { Cell::from(in_spans(seconds, history.covered.len())) };
    [days, proven, Cell::from(by(&history.covered))]
}

/// "28 d", or "28 d in 3".
fn in_spans(seconds: u32, spans: usize) -> String {
    let whole = span(seconds);
    if spans == 1 { whole } else { format!("{whole} in {}", count(size(spans))) }
}

/// Who says so: "digests", "declared" or both.
pub(crate) fn by(covered: &[CoveredDocument]) -> String {
    let is_there = |name: &&str| covered.iter().any(|covered| covered.by == *name);
    let names: Vec<&str> = ["digests", "declared"].into_iter().filter(is_there).collect();
    names.join(", ")
}

/// How many days lie in these ranges.
fn days(ranges: &[DaysDocument]) -> u32 {
    let day = |text: &str| format!("{text}T00:00:00Z").parse::<EventTime>().unwrap_or_default();
    let of_range = |range: &DaysDocument| day(&range.to).seconds_since(day(&range.from)) / DAY + 1;
    ranges.iter().map(of_range).sum()
}

#[cfg(test)]
mod tests {
    use dormouse_ledger::Span;
    use dormouse_pipeline::view::{CoverageDocument, HistoryDocument};

    use super::super::sheet::cells;
    use super::*;

    fn at(text: &str) -> EventTime {
        text.parse().unwrap()
    }

    fn received(source: &str, spans: &[(&str, &str)], holes: usize) -> ReceivedDocument {
        let hole =
            Gap { from: at("2026-10-01T00:00:00Z"), until: at("2026-10-02T00:00:00Z"), reason: "x".into() };
        ReceivedDocument {
            source: source.into(),
            first_event: at("2026-09-01T00:00:00Z"),
            last_event: at("2026-11-25T23:00:00Z"),
            records: 1_234,
            spans: spans.iter().map(|(from, until)| Span { from: at(from), until: at(until) }).collect(),
            holes: vec![hole; holes],
        }
    }

    fn known() -> AccountsDocument {
        let covered = |from: &str, until: &str, by: &str| CoveredDocument {
            from: at(from),
            until: at(until),
            by: by.into(),
        };
        let region = |name: &str, received, history| RegionDocument {
            inventory: None,
            stale: None,
            coverage: CoverageDocument::default(),
            region: name.parse().unwrap(),
            received,
            history,
            pipe_changes: Vec::new(),
        };
        let history = HistoryDocument {
            days: vec![DaysDocument { from: "2026-01-01".into(), to: "2026-01-31".into() }],
            incomplete_days: Vec::new(),
            covered: vec![
                covered("2026-01-01T00:00:00Z", "2026-01-11T00:00:00Z", "digests"),
                covered("2026-02-01T00:00:00Z", "2026-02-11T00:00:00Z", "declared"),
            ],
            gaps: Vec::new(),
        };
        let both = vec![
            received("org-bus", &[("2026-11-01T08:00:00Z", "2026-11-25T23:59:00Z")], 0),
            received("stream", &[("2026-10-02T00:00:00Z", "2026-11-20T00:00:00Z")], 1),
        ];
        let regions = vec![
            region("ap-southeast-2", both, history),
            region("eu-west-1", vec![received("org-bus", &[], 0)], HistoryDocument::default()),
            region("us-east-1", Vec::new(), HistoryDocument::default()),
        ];
        let account = AccountDocument { account: "111122223333".parse().unwrap(), inventory: None, regions };
        AccountsDocument { accounts: vec![account], sources: Vec::new() }
    }

    fn lines(width: Option<usize>) -> Vec<String> {
        let now = at("2026-11-26T00:00:00Z");
        sheet(&known(), now).lines(Screen { width, has_colors: false })
    }

    #[test]
    fn a_line_says_what_was_received_and_what_is_proven() {
        let lines = lines(None);
        let words = |line: usize| lines[line].split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(
            words(0),
            "ACCOUNT NAME REGION KEYS LISTED HEARTBEAT SOURCE LAST EVENT RECEIVED HOLES HISTORY PROVEN BY RECORDS"
        );
        assert_eq!(
            words(1),
            "111122223333 ap-southeast-2 org-bus 1 h ago 2026-11-01 to now 0 31 d 20 d in 2 digests, declared 1,234"
        );
        assert_eq!(words(2), "111122223333 ap-southeast-2 stream 1 h ago 2026-10-02 to 2026-11-20 1 1,234");
        assert_eq!(words(3), "111122223333 eu-west-1 org-bus 1 h ago cannot be said yet 0 1,234");
        assert_eq!(words(4), "111122223333 us-east-1 nothing");
    }

    #[test]
    fn on_an_ordinary_terminal_what_was_received_is_there_and_no_line_is_too_wide() {
        for width in 40..200 {
            assert!(lines(Some(width)).iter().all(|line| cells(line) <= width), "{width}");
        }
        let head = lines(Some(80)).remove(0);
        // Nobody asked AWS here: columns in which nothing stands go first.
        assert!(["RECEIVED", "LAST EVENT", "HOLES"].iter().all(|name| head.contains(name)), "{head}");
    }
}
