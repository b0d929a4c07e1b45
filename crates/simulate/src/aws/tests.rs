//! The doubles as a client sees them, through a socket and bare HTTP.

mod adversity;
mod membership;
mod sdk;
mod shapes;
mod size;

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dormouse_model::{EventTime, KeyArn, LifecycleState, ManualClock};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::*;
use crate::organisation::{Cadence, KeyTruth, OrganisationOptions};
use crate::records::Generated;
use crate::sqs::QueueOptions;

/// 2026-11-01T00:00:00Z.
const NOW: EventTime = EventTime::from_seconds(1_793_491_200);
const HOUR: u32 = 3_600;

struct Scene {
    clock: Arc<ManualClock>,
    organisation: Arc<Organisation>,
    double: AwsDouble,
}

/// What comes back: status, request id and body.
#[derive(Debug)]
struct Heard {
    status: u16,
    request_id: String,
    body: String,
}

impl Heard {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    fn code(&self) -> String {
        self.json()["__type"].as_str().unwrap_or("none").to_owned()
    }

    /// The text of an XML element.
    fn element(&self, name: &str) -> Option<&str> {
        self.body.split_once(&format!("<{name}>"))?.1.split_once(&format!("</{name}>")).map(|(text, _)| text)
    }
}

async fn scene_with(organisation: OrganisationOptions, options: AwsDoubleOptions) -> Scene {
    let clock = Arc::new(ManualClock::at(NOW));
    let organisation = Organisation::new(OrganisationOptions {
        clock: clock.clone(),
        start: NOW.minus(30 * 86_400),
        live_from: NOW,
        history_rate: 0.002,
        live_rate: 0.01,
        ..organisation
    });
    organisation.advance_to(NOW);
    let double = AwsDouble::start(organisation.clone(), options).await.unwrap();
    Scene { clock, organisation, double }
}

fn usual() -> OrganisationOptions {
    OrganisationOptions::new(Arc::new(ManualClock::at(NOW)))
}

async fn scene() -> Scene {
    scene_with(usual(), AwsDoubleOptions::default()).await
}

impl Scene {
    async fn send(&self, access_key: &str, region: &str, headers: &str, body: &str) -> Option<Heard> {
        let address = self.double.endpoint().strip_prefix("http://").unwrap();
        let mut stream = BufReader::new(TcpStream::connect(address).await.unwrap());
        let head = format!(
            "POST / HTTP/1.1\r\nhost: localhost\r\nuser-agent: test/1\r\nauthorization: AWS4-HMAC-SHA256 \
             Credential={access_key}/20261101/{region}/kms/aws4_request, SignedHeaders=host, Signature=00\r\n\
             {headers}content-length: {}\r\n\r\n",
            body.len()
        );
        stream.get_mut().write_all((head + body).as_bytes()).await.unwrap();
        let mut heard = Heard { status: 0, request_id: String::new(), body: String::new() };
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return None;
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                heard.status = rest[..3].parse().unwrap();
            } else if let Some(rest) = line.strip_prefix("content-length: ") {
                length = rest.parse().unwrap();
            } else if let Some(rest) = line.strip_prefix("x-amzn-requestid: ") {
                rest.clone_into(&mut heard.request_id);
            }
        }
        let mut bytes = vec![0; length];
        stream.read_exact(&mut bytes).await.unwrap();
        heard.body = String::from_utf8(bytes).unwrap();
        Some(heard)
    }

    async fn kms(&self, access_key: &str, region: &str, operation: &str, request: &Value) -> Heard {
        let headers =
            format!("x-amz-target: TrentService.{operation}\r\ncontent-type: application/x-amz-json-1.1\r\n");
        self.send(access_key, region, &headers, &request.to_string()).await.unwrap()
    }

    /// A KMS call by the key's own account in its Region.
    async fn ask(&self, key: &KeyTruth, operation: &str, request: Value) -> Heard {
        self.kms(&key.account().to_string(), key.region().name(), operation, &request).await
    }

    async fn told(&self, key: &KeyTruth, operation: &str, request: Value) -> Value {
        let heard = self.ask(key, operation, request).await;
        assert_eq!(heard.status, 200, "{operation}: {}", heard.body);
        heard.json()
    }

    async fn refused(&self, key: &KeyTruth, operation: &str, request: Value) -> String {
        let heard = self.ask(key, operation, request).await;
        assert_eq!(heard.status, 400, "{operation}: {}", heard.body);
        assert!(heard.json()["message"].is_string());
        heard.code()
    }

    async fn sts(&self, access_key: &str, form: &str) -> Heard {
        let headers = "content-type: application/x-www-form-urlencoded\r\n";
        let body = format!("Version=2011-06-15&{form}");
        self.send(access_key, "eu-west-1", headers, &body).await.unwrap()
    }

    async fn assume(&self, account: AccountId, role: &str, more: &str) -> Heard {
        let form = format!(
            "Action=AssumeRole&RoleArn=arn%3Aaws%3Aiam%3A%3A{account}%3Arole%2F{role}&RoleSessionName=test{more}"
        );
        self.sts("AKIAOPERATOR", &form).await
    }

    async fn organizations(&self, operation: &str, request: Value) -> Heard {
        let headers = format!("x-amz-target: AWSOrganizationsV20161128.{operation}\r\n");
        self.send("AKIAOPERATOR", "us-east-1", &headers, &request.to_string()).await.unwrap()
    }

    fn some(&self, cadence: Cadence) -> KeyTruth {
        self.organisation.truth().of(cadence).find(|key| !key.key.is_multi_region()).cloned().unwrap()
    }

    /// All items of a list, page by page.
    async fn walk(&self, key: &KeyTruth, operation: &str, list: &str, request: Value) -> Vec<Value> {
        let mut items = Vec::new();
        let mut request = request;
        for _ in 0..1_000 {
            let answer = self.told(key, operation, request.clone()).await;
            let page = answer[list].as_array().unwrap();
            assert!(
                page.len()
                    <= request["Limit"].as_u64().map_or(1_000, |limit| usize::try_from(limit).unwrap())
            );
            items.extend(page.iter().cloned());
            assert_eq!(answer["Truncated"], !answer["NextMarker"].is_null());
            if answer["NextMarker"].is_null() {
                return items;
            }
            request["Marker"] = answer["NextMarker"].clone();
        }
        panic!("the pages of {operation} never end");
    }
}

