//! What can be configured about an SQS source.

use std::sync::Arc;
use std::time::Duration;

use dormouse_model::Region;

use crate::SourceError;

/// SQS holds a message for one consumer at most this long.
pub(crate) const LONGEST_VISIBILITY: Duration = Duration::from_hours(12);
const LONGEST_WAIT: Duration = Duration::from_secs(20);
const MOST_POLLERS: usize = 256;

/// An SQS source's configuration. Durations are used in whole seconds, as SQS has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqsOptions {
    /// The source's name in logs, metrics and positions.
    pub name: Arc<str>,
    /// The queue's URL, e.g. `https://sqs.eu-west-1.amazonaws.com/111122223333/dormouse`.
    pub queue_url: String,
    /// How many tasks receive at the same time at most (1 to 256).
    pub max_pollers: usize,
    /// How long a receive waits for a first message (0 to 20 s).
    pub wait_time: Duration,
    /// For how long SQS keeps a received message from other consumers before the source must ask for more time (1 s to
    /// 12 h, and longer than `wait_time`). After a crash, messages come back this much later.
    pub visibility_timeout: Duration,
}

impl SqsOptions {
    /// The defaults: up to 32 pollers, long polls of 20 s, a visibility timeout of 60 s.
    pub fn new(name: impl Into<Arc<str>>, queue_url: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            queue_url: queue_url.into(),
            max_pollers: 32,
            wait_time: LONGEST_WAIT,
            visibility_timeout: Duration::from_secs(60),
        }
    }

    /// Whether the values can work.
    ///
    /// # Errors
    /// [`SourceError::Options`] for the first value that cannot.
    pub fn validate(&self) -> Result<(), SourceError> {
        let is_url = self.host().is_some_and(|host| !host.is_empty());
        let whole_seconds = self.wait_time.subsec_nanos() == 0 && self.visibility_timeout.subsec_nanos() == 0;
        let visibility_fits =
            (Duration::from_secs(1)..=LONGEST_VISIBILITY).contains(&self.visibility_timeout);
        let reason = if !is_url {
            format!("queue_url {:?} is no http:// or https:// URL", self.queue_url)
        } else if !(1..=MOST_POLLERS).contains(&self.max_pollers) {
            format!("max_pollers must be 1 to {MOST_POLLERS}")
        } else if !whole_seconds {
            "wait_time and visibility_timeout must be whole seconds".to_owned()
        } else if self.wait_time > LONGEST_WAIT {
            "wait_time must be at most 20 s".to_owned()
        } else if !visibility_fits || self.visibility_timeout <= self.wait_time {
            "visibility_timeout must be longer than wait_time, and at most 12 h".to_owned()
        } else {
            return Ok(());
        };
        Err(SourceError::Options { name: Arc::clone(&self.name), reason })
    }

    /// The Region that the queue's URL names, if it does. Requests go to the client's Region, not to the URL's host, so
    /// a client for another Region finds no such queue.
    pub fn region(&self) -> Option<Region> {
        let host = self.host()?;
        if host == "queue.amazonaws.com" {
            return "us-east-1".parse().ok();
        }
        let is_aws =
            [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"].iter().any(|end| host.ends_with(end));
        host.split('.').find_map(|label| label.parse().ok()).filter(|_| is_aws)
    }

    fn host(&self) -> Option<&str> {
        let rest =
            self.queue_url.strip_prefix("https://").or_else(|| self.queue_url.strip_prefix("http://"))?;
        rest.split(['/', ':']).next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_url(url: &str) -> SqsOptions {
        SqsOptions::new("bus", url)
    }

    #[test]
    fn the_region_is_read_from_every_form_of_url() {
        let region = |url: &str| with_url(url).region().map(|region| region.to_string());
        let ireland = Some("eu-west-1".to_owned());
        assert_eq!(region("https://sqs.eu-west-1.amazonaws.com/111122223333/q"), ireland);
        assert_eq!(region("https://eu-west-1.queue.amazonaws.com/111122223333/q"), ireland);
        assert_eq!(region("https://sqs.eu-west-1.api.aws/111122223333/q"), ireland);
        assert_eq!(region("https://vpce-0a1.sqs.eu-west-1.vpce.amazonaws.com/111122223333/q"), ireland);
        assert_eq!(region("https://queue.amazonaws.com/111122223333/q"), Some("us-east-1".to_owned()));
        assert_eq!(
            region("https://sqs.cn-north-1.amazonaws.com.cn/111122223333/q"),
            Some("cn-north-1".to_owned())
        );
        assert_eq!(region("http://127.0.0.1:4566/111122223333/q"), None);
    }

    #[test]
    fn the_defaults_are_valid() {
        with_url("https://sqs.eu-west-1.amazonaws.com/111122223333/q").validate().unwrap();
    }

    #[test]
    fn what_cannot_work_is_refused_with_a_reason() {
        let url = "http://127.0.0.1:4566/111122223333/q";
        let seconds = Duration::from_secs;
        let cases: [(&str, SqsOptions); 7] = [
            ("queue_url", with_url("dormouse-queue")),
            ("queue_url", with_url("https:///q")),
            ("max_pollers", SqsOptions { max_pollers: 0, ..with_url(url) }),
            ("whole", SqsOptions { wait_time: Duration::from_millis(1), ..with_url(url) }),
            ("wait_time", SqsOptions { wait_time: seconds(21), ..with_url(url) }),
            ("visibility", SqsOptions { visibility_timeout: seconds(20), ..with_url(url) }),
            ("visibility", SqsOptions { visibility_timeout: seconds(43_201), ..with_url(url) }),
        ];
        for (word, options) in cases {
            let text = options.validate().unwrap_err().to_string();
            assert!(text.starts_with("source bus: ") && text.contains(word), "{text}");
        }
    }
}
