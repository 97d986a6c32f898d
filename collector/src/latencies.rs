//! How long things take on the way from a sensor's window to what readers see.

use std::sync::Arc;
use std::time::Instant;

use martlet_telemetry::latency::Latency;

/// All latencies of the collector. Clones share what they count.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    /// From when a batch's frame had been read whole to when its Ack had been written to the connection: decoding, waiting,
    /// deciding, the sync, and writing. One value for each batch that was acknowledged, live or out of a backlog.
    pub acknowledgement: Arc<Latency>,
    /// From when a connection submitted something to the journal stage to when its group began to be decided: the wait for
    /// those before it, and for a disk that stalls. One value for each submission, which may be several batches.
    pub queue_wait: Arc<Latency>,
    /// One sync of the journal, which makes a group durable; of those that worked.
    pub journal_sync: Arc<Latency>,
    /// Taking one worker's tables into the live store.
    pub merge: Arc<Latency>,
    /// One commit to the store, of those that worked.
    pub commit: Arc<Latency>,
    /// From the end of a window to the publication of the first view with its batch, by the wall clock. One value for each
    /// live batch of real traffic. What comes out of a backlog or the journal is late for other reasons, and has none.
    pub freshness: Arc<Latency>,
}

impl Latencies {
    /// Each with its name in `/api/v1/status`.
    #[must_use]
    pub fn each(&self) -> [(&'static str, &Arc<Latency>); 6] {
        [
            ("acknowledgement", &self.acknowledgement),
            ("queue_wait", &self.queue_wait),
            ("journal_sync", &self.journal_sync),
            ("merge", &self.merge),
            ("commit", &self.commit),
            ("freshness", &self.freshness),
        ]
    }

    /// Lets go of what is not recent any more; see [`Latency::rotate`].
    pub fn rotate(&self, now: Instant) {
        self.each().iter().for_each(|(_, latency)| latency.rotate(now));
    }
}
