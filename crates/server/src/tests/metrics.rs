//! `/metrics` and `/metrics/keys` against what the API says.

use std::collections::BTreeMap;
use std::io::Write;

use dormouse_ledger::KeyDocument;
use dormouse_model::printable;
use dormouse_pipeline::view::KeysPage;
use dormouse_sources::health::Phase;

use super::house::House;

/// Series by name and labels, and the families in the order of the text; checks that the text is well-formed.
fn parse(text: &str) -> (BTreeMap<String, f64>, Vec<String>) {
    let mut series = BTreeMap::new();
    let mut families: Vec<String> = Vec::new();
    let mut has_type = false;
    let mut is_histogram = false;
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(!help.is_empty());
            assert!(!families.iter().any(|known| known == name), "{name} comes twice");
            families.push(name.to_owned());
            has_type = false;
            continue;
        }
        let name = families.last().unwrap();
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let kind = kind.strip_prefix(&format!("{name} ")).unwrap();
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
            has_type = true;
            is_histogram = kind == "histogram";
            continue;
        }
        assert!(has_type, "{line}");
        let (id, value) = line.rsplit_once(' ').unwrap();
        let part = id.split('{').next().unwrap().strip_prefix(name.as_str());
        let parts: &[&str] = if is_histogram { &["_bucket", "_sum", "_count"] } else { &[""] };
        assert!(part.is_some_and(|part| parts.contains(&part)), "{line}");
        assert!(series.insert(id.to_owned(), value.parse().unwrap()).is_none(), "{id} comes twice");
    }
    (series, families)
}

fn documents(house: &House, question: &str) -> Vec<KeyDocument> {
    let answer = house.get(&format!("/api/v1/keys?limit=1000&{question}"));
    let page: KeysPage = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(page.next, None);
    page.keys
}

fn label(key: &KeyDocument) -> String {
    let alias = key.aliases.as_ref().and_then(|aliases| aliases.first()).map_or("", String::as_str);
    let mut alias = printable(alias).into_owned();
    while alias.len() > 256 {
        alias.pop();
    }
    let alias = alias.replace('\\', "\\\\").replace('"', "\\\"");
    format!("{{arn=\"{}\",account=\"{}\",region=\"{}\",alias=\"{alias}\"}}", key.arn, key.account, key.region)
}

fn expected(keys: &[KeyDocument]) -> BTreeMap<String, f64> {
    let mut series = BTreeMap::new();
    for key in keys {
        if let Some(last) = &key.last_use {
            let name = format!("dormouse_key_last_use_timestamp_seconds{}", label(key));
            series.insert(name, f64::from(last.at.seconds()));
        }
        if let Some(last) = &key.last_attempt {
            let name = format!("dormouse_key_last_attempt_timestamp_seconds{}", label(key));
            series.insert(name, f64::from(last.at.seconds()));
        }
    }
    series.insert("dormouse_key_series_truncated".into(), 0.0);
    series
}

#[test]
fn the_series_of_keys_are_what_the_documents_say() {
    let house = House::filled(3_000);
    for question in
        ["", "region=us-east-1", "sort=arn", "idle_for=2d&manager=CUSTOMER", "q=nothing-like-this"]
    {
        let answer = house.get(&format!("/metrics/keys?{question}"));
        assert_eq!(answer.status, 200);
        assert!(answer.is_whole);
        let (series, families) = parse(answer.text());
        assert_eq!(series, expected(&documents(&house, question)), "{question}");
        assert_eq!(families.len(), 3);
    }
}

#[test]
fn too_many_series_are_cut_and_counted() {
    let house = House::with(|options| options.limits.max_key_series = 5);
    house.submit(
        super::house::records(1, 1_000).iter().map(dormouse_simulate::records::Generated::eventbridge),
    );
    let all = expected(&documents(&house, ""));
    let (series, _) = parse(house.get("/metrics/keys").text());
    assert_eq!(series.len(), 6);
    let left_out = series["dormouse_key_series_truncated"];
    assert!((left_out - f64::from(u32::try_from(all.len() - 6).unwrap())).abs() < 0.5, "{left_out}");
    // Those used last find room.
    let kept: Vec<f64> = series.iter().filter(|(id, _)| id.contains('{')).map(|(_, at)| *at).collect();
    let uses = all.iter().filter(|(id, _)| id.contains("last_use"));
    let later = uses.filter(|(_, at)| kept.iter().all(|kept| *at > kept)).count();
    assert_eq!(later, 0);
}

#[test]
fn compressed_or_not_the_text_is_the_same() {
    let house = House::filled(2_000);
    let plain = house.get("/metrics/keys");
    assert_eq!(plain.header("content-encoding"), None);
    let packed = house.request("GET", "/metrics/keys", &[("Accept-Encoding", "gzip")]);
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert!(packed.is_whole && packed.body.len() < plain.body.len() / 2);
    let mut decoder = flate2::write::GzDecoder::new(Vec::new());
    decoder.write_all(&packed.body).unwrap();
    assert_eq!(decoder.finish().unwrap(), plain.body);
}

#[test]
fn scrapes_tell_what_there_is() {
    let house = House::filled(1_000);
    house.health.send_modify(|health| health.phase = Phase::Running);
    let total = documents(&house, "").len();
    let sum = |series: &BTreeMap<String, f64>, name: &str| -> f64 {
        series.iter().filter(|(id, _)| id.starts_with(name)).map(|(_, value)| value).sum()
    };
    let total = f64::from(u32::try_from(total).unwrap());
    let mut series = BTreeMap::new();
    house.until("the keys are counted", || {
        series = parse(house.get("/metrics").text()).0;
        (sum(&series, "dormouse_keys{") - total).abs() < 0.5
    });
    for (id, value) in [
        ("dormouse_build_info{version=\"1.2.3\"}", 1.0),
        ("dormouse_ready", 1.0),
        ("dormouse_store_paused", 0.0),
        ("dormouse_source_up{source=\"bus\"}", 1.0),
        ("dormouse_source_received_total{source=\"bus\"}", 0.0),
        ("dormouse_source_receive_errors_total{source=\"bus\",class=\"denied\"}", 0.0),
        ("dormouse_quarantine_bytes", 0.0),
    ] {
        if id == "dormouse_quarantine_bytes" {
            assert!(series[id] >= value, "{id}");
        } else {
            assert!(
                (series.get(id).copied().unwrap_or(-1.0) - value).abs() < 0.5,
                "{id}: {:?}",
                series.get(id)
            );
        }
    }
    for age in ["1d", "7d", "30d"] {
        let found = documents(&house, &format!("idle_for={age}")).len();
        let told = series[&format!("dormouse_keys_by_idle_age{{idle_over=\"{age}\"}}")];
        assert!((told - f64::from(u32::try_from(found).unwrap())).abs() < 0.5, "{age}: {told} for {found}");
    }
    assert!(series["dormouse_key_count_age_seconds"] < 60.0);
    let requests = series["dormouse_http_requests_total{route=\"/api/v1/keys\",status=\"2xx\"}"];
    assert!(requests >= 1.0);
    let text = house.get("/metrics").text().to_owned();
    assert!(!text.contains("principal") && !text.contains("alias"), "{text}");
}

#[test]
fn only_so_many_read_all_keys_at_once() {
    let house = House::with(|options| options.limits.key_streams = 0);
    let answer = house.get("/metrics/keys");
    assert_eq!((answer.status, answer.code().as_str()), (503, "too_busy"));
}