fn symmetric(scene: &Scene) -> KeyTruth {
    let truth = scene.organisation.truth();
    let found = truth.keys.iter().find(|key| {
        key.state == LifecycleState::Enabled
            && key.manager == "CUSTOMER"
            && !key.key.is_multi_region()
            && key.last_use.as_ref().is_some_and(|used| used.operation.starts_with("GenerateDataKey"))
    });
    found.cloned().unwrap()
}

#[tokio::test]
async fn every_page_is_seen_once_and_only_the_own_account_and_region() {
    let scene =
        scene_with(OrganisationOptions { keys: 400, accounts: 4, ..usual() }, AwsDoubleOptions::default())
            .await;
    let truth = scene.organisation.truth();
    let mut seen = BTreeSet::new();
    for account in scene.organisation.accounts().iter().filter(|account| account.state == "ACTIVE") {
        for region in &scene.organisation.options().regions {
            let at = |truth: &&KeyTruth| {
                truth.account() == account.id
                    && truth.region() == *region
                    && truth.state != LifecycleState::Deleted
            };
            let Some(here) = truth.keys.iter().find(at) else { continue };
            let expected: BTreeSet<String> =
                truth.keys.iter().filter(at).map(|key| key.key.to_string()).collect();
            for limit in [1, 7, 1_000] {
                let keys = scene.walk(here, "ListKeys", "Keys", json!({ "Limit": limit })).await;
                let arns: Vec<&str> = keys.iter().map(|key| key["KeyArn"].as_str().unwrap()).collect();
                assert_eq!(arns.len(), expected.len());
                assert_eq!(arns.into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), expected);
                if limit == 1 && expected.len() > 30 {
                    break;
                }
            }
            let aliases = scene.walk(here, "ListAliases", "Aliases", json!({ "Limit": 3 })).await;
            let told: BTreeSet<(String, String)> = aliases
                .iter()
                .map(|alias| {
                    (
                        alias["TargetKeyId"].as_str().unwrap().to_owned(),
                        alias["AliasName"].as_str().unwrap().to_owned(),
                    )
                })
                .collect();
            let expected_aliases: BTreeSet<(String, String)> = truth
                .keys
                .iter()
                .filter(at)
                .flat_map(|key| key.aliases.iter().map(|alias| (key.key.id(), alias.clone())))
                .collect();
            assert_eq!((aliases.len(), &told), (expected_aliases.len(), &expected_aliases));
            seen.extend(expected);
        }
    }
    let all = truth.keys.iter().filter(|key| key.state != LifecycleState::Deleted).count();
    assert_eq!(seen.len(), all);

    let elsewhere = scene.kms("111122223333", "ap-south-1", "ListKeys", &json!({})).await.json();
    assert_eq!(elsewhere, json!({ "Keys": [], "Truncated": false }));
}

#[tokio::test]
async fn limits_and_markers_are_checked() {
    let scene = scene().await;
    let key = symmetric(&scene);
    for (operation, most) in
        [("ListKeys", 1_000), ("ListAliases", 100), ("ListGrants", 100), ("ListResourceTags", 50)]
    {
        let request = |limit: i64| match operation {
            "ListKeys" | "ListAliases" => json!({ "Limit": limit }),
            _ => json!({ "Limit": limit, "KeyId": key.key.id() }),
        };
        scene.told(&key, operation, request(most)).await;
        assert_eq!(scene.refused(&key, operation, request(most + 1)).await, "ValidationException");
        assert_eq!(scene.refused(&key, operation, request(0)).await, "ValidationException");
        let mut request = request(1);
        request["Marker"] = "nonsense".into();
        assert_eq!(scene.refused(&key, operation, request).await, "InvalidMarkerException");
    }
    let tags =
        scene.walk(&key, "ListResourceTags", "Tags", json!({ "KeyId": key.key.id(), "Limit": 1 })).await;
    assert_eq!(tags.len(), key.tags.len());
}

