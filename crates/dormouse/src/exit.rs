//! Exit statuses, and the errors that have one of their own.

use std::fmt;
use std::process::ExitCode;

/// No such key or message, or a name that several keys have.
pub(crate) const NO_SUCH: u8 = 3;
/// Wrong usage or configuration, as in `sysexits.h`.
pub(crate) const USAGE: u8 = 64;

/// What was asked for is not there.
#[derive(Debug)]
pub(crate) struct NoSuch(pub(crate) String);

/// The command cannot be carried out as it was given.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl fmt::Display for NoSuch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoSuch {}

impl std::error::Error for Usage {}

/// The exit status that an error asks for.
pub(crate) fn status_of(error: &anyhow::Error) -> ExitCode {
    if error.is::<NoSuch>() {
        ExitCode::from(NO_SUCH)
    } else if error.is::<Usage>() {
        ExitCode::from(USAGE)
    } else {
        ExitCode::FAILURE
    }
}

/// Whether whoever read the output has read enough: `dormouse keys | head`.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let is_pipe = |kind: Option<std::io::ErrorKind>| kind == Some(std::io::ErrorKind::BrokenPipe);
    error.chain().any(|cause| {
        is_pipe(cause.downcast_ref().map(std::io::Error::kind))
            || is_pipe(cause.downcast_ref().and_then(serde_json::Error::io_error_kind))
            || matches!(cause.downcast_ref().map(csv::Error::kind),
                        Some(csv::ErrorKind::Io(error)) if is_pipe(Some(error.kind())))
    })
}
