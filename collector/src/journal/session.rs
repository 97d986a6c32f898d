//! What a connection and the journal stage share.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use martlet_wire::v1::Stream;

use crate::ingest::SensorId;
use crate::signal::Once;

/// One connection, as the journal stage knows it.
#[derive(Debug)]
pub struct Session {
    /// Different for every connection of a process.
    pub number: u64,
    superseded: Once,
}

impl Session {
    /// A connection of this number.
    #[must_use]
    pub fn new(number: u64) -> Session {
        Session { number, superseded: Once::default() }
    }

    /// A newer connection has opened a stream of this one.
    pub fn supersede(&self) {
        self.superseded.happen();
    }

    /// Waits until that happens.
    pub async fn superseded(&self) {
        self.superseded.happened().await;
    }
}

/// A stream whose position somebody wants to know: what is safe of it.
#[derive(Debug)]
pub struct StreamCell {
    /// Which stream.
    pub stream: Stream,
    /// Whose.
    pub sensor: SensorId,
    journaled: AtomicU64,
    committed: AtomicU64,
}

impl StreamCell {
    /// A stream whose batches below `position` are committed.
    #[must_use]
    pub fn new(stream: Stream, sensor: SensorId, position: u64) -> StreamCell {
        StreamCell { stream, sensor, journaled: AtomicU64::new(position), committed: AtomicU64::new(position) }
    }

    /// Batches below this sequence number are durable in the journal or the store.
    #[must_use]
    pub fn journaled(&self) -> u64 {
        self.journaled.load(Relaxed)
    }

    /// Batches below this sequence number are committed to the store.
    #[must_use]
    pub fn committed(&self) -> u64 {
        self.committed.load(Relaxed)
    }

    pub(super) fn publish(&self, journaled: u64) {
        self.journaled.store(journaled, Relaxed);
    }

    pub(super) fn commit(&self, committed: u64) {
        self.committed.fetch_max(committed, Relaxed);
    }
}
