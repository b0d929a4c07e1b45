//! What can go wrong with a store, in words that say what to do.

use std::path::PathBuf;

/// A failure that trying again will not mend.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file is not one of Dormouse's.
    #[error("{path} is an SQLite database, but not a Dormouse store; choose another store.path")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file is no database, or is damaged.
    #[error(
        "{path} is damaged or no SQLite database ({detail}); move it away and start again with an empty store, or restore a backup"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        detail: String,
    },
    /// Written by a newer version.
    #[error(
        "{path} was written by a newer Dormouse (format {found}, this one knows {known}); upgrade Dormouse"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The format found.
        found: i64,
        /// The newest known.
        known: i64,
    },
    /// Another process writes to it.
    #[error(
        "{path} is in use by another dormouse process{holder}; stop it, or give this one a store.path of its own"
    )]
    Locked {
        /// The file.
        path: PathBuf,
        /// ` (pid N)`, or nothing.
        holder: String,
    },
    /// There is no such file.
    #[error("there is no store at {path}; `dormouse run` makes one at its store.path")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The folder or the file cannot be written.
    #[error(
        "cannot write {path}: {detail}; the folder and the file must be writable by the user that runs dormouse"
    )]
    NotWritable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        detail: String,
    },
    /// Anything else.
    #[error("{path}: {detail}")]
    Other {
        /// The file.
        path: PathBuf,
        /// SQLite's or the system's words.
        detail: String,
    },
}
