//! Batches that the collector has not yet said it has.
//!
//! In this release they are kept in memory, within a cap; what a crash takes is lost. A live capture drops the
//! oldest at the cap and says later how much that was; a replay waits for room instead.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use martlet_wire::v1::Totals;
use tokio::sync::Notify;

/// One batch, framed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spooled {
    /// Place in the stream.
    pub sequence: u64,
    /// The frame as it goes on the wire.
    pub frame: Vec<u8>,
    /// Start of its window, seconds since the epoch.
    pub window_start: i64,
    /// Packets in it.
    pub packets: u64,
    /// Time watched in it, in milliseconds.
    pub watched_ms: u64,
    /// What the stream's batches held up to this one.
    pub totals: Totals,
}

/// What happens at the cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtCap {
    /// The oldest batch is dropped and counted: a live capture must go on.
    DropOldest,
    /// Whoever pushes waits: a file can.
    Wait,
}

/// What a number of batches held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Batches.
    pub batches: u64,
    /// Windows, in whole or in part.
    pub windows: u64,
    /// Packets.
    pub packets: u64,
    /// Time watched, in milliseconds.
    pub watched_ms: u64,
}

impl Loss {
    fn add(&mut self, batch: &Spooled, last_window: &mut Option<i64>) {
        self.batches += 1;
        self.windows += u64::from(*last_window != Some(batch.window_start));
        self.packets += batch.packets;
        self.watched_ms += batch.watched_ms;
        *last_window = Some(batch.window_start);
    }

    fn sum(self, other: Loss) -> Loss {
        Loss {
            batches: self.batches + other.batches,
            windows: self.windows + other.windows,
            packets: self.packets + other.packets,
            watched_ms: self.watched_ms + other.watched_ms,
        }
    }
}

/// Dropped batches that are remembered one by one.
const MAX_DROPS_APART: usize = 4096;

#[derive(Debug, Default)]
struct State {
    batches: VecDeque<Spooled>,
    bytes: usize,
    closed: bool,
    /// Batches below this one are acknowledged.
    acknowledged: u64,
    /// What all acknowledged batches held, and the window of the last of them.
    delivered: Loss,
    delivered_window: Option<i64>,
    /// What was dropped and has not been announced as lost, each with its last sequence number.
    dropped: VecDeque<(u64, Loss)>,
    dropped_window: Option<i64>,
    /// Nobody takes batches any more.
    abandoned: bool,
    /// What was announced as lost, below this sequence number, and may not have arrived.
    announced: Loss,
    announced_below: u64,
    /// All that was ever dropped.
    dropped_in_all: Loss,
    /// What all batches held that are no more here, and where their windows lie.
    gone: Totals,
    gone_windows: Option<(i64, i64)>,
}

/// What comes next for the uplink.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Batches up to this sequence number; their frames have been appended.
    Batches {
        /// Last of them.
        to: u64,
    },
    /// The batches from the one asked for up to this one do not exist any more, and held this.
    Gap {
        /// Last missing sequence number.
        to: u64,
        /// What is known of them.
        loss: Loss,
        /// What the stream's batches held up to the last missing one.
        totals: Totals,
        /// Bounds of the starts of their windows.
        windows: (i64, i64),
    },
    /// Nothing yet.
    Empty,
    /// Nothing, and nothing will come.
    End,
}

/// The queue between encoder and uplink.
#[derive(Debug)]
pub struct Spool {
    state: Mutex<State>,
    room: Condvar,
    changed: Notify,
    max_bytes: usize,
    at_cap: AtCap,
}

