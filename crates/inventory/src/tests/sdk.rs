//! The same through the official SDK, against doubles of KMS, STS and Organizations.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use dormouse_aws::{AwsOptions, HubRole, RoleOptions, load_config};
use dormouse_model::{AccountId, KeyArn, Region, WallClock};
use dormouse_simulate::aws::{AwsDouble, AwsDoubleOptions, Service};
use dormouse_simulate::organisation::{Organisation, OrganisationOptions};

use super::house::SharedJournal;
use crate::{
    Accounts, ByAge, InventoryOptions, Journal, Metrics, OrganizationFilter, Parts, PassOutcome, PassReport,
    Reconciler, Regions, Scope, SdkCloud,
};

struct Estate {
    organisation: Arc<Organisation>,
    double: AwsDouble,
    journal: SharedJournal,
    reconciler: Reconciler,
}

const REGIONS: [&str; 2] = ["eu-west-1", "ap-east-1"];

fn regions() -> Vec<Region> {
    REGIONS.iter().map(|name| name.parse().unwrap()).collect()
}

async fn estate(
    doubles: AwsDoubleOptions,
    roles: RoleOptions,
    filter: impl FnOnce(&Organisation) -> OrganizationFilter,
) -> Estate {
    let still = OrganisationOptions::still(Arc::new(WallClock), 12, &regions(), 120);
    let organisation = Organisation::new(still);
    let double = AwsDouble::start(organisation.clone(), doubles).await.unwrap();
    let aws = AwsOptions {
        region: Some("eu-west-1".to_owned()),
        endpoint_url: Some(double.endpoint().to_owned()),
        is_double: true,
        ..AwsOptions::default()
    };
    let config = load_config(&aws).await.unwrap();
    let metrics = Arc::new(Metrics::new().unwrap());
    let counter = Arc::<Metrics>::clone(&metrics);
    let journal = SharedJournal::default();
    let options = InventoryOptions {
        accounts: Accounts::Organization(filter(&organisation)),
        regions: Regions::List(regions()),
        first_pass_after: Duration::from_hours(24),
        heartbeat_every: None,
        usage: None,
        ..InventoryOptions::default()
    };
    let reconciler = Reconciler::start(Parts {
        cloud: SdkCloud::new(&config, roles, counter).unwrap(),
        journal: journal.clone(),
        clock: Arc::new(WallClock),
        metrics,
        candidates: Arc::new(ByAge::default()),
        options,
    });
    Estate { organisation, double, journal, reconciler }
}

impl Estate {
    async fn pass(&self) -> PassReport {
        let number = self.reconciler.ask(Scope::default()).unwrap();
        self.reconciler.ended(number).await.unwrap()
    }

    fn keys(&self) -> BTreeSet<KeyArn> {
        let mut keys = BTreeSet::new();
        self.journal.ledger().for_each_key(|key, _| {
            keys.insert(key);
        });
        keys
    }

    fn active(&self) -> BTreeSet<AccountId> {
        let accounts = self.organisation.accounts();
        accounts.into_iter().filter(|account| account.state == "ACTIVE").map(|account| account.id).collect()
    }

    fn truth(&self) -> BTreeSet<KeyArn> {
        let active = self.active();
        let keys = self.organisation.truth().keys;
        keys.iter().map(|key| key.key).filter(|key| active.contains(&key.account())).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_role_is_assumed_once_and_again_when_its_sessions_expire() {
    let estate =
        estate(AwsDoubleOptions::default(), RoleOptions::default(), |_| OrganizationFilter::default()).await;
    let report = estate.pass().await;
    assert_eq!(report.outcome, Some(PassOutcome::Done), "{report:#?}");
    assert_eq!(estate.keys(), estate.truth());
    let roles = u64::try_from(estate.active().len()).unwrap() - 1;
    assert_eq!(estate.double.requests_of(Service::Sts, "AssumeRole"), roles);
    // A second pass has what it needs; but then all sessions expire at once.
    estate.double.expire_sessions(None);
    let report = estate.pass().await;
    assert_eq!(report.outcome, Some(PassOutcome::Done), "{report:#?}");
    assert_eq!(estate.double.requests_of(Service::Sts, "AssumeRole"), 2 * roles);
    assert!(estate.double.throttled().is_empty());
    assert!(estate.reconciler.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_in_between_external_ids_and_regions_that_are_lacking() {
    let doubles = AwsDoubleOptions {
        external_id: Some("between-us".to_owned()),
        role_name: Some("reader".to_owned()),
        role_path: Some("/audit/".to_owned()),
        hub_role: Some("hub".to_owned()),
        ..AwsDoubleOptions::default()
    };
    let hub: AccountId = {
        let still = OrganisationOptions::still(Arc::new(WallClock), 12, &regions(), 120);
        Organisation::new(still).management_account()
    };
    let roles = RoleOptions {
        name: "reader".to_owned(),
        path: "/audit/".to_owned(),
        external_id: Some("between-us".to_owned()),
        hub: Some(HubRole { arn: format!("arn:aws:iam::{hub}:role/hub"), account: hub, external_id: None }),
        ..RoleOptions::default()
    };
    let estate = estate(doubles, roles, |_| OrganizationFilter::default()).await;
    let lacking = *estate.active().iter().find(|account| **account != hub).unwrap();
    estate.double.set_region(lacking, "ap-east-1".parse().unwrap(), false);
    let report = estate.pass().await;
    assert_eq!(report.outcome, Some(PassOutcome::Done), "{report:#?}");
    assert_eq!(report.places.not_enabled, 1);
    let mut truth = estate.truth();
    truth.retain(|key| key.account() != lacking || key.region().name() != "ap-east-1");
    assert_eq!(estate.keys(), truth);
    // The hub once, and every account but our own.
    let assumed = u64::try_from(estate.active().len()).unwrap();
    assert_eq!(estate.double.requests_of(Service::Sts, "AssumeRole"), assumed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_without_the_role_says_which_role_and_what_to_do() {
    let estate =
        estate(AwsDoubleOptions::default(), RoleOptions::default(), |_| OrganizationFilter::default()).await;
    let own = estate.organisation.management_account();
    let without = *estate.active().iter().find(|account| **account != own).unwrap();
    estate.double.set_role(without, false);
    let report = estate.pass().await;
    assert_eq!((report.outcome, report.accounts.denied), (Some(PassOutcome::Incomplete), 1));
    let message = &report.failures[0].failure.message;
    let role = format!("arn:aws:iam::{without}:role/dormouse-read");
    assert!(message.contains(&role) && message.contains("trust policy"), "{message}");
    assert_eq!(estate.double.requests_of(Service::Sts, "AssumeRole"), {
        u64::try_from(estate.active().len()).unwrap() - 1
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_accounts_with_the_wanted_tags_are_read() {
    let tags = BTreeMap::from([("no such tag".to_owned(), "1".to_owned())]);
    let wanted = OrganizationFilter { tags, ..OrganizationFilter::default() };
    let estate = estate(AwsDoubleOptions::default(), RoleOptions::default(), |_| wanted).await;
    let report = estate.pass().await;
    assert_eq!((report.accounts.listed, report.places.total), (0, 0));
    let all = estate.organisation.accounts().len();
    assert_eq!(report.requests["organizations:ListTagsForResource"], u64::try_from(all).unwrap());
}
