//! Heartbeats, aliases and holes on their way through the journal, and after a restart.

use dormouse_model::{
    AliasSaid, Answer, EventId, KeyAnswer, KeySaid, KmsUse, LastUsage, PlaceAnswer, PlaceSaid,
};

use super::*;
use crate::view::{AccountsDocument, CoverageDocument};

const ALIAS: &str = "alias/app";
const QUARTER: u32 = 15 * 60;

fn place() -> Place {
    Place { account: "111122223333".parse().unwrap(), region: "eu-west-1".parse().unwrap() }
}

/// So many quarters of an hour after the beginning, which is a day before now.
fn quarter(number: u32) -> EventTime {
    now().minus(86_400).plus(number * QUARTER)
}

fn answer(at: EventTime, said: PlaceSaid) -> Answer {
    Answer::Place(PlaceAnswer { place: place(), asked_at: at, said })
}

fn beat(number: u32) -> Answer {
    answer(quarter(number), PlaceSaid::Beat { request_id: u128::from(number).to_be_bytes() })
}

/// The event as which a heartbeat comes back.
fn returned(number: u32) -> (u64, String) {
    let text = format!("{number:032x}");
    let id = [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-");
    let at = quarter(number);
    let body = format!(
        r#"{{"eventSource":"kms.amazonaws.com","eventName":"ListKeys","eventTime":"{at}","awsRegion":"eu-west-1","recipientAccountId":"111122223333","eventID":"list-{number}","requestID":"{id}","readOnly":true}}"#
    );
    (u64::from(number), body)
}

/// A Decrypt that names its key only by an alias.
fn by_alias(number: u64, at: EventTime, error: &str) -> (u64, String) {
    let body = format!(
        r#"{{"eventSource":"kms.amazonaws.com","eventName":"Decrypt","eventTime":"{at}","awsRegion":"eu-west-1","recipientAccountId":"111122223333","eventID":"by-alias-{number}",{error}"requestParameters":{{"keyId":"{ALIAS}"}},"resources":[]}}"#
    );
    (number, body)
}

fn listed(asked_at: EventTime, since: EventTime) -> Answer {
    let alias = AliasSaid { name: ALIAS.into(), key: KEY.parse().unwrap(), since };
    answer(asked_at, PlaceSaid::Aliases { total: 1, set: vec![alias], gone: Vec::new() })
}

fn listed_as_known(asked_at: EventTime) -> Answer {
    answer(asked_at, PlaceSaid::Aliases { total: 1, set: Vec::new(), gone: Vec::new() })
}

/// The alias is moved to the key.
fn moved(number: u64, at: EventTime, key: &str) -> (u64, String) {
    let body = format!(
        r#"{{"eventSource":"kms.amazonaws.com","eventName":"UpdateAlias","eventTime":"{at}","awsRegion":"eu-west-1","recipientAccountId":"111122223333","eventID":"moved-{number}","requestParameters":{{"aliasName":"{ALIAS}","targetKeyId":"{key}"}},"resources":[{{"ARN":"{key}"}}]}}"#
    );
    (number, body)
}

const SECOND_KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/22222222-12ab-34cd-56ef-1234567890ab";

impl House {
    /// The source says that it has taken everything up to now.
    fn drained(&self) {
        for at in [now().minus(2 * 86_400), now()] {
            let mark = SourceMark {
                at,
                caught_up: Some(at),
                retention_seconds: Some(4 * 86_400),
                ..SourceMark::default()
            };
            self.intake.note(&"test".into(), mark);
        }
    }

    /// These heartbeats are sent, two hours' worth at a time, and all but the lost ones come back.
    async fn beats(&self, sent: std::ops::RangeInclusive<u32>, lost: &[u32]) {
        let sent: Vec<u32> = sent.collect();
        for some in sent.chunks(8) {
            self.inventory.submit(some.iter().copied().map(beat).collect()).await.unwrap();
            let back: Vec<_> =
                some.iter().filter(|number| !lost.contains(number)).copied().map(returned).collect();
            self.submit(&back).await;
            let all = |diary: &[Happened]| back.iter().all(|(number, _)| acked(diary).contains(number));
            self.until("acknowledged", all).await;
        }
    }

    fn coverage(&self) -> CoverageDocument {
        coverage_in(&self.view.accounts(&[]))
    }
}

fn coverage_in(accounts: &AccountsDocument) -> CoverageDocument {
    accounts.accounts[0].regions[0].coverage.clone()
}

/// The spans in quarters of an hour.
fn quarters(coverage: &CoverageDocument) -> Vec<(u32, u32)> {
    let quarter = |time: EventTime| time.seconds_since(quarter(0)) / QUARTER;
    coverage.spans.iter().map(|span| (quarter(span.from), quarter(span.until))).collect()
}

#[tokio::test(start_paused = true)]
async fn what_heartbeats_prove_is_the_same_live_after_a_crash_and_in_the_file() {
    for fold_interval in [Duration::from_secs(1), Duration::from_secs(1 << 20)] {
        let (_folder, path) = folder();
        let options = PipelineOptions { fold_interval, ..PipelineOptions::default() };
        let house = House::open(&path, options.clone());
        house.drained();
        house.submit(&[used(1_000)]).await;
        house.until("acknowledged", |diary| acked(diary).len() == 1).await;
        house.beats(1..=10, &[5]).await;
        sleep(Duration::from_secs(5)).await;
        house.beats(11..=95, &[]).await;
        house.submit(&[(2_000, "junk".into())]).await;
        house.until("acknowledged", |diary| acked(diary).contains(&2_000)).await;
        let live = house.view.accounts(&[]);
        let coverage = coverage_in(&live);
        // Nobody can say what the junk was, nor when.
        assert_eq!(coverage.spans, []);
        let kept = house.view.quarantine(0, 10).unwrap();
        assert_eq!(kept.len(), 1);
        let in_the_file = read_store(&path, CoverageOptions::default()).unwrap().accounts(&[], now());
        assert_eq!(in_the_file, live);
        house.crash().await;

        let house = House::open(&path, options);
        assert_eq!(house.view.accounts(&[]), live);
        house.control.quarantine(kept[0].id, QuarantineAction::Drop).await.unwrap();
        let coverage = house.coverage();
        assert_eq!(quarters(&coverage), [(1, 4), (6, 95)]);
        assert_eq!(coverage.spans[0].by, "heartbeats");
        assert_eq!((coverage.holes.len(), coverage.blind.is_none()), (1, true));
        assert_eq!(coverage.proven_until, Some(quarter(95)));
        assert_eq!((coverage.lag_seconds, coverage.coverage_seconds), (Some(QUARTER), 89 * QUARTER));
        assert!(coverage.operations.contains_key("Decrypt"), "{:?}", coverage.operations);
        house.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_use_by_an_alias_holds_back_until_the_alias_is_known_and_counts_then() {
    let (_folder, path) = folder();
    let house = House::open(&path, PipelineOptions::default());
    house.drained();
    house.beats(1..=4, &[]).await;
    let used_at = quarter(2).plus(5);
    house.submit(&[by_alias(10, used_at, ""), by_alias(11, used_at, r#""errorCode":"AccessDenied","#)]).await;
    house.until("acknowledged", |diary| acked(diary).contains(&10) && acked(diary).contains(&11)).await;
    let kept = house.view.quarantine(0, 10).unwrap();
    let reasons: Vec<&str> = kept.iter().map(|kept| kept.message.reason.as_str()).collect();
    assert_eq!(reasons, [dormouse_cloudtrail::UNRESOLVED_ALIAS], "the failed one is only noted");
    assert_eq!(kept[0].message.first_event, Some(used_at));
    assert!(kept[0].message.retry_at.is_some());
    assert_eq!(quarters(&house.coverage()), [(1, 2), (2, 4)], "the second of the use is a hole");
    let names = house.view.status().unwrap().unknown.unresolved;
    assert_eq!(names.values().map(|name| name.count).sum::<u64>(), 2);

    let soon = used_at.plus(3_600);
    house.inventory.submit(vec![listed(soon, quarter(1))]).await.unwrap();
    sleep(Duration::from_secs(20)).await;
    assert_eq!(house.view.quarantine(0, 10).unwrap().len(), 1, "a move may still be on its way");
    assert_eq!(uses(&path), 0);
    let names = house.view.status().unwrap().unknown.unresolved;
    assert_eq!(names.values().map(|name| name.count).sum::<u64>(), 2, "trying again is no other call");

    house.clock.advance(1);
    house.inventory.submit(vec![listed_as_known(now())]).await.unwrap();
    sleep(Duration::from_secs(20)).await;
    assert_eq!(house.view.quarantine(0, 10).unwrap().len(), 0);
    assert_eq!(quarters(&house.coverage()), [(1, 4)], "the hole is gone with the message");
    // Known by now, it needs no detour; a duplicate is one.
    house.submit(&[by_alias(10, used_at, ""), by_alias(12, used_at, "")]).await;
    house.until("acknowledged", |diary| acked(diary).contains(&12)).await;
    assert_eq!(uses(&path), 2);
    let totals = house.stop().await;
    assert_eq!((totals.tally.quarantined, totals.tally.duplicates), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_use_by_an_alias_is_of_the_key_to_which_it_had_moved_in_whatever_order_they_come() {
    const DAY: u32 = 86_400;
    let made = moved(1, now().minus(20 * DAY), KEY);
    let used = by_alias(2, now().minus(10 * DAY), "");
    let moved_on = moved(3, now().minus(11 * DAY), SECOND_KEY);
    for order in [[&made, &used, &moved_on], [&made, &moved_on, &used], [&used, &moved_on, &made]] {
        let (_folder, path) = folder();
        let house = House::open(&path, PipelineOptions::default());
        for message in order {
            house.submit(std::slice::from_ref(message)).await;
            house.until("acknowledged", |diary| acked(diary).contains(&message.0)).await;
            sleep(Duration::from_secs(20)).await;
        }
        assert_eq!((uses(&path), uses_of(&path, SECOND_KEY)), (0, 0), "nobody confirmed anything");
        assert_eq!(house.view.quarantine(0, 10).unwrap().len(), 1);
        house.inventory.submit(vec![listed_as_known(now())]).await.unwrap();
        sleep(Duration::from_secs(20)).await;
        assert_eq!((uses(&path), uses_of(&path, SECOND_KEY)), (0, 1));
        assert_eq!(house.view.quarantine(0, 10).unwrap().len(), 0);
        house.crash().await;
        let house = House::open(&path, PipelineOptions::default());
        // What was confirmed once stays so, when it has moved again and after a restart.
        house.submit(&[moved(4, now().minus(60), KEY), by_alias(5, now().minus(9 * DAY), "")]).await;
        house.until("acknowledged", |diary| acked(diary).contains(&5)).await;
        house.submit(&[by_alias(6, now().minus(8 * DAY), "")]).await;
        house.until("acknowledged", |diary| acked(diary).contains(&6)).await;
        assert_eq!((uses(&path), uses_of(&path, SECOND_KEY)), (0, 3));
        house.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn moves_that_were_lost_leave_a_use_before_them_open() {
    const DAY: u32 = 86_400;
    let (_folder, path) = folder();
    let house = House::open(&path, PipelineOptions::default());
    let messages = [moved(1, now().minus(20 * DAY), SECOND_KEY), by_alias(2, now().minus(10 * DAY), "")];
    house.submit(&messages).await;
    house.until("acknowledged", |diary| acked(diary).len() == 2).await;
    house.inventory.submit(vec![listed(now(), now().minus(5 * DAY))]).await.unwrap();
    sleep(Duration::from_secs(20)).await;
    assert_eq!((uses(&path), uses_of(&path, SECOND_KEY)), (0, 0));
    assert_eq!(house.view.quarantine(0, 10).unwrap().len(), 1);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_holds_nothing_back_hides_nothing_of_its_message_that_does() {
    let (_folder, path) = folder();
    let house = House::open(&path, PipelineOptions::default());
    house.drained();
    house.beats(1..=4, &[]).await;
    let forged = format!(
        r#"{{"version":"0","source":"aws.kms","account":"444455556666","region":"eu-west-1","detail-type":"AWS API Call via CloudTrail","detail":{}}}"#,
        record("forged", &quarter(2).to_string())
    );
    // Of an event without an id nobody can tell whether it is known.
    let unread = record("", &quarter(3).plus(5).to_string());
    for (number, pieces) in [[&forged, &unread], [&unread, &forged]].iter().enumerate() {
        let number = 100 + number as u64;
        house.submit(&[(number, pieces.map(String::as_str).join("\n"))]).await;
        house.until("acknowledged", |diary| acked(diary).contains(&number)).await;
        let kept = house.view.quarantine(0, 10).unwrap();
        assert_eq!(kept.len(), 1);
        let message = &kept[0].message;
        assert_eq!(message.reason, "no_event_id");
        assert_eq!(message.key.as_deref(), Some(KEY));
        let at = Some(quarter(3).plus(5));
        assert_eq!((message.first_event, message.last_event), (at, at));
        assert!(message.detail.contains("1 more"), "{}", message.detail);
        house.control.quarantine(kept[0].id, QuarantineAction::Drop).await.unwrap();
    }
    assert_eq!(quarters(&house.coverage()), [(1, 4)]);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_alias_that_stays_unknown_is_tried_again_now_and_then() {
    let (_folder, path) = folder();
    let house = House::open(&path, PipelineOptions::default());
    house.redrive.submit(house.batch(&[by_alias(1, now().minus(60), "")])).await;
    house.until("acknowledged", |diary| acked(diary) == [1]).await;
    let retry_at = || house.view.quarantine(0, 10).unwrap()[0].message.retry_at.unwrap();
    assert_eq!(retry_at(), now().plus(300));
    house.clock.advance(300);
    house.until("tried again", |diary| diary.contains(&Happened::Committed(2))).await;
    assert_eq!(retry_at(), now().plus(600));
    house.clock.advance(900);
    house.until("tried again", |diary| diary.contains(&Happened::Committed(3))).await;
    assert_eq!(retry_at(), now().plus(1_200 + 1_200), "as long again as it has waited");
    house.stop().await;
}

/// KMS, asked at quarter 60, remembers this as the last use of a key of which no event arrived.
fn kms_says(used_at: EventTime) -> Answer {
    let used = KmsUse { at: used_at, operation: "Decrypt".into(), event_id: None };
    let usage = LastUsage { tracked_from: quarter(0), created: quarter(0), last: Some(used) };
    let key = "arn:aws:kms:eu-west-1:111122223333:key/ffffabcd-12ab-34cd-56ef-1234567890ab";
    Answer::Key(KeyAnswer {
        key: key.parse().unwrap(),
        asked_at: quarter(60),
        request_id: EventId::from("request"),
        said: KeySaid::LastUsage(usage),
    })
}

#[tokio::test(start_paused = true)]
async fn a_use_that_only_kms_knows_ends_the_claim_for_good() {
    let (_folder, path) = folder();
    let house = House::open(&path, PipelineOptions::default());
    house.drained();
    house.submit(&[(1_000, record("early", &quarter(1).to_string()))]).await;
    house.beats(1..=95, &[]).await;
    assert_eq!(quarters(&house.coverage()), [(1, 95)]);
    // What waits in the quarantine may be that use: whether it was, is decided once.
    house.submit(&[by_alias(1_010, quarter(30), "")]).await;
    house.until("acknowledged", |diary| acked(diary).contains(&1_010)).await;
    house.inventory.submit(vec![kms_says(quarter(30))]).await.unwrap();
    let kept = house.view.quarantine(0, 10).unwrap();
    house.control.quarantine(kept[0].id, QuarantineAction::Drop).await.unwrap();
    assert_eq!((quarters(&house.coverage()), house.coverage().missed_uses), (vec![(1, 95)], 0));
    house.crash().await;
    let house = House::open(&path, PipelineOptions::default());
    assert_eq!((quarters(&house.coverage()), house.coverage().missed_uses), (vec![(1, 95)], 0));

    house.inventory.submit(vec![kms_says(quarter(40))]).await.unwrap();
    let coverage = house.coverage();
    assert_eq!((quarters(&coverage), coverage.missed_uses), (vec![(60, 95)], 1));
    assert_eq!(coverage.missed[0].at, quarter(40));
    // It arrives after all.
    let late = record("late", &quarter(40).to_string()).replace("1234abcd", "ffffabcd");
    house.submit(&[(2_000, late)]).await;
    house.until("acknowledged", |diary| acked(diary).contains(&2_000)).await;
    assert_eq!(quarters(&house.coverage()), [(60, 95)]);
    let live = house.view.accounts(&[]);
    house.crash().await;
    let house = House::open(&path, PipelineOptions::default());
    assert_eq!(house.view.accounts(&[]), live);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_switches_a_trail_off_is_named_at_once() {
    let (_folder, path) = folder();
    let house = House::open(&path, PipelineOptions::default());
    house.drained();
    house.beats(1..=95, &[]).await;
    let at = quarter(95).plus(60);
    let stop = format!(
        r#"{{"eventSource":"cloudtrail.amazonaws.com","eventName":"StopLogging","eventTime":"{at}","awsRegion":"eu-west-1","recipientAccountId":"111122223333","eventID":"stop","userIdentity":{{"arn":"arn:aws:iam::111122223333:user/mallory"}},"requestParameters":{{"name":"main"}}}}"#
    );
    house.submit(&[(2_000, stop)]).await;
    house.until("acknowledged", |diary| acked(diary).contains(&2_000)).await;
    let blind = house.coverage().blind.unwrap();
    assert_eq!(blind.since, at);
    assert!(blind.why.contains("StopLogging") && blind.why.contains("user/mallory"), "{}", blind.why);
    house.stop().await;
}