#[tokio::test]
async fn a_key_is_described_as_it_is_by_any_name() {
    let scene = scene().await;
    let truth = scene.organisation.truth();
    let key = truth.keys.iter().find(|key| !key.aliases.is_empty() && key.manager == "CUSTOMER").unwrap();
    let alias = key.aliases.first().unwrap();
    let alias_arn = format!("arn:aws:kms:{}:{}:{alias}", key.region(), key.account());
    for name in [key.key.id(), key.key.to_string(), alias.clone(), alias_arn] {
        let metadata = &scene.told(key, "DescribeKey", json!({ "KeyId": name })).await["KeyMetadata"];
        assert_eq!(metadata["Arn"], key.key.to_string());
        assert_eq!(metadata["AWSAccountId"], key.account().to_string());
        assert_eq!(metadata["CreationDate"], key.created.seconds());
        assert_eq!(metadata["KeyManager"], "CUSTOMER");
        assert_eq!(metadata["Description"], key.description);
    }
    let filtered = scene.told(key, "ListAliases", json!({ "KeyId": key.key.id() })).await;
    assert_eq!(filtered["Aliases"].as_array().unwrap().len(), key.aliases.len());

    let pending = scene.some(Cadence::PendingDeletionButWanted);
    let metadata =
        &scene.told(&pending, "DescribeKey", json!({ "KeyId": pending.key.id() })).await["KeyMetadata"];
    assert_eq!((&metadata["KeyState"], &metadata["Enabled"]), (&json!("PendingDeletion"), &json!(false)));
    assert_eq!(metadata["DeletionDate"], pending.deletion.unwrap().seconds());
    let managed = scene.some(Cadence::Service);
    let metadata = &scene.told(&managed, "DescribeKey", json!({ "KeyId": managed.aliases.first() })).await["KeyMetadata"];
    assert_eq!(metadata["KeyManager"], "AWS");
    let multi = truth.keys.iter().find(|key| key.key.is_multi_region()).unwrap();
    let metadata = &scene.told(multi, "DescribeKey", json!({ "KeyId": multi.key.id() })).await["KeyMetadata"];
    let configuration = &metadata["MultiRegionConfiguration"];
    assert!(configuration["PrimaryKey"]["Arn"].is_string());
    assert_eq!(configuration["ReplicaKeys"].as_array().unwrap().len(), 2);

    for name in ["alias/none", "1234abcd-12ab-34cd-56ef-1234567890ab", "nonsense"] {
        assert_eq!(scene.refused(key, "DescribeKey", json!({ "KeyId": name })).await, "NotFoundException");
    }
    assert_eq!(
        scene.refused(key, "DescribeKey", json!({ "KeyId": "arn:aws:s3:::bucket" })).await,
        "InvalidArnException"
    );
    assert_eq!(scene.refused(key, "DescribeKey", json!({})).await, "ValidationException");
    assert_eq!(scene.refused(key, "ListGrants", json!({ "KeyId": alias })).await, "NotFoundException");
    let elsewhere = truth
        .keys
        .iter()
        .find(|other| other.account() == key.account() && other.region() != key.region())
        .unwrap();
    assert_eq!(
        scene.refused(key, "DescribeKey", json!({ "KeyId": elsewhere.key.to_string() })).await,
        "NotFoundException"
    );
    assert_eq!(scene.refused(key, "GenerateDataKeyPair", json!({})).await, "UnknownOperationException");
}

#[tokio::test]
async fn other_accounts_see_only_what_is_shared_with_them() {
    let scene = scene().await;
    let truth = scene.organisation.truth();
    let shared = truth
        .keys
        .iter()
        .find(|key| key.last_use.as_ref().is_some_and(|used| used.copies.len() == 2))
        .unwrap();
    let policy = scene.told(shared, "GetKeyPolicy", json!({ "KeyId": shared.key.id() })).await;
    let policy = policy["Policy"].as_str().unwrap();
    let accounts = scene.organisation.accounts();
    let active =
        || accounts.iter().filter(|account| account.state == "ACTIVE" && account.id != shared.account());
    let friend = active().find(|account| policy.contains(&account.id.to_string())).unwrap();
    let stranger = active().find(|account| !policy.contains(&account.id.to_string())).unwrap();
    let region = shared.region().name();
    let ask = async |account: AccountId, operation: &str, name: String| {
        scene.kms(&account.to_string(), region, operation, &json!({ "KeyId": name })).await
    };
    assert_eq!(ask(friend.id, "DescribeKey", shared.key.to_string()).await.status, 200);
    assert_eq!(
        ask(friend.id, "GetKeyLastUsage", shared.key.to_string()).await.code(),
        "AccessDeniedException"
    );
    assert_eq!(ask(friend.id, "DescribeKey", shared.key.id()).await.code(), "NotFoundException");
    assert_eq!(ask(stranger.id, "DescribeKey", shared.key.to_string()).await.code(), "AccessDeniedException");

    let request = json!({ "KeyId": shared.key.to_string(), "KeySpec": "AES_256" });
    scene.organisation.take_records();
    let heard = scene.kms(&friend.id.to_string(), region, "GenerateDataKey", &request).await;
    assert_eq!(heard.status, 200);
    let records = scene.organisation.take_records();
    let [callers, owners] = &records[..] else { panic!("{records:?}") };
    assert_eq!((callers.account, owners.account), (friend.id, shared.account()));
    assert_eq!(scene.organisation.key_truth(shared.key).unwrap().uses, shared.uses + 1);
}

