//! Each rule by itself.

use dormouse_model::{EventId, KmsUse, LastUsage, Lost, OperationTable};

use super::*;
use crate::query::Pattern;
use crate::{Declared, PlaceProof};

const MINUTE: u32 = 60;
const QUARTER: u32 = 15 * MINUTE;

/// A source that takes everything, forever.
fn drained() -> Coverage {
    let mut coverage = Coverage::default();
    drain(&mut coverage, "bus");
    coverage
}

fn drain(coverage: &mut Coverage, source: &str) {
    coverage.note_mark(source, &mark(0, 0));
    coverage.note_mark(source, &SourceMark { caught_up: Some(at(100 * DAY)), ..mark(60, 0) });
    for operation in ["Decrypt", "Encrypt"] {
        coverage.note_passed(source, elsewhere(), operation, (at(1), at(2)));
    }
}

fn elsewhere() -> Place {
    Place { account: "444455556666".parse().unwrap(), ..place() }
}

fn id(number: u32) -> [u8; 16] {
    u128::from(number).to_be_bytes()
}

fn sent(coverage: &mut Coverage, number: u32) {
    coverage.note_beat(place(), id(number), at(number * QUARTER));
}

fn returned(coverage: &mut Coverage, number: u32) {
    coverage.note_returned("bus", place(), id(number), at(number * QUARTER));
}

fn both(coverage: &mut Coverage, numbers: impl IntoIterator<Item = u32>) {
    for number in numbers {
        sent(coverage, number);
        returned(coverage, number);
    }
}

fn proof(coverage: &Coverage, now: u32) -> PlaceProof {
    coverage.proof(place(), at(now), &[])
}

/// The stream's spans in quarters of an hour.
fn quarters(coverage: &Coverage, now: u32) -> Vec<(u32, u32)> {
    let quarter = |time: EventTime| time.seconds_since(at(0)) / QUARTER;
    proof(coverage, now).stream.iter().map(|span| (quarter(span.from), quarter(span.until))).collect()
}

#[test]
fn beats_that_come_back_prove_what_lies_between_them_for_ever() {
    let mut coverage = drained();
    both(&mut coverage, 1..=400);
    assert_eq!(quarters(&coverage, 400 * QUARTER), [(1, 400)]);
    let stored = serde_json::to_string(&coverage.place(place()).unwrap().beats).unwrap();
    assert!(stored.len() < 1_500, "{} bytes a place: {stored}", stored.len());
}

#[test]
fn a_short_stop_leaves_no_hole_and_a_long_one_does() {
    let mut coverage = drained();
    both(&mut coverage, [1, 2, 4, 5, 8, 9]);
    assert_eq!(quarters(&coverage, 9 * QUARTER), [(1, 5), (8, 9)]);
    let holes = proof(&coverage, 9 * QUARTER).holes;
    assert_eq!(&*holes[0].reason, "no heartbeat was sent for too long");
}

#[test]
fn a_beat_that_is_lost_ends_the_span_even_if_its_neighbours_are_near() {
    let mut coverage = drained();
    both(&mut coverage, [1, 2]);
    sent(&mut coverage, 3);
    both(&mut coverage, [4, 5]);
    assert_eq!(quarters(&coverage, 5 * QUARTER), [(1, 2), (4, 5)]);
    let holes = proof(&coverage, 6 * QUARTER).holes;
    assert_eq!(&*holes[0].reason, "the heartbeat sent at 2026-11-01T00:45:00Z did not come back");
    assert_eq!((holes[0].from, holes[0].until), (at(2 * QUARTER), at(4 * QUARTER)));
    // It comes after all.
    returned(&mut coverage, 3);
    assert_eq!(quarters(&coverage, 5 * QUARTER), [(1, 5)]);
    assert_eq!(proof(&coverage, 5 * QUARTER).holes, []);
}

#[test]
fn what_comes_back_after_many_hours_heals_nothing() {
    let mut coverage = drained();
    both(&mut coverage, [1, 2]);
    sent(&mut coverage, 3);
    both(&mut coverage, 4..40);
    returned(&mut coverage, 3);
    assert_eq!(quarters(&coverage, 40 * QUARTER), [(1, 2), (4, 39)]);
    assert!(proof(&coverage, 40 * QUARTER).holes[0].reason.contains("the heartbeat sent at"));
}

#[test]
fn a_beat_that_is_waited_for_holds_the_later_ones_back() {
    let mut coverage = drained();
    both(&mut coverage, [1, 2]);
    sent(&mut coverage, 3);
    both(&mut coverage, [4]);
    let until = |now: u32| coverage.proven_until(place(), at(now));
    assert_eq!(until(4 * QUARTER), Some(at(2 * QUARTER)));
    assert_eq!(until(5 * QUARTER), Some(at(4 * QUARTER)), "by now it is lost");
    let reach = coverage.reach(place(), at(4 * QUARTER), &[]);
    assert_eq!(reach, crate::Reach { coverage_seconds: QUARTER, heartbeat_lag_seconds: Some(2 * QUARTER) });
}

