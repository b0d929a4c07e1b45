use proptest::prelude::*;

use super::*;

fn prove(cell: Cell, digests: &[SeenDigest], unread: &[UnreadDigest], files: &ReadFiles) -> Proof {
    super::prove(DayOfPlace { cell, digests, unread, files, not_understood: &[] })
}

const DAY: u32 = 20_760;
const HOUR: u32 = 3_600;
const ALLOWANCE: u32 = DELIVERY_ALLOWANCE_SECONDS;

fn cell() -> Cell {
    let place = dormouse_model::Place {
        account: "111122223333".parse().unwrap(),
        region: "eu-west-1".parse().unwrap(),
    };
    Cell { place, day: DAY }
}

/// So many seconds after the day's begin, or before it.
fn at(seconds: i64) -> EventTime {
    EventTime::from_seconds(u32::try_from(i64::from(DAY) * 86_400 + seconds).unwrap())
}

fn hash(number: usize) -> [u8; 32] {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&(number as u64).to_be_bytes());
    hash
}

fn name(trail: &str, number: usize) -> Box<str> {
    format!("AWSLogs/digest-{trail}-{number}").into()
}

/// A trail whose digests begin a minute and a half past the hour, from an hour before the day to two behind it, each
/// with a log file of its hour.
fn history(trail: &str) -> (Vec<SeenDigest>, ReadFiles) {
    let (mut digests, mut files) = (Vec::new(), ReadFiles::default());
    for number in 0..27 {
        let start = (number as i64 - 1) * i64::from(HOUR) + 90;
        let file: Box<str> = format!("AWSLogs/log-{trail}-{number}").into();
        let listed = ListedFile {
            object: file.clone(),
            is_ours: true,
            hash: hash(1_000 + number),
            events: Some((at(start + 600), at(start + 1_200))),
        };
        digests.push(SeenDigest {
            trail: trail.into(),
            object: name(trail, number),
            hash: hash(number),
            start: at(start),
            end: at(start + i64::from(HOUR)),
            previous: Some((name(trail, number.wrapping_sub(1)), hash(number.wrapping_sub(1)))),
            files: vec![listed],
        });
        let read = ReadFile { hash: Some(hash(1_000 + number)), problem: None, read_only_days: vec![DAY] };
        files.insert(file, read);
    }
    (digests, files)
}

fn covered(proof: &Proof) -> Vec<(i64, i64)> {
    let seconds = |time: EventTime| i64::from(time.seconds()) - i64::from(DAY) * 86_400;
    proof.covered.iter().map(|span| (seconds(span.from), seconds(span.until))).collect()
}

fn reasons(proof: &Proof) -> Vec<String> {
    proof.gaps.iter().map(|gap| gap.reason.to_string()).collect()
}

#[test]
fn an_unbroken_chain_proves_the_whole_day() {
    let (digests, files) = history("main");
    let proof = prove(cell(), &digests, &[], &files);
    assert_eq!(covered(&proof), [(0, 86_400)]);
    assert_eq!(proof.gaps, []);
}

#[test]
fn nothing_is_proven_without_digests() {
    let proof = prove(cell(), &[], &[], &history("main").1);
    assert_eq!(covered(&proof), []);
    assert_eq!(reasons(&proof), ["no digest files"]);
    assert_eq!((proof.gaps[0].from, proof.gaps[0].until), (at(0), at(86_400)));
}

#[test]
fn a_missing_digest_leaves_its_hour_and_the_allowance_before_it() {
    let (mut digests, files) = history("main");
    digests.remove(15);
    let proof = prove(cell(), &digests, &[], &files);
    let (from, until) = (14 * 3_600 + 90, 15 * 3_600 + 90);
    assert_eq!(covered(&proof), [(0, from - i64::from(ALLOWANCE)), (until, 86_400)]);
    assert_eq!(reasons(&proof), [format!("the digest of {} to {} is missing", at(from), at(until))]);
}

#[test]
fn a_digest_that_cannot_be_used_is_named_with_the_reason() {
    let (mut digests, files) = history("main");
    let removed = digests.remove(15);
    let unread = UnreadDigest {
        object: removed.object,
        trail: Some(removed.trail),
        end: Some(removed.end),
        reason: "access denied".into(),
    };
    let proof = prove(cell(), &digests, &[unread], &files);
    assert_eq!(reasons(&proof), ["the digest AWSLogs/digest-main-15 cannot be used: access denied"]);
}