#[tokio::test]
async fn states_refuse_what_kms_refuses() {
    let scene = scene().await;
    let key = symmetric(&scene);
    let id = json!({ "KeyId": key.key.id() });
    let data_key = json!({ "KeyId": key.key.id(), "KeySpec": "AES_256" });
    scene.told(&key, "DisableKey", id.clone()).await;
    assert_eq!(scene.refused(&key, "GenerateDataKey", data_key.clone()).await, "DisabledException");
    assert_eq!(scene.refused(&key, "EnableKeyRotation", id.clone()).await, "DisabledException");
    assert_eq!(scene.refused(&key, "CancelKeyDeletion", id.clone()).await, "KMSInvalidStateException");
    scene.told(&key, "EnableKey", id.clone()).await;
    scene.told(&key, "GenerateDataKey", data_key.clone()).await;
    let window = |days: u32| json!({ "KeyId": key.key.id(), "PendingWindowInDays": days });
    assert_eq!(scene.refused(&key, "ScheduleKeyDeletion", window(6)).await, "ValidationException");
    let scheduled = scene.told(&key, "ScheduleKeyDeletion", window(7)).await;
    assert_eq!(scheduled["DeletionDate"], NOW.seconds() + 7 * 86_400);
    assert_eq!(scheduled["KeyState"], "PendingDeletion");
    for operation in ["EnableKey", "DisableKey", "ScheduleKeyDeletion"] {
        assert_eq!(
            scene.refused(&key, operation, id.clone()).await,
            "KMSInvalidStateException",
            "{operation}"
        );
    }
    assert_eq!(scene.refused(&key, "GenerateDataKey", data_key.clone()).await, "KMSInvalidStateException");
    let tags = json!({ "KeyId": key.key.id(), "Tags": [{ "TagKey": "a", "TagValue": "b" }] });
    assert_eq!(scene.refused(&key, "TagResource", tags.clone()).await, "KMSInvalidStateException");
    scene.told(&key, "CancelKeyDeletion", id.clone()).await;
    assert_eq!(scene.organisation.key_truth(key.key).unwrap().state, LifecycleState::Disabled);
    scene.told(&key, "TagResource", tags).await;
    scene.told(&key, "ScheduleKeyDeletion", window(7)).await;
    scene.clock.advance(7 * 86_400 + 1);
    assert_eq!(scene.refused(&key, "DescribeKey", id).await, "NotFoundException");
    let gone = scene.organisation.key_truth(key.key).unwrap();
    assert_eq!(gone.state, LifecycleState::Deleted);
    assert_eq!(gone.tags["a"], "b");
    let deleted = |one: &Generated| one.operation == "DeleteKey" && one.says[0].key == key.key;
    assert!(scene.organisation.take_records().iter().any(deleted));
    let managed = scene.some(Cadence::Service);
    assert_eq!(
        scene.refused(&managed, "DisableKey", json!({ "KeyId": managed.key.id() })).await,
        "AccessDeniedException"
    );
}

#[tokio::test]
async fn what_is_encrypted_comes_back_with_the_right_key_and_context() {
    let scene = scene().await;
    let key = symmetric(&scene);
    let plaintext = STANDARD.encode("a secret");
    let context = json!({ "SecretARN": "arn:aws:secretsmanager:eu-west-1:111122223333:secret:x" });
    let request = json!({ "KeyId": key.key.id(), "Plaintext": plaintext, "EncryptionContext": context });
    let blob = scene.told(&key, "Encrypt", request).await["CiphertextBlob"].clone();
    let decrypt = |context: &Value| json!({ "CiphertextBlob": blob, "EncryptionContext": context });
    let decrypted = scene.told(&key, "Decrypt", decrypt(&context)).await;
    assert_eq!(
        (&decrypted["Plaintext"], &decrypted["KeyId"]),
        (&json!(plaintext), &json!(key.key.to_string()))
    );
    for wrong in [json!({}), json!({ "SecretARN": "another" })] {
        assert_eq!(scene.refused(&key, "Decrypt", decrypt(&wrong)).await, "InvalidCiphertextException");
    }
    assert_eq!(
        scene.refused(&key, "Decrypt", json!({ "CiphertextBlob": "AAAA" })).await,
        "InvalidCiphertextException"
    );

    let made = json!({ "Description": "another", "Tags": [{ "TagKey": "team", "TagValue": "x" }] });
    let made = scene.told(&key, "CreateKey", made).await["KeyMetadata"].clone();
    let other = made["KeyId"].as_str().unwrap();
    let mut request = decrypt(&context);
    request["KeyId"] = other.into();
    assert_eq!(scene.refused(&key, "Decrypt", request).await, "IncorrectKeyException");
    let moved = json!({
        "CiphertextBlob": blob, "SourceEncryptionContext": context, "DestinationKeyId": other,
    });
    let moved = scene.told(&key, "ReEncrypt", moved).await;
    assert_eq!(moved["KeyId"], made["Arn"]);
    let again = scene.told(&key, "Decrypt", json!({ "CiphertextBlob": moved["CiphertextBlob"] })).await;
    assert_eq!(again["Plaintext"], json!(plaintext));
    let arn: KeyArn = made["Arn"].as_str().unwrap().parse().unwrap();
    let young = scene.organisation.key_truth(arn).unwrap();
    assert_eq!((young.uses, young.changes, young.cadence), (2, 1, None));

    let data_key = scene.told(&key, "GenerateDataKey", json!({ "KeyId": other, "NumberOfBytes": 64 })).await;
    assert_eq!(STANDARD.decode(data_key["Plaintext"].as_str().unwrap()).unwrap().len(), 64);
    let same = scene.told(&key, "Decrypt", json!({ "CiphertextBlob": data_key["CiphertextBlob"] })).await;
    assert_eq!(same["Plaintext"], data_key["Plaintext"]);
    assert_eq!(
        scene.refused(&key, "GetPublicKey", json!({ "KeyId": other })).await,
        "UnsupportedOperationException"
    );
    assert_eq!(
        scene.refused(&key, "Sign", json!({ "KeyId": other, "Message": "" })).await,
        "InvalidKeyUsageException"
    );
}

