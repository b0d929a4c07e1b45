//! A running instance, asked over its API.

use std::collections::HashSet;

use dormouse_history::JobProgress;
use dormouse_inventory::{Scope, Status as Reconciling};
use dormouse_model::{AccountId, KeyArn, Region};
use dormouse_pipeline::view::{AccountsDocument, KeyDetails, KeysPage, StatusDocument};
use dormouse_pipeline::{QuarantineAction, QuarantineOutcome};
use dormouse_server::api::{AccountsPage, AskedDocument, InstanceDocument, OutcomeDocument, QuarantinePage};
use dormouse_store::StoredQuarantined;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::http::{Http, Problem};
use super::{PAGE, Question, no_such_message};
use crate::exit::NoSuch;

/// A running instance.
pub(crate) struct Instance {
    http: Http,
}

/// How an instance is doing; of a store, what it knows.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Status {
    /// What was read and what became of it.
    #[serde(flatten)]
    pub(crate) known: StatusDocument,
    /// The store's own id; one that was not opened for writing for long has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) store: Option<String>,
    /// The process itself; a store has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) instance: Option<InstanceDocument>,
}

impl Instance {
    pub(super) fn new(http: Http) -> Self {
        Self { http }
    }

    pub(super) fn keys<'a>(&'a self, question: &'a Question, most: usize) -> InstanceWalk<'a> {
        InstanceWalk {
            instance: self,
            question,
            most,
            cursor: None,
            told: HashSet::new(),
            is_over: false,
            has_restarted: false,
        }
    }

    pub(super) fn key(&self, key: KeyArn) -> anyhow::Result<KeyDetails> {
        self.http.get(&["keys", &key.to_string()], &[]).map_err(|error| match problem(&error) {
            Some(Problem { code, detail }) if code == "no_such_key" || code == "only_attempts" => {
                NoSuch(format!("{key}: {detail}")).into()
            }
            _ => error,
        })
    }

    pub(super) fn status(&self) -> anyhow::Result<Status> {
        self.http.get(&["status"], &[])
    }

    /// The instance's address as it may be printed.
    pub(crate) fn name(&self) -> String {
        self.http.name()
    }

    /// The id of its store; `None` if it does not say.
    pub(crate) fn store_id(&self) -> anyhow::Result<Option<String>> {
        Ok(self.status()?.store)
    }

    /// What is known of these accounts and Regions; of all where none is named.
    pub(crate) fn accounts(
        &self,
        accounts: &[AccountId],
        regions: &[Region],
    ) -> anyhow::Result<AccountsDocument> {
        let limit = PAGE.to_string();
        let accounts: Vec<String> = accounts.iter().map(ToString::to_string).collect();
        let regions: Vec<String> = regions.iter().map(ToString::to_string).collect();
        let filters = accounts.iter().map(|account| ("account", account.as_str()));
        let filters: Vec<_> =
            filters.chain(regions.iter().map(|region| ("region", region.as_str()))).collect();
        let (mut known, mut after) = (AccountsDocument::default(), None::<AccountId>);
        loop {
            let behind = after.map(|after| after.to_string());
            let mut parameters = vec![("limit", limit.as_str())];
            parameters.extend(behind.as_deref().map(|behind| ("after", behind)));
            parameters.extend(&filters);
            let page: AccountsPage = self.http.get(&["accounts"], &parameters)?;
            known.accounts.extend(page.known.accounts);
            known.sources = page.known.sources;
            match page.next {
                Some(next) if Some(next) > after => after = Some(next),
                Some(_) => return Err(self.http.strange("its list of accounts does not end")),
                None => return Ok(known),
            }
        }
    }

    /// Starts a job that reads history.
    pub(crate) fn start_backfill(&self, request: &Value) -> anyhow::Result<JobProgress> {
        let answer = self.http.send(Method::POST, &["backfill"], request)?;
        self.job(&answer)
    }

    /// How far a job is.
    pub(crate) fn backfill(&self, id: u64) -> anyhow::Result<JobProgress> {
        self.http.get(&["backfill", &id.to_string()], &[])
    }

    /// Cancels a job.
    pub(crate) fn cancel_backfill(&self, id: u64) -> anyhow::Result<JobProgress> {
        let answer = self.http.ask(Method::DELETE, &["backfill", &id.to_string()], &[])?;
        self.job(&answer)
    }

    /// Asks for a pass through accounts and Regions, and returns its number.
    pub(crate) fn start_reconcile(&self, scope: &Scope) -> anyhow::Result<u64> {
        let answer = self.http.send(Method::POST, &["reconcile"], &serde_json::to_value(scope)?)?;
        let asked: AskedDocument =
            serde_json::from_slice(&answer).map_err(|error| self.http.strange(&error.to_string()))?;
        Ok(asked.pass)
    }

    /// What the inventory is about.
    pub(crate) fn reconcile(&self) -> anyhow::Result<Reconciling> {
        self.http.get(&["reconcile"], &[])
    }

