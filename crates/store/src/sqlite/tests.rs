use std::collections::BTreeMap;
use std::sync::Arc;

use dormouse_ledger::{AliasName, Counting, CoverageRows, Delta, InventoryRows, Ledger, Rank, Trace};
use dormouse_model::{Effect, KeyArn, Kind, LifecycleState, Observation, Place};
use tempfile::TempDir;

use super::*;
use crate::{FoldedKey, Quarantined, Totals};

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn open(folder: &TempDir) -> SqliteStore {
    SqliteStore::open(SqliteOptions::at(folder.path().join("d.db"))).unwrap()
}

fn at(seconds: u32) -> EventTime {
    EventTime::from_seconds(1_700_000_000 + seconds)
}

fn epoch(seq: u64, body: &[u8]) -> Epoch<'_> {
    Epoch { seq, sealed_at: at(0), body, quarantine: &[], released: &[] }
}

fn commit(store: &SqliteStore, epoch: &Epoch<'_>) {
    assert!(matches!(store.commit(epoch).unwrap(), Commit::Committed));
}

fn journal(store: &SqliteStore, after: u64) -> BTreeMap<u64, Vec<u8>> {
    let mut epochs = BTreeMap::new();
    let mut keep = |seq, body: &[u8]| {
        epochs.insert(seq, body.to_vec());
    };
    store.journal_after(after, &mut keep).unwrap();
    epochs
}

fn message(body: &str) -> Quarantined {
    Quarantined {
        source: "bus".into(),
        at: at(0),
        reason: "not_json".into(),
        detail: "no JSON".into(),
        event_id: None,
        account: None,
        region: None,
        first_event: None,
        last_event: None,
        key: None,
        retry_at: None,
        body: body.into(),
    }
}

const KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

fn observation(kind: Kind, event_id: &str) -> Observation<'_> {
    Observation {
        key: KEY.parse().unwrap(),
        kind,
        time: at(5),
        operation: "Decrypt",
        event_id,
        shared_id: None,
        recipient: None,
        logged_region: None,
        from_history: false,
        principal: Some("arn:aws:iam::111122223333:role/app"),
        session: Some("s"),
        invoked_by: None,
        source_ip: Some("10.0.0.1"),
        error_code: None,
        wanted: kind == Kind::Attempt,
        context: vec![("aws:s3:arn", "arn:aws:s3:::b")],
        change: None,
        effects: match kind {
            Kind::Change => vec![Effect::State(LifecycleState::Disabled), Effect::AliasSet("alias/app")],
            _ => Vec::new(),
        },
        counted: true,
    }
}

/// A ledger with one of each kind, and the fold that writes it.
fn one_of_each() -> (Ledger<Rank>, Fold) {
    let ledger = Ledger::<Rank>::new(dormouse_ledger::Bounds::default());
    let mut delta = Delta::default();
    for (kind, id) in [(Kind::Use, "u"), (Kind::Attempt, "a"), (Kind::Change, "c")] {
        let observation = observation(kind, id);
        delta.aliases.extend(ledger.apply(&observation, Counting::Counted));
        delta.apply(&observation, Counting::Counted);
        delta.ids.push((
            dormouse_ledger::Identity::of(&observation),
            observation.time,
            dormouse_ledger::Copies::OWN,
        ));
    }
    let key: KeyArn = KEY.parse().unwrap();
    delta.received.push("111122223333".parse().unwrap());
    let register = |name: &AliasName| (ledger.aliases().writes(name)).map(|writes| (name.clone(), writes));
    let fold = Fold {
        upto: 1,
        keys: vec![FoldedKey { key, state: ledger.get(key).unwrap() }],
        aliases: delta.aliases.iter().filter_map(register).collect(),
        delta: Arc::new(delta),
        floor: at(0),
        window: 3,
        totals: Totals::default(),
        coverage: CoverageRows::default(),
        inventory: InventoryRows::default(),
        checkpoints: Vec::new(),
    };
    (ledger, fold)
}