#[tokio::test]
async fn aliases_grants_rotation_and_policies_are_kept() {
    let scene = scene().await;
    let key = symmetric(&scene);
    let id = key.key.id();
    let alias = json!({ "AliasName": "alias/new", "TargetKeyId": id });
    scene.told(&key, "CreateAlias", alias.clone()).await;
    assert_eq!(scene.refused(&key, "CreateAlias", alias.clone()).await, "AlreadyExistsException");
    let wrong = json!({ "AliasName": "nonsense", "TargetKeyId": id });
    assert_eq!(scene.refused(&key, "CreateAlias", wrong).await, "InvalidAliasNameException");
    let made = scene.told(&key, "CreateKey", json!({})).await["KeyMetadata"]["KeyId"].clone();
    scene.told(&key, "UpdateAlias", json!({ "AliasName": "alias/new", "TargetKeyId": made })).await;
    let described = scene.told(&key, "DescribeKey", json!({ "KeyId": "alias/new" })).await;
    assert_eq!(described["KeyMetadata"]["KeyId"], made);
    scene.told(&key, "DeleteAlias", json!({ "AliasName": "alias/new" })).await;
    assert_eq!(
        scene.refused(&key, "DescribeKey", json!({ "KeyId": "alias/new" })).await,
        "NotFoundException"
    );

    let before = scene.walk(&key, "ListGrants", "Grants", json!({ "KeyId": id })).await.len();
    let mut ids = Vec::new();
    for number in 0..3 {
        let grant = json!({
            "KeyId": id, "GranteePrincipal": format!("arn:aws:iam::999988887777:role/r{number}"),
            "RetiringPrincipal": "arn:aws:iam::111122223333:role/retirer", "Operations": ["Decrypt"],
        });
        ids.push(scene.told(&key, "CreateGrant", grant).await);
    }
    let grants = scene.walk(&key, "ListGrants", "Grants", json!({ "KeyId": id, "Limit": 1 })).await;
    assert_eq!(grants.len(), before + 3);
    let retirable = json!({ "RetiringPrincipal": "arn:aws:iam::111122223333:role/retirer", "Limit": 2 });
    assert_eq!(scene.walk(&key, "ListRetirableGrants", "Grants", retirable.clone()).await.len(), 3);
    scene.told(&key, "RevokeGrant", json!({ "KeyId": id, "GrantId": ids[0]["GrantId"] })).await;
    scene.told(&key, "RetireGrant", json!({ "GrantToken": ids[1]["GrantToken"] })).await;
    assert_eq!(scene.walk(&key, "ListRetirableGrants", "Grants", retirable).await.len(), 1);

    let rotating = json!({ "KeyId": id, "RotationPeriodInDays": 100 });
    scene.told(&key, "EnableKeyRotation", rotating).await;
    let status = scene.told(&key, "GetKeyRotationStatus", json!({ "KeyId": id })).await;
    assert_eq!((&status["KeyRotationEnabled"], &status["RotationPeriodInDays"]), (&json!(true), &json!(100)));
    scene.told(&key, "DisableKeyRotation", json!({ "KeyId": id })).await;
    let status = scene.told(&key, "GetKeyRotationStatus", json!({ "KeyId": id })).await;
    assert_eq!(status["KeyRotationEnabled"], false);
    scene.told(&key, "PutKeyPolicy", json!({ "KeyId": id, "PolicyName": "default", "Policy": "{}" })).await;
    let policy = scene.told(&key, "GetKeyPolicy", json!({ "KeyId": id })).await;
    assert_eq!(policy["Policy"], "{}");
    let names = scene.told(&key, "ListKeyPolicies", json!({ "KeyId": id })).await;
    assert_eq!(names["PolicyNames"], json!(["default"]));
}

#[tokio::test]
async fn answers_carry_the_request_id_of_their_record() {
    let scene = scene().await;
    let key = symmetric(&scene);
    scene.organisation.take_records();
    let heard = [
        scene.ask(&key, "ListKeys", json!({ "Limit": 1_000 })).await,
        scene.ask(&key, "GenerateDataKey", json!({ "KeyId": key.key.id(), "KeySpec": "AES_256" })).await,
        scene.ask(&key, "DescribeKey", json!({ "KeyId": "alias/none" })).await,
        scene.sts("AKIAOPERATOR", "Action=GetCallerIdentity").await,
        scene.organizations("ListAccounts", json!({})).await,
    ];
    let records: Vec<Value> = scene
        .organisation
        .advance_to(NOW)
        .iter()
        .map(|one| serde_json::from_str(&one.record).unwrap())
        .collect();
    assert_eq!(records.len(), heard.len());
    for (record, heard) in records.iter().zip(&heard) {
        assert_eq!(record["requestID"], heard.request_id, "{heard:?}");
        assert_eq!(record["userAgent"], "test/1");
    }
    assert_eq!(records[1]["resources"][0]["ARN"], key.key.to_string());
    assert_eq!(records[2]["errorCode"], "NotFoundException");
    assert_eq!(scene.organisation.key_truth(key.key).unwrap().uses, key.uses + 1);
}

