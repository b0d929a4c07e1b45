//! A synthetic organisation that lives: accounts, keys, those who use them, and what is done to them.
//!
//! Tests and the demo need more than records: keys with a story (busy, forgotten, disabled although somebody still wants
//! them), a KMS that shows the same keys as the records speak of, and somebody who knows what really happened. An
//! [`Organisation`] is all three from one seed. [`Organisation::advance_to`] lets its people and programs go about their
//! business up to a moment and hands out the CloudTrail records of it; [`Organisation::truth`] tells what happened;
//! [`crate::aws::AwsDouble`] serves KMS, STS and Organizations from the same state, and calls made there become records
//! and truth like all others.
//!
//! Promises: the same options give the same records, however far the organisation is advanced at a time, as long as
//! nobody calls the double; records come in the order of time; a key that is disabled or pending deletion refuses calls,
//! whoever made it so. History, before [`OrganisationOptions::live_from`], is thin enough to be replayed; live traffic
//! after it is as dense as asked for.

mod cadence;
mod director;
mod founding;
pub(crate) mod kms;
pub(crate) mod log;
mod membership;
pub(crate) mod names;
mod shapes;
pub(crate) mod state;
#[cfg(test)]
mod tests;
mod truth;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dormouse_model::{AccountId, Clock, EventTime, KeyArn, Region, WallClock};
use serde_json::Value;

use crate::records::failure::Failure;
use crate::records::{Generated, catalogue};
use director::Director;
use log::{Call, Ids, Refused};
use state::{Caller, State};

pub use cadence::Cadence;
pub use membership::AccountSummary;
pub use truth::{Evidence, GrantTruth, KeyTruth, MultiRegionTruth, RotationTruth, Totals, Truth, Wanted};

/// What sort of organisation it is, and when.
#[derive(Clone)]
pub struct OrganisationOptions {
    /// Seeds everything.
    pub seed: u64,
    /// Tells the doubles what time it is. The organisation itself goes where it is advanced to.
    pub clock: Arc<dyn Clock>,
    /// How many accounts, the management account and (of four or more) some that are no longer active included.
    pub accounts: usize,
    /// The Regions in which there are keys.
    pub regions: Vec<Region>,
    /// About how many keys; at least twelve, so that every [`Cadence`] occurs.
    pub keys: usize,
    /// When history begins.
    pub start: EventTime,
    /// When history ends and live traffic begins.
    pub live_from: EventTime,
    /// Events per second of all busy keys together during history.
    pub history_rate: f64,
    /// Events per second of all busy keys together from then on.
    pub live_rate: f64,
    /// How late KMS's own `GetKeyLastUsage` is.
    pub last_usage_lag_seconds: u32,
    /// Whether nobody does anything of their own accord. There is no history then and no traffic, only calls on the
    /// doubles and what KMS does by itself (deletions that are due, material that expires); and every state and kind
    /// of key stands there from the beginning: disabled, pending deletion and pending replica deletion, pending import,
    /// imported, in custom key stores that can and cannot be reached, with grants and without.
    pub still: bool,
    /// Whether each account has AWS's own aliases (`alias/aws/…`) in each Region in which it has keys, also those that
    /// have no key yet: `ListAliases` gives these neither a target nor dates.
    pub predefined_aliases: bool,
    /// The operations, of KMS and the others, whose calls become records; `None`: all. The truth knows of all calls
    /// anyway. Large organisations whose records nobody takes want few.
    pub recorded: Option<Vec<String>>,
}

