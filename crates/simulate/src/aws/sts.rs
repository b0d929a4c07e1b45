//! STS: who am I, and who may I be.
//!
//! Its protocol is the older one: a form in, XML out.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use dormouse_model::{AccountId, EventTime};
use serde_json::{Value, json};

use super::service::{Calling, Refusal};
use super::{AwsDoubleOptions, Core, Service};
use crate::organisation::state::Member;
use crate::records::principals::{Principal, assumed_role};

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// Credentials that were given out.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) account: AccountId,
    /// The name of its role.
    pub(super) role: String,
    pub(super) name: String,
    pub(super) role_id: String,
    pub(super) expires: EventTime,
    pub(super) principal: Arc<Principal>,
}

/// The fields of a form. Of several with one name the last counts.
pub(super) fn form(body: &[u8]) -> HashMap<String, String> {
    let text = String::from_utf8_lossy(body);
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let pair = tail.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        let byte = pair.filter(|_| *first == b'%').and_then(|pair| u8::from_str_radix(pair, 16).ok());
        bytes.push(byte.unwrap_or(if *first == b'+' { b' ' } else { *first }));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// An answer in XML. `fields` is the inside of the result.
pub(super) fn answer(action: &str, fields: &str, request_id: &str) -> Vec<u8> {
    format!(
        "<{action}Response xmlns=\"{NAMESPACE}\"><{action}Result>{fields}</{action}Result>\
         <ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{action}Response>"
    )
    .into_bytes()
}

/// A refusal in XML.
pub(super) fn error(refusal: &Refusal, request_id: &str) -> Vec<u8> {
    let kind = if refusal.status < 500 { "Sender" } else { "Receiver" };
    format!(
        "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>{kind}</Type><Code>{}</Code><Message>{}</Message></Error>\
         <RequestId>{request_id}</RequestId></ErrorResponse>",
        refusal.code,
        escaped(&refusal.message)
    )
    .into_bytes()
}

fn element(name: &str, text: &str) -> String {
    format!("<{name}>{}</{name}>", escaped(text))
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(400, "ValidationError", message)
}

/// A role as its ARN names it.
struct Role<'a> {
    account: AccountId,
    /// `/`, or e.g. `/ops/`.
    path: &'a str,
    name: &'a str,
}

fn role_of(arn: &str) -> Option<Role<'_>> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", _, "iam", "", account, resource] = parts[..] else {
        return None;
    };
    let (path, name) =
        resource.strip_prefix("role")?.rsplit_once('/').filter(|(_, name)| !name.is_empty())?;
    // `role/name` has the path `/`, `role/ops/name` the path `/ops/`.
    let path = resource.get(4..5 + path.len()).filter(|path| path.starts_with('/'))?;
    Some(Role { account: account.parse().ok()?, path, name })
}

impl Core {
    /// The inside of the answer's result. The request as CloudTrail shows it comes with it.
    pub(super) fn sts(
        &self,
        calling: &Calling,
        action: &str,
        form: &HashMap<String, String>,
    ) -> Result<String, Refusal> {
        match action {
            "GetCallerIdentity" => Ok(Self::caller_identity(calling)),
            "AssumeRole" => self.assume_role(calling, form),
            _ => Err(Refusal::new(400, "InvalidAction", format!("Could not find operation {action}."))),
        }
    }

    fn caller_identity(calling: &Calling) -> String {
        let caller = &calling.caller;
        let user_id = match &calling.session {
            Some(session) => format!("{}:{}", session.role_id, session.name),
            None => caller.account.to_string(),
        };
        [
            element("Arn", &caller.principal.arn),
            element("UserId", &user_id),
            element("Account", &caller.account.to_string()),
        ]
        .concat()
    }

    fn assume_role(&self, calling: &Calling, form: &HashMap<String, String>) -> Result<String, Refusal> {
        let field = |name: &str| form.get(name).map(String::as_str);
        let required = |name: &str, shown: &str| {
            field(name).ok_or_else(|| {
                invalid(format!(
                    "1 validation error detected: Value null at '{shown}' failed to satisfy constraint: Member must \
                     not be null"
                ))
            })
        };
        let arn = required("RoleArn", "roleArn")?;
        let session_name = required("RoleSessionName", "roleSessionName")?;
        check_session_name(session_name)?;
        let least = if self.options.short_sessions { 1 } else { 900 };
        let duration = duration(field("DurationSeconds"), least, calling.session.is_some())?;
        let role = role_of(arn).ok_or_else(|| invalid(format!("{arn} is invalid")))?;
        let account = role.account;
        if !self.has_region(account, calling.caller.region) {
            let message = format!(
                "STS is not activated in this region for account:{account}. Your account administrator can activate \
                 STS in this region using the IAM Console."
            );
            return Err(Refusal::new(403, "RegionDisabledException", message));
        }
        let is_there = !self.without_role.lock().unwrap_or_else(PoisonError::into_inner).contains(&account);
        let is_active = self.organisation.lock().state.member(account).is_some_and(Member::is_active);
        let is_allowed = self.may_assume(calling, &role, field("ExternalId"));
        if !(is_allowed && is_there && is_active) {
            let message = format!(
                "User: {} is not authorized to perform: sts:AssumeRole on resource: {arn}",
                calling.caller.principal.arn
            );
            return Err(Refusal::new(403, "AccessDenied", message));
        }
        let now = calling.now;
        let (access_key, session) = self.open_session(&role, session_name, now, duration);
        let credentials = [
            element("AccessKeyId", &access_key),
            element("SecretAccessKey", &format!("{access_key}/secret/of/nothing/at/all")),
            element("SessionToken", &format!("token-of-{access_key}")),
            element("Expiration", &session.expires.to_string()),
        ]
        .concat();
        let user = [
            element("AssumedRoleId", &format!("{}:{session_name}", session.role_id)),
            element("Arn", &session.principal.arn),
        ]
        .concat();
        Ok(format!("<Credentials>{credentials}</Credentials><AssumedRoleUser>{user}</AssumedRoleUser>"))
    }

