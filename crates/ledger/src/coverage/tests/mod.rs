//! What was received, what is proven, and what takes a claim away.

use dormouse_model::{Cell, DeadLetters};

use super::*;

mod beats;
mod rules;

fn at(seconds: u32) -> EventTime {
    EventTime::from_seconds(1_793_491_200 + seconds)
}

fn place() -> Place {
    Place { account: "111122223333".parse().unwrap(), region: "eu-west-1".parse().unwrap() }
}

const DAY: u32 = 86_400;

fn mark(seconds: u32, dead: u64) -> SourceMark {
    SourceMark {
        at: at(seconds),
        caught_up: Some(at(seconds)),
        retention_seconds: Some(u64::from(4 * DAY)),
        dead_letters: DeadLetters::Messages(dead),
        lost: None,
        of: Some("https://queue/one".into()),
    }
}

fn received(coverage: &Coverage) -> Vec<(u32, u32)> {
    let seen = coverage.place(place()).unwrap().received["bus"];
    let origin = at(0);
    let spans = coverage.received("bus", seen).spans;
    spans.iter().map(|s| (s.from.seconds_since(origin), s.until.seconds_since(origin))).collect()
}

fn started() -> Coverage {
    let mut coverage = Coverage::default();
    coverage.note_mark("bus", &mark(100, 0));
    coverage.note_seen("bus", place(), Seen { first: at(0), last: at(150), records: 3 });
    coverage.note_mark("bus", &mark(200, 0));
    coverage
}

#[test]
fn nothing_is_claimed_from_before_somebody_was_there() {
    assert_eq!(received(&started()), [(100, 200)]);
}

#[test]
fn a_downtime_within_the_retention_leaves_no_hole_and_a_longer_one_does() {
    let mut coverage = started();
    coverage.note_mark("bus", &mark(200 + 3 * DAY, 0));
    assert_eq!(received(&coverage), [(100, 200 + 3 * DAY)]);
    coverage.note_mark("bus", &mark(200 + 8 * DAY, 0));
    assert_eq!(received(&coverage), [(100, 200 + 3 * DAY), (200 + 4 * DAY, 200 + 8 * DAY)]);
}

#[test]
fn another_queue_of_the_same_name_leaves_a_hole() {
    let mut coverage = started();
    let other = SourceMark { of: Some("https://queue/two".into()), ..mark(260, 0) };
    coverage.note_mark("bus", &other);
    coverage.note_mark("bus", &SourceMark { of: other.of, ..mark(320, 0) });
    assert_eq!(received(&coverage), [(100, 200), (260, 320)]);
}

#[test]
fn what_went_to_the_dead_letter_queue_is_a_hole_for_as_long_as_messages_are_kept() {
    let mut coverage = started();
    coverage.note_mark("bus", &mark(260, 2));
    coverage.note_mark("bus", &mark(320, 2));
    assert_eq!(received(&coverage), [(260, 320)], "they may have been sent long before");
}

#[test]
fn what_cannot_be_read_is_a_hole_only_over_a_downtime() {
    let unreadable = |seconds| SourceMark { dead_letters: DeadLetters::Unreadable, ..mark(seconds, 0) };
    let mut coverage = started();
    coverage.note_mark("bus", &unreadable(260));
    assert_eq!(received(&coverage), [(100, 260)]);
    coverage.note_mark("bus", &unreadable(DAY));
    assert_eq!(received(&coverage), [(100, 260)]);
    coverage.note_mark("bus", &unreadable(DAY + 60));
    assert_eq!(received(&coverage), [(100, 260), (DAY, DAY + 60)]);
}

#[test]
fn a_cell_that_is_read_again_replaces_what_was_proven() {
    let cell = Cell { place: place(), day: at(0).day() };
    let shift = |covered: &[(u32, u32)]| CellShift {
        cell,
        whole: true,
        records: 1,
        read_only: true,
        covered: covered.iter().map(|&(from, until)| Span { from: at(from), until: at(until) }).collect(),
        gaps: Vec::new(),
        keys: Vec::new(),
    };
    let mut coverage = Coverage::default();
    coverage.note_cell(&shift(&[(0, DAY)]));
    assert!(coverage.finished().has(cell));
    coverage.note_cell(&shift(&[(0, 100), (200, DAY)]));
    let spans = coverage.place(place()).unwrap().covered.clone();
    assert_eq!(spans, [Span { from: at(0), until: at(100) }, Span { from: at(200), until: at(DAY) }]);
    let restored = Coverage::restore(coverage.take_changed());
    assert!(restored.finished().has(cell));
    assert_eq!(restored.place(place()), coverage.place(place()));
}
