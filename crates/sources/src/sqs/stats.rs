//! What an SQS source has done, as numbers that can be read while it runs.

use std::fmt;

use dormouse_aws::ErrorClass;

use crate::Count;

/// The counters and gauges of one SQS source. Messages, unless another unit is named.
#[derive(Debug, Default)]
pub struct SqsStats {
    /// Delivered by SQS, redeliveries included.
    pub received: Count,
    /// Handed over to the intake.
    pub submitted: Count,
    /// Came again while an earlier copy was in flight; not handed over again.
    pub redelivered: Count,
    /// Deleted after their acknowledgement.
    pub deleted: Count,
    /// Tries to delete a message that had to be repeated.
    pub delete_retries: Count,
    /// Acknowledged, but SQS no longer knew the receipt handle; they come again if they still exist.
    pub delete_lost: Count,
    /// Left to come back or to go to the redrive policy.
    pub left: Count,
    /// Extensions of a message's visibility timeout.
    pub extended: Count,
    /// In flight without an acknowledgement for so long that they could not be kept any longer.
    pub lapsed: Count,
    /// Made visible again at the end of a drain.
    pub released: Count,
    /// Receives that returned no message (calls).
    pub empty_receives: Count,
    /// Failed receives (calls), by [`ErrorClass::number`].
    pub receive_errors: [Count; ErrorClass::ALL.len()],
    /// Gauge: tasks that receive now.
    pub pollers: Count,
    /// Gauge: received and neither deleted nor left.
    pub in_flight: Count,
    /// Gauge: acknowledged and not yet deleted.
    pub undeleted: Count,
}

impl fmt::Display for SqsStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "received={} submitted={} redelivered={} deleted={} delete_retries={} delete_lost={} left={} extended={} \
             lapsed={} released={} empty_receives={} pollers={} in_flight={} undeleted={}",
            self.received.get(),
            self.submitted.get(),
            self.redelivered.get(),
            self.deleted.get(),
            self.delete_retries.get(),
            self.delete_lost.get(),
            self.left.get(),
            self.extended.get(),
            self.lapsed.get(),
            self.released.get(),
            self.empty_receives.get(),
            self.pollers.get(),
            self.in_flight.get(),
            self.undeleted.get(),
        )?;
        for class in ErrorClass::ALL {
            let errors = self.receive_errors[class.number()].get();
            if errors > 0 {
                write!(f, " receive_errors_{}={errors}", class.name())?;
            }
        }
        Ok(())
    }
}
