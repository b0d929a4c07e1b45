//! A way in for history: cells that were read from a trail, each committed with its evidence, all or nothing.
//!
//! What the stream counted of a cell is in the tables and in what they lack; it is looked up by the task that commits,
//! between two epochs, so that the difference is exact whatever arrives meanwhile.

use std::collections::HashSet;

use dormouse_ledger::{CellHistory, Coverage};
use dormouse_model::{Cell, Observation};
use tokio::sync::{mpsc, oneshot};

use crate::control::Stopped;
use crate::epoch::{self, EpochError};
use crate::recover::Shared;
use crate::seal::History;

/// Observations that show what happened in a cell: the latest of each key, and all changes.
#[derive(Clone, Debug, Default)]
pub struct CellEvidence {
    encoded: Vec<u8>,
    observations: usize,
}

impl CellEvidence {
    /// Adds one.
    pub fn add(&mut self, observation: &Observation<'_>) -> Result<(), EpochError> {
        let mut of_history = observation.clone();
        of_history.from_history = true;
        self.encoded = epoch::encode_observation(&of_history, std::mem::take(&mut self.encoded))?;
        self.observations += 1;
        Ok(())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.observations
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.observations == 0
    }
}

/// A cell on its way to the journal.
pub(crate) struct Submitted {
    pub cell: CellHistory,
    pub evidence: CellEvidence,
    pub answer: oneshot::Sender<()>,
}

/// So many cells may wait for their commit.
const MOST_WAITING: usize = 64;
/// Cells are committed together up to so many bytes of evidence …
const EPOCH_BYTES: usize = 4 << 20;
/// … and so many keys.
const EPOCH_KEYS: usize = 50_000;

/// Takes the cells of a trail's history.
#[derive(Clone, Debug)]
pub struct HistoryIntake {
    cells: mpsc::Sender<Submitted>,
    coverage: Shared<Coverage>,
}

impl HistoryIntake {
    pub(crate) fn channel(coverage: Shared<Coverage>) -> (Self, mpsc::Receiver<Submitted>) {
        let (cells, receiver) = mpsc::channel(MOST_WAITING);
        (Self { cells, coverage }, receiver)
    }

    /// Hands over what a cell came to, and returns when it is durable.
    pub async fn submit(&self, cell: CellHistory, evidence: CellEvidence) -> Result<(), Stopped> {
        let (answer, durable) = oneshot::channel();
        self.cells.send(Submitted { cell, evidence, answer }).await.map_err(|_| Stopped)?;
        durable.await.map_err(|_| Stopped)
    }

    /// Whether the cell's history was read already, and some of it was missing.
    pub fn is_incomplete(&self, cell: Cell) -> bool {
        let coverage = self.coverage.read();
        coverage.place(cell.place).is_some_and(|known| known.incomplete.has(cell.day))
    }

    /// Whether the cell's history was read already.
    pub fn is_finished(&self, cell: Cell) -> bool {
        self.coverage.read().finished().has(cell)
    }
}

/// The first cell and those that wait behind it, as far as they fit into one epoch. One that is among them already
/// stays for the next.
pub(crate) fn gather(
    first: Submitted,
    waiting: &mut mpsc::Receiver<Submitted>,
) -> (History, Vec<oneshot::Sender<()>>, Option<Submitted>) {
    let mut history = History { cells: Vec::new(), evidence: Vec::new(), observations: 0 };
    let (mut answers, mut keys) = (Vec::new(), 0);
    let mut among: HashSet<Cell> = HashSet::new();
    let mut next = Some(first);
    while let Some(Submitted { cell, evidence, answer }) = next.take() {
        if !among.insert(cell.cell) {
            next = Some(Submitted { cell, evidence, answer });
            break;
        }
        keys += cell.keys.len();
        history.cells.push(cell);
        history.evidence.extend_from_slice(&evidence.encoded);
        history.observations += evidence.observations;
        answers.push(answer);
        if history.evidence.len() >= EPOCH_BYTES || keys >= EPOCH_KEYS {
            break;
        }
        next = waiting.try_recv().ok();
    }
    (history, answers, next)
}
