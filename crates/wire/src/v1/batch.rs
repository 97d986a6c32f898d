//! The payload of a batch frame: a fixed header, the outcomes of frames by reason, and compressed columns.
//!
//! The offsets are in docs/wire.md. All numbers are little-endian.

use martlet_window::{
    BatchHeader, CaptureStatistics, CountRow, Digest, Exposure, Marks, Origin, Posture, RejectReason, TrafficClass,
    Window, WindowLength,
};
use sha2::{Digest as _, Sha256};

use super::bytes::Reader;
use super::columns::{self, Columns, Run};
use super::frame::{FRAME_HEADER_LENGTH, FrameHeader, FrameType, Limits, begin_frame, end_frame};
use super::message::Stream;
use crate::WireError;

/// Length of the part of a batch payload in front of the compressed columns, in bytes.
pub const BATCH_FIXED_LENGTH: usize = 132 + 8 * RejectReason::ALL.len();
const CODEC_ZSTD: u8 = 1;
const EXPOSURE_KNOWN: u8 = 1;
/// zstd's fastest regular level: on columns of varints higher ones gain a few percent for twice the time.
const ZSTD_LEVEL: i32 = 1;

/// The hash by which a batch names its predecessor: the first 128 bits of the payload's SHA-256.
#[must_use]
pub fn digest(payload: &[u8]) -> Digest {
    let hash: [u8; 32] = Sha256::digest(payload).into();
    let mut short = [0; 16];
    short.copy_from_slice(&hash[..16]);
    Digest(short)
}

/// Turns rows into batch frames. Buffers and compression state are reused from batch to batch.
pub struct BatchEncoder {
    columns: columns::Writer,
    raw: Vec<u8>,
    compressor: zstd::bulk::Compressor<'static>,
}

impl BatchEncoder {
    /// A new encoder.
    ///
    /// # Errors
    /// If the compression library cannot allocate its state.
    pub fn new() -> std::io::Result<BatchEncoder> {
        Ok(BatchEncoder {
            columns: columns::Writer::default(),
            raw: Vec::new(),
            compressor: zstd::bulk::Compressor::new(ZSTD_LEVEL)?,
        })
    }

    /// Appends a batch as one frame to `out` and returns its digest. The rows must come sorted by key and unique, and
    /// the header's packets be their sum.
    ///
    /// # Errors
    /// If there are more rows than a batch can say.
    pub fn write(
        &mut self,
        header: &BatchHeader,
        rows: impl IntoIterator<Item = CountRow>,
        out: &mut Vec<u8>,
    ) -> Result<Digest, WireError> {
        self.columns.clear();
        self.raw.clear();
        rows.into_iter().for_each(|row| self.columns.push(&row));
        let rows = u32::try_from(self.columns.finish(&mut self.raw)).map_err(|_| WireError::TooManyRows)?;
        let raw_length = u32::try_from(self.raw.len()).map_err(|_| WireError::TooManyRows)?;
        let compressed = self.compressor.compress(&self.raw).map_err(|_| WireError::BadCompression)?;
        let start = begin_frame(FrameType::Batch, out);
        let payload = out.len();
        put_header(out, header);
        out.extend_from_slice(&rows.to_le_bytes());
        out.extend_from_slice(&raw_length.to_le_bytes());
        out.extend_from_slice(&[CODEC_ZSTD, 0, 0, 0]);
        for count in header.capture.rejected {
            out.extend_from_slice(&count.to_le_bytes());
        }
        out.extend_from_slice(&compressed);
        let digest = digest(&out[payload..]);
        end_frame(start, out)?;
        Ok(digest)
    }
}

