//! The encoder's end of a spool: appends, makes durable, makes room. All waiting for disks is here.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crossbeam_channel::Receiver;
use martlet_journal::{AppendError, Disk, OpenError};
use martlet_observe::batch::{BatchSink, Fresh, Place};
use martlet_window::Origin;
use martlet_wire::v1::Totals;

use super::directory::{self, EpochName};
use super::epoch::{Entry, Epoch, Last, Settled};
use super::outlet::Outlet;
use super::record::{Kind, PRELUDE_LENGTH};
use super::shared::{Loss, Shared, SpoolFigures, Stretch};
use super::{AtCap, Found, SpoolSettings};

/// Epochs that are kept beside the live one. A sensor that is started again and again without a collector makes one each
/// time; beyond this the oldest are given up and counted.
const MAX_EPOCHS: usize = 1000;
/// What the journal adds to a record and a segment, generously, in bytes.
const OVERHEAD: u64 = 128;

/// What was lost before it had a sequence number.
#[derive(Clone, Copy, Debug)]
struct Unplaced {
    held: Totals,
    windows: (i64, i64),
}

/// The encoder's end of a spool.
pub struct SpoolWriter<D: Disk> {
    pub(super) disk: D,
    pub(super) origin: Origin,
    pub(super) settings: SpoolSettings,
    pub(super) draw_epoch: Box<dyn FnMut() -> u64 + Send>,
    pub(super) shared: Arc<Shared<D>>,
    work: Receiver<()>,
    /// Oldest first; they are only read any more.
    pub(super) old: VecDeque<Epoch<D>>,
    pub(super) live: Epoch<D>,
    pub(super) next_ordinal: u32,
    unplaced: Option<Unplaced>,
}

/// Opens a spool whatever is in it, and begins a new epoch. `draw_epoch` must give another number each time, such as a random
/// one.
///
/// # Errors
/// Only if the disk fails, never because of what it holds.
pub fn open<D: Disk>(
    disk: D,
    origin: Origin,
    settings: SpoolSettings,
    figures: Arc<SpoolFigures>,
    mut draw_epoch: Box<dyn FnMut() -> u64 + Send>,
) -> Result<(SpoolWriter<D>, Outlet<D>, Found), OpenError> {
    let io = |action: &'static str| {
        move |source: io::Error| OpenError::Io { action, name: "the spool's directory".to_owned(), source }
    };
    // What a process that was killed made or removed must not change any more while it is built upon.
    disk.sync_directory().map_err(io("sync"))?;
    directory::finish_moves(&disk).map_err(io("clear"))?;
    directory::prune_damaged(&disk).map_err(io("clear"))?;
    let mut found = Found::default();
    let mut old = VecDeque::new();
    let mut next_ordinal = 0;
    for name in directory::epochs(&disk).map_err(io("list"))? {
        let (epoch, recovery) = Epoch::open(&disk, name, settings.journal())?;
        next_ordinal = name.ordinal.saturating_add(1);
        found.damaged += recovery.missing;
        found.damaged_bytes += recovery.damaged_bytes;
        found.torn_bytes += recovery.torn_bytes;
        if epoch.last.is_none() {
            // Nothing is left of it that could be sent.
            epoch.disk.remove_all().map_err(io("clear"))?;
            continue;
        }
        found.epochs += 1;
        found.records += recovery.records;
        found.bytes += epoch.journal.bytes();
        old.push_back(epoch);
    }
    figures.damaged_records.fetch_add(found.damaged, Relaxed);

    let name = EpochName { ordinal: next_ordinal, epoch: draw_epoch(), source: None };
    let (live, _) = Epoch::open(&disk, name, settings.journal())?;
    let shared = Arc::new(Shared::new(figures));
    let (wake, work) = crossbeam_channel::bounded(1);
    let outlet = Outlet::new(shared.clone(), wake, settings.at_cap == AtCap::Wait);
    let next_ordinal = next_ordinal.saturating_add(1);
    let unplaced = None;
    let mut writer =
        SpoolWriter { disk, origin, settings, draw_epoch, shared, work, old, live, next_ordinal, unplaced };
    writer.announce().map_err(io("read"))?;
    writer.count_bytes();
    Ok((writer, outlet, found))
}

