//! Worker threads: they decode batches, and count those that the ledger accepted into tables of their own.
//!
//! Batches come by ownership through one bounded queue that all workers take from; nothing on this path takes a lock.
//! Every merge interval, or when they have grown large, a worker hands its tables to the merger and goes on with empty
//! ones. Counting is additive, so it does not matter which worker counts what.

mod delta;
mod worker;

pub use delta::{BucketDelta, ClassDelta, Counts, Delta, RecentDelta, Rules, SensorCounts, SensorReport};
pub use worker::{Counters, Decoded, Encoded, Job, Plan, Worker};
