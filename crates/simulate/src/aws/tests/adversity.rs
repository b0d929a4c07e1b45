//! What goes wrong half-way, here and not there, or too fast.

use super::*;

fn failing(change: impl FnOnce(&mut AwsFault)) -> AwsFault {
    let mut fault = AwsFault::default();
    change(&mut fault);
    fault
}

#[tokio::test]
async fn a_list_breaks_off_half_way_and_goes_on() {
    let scene = scene().await;
    let key = symmetric(&scene);
    let fault = AwsFault {
        unavailable: 1.0,
        after: 1,
        requests: Some(1),
        accounts: vec![key.account()],
        regions: vec![key.region()],
        ..AwsFault::default()
    };
    scene.double.faults().set(Service::Kms, "ListKeys", fault);
    let elsewhere = scene.kms("AKIAOPERATOR", key.region().name(), "ListKeys", &json!({})).await;
    assert_eq!(elsewhere.status, 200);
    let first = scene.told(&key, "ListKeys", json!({ "Limit": 1 })).await;
    let next = json!({ "Limit": 1, "Marker": first["NextMarker"] });
    assert_eq!(scene.ask(&key, "ListKeys", next.clone()).await.status, 503);
    let second = scene.told(&key, "ListKeys", next).await;
    assert_ne!(second["Keys"], first["Keys"]);
}

#[tokio::test]
async fn a_request_can_hang_until_the_client_gives_up() {
    let scene = scene().await;
    let key = symmetric(&scene);
    let region = key.region();
    scene.double.faults().set_all(
        Service::Kms,
        failing(|fault| {
            fault.hang = true;
            fault.regions = vec![region];
        }),
    );
    let asked = scene.ask(&key, "ListKeys", json!({}));
    assert!(tokio::time::timeout(Duration::from_millis(100), asked).await.is_err());
    let other = if region.name() == "us-east-1" { "eu-west-1" } else { "us-east-1" };
    assert_eq!(scene.kms("AKIAOPERATOR", other, "ListKeys", &json!({})).await.status, 200);
    let account = key.account().to_string();
    let target = "x-amz-target: TrentService.ListKeys\r\n";
    let hanging = scene.send(&account, region.name(), target, "{}");
    let stopped = async {
        while scene.double.requests_of(Service::Kms, "ListKeys") < 3 {
            tokio::task::yield_now().await;
        }
        scene.double.stop().await;
    };
    let (heard, ()) = tokio::join!(hanging, stopped);
    assert!(heard.is_none());
}

#[tokio::test]
async fn an_error_of_choice_is_answered_and_recorded() {
    let scene = scene().await;
    let key = symmetric(&scene);
    let error = |status, code| {
        failing(|fault| {
            fault.error = Some(AwsError { status, code, message: "As it was asked for.".to_owned() });
        })
    };
    scene.organisation.take_records();
    let faults = scene.double.faults();
    faults.set(Service::Kms, "ListKeys", error(400, "KMSInvalidStateException"));
    assert_eq!(scene.refused(&key, "ListKeys", json!({})).await, "KMSInvalidStateException");
    let [record] = &scene.organisation.take_records()[..] else { panic!("one record") };
    assert_eq!(record.error_code, Some("KMSInvalidStateException"));
    faults.set(Service::Kms, "ListKeys", error(502, "Whatever"));
    assert_eq!(scene.ask(&key, "ListKeys", json!({})).await.status, 502);
    assert!(scene.organisation.take_records().is_empty());
    faults.set(Service::Sts, "AssumeRole", error(403, "RegionDisabledException"));
    let heard = scene.assume(key.account(), "dormouse-read", "").await;
    assert_eq!((heard.status, heard.element("Code")), (403, Some("RegionDisabledException")));
}

#[tokio::test]
async fn one_operation_can_have_several_faults() {
    let scene = scene().await;
    let truth = scene.organisation.truth();
    let here = symmetric(&scene);
    let there = truth.keys.iter().find(|key| key.account() != here.account()).unwrap();
    let faults = scene.double.faults();
    let denied = failing(|fault| {
        fault.access_denied = true;
        fault.accounts = vec![here.account()];
    });
    faults.set(Service::Kms, "ListKeys", denied.clone());
    faults.add(
        Service::Kms,
        "ListKeys",
        failing(|fault| {
            fault.throttled = 1.0;
            fault.accounts = vec![there.account()];
            fault.requests = Some(1);
        }),
    );
    assert_eq!(scene.refused(&here, "ListKeys", json!({})).await, "AccessDeniedException");
    assert_eq!(scene.refused(there, "ListKeys", json!({})).await, "ThrottlingException");
    scene.told(there, "ListKeys", json!({})).await;
    assert_eq!(scene.refused(&here, "ListKeys", json!({})).await, "AccessDeniedException");
    faults.clear(Service::Kms, "ListKeys");
    scene.told(&here, "ListKeys", json!({})).await;
    faults.add_all(Service::Kms, denied);
    assert_eq!(scene.refused(&here, "ListAliases", json!({})).await, "AccessDeniedException");
}

