//! What callers ask and what KMS answers, operation by operation.

use dormouse_model::{EventTime, KeyArn};

use super::catalogue::KeyClass;
use super::json::{Object, object_text};
use super::world::{HOSTILE, Key};
use crate::uuid::Uuid;

/// The call whose parameters are to be written.
pub(crate) struct Asked<'a> {
    pub(crate) operation: &'static str,
    /// How the caller names the key, if at all.
    pub(crate) key_id: Option<&'a str>,
    /// The key; absent for operations without one and for keys that do not exist.
    pub(crate) key: Option<&'a Key>,
    /// Which key it is, to give each its own sort of data.
    pub(crate) place: usize,
    /// ReEncrypt: how the caller names the destination.
    pub(crate) destination: Option<&'a str>,
    /// Alias operations: the alias, `alias/…`. ReplicateKey and UpdatePrimaryRegion: the other Region.
    pub(crate) other: &'a str,
    pub(crate) dry_run: bool,
    pub(crate) hostile: bool,
    pub(crate) time: EventTime,
}

/// What the record says of the call besides who, when and where. Absent ones are `null` or left out.
#[derive(Default)]
pub(crate) struct Parameters {
    pub(crate) request: Option<String>,
    pub(crate) response: Option<String>,
    pub(crate) additional: Option<String>,
}

const POLICY: &str = r#"{"Version":"2012-10-17","Id":"key-default-1","Statement":[{"Sid":"Enable IAM User Permissions","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:root"},"Action":"kms:*","Resource":"*"}]}"#;
const OPEN_POLICY: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"kms:*","Resource":"*"}]}"#;

/// The parameters of a call, and of its answer if `answered`.
pub(crate) fn parameters(random: &mut fastrand::Rng, asked: &Asked<'_>, answered: bool) -> Parameters {
    let mut parameters = Parameters::default();
    let request = object_text(|request| write_request(random, asked, request));
    parameters.request = (request != "{}").then_some(request);
    if let Some(key) = asked.key
        && answered
    {
        parameters.response = response(random, asked, key);
        parameters.additional = additional(random, asked, key);
    }
    parameters
}

fn write_request(random: &mut fastrand::Rng, asked: &Asked<'_>, request: &mut Object<'_>) {
    let operation = asked.operation;
    if let Some(key_id) = asked.key_id
        && !matches!(operation, "CreateAlias" | "UpdateAlias" | "DeleteAlias" | "CreateKey" | "ReEncrypt")
    {
        request.text("keyId", key_id);
    }
    match operation {
        "Decrypt"
        | "Encrypt"
        | "GenerateDataKey"
        | "GenerateDataKeyWithoutPlaintext"
        | "GenerateDataKeyPair"
        | "GenerateDataKeyPairWithoutPlaintext"
        | "ReEncrypt"
        | "Sign"
        | "Verify"
        | "GenerateMac"
        | "VerifyMac"
        | "DeriveSharedSecret"
        | "Encapsulate"
        | "Decapsulate" => write_use(random, asked, request),
        "CreateKey" | "CreateGrant" | "RevokeGrant" | "ImportKeyMaterial" | "GetParametersForImport" => {
            write_making(random, asked, request);
        }
        "CreateAlias" | "UpdateAlias" => {
            request.text("aliasName", asked.other);
            request.text("targetKeyId", asked.key_id.unwrap_or(""));
        }
        "DeleteAlias" => request.text("aliasName", asked.other),
        "PutKeyPolicy" => {
            request.text("policyName", "default");
            request.text("policy", if random.u8(..) < 32 { OPEN_POLICY } else { POLICY });
            request.raw("bypassPolicyLockoutSafetyCheck", false);
        }
        "GetKeyPolicy" => request.text("policyName", "default"),
        "ReplicateKey" => {
            request.text("replicaRegion", asked.other);
            request.raw("bypassPolicyLockoutSafetyCheck", false);
        }
        "UpdatePrimaryRegion" => request.text("primaryRegion", asked.other),
        // The window may be left out; it is 30 days then.
        "ScheduleKeyDeletion" if !asked.place.is_multiple_of(3) => {
            request.raw("pendingWindowInDays", window(asked));
        }
        "EnableKeyRotation" => request.raw("rotationPeriodInDays", random.u32(90..=2_560)),
        "TagResource" => write_tags(random, asked, request),
        "UntagResource" => request.strings("tagKeys", [TAGS[random.usize(..TAGS.len())].0]),
        "UpdateKeyDescription" => {
            request.text("description", free_text(random, asked, "Orders at rest, second generation"));
        }
        "GenerateRandom" => request.raw("numberOfBytes", 32),
        "ListKeys" | "ListAliases" if random.bool() => request.raw("limit", 100),
        "ListGrants" | "ListResourceTags" | "ListKeyPolicies" => request.raw("limit", 50),
        "ListRetirableGrants" => request.text("retiringPrincipal", "arn:aws:iam::111122223333:role/backup"),
        name if name.contains("CustomKeyStore") => write_key_store(name, request),
        _ => {}
    }
    if asked.dry_run {
        request.raw("dryRun", true);
    }
}