#[tokio::test]
async fn kms_remembers_the_last_use_late_and_not_for_ever() {
    let scene = scene().await;
    let key = symmetric(&scene);
    scene.organisation.silence(key.key, true);
    let usage =
        async |key: &KeyTruth| scene.told(key, "GetKeyLastUsage", json!({ "KeyId": key.key.id() })).await;
    scene.clock.advance(i64::from(2 * HOUR));
    let before = usage(&key).await;
    let heard =
        scene.ask(&key, "GenerateDataKey", json!({ "KeyId": key.key.id(), "KeySpec": "AES_256" })).await;
    let used_at = NOW.plus(2 * HOUR);
    scene.clock.advance(i64::from(HOUR) - 1);
    assert_eq!(usage(&key).await, before);
    scene.clock.advance(1);
    let after = usage(&key).await;
    let record = scene.organisation.key_truth(key.key).unwrap().last_use.unwrap();
    let expected = json!({
        "Operation": "GenerateDataKey", "Timestamp": used_at.seconds(),
        "CloudTrailEventId": record.event_id, "KmsRequestId": heard.request_id,
    });
    assert_eq!(after["KeyLastUsage"], expected);
    assert_eq!(
        after["TrackingStartDate"],
        "2026-04-23T00:00:00Z".parse::<EventTime>().unwrap().max(key.created).seconds()
    );

    // Never used, and younger than the tracking: proven. Older than the tracking: unknown.
    let made = scene.told(&key, "CreateKey", json!({})).await["KeyMetadata"]["Arn"].clone();
    let young = scene.organisation.key_truth(made.as_str().unwrap().parse().unwrap()).unwrap();
    let never = usage(&young).await;
    assert_eq!(never["KeyLastUsage"], json!({}));
    assert_eq!(never["TrackingStartDate"], never["KeyCreationDate"]);
    let tracking_start = EventTime::from_seconds(1_776_902_400);
    let truth = scene.organisation.truth();
    let old = truth.of(Cadence::Dead).find(|key| {
        key.uses == 0
            && key.used_before.is_some_and(|used| used < tracking_start)
            && key.state != LifecycleState::Deleted
    });
    let unknown = usage(old.unwrap()).await;
    assert_eq!(unknown["KeyLastUsage"], json!({}));
    assert!(unknown["KeyCreationDate"].as_u64() < unknown["TrackingStartDate"].as_u64());
    let known = truth
        .of(Cadence::Seasonal)
        .find(|key| key.uses == 0 && key.used_before > Some(tracking_start))
        .unwrap();
    assert_eq!(usage(known).await["KeyLastUsage"]["Timestamp"], known.used_before.unwrap().seconds());

    let pairs = truth.keys.iter().find(|key| {
        key.last_use.as_ref().is_some_and(|used| used.operation == "Sign" || used.operation == "Verify")
    });
    let pairs = pairs.unwrap();
    scene.organisation.silence(pairs.key, true);
    let before = usage(pairs).await;
    scene.told(pairs, "GetPublicKey", json!({ "KeyId": pairs.key.id() })).await;
    scene.clock.advance(i64::from(2 * HOUR));
    let after = usage(pairs).await;
    assert_ne!(after["KeyLastUsage"]["Operation"], "GetPublicKey");
    assert!(before["KeyLastUsage"].is_object());
    assert_eq!(
        scene.refused(&key, "GetKeyLastUsage", json!({ "KeyId": "alias/any" })).await,
        "NotFoundException"
    );
}

#[tokio::test]
async fn quotas_hold_by_the_clock_and_per_account_and_region() {
    let scene = scene().await;
    let key = symmetric(&scene);
    let ask = async || scene.ask(&key, "GetKeyLastUsage", json!({ "KeyId": key.key.id() })).await;
    for _ in 0..5 {
        assert_eq!(ask().await.status, 200);
    }
    let throttled = ask().await;
    assert_eq!((throttled.status, &*throttled.code()), (400, "ThrottlingException"));
    let truth = scene.organisation.truth();
    let elsewhere = truth
        .keys
        .iter()
        .find(|other| other.account() != key.account() && other.state == LifecycleState::Enabled);
    scene.told(elsewhere.unwrap(), "GetKeyLastUsage", json!({ "KeyId": elsewhere.unwrap().key.id() })).await;
    scene.told(&key, "DescribeKey", json!({ "KeyId": key.key.id() })).await;
    scene.clock.advance(1);
    for _ in 0..5 {
        assert_eq!(ask().await.status, 200);
    }
    assert_eq!(ask().await.code(), "ThrottlingException");
    assert_eq!(scene.double.requests_of(Service::Kms, "GetKeyLastUsage"), 13);
    let records = scene.organisation.take_records();
    assert!(
        records
            .iter()
            .any(|one| one.operation == "GetKeyLastUsage" && one.error_code == Some("ThrottlingException"))
    );

    let unlimited =
        scene_with(usual(), AwsDoubleOptions { unlimited: true, ..AwsDoubleOptions::default() }).await;
    for _ in 0..20 {
        unlimited.told(&key, "GetKeyLastUsage", json!({ "KeyId": key.key.id() })).await;
    }
}