impl OrganisationOptions {
    /// A dozen accounts, three Regions, 150 keys, and a month of history that ends now.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let now = clock.now_seconds();
        let regions = ["eu-west-1", "eu-central-1", "us-east-1"];
        Self {
            seed: 1,
            clock,
            accounts: 12,
            regions: regions.iter().filter_map(|region| region.parse().ok()).collect(),
            keys: 150,
            start: now.minus(30 * 86_400),
            live_from: now,
            history_rate: 0.009,
            live_rate: 30.0,
            last_usage_lag_seconds: 3_600,
            still: false,
            predefined_aliases: false,
            recorded: None,
        }
    }

    /// Any size of an organisation whose keys have stories that lie behind them: used and never used, of all kinds, with
    /// AWS's own aliases, and nothing going on but what comes through the doubles (see [`Self::still`]). Founding
    /// 30,000 keys takes about a second. Of its calls only `ListKeys` and changes become records.
    pub fn still(clock: Arc<dyn Clock>, accounts: usize, regions: &[Region], keys: usize) -> Self {
        let now = clock.now_seconds();
        let is_telling = |row: &&catalogue::Row| row.name == "ListKeys" || !row.read_only();
        let recorded = catalogue::ROWS.iter().filter(is_telling).map(|row| row.name.to_owned());
        Self {
            accounts,
            regions: regions.to_vec(),
            keys,
            start: now,
            live_from: now,
            history_rate: 0.0,
            live_rate: 0.0,
            still: true,
            predefined_aliases: true,
            recorded: Some(recorded.collect()),
            ..Self::new(clock)
        }
    }
}

impl Default for OrganisationOptions {
    fn default() -> Self {
        Self::new(Arc::new(WallClock))
    }
}

/// KMS refused a call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct CallRefused {
    /// The error code, e.g. `DisabledException`.
    pub code: &'static str,
    /// What KMS says about it.
    pub message: String,
}

/// The organisation. Shared behind an [`Arc`]; every method takes its lock for as long as it works.
pub struct Organisation {
    options: OrganisationOptions,
    inner: Mutex<Inner>,
}

pub(crate) struct Inner {
    pub(crate) state: State,
    director: Director,
    /// Chances of calls that come from outside, apart from the actors' own.
    pub(crate) random: fastrand::Rng,
}

impl Organisation {
    /// Founds the organisation; nothing has happened yet.
    pub fn new(options: OrganisationOptions) -> Arc<Self> {
        let (state, director) = founding::found(&options);
        let random = fastrand::Rng::with_seed(options.seed ^ 0x0d0e_0a0b);
        let inner = Mutex::new(Inner { state, director, random });
        Arc::new(Self { options, inner })
    }

    /// The options that it was founded with.
    pub fn options(&self) -> &OrganisationOptions {
        &self.options
    }

    /// Lets everything up to `time` happen, and takes the records of it that nobody has taken yet, in the order of time;
    /// those of calls on the doubles among them. A time that has passed takes what there is up to it.
    pub fn advance_to(&self, time: EventTime) -> Vec<Generated> {
        let mut inner = self.lock();
        inner.catch_up(time);
        let outbox = &mut inner.state.outbox;
        let ready = outbox.partition_point(|record| record.time <= time);
        outbox.drain(..ready).collect()
    }

    /// Takes all records that nobody has taken yet, without letting time pass.
    pub fn take_records(&self) -> Vec<Generated> {
        self.lock().state.outbox.drain(..).collect()
    }

    /// What really happened so far.
    pub fn truth(&self) -> Truth {
        let inner = self.lock();
        Truth { until: inner.state.now, keys: inner.state.all_truths(), totals: inner.state.totals() }
    }

    /// What really happened to one key so far.
    pub fn key_truth(&self, key: KeyArn) -> Option<KeyTruth> {
        let inner = self.lock();
        inner.state.place_of(key).map(|place| inner.state.truth_of(place))
    }

    /// The management account's id.
    pub fn management_account(&self) -> AccountId {
        crate::records::world::account_at(0)
    }

    /// An administrator of `account` calls a KMS operation now, by the injected clock. `request` has KMS's own names,
    /// e.g. `{"KeyId": "…"}`. The call becomes a record and truth like all others.
    ///
    /// Fails as KMS would, also if the organisation has no such account or KMS no such operation.
    pub fn call(
        &self,
        account: AccountId,
        region: Region,
        operation: &str,
        request: &Value,
    ) -> Result<Value, CallRefused> {
        let refused = |code, message: String| CallRefused { code, message };
        let row = catalogue::find(operation)
            .ok_or_else(|| refused("UnknownOperationException", operation.to_owned()))?;
        let now = self.options.clock.now_seconds();
        let mut inner = self.lock();
        let member = inner.state.member(account).filter(|member| member.is_active());
        let principal = member.and_then(|member| member.operators.first().cloned());
        let principal = principal
            .ok_or_else(|| refused("AccessDeniedException", format!("{account} is no active account.")))?;
        let caller = Caller { account, region, principal };
        let (_, outcome) = inner.call(row, request, &caller, now);
        outcome
            .map_err(|Refused { failure, .. }| CallRefused { code: failure.code, message: failure.message })
    }

