//! The store: what survives. One SQLite database, and one transaction that makes each commit count.
//!
//! A commit holds everything up to one record of the journal, and the number of that record: so the counts and the
//! place where a replay begins are never apart. docs/store.md specifies the tables.
//!
//! - [`Store`]: opens the database, brings its schema up to date, loads what the collector starts with.
//! - [`Store::commit`]: long lists in pieces, then one transaction. History is not part of it: [`crate::rollup`] makes that
//!   from the archive.
//! - [`Committer`]: makes commits of snapshots, on a thread or pumped.
//! - [`Reader`]: positions of streams that are not in memory, and hours of loss and exposure that are not.
//! - [`DirectoryLock`]: one collector in one directory.

mod commit;
mod committer;
mod load;
mod lock;
mod reader;
mod schema;
mod sql;

pub use committer::Committer;
pub use load::Loaded;
pub use lock::{DirectoryLock, LockError};
pub use reader::Reader;
pub(crate) use schema::{BUSY_TIMEOUT, CHECKPOINT_BYTES};
pub use schema::{Location, SCHEMA_VERSION, STORE_NAME, Store, StoreError};
pub(crate) use sql::Bits;
