//! What the ledger knows at one record of the journal.

use std::ops::Range;

use martlet_wire::v1::Stream;
use tokio::sync::oneshot;

use super::ledger::{Position, SensorRecord};
use crate::ingest::SensorId;

/// Where a stream goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamPosition {
    /// Which stream.
    pub stream: Stream,
    /// Whose.
    pub sensor: SensorId,
    /// Where it goes on.
    pub position: Position,
}

/// What has changed up to a record, as far as the ledger knows it. The counts travel beside it.
#[derive(Debug, Default)]
pub struct Checkpoint {
    /// Everything below this record is in it, and nothing else.
    pub record: u64,
    /// Sensors that are new since the checkpoint before, in order; the first has the number `first_sensor`.
    pub sensors: Vec<SensorRecord>,
    /// Number of the first of `sensors`.
    pub first_sensor: usize,
    /// Streams that moved since the checkpoint before.
    pub streams: Vec<StreamPosition>,
    /// Records that a replay did not count: damaged, behind damage, or written twice. Whoever reads the journal later must not
    /// count them either.
    pub skipped: Vec<Range<u64>>,
    /// Told once the counts up to the record are visible to readers.
    pub visible: Option<oneshot::Sender<()>>,
}
