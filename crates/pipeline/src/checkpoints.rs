//! How far sources have come in their streams.
//!
//! A checkpoint is in the epoch that holds the effect of what was read up to it, so after a crash a source goes on exactly
//! behind what is durable.

use std::collections::{BTreeMap, BTreeSet};

use dormouse_model::{Checkpoint, ShardPosition};

/// Source, stream, shard.
type Name = (Box<str>, Box<str>, Box<str>);

/// How far all sources have come.
#[derive(Clone, Debug, Default)]
pub struct Checkpoints {
    positions: BTreeMap<Name, ShardPosition>,
    changed: BTreeSet<Name>,
}

impl Checkpoints {
    /// What was stored, as source and checkpoint.
    pub fn restore(stored: impl IntoIterator<Item = (Box<str>, Checkpoint)>) -> Self {
        let mut checkpoints = Self::default();
        for (source, Checkpoint { stream, shard, at }) in stored {
            checkpoints.positions.insert((source, stream, shard), at);
        }
        checkpoints
    }

    /// A source has come this far.
    pub fn note(&mut self, source: &str, checkpoint: Checkpoint) {
        let Checkpoint { stream, shard, at } = checkpoint;
        let name = (source.into(), stream, shard);
        self.changed.insert(name.clone());
        if at == ShardPosition::Forgotten {
            self.positions.remove(&name);
        } else {
            self.positions.insert(name, at);
        }
    }

    /// How far a source has come.
    pub fn of_source(&self, source: &str) -> Vec<Checkpoint> {
        let of_source = self.positions.iter().filter(|((name, _, _), _)| &**name == source);
        let checkpoint = |((_, stream, shard), at): (&Name, &ShardPosition)| Checkpoint {
            stream: stream.clone(),
            shard: shard.clone(),
            at: at.clone(),
        };
        of_source.map(checkpoint).collect()
    }

    /// What changed since this was last asked, for the store. Forgotten ones say so.
    pub fn take_changed(&mut self) -> Vec<(Box<str>, Checkpoint)> {
        let changed = std::mem::take(&mut self.changed);
        let checkpoint = |name: Name| {
            let at = self.positions.get(&name).cloned().unwrap_or(ShardPosition::Forgotten);
            let (source, stream, shard) = name;
            (source, Checkpoint { stream, shard, at })
        };
        changed.into_iter().map(checkpoint).collect()
    }
}
