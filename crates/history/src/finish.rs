//! Where finished cells go: into a running pipeline, or into a test's memory.

use dormouse_ledger::CellHistory;
use dormouse_model::Cell;
use dormouse_pipeline::{CellEvidence, HistoryIntake};
use dormouse_sources::objects::BoxFuture;

/// The cell did not become durable, and no other will: the job ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotFinished(pub Box<str>);

/// Takes finished cells.
pub trait Finish: Send + Sync + 'static {
    /// Takes a cell and the evidence of what happened in it, and returns when both are durable.
    fn submit(&self, cell: CellHistory, evidence: CellEvidence) -> BoxFuture<'_, Result<(), NotFinished>>;

    /// Whether the cell was finished before.
    fn is_finished(&self, cell: Cell) -> bool;

    /// Whether it was, and some of it was missing.
    fn is_incomplete(&self, cell: Cell) -> bool;
}

impl Finish for HistoryIntake {
    fn submit(&self, cell: CellHistory, evidence: CellEvidence) -> BoxFuture<'_, Result<(), NotFinished>> {
        Box::pin(async move {
            let submitted = HistoryIntake::submit(self, cell, evidence).await;
            submitted.map_err(|stopped| NotFinished(stopped.to_string().into()))
        })
    }

    fn is_finished(&self, cell: Cell) -> bool {
        HistoryIntake::is_finished(self, cell)
    }

    fn is_incomplete(&self, cell: Cell) -> bool {
        HistoryIntake::is_incomplete(self, cell)
    }
}