#[test]
fn a_beat_may_come_back_before_it_is_journaled_and_others_calls_are_no_beats() {
    let mut coverage = drained();
    for stranger in 1_000..1_020 {
        coverage.note_returned("bus", place(), id(stranger), at(5));
    }
    both(&mut coverage, [1]);
    returned(&mut coverage, 2);
    assert_eq!(quarters(&coverage, 2 * QUARTER), []);
    sent(&mut coverage, 2);
    assert_eq!(quarters(&coverage, 2 * QUARTER), [(1, 2)]);
    let kept = serde_json::to_value(&coverage.place(place()).unwrap().beats).unwrap();
    assert_eq!(kept["strangers"].as_array().unwrap().len(), 7, "no more than eight are kept");
}

#[test]
fn a_clock_that_is_set_back_does_not_hide_a_lost_beat() {
    let mut coverage = drained();
    let mut beat = |number: u32, by_our_clock: u32, comes_back: bool| {
        coverage.note_beat(place(), id(number), at(by_our_clock));
        if comes_back {
            returned(&mut coverage, number);
        }
    };
    beat(1, QUARTER, true);
    beat(2, 2 * QUARTER, true);
    // Set back by 20 minutes, which would put it between the first two.
    beat(3, 3 * QUARTER - 1_200, false);
    beat(4, 4 * QUARTER - 1_200, true);
    assert_eq!(quarters(&coverage, 4 * QUARTER), [(1, 2)]);
}

#[test]
fn neighbours_are_put_in_the_order_in_which_they_were_sent() {
    let mut coverage = drained();
    both(&mut coverage, [1, 3]);
    // Sent a minute before the third, and journaled behind it.
    coverage.note_beat(place(), id(2), at(3 * QUARTER - 60));
    assert_eq!(quarters(&coverage, 3 * QUARTER), []);
}

#[test]
fn each_source_proves_by_itself_and_what_one_lacks_another_may_have() {
    let mut coverage = drained();
    drain(&mut coverage, "trail");
    both(&mut coverage, [1, 2]);
    sent(&mut coverage, 3);
    both(&mut coverage, [4, 5]);
    for number in 2..=4 {
        coverage.note_returned("trail", place(), id(number), at(number * QUARTER));
    }
    assert_eq!(quarters(&coverage, 5 * QUARTER), [(1, 5)]);
    assert_eq!(proof(&coverage, 5 * QUARTER).holes, []);
}

#[test]
fn nothing_is_claimed_of_what_a_source_has_not_taken() {
    let mut coverage = Coverage::default();
    both(&mut coverage, 1..=8);
    assert_eq!(quarters(&coverage, 8 * QUARTER), [], "nobody said how far the source is");
    coverage.note_mark("bus", &mark(2 * QUARTER, 0));
    coverage.note_mark("bus", &mark(4 * QUARTER, 0));
    assert_eq!(quarters(&coverage, 8 * QUARTER), [(2, 4)]);
    let lost =
        Lost { from: at(5 * QUARTER), until: at(6 * QUARTER), reason: "the stream was made anew".into() };
    coverage.note_mark("bus", &SourceMark { lost: Some(lost), ..mark(8 * QUARTER, 0) });
    assert_eq!(quarters(&coverage, 8 * QUARTER), [(2, 5), (6, 8)]);
    assert_eq!(&*proof(&coverage, 8 * QUARTER).holes[0].reason, "the stream was made anew");
}

#[test]
fn a_place_is_blind_from_its_last_good_beat() {
    let mut coverage = drained();
    assert_eq!(proof(&coverage, DAY).blind, None, "nobody tried");
    both(&mut coverage, [1, 2]);
    assert_eq!(proof(&coverage, 4 * QUARTER).blind, None);
    sent(&mut coverage, 3);
    sent(&mut coverage, 4);
    let blind = proof(&coverage, 4 * QUARTER + 1).blind.unwrap();
    assert_eq!(blind.since, at(2 * QUARTER));
    assert_eq!(&*blind.why, "no heartbeat came back since the one of 2026-11-01T00:30:00Z");
    let blind = proof(&coverage, DAY).blind.unwrap();
    assert_eq!(&*blind.why, "no heartbeat was sent since 2026-11-01T01:00:00Z");
    assert_eq!(coverage.reach(place(), at(DAY), &[]).coverage_seconds, 0);

    let mut never = drained();
    sent(&mut never, 1);
    assert_eq!(proof(&never, 2 * QUARTER).blind, None);
    assert_eq!(proof(&never, 4 * QUARTER).blind.unwrap().since, at(QUARTER));
}

