//! The uplink's end of a spool: reads what is to be sent, and takes note of what has arrived.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crossbeam_channel::Sender;
use martlet_journal::{Disk, Item, Reader};
use martlet_window::Digest;
use martlet_wire::v1::{Totals, predecessor};

use super::directory::EpochDisk;
use super::record::{Kind, Prelude};
use super::shared::{Loss, Shared, SpoolFigures, Stretch};

/// Records that may be on their way without an answer: enough for a fast line, and a bound for what is remembered of them.
const MAX_ON_THEIR_WAY: usize = 1024;
/// Buffers grow to the longest record and shrink to this again, in bytes.
const BUFFER: usize = 256 << 10;

/// What an uplink needs to know of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The epoch.
    pub epoch: u64,
    /// Its records below this may be sent.
    pub end: u64,
    /// Its records below this are acknowledged.
    pub journaled: u64,
    /// Its records below this may be deleted.
    pub committed: u64,
    /// Whether batches are still added to it.
    pub live: bool,
}

impl Standing {
    /// Whether nothing of it waits to be sent or answered.
    #[must_use]
    pub const fn is_delivered(&self) -> bool {
        self.journaled >= self.end
    }
}

/// What comes next for the uplink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Records up to this one; their frames have been appended.
    Batches {
        /// Last of them.
        to: u64,
    },
    /// The records from the one asked for up to this one will never come.
    Lost {
        /// Last of them.
        to: u64,
        /// What the epoch held up to it.
        totals: Totals,
        /// Bounds of the starts of the lost windows.
        windows: (i64, i64),
    },
    /// As many as may be are on their way.
    Enough,
    /// Nothing is there yet.
    Empty,
}

/// What is remembered of a record that is on its way.
#[derive(Clone, Copy, Debug)]
struct Sent {
    number: u64,
    window: i64,
    after: Totals,
}

/// The uplink's end of a spool. It never waits for a disk to sync.
pub struct Outlet<D: Disk> {
    shared: Arc<Shared<D>>,
    /// Wakes the other end when there is something to delete or to move.
    work: Sender<()>,
    readers: BTreeMap<u64, Reader<EpochDisk<D>>>,
    record: Vec<u8>,
    /// The epoch that is being sent, and what of it is on its way.
    sending: u64,
    sent: VecDeque<Sent>,
    /// Epoch and number of the batches that the collector finds malformed.
    refused: BTreeSet<(u64, u64)>,
    /// Whether another life of this spool can have gone on with an epoch.
    has_one_life: bool,
}

impl<D: Disk> Outlet<D> {
    pub(super) fn new(shared: Arc<Shared<D>>, work: Sender<()>, has_one_life: bool) -> Outlet<D> {
        Outlet {
            shared,
            work,
            readers: BTreeMap::new(),
            record: Vec::new(),
            sending: 0,
            sent: VecDeque::new(),
            refused: BTreeSet::new(),
            has_one_life,
        }
    }

    /// The spool's numbers.
    #[must_use]
    pub fn figures(&self) -> Arc<SpoolFigures> {
        self.shared.figures.clone()
    }

    /// The epochs that can be sent, oldest first.
    #[must_use]
    pub fn epochs(&self) -> Vec<u64> {
        let state = self.shared.lock();
        state.stretches.iter().filter(|it| !it.forked).map(|it| it.epoch).collect()
    }

    /// How an epoch stands. None if it is gone, or must be moved first.
    #[must_use]
    pub fn standing(&self, epoch: u64) -> Option<Standing> {
        let mut state = self.shared.lock();
        let stretch = state.stretch(epoch).filter(|it| !it.forked)?;
        let &mut Stretch { end, journaled, committed, live, .. } = stretch;
        Some(Standing { epoch, end, journaled, committed, live })
    }

