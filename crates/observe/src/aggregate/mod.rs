//! Windows being filled, and when they close.
//!
//! Time is the packet's own. A window closes when the watermark passes its end: in a live capture that is the
//! clock less a grace, brought by a tick, so that a quiet window closes too; in a file it is the newest packet less
//! the same grace. A packet for a window that closed already makes a late part of it. At the cap of its table a
//! window is closed early in parts; nothing is ever cut.

mod prefetch;
mod table;

use std::collections::VecDeque;

use martlet_window::{RejectReason, Timestamp, Window, WindowLength};

pub use table::{Full, Observation, TOGETHER, TableLimits, WindowTable};

/// How long after its end a window still waits for packets that overtook each other, in seconds.
pub const GRACE: i64 = 1;
/// Windows that are open at once: the present one, and the one before while its grace lasts.
const OPEN_WINDOWS: usize = 2;
/// Windows whose next part number is remembered for late packets.
const REMEMBERED_WINDOWS: usize = 256;
/// Empty windows that one tick makes at most: after a longer standstill of the clock nobody watched anyway.
const MAX_QUIET_WINDOWS: i64 = 360;

/// Why a part of a window was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The watermark passed the window's end, or the work ended: this is its last part unless late packets come.
    Whole,
    /// The table was full: at this time of the packet that did not fit.
    Early(Timestamp),
}

/// A closed part of a window, on its way to become a batch.
#[derive(Debug)]
pub struct Part {
    /// The window.
    pub window: Window,
    /// Which part of it, from 0.
    pub number: u32,
    /// Why it was closed.
    pub closed: Closed,
    /// Its rows; `None` if nothing came.
    pub table: Option<WindowTable>,
    /// Frames rejected since the part before, by reason.
    pub rejected: [u64; RejectReason::ALL.len()],
}

/// Takes closed parts with their tables, and gives the tables back later, emptied.
pub trait Sink {
    /// Takes a part.
    fn part(&mut self, part: Part);

    /// Gives back a table that came with a part; waits for one if need be. There are only as many tables as windows
    /// that may be open, so that a sensor's memory is that of the windows it needs.
    fn table(&mut self) -> WindowTable;
}

struct Open {
    window: Window,
    table: WindowTable,
}

/// The open windows.
pub struct Aggregator {
    length: WindowLength,
    open: Vec<Open>,
    /// Packets of one window that wait to be added together, and the time of the newest of them.
    waiting: Vec<Observation>,
    waiting_window: Window,
    waiting_time: Timestamp,
    /// Empty tables at hand; the others are open, or on their way back from the sink.
    spare: Vec<WindowTable>,
    rejected: [u64; RejectReason::ALL.len()],
    /// Start of the next window that is closed even if nothing came, when quiet windows are wanted.
    next_quiet: Option<i64>,
    /// Next part number of windows that had a part, newest last.
    parts: VecDeque<(i64, u32)>,
}

impl Aggregator {
    /// No open windows.
    #[must_use]
    pub fn new(length: WindowLength, limits: TableLimits) -> Aggregator {
        Aggregator {
            length,
            open: Vec::with_capacity(OPEN_WINDOWS),
            waiting: Vec::with_capacity(TOGETHER),
            waiting_window: Window { start: 0, length },
            waiting_time: Timestamp(0),
            spare: (0..OPEN_WINDOWS).map(|_| WindowTable::new(limits)).collect(),
            rejected: Default::default(),
            next_quiet: None,
            parts: VecDeque::with_capacity(REMEMBERED_WINDOWS),
        }
    }

    /// From this time on, windows close even if nothing comes: somebody is watching.
    pub fn watch_from(&mut self, time: Timestamp) {
        self.next_quiet = Some(self.length.window_at(time).start);
    }

    /// Counts a rejected frame.
    pub const fn reject(&mut self, reason: RejectReason) {
        self.rejected[reason as usize] += 1;
    }

    /// Adds a packet to the window of its time.
    pub fn count(&mut self, time: Timestamp, seen: Observation, sink: &mut dyn Sink) {
        let window = if self.waiting_window.contains(time) { self.waiting_window } else { self.length.window_at(time) };
        if window != self.waiting_window || self.waiting.len() == TOGETHER {
            self.flush(sink);
            self.waiting_window = window;
        }
        self.waiting_time = time;
        self.waiting.push(seen);
    }

    /// Adds what waits to its window.
    fn flush(&mut self, sink: &mut dyn Sink) {
        let mut done = 0;
        while done < self.waiting.len() {
            let at = self.open_window(self.waiting_window, sink);
            match self.open[at].table.add(&self.waiting[done..]) {
                Ok(()) => break,
                // An empty table takes at least one packet, so this ends.
                Err(Full { added }) => {
                    done += added;
                    // The windows before it first: time is accounted for in their order.
                    if self.next_quiet.is_some() {
                        self.close_in_order(self.waiting_window.start, sink);
                    }
                    let full = self.open.iter().position(|open| open.window == self.waiting_window);
                    self.close(full.unwrap_or(at), Closed::Early(self.waiting_time), sink);
                }
            }
        }
        self.waiting.clear();
    }

