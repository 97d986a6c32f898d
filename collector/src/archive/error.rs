//! What can go wrong with the archive.

use std::io;
use std::path::{Path, PathBuf};

use martlet_archive::FileError;
use thiserror::Error;

use crate::rollup::RollupError;
use crate::store::StoreError;

/// Why something of the archive cannot be done.
#[derive(Debug, Error)]
pub enum ArchiveError {
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
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The catalog fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What history knows of sources cannot be erased.
    #[error(transparent)]
    History(#[from] Box<RollupError>),
    /// The journal cannot be read.
    #[error("cannot read the journal: {0}")]
    Journal(io::Error),
    /// Rows of a window that no calendar has a date for.
    #[error("day {0} since 1970 has no date")]
    Day(i64),
    /// The archive is to stop.
    #[error("the archive stops")]
    Stopping,
    /// A crash that a test asked for.
    #[cfg(test)]
    #[error("a crash that a test asked for")]
    Crash,
}

impl From<rusqlite::Error> for ArchiveError {
    fn from(error: rusqlite::Error) -> ArchiveError {
        ArchiveError::Store(error.into())
    }
}

impl ArchiveError {
    /// For `map_err`: what was tried, where.
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ArchiveError {
        move |source| ArchiveError::Io { what, path: path.to_owned(), source }
    }

    /// Whether there is no room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            ArchiveError::Io { source, .. } => is_full(source),
            ArchiveError::File(error) => error.io_error().is_some_and(is_full),
            ArchiveError::Store(error) => error.is_full(),
            ArchiveError::History(error) => error.is_full(),
            _ => false,
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
