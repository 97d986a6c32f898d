//! What can go wrong with the detector's thread.

use std::io;

use martlet_detect::StateError;
use thiserror::Error;

use crate::archive::ArchiveError;
use crate::events::EventError;
use crate::journal::Stall;

/// Why nothing is detected for now.
#[derive(Debug, Error)]
pub enum DetectError {
    /// The store fails, or what it says of the journal cannot be read.
    #[error(transparent)]
    Catalog(#[from] ArchiveError),
    /// Events cannot be written.
    #[error(transparent)]
    Events(#[from] EventError),
    /// The journal cannot be read.
    #[error("cannot read the journal: {0}")]
    Journal(#[source] io::Error),
    /// A state cannot be written.
    #[error(transparent)]
    State(#[from] StateError),
    /// A library cannot allocate its state.
    #[error("cannot set up decompression: {0}")]
    Decompressor(#[source] io::Error),
}

impl From<rusqlite::Error> for DetectError {
    fn from(error: rusqlite::Error) -> DetectError {
        DetectError::Catalog(error.into())
    }
}

impl DetectError {
    /// Why it stalls.
    #[must_use]
    pub fn stall(&self) -> Stall {
        match self {
            DetectError::Catalog(error) if error.is_full() => Stall::DiskFull,
            DetectError::Events(EventError::Sqlite(error))
                if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) =>
            {
                Stall::DiskFull
            }
            DetectError::Journal(error) | DetectError::Decompressor(error) => Stall::of(error),
            _ => Stall::DiskFailing,
        }
    }
}
