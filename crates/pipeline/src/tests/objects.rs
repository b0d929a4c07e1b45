//! Announced objects over a shelf in memory.

use std::collections::{HashMap, VecDeque};
use std::io::{Cursor, Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use dormouse_aws::{ErrorClass, Failure};
use dormouse_sources::health::{Monitor, SourceHealth, Work};
use dormouse_sources::objects::{
    BoxFuture, ListPage, ListRequest, ObjectFailure, ObjectName, ObjectReader, ObjectStats, ObjectStore,
    Opened,
};
use tokio::sync::watch;
use tokio::time::Instant;

use super::*;
use crate::{AllowedObjects, ObjectIntake, PipelineIntake};

const BUCKET: &str = "trail-logs";

type Make = Arc<dyn Fn() -> ObjectReader + Send + Sync>;

/// Objects in memory, and what goes wrong with the next ones that are opened.
#[derive(Default)]
struct Shelf {
    objects: Mutex<HashMap<ObjectName, Make>>,
    failures: Mutex<VecDeque<ObjectFailure>>,
    always: Mutex<Option<ObjectFailure>>,
    opens: AtomicUsize,
}

impl Shelf {
    fn put(&self, key: &str, body: Vec<u8>) {
        let body = Bytes::from(body);
        self.put_made(key, Arc::new(move || ObjectReader::plain(Cursor::new(body.clone()))));
    }

    fn put_made(&self, key: &str, make: Make) {
        self.objects.lock().unwrap().insert(ObjectName::new(BUCKET, key), make);
    }

    fn opens(&self) -> usize {
        self.opens.load(Ordering::SeqCst)
    }
}

impl ObjectStore for Shelf {
    fn open<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<Opened, ObjectFailure>> {
        Box::pin(async move {
            self.opens.fetch_add(1, Ordering::SeqCst);
            let failure = self.failures.lock().unwrap().pop_front();
            if let Some(failure) = failure.or_else(|| self.always.lock().unwrap().clone()) {
                return Err(failure);
            }
            match self.objects.lock().unwrap().get(name) {
                Some(make) => Ok(Opened { size: None, reader: make() }),
                None => Err(ObjectFailure::Missing(name.clone())),
            }
        })
    }

    fn list(&self, _: ListRequest) -> BoxFuture<'_, Result<ListPage, ObjectFailure>> {
        Box::pin(async { Ok(ListPage::default()) })
    }
}

/// A house whose source reads objects.
struct Annex {
    house: House,
    shelf: Arc<Shelf>,
    intake: PipelineIntake,
    stats: Arc<ObjectStats>,
    health: watch::Receiver<SourceHealth>,
    stop: CancellationToken,
}

impl Annex {
    fn open(path: &Path) -> Self {
        Self::open_store(SqliteOptions::at(path))
    }

    fn open_store(store: SqliteOptions) -> Self {
        // Each part of an object has an epoch of its own.
        let options = PipelineOptions { epoch_bytes: 128 << 10, ..PipelineOptions::default() };
        let house = House::open_store(store, options);
        let (shelf, stop) = (Arc::<Shelf>::default(), CancellationToken::new());
        let monitor = Monitor::new("test".into(), |_, _| "wait");
        let health = monitor.subscribe();
        let allowed = AllowedObjects::parse(["trail-logs/AWSLogs/"]).unwrap();
        let store: Arc<dyn ObjectStore> = Arc::<Shelf>::clone(&shelf);
        let objects = Arc::new(ObjectIntake::new(store, allowed, monitor, stop.clone()));
        let stats = objects.stats();
        let intake = house.intake.clone().with_objects("test", objects);
        Self { house, shelf, intake, stats, health, stop }
    }

    async fn submit(&self, messages: &[(u64, String)]) {
        self.intake.submit(self.house.batch(messages)).await;
    }

    /// Submits without waiting for the objects.
    fn submitted(&self, messages: &[(u64, String)]) -> JoinHandle<()> {
        let (intake, batch) = (self.intake.clone(), self.house.batch(messages));
        tokio::spawn(async move { intake.submit(batch).await })
    }