fn put_header(out: &mut Vec<u8>, header: &BatchHeader) {
    let exposure = header.exposure.unwrap_or_default();
    out.extend_from_slice(&header.origin.0);
    out.extend_from_slice(&header.epoch.to_le_bytes());
    out.extend_from_slice(&header.sequence.to_le_bytes());
    out.extend_from_slice(&header.predecessor.0);
    let flags = if header.exposure.is_some() { EXPOSURE_KNOWN } else { 0 };
    out.extend_from_slice(&[header.class as u8, header.posture as u8, header.window.length.seconds(), flags]);
    out.extend_from_slice(&header.part.to_le_bytes());
    out.extend_from_slice(&header.window.start.to_le_bytes());
    out.extend_from_slice(&exposure.watched_ms.to_le_bytes());
    out.extend_from_slice(&header.unavailable.bits().to_le_bytes());
    out.extend_from_slice(&exposure.ipv4_addresses.to_le_bytes());
    out.extend_from_slice(&exposure.ipv6_prefixes.to_le_bytes());
    let capture = &header.capture;
    for field in [capture.frames, capture.packets, capture.kernel_drops, capture.interface_drops] {
        out.extend_from_slice(&field.to_le_bytes());
    }
}

/// A batch payload whose header has been read and checked; its columns are still compressed.
#[derive(Clone, Debug)]
pub struct BatchView<'a> {
    /// The header.
    pub header: BatchHeader,
    /// Number of rows, as claimed and within the limit.
    pub rows: u32,
    raw_length: u32,
    compressed: &'a [u8],
}