#[tokio::test]
async fn requests_are_counted_by_the_second() {
    let scene = scene().await;
    let key = symmetric(&scene);
    let ask = async |times: usize| {
        for _ in 0..times {
            scene.ask(&key, "GetKeyLastUsage", json!({ "KeyId": key.key.id() })).await;
        }
    };
    let double = &scene.double;
    let peak = || double.peak_of(Service::Kms, "GetKeyLastUsage");
    ask(2).await;
    scene.clock.advance(1);
    ask(3).await;
    assert_eq!((peak(), double.throttled().len()), (3, 0));
    assert_eq!(AwsDouble::quota("GetKeyLastUsage"), Some(5));
    assert_eq!(AwsDouble::quota("CreateKey"), None);
    ask(4).await;
    assert_eq!(peak(), 7);
    let kind = RequestKind {
        service: Service::Kms,
        operation: "GetKeyLastUsage".to_owned(),
        account: key.account(),
        region: key.region(),
    };
    assert_eq!((double.requests()[&kind], double.peaks()[&kind], double.throttled()[&kind]), (9, 7, 2));

    // What a fault throttles is not the quota's doing.
    scene.clock.advance(10);
    double.forget_requests();
    assert!(double.requests().is_empty());
    double.faults().set(Service::Kms, "GetKeyLastUsage", failing(|fault| fault.throttled = 1.0));
    ask(1).await;
    assert_eq!((double.requests()[&kind], double.throttled().len()), (1, 0));
}

#[test]
fn a_peak_is_that_of_any_second() {
    let traffic = Traffic::default();
    let kind = RequestKind {
        service: Service::Kms,
        operation: "ListKeys".to_owned(),
        account: "111122223333".parse().unwrap(),
        region: "eu-west-1".parse().unwrap(),
    };
    let peak = || traffic.each(|flow| flow.peak)[&kind];
    // Four around the turn of a calendar second, and one a whole second after the first of them.
    for (millisecond, expected) in [(100, 1), (900, 2), (1_000, 3), (1_099, 4), (1_100, 4), (5_000, 4)] {
        traffic.arrive(kind.clone(), millisecond);
        assert_eq!(peak(), expected, "{millisecond}");
    }
    for _ in 0..5 {
        traffic.arrive(kind.clone(), 4_000);
    }
    assert_eq!(peak(), 6);
}

#[tokio::test]
async fn an_account_can_lack_a_region() {
    let key = Organisation::new(usual()).truth().keys[0].clone();
    let (account, region) = (key.account(), key.region());
    let options =
        AwsDoubleOptions { regions_not_enabled: vec![(account, region)], ..AwsDoubleOptions::default() };
    let scene = scene_with(usual(), options).await;
    let id = account.to_string();
    let heard = scene.kms(&id, region.name(), "ListKeys", &json!({})).await;
    assert_eq!((heard.status, &*heard.code()), (400, "UnrecognizedClientException"));
    assert_eq!(heard.json()["message"], "The security token included in the request is invalid.");
    let headers = "content-type: application/x-www-form-urlencoded\r\n";
    let sts = async |access_key: &str, form: &str| {
        scene.send(access_key, region.name(), headers, form).await.unwrap()
    };
    let heard = sts(&id, "Action=GetCallerIdentity&Version=2011-06-15").await;
    assert_eq!((heard.status, heard.element("Code")), (403, Some("InvalidClientTokenId")));
    let assume = format!(
        "Action=AssumeRole&Version=2011-06-15&RoleArn=arn:aws:iam::{account}:role/dormouse-read&RoleSessionName=test"
    );
    let heard = sts("AKIAOPERATOR", &assume).await;
    assert_eq!((heard.status, heard.element("Code")), (403, Some("RegionDisabledException")));
    // A session from another Region is no good here either.
    let other = if region.name() == "us-east-1" { "eu-west-1" } else { "us-east-1" };
    let heard = scene.send("AKIAOPERATOR", other, headers, &assume).await.unwrap();
    let session = heard.element("AccessKeyId").unwrap();
    let listed = async |region: &str| scene.kms(session, region, "ListKeys", &json!({})).await.status;
    assert_eq!((listed(other).await, listed(region.name()).await), (200, 400));
    scene.double.set_region(account, region, true);
    assert_eq!(listed(region.name()).await, 200);
    scene.double.set_region(account, region, false);
    assert_eq!(listed(region.name()).await, 400);
}

#[tokio::test]
async fn a_region_can_lack_the_last_usage() {
    let scene = scene().await;
    let key = symmetric(&scene);
    let request = json!({ "KeyId": key.key.id() });
    scene.told(&key, "GetKeyLastUsage", request.clone()).await;
    scene.double.set_last_usage(key.region(), false);
    assert_eq!(scene.refused(&key, "GetKeyLastUsage", request.clone()).await, "UnknownOperationException");
    scene.double.set_last_usage(key.region(), true);
    scene.told(&key, "GetKeyLastUsage", request.clone()).await;
    let options =
        AwsDoubleOptions { regions_without_last_usage: vec![key.region()], ..AwsDoubleOptions::default() };
    let scene = scene_with(usual(), options).await;
    assert_eq!(scene.refused(&key, "GetKeyLastUsage", request).await, "UnknownOperationException");
}
