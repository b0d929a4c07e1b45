//! Callers: who they are, as each account that logs a call sees them.

use std::borrow::Cow;

use dormouse_model::{AccountId, EventTime};

use super::json::object_text;

/// A caller. Its identity is ready as JSON.
#[derive(Clone)]
pub(crate) struct Principal {
    pub(crate) identity: String,
    /// The ARN that an error message names.
    pub(crate) arn: String,
    /// What stays the same from session to session: the role's ARN, else the caller's own; services have none.
    pub(crate) stable_arn: Option<String>,
    /// How the owner of a foreign key sees it.
    pub(crate) foreign_identity: String,
    pub(crate) source_ip: Cow<'static, str>,
    pub(crate) user_agent: Cow<'static, str>,
    /// Calls through a VPC endpoint and over TLS are shown with it; calls by services are not.
    pub(crate) is_service: bool,
}

const USER_AGENTS: [&str; 4] = [
    "aws-sdk-java/2.29.23 md/io#sync md/http#Apache ua/2.1 os/Linux#6.1.115 lang/java#21.0.5 md/OpenJDK_64-Bit_Server_VM m/D,E",
    "Boto3/1.40.11 md/Botocore#1.40.11 ua/2.1 os/linux#6.1.147 md/arch#aarch64 lang/python#3.13.7 cfg/retry-mode#standard",
    "aws-sdk-go-v2/1.36.3 ua/2.1 os/linux lang/go#1.25.1 md/GOOS#linux md/GOARCH#amd64 api/kms#1.38.3 m/E,e",
    "aws-cli/2.31.2 md/awscrt#0.27.6 ua/2.1 os/linux#6.8.0 md/arch#x86_64 lang/python#3.13.7 cfg/retry-mode#standard exec-env/CloudShell",
];

/// Access key and principal ids: a prefix and characters that look the part.
fn unique_id(random: &mut fastrand::Rng, prefix: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let length = if matches!(prefix, "AKIA" | "ASIA") { 16 } else { 17 };
    let tail = (0..length).map(|_| char::from(ALPHABET[random.usize(..ALPHABET.len())]));
    prefix.chars().chain(tail).collect()
}

pub(crate) fn assumed_role(
    random: &mut fastrand::Rng,
    account: AccountId,
    role: &str,
    session: &str,
    session_start: EventTime,
    invoked_by: Option<&'static str>,
) -> Principal {
    let (role_id, access_key) = (unique_id(random, "AROA"), unique_id(random, "ASIA"));
    let arn = format!("arn:aws:sts::{account}:assumed-role/{role}/{session}");
    let identity = object_text(|identity| {
        identity.text("type", "AssumedRole");
        identity.shown("principalId", format_args!("{role_id}:{session}"));
        identity.text("arn", &arn);
        identity.shown("accountId", account);
        identity.text("accessKeyId", &access_key);
        identity.object("sessionContext", |context| {
            context.object("sessionIssuer", |issuer| {
                issuer.text("type", "Role");
                issuer.text("principalId", &role_id);
                issuer.shown("arn", format_args!("arn:aws:iam::{account}:role/{role}"));
                issuer.shown("accountId", account);
                issuer.text("userName", role);
            });
            context.object("attributes", |attributes| {
                attributes.shown("creationDate", session_start);
                attributes.text("mfaAuthenticated", "false");
            });
        });
        if let Some(service) = invoked_by {
            identity.text("invokedBy", service);
        }
    });
    let foreign_identity = foreign(account, &format!("{role_id}:{session}"), invoked_by);
    let (source_ip, user_agent) = origin(random, invoked_by);
    Principal {
        identity,
        arn,
        stable_arn: Some(format!("arn:aws:iam::{account}:role/{role}")),
        foreign_identity,
        source_ip: source_ip.into(),
        user_agent: user_agent.into(),
        is_service: invoked_by.is_some(),
    }
}

/// A caller as the owner of another account's key sees it.
fn foreign(account: AccountId, principal_id: &str, invoked_by: Option<&str>) -> String {
    object_text(|identity| {
        identity.text("type", "AWSAccount");
        identity.text("principalId", principal_id);
        identity.shown("accountId", account);
        if let Some(service) = invoked_by {
            identity.text("invokedBy", service);
        }
    })
}

fn origin(random: &mut fastrand::Rng, invoked_by: Option<&'static str>) -> (&'static str, &'static str) {
    if let Some(service) = invoked_by {
        return (service, service);
    }
    let addresses = ["192.0.2.44", "198.51.100.7", "203.0.113.201", "10.0.4.18", "2001:db8::17"];
    (addresses[random.usize(..addresses.len())], USER_AGENTS[random.usize(..USER_AGENTS.len())])
}