    /// Closes every window that ended at or before the watermark less the grace.
    pub fn tick(&mut self, watermark: Timestamp, sink: &mut dyn Sink) {
        let closing = watermark.seconds() - GRACE;
        let nothing_ended = self.waiting_window.end() > closing || self.waiting.is_empty();
        if self.next_quiet.is_none() && nothing_ended && self.open.iter().all(|open| open.window.end() > closing) {
            return;
        }
        self.flush(sink);
        let ended = |open: &Open| open.window.end() <= closing;
        if self.next_quiet.is_none() {
            while let Some(at) = self.oldest().filter(|&at| ended(&self.open[at])) {
                self.close(at, Closed::Whole, sink);
            }
            return;
        }
        self.close_in_order(closing, sink);
    }

    /// Closes everything, when the work ends at `end`.
    pub fn finish(&mut self, end: Timestamp, sink: &mut dyn Sink) {
        self.flush(sink);
        if self.next_quiet.is_some() {
            // The window that is being watched counts up to now even if nothing came.
            let running = self.length.window_at(end);
            self.close_in_order(running.start, sink);
            if !self.open.iter().any(|open| open.window == running) {
                let _ = self.open_window(running, sink);
            }
        }
        while let Some(at) = self.oldest() {
            self.close(at, Closed::Early(end), sink);
        }
        if self.rejected.iter().any(|&frames| frames > 0) {
            // Frames came but no packet: their outcome is reported all the same.
            let at = self.open_window(self.length.window_at(end), sink);
            self.close(at, Closed::Early(end), sink);
        }
        // Nobody watches from here on.
        self.next_quiet = None;
    }

    /// Closes windows and makes empty ones for those in which nothing came, oldest first, up to `closing`.
    fn close_in_order(&mut self, closing: i64, sink: &mut dyn Sink) {
        let length = i64::from(self.length.seconds());
        while let Some(at) = self.oldest() {
            let window = self.open[at].window;
            if window.end() > closing {
                break;
            }
            self.quiet_until(window.start, sink);
            // Making quiet windows may have closed others; this one is still the oldest of the open.
            let at = self.oldest().unwrap_or(at);
            self.close(at, Closed::Whole, sink);
            self.next_quiet = self.next_quiet.map(|next| next.max(window.end()));
        }
        let open_from = self.open.iter().map(|open| open.window.start).min().unwrap_or(i64::MAX);
        self.quiet_until(open_from.min(closing - closing.rem_euclid(length)), sink);
    }

    /// Closes an empty window for each that nothing came in, up to one that starts at `end`.
    fn quiet_until(&mut self, end: i64, sink: &mut dyn Sink) {
        let length = i64::from(self.length.seconds());
        let Some(mut next) = self.next_quiet else { return };
        next = next.max(end.saturating_sub(MAX_QUIET_WINDOWS * length));
        while next < end {
            let window = Window { start: next, length: self.length };
            self.send(window, Closed::Whole, None, sink);
            next += length;
        }
        self.next_quiet = Some(next.max(self.next_quiet.unwrap_or(next)));
    }

    fn oldest(&self) -> Option<usize> {
        (0..self.open.len()).min_by_key(|&at| self.open[at].window.start)
    }

    /// The place of this window among the open ones; makes room by closing the oldest.
    fn open_window(&mut self, window: Window, sink: &mut dyn Sink) -> usize {
        if let Some(at) = self.open.iter().position(|open| open.window == window) {
            return at;
        }
        if let Some(oldest) = self.oldest().filter(|_| self.open.len() == OPEN_WINDOWS) {
            self.close(oldest, Closed::Whole, sink);
        }
        let table = self.empty_table(sink);
        self.open.push(Open { window, table });
        self.open.len() - 1
    }

    /// Fewer than all tables are open, so one is at hand or on its way back.
    fn empty_table(&mut self, sink: &mut dyn Sink) -> WindowTable {
        self.spare.pop().unwrap_or_else(|| sink.table())
    }

    fn close(&mut self, at: usize, closed: Closed, sink: &mut dyn Sink) {
        let Open { window, table } = self.open.swap_remove(at);
        self.send(window, closed, Some(table), sink);
    }

    fn send(&mut self, window: Window, closed: Closed, table: Option<WindowTable>, sink: &mut dyn Sink) {
        let number = self.next_part(window.start);
        let rejected = std::mem::take(&mut self.rejected);
        sink.part(Part { window, number, closed, table, rejected });
    }

