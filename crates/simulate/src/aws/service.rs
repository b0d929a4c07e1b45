//! Requests in, answers out: who calls what, and what stands in the way.

use std::sync::{Arc, PoisonError};

use dormouse_model::{AccountId, EventTime, Region};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use serde_json::{Value, json};

use super::faults::{AwsError, Mishap};
use super::sts::{self, Session};
use super::{Core, RequestKind, Service};
use crate::faults;
use crate::organisation::log::{Ids, OtherCall};
use crate::organisation::state::Caller;
use crate::records::catalogue;
use crate::records::failure::Failure;
use crate::records::principals::Principal;
use crate::uuid::Uuid;
use crate::wire::{self, Answer};

/// An error answer.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }
}

impl From<Failure> for Refusal {
    fn from(Failure { code, message }: Failure) -> Self {
        let status =
            if matches!(code, "KMSInternalException" | "DependencyTimeoutException") { 500 } else { 400 };
        Self { status, code, message }
    }
}

/// Who makes a request, and when.
pub(super) struct Calling {
    pub(super) caller: Caller,
    pub(super) session: Option<Session>,
    pub(super) now: EventTime,
}

/// What a signature says.
struct Signed {
    account: AccountId,
    region: Region,
    session: Option<Session>,
}

/// What a request asks for.
enum Asked {
    /// A service that speaks JSON.
    Json(Service, String),
    /// STS.
    Form(std::collections::HashMap<String, String>),
}

impl Asked {
    fn service(&self) -> Service {
        match self {
            Self::Json(service, _) => *service,
            Self::Form(_) => Service::Sts,
        }
    }

    fn operation(&self) -> &str {
        match self {
            Self::Json(_, operation) => operation,
            Self::Form(form) => form.get("Action").map_or("", String::as_str),
        }
    }
}

/// How a request ends: the body, and the request id that a record knows it by.
type Ended = (Option<u128>, Result<Vec<u8>, Refusal>);

impl wire::Service for Core {
    async fn answer(&self, request: Request<Bytes>) -> Answer {
        let target = header(request.headers(), "x-amz-target").to_owned();
        if target.starts_with("AmazonSQS.")
            && let Some(sqs) = &self.sqs
        {
            return sqs.answer(request).await;
        }
        let asked = match target.split_once('.') {
            Some(("TrentService", operation)) => Asked::Json(Service::Kms, operation.to_owned()),
            Some(("AWSOrganizationsV20161128", operation)) => {
                Asked::Json(Service::Organizations, operation.to_owned())
            }
            _ => Asked::Form(sts::form(request.body())),
        };
        self.serve(&asked, &request).await
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
}

/// Access key and Region of a signature's scope.
fn scope(headers: &HeaderMap) -> Option<(&str, Region)> {
    let authorization = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let credential = authorization.split_once("Credential=")?.1.split([',', ' ']).next()?;
    let mut parts = credential.split('/');
    let access_key = parts.next()?;
    let region = parts.nth(1)?.parse().ok()?;
    Some((access_key, region))
}

impl Core {
    async fn serve(&self, asked: &Asked, request: &Request<Bytes>) -> Answer {
        let (service, operation) = (asked.service(), asked.operation());
        let Some(signed) = self.signed(request.headers()) else {
            let refusal =
                Refusal::new(400, "MissingAuthenticationTokenException", "Missing Authentication Token");
            return self.finish(service, operation, (None, Err(refusal)));
        };
        let (account, region) = (signed.account, signed.region);
        let kind = RequestKind { service, operation: operation.to_owned(), account, region };
        self.traffic.arrive(kind, self.milliseconds());
        let calling = match self.calling(service, signed, request.headers()) {
            Ok(calling) => calling,
            Err(refusal) => return self.finish(service, operation, (None, Err(refusal))),
        };

        let roll = self.faults.roll(service, operation, account, region);
        if !roll.latency.is_zero() {
            tokio::time::sleep(roll.latency).await;
        }
        let ended = match roll.mishap {
            Some(Mishap::Common(faults::Mishap::Dropped)) => return Answer::HangUp,
            // Ends with the connection: the client gives up, or the double is stopped.
            Some(Mishap::Hung) => return std::future::pending().await,
            Some(mishap) => self.suffer(mishap, asked, &calling, request.body()),
            None => self.perform(asked, &calling, request.body()),
        };
        if roll.answer_lost {
            return Answer::HangUp;
        }
        self.finish(service, operation, ended)
    }

    fn milliseconds(&self) -> i64 {
        self.organisation.options().clock.now().as_millisecond()
    }