#[test]
fn an_epoch_is_there_after_a_reopen_and_only_once() {
    let folder = folder();
    let store = open(&folder);
    commit(&store, &epoch(1, b"one"));
    commit(&store, &epoch(1, b"not again"));
    commit(&store, &epoch(2, b"two"));
    drop(store);
    let store = open(&folder);
    assert_eq!(journal(&store, 0), [(1, b"one".to_vec()), (2, b"two".to_vec())].into());
    assert_eq!(store.load().unwrap().last_seq, 2);
}

#[test]
fn a_fold_comes_back_whole_and_prunes_the_journal() {
    let folder = folder();
    let store = open(&folder);
    commit(&store, &epoch(1, b"one"));
    commit(&store, &epoch(2, b"two"));
    let (ledger, fold) = one_of_each();
    assert!(matches!(store.fold(&fold).unwrap(), Commit::Committed));
    assert!(matches!(store.fold(&fold).unwrap(), Commit::Committed), "asked again, it changes nothing");
    drop(store);

    let store = open(&folder);
    let loaded = store.load().unwrap();
    assert_eq!((loaded.folded, loaded.last_seq, loaded.ids.len(), loaded.aliases.len()), (1, 2, 3, 1));
    assert_eq!(journal(&store, 0).keys().copied().collect::<Vec<_>>(), [2]);
    let key: KeyArn = KEY.parse().unwrap();
    let expected = ledger.get(key).unwrap();
    let states = Mutex::new(Vec::new());
    store.load_keys(&|key, state| states.lock().unwrap().push((key, state))).unwrap();
    let (found, state) = states.into_inner().unwrap().remove(0);
    assert_eq!(found, key);
    assert_eq!(state.own_counts(), expected.own_counts());
    assert_eq!(state.last_use(), expected.last_use());
    assert_eq!(state.last_attempt(), expected.last_attempt());
    assert_eq!(state.wanted(), expected.wanted());
    assert_eq!(state.registers(), expected.registers());

    let reader = Reader::open(store.path()).unwrap();
    let mut texts = Vec::new();
    reader.keys(&mut |_, state| texts.push(state.last_use().unwrap().texts())).unwrap();
    assert_eq!(texts[0].context, [("aws:s3:arn".into(), "arn:aws:s3:::b".into())]);
    let history = reader.history(state.row()).unwrap();
    assert_eq!((history.days.len(), history.users.len(), history.changes.len()), (1, 1, 1));
    assert_eq!((history.users[0].uses, history.users[0].attempts), (1, 1));
    assert_eq!(texts[0].operation, "Decrypt".into());
    assert_eq!(expected.last_use().unwrap().rank().time, at(5));
}

#[test]
fn users_beyond_the_bound_leave_and_are_counted() {
    let folder = folder();
    let options = SqliteOptions { users_per_key: 2, ..SqliteOptions::at(folder.path().join("d.db")) };
    let store = SqliteStore::open(options).unwrap();
    let (_, mut fold) = one_of_each();
    let users = &mut Arc::get_mut(&mut fold.delta).unwrap().keys.values_mut().next().unwrap().activity.users;
    let user = users.values().next().unwrap().clone();
    for number in 0..3u32 {
        let mut other = user.clone();
        other.principal = format!("other-{number}").into();
        other.stats.last = at(100 + number);
        users.insert(u128::from(number), other);
    }
    assert!(matches!(store.fold(&fold).unwrap(), Commit::Committed));
    let history = Reader::open(store.path()).unwrap().history(1).unwrap();
    let names: Vec<_> = history.users.iter().filter_map(|user| user.principal.clone()).collect();
    assert_eq!(names, ["other-2", "other-1"]);
    assert_eq!(history.users_overflow, 4, "two users of one use and one attempt each");
}