#[tokio::test]
async fn faults_strike_where_they_are_set() {
    let scene = scene().await;
    let key = symmetric(&scene);
    let (account, region) = (key.account(), key.region());
    let faults = scene.double.faults();
    let list = async || scene.ask(&key, "ListKeys", json!({})).await;
    let fault = |change: fn(&mut AwsFault)| {
        let mut fault = AwsFault { requests: Some(1), ..AwsFault::default() };
        change(&mut fault);
        fault
    };
    for (fault, status, code) in [
        (fault(|fault| fault.throttled = 1.0), 400, "ThrottlingException"),
        (fault(|fault| fault.internal_error = 1.0), 500, "KMSInternalException"),
        (fault(|fault| fault.unavailable = 1.0), 503, "ServiceUnavailableException"),
        (fault(|fault| fault.access_denied = true), 400, "AccessDeniedException"),
    ] {
        faults.set(Service::Kms, "ListKeys", fault);
        let heard = list().await;
        assert_eq!((heard.status, &*heard.code()), (status, code));
        assert_eq!(list().await.status, 200);
    }
    let target = "x-amz-target: TrentService.DisableKey\r\n";
    let request = json!({ "KeyId": key.key.id() }).to_string();
    let state = || scene.organisation.key_truth(key.key).unwrap().state;
    faults.set(Service::Kms, "DisableKey", fault(|fault| fault.dropped = 1.0));
    assert!(scene.send(&account.to_string(), region.name(), target, &request).await.is_none());
    assert_eq!(state(), LifecycleState::Enabled);
    faults.set(Service::Kms, "DisableKey", fault(|fault| fault.answer_lost = 1.0));
    assert!(scene.send(&account.to_string(), region.name(), target, &request).await.is_none());
    assert_eq!(state(), LifecycleState::Disabled);

    let denied = AwsFault {
        access_denied: true,
        regions: vec![region],
        accounts: vec![account],
        ..AwsFault::default()
    };
    faults.set_all(Service::Kms, denied);
    assert_eq!(list().await.code(), "AccessDeniedException");
    let other_region = if region.name() == "us-east-1" { "eu-west-1" } else { "us-east-1" };
    assert_eq!(scene.kms(&account.to_string(), other_region, "ListKeys", &json!({})).await.status, 200);
    assert_eq!(scene.kms("AKIAOPERATOR", region.name(), "ListKeys", &json!({})).await.status, 200);
    faults.clear_all();
    assert_eq!(list().await.status, 200);
    let latency = Duration::from_millis(50)..=Duration::from_millis(50);
    faults.set(Service::Kms, "ListKeys", AwsFault { latency, ..AwsFault::default() });
    let start = tokio::time::Instant::now();
    list().await;
    assert!(start.elapsed() >= Duration::from_millis(50));
}

#[tokio::test]
async fn roles_are_assumed_until_they_expire() {
    let scene = scene().await;
    let key = symmetric(&scene);
    let heard = scene.assume(key.account(), "dormouse-read", "&DurationSeconds=900").await;
    assert_eq!(heard.status, 200, "{heard:?}");
    let access_key = heard.element("AccessKeyId").unwrap();
    assert_eq!(heard.element("Expiration"), Some("2026-11-01T00:15:00Z"));
    let expected = format!("arn:aws:sts::{}:assumed-role/dormouse-read/test", key.account());
    assert_eq!(heard.element("Arn"), Some(&*expected));
    let who = scene.sts(access_key, "Action=GetCallerIdentity").await;
    assert_eq!(who.element("Account"), Some(&*key.account().to_string()));
    assert_eq!(who.element("Arn"), Some(&*expected));
    assert_eq!(who.element("UserId"), heard.element("AssumedRoleId"));
    let own = scene.sts("AKIAOPERATOR", "Action=GetCallerIdentity").await;
    assert_eq!(own.element("Account"), Some("111122223333"));

    scene.organisation.take_records();
    let describe = async || {
        scene.kms(access_key, key.region().name(), "DescribeKey", &json!({ "KeyId": key.key.id() })).await
    };
    assert_eq!(describe().await.status, 200);
    let record: Value = serde_json::from_str(&scene.organisation.take_records()[0].record).unwrap();
    let issuer = &record["userIdentity"]["sessionContext"]["sessionIssuer"]["arn"];
    assert_eq!(issuer, &json!(format!("arn:aws:iam::{}:role/dormouse-read", key.account())));
    scene.clock.advance(900);
    assert_eq!(describe().await.code(), "ExpiredTokenException");
    assert_eq!(scene.sts(access_key, "Action=GetCallerIdentity").await.element("Code"), Some("ExpiredToken"));
}

