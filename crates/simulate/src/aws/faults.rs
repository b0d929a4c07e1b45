//! What can go wrong between a client and KMS, STS or Organizations, on request.

use std::ops::RangeInclusive;
use std::time::Duration;

use dormouse_model::{AccountId, Region};

use super::Service;
use crate::faults::{self, Switchboard, Trouble, Troublesome};

/// What goes wrong with the requests of one operation. Chances are from 0 (never) to 1 (always).
///
/// The default does no harm, so a fault is written as the difference:
/// `AwsFault { throttled: 0.2, ..AwsFault::default() }`.
#[derive(Clone, Debug)]
pub struct AwsFault {
    /// Only requests of these accounts meet it; empty: those of all.
    pub accounts: Vec<AccountId>,
    /// Only requests signed for these Regions meet it; empty: those for all.
    pub regions: Vec<Region>,
    /// How long the answer is held back before the request is looked at.
    pub latency: RangeInclusive<Duration>,
    /// Chance of the service's throttling error (HTTP 400).
    pub throttled: f64,
    /// Chance of an internal error (HTTP 500); nothing was done.
    pub internal_error: f64,
    /// Chance of a `ServiceUnavailable` (HTTP 503); nothing was done.
    pub unavailable: f64,
    /// Chance that the connection is closed without an answer, and nothing was done.
    pub dropped: f64,
    /// Chance that the request is carried out and the connection closed without an answer.
    pub answer_lost: f64,
    /// Every request is refused for want of permissions.
    pub access_denied: bool,
    /// Every request is refused with this error.
    pub error: Option<AwsError>,
    /// No request is answered or carried out: the connection stays open until the client gives up or the double stops.
    /// (`latency` delays an answer, by tokio's clock.)
    pub hang: bool,
    /// So many requests that it concerns go well before it begins, so that a list can break off half-way. They do not
    /// count as `requests`.
    pub after: u64,
    /// After so many requests that it concerned the fault is over. `None`: until it is cleared.
    pub requests: Option<u64>,
}

/// An error answer of a test's choice. The clients of the SDK know it by its code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsError {
    /// The HTTP status; 400 for most. From 500 on the service is taken not to have seen the request, and CloudTrail has
    /// no record of it.
    pub status: u16,
    /// E.g. `KMSInvalidStateException`.
    pub code: &'static str,
    /// What is said about it.
    pub message: String,
}

impl Default for AwsFault {
    fn default() -> Self {
        Self {
            accounts: Vec::new(),
            regions: Vec::new(),
            latency: Duration::ZERO..=Duration::ZERO,
            throttled: 0.0,
            internal_error: 0.0,
            unavailable: 0.0,
            dropped: 0.0,
            answer_lost: 0.0,
            access_denied: false,
            error: None,
            hang: false,
            after: 0,
            requests: None,
        }
    }
}

impl Troublesome for AwsFault {
    fn trouble(&self) -> Trouble<'_> {
        Trouble {
            latency: &self.latency,
            throttled: self.throttled,
            internal_error: self.internal_error,
            unavailable: self.unavailable,
            dropped: self.dropped,
            answer_lost: self.answer_lost,
        }
    }

    fn requests_left(&mut self) -> &mut Option<u64> {
        &mut self.requests
    }

    fn requests_spared(&mut self) -> u64 {
        self.after
    }

    fn spare(&mut self) {
        self.after = self.after.saturating_sub(1);
    }
}

impl AwsFault {
    /// Whether it ends every request that it concerns in one way.
    fn certain(&self) -> Option<Mishap> {
        if self.hang {
            Some(Mishap::Hung)
        } else if let Some(error) = &self.error {
            Some(Mishap::Error(error.clone()))
        } else {
            self.access_denied.then_some(Mishap::AccessDenied)
        }
    }
}

/// The switchboard of the faults. Clones share it.
#[derive(Clone)]
pub struct AwsFaults {
    board: Switchboard<(Service, Option<String>), AwsFault>,
}

/// How a request that does not go well ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mishap {
    AccessDenied,
    Error(AwsError),
    Hung,
    Common(faults::Mishap),
}

#[derive(Default)]
pub(super) struct Roll {
    pub(super) latency: Duration,
    pub(super) mishap: Option<Mishap>,
    pub(super) answer_lost: bool,
}

impl AwsFaults {
    pub(super) fn new(seed: u64) -> Self {
        Self { board: Switchboard::new(seed) }
    }

    /// From now on `operation` suffers from `fault` and from no other of its own.
    pub fn set(&self, service: Service, operation: &str, fault: AwsFault) {
        self.board.set((service, Some(operation.to_owned())), fault);
    }

    /// `operation` suffers from `fault`, too. Of several that concern a request the first one strikes that does not
    /// spare it.
    pub fn add(&self, service: Service, operation: &str, fault: AwsFault) {
        self.board.add((service, Some(operation.to_owned())), fault);
    }

    /// All operations of the service suffer from `fault` and from no other set for all, except where one has a fault of
    /// its own that concerns the request.
    pub fn set_all(&self, service: Service, fault: AwsFault) {
        self.board.set((service, None), fault);
    }

    /// All operations of the service suffer from `fault`, too.
    pub fn add_all(&self, service: Service, fault: AwsFault) {
        self.board.add((service, None), fault);
    }

    /// `operation` has no fault of its own any more.
    pub fn clear(&self, service: Service, operation: &str) {
        self.board.clear(&(service, Some(operation.to_owned())));
    }

    /// Everything works again.
    pub fn clear_all(&self) {
        self.board.clear_all();
    }

    /// Rolls for one request.
    pub(super) fn roll(&self, service: Service, operation: &str, account: AccountId, region: Region) -> Roll {
        let concerns = |fault: &AwsFault| {
            (fault.accounts.is_empty() || fault.accounts.contains(&account))
                && (fault.regions.is_empty() || fault.regions.contains(&region))
        };
        let roll =
            |operation| self.board.roll(&(service, operation), concerns, |fault| fault.certain().is_some());
        let Some((fault, roll)) = roll(Some(operation.to_owned())).or_else(|| roll(None)) else {
            return Roll::default();
        };
        Roll {
            latency: roll.latency,
            mishap: fault.certain().or_else(|| roll.mishap.map(Mishap::Common)),
            answer_lost: roll.answer_lost,
        }
    }
}
