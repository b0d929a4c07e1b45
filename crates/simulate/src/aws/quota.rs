//! How many requests KMS takes in a second.
//!
//! One bucket per account, Region and operation, that holds a second's worth and fills up by the injected clock.
//! Operations that AWS's list of quotas gives no number here for are not limited.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use dormouse_model::{AccountId, Region};

/// Requests per second in one account and Region.
const QUOTAS: &[(&str, u32)] = &[
    ("ListKeys", 500),
    ("ListAliases", 500),
    ("DescribeKey", 2_000),
    ("ListResourceTags", 2_000),
    ("ListGrants", 100),
    ("GetKeyPolicy", 1_000),
    ("GetKeyRotationStatus", 1_000),
    ("GetKeyLastUsage", 5),
];

/// The quota of an operation, if it has one.
pub(super) fn per_second(operation: &str) -> Option<u32> {
    QUOTAS.iter().find(|(name, _)| *name == operation).map(|&(_, rate)| rate)
}

/// Thousandths of requests that may still be made, as of a moment in milliseconds.
struct Bucket {
    left: i64,
    as_of: i64,
}

#[derive(Default)]
pub(super) struct Quotas {
    buckets: Mutex<HashMap<(AccountId, Region, &'static str), Bucket>>,
}

impl Quotas {
    /// Whether one more request may be made now, which it then is.
    pub(super) fn admit(&self, account: AccountId, region: Region, operation: &str, now: i64) -> bool {
        let Some(&(operation, rate)) = QUOTAS.iter().find(|(name, _)| *name == operation) else {
            return true;
        };
        let full = i64::from(rate) * 1_000;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry((account, region, operation)).or_insert(Bucket { left: full, as_of: now });
        // A request's worth is a thousand, so a millisecond brings as many thousandths as the rate has requests.
        let passed = (now - bucket.as_of).clamp(0, 1_000);
        bucket.left = (bucket.left + passed * i64::from(rate)).min(full);
        bucket.as_of = bucket.as_of.max(now);
        let admitted = bucket.left >= 1_000;
        if admitted {
            bucket.left -= 1_000;
        }
        admitted
    }
}
