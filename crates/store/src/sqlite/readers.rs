//! Readers for a process that asks often: opening one costs more than most questions.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Reader;
use crate::StoreError;

/// Readers of one store.
pub struct Readers {
    path: PathBuf,
    /// `None` once closed.
    idle: Mutex<Option<Vec<Reader>>>,
}

/// So many are kept open.
const MOST_IDLE: usize = 8;

impl Readers {
    /// Readers of the store at `path`, which is opened when it is first asked.
    pub fn of(path: PathBuf) -> Self {
        Self { path, idle: Mutex::new(Some(Vec::new())) }
    }

    /// Asks a reader that sees the store as it is at one moment. Blocks on the disk.
    pub fn read<R, E: From<StoreError>>(&self, ask: impl FnOnce(&Reader) -> Result<R, E>) -> Result<R, E> {
        let idle = self.lock().as_mut().and_then(Vec::pop);
        let reader = match idle {
            Some(reader) => {
                reader.begin()?;
                reader
            }
            None => Reader::open(&self.path)?,
        };
        let answer = ask(&reader);
        // A reader that cannot let go of its moment is closed instead of kept.
        if reader.end().is_ok()
            && let Some(idle) = &mut *self.lock()
            && idle.len() < MOST_IDLE
        {
            idle.push(reader);
        }
        answer
    }

    /// Closes the idle readers and keeps none from now on: a store whose writer is the last to close it is left as one
    /// file, without a write-ahead log beside it.
    pub fn close(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Reader>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
