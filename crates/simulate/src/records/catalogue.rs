//! Which operations there are and what kind of key each one wants.

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyClass {
    /// `SYMMETRIC_DEFAULT`, encrypts and decrypts.
    Symmetric,
    /// `RSA_3072`, encrypts and decrypts.
    Asymmetric,
    /// `ECC_NIST_P256`, signs and verifies.
    Signing,
    /// `HMAC_256`.
    Mac,
    /// `ECC_NIST_P384`, derives shared secrets.
    Agreement,
    /// `ML_KEM_768`, encapsulates.
    Encapsulation,
}

impl KeyClass {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Symmetric, Self::Asymmetric, Self::Signing, Self::Mac, Self::Agreement, Self::Encapsulation];

    /// The key spec and key usage as KMS names them.
    pub const fn spec_and_usage(self) -> (&'static str, &'static str) {
        match self {
            Self::Symmetric => ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"),
            Self::Asymmetric => ("RSA_3072", "ENCRYPT_DECRYPT"),
            Self::Signing => ("ECC_NIST_P256", "SIGN_VERIFY"),
            Self::Mac => ("HMAC_256", "GENERATE_VERIFY_MAC"),
            Self::Agreement => ("ECC_NIST_P384", "KEY_AGREEMENT"),
            Self::Encapsulation => ("ML_KEM_768", "KEY_ENCAPSULATION"),
        }
    }
}

/// What sort of event an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    /// Uses a key of this class.
    Use(KeyClass),
    /// Uses two.
    ReEncrypt,
    /// Alters a key.
    Change,
    /// Alters a key, by KMS itself.
    ServiceEvent,
    /// Reads about a key.
    Read,
    /// Names no key.
    Keyless,
}

pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) sort: Sort,
}

const fn row(name: &'static str, sort: Sort) -> Row {
    Row { name, sort }
}

pub(crate) const ROWS: &[Row] = &[
    row("Decrypt", Sort::Use(KeyClass::Symmetric)),
    row("Encrypt", Sort::Use(KeyClass::Symmetric)),
    row("GenerateDataKey", Sort::Use(KeyClass::Symmetric)),
    row("GenerateDataKeyPair", Sort::Use(KeyClass::Symmetric)),
    row("GenerateDataKeyPairWithoutPlaintext", Sort::Use(KeyClass::Symmetric)),
    row("GenerateDataKeyWithoutPlaintext", Sort::Use(KeyClass::Symmetric)),
    row("ReEncrypt", Sort::ReEncrypt),
    row("GetPublicKey", Sort::Use(KeyClass::Asymmetric)),
    row("Sign", Sort::Use(KeyClass::Signing)),
    row("Verify", Sort::Use(KeyClass::Signing)),
    row("GenerateMac", Sort::Use(KeyClass::Mac)),
    row("VerifyMac", Sort::Use(KeyClass::Mac)),
    row("DeriveSharedSecret", Sort::Use(KeyClass::Agreement)),
    row("Encapsulate", Sort::Use(KeyClass::Encapsulation)),
    row("Decapsulate", Sort::Use(KeyClass::Encapsulation)),
    row("CancelKeyDeletion", Sort::Change),
    row("CreateAlias", Sort::Change),
    row("CreateGrant", Sort::Change),
    row("CreateKey", Sort::Change),
    row("DeleteAlias", Sort::Change),
    row("DeleteImportedKeyMaterial", Sort::Change),
    row("DisableKey", Sort::Change),
    row("DisableKeyRotation", Sort::Change),
    row("EnableKey", Sort::Change),
    row("EnableKeyRotation", Sort::Change),
    row("ImportKeyMaterial", Sort::Change),
    row("PutKeyPolicy", Sort::Change),
    row("ReplicateKey", Sort::Change),
    row("RetireGrant", Sort::Change),
    row("RevokeGrant", Sort::Change),
    row("RotateKeyOnDemand", Sort::Change),
    row("ScheduleKeyDeletion", Sort::Change),
    row("TagResource", Sort::Change),
    row("UntagResource", Sort::Change),
    row("UpdateAlias", Sort::Change),
    row("UpdateKeyDescription", Sort::Change),
    row("UpdatePrimaryRegion", Sort::Change),
    row("RotateKey", Sort::ServiceEvent),
    row("DeleteKey", Sort::ServiceEvent),
    row("DeleteExpiredKeyMaterial", Sort::ServiceEvent),
    row("SynchronizeMultiRegionKey", Sort::ServiceEvent),
    row("DescribeKey", Sort::Read),
    row("GetKeyLastUsage", Sort::Read),
    row("GetKeyPolicy", Sort::Read),
    row("GetKeyRotationStatus", Sort::Read),
    row("GetParametersForImport", Sort::Read),
    row("ListGrants", Sort::Read),
    row("ListKeyPolicies", Sort::Read),
    row("ListKeyRotations", Sort::Read),
    row("ListResourceTags", Sort::Read),
    row("ConnectCustomKeyStore", Sort::Keyless),
    row("CreateCustomKeyStore", Sort::Keyless),
    row("DeleteCustomKeyStore", Sort::Keyless),
    row("DescribeCustomKeyStores", Sort::Keyless),
    row("DisconnectCustomKeyStore", Sort::Keyless),
    row("UpdateCustomKeyStore", Sort::Keyless),
    row("GenerateRandom", Sort::Keyless),
    row("ListAliases", Sort::Keyless),
    row("ListKeys", Sort::Keyless),
    row("ListRetirableGrants", Sort::Keyless),
];

/// Operations that no published table names, for the day when KMS has a new one.
pub(crate) const UNKNOWN: &[&str] = &["AttestKeyMaterial", "EncryptBatch", "GetKeyInsights"];

pub(crate) fn find(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name == name)
}

impl Row {
    pub(crate) fn is_use(&self) -> bool {
        matches!(self.sort, Sort::Use(_) | Sort::ReEncrypt)
    }

    pub(crate) fn read_only(&self) -> bool {
        match self.sort {
            Sort::Use(_) | Sort::ReEncrypt | Sort::Read => true,
            Sort::Change | Sort::ServiceEvent => false,
            Sort::Keyless => !self.name.contains("CustomKeyStore") || self.name.starts_with("Describe"),
        }
    }
}