    fn next_part(&mut self, start: i64) -> u32 {
        if let Some((_, next)) = self.parts.iter_mut().rev().find(|(known, _)| *known == start) {
            let number = *next;
            *next += 1;
            return number;
        }
        if self.parts.len() == REMEMBERED_WINDOWS {
            self.parts.pop_front();
        }
        self.parts.push_back((start, 1));
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use martlet_window::{Class, IpVersion, Kind, Marks, Service};

    #[derive(Default)]
    struct Collected(Vec<(i64, u32, u64, u64)>, Vec<WindowTable>);

    impl Sink for Collected {
        fn table(&mut self) -> WindowTable {
            self.1.pop().unwrap()
        }

        fn part(&mut self, part: Part) {
            let packets = part.table.as_ref().map_or(0, WindowTable::packets);
            self.0.push((part.window.start, part.number, packets, part.rejected.iter().sum()));
            self.1.extend(part.table.map(|mut table| {
                table.clear();
                table
            }));
        }
    }

    fn seen(source: u128) -> Observation {
        let service = Service::Port(23);
        let class = Class { ip: IpVersion::V4, protocol: 6, service, kind: Kind::Scan, marks: Marks::NONE };
        Observation { class: class.into(), source, target: 1, bytes: 40 }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_parts(seconds, 0)
    }

    fn aggregator(max_rows: u32) -> Aggregator {
        Aggregator::new(WindowLength::DEFAULT, TableLimits { max_rows, ..TableLimits::default() })
    }

    #[test]
    fn windows_close_when_the_watermark_passes() {
        let (mut aggregator, mut sink) = (aggregator(100), Collected::default());
        aggregator.count(at(105), seen(1), &mut sink);
        aggregator.count(at(111), seen(1), &mut sink);
        // Overtaken by a packet of the next window, but within the grace.
        aggregator.count(at(109), seen(2), &mut sink);
        aggregator.tick(at(110), &mut sink);
        assert_eq!(sink.0, []);
        aggregator.tick(at(111), &mut sink);
        assert_eq!(sink.0, [(100, 0, 2, 0)]);
        // Too late: a part of its own.
        aggregator.count(at(109), seen(3), &mut sink);
        aggregator.finish(at(119), &mut sink);
        assert_eq!(sink.0, [(100, 0, 2, 0), (100, 1, 1, 0), (110, 0, 1, 0)]);
    }

    #[test]
    fn a_watched_quiet_window_closes_and_an_unwatched_one_does_not_exist() {
        let (mut aggregator, mut sink) = (aggregator(100), Collected::default());
        aggregator.tick(at(500), &mut sink);
        assert_eq!(sink.0, []);
        aggregator.watch_from(at(503));
        aggregator.count(at(521), seen(1), &mut sink);
        aggregator.reject(RejectReason::NotIp);
        aggregator.tick(at(541), &mut sink);
        assert_eq!(sink.0, [(500, 0, 0, 1), (510, 0, 0, 0), (520, 0, 1, 0), (530, 0, 0, 0)]);
        aggregator.finish(at(545), &mut sink);
        assert_eq!(sink.0[4..], [(540, 0, 0, 0)]);
    }

    #[test]
    fn a_quiet_window_before_two_open_ones_is_closed_too() {
        let (mut aggregator, mut sink) = (aggregator(100), Collected::default());
        aggregator.watch_from(at(500));
        aggregator.count(at(511), seen(1), &mut sink);
        aggregator.count(at(521), seen(1), &mut sink);
        aggregator.tick(at(522), &mut sink);
        assert_eq!(sink.0, [(500, 0, 0, 0), (510, 0, 1, 0)]);
    }

    #[test]
    fn nobody_watches_after_the_end() {
        let (mut aggregator, mut sink) = (aggregator(100), Collected::default());
        aggregator.watch_from(at(500));
        aggregator.finish(at(505), &mut sink);
        aggregator.finish(at(4_000), &mut sink);
        assert_eq!(sink.0, [(500, 0, 0, 0)]);
    }

    #[test]
    fn a_window_that_fills_in_the_grace_of_the_one_before_closes_behind_it() {
        let (mut aggregator, mut sink) = (aggregator(10), Collected::default());
        aggregator.watch_from(at(100));
        aggregator.count(at(105), seen(1), &mut sink);
        (0..1000).for_each(|source| aggregator.count(at(110), seen(source), &mut sink));
        assert_eq!(sink.0[..2], [(100, 0, 1, 0), (110, 0, 10, 0)]);
    }

    #[test]
    fn a_standstill_makes_a_bounded_number_of_windows() {
        let (mut aggregator, mut sink) = (aggregator(100), Collected::default());
        aggregator.watch_from(at(0));
        aggregator.tick(at(1_000_000_000), &mut sink);
        assert_eq!(sink.0.len(), 360);
    }

    #[test]
    fn a_full_window_is_sent_in_parts_and_loses_nothing() {
        let (mut aggregator, mut sink) = (aggregator(10), Collected::default());
        for source in 0..25u128 {
            aggregator.count(at(101), seen(source), &mut sink);
            aggregator.count(at(101), seen(source), &mut sink);
        }
        aggregator.finish(at(102), &mut sink);
        assert_eq!(sink.0, [(100, 0, 20, 0), (100, 1, 20, 0), (100, 2, 10, 0)]);
    }

    #[test]
    fn rejected_frames_are_reported_once_even_without_packets() {
        let (mut aggregator, mut sink) = (aggregator(10), Collected::default());
        aggregator.reject(RejectReason::NotIp);
        aggregator.reject(RejectReason::Outbound);
        aggregator.finish(at(7), &mut sink);
        assert_eq!(sink.0, [(0, 0, 0, 2)]);
    }
}