fn change(seconds: u32, operation: &str, subject: &str) -> PipeChange {
    let is_rule = operation.contains("Rule") || operation.contains("Targets");
    let service = if is_rule { "events.amazonaws.com" } else { "cloudtrail.amazonaws.com" };
    PipeChange {
        at: at(seconds),
        event_id: format!("event-{seconds}-{operation}").into(),
        service: service.into(),
        operation: operation.into(),
        principal: Some("arn:aws:iam::111122223333:role/mallory".into()),
        subject: Some(subject.into()),
        error_code: None,
        leaves_out: LeavesOut::Nothing,
    }
}

#[test]
fn a_switch_makes_blind_at_once_until_a_later_beat_comes_back() {
    for operation in
        ["StopLogging", "DeleteTrail", "UpdateTrail", "DisableRule", "DeleteRule", "RemoveTargets"]
    {
        let mut coverage = drained();
        both(&mut coverage, 1..=4);
        coverage.note_pipe_change(place(), change(4 * QUARTER + 100, operation, "main"));
        let blind = proof(&coverage, 4 * QUARTER + 200).blind.unwrap();
        assert_eq!(blind.since, at(4 * QUARTER + 100));
        assert!(blind.why.contains(operation) && blind.why.contains("role/mallory"), "{}", blind.why);
        // What was on its way still arrives.
        coverage.note_beat(place(), id(100), at(4 * QUARTER + 110));
        coverage.note_returned("bus", place(), id(100), at(4 * QUARTER + 110));
        assert!(proof(&coverage, 4 * QUARTER + 200).blind.is_some());
        both(&mut coverage, [5, 6]);
        let proof = proof(&coverage, 6 * QUARTER);
        assert_eq!(proof.blind, None);
        let expected = [
            Span { from: at(QUARTER), until: at(4 * QUARTER + 100) },
            Span { from: at(5 * QUARTER), until: at(6 * QUARTER) },
        ];
        assert_eq!(proof.stream, expected, "{operation}");
        assert!(proof.holes.iter().any(|hole| hole.reason.contains(operation)));
    }
}

#[test]
fn the_order_in_which_switch_and_beat_arrive_does_not_matter() {
    let switch = |coverage: &mut Coverage| {
        coverage.note_pipe_change(place(), change(2 * QUARTER + 100, "StopLogging", "main"));
    };
    let mut early = drained();
    both(&mut early, [1, 2]);
    switch(&mut early);
    both(&mut early, [3, 4]);
    let mut late = drained();
    both(&mut late, 1..=4);
    switch(&mut late);
    switch(&mut late);
    assert_eq!(proof(&early, 4 * QUARTER), proof(&late, 4 * QUARTER));
    assert_eq!(proof(&late, 4 * QUARTER).stream.len(), 2);
}

#[test]
fn what_failed_or_is_not_ours_or_harms_nothing_is_no_switch() {
    let options = CoverageOptions {
        trails: vec![Pattern::new("org-*")],
        rules: vec![Pattern::new("dormouse")],
        ..CoverageOptions::default()
    };
    let mut coverage = drained().with_options(options);
    both(&mut coverage, 1..=4);
    let failed =
        PipeChange { error_code: Some("AccessDenied".into()), ..change(100, "StopLogging", "org-1") };
    coverage.note_pipe_change(place(), failed);
    for (operation, subject) in [
        ("StopLogging", "arn:aws:cloudtrail:eu-west-1:111122223333:trail/mine"),
        ("DisableRule", "other"),
        ("CreateTrail", "org-2"),
        ("StartLogging", "org-1"),
        ("EnableRule", "dormouse"),
        ("PutTargets", "dormouse"),
    ] {
        coverage.note_pipe_change(place(), change(4 * QUARTER, operation, subject));
    }
    assert_eq!(proof(&coverage, 4 * QUARTER).blind, None);
    let ours = "arn:aws:cloudtrail:eu-west-1:111122223333:trail/org-1";
    coverage.note_pipe_change(place(), change(4 * QUARTER, "StopLogging", ours));
    assert!(proof(&coverage, 4 * QUARTER).blind.is_some());
}

