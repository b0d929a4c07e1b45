//! What an error of AWS means, decided in one place.
//!
//! A caller has few choices: try again soon, try again later, ask a person, or give up on one item. [`ErrorClass`] is
//! that choice; [`Failure`] carries it together with what a person needs to read: the action, the error code, AWS's
//! words and the request id that support asks for. AWS's words may quote what a stranger sent, so they are cut, and
//! control characters are taken out.
//!
//! An error code decides where it is known; the HTTP status where it is not. Both may be missing (nothing arrived, or
//! not an answer): then the error is transient, unless it is about our own credentials or request.

use std::error::Error;
use std::fmt;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::{DispatchFailure, SdkError};
use aws_smithy_types::error::display::DisplayErrorContext;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_types::request_id::RequestId;

/// AWS's own words are cut at this many characters.
const MESSAGE_BOUND: usize = 500;

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorClass {
    /// Nobody's fault: timeouts, lost connections, the service's own trouble. Try again soon.
    Transient,
    /// We ask too much. Try again, less often.
    Throttled,
    /// A permission or credentials are missing. It works again once a person has granted them; try again slowly.
    Denied,
    /// This one item can never succeed as it is. Give up on the item, go on with the rest.
    Poison,
    /// What is addressed does not exist or cannot do this. A person must change the configuration; try again slowly.
    Fatal,
}

impl ErrorClass {
    /// All classes, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Transient, Self::Throttled, Self::Denied, Self::Poison, Self::Fatal];

    /// A number from 0 to 4, for tables of counters.
    pub const fn number(self) -> usize {
        match self {
            Self::Transient => 0,
            Self::Throttled => 1,
            Self::Denied => 2,
            Self::Poison => 3,
            Self::Fatal => 4,
        }
    }

    /// The class as a metric label and in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Throttled => "throttled",
            Self::Denied => "denied",
            Self::Poison => "poison",
            Self::Fatal => "fatal",
        }
    }

    /// Whether the same request may succeed soon without anybody doing anything.
    pub const fn is_passing(self) -> bool {
        matches!(self, Self::Transient | Self::Throttled)
    }

    /// The class of an error code, as services put it into answers and into the failed entries of a batch; `None` if
    /// no row names it. Prefixes such as `AWS.SimpleQueueService.` and `com.amazonaws.sqs#` do not matter.
    pub fn of_code(code: &str) -> Option<Self> {
        let bare = code.rsplit(['.', '#']).next().unwrap_or(code);
        let named = CODES.iter().find(|(_, codes)| codes.contains(&bare)).map(|(class, _)| *class);
        match named {
            // The trouble is with the key that encrypts the resource, not with the item that was asked for.
            Some(Self::Poison) | None if code.contains("KMS.") => Some(Self::Fatal),
            other => other,
        }
    }

    /// The class that an HTTP status means where the code says nothing.
    fn of_status(status: u16) -> Self {
        match status {
            401 | 403 => Self::Denied,
            429 => Self::Throttled,
            408 | 500.. => Self::Transient,
            400..=499 => Self::Poison,
            // A success that could not be read: the connection broke in the middle of the answer.
            _ => Self::Transient,
        }
    }
}

