//! Bodies and files of a synthetic organisation.
//!
//! Its records lie within ten days of November 2026, so that the same seed gives the same bytes on every day.

use std::collections::BTreeMap;
use std::path::Path;

use dormouse_simulate::records::{
    DeliveryOptions, Generated, Generator, Mix, Shape, deliveries, gzip, trail,
};

const DAYS: u32 = 10;

/// Records of everything that KMS logs, `count` of them: all operations, failures, two accounts' copies of one call,
/// phantom keys, other services, hostile texts.
pub fn everything(seed: u64, count: usize) -> Vec<Generated> {
    records(seed, count, Mix::everything())
}

/// Records of this mix.
pub fn records(seed: u64, count: usize, mix: Mix) -> Vec<Generated> {
    records_within(DAYS, seed, count, mix)
}

/// Records of this mix that lie within so many days from 2026-11-01 on.
pub fn records_within(days: u32, seed: u64, count: usize, mix: Mix) -> Vec<Generated> {
    let shape = Shape { hostile: true, rich: false, ..Shape::default() };
    let shape = shape.over(days * 86_400, u32::try_from(count).unwrap());
    Generator::new(seed, shape, mix).take_records(count)
}

/// The records in the order of their delivery: 5 % come more than once, none far from its place but for a few copies.
pub fn delivered(seed: u64, records: &[Generated]) -> impl Iterator<Item = &Generated> {
    let options = DeliveryOptions { seed, duplicates: 0.05, window: 500 };
    deliveries(records.len(), options).into_iter().map(|place| &records[place])
}

/// A message a delivery, as EventBridge puts them into a queue.
pub fn bodies(seed: u64, records: &[Generated]) -> Vec<String> {
    delivered(seed, records).map(Generated::eventbridge).collect()
}

/// Writes the messages to a file that the oracle can read.
pub fn write_lines<S: AsRef<str>>(path: &Path, lines: impl IntoIterator<Item = S>) {
    let mut text = String::new();
    for line in lines {
        text.push_str(line.as_ref());
        text.push('\n');
    }
    std::fs::write(path, text).unwrap();
}

/// Writes the deliveries as a trail's bucket looks: a folder a day, one object an account, Region and hour, some of them
/// plain because somebody has unpacked them.
pub fn write_trail<'a>(folder: &Path, deliveries: impl IntoIterator<Item = &'a Generated>) {
    let mut objects: BTreeMap<String, Vec<&Generated>> = BTreeMap::new();
    for record in deliveries {
        let (account, region, time) = (record.account, record.region, record.time.to_string());
        let (day, hour) = (time[..10].replace('-', "/"), &time[11..13]);
        let stamp = day.replace('/', "");
        let name = format!("AWSLogs/{account}/CloudTrail/{region}/{day}/{account}_{stamp}T{hour}00Z.json");
        objects.entry(name).or_default().push(record);
    }
    for (place, (name, records)) in objects.into_iter().enumerate() {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let content = trail(records);
        if place % 5 == 0 {
            std::fs::write(path, content).unwrap();
        } else {
            std::fs::write(path.with_extension("json.gz"), gzip(content.as_bytes())).unwrap();
        }
    }
}