#[test]
fn a_trail_is_switched_off_in_all_regions_of_its_account_and_a_central_one_in_all_accounts() {
    let central: dormouse_model::AccountId = "999988887777".parse().unwrap();
    let options = CoverageOptions { central: vec![central], ..CoverageOptions::default() };
    let other_region = Place { region: "us-east-1".parse().unwrap(), ..place() };
    let mut coverage = drained().with_options(options);
    for known in [place(), other_region, elsewhere()] {
        coverage.note_beat(known, id(1), at(QUARTER));
        coverage.note_returned("bus", known, id(1), at(QUARTER));
    }
    let blind = |coverage: &Coverage| {
        [place(), other_region, elsewhere()].map(|known| coverage.blind(known, at(QUARTER + 200)).is_some())
    };
    let mut rule = coverage.clone();
    rule.note_pipe_change(place(), change(QUARTER + 100, "DisableRule", "x"));
    assert_eq!(blind(&rule), [true, false, false]);
    let mut trail = coverage.clone();
    trail.note_pipe_change(place(), change(QUARTER + 100, "StopLogging", "x"));
    assert_eq!(blind(&trail), [true, true, false]);
    coverage
        .note_pipe_change(Place { account: central, ..place() }, change(QUARTER + 100, "DisableRule", "x"));
    assert_eq!(blind(&coverage), [true, false, true]);
}

#[test]
fn what_leaves_out_reads_is_over_when_beats_and_uses_are_back_or_it_is_undone() {
    let hides =
        |leaves_out| PipeChange { leaves_out, ..change(2 * QUARTER + 1, "PutEventSelectors", "main") };
    for leaves_out in [LeavesOut::Kms, LeavesOut::Reads] {
        let mut coverage = drained();
        both(&mut coverage, [1, 2]);
        coverage.note_pipe_change(place(), hides(leaves_out));
        both(&mut coverage, [3, 4]);
        assert_eq!(proof(&coverage, 4 * QUARTER).blind.unwrap().since, at(2 * QUARTER + 1), "{leaves_out:?}");

        let mut used = coverage.clone();
        let use_at = at(3 * QUARTER + 5);
        used.note_passed("bus", place(), "Decrypt", (use_at, use_at));
        assert_eq!(proof(&used, 4 * QUARTER).blind, None);
        assert_eq!(proof(&used, 4 * QUARTER).stream[1], Span { from: use_at, until: at(4 * QUARTER) });

        let mut undone = coverage.clone();
        undone.note_pipe_change(place(), change(3 * QUARTER + 1, "PutEventSelectors", "main"));
        assert_eq!(proof(&undone, 4 * QUARTER).blind, None);
        both(&mut undone, [5]);
        assert_eq!(quarters(&undone, 5 * QUARTER), [(1, 2), (4, 5)]);

        let mut undone_first = drained();
        both(&mut undone_first, [1, 2]);
        undone_first.note_pipe_change(place(), change(3 * QUARTER + 1, "PutEventSelectors", "main"));
        undone_first.note_pipe_change(place(), hides(leaves_out));
        both(&mut undone_first, 3..=5);
        assert_eq!(quarters(&undone_first, 5 * QUARTER), [(1, 2), (4, 5)], "in whatever order");
    }
}

#[test]
fn an_attacker_cannot_wash_a_switch_away_by_many_others() {
    let mut coverage = drained();
    both(&mut coverage, 1..=8);
    coverage.note_pipe_change(place(), change(3 * QUARTER, "StopLogging", "main"));
    for number in 0..200 {
        coverage.note_pipe_change(place(), change(5 * QUARTER + number, "StopLogging", "main"));
    }
    let claimed = quarters(&coverage, 8 * QUARTER);
    assert!(claimed.iter().all(|&(from, until)| until <= 3 || from >= 4), "{claimed:?}");
    assert!(coverage.place(place()).unwrap().switches.iter().count() <= 32);
}

#[test]
fn operations_pass_if_they_were_seen_from_anywhere_but_after_a_new_filter_only_from_here() {
    let mut coverage = drained();
    assert!(proof(&coverage, 1).operations.is_empty(), "no source carries its heartbeats");
    both(&mut coverage, [1, 2]);
    let names = |coverage: &Coverage| {
        proof(coverage, 2 * QUARTER).operations.into_keys().map(String::from).collect::<Vec<_>>()
    };
    assert_eq!(names(&coverage), ["Decrypt", "Encrypt"]);
    coverage.note_pipe_change(place(), change(2 * QUARTER, "PutRule", "main"));
    assert!(names(&coverage).is_empty());
    coverage.note_passed("bus", place(), "Encrypt", (at(QUARTER), at(QUARTER)));
    coverage.note_passed("bus", elsewhere(), "Decrypt", (at(3 * QUARTER), at(3 * QUARTER)));
    assert!(names(&coverage).is_empty(), "from before it, or from elsewhere");
    coverage.note_passed("bus", place(), "Encrypt", (at(QUARTER), at(3 * QUARTER)));
    assert_eq!(names(&coverage), ["Encrypt"]);
}

const KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

fn kms_says(asked: u32, used: u32) -> KeyAnswer {
    let used = KmsUse {
        at: at(used),
        operation: "Decrypt".into(),
        event_id: Some(EventId::from("the-missed-event")),
    };
    KeyAnswer {
        key: KEY.parse().unwrap(),
        asked_at: at(asked),
        request_id: EventId::from("request"),
        said: KeySaid::LastUsage(LastUsage { tracked_from: at(0), created: at(0), last: Some(used) }),
    }
}

