//! Frames: what a TCP stream is cut into.
//!
//! ```text
//! offset length field
//!      0      4 magic "MRTL"
//!      4      1 version, 1
//!      5      1 frame type
//!      6      2 reserved, 0
//!      8      4 payload length, bytes
//!     12      4 CRC32C of bytes 0..12 and the payload
//!     16        payload
//! ```

use crate::WireError;

/// Length of a frame header in bytes.
pub const FRAME_HEADER_LENGTH: usize = 16;
/// The version of the protocol.
pub const VERSION: u8 = 1;
const MAGIC: [u8; 4] = *b"MRTL";
const LENGTH: usize = 8;
const CHECKSUM: usize = 12;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameType {
    /// Sensor to collector: who is calling.
    Hello = 1,
    /// Collector to sensor: the call is taken.
    Welcome = 2,
    /// Sensor to collector: batches of this stream will follow.
    Open = 3,
    /// Collector to sensor: where the stream goes on.
    Position = 4,
    /// Sensor to collector: one batch.
    Batch = 5,
    /// Collector to sensor: everything below these positions is safe.
    Ack = 6,
    /// Collector to sensor: the batch was not taken; send from here.
    Nack = 7,
    /// Sensor to collector: these batches will never come.
    Lost = 8,
    /// Collector to sensor: the connection is refused or ended, and why.
    Refused = 9,
}

impl FrameType {
    const ALL: [FrameType; 9] = [
        FrameType::Hello,
        FrameType::Welcome,
        FrameType::Open,
        FrameType::Position,
        FrameType::Batch,
        FrameType::Ack,
        FrameType::Nack,
        FrameType::Lost,
        FrameType::Refused,
    ];

    fn from_number(number: u8) -> Option<FrameType> {
        Self::ALL.into_iter().find(|&frame_type| frame_type as u8 == number)
    }

    /// The longest payload of this type, in bytes.
    #[must_use]
    pub const fn max_payload(self, limits: &Limits) -> u32 {
        match self {
            FrameType::Batch => limits.max_batch_bytes,
            // Control messages have fixed fields and one name of at most 255 bytes.
            _ => 512,
        }
    }
}

/// What is believed of a peer's lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest batch payload, in bytes as sent.
    pub max_batch_bytes: u32,
    /// Most rows of a batch.
    pub max_rows: u32,
    /// Longest columns of a batch after decompression, in bytes.
    pub max_column_bytes: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { max_batch_bytes: 8 << 20, max_rows: 1 << 19, max_column_bytes: 24 << 20 }
    }
}

/// A checked frame header; the payload's checksum is checked when it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// What the frame carries.
    pub frame_type: FrameType,
    /// Payload length in bytes, within the limit of its type.
    pub length: u32,
    checksum: u32,
    head: [u8; CHECKSUM],
}

impl FrameHeader {
    /// Reads a header.
    ///
    /// # Errors
    /// If magic, version, type or reserved bits are wrong, or the length is over the type's limit.
    pub fn parse(bytes: &[u8; FRAME_HEADER_LENGTH], limits: &Limits) -> Result<FrameHeader, WireError> {
        let [m0, m1, m2, m3, version, frame_type, r0, r1, l0, l1, l2, l3, c0, c1, c2, c3] = *bytes;
        if [m0, m1, m2, m3] != MAGIC {
            return Err(WireError::BadMagic);
        }
        if version != VERSION {
            return Err(WireError::UnknownVersion(version));
        }
        if [r0, r1] != [0, 0] {
            return Err(WireError::ReservedBits);
        }
        let frame_type = FrameType::from_number(frame_type).ok_or(WireError::UnknownFrameType(frame_type))?;
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        if length > frame_type.max_payload(limits) {
            return Err(WireError::FrameTooLong(length));
        }
        let mut head = [0; CHECKSUM];
        head.copy_from_slice(&bytes[..CHECKSUM]);
        Ok(FrameHeader { frame_type, length, checksum: u32::from_le_bytes([c0, c1, c2, c3]), head })
    }

    /// Checks the payload against the header's checksum.
    ///
    /// # Errors
    /// If length or checksum do not match.
    pub fn verify(&self, payload: &[u8]) -> Result<(), WireError> {
        if payload.len() != self.length as usize {
            return Err(WireError::BadLength);
        }
        if crc32c::crc32c_append(crc32c::crc32c(&self.head), payload) != self.checksum {
            return Err(WireError::BadChecksum);
        }
        Ok(())
    }
}

/// Starts a frame at the end of `out`: append the payload, then call [`end_frame`] with what this returned.
pub fn begin_frame(frame_type: FrameType, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[VERSION, frame_type as u8, 0, 0]);
    out.extend_from_slice(&[0; 8]);
    start
}

/// Fills in length and checksum of the frame that starts at `start`.
///
/// # Errors
/// If the payload is longer than a frame can say.
pub fn end_frame(start: usize, out: &mut [u8]) -> Result<(), WireError> {
    let payload = out.len() - start - FRAME_HEADER_LENGTH;
    let length = u32::try_from(payload).map_err(|_| WireError::TooManyRows)?;
    out[start + LENGTH..start + CHECKSUM].copy_from_slice(&length.to_le_bytes());
    let checksum = crc32c::crc32c(&out[start..start + CHECKSUM]);
    let checksum = crc32c::crc32c_append(checksum, &out[start + FRAME_HEADER_LENGTH..]);
    out[start + CHECKSUM..start + FRAME_HEADER_LENGTH].copy_from_slice(&checksum.to_le_bytes());
    Ok(())
}

/// Appends a whole frame to `out`.
///
/// # Errors
/// If the payload is longer than a frame can say.
pub fn write_frame(frame_type: FrameType, payload: &[u8], out: &mut Vec<u8>) -> Result<(), WireError> {
    let start = begin_frame(frame_type, out);
    out.extend_from_slice(payload);
    end_frame(start, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(frame: &[u8]) -> Result<FrameHeader, WireError> {
        FrameHeader::parse(frame.first_chunk().unwrap(), &Limits::default())
    }

    #[test]
    fn a_frame_comes_back() {
        let mut out = vec![9, 9];
        write_frame(FrameType::Ack, b"hello", &mut out).unwrap();
        let header = header(&out[2..]).unwrap();
        assert_eq!((header.frame_type, header.length), (FrameType::Ack, 5));
        assert_eq!(header.verify(b"hello"), Ok(()));
        assert_eq!(header.verify(b"hellp"), Err(WireError::BadChecksum));
        assert_eq!(header.verify(b"hell"), Err(WireError::BadLength));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut frame = Vec::new();
        write_frame(FrameType::Ack, b"payload", &mut frame).unwrap();
        for bit in 0..frame.len() * 8 {
            let mut bad = frame.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let checked = header(&bad).and_then(|header| header.verify(&bad[FRAME_HEADER_LENGTH..]));
            assert!(checked.is_err(), "bit {bit}");
        }
    }

    #[test]
    fn lengths_are_bounded_before_they_are_believed() {
        let mut frame = Vec::new();
        write_frame(FrameType::Batch, b"", &mut frame).unwrap();
        frame[LENGTH..CHECKSUM].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(header(&frame), Err(WireError::FrameTooLong(u32::MAX)));
    }
}