    /// Makes those who use the key by its cadence stop, or go on. Does not concern the scripted changes.
    pub fn silence(&self, key: KeyArn, silent: bool) {
        let mut inner = self.lock();
        let Inner { state, director, .. } = &mut *inner;
        if let Some(actor) = state.place_of(key).and_then(|place| director.actors.get_mut(place)) {
            actor.is_silent = silent;
        }
    }

    /// Makes a custom key store of the account reachable or not, and with it its keys, whose state becomes `Unavailable`.
    /// Whether there is such a store.
    pub fn connect_key_store(&self, account: AccountId, region: Region, id: &str, connected: bool) -> bool {
        self.lock().state.connect_store(account, region, id, connected)
    }

    /// Makes KMS tell neither when this alias was made nor when it was last pointed at a key, as of some that are old.
    /// Whether there is such an alias.
    pub fn forget_alias_dates(&self, account: AccountId, region: Region, alias: &str) -> bool {
        let mut inner = self.lock();
        let found = inner.state.shelf(account, region).aliases.get_mut(alias);
        found.map(|alias| alias.dates = None).is_some()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        // The state is consistent between calls even if a test panicked while it held the lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Lets everything up to `time` happen.
    pub(crate) fn catch_up(&mut self, time: EventTime) {
        self.director.run(&mut self.state, time);
    }

    /// Logs a call from outside that is refused whatever it asks for. Returns its request id.
    pub(crate) fn refuse(
        &mut self,
        row: &'static catalogue::Row,
        request: &Value,
        caller: &Caller,
        now: EventTime,
        failure: Failure,
    ) -> u128 {
        self.catch_up(now);
        let time = self.state.now.max(now);
        let call = Call { row, request, caller, time };
        let ids = Ids::roll(&mut self.random);
        let keys = self.state.named_keys(&call);
        self.state.log(&call, &Err(Refused { failure, keys }), ids);
        ids.request
    }

    /// The replica's own record: in its Region it was made by a `CreateKey`.
    fn log_replica(&mut self, answer: &Value, request: &Value, caller: &Caller, time: EventTime) {
        let arn = answer["ReplicaKeyMetadata"]["Arn"].as_str().and_then(|arn| arn.parse().ok());
        let place = arn.and_then(|arn| self.state.place_of(arn));
        let (Some(place), Some(row)) = (place, catalogue::find("CreateKey")) else {
            return;
        };
        let caller = Caller { region: self.state.keys[place].arn.region(), ..caller.clone() };
        let ids = Ids::roll(&mut self.random);
        let outcome = Ok(self.state.created(place));
        self.state.log(&Call { row, request, caller: &caller, time }, &outcome, ids);
    }

    /// Carries out a call from outside at `now` (or, if the organisation is further, then) and logs it. Returns the
    /// request id with the outcome.
    pub(crate) fn call(
        &mut self,
        row: &'static catalogue::Row,
        request: &Value,
        caller: &Caller,
        now: EventTime,
    ) -> (u128, Result<Value, Refused>) {
        self.catch_up(now);
        let time = self.state.now.max(now);
        let call = Call { row, request, caller, time };
        let ids = Ids::roll(&mut self.random);
        let outcome = self.state.perform(&call, &mut self.random);
        // What the double cannot do would have succeeded at AWS: no record says anything else.
        if !outcome.as_ref().is_err_and(|refused| refused.failure.code == "UnknownOperationException") {
            self.state.log(&call, &outcome, ids);
        }
        if let Ok(done) = &outcome {
            for &place in &done.keys {
                match row.name {
                    "ScheduleKeyDeletion" => self.director.plan_deletion(&self.state, place),
                    "ImportKeyMaterial" => self.director.plan_expiry(&self.state, place),
                    _ => {}
                }
            }
            if row.name == "ReplicateKey" {
                self.log_replica(&done.answer, request, caller, time);
            }
        }
        (ids.request, outcome.map(|done| done.answer))
    }
}
