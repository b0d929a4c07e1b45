//! Objects in buckets: the files that a trail writes.
//!
//! An announcement names an object, a backfill lists them; both read them through [`ObjectStore`], so that neither knows
//! whether a bucket, a folder on disk or a test's memory is behind it. Which buckets may be read is decided by whoever
//! asks: nothing here has an opinion.
//!
//! | file | what is there |
//! |---|---|
//! | `s3.rs` | S3, by the SDK: one client a Region, found by following S3's own redirections |
//! | `fetch.rs` | a body on its way: it goes on where a connection broke, as long as the object is the same |
//! | `reader.rs` | the reading end, for threads that may block |
//! | `folder.rs` | a folder on disk, laid out as a bucket is |
//! | `bandwidth.rs` | how many bytes a second are taken, over all objects |
//!
//! What it promises: a reader ends without an error only if the object was read to its end, as one version; of one object
//! a mebibyte is on its way at most. Its ceiling is one connection an object: who wants more reads several at once.

mod bandwidth;
mod fetch;
mod folder;
mod reader;
mod s3;
#[cfg(test)]
mod s3_tests;
mod stats;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use dormouse_aws::{ErrorClass, Failure};

pub use bandwidth::Bandwidth;
pub use folder::FolderObjects;
pub use reader::{Abandon, ObjectReader};
pub use s3::S3Objects;
pub use stats::ObjectStats;

/// Asking whether an object may be read.
pub(crate) const GET: &str = "s3:GetObject";
/// Asking for the keys of a bucket.
pub(crate) const LIST: &str = "s3:ListBucket";

/// A future behind a pointer, so that traits with it can be used behind one, too.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where an object is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    /// The bucket.
    pub bucket: Arc<str>,
    /// The key, as S3's API takes it: not URL-encoded.
    pub key: String,
}

impl ObjectName {
    /// The object of this key in this bucket.
    pub fn new(bucket: impl Into<Arc<str>>, key: impl Into<String>) -> Self {
        Self { bucket: bucket.into(), key: key.into() }
    }
}

/// Keys may hold anything, and this goes to logs: control characters are replaced.
impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tamed = |c: char| if c.is_control() { '\u{fffd}' } else { c };
        write!(f, "s3://{}/", self.bucket)?;
        self.key.chars().map(tamed).try_for_each(|c| fmt::Write::write_char(f, c))
    }
}

/// Somewhere that has objects.
pub trait ObjectStore: Send + Sync + 'static {
    /// Begins to read an object.
    fn open<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<Opened, ObjectFailure>>;

    /// The next keys of a bucket, in the order of their bytes, at most 1,000.
    fn list(&self, request: ListRequest) -> BoxFuture<'_, Result<ListPage, ObjectFailure>>;
}

/// An object that is being read.
#[derive(Debug)]
pub struct Opened {
    /// Bytes of the object, packed as they are, if that was said.
    pub size: Option<u64>,
    /// Its bytes. To be read on a thread that may block.
    pub reader: ObjectReader,
}

/// Which keys to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListRequest {
    /// The bucket.
    pub bucket: String,
    /// What keys begin with; empty for all.
    pub prefix: String,
    /// Only keys behind this one.
    pub start_after: Option<String>,
    /// Where the last page said that this one begins.
    pub token: Option<String>,
    /// Whether keys that have a `/` behind the prefix are told by their folder only.
    pub delimiter: bool,
}

/// A page of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListPage {
    /// The objects.
    pub objects: Vec<ListedObject>,
    /// The folders, each with its closing `/`; none without a delimiter.
    pub prefixes: Vec<String>,
    /// The token of the next page; `None` if this was the last.
    pub next: Option<String>,
}

/// An object in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedObject {
    /// Its key.
    pub key: String,
    /// Bytes of it.
    pub size: u64,
}

/// Why an object or a list could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectFailure {
    /// There is no object of this name, or not yet.
    #[error("{0} does not exist")]
    Missing(ObjectName),
    /// The object became another one while it was being read.
    #[error("{0} was replaced while it was being read")]
    Changed(ObjectName),
    /// A permission or credentials are missing.
    #[error("{failure}{}", grant_in_words(.grant.as_deref()))]
    Denied {
        /// What AWS said.
        failure: Box<Failure>,
        /// What to allow on what, e.g. `s3:GetObject on arn:aws:s3:::bucket/AWSLogs/*`; `None` if credentials are the
        /// trouble.
        grant: Option<String>,
    },
    /// It may work again soon without anybody doing anything.
    #[error("{0}")]
    Transient(Box<Failure>),
    /// There is no such bucket, or it cannot be reached like this: a person must change the configuration.
    #[error("{0}")]
    NotABucket(Box<Failure>),
    /// This object can never be read as it is: it lies in an archive, say.
    #[error("{name} cannot be read: {failure}")]
    Unreadable {
        /// The object or prefix.
        name: ObjectName,
        /// What AWS said.
        failure: Box<Failure>,
    },
    /// The reader was abandoned.
    #[error("reading was given up")]
    Abandoned,
}