    /// Whose signature it is, by the access key.
    fn signed(&self, headers: &HeaderMap) -> Option<Signed> {
        let (access_key, region) = scope(headers)?;
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let session = sessions.by_access_key.get(access_key).cloned();
        drop(sessions);
        let account = match &session {
            Some(session) => session.account,
            None => access_key.parse().unwrap_or_else(|_| self.organisation.management_account()),
        };
        Some(Signed { account, region, session })
    }

    /// Who calls, if the signature is good for anything here and now.
    fn calling(&self, service: Service, signed: Signed, headers: &HeaderMap) -> Result<Calling, Refusal> {
        let now = self.organisation.options().clock.now_seconds();
        let Signed { account, region, session } = signed;
        let invalid = || {
            let message = "The security token included in the request is invalid.";
            Refusal::new(400, "UnrecognizedClientException", message)
        };
        // Organizations lives in one Region that everybody has.
        if service != Service::Organizations && !self.has_region(account, region) {
            return Err(invalid());
        }
        if session.as_ref().is_some_and(|session| session.expires <= now) {
            let message = "The security token included in the request is expired";
            return Err(Refusal::new(400, "ExpiredTokenException", message));
        }
        let inner = self.organisation.lock();
        let member = inner.state.member(account).filter(|member| member.is_active());
        let operator = member.and_then(|member| member.operators.first().cloned()).ok_or_else(invalid)?;
        drop(inner);
        let principal = session.as_ref().map_or(operator, |session| session.principal.clone());
        let user_agent = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or("-");
        let principal = Principal {
            user_agent: user_agent.to_owned().into(),
            source_ip: "127.0.0.1".into(),
            ..(*principal).clone()
        };
        let caller = Caller { account, region, principal: Arc::new(principal) };
        Ok(Calling { caller, session, now })
    }

    /// Ends a request as the fault says. What the service saw of it is logged.
    fn suffer(&self, mishap: Mishap, asked: &Asked, calling: &Calling, body: &[u8]) -> Ended {
        let (service, operation) = (asked.service(), asked.operation());
        let refusal = match mishap {
            Mishap::Common(faults::Mishap::InternalError) => {
                let code = if service == Service::Kms { "KMSInternalException" } else { "InternalFailure" };
                return (None, Err(Refusal::new(500, code, "The request can be retried.")));
            }
            Mishap::Common(faults::Mishap::Unavailable | faults::Mishap::Dropped) | Mishap::Hung => {
                let message = "The service is unavailable. Please try again later.";
                return (None, Err(Refusal::new(503, "ServiceUnavailableException", message)));
            }
            Mishap::Common(faults::Mishap::Throttled) => throttled(service),
            Mishap::Error(AwsError { status, code, message }) => {
                let refusal = Refusal::new(status, code, message);
                let id = if status < 500 { self.log_refusal(asked, calling, body, &refusal) } else { None };
                return (id, Err(refusal));
            }
            Mishap::AccessDenied => {
                let prefix = service.event_source().split('.').next().unwrap_or_default();
                let message = format!(
                    "User: {} is not authorized to perform: {prefix}:{operation} because no identity-based policy \
                     allows the {prefix}:{operation} action",
                    calling.caller.principal.arn
                );
                Refusal::new(400, "AccessDeniedException", message)
            }
        };
        let refusal = if service == Service::Sts { sts::spelled(refusal) } else { refusal };
        (self.log_refusal(asked, calling, body, &refusal), Err(refusal))
    }

    fn log_refusal(&self, asked: &Asked, calling: &Calling, body: &[u8], refusal: &Refusal) -> Option<u128> {
        let failure = Failure { code: refusal.code, message: refusal.message.clone() };
        match asked {
            Asked::Json(Service::Kms, operation) => {
                let row = catalogue::find(operation)?;
                let request: Value = serde_json::from_slice(body).unwrap_or_default();
                let mut inner = self.organisation.lock();
                Some(inner.refuse(row, &request, &calling.caller, calling.now, failure))
            }
            Asked::Json(_, operation) => {
                let request = serde_json::from_slice(body).unwrap_or_default();
                self.log_other(asked.service(), operation, request, calling, Some(&failure))
            }
            Asked::Form(form) => {
                self.log_other(Service::Sts, asked.operation(), sts::logged(form), calling, Some(&failure))
            }
        }
    }

