//! An append-only log of numbered records that survives crashes, torn writes, bit flips and full disks.
//!
//! The format is specified in docs/journal.md. The journal runs on the caller's thread, reads no clock and draws no
//! random numbers; it reaches storage only through a [`Disk`], so that the same code runs on [`RealDisk`] and, with the
//! feature `simulation`, on a disk that fails on request.
//!
//! ```text
//! append(record) ... append(record)  ->  sync()  ->  durable()  ->  reader(from)  ->  release(below)
//!                                        one fsync   what a crash    bounded           whole segments
//!                                        for all     cannot take     memory            are deleted
//! ```
//!
//! A directory holds **segments** of bounded size. [`Journal::open`] reads all of them and keeps every intact record,
//! whatever the bytes around it look like; it never writes to a segment of an earlier life.

mod disk;
mod error;
mod index;
mod journal;
mod open;
mod reader;
mod real;
mod scan;
#[cfg(feature = "simulation")]
pub mod simulated;
pub mod v1;
mod volume;

pub use disk::{Disk, DiskFile};
pub use error::{AppendError, OpenError};
pub use journal::{Journal, Settings};
pub use open::Recovery;
pub use reader::{Item, Reader};
pub use real::{RealDisk, RealFile, RealVolume};
pub use volume::Volume;