#[test]
fn a_digest_that_was_replaced_joins_nothing() {
    let (mut digests, files) = history("main");
    digests[15].hash = hash(7);
    let proof = prove(cell(), &digests, &[], &files);
    let joint = 15 * 3_600 + 90;
    assert_eq!(covered(&proof), [(0, joint - i64::from(ALLOWANCE)), (joint, 86_400)]);
    assert_eq!(reasons(&proof), ["the digest AWSLogs/digest-main-15 does not match its successor's hash"]);
}

#[test]
fn logging_that_was_stopped_and_began_anew_is_a_gap() {
    let (mut digests, files) = history("main");
    digests[15].previous = None;
    let proof = prove(cell(), &digests, &[], &files);
    assert_eq!(reasons(&proof), [format!("logging began anew at {}", digests[15].start)]);
}

#[test]
fn a_log_file_that_is_missing_or_another_leaves_the_times_of_its_events() {
    let (digests, mut files) = history("main");
    files.remove("AWSLogs/log-main-3");
    files.get_mut("AWSLogs/log-main-5").unwrap().hash = Some(hash(5));
    files.get_mut("AWSLogs/log-main-7").unwrap().problem = Some("damaged gzip".into());
    let proof = prove(cell(), &digests, &[], &files);
    let begin = |number: i64| (number - 1) * 3_600 + 90 + 600;
    let spans =
        [(0, begin(3)), (begin(3) + 601, begin(5)), (begin(5) + 601, begin(7)), (begin(7) + 601, 86_400)];
    assert_eq!(covered(&proof), spans);
    assert_eq!(
        reasons(&proof),
        [
            "AWSLogs/log-main-3: the log file is missing",
            "AWSLogs/log-main-5: the log file is not the one that was delivered",
            "AWSLogs/log-main-7: damaged gzip",
        ]
    );
}

#[test]
fn a_lost_file_without_times_leaves_its_digests_hour_and_the_allowance_around_it() {
    let (mut digests, mut files) = history("main");
    files.remove("AWSLogs/log-main-3");
    digests[3].files[0].events = None;
    let proof = prove(cell(), &digests, &[], &files);
    let start = 2 * 3_600 + 90;
    let allowance = i64::from(ALLOWANCE);
    assert_eq!(covered(&proof), [(0, start - allowance), (start + 3_600 + allowance, 86_400)]);
}

#[test]
fn a_day_without_read_only_records_of_the_trail_is_not_covered() {
    let (mut digests, mut files) = history("main");
    files.values_mut().for_each(|file| file.read_only_days = vec![DAY - 1, DAY + 1]);
    let reason = "no read-only record of KMS was seen on 2026-11-03: the trail may not carry them";
    let proof = prove(cell(), &digests, &[], &files);
    assert_eq!((covered(&proof), reasons(&proof)), (vec![], vec![reason.to_owned()]));
    // Another trail's records do not help this one.
    let (others, mut other_files) = history("other");
    files.extend(other_files.drain());
    assert_eq!(covered(&prove(cell(), &digests, &[], &files)), []);
    digests.extend(others);
    assert_eq!(covered(&prove(cell(), &digests, &[], &files)), [(0, 86_400)]);
}

#[test]
fn what_one_trail_lost_another_proves() {
    let (mut digests, mut files) = history("main");
    digests.remove(15);
    let (mut others, other_files) = history("other");
    others.remove(3);
    digests.extend(others);
    files.extend(other_files);
    let proof = prove(cell(), &digests, &[], &files);
    assert_eq!(covered(&proof), [(0, 86_400)]);
    assert_eq!(proof.gaps, []);
    digests.retain(|digest| &*digest.object != "AWSLogs/digest-other-15");
    let proof = prove(cell(), &digests, &[], &files);
    assert_eq!(covered(&proof).len(), 2);
    assert!(reasons(&proof).iter().all(|reason| reason.contains("trail ")), "{:?}", reasons(&proof));
}

#[test]
fn a_chain_that_ends_within_the_day_proves_up_to_the_allowance_before_its_end() {
    let (mut digests, files) = history("main");
    digests.truncate(11);
    let proof = prove(cell(), &digests, &[], &files);
    let end = 10 * 3_600 + 90;
    assert_eq!(covered(&proof), [(0, end - i64::from(ALLOWANCE))]);
    assert_eq!(reasons(&proof), [format!("what was delivered from {} on is in no digest", at(end))]);
}