    fn perform(&self, asked: &Asked, calling: &Calling, body: &[u8]) -> Ended {
        match asked {
            Asked::Json(service, operation) => match serde_json::from_slice::<Value>(body) {
                Ok(request) if request.is_object() && *service == Service::Kms => {
                    self.kms(asked, operation, &request, calling, body)
                }
                Ok(request) if request.is_object() => {
                    let result = self.organizations(calling, operation, &request);
                    let failure = failure_of(&result);
                    let id = self.log_other(*service, operation, request, calling, failure.as_ref());
                    (id, result.map(|answer| answer.to_string().into_bytes()))
                }
                _ => {
                    (None, Err(Refusal::new(400, "SerializationException", "The request is no JSON object.")))
                }
            },
            Asked::Form(form) => {
                let action = asked.operation();
                let result = self.sts(calling, action, form);
                let failure = failure_of(&result);
                let id = self.log_other(Service::Sts, action, sts::logged(form), calling, failure.as_ref());
                (id, result.map(String::into_bytes))
            }
        }
    }

    fn kms(&self, asked: &Asked, operation: &str, request: &Value, calling: &Calling, body: &[u8]) -> Ended {
        let Some(row) = catalogue::find(operation) else {
            return (None, Err(Refusal::new(400, "UnknownOperationException", "")));
        };
        let Caller { account, region, .. } = calling.caller;
        if operation == "GetKeyLastUsage" && self.regions().without_last_usage.contains(&region) {
            return (None, Err(Refusal::new(400, "UnknownOperationException", "")));
        }
        if !self.options.unlimited && !self.quotas.admit(account, region, operation, self.milliseconds()) {
            let operation = operation.to_owned();
            self.traffic.throttle(RequestKind { service: Service::Kms, operation, account, region });
            let refusal = throttled(Service::Kms);
            return (self.log_refusal(asked, calling, body, &refusal), Err(refusal));
        }
        let (id, outcome) = self.organisation.lock().call(row, request, &calling.caller, calling.now);
        let result = outcome.map(|answer| answer.to_string().into_bytes());
        (Some(id), result.map_err(|refused| refused.failure.into()))
    }

    /// Logs a call of another service than KMS, if CloudTrail knows its operation.
    fn log_other(
        &self,
        service: Service,
        operation: &str,
        request: Value,
        calling: &Calling,
        failure: Option<&Failure>,
    ) -> Option<u128> {
        const KNOWN: &[&str] = &[
            "AssumeRole",
            "GetCallerIdentity",
            "ListAccounts",
            "DescribeAccount",
            "DescribeOrganization",
            "ListRoots",
            "ListOrganizationalUnitsForParent",
            "ListAccountsForParent",
            "ListParents",
            "ListTagsForResource",
        ];
        let operation = KNOWN.iter().find(|known| **known == operation)?;
        let mut inner = self.organisation.lock();
        inner.catch_up(calling.now);
        let ids = Ids::roll(&mut inner.random);
        let time = inner.state.now.max(calling.now);
        let caller = &calling.caller;
        let source = service.event_source();
        inner.state.log_other(&OtherCall { source, operation, request, caller, time, failure }, ids);
        Some(ids.request)
    }

    fn finish(&self, service: Service, operation: &str, (id, result): Ended) -> Answer {
        let id = id.unwrap_or_else(|| self.organisation.lock().random.u128(..));
        let id = Uuid::from_random(id).to_string();
        let result = if service == Service::Sts { result.map_err(sts::spelled) } else { result };
        let status = result.as_ref().map_or_else(|refusal| refusal.status, |_| 200);
        let body = match (service, result) {
            (Service::Sts, Ok(fields)) => sts::answer(operation, &String::from_utf8_lossy(&fields), &id),
            (Service::Sts, Err(refusal)) => sts::error(&refusal, &id),
            (_, Ok(body)) => body,
            (_, Err(Refusal { code, message, .. })) => {
                json!({ "__type": code, "message": message }).to_string().into_bytes()
            }
        };
        let content_type = if service == Service::Sts { "text/xml" } else { "application/x-amz-json-1.1" };
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Ok(id) = HeaderValue::from_str(&id) {
            headers.insert("x-amzn-requestid", id);
        }
        Answer::Reply(response)
    }
}

fn failure_of<T>(result: &Result<T, Refusal>) -> Option<Failure> {
    let refusal = result.as_ref().err()?;
    Some(Failure { code: refusal.code, message: refusal.message.clone() })
}

fn throttled(service: Service) -> Refusal {
    let (code, message) = match service {
        Service::Organizations => {
            ("TooManyRequestsException", "You have sent too many requests in too short a period of time.")
        }
        _ => (
            "ThrottlingException",
            "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls.",
        ),
    };
    Refusal::new(400, code, message)
}
