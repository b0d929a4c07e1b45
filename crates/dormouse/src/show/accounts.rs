//! What was received from accounts and Regions, and what history proves, a line each.

use dormouse_ledger::Gap;
use dormouse_model::EventTime;
use dormouse_pipeline::view::{
    AccountDocument, AccountsDocument, CoveredDocument, DaysDocument, ReceivedDocument, RegionDocument,
};

use super::lines::sentence;
use super::screen::{Paint, Screen};
use super::sheet::{Cell, Column, Sheet};
use super::words::{ago, count, counted, date, size, span};

const COLUMNS: [Column; 10] = [
    Column::new("ACCOUNT"),
    Column::new("REGION"),
    Column::new("SOURCE").rank(4).least(8),
    Column::new("LAST EVENT").rank(2),
    Column::new("RECEIVED").rank(1),
    Column::new("HOLES").rank(3).number(),
    Column::new("HISTORY").rank(6).number(),
    Column::new("PROVEN").rank(5).number(),
    Column::new("BY").rank(7),
    Column::new("RECORDS").rank(8).number(),
];

/// A source that was complete so many seconds ago is complete as of now: it says so once a minute.
const RECENT: u32 = 600;
/// So many holes are told of a source; JSON has them all.
const MOST_HOLES: usize = 5;
const DAY: u32 = 86_400;

/// Prints them.
pub(crate) fn print(known: &AccountsDocument, now: EventTime, screen: Screen) -> std::io::Result<()> {
    let sheet = sheet(known, now);
    if !known.accounts.is_empty() {
        sheet.print(screen)?;
    }
    sentence(&counted(size(known.accounts.len()), "account"), screen)?;
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

fn sheet(known: &AccountsDocument, now: EventTime) -> Sheet {
    let mut sheet = Sheet::new(&COLUMNS);
    for AccountDocument { account, regions, .. } in &known.accounts {
        for region in regions {
            // What history says stands once, beside the first source.
            let sources: Vec<Option<&ReceivedDocument>> = match region.received.as_slice() {
                [] => vec![None],
                several => several.iter().map(Some).collect(),
            };
            for (place, received) in sources.into_iter().enumerate() {
                let name = [Cell::new(&account.to_string(), Paint::Bold), Cell::from(region.region.name())];
                let history = if place == 0 { history(region) } else { <[Cell; 3]>::default() };
                let [source, last, spans, holes, records] = of_source(received, now);
                let cells = [source, last, spans, holes].into_iter().chain(history).chain([records]);
                sheet.add(name.into_iter().chain(cells));
            }
        }
    }
    sheet
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
        assert_eq!(words(0), "ACCOUNT REGION SOURCE LAST EVENT RECEIVED HOLES HISTORY PROVEN BY RECORDS");
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
        assert!(head.contains("RECEIVED") && head.contains("LAST EVENT") && head.contains("HOLES"), "{head}");
    }
}
