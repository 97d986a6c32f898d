//! The archive: every count row, in Parquet, for any tool that reads it. docs/archive.md specifies the files.
//!
//! - [`Row`], [`Labels`]: a row in memory, and what rows share.
//! - [`FileWriter`], [`FileReader`]: one file.
//! - [`Merge`]: the rows of several files as one ascending sequence.

mod error;
mod merge;
mod read;
mod row;
mod schema;
mod write;

pub use error::ArchiveError;
pub use merge::Merge;
pub use read::FileReader;
pub use row::{COARSE_V4, COARSE_V6, Labels, Network, Observer, Row, coarse};
pub use write::{FileWriter, Written};
