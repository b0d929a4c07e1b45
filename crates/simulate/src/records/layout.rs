//! Records as a trail lays them out in its bucket.
//!
//! Whoever walks a trail's bucket meets what no single object shows: files for each account and Region, a day whose last
//! records lie in the next day's folder, and digest files, one an hour even when nothing happened, that name every log
//! file and their own predecessor. [`lay_out`] writes all of these from records, and is deterministic.
//!
//! The time in a file's name is the time of its delivery: that of its records and [`LayoutOptions::delivery_delay`],
//! rounded up. A digest lists the files that were delivered within its hour. The chain of hashes is real; the signatures
//! are not, because they stand in the metadata of objects and need AWS's keys.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::{fs, io};

use dormouse_model::{AccountId, EventTime, Region};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::draft::{Draft, Style};
use super::json::{Object, object, object_text};
use super::parameters::Parameters;
use super::{Generated, gzip, trail};
use crate::s3::{S3Double, UnknownBucket};

const HOUR: u32 = 3_600;
const DAY: u32 = 24 * HOUR;

/// How the trail is set up.
#[derive(Clone, Debug)]
pub struct LayoutOptions {
    /// The bucket, as digests name it.
    pub bucket: String,
    /// What stands before `AWSLogs/`, without a slash at its end. Empty: nothing.
    pub prefix: String,
    /// The organisation of an organisation trail, `o-…`.
    pub organisation: Option<String>,
    /// The trail's name.
    pub trail: String,
    /// The Region where the trail was made.
    pub home_region: String,
    /// How many minutes of deliveries go into one file.
    pub minutes_a_file: u32,
    /// Seconds from an event to its delivery.
    pub delivery_delay: u32,
    /// Whether there are digest files.
    pub digests: bool,
    /// Digests begin with the hour of the first and end with the hour of the second. `None`: the hours from the first
    /// record to the last file.
    pub span: Option<(EventTime, EventTime)>,
    /// Adds a `ListKeys` record to each day from the first record to the last, in each account and Region that has
    /// records, as reconciling and auditing leave them.
    pub daily_reads: bool,
}

impl Default for LayoutOptions {
    fn default() -> Self {
        Self {
            bucket: "example-trail".to_owned(),
            prefix: String::new(),
            organisation: None,
            trail: "organisation".to_owned(),
            home_region: "eu-west-1".to_owned(),
            minutes_a_file: 5,
            delivery_delay: 300,
            digests: true,
            span: None,
            daily_reads: false,
        }
    }
}

/// An object of the trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrailObject {
    /// Its key in the bucket.
    pub key: String,
    /// Its bytes, in gzip.
    pub body: Vec<u8>,
    /// When it was delivered.
    pub delivered: EventTime,
    /// Whether it is a digest file and no log file.
    pub is_digest: bool,
}

/// Where a file belongs: the account and the Region that logged.
type Place = (AccountId, Region);

/// A log file, as digests speak of it.
struct LogFile {
    key: String,
    hash: String,
    delivered: u32,
    oldest: EventTime,
    newest: EventTime,
}

/// The objects of a trail with these records, log files first, each sort in the order of place and time.
pub fn lay_out<'a>(
    records: impl IntoIterator<Item = &'a Generated>,
    options: &LayoutOptions,
) -> Vec<TrailObject> {
    let records: Vec<&Generated> = records.into_iter().collect();
    let reads = if options.daily_reads { daily_reads(&records) } else { Vec::new() };
    let mut files: BTreeMap<(String, u32), (Place, Vec<&Generated>)> = BTreeMap::new();
    for record in records.iter().copied().chain(&reads) {
        let place = (record.account, record.region);
        let file = (format!("{}/{}", place.0, place.1), delivered(record.time, options));
        files.entry(file).or_insert_with(|| (place, Vec::new())).1.push(record);
    }
    let mut objects = Vec::new();
    let mut listed: BTreeMap<String, (Place, Vec<LogFile>)> = BTreeMap::new();
    for ((place_text, delivered), (place, records)) in files {
        let (object, file) = log_file(place, delivered, &records, options);
        objects.push(object);
        listed.entry(place_text).or_insert_with(|| (place, Vec::new())).1.push(file);
    }
    if options.digests {
        let Some(hours) = digest_hours(&listed, options) else { return objects };
        for (place, files) in listed.into_values() {
            digest_chain(&mut objects, place, &files, hours, options);
        }
    }
    objects
}