    fn job(&self, answer: &[u8]) -> anyhow::Result<JobProgress> {
        serde_json::from_slice(answer).map_err(|error| self.http.strange(&error.to_string()))
    }

    pub(super) fn quarantine(&self) -> anyhow::Result<Vec<StoredQuarantined>> {
        let (mut messages, mut after) = (Vec::new(), 0);
        loop {
            let (behind, limit) = (after.to_string(), PAGE.to_string());
            let page: QuarantinePage =
                self.http.get(&["quarantine"], &[("after", &behind), ("limit", &limit)])?;
            messages.extend(page.messages);
            match page.next {
                Some(next) if next > after => after = next,
                Some(_) => return Err(self.http.strange("its list of messages does not end")),
                None => return Ok(messages),
            }
        }
    }

    pub(super) fn quarantined_body(&self, id: i64) -> anyhow::Result<Vec<u8>> {
        let body = self.http.ask(Method::GET, &["quarantine", &id.to_string(), "body"], &[]);
        body.map_err(|error| if is(&error, "no_such_message") { no_such_message(id) } else { error })
    }

    pub(super) fn act(
        &self,
        ids: &[i64],
        action: QuarantineAction,
        tell: &mut dyn FnMut(i64, &QuarantineOutcome) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        for &id in ids {
            tell(id, &self.act_on(id, action)?)?;
        }
        Ok(())
    }

    fn act_on(&self, id: i64, action: QuarantineAction) -> anyhow::Result<QuarantineOutcome> {
        let number = id.to_string();
        let answer = match action {
            QuarantineAction::Retry => self.http.ask(Method::POST, &["quarantine", &number, "retry"], &[]),
            QuarantineAction::Drop => self.http.ask(Method::DELETE, &["quarantine", &number], &[]),
        };
        match answer {
            Ok(body) => self.outcome(&body),
            Err(error) if is(&error, "no_such_message") => Ok(QuarantineOutcome::NoSuchMessage),
            Err(error) if is(&error, "commits_paused") => Ok(QuarantineOutcome::NotNow),
            Err(error) => Err(error),
        }
    }

    fn outcome(&self, body: &[u8]) -> anyhow::Result<QuarantineOutcome> {
        let document: OutcomeDocument =
            serde_json::from_slice(body).map_err(|error| self.http.strange(&error.to_string()))?;
        match document.outcome.as_str() {
            "applied" => Ok(QuarantineOutcome::Applied),
            "dropped" => Ok(QuarantineOutcome::Dropped),
            "refused" => Ok(QuarantineOutcome::Refused {
                reason: document.reason.unwrap_or_default(),
                detail: document.detail.unwrap_or_default(),
            }),
            other => Err(self.http.strange(&format!("the outcome {other:?} is not known"))),
        }
    }
}

fn problem(error: &anyhow::Error) -> Option<&Problem> {
    error.downcast_ref()
}

fn is(error: &anyhow::Error, code: &str) -> bool {
    problem(error).is_some_and(|problem| problem.code == code)
}

/// The pages of an answer. An instance forgets a listing that nobody asked about for a while; then the walk begins again,
/// once, and passes by what it has told already.
pub(crate) struct InstanceWalk<'a> {
    instance: &'a Instance,
    question: &'a Question,
    most: usize,
    cursor: Option<String>,
    /// 24 bytes a key, so a million of them take less than a page does of text.
    told: HashSet<KeyArn>,
    is_over: bool,
    has_restarted: bool,
}

impl InstanceWalk<'_> {
    pub(super) fn next(&mut self) -> anyhow::Result<Option<KeysPage>> {
        if self.is_over {
            return Ok(None);
        }
        let mut page = self.page()?;
        if page.keys.is_empty() && page.next.is_some() {
            return Err(self.instance.http.strange("its list of keys does not end"));
        }
        self.cursor = page.next.take();
        let room = self.most - self.told.len();
        page.keys.retain(|key| self.told.insert(key.arn));
        page.keys.truncate(room);
        self.is_over = self.cursor.is_none() || self.told.len() >= self.most;
        Ok(Some(page))
    }

    fn page(&mut self) -> anyhow::Result<KeysPage> {
        let page = self.ask();
        match &page {
            Err(error) if is(error, "listing_gone") && self.cursor.is_some() && !self.has_restarted => {
                self.has_restarted = true;
                self.cursor = None;
                self.ask()
            }
            _ => page,
        }
    }

    fn ask(&self) -> anyhow::Result<KeysPage> {
        let limit = if self.has_restarted { PAGE } else { PAGE.min(self.most - self.told.len()) };
        let limit = limit.to_string();
        let parameters = self.question.parameters().iter().map(|(name, value)| (*name, value.as_str()));
        let mut parameters: Vec<(&str, &str)> = parameters.collect();
        parameters.push(("limit", &limit));
        if let Some(cursor) = &self.cursor {
            parameters.push(("cursor", cursor));
        }
        self.instance.http.get(&["keys"], &parameters)
    }
}
