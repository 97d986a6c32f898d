//! Worker threads: they decode batches, and count those that were accepted into tables of their own.
//!
//! Work comes by ownership through two bounded queues that all workers take from: payloads to decode, which acknowledgements
//! wait for and which go first, and what was accepted, in its order. Nothing on this path takes a lock.
//! Every merge interval, or when they have grown large, a worker hands its tables to the merger and goes on with empty
//! ones. Counting is additive, so it does not matter which worker counts what. At a [`Cut`] all workers hand over
//! before any goes on, so that the merger holds exactly what was counted before it.

mod decoder;
mod delta;
mod hash;
mod hours;
mod log;
mod owners;
mod sources;
mod worker;

pub use decoder::{Decoded, Decoder, Encoded};
pub use delta::{
    Arrival, BucketDelta, ClassDelta, Counts, Delta, RecentDelta, Rules, SensorCounts, SensorReport, Sums,
};
pub use hash::SourceHash;
pub use hours::{HOUR_SECONDS, HourKey, Hours, Loss, SensorHour};
pub use owners::{OwnerCounter, OwnerKey};
pub use sources::SourceCounts;
pub use worker::{Counted, Counters, Cut, DecodeJob, DecodedGroup, HandOver, Job, Plan, Worker, WorkerQueues};
