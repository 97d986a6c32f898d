//! Why there is no backup.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::copy::ATTEMPTS;
use crate::archive::ArchiveError;
use crate::store::SCHEMA_VERSION;

/// Why there is no backup. What was copied is removed again.
#[derive(Debug, Error)]
pub enum BackupError {
    /// There is nothing to be copied.
    #[error("there is no store in {}: give the collector's --data-dir, or its configuration with --config", .0.display())]
    NoStore(PathBuf),
    /// It was written by another version.
    #[error(
        "the store has schema version {found}, and this program copies version {SCHEMA_VERSION}: a newer store needs a newer \
         martlet-collector, an older one is brought forward when the collector starts"
    )]
    Version {
        /// The version found.
        found: i64,
    },
    /// Something is there already.
    #[error("{} exists and is not an empty directory: name one that does not exist; a backup replaces nothing", .0.display())]
    Exists(PathBuf),
    /// Another backup is being written there, or did not end.
    #[error(
        "{} exists: another backup is being written to it, or one was interrupted; if none is running, delete it", .0.display()
    )]
    Unfinished(PathBuf),
    /// A backup appears under its name when it is whole, and that is not possible here.
    #[error("{} is a mount point or has no parent directory: name a new directory in it", .0.display())]
    NotMovable(PathBuf),
    /// It would become part of what it copies.
    #[error("{} lies in what is to be copied, {}: name a directory outside", output.display(), within.display())]
    Within {
        /// What was asked for.
        output: PathBuf,
        /// Where it lies.
        within: PathBuf,
    },
    /// A file or directory fails.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The store cannot be read, or its copy not written.
    #[error("cannot copy the store: {0}")]
    Store(#[from] rusqlite::Error),
    /// A day of the archive has no date.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// What the store lists was gone whenever it was to be copied.
    #[error(
        "{} was gone, or replaced, {ATTEMPTS} times in a row; if no collector is running, start it once: it finishes what was \
         interrupted", .0.display()
    )]
    Restless(PathBuf),
}

impl BackupError {
    /// For `map_err`: what was tried, where.
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError {
        move |source| BackupError::Io { what, path: path.to_owned(), source }
    }
}
