//! A seeded simulation of sensors, a network and a collector in one process.
//!
//! ```text
//! batch (what is seen) --> sensor (spool, uplink) --> network (pipe) --> collector (gate, stages, store)
//!     |                      on a simulated disk                          on a simulated disk, SQLite in memory
//!     v
//! model (what must have been counted) -------------- verdict <------------ view, hours
//! ```
//!
//! Spool, uplink, ingest, journal, ledger, counts and commits are the real ones. Time is tokio's, paused, on one thread, so
//! that the same seed gives the same world: [`campaign::run`] lives through one. What goes wrong is decided by
//! the seed (`plan`), caused by `world` and by the simulated disks, and counted (`tally`).
//!
//! The model does not share the code under test: it knows which batches a spool took, and what may excuse the loss of each.
//! Every batch leaves a digit of its own in the counters of rejected frames, so that it shows in any sum
//! whether it counts not at all, once or more often (`batch`).

mod batch;
pub mod campaign;
pub mod cli;
mod clock;
mod collector;
mod model;
mod network;
mod pipe;
mod plan;
mod random;
mod sensor;
mod tally;
mod verdict;
mod world;

pub use tally::Tally;
pub use verdict::Findings;
