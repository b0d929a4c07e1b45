//! Every key of an answer once, whatever is written meanwhile.

use std::collections::BTreeSet;

use super::house::{House, records};

fn arns(page: &serde_json::Value) -> Vec<String> {
    let keys = page["keys"].as_array().unwrap();
    keys.iter().map(|key| key["arn"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_key_is_on_one_page_while_others_are_written() {
    let house = House::new();
    let records = records(1, 4_000);
    let bodies: Vec<String> =
        records.iter().map(dormouse_simulate::records::Generated::eventbridge).collect();
    house.submit(bodies[..1_000].to_vec());
    let before = arns(&house.json("/api/v1/keys?limit=1000"));
    for question in
        ["", "sort=uses&order=asc", "region=eu-west-1,us-east-1", "sort=last_attempt", "order=asc"]
    {
        let mut page = house.json(&format!("/api/v1/keys?limit=7&{question}"));
        let total = page["total"].as_u64().unwrap();
        let mut seen = arns(&page);
        let mut rest = bodies[1_000..].chunks(20);
        while let Some(next) = page["next"].as_str() {
            house.submit_only(rest.next().unwrap_or_default().to_vec());
            page = house.json(&format!("/api/v1/keys?limit=7&cursor={next}"));
            assert_eq!(page["total"], total);
            seen.extend(arns(&page));
        }
        let unique: BTreeSet<&String> = seen.iter().collect();
        assert_eq!(unique.len(), seen.len(), "{question}: a key appeared twice");
        assert_eq!(u64::try_from(seen.len()).unwrap(), total, "{question}");
        if !question.contains("region") {
            // One that was deleted since is no longer asked for.
            let deleted = arns(&house.json("/api/v1/keys?limit=1000&state=Deleted"));
            let is_there = |arn: &String| unique.contains(arn) || deleted.contains(arn);
            assert!(before.iter().all(is_there), "{question}: a key is missing");
        }
    }
}

#[test]
fn a_page_can_be_asked_for_again_and_with_its_question() {
    let house = House::filled(500);
    let first = house.json("/api/v1/keys?limit=10&region=eu-west-1&sort=arn");
    let next = first["next"].as_str().unwrap();
    let second = house.json(&format!("/api/v1/keys?cursor={next}&limit=10"));
    assert_eq!(house.json(&format!("/api/v1/keys?cursor={next}&limit=10")), second);
    let with = format!("/api/v1/keys?cursor={next}&limit=10&sort=arn&region=eu-west-1");
    assert_eq!(house.json(&with), second);
    let other = house.get(&format!("/api/v1/keys?cursor={next}&region=us-east-1"));
    assert_eq!((other.status, other.code().as_str()), (400, "bad_cursor"));
}

#[test]
fn a_cursor_of_another_process_is_gone_and_a_broken_one_is_wrong() {
    let (house, other) = (House::filled(500), House::filled(500));
    let page = other.json("/api/v1/keys?limit=1");
    let next = page["next"].as_str().unwrap();
    let gone = house.get(&format!("/api/v1/keys?cursor={next}"));
    assert_eq!((gone.status, gone.code().as_str()), (410, "listing_gone"));
    for broken in [&next[1..], "", "x", "00"] {
        let wrong = house.get(&format!("/api/v1/keys?cursor={broken}"));
        assert_eq!((wrong.status, wrong.code().as_str()), (400, "bad_cursor"));
    }
}
