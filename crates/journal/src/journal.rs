//! Writing: append, sync, release.

use std::{io, ops::Range};

use crate::{
    AppendError, Disk, DiskFile, OpenError, Reader, Recovery,
    disk::write_full,
    index::{Index, Segment, SharedIndex},
    v1::{self, HEAD_LENGTH, HEADER_LENGTH, SegmentId},
};

const HEADER: u64 = HEADER_LENGTH as u64;
/// Parts of a record up to this many bytes are gathered, so that a small record takes one write; longer ones are not
/// copied.
const GATHERED: usize = 64 << 10;

/// The limits of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A segment ends before it grows beyond this many bytes; one record is always taken.
    pub segment_bytes: u64,
    /// The longest payload that is appended, in bytes. Longer ones of an earlier setting are still read.
    pub max_record_bytes: u32,
    /// Bytes of the disk that appending leaves free.
    pub reserve_bytes: u64,
}

impl Default for Settings {
    /// Segments of 64 MiB, records up to 16 MiB, a reserve of 64 MiB.
    fn default() -> Settings {
        Settings { segment_bytes: 64 << 20, max_record_bytes: 16 << 20, reserve_bytes: 64 << 20 }
    }
}

/// An append-only log of numbered records in one directory, of which it must be the only writer.
#[derive(Debug)]
pub struct Journal<D: Disk> {
    disk: D,
    settings: Settings,
    index: SharedIndex,
    /// The segment being written: the last of the index. None until something is appended, and after an error.
    active: Option<Active<D::File>>,
    next: u64,
    /// The next segment's.
    ordinal: u64,
    /// A removal may not be durable yet. Nothing else is removed before it is: segments vanish in their order, or an
    /// older one could show again what a newer one, gone before it, superseded.
    removal_pending: bool,
    /// What is gathered of the record being written.
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Active<F> {
    id: SegmentId,
    file: F,
    /// Where the next record goes.
    offset: u64,
}

impl<D: Disk> Journal<D> {
    /// Opens the journal in `disk`, whatever is in it, and calls `visit` with number and payload of every intact
    /// record, in order. Memory is bounded by the longest record.
    ///
    /// Everything visited is durable. Damage is skipped and counted; a segment of which nothing can be read is renamed
    /// to `*.damaged`.
    ///
    /// # Errors
    /// Only if the disk fails, never because of what it contains. Opening again visits all records again.
    pub fn open(
        disk: D,
        settings: Settings,
        visit: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<(Journal<D>, Recovery), OpenError> {
        crate::open::open(disk, settings, visit)
    }

    pub(crate) fn new(disk: D, settings: Settings, index: Index, ordinal: u64) -> Journal<D> {
        let next = index.durable;
        let index = SharedIndex::new(index);
        Journal { disk, settings, index, active: None, next, ordinal, removal_pending: false, scratch: Vec::new() }
    }

    /// The lowest record number still held; [`Self::next`] if there is none.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.index.lock().first()
    }