/// Error codes without their prefixes, by class.
const CODES: &[(ErrorClass, &[&str])] = &[
    (
        ErrorClass::Transient,
        &[
            "DependencyTimeoutException",
            "ExpiredIteratorException",
            "ExpiredNextTokenException",
            "InternalError",
            "InternalFailure",
            "InternalFailureException",
            "InternalServerError",
            "InternalServerException",
            "KMSInternalException",
            "RequestTimeout",
            "RequestTimeoutException",
            "ResourceInUseException",
            "ServiceUnavailable",
            "ServiceUnavailableException",
        ],
    ),
    (
        ErrorClass::Throttled,
        &[
            "BandwidthLimitExceeded",
            "KMSThrottlingException",
            "LimitExceededException",
            "OverLimit",
            "PriorRequestNotComplete",
            "ProvisionedThroughputExceededException",
            "RequestLimitExceeded",
            "RequestThrottled",
            "RequestThrottledException",
            "SlowDown",
            "ThrottledException",
            "Throttling",
            "ThrottlingException",
            "TooManyRequestsException",
        ],
    ),
    (
        ErrorClass::Denied,
        &[
            "AccessDenied",
            "AccessDeniedException",
            "AccountProblem",
            "AllAccessDisabled",
            "AuthFailure",
            "ExpiredToken",
            "ExpiredTokenException",
            "IncompleteSignature",
            "InvalidAccessKeyId",
            "InvalidClientTokenId",
            "InvalidSecurity",
            "InvalidSignatureException",
            "KMSAccessDeniedException",
            "KMSOptInRequired",
            "InvalidToken",
            "MissingAuthenticationToken",
            "MissingAuthenticationTokenException",
            "NotAuthorized",
            "OptInRequired",
            "RegionDisabledException",
            "RequestExpired",
            "RequestTimeTooSkewed",
            "SignatureDoesNotMatch",
            "UnauthorizedOperation",
            "UnrecognizedClientException",
        ],
    ),
    (
        ErrorClass::Poison,
        &[
            "BatchRequestTooLong",
            "InvalidArgumentException",
            "InvalidArnException",
            "InvalidIdFormat",
            "InvalidMessageContents",
            "InvalidObjectState",
            "InvalidParameterValue",
            "InvalidRange",
            "KeyTooLongError",
            "MessageNotInflight",
            "NoSuchKey",
            "NotFoundException",
            "PreconditionFailed",
            "ReceiptHandleIsInvalid",
            "ValidationError",
            "ValidationException",
        ],
    ),
    (
        ErrorClass::Fatal,
        &[
            "AuthorizationHeaderMalformed",
            "IllegalLocationConstraintException",
            "InvalidAction",
            "InvalidAddress",
            "KMSDisabledException",
            "KMSInvalidStateException",
            "KMSNotFoundException",
            "InvalidBucketName",
            "NoSuchBucket",
            "NonExistentQueue",
            "PermanentRedirect",
            "QueueDeletedRecently",
            "QueueDoesNotExist",
            "ResourceNotFoundException",
            "TemporaryRedirect",
            "UnknownOperationException",
            "UnsupportedOperation",
            "UnsupportedOperationException",
        ],
    ),
];

/// One failed call of AWS: what it means and how it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What to do about it.
    pub class: ErrorClass,
    /// The call, as the IAM action that allows it, e.g. `sqs:ReceiveMessage`.
    pub action: &'static str,
    /// The error code, if an answer had one.
    pub code: Option<String>,
    /// AWS's words, or the SDK's, cut and without control characters.
    pub message: String,
    /// The id that AWS gave the request, if it arrived.
    pub request_id: Option<String>,
}

impl Failure {
    /// What a failed call means. `action` is the IAM action that allows the call.
    pub fn of<E>(action: &'static str, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
        let words = error.as_service_error().and_then(ProvideErrorMetadata::message);
        Self {
            class: classify(error),
            action,
            code: code.map(clean),
            message: words.map_or_else(|| clean(&chain_of(error)), clean),
            request_id: error.request_id().map(clean),
        }
    }

    /// A failed entry of a batch call that succeeded as a whole.
    pub fn of_entry(action: &'static str, code: &str, message: Option<&str>, sender_fault: bool) -> Self {
        let by_fault = if sender_fault { ErrorClass::Poison } else { ErrorClass::Transient };
        Self {
            class: ErrorClass::of_code(code).unwrap_or(by_fault),
            action,
            code: Some(clean(code)),
            message: message.map(clean).unwrap_or_default(),
            request_id: None,
        }
    }

    /// A call that was given up because no answer came in time, or an answer that lacked what it must hold.
    pub fn transient(action: &'static str, message: &str) -> Self {
        Self { class: ErrorClass::Transient, action, code: None, message: clean(message), request_id: None }
    }

    /// Whether the credentials were good once and are expired: new ones help.
    pub fn is_expired(&self) -> bool {
        let bare = self.bare_code();
        bare.starts_with("ExpiredToken") || bare == "RequestExpired"
    }

