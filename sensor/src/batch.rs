//! From a closed window part to a batch frame: the second thread of a sensor.

use crossbeam_channel::{Receiver, Sender, bounded};
use martlet_journal::Disk;
use martlet_window::{BatchHeader, CaptureStatistics, Exposure, Marks, Origin, Posture, TrafficClass};
use martlet_wire::WireError;
use martlet_wire::v1::{BatchEncoder, Totals};

use crate::aggregate::{Part, Sink, TableLimits, WindowTable};
use crate::spool::{Fresh, Place, SpoolWriter};

/// Closed parts that wait for the encoder, and tables that wait to be filled again.
const TABLES_IN_FLIGHT: usize = 2;
/// What the encoder's buffer keeps from batch to batch, in bytes.
const FRAME_BYTES: usize = 1 << 20;

/// What stays the same over all batches of a sensor's life.
#[derive(Clone, Debug)]
pub struct BatchIdentity {
    /// Whose observations.
    pub origin: Origin,
    /// Real, drill or import.
    pub class: TrafficClass,
    /// How the observed addresses behave.
    pub posture: Posture,
}

/// A part with what the capture knows about its time.
#[derive(Debug)]
pub struct Closing {
    /// The part.
    pub part: Part,
    /// How much was watched; `None` where it is unknown.
    pub exposure: Option<Exposure>,
    /// Frames that the kernel dropped since the part before.
    pub kernel_drops: u64,
    /// Frames that the interfaces dropped since the part before.
    pub interface_drops: u64,
    /// Marks that could not be decided.
    pub unavailable: Marks,
}

/// The capture thread's end of the hand-over: parts go out, empty tables come back.
///
/// The capture waits here only while all tables are with the encoder, which waits for the disk but never for the
/// network; the ring holds what arrives meanwhile.
#[derive(Debug)]
pub struct Handover {
    parts: Sender<Closing>,
    tables: Receiver<WindowTable>,
}

impl Handover {
    /// Hands a part over.
    pub fn send(&self, closing: Closing) {
        // The encoder is gone only when the program ends; the part goes with it.
        let _ = self.parts.send(closing);
    }

    /// An empty table that came back; waits for one.
    #[must_use]
    pub fn table(&self, limits: TableLimits) -> WindowTable {
        self.tables.recv().unwrap_or_else(|_| WindowTable::new(limits))
    }
}

/// The encoder's end.
#[derive(Debug)]
pub struct Batcher {
    parts: Receiver<Closing>,
    tables: Sender<WindowTable>,
    identity: BatchIdentity,
}

/// Connects a capture with an encoder.
#[must_use]
pub fn handover(identity: BatchIdentity) -> (Handover, Batcher) {
    let (parts, closed) = bounded(TABLES_IN_FLIGHT);
    let (returned, tables) = bounded(TABLES_IN_FLIGHT);
    (Handover { parts, tables }, Batcher { parts: closed, tables: returned, identity })
}

impl Batcher {
    /// Turns parts into batches until the capture ends, then looks after the spool until nobody sends from it any more.
    ///
    /// # Errors
    /// If a batch cannot be encoded.
    pub fn run<D: Disk>(self, mut spool: SpoolWriter<D>) -> Result<(), BatchError> {
        let mut encoder = BatchEncoder::new()?;
        let mut frame = Vec::new();
        let work = spool.work();
        let mut works = true;
        while works {
            crossbeam_channel::select! {
                recv(self.parts) -> closing => match closing {
                    Ok(closing) => self.encode(closing, &mut encoder, &mut frame, &mut spool)?,
                    Err(_) => break,
                },
                recv(work) -> more => {
                    works = more.is_ok();
                    spool.tend();
                }
            }
        }
        // Nobody sends any more, but what is captured is kept.
        for closing in &self.parts {
            self.encode(closing, &mut encoder, &mut frame, &mut spool)?;
        }
        spool.close();
        for () in &work {
            spool.tend();
        }
        spool.finish();
        Ok(())
    }

    /// Makes a batch of a part, and lets the spool have it.
    fn encode<D: Disk>(
        &self,
        mut closing: Closing,
        encoder: &mut BatchEncoder,
        frame: &mut Vec<u8>,
        spool: &mut SpoolWriter<D>,
    ) -> Result<(), BatchError> {
        let packets = closing.part.table.as_ref().map_or(0, WindowTable::packets);
        let header = header(&self.identity, &closing, packets, spool.place());
        frame.clear();
        let digest = match closing.part.table.take() {
            Some(mut table) => {
                let digest = encoder.write(&header, table.sorted_rows(), frame)?;
                table.clear();
                // The other end is gone only when the capture has ended.
                let _ = self.tables.send(table);
                digest
            }
            None => encoder.write(&header, [], frame)?,
        };
        spool.push(&Fresh { frame, digest, window: header.window.start, held: Totals::of(&header) });
        // One large window must not cost its memory for ever.
        frame.shrink_to(FRAME_BYTES);
        Ok(())
    }
}

/// Why the encoder stopped.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// No memory for the compression state.
    #[error("the batch encoder cannot be set up: {0}")]
    SetUp(#[from] std::io::Error),
    /// A batch is too large for a frame, which the cap on rows rules out.
    #[error("a batch cannot be encoded: {0}")]
    Encode(#[from] WireError),
}

fn header(identity: &BatchIdentity, closing: &Closing, packets: u64, place: Place) -> BatchHeader {
    let rejected = closing.part.rejected;
    BatchHeader {
        origin: identity.origin,
        epoch: place.epoch,
        sequence: place.sequence,
        predecessor: place.predecessor,
        class: identity.class,
        posture: identity.posture,
        window: closing.part.window,
        part: closing.part.number,
        exposure: closing.exposure,
        unavailable: closing.unavailable,
        capture: CaptureStatistics {
            frames: packets + rejected.iter().sum::<u64>(),
            packets,
            kernel_drops: closing.kernel_drops,
            interface_drops: closing.interface_drops,
            rejected,
        },
    }
}

/// A sink for captures whose exposure is unknown: files.
#[derive(Debug)]
pub struct FileSink<'a> {
    /// Where parts go.
    pub handover: &'a Handover,
    /// For tables that must be made anew.
    pub limits: TableLimits,
    /// Marks that cannot be decided.
    pub unavailable: Marks,
    /// Windows, or parts of them, so far.
    pub parts: u64,
}

impl Sink for FileSink<'_> {
    fn part(&mut self, part: Part) {
        self.parts += 1;
        let unavailable = self.unavailable;
        self.handover.send(Closing { part, exposure: None, kernel_drops: 0, interface_drops: 0, unavailable });
    }

    fn table(&mut self) -> WindowTable {
        self.handover.table(self.limits)
    }
}