#[test]
fn a_use_that_kms_knows_and_that_never_arrived_ends_the_claim() {
    let mut coverage = drained();
    both(&mut coverage, 1..=40);
    let used = 20 * QUARTER;
    assert!(!coverage.note_kms_use(&kms_says(used + 7_199, used), None, false), "it may be on its way");
    assert!(
        !coverage.note_kms_use(&kms_says(used + 7_200, used), Some(at(used - 7_200)), false),
        "near enough"
    );
    assert!(!coverage.note_kms_use(&kms_says(40 * QUARTER, 10), None, false), "nothing is claimed of then");
    let mut other = kms_says(used + 7_200, used);
    if let KeySaid::LastUsage(LastUsage { last: Some(last), .. }) = &mut other.said {
        last.operation = "Sign".into();
    }
    assert!(!coverage.note_kms_use(&other, None, false), "it was never claimed that Sign passes");

    assert!(coverage.note_kms_use(&kms_says(used + 7_200, used), Some(at(used - 7_201)), false));
    assert_eq!(quarters(&coverage, 40 * QUARTER), [(28, 40)]);
    let known = coverage.place(place()).unwrap();
    assert_eq!((known.missed.total, known.missed.latest[0].at), (1, at(used)));
    let hole = &proof(&coverage, 40 * QUARTER).holes[0];
    let words = ["2026-11-01T05:00:00Z", "2026-11-01T02:59:59Z", KEY];
    assert!(words.iter().all(|word| hole.reason.contains(word)), "{}", hole.reason);
    assert!(!coverage.note_kms_use(&kms_says(used + 9_000, used), None, false), "it is known already");
}

#[test]
fn a_missed_use_ends_what_digests_claim_as_well() {
    let cell = Cell { place: place(), day: at(0).day() };
    let mut coverage = drained();
    coverage.note_cell(&CellShift {
        cell,
        whole: true,
        records: 1,
        read_only: true,
        covered: vec![Span { from: at(0), until: at(DAY) }],
        gaps: Vec::new(),
        keys: Vec::new(),
    });
    assert!(coverage.note_kms_use(&kms_says(DAY / 2, 1_000), None, false));
    assert_eq!(proof(&coverage, DAY).digests, [Span { from: at(DAY / 2), until: at(DAY) }]);
}

#[test]
fn an_operation_that_nobody_knows_is_a_hole_of_its_key_until_the_table_names_it() {
    let key: KeyArn = KEY.parse().unwrap();
    let mut coverage = drained();
    both(&mut coverage, 1..=4);
    coverage.note_unknown_call("bus", Some(place()), &[key], "Ponder", at(2 * QUARTER));
    assert_eq!(coverage.holes_of_key(key).len(), 1);
    assert_eq!(quarters(&coverage, 4 * QUARTER), [(1, 4)], "other keys lose nothing");
    coverage.note_unknown_call("bus", Some(place()), &[key], "Ponder", at(2 * QUARTER + 60));
    coverage.note_unknown_call("bus", Some(place()), &[], "Ponder", at(2 * QUARTER));
    assert_eq!(proof(&coverage, 4 * QUARTER).stream.len(), 2, "it may have been any of them");
    coverage.note_unknown_call("bus", None, &[], "Ponder", at(3 * QUARTER));
    assert_eq!(proof(&coverage, 4 * QUARTER).stream.len(), 3, "it may have been anywhere");

    let rows = coverage.take_changed();
    let mut again = Coverage::restore(rows.clone());
    again.set_unread([]);
    assert_eq!(again.holes_of_key(key), coverage.holes_of_key(key));
    assert_eq!(proof(&again, 4 * QUARTER), proof(&coverage, 4 * QUARTER));

    let mut operations = OperationTable::default();
    operations.override_in_use("Ponder", false).unwrap();
    let options = CoverageOptions { operations, ..CoverageOptions::default() };
    let mut named = Coverage::restore(rows).with_options(options);
    named.set_unread([]);
    assert!(named.holes_of_key(key).is_empty());
    assert_eq!(proof(&named, 4 * QUARTER).stream.len(), 2, "what nobody can place stays");
}