    /// The number that the next append gets.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Records below this number are synced.
    #[must_use]
    pub fn durable(&self) -> u64 {
        self.index.lock().durable
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.index.lock().segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Appends a record whose payload is all `parts` in a row, and returns its number. It counts only after
    /// [`Self::sync`]; where a segment is full, what was appended before is synced here.
    ///
    /// # Errors
    /// If there is no room, the record is too long, or the disk fails. After [`AppendError::Io`] nothing appended since
    /// [`Self::durable`] counts.
    pub fn append(&mut self, parts: &[&[u8]]) -> Result<u64, AppendError> {
        let result = self.try_append(parts);
        if let Err(AppendError::Io(_)) = result {
            self.abandon();
        }
        result
    }

    fn try_append(&mut self, parts: &[&[u8]]) -> Result<u64, AppendError> {
        let total: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let limit = self.settings.max_record_bytes;
        let too_large = AppendError::TooLarge { length: total, limit };
        let Some(length) = u32::try_from(total).ok().filter(|&length| length <= limit) else { return Err(too_large) };
        let record = HEAD_LENGTH as u64 + total;

        let needed = HEADER + record + self.settings.reserve_bytes;
        let free = self.disk.free_bytes()?;
        if free < needed {
            return Err(AppendError::Full { free, needed });
        }
        let full = |active: &Active<_>| active.offset > HEADER && active.offset + record > self.settings.segment_bytes;
        if self.active.as_ref().is_some_and(full) {
            self.sync()?;
            self.active = None;
        }
        let mut active = match self.active.take() {
            Some(active) => active,
            None => self.begin_segment(self.next)?,
        };
        let head = v1::head(active.id, active.offset, self.next, length, parts);
        let written = write_parts(&mut active, &head, parts, &mut self.scratch);
        if written.is_ok() {
            active.offset += record;
            if let Some(segment) = self.index.lock().segments.back_mut() {
                segment.bytes = active.offset;
            }
        }
        self.active = Some(active);
        written?;
        let number = self.next;
        self.next += 1;
        Ok(number)
    }

    /// Makes everything appended durable, and returns [`Self::durable`].
    ///
    /// # Errors
    /// If the disk fails. Then nothing appended since [`Self::durable`] counts, and [`Self::next`] is back there:
    /// append it again. It goes to a new segment, since a failed sync says nothing about the old one.
    pub fn sync(&mut self) -> io::Result<u64> {
        if let Some(active) = &mut self.active
            && self.next > self.index.lock().durable
        {
            if let Err(error) = active.file.sync() {
                self.abandon();
                return Err(error);
            }
            let mut index = self.index.lock();
            index.durable = self.next;
            if let Some(segment) = index.segments.back_mut() {
                segment.next = self.next;
                segment.end = active.offset;
            }
        }
        Ok(self.next)
    }

    /// Deletes the segments that hold only records below `below`. The last segment stays: it says where to go on.
    ///
    /// # Errors
    /// If the disk fails; what is left is deleted by the next call.
    pub fn release(&mut self, below: u64) -> io::Result<()> {
        self.release_to(below, drop)
    }

    /// As [`Self::release`], but the deleted segments are passed to `keep`, still open. Deleting is quick then; freeing
    /// their space, and what memory holds of them, is left to whoever drops the last handle, and takes tens of
    /// milliseconds for 64 MiB.
    ///
    /// # Errors
    /// As [`Self::release`]; segments that were passed to `keep` before it are deleted all the same.
    pub fn release_to(&mut self, below: u64, mut keep: impl FnMut(D::File)) -> io::Result<()> {
        loop {
            {
                let index = self.index.lock();
                if index.segments.len() < 2 || index.numbers(0).end > below {
                    break;
                }
            }
            let first = self.index.lock().segments.front().map(|segment| segment.id.name());
            // One that cannot be opened is freed where it is deleted.
            let open = first.and_then(|name| self.disk.open(&name).ok());
            self.remove_first()?;
            open.into_iter().for_each(&mut keep);
        }
        self.settle_removals()
    }

    /// Deletes the oldest segment that holds records, for a quota, and returns their numbers. If it is the only one,
    /// what was appended is synced and a new segment is begun first. None if nothing is held. A crash soon after may
    /// bring it back.
    ///
    /// # Errors
    /// If the disk fails: then nothing was dropped, except perhaps if this is the last the process hears. Calling again
    /// is safe.
    pub fn drop_oldest(&mut self) -> io::Result<Option<Range<u64>>> {
        loop {
            let (numbers, only) = {
                let index = self.index.lock();
                if index.segments.is_empty() {
                    return Ok(None);
                }
                (index.numbers(0), index.segments.len() == 1)
            };
            if only {
                self.sync()?;
                if self.first() == self.next {
                    return Ok(None);
                }
                self.active = None;
                self.active = Some(self.begin_segment(self.next)?);
                continue;
            }
            self.remove_first()?;
            if !numbers.is_empty() {
                // If this fails it is tried again before the next removal; until then a crash may bring the segment
                // back.
                let _ = self.settle_removals();
                return Ok(Some(numbers));
            }
        }
    }

    /// Goes on at record `number` if that is above [`Self::next`]: for a caller who knows, from elsewhere, that the
    /// numbers below were used although the records are gone. Syncs first.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn advance(&mut self, number: u64) -> io::Result<()> {
        if number > self.next {
            self.sync()?;
            if self.active.is_none() && !self.index.lock().segments.is_empty() {
                // After an error records that do not count may stand behind the last one, with numbers below the new
                // segment's: it would not supersede them. This one does.
                self.begin_segment(self.next)?;
            }
            self.active = None;
            self.active = Some(self.begin_segment(number)?);
        }
        Ok(())
    }