    async fn acked(&self, receipts: usize) -> Vec<Happened> {
        self.house.until("acknowledged", |diary| acked(diary).len() == receipts).await
    }

    /// The reasons and details of what is in the quarantine, and the bodies.
    fn kept(&self) -> Vec<(String, String, String)> {
        let kept = self.house.view.quarantine(0, 1_000).unwrap();
        let whole = |id| self.house.view.quarantined(id).unwrap().unwrap().message;
        let text = |body: Vec<u8>| String::from_utf8(body).unwrap();
        kept.into_iter()
            .map(|kept| (kept.message.reason, kept.message.detail, text(whole(kept.id).body)))
            .collect()
    }
}

fn key(name: &str) -> String {
    format!("AWSLogs/111122223333/CloudTrail/eu-west-1/2026/11/22/{name}.json.gz")
}

fn announce_in(bucket: &str, keys: &[String]) -> String {
    format!(r#"{{"s3Bucket":"{bucket}","s3ObjectKey":["{}"]}}"#, keys.join("\",\""))
}

fn announce(keys: &[&str]) -> String {
    announce_in(BUCKET, &keys.iter().map(|name| key(name)).collect::<Vec<_>>())
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packer.write_all(text).unwrap();
    packer.finish().unwrap()
}

fn object(records: &[String]) -> Vec<u8> {
    gzip(format!(r#"{{"Records":[{}]}}"#, records.join(",")).as_bytes())
}

fn records(ids: std::ops::Range<u64>) -> Vec<String> {
    ids.map(|number| used(number).1).collect()
}

fn failure(class: ErrorClass) -> Box<Failure> {
    Box::new(Failure { class, code: Some("Code".into()), ..Failure::transient("s3:GetObject", "no") })
}

#[tokio::test(start_paused = true)]
async fn an_object_is_acknowledged_when_its_last_record_is_durable() {
    let (_folder, path) = folder();
    let annex = Annex::open(&path);
    let other = used(0).1.replace("kms.amazonaws.com", "s3.amazonaws.com");
    let mut all = records(0..5_000);
    all.push(other);
    annex.shelf.put(&key("a"), object(&all));
    annex.submit(&[(1, announce(&["a"])), used(9_000)]).await;
    let diary = annex.acked(2).await;
    assert!(matches!(diary.last(), Some(Happened::Acked(1))), "{diary:?}");
    let commits = diary.iter().filter(|one| matches!(one, Happened::Committed(_))).count();
    assert!(commits >= 3, "{diary:?}");
    assert_eq!((annex.stats.fetched.get(), annex.stats.in_progress.get()), (1, 0));
    // The same again changes nothing.
    annex.submit(&[(2, announce(&["a", "a"]))]).await;
    annex.acked(3).await;
    let totals = annex.house.stop().await;
    assert_eq!(uses(&path), 5_001);
    assert_eq!((totals.tally.read, totals.tally.kms), (10_003, 10_001));
}

#[tokio::test(start_paused = true)]
async fn a_missing_object_is_waited_for_and_then_kept() {
    let (_folder, path) = folder();
    let annex = Annex::open(&path);
    let began = Instant::now();
    annex.submit(&[(1, announce(&["late", "there"]))]).await;
    annex.acked(1).await;
    assert!((Duration::from_secs(30)..Duration::from_secs(32)).contains(&began.elapsed()), "two, one by one");
    assert_eq!((annex.shelf.opens(), annex.stats.missing.get()), (10, 2));
    let kept = annex.kept();
    assert_eq!((kept.len(), &*kept[0].0, &kept[0].2), (1, "object_missing", &announce(&["late", "there"])));
    assert!(kept[0].1.contains("late.json.gz does not exist"), "{}", kept[0].1);

    // A person looks again: first in vain, then it is there.
    let refused = annex.house.control.quarantine(1, QuarantineAction::Retry).await.unwrap();
    assert!(matches!(refused, QuarantineOutcome::Refused { reason, .. } if reason == "object_missing"));
    annex.shelf.put(&key("late"), object(&records(0..10)));
    annex.shelf.put(&key("there"), object(&records(10..20)));
    let applied = annex.house.control.quarantine(1, QuarantineAction::Retry).await;
    assert_eq!(applied, Ok(QuarantineOutcome::Applied));
    assert_eq!(annex.kept(), []);
    annex.house.stop().await;
    assert_eq!(uses(&path), 20);
}

#[tokio::test(start_paused = true)]
async fn passing_trouble_is_waited_out_and_shown() {
    let (_folder, path) = folder();
    let annex = Annex::open(&path);
    annex.shelf.put(&key("a"), object(&records(0..3)));
    *annex.shelf.always.lock().unwrap() = Some(ObjectFailure::Transient(failure(ErrorClass::Transient)));
    annex.submit(&[(1, announce(&["a"]))]).await;
    let mut health = annex.health.clone();
    health.wait_for(|health| health.failure(Work::Fetch).is_some()).await.unwrap();
    // What arrives meanwhile does not wait.
    annex.submit(&[used(2)]).await;
    assert_eq!(acked(&annex.acked(1).await), [2]);
    sleep(Duration::from_secs(3_600)).await;
    assert!(annex.shelf.opens() > 100);
    *annex.shelf.always.lock().unwrap() = None;
    annex.acked(2).await;
    assert_eq!(health.borrow_and_update().failure(Work::Fetch), None);
    annex.house.stop().await;
    assert_eq!(uses(&path), 3);
}

#[tokio::test(start_paused = true)]
async fn a_denial_is_said_at_once_and_the_message_left_in_the_end() {
    let (_folder, path) = folder();
    let annex = Annex::open(&path);
    let grant = Some("s3:GetObject on arn:aws:s3:::trail-logs/AWSLogs/*".to_owned());
    *annex.shelf.always.lock().unwrap() =
        Some(ObjectFailure::Denied { failure: failure(ErrorClass::Denied), grant });
    let began = Instant::now();
    let submitted = annex.submitted(&[(1, announce(&["a"])), used(2)]);
    let mut health = annex.health.clone();
    let trouble = health.wait_for(|health| health.failure(Work::Fetch).is_some()).await.unwrap().clone();
    assert!(began.elapsed() < Duration::from_secs(1));
    let advice = &trouble.troubles[&Work::Fetch].advice;
    assert!(advice.starts_with("allow s3:GetObject on arn:aws:s3:::trail-logs/AWSLogs/*"), "{advice}");
    // What announces nothing does not wait.
    assert_eq!(acked(&annex.acked(1).await), [2]);
    submitted.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(60), "and neither does what comes next");
    sleep(Duration::from_secs(580)).await;
    let diary = annex.house.until("left", |diary| diary.contains(&Happened::Left(1))).await;
    assert!((600..640).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert_eq!(annex.shelf.opens(), 21);
    assert_eq!(acked(&diary), [2]);
    assert_eq!((annex.stats.left.get(), annex.kept().len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn only_what_is_configured_is_read() {
    let (_folder, path) = folder();
    let annex = Annex::open(&path);
    let foreign = [
        announce_in("other-logs", &[key("a")]),
        announce_in(BUCKET, &["elsewhere/a.json.gz".to_owned()]),
        announce_in(BUCKET, &[key("a"), "elsewhere/a.json.gz".to_owned()]),
    ];
    annex.shelf.put(&key("a"), object(&records(0..3)));
    let messages: Vec<(u64, String)> = (1..).zip(foreign.iter().cloned()).collect();
    annex.submit(&messages).await;
    annex.acked(3).await;
    assert_eq!((annex.shelf.opens(), annex.stats.refused.get()), (0, 3));
    let mut kept = annex.kept();
    kept.sort_by_key(|kept| messages.iter().position(|(_, body)| *body == kept.2));
    assert!(kept.iter().all(|kept| kept.0 == "foreign_object"), "{kept:?}");
    assert_eq!(
        kept[0].1,
        format!("announces s3://other-logs/{}; this source may read only trail-logs/AWSLogs/", key("a"))
    );

    // Digests are acknowledged unread.
    let digest = "AWSLogs/111122223333/CloudTrail-Digest/eu-west-1/2026/11/22/111122223333_CloudTrail-Digest_eu-west-1_t_eu-west-1_20261122T100000Z.json.gz";
    annex.submit(&[(4, announce_in(BUCKET, &[digest.to_owned()]))]).await;
    annex.acked(4).await;
    assert_eq!((annex.shelf.opens(), annex.stats.control.get(), annex.kept().len()), (0, 1, 3));

    // A source without objects says what to configure.
    annex.house.submit(&[(5, announce(&["a"]))]).await;
    annex.acked(5).await;
    let kept = annex.kept();
    assert_eq!((kept.len(), &*kept[3].0), (4, "object_not_configured"));
    assert!(kept[3].1.contains("[[sources]] buckets = [\"trail-logs/prefix\"]"), "{}", kept[3].1);
}

#[tokio::test(start_paused = true)]
async fn of_a_damaged_object_what_can_be_read_is_applied() {
    let (_folder, path) = folder();
    let annex = Annex::open(&path);
    let mut cut = object(&records(0..3_000));
    cut.truncate(cut.len() - 20);
    annex.shelf.put(&key("cut"), cut);
    let mut bomb = format!(r#"{{"Records":[{}"#, records(3_000..3_002).join(",")).into_bytes();
    bomb.resize(100 << 20, b' ');
    annex.shelf.put(&key("bomb"), gzip(&bomb));
    annex.submit(&[(1, announce(&["cut"])), (2, announce(&["bomb"]))]).await;
    annex.acked(2).await;
    let mut kept = annex.kept();
    kept.sort();
    assert!(kept.iter().all(|kept| kept.0 == "object_damaged"), "{kept:?}");
    assert!(kept[0].1.contains("looks like a gzip bomb"), "{}", kept[0].1);
    assert!(kept[1].1.contains("truncated"), "{}", kept[1].1);
    assert_eq!(annex.stats.damaged.get(), 2);
    assert!(annex.stats.unpacked_bytes.get() < 80 << 20, "the bomb was not unpacked");
    annex.house.stop().await;
    assert!(uses(&path) > 2_000, "{}", uses(&path));
}

/// A KMS record that cannot be applied.
fn bad_record(number: u64) -> String {
    record(&format!("bad-{number}"), "yesterday")
}

#[tokio::test(start_paused = true)]
async fn bad_records_are_kept_each_by_itself() {
    let (_folder, path) = folder();
    let annex = Annex::open(&path);
    annex.shelf.put(&key("a"), object(&[used(1).1, bad_record(1)]));
    annex.shelf.put(&key("b"), object(&[bad_record(2), used(2).1]));
    annex.submit(&[(1, announce(&["a", "b"]))]).await;
    annex.acked(1).await;
    let kept = annex.kept();
    let bodies: Vec<&str> = kept.iter().map(|kept| &*kept.2).collect();
    assert_eq!(bodies, [bad_record(1), bad_record(2)]);
    assert!(kept[1].1.ends_with(&format!("a record in s3://trail-logs/{}", key("b"))), "{}", kept[1].1);

    // Beyond the bound the announcement is kept, too.
    let many: Vec<String> = (10..100).map(bad_record).collect();
    annex.shelf.put(&key("many"), object(&many));
    annex.submit(&[(2, announce(&["many"]))]).await;
    annex.acked(2).await;
    let kept = annex.kept();
    assert_eq!(kept.len(), 2 + 64 + 1);
    let last = &kept[66];
    assert_eq!((&*last.0, &last.2), ("object_bad_records", &announce(&["many"])));
    assert!(last.1.starts_with("26 more bad records"), "{}", last.1);
    annex.house.stop().await;
    assert_eq!(uses(&path), 2);
}

#[tokio::test(start_paused = true)]
async fn what_the_quarantine_has_no_room_for_is_left_as_a_whole() {
    let (_folder, path) = folder();
    let room = bad_record(1).len() as u64 + 10;
    let annex = Annex::open_store(SqliteOptions { quarantine_bytes: room, ..SqliteOptions::at(&path) });
    annex.shelf.put(&key("a"), object(&[used(1).1, bad_record(1), bad_record(2)]));
    annex.submit(&[(1, announce(&["a"]))]).await;
    annex.house.until("left", |diary| diary.contains(&Happened::Left(1))).await;
    assert_eq!(annex.kept(), []);
}

/// In real time: a thread at work keeps paused time from going on.
#[tokio::test]
async fn a_stop_gives_up_at_once() {
    let (_folder, path) = folder();
    let annex = Annex::open(&path);
    let endless: Make = Arc::new(|| {
        let begin = Cursor::new(b"{\"Records\":[".to_vec());
        ObjectReader::plain(begin.chain(Endless::default()))
    });
    annex.shelf.put_made(&key("endless"), endless);
    let submitted = annex.submitted(&[(1, announce(&["endless"])), (2, announce(&["missing"]))]);
    annex.house.until("some of it is durable", |diary| diary.contains(&Happened::Committed(3))).await;
    annex.stop.cancel();
    submitted.await.unwrap();
    let both = |diary: &[Happened]| diary.contains(&Happened::Left(1)) && diary.contains(&Happened::Left(2));
    let diary = annex.house.until("both left", both).await;
    assert!(acked(&diary).is_empty());
    assert_eq!((annex.stats.in_progress.get(), annex.stats.left.get()), (0, 0));
}

/// Records without an end, and how many bytes of them were read.
#[derive(Default)]
struct Endless {
    next: u64,
    rest: Vec<u8>,
    read: Arc<AtomicUsize>,
    most: Option<u64>,
}

impl Read for Endless {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.rest.is_empty() {
            if self.most == Some(self.next) {
                return Ok(0);
            }
            let comma = if self.next == 0 { "" } else { "," };
            self.rest = format!("{comma}{}", used(self.next).1).into_bytes();
            self.next += 1;
        }
        let length = out.len().min(self.rest.len());
        out[..length].copy_from_slice(&self.rest[..length]);
        self.rest.drain(..length);
        self.read.fetch_add(length, Ordering::SeqCst);
        Ok(length)
    }
}

/// In real time, for the same reason.
#[tokio::test]
async fn while_nothing_can_be_committed_reading_stands_still() {
    const RECORDS: u64 = 200_000;
    let (_folder, path) = folder();
    let annex = Annex::open(&path);
    let read = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&read);
    let make: Make = Arc::new(move || {
        let records = Endless { most: Some(RECORDS), read: Arc::clone(&counter), ..Endless::default() };
        let end = Cursor::new(b"]}".to_vec());
        ObjectReader::plain(Cursor::new(b"{\"Records\":[".to_vec()).chain(records).chain(end))
    });
    annex.shelf.put_made(&key("large"), make);
    annex.house.is_shut.store(true, Ordering::SeqCst);
    let submitted = annex.submitted(&[(1, announce(&["large"]))]);
    // Stands still: the same number over a second, in which an unhindered thread reads tens of megabytes.
    let mut before = 0;
    let stands_still = async {
        loop {
            sleep(Duration::from_secs(1)).await;
            let now = read.load(Ordering::SeqCst);
            if now > 0 && now == before {
                break now;
            }
            before = now;
        }
    };
    let stood_still = timeout(Duration::from_secs(180), stands_still).await.expect("reading stands still");
    let record = used(0).1.len();
    assert!(stood_still < 150_000 * record, "{} records were read ahead", stood_still / record);
    annex.house.is_shut.store(false, Ordering::SeqCst);
    submitted.await.unwrap();
    annex.acked(1).await;
    annex.house.stop().await;
    assert_eq!(uses(&path), RECORDS);
}