#[test]
fn many_gaps_are_told_as_few_and_claim_nothing() {
    let (mut digests, files) = history("main");
    for (number, digest) in digests.iter_mut().enumerate() {
        let begin = digest.start.seconds();
        digest.files.extend((0..900).map(|second| ListedFile {
            object: format!("AWSLogs/\u{1b}lost-{number}-{second}").into(),
            is_ours: second % 2 == 0,
            hash: hash(0),
            events: Some((
                EventTime::from_seconds(begin + second * 4),
                EventTime::from_seconds(begin + second * 4),
            )),
        }));
    }
    let proof = prove(cell(), &digests, &[], &files);
    assert_eq!(proof.covered.len(), MOST_SPANS);
    assert!(proof.gaps.len() <= MOST_GAPS);
    assert_eq!(proof.gaps.last().unwrap().until, at(86_400));
    assert!(proof.gaps.iter().all(|gap| !gap.reason.contains('\u{1b}')));
}

#[test]
fn a_use_of_a_key_that_nobody_can_name_leaves_its_second() {
    let (digests, files) = history("main");
    let not_understood = [Gap {
        from: at(500),
        until: at(501),
        reason: "a call of Decrypt names no key that can be told".into(),
    }];
    let known = DayOfPlace {
        cell: cell(),
        digests: &digests,
        unread: &[],
        files: &files,
        not_understood: &not_understood,
    };
    let proof = super::prove(known);
    assert_eq!(covered(&proof), [(0, 500), (501, 86_400)]);
    assert_eq!(reasons(&proof), ["a call of Decrypt names no key that can be told"]);
    assert!(proof.is_all_delivered && !proof.is_lacking);
}

#[test]
fn a_damaged_file_that_no_digest_lists_is_named() {
    let mut files = ReadFiles::default();
    files.insert("AWSLogs/x".into(), ReadFile { problem: Some("damaged".into()), ..ReadFile::default() });
    let proof = prove(cell(), &[], &[], &files);
    assert_eq!(reasons(&proof), ["AWSLogs/x: damaged", "no digest files"]);
}

/// What happens to one hour of a trail.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Fine,
    DigestLost,
    DigestReplaced,
    NamesNoneBefore,
    LogLost,
    LogLostWithoutTimes,
    LogReplaced,
    Elsewhere,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        12 => Just(Fate::Fine),
        1 => Just(Fate::DigestLost),
        1 => Just(Fate::DigestReplaced),
        1 => Just(Fate::NamesNoneBefore),
        1 => Just(Fate::LogLost),
        1 => Just(Fate::LogLostWithoutTimes),
        1 => Just(Fate::LogReplaced),
        1 => Just(Fate::Elsewhere),
    ]
}

/// Events of a trail: when, and how long until their log file was delivered.
type Events = Vec<(i64, u32)>;

/// A history in which each event lies in a log file of its own, delivered so many seconds later, and whose digests are
/// a minute to two hours long.
fn lay_out(
    trail: &str,
    lengths: &[u32],
    fates: &[Fate],
    events: &Events,
) -> (Vec<SeenDigest>, ReadFiles, Vec<EventTime>) {
    let (mut digests, mut files, mut lost) = (Vec::<SeenDigest>::new(), ReadFiles::default(), Vec::new());
    let mut start = -i64::from(HOUR);
    for (number, &length) in lengths.iter().enumerate() {
        let end = start + i64::from(length);
        let fate = fates[number % fates.len()];
        let mut digest = SeenDigest {
            trail: trail.into(),
            object: name(trail, number),
            hash: hash(number),
            start: at(start),
            end: at(end),
            previous: number.checked_sub(1).map(|before| (name(trail, before), hash(before))),
            files: Vec::new(),
        };
        for (event, &(time, delay)) in events.iter().enumerate() {
            let delivered = time + i64::from(delay);
            if !(start..end).contains(&delivered) {
                continue;
            }
            let object: Box<str> = format!("AWSLogs/{trail}-{number}-{event}").into();
            let mut listed = ListedFile {
                object: object.clone(),
                is_ours: true,
                hash: hash(event),
                events: Some((at(time), at(time))),
            };
            let mut read = ReadFile { hash: Some(hash(event)), problem: None, read_only_days: vec![DAY] };
            match fate {
                // The file may be there; nothing says so. It was removed together with its digest.
                Fate::DigestLost => lost.push(at(time)),
                Fate::LogLost => lost.push(at(time)),
                Fate::LogLostWithoutTimes => {
                    listed.events = None;
                    lost.push(at(time));
                }
                Fate::LogReplaced => {
                    read.hash = Some(hash(9_999));
                    lost.push(at(time));
                }
                Fate::Elsewhere => {
                    listed.is_ours = false;
                    lost.push(at(time));
                }
                Fate::Fine | Fate::DigestReplaced | Fate::NamesNoneBefore => {}
            }
            if !matches!(fate, Fate::DigestLost | Fate::LogLost | Fate::LogLostWithoutTimes) {
                files.insert(object, read);
            }
            digest.files.push(listed);
        }
        match fate {
            Fate::DigestReplaced => digest.hash = hash(8_888),
            Fate::NamesNoneBefore => digest.previous = None,
            _ => {}
        }
        if fate != Fate::DigestLost {
            digests.push(digest);
        }
        start = end;
    }
    (digests, files, lost)
}