    /// Whether everything is acknowledged, and nothing more will come.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let state = self.shared.lock();
        state.abandoned || (state.closed && state.stretches.iter().all(|it| it.journaled >= it.end && !it.forked))
    }

    /// A handle by which to wait until something may have changed.
    #[must_use]
    pub fn changes(&self) -> Changes<D> {
        Changes(self.shared.clone())
    }

    /// Gives everything up: the collector will never take it. What is on the disk stays there.
    pub fn abandon(&self) {
        self.shared.lock().abandoned = true;
        self.shared.room.notify_all();
    }

    /// Compares where the collector wants an epoch to go on with what is held. Takes the position over if both agree;
    /// else, with `false`, the epoch is another's too, and is left to be moved into a new one.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn resume(&mut self, epoch: u64, expected: u64, predecessor: Option<Digest>) -> io::Result<bool> {
        (self.sending, self.sent) = (epoch, VecDeque::new());
        let Some(Standing { end, live, .. }) = self.standing(epoch) else { return Ok(true) };
        let before = expected.checked_sub(1);
        let own = before.and_then(|before| self.prelude(epoch, before).transpose()).transpose()?;
        if !self.has_one_life {
            let own = match own.map(|own| own.kind) {
                Some(Kind::Batch(digest)) => Some(digest),
                Some(Kind::Loss) => None,
                // It is gone or damaged; the batch behind it says what it was.
                None => self.predecessor(epoch, expected)?,
            };
            let another = own.zip(predecessor).is_some_and(|(own, theirs)| own != theirs);
            if another || (live && expected > end) {
                self.fork(epoch);
                return Ok(false);
            }
        }
        let last = own.zip(before).map(|(own, number)| Sent { number, window: own.window, after: own.after() });
        let mut state = self.shared.lock();
        if let Some(stretch) = state.stretch(epoch) {
            // A collector that lost its memory may want what it once had.
            let again = stretch.journaled.min(end).saturating_sub(expected);
            stretch.journaled = stretch.journaled.min(expected);
            if again > 0 {
                self.shared.figures.wanted_again.fetch_add(again, Relaxed);
                tracing::warn!("the collector wants {again} batches again that it had acknowledged");
            }
        }
        drop(state);
        self.settle(epoch, expected, 0, last);
        Ok(true)
    }

    /// Leaves an epoch with which somebody else has gone on. False if that cannot be done: an import has but one.
    pub fn fork(&self, epoch: u64) -> bool {
        if self.has_one_life {
            return false;
        }
        if let Some(stretch) = self.shared.lock().stretch(epoch).filter(|it| !it.forked) {
            stretch.forked = true;
            self.shared.figures.forks.fetch_add(1, Relaxed);
        }
        self.wake_writer();
        true
    }

    /// What comes at this place of the epoch that was resumed last. Frames are appended to `out` until there are
    /// `enough_bytes` of them.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn next(&mut self, cursor: u64, out: &mut Vec<u8>, enough_bytes: usize) -> io::Result<Next> {
        let epoch = self.sending;
        let mut number = cursor;
        while out.len() < enough_bytes {
            if out.is_empty() && out.capacity() > self.record.capacity() {
                // One of the two buffers is the large one: the one that is read into.
                std::mem::swap(out, &mut self.record);
                out.clear();
            }
            if self.sent.len() >= MAX_ON_THEIR_WAY {
                return Ok(if number > cursor { Next::Batches { to: number - 1 } } else { Next::Enough });
            }
            match self.read(epoch, number)? {
                Read::Record(prelude, frame)
                    if prelude.kind != Kind::Loss && !self.refused.contains(&(epoch, number)) =>
                {
                    self.take_frame(frame, out);
                    self.sent.push_back(Sent { number, window: prelude.window, after: prelude.after() });
                    number += 1;
                }
                Read::End(_) => break,
                // Frames first: a gap is a message of its own.
                _ if number > cursor => break,
                Read::Record(..) | Read::Gap(_) => return self.gap(epoch, number),
            }
        }
        self.record.shrink_to(BUFFER);
        Ok(if number > cursor { Next::Batches { to: number - 1 } } else { Next::Empty })
    }

    /// What is missing from `from` on, up to the next record that can be sent.
    fn gap(&mut self, epoch: u64, from: u64) -> io::Result<Next> {
        let known = self.known_before(epoch, from);
        let mut totals = known.map(|known| known.after);
        let mut before = known.map(|known| known.window);
        let mut windows: Option<(i64, i64)> = None;
        let mut join = |oldest: i64, newest: i64| {
            let (first, last) = windows.unwrap_or((oldest, newest));
            let joined = (first.min(oldest), last.max(newest));
            windows = Some(joined);
            joined
        };
        let mut bounds = (0, 0);
        let (mut number, mut is_open) = (from, false);
        loop {
            match self.read(epoch, number)? {
                Read::Record(prelude, _) => {
                    let is_loss = prelude.kind == Kind::Loss;
                    if is_open {
                        // The missing records lie between the record before them, or what was acknowledged, and this.
                        let newest = prelude.newest_before;
                        let oldest = before.or((!is_loss).then_some(prelude.oldest)).unwrap_or(newest);
                        bounds = join(oldest.min(newest), newest);
                        totals = Some(prelude.before);
                        is_open = false;
                    }
                    if !is_loss && !self.refused.contains(&(epoch, number)) {
                        break;
                    }
                    let oldest = if is_loss { prelude.oldest.min(prelude.window) } else { prelude.window };
                    bounds = join(oldest, prelude.window);
                    totals = Some(prelude.after());
                    before = Some(prelude.window);
                    number += 1;
                }
                Read::Gap(end) => (number, is_open) = (end, true),
                Read::End(reached) => {
                    // No record says what was in the gap before the end, but whoever wrote it does.
                    if is_open && let Some((held, newest)) = reached {
                        totals = Some(held);
                        bounds = join(before.unwrap_or(newest).min(newest), newest);
                    }
                    break;
                }
            }
        }
        if number == from {
            return Ok(Next::Empty);
        }
        let totals = totals.unwrap_or_default();
        self.sent.push_back(Sent { number: number - 1, window: bounds.1, after: totals });
        Ok(Next::Lost { to: number - 1, totals, windows: bounds })
    }

    /// What is known of the record before this one, if it was sent or acknowledged.
    fn known_before(&self, epoch: u64, number: u64) -> Option<Sent> {
        let before = number.checked_sub(1)?;
        if let Some(sent) = self.sent.back().filter(|sent| sent.number == before) {
            return Some(*sent);
        }
        let mut state = self.shared.lock();
        let stretch = state.stretch(epoch).filter(|it| it.journaled == number)?;
        Some(Sent { number: before, window: stretch.settled_window?, after: stretch.settled })
    }

    /// Takes note of an acknowledgement.
    pub fn acknowledge(&mut self, epoch: u64, journaled: u64, committed: u64) {
        let mut last = None;
        if epoch == self.sending {
            let arrived = self.sent.partition_point(|sent| sent.number < journaled);
            last = self.sent.drain(..arrived).next_back();
        }
        self.refused.retain(|&(of, number)| of != epoch || number >= journaled);
        self.settle(epoch, journaled, committed, last);
    }

    fn settle(&self, epoch: u64, journaled: u64, committed: u64, last: Option<Sent>) {
        let shared = &self.shared;
        let mut state = shared.lock();
        // Of an epoch that is another's, too, nobody can say whose batches are acknowledged.
        let Some(stretch) = state.stretch(epoch).filter(|it| !it.forked) else { return };
        let reached = journaled.min(stretch.end).max(stretch.first);
        let delivered = reached.saturating_sub(stretch.journaled.max(stretch.first));
        shared.figures.delivered.fetch_add(delivered, Relaxed);
        stretch.journaled = stretch.journaled.max(journaled);
        if let Some(last) = last {
            (stretch.settled, stretch.settled_window) = (last.after, Some(last.window));
        }
        // A replay's file is there to be read again; nobody else has what only the spool has.
        let done = if self.has_one_life { journaled } else { committed };
        let deletable = done > stretch.committed;
        stretch.committed = stretch.committed.max(done);
        shared.count(&state);
        drop(state);
        if deletable {
            self.wake_writer();
            shared.room.notify_all();
        }
        shared.changed.notify_one();
    }

    /// Gives up one batch that the collector will never take, and counts it as lost.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn refuse(&mut self, epoch: u64, number: u64) -> io::Result<()> {
        let held = self.prelude(epoch, number)?.map(|prelude| prelude.held).unwrap_or_default();
        if self.refused.insert((epoch, number)) {
            self.shared.figures.dropped(&Loss { batches: 1, held });
        }
        Ok(())
    }

    /// Appends the last record of an epoch as it was sent, to be sent again: its answer says what is committed.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn last_again(&mut self, epoch: u64, out: &mut Vec<u8>) -> io::Result<Option<Next>> {
        let Some(number) = self.standing(epoch).and_then(|it| it.end.checked_sub(1)) else { return Ok(None) };
        match self.read(epoch, number)? {
            Read::Record(Prelude { kind: Kind::Batch(_), .. }, frame) if !self.refused.contains(&(epoch, number)) => {
                self.take_frame(frame, out);
                Ok(Some(Next::Batches { to: number }))
            }
            Read::Record(prelude, _) => {
                let windows = (prelude.oldest.min(prelude.window), prelude.window);
                Ok(Some(Next::Lost { to: number, totals: prelude.after(), windows }))
            }
            Read::Gap(_) | Read::End(_) => Ok(None),
        }
    }

    /// Appends the frame that begins here in the record. The first of several is not copied: a large one is in memory once.
    fn take_frame(&mut self, start: usize, out: &mut Vec<u8>) {
        if out.is_empty() {
            std::mem::swap(out, &mut self.record);
            out.drain(..start);
        } else {
            out.extend_from_slice(&self.record[start..]);
        }
    }

    /// What a batch says that it follows; `None` if it follows a loss, or is not there.
    fn predecessor(&mut self, epoch: u64, number: u64) -> io::Result<Option<Digest>> {
        let Read::Record(_, start) = self.read(epoch, number)? else { return Ok(None) };
        Ok(predecessor(&self.record[start..]).filter(|digest| *digest != Digest::default()))
    }

    fn prelude(&mut self, epoch: u64, number: u64) -> io::Result<Option<Prelude>> {
        Ok(match self.read(epoch, number)? {
            Read::Record(prelude, _) => Some(prelude),
            Read::Gap(_) | Read::End(_) => None,
        })
    }

    /// Reads one record into the buffer.
    fn read(&mut self, epoch: u64, number: u64) -> io::Result<Read> {
        let (end, reached) = {
            let mut state = self.shared.lock();
            let Some(stretch) = state.stretch(epoch) else { return Ok(Read::End(None)) };
            if let Some(reader) = stretch.reader.take() {
                self.readers.insert(epoch, reader);
            }
            let end = (stretch.end, stretch.reached);
            self.readers.retain(|&held, _| state.stretch(held).is_some());
            end
        };
        let Some(reader) = self.readers.get_mut(&epoch).filter(|_| number < end) else {
            return Ok(Read::End(reached));
        };
        if reader.position() != number {
            reader.seek(number);
        }
        match reader.next(&mut self.record)? {
            Item::Record(_) => match Prelude::read(&self.record) {
                Some((prelude, frame)) => Ok(Read::Record(prelude, self.record.len() - frame.len())),
                // Intact, but not ours, or of a version that we do not know.
                None => Ok(Read::Gap(number + 1)),
            },
            Item::Damaged(numbers) => Ok(Read::Gap(numbers.end.min(end))),
            Item::End => Ok(Read::End(reached)),
        }
    }

    fn wake_writer(&self) {
        // One token is enough; without a writer nothing is left to do.
        let _ = self.work.try_send(());
    }
}

/// What a read brought.
#[derive(Clone, Copy, Debug)]
enum Read {
    /// The record, whose frame begins here in the buffer.
    Record(Prelude, usize),
    /// Nothing up to here.
    Gap(u64),
    /// Nothing yet. What the epoch held up to here, and its newest window.
    End(Option<(Totals, i64)>),
}

/// Waits for changes of a spool.
pub struct Changes<D: Disk>(Arc<Shared<D>>);

impl<D: Disk> Changes<D> {
    /// Waits until something may have changed since the last call.
    pub async fn wait(&self) {
        self.0.changed.notified().await;
    }

    /// Lets whoever waits look again.
    pub fn wake(&self) {
        self.0.changed.notify_one();
    }
}