fn write_use(random: &mut fastrand::Rng, asked: &Asked<'_>, request: &mut Object<'_>) {
    let algorithm = match asked.key.map(|key| key.class) {
        Some(KeyClass::Asymmetric) => "RSAES_OAEP_SHA_256",
        _ => "SYMMETRIC_DEFAULT",
    };
    match asked.operation {
        "Decrypt" | "Encrypt" => {
            write_context(random, asked, "encryptionContext", asked.place, request);
            request.text("encryptionAlgorithm", algorithm);
        }
        "GenerateDataKey" | "GenerateDataKeyWithoutPlaintext" => {
            write_context(random, asked, "encryptionContext", asked.place, request);
            if random.bool() {
                request.text("keySpec", "AES_256");
            } else {
                request.raw("numberOfBytes", 64);
            }
        }
        "GenerateDataKeyPair" | "GenerateDataKeyPairWithoutPlaintext" => {
            request.text("keyPairSpec", "ECC_NIST_P384");
            write_context(random, asked, "encryptionContext", asked.place, request);
        }
        "ReEncrypt" => {
            if let Some(source) = asked.key_id {
                request.text("sourceKeyId", source);
            }
            request.text("sourceEncryptionAlgorithm", "SYMMETRIC_DEFAULT");
            write_context(random, asked, "sourceEncryptionContext", asked.place, request);
            request.text("destinationKeyId", asked.destination.unwrap_or(""));
            request.text("destinationEncryptionAlgorithm", "SYMMETRIC_DEFAULT");
            write_context(random, asked, "destinationEncryptionContext", asked.place + 1, request);
        }
        "Sign" | "Verify" => {
            request.text("messageType", if random.bool() { "DIGEST" } else { "RAW" });
            request.text("signingAlgorithm", "ECDSA_SHA_256");
        }
        "DeriveSharedSecret" => request.text("keyAgreementAlgorithm", "ECDH"),
        "Encapsulate" | "Decapsulate" => request.text("encapsulationAlgorithm", "ML_KEM_768"),
        _ => request.text("macAlgorithm", "HMAC_SHA_256"),
    }
}

/// The context tells what the key protects: for each key always things of one sort.
fn write_context(
    random: &mut fastrand::Rng,
    asked: &Asked<'_>,
    name: &str,
    sort: usize,
    request: &mut Object<'_>,
) {
    let (account, region) = asked
        .key
        .map_or_else(Default::default, |key| (key.arn.account().to_string(), key.arn.region().name()));
    let thing = random.u32(..20);
    let kind = sort % 10;
    if kind == 9 {
        return;
    }
    request.object(name, |context| match kind {
        0 => context.shown("aws:ebs:id", format_args!("vol-{:017x}", 0xa11ce * u64::from(thing + 1))),
        1 => {
            context
                .shown("aws:s3:arn", format_args!("arn:aws:s3:::orders-{account}/2026/{thing:03}.parquet"));
        }
        2 => {
            context.shown(
                "SecretARN",
                format_args!("arn:aws:secretsmanager:{region}:{account}:secret:db/{thing}-AbCdEf"),
            );
            context.shown(
                "SecretVersionId",
                Uuid::from_random(u128::from(thing) << 64 | 0x4000_8000_0000_0000_0001),
            );
        }
        3 => context
            .shown("PARAMETER_ARN", format_args!("arn:aws:ssm:{region}:{account}:parameter/app/{thing}")),
        4 => {
            context.shown("aws:dynamodb:tableName", format_args!("orders-{thing}"));
            context.text("aws:dynamodb:subscriberId", &account);
        }
        5 => context
            .shown("aws:logs:arn", format_args!("arn:aws:logs:{region}:{account}:log-group:/app/{thing}:*")),
        6 => context.shown("aws:rds:db-id", format_args!("db-EXAMPLE{thing:018}")),
        7 => context.shown(
            "aws:lambda:FunctionArn",
            format_args!("arn:aws:lambda:{region}:{account}:function:job-{thing}"),
        ),
        _ => {
            context.shown("tenant", format_args!("tenant-{thing}"));
            context.any(free_text(random, asked, "purpose"), free_text(random, asked, "invoices"));
        }
    });
}

