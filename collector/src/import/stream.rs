//! The batches of one file, as they are made: what the ledger has is left out, the rest goes on in groups.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use martlet_observe::batch::{BatchSink, Fresh, Place};
use martlet_window::Digest;
use martlet_wire::v1::{BatchView, FRAME_HEADER_LENGTH, Limits};
use tokio::sync::mpsc;

/// Batches that are handed over together, at most: for small ones waking costs more than work.
const GROUP_BATCHES: usize = 128;
/// And bytes of their payloads, not counting the last.
const GROUP_BYTES: usize = 1 << 20;
/// Groups that wait for the feed.
pub(super) const GROUPS_AHEAD: usize = 2;

/// A batch that was made.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) sequence: u64,
    pub(super) rows: u32,
    pub(super) payload: Vec<u8>,
}

/// Where a stream goes on, as the ledger says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    /// The sequence number that is wanted next.
    pub(super) expected: u64,
    /// Hash of the batch before it; `None` if it is not known.
    pub(super) predecessor: Option<Digest>,
}

/// What a stream had.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Contents {
    pub(super) rows: u64,
    /// Batches, whether new or not.
    pub(super) batches: u64,
    /// Whether the batches that the ledger has are others than these.
    pub(super) differ: bool,
}

/// Takes the batches of one file.
pub(super) struct FileStream {
    place: Place,
    known: Known,
    group: Vec<Made>,
    group_bytes: usize,
    groups: mpsc::Sender<Vec<Made>>,
    /// Set when nothing more of the file is wanted.
    over: Arc<AtomicBool>,
    contents: Contents,
}

impl FileStream {
    pub(super) fn new(epoch: u64, known: Known, groups: mpsc::Sender<Vec<Made>>, over: Arc<AtomicBool>) -> FileStream {
        let place = Place { epoch, sequence: 0, predecessor: Digest::default() };
        FileStream { place, known, group: Vec::new(), group_bytes: 0, groups, over, contents: Contents::default() }
    }

    /// Hands over what is left. There are no more batches.
    pub(super) fn finish(mut self) -> Contents {
        self.hand_over();
        self.contents
    }

    fn hand_over(&mut self) {
        self.group_bytes = 0;
        let group = std::mem::take(&mut self.group);
        // A feed that has ended knows why.
        if !group.is_empty() && self.groups.blocking_send(group).is_err() {
            self.over.store(true, Relaxed);
        }
    }
}

impl BatchSink for FileStream {
    fn place(&mut self) -> Place {
        self.place
    }

    fn push(&mut self, batch: &Fresh<'_>) {
        let Place { epoch, sequence, .. } = self.place;
        // As many batches as a u64 has are in no file.
        self.place = Place { epoch, sequence: sequence.saturating_add(1), predecessor: batch.digest };
        let payload = batch.frame.get(FRAME_HEADER_LENGTH..).unwrap_or_default();
        // What cannot be read, and it was just made, is refused as malformed.
        let rows = BatchView::read(payload, &Limits::default()).map_or(0, |view| view.rows);
        self.contents.batches += 1;
        self.contents.rows += u64::from(rows);
        if sequence < self.known.expected {
            let is_last = sequence + 1 == self.known.expected;
            if is_last && self.known.predecessor.is_some_and(|known| known != batch.digest) {
                self.contents.differ = true;
                self.over.store(true, Relaxed);
            }
            return;
        }
        if self.over.load(Relaxed) {
            return;
        }
        self.group_bytes += payload.len();
        self.group.push(Made { sequence, rows, payload: payload.to_vec() });
        if self.group.len() >= GROUP_BATCHES || self.group_bytes >= GROUP_BYTES {
            self.hand_over();
        }
    }
}
