//! One writer at a time, by a lock on a file beside the database that dies with its process.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::StoreError;

/// Held as long as the store is open for writing.
pub(super) struct WriterLock {
    _file: File,
}

impl WriterLock {
    pub(super) fn take(store: &Path) -> Result<Self, StoreError> {
        let path = lock_path(store);
        let not_writable =
            |error: std::io::Error| StoreError::NotWritable { path: path.clone(), detail: error.to_string() };
        let open = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
        let mut file = open.map_err(not_writable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = std::fs::read_to_string(&path).unwrap_or_default();
                let pid = pid.trim();
                let holder = if pid.is_empty() { String::new() } else { format!(" (pid {pid})") };
                return Err(StoreError::Locked { path: store.into(), holder });
            }
            Err(TryLockError::Error(error)) => return Err(not_writable(error)),
        }
        // Only for the message above; the lock is what counts.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }
}

fn lock_path(store: &Path) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// Makes the folder of the store if there is none.
pub(super) fn prepare_folder(store: &Path) -> Result<(), StoreError> {
    if store.is_dir() {
        let detail = "it is a folder; store.path names a file".to_owned();
        return Err(StoreError::NotWritable { path: store.into(), detail });
    }
    match store.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => std::fs::create_dir_all(folder)
            .map_err(|error| StoreError::NotWritable { path: folder.into(), detail: error.to_string() }),
        _ => Ok(()),
    }
}