fn write_making(random: &mut fastrand::Rng, asked: &Asked<'_>, request: &mut Object<'_>) {
    match asked.operation {
        "CreateKey" => {
            let class = asked.key.map_or(KeyClass::Symmetric, |key| key.class);
            let (spec, usage) = class.spec_and_usage();
            request.text("policy", POLICY);
            request.text("description", free_text(random, asked, "Orders at rest"));
            request.text("customerMasterKeySpec", spec);
            request.text("keySpec", spec);
            request.text("keyUsage", usage);
            request.text("origin", "AWS_KMS");
            request.raw("multiRegion", asked.key.is_some_and(|key| key.arn.is_multi_region()));
            request.raw("bypassPolicyLockoutSafetyCheck", false);
            write_tags(random, asked, request);
        }
        "CreateGrant" => {
            let foreign = random.u8(..) < 48;
            let grantee = if foreign {
                "arn:aws:iam::999988887777:role/partner"
            } else {
                "arn:aws:iam::111122223333:role/orders-worker"
            };
            request.text("granteePrincipal", grantee);
            request.text("retiringPrincipal", "ec2.eu-west-1.amazonaws.com");
            request.object("constraints", |constraints| {
                constraints.object("encryptionContextSubset", |context| {
                    context.shown("aws:ebs:id", format_args!("vol-{:017x}", random.u64(..) >> 4));
                });
            });
            request.strings(
                "operations",
                ["Decrypt", "GenerateDataKeyWithoutPlaintext", "CreateGrant", "RetireGrant"],
            );
        }
        "RevokeGrant" => request.shown("grantId", grant_id(random)),
        "ImportKeyMaterial" => {
            request.shown("validTo", Prose(asked.time.plus(365 * 86_400)));
            request.text("expirationModel", "KEY_MATERIAL_EXPIRES");
        }
        _ => {
            request.text("wrappingAlgorithm", "RSAES_OAEP_SHA_256");
            request.text("wrappingKeySpec", "RSA_4096");
        }
    }
}

fn write_key_store(operation: &str, request: &mut Object<'_>) {
    if operation == "CreateCustomKeyStore" {
        request.text("customKeyStoreName", "vault");
        request.text("cloudHsmClusterId", "cluster-1a23b4cdefg");
    } else if operation != "DescribeCustomKeyStores" {
        request.text("customKeyStoreId", "cks-1234567890abcdef0");
    }
}

const TAGS: [(&str, &str); 4] =
    [("team", "payments"), ("env", "prod"), ("cost-center", "4711"), ("data", "confidential")];

fn write_tags(random: &mut fastrand::Rng, asked: &Asked<'_>, request: &mut Object<'_>) {
    let (name, value) = TAGS[random.usize(..TAGS.len())];
    let tag = object_text(|tag| {
        tag.text("tagKey", name);
        tag.text("tagValue", free_text(random, asked, value));
    });
    request.raw("tags", format_args!("[{tag}]"));
}

/// A text that the caller may choose freely: the usual one, or now and then a hostile one if that is wanted.
fn free_text<'t>(random: &mut fastrand::Rng, asked: &Asked<'_>, usual: &'t str) -> &'t str {
    if asked.hostile && random.u8(..) < 64 { HOSTILE[random.usize(..HOSTILE.len())] } else { usual }
}

fn window(asked: &Asked<'_>) -> u32 {
    [30, 7, 14][asked.place % 3]
}

