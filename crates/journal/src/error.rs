//! What can go wrong, by what the caller can do about it.

use std::io;

use thiserror::Error;

/// Why a journal could not be opened. Never because of what its files contain.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The disk failed; opening again may succeed, and nothing was changed that would matter.
    #[error("cannot {action} {name}: {source}")]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file, or "the directory".
        name: String,
        /// What the disk said.
        source: io::Error,
    },
}

impl OpenError {
    pub(crate) fn io(action: &'static str, name: &str) -> impl FnOnce(io::Error) -> OpenError {
        move |source| OpenError::Io { action, name: name.to_owned(), source }
    }
}

/// Why a record was not appended.
#[derive(Debug, Error)]
pub enum AppendError {
    /// It would take the disk's free space below the reserve. Nothing changed.
    #[error("the disk is full: {free} bytes are free, {needed} are needed with the reserve")]
    Full {
        /// Bytes free now.
        free: u64,
        /// Bytes that would have to be free: the record and the reserve.
        needed: u64,
    },
    /// It is longer than `max_record_bytes`. Nothing changed.
    #[error("a record of {length} bytes is over the limit of {limit}")]
    TooLarge {
        /// Length of the record in bytes.
        length: u64,
        /// The limit in bytes.
        limit: u32,
    },
    /// The disk failed, perhaps for want of space. Nothing appended since `durable()` counts: `next()` is back there.
    #[error("cannot write the journal: {0}")]
    Io(#[from] io::Error),
}