#[test]
fn the_quarantine_holds_back_what_it_may_concern() {
    let key: KeyArn = KEY.parse().unwrap();
    let (account, region) = (place().account, place().region);
    let elsewhere = "us-east-1".parse().unwrap();
    let unread = |account, region, key, events: Option<u32>| Unread {
        account,
        region,
        key,
        events: events.map(|seconds| (at(seconds), at(seconds))),
        received: at(2 * QUARTER),
        reason: "not_json".into(),
    };
    let mut coverage = drained();
    both(&mut coverage, 1..=4);
    let declared = [Declared {
        accounts: Vec::new(),
        regions: Vec::new(),
        span: Span { from: at(5 * QUARTER), until: at(6 * QUARTER) },
        delay_seconds: 0,
    }];
    let whole = coverage.proof(place(), at(7 * QUARTER), &declared);
    for (message, is_a_hole) in [
        (unread(Some(account), Some(region), None, Some(2 * QUARTER)), true),
        (unread(Some(account), None, None, Some(2 * QUARTER)), true),
        (unread(None, Some(region), None, Some(2 * QUARTER)), true),
        (unread(None, None, None, Some(2 * QUARTER)), true),
        (unread(Some(account), Some(elsewhere), None, Some(2 * QUARTER)), false),
        (unread(Some(account), Some(region), Some(key), Some(2 * QUARTER)), false),
    ] {
        coverage.set_unread([message.clone()]);
        let proof = proof(&coverage, 4 * QUARTER);
        assert_eq!(proof.stream.len(), if is_a_hole { 2 } else { 1 }, "{message:?}");
        assert_eq!(coverage.holes_of_key(key).len(), usize::from(message.key.is_some()));
    }
    coverage.set_unread([unread(None, None, None, Some(5 * QUARTER + 1))]);
    assert_eq!(coverage.proof(place(), at(7 * QUARTER), &declared).declared.len(), 2);
    let behind = 6 * 3_600;
    let received = at(2 * QUARTER).minus(behind);
    coverage.set_unread([Unread { received, ..unread(None, None, None, None) }]);
    let rest = [Span { from: received.plus(behind), until: at(4 * QUARTER) }];
    let told = proof(&coverage, 4 * QUARTER).stream;
    assert_eq!(told, rest, "all up to when it was received, if our clock was behind");
    coverage.set_unread([]);
    assert_eq!(coverage.proof(place(), at(7 * QUARTER), &declared), whole, "it was resolved");
}

#[test]
fn many_quarantined_messages_of_one_place_are_few_holes() {
    let mut coverage = drained();
    coverage.set_unread((0..5_000).map(|number| Unread {
        account: Some(place().account),
        region: Some(place().region),
        key: None,
        events: Some((at(number * 10), at(number * 10))),
        received: at(DAY),
        reason: "no_event_id".into(),
    }));
    assert!(coverage.holes_of_place(place()).len() <= 100);
}

/// When a use by this operation would have been seen by the stream, in quarters of an hour.
fn seen(coverage: &Coverage, operation: &str, now: u32) -> Vec<(u32, u32)> {
    let quarter = |time: EventTime| time.seconds_since(at(0)) / QUARTER;
    let proof = proof(coverage, now);
    let spans = proof.seen.get(operation).cloned().unwrap_or_default();
    spans.iter().map(|span| (quarter(span.from), quarter(span.until))).collect()
}

#[test]
fn what_one_source_lets_through_says_nothing_of_another() {
    let mut coverage = drained();
    drain(&mut coverage, "trail");
    coverage.note_passed("trail", elsewhere(), "GetPublicKey", (at(1), at(2)));
    both(&mut coverage, 1..=8);
    for number in 1..=4 {
        coverage.note_returned("trail", place(), id(number), at(number * QUARTER));
    }
    assert_eq!(quarters(&coverage, 8 * QUARTER), [(1, 8)]);
    assert_eq!(seen(&coverage, "Decrypt", 8 * QUARTER), [(1, 8)]);
    assert_eq!(seen(&coverage, "GetPublicKey", 8 * QUARTER), [(1, 4)]);
}

#[test]
fn an_operation_is_claimed_since_it_was_first_seen() {
    let mut coverage = drained();
    both(&mut coverage, 1..=8);
    coverage.note_passed("bus", elsewhere(), "Sign", (at(5 * QUARTER), at(6 * QUARTER)));
    coverage.note_passed("bus", elsewhere(), "Sign", (at(3 * QUARTER), at(3 * QUARTER)));
    assert_eq!(seen(&coverage, "Sign", 8 * QUARTER), [(3, 8)]);

    // What only the configuration calls a use was not counted before it did, whenever it happened.
    let mut table = OperationTable::default();
    table.override_in_use("Ponder", true).unwrap();
    let options = CoverageOptions { operations: table, ..CoverageOptions::default() };
    let mut coverage = coverage.with_options(options);
    coverage.note_mark("bus", &SourceMark { caught_up: Some(at(100 * DAY)), ..mark(4 * QUARTER, 0) });
    coverage.note_passed("bus", elsewhere(), "Ponder", (at(1), at(1)));
    let ponder = proof(&coverage, 8 * QUARTER).seen["Ponder"].clone();
    assert_eq!(ponder, [Span { from: at(4 * QUARTER + 600), until: at(8 * QUARTER) }]);
    // It counts no more, and again.
    let mut coverage = coverage.with_options(CoverageOptions::default());
    assert!(coverage.take_changed().sources.iter().any(|(name, _)| **name == *"bus"));
    assert!(!proof(&coverage, 8 * QUARTER).seen.contains_key("Ponder"));
}

