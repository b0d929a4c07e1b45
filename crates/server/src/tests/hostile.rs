//! Text that an attacker chose reaches JSON as it is, and metrics harmless.

use dormouse_model::printable;

use super::house::House;

const KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

/// An alias with everything that a terminal, a line, a label or a page might obey.
const ALIAS: &str = "alias/a\"} 1\n\\x\u{1b}[31m\u{202e}<script>é";

fn alias_record() -> String {
    let alias = serde_json::to_string(ALIAS).unwrap();
    format!(
        r#"{{"eventVersion":"1.08","eventSource":"kms.amazonaws.com","eventName":"CreateAlias","eventTime":"2026-11-11T00:00:00Z","awsRegion":"eu-west-1","recipientAccountId":"111122223333","eventID":"a1","requestParameters":{{"aliasName":{alias},"targetKeyId":"{KEY}"}},"responseElements":null,"resources":[{{"ARN":"{KEY}","accountId":"111122223333","type":"AWS::KMS::Key"}}]}}"#
    )
}

fn use_record() -> String {
    format!(
        r#"{{"eventVersion":"1.08","eventSource":"kms.amazonaws.com","eventName":"Decrypt","eventTime":"2026-11-11T00:00:01Z","awsRegion":"eu-west-1","recipientAccountId":"111122223333","eventID":"u1","resources":[{{"ARN":"{KEY}","accountId":"111122223333","type":"AWS::KMS::Key"}}]}}"#
    )
}

#[test]
fn a_hostile_alias_stays_inside_its_field() {
    let house = House::new();
    house.submit([alias_record(), use_record()]);
    let page = house.json("/api/v1/keys");
    let aliases = page["keys"][0]["aliases"].as_array().unwrap();
    assert_eq!(aliases.len(), 1, "{page}");
    assert_eq!(aliases[0], ALIAS);

    let metrics = house.get("/metrics/keys");
    let lines: Vec<&str> = metrics.text().lines().collect();
    let series: Vec<&&str> = lines.iter().filter(|line| line.starts_with("dormouse_key_last_use")).collect();
    assert_eq!(series.len(), 1, "{lines:?}");
    let escaped = printable(ALIAS).replace('\\', "\\\\").replace('"', "\\\"");
    assert!(series[0].contains(&format!("alias=\"{escaped}\"}} ")), "{}", series[0]);
    assert!(!metrics.text().contains(['\u{1b}', '\u{202e}']));
    assert!(!house.get("/metrics").text().contains("script"));
}

#[test]
fn hostile_records_of_every_sort_are_told_as_valid_json() {
    let house = House::filled(3_000);
    let page = house.get("/api/v1/keys?limit=1000");
    let keys = page.json()["keys"].as_array().unwrap().clone();
    for key in keys.iter().take(40) {
        let details = house.json(&format!("/api/v1/keys/{}", key["arn"].as_str().unwrap()));
        assert_eq!(details["arn"], key["arn"]);
    }
    // JSON escapes control characters, so that none is in the answer's own bytes.
    assert!(page.body.iter().all(|byte| !byte.is_ascii_control()));
    let metrics = house.get("/metrics/keys");
    assert!(metrics.text().chars().all(|c| c == '\n' || !c.is_control()));
}
