//! A store's file: read beside whoever writes it, or written as its one writer.

use std::cell::OnceCell;
use std::path::PathBuf;
use std::sync::Arc;

use dormouse_cloudtrail::{Decoder, Limits};
use dormouse_ledger::query::{Selection, select};
use dormouse_ledger::{CoverageOptions, Judge};
use dormouse_model::{AccountId, Clock, KeyArn, Region, WallClock};
use dormouse_pipeline::view::{AccountsDocument, KeyDetails, KeysPage};
use dormouse_pipeline::{
    Pipeline, PipelineOptions, QuarantineAction, QuarantineOutcome, StoreView, read_store,
};
use dormouse_store::{Reader, SqliteOptions, SqliteStore, StoreError, StoredQuarantined};
use tokio_util::sync::CancellationToken;

use super::{PAGE, Question, Status, no_such_message};
use crate::commands::seconds;
use crate::config::Config;
use crate::exit::NoSuch;

/// A store's file.
pub(crate) struct StoreFile {
    path: PathBuf,
    config: Config,
    /// Read once: all answers are of the same moment.
    view: OnceCell<StoreView>,
}

impl StoreFile {
    pub(super) fn new(path: PathBuf, config: Config) -> Self {
        Self { path, config, view: OnceCell::new() }
    }

    fn view(&self) -> anyhow::Result<&StoreView> {
        if self.view.get().is_none() {
            let options = CoverageOptions {
                operations: self.config.operation_table()?,
                ..self.config.coverage.options()
            };
            let view = read_store(&self.path, options)?;
            return Ok(self.view.get_or_init(|| view));
        }
        self.view.get().ok_or_else(|| anyhow::anyhow!("the store was not read"))
    }

    fn judge(&self) -> anyhow::Result<Judge> {
        Ok(self.view()?.judge(WallClock.now_seconds(), self.config.rules()?))
    }

    pub(super) fn keys(&self, question: &Question, most: usize) -> anyhow::Result<StoreWalk<'_>> {
        let (view, judge) = (self.view()?, self.judge()?);
        let selection = select(&view.ledger, question.query(), &judge);
        let until = selection.len().min(most);
        Ok(StoreWalk { view, selection, judge, from: 0, until, is_over: false })
    }

    pub(super) fn key(&self, key: KeyArn) -> anyhow::Result<KeyDetails> {
        let view = self.view()?;
        let details = view.details(key, &self.judge()?)?;
        Ok(details.ok_or_else(|| NoSuch(no_such_key(key, view)))?)
    }

    pub(super) fn status(&self) -> anyhow::Result<Status> {
        let known = self.view()?.status()?;
        Ok(Status { known, store: Reader::open(&self.path)?.id()?, instance: None })
    }

    pub(super) fn accounts(
        &self,
        accounts: &[AccountId],
        regions: &[Region],
    ) -> anyhow::Result<AccountsDocument> {
        let mut known = self.view()?.accounts(&self.config.declared(), self.judge()?.now());
        known.retain(accounts, regions);
        Ok(known)
    }

    pub(super) fn quarantine(&self) -> anyhow::Result<Vec<StoredQuarantined>> {
        Ok(Reader::open(&self.path)?.quarantine(0, usize::MAX)?)
    }

    pub(super) fn quarantined_body(&self, id: i64) -> anyhow::Result<Vec<u8>> {
        let kept = Reader::open(&self.path)?.quarantined(id)?;
        Ok(kept.ok_or_else(|| no_such_message(id))?.message.body)
    }

    pub(super) fn act(
        &self,
        ids: &[i64],
        action: QuarantineAction,
        tell: &mut dyn FnMut(i64, &QuarantineOutcome) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        // A writer would make a store where there is none.
        drop(Reader::open(&self.path)?);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        runtime.block_on(async {
            let pipeline = self.pipeline()?;
            let (control, stop) = (pipeline.control(), CancellationToken::new());
            let running = tokio::spawn(pipeline.run(stop.clone()));
            let mut outcome = Ok(());
            for &id in ids {
                outcome = match control.quarantine(id, action).await {
                    Ok(found) => tell(id, &found),
                    Err(stopped) => Err(stopped.into()),
                };
                if outcome.is_err() {
                    break;
                }
            }
            stop.cancel();
            // Why the pipeline failed says more than that it has stopped.
            running.await??;
            outcome
        })
    }

    /// The store's one writer, without sources. It throws nothing away for age or room: that is for the instance to do,
    /// whose settings may be others.
    fn pipeline(&self) -> anyhow::Result<Pipeline> {
        let store = SqliteOptions {
            quarantine_bytes: self.config.store.quarantine_bytes,
            keep_days: u32::MAX,
            ..SqliteOptions::at(&self.path)
        };
        let limits = Limits {
            future_tolerance_seconds: seconds(self.config.ingest.future_tolerance),
            ..Limits::default()
        };
        let decoder = Arc::new(Decoder::new(self.config.operation_table()?, limits));
        let options = PipelineOptions {
            id_bound: usize::MAX,
            future_hold_seconds: seconds(self.config.ingest.future_hold),
            coverage: self.config.coverage.options(),
            ..PipelineOptions::default()
        };
        let store = SqliteStore::open(store).map_err(busy)?;
        Ok(Pipeline::open(Arc::new(store), decoder, Arc::new(WallClock), options)?)
    }
}

/// The instance that holds the store can do the same.
fn busy(error: StoreError) -> anyhow::Error {
    match error {
        StoreError::Locked { path, holder } => anyhow::anyhow!(
            "{} is being written by another dormouse process{holder}; ask that one, with --url or the configuration \
             instead of --store",
            path.display()
        ),
        other => other.into(),
    }
}

fn no_such_key(key: KeyArn, view: &StoreView) -> String {
    match view.attempts_on(key) {
        Some(attempts) => {
            format!("{key}: no use or change of it was ever seen, only failed attempts ({attempts})")
        }
        None => format!("{key}: nothing was ever seen of it"),
    }
}

/// The pages of an answer.
pub(crate) struct StoreWalk<'a> {
    view: &'a StoreView,
    selection: Selection,
    judge: Judge,
    from: usize,
    until: usize,
    is_over: bool,
}

impl StoreWalk<'_> {
    pub(super) fn next(&mut self) -> Option<KeysPage> {
        if self.is_over {
            return None;
        }
        let ledger = &self.view.ledger;
        let rows = self.selection.rows(self.from, PAGE.min(self.until - self.from));
        self.from += rows.len();
        self.is_over = self.from >= self.until || rows.is_empty();
        let document = |key| self.view.document(key, &self.judge);
        let keys = ledger.keys_in_rows(rows).into_iter().filter_map(document).collect();
        Some(KeysPage { keys, total: self.selection.len(), next: None })
    }
}
