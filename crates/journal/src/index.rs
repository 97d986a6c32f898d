//! Which segments there are: written by the journal, read by its readers.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::v1::SegmentId;

/// What is known of one segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) id: SegmentId,
    /// One more than the last intact record's number; `id.first` if there is none. What opening again would find.
    pub(crate) next: u64,
    /// Offset behind the last durable record that counts.
    pub(crate) end: u64,
    /// Length of the file.
    pub(crate) bytes: u64,
}

/// The segments in order of their making. One entry per segment, so its memory is bounded by their number.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) segments: VecDeque<Segment>,
    /// Records below are durable.
    pub(crate) durable: u64,
}

impl Index {
    /// The numbers that belong to the segment at `place`: up to where the next one begins.
    pub(crate) fn numbers(&self, place: usize) -> Range<u64> {
        let first = self.segments[place].id.first;
        let end = self.segments.get(place + 1).map_or(self.durable, |next| next.id.first);
        first..end.max(first)
    }

    /// The lowest number that belongs to a segment.
    pub(crate) fn first(&self) -> u64 {
        self.segments.front().map_or(self.durable, |segment| segment.id.first)
    }

    /// The segment that `number` belongs to, and the numbers that do.
    pub(crate) fn find(&self, number: u64) -> Option<(Segment, Range<u64>)> {
        let after = self.segments.partition_point(|segment| segment.id.first <= number);
        let place = after.checked_sub(1)?;
        let numbers = self.numbers(place);
        numbers.contains(&number).then(|| (self.segments[place], numbers))
    }
}

/// The index as journal and readers share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedIndex(Arc<Mutex<Index>>);

impl SharedIndex {
    pub(crate) fn new(index: Index) -> SharedIndex {
        SharedIndex(Arc::new(Mutex::new(index)))
    }

    /// Every change is made under one lock and leaves the index whole, so that a panic elsewhere does not matter.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Index> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
