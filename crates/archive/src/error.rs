//! What can go wrong with a file.

use std::io;
use std::path::{Path, PathBuf};

use parquet::errors::ParquetError;
use thiserror::Error;

/// Why a file cannot be written or read.
#[derive(Debug, Error)]
pub enum FileError {
    /// The system refuses.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be read as Parquet, or not be written.
    #[error("a file of the archive: {0}")]
    Parquet(#[from] ParquetError),
    /// It is not what this program writes.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

impl FileError {
    /// For `map_err`: what was tried, where.
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
        move |source| FileError::Io { what, path: path.to_owned(), source }
    }

    /// For `map_err` of a compressor.
    pub(crate) fn compression(source: io::Error) -> FileError {
        FileError::Parquet(ParquetError::External(Box::new(source)))
    }

    /// The error of the system behind it, if there is one.
    #[must_use]
    pub fn io_error(&self) -> Option<&io::Error> {
        match self {
            FileError::Io { source, .. } => Some(source),
            FileError::Parquet(ParquetError::External(error)) => error.downcast_ref(),
            _ => None,
        }
    }
}