#[test]
fn what_a_source_had_not_taken_may_have_happened_before() {
    let mut coverage = Coverage::default();
    coverage.note_mark("bus", &mark(0, 0));
    coverage.note_passed("bus", elsewhere(), "Decrypt", (at(1), at(2)));
    both(&mut coverage, 1..=40);
    coverage.note_mark("bus", &mark(20 * QUARTER, 0));
    assert_eq!(seen(&coverage, "Decrypt", 40 * QUARTER), [(1, 12)], "it stands still since");
    let lost = Lost { from: at(30 * QUARTER), until: at(31 * QUARTER), reason: "it was made anew".into() };
    coverage.note_mark("bus", &SourceMark { lost: Some(lost), ..mark(60 * QUARTER, 0) });
    assert_eq!(seen(&coverage, "Decrypt", 60 * QUARTER), [(1, 22), (31, 40)]);
}

#[test]
fn a_rule_that_is_put_blinds_nobody_and_leaves_the_past_as_it_was() {
    let mut coverage = drained();
    both(&mut coverage, 1..=8);
    coverage.note_pipe_change(place(), change(3 * QUARTER, "PutRule", "stranger"));
    assert_eq!(proof(&coverage, 8 * QUARTER).blind, None);
    assert_eq!(quarters(&coverage, 8 * QUARTER), [(1, 8)]);
    assert_eq!(seen(&coverage, "Decrypt", 8 * QUARTER), [(1, 3)], "it has to be seen again");
    let here = |coverage: &mut Coverage, quarter: u32| {
        coverage.note_passed("bus", place(), "Decrypt", (at(quarter * QUARTER), at(quarter * QUARTER)));
    };
    here(&mut coverage, 4);
    assert_eq!(seen(&coverage, "Decrypt", 8 * QUARTER), [(1, 3), (4, 8)]);
    coverage.note_pipe_change(place(), change(6 * QUARTER, "PutRule", "stranger"));
    here(&mut coverage, 7);
    assert_eq!(seen(&coverage, "Decrypt", 8 * QUARTER), [(1, 3), (4, 6), (7, 8)]);
    // One of before is heard of late: what passed from before it on may have been parted by it.
    coverage.note_pipe_change(place(), change(5 * QUARTER, "PutRule", "stranger"));
    assert_eq!(seen(&coverage, "Decrypt", 8 * QUARTER), [(1, 3), (4, 5), (7, 8)]);
    let rows = coverage.take_changed();
    let text = serde_json::to_string(&rows.places.iter().find(|(of, _)| *of == place()).unwrap().1).unwrap();
    let known: PlaceCoverage = serde_json::from_str(&text).unwrap();
    let again = Coverage::restore(CoverageRows { places: vec![(place(), known)], ..rows });
    assert_eq!(seen(&again, "Decrypt", 8 * QUARTER), [(1, 3), (4, 5), (7, 8)]);
}

#[test]
fn an_operation_that_was_not_known_stays_a_hole_when_it_is_called_a_use_and_none_when_it_is_not() {
    let key: KeyArn = KEY.parse().unwrap();
    let mut coverage = drained();
    coverage.note_unknown_call("bus", Some(place()), &[key], "Ponder", at(2 * QUARTER));
    for (is_use, holes) in [(true, 1), (false, 0)] {
        let mut operations = OperationTable::default();
        operations.override_in_use("Ponder", is_use).unwrap();
        let options = CoverageOptions { operations, ..CoverageOptions::default() };
        let mut coverage = coverage.clone().with_options(options);
        coverage.set_unread([]);
        assert_eq!(coverage.holes_of_key(key).len(), holes, "{is_use}");
        assert_eq!(coverage.calls_of_key(key).len(), holes, "{is_use}");
    }
}

/// What is left of a declaration of everything, in quarters of an hour.
fn declared(coverage: &Coverage, now: u32) -> Vec<(u32, u32)> {
    let quarter = |time: EventTime| time.seconds_since(at(0)) / QUARTER;
    let all = coverage.proof(place(), at(now), &[everything()]).declared;
    all.iter().map(|span| (quarter(span.from), quarter(span.until))).collect()
}

fn everything() -> Declared {
    Declared {
        accounts: Vec::new(),
        regions: Vec::new(),
        span: Span { from: at(0), until: at(100 * DAY) },
        delay_seconds: 0,
    }
}

