//! How much of a message is taken on trust: nothing.

/// What a [`Decoder`](crate::Decoder) accepts. The defaults are far above what AWS delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that a packed message may unpack to, or all packed messages in an aggregated one together.
    pub max_decompressed: usize,
    /// Bytes of one record, its envelope included.
    pub max_record: usize,
    /// How deep objects and arrays of one record may nest.
    pub max_depth: usize,
    /// How many envelopes may be wrapped around a record. Lists count as envelopes, and so do
    /// aggregated Kinesis records. In life it is at most four: an aggregated record with a batch of CloudWatch Logs, its
    /// list, and the text in it.
    pub max_wraps: usize,
    /// How many seconds ahead of our clock a record may be: clocks differ.
    pub future_tolerance_seconds: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_decompressed: 16 << 20,
            max_record: 16 << 20,
            max_depth: 128,
            max_wraps: 6,
            future_tolerance_seconds: 300,
        }
    }
}
