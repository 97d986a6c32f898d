//! From payloads to columns whose every rule was checked.

use martlet_window::{BatchHeader, Digest, TrafficClass};
use martlet_wire::WireError;
use martlet_wire::v1::{BatchView, Columns, Limits, digest};

use crate::ingest::Share;

/// Columns are kept for later batches while they have room for at most so many rows in all: large batches must not hold
/// memory for ever.
const SPARE_ROWS: usize = 1 << 16;
/// How many columns are kept at most: about as many as two full groups of one connection.
const SPARE_COLUMNS: usize = 64;

/// A batch as it came.
#[derive(Debug)]
pub struct Encoded {
    /// The payload of a batch frame whose header was read.
    pub payload: Vec<u8>,
    /// What the payload takes of the memory for frames.
    pub payload_memory: Share,
    /// What the decoded batch takes of the memory for batches in flight; at least its decoded cost.
    pub memory: Share,
}

/// A batch whose columns were checked.
#[derive(Debug)]
pub struct Decoded {
    /// Its header.
    pub header: BatchHeader,
    /// Hash of its payload.
    pub digest: Digest,
    /// Its rows.
    pub columns: Columns,
    /// What it takes of the memory for batches in flight.
    pub memory: Share,
}

impl Decoded {
    /// Whether its arrival can tell how far its sensor's clock is off: the first part of a window that was captured live.
    #[must_use]
    pub fn is_measurable(&self) -> bool {
        self.header.class == TrafficClass::Real && self.header.part == 0
    }
}

/// Decodes batches. Buffers and decompression state are reused from batch to batch.
pub struct Decoder {
    limits: Limits,
    decompressor: zstd::bulk::Decompressor<'static>,
    raw: Vec<u8>,
    spare: Vec<Columns>,
    /// Rows that the spare columns have room for.
    spare_rows: usize,
}

impl Decoder {
    /// A decoder that believes a peer's lengths within these limits.
    ///
    /// # Errors
    /// If the decompression library cannot allocate its state.
    pub fn new(limits: Limits) -> std::io::Result<Decoder> {
        let decompressor = zstd::bulk::Decompressor::new()?;
        Ok(Decoder { limits, decompressor, raw: Vec::new(), spare: Vec::new(), spare_rows: 0 })
    }

    /// Reads and checks a payload. `memory` is what the decoded batch takes.
    ///
    /// # Errors
    /// If it breaks a rule.
    pub fn decode(&mut self, payload: &[u8], memory: Share) -> Result<Decoded, WireError> {
        let view = BatchView::read(payload, &self.limits)?;
        let mut columns = self.spare.pop().unwrap_or_default();
        self.spare_rows -= room(&columns);
        match view.columns(&mut self.decompressor, &mut self.raw, &mut columns) {
            Ok(()) => Ok(Decoded { header: view.header, digest: digest(payload), columns, memory }),
            Err(error) => {
                self.keep(columns);
                Err(error)
            }
        }
    }

    /// Takes back columns that are not needed any more.
    pub fn keep(&mut self, columns: Columns) {
        let rows = self.spare_rows + room(&columns);
        if rows <= SPARE_ROWS && self.spare.len() < SPARE_COLUMNS {
            self.spare_rows = rows;
            self.spare.push(columns);
        }
    }

    /// Gives back the memory of an unusually large batch.
    pub fn trim(&mut self) {
        if self.raw.capacity() > SPARE_ROWS * 16 {
            self.raw = Vec::new();
        }
    }
}

/// Rows that columns have room for.
fn room(columns: &Columns) -> usize {
    columns.sources.capacity()
}