fn grant_in_words(grant: Option<&str>) -> String {
    grant.map(|grant| format!("; allow {grant}")).unwrap_or_default()
}

impl ObjectFailure {
    /// What a failed call for this object, or for a list of this prefix, means.
    pub(crate) fn of(name: &ObjectName, failure: Failure) -> Self {
        match (failure.code.as_deref(), failure.class) {
            (Some("NoSuchKey"), _) => Self::Missing(name.clone()),
            (Some("PreconditionFailed"), _) => Self::Changed(name.clone()),
            (_, ErrorClass::Transient | ErrorClass::Throttled) => Self::Transient(Box::new(failure)),
            (_, ErrorClass::Denied) => {
                let grant = failure.missing_permission().map(|permission| grant(permission, name));
                Self::Denied { failure: Box::new(failure), grant }
            }
            (_, ErrorClass::Fatal) => Self::NotABucket(Box::new(failure)),
            (_, ErrorClass::Poison) => Self::Unreadable { name: name.clone(), failure: Box::new(failure) },
        }
    }

    /// What AWS said, if it was asked.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Denied { failure, .. }
            | Self::Transient(failure)
            | Self::NotABucket(failure)
            | Self::Unreadable { failure, .. } => Some(failure),
            Self::Missing(_) | Self::Changed(_) | Self::Abandoned => None,
        }
    }

    /// What to do about it, as for every error of AWS.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Missing(_) => ErrorClass::Poison,
            Self::Changed(_) | Self::Abandoned => ErrorClass::Transient,
            Self::Denied { .. } | Self::Transient(_) | Self::NotABucket(_) | Self::Unreadable { .. } => {
                self.failure().map_or(ErrorClass::Transient, |failure| failure.class)
            }
        }
    }

    pub(crate) fn is_passing(&self) -> bool {
        self.class().is_passing()
    }
}

/// What to allow, on what. A folder of the trail is named rather than the one object, because it is never only one.
fn grant(permission: &str, name: &ObjectName) -> String {
    let bucket = &name.bucket;
    if permission.starts_with("kms:") {
        return format!("{permission} on the key that encrypts the objects of {bucket}");
    }
    if permission == LIST {
        return format!("{permission} on arn:aws:s3:::{bucket}");
    }
    let folder = match name.key.split_once("AWSLogs/") {
        Some((before, _)) => format!("{before}AWSLogs/"),
        None => name.key.rsplit_once('/').map(|(folder, _)| format!("{folder}/")).unwrap_or_default(),
    };
    let folder: String = folder.chars().filter(|c| !c.is_control()).collect();
    format!("{permission} on arn:aws:s3:::{bucket}/{folder}*")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(message: &str) -> String {
        let name = ObjectName::new("trail-logs", "o-1/AWSLogs/111122223333/CloudTrail/eu-west-1/x.json.gz");
        let failure = Failure {
            class: ErrorClass::Denied,
            code: Some("AccessDenied".into()),
            message: message.into(),
            ..Failure::transient(GET, "")
        };
        ObjectFailure::of(&name, failure).to_string()
    }

    #[test]
    fn a_denial_says_what_to_allow_on_what() {
        let silent = denied("Access Denied");
        assert!(
            silent.ends_with("; allow s3:GetObject on arn:aws:s3:::trail-logs/o-1/AWSLogs/*"),
            "{silent}"
        );
        let list = denied("User: u is not authorized to perform: s3:ListBucket on resource: \"x\"");
        assert!(list.ends_with("; allow s3:ListBucket on arn:aws:s3:::trail-logs"), "{list}");
        let key = denied("User: u is not authorized to perform: kms:Decrypt on resource: arn:aws:kms:x");
        assert!(
            key.ends_with("; allow kms:Decrypt on the key that encrypts the objects of trail-logs"),
            "{key}"
        );
    }

    #[test]
    fn a_name_is_safe_to_print() {
        let name = ObjectName::new("b", "a\n\u{1b}[31m/ü.gz");
        assert_eq!(name.to_string(), "s3://b/a\u{fffd}\u{fffd}[31m/ü.gz");
    }
}