    /// Whether the service does not know the caller's credentials. Where they are known to be good elsewhere this is how
    /// a Region looks that the account has not enabled.
    pub fn is_unknown_client(&self) -> bool {
        matches!(
            self.bare_code(),
            "UnrecognizedClientException"
                | "InvalidClientTokenId"
                | "InvalidToken"
                | "OptInRequired"
                | "KMSOptInRequired"
                | "RegionDisabledException"
        )
    }

    /// Whether what the request names does not exist.
    pub fn is_not_found(&self) -> bool {
        self.bare_code() == "NotFoundException"
    }

    /// Whether the key's state does not allow it.
    pub fn is_invalid_state(&self) -> bool {
        self.bare_code() == "KMSInvalidStateException"
    }

    /// Whether the service has no such operation, or not for this.
    pub fn is_unsupported(&self) -> bool {
        matches!(
            self.bare_code(),
            "UnknownOperationException"
                | "UnsupportedOperation"
                | "UnsupportedOperationException"
                | "InvalidAction"
        )
    }

    /// The error code without its prefix, or nothing.
    fn bare_code(&self) -> &str {
        let code = self.code.as_deref().unwrap_or("");
        code.rsplit(['.', '#']).next().unwrap_or(code)
    }

    /// The IAM action to grant, if the failure is that one is not: the one that AWS names (it may be another service's,
    /// such as `kms:Decrypt` on an encrypted queue), else the call's own. `None` if credentials are the trouble.
    pub fn missing_permission(&self) -> Option<&str> {
        let code = self.code.as_deref().unwrap_or("");
        let is_missing = code.ends_with("AccessDenied")
            || code.ends_with("AccessDeniedException")
            || code.ends_with("UnauthorizedOperation")
            || code.ends_with("NotAuthorized");
        // Kinesis says which service refused, and not which action it asked for.
        let unnamed = if code.starts_with("KMSAccessDenied") { "kms:Decrypt" } else { self.action };
        is_missing.then(|| action_in(&self.message).unwrap_or(unnamed))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.class, self.missing_permission()) {
            (ErrorClass::Denied, Some(permission)) => {
                write!(f, "{} is denied, {permission} must be granted", self.action)?;
            }
            (ErrorClass::Denied, None) => {
                write!(f, "{} is denied, credentials are missing or wrong", self.action)?;
            }
            _ => write!(f, "{} failed", self.action)?,
        }
        if let Some(code) = &self.code {
            write!(f, ": {code}")?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        if let Some(id) = &self.request_id {
            write!(f, " (request id {id})")?;
        }
        Ok(())
    }
}

impl Error for Failure {}

fn classify<E>(error: &SdkError<E, HttpResponse>) -> ErrorClass
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error {
        // The request could not even be built: a URL or a setting is wrong.
        SdkError::ConstructionFailure(_) => ErrorClass::Fatal,
        SdkError::DispatchFailure(failure) => classify_dispatch(failure),
        SdkError::ResponseError(context) => ErrorClass::of_status(context.raw().status().as_u16()),
        SdkError::ServiceError(context) => context
            .err()
            .code()
            .and_then(ErrorClass::of_code)
            .unwrap_or_else(|| ErrorClass::of_status(context.raw().status().as_u16())),
        // A timeout, and whatever a later SDK adds.
        _ => ErrorClass::Transient,
    }
}

/// The SDK reports missing credentials as a request that could not be sent.
fn classify_dispatch(failure: &DispatchFailure) -> ErrorClass {
    if failure.is_user() {
        return ErrorClass::Fatal;
    }
    let mut cause: Option<&(dyn Error + 'static)> = failure.as_connector_error().map(|error| error as _);
    while let Some(error) = cause {
        if let Some(credentials) = error.downcast_ref::<CredentialsError>() {
            return classify_credentials(credentials);
        }
        cause = error.source();
    }
    ErrorClass::Transient
}

/// An error and what caused it, each in its own words: what a person wants to read when no service answered.
fn chain_of(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    words
}

fn classify_credentials(error: &CredentialsError) -> ErrorClass {
    match error {
        CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_) => {
            ErrorClass::Denied
        }
        // A provider asks STS or SSO, whose error types are not known here: their code is in the text.
        CredentialsError::ProviderError(_) if names_a_denial(&DisplayErrorContext(error).to_string()) => {
            ErrorClass::Denied
        }
        _ => ErrorClass::Transient,
    }
}