impl Spool {
    /// An empty spool of at most `max_bytes` of frames; one batch always fits.
    #[must_use]
    pub fn new(max_bytes: usize, at_cap: AtCap) -> Spool {
        let (room, changed) = (Condvar::new(), Notify::new());
        Spool { state: Mutex::default(), room, changed, max_bytes, at_cap }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change below leaves the state consistent before anything that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the next batch of the stream.
    pub fn push(&self, batch: Spooled) {
        let mut state = self.state();
        if state.abandoned {
            return;
        }
        if batch.sequence < state.acknowledged {
            // A repeated import: the collector had it from an earlier run.
            state.went(&batch);
            let State { delivered, delivered_window, .. } = &mut *state;
            delivered.add(&batch, delivered_window);
            return;
        }
        let over = |state: &State| state.bytes + batch.frame.len() > self.max_bytes && !state.batches.is_empty();
        while over(&state) && !state.closed {
            match self.at_cap {
                AtCap::Wait => state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner),
                AtCap::DropOldest => state.drop_oldest(),
            }
        }
        state.bytes += batch.frame.len();
        state.batches.push_back(batch);
        drop(state);
        self.changed.notify_one();
    }

    /// Gives everything up: the collector will never take it.
    pub fn abandon(&self) {
        let mut state = self.state();
        (state.closed, state.abandoned) = (true, true);
        state.batches.clear();
        state.bytes = 0;
        drop(state);
        self.room.notify_all();
        self.changed.notify_one();
    }

    /// Lets the uplink look again.
    pub fn wake(&self) {
        self.changed.notify_one();
    }

    /// Batches below this sequence number are acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.state().acknowledged
    }

    /// Says that no more batches will come, and lets waiting pushers through.
    pub fn close(&self) {
        self.state().closed = true;
        self.room.notify_all();
        self.changed.notify_one();
    }

    /// Waits until something may have changed since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What comes at this place of the stream. Frames are appended to `out`, as many as `max_bytes` hold, one at
    /// least.
    #[must_use]
    pub fn next(&self, sequence: u64, out: &mut Vec<u8>, max_bytes: usize) -> Next {
        let mut state = self.state();
        let behind_dropped = state.dropped.back().map(|&(last, _)| last + 1).filter(|&behind| behind > sequence);
        let Some(first) = state.batches.front().map(|batch| batch.sequence).or(behind_dropped) else {
            return if state.closed { Next::End } else { Next::Empty };
        };
        if sequence < first {
            // The collector asks for what it had acknowledged: it has forgotten, and so have we.
            let forgotten = if sequence < state.acknowledged { state.delivered } else { Loss::default() };
            // Dropped batches in front of the gap were sent before; whether they arrived will show.
            let from = state.dropped.partition_point(|&(last, _)| last < sequence);
            let lost = state.dropped.split_off(from).into_iter().map(|(_, loss)| loss);
            let mut dropped = lost.fold(Loss::default(), Loss::sum);
            // The first may share its window with one that arrived.
            dropped.windows = dropped.windows.max(u64::from(dropped.batches > 0));
            state.announced = state.announced.sum(dropped);
            state.announced_below = first;
            let (totals, windows) = (state.gone, state.gone_windows.unwrap_or_default());
            return Next::Gap { to: first - 1, loss: dropped.sum(forgotten), totals, windows };
        }
        let offset = usize::try_from(sequence - first).unwrap_or(usize::MAX);
        let mut last = None;
        for batch in state.batches.iter().skip(offset) {
            if last.is_some() && out.len() + batch.frame.len() > max_bytes {
                break;
            }
            out.extend_from_slice(&batch.frame);
            last = Some(batch.sequence);
        }
        match last {
            Some(to) => Next::Batches { to },
            None if state.closed => Next::End,
            None => Next::Empty,
        }
    }

    /// Deletes every batch below this sequence number: the collector has them.
    pub fn acknowledge(&self, below: u64) {
        let mut state = self.state();
        while state.batches.front().is_some_and(|batch| batch.sequence < below) {
            let Some(batch) = state.batches.pop_front() else { break };
            state.bytes -= batch.frame.len();
            state.went(&batch);
            let State { delivered, delivered_window, .. } = &mut *state;
            delivered.add(&batch, delivered_window);
        }
        state.acknowledged = state.acknowledged.max(below);
        // Dropped while it was on its way, but it arrived.
        while state.dropped.front().is_some_and(|&(last, _)| last < below) {
            let arrived = state.dropped.pop_front().map_or_else(Loss::default, |(_, loss)| loss);
            state.delivered = state.delivered.sum(arrived);
        }
        if below >= state.announced_below {
            state.announced = Loss::default();
        }
        drop(state);
        self.room.notify_all();
        self.changed.notify_one();
    }

    /// Takes up the stream where the collector says it stands, on a new connection: what was announced on the old
    /// one and did not arrive is announced again.
    pub fn resume(&self, expected: u64) {
        self.acknowledge(expected);
        let mut state = self.state();
        let unheard = std::mem::take(&mut state.announced);
        if let Some(last) = state.announced_below.checked_sub(1).filter(|_| unheard.batches > 0) {
            state.dropped.push_front((last, unheard));
        }
    }

    /// Deletes one batch that the collector will never take, and counts it as lost.
    pub fn discard(&self, sequence: u64) {
        let mut state = self.state();
        while state.batches.front().is_some_and(|batch| batch.sequence <= sequence) {
            state.drop_oldest();
        }
        drop(state);
        self.room.notify_all();
    }

    /// Whether everything is acknowledged or announced as lost, and nothing more will come.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let state = self.state();
        state.closed && state.batches.is_empty() && (state.dropped.is_empty() || state.abandoned)
    }

    /// Whether nothing waits for an acknowledgement.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.state().batches.is_empty()
    }

    /// Batches and bytes held.
    #[must_use]
    pub fn held(&self) -> (usize, usize) {
        let state = self.state();
        (state.batches.len(), state.bytes)
    }

    /// What acknowledged batches held.
    #[must_use]
    pub fn delivered(&self) -> Loss {
        self.state().delivered
    }

    /// What was dropped in all.
    #[must_use]
    pub fn dropped_in_all(&self) -> Loss {
        self.state().dropped_in_all
    }
}

