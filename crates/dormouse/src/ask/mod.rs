//! Whoever is asked what is known: a running instance, or the store's file.
//!
//! Both give the same documents, so that the commands need not care. An instance is asked over its API, a page at a
//! time; a store is read beside whoever writes it, as it was at one moment. Only the quarantine's messages are ever
//! acted on: by the instance, or by this process as the store's one writer.

mod choose;
mod find;
mod http;
mod instance;
mod question;
mod store;
mod token;

use dormouse_model::{AccountId, KeyArn, Region};
use dormouse_pipeline::view::{AccountsDocument, KeyDetails, KeysPage};
use dormouse_pipeline::{QuarantineAction, QuarantineOutcome};
use dormouse_store::StoredQuarantined;

pub(crate) use choose::{choose, configuration, instance_of, is_named};
pub(crate) use instance::{Instance, Status};
pub(crate) use question::Question;

use store::StoreFile;

/// So many keys or messages are asked for at once.
const PAGE: usize = 1_000;

/// Whoever is asked.
pub(crate) enum Asked {
    /// A store's file.
    Store(Box<StoreFile>),
    /// A running instance.
    Instance(Box<Instance>),
}

impl Asked {
    /// The keys that a question is about, at most so many, a page at a time.
    pub(crate) fn keys<'a>(&'a self, question: &'a Question, most: usize) -> anyhow::Result<Walk<'a>> {
        Ok(match self {
            Self::Store(store) => Walk::Store(store.keys(question, most)?),
            Self::Instance(instance) => Walk::Instance(Box::new(instance.keys(question, most))),
        })
    }

    /// A key with its history; an unknown one is a [`NoSuch`](crate::exit::NoSuch).
    pub(crate) fn key(&self, key: KeyArn) -> anyhow::Result<KeyDetails> {
        match self {
            Self::Store(store) => store.key(key),
            Self::Instance(instance) => instance.key(key),
        }
    }

    /// How it is doing.
    pub(crate) fn status(&self) -> anyhow::Result<Status> {
        match self {
            Self::Store(store) => store.status(),
            Self::Instance(instance) => instance.status(),
        }
    }

    /// What is known of these accounts and Regions; of all where none is named.
    pub(crate) fn accounts(
        &self,
        accounts: &[AccountId],
        regions: &[Region],
    ) -> anyhow::Result<AccountsDocument> {
        match self {
            Self::Store(store) => store.accounts(accounts, regions),
            Self::Instance(instance) => instance.accounts(accounts, regions),
        }
    }

    /// All messages of the quarantine, without their bodies.
    pub(crate) fn quarantine(&self) -> anyhow::Result<Vec<StoredQuarantined>> {
        match self {
            Self::Store(store) => store.quarantine(),
            Self::Instance(instance) => instance.quarantine(),
        }
    }

    /// The body of a quarantined message; an unknown one is a [`NoSuch`](crate::exit::NoSuch).
    pub(crate) fn quarantined_body(&self, id: i64) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::Store(store) => store.quarantined_body(id),
            Self::Instance(instance) => instance.quarantined_body(id),
        }
    }

    /// Does the same with all these messages, and tells of each what became of it as soon as that is durable.
    pub(crate) fn act(
        &self,
        ids: &[i64],
        action: QuarantineAction,
        tell: &mut dyn FnMut(i64, &QuarantineOutcome) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        match self {
            Self::Store(store) => store.act(ids, action, tell),
            Self::Instance(instance) => instance.act(ids, action, tell),
        }
    }
}

/// An answer under way.
pub(crate) enum Walk<'a> {
    /// From a store.
    Store(store::StoreWalk<'a>),
    /// From an instance.
    Instance(Box<instance::InstanceWalk<'a>>),
}

impl Walk<'_> {
    /// The next keys and how many there are in all; there is at least one page, which may be empty.
    pub(crate) fn next(&mut self) -> anyhow::Result<Option<KeysPage>> {
        match self {
            Self::Store(walk) => Ok(walk.next()),
            Self::Instance(walk) => walk.next(),
        }
    }
}

fn no_such_message(id: i64) -> anyhow::Error {
    crate::exit::NoSuch(format!("there is no message {id} in the quarantine; see `dormouse quarantine list`"))
        .into()
}