fn names_a_denial(text: &str) -> bool {
    ["AccessDenied", "ExpiredToken", "InvalidClientTokenId", "UnauthorizedException"]
        .iter()
        .any(|code| text.contains(code))
}

/// The action in "… is not authorized to perform: ACTION on resource …".
fn action_in(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("to perform: ")?;
    let action = rest.split([' ', ',']).next()?;
    let plausible = action.len() <= 128
        && action.split_once(':').is_some_and(|(service, name)| !service.is_empty() && !name.is_empty())
        && action.bytes().all(|b| b.is_ascii_alphanumeric() || b == b':' || b == b'-');
    plausible.then_some(action)
}

fn clean(text: &str) -> String {
    text.chars().take(MESSAGE_BOUND).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use aws_smithy_runtime_api::client::result::ConnectorError;
    use aws_smithy_runtime_api::http::StatusCode;
    use aws_smithy_types::body::SdkBody;
    use aws_smithy_types::error::ErrorMetadata;

    use super::*;

    type Refusal = SdkError<ErrorMetadata, HttpResponse>;

    fn response(status: u16) -> HttpResponse {
        let mut response = HttpResponse::new(StatusCode::try_from(status).unwrap(), SdkBody::empty());
        response.headers_mut().insert("x-amzn-requestid", "req-1");
        response
    }

    fn refusal(status: u16, code: &str, message: &str) -> Refusal {
        let meta = ErrorMetadata::builder().code(code).message(message).build();
        SdkError::service_error(meta, response(status))
    }

    fn class_of(error: &Refusal) -> ErrorClass {
        Failure::of("sqs:ReceiveMessage", error).class
    }

    #[test]
    fn no_code_has_two_classes() {
        let mut codes: Vec<&str> = CODES.iter().flat_map(|(_, codes)| codes.iter().copied()).collect();
        let all = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), all);
    }

    #[test]
    fn the_code_decides_before_the_status() {
        let cases = [
            (400, "RequestThrottled", ErrorClass::Throttled),
            (403, "OverLimit", ErrorClass::Throttled),
            (400, "KMS.ThrottlingException", ErrorClass::Throttled),
            (400, "KMS.AccessDeniedException", ErrorClass::Denied),
            (400, "KMS.DisabledException", ErrorClass::Fatal),
            (400, "KMS.NotFoundException", ErrorClass::Fatal),
            (400, "NotFoundException", ErrorClass::Poison),
            (400, "AWS.SimpleQueueService.NonExistentQueue", ErrorClass::Fatal),
            (400, "com.amazonaws.sqs#QueueDoesNotExist", ErrorClass::Fatal),
            (400, "AccessDenied", ErrorClass::Denied),
            (403, "InvalidClientTokenId", ErrorClass::Denied),
            (400, "ExpiredTokenException", ErrorClass::Denied),
            (400, "InternalError", ErrorClass::Transient),
            (400, "ProvisionedThroughputExceededException", ErrorClass::Throttled),
            (400, "LimitExceededException", ErrorClass::Throttled),
            (400, "KMSThrottlingException", ErrorClass::Throttled),
            (400, "KMSAccessDeniedException", ErrorClass::Denied),
            (400, "KMSDisabledException", ErrorClass::Fatal),
            (400, "ResourceNotFoundException", ErrorClass::Fatal),
            (400, "ExpiredIteratorException", ErrorClass::Transient),
            (400, "InvalidArgumentException", ErrorClass::Poison),
            (400, "ReceiptHandleIsInvalid", ErrorClass::Poison),
            (403, "SomethingNew", ErrorClass::Denied),
            (429, "SomethingNew", ErrorClass::Throttled),
            (503, "SomethingNew", ErrorClass::Transient),
            (400, "SomethingNew", ErrorClass::Poison),
        ];
        for (status, code, class) in cases {
            assert_eq!(class_of(&refusal(status, code, "")), class, "{status} {code}");
        }
    }

    #[test]
    fn what_never_arrived_or_could_not_be_read_is_transient() {
        assert_eq!(class_of(&Refusal::timeout_error("slow")), ErrorClass::Transient);
        assert_eq!(
            class_of(&Refusal::dispatch_failure(ConnectorError::io("reset".into()))),
            ErrorClass::Transient
        );
        assert_eq!(class_of(&Refusal::response_error("cut", response(200))), ErrorClass::Transient);
        assert_eq!(class_of(&Refusal::response_error("html", response(502))), ErrorClass::Transient);
    }

    #[test]
    fn wrong_settings_and_missing_credentials_are_not() {
        assert_eq!(class_of(&Refusal::construction_failure("no URL")), ErrorClass::Fatal);
        assert_eq!(
            class_of(&Refusal::dispatch_failure(ConnectorError::user("URL".into()))),
            ErrorClass::Fatal
        );
        let other =
            |error: CredentialsError| Refusal::dispatch_failure(ConnectorError::other(error.into(), None));
        assert_eq!(class_of(&other(CredentialsError::not_loaded("none"))), ErrorClass::Denied);
        assert_eq!(
            class_of(&other(CredentialsError::provider_timed_out(Default::default()))),
            ErrorClass::Transient
        );
        let denied = std::io::Error::other("AccessDenied: not authorized to perform: sts:AssumeRole");
        assert_eq!(class_of(&other(CredentialsError::provider_error(denied))), ErrorClass::Denied);
        let down = std::io::Error::other("no route to host");
        assert_eq!(class_of(&other(CredentialsError::provider_error(down))), ErrorClass::Transient);
    }

    #[test]
    fn a_denial_names_the_permission_to_grant() {
        let words = "User: arn:aws:sts::111122223333:assumed-role/dormouse/i-1 is not authorized to perform: \
                     kms:Decrypt on resource: arn:aws:kms:eu-west-1:111122223333:key/k";
        let named = Failure::of("sqs:ReceiveMessage", &refusal(400, "KMS.AccessDeniedException", words));
        assert_eq!(named.missing_permission(), Some("kms:Decrypt"));
        let unnamed = Failure::of("sqs:ReceiveMessage", &refusal(403, "AccessDenied", "no"));
        assert_eq!(
            unnamed.to_string(),
            "sqs:ReceiveMessage is denied, sqs:ReceiveMessage must be granted: AccessDenied: no (request id req-1)"
        );
        let key = Failure::of("kinesis:GetRecords", &refusal(400, "KMSAccessDeniedException", "no"));
        assert_eq!(key.missing_permission(), Some("kms:Decrypt"));
        let expired = Failure::of("sqs:ReceiveMessage", &refusal(403, "ExpiredToken", "old"));
        assert_eq!(expired.missing_permission(), None);
    }

    #[test]
    fn words_from_outside_are_cut_and_tamed() {
        let failure = Failure::of(
            "sqs:ReceiveMessage",
            &refusal(400, "X", &format!("a\nb\u{1b}[{}", "y".repeat(9_000))),
        );
        assert!(failure.message.starts_with("a b ["));
        assert_eq!(failure.message.chars().count(), MESSAGE_BOUND);
        let odd = Failure::of("sqs:ReceiveMessage", &refusal(403, "AccessDenied", "to perform: <b>:x"));
        assert_eq!(odd.missing_permission(), Some("sqs:ReceiveMessage"));
    }

    #[test]
    fn failed_entries_have_a_class_too() {
        let entry = |code, fault| Failure::of_entry("sqs:DeleteMessage", code, None, fault).class;
        assert_eq!(entry("ReceiptHandleIsInvalid", true), ErrorClass::Poison);
        assert_eq!(entry("InternalError", false), ErrorClass::Transient);
        assert_eq!(entry("SomethingNew", true), ErrorClass::Poison);
        assert_eq!(entry("SomethingNew", false), ErrorClass::Transient);
    }
}
