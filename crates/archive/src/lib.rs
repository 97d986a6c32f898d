//! The files of the collector's archive: count rows in Parquet. docs/archive.md specifies the columns.
//!
//! ```text
//! Row, Labels  --FileWriter-->  file  --FileReader-->  Row, Labels
//!                               files --Merge------->  one ascending sequence
//!                               file  --Search------>  the rows of one source
//!                               file  --PortSearch-->  the rows of one port
//! ```
//!
//! What many rows share (who observed, whose the source is) stands once in [`Labels`], so that a row in memory is small. Memory is
//! bounded: a writer holds one row group, a reader a page of each column.
//!
//! A crate of its own because the typed columns of the format take a minute to compile, and change seldom.

mod chunk;
mod error;
mod merge;
mod port_search;
mod read;
mod region;
mod row;
mod schema;
mod search;
mod write;

pub use error::FileError;
pub use merge::Merge;
pub use port_search::PortSearch;
pub use read::FileReader;
pub use region::Region;
pub use row::{COARSE_V4, COARSE_V6, Labels, Network, Observer, Row, coarse};
pub use schema::ROW_GROUP_ROWS;
pub use search::Search;
pub use write::{FileWriter, Written};