#[tokio::test]
async fn roles_that_cannot_be_assumed_are_refused() {
    let accounts: Vec<AccountId> =
        Organisation::new(usual()).accounts().iter().map(|account| account.id).collect();
    let options = AwsDoubleOptions {
        role_name: Some("dormouse-read".to_owned()),
        external_id: Some("zzz".to_owned()),
        accounts_without_role: vec![accounts[2]],
        ..AwsDoubleOptions::default()
    };
    let scene = scene_with(usual(), options).await;
    let code = async |account: AccountId, role: &str, more: &str| {
        let heard = scene.assume(account, role, more).await;
        (heard.status, heard.element("Code").map(str::to_owned))
    };
    let denied = (403, Some("AccessDenied".to_owned()));
    let invalid = (400, Some("ValidationError".to_owned()));
    assert_eq!(code(accounts[1], "dormouse-read", "&ExternalId=zzz").await, (200, None));
    assert_eq!(code(accounts[1], "path%2Fdormouse-read", "&ExternalId=zzz").await, (200, None));
    assert_eq!(code(accounts[1], "dormouse-read", "").await, denied);
    assert_eq!(code(accounts[1], "another", "&ExternalId=zzz").await, denied);
    assert_eq!(code(accounts[2], "dormouse-read", "&ExternalId=zzz").await, denied);
    assert_eq!(code(accounts[11], "dormouse-read", "&ExternalId=zzz").await, denied);
    let unknown = "999988887777".parse().unwrap();
    assert_eq!(code(unknown, "dormouse-read", "&ExternalId=zzz").await, denied);
    assert_eq!(code(accounts[1], "dormouse-read", "&ExternalId=zzz&DurationSeconds=60").await, invalid);
    let short = "Action=AssumeRole&RoleArn=arn:aws:iam::111122223333:role/dormouse-read&RoleSessionName=x";
    assert_eq!(scene.sts("AKIAOPERATOR", short).await.element("Code"), Some("ValidationError"));
    scene.double.set_role(accounts[2], true);
    assert_eq!(code(accounts[2], "dormouse-read", "&ExternalId=zzz").await, (200, None));
    let suspended = scene.kms(&accounts[11].to_string(), "eu-west-1", "ListKeys", &json!({})).await;
    assert_eq!(suspended.code(), "UnrecognizedClientException");
}

#[tokio::test]
async fn the_organisation_is_listed_page_by_page() {
    let scene =
        scene_with(OrganisationOptions { accounts: 45, ..usual() }, AwsDoubleOptions::default()).await;
    let expected = scene.organisation.accounts();
    let mut told = Vec::new();
    let mut request = json!({ "MaxResults": 20 });
    loop {
        let answer = scene.organizations("ListAccounts", request.clone()).await.json();
        told.extend(answer["Accounts"].as_array().unwrap().clone());
        if answer["NextToken"].is_null() {
            break;
        }
        request["NextToken"] = answer["NextToken"].clone();
    }
    assert_eq!(told.len(), 45);
    for account in &expected {
        let id = account.id.to_string();
        let shown = told.iter().find(|shown| shown["Id"] == id).unwrap();
        assert_eq!((&shown["State"], &shown["Name"]), (&json!(account.state), &json!(account.name)));
        assert!(shown["Status"].is_string() && shown["JoinedTimestamp"].is_u64());
    }
    assert!(expected.iter().any(|account| account.state == "SUSPENDED"));

    let root = scene.organizations("ListRoots", json!({})).await.json()["Roots"][0]["Id"].clone();
    let units =
        scene.organizations("ListOrganizationalUnitsForParent", json!({ "ParentId": root })).await.json();
    let mut parents = vec![root];
    parents.extend(units["OrganizationalUnits"].as_array().unwrap().iter().map(|unit| unit["Id"].clone()));
    let mut children = 0;
    for parent in parents {
        let mut request = json!({ "ParentId": parent });
        loop {
            let answer = scene.organizations("ListAccountsForParent", request.clone()).await.json();
            children += answer["Accounts"].as_array().unwrap().len();
            if answer["NextToken"].is_null() {
                break;
            }
            request["NextToken"] = answer["NextToken"].clone();
        }
    }
    assert_eq!(children, 45);
    let id = expected[1].id.to_string();
    let described = scene.organizations("DescribeAccount", json!({ "AccountId": id })).await.json();
    assert_eq!(described["Account"]["Name"], "payments-prod");
    let tags = scene.organizations("ListTagsForResource", json!({ "ResourceId": id })).await.json();
    assert_eq!(tags["Tags"][1], json!({ "Key": "team", "Value": "payments" }));
    let organisation = scene.organizations("DescribeOrganization", json!({})).await.json();
    assert_eq!(organisation["Organization"]["MasterAccountId"], "111122223333");
    assert_eq!(
        scene.organizations("ListAccounts", json!({ "NextToken": "x" })).await.code(),
        "InvalidInputException"
    );
    let headers = "x-amz-target: AWSOrganizationsV20161128.ListAccounts\r\n";
    let member = scene.send(&id, "us-east-1", headers, "{}").await.unwrap();
    assert_eq!(member.code(), "AccessDeniedException");
}

#[tokio::test]
async fn sqs_answers_at_the_same_endpoint() {
    let options = AwsDoubleOptions { sqs: Some(SqsOptions::default()), ..AwsDoubleOptions::default() };
    let scene = scene_with(usual(), options).await;
    let sqs = scene.double.sqs().unwrap();
    let url = sqs.create_queue("events", QueueOptions::default());
    assert!(url.starts_with(scene.double.endpoint()));
    sqs.send(&url, "hello").unwrap();
    let headers = "x-amz-target: AmazonSQS.ReceiveMessage\r\n";
    let heard = scene
        .send("AKIAOPERATOR", "eu-west-1", headers, &json!({ "QueueUrl": url }).to_string())
        .await
        .unwrap();
    assert_eq!(heard.json()["Messages"][0]["Body"], "hello");
    scene.double.stop().await;
}
