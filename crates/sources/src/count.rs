//! Numbers that can be read while a source runs.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that tasks change and others read.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds to it.
    pub fn add(&self, more: usize) {
        self.0.fetch_add(as_u64(more), Ordering::Relaxed);
    }

    /// Takes from it.
    pub fn subtract(&self, less: usize) {
        self.0.fetch_sub(as_u64(less), Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: usize) {
        self.0.store(as_u64(value), Ordering::Relaxed);
    }
}

fn as_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
