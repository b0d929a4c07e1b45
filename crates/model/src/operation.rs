//! What each KMS API operation means for a key: the one place that says so.
//!
//! The rows follow the published sample that counts key usage, KMS's own last-usage tracking and the KMS API reference.
//! Configuration may override whether an operation is a use. An operation that no row names is counted by name and is no
//! use; if it succeeded and its name does not say that it only reads, it holds "unused" back.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

/// A change: what an operation or service event alters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Change {
    /// The key came to be.
    Created,
    /// The key can be used again.
    Enabled,
    /// The key cannot be used until enabled.
    Disabled,
    /// The key is to be deleted after a waiting period.
    DeletionScheduled,
    /// The deletion was called off; the key is then disabled.
    DeletionCancelled,
    /// The key is gone.
    Deleted,
    /// New key material.
    Rotated,
    /// Automatic rotation switched on.
    RotationEnabled,
    /// Automatic rotation switched off.
    RotationDisabled,
    /// The key policy was replaced.
    Policy,
    /// An alias was made for the key or moved to it.
    AliasSet,
    /// An alias was deleted.
    AliasDeleted,
    /// Tags were set.
    Tagged,
    /// Tags were removed.
    Untagged,
    /// A grant was made, retired or revoked.
    Grant,
    /// Key material was imported.
    MaterialImported,
    /// Imported key material was deleted or expired.
    MaterialDeleted,
    /// A replica was made or multi-Region properties were synchronised.
    Replica,
    /// Another Region's key became the primary.
    PrimaryRegion,
    /// The description was replaced.
    Description,
}

/// What an operation means for the key it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A successful call is a use.
    InUse,
    /// A successful call is a change.
    Change(Change),
    /// Neither.
    NotInUse,
}

/// Why an override of the operations table was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OverrideError {
    /// Changes stay changes.
    #[error("{0} changes a key and cannot be declared a use")]
    IsAChange(String),
    /// No KMS operation has such a name.
    #[error("{0:?} is no operation name: letters and digits, beginning with a capital, at most 128")]
    NotAName(String),
}

const IN_USE: &[&str] = &[
    "Decapsulate",
    "Decrypt",
    "DeriveSharedSecret",
    "Encapsulate",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
    "GenerateDataKeyWithoutPlaintext",
    "GenerateMac",
    "GetPublicKey",
    "ReEncrypt",
    "Sign",
    "Verify",
    "VerifyMac",
];

const CHANGES: &[(&str, Change)] = &[
    ("CancelKeyDeletion", Change::DeletionCancelled),
    ("CreateAlias", Change::AliasSet),
    ("CreateGrant", Change::Grant),
    ("CreateKey", Change::Created),
    ("DeleteAlias", Change::AliasDeleted),
    ("DeleteExpiredKeyMaterial", Change::MaterialDeleted),
    ("DeleteImportedKeyMaterial", Change::MaterialDeleted),
    ("DeleteKey", Change::Deleted),
    ("DisableKey", Change::Disabled),
    ("DisableKeyRotation", Change::RotationDisabled),
    ("EnableKey", Change::Enabled),
    ("EnableKeyRotation", Change::RotationEnabled),
    ("ImportKeyMaterial", Change::MaterialImported),
    ("PutKeyPolicy", Change::Policy),
    ("ReplicateKey", Change::Replica),
    ("RetireGrant", Change::Grant),
    ("RevokeGrant", Change::Grant),
    ("RotateKey", Change::Rotated),
    ("RotateKeyOnDemand", Change::Rotated),
    ("ScheduleKeyDeletion", Change::DeletionScheduled),
    ("SynchronizeMultiRegionKey", Change::Replica),
    ("TagResource", Change::Tagged),
    ("UntagResource", Change::Untagged),
    ("UpdateAlias", Change::AliasSet),
    ("UpdateKeyDescription", Change::Description),
    ("UpdatePrimaryRegion", Change::PrimaryRegion),
];