impl<'a> BatchView<'a> {
    /// Reads the header of a batch payload.
    ///
    /// # Errors
    /// If a field is out of its range, a claim is over a limit, or the outcomes of frames do not add up.
    pub fn read(payload: &'a [u8], limits: &Limits) -> Result<BatchView<'a>, WireError> {
        let mut reader = Reader::new(payload);
        let mut header = take_header(&mut reader)?;
        let (rows, raw_length) = (reader.u32()?, reader.u32()?);
        if reader.array()? != [CODEC_ZSTD, 0, 0, 0] {
            return Err(WireError::BadValue("codec"));
        }
        for count in &mut header.capture.rejected {
            *count = reader.u64()?;
        }
        if !header.capture.balances() {
            return Err(WireError::Inconsistent);
        }
        // A row takes at least four bytes, one a column, and the number of runs takes one.
        let possible = raw_length.saturating_sub(1) / 4;
        if rows > limits.max_rows || raw_length > limits.max_column_bytes || rows > possible {
            return Err(WireError::TooManyRows);
        }
        Ok(BatchView { header, rows, raw_length, compressed: reader.rest() })
    }

    /// Decompresses the classes of the rows into `columns`, and, if `wants_sources` says so when it has seen them, the sources. The
    /// other columns are neither read nor checked: for batches that were checked once.
    ///
    /// # Errors
    /// If what is read is damaged. `wants_sources` may have been asked then.
    pub fn keys(
        &self,
        decompressor: &mut zstd::bulk::Decompressor<'_>,
        raw: &mut Vec<u8>,
        columns: &mut Columns,
        wants_sources: impl FnOnce(&[Run]) -> bool,
    ) -> Result<(), WireError> {
        self.decompress(decompressor, raw)?;
        columns.read_keys(raw, self.rows, wants_sources)
    }

    /// Decompresses and checks the rows into `columns`, using `raw` as a buffer.
    ///
    /// # Errors
    /// If the columns are damaged, break a rule of rows, or do not sum to the header's packets.
    pub fn columns(
        &self,
        decompressor: &mut zstd::bulk::Decompressor<'_>,
        raw: &mut Vec<u8>,
        columns: &mut Columns,
    ) -> Result<(), WireError> {
        self.decompress(decompressor, raw)?;
        columns.read(raw, self.rows)?;
        let packets: u64 = columns.packets.iter().map(|&packets| u64::from(packets)).sum();
        if packets != self.header.capture.packets {
            return Err(WireError::Inconsistent);
        }
        Ok(())
    }

    fn decompress(&self, decompressor: &mut zstd::bulk::Decompressor<'_>, raw: &mut Vec<u8>) -> Result<(), WireError> {
        raw.clear();
        raw.reserve(self.raw_length as usize);
        let length = decompressor.decompress_to_buffer(self.compressed, raw).map_err(|_| WireError::BadCompression)?;
        if length == self.raw_length as usize { Ok(()) } else { Err(WireError::BadCompression) }
    }
}

/// Which stream a batch payload belongs to and its place in it. A receiver needs both to answer for a batch whose
/// header or columns it cannot read.
///
/// # Errors
/// If the payload is too short to say.
pub fn batch_identity(payload: &[u8]) -> Result<(Stream, u64), WireError> {
    let mut reader = Reader::new(payload);
    let stream = Stream { origin: Origin(reader.array()?), epoch: reader.u64()? };
    Ok((stream, reader.u64()?))
}

/// Gives a batch, a whole frame, another place: stream, sequence number and predecessor. Returns the new digest; `None`, with
/// the bytes unchanged, if it is no batch frame.
///
/// A sensor that must leave a stream takes with it what has not been counted.
#[must_use]
pub fn move_batch(frame: &mut [u8], stream: Stream, sequence: u64, predecessor: Digest) -> Option<Digest> {
    let header = FrameHeader::parse(frame.first_chunk()?, &Limits { max_batch_bytes: u32::MAX, ..Limits::default() });
    let payload = frame.get_mut(FRAME_HEADER_LENGTH..)?;
    let is_batch = header.is_ok_and(|it| it.frame_type == FrameType::Batch && it.length as usize == payload.len());
    let (place, _) = payload.split_first_chunk_mut::<48>().filter(|_| is_batch)?;
    place[..16].copy_from_slice(&stream.origin.0);
    place[16..24].copy_from_slice(&stream.epoch.to_le_bytes());
    place[24..32].copy_from_slice(&sequence.to_le_bytes());
    place[32..].copy_from_slice(&predecessor.0);
    let digest = digest(payload);
    end_frame(0, frame).ok().map(|()| digest)
}

/// The digest of the batch that a batch, a whole frame, says that it follows; `None` if the frame is too short for one.
#[must_use]
pub fn predecessor(frame: &[u8]) -> Option<Digest> {
    let place: &[u8; 48] = frame.get(FRAME_HEADER_LENGTH..)?.first_chunk()?;
    place.last_chunk().copied().map(Digest)
}

fn take_header(reader: &mut Reader<'_>) -> Result<BatchHeader, WireError> {
    let origin = Origin(reader.array()?);
    let epoch = reader.u64()?;
    let sequence = reader.u64()?;
    let predecessor = Digest(reader.array()?);
    let class = TrafficClass::from_number(reader.u8()?).ok_or(WireError::BadValue("traffic class"))?;
    let posture = Posture::from_number(reader.u8()?).ok_or(WireError::BadValue("posture"))?;
    let length = WindowLength::from_seconds(u64::from(reader.u8()?)).map_err(|_| WireError::BadValue("window"))?;
    let flags = reader.u8()?;
    let part = reader.u32()?;
    let start = reader.i64()?;
    let watched_ms = reader.u32()?;
    let unavailable = Marks::from_bits(reader.u32()?).ok_or(WireError::BadValue("marks"))?;
    let (ipv4_addresses, ipv6_prefixes) = (reader.u64()?, reader.u64()?);
    let capture = CaptureStatistics {
        frames: reader.u64()?,
        packets: reader.u64()?,
        kernel_drops: reader.u64()?,
        interface_drops: reader.u64()?,
        rejected: Default::default(),
    };
    let exposure = match flags {
        EXPOSURE_KNOWN => Some(Exposure { watched_ms, ipv4_addresses, ipv6_prefixes }),
        0 if watched_ms == 0 && ipv4_addresses == 0 && ipv6_prefixes == 0 => None,
        _ => return Err(WireError::BadValue("exposure")),
    };
    if watched_ms > u32::from(length.seconds()) * 1000 {
        return Err(WireError::BadValue("watched time"));
    }
    // Within what nanoseconds since 1970 can say, and aligned; then no later sum of times can overflow.
    let range = i64::MIN / 1_000_000_000 - 60..=i64::MAX / 1_000_000_000;
    if !range.contains(&start) || start.rem_euclid(i64::from(length.seconds())) != 0 {
        return Err(WireError::BadValue("window start"));
    }
    if sequence == u64::MAX {
        return Err(WireError::BadValue("sequence"));
    }
    Ok(BatchHeader {
        origin,
        epoch,
        sequence,
        predecessor,
        class,
        posture,
        window: Window { start, length },
        part,
        exposure,
        unavailable,
        capture,
    })
}