#[test]
fn the_quarantine_keeps_each_message_once_and_knows_its_room() {
    let folder = folder();
    let store = open(&folder);
    let room = store.quarantine_room();
    let junk = [message("junk"), message("junk")];
    commit(&store, &Epoch { quarantine: &junk, ..epoch(1, b"") });
    assert_eq!(store.quarantine_room(), room - 4);
    let reader = Reader::open(store.path()).unwrap();
    let listed = reader.quarantine(0, 10).unwrap();
    assert_eq!((listed.len(), listed[0].seen, listed[0].bytes), (1, 2, 4));
    assert_eq!(reader.quarantined(listed[0].id).unwrap().unwrap().message.body, b"junk");
    drop(reader);
    commit(&store, &Epoch { released: &[listed[0].id], ..epoch(2, b"") });
    assert_eq!(store.quarantine_room(), room);
}

#[test]
fn messages_come_back_when_their_time_has_come() {
    let folder = folder();
    let store = open(&folder);
    let early = Quarantined { retry_at: Some(at(100)), ..message("early") };
    commit(&store, &Epoch { quarantine: &[early, message("never")], ..epoch(1, b"") });
    assert!(store.due_for_retry(at(99), 10).unwrap().is_empty());
    assert_eq!(store.due_for_retry(at(100), 10).unwrap()[0].message.body, b"early");
}

#[test]
fn what_is_not_understood_is_summed_up_by_place_reason_and_hour() {
    let folder = folder();
    let store = open(&folder);
    let kept = |body: &str, times: Option<(u32, u32)>| Quarantined {
        account: Some("111122223333".into()),
        region: Some("eu-west-1".into()),
        first_event: times.map(|(first, _)| at(first)),
        last_event: times.map(|(_, last)| at(last)),
        ..message(body)
    };
    let messages = [
        kept("1", Some((0, 5))),
        kept("2", Some((60, 70))),
        kept("3", Some((7_200, 7_200))),
        kept("4", None),
        Quarantined { key: Some(KEY.into()), ..kept("5", Some((9, 9))) },
        message("6"),
    ];
    commit(&store, &Epoch { quarantine: &messages, ..epoch(1, b"") });
    let unread = Reader::open(store.path()).unwrap().unread().unwrap();
    assert_eq!(unread, store.unread().unwrap());
    let told = |one: &Unread| {
        let events = one.events.map(|(first, last)| (first.seconds_since(at(0)), last.seconds_since(at(0))));
        (one.account.is_some() && one.region.is_some(), one.key.is_some(), events)
    };
    let mut told: Vec<_> = unread.iter().map(told).collect();
    told.sort_unstable();
    let expected = [
        (false, false, None),
        (true, false, None),
        (true, false, Some((0, 70))),
        (true, false, Some((7_200, 7_200))),
        (true, true, Some((9, 9))),
    ];
    assert_eq!(told, expected);
    assert!(unread.iter().all(|one| &*one.reason == "not_json" && one.received == at(0)));
}

#[test]
fn what_waits_for_a_place_can_be_made_due() {
    let folder = folder();
    let store = open(&folder);
    let place = Place { account: "111122223333".parse().unwrap(), region: "eu-west-1".parse().unwrap() };
    let kept = |body: &str, reason: &str, retry_at: Option<u32>| Quarantined {
        account: Some(place.account.to_string()),
        region: Some("eu-west-1".into()),
        reason: reason.into(),
        retry_at: retry_at.map(at),
        ..message(body)
    };
    let messages =
        [kept("waits", "alias", Some(500)), kept("other", "future", Some(500)), kept("never", "alias", None)];
    commit(&store, &Epoch { quarantine: &messages, ..epoch(1, b"") });
    store.retry_at("alias", place, at(10)).unwrap();
    let due = store.due_for_retry(at(10), 10).unwrap();
    assert_eq!(due.iter().map(|due| &*due.message.body).collect::<Vec<_>>(), [b"waits"]);
}

