//! What became of announced objects, as numbers that can be read at any time.

use dormouse_aws::ErrorClass;

use crate::Count;

/// The counters and gauges of one source's objects. Objects, unless another unit is named.
#[derive(Debug, Default)]
pub struct ObjectStats {
    /// Read to their end, those with damage included.
    pub fetched: Count,
    /// Bytes of objects as they lie there, mostly packed, of those that were read.
    pub packed_bytes: Count,
    /// Bytes of text that they held.
    pub unpacked_bytes: Count,
    /// Announced and no logs: digests and the like. Acknowledged unread.
    pub control: Count,
    /// In a bucket or under a prefix that is not configured.
    pub refused: Count,
    /// Never found.
    pub missing: Count,
    /// Not readable to their end as logs.
    pub damaged: Count,
    /// Bad records within objects.
    pub bad_records: Count,
    /// Messages left to come back because an object stayed out of reach.
    pub left: Count,
    /// Failed tries to read an object, by [`ErrorClass::number`].
    pub errors: [Count; ErrorClass::ALL.len()],
    /// Gauge: being read now.
    pub in_progress: Count,
}
