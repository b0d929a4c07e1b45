//! What happens how often.

use super::catalogue::{ROWS, Sort};

/// Which operations occur how often, and how often something about them is out of the ordinary. Shares are from 0 to 1.
#[derive(Clone, Debug)]
pub struct Mix {
    /// Operations and service events by name, with weights. Names that the generator does not know are passed over.
    pub operations: Vec<(&'static str, u32)>,
    /// Share of calls that fail although the key is enabled, or because a call was aimed at one that is not.
    pub failed: f64,
    /// Share of calls that name a key which does not exist; these fail.
    pub phantom: f64,
    /// Share of uses made from an account that does not own the key: two records when they succeed.
    pub cross_account: f64,
    /// Share of records as they were years ago: no types, no category, at times no resources.
    pub old: f64,
    /// Share of records whose `awsRegion` is not the Region in the key's ARN.
    pub misplaced: f64,
    /// Share of events that are network activity at a VPC endpoint.
    pub network_activity: f64,
    /// Share of events of other services.
    pub other_services: f64,
    /// Share of calls of operations that no table names.
    pub unknown_operations: f64,
}

impl Mix {
    /// Every operation as often as every other, and everything out of the ordinary often enough to meet it within a
    /// few thousand records.
    pub fn everything() -> Self {
        Self {
            operations: ROWS.iter().map(|row| (row.name, 1)).collect(),
            failed: 0.15,
            phantom: 0.03,
            cross_account: 0.1,
            old: 0.08,
            misplaced: 0.02,
            network_activity: 0.02,
            other_services: 0.05,
            unknown_operations: 0.02,
        }
    }

    /// A busy organisation: nearly all records are data keys made and decrypted; hardly anything is amiss.
    pub fn busy() -> Self {
        let weight = |name: &str, sort: Sort| match (name, sort) {
            ("Decrypt", _) => 6_000,
            ("GenerateDataKey", _) => 2_500,
            ("Encrypt", _) => 400,
            ("DescribeKey", _) => 300,
            ("Sign" | "GenerateMac" | "ListKeys" | "ListAliases", _) => 100,
            ("ReEncrypt" | "CreateGrant" | "RetireGrant" | "Verify" | "VerifyMac" | "ListGrants", _) => 50,
            ("GetPublicKey" | "GetKeyPolicy" | "GetKeyRotationStatus" | "ListResourceTags", _) => 40,
            (_, Sort::Use(_)) => 10,
            _ => 0,
        };
        Self {
            operations: ROWS.iter().map(|row| (row.name, weight(row.name, row.sort))).collect(),
            failed: 0.005,
            phantom: 0.0005,
            cross_account: 0.02,
            old: 0.0,
            misplaced: 0.0,
            network_activity: 0.0,
            other_services: 0.0,
            unknown_operations: 0.0,
        }
    }

    /// Only these operations, with weights; nothing out of the ordinary.
    pub fn only(operations: &[(&'static str, u32)]) -> Self {
        Self {
            operations: operations.to_vec(),
            failed: 0.0,
            phantom: 0.0,
            cross_account: 0.0,
            old: 0.0,
            misplaced: 0.0,
            network_activity: 0.0,
            other_services: 0.0,
            unknown_operations: 0.0,
        }
    }

    /// The same with another weight for one operation.
    #[must_use]
    pub fn with_weight(mut self, operation: &'static str, weight: u32) -> Self {
        self.operations.retain(|(name, _)| *name != operation);
        self.operations.push((operation, weight));
        self
    }
}