#[test]
fn a_full_disk_asks_for_another_try_and_recovers() {
    let folder = folder();
    let store = open(&folder);
    store.limit_pages(60).unwrap();
    let large = vec![7; 1 << 20];
    assert!(matches!(store.commit(&epoch(1, &large)).unwrap(), Commit::Retry(_)));
    assert!(journal(&store, 0).is_empty());
    store.limit_pages(u32::MAX).unwrap();
    commit(&store, &epoch(1, &large));
    assert_eq!(journal(&store, 0)[&1], large);
}

#[test]
fn a_second_writer_is_kept_out_and_readers_are_not() {
    let folder = folder();
    let store = open(&folder);
    let second = SqliteStore::open(SqliteOptions::at(store.path()));
    let error = second.err().unwrap().to_string();
    assert!(error.contains("in use") && error.contains("pid"), "{error}");
    assert!(Reader::open(store.path()).is_ok());
}

#[test]
fn files_of_others_are_refused_with_their_name() {
    let folder = folder();
    let path = folder.path().join("other.db");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    let foreign = SqliteStore::open(SqliteOptions::at(&path)).err().unwrap();
    assert!(matches!(&foreign, StoreError::Foreign { .. }), "{foreign}");
    assert!(matches!(Reader::open(&path).err().unwrap(), StoreError::Foreign { .. }));

    let path = folder.path().join("text.db");
    std::fs::write(&path, "hello").unwrap();
    let corrupt = SqliteStore::open(SqliteOptions::at(&path)).err().unwrap();
    assert!(matches!(&corrupt, StoreError::Corrupt { .. }), "{corrupt}");
    assert_eq!(std::fs::read(&path).unwrap(), b"hello", "what is not ours is not touched");

    let missing = Reader::open(&folder.path().join("none.db")).err().unwrap();
    assert!(matches!(missing, StoreError::Missing { .. }));
}

#[test]
fn a_damaged_file_is_told_as_such() {
    let folder = folder();
    let path = folder.path().join("d.db");
    let store = open(&folder);
    commit(&store, &epoch(1, b"one"));
    drop(store);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100..4096].fill(0xff);
    std::fs::write(&path, bytes).unwrap();
    let corrupt = SqliteStore::open(SqliteOptions::at(&path)).err().unwrap();
    assert!(matches!(&corrupt, StoreError::Corrupt { .. }), "{corrupt}");
}

#[test]
fn a_newer_format_is_refused() {
    let folder = folder();
    let path = open(&folder).path().to_owned();
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let newer = SqliteStore::open(SqliteOptions::at(&path)).err().unwrap();
    assert!(matches!(newer, StoreError::Newer { found: 99, .. }));
}

#[test]
fn a_folder_that_cannot_be_made_is_told() {
    let folder = folder();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = SqliteStore::open(SqliteOptions::at(file.join("d.db"))).err().unwrap();
    assert!(matches!(&error, StoreError::NotWritable { .. }), "{error}");
}

#[test]
fn a_writer_that_was_replaced_is_fenced() {
    let folder = folder();
    let store = open(&folder);
    let other = Connection::open(store.path()).unwrap();
    other.execute("UPDATE meta SET value = 'somebody else' WHERE name = 'writer'", []).unwrap();
    assert!(matches!(store.commit(&epoch(1, b"")).unwrap(), Commit::Fenced));
}

#[test]
fn a_store_keeps_its_id_and_no_other_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let id = |name: &str| {
        let store = SqliteStore::open(SqliteOptions::at(folder.path().join(name))).unwrap();
        store.id().to_owned()
    };
    let (one, other) = (id("one.db"), id("other.db"));
    assert!(one.len() == 16 && one.bytes().all(|b| b.is_ascii_hexdigit()), "{one}");
    assert_eq!(id("one.db"), one);
    assert_ne!(one, other);
    assert_eq!(Reader::open(&folder.path().join("one.db")).unwrap().id().unwrap(), Some(one));
}
