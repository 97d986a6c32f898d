//! The on-disk format, version 1, byte by byte; docs/journal.md says the same in words.
//!
//! ```text
//! segment header                          record
//! offset length field                     offset length field
//!      0      4 magic "MRTJ"                   0      4 payload length, bytes
//!      4      1 version, 1                     4      8 record number
//!      5      3 zero                          12      4 CRC32C: place, then bytes 0..12
//!      8      8 ordinal                       16      4 CRC32C: bytes 12..16, then the payload
//!     16      8 first record number           20        payload
//!     24      4 CRC32C of bytes 0..24
//! ```
//!
//! **Place** is bytes 8..24 of the segment header and the record's offset in the segment (8 bytes): a record is one
//! only where it was written. A copy of it inside a payload, or in a recycled block of the disk, is not.

/// Length of a segment header in bytes.
pub const HEADER_LENGTH: usize = 28;
/// Length of what precedes a record's payload, in bytes.
pub const HEAD_LENGTH: usize = 20;
/// The version of the format.
pub const VERSION: u8 = 1;
/// What the names of segments end in.
pub const SEGMENT_SUFFIX: &str = ".segment";
/// What is appended to the name of a segment that has been moved aside.
pub const DAMAGED_SUFFIX: &str = ".damaged";

const MAGIC: [u8; 4] = *b"MRTJ";
/// Where a segment header's own fields end and its checksum begins.
const HEADER_CHECKSUM: usize = 24;
/// Where a record head's own fields end and its first checksum begins.
const HEAD_CHECKSUM: usize = 12;
/// Where the payload's checksum begins.
const PAYLOAD_CHECKSUM: usize = 16;
/// Ordinals and first numbers beyond this are not ours: it leaves room to count on without overflow.
const HIGHEST: u64 = 1 << 62;

/// Which segment: what its header and its name say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId {
    /// Place in the order in which segments were made. Never used twice.
    pub ordinal: u64,
    /// Number of the first record that was to go into it.
    pub first: u64,
}

impl SegmentId {
    /// The segment's file name.
    #[must_use]
    pub fn name(self) -> String {
        format!("{:016x}-{:016x}{SEGMENT_SUFFIX}", self.ordinal, self.first)
    }

    /// Reads a file name, without [`DAMAGED_SUFFIX`]. None if it is not a segment's, spelt exactly as [`Self::name`].
    #[must_use]
    pub fn parse(name: &str) -> Option<SegmentId> {
        let (ordinal, first) = name.strip_suffix(SEGMENT_SUFFIX)?.split_once('-')?;
        let number = |hex: &str| u64::from_str_radix(hex, 16).ok().filter(|&number| number < HIGHEST);
        let id = SegmentId { ordinal: number(ordinal)?, first: number(first)? };
        (id.name() == name).then_some(id)
    }

    /// The segment's header.
    #[must_use]
    pub fn header(self) -> [u8; HEADER_LENGTH] {
        let mut bytes = [0; HEADER_LENGTH];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4] = VERSION;
        bytes[8..16].copy_from_slice(&self.ordinal.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..HEADER_CHECKSUM]);
        bytes[HEADER_CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The checksum that a record's at `offset` starts from.
    fn place(self, offset: u64) -> u32 {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.ordinal.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.first.to_le_bytes());
        bytes[16..].copy_from_slice(&offset.to_le_bytes());
        crc32c::crc32c(&bytes)
    }
}

/// A record's head whose own checksum is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Length of the payload in bytes.
    pub length: u32,
    /// The record's number.
    pub number: u64,
    /// Checksum of place, length and number: what the payload's starts from.
    checksum: u32,
    payload_checksum: u32,
}

impl Head {
    /// The number that a head would have, before anything is checked: a cheap first look.
    #[must_use]
    pub fn peek_number(bytes: &[u8; HEAD_LENGTH]) -> u64 {
        let mut number = [0; 8];
        number.copy_from_slice(&bytes[4..HEAD_CHECKSUM]);
        u64::from_le_bytes(number)
    }

    /// Reads the head at `offset` of a segment. None if there is none.
    #[must_use]
    pub fn parse(bytes: &[u8; HEAD_LENGTH], segment: SegmentId, offset: u64) -> Option<Head> {
        let [l0, l1, l2, l3, .., h0, h1, h2, h3, p0, p1, p2, p3] = *bytes;
        let checksum = u32::from_le_bytes([h0, h1, h2, h3]);
        let expected = crc32c::crc32c_append(segment.place(offset), &bytes[..HEAD_CHECKSUM]);
        (checksum == expected).then(|| Head {
            length: u32::from_le_bytes([l0, l1, l2, l3]),
            number: Head::peek_number(bytes),
            checksum,
            payload_checksum: u32::from_le_bytes([p0, p1, p2, p3]),
        })
    }

    /// Whether `payload` is what was written.
    #[must_use]
    pub fn verify(&self, payload: &[u8]) -> bool {
        payload.len() == self.length as usize && payload_checksum(self.checksum, &[payload]) == self.payload_checksum
    }
}

fn payload_checksum(head_checksum: u32, parts: &[&[u8]]) -> u32 {
    let start = crc32c::crc32c(&head_checksum.to_le_bytes());
    parts.iter().fold(start, |checksum, part| crc32c::crc32c_append(checksum, part))
}

/// The head of the record that is to stand at `offset` of `segment`. Its payload is all `parts` in a row, `length` bytes.
#[must_use]
pub fn head(segment: SegmentId, offset: u64, number: u64, length: u32, parts: &[&[u8]]) -> [u8; HEAD_LENGTH] {
    let mut head = [0; HEAD_LENGTH];
    head[..4].copy_from_slice(&length.to_le_bytes());
    head[4..HEAD_CHECKSUM].copy_from_slice(&number.to_le_bytes());
    let head_checksum = crc32c::crc32c_append(segment.place(offset), &head[..HEAD_CHECKSUM]);
    head[HEAD_CHECKSUM..PAYLOAD_CHECKSUM].copy_from_slice(&head_checksum.to_le_bytes());
    head[PAYLOAD_CHECKSUM..].copy_from_slice(&payload_checksum(head_checksum, parts).to_le_bytes());
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: SegmentId = SegmentId { ordinal: 3, first: 7 };

    #[test]
    fn a_name_comes_back_and_nothing_else_is_one() {
        assert_eq!(SEGMENT.name(), "0000000000000003-0000000000000007.segment");
        assert_eq!(SegmentId::parse(&SEGMENT.name()), Some(SEGMENT));
        for name in [
            "",
            ".segment",
            "3-7.segment",
            "0000000000000003-0000000000000007.segment.damaged",
            "0000000000000003-000000000000000A.segment",
            "+000000000000003-0000000000000007.segment",
            "ffffffffffffffff-0000000000000007.segment",
            "0000000000000003-ffffffffffffffff.segment",
        ] {
            assert_eq!(SegmentId::parse(name), None, "{name}");
        }
    }

    #[test]
    fn a_record_is_one_only_where_it_was_written() {
        let head = &head(SEGMENT, 28, 9, 5, &[b"he", b"llo"]);
        let read = Head::parse(head, SEGMENT, 28).unwrap();
        assert_eq!((read.length, read.number), (5, 9));
        assert!(read.verify(b"hello") && !read.verify(b"hellp") && !read.verify(b"hell"));
        assert_eq!(Head::parse(head, SEGMENT, 29), None);
        assert_eq!(Head::parse(head, SegmentId { ordinal: 4, ..SEGMENT }, 28), None);
        assert_eq!(Head::parse(head, SegmentId { first: 8, ..SEGMENT }, 28), None);
    }
}
