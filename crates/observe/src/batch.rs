//! From a closed window part to a batch frame: the second thread behind a capture.

use crossbeam_channel::{Receiver, Sender, bounded};
use martlet_window::{BatchHeader, CaptureStatistics, Digest, Exposure, Marks, Origin, Posture, TrafficClass};
use martlet_wire::WireError;
use martlet_wire::v1::{BatchEncoder, Totals};

use crate::aggregate::{Part, Sink, TableLimits, WindowTable};

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

/// Where the next batch belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Epoch of the stream.
    pub epoch: u64,
    /// Place in it.
    pub sequence: u64,
    /// Digest of the batch before it.
    pub predecessor: Digest,
}

/// A batch that was just made.
#[derive(Clone, Copy, Debug)]
pub struct Fresh<'a> {
    /// The frame as it goes on the wire, made for [`BatchSink::place`].
    pub frame: &'a [u8],
    /// Digest of its payload.
    pub digest: Digest,
    /// Start of its window, in seconds since the Unix epoch.
    pub window: i64,
    /// What it adds to the stream's totals.
    pub held: Totals,
}

/// Takes the batches of a stream, in order.
pub trait BatchSink {
    /// Where the next batch belongs. Valid until the next call of anything here.
    fn place(&mut self) -> Place;

    /// Takes the next batch; waits for room if need be.
    fn push(&mut self, batch: &Fresh<'_>);
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
pub struct Batcher {
    parts: Receiver<Closing>,
    tables: Sender<WindowTable>,
    encoder: PartEncoder,
}

/// Connects a capture with an encoder.
///
/// # Errors
/// If there is no memory for the encoder.
pub fn handover(identity: BatchIdentity) -> Result<(Handover, Batcher), BatchError> {
    let (parts, closed) = bounded(TABLES_IN_FLIGHT);
    let (returned, tables) = bounded(TABLES_IN_FLIGHT);
    let encoder = PartEncoder::new(identity)?;
    Ok((Handover { parts, tables }, Batcher { parts: closed, tables: returned, encoder }))
}

impl Batcher {
    /// The parts that were closed, for [`Self::encode`]; it ends when the capture does.
    #[must_use]
    pub fn parts(&self) -> Receiver<Closing> {
        self.parts.clone()
    }

    /// Turns parts into batches until the capture ends.
    ///
    /// # Errors
    /// If a batch cannot be encoded.
    pub fn run(mut self, sink: &mut impl BatchSink) -> Result<(), BatchError> {
        for closing in self.parts() {
            self.encode(closing, sink)?;
        }
        Ok(())
    }

    /// Makes a batch of a part, lets the sink have it, and gives the table back.
    ///
    /// # Errors
    /// If it cannot be encoded.
    pub fn encode(&mut self, closing: Closing, sink: &mut impl BatchSink) -> Result<(), BatchError> {
        if let Some(table) = self.encoder.encode(closing, sink)? {
            // The other end is gone only when the capture has ended.
            let _ = self.tables.send(table);
        }
        Ok(())
    }
}

/// Makes batches of parts.
struct PartEncoder {
    identity: BatchIdentity,
    encoder: BatchEncoder,
    /// The frame being made; kept from batch to batch.
    frame: Vec<u8>,
}

impl PartEncoder {
    fn new(identity: BatchIdentity) -> Result<PartEncoder, BatchError> {
        Ok(PartEncoder { identity, encoder: BatchEncoder::new()?, frame: Vec::new() })
    }

    /// Makes a batch of a part, lets the sink have it, and returns the table, emptied.
    fn encode(&mut self, mut closing: Closing, sink: &mut impl BatchSink) -> Result<Option<WindowTable>, BatchError> {
        let packets = closing.part.table.as_ref().map_or(0, WindowTable::packets);
        let header = header(&self.identity, &closing, packets, sink.place());
        let mut table = closing.part.table.take();
        self.frame.clear();
        let digest = match &mut table {
            Some(table) => {
                let digest = self.encoder.write(&header, table.sorted_rows(), &mut self.frame)?;
                table.clear();
                digest
            }
            None => self.encoder.write(&header, [], &mut self.frame)?,
        };
        let (window, held) = (header.window.start, Totals::of(&header));
        sink.push(&Fresh { frame: &self.frame, digest, window, held });
        // One large window must not cost its memory for ever.
        self.frame.shrink_to(FRAME_BYTES);
        Ok(table)
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
        self.handover.send(of_file(part, self.unavailable));
    }

    fn table(&mut self) -> WindowTable {
        self.handover.table(self.limits)
    }
}

/// As [`FileSink`], without a thread between: where batches are on their way already, and windows are many and small, waking
/// one for each would cost more than it does.
pub struct FileEncoder<B> {
    batches: B,
    limits: TableLimits,
    unavailable: Marks,
    encoder: PartEncoder,
    /// Emptied tables.
    spare: Vec<WindowTable>,
    failure: Option<BatchError>,
    parts: u64,
    span: Option<(i64, i64)>,
}

/// What a [`FileEncoder`] has made.
#[derive(Debug)]
pub struct EncodedFile<B> {
    /// What took the batches.
    pub batches: B,
    /// Windows, or parts of them.
    pub parts: u64,
    /// Start of the first window with packets and end of the last one, in seconds since the Unix epoch.
    pub span: Option<(i64, i64)>,
}

impl<B: BatchSink> FileEncoder<B> {
    /// Nothing was closed yet.
    ///
    /// # Errors
    /// If there is no memory for the encoder.
    pub fn new(
        identity: BatchIdentity,
        limits: TableLimits,
        unavailable: Marks,
        batches: B,
    ) -> Result<FileEncoder<B>, BatchError> {
        let encoder = PartEncoder::new(identity)?;
        Ok(FileEncoder {
            batches,
            limits,
            unavailable,
            encoder,
            spare: Vec::new(),
            failure: None,
            parts: 0,
            span: None,
        })
    }

    /// There is nothing more to close.
    ///
    /// # Errors
    /// If a batch could not be encoded; none was made after it.
    pub fn finish(self) -> Result<EncodedFile<B>, BatchError> {
        match self.failure {
            None => Ok(EncodedFile { batches: self.batches, parts: self.parts, span: self.span }),
            Some(error) => Err(error),
        }
    }
}

impl<B: BatchSink> Sink for FileEncoder<B> {
    fn part(&mut self, part: Part) {
        if self.failure.is_some() {
            return;
        }
        self.parts += 1;
        if part.table.as_ref().is_some_and(|table| !table.is_empty()) {
            let (start, end) = (part.window.start, part.window.end());
            let (first, last) = self.span.unwrap_or((start, end));
            self.span = Some((first.min(start), last.max(end)));
        }
        match self.encoder.encode(of_file(part, self.unavailable), &mut self.batches) {
            Ok(table) => self.spare.extend(table),
            Err(error) => self.failure = Some(error),
        }
    }

    fn table(&mut self) -> WindowTable {
        self.spare.pop().unwrap_or_else(|| WindowTable::new(self.limits))
    }
}

const fn of_file(part: Part, unavailable: Marks) -> Closing {
    Closing { part, exposure: None, kernel_drops: 0, interface_drops: 0, unavailable }
}