/// EC2 itself, which uses a volume's key through a grant.
pub(crate) fn infrastructure(
    random: &mut fastrand::Rng,
    account: AccountId,
    session_start: EventTime,
) -> Principal {
    let instance = format!("i-{:017x}", random.u64(..) >> 4);
    let name = "aws:ec2-infrastructure";
    let arn = format!("arn:aws:sts::{account}:assumed-role/{name}/{instance}");
    let identity = object_text(|identity| {
        identity.text("type", "AssumedRole");
        identity.shown("principalId", format_args!("{account}:{name}:{instance}"));
        identity.text("arn", &arn);
        identity.shown("accountId", account);
        identity.text("accessKeyId", &unique_id(random, "ASIA"));
        identity.object("sessionContext", |context| {
            context.object("sessionIssuer", |issuer| {
                issuer.text("type", "Role");
                issuer.shown("principalId", format_args!("{account}:{name}"));
                issuer.shown("arn", format_args!("arn:aws:iam::{account}:role/{name}"));
                issuer.shown("accountId", account);
                issuer.text("userName", name);
            });
            context.object("attributes", |attributes| {
                attributes.shown("creationDate", session_start);
                attributes.text("mfaAuthenticated", "false");
            });
            context.text("ec2RoleDelivery", "2.0");
        });
        identity.text("invokedBy", "AWS Internal");
    });
    let foreign_identity = foreign(account, &format!("{account}:{name}:{instance}"), Some("AWS Internal"));
    Principal {
        identity,
        arn,
        stable_arn: Some(format!("arn:aws:iam::{account}:role/{name}")),
        foreign_identity,
        source_ip: "AWS Internal".into(),
        user_agent: "AWS Internal".into(),
        is_service: true,
    }
}

pub(crate) fn service(account: AccountId, name: &'static str) -> Principal {
    let identity = object_text(|identity| {
        identity.text("type", "AWSService");
        identity.text("invokedBy", name);
    });
    let foreign_identity = identity.clone();
    let arn = format!("arn:aws:iam::{account}:root");
    Principal {
        identity,
        arn,
        stable_arn: None,
        foreign_identity,
        source_ip: name.into(),
        user_agent: name.into(),
        is_service: true,
    }
}

/// A user by path and name.
pub(crate) fn iam_user(random: &mut fastrand::Rng, account: AccountId, user: &str) -> Principal {
    let user_id = unique_id(random, "AIDA");
    let arn = format!("arn:aws:iam::{account}:user/{user}");
    let identity = object_text(|identity| {
        identity.text("type", "IAMUser");
        identity.text("principalId", &user_id);
        identity.text("arn", &arn);
        identity.shown("accountId", account);
        identity.text("accessKeyId", &unique_id(random, "AKIA"));
        identity.text("userName", user.rsplit('/').next().unwrap_or(user));
    });
    let (source_ip, user_agent) = origin(random, None);
    Principal {
        identity,
        stable_arn: Some(arn.clone()),
        arn,
        foreign_identity: foreign(account, &user_id, None),
        source_ip: source_ip.into(),
        user_agent: user_agent.into(),
        is_service: false,
    }
}

pub(crate) fn federated_user(
    random: &mut fastrand::Rng,
    account: AccountId,
    session_start: EventTime,
) -> Principal {
    let arn = format!("arn:aws:sts::{account}:federated-user/reporting");
    let identity = object_text(|identity| {
        identity.text("type", "FederatedUser");
        identity.shown("principalId", format_args!("{account}:reporting"));
        identity.text("arn", &arn);
        identity.shown("accountId", account);
        identity.text("accessKeyId", &unique_id(random, "ASIA"));
        identity.object("sessionContext", |context| {
            context.object("sessionIssuer", |issuer| {
                issuer.text("type", "IAMUser");
                issuer.text("principalId", &unique_id(random, "AIDA"));
                issuer.shown("arn", format_args!("arn:aws:iam::{account}:user/broker"));
                issuer.shown("accountId", account);
                issuer.text("userName", "broker");
            });
            context.object("attributes", |attributes| {
                attributes.shown("creationDate", session_start);
                attributes.text("mfaAuthenticated", "false");
            });
        });
    });
    let (source_ip, user_agent) = origin(random, None);
    let foreign_identity = foreign(account, &format!("{account}:reporting"), None);
    Principal {
        identity,
        arn,
        stable_arn: Some(format!("arn:aws:iam::{account}:user/broker")),
        foreign_identity,
        source_ip: source_ip.into(),
        user_agent: user_agent.into(),
        is_service: false,
    }
}

pub(crate) fn web_identity(account: AccountId) -> Principal {
    let identity = object_text(|identity| {
        identity.text("type", "WebIdentityUser");
        identity.text("principalId", "accounts.example.com:app-17.example:user-4711");
        identity.text("userName", "user-4711");
        identity.text("identityProvider", "accounts.example.com");
    });
    let foreign_identity = identity.clone();
    let arn = format!("arn:aws:sts::{account}:assumed-role/web/user-4711");
    Principal {
        identity,
        arn,
        stable_arn: None,
        foreign_identity,
        source_ip: "203.0.113.9".into(),
        user_agent: USER_AGENTS[0].into(),
        is_service: false,
    }
}

pub(crate) fn root(random: &mut fastrand::Rng, account: AccountId, session_start: EventTime) -> Principal {
    let arn = format!("arn:aws:iam::{account}:root");
    let identity = object_text(|identity| {
        identity.text("type", "Root");
        identity.shown("principalId", account);
        identity.text("arn", &arn);
        identity.shown("accountId", account);
        identity.text("accessKeyId", &unique_id(random, "ASIA"));
        identity.object("sessionContext", |context| {
            context.object("attributes", |attributes| {
                attributes.shown("creationDate", session_start);
                attributes.text("mfaAuthenticated", "true");
            });
        });
    });
    let foreign_identity = foreign(account, &account.to_string(), None);
    Principal {
        identity,
        stable_arn: Some(arn.clone()),
        arn,
        foreign_identity,
        source_ip: "198.51.100.250".into(),
        user_agent: USER_AGENTS[3].into(),
        is_service: false,
    }
}