/// Puts the objects into the double's bucket, which must exist.
pub fn put_all(double: &S3Double, bucket: &str, objects: &[TrailObject]) -> Result<(), UnknownBucket> {
    for object in objects {
        double.put(bucket, &object.key, object.body.clone())?;
    }
    Ok(())
}

/// Writes the objects below a folder, keys as paths.
pub fn write_to_folder(folder: &Path, objects: &[TrailObject]) -> io::Result<()> {
    for object in objects {
        let path = folder.join(&object.key);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, &object.body)?;
    }
    Ok(())
}

/// When the file comes that an event of this time is in.
fn delivered(time: EventTime, options: &LayoutOptions) -> u32 {
    let period = options.minutes_a_file.max(1) * 60;
    (time.seconds().saturating_add(options.delivery_delay) / period).saturating_add(1).saturating_mul(period)
}

fn log_file(
    place: Place,
    delivered: u32,
    records: &[&Generated],
    options: &LayoutOptions,
) -> (TrailObject, LogFile) {
    let (account, region) = place;
    let text = trail(records.iter().copied());
    let unique = format!("{:X}", md5::compute(format!("{account}{region}{delivered}")));
    let key = format!(
        "{}/{account}_CloudTrail_{region}_{}_{}.json.gz",
        folder(place, "CloudTrail", delivered, options),
        written(delivered, "%Y%m%dT%H%MZ"),
        &unique[..16]
    );
    let times = || records.iter().map(|record| record.time);
    let never = EventTime::from_seconds(0);
    let file = LogFile {
        key: key.clone(),
        hash: sha256(text.as_bytes()),
        delivered,
        oldest: times().min().unwrap_or(never),
        newest: times().max().unwrap_or(never),
    };
    let delivered = EventTime::from_seconds(delivered);
    (TrailObject { key, body: gzip(text.as_bytes()), delivered, is_digest: false }, file)
}

/// The first hour and the one behind the last, in seconds.
fn digest_hours(
    listed: &BTreeMap<String, (Place, Vec<LogFile>)>,
    options: &LayoutOptions,
) -> Option<(u32, u32)> {
    let files = || listed.values().flat_map(|(_, files)| files);
    let (first, last) = match options.span {
        Some((first, last)) => (first.seconds(), last.seconds()),
        None => (files().map(|file| file.oldest.seconds()).min()?, files().map(|file| file.delivered).max()?),
    };
    Some((first / HOUR * HOUR, (last / HOUR).saturating_add(1).saturating_mul(HOUR)))
}

/// The digests of an account and Region, each of which names the one before it.
fn digest_chain(
    objects: &mut Vec<TrailObject>,
    place: Place,
    files: &[LogFile],
    (first, end): (u32, u32),
    options: &LayoutOptions,
) {
    let mut previous: Option<(String, String)> = None;
    for start in (first..end).step_by(HOUR as usize) {
        let within = |file: &&LogFile| (start..start + HOUR).contains(&file.delivered);
        let files: Vec<&LogFile> = files.iter().filter(within).collect();
        let key = digest_key(place, start + HOUR, options);
        let text = digest(place, start, &key, &files, previous.as_ref(), options);
        let delivered = EventTime::from_seconds(start + HOUR);
        previous = Some((key.clone(), sha256(text.as_bytes())));
        objects.push(TrailObject { key, body: gzip(text.as_bytes()), delivered, is_digest: true });
    }
}

fn digest_key(place: Place, end: u32, options: &LayoutOptions) -> String {
    let (account, region) = place;
    let LayoutOptions { trail, home_region, .. } = options;
    format!(
        "{}/{account}_CloudTrail-Digest_{region}_{trail}_{home_region}_{}.json.gz",
        folder(place, "CloudTrail-Digest", end, options),
        written(end, "%Y%m%dT%H%M%SZ")
    )
}

