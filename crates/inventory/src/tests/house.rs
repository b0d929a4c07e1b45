//! An organisation in memory and a reconciler that reads it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use dormouse_ledger::{Inventory, KeyState, Ledger, PlaceInventory, Rank};
use dormouse_model::{AccountId, Answer, Clock, EventTime, KeyArn, Place, Region};
use dormouse_pipeline::control::Stopped;

use crate::memory::{Came, MemoryCloud, MemoryKey, TokioClock};
use crate::{
    Accounts, ByAge, InventoryOptions, Journal, MemoryJournal, Metrics, Parts, PassReport, Reconciler,
    Regions, Scope,
};

/// 2026-11-01T00:00:00Z.
pub(super) const NOW: EventTime = EventTime::from_seconds(1_793_491_200);
pub(super) const DAY: u32 = 86_400;

/// A journal that is shared with the test, and remembers what was said.
#[derive(Clone, Default)]
pub(super) struct SharedJournal(Arc<(MemoryJournal, std::sync::Mutex<Vec<Answer>>)>);

impl Journal for SharedJournal {
    async fn submit(&self, answers: Vec<Answer>) -> Result<(), Stopped> {
        self.0.1.lock().unwrap().extend(answers.iter().cloned());
        // A commit takes a while.
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.0.0.submit(answers).await
    }

    fn ledger(&self) -> &Ledger<Rank> {
        self.0.0.ledger()
    }

    fn look<R>(&self, look: impl FnOnce(&Inventory) -> R) -> R {
        self.0.0.look(look)
    }
}

pub(super) struct House {
    pub(super) cloud: MemoryCloud,
    pub(super) journal: SharedJournal,
    pub(super) clock: TokioClock,
    pub(super) reconciler: Option<Reconciler>,
    pub(super) options: InventoryOptions,
}

pub(super) fn account(number: u64) -> AccountId {
    AccountId::from_number(111_122_220_000 + number).unwrap()
}

pub(super) fn region(name: &str) -> Region {
    name.parse().unwrap()
}

pub(super) fn place(number: u64, name: &str) -> Place {
    Place { account: account(number), region: region(name) }
}

pub(super) fn key(place: Place, number: u64) -> KeyArn {
    // Like real ids: all over the range.
    let number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let id = format!("{:08x}-0000-4000-8000-{:012x}", number >> 32, number & 0xffff_ffff_ffff);
    KeyArn::from_parts(place.region, place.account, &id).unwrap()
}

impl House {
    /// So many accounts with so many keys in each of these Regions; nothing but passes that are asked for.
    pub(super) fn new(accounts: u64, regions: &[&str], keys: u64) -> Self {
        let cloud = MemoryCloud::new(account(0), region("eu-west-1"), Duration::from_millis(20));
        for number in 0..accounts {
            cloud.put_account(account(number), "ACTIVE");
            for name in regions {
                for count in 0..keys {
                    cloud.put_key(key(place(number, name), count), MemoryKey::new(NOW.minus(30 * DAY)));
                }
            }
        }
        let options = InventoryOptions {
            accounts: Accounts::Organization(crate::OrganizationFilter::default()),
            regions: Regions::List(regions.iter().map(|name| region(name)).collect()),
            first_pass_after: Duration::from_hours(24 * 365),
            interval: Duration::from_hours(24 * 365),
            heartbeat_every: None,
            look_out_every: Duration::from_hours(24 * 365),
            usage: None,
            seed: Some(1),
            ..InventoryOptions::default()
        };
        let clock = TokioClock::at(NOW);
        Self { cloud, journal: SharedJournal::default(), clock, reconciler: None, options }
    }

    pub(super) fn now(&self) -> EventTime {
        self.clock.now_seconds()
    }

    pub(super) fn start(&mut self) -> &Reconciler {
        self.reconciler = Some(Reconciler::start(Parts {
            cloud: self.cloud.clone(),
            journal: self.journal.clone(),
            clock: Arc::new(self.clock),
            metrics: Arc::new(Metrics::new().unwrap()),
            candidates: Arc::new(ByAge::default()),
            options: self.options.clone(),
        }));
        self.reconciler()
    }

    pub(super) fn reconciler(&self) -> &Reconciler {
        self.reconciler.as_ref().unwrap()
    }

    /// Asks for a pass through everything and waits for its end.
    pub(super) async fn pass(&mut self) -> PassReport {
        if self.reconciler.is_none() {
            self.start();
        }
        let number = self.reconciler().ask(Scope::default()).unwrap();
        self.reconciler().ended(number).await.unwrap()
    }

    pub(super) fn state(&self, key: KeyArn) -> Option<KeyState<Rank>> {
        self.journal.ledger().get(key)
    }

    pub(super) fn known(&self, place: Place) -> PlaceInventory {
        self.journal.look(|inventory| inventory.place(place).cloned()).unwrap_or_default()
    }

    pub(super) fn keys(&self) -> BTreeSet<KeyArn> {
        let mut keys = BTreeSet::new();
        self.journal.ledger().for_each_key(|key, _| {
            keys.insert(key);
        });
        keys
    }

    /// What was journaled since this was last asked.
    pub(super) fn take_answers(&self) -> Vec<Answer> {
        std::mem::take(&mut self.journal.0.1.lock().unwrap())
    }

    pub(super) fn take_came(&self) -> Vec<Came> {
        self.cloud.take_came()
    }
}
