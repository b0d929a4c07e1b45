use dormouse_cloudtrail::{Decoder, Limits, Outcome};
use dormouse_model::OperationTable;

use super::*;

const KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/11111111-2222-3333-4444-555555555555";

fn place() -> Place {
    Place { account: "111122223333".parse().unwrap(), region: "eu-west-1".parse().unwrap() }
}

fn cell() -> Cell {
    let noon: EventTime = "2026-11-03T12:00:00Z".parse().unwrap();
    Cell { place: place(), day: noon.day() }
}

/// A record of a call on November 3, with more members or others.
fn record(operation: &str, clock: &str, id: &str, more: &str) -> String {
    record_of(operation, clock, id, &format!(r#""recipientAccountId":"111122223333",{more}"#), KEY)
}

fn record_of(operation: &str, clock: &str, id: &str, more: &str, key: &str) -> String {
    format!(
        r#"{{"eventVersion":"1.08","userIdentity":{{"type":"IAMUser","arn":"arn:aws:iam::111122223333:user/app","accountId":"111122223333"}},
        "eventTime":"2026-11-03T{clock}Z","eventSource":"kms.amazonaws.com","eventName":"{operation}","awsRegion":"eu-west-1",
        "sourceIPAddress":"192.0.2.1","requestParameters":null,"responseElements":null,"readOnly":true,{more}
        "resources":[{{"accountId":"111122223333","type":"AWS::KMS::Key","ARN":"{key}"}}],
        "eventID":"{id}","eventType":"AwsApiCall"}}"#
    )
}