const NEITHER: &[&str] = &[
    "ConnectCustomKeyStore",
    "CreateCustomKeyStore",
    "DeleteCustomKeyStore",
    "DescribeCustomKeyStores",
    "DescribeKey",
    "DisconnectCustomKeyStore",
    "GenerateRandom",
    "GetKeyLastUsage",
    "GetKeyPolicy",
    "GetKeyRotationStatus",
    "GetParametersForImport",
    "ListAliases",
    "ListGrants",
    "ListKeyPolicies",
    "ListKeyRotations",
    "ListKeys",
    "ListResourceTags",
    "ListRetirableGrants",
    "UpdateCustomKeyStore",
];

/// The operations table: the default rows and what configuration overrides.
#[derive(Clone, Debug)]
pub struct OperationTable {
    rows: HashMap<Box<str>, Meaning, RandomState>,
}

impl Default for OperationTable {
    fn default() -> Self {
        let mut rows = HashMap::default();
        rows.extend(IN_USE.iter().map(|&name| (name.into(), Meaning::InUse)));
        rows.extend(CHANGES.iter().map(|&(name, change)| (name.into(), Meaning::Change(change))));
        rows.extend(NEITHER.iter().map(|&name| (name.into(), Meaning::NotInUse)));
        Self { rows }
    }
}

impl OperationTable {
    /// What the operation means; `None` if no row names it.
    pub fn meaning(&self, operation: &str) -> Option<Meaning> {
        self.rows.get(operation).copied()
    }

    /// Declares that a successful call of `operation` is a use, or that it is none.
    pub fn override_in_use(&mut self, operation: &str, in_use: bool) -> Result<(), OverrideError> {
        let is_a_name = (1..=128).contains(&operation.len())
            && operation.starts_with(|c: char| c.is_ascii_uppercase())
            && operation.bytes().all(|b| b.is_ascii_alphanumeric());
        if !is_a_name {
            return Err(OverrideError::NotAName(operation.to_owned()));
        }
        match self.meaning(operation) {
            Some(Meaning::Change(_)) if in_use => return Err(OverrideError::IsAChange(operation.to_owned())),
            Some(Meaning::Change(_)) => return Ok(()),
            _ => {}
        }
        let meaning = if in_use { Meaning::InUse } else { Meaning::NotInUse };
        self.rows.insert(operation.into(), meaning);
        Ok(())
    }

    /// The names of all operations whose successful call is a use, sorted.
    pub fn in_use_names(&self) -> Vec<&str> {
        let in_use = self.rows.iter().filter(|(_, meaning)| **meaning == Meaning::InUse);
        let mut names: Vec<&str> = in_use.map(|(name, _)| &**name).collect();
        names.sort_unstable();
        names
    }
}

/// Whether an operation's name says that it only reads about keys, so that not knowing it holds nothing back.
pub fn is_read_only_name(operation: &str) -> bool {
    ["Get", "List", "Describe"].iter().any(|prefix| operation.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_one_row() {
        assert_eq!(OperationTable::default().rows.len(), IN_USE.len() + CHANGES.len() + NEITHER.len());
    }

    #[test]
    fn overrides_move_an_operation_but_never_a_change() {
        let mut table = OperationTable::default();
        table.override_in_use("GetPublicKey", false).unwrap();
        table.override_in_use("Transmogrify", true).unwrap();
        assert_eq!(table.meaning("GetPublicKey"), Some(Meaning::NotInUse));
        assert_eq!(table.meaning("Transmogrify"), Some(Meaning::InUse));
        assert_eq!(
            table.override_in_use("DisableKey", true),
            Err(OverrideError::IsAChange("DisableKey".into()))
        );
        assert_eq!(table.override_in_use("DisableKey", false), Ok(()));
        assert_eq!(table.meaning("DisableKey"), Some(Meaning::Change(Change::Disabled)));
        assert!(table.override_in_use("Bad Name", true).is_err());
    }
}