fn digest(
    (account, _): Place,
    start: u32,
    key: &str,
    files: &[&LogFile],
    previous: Option<&(String, String)>,
    options: &LayoutOptions,
) -> String {
    let quoted = |time: Option<EventTime>| time.map(|time| format!("\"{time}\""));
    let newest = quoted(files.iter().map(|file| file.newest).max());
    let oldest = quoted(files.iter().map(|file| file.oldest).min());
    object_text(|digest| {
        digest.shown("awsAccountId", account);
        digest.shown("digestStartTime", EventTime::from_seconds(start));
        digest.shown("digestEndTime", EventTime::from_seconds(start + HOUR));
        digest.text("digestS3Bucket", &options.bucket);
        digest.text("digestS3Object", key);
        digest.text("digestPublicKeyFingerprint", "31e8b5433410dfb61a9dc45cc65b22ff");
        digest.text("digestSignatureAlgorithm", "SHA256withRSA");
        digest.raw_or_null("newestEventTime", newest.as_deref());
        digest.raw_or_null("oldestEventTime", oldest.as_deref());
        write_previous(digest, previous, options);
        let mut list = String::from("[");
        for (place, file) in files.iter().enumerate() {
            if place > 0 {
                list.push(',');
            }
            object(&mut list, |entry| {
                entry.text("s3Bucket", &options.bucket);
                entry.text("s3Object", &file.key);
                entry.text("hashValue", &file.hash);
                entry.text("hashAlgorithm", "SHA-256");
                entry.shown("newestEventTime", file.newest);
                entry.shown("oldestEventTime", file.oldest);
            });
        }
        list.push(']');
        digest.raw("logFiles", list);
    })
}

fn write_previous(digest: &mut Object<'_>, previous: Option<&(String, String)>, options: &LayoutOptions) {
    let Some((key, hash)) = previous else {
        for name in [
            "previousDigestS3Bucket",
            "previousDigestS3Object",
            "previousDigestHashValue",
            "previousDigestHashAlgorithm",
            "previousDigestSignature",
        ] {
            digest.raw_or_null(name, None);
        }
        return;
    };
    digest.text("previousDigestS3Bucket", &options.bucket);
    digest.text("previousDigestS3Object", key);
    digest.text("previousDigestHashValue", hash);
    digest.text("previousDigestHashAlgorithm", "SHA-256");
    // As long as a signature by a key of 2,048 bits, and no signature.
    digest.text("previousDigestSignature", &hash.repeat(8));
}

/// The folder of a day, without a slash at its end.
fn folder((account, region): Place, kind: &str, seconds: u32, options: &LayoutOptions) -> String {
    let with_slash = |part: &str| if part.is_empty() { String::new() } else { format!("{part}/") };
    let prefix = with_slash(&options.prefix);
    let organisation = with_slash(options.organisation.as_deref().unwrap_or_default());
    format!("{prefix}AWSLogs/{organisation}{account}/{kind}/{region}/{}", written(seconds, "%Y/%m/%d"))
}