fn each(text: &str, mut take: impl FnMut(&KmsRecord<'_>)) {
    let now = "2026-11-20T00:00:00Z".parse().unwrap();
    let mut seen = 0;
    Decoder::new(OperationTable::default(), Limits::default()).decode(text.as_bytes(), now, &mut |outcome| {
        let Outcome::Kms(record) = outcome else { panic!("{outcome:?}") };
        seen += 1;
        take(record);
    });
    assert_eq!(seen, 1);
}

fn id(number: u32) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

fn built(records: &[String]) -> BuiltCell {
    let mut builder = CellBuilder::new(cell(), 1_000);
    for text in records {
        each(text, |record| builder.count(record));
    }
    builder.finish()
}

const DISABLED: &str = r#""errorCode":"DisabledException","errorMessage":"is disabled","#;

#[test]
fn what_is_kept_is_the_latest_and_what_can_never_be_left_out() {
    let texts = [
        record("Decrypt", "10:00:00", &id(1), ""),
        record("Decrypt", "12:00:00", &id(2), ""),
        record("Decrypt", "11:00:00", &id(3), ""),
        record("Decrypt", "13:00:00", &id(4), DISABLED),
        record("Decrypt", "09:00:00", &id(5), DISABLED),
        record("Decrypt", "14:00:00", &id(6), r#""errorCode":"AccessDenied","#),
        record("Decrypt", "10:30:00", &id(7), DISABLED),
        record("DisableKey", "08:00:00", &id(8), ""),
        record("EnableKey", "08:30:00", &id(9), ""),
    ];
    let built = built(&texts);
    let mut kept: Vec<String> = built.evidence.iter().map(|kept| kept.event_id.to_owned()).collect();
    kept.sort();
    // The latest use, the first and last wanted attempt, the latest attempt, and all changes.
    assert_eq!(kept, [2, 4, 5, 6, 8, 9].map(id));
    let [key] = &*built.keys else { panic!("{:?}", built.keys) };
    let own = key.counts.own;
    assert_eq!((own.uses, own.attempts, own.changes, own.wanted), (3, 4, 2, 3));
    assert_eq!(key.from, "2026-11-03T08:00:00Z".parse().unwrap());
    let [user] = &*key.users else { panic!("{:?}", key.users) };
    assert_eq!((user.stats.uses, user.stats.attempts), (3, 4));
    assert_eq!((&*user.principal, &*user.operation), ("arn:aws:iam::111122223333:user/app", "Decrypt"));
}

#[test]
fn what_was_delivered_twice_counts_once() {
    let one = record("Decrypt", "10:00:00", &id(1), "");
    let built = built(&[one.clone(), one.clone(), record("CreateGrant", "10:00:00", &id(2), ""), one]);
    assert_eq!(built.keys[0].counts.own.uses, 1);
    assert_eq!(built.keys[0].users[0].stats.uses, 1);
    assert_eq!((built.numbers.counted, built.numbers.duplicates), (2, 2));
    assert_eq!(built.evidence.len(), 2);
}

#[test]
fn a_witness_is_evidence_and_counts_nowhere() {
    let mut builder = CellBuilder::new(cell(), 1_000);
    each(&record("Decrypt", "10:00:00", &id(1), ""), |record| builder.witness(record, place()));
    let built = builder.finish();
    assert!(built.keys.is_empty());
    assert_eq!(built.evidence.iter().map(|kept| kept.event_id.to_owned()).collect::<Vec<_>>(), [id(1)]);
}

#[test]
fn what_a_record_does_not_say_its_folder_does() {
    let elsewhere: Place =
        Place { account: "444455556666".parse().unwrap(), region: "us-east-1".parse().unwrap() };
    let cell = Cell { place: elsewhere, ..cell() };
    let mut builder = CellBuilder::new(cell, 1_000);
    let shared = r#""sharedEventID":"33333333-0000-4000-8000-000000000001","#;
    each(&record_of("Decrypt", "10:00:00", &id(1), shared, KEY), |record| {
        assert_eq!(record.recipient, None);
        assert_eq!(cell_of(record, elsewhere).place.account, elsewhere.account);
        // The record names a Region.
        assert_eq!(cell_of(record, elsewhere).place.region, place().region);
        builder.count(record);
    });
    let built = builder.finish();
    assert_eq!((built.keys[0].counts.own.uses, built.keys[0].counts.foreign.uses), (0, 1));
    assert_eq!(built.evidence.iter().next().unwrap().recipient, Some(elsewhere.account));
}

#[test]
fn a_record_of_an_hour_that_was_forgotten_is_told_and_not_counted() {
    let mut builder = CellBuilder::new(cell(), 10);
    for number in 0..30 {
        let clock = format!("{:02}:00:00", number / 2);
        each(&record("Decrypt", &clock, &id(number), ""), |record| builder.count(record));
    }
    each(&record("Decrypt", "00:00:00", &id(0), ""), |record| builder.count(record));
    let built = builder.finish();
    assert_eq!(built.keys[0].counts.own.uses, 30);
    assert_eq!((built.numbers.counted, built.numbers.late), (30, 1));
}

#[test]
fn invented_arns_take_a_bounded_number_of_places() {
    let mut builder = CellBuilder::new(cell(), 1_000_000);
    let text = record("Decrypt", "10:00:00", &id(1), r#""errorCode":"AccessDenied","#);
    each(&text, |record| {
        for number in 0..MOST_TRIED_KEYS + 10 {
            let mut invented = record.clone();
            let event_id = format!("event-{number}");
            let arn = format!("arn:aws:kms:eu-west-1:111122223333:key/11111111-2222-3333-4444-{number:012}");
            invented.observations[0].key = arn.parse().unwrap();
            invented.observations[0].event_id = &event_id;
            builder.count(&invented);
        }
    });
    // A key that turns out to exist leaves its place to another.
    each(
        &record_of("Decrypt", "11:00:00", &id(2), "", &KEY.replace("555555555555", "000000000001")),
        |record| {
            builder.count(record);
        },
    );
    assert_eq!(builder.tried_keys, MOST_TRIED_KEYS - 1);
    let built = builder.finish();
    assert_eq!((built.keys.len(), built.numbers.unattributed), (MOST_TRIED_KEYS, 10));
}