#[test]
fn nothing_is_declared_of_what_is_known_to_be_lost() {
    let mut coverage = Coverage::default();
    assert_eq!(declared(&coverage, 40 * QUARTER), [(0, 40)]);
    coverage.note_mark("bus", &mark(0, 0));
    let lost = Lost { from: at(20 * QUARTER), until: at(21 * QUARTER), reason: "it was made anew".into() };
    coverage.note_mark("bus", &SourceMark { lost: Some(lost), ..mark(60 * QUARTER, 0) });
    assert_eq!(declared(&coverage, 60 * QUARTER), [(0, 12), (21, 52)], "whichever source it comes through");
    drain(&mut coverage, "trail");
    coverage.note_seen("trail", place(), Seen { first: at(1), last: at(2), records: 2 });
    assert_eq!(declared(&coverage, 60 * QUARTER), [(0, 60)], "it comes through another");

    // Without heartbeats, any later event shows that a switch was turned back.
    coverage.note_pipe_change(place(), change(30 * QUARTER, "StopLogging", "main"));
    assert_eq!(declared(&coverage, 60 * QUARTER), [(0, 30)]);
    let events = |quarter: u32| Seen { first: at(3), last: at(quarter * QUARTER), records: 2 };
    let mut late = coverage.clone();
    coverage.note_seen("trail", place(), events(30));
    assert!(coverage.blind(place(), at(60 * QUARTER)).is_some(), "it was on its way");
    coverage.note_seen("trail", place(), events(33));
    assert_eq!(coverage.blind(place(), at(60 * QUARTER)), None);
    assert_eq!(declared(&coverage, 60 * QUARTER), [(0, 30), (33, 60)]);
    // In whatever order.
    late.note_seen("trail", place(), events(40));
    late.note_pipe_change(place(), change(35 * QUARTER, "DisableRule", "main"));
    assert_eq!(declared(&late, 60 * QUARTER), [(0, 30), (40, 60)]);
}

#[test]
fn a_use_that_kms_knows_is_missed_where_it_is_declared_and_not_where_it_may_be_unread() {
    let options = CoverageOptions { declared: vec![everything()], ..CoverageOptions::default() };
    let mut coverage = drained().with_options(options);
    let said = kms_says(40 * QUARTER, 20 * QUARTER);
    coverage.set_unread([Unread {
        account: Some(place().account),
        region: None,
        key: None,
        events: Some((at(20 * QUARTER), at(20 * QUARTER))),
        received: at(20 * QUARTER),
        reason: "unresolved_alias".into(),
    }]);
    assert!(coverage.may_be_unread(&said));
    assert!(!coverage.note_kms_use(&said, None, true));
    coverage.set_unread([]);
    assert!(!coverage.may_be_unread(&said));
    assert!(coverage.note_kms_use(&said, None, false));
    assert_eq!(declared(&coverage, 60 * QUARTER), [(40, 60)]);
    let known = coverage.place(place()).unwrap();
    assert_eq!((known.missed.total, known.missed.declared.len()), (1, 1));
}

#[test]
fn a_beat_that_may_come_back_is_kept_however_many_are_sent_behind_it() {
    let mut coverage = drained();
    both(&mut coverage, [1]);
    for number in 100..160 {
        coverage.note_beat(place(), id(number), at(QUARTER + number));
    }
    for number in 100..160 {
        coverage.note_returned("bus", place(), id(number), at(QUARTER + number));
    }
    both(&mut coverage, [2, 3]);
    assert_eq!(quarters(&coverage, 3 * QUARTER), [(1, 3)]);
    assert!(
        serde_json::to_value(&coverage.place(place()).unwrap().beats).unwrap()["open"]
            .as_array()
            .unwrap()
            .len()
            <= 24
    );
    // Even these have an end.
    for number in 1_000..3_000 {
        coverage.note_beat(place(), id(number), at(4 * QUARTER));
    }
    let kept = serde_json::to_value(&coverage.place(place()).unwrap().beats).unwrap();
    assert_eq!(kept["open"].as_array().unwrap().len(), 256);
}

#[test]
fn the_ninth_source_takes_the_place_of_the_one_that_is_silent_for_longest() {
    let names: Vec<String> = (0..9).map(|number| format!("source-{number}")).collect();
    let mut coverage = Coverage::default();
    for (number, name) in (0u32..).zip(&names) {
        drain(&mut coverage, name);
        for beat in [number * 20 + 1, number * 20 + 2] {
            sent(&mut coverage, beat);
            coverage.note_returned(name, place(), id(beat), at(beat * QUARTER));
        }
    }
    let claimed = quarters(&coverage, 200 * QUARTER);
    assert_eq!(claimed.len(), 8, "the first is forgotten: {claimed:?}");
    assert_eq!((claimed[0], claimed[7]), ((21, 22), (161, 162)));
}