/// Whether a trail proves this second, by walking on from the digest that covers it until the allowance is over.
fn slowly_proves(digests: &[SeenDigest], files: &ReadFiles, time: EventTime) -> bool {
    let is_good = |file: &ListedFile| {
        file.is_ours && files.get(&file.object).is_some_and(|read| read.hash == Some(file.hash))
    };
    let hides = |digest: &SeenDigest| {
        digest.files.iter().filter(|file| !is_good(file)).any(|file| match file.events {
            Some((oldest, newest)) => oldest <= time && time <= newest,
            None => digest.start.minus(ALLOWANCE) <= time && time < digest.end.plus(ALLOWANCE),
        })
    };
    if digests.iter().any(hides) {
        return false;
    }
    let has_read_only =
        digests.iter().flat_map(|digest| &digest.files).any(|file| files.contains_key(&file.object));
    let mut here = digests.iter().find(|digest| digest.start <= time && time < digest.end);
    while let Some(digest) = here {
        if time.plus(ALLOWANCE) < digest.end {
            return has_read_only;
        }
        here = digests.iter().find(|next| {
            next.start == digest.end
                && next
                    .previous
                    .as_ref()
                    .is_some_and(|(object, hash)| *object == digest.object && *hash == digest.hash)
        });
    }
    false
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever is lost, no instant at which a lost event happened is covered, and what is covered is exactly what the
    /// slow way says.
    #[test]
    fn no_lost_event_lies_in_a_covered_span(
        one in (prop::collection::vec(60u32..7_200, 20..40), prop::collection::vec(fate(), 1..40)),
        other in (prop::collection::vec(60u32..7_200, 20..40), prop::collection::vec(fate(), 1..40)),
        events in prop::collection::vec((-3_600i64..90_000, 0..=ALLOWANCE), 0..60),
        has_other: bool,
    ) {
        let (mut digests, mut files, lost) = lay_out("one", &one.0, &one.1, &events);
        let mut trails = vec![(digests.clone(), lost)];
        if has_other {
            let (more, more_files, lost) = lay_out("other", &other.0, &other.1, &events);
            digests.extend(more.clone());
            files.extend(more_files);
            trails.push((more, lost));
        }
        let proof = prove(cell(), &digests, &[], &files);
        let is_covered = |time: EventTime| proof.covered.iter().any(|span| span.from <= time && time < span.until);
        for &(time, _) in &events {
            // It is lost if every trail lost it.
            let is_lost = trails.iter().all(|(_, lost)| lost.contains(&at(time)));
            prop_assert!(!is_lost || !is_covered(at(time)), "{time}: {proof:?}");
        }
        let edges = proof.covered.iter().flat_map(|span| [span.from, span.until]);
        let around = |time: EventTime| [time.minus(1), time, time.plus(1)];
        let ends = digests.iter().flat_map(|digest| [digest.start, digest.end, digest.end.minus(ALLOWANCE)]);
        let grid = (0..96).map(|quarter| at(quarter * 900 + 7));
        for time in edges.chain(ends).flat_map(around).chain(grid) {
            if time < at(0) || time >= at(86_400) {
                prop_assert!(!is_covered(time));
                continue;
            }
            let expected = trails.iter().any(|(digests, _)| slowly_proves(digests, &files, time));
            prop_assert_eq!(is_covered(time), expected, "{}: {:?}", time, proof);
            let is_told = proof.gaps.iter().any(|gap| gap.from <= time && time < gap.until);
            let are_all_told = proof.gaps.len() < MOST_GAPS;
            prop_assert!(is_told || is_covered(time), "{}: {:?}", time, proof);
            prop_assert!(!(are_all_told && is_told && is_covered(time)), "{}: {:?}", time, proof);
        }
    }
}
