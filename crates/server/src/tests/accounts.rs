//! What was received from which account, in pages and by filter.

use std::collections::BTreeSet;

use serde_json::Value;

use super::house::House;

fn accounts(document: &Value) -> Vec<String> {
    let accounts = document["accounts"].as_array().unwrap();
    accounts.iter().map(|account| account["account"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn pages_show_every_account_once_in_the_order_of_their_ids() {
    let house = House::filled(2_000);
    let whole = house.json("/api/v1/accounts");
    let all = accounts(&whole);
    assert!(all.len() > 2 && all.is_sorted(), "{all:?}");
    assert_eq!(whole["next"], Value::Null);
    let (mut found, mut after, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = house.json(&format!("/api/v1/accounts?limit=2{after}"));
        assert!(page["accounts"].as_array().unwrap().len() <= 2);
        found.extend(page["accounts"].as_array().unwrap().iter().cloned());
        pages += 1;
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(found, *whole["accounts"].as_array().unwrap());
    assert_eq!(pages, all.len().div_ceil(2));
}

#[test]
fn filters_leave_what_was_asked_for() {
    let house = House::filled(2_000);
    let all = accounts(&house.json("/api/v1/accounts"));
    let some = house.json(&format!("/api/v1/accounts?account={},{}", all[0], all[1]));
    assert_eq!(accounts(&some), all[..2]);
    let region = house.json("/api/v1/accounts?region=us-east-1");
    let names: BTreeSet<&str> = region["accounts"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|account| account["regions"].as_array().unwrap())
        .map(|region| region["region"].as_str().unwrap())
        .collect();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["us-east-1"]);
    assert_eq!(accounts(&house.json("/api/v1/accounts?account=000000000001")), Vec::<String>::new());
    for wrong in ["account=12", "region=x%0a", "after=first", "limit=0", "limit=1001", "cursor=1"] {
        let answer = house.get(&format!("/api/v1/accounts?{wrong}"));
        assert_eq!((answer.status, answer.code().as_str()), (400, "bad_parameter"), "{wrong}");
    }
}

#[test]
fn what_is_declared_is_told_as_such() {
    let house = House::new();
    let region = &house.json("/api/v1/accounts")["accounts"][0]["regions"][0];
    assert_eq!(region["region"], "sa-east-1");
    assert_eq!(region["received"], serde_json::json!([]));
    assert_eq!(region["history"]["covered"][0]["by"], "declared");
}