impl State {
    fn went(&mut self, batch: &Spooled) {
        self.gone = batch.totals;
        let window = batch.window_start;
        let (first, last) = self.gone_windows.unwrap_or((window, window));
        self.gone_windows = Some((first.min(window), last.max(window)));
    }

    fn drop_oldest(&mut self) {
        let Some(batch) = self.batches.pop_front() else { return };
        self.went(&batch);
        self.bytes -= batch.frame.len();
        let mut window = self.dropped_window;
        self.dropped_in_all.add(&batch, &mut window);
        let mut loss = Loss::default();
        loss.add(&batch, &mut self.dropped_window);
        // A long outage must not grow the list: far more than can be on their way are merged.
        if self.dropped.len() >= MAX_DROPS_APART
            && let Some((last, sum)) = self.dropped.back_mut()
        {
            (*last, *sum) = (batch.sequence, sum.sum(loss));
        } else {
            self.dropped.push_back((batch.sequence, loss));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn batch(sequence: u64) -> Spooled {
        let window_start = i64::try_from(sequence / 2).unwrap() * 10;
        let totals = totals(sequence);
        Spooled { sequence, frame: vec![0; 100], window_start, packets: 3, watched_ms: 5_000, totals }
    }

    /// What the batches up to this one held.
    fn totals(sequence: u64) -> Totals {
        Totals { windows: sequence / 2 + 1, packets: (sequence + 1) * 3, watched_ms: (sequence + 1) * 5_000 }
    }

    fn gap(to: u64, loss: Loss) -> Next {
        Next::Gap { to, loss, totals: totals(to), windows: (0, i64::try_from(to / 2).unwrap() * 10) }
    }

    /// What comes next, one batch at a time.
    fn next(spool: &Spool, sequence: u64) -> Next {
        let mut out = Vec::new();
        let next = spool.next(sequence, &mut out, 1);
        assert_eq!(out.len(), if matches!(next, Next::Batches { .. }) { 100 } else { 0 });
        next
    }

    #[test]
    fn batches_stay_until_they_are_acknowledged() {
        let spool = Spool::new(10_000, AtCap::DropOldest);
        (0..3).for_each(|sequence| spool.push(batch(sequence)));
        assert_eq!(next(&spool, 0), Next::Batches { to: 0 });
        assert_eq!(next(&spool, 0), Next::Batches { to: 0 });
        spool.acknowledge(2);
        assert_eq!(next(&spool, 2), Next::Batches { to: 2 });
        assert_eq!(next(&spool, 3), Next::Empty);
        spool.close();
        assert_eq!(next(&spool, 3), Next::End);
        assert!(!spool.is_done());
        spool.acknowledge(3);
        assert!(spool.is_done());
    }

    #[test]
    fn several_batches_go_together_within_the_limit() {
        let spool = Spool::new(10_000, AtCap::Wait);
        (0..5).for_each(|sequence| spool.push(batch(sequence)));
        let mut out = Vec::new();
        assert_eq!(spool.next(1, &mut out, 350), Next::Batches { to: 3 });
        assert_eq!(out.len(), 300);
    }

    #[test]
    fn at_the_cap_the_oldest_go_and_are_announced_once() {
        let spool = Spool::new(300, AtCap::DropOldest);
        (0..7).for_each(|sequence| spool.push(batch(sequence)));
        assert_eq!(spool.held(), (3, 300));
        let loss = Loss { batches: 4, windows: 2, packets: 12, watched_ms: 20_000 };
        assert_eq!(next(&spool, 0), gap(3, loss));
        assert_eq!(next(&spool, 4), Next::Batches { to: 4 });
        assert_eq!(spool.dropped_in_all(), loss);
        // The line broke before the announcement arrived.
        spool.resume(0);
        assert_eq!(next(&spool, 0), gap(3, loss));
        // Now it arrived.
        spool.resume(4);
        spool.push(batch(7));
        let loss = Loss { batches: 1, windows: 1, packets: 3, watched_ms: 5_000 };
        assert_eq!(next(&spool, 4), gap(4, loss));
    }

    #[test]
    fn what_arrived_although_it_was_dropped_is_not_lost() {
        let spool = Spool::new(300, AtCap::DropOldest);
        (0..3).for_each(|sequence| spool.push(batch(sequence)));
        // 0 to 2 are on their way when room is needed.
        (3..7).for_each(|sequence| spool.push(batch(sequence)));
        spool.acknowledge(3);
        let loss = Loss { batches: 1, windows: 1, packets: 3, watched_ms: 5_000 };
        assert_eq!(next(&spool, 3), gap(3, loss));
        assert_eq!(spool.delivered().batches, 3);
    }

    #[test]
    fn what_is_given_up_takes_no_room() {
        let spool = Spool::new(150, AtCap::Wait);
        spool.push(batch(0));
        spool.abandon();
        (1..100).for_each(|sequence| spool.push(batch(sequence)));
        assert_eq!(spool.held(), (0, 0));
    }

    #[test]
    fn a_collector_that_forgot_is_told_what_it_had() {
        let spool = Spool::new(10_000, AtCap::DropOldest);
        (0..4).for_each(|sequence| spool.push(batch(sequence)));
        spool.acknowledge(3);
        let loss = Loss { batches: 3, windows: 2, packets: 9, watched_ms: 15_000 };
        assert_eq!(next(&spool, 0), gap(2, loss));
    }

    #[test]
    fn what_the_collector_had_before_is_not_sent_again() {
        let spool = Spool::new(10_000, AtCap::Wait);
        spool.push(batch(0));
        spool.resume(3);
        (1..5).for_each(|sequence| spool.push(batch(sequence)));
        assert_eq!(next(&spool, 3), Next::Batches { to: 3 });
        assert_eq!((spool.held().0, spool.delivered().batches), (2, 3));
    }

    #[test]
    fn a_replay_waits_for_room_and_loses_nothing() {
        let spool = Arc::new(Spool::new(200, AtCap::Wait));
        let pusher = {
            let spool = spool.clone();
            std::thread::spawn(move || (0..50).for_each(|sequence| spool.push(batch(sequence))))
        };
        for sequence in 0..50 {
            while next(&spool, sequence) == Next::Empty {
                std::thread::yield_now();
            }
            assert_eq!(next(&spool, sequence), Next::Batches { to: sequence });
            assert!(spool.held().1 <= 200);
            spool.acknowledge(sequence + 1);
        }
        pusher.join().unwrap();
        assert_eq!(spool.dropped_in_all(), Loss::default());
    }
}
