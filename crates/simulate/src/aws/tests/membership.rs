//! Accounts that come and go, and the roles in them.

use super::*;

impl Scene {
    /// All accounts that Organizations lists, and how many pages that took.
    async fn listed(&self) -> (Vec<Value>, usize) {
        let (mut accounts, mut pages) = (Vec::new(), 0);
        let mut request = json!({});
        loop {
            let heard = self.organizations("ListAccounts", request.clone()).await;
            assert_eq!(heard.status, 200, "{}", heard.body);
            let answer = heard.json();
            pages += 1;
            accounts.extend(answer["Accounts"].as_array().unwrap().iter().cloned());
            if answer["NextToken"].is_null() {
                return (accounts, pages);
            }
            request["NextToken"] = answer["NextToken"].clone();
            assert!(pages < 100);
        }
    }

    async fn shown(&self, account: AccountId) -> Option<Value> {
        self.listed().await.0.into_iter().find(|shown| shown["Id"] == account.to_string())
    }
}

#[tokio::test]
async fn accounts_leave_join_and_change() {
    let scene = scene().await;
    let key = symmetric(&scene);
    let (account, organisation) = (key.account(), &scene.organisation);
    let request = json!({ "KeyId": key.key.id() });
    let before = organisation.accounts().len();

    assert!(organisation.leave(account));
    assert!(scene.shown(account).await.is_none());
    assert_eq!(organisation.accounts().len(), before - 1);
    let described = scene.organizations("DescribeAccount", json!({ "AccountId": account.to_string() })).await;
    assert_eq!(described.code(), "AccountNotFoundException");
    // It goes on without the organisation, and so does the role in it.
    scene.told(&key, "DescribeKey", request.clone()).await;
    assert_eq!(scene.assume(account, "dormouse-read", "").await.status, 200);
    let headers = "x-amz-target: AWSOrganizationsV20161128.ListAccounts\r\n";
    let own = scene.send(&account.to_string(), "us-east-1", headers, "{}").await.unwrap();
    assert_eq!(own.code(), "AWSOrganizationsNotInUseException");
    assert!(!organisation.leave(account), "it has left already");
    assert!(organisation.rejoin(account) && !organisation.rejoin(account));
    assert_eq!(scene.shown(account).await.unwrap()["JoinedTimestamp"], NOW.seconds());
    assert!(!organisation.leave(organisation.management_account()));

    assert!(organisation.rename(account, "new-name"));
    assert_eq!(scene.shown(account).await.unwrap()["Name"], "new-name");
    assert!(organisation.set_account_state(account, "SUSPENDED"));
    let shown = scene.shown(account).await.unwrap();
    assert_eq!((&shown["State"], &shown["Status"]), (&json!("SUSPENDED"), &json!("SUSPENDED")));
    assert_eq!(scene.refused(&key, "DescribeKey", request.clone()).await, "UnrecognizedClientException");
    assert_eq!(scene.assume(account, "dormouse-read", "").await.status, 403);
    assert!(organisation.set_account_state(account, "ACTIVE"));
    scene.told(&key, "DescribeKey", request).await;
    assert!(!organisation.set_account_state(account, "NONSENSE"));
    assert!(!organisation.rename("999988887777".parse().unwrap(), "nobody"));

    let young = organisation.join("acquired-prod");
    assert_eq!(scene.shown(young).await.unwrap()["Name"], "acquired-prod");
    let region = key.region();
    assert_eq!(
        scene.kms(&young.to_string(), region.name(), "ListKeys", &json!({})).await.json()["Keys"],
        json!([])
    );
    organisation.call(young, region, "CreateKey", &json!({})).unwrap();
    let keys = scene.kms(&young.to_string(), region.name(), "ListKeys", &json!({})).await.json();
    assert_eq!(keys["Keys"].as_array().unwrap().len(), 1);
    let parents = scene.organizations("ListParents", json!({ "ChildId": young.to_string() })).await.json();
    assert_eq!(parents["Parents"][0]["Type"], "ORGANIZATIONAL_UNIT");

    // Units can be inside of others.
    assert!(organisation.move_account(young, "Pilots") && !organisation.move_account(young, "Nowhere"));
    assert!(!organisation.move_account(organisation.management_account(), "Pilots"));
    let mut path = Vec::new();
    let mut child = young.to_string();
    while path.last().is_none_or(|kind| kind != "ROOT") {
        let parents = scene.organizations("ListParents", json!({ "ChildId": child })).await.json();
        path.push(parents["Parents"][0]["Type"].as_str().unwrap().to_owned());
        parents["Parents"][0]["Id"].as_str().unwrap().clone_into(&mut child);
    }
    assert_eq!(path, ["ORGANIZATIONAL_UNIT", "ORGANIZATIONAL_UNIT", "ROOT"]);
    let inside = async |parent: &str| {
        let request = json!({ "ParentId": parent });
        let units = scene.organizations("ListOrganizationalUnitsForParent", request.clone()).await.json();
        let accounts = scene.organizations("ListAccountsForParent", request).await.json();
        let ids = |list: &Value| -> Vec<String> {
            let items = list.as_array().unwrap().iter();
            items.map(|item| item["Id"].as_str().unwrap().to_owned()).collect()
        };
        (ids(&units["OrganizationalUnits"]), ids(&accounts["Accounts"]))
    };
    let mut units = inside(&child).await.0;
    let mut accounts = Vec::new();
    while let Some(unit) = units.pop() {
        let (below, here) = inside(&unit).await;
        units.extend(below);
        accounts.extend(here);
    }
    // All but the management account.
    assert_eq!(accounts.len(), organisation.accounts().len() - 1);
    assert!(accounts.contains(&young.to_string()));
}