    /// Reads from record `from` on, in bounded memory, what is durable at the time of reading. Does not borrow the
    /// journal: it can be used on another thread, and goes on when more has become durable.
    ///
    /// # Errors
    /// None today; opening the first segment is left to the first read.
    pub fn reader(&self, from: u64) -> io::Result<Reader<D>> {
        Ok(Reader::new(self.disk.clone(), self.index.clone(), from))
    }

    /// Makes a new segment for records from `first` on, durable with its name. Everything before must be synced: that
    /// a segment exists proves it for all earlier ones.
    fn begin_segment(&mut self, first: u64) -> io::Result<Active<D::File>> {
        let id = SegmentId { ordinal: self.ordinal, first };
        self.ordinal += 1;
        let name = id.name();
        let mut file = self.disk.create(&name)?;
        let made =
            write_full(&mut file, &id.header(), 0).and_then(|()| file.sync()).and_then(|()| self.disk.sync_directory());
        if made.is_err() {
            self.removal_pending = true;
        }
        // If it cannot be removed it is kept as an empty segment, which harms nobody but must go with those before it.
        if made.is_ok() || self.disk.remove(&name).is_err() {
            let mut index = self.index.lock();
            index.segments.push_back(Segment { id, next: first, end: HEADER, bytes: HEADER });
            index.durable = first;
            self.next = first;
        }
        made?;
        Ok(Active { id, file, offset: HEADER })
    }

    /// Gives up what is not durable, and the segment it was written to.
    fn abandon(&mut self) {
        let mut index = self.index.lock();
        self.next = index.durable;
        let Some(mut active) = self.active.take() else { return };
        let Some(segment) = index.segments.pop_back() else { return };
        // Nothing durable is in it, and the segment before says where to go on just as well: it would be one
        // file more for every attempt on a full disk.
        let useless =
            segment.end == HEADER && index.segments.back().is_some_and(|before| before.next == segment.id.first);
        if useless && self.disk.remove(&segment.id.name()).is_ok() {
            self.removal_pending = true;
            return;
        }
        // This frees space now and saves recovery from looking at it. If it fails, the next segment supersedes the
        // rest.
        let cut = active.file.set_len(segment.end).is_ok();
        index.segments.push_back(Segment { bytes: if cut { segment.end } else { active.offset }, ..segment });
    }

    /// Removes the first segment, of at least two.
    fn remove_first(&mut self) -> io::Result<()> {
        self.settle_removals()?;
        // Readers must not find a segment in the index whose file is gone.
        let Some(segment) = self.index.lock().segments.pop_front() else { return Ok(()) };
        match self.disk.remove(&segment.id.name()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                self.index.lock().segments.push_front(segment);
                Err(error)
            }
            _ => {
                self.removal_pending = true;
                Ok(())
            }
        }
    }

    fn settle_removals(&mut self) -> io::Result<()> {
        if self.removal_pending {
            self.disk.sync_directory()?;
            self.removal_pending = false;
        }
        Ok(())
    }
}

/// Writes a record where the next one goes.
fn write_parts<F: DiskFile>(
    active: &mut Active<F>,
    head: &[u8],
    parts: &[&[u8]],
    scratch: &mut Vec<u8>,
) -> io::Result<()> {
    let mut offset = active.offset;
    let mut write = |bytes: &[u8]| {
        write_full(&mut active.file, bytes, offset)?;
        offset += bytes.len() as u64;
        Ok::<_, io::Error>(())
    };
    scratch.clear();
    scratch.extend_from_slice(head);
    for part in parts {
        if scratch.len() + part.len() > GATHERED && !scratch.is_empty() {
            write(scratch)?;
            scratch.clear();
        }
        if part.len() > GATHERED { write(part)? } else { scratch.extend_from_slice(part) }
    }
    write(scratch)
}