    /// What the role's trust policy says.
    fn may_assume(&self, calling: &Calling, role: &Role<'_>, external_id: Option<&str>) -> bool {
        let AwsDoubleOptions { role_name, role_path, hub_role, external_id: wanted_id, .. } = &self.options;
        if hub_role.as_deref() == Some(role.name) {
            return true;
        }
        let comes_from_hub = calling.session.as_ref().map(|session| &session.role) == hub_role.as_ref();
        role_name.as_deref().is_none_or(|name| name == role.name)
            && role_path.as_deref().is_none_or(|path| path == role.path)
            && wanted_id.as_deref().is_none_or(|id| external_id == Some(id))
            && (hub_role.is_none() || comes_from_hub)
    }

    fn open_session(
        &self,
        &Role { account, name: role, .. }: &Role<'_>,
        name: &str,
        now: EventTime,
        duration: u32,
    ) -> (String, Session) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.by_access_key.retain(|_, session| now.seconds_since(session.expires) < 86_400);
        let bits = sessions.random.u64(..);
        let access_key = format!("ASIA{bits:016X}");
        // A role's own id stays the same from session to session.
        let hash = role.bytes().fold(account.number(), |hash, byte| hash.wrapping_mul(31) ^ u64::from(byte));
        let mut random = fastrand::Rng::with_seed(hash);
        let principal = assumed_role(&mut random, account, role, name, now, None);
        let principal_id = serde_json::from_str::<Value>(&principal.identity)
            .ok()
            .and_then(|identity| identity["principalId"].as_str().map(str::to_owned))
            .unwrap_or_default();
        let role_id = principal_id.split(':').next().unwrap_or_default().to_owned();
        let session = Session {
            account,
            role: role.to_owned(),
            name: name.to_owned(),
            role_id,
            expires: now.plus(duration),
            principal: Arc::new(principal),
        };
        sessions.by_access_key.insert(access_key.clone(), session.clone());
        (access_key, session)
    }
}

/// The request as CloudTrail shows it.
pub(super) fn logged(form: &HashMap<String, String>) -> Value {
    let names = ["RoleArn", "RoleSessionName", "ExternalId", "DurationSeconds"];
    let shown = names.iter().filter_map(|name| Some(((*name).to_owned(), json!(form.get(*name)?))));
    Value::Object(shown.collect())
}

fn check_session_name(name: &str) -> Result<(), Refusal> {
    let complaint = |constraint: &str| {
        invalid(format!(
            "1 validation error detected: Value '{name}' at 'roleSessionName' failed to satisfy constraint: {constraint}"
        ))
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    match name.len() {
        ..2 => Err(complaint("Member must have length greater than or equal to 2")),
        65.. => Err(complaint("Member must have length less than or equal to 64")),
        _ if !name.chars().all(is_plain) => {
            Err(complaint("Member must satisfy regular expression pattern: [\\w+=,.@-]*"))
        }
        _ => Ok(()),
    }
}

fn duration(asked: Option<&str>, least: u32, chained: bool) -> Result<u32, Refusal> {
    let seconds = asked.map_or(Ok(3_600), str::parse).unwrap_or(0);
    if !(least..=43_200).contains(&seconds) {
        return Err(invalid(format!("DurationSeconds must be between {least} and 43200.")));
    }
    if chained && seconds > 3_600 {
        return Err(invalid(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining",
        ));
    }
    Ok(seconds)
}

/// How STS spells what others call by other names.
pub(super) fn spelled(refusal: Refusal) -> Refusal {
    match refusal.code {
        "ExpiredTokenException" => Refusal { status: 403, code: "ExpiredToken", ..refusal },
        "ThrottlingException" => Refusal { code: "Throttling", ..refusal },
        "UnrecognizedClientException" => Refusal { status: 403, code: "InvalidClientTokenId", ..refusal },
        "AccessDeniedException" => Refusal { status: 403, code: "AccessDenied", ..refusal },
        _ => refusal,
    }
}

impl Service {
    /// What CloudTrail calls it.
    pub(super) const fn event_source(self) -> &'static str {
        match self {
            Self::Kms => "kms.amazonaws.com",
            Self::Sts => "sts.amazonaws.com",
            Self::Organizations => "organizations.amazonaws.com",
        }
    }
}
