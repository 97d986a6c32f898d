//! From a closed window part to a batch frame: the second thread of a sensor.

use crossbeam_channel::{Receiver, Sender, bounded};
use martlet_window::{BatchHeader, CaptureStatistics, Digest, Exposure, Marks, Posture, TrafficClass};
use martlet_wire::WireError;
use martlet_wire::v1::{BatchEncoder, Stream, Totals};

use crate::aggregate::{Part, Sink, TableLimits, WindowTable};
use crate::spool::{Spool, Spooled};

/// Closed parts that wait for the encoder, and tables that wait to be filled again.
const TABLES_IN_FLIGHT: usize = 2;

/// What stays the same over all batches of a stream.
#[derive(Clone, Debug)]
pub struct BatchIdentity {
    /// Origin and epoch.
    pub stream: Stream,
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
/// The capture waits here only while all tables are with the encoder, which never waits for disk or network; the
/// ring holds what arrives meanwhile.
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
    /// Turns parts into batches until the capture ends.
    ///
    /// # Errors
    /// If a batch cannot be encoded.
    pub fn run(self, spool: &Spool) -> Result<(), BatchError> {
        let mut encoder = BatchEncoder::new()?;
        let mut predecessor = Digest::default();
        let mut totals = Totals::default();
        for (sequence, mut closing) in (0..).zip(&self.parts) {
            let packets = closing.part.table.as_ref().map_or(0, WindowTable::packets);
            let header = header(&self.identity, &closing, packets, sequence, predecessor);
            let mut frame = Vec::new();
            predecessor = match closing.part.table.take() {
                Some(mut table) => {
                    let written = encoder.write(&header, table.sorted_rows(), &mut frame)?;
                    table.clear();
                    // The other end is gone only when the capture has ended.
                    let _ = self.tables.send(table);
                    written
                }
                None => encoder.write(&header, [], &mut frame)?,
            };
            frame.shrink_to_fit();
            totals = totals.plus(Totals::of(&header));
            spool.push(Spooled {
                sequence,
                frame,
                window_start: header.window.start,
                packets: header.capture.packets,
                watched_ms: header.exposure.map_or(0, |exposure| u64::from(exposure.watched_ms)),
                totals,
            });
        }
        spool.close();
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

fn header(
    identity: &BatchIdentity,
    closing: &Closing,
    packets: u64,
    sequence: u64,
    predecessor: Digest,
) -> BatchHeader {
    let rejected = closing.part.rejected;
    BatchHeader {
        origin: identity.stream.origin,
        epoch: identity.stream.epoch,
        sequence,
        predecessor,
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
