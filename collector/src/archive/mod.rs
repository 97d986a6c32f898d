//! The archive: every count row, in Parquet, for any tool that reads it. docs/archive.md specifies the files.
//!
//! ```text
//! journal --committed records--> Archiver -> one file for each run and UTC day -> archive/date=YYYY-MM-DD/
//!                                   |                                                   ^
//!                                   |  merges small files, masks and coarsens sources,  |
//!                                   |  deletes what is too old -------------------------/
//!                                   v
//!                                Catalog (SQLite): files, position in the journal, what has begun
//! ```
//!
//! Every operation stands in the catalog before it begins, so that a crash at any step is followed by the same files.
//!
//! - [`Archiver`]: the thread.
//! - `append`, `replace`: what it does. `command`: what is asked of it on the command line.
//! - [`Catalog`], [`Directory`]: where it notes what it does, and where it does it.
//!
//! The files themselves are [`martlet_archive`]'s.

mod append;
mod archiver;
mod catalog;
pub(crate) mod command;
mod directory;
mod error;
pub(crate) mod export;
#[cfg(test)]
mod fuse;
mod openmetrics;
mod replace;
mod state;
#[cfg(test)]
mod tests;

pub use append::network_of;
pub use archiver::{Archiver, Parts};
pub use catalog::{ArchiveFile, Catalog, Erasure, Operation, Progress};
pub use directory::{Directory, date, day_of};
pub use error::ArchiveError;
pub use martlet_archive::{
    COARSE_V4, COARSE_V6, FileError, FileReader, FileWriter, Labels, Merge, Network, Observer, PortSearch, Row, Search,
    Written, coarse,
};
pub use state::ArchiveState;

/// The key under which a file's metadata says what regions of sources were looked up in.
pub(crate) const REGION_DATA: &str = "martlet.region_data";