fn written(seconds: u32, format: &str) -> String {
    let time = Timestamp::from_second(i64::from(seconds)).unwrap_or(Timestamp::UNIX_EPOCH);
    time.strftime(format).to_string()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A `ListKeys` at noon of each day, or as near to it as the records' span allows, for each account and Region.
fn daily_reads(records: &[&Generated]) -> Vec<Generated> {
    let times = || records.iter().map(|record| record.time);
    let (Some(first), Some(last)) = (times().min(), times().max()) else {
        return Vec::new();
    };
    let mut places: Vec<Place> = Vec::new();
    let mut known = BTreeSet::new();
    for record in records {
        if known.insert((record.account.number(), record.region.name())) {
            places.push((record.account, record.region));
        }
    }
    let mut reads = Vec::new();
    for day in first.seconds() / DAY..=last.seconds() / DAY {
        let noon = EventTime::from_seconds(day * DAY + DAY / 2).clamp(first, last);
        reads.extend(places.iter().map(|&place| read(place, noon)));
    }
    reads
}

fn read((account, region): Place, time: EventTime) -> Generated {
    let bits = |what: &str| u128::from_be_bytes(md5::compute(format!("{what}{account}{region}{time}")).0);
    let identity = object_text(|identity| {
        identity.text("type", "AssumedRole");
        identity.text("principalId", "AROAEXAMPLEAUDIT00000:audit");
        identity.shown("arn", format_args!("arn:aws:sts::{account}:assumed-role/audit/audit"));
        identity.shown("accountId", account);
        identity.object("sessionContext", |context| {
            context.object("sessionIssuer", |issuer| {
                issuer.text("type", "Role");
                issuer.text("principalId", "AROAEXAMPLEAUDIT00000");
                issuer.shown("arn", format_args!("arn:aws:iam::{account}:role/audit"));
                issuer.shown("accountId", account);
                issuer.text("userName", "audit");
            });
        });
    });
    let draft = Draft {
        identity: &identity,
        time,
        source: "kms.amazonaws.com",
        name: "ListKeys",
        region,
        source_ip: "192.0.2.1",
        user_agent: "audit/1.0",
        failure: None,
        parameters: Parameters::default(),
        request_id: bits("request"),
        event_id: bits("event"),
        shared_id: None,
        read_only: true,
        resources: None,
        event_type: "AwsApiCall",
        recipient: account,
        service_details: None,
        direct: true,
        style: Style::default(),
    };
    draft.finish(Vec::new())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde_json::Value;

    use super::*;
    use crate::records::{Generator, Mix, Shape};

    /// 3,000 records over two days from 22:00.
    fn records() -> Vec<Generated> {
        let start = EventTime::from_seconds(1_793_491_200 - 2 * HOUR);
        let shape = Shape { start, ..Shape::default() }.over(2 * DAY, 3_000);
        Generator::new(7, shape, Mix::everything()).take_records(3_000)
    }

    fn unzipped(body: &[u8]) -> String {
        let mut decoder = flate2::write::GzDecoder::new(Vec::new());
        io::Write::write_all(&mut decoder, body).unwrap();
        String::from_utf8(decoder.finish().unwrap()).unwrap()
    }

    fn read(object: &TrailObject) -> Value {
        serde_json::from_str(&unzipped(&object.body)).unwrap()
    }

    fn options() -> LayoutOptions {
        LayoutOptions {
            prefix: "central/logs".to_owned(),
            organisation: Some("o-abc".to_owned()),
            ..LayoutOptions::default()
        }
    }

    #[test]
    fn every_record_lies_once_where_its_account_region_and_delivery_say() {
        let records = records();
        let objects = lay_out(&records, &options());
        let mut ids = Vec::new();
        let mut strays = 0;
        for object in objects.iter().filter(|object| !object.is_digest) {
            let day = written(object.delivered.seconds(), "%Y/%m/%d");
            for record in read(object)["Records"].as_array().unwrap() {
                let (account, region) =
                    (record["recipientAccountId"].as_str().unwrap(), record["awsRegion"].as_str().unwrap());
                let folder = format!("central/logs/AWSLogs/o-abc/{account}/CloudTrail/{region}/{day}/");
                assert!(object.key.starts_with(&folder), "{} {folder}", object.key);
                assert!(record["eventTime"].as_str().unwrap() < object.delivered.to_string().as_str());
                strays += usize::from(
                    !day.replace('/', "-").starts_with(&record["eventTime"].as_str().unwrap()[..10]),
                );
                ids.push(record["eventID"].as_str().unwrap().to_owned());
            }
        }
        let mut wanted: Vec<&str> = records.iter().map(|record| record.event_id.as_str()).collect();
        wanted.sort_unstable();
        ids.sort_unstable();
        assert_eq!(ids, wanted);
        assert!(strays > 0, "a day's last records lie in the next day's folder");
        assert_eq!(lay_out(&records, &options()), objects);
    }

    #[test]
    fn digests_are_a_chain_over_all_hours_that_names_every_file() {
        // So few that some hours are quiet.
        let records: Vec<Generated> = records().into_iter().step_by(20).collect();
        let objects = lay_out(&records, &options());
        let texts: HashMap<&str, String> =
            objects.iter().map(|object| (object.key.as_str(), unzipped(&object.body))).collect();
        let mut named = 0;
        let mut previous: HashMap<String, (String, String)> = HashMap::new();
        let mut quiet = 0;
        for object in objects.iter().filter(|object| object.is_digest) {
            let digest = read(object);
            assert_eq!(digest["digestS3Object"], object.key);
            assert_eq!(digest["digestEndTime"], object.delivered.to_string());
            let chain = object.key.split("/CloudTrail-Digest/").map(|part| part.split('/').next().unwrap());
            let chain = chain.collect::<Vec<_>>().join("/") + digest["awsAccountId"].as_str().unwrap();
            let end = digest["digestEndTime"].as_str().unwrap().to_owned();
            match previous.insert(chain, (object.key.clone(), end)) {
                Some((key, end)) => {
                    assert_eq!(digest["digestStartTime"], end);
                    assert_eq!(digest["previousDigestS3Object"], key);
                    assert_eq!(digest["previousDigestHashValue"], sha256(texts[key.as_str()].as_bytes()));
                }
                None => assert!(digest["previousDigestS3Object"].is_null()),
            }
            let files = digest["logFiles"].as_array().unwrap();
            quiet += usize::from(files.is_empty() && digest["newestEventTime"].is_null());
            for file in files {
                assert_eq!(file["hashValue"], sha256(texts[file["s3Object"].as_str().unwrap()].as_bytes()));
                named += 1;
            }
        }
        assert_eq!(named, objects.iter().filter(|object| !object.is_digest).count());
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let span =
            (EventTime::from_seconds(1_793_491_200), EventTime::from_seconds(1_793_491_200 + 5 * DAY - 1));
        let longer = lay_out(&records, &LayoutOptions { span: Some(span), ..options() });
        assert_eq!(longer.iter().filter(|object| object.is_digest).count(), previous.len() * 5 * 24);
        assert!(quiet > 0);
    }

    #[test]
    fn daily_reads_are_there_for_each_account_region_and_day() {
        let records = records();
        let options = LayoutOptions { daily_reads: true, digests: false, ..options() };
        let mut read_on = BTreeSet::new();
        let mut places = BTreeSet::new();
        for object in lay_out(&records, &options) {
            for record in read(&object)["Records"].as_array().unwrap() {
                let text = |name: &str| record[name].as_str().unwrap().to_owned();
                places.insert((text("recipientAccountId"), text("awsRegion")));
                if text("userAgent") == "audit/1.0" {
                    assert_eq!(
                        (record["readOnly"].as_bool(), text("eventName")),
                        (Some(true), "ListKeys".into())
                    );
                    read_on.insert((
                        text("recipientAccountId"),
                        text("awsRegion"),
                        text("eventTime")[..10].to_owned(),
                    ));
                }
            }
        }
        assert_eq!(read_on.len(), places.len() * 3);
    }

    #[tokio::test]
    async fn objects_go_into_a_folder_or_a_bucket() {
        let objects = lay_out(&records()[..50], &LayoutOptions::default());
        let double = S3Double::start(crate::s3::S3Options::default()).await.unwrap();
        assert!(put_all(&double, "example-trail", &objects).is_err());
        double.create_bucket("example-trail");
        put_all(&double, "example-trail", &objects).unwrap();
        let folder = tempfile::tempdir().unwrap();
        write_to_folder(folder.path(), &objects).unwrap();
        assert_eq!(double.keys("example-trail").unwrap().len(), objects.len());
        for object in &objects {
            assert_eq!(double.get("example-trail", &object.key).unwrap().unwrap(), object.body);
            assert_eq!(fs::read(folder.path().join(&object.key)).unwrap(), object.body);
        }
    }
}
