//! What the server shows.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use dormouse_inventory::Reconciler;
use dormouse_ledger::Declared;
use dormouse_model::{Clock, EventTime};
use dormouse_pipeline::{Control, LiveView, Progress};
use dormouse_sources::health::SourceHealth;
use dormouse_sources::kinesis::KinesisStats;
use dormouse_sources::objects::ObjectStats;
use dormouse_sources::sqs::SqsStats;
use tokio::sync::watch;

use crate::history::ReadHistory;

/// A running Dormouse, as far as it is shown.
#[derive(Clone)]
pub struct Instance {
    /// What is known.
    pub view: Arc<LiveView>,
    /// What the pipeline has done.
    pub progress: Arc<Progress>,
    /// A way to ask the pipeline for something.
    pub control: Control,
    /// Everybody's metrics; the server adds its own.
    pub registry: prometheus::Registry,
    /// The sources, as they are started.
    pub sources: Arc<SourceStates>,
    /// Reads history.
    pub history: Arc<dyn ReadHistory>,
    /// Asks AWS which keys there are; nobody does if absent.
    pub inventory: Option<Arc<Reconciler>>,
    /// Spans that the configuration declares complete.
    pub declared: Arc<[Declared]>,
    /// The store's own id.
    pub store: Arc<str>,
    /// Where the process is in its life.
    pub lifecycle: Arc<Lifecycle>,
    /// The program's version.
    pub version: &'static str,
    /// When the process started.
    pub started: EventTime,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
}

/// Where a process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Not all sources have been started.
    Starting,
    /// Everything has been started.
    Running,
    /// Sources are stopping; what they received is being committed.
    Draining,
    /// The pipeline has ended: nothing will change any more.
    Stopped,
}

/// The stage, shared. It only moves on.
#[derive(Debug, Default)]
pub struct Lifecycle(AtomicU8);

impl Lifecycle {
    /// Moves on to this stage; a stage that is past stays past.
    pub fn enter(&self, stage: Stage) {
        self.0.fetch_max(stage as u8, Ordering::Relaxed);
    }

    /// The stage now.
    pub fn stage(&self) -> Stage {
        match self.0.load(Ordering::Relaxed) {
            0 => Stage::Starting,
            1 => Stage::Running,
            2 => Stage::Draining,
            _ => Stage::Stopped,
        }
    }
}

/// One source as it is shown.
#[derive(Clone, Debug)]
pub struct SourceState {
    /// Its name in the configuration.
    pub name: String,
    /// What works and what does not.
    pub health: watch::Receiver<SourceHealth>,
    /// Its counters and gauges. They begin anew when it is made anew.
    pub stats: SourceStats,
    /// Those of the objects that its messages announce, if it reads them.
    pub objects: Option<Arc<ObjectStats>>,
    /// Why it is not at work now; `None` while it is.
    pub failure: Option<SourceFailure>,
}

/// The counters and gauges of a source, by what it is.
#[derive(Clone, Debug)]
pub enum SourceStats {
    /// An SQS queue.
    Sqs(Arc<SqsStats>),
    /// A Kinesis stream.
    Kinesis(Arc<KinesisStats>),
}

impl SourceStats {
    /// What the source is, as the configuration names it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Sqs(_) => "sqs",
            Self::Kinesis(_) => "kinesis",
        }
    }

    /// The numbers of a queue.
    pub fn queue(&self) -> Option<&SqsStats> {
        match self {
            Self::Sqs(stats) => Some(stats),
            Self::Kinesis(_) => None,
        }
    }

    /// The numbers of a stream.
    pub fn stream(&self) -> Option<&KinesisStats> {
        match self {
            Self::Sqs(_) => None,
            Self::Kinesis(stats) => Some(stats),
        }
    }
}

/// Why a source is not at work although nobody asked it to stop. It is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFailure {
    /// What a person can do. Told to everybody, so nothing in it comes from elsewhere.
    pub advice: &'static str,
    /// What happened, in full.
    pub detail: String,
    /// When.
    pub at: EventTime,
}

/// The sources, in the order in which they were first shown.
#[derive(Debug, Default)]
pub struct SourceStates(RwLock<Vec<SourceState>>);

impl SourceStates {
    /// Shows a source, in place of an earlier one of its name.
    pub fn show(&self, source: SourceState) {
        let mut sources = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match sources.iter_mut().find(|known| known.name == source.name) {
            Some(known) => *known = source,
            None => sources.push(source),
        }
    }

    /// Shows that the source of this name has failed.
    pub fn fail(&self, name: &str, failure: SourceFailure) {
        let mut sources = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = sources.iter_mut().find(|known| known.name == name) {
            known.failure = Some(failure);
        }
    }

    /// All of them.
    pub fn all(&self) -> Vec<SourceState> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_is_made_anew_takes_its_own_place() {
        let state = |name: &str, stats| SourceState {
            name: name.into(),
            health: watch::channel(SourceHealth::default()).1,
            stats,
            objects: None,
            failure: None,
        };
        let states = SourceStates::default();
        states.show(state("one", SourceStats::Sqs(Arc::default())));
        states.show(state("two", SourceStats::Kinesis(Arc::default())));
        let failure = SourceFailure { advice: "do", detail: "why".into(), at: EventTime::default() };
        states.fail("one", failure.clone());
        states.fail("nobody", failure);
        let seen = |states: &SourceStates| -> Vec<(String, bool)> {
            states.all().into_iter().map(|state| (state.name, state.failure.is_some())).collect()
        };
        assert_eq!(seen(&states), [("one".to_owned(), true), ("two".to_owned(), false)]);
        states.show(state("one", SourceStats::Sqs(Arc::default())));
        assert_eq!(seen(&states), [("one".to_owned(), false), ("two".to_owned(), false)]);
    }

    #[test]
    fn a_life_only_moves_on() {
        let lifecycle = Lifecycle::default();
        assert_eq!(lifecycle.stage(), Stage::Starting);
        lifecycle.enter(Stage::Draining);
        lifecycle.enter(Stage::Running);
        assert_eq!(lifecycle.stage(), Stage::Draining);
        lifecycle.enter(Stage::Stopped);
        assert_eq!(lifecycle.stage(), Stage::Stopped);
    }
}
