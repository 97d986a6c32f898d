//! Finding intact records in a segment, whatever lies between them, in bounded memory.

use std::io;

use crate::{
    DiskFile,
    disk::read_full,
    v1::{HEAD_LENGTH, HEADER_LENGTH, Head, SegmentId},
};

/// How much is read at once, in bytes. Longer payloads are read by themselves.
const CHUNK: usize = 128 << 10;
const HEAD: u64 = HEAD_LENGTH as u64;

/// An intact record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) number: u64,
    /// Where its head begins.
    pub(crate) offset: u64,
    /// Bytes before it that belong to no intact record.
    pub(crate) skipped: u64,
}

/// A walk through one segment. After an I/O error it can be continued.
#[derive(Debug)]
pub(crate) struct Scanner {
    id: SegmentId,
    window: Window,
    /// Where the next head is looked for.
    offset: u64,
    /// Where the last intact record ended.
    intact: u64,
    /// One more than the last intact record's number.
    expected: u64,
}

impl Scanner {
    pub(crate) fn new(id: SegmentId) -> Scanner {
        let start = HEADER_LENGTH as u64;
        Scanner { id, window: Window::default(), offset: start, intact: start, expected: id.first }
    }

    pub(crate) const fn id(&self) -> SegmentId {
        self.id
    }

    /// Offset behind the last intact record.
    pub(crate) const fn intact(&self) -> u64 {
        self.intact
    }

    /// Finds the next intact record that ends at `end` or before, and puts its payload into `payload`.
    ///
    /// Undamaged segments have it right behind the last one. Otherwise every byte is tried: a head is one if its number
    /// can be there at all (it is not below the expected one, nor further above it than fit into the bytes between), if
    /// its checksum is right for this place, and the payload's is, too.
    pub(crate) fn next(&mut self, file: &impl DiskFile, end: u64, payload: &mut Vec<u8>) -> io::Result<Option<Found>> {
        while self.offset + HEAD <= end {
            let bytes = self.window.at(file, self.offset, HEAD_LENGTH, end)?;
            if bytes.len() < HEAD_LENGTH {
                break; // The file is shorter than it was.
            }
            let place = self.offset - self.intact;
            let (tried, head) = look(bytes, self.id, self.offset, self.expected, place);
            self.offset += tried;
            if let Some(head) = head {
                let behind = self.offset + HEAD + u64::from(head.length);
                if behind <= end
                    && self.window.copy(file, self.offset + HEAD, head.length, end, payload)?
                    && head.verify(payload)
                {
                    let found = Found { number: head.number, offset: self.offset, skipped: self.offset - self.intact };
                    self.offset = behind;
                    self.intact = behind;
                    self.expected = head.number + 1;
                    return Ok(Some(found));
                }
                self.offset += 1;
            }
        }
        Ok(None)
    }

    /// Goes back before a record that was just found.
    pub(crate) const fn back_to(&mut self, found: Found) {
        self.offset = found.offset;
        self.intact = found.offset - found.skipped;
        // No lower number can have been expected, or the record would not have been found.
        self.expected = found.number.saturating_sub(found.skipped / HEAD);
    }
}

/// Looks for a head in `bytes`, of which the first is at `offset`, `skipped` bytes behind the last intact record. Says
/// how many places were tried in vain, and the head behind them.
fn look(bytes: &[u8], id: SegmentId, offset: u64, expected: u64, skipped: u64) -> (u64, Option<Head>) {
    let mut tried = 0;
    for window in bytes.windows(HEAD_LENGTH) {
        if let Some(bytes) = window.first_chunk()
            && Head::peek_number(bytes).checked_sub(expected).is_some_and(|ahead| ahead <= (skipped + tried) / HEAD)
            && let Some(head) = Head::parse(bytes, id, offset + tried)
        {
            return (tried, Some(head));
        }
        tried += 1;
    }
    (tried, None)
}

/// A part of the file in memory.
#[derive(Debug, Default)]
struct Window {
    bytes: Vec<u8>,
    start: u64,
}

impl Window {
    /// The bytes from `offset` on: `count` or more, fewer only at `end` or the end of the file. Bytes before `end`
    /// never change, so that what is in memory stays valid.
    fn at(&mut self, file: &impl DiskFile, offset: u64, count: usize, end: u64) -> io::Result<&[u8]> {
        let inside = offset.checked_sub(self.start).and_then(|skip| usize::try_from(skip).ok());
        let inside = inside.filter(|&skip| self.bytes.len().saturating_sub(skip) >= count);
        if let Some(skip) = inside {
            return Ok(&self.bytes[skip..]);
        }
        let left = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
        self.bytes.resize(CHUNK.min(left), 0);
        let read = read_full(file, &mut self.bytes, offset);
        // After an error nothing of the buffer is believed.
        self.bytes.truncate(*read.as_ref().unwrap_or(&0));
        self.start = offset;
        read?;
        Ok(&self.bytes)
    }

    /// Copies `length` bytes at `offset` into `out`; false if the file has not that many.
    fn copy(
        &mut self,
        file: &impl DiskFile,
        offset: u64,
        length: u32,
        end: u64,
        out: &mut Vec<u8>,
    ) -> io::Result<bool> {
        let length = length as usize;
        out.clear();
        if length > CHUNK {
            out.resize(length, 0);
            return Ok(read_full(file, out, offset)? == length);
        }
        let bytes = self.at(file, offset, length, end)?;
        let Some(payload) = bytes.get(..length) else { return Ok(false) };
        out.extend_from_slice(payload);
        Ok(true)
    }
}
