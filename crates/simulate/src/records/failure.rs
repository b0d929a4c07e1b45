//! Calls that fail, and what KMS says then.

use dormouse_model::{Kind, LifecycleState};

use super::catalogue::{KeyClass, Row, Sort};

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl Failure {
    /// Whether it shows that somebody still needs the key: the key's own state stood in the way, or throttling.
    pub(crate) fn shows_need(&self) -> bool {
        matches!(self.code, "DisabledException" | "KMSInvalidStateException" | "ThrottlingException")
    }

    pub(crate) fn is_dry_run(&self) -> bool {
        self.code == "DryRunOperationException"
    }

    pub(crate) fn not_found(arn: &str) -> Self {
        Self { code: "NotFoundException", message: format!("Key '{arn}' does not exist") }
    }

    pub(crate) fn denied(random: &mut fastrand::Rng, caller: &str, operation: &str, arn: &str) -> Self {
        let code = if random.bool() { "AccessDenied" } else { "AccessDeniedException" };
        let reason = match random.u8(..3) {
            0 => format!("because no identity-based policy allows the kms:{operation} action"),
            1 => format!("because no resource-based policy allows the kms:{operation} action"),
            _ => "with an explicit deny in a service control policy".to_owned(),
        };
        let message = format!(
            "User: {caller} is not authorized to perform: kms:{operation} on resource: {arn} {reason}"
        );
        Self { code, message }
    }
}

/// What a call says about the keys that it names; `None` if nothing.
pub(crate) fn said_kind(row: &Row, failure: Option<&Failure>) -> Option<Kind> {
    match (row.sort, failure) {
        (_, Some(failure)) if failure.is_dry_run() => None,
        (Sort::Use(_) | Sort::ReEncrypt, None) => Some(Kind::Use),
        (Sort::Use(_) | Sort::ReEncrypt, Some(_)) => Some(Kind::Attempt),
        (Sort::Change | Sort::ServiceEvent, None) => Some(Kind::Change),
        _ => None,
    }
}

/// What a key in this state answers, if it refuses the call.
pub(crate) fn by_state(
    random: &mut fastrand::Rng,
    state: LifecycleState,
    row: &Row,
    arn: &str,
) -> Option<Failure> {
    let changes_a_dying_key = row.sort == Sort::Change && row.name != "CancelKeyDeletion";
    let refused = row.is_use() || (changes_a_dying_key && state == LifecycleState::PendingDeletion);
    let invalid = |message: String| Some(Failure { code: "KMSInvalidStateException", message });
    match state {
        LifecycleState::Deleted => Some(Failure::not_found(arn)),
        LifecycleState::Disabled if refused => {
            Some(Failure { code: "DisabledException", message: format!("{arn} is disabled.") })
        }
        LifecycleState::PendingDeletion if refused && random.u8(..4) == 0 => {
            Some(Failure { code: "DisabledException", message: format!("{arn} is pending deletion.") })
        }
        LifecycleState::PendingDeletion if refused => invalid(format!("{arn} is pending deletion.")),
        _ => None,
    }
}

/// Some failure that has nothing to do with the key's state as the generator knows it.
pub(crate) fn by_chance(
    random: &mut fastrand::Rng,
    row: &Row,
    class: Option<KeyClass>,
    caller: &str,
    arn: &str,
) -> Failure {
    let failure = |code: &'static str, message: &str| Failure { code, message: message.to_owned() };
    let can_be_dry = row.is_use() || matches!(row.name, "CreateGrant" | "RetireGrant" | "RevokeGrant");
    match random.u8(..12) {
        0 if row.is_use() => failure(
            "KMSInternalException",
            "The request was rejected because an internal exception occurred. The request can be retried.",
        ),
        1 if row.is_use() => {
            failure("DependencyTimeoutException", "The system timed out while trying to fulfill the request.")
        }
        2 | 3 if can_be_dry => failure(
            "DryRunOperationException",
            "The request would have succeeded, but the DryRun option is set.",
        ),
        4 if row.is_use() => {
            let usage = class.map_or("ENCRYPT_DECRYPT", |class| class.spec_and_usage().1);
            let message = format!("{arn} key usage is {usage} which is not valid for {}.", row.name);
            Failure { code: "InvalidKeyUsageException", message }
        }
        5 if matches!(row.name, "Decrypt" | "ReEncrypt") => failure(
            "IncorrectKeyException",
            "The key ID in the request does not identify a CMK that can perform this operation.",
        ),
        6 | 7 => failure(
            "ThrottlingException",
            "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls.",
        ),
        8 if row.is_use() => {
            let trouble = ["pending import", "unavailable", "in a custom key store that is not connected"];
            let message = format!("{arn} is {}.", trouble[random.usize(..trouble.len())]);
            Failure { code: "KMSInvalidStateException", message }
        }
        _ => Failure::denied(random, caller, row.name, arn),
    }
}