pub(super) fn stretch<D: Disk>(epoch: &Epoch<D>, live: bool) -> io::Result<Stretch<D>> {
    let (first, end) = (epoch.journal.first(), epoch.end());
    Ok(Stretch {
        epoch: epoch.name.epoch,
        live,
        first,
        end,
        reached: epoch.last.map(|last| (last.after, last.newest)),
        journaled: 0,
        committed: 0,
        settled: epoch.settled.totals,
        settled_window: None,
        forked: false,
        reader: Some(epoch.journal.reader(first)?),
    })
}

impl<D: Disk> BatchSink for SpoolWriter<D> {
    fn place(&mut self) -> Place {
        self.tend();
        self.place_unplaced();
        Place {
            epoch: self.live.name.epoch,
            sequence: self.live.journal.next(),
            predecessor: self.live.last.map(|last| last.digest).unwrap_or_default(),
        }
    }

    /// Takes the next batch: when this returns it is durable, or counted as lost. In a replay this waits for room.
    fn push(&mut self, batch: &Fresh<'_>) {
        let needed = (PRELUDE_LENGTH + batch.frame.len()) as u64 + OVERHEAD;
        match self.settings.at_cap {
            AtCap::Wait => self.wait_for_room(needed),
            AtCap::DropOldest => self.make_room(needed),
        }
        if self.shared.lock().abandoned {
            return;
        }
        let windows = (batch.window, batch.window);
        let entry = Entry { kind: Kind::Batch(batch.digest), windows, held: batch.held, frame: batch.frame };
        match self.append(&entry) {
            Ok(()) => {
                self.full(false);
            }
            Err(error) => {
                if !self.full(true) {
                    tracing::error!("{error}; batches are lost until there is space again");
                }
                self.lose(batch.held, windows, 1);
            }
        }
        self.count_bytes();
    }
}

impl<D: Disk> SpoolWriter<D> {
    /// Tells the other end about every epoch.
    fn announce(&mut self) -> io::Result<()> {
        let mut stretches = VecDeque::with_capacity(self.old.len() + 1);
        for epoch in &self.old {
            stretches.push_back(stretch(epoch, false)?);
        }
        stretches.push_back(stretch(&self.live, true)?);
        let mut state = self.shared.lock();
        state.stretches = stretches;
        self.shared.count(&state);
        Ok(())
    }

    /// Comes when the other end has left something to do: then [`Self::tend`] is to be called. Ends when there is no other end
    /// any more.
    #[must_use]
    pub fn work(&self) -> Receiver<()> {
        self.work.clone()
    }

    /// Appends to the live epoch, and lets it be sent.
    fn append(&mut self, entry: &Entry<'_>) -> Result<(), AppendError> {
        let settled = self.settled(self.live.name.epoch);
        let mut appended = self.live.append_durably(entry, &settled);
        if let Err(AppendError::Full { free, needed }) = appended {
            self.make_space(needed - free);
            appended = self.live.append_durably(entry, &settled);
        }
        appended?;
        let end = self.live.journal.durable();
        let mut state = self.shared.lock();
        if let Some(stretch) = state.stretch(self.live.name.epoch) {
            stretch.first = self.live.journal.first();
            // The collector had it from an earlier import of the same file.
            let had = end.min(stretch.journaled).saturating_sub(stretch.end);
            self.shared.figures.delivered.fetch_add(had, Relaxed);
            stretch.end = end;
            stretch.reached = self.live.last.map(|last| (last.after, last.newest));
        }
        self.shared.count(&state);
        drop(state);
        self.shared.changed.notify_one();
        Ok(())
    }

    /// How far an epoch is acknowledged now.
    pub(super) fn settled(&self, epoch: u64) -> Settled {
        let mut state = self.shared.lock();
        let known = state.stretch(epoch).map(|it| (it.journaled, it.settled, it.settled_window));
        let (below, totals, window) = known.unwrap_or_default();
        Settled { below, totals, window }
    }

