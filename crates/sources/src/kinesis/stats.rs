//! What a Kinesis source has done, as numbers that can be read while it runs.

use std::fmt;

use dormouse_aws::ErrorClass;

use crate::Count;

/// The counters and gauges of one Kinesis source.
#[derive(Debug, Default)]
pub struct KinesisStats {
    /// Records that were read, those read again included.
    pub received: Count,
    /// Bytes of these records' data.
    pub received_bytes: Count,
    /// Batches handed over to the intake, those with a position alone included.
    pub submitted: Count,
    /// Records that were acknowledged.
    pub acknowledged: Count,
    /// Records that were left: they could neither be applied nor kept, and are read again.
    pub left: Count,
    /// Answered reads (calls).
    pub reads: Count,
    /// Of these, reads that brought no record.
    pub empty_reads: Count,
    /// Failed calls of any kind, by [`ErrorClass::number`].
    pub errors: [Count; ErrorClass::ALL.len()],
    /// Reads and requests for iterators that were refused for their pace (calls).
    pub throttled: Count,
    /// Iterators that had grown too old; the shard was read on behind what had been handed over.
    pub expired_iterators: Count,
    /// Gauge: shards that are known, finished ones included.
    pub shards_known: Count,
    /// Gauge: shards that still take records.
    pub shards_open: Count,
    /// Gauge: shards that are being read.
    pub shards_reading: Count,
    /// Gauge: shards that were read to their end and are still listed.
    pub shards_finished: Count,
    /// Gauge: how far the slowest shard is behind its stream's newest records, in milliseconds.
    pub behind_millis: Count,
    /// Gauge: batches that were handed over and neither acknowledged nor left.
    pub in_flight: Count,
}

impl fmt::Display for KinesisStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "received={} received_bytes={} submitted={} acknowledged={} left={} reads={} empty_reads={} throttled={} \
             expired_iterators={} shards_known={} shards_open={} shards_reading={} shards_finished={} behind_millis={} \
             in_flight={}",
            self.received.get(),
            self.received_bytes.get(),
            self.submitted.get(),
            self.acknowledged.get(),
            self.left.get(),
            self.reads.get(),
            self.empty_reads.get(),
            self.throttled.get(),
            self.expired_iterators.get(),
            self.shards_known.get(),
            self.shards_open.get(),
            self.shards_reading.get(),
            self.shards_finished.get(),
            self.behind_millis.get(),
            self.in_flight.get(),
        )?;
        for class in ErrorClass::ALL {
            let errors = self.errors[class.number()].get();
            if errors > 0 {
                write!(f, " errors_{}={errors}", class.name())?;
            }
        }
        Ok(())
    }
}
