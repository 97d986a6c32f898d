//! The journal stage: the single place that decides what counts, and that makes it durable before anybody is told.
//!
//! ```text
//! ingest::connection --Submission--> Stage            one thread: decide, append, one fsync for all that waited
//!        ^                            |  |
//!        +--Answers-- (after fsync) --+  +--Job::Count--> workers --tables--> merger --Snapshot--> store::Committer
//!        ^                               +--Job::Cut----> (all meet) --Checkpoint-^                     |
//!        +--committed positions move <--- release the journal <------- Request::Committed --------------+
//! ```
//!
//! - [`Ledger`]: positions, names, and the rules of sequence and chain. Pure; knows what to take back.
//! - [`Stage`]: turns of the above. It is pumped: a thread does it ([`Stage::run`]), or a simulation.
//! - [`Checkpoint`]: what the ledger knows at one record of the journal; it goes with the counts of all records before it
//!   into one transaction of the store.
//! - [`Sweeper`]: closes deleted segments, which takes too long for the stage.
//! - [`State`]: what others may know of it: whether it stalls and why, and counters.
//!
//! # What is guaranteed
//! 1. A record counts when it is durable: [`Ledger`]'s positions run ahead while a group is being written, and are taken
//!    back if it cannot be. What is published of positions, and every answer, is about durable records only.
//! 2. What counts is decided by position and chain alone, by the same code when it comes and when it is replayed. A record
//!    that stands twice in the journal (its group was written again) counts once.
//! 3. A commit at record P holds the effect of every record below P and of none from P on: the workers meet at a cut that
//!    lies in their queue exactly between them. A replay begins at P.

mod checkpoint;
mod group;
mod ledger;
mod queue;
pub(crate) mod record;
mod replay;
mod session;
mod stage;
mod state;
mod sweeper;

use martlet_wire::v1::Limits;

pub use checkpoint::{Checkpoint, StreamPosition};
pub use ledger::{Archive, Ledger, OpenError, Position, SensorRecord, Verdict};
pub use queue::{Answer, Answers, Entry, Queue, Request, Submission, queue};
pub use record::Record;
pub use session::{Session, StreamCell};
pub use stage::{Parts, Settings, Stage};
pub use state::{Condition, Counters, Health, Pulses, Stall, State};
pub use sweeper::Sweeper;

/// Limits of the journal: every batch that may come fits into a record.
#[must_use]
pub fn journal_settings(segment_bytes: u64, reserve_bytes: u64) -> martlet_journal::Settings {
    let max_record_bytes = Limits::default().max_batch_bytes + record::BATCH_PRELUDE;
    martlet_journal::Settings { segment_bytes, max_record_bytes, reserve_bytes }
}