    /// Says whether the disk is full, and returns what was said before.
    fn full(&self, full: bool) -> bool {
        let before = self.shared.figures.disk_full.swap(full, Relaxed);
        if before && !full {
            tracing::info!("the spool has space again");
        }
        before
    }

    fn lose(&mut self, held: Totals, (first, last): (i64, i64), batches: u64) {
        self.shared.figures.dropped(&Loss { batches, held });
        let before = self.unplaced.unwrap_or(Unplaced { held: Totals::default(), windows: (first, last) });
        self.unplaced = Some(Unplaced {
            held: before.held.plus(held),
            windows: (before.windows.0.min(first), before.windows.1.max(last)),
        });
    }

    /// Gives what was lost without a sequence number one of its own, so that the collector hears of it.
    fn place_unplaced(&mut self) {
        let Some(Unplaced { held, windows }) = self.unplaced else { return };
        if self.append(&Entry { kind: Kind::Loss, windows, held, frame: &[] }).is_ok() {
            self.unplaced = None;
        }
    }

    fn bytes(&self) -> u64 {
        self.old.iter().map(|epoch| epoch.journal.bytes()).sum::<u64>() + self.live.journal.bytes()
    }

    fn count_bytes(&self) {
        self.shared.figures.bytes.store(self.bytes(), Relaxed);
    }

    /// Waits until so many more bytes fit, or nothing is held that could go.
    fn wait_for_room(&mut self, needed: u64) {
        loop {
            self.tend();
            let state = self.shared.lock();
            let waits = state.stretches.iter().any(|it| it.end > it.committed);
            let goes_on = state.abandoned || state.closed;
            if goes_on || !waits || self.bytes() + needed <= self.settings.max_bytes {
                return;
            }
            drop(self.shared.room.wait(state));
        }
    }

    /// Drops the oldest batches until so many more bytes are within the quota.
    fn make_room(&mut self, needed: u64) {
        while self.bytes() + needed > self.settings.max_bytes && self.drop_oldest(true) {}
    }

    /// Drops the oldest batches until so many bytes are free that were not, if that can help at all. The last segment of each
    /// epoch stays: on a full disk nothing could be written to say what was in it.
    fn make_space(&mut self, missing: u64) {
        let before = self.bytes();
        if before <= missing {
            return;
        }
        while before - self.bytes() < missing && self.drop_oldest(false) {}
    }

    /// Drops the oldest segment. `whole`: including the last of an old epoch, of which then only a record is left that says
    /// what it held. False if nothing was dropped.
    fn drop_oldest(&mut self, whole: bool) -> bool {
        for at in 0..=self.old.len() {
            let epoch = self.old.get(at).map_or(self.live.name.epoch, |old| old.name.epoch);
            let settled = self.settled(epoch);
            let dropped = match self.old.get_mut(at) {
                Some(old) => drop_from_old(old, &settled, whole),
                // Its last segment stays, for a quota too: a crash before the next batch is durable would leave no record that
                // says what was dropped.
                None if self.live.journal.bytes() > 2 * self.settings.segment_bytes => self.live.drop_oldest(&settled),
                None => Ok(None),
            };
            match dropped {
                Ok(None) => {}
                Ok(Some((batches, held))) => {
                    self.shared.figures.dropped(&Loss { batches, held });
                    let first = self.old.get(at).unwrap_or(&self.live).journal.first();
                    let end = self.old.get(at).unwrap_or(&self.live).end();
                    let last = self.old.get(at).unwrap_or(&self.live).last;
                    let mut state = self.shared.lock();
                    if let Some(stretch) = state.stretch(epoch) {
                        (stretch.first, stretch.end) = (first, end);
                        stretch.reached = last.map(|last| (last.after, last.newest));
                    }
                    self.shared.count(&state);
                    return true;
                }
                Err(error) => {
                    tracing::warn!("the spool's oldest batches cannot be dropped: {error}");
                    return false;
                }
            }
        }
        false
    }

    /// Deletes what the collector has committed, and moves what must be moved. Failures of the disk are logged and tried
    /// again with the next call.
    pub fn tend(&mut self) {
        while self.work.try_recv().is_ok() {}
        if let Err(error) = self.try_tend() {
            tracing::warn!("the spool cannot be cleared: {error}; trying again later");
        }
        self.count_bytes();
    }

