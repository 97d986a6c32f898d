//! What can go wrong with rollups.

use std::path::PathBuf;

use thiserror::Error;

use crate::archive::FileError;
use crate::store::StoreError;

/// Why something of history cannot be done.
#[derive(Debug, Error)]
pub enum RollupError {
    /// The archive cannot be read.
    #[error("cannot read the archive: {0}")]
    Archive(#[from] FileError),
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file holds a window of another day than the one that it is a file of.
    #[error(
        "a file of {expected} holds a window that starts {found} s after 1970: take the file out of the archive's catalog"
    )]
    OtherDay {
        /// The day of its files.
        expected: String,
        /// Start of the window.
        found: i64,
    },
    /// Files of the day were replaced again and again while they were read.
    #[error(
        "the archive's files of {day} were replaced {times} times while they were read; the day stays marked to be done again"
    )]
    Moving {
        /// The day.
        day: String,
        /// How often they were read.
        times: u32,
    },
    /// A file is in the catalog, and not in the directory.
    #[error("{} is in the archive's catalog, and is not there: restore it, or rebuild the catalog", .0.display())]
    Missing(PathBuf),
    /// A time that rollups cannot tell apart.
    #[error("{what} = {time} is not at a quarter hour: history is kept by the quarter hour")]
    Unaligned {
        /// Which time.
        what: &'static str,
        /// In seconds since the Unix epoch.
        time: i64,
    },
    /// A time that ends before it begins, or is longer than what is answered.
    #[error("from {from} to {to}: take from before to, and at most {most_days} days")]
    Span {
        /// In seconds since the Unix epoch.
        from: i64,
        /// In seconds since the Unix epoch.
        to: i64,
        /// Longest time.
        most_days: i64,
    },
    /// What is asked for is not kept.
    #[error("{0}")]
    NotKept(&'static str),
    /// The answer would take too long.
    #[error("it would take too long")]
    TooLong,
    /// An exclusion that cannot be made.
    #[error("{0}")]
    Exclusion(String),
}

impl From<rusqlite::Error> for RollupError {
    fn from(error: rusqlite::Error) -> RollupError {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::OperationInterrupted) => RollupError::TooLong,
            _ => RollupError::Store(error.into()),
        }
    }
}

impl RollupError {
    /// For `ok_or_else`: a row that has no meaning.
    pub(super) fn damaged(table: &'static str) -> impl Fn() -> RollupError {
        move || RollupError::Store(StoreError::Damaged(table))
    }
}

impl RollupError {
    /// Whether there is no room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            RollupError::Store(error) => error.is_full(),
            RollupError::Archive(error) => {
                error.io_error().is_some_and(|error| error.kind() == std::io::ErrorKind::StorageFull)
            }
            _ => false,
        }
    }
}
