//! What the server shows.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use dormouse_model::{Clock, EventTime};
use dormouse_pipeline::{Control, LiveView, Progress};
use dormouse_sources::health::SourceHealth;
use dormouse_sources::sqs::SqsStats;
use tokio::sync::watch;

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
    /// What it is: `sqs`.
    pub kind: &'static str,
    /// What works and what does not.
    pub health: watch::Receiver<SourceHealth>,
    /// Its counters and gauges.
    pub stats: Arc<SqsStats>,
}

/// The sources that have been started, in that order.
#[derive(Debug, Default)]
pub struct SourceStates(RwLock<Vec<SourceState>>);

impl SourceStates {
    /// Shows one more.
    pub fn add(&self, source: SourceState) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(source);
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
