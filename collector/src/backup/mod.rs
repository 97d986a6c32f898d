//! Backups: a data directory that a collector can be started in, copied while another one runs in the original.
//!
//! ```text
//! martlet.db   one read transaction: the store as of one moment, with P (counted) and A (archived) of the journal
//! journal/     opened right behind that moment, so that nothing from the lesser of P and A on is missing
//! archive/     exactly the files that the store of that moment lists
//! reports/     finished reports, and analysts' notes, as they are a moment later
//! ca/          the collector's own CA, with its key
//! ```
//!
//! The store says of each record of the journal whether it is counted and whether it is archived, so a collector that starts in
//! the copy goes on there as after a crash: nothing counts twice, and nothing is lost that was acknowledged before the moment.
//!
//! Files of the archive are never changed, and their names never used again. If one is replaced before it is copied, the backup
//! begins again with a newer moment, and keeps what it has copied.
//!
//! - `command`: the command line.
//! - `copy`: one backup, from an empty directory to one that is whole and durable.
//! - `segments`: the files of the journal.

mod command;
mod copy;
mod error;
mod segments;

pub use command::Arguments;
pub use error::BackupError;
