//! Readers for a process that asks often: opening one costs more than most questions.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::Reader;
use crate::StoreError;

/// Readers of one store.
pub struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Reader>>,
}

/// So many are kept open.
const MOST_IDLE: usize = 8;

impl Readers {
    /// Readers of the store at `path`, which is opened when it is first asked.
    pub fn of(path: PathBuf) -> Self {
        Self { path, idle: Mutex::default() }
    }

    /// Asks a reader that sees the store as it is at one moment. Blocks on the disk.
    pub fn read<R, E: From<StoreError>>(&self, ask: impl FnOnce(&Reader) -> Result<R, E>) -> Result<R, E> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let reader = match idle {
            Some(reader) => {
                reader.begin()?;
                reader
            }
            None => Reader::open(&self.path)?,
        };
        let answer = ask(&reader);
        // A reader that cannot let go of its moment is closed instead of kept.
        if reader.end().is_ok() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < MOST_IDLE {
                idle.push(reader);
            }
        }
        answer
    }
}