#[tokio::test]
async fn organizations_can_be_older_and_send_empty_pages() {
    let organisation = OrganisationOptions { accounts: 45, ..usual() };
    let options =
        AwsDoubleOptions { no_account_state: true, empty_pages: true, ..AwsDoubleOptions::default() };
    let scene = scene_with(organisation, options).await;
    let (accounts, pages) = scene.listed().await;
    assert_eq!((accounts.len(), pages), (45, 6));
    let ids: BTreeSet<&str> = accounts.iter().map(|account| account["Id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 45);
    assert!(accounts.iter().all(|account| account["State"].is_null() && account["Status"].is_string()));
    assert!(accounts.iter().any(|account| account["Status"] == "SUSPENDED"));
    let first = scene.organizations("ListAccounts", json!({})).await.json();
    assert!(first["Accounts"].as_array().unwrap().is_empty() && first["NextToken"].is_string());
    assert_eq!(
        scene.organizations("ListAccounts", json!({ "NextToken": "EMPTY-x" })).await.code(),
        "InvalidInputException"
    );
}

#[tokio::test]
async fn sessions_can_be_short_and_end_at_once() {
    let options = AwsDoubleOptions { short_sessions: true, ..AwsDoubleOptions::default() };
    let scene = scene_with(usual(), options).await;
    let key = symmetric(&scene);
    let open = async |more: &str| {
        let heard = scene.assume(key.account(), "dormouse-read", more).await;
        heard.element("AccessKeyId").unwrap().to_owned()
    };
    let list = async |access_key: &str| {
        let heard = scene.kms(access_key, key.region().name(), "ListKeys", &json!({})).await;
        if heard.status == 200 { "fine".to_owned() } else { heard.code() }
    };
    let short = open("&DurationSeconds=30").await;
    assert_eq!(list(&short).await, "fine");
    scene.clock.advance(30);
    assert_eq!(list(&short).await, "ExpiredTokenException");
    let long = open("").await;
    let elsewhere = scene.organisation.accounts()[1].id;
    assert_eq!(list(&long).await, "fine");
    assert_eq!(scene.double.expire_sessions(Some(elsewhere)), usize::from(elsewhere == key.account()));
    scene.double.expire_sessions(None);
    assert_eq!(list(&long).await, "ExpiredTokenException");
    assert_eq!(scene.double.expire_sessions(None), 0);
}

#[tokio::test]
async fn roles_can_be_had_through_another_alone() {
    let options = AwsDoubleOptions {
        role_name: Some("dormouse-read".to_owned()),
        role_path: Some("/ops/".to_owned()),
        hub_role: Some("hub".to_owned()),
        external_id: Some("zzz".to_owned()),
        ..AwsDoubleOptions::default()
    };
    let scene = scene_with(usual(), options).await;
    let account = symmetric(&scene).account();
    let hub = scene.assume(scene.organisation.management_account(), "hub", "").await;
    let hub = hub.element("AccessKeyId").unwrap();
    let through = async |access_key: &str, role: &str, more: &str| {
        let form = format!(
            "Action=AssumeRole&RoleArn=arn:aws:iam::{account}:role/{role}&RoleSessionName=test&ExternalId=zzz{more}"
        );
        scene.sts(access_key, &form).await
    };
    let heard = through(hub, "ops/dormouse-read", "").await;
    assert_eq!(heard.status, 200, "{heard:?}");
    let member = heard.element("AccessKeyId").unwrap();
    assert_eq!(scene.kms(member, "eu-west-1", "ListKeys", &json!({})).await.status, 200);
    assert_eq!(through(hub, "ops/dormouse-read", "&DurationSeconds=7200").await.status, 400);
    assert_eq!(through(hub, "dormouse-read", "").await.status, 403);
    assert_eq!(through(hub, "ops/sub/dormouse-read", "").await.status, 403);
    assert_eq!(through("AKIAOPERATOR", "ops/dormouse-read", "").await.status, 403);
    assert_eq!(through(member, "ops/dormouse-read", "").await.status, 403);
}
