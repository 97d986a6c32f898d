//! Reading records back while the journal goes on.

use std::{io, ops::Range};

use crate::{Disk, index::SharedIndex, scan::Scanner};

/// What a read brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// The record of this number; its payload is in the buffer.
    Record(u64),
    /// The records of these numbers are damaged, dropped or released.
    Damaged(Range<u64>),
    /// Nothing more is durable. There may be more later.
    End,
}

/// Reads records in order, from one number on. Its memory is bounded by the longest record.
#[derive(Debug)]
pub struct Reader<D: Disk> {
    disk: D,
    index: SharedIndex,
    /// The next number to tell the caller about.
    number: u64,
    open: Option<Open<D::File>>,
}

#[derive(Debug)]
struct Open<F> {
    file: F,
    scanner: Scanner,
}

impl<D: Disk> Reader<D> {
    pub(crate) const fn new(disk: D, index: SharedIndex, from: u64) -> Reader<D> {
        Reader { disk, index, number: from, open: None }
    }

    /// The number that the next item begins with.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.number
    }

    /// Goes on at this number instead. The buffers of the segment that was being read are given back.
    pub fn seek(&mut self, number: u64) {
        self.number = number;
        self.open = None;
    }

    /// Reads the next record into `buffer`, which is replaced.
    ///
    /// # Errors
    /// If the disk fails; the next call tries again.
    pub fn next(&mut self, buffer: &mut Vec<u8>) -> io::Result<Item> {
        loop {
            let (durable, first, found) = {
                let index = self.index.lock();
                (index.durable, index.first(), index.find(self.number))
            };
            if self.number >= durable {
                return Ok(Item::End);
            }
            let Some((segment, numbers)) = found else {
                // Below everything that is held.
                return Ok(self.damaged_until(first));
            };
            if self.open.as_ref().is_none_or(|open| open.scanner.id() != segment.id) {
                self.open = None;
                match self.disk.open(&segment.id.name()) {
                    Ok(file) => self.open = Some(Open { file, scanner: Scanner::new(segment.id) }),
                    // Removed since the look into the index, which knows by now; or by somebody else.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        if self.index.lock().find(self.number).is_some_and(|(again, _)| again.id == segment.id) {
                            return Ok(self.damaged_until(numbers.end));
                        }
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
            let Some(open) = &mut self.open else { continue };
            match open.scanner.next(&open.file, segment.end, buffer)? {
                Some(found) if found.number < self.number => {}
                Some(found) if found.number == self.number => {
                    self.number += 1;
                    return Ok(Item::Record(found.number));
                }
                Some(found) => {
                    open.scanner.back_to(found);
                    return Ok(self.damaged_until(found.number));
                }
                None => return Ok(self.damaged_until(numbers.end)),
            }
        }
    }

    const fn damaged_until(&mut self, end: u64) -> Item {
        let start = self.number;
        self.number = end;
        Item::Damaged(start..end)
    }
}
