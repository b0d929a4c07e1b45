//! The operations that are called: their IAM actions and how often.

use dormouse_aws::Budget;
use dormouse_model::Place;

use crate::InventoryOptions;

/// An operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// KMS.
    ListKeys,
    /// KMS.
    ListAliases,
    /// KMS.
    DescribeKey,
    /// KMS.
    ListResourceTags,
    /// KMS.
    ListGrants,
    /// KMS.
    GetKeyRotationStatus,
    /// KMS.
    GetKeyLastUsage,
    /// STS.
    GetCallerIdentity,
    /// Organizations.
    ListAccounts,
    /// Organizations.
    ListAccountsForParent,
    /// Organizations.
    ListOrganizationalUnitsForParent,
    /// Organizations.
    ListTagsForResource,
}

impl Operation {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 12] = [
        Self::ListKeys,
        Self::ListAliases,
        Self::DescribeKey,
        Self::ListResourceTags,
        Self::ListGrants,
        Self::GetKeyRotationStatus,
        Self::GetKeyLastUsage,
        Self::GetCallerIdentity,
        Self::ListAccounts,
        Self::ListAccountsForParent,
        Self::ListOrganizationalUnitsForParent,
        Self::ListTagsForResource,
    ];

    /// The IAM action that allows it.
    pub const fn action(self) -> &'static str {
        match self {
            Self::ListKeys => "kms:ListKeys",
            Self::ListAliases => "kms:ListAliases",
            Self::DescribeKey => "kms:DescribeKey",
            Self::ListResourceTags => "kms:ListResourceTags",
            Self::ListGrants => "kms:ListGrants",
            Self::GetKeyRotationStatus => "kms:GetKeyRotationStatus",
            Self::GetKeyLastUsage => "kms:GetKeyLastUsage",
            Self::GetCallerIdentity => "sts:GetCallerIdentity",
            Self::ListAccounts => "organizations:ListAccounts",
            Self::ListAccountsForParent => "organizations:ListAccountsForParent",
            Self::ListOrganizationalUnitsForParent => "organizations:ListOrganizationalUnitsForParent",
            Self::ListTagsForResource => "organizations:ListTagsForResource",
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        name_of(self.action())
    }

    /// AWS's quota in requests a second, for each account and Region; for Organizations, which tells none, what is
    /// known to work.
    const fn quota(self) -> f64 {
        match self {
            Self::ListKeys | Self::ListAliases => 500.0,
            Self::DescribeKey | Self::ListResourceTags => 2_000.0,
            Self::GetKeyRotationStatus => 1_000.0,
            Self::ListGrants => 100.0,
            Self::GetKeyLastUsage => 5.0,
            Self::GetCallerIdentity
            | Self::ListAccounts
            | Self::ListAccountsForParent
            | Self::ListOrganizationalUnitsForParent
            | Self::ListTagsForResource => 20.0,
        }
    }
}

/// The name of the operation that an IAM action allows.
pub(crate) fn name_of(action: &'static str) -> &'static str {
    action.split_once(':').map_or(action, |(_, name)| name)
}

/// How often each operation may be called, in each place; what belongs to no place has a place of its own.
pub(crate) struct Budgets(Vec<Budget<Option<Place>>>);

impl Budgets {
    pub(crate) fn new(options: &InventoryOptions) -> Self {
        let share = options.share_of_quotas.clamp(0.000_1, 1.0);
        let rate = |operation: Operation| match (operation, &options.usage) {
            (Operation::GetKeyLastUsage, Some(usage)) => usage.per_second.min(operation.quota()),
            _ => operation.quota() * share,
        };
        Self(Operation::ALL.into_iter().map(|operation| Budget::per_second(rate(operation))).collect())
    }

    pub(crate) fn of(&self, operation: Operation) -> &Budget<Option<Place>> {
        &self.0[operation as usize]
    }

    pub(crate) fn forget_idle(&self) {
        for budget in &self.0 {
            budget.forget_idle();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_in_the_order_of_their_numbers() {
        for (place, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, place);
            assert!(operation.action().ends_with(operation.name()));
        }
    }
}