/// The answers that CloudTrail shows. Since late 2022 it shows at least the key's ARN for a change.
fn response(random: &mut fastrand::Rng, asked: &Asked<'_>, key: &Key) -> Option<String> {
    let arn = &*key.arn_text;
    let answer = match asked.operation {
        "CreateKey" => object_text(|response| {
            response
                .raw("keyMetadata", metadata(key.arn, arn, key.class, "", asked.time, "AWS_KMS", "Enabled"));
        }),
        "ReplicateKey" => object_text(|response| {
            let replica = arn.replacen(key.arn.region().name(), asked.other, 1);
            response.raw(
                "replicaKeyMetadata",
                metadata(key.arn, &replica, key.class, "", asked.time, "AWS_KMS", "Enabled"),
            );
            response.text("replicaPolicy", POLICY);
        }),
        "ScheduleKeyDeletion" => object_text(|response| {
            response.text("keyId", arn);
            response.text("keyState", "PendingDeletion");
            response.shown("deletionDate", Prose(asked.time.plus(window(asked) * 86_400)));
            response.raw("pendingWindowInDays", window(asked));
        }),
        "CreateGrant" => object_text(|response| {
            response.shown("grantId", grant_id(random));
            response.text("keyId", arn);
        }),
        "GetParametersForImport" => object_text(|response| {
            response.text("keyId", arn);
            response.shown("parametersValidTo", Prose(asked.time.plus(86_400)));
        }),
        "TagResource" | "UntagResource" | "PutKeyPolicy" | "CreateAlias" | "UpdateAlias" | "DeleteAlias"
            if asked.place.is_multiple_of(2) =>
        {
            return None;
        }
        name if CHANGES_WITH_ANSWER.contains(&name) => object_text(|response| response.text("keyId", arn)),
        _ => return None,
    };
    Some(answer)
}

const CHANGES_WITH_ANSWER: &[&str] = &[
    "CancelKeyDeletion",
    "CreateAlias",
    "DeleteAlias",
    "DeleteImportedKeyMaterial",
    "DisableKey",
    "DisableKeyRotation",
    "EnableKey",
    "EnableKeyRotation",
    "ImportKeyMaterial",
    "PutKeyPolicy",
    "RetireGrant",
    "RevokeGrant",
    "RotateKeyOnDemand",
    "TagResource",
    "UntagResource",
    "UpdateAlias",
    "UpdateKeyDescription",
    "UpdatePrimaryRegion",
];

/// A new key's metadata as CloudTrail shows them.
pub(crate) fn metadata(
    key: KeyArn,
    arn: &str,
    class: KeyClass,
    description: &str,
    created: EventTime,
    origin: &str,
    state: &str,
) -> String {
    let (spec, usage) = class.spec_and_usage();
    object_text(|metadata| {
        metadata.shown("aWSAccountId", key.account());
        metadata.shown("keyId", key.id());
        metadata.text("arn", arn);
        metadata.shown("creationDate", Prose(created));
        metadata.raw("enabled", state == "Enabled");
        metadata.text("description", description);
        metadata.text("keyUsage", usage);
        metadata.text("keyState", state);
        metadata.text("origin", origin);
        metadata.text("keyManager", "CUSTOMER");
        metadata.text("customerMasterKeySpec", spec);
        metadata.text("keySpec", spec);
        metadata.raw("multiRegion", key.is_multi_region());
    })
}

fn additional(random: &mut fastrand::Rng, asked: &Asked<'_>, key: &Key) -> Option<String> {
    if asked.operation == "RetireGrant" {
        return Some(object_text(|additional| {
            additional.shown("grantId", grant_id(random));
        }));
    }
    let shows_material = key.class == KeyClass::Symmetric && asked.place.is_multiple_of(2);
    match asked.operation {
        "ReEncrypt" if shows_material => Some(object_text(|additional| {
            additional.shown("sourceKeyMaterialId", material_id(asked.place));
            additional.shown("destinationKeyMaterialId", material_id(asked.place + 1));
        })),
        "Decrypt" | "Encrypt" | "GenerateDataKey" | "GenerateDataKeyWithoutPlaintext" if shows_material => {
            Some(object_text(|additional| {
                additional.shown("keyMaterialId", material_id(asked.place));
            }))
        }
        _ => None,
    }
}

/// The id of a key's material, the same for a key each time.
pub(crate) fn material_id(place: usize) -> String {
    let bits = (place as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    format!("{bits:032x}{:032x}", bits.rotate_left(64))
}

pub(crate) fn grant_id(random: &mut fastrand::Rng) -> String {
    format!("{:032x}{:032x}", random.u128(..), random.u128(..))
}

/// A time as KMS writes it into answers: `Apr 12, 2021 18:58:30 PM`, a 24-hour clock with a half of the day behind it.
pub(crate) struct Prose(pub(crate) EventTime);

impl std::fmt::Display for Prose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let text = self.0.to_string();
        let number = |from: usize| text[from..from + 2].parse::<usize>().unwrap_or(1);
        let half = if number(11) < 12 { "AM" } else { "PM" };
        let month = MONTHS[(number(5) - 1) % 12];
        write!(f, "{month} {}, {} {} {half}", number(8), &text[..4], &text[11..19])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_prose() {
        let time: EventTime = "2021-04-12T18:58:30Z".parse().unwrap();
        assert_eq!(Prose(time).to_string(), "Apr 12, 2021 18:58:30 PM");
    }
}
