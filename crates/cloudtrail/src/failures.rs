//! What an error code says about the key: the one place that knows.
//!
//! KMS's codes end in `Exception`, but CloudTrail has written some of them without, so the ending does not matter.

/// What a failed call shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nobody meant to use the key: only permissions were tried.
    DryRun,
    /// Somebody needs the key and cannot have it because of its state, or because there is too much demand.
    Wanted,
    /// Anything else, among them missing permissions.
    Other,
}

/// What this error code says.
pub(crate) fn classify(error_code: &str) -> Failure {
    match error_code.strip_suffix("Exception").unwrap_or(error_code) {
        "DryRunOperation" => Failure::DryRun,
        "Disabled" | "KMSInvalidState" | "KeyUnavailable" | "Throttling" => Failure::Wanted,
        _ => Failure::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_mean_the_same_with_and_without_their_ending() {
        for (code, failure) in [
            ("Disabled", Failure::Wanted),
            ("KMSInvalidState", Failure::Wanted),
            ("KeyUnavailable", Failure::Wanted),
            ("Throttling", Failure::Wanted),
            ("DryRunOperation", Failure::DryRun),
            ("AccessDenied", Failure::Other),
            ("NotFound", Failure::Other),
            ("IncorrectKey", Failure::Other),
        ] {
            assert_eq!(classify(code), failure, "{code}");
            assert_eq!(classify(&format!("{code}Exception")), failure, "{code}Exception");
        }
    }
}
