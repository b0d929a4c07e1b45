//! As many accounts and keys as large organisations have.

use super::*;

#[tokio::test]
async fn thirty_thousand_keys_in_three_hundred_accounts_are_served() {
    let regions: Vec<Region> = ["eu-west-1", "eu-central-1", "us-east-1", "us-west-2"]
        .into_iter()
        .map(|region| region.parse().unwrap())
        .collect();
    let clock = Arc::new(ManualClock::at(NOW));
    let start = tokio::time::Instant::now();
    let organisation = Organisation::new(OrganisationOptions::still(clock.clone(), 300, &regions, 30_000));
    let founded = start.elapsed();
    let double = AwsDouble::start(organisation.clone(), AwsDoubleOptions::default()).await.unwrap();
    let scene = Scene { clock, organisation, double };
    let truth = scene.organisation.truth();
    let told = start.elapsed();
    assert!((30_000..30_003).contains(&truth.keys.len()), "{}", truth.keys.len());
    let mut seen = BTreeSet::new();
    let mut described = 0;
    for account in scene.organisation.accounts().iter().filter(|account| account.state == "ACTIVE") {
        let id = account.id.to_string();
        for region in &regions {
            let keys = scene.kms(&id, region.name(), "ListKeys", &json!({ "Limit": 1_000 })).await.json();
            let aliases = scene.kms(&id, region.name(), "ListAliases", &json!({ "Limit": 100 })).await;
            assert_eq!(aliases.status, 200);
            for key in keys["Keys"].as_array().unwrap() {
                seen.insert(key["KeyArn"].as_str().unwrap().to_owned());
            }
            if let Some(first) = keys["Keys"].get(0) {
                let request = json!({ "KeyId": first["KeyId"] });
                let heard = scene.kms(&id, region.name(), "DescribeKey", &request).await;
                assert_eq!(heard.status, 200);
                described += 1;
            }
        }
    }
    assert_eq!(seen.len(), truth.keys.len());
    assert!(truth.keys.iter().all(|key| seen.contains(&key.key.to_string())));
    assert!(described > 1_100, "{described}");
    let peak = scene.double.peak_of(Service::Kms, "ListKeys");
    assert_eq!(peak, 1, "one request for each account and Region");
    println!(
        "founded in {founded:?}, truth by {told:?}, {} requests by {:?}",
        2_400 + described,
        start.elapsed()
    );
}