    fn try_tend(&mut self) -> io::Result<()> {
        let known: Vec<(u64, u64, u64, bool)> = {
            let state = self.shared.lock();
            state.stretches.iter().map(|it| (it.epoch, it.committed, it.end, it.forked)).collect()
        };
        for (epoch, committed, end, forked) in known {
            let is_live = epoch == self.live.name.epoch;
            if forked {
                self.move_batches(epoch)?;
            } else if is_live {
                release(&mut self.live, committed)?;
            } else if let Some(at) = self.old.iter().position(|old| old.name.epoch == epoch) {
                if committed >= end {
                    self.remove_old(at)?;
                } else {
                    release(&mut self.old[at], committed)?;
                }
            }
        }
        while self.old.len() > MAX_EPOCHS {
            self.give_up_oldest()?;
        }
        let mut state = self.shared.lock();
        let firsts = self.old.iter().chain([&self.live]).map(|it| (it.name.epoch, it.journal.first()));
        for (epoch, first) in firsts {
            if let Some(stretch) = state.stretch(epoch) {
                stretch.first = first;
            }
        }
        self.shared.count(&state);
        Ok(())
    }

    fn remove_old(&mut self, at: usize) -> io::Result<()> {
        self.old[at].disk.remove_all()?;
        if let Some(old) = self.old.remove(at) {
            self.shared.lock().stretches.retain(|it| it.epoch != old.name.epoch);
        }
        Ok(())
    }

    /// Gives up the oldest epoch whole. What is not known to have arrived of it is lost.
    fn give_up_oldest(&mut self) -> io::Result<()> {
        let Some(oldest) = self.old.front() else { return Ok(()) };
        let now = self.settled(oldest.name.epoch);
        let settled = if now.below > 0 { now } else { oldest.settled };
        if let Some(Last { after, newest, oldest: first, .. }) = oldest.last {
            let batches = oldest.journal.durable().saturating_sub(settled.below);
            self.lose(after.since(settled.totals), (first.min(newest), newest), batches);
        }
        self.remove_old(0)
    }

    /// Says that no more batches will come.
    pub fn close(&mut self) {
        self.tend();
        self.place_unplaced();
        self.shared.lock().closed = true;
        self.shared.changed.notify_one();
    }

    /// Deletes what has arrived, for the last time. What has not arrived is sent after the next start.
    pub fn finish(mut self) {
        self.tend();
        let Some(committed) = self.shared.lock().stretch(self.live.name.epoch).map(|it| it.committed) else { return };
        let end = self.live.journal.durable();
        if end > 0 && committed >= end && self.live.disk.remove_all().is_err() {
            tracing::debug!("the last epoch could not be deleted; the next start does it");
        }
    }
}

/// Lets the journal delete what is committed. The last committed record stays: its digest shows whether this epoch is ours alone.
fn release<D: Disk>(epoch: &mut Epoch<D>, committed: u64) -> io::Result<()> {
    let below = committed.saturating_sub(1);
    if below > epoch.released {
        epoch.journal.release(below)?;
        epoch.released = below;
    }
    Ok(())
}

fn drop_from_old<D: Disk>(old: &mut Epoch<D>, settled: &Settled, whole: bool) -> io::Result<Option<(u64, Totals)>> {
    if old.stub.is_some_and(|stub| old.journal.first() >= stub) {
        return Ok(None);
    }
    if old.stub.is_none() {
        if !whole {
            return Ok(None);
        }
        // What its records held must be known when they are gone. The collector asks what of it arrived.
        let Some(last) = old.last else { return Ok(None) };
        let windows = (last.newest, last.newest);
        let stub = Entry { kind: Kind::Loss, windows, held: Totals::default(), frame: &[] };
        let number = match old.append_durably(&stub, settled) {
            Ok(number) => number,
            Err(AppendError::Io(error)) => return Err(error),
            Err(_) => return Ok(None),
        };
        old.stub = Some(number);
    }
    old.drop_oldest(settled)
}
